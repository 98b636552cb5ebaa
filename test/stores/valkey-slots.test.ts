/**
 * Slots that move, step by step, and what a batch costs: one round trip to each server.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { ValkeyStore } from '../../src/stores/valkey.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { type ClusterServer, RedisCluster } from '../support/redis-cluster.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';

const CALL = { timeoutMs: 30_000 };
const READ = { ...CALL, lease: false };
const LEASE = { ...CALL, lease: true };
const VALUE = new Uint8Array([1]);
const ENTRY = { ttlMs: 60_000, tags: ['red'] };

describe('a slot that moves', requires('redis-server'), () => {
  let cluster: RedisCluster;
  let store: ValkeyStore;
  before(async () => {
    cluster = await RedisCluster.start({ replicas: 0 });
    store = openValkey(`${cluster.url}?afterRestart=trust`);
  });
  after(async () => {
    await store.close();
    await cluster.close();
  });

  /** Keys of one slot, named by their hash tag, and where it goes. */
  async function journey(tag: string): Promise<{ slot: number; from: ClusterServer; to: ClusterServer }> {
    const slot = Number(await cluster.servers[0]!.text('CLUSTER', 'KEYSLOT', `{${tag}}`));
    const from = await cluster.currentOwnerOf(slot);
    return { slot, from, to: cluster.primaries.find((server) => server !== from)! };
  }
  const kinds = async (keys: readonly string[], call = READ): Promise<string[]> =>
    (await store.read(keys, call)).map(({ kind }) => kind);
  const number = async (name: string): Promise<number> => (await store.stats(CALL))[name]!;

  test('entries are found on both sides of the move; deletes, fills and invalidations too', async () => {
    const { slot, from, to } = await journey('a');
    const keys = ['m:{a}1', 'm:{a}2', 'm:{a}3'];
    for (const key of keys) await store.set(key, VALUE, ENTRY, CALL);
    await cluster.beginMove(slot, from, to);
    await cluster.moveKey(keys[0]!, from, to);
    assert.deepEqual(await kinds(keys), ['hit', 'hit', 'hit']);
    assert.ok((await number('asks')) > 0);

    // Absent on the old side means: the new side's to lease.
    const [leased] = await store.read(['m:{a}4'], LEASE);
    assert.ok(leased?.kind === 'miss' && leased.lease !== null);
    assert.deepEqual(await store.fill([{ key: 'm:{a}4', value: VALUE, ...ENTRY, lease: leased.lease }], CALL), [true]);
    assert.equal(await store.delete(keys.slice(0, 2), CALL), 2);
    assert.deepEqual(await kinds([...keys, 'm:{a}4']), ['miss', 'miss', 'hit', 'hit']);

    await cluster.endMove(slot, from, to);
    assert.deepEqual(await kinds([...keys, 'm:{a}4']), ['miss', 'miss', 'hit', 'hit']);
    assert.ok((await number('moved')) > 0);
    // The servers tell each other in their own time, and one that is asked for the map before it was told has the old owner in it.
    let redirects = Number.NaN;
    for (let reads = 0; (await number('moved')) !== redirects; reads += 1) {
      assert.ok(reads < 1_000, 'the new owner is never known');
      redirects = await number('moved');
      assert.deepEqual(await kinds(keys), ['miss', 'miss', 'hit']);
    }
    await store.invalidate({ tags: ['red'] }, CALL);
    assert.deepEqual(await kinds([...keys, 'm:{a}4']), ['miss', 'miss', 'miss', 'miss']);
  });

  test('a lease granted before the move is good after it, and void when the key was deleted on the way', async () => {
    const { slot, from, to } = await journey('b');
    const leases = await store.read(['m:{b}1', 'm:{b}2'], LEASE);
    await cluster.beginMove(slot, from, to);
    await cluster.moveKey('m:{b}1', from, to);
    await store.delete(['m:{b}2'], CALL);
    await cluster.endMove(slot, from, to);
    const entries = leases.map((result, i) => {
      assert.ok(result.kind === 'miss' && result.lease !== null);
      return { key: `m:{b}${i + 1}`, value: VALUE, ...ENTRY, lease: result.lease };
    });
    assert.deepEqual(await store.fill(entries, CALL), [true, false]);
  });

  test('a table of invalidations moves: nothing is forgotten, at no moment', async () => {
    // The first table is in slot 0, and so is the first sector's first entry.
    const from = await cluster.currentOwnerOf(0);
    const to = cluster.primaries.find((server) => server !== from)!;
    const keys = Array.from({ length: 300 }, (_, i) => `s:${i}`);
    const putAll = (): Promise<unknown> => Promise.all(keys.map((key) => store.set(key, VALUE, ENTRY, CALL)));
    const all = async (kind: string): Promise<void> => {
      assert.deepEqual(new Set(await kinds(keys)), new Set([kind]));
    };
    await putAll();
    await cluster.beginMove(0, from, to);
    await all('hit');
    await store.invalidate({ tags: ['red'] }, CALL);
    await all('miss');
    await putAll();
    await cluster.endMove(0, from, to);
    await all('hit');
    await store.invalidate({ namespaces: ['s'] }, CALL);
    await all('miss');
  });

  test('a slot that nobody serves costs its own keys only', async () => {
    const { slot, from } = await journey('c');
    await store.set('m:{c}1', VALUE, ENTRY, CALL);
    await store.set('m:{d}1', VALUE, ENTRY, CALL);
    for (const server of cluster.servers) await server.text('CONFIG', 'SET', 'cluster-require-full-coverage', 'no');
    for (const server of cluster.servers) await server.text('CLUSTER', 'DELSLOTS', slot);
    const results = await store.read(['m:{c}1', 'm:{d}1'], { ...LEASE, timeoutMs: 3_000 });
    assert.equal(results[1]?.kind, 'hit');
    assert.ok(results[0]?.kind === 'miss' && results[0].lease !== null, 'its caller is to load, not to wait');
    await assert.rejects(store.delete(['m:{c}1'], { timeoutMs: 200 }), { code: 'INVALIDATION_NOT_ACKNOWLEDGED' });
    await from.text('CLUSTER', 'ADDSLOTS', slot);
    assert.equal(await store.delete(['m:{c}1'], CALL), 1);
  });
});

test('two hundred keys are one round trip, tags and leases included', requires('redis-server'), async () => {
  const server = await RedisServer.start();
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: server.port });
  const store = openValkey(`redis://127.0.0.1:${proxy.port}`, 'adaptive');
  const keys = Array.from({ length: 200 }, (_, i) => `k:${i}`);
  const settled = async (): Promise<number> => {
    for (let seen = -1; seen !== proxy.bytes.up; await new Promise((resolve) => setTimeout(resolve, 50))) {
      seen = proxy.bytes.up;
    }
    return proxy.bytes.up;
  };
  /** Everything that `work` has to say is said before the first answer. On a machine that slept in the middle of it, once more. */
  const isOneTrip = async (work: (attempt: number) => Promise<unknown>): Promise<boolean> => {
    for (let attempt = 0; attempt < 10; attempt += 1) {
      await settled();
      proxy.hold('down');
      const working = work(attempt);
      const said = await settled();
      proxy.release();
      await working;
      if ((await settled()) === said) return true;
    }
    return false;
  };
  try {
    for (let i = 0; i < 150; i += 1) await store.set(keys[i]!, VALUE, { ttlMs: null, tags: [`t:${i % 5}`] }, CALL);
    await store.read(keys, READ); // which tags they have is known from here on
    const reads = await isOneTrip(async (attempt) => {
      const absent = Array.from({ length: 50 }, (_, i) => `absent:${attempt}:${i}`);
      const results = await store.read([...keys.slice(0, 150), ...absent], LEASE);
      assert.equal(results.filter(({ kind }) => kind === 'hit').length, 150);
      assert.equal(results.filter((result) => result.kind === 'miss' && result.lease !== null).length, 50);
    });
    assert.ok(reads, '150 hits and 50 leases');
    const invalidate = () => store.invalidate({ keys, tags: ['t:1'], namespaces: ['n'] }, CALL);
    await invalidate(); // over connections of their own, if it wants them
    assert.ok(await isOneTrip(invalidate), 'an invalidation');
  } finally {
    await store.close();
    await proxy.close();
    await server.close();
  }
});
