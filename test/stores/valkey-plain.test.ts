/**
 * Hits by plain commands: that they take no script, and that they stop where nothing is proven any more.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RespClient } from '../../src/client/client.ts';
import type { ValkeyStore } from '../../src/stores/valkey.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';

const CALL = { timeoutMs: 30_000 };
const READ = { ...CALL, lease: false };
const VALUE = new Uint8Array([1, 2, 3]);
const KEYS = Array.from({ length: 300 }, (_, i) => `k:${i}`);

const kinds = async (store: ValkeyStore, keys: readonly string[], timeoutMs = 30_000): Promise<Set<string>> =>
  new Set((await store.read(keys, { ...READ, timeoutMs })).map(({ kind }) => kind));
const plainHits = async (store: ValkeyStore): Promise<number> => (await store.stats(CALL))['plainHits']!;
const fillAll = (store: ValkeyStore): Promise<unknown> =>
  Promise.all(KEYS.map((key, i) => store.set(key, VALUE, { ttlMs: 60_000, tags: i % 2 ? ['red', key] : [] }, CALL)));

async function scriptCalls(raw: RespClient): Promise<number> {
  const info = String(await raw.command(['INFO', 'commandstats'], { text: true }));
  return Number(/^cmdstat_evalsha:calls=(\d+)/m.exec(info)?.[1] ?? 0);
}

test('one server: hits take no script, one or many; what is not one does', requires('redis-server'), async () => {
  const server = await RedisServer.start();
  const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
  for (const protocol of [3, 2]) {
    const store = openValkey(`redis://127.0.0.1:${server.port}?protocol=${protocol}`);
    const other = openValkey(`redis://127.0.0.1:${server.port}`);
    try {
      await fillAll(store);
      assert.deepEqual(await kinds(store, KEYS), new Set(['hit']));
      const before = await scriptCalls(raw);
      for (const key of KEYS.slice(0, 20)) assert.deepEqual(await kinds(store, [key]), new Set(['hit']));
      const results = await store.read(KEYS, READ);
      for (const result of results) {
        assert.ok(result.kind === 'hit' && result.ttlMs! > 1_000 && result.ttlMs! <= 60_000);
        assert.deepEqual([...result.value], [...VALUE]);
      }
      assert.equal(await scriptCalls(raw), before, 'no script was called');
      assert.equal(await plainHits(store), 320);
      await other.invalidate({ tags: ['k:7'] }, CALL);
      await other.delete(['k:8', 'k:10'], CALL);
      await raw.command(['SADD', 'k:10', 'member']);
      const missing = (await store.read(KEYS, READ)).flatMap(({ kind }, i) => (kind === 'miss' ? [KEYS[i]] : []));
      assert.deepEqual(missing, ['k:7', 'k:8', 'k:10']);
      // Another type at the first place is no refusal.
      assert.deepEqual(await kinds(store, ['k:10', 'k:12', 'k:14']), new Set(['miss', 'hit']));
      await other.invalidate({ namespaces: ['k'] }, CALL);
      assert.deepEqual(await kinds(store, KEYS), new Set(['miss']));
      assert.deepEqual(await kinds(store, ['k:0']), new Set(['miss']));
      await raw.command(['FLUSHALL']);
    } finally {
      await Promise.all([store.close(), other.close()]);
    }
  }
  await raw.close();
  await server.close();
});

test('a cluster: the same, and keys whose table is with another server', requires('redis-server'), async () => {
  const cluster = await RedisCluster.start();
  const store = openValkey(cluster.url);
  const other = openValkey(cluster.url);
  try {
    await fillAll(store);
    await kinds(store, KEYS);
    const before = await plainHits(store);
    assert.deepEqual(await kinds(store, KEYS), new Set(['hit']));
    for (const key of KEYS) assert.deepEqual(await kinds(store, [key]), new Set(['hit']), key);
    assert.equal((await plainHits(store)) - before, 2 * KEYS.length);
    await other.invalidate({ tags: ['red'] }, CALL);
    const results = await store.read(KEYS, READ);
    results.forEach(({ kind }, i) => {
      assert.equal(kind, i % 2 ? 'miss' : 'hit');
    });
    for (const key of KEYS.slice(0, 60)) {
      assert.deepEqual(await kinds(store, [key]), new Set([Number(key.slice(2)) % 2 ? 'miss' : 'hit']), key);
    }
  } finally {
    await Promise.all([store.close(), other.close()]);
    await cluster.close();
  }
});

test('a new connection proves nothing until a script was answered on it', requires('redis-server'), async () => {
  const server = await RedisServer.start();
  const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
  const store = openValkey(`redis://127.0.0.1:${server.port}`);
  try {
    await fillAll(store);
    await kinds(store, KEYS);
    await kinds(store, ['k:1']);
    assert.equal(await plainHits(store), 1);
    await raw.command(['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes']);
    const before = await scriptCalls(raw);
    assert.deepEqual(await kinds(store, ['k:1']), new Set(['hit']));
    assert.ok((await scriptCalls(raw)) > before);
    assert.equal(await plainHits(store), 1, 'not by plain commands');
    // The map is asked for anew in the background; a script has to be answered under the new one.
    for (let i = 0; i < 50 && (await plainHits(store)) === 1; i += 1) {
      assert.deepEqual(await kinds(store, ['k:1']), new Set(['hit']));
    }
    assert.equal(await plainHits(store), 2);
  } finally {
    await Promise.all([store.close(), raw.close({ drain: false })]);
    await server.close();
  }
});

test(
  'a server that was made a replica is not read, on a connection that stands',
  requires('redis-server'),
  async () => {
    const server = await RedisServer.start();
    const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
    const store = openValkey(`redis://127.0.0.1:${server.port}`);
    try {
      await fillAll(store);
      await kinds(store, KEYS);
      assert.deepEqual(await kinds(store, KEYS), new Set(['hit']));
      await raw.command(['REPLICAOF', '127.0.0.1', '1']);
      for (const keys of [['k:1'], ['k:0', 'k:1', 'k:2'], KEYS]) {
        // Refused, or on a busy machine not even that in time.
        await assert.rejects(kinds(store, keys, 150), { code: /^STORE_(UNAVAILABLE|TIMEOUT)$/ }, `${keys.length} keys`);
      }
      await raw.command(['REPLICAOF', 'NO', 'ONE']);
      assert.deepEqual(await kinds(store, KEYS), new Set(['hit']));
    } finally {
      await Promise.all([store.close(), raw.close({ drain: false })]);
      await server.close();
    }
  },
);

test('where the commands are forbidden the scripts answer', requires('redis-server'), async () => {
  const server = await RedisServer.start();
  const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
  await raw.command(['ACL', 'SETUSER', 'app', 'on', '>secret', '~*', '&*', '+@all', '-getex']);
  const store = openValkey(`redis://app:secret@127.0.0.1:${server.port}`);
  try {
    await fillAll(store);
    for (let i = 0; i < 3; i += 1) assert.deepEqual(await kinds(store, KEYS), new Set(['hit']));
    assert.equal(await plainHits(store), 0);
  } finally {
    await Promise.all([store.close(), raw.close()]);
    await server.close();
  }
});

test('many misses: they go to the scripts at once, until hits are many again', requires('redis-server'), async () => {
  const server = await RedisServer.start();
  const store = openValkey(`redis://127.0.0.1:${server.port}`, 'adaptive');
  try {
    await fillAll(store);
    for (let i = 0; i < 60; i += 1) await kinds(store, ['k:1']);
    const many = await plainHits(store);
    assert.ok(many >= 30 && many < 60, `${many}`);
    for (let i = 0; i < 60; i += 1) await kinds(store, ['gone:1']);
    for (let i = 0; i < 5; i += 1) await kinds(store, ['k:1']);
    assert.equal(await plainHits(store), many);
    for (let i = 0; i < 60; i += 1) await kinds(store, ['k:1']);
    assert.ok((await plainHits(store)) > many);
  } finally {
    await store.close();
    await server.close();
  }
});

test(
  'many keys: the time to live that the server says, and each key by its own namespace',
  requires('redis-server'),
  async () => {
    const server = await RedisServer.start();
    const raw = new RespClient({ port: server.port });
    const store = openValkey(`redis://127.0.0.1:${server.port}`);
    const lifetimes = new Map<string, number | null>([
      ['a:1', 60_000],
      ['a:2', null],
      ['b:1', 3_600_000],
      ['nameless', 90_000],
      ['\0x:1', 80_000],
      ['a:3', 1e15],
    ]);
    const keys = [...lifetimes.keys()];
    try {
      for (const [key, ttlMs] of lifetimes)
        await store.set(key, VALUE, { ttlMs, tags: key === 'a:1' ? ['red'] : [] }, CALL);
      await kinds(store, keys);
      const before = await plainHits(store);
      const results = await store.read(keys, READ);
      assert.equal((await plainHits(store)) - before, keys.length);
      for (const [i, result] of results.entries()) {
        const key = keys[i]!;
        assert.ok(result.kind === 'hit', key);
        assert.deepEqual([...result.value], [...VALUE]);
        const left = Number(await raw.command(['PTTL', key]));
        if (left < 0) assert.equal(result.ttlMs, null);
        else assert.ok(result.ttlMs !== null && result.ttlMs >= left && result.ttlMs <= lifetimes.get(key)!, key);
      }

      // Somebody has made it live longer than it knows: the scripts say how long.
      await raw.command(['SETRANGE', 'nameless', 42, '1'.padStart(16, '0')]);
      const plain = await plainHits(store);
      const nameless = (await store.read(keys, READ))[3]!;
      assert.ok(nameless.kind === 'hit' && nameless.ttlMs! > 60_000 && nameless.ttlMs! <= 90_000);
      assert.equal((await plainHits(store)) - plain, keys.length - 1);

      const missing = async (): Promise<unknown[]> =>
        (await store.read(keys, READ)).flatMap(({ kind }, i) => (kind === 'miss' ? [keys[i]] : []));
      const other = openValkey(`redis://127.0.0.1:${server.port}`);
      await other.invalidate({ namespaces: ['b'] }, CALL);
      assert.deepEqual(await missing(), ['b:1']);
      await other.invalidate({ namespaces: ['\0x'] }, CALL);
      assert.deepEqual(await missing(), ['b:1', '\0x:1']);
      await other.invalidate({ tags: ['red'], namespaces: [''] }, CALL);
      assert.deepEqual(await missing(), ['a:1', 'b:1', 'nameless', '\0x:1']);
      await raw.command(['PEXPIRE', 'a:2', 0]);
      assert.deepEqual(await missing(), ['a:1', 'a:2', 'b:1', 'nameless', '\0x:1']);
      await other.close();
    } finally {
      await Promise.all([store.close(), raw.close({ drain: false })]);
      await server.close();
    }
  },
);
