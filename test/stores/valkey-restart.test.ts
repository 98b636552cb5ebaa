/**
 * Servers that die: killed in the middle of everything, started again with an older copy of their data, their scripts flushed.
 */
import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { RespClient } from '../../src/client/client.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';
import { Mix } from './mix.ts';

const CALL = { timeoutMs: 30_000 };
const READ = { ...CALL, lease: false };
const LEASE = { ...CALL, lease: true };
const VALUE = new Uint8Array([1, 2, 3]);
const FOR_EVER = { ttlMs: null, tags: ['red'] };

test('scripts flushed: the next call loads them again, nothing is lost', requires('redis-server'), async () => {
  const server = await RedisServer.start();
  const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
  const store = openValkey(`redis://127.0.0.1:${server.port}`);
  try {
    await store.set('k:1', VALUE, FOR_EVER, CALL);
    await raw.command(['SCRIPT', 'FLUSH', 'SYNC']);
    const results = await Promise.all(
      Array.from({ length: 20 }, () => store.read(['k:1', 'k:2'], READ).then(([result]) => result?.kind)),
    );
    assert.deepEqual(new Set(results), new Set(['hit']));
    await raw.command(['SCRIPT', 'FLUSH', 'SYNC']);
    assert.equal(await store.delete(['k:1'], CALL), 1);
    assert.equal((await store.stats(CALL))['scriptLoads'], 3);
  } finally {
    await Promise.all([store.close(), raw.close()]);
    await server.close();
  }
});

for (const afterRestart of ['miss', 'trust'] as const) {
  const what = afterRestart === 'miss' ? 'nothing of it is served' : 'it is served to who trusts it';
  test(`started again from an older copy of its data: ${what}`, requires('redis-server'), async () => {
    const folder = await mkdtemp(join(tmpdir(), 'breakwater-aof-'));
    const server = await RedisServer.start(['--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always']);
    const store = openValkey(`redis://127.0.0.1:${server.port}?afterRestart=${afterRestart}`);
    const data = join(folder, 'appendonlydir');
    const kinds = async (): Promise<string[]> =>
      (await store.read(['k:1', 'k:2', 'k:3'], READ)).map(({ kind }) => kind);
    try {
      for (const key of ['k:1', 'k:2']) await store.set(key, VALUE, FOR_EVER, CALL);
      await store.set('k:3', VALUE, { ttlMs: null, tags: [] }, CALL);
      const [leased] = await store.read(['k:4'], LEASE);
      assert.ok(leased?.kind === 'miss' && leased.lease !== null);
      await cp(data, `${data}-copy`, { recursive: true });

      // Acknowledged, and then lost with the disk's last second.
      await store.delete(['k:1', 'k:4'], CALL);
      await store.invalidate({ tags: ['red'] }, CALL);
      assert.deepEqual(await kinds(), ['miss', 'miss', 'hit']);
      await server.close();
      await rm(data, { recursive: true });
      await cp(`${data}-copy`, data, { recursive: true });
      await server.restart();

      const trusted = afterRestart === 'trust';
      assert.deepEqual(await kinds(), trusted ? ['hit', 'hit', 'hit'] : ['miss', 'miss', 'miss']);
      const entry = { key: 'k:4', value: VALUE, ...FOR_EVER, tags: [], lease: leased.lease };
      assert.deepEqual(await store.fill([entry], CALL), [trusted], 'the same goes for a lease of then');
      await store.set('k:1', VALUE, FOR_EVER, CALL);
      assert.equal((await kinds())[0], 'hit');
    } finally {
      await store.close();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    }
  });
}

test('a connection that came back by itself leads to another life of the server: what was proven of the old one is not asked there', {
  ...requires('redis-server'),
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'breakwater-aof-'));
  const server = await RedisServer.start(['--dir', folder, '--appendonly', 'yes', '--appendfsync', 'always']);
  const store = openValkey(`redis://127.0.0.1:${server.port}`);
  const data = join(folder, 'appendonlydir');
  const kind = async (): Promise<string> => (await store.read(['k:1'], READ))[0]!.kind;
  const plainHits = async (): Promise<number> => (await store.stats(CALL))['plainHits']!;
  const connected = async (): Promise<number> => {
    const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
    const list = String(await raw.command(['CLIENT', 'LIST'], { text: true }));
    await raw.close();
    return list.trim().split('\n').length - 1;
  };
  try {
    await store.set('k:1', VALUE, { ttlMs: null, tags: [] }, CALL);
    while ((await plainHits()) < 2) assert.equal(await kind(), 'hit');
    const before = await connected();
    await cp(data, `${data}-copy`, { recursive: true });
    await store.delete(['k:1'], CALL);
    assert.equal(await kind(), 'miss');
    await server.close();
    await rm(data, { recursive: true });
    await cp(`${data}-copy`, data, { recursive: true });
    await server.restart();
    // All connections are back, and nothing has been asked over them: no script that would have told of the new life.
    const endMs = performance.now() + 60_000;
    while ((await connected()) < before) assert.ok(performance.now() < endMs, 'waited in vain');
    const hits = await plainHits();
    assert.equal(await kind(), 'miss');
    assert.equal(await plainHits(), hits);
  } finally {
    await store.close();
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
});

test(
  'no wrong hit when the server is killed in the middle of the mix, again and again',
  requires('redis-server'),
  async () => {
    const folder = await mkdtemp(join(tmpdir(), 'breakwater-aof-'));
    const server = await RedisServer.start(['--dir', folder, '--appendonly', 'yes', '--appendfsync', 'everysec']);
    const stores = [1, 2].map(() => openValkey(`redis://127.0.0.1:${server.port}`));
    const mix = new Mix({ stores, random: new SeededRandom(3) });
    try {
      for (let life = 0; life < 5; life += 1) {
        let isOver = false;
        const running = mix.run(600, 12).finally(() => {
          isOver = true;
        });
        running.catch(() => undefined);
        const killAt = mix.counts.steps + 200;
        while (mix.counts.steps < killAt && !isOver) await new Promise((resolve) => setTimeout(resolve, 1));
        await server.restart();
        await running;
      }
      await mix.check();
      assert.equal(mix.counts.failedReads + mix.counts.notAcknowledged < mix.counts.steps / 2, true);
      assert.ok(mix.counts.hits > 200, JSON.stringify(mix.counts));
    } finally {
      await Promise.all(stores.map((store) => store.close()));
      await server.close();
      await rm(folder, { recursive: true, force: true });
    }
  },
);

test(
  'a server that is away: calls end by their deadline with a code; back again, they work',
  requires('redis-server'),
  async () => {
    const server = await RedisServer.start();
    const store = openValkey(`redis://127.0.0.1:${server.port}`);
    try {
      await store.set('k:1', VALUE, FOR_EVER, CALL);
      await server.close();
      await assert.rejects(store.read(['k:1'], { ...LEASE, timeoutMs: 600 }), { code: 'STORE_UNAVAILABLE' });
      await assert.rejects(store.delete(['k:1'], { timeoutMs: 60 }), { code: 'INVALIDATION_NOT_ACKNOWLEDGED' });
      await assert.rejects(store.set('k:1', VALUE, FOR_EVER, { timeoutMs: 600 }), { code: 'STORE_UNAVAILABLE' });
      const reason = new Error('enough');
      const controller = new AbortController();
      const aborted = assert.rejects(
        store.invalidate({ tags: ['red'] }, { ...CALL, signal: controller.signal }),
        (error) => error === reason,
      );
      setImmediate(() => controller.abort(reason));
      await aborted;
      const waiting = store.delete(['k:1'], CALL);
      await server.restart();
      assert.equal(await waiting, 0, 'an invalidation waits for the server until its deadline');
    } finally {
      await store.close();
      await server.close();
    }
  },
);
