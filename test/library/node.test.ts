/** The library against a real node over real sockets, as processes of one service use it. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Breakwater, type BreakwaterOptions, createBreakwater } from '../../src/cache/index.ts';
import { type LiveNode, startLiveNode } from '../contract/live-node.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { Source } from './support.ts';

let node: LiveNode;
before(async () => {
  node = await startLiveNode();
});
after(async () => {
  await Promise.all(opened.map((bw) => bw.close()));
  await node.close();
});

const opened: Breakwater[] = [];
/** A read that a busy machine cuts off is a load without a lease: nothing here is about that, but for the node that falls silent. */
const PATIENT = {
  readTimeout: '30s',
  writeTimeout: '30s',
  defaults: { leaseWait: '30s', loadTimeout: '30s' },
} as const;
const open = (options: Omit<BreakwaterOptions, 'store'> = {}): Breakwater => {
  const bw = createBreakwater({ store: node.url, ...PATIENT, ...options });
  opened.push(bw);
  return bw;
};

test('what one process loads another reads; a delete in one is a miss in the other', async () => {
  const [a, b] = [open(), open()];
  const source = new Source();
  source.rows.set('1', 1);
  const inA = a.cache('shared', { load: source.load });
  const inB = b.cache('shared', { load: source.load });
  await inA.get('1');
  await waitUntil(async () => (await inB.getDetailed('1')).from === 'l2');
  assert.equal(source.calls.length <= 2, true);
  const calls = source.calls.length;
  source.rows.set('1', 2);
  assert.equal(await inB.delete('1'), true);
  assert.equal((await inA.get('1'))?.n, 2);
  assert.equal(source.calls.length, calls + 1);
});

test('20 libraries with 100 callers each on one cold key: one load', async () => {
  const libraries = Array.from({ length: 20 }, () => open());
  const source = new Source();
  source.automatic = false;
  source.rows.set('hot', 1);
  const callers = libraries.flatMap((bw) => {
    const cache = bw.cache('stampede', { load: source.load });
    return Array.from({ length: 100 }, () => cache.get('hot'));
  });
  await waitUntil(() => source.calls.length === 1);
  source.last.finish();
  const values = await Promise.all(callers);
  assert.ok(values.every((row) => row?.n === 1));
  assert.equal(source.calls.length, 1);
});

test('a loader that fails in one process does not keep the others waiting for its lease', async () => {
  const [a, b] = [open(), open()];
  const failing = a.cache('fails', {
    load: async (): Promise<string[]> => {
      throw new Error('no');
    },
  });
  const working = b.cache('fails', { load: async (ids) => ids.map((id) => id) });
  await assert.rejects(failing.get('1'), /no/);
  // The node's clock stands still: a lease that was not given back would never end.
  await waitUntil(async () => (await working.getDetailed('1')).from === 'l2');
});

test('tags and namespaces reach everything on the node; getMany is one round trip', async () => {
  const bw = open();
  const source = new Source();
  for (let i = 0; i < 100; i += 1) source.rows.set(`${i}`, i);
  const cache = bw.cache('tagged', { load: source.load, tags: (row) => [`mod:${row.n % 2}`] });
  const ids = Array.from({ length: 100 }, (_, i) => `${i}`);
  await cache.getMany(ids);
  await waitUntil(async () => (await cache.getDetailed('99')).from === 'l2');
  const loads = source.calls.length;
  assert.equal((await cache.getMany(ids)).size, 100);
  assert.equal(source.calls.length, loads);
  await bw.invalidate({ tags: ['mod:1'] });
  await cache.getMany(ids);
  assert.deepEqual(
    source.last.ids,
    ids.filter((id) => Number(id) % 2 === 1),
  );
  await bw.invalidate({ namespaces: ['tagged'] });
  await cache.getMany(ids);
  assert.equal(source.last.ids.length, 100);
});

test('values written by others: JSON is read, anything else is replaced; a newer format too', async () => {
  const bw = open();
  const cache = bw.cache<unknown>('foreign', { load: async (ids) => ids.map((id) => `loaded ${id}`) });
  const session = node.node.store;
  const put = (key: string, value: Uint8Array | string): void => {
    const k = new TextEncoder().encode(key);
    const v = typeof value === 'string' ? new TextEncoder().encode(value) : value;
    assert.equal(session.set(k, 0, k.length, v, 0, v.length, 0, node.clock.now()), 1);
  };
  put('foreign:json', '{"by":"redis-cli"}');
  put('foreign:text', 'not JSON');
  put('foreign:newer', new Uint8Array([0xc1, 9, 1, 0, 30]));
  assert.deepEqual(await cache.get('json'), { by: 'redis-cli' });
  for (const id of ['text', 'newer']) {
    assert.equal(await cache.get(id), `loaded ${id}`);
    await waitUntil(async () => (await cache.getDetailed(id)).from === 'l2');
  }
  assert.equal(cache.stats().unreadable, 2);
});

test('the node falls silent: gets fall through to the loader, invalidations are rejected; it comes back by itself', async (t) => {
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: node.port });
  const bw = createBreakwater({
    store: `breakwater://127.0.0.1:${proxy.port}`,
    readTimeout: '60ms',
    writeTimeout: '120ms',
  });
  t.after(async () => {
    await bw.close();
    await proxy.close();
  });
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache('outage', { load: source.load });
  await cache.get('1');
  proxy.blackhole();
  for (let i = 0; i < 5; i += 1) assert.equal((await cache.get('1'))?.n, 1);
  await assert.rejects(cache.delete('1'), { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED' });
  const stats = await bw.stats();
  assert.equal(stats.store.isDown, true);
  assert.equal(stats.store.numbers, null);
  assert.match(stats.store.lastError ?? '', /STORE_TIMEOUT/);
  proxy.heal();
  proxy.reset();
  await waitUntil(async () => {
    node.clock.advance(5_000); // leases whose answers were lost run out on the node's clock, which is ours
    return (await cache.getDetailed('1')).from === 'l2';
  });
  await cache.delete('1');
});

test('an L1 in front of a node without its feed must say how stale it may be; with it, its own delete is seen at once', async () => {
  const bw = open();
  const unfed = createBreakwater({ store: node.url, ...PATIENT, staleness: false });
  opened.push(unfed);
  const source = new Source();
  source.rows.set('1', 1);
  assert.throws(() => unfed.cache('bare', { load: source.load, l1: {} }), { code: 'CACHE_OPTION_INVALID' });
  const cache = bw.cache('near', { load: source.load, l1: { ttl: '1m' } });
  await cache.get('1');
  // The first read began before the feed was followed: not kept.
  await waitUntil(async () => (await cache.getDetailed('1')).from === 'l1');
  await cache.delete('1'); // this process's own invalidations reach its L1 at once
  assert.equal(cache.peek('1'), undefined);
});

async function waitUntil(isTrue: () => boolean | Promise<boolean>, withinMs = 60_000): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await isTrue())) {
    assert.ok(performance.now() < end, `not within ${withinMs} ms: ${isTrue}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
