/**
 * The outbox in front of real servers that hang, are cut off, die and come back, and a real process that is killed between its commit and its invalidation.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type Breakwater, createBreakwater } from '../../src/cache/index.ts';
import { RespClient } from '../../src/client/client.ts';
import { startLiveNode } from '../contract/live-node.ts';
import { Source } from '../library/support.ts';
import { serveNode } from '../server/support.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

type Url = `redis://${string}` | `breakwater://${string}`;

const root = mkdtempSync(join(tmpdir(), 'bw-outbox-servers-'));
const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(root, { recursive: true, force: true });
});

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 60_000; !(await isSo()); ) {
    assert.ok(performance.now() < endMs, 'waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Present connections end, new ones are refused. */
function unplug(proxy: FaultProxy): void {
  proxy.refuse();
  proxy.reset();
}

const length = async (bw: Breakwater): Promise<number> => (await bw.stats()).outbox!.length;
const open = (store: Url): Breakwater => createBreakwater({ store, writeTimeout: '400ms', readTimeout: '400ms' });
const QUEUED = { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED', queued: true };

/** One process is cut off from a store in which an old value stays; another one is not. */
async function cutOff(near: Url, far: Url, break_: () => void, heal: () => void): Promise<void> {
  const [here, there] = [open(near), open(far)];
  try {
    const source = new Source();
    source.rows.set('1', 1).set('2', 1);
    const [mine, theirs] = [here, there].map((bw) => bw.cache('row', { load: source.load, tags: () => ['red'] }));
    await mine!.getMany(['1', '2']);
    await until(async () => (await theirs!.getDetailed('2')).from === 'l2');
    break_();
    await assert.rejects(
      mine!.write('1', () => source.rows.set('1', 2)),
      QUEUED,
    );
    source.rows.set('2', 2);
    await assert.rejects(here.invalidate({ tags: ['red'] }), QUEUED);
    heal();
    // Whatever the store has by now: this process knows better.
    for (let i = 0; i < 20; i += 1) {
      assert.deepEqual(
        [...(await mine!.getMany(['1', '2'])).values()].map((row) => row?.n),
        [2, 2],
      );
    }
    await until(async () => (await length(here)) === 0);
    const rows = await Promise.all(['1', '2'].map((id) => theirs!.get(id)));
    assert.deepEqual(
      rows.map((row) => row?.n),
      [2, 2],
      'and now so does everybody',
    );
    await until(async () => (await mine!.getDetailed('1')).from === 'l2');
    const { outbox } = await here.stats();
    assert.ok(outbox!.retried >= 2, JSON.stringify(outbox));
  } finally {
    await Promise.all([here.close(), there.close()]);
  }
}

test('a node that hangs, and one that is cut off', async () => {
  const node = await startLiveNode();
  // A lease whose answer came too late for its caller has to run out.
  const passing = setInterval(() => node.clock.advance(100), 100);
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: node.port });
  const near: Url = `breakwater://127.0.0.1:${proxy.port}?hangTimeout=300ms`;
  try {
    await cutOff(
      near,
      node.url,
      () => proxy.blackhole(),
      () => proxy.heal(),
    );
    await cutOff(
      near,
      node.url,
      () => unplug(proxy),
      () => proxy.heal(),
    );
    // The answer is lost, not the request.
    await cutOff(
      near,
      node.url,
      () => proxy.blackhole('down'),
      () => proxy.heal(),
    );
  } finally {
    clearInterval(passing);
    await proxy.close();
    await node.close();
  }
});

test('Redis that hangs, and that is cut off', requires('redis-server'), async () => {
  const server = await RedisServer.start();
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: server.port });
  const near: Url = `redis://127.0.0.1:${proxy.port}?hangTimeout=300ms`;
  const far: Url = `redis://127.0.0.1:${server.port}`;
  try {
    await cutOff(
      near,
      far,
      () => proxy.blackhole(),
      () => proxy.heal(),
    );
    await cutOff(
      near,
      far,
      () => unplug(proxy),
      () => proxy.heal(),
    );
    await cutOff(
      near,
      far,
      () => proxy.blackhole('down'),
      () => proxy.heal(),
    );
  } finally {
    await proxy.close();
    await server.close();
  }
});

test(
  'Redis and a node, killed and started again: what waited is acknowledged by the new one',
  requires('redis-server'),
  async () => {
    const redis = await RedisServer.start();
    let node = await serveNode();
    const port = String(node.port);
    const stores: { url: Url; kill: () => Promise<unknown>; start: () => Promise<unknown> }[] = [
      { url: `redis://127.0.0.1:${redis.port}`, kill: () => redis.close(), start: () => redis.restart() },
      {
        url: `breakwater://127.0.0.1:${port}`,
        kill: () => node.stop('SIGKILL'),
        start: async () => {
          node = await serveNode(['--port', port]);
        },
      },
    ];
    try {
      for (const { url, kill, start } of stores) {
        const bw = open(url);
        try {
          const source = new Source();
          source.rows.set('1', 1);
          const cache = bw.cache('row', { load: source.load });
          assert.equal((await cache.get('1'))?.n, 1);
          await kill();
          await assert.rejects(
            cache.write('1', () => source.rows.set('1', 2)),
            QUEUED,
          );
          assert.equal((await cache.get('1'))?.n, 2);
          assert.equal(await length(bw), 1);
          await start();
          await until(async () => (await length(bw)) === 0);
          assert.equal((await cache.get('1'))?.n, 2);
          await until(async () => (await cache.getDetailed('1')).from === 'l2');
        } finally {
          await bw.close();
        }
      }
    } finally {
      await node.stop('SIGKILL');
      await redis.close();
    }
  },
);

test(
  'Redis with a replica that is away: its primary has done it, and yet it is not acknowledged',
  requires('redis-server'),
  async () => {
    const primary = await RedisServer.start(['--repl-diskless-sync-delay', '0']);
    const replica = await RedisServer.start(['--replicaof', `127.0.0.1 ${primary.port}`]);
    const raw = new RespClient({ port: primary.port, commandTimeoutMs: 60_000 });
    const bw = open(`redis://127.0.0.1:${primary.port}`);
    try {
      const source = new Source();
      source.rows.set('1', 1);
      const cache = bw.cache('row', { load: source.load });
      // Known from here on: what nobody has named cannot be missed.
      await until(async () =>
        /slave0:.*state=online/.test(String(await raw.command(['INFO', 'replication'], { text: true }))),
      );
      await until(() =>
        cache.delete('1').then(
          () => true,
          () => false,
        ),
      );
      await until(async () => (await length(bw)) === 0);
      assert.equal((await cache.get('1'))?.n, 1);
      await replica.close();
      await assert.rejects(
        cache.write('1', () => source.rows.set('1', 2)),
        QUEUED,
      );
      await assert.rejects(cache.set('1', { id: '1', n: 2 }), { code: 'CACHE_WRITE_UNACKNOWLEDGED', queued: true });
      assert.equal(await length(bw), 1);
      assert.equal((await cache.getDetailed('1')).from, 'loader');
      assert.equal((await cache.getDetailed('1')).from, 'loader', 'nothing was filled');
      await replica.restart();
      await until(async () => (await length(bw)) === 0);
      assert.equal((await cache.get('1'))?.n, 2);
    } finally {
      await Promise.all([bw.close(), raw.close({ drain: false })]);
      await replica.close();
      await primary.close();
    }
  },
);

/** Runs the writer until it has said `lines` lines, and kills it with -9. */
async function runAndKill(store: Url, directory: string, rows: string, how: string, lines: number): Promise<void> {
  const args = ['--import', 'tsx', join(import.meta.dirname, 'outbox-child.ts'), store, directory, rows, how];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.add(child);
  const ended = new Promise((resolve) => child.once('close', resolve));
  let said = '';
  await new Promise<void>((resolve, reject) => {
    child.stdout.on('data', (piece: Buffer) => {
      said += piece.toString();
      if (said.split('\n').length > lines) resolve();
    });
    child.once('exit', (code) => reject(new Error(`the writer ended with ${code}`)));
  });
  child.kill('SIGKILL');
  await ended;
  children.delete(child);
}

test(
  'killed with -9 between the commit and the invalidation: the next start knows',
  requires('redis-server'),
  async () => {
    const redis = await RedisServer.start();
    const node = await startLiveNode();
    const passing = setInterval(() => node.clock.advance(100), 100);
    const rows = mkdtempSync(join(root, 'rows-'));
    const ids = ['1', '2', '3', '4'];
    for (const id of ids) writeFileSync(join(rows, id), '1');
    const current = (id: string): number => Number(readFileSync(join(rows, id), 'utf8'));
    const load = async (wanted: readonly string[]): Promise<number[]> => wanted.map(current);
    try {
      for (const store of [`redis://127.0.0.1:${redis.port}`, node.url] as Url[]) {
        const directory = mkdtempSync(join(root, 'outbox-'));
        // Warm, and without an outbox on disk: what is in the store stays there.
        const other = createBreakwater({ store, readTimeout: '30s', writeTimeout: '30s' });
        const elsewhere = other.cache<number>('row', { load });
        const before = current('1');
        await elsewhere.get('1');
        await until(async () => (await elsewhere.getDetailed('1')).from === 'l2');
        await runAndKill(store, directory, rows, 'commit', 1);
        assert.equal(current('1'), before + 1);
        assert.equal(await elsewhere.get('1'), before, 'the store has the old value: the invalidation was never sent');

        for (const lines of [1, 100]) {
          const bw = createBreakwater({ store, outbox: { directory } });
          const cache = bw.cache<number>('row', { load });
          // At once, before the directory can have been read.
          const first = await cache.getMany(ids);
          for (const id of ids) assert.equal(first.get(id), current(id), `row ${id}`);
          await until(async () => (await bw.stats()).outbox!.disk!.isOpen && (await length(bw)) === 0);
          for (const id of ids) assert.equal(await elsewhere.get(id), current(id), `row ${id} in another process`);
          assert.deepEqual(await bw.close(), {
            unacknowledged: { keys: [], tags: [], namespaces: [] },
            isKept: true,
            queued: 0,
          });
          // Killed wherever it is.
          await runAndKill(store, directory, rows, 'load', lines);
        }
        await other.close();
      }
    } finally {
      clearInterval(passing);
      await redis.close();
      await node.close();
    }
  },
);
