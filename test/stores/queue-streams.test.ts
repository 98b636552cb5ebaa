/** Queues in streams when processes and the server end, come back too late, or have no room: on a real Redis, with the processes' time turned by hand. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { DeadLetter } from '../../src/cache/write/queue-log.ts';
import { contents, queued } from '../contract/queue-log-contract.ts';
import { until } from '../support/ordered-table.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { CALL, StreamProcess, TAKEOVER_MS } from '../support/stream-queue.ts';

const options = { ...requires('redis-server'), timeout: 120_000 };
const servers: RedisServer[] = [];
const processes: StreamProcess[] = [];
const directories: string[] = [];
after(async () => {
  for (const one of processes) await one.store.close();
  for (const one of servers) await one.close();
  for (const one of directories) rmSync(one, { recursive: true, force: true });
});

async function start(...flags: string[]): Promise<{ redis: RedisServer; open(): Promise<StreamProcess> }> {
  const redis = await RedisServer.start(flags);
  servers.push(redis);
  return {
    redis,
    open: async () => {
      const made = await StreamProcess.open(`redis://127.0.0.1:${redis.port}`);
      processes.push(made);
      return made;
    },
  };
}

function kept(): string[] {
  const directory = mkdtempSync(join(tmpdir(), 'breakwater-streams-'));
  directories.push(directory);
  return ['--dir', directory, '--appendonly', 'yes', '--appendfsync', 'always'];
}

const letter = (id: string, version: number): DeadLetter => ({
  ...queued(id, version),
  diedAtMs: 5,
  code: 'X',
  message: '',
});
const ids = (process: StreamProcess): string[] => [...process.log.pending()].map(({ id }) => id).sort();

test(
  'the one that is silent is taken over, and when it comes back nothing that it is told is kept is lost',
  options,
  async () => {
    const { open } = await start();
    const [a, b] = [await open(), await open()];
    await a.log.append(queued('1', 1));
    await a.log.append(queued('2', 2));
    await a.dead.add(letter('3', 3));
    await b.log.append(queued('2', 5));
    assert.equal(a.log.isSole, true);
    // A stands still: its clock too. B looks and looks.
    await until(async () => {
      await b.scheduler.run(TAKEOVER_MS / 5);
      return b.dead.size === 1 && (await b.streams()) === 1;
    });
    assert.deepEqual(
      b.adopted.map(({ id, version }) => [id, version]),
      [['1', 1]],
      'of row 2 it has a later write',
    );
    assert.deepEqual(contents(b), { 1: [1, '1 1'], 2: [5, '2 5'] });
    assert.deepEqual([a.disowned, a.dead.size], [0, 1]);
    // A wakes up, and learns it by its next write.
    await a.log.append(queued('4', 6));
    assert.deepEqual([a.disowned, a.dead.size, ids(a)], [1, 0, ['1', '2', '4']]);
    assert.equal(await b.streams(), 2);
    await a.crash();
    await b.outlive();
    assert.deepEqual(ids(b), ['1', '2', '4']);
    await b.close();
  },
);

test('a process is certain of what it has for less long than the others wait', options, async () => {
  const { open } = await start();
  const a = await open();
  await a.log.append(queued('1', 1));
  a.scheduler.clock.advance(0.9 * TAKEOVER_MS - 1);
  assert.equal(a.log.isSole, true);
  a.scheduler.clock.advance(1);
  assert.equal(a.log.isSole, false);
  await a.log.append(queued('2', 2));
  assert.equal(a.log.isSole, true);
  await a.close();
});

test('a process that lives is never taken over, however long it has nothing to write', options, async () => {
  const { open } = await start();
  const [a, b] = [await open(), await open()];
  await a.log.append(queued('1', 1));
  const beat = async () =>
    (await b.store.queues.look('row', CALL)).reduce((sum, view) => sum + (view.records > 0 ? view.beat : 0), 0);
  for (let n = 0; n < 12; n += 1) {
    const before = await beat();
    await a.scheduler.run(TAKEOVER_MS / 5);
    await until(async () => (await beat()) > before);
    await b.scheduler.run(TAKEOVER_MS / 5);
  }
  assert.deepEqual([a.disowned, b.adopted, await b.streams()], [0, [], 2]);
  await a.close();
  await b.close();
});

test('of two who would take over one does, and what it could not finish another one does', options, async () => {
  const { open } = await start();
  const [a, b, c] = [await open(), await open(), await open()];
  await Promise.all(Array.from({ length: 600 }, (_, n) => a.log.append(queued(`${n}`, n + 1))));
  await a.crash();
  await until(async () => {
    await Promise.all([b.scheduler.run(TAKEOVER_MS / 5), c.scheduler.run(TAKEOVER_MS / 5)]);
    return b.adopted.length + c.adopted.length > 0;
  });
  const [taker, other] = b.adopted.length > 0 ? [b, c] : [c, b];
  // In the middle of it, or just after.
  await taker.crash();
  await other.outlive();
  assert.equal(ids(other).length, 600);
  await other.close();
});

test('a server that has lost everything is given all that is pending once more, and the letters', options, async () => {
  const { redis, open } = await start();
  const a = await open();
  await a.log.append(queued('1', 1));
  await a.dead.add(letter('9', 9));
  await redis.restart();
  await a.log.append(queued('2', 2));
  const b = await open();
  await a.crash();
  await b.outlive();
  assert.deepEqual([ids(b), b.dead.size], [['1', '2'], 1]);
  await b.close();
});

test(
  'a server that has restarted on what it kept: likewise, and the stream of before is dropped',
  options,
  async () => {
    const { redis, open } = await start(...kept());
    const a = await open();
    for (let n = 1; n <= 3; n += 1) await a.log.append(queued(`${n}`, n));
    await a.dead.add(letter('9', 9));
    await redis.restart();
    a.log.settle([queued('1', 1)]);
    await a.log.append(queued('4', 4));
    assert.deepEqual([a.disowned, await a.streams()], [0, 1]);
    assert.deepEqual([a.durability?.appendOnly, a.durability?.appendFsync], [true, 'always']);
    const b = await open();
    await a.crash();
    await b.outlive();
    assert.deepEqual([ids(b), b.dead.list().map(({ id }) => id)], [['2', '3', '4'], ['9']]);
    await b.close();
  },
);

test(
  'no room in the server: refused by its code, nothing of it is kept, and it goes on when there is room',
  options,
  async () => {
    const { redis, open } = await start('--maxmemory-policy', 'noeviction');
    const a = await open();
    await a.log.append(queued('1', 1));
    const config = async (memory: string) => {
      const { RespClient } = await import('../../src/client/client.ts');
      const client = new RespClient({ port: redis.port, commandTimeoutMs: 30_000 });
      await client.command(['CONFIG', 'SET', 'maxmemory', memory]);
      await client.close({ drain: true });
    };
    await config('1mb');
    await assert.rejects(a.log.append(queued('2', 2)), { code: 'STORE_NO_ROOM' });
    assert.deepEqual(ids(a), ['1']);
    // What is settled goes out although nothing may come in.
    a.log.settle([queued('1', 1)]);
    await until(async () => (await a.store.queues.look('row', CALL)).every(({ records }) => records === 0));
    await config('0');
    await a.log.append(queued('3', 3));
    const b = await open();
    await a.crash();
    await b.outlive();
    assert.deepEqual(ids(b), ['3']);
    await b.close();
  },
);

test('a server that may evict the queue is refused', options, async () => {
  const { open } = await start('--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lru');
  await assert.rejects(open(), { code: 'WRITE_BEHIND_STORE_EVICTS' });
});

test('who closes with nothing pending leaves nothing; with something it can be taken at once', options, async () => {
  const { open } = await start();
  const a = await open();
  await a.log.append(queued('1', 1));
  await a.close();
  const b = await open();
  assert.deepEqual([ids(b), await b.streams()], [['1'], 1]);
  b.log.settle([queued('1', 1)]);
  const view = b.store;
  await b.dead.close();
  await b.log.close();
  assert.deepEqual(await view.queues.look('row', CALL), []);
  await view.close();
});
