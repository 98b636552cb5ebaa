/**
 * While the store cannot be asked: loads have no lease, so nothing tells what another process invalidated while they ran. Then nobody may be
 * given what a load brings that asked the source before he came; and the source must not pay for that.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import type { SharedCacheOptions } from '../../src/cache/types.ts';
import { embeddedTruth, openLibrary, SlowStore, Source } from './support.ts';

const DOWN = new BreakwaterError('STORE_UNAVAILABLE', 'the store is away');

function open(defaults: SharedCacheOptions = {}) {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler));
  store.direct = true;
  store.failing = { what: ['read', 'lease', 'fill'], error: DOWN };
  const { bw } = openLibrary({ scheduler, store, defaults });
  const source = new Source();
  source.automatic = false;
  source.rows.set('1', 1);
  return { scheduler, store, bw, source };
}

test('a caller is not given what a load without a lease read before he came; the next load is one for all who wait', async () => {
  const { bw, source } = open();
  const cache = bw.cache('row', { load: source.load });
  const early = cache.get('1');
  await drainPromises();
  assert.equal(source.calls.length, 1);
  source.rows.set('1', 2); // by another process, which has its invalidation acknowledged
  const late = [];
  for (let i = 0; i < 50; i += 1) {
    late.push(cache.get('1'), cache.get('1', { maxStale: 0 }), cache.get('1', { fresh: true }));
    await drainPromises();
  }
  assert.equal(source.calls.length, 1, 'no second load beside it');
  source.last.finish();
  assert.equal((await early)?.n, 1, 'who asked before may have the old row');
  await drainPromises();
  assert.equal(source.calls.length, 2, 'one load for all the others');
  assert.deepEqual(source.last.ids, ['1']);
  source.last.finish();
  for (const row of await Promise.all(late)) assert.equal(row?.n, 2);
  assert.equal(source.calls.length, 2);
  await bw.close();
});

test('who comes before the source is asked joins: a load that waits for its turn is one for all', async () => {
  const { bw, source } = open();
  source.rows.set('2', 1);
  const shared = bw.source('db', { concurrency: 1 });
  const cache = bw.cache('row', { load: source.load, guard: shared });
  const first = cache.get('2');
  await drainPromises();
  const got = [cache.get('1')];
  await drainPromises();
  source.rows.set('1', 2);
  for (let i = 0; i < 10; i += 1) {
    got.push(cache.get('1', i % 2 === 0 ? {} : { fresh: true }));
    await drainPromises();
  }
  source.last.finish();
  await first;
  await drainPromises();
  source.last.finish();
  for (const row of await Promise.all(got)) assert.equal(row?.n, 2);
  assert.deepEqual(
    source.calls.map(({ ids }) => ids),
    [['2'], ['1']],
  );
  await bw.close();
});

test('the load that was waited for fails: who waited asks for itself, once; a batch names each id once', async () => {
  const { bw, source } = open();
  const cache = bw.cache('row', { load: source.load });
  const early = cache.get('1');
  await drainPromises();
  const late = [cache.get('1'), cache.get('1', { maxStale: 0 }), cache.get('1', { fresh: true })];
  await drainPromises();
  source.last.fail(new Error('no database'));
  await assert.rejects(early, /no database/);
  await drainPromises();
  assert.deepEqual(
    source.calls.map(({ ids }) => ids),
    [['1'], ['1']],
  );
  source.last.finish();
  for (const row of await Promise.all(late)) assert.equal(row?.n, 1);
  const together = cache.getMany(['1', '2', '3']);
  const wished = cache.get('2', { maxStale: 0 });
  await drainPromises();
  assert.deepEqual(source.last.ids, ['1', '2', '3']);
  source.last.finish();
  await Promise.all([together, wished]);
  await bw.close();
});

test('a loader that hangs: who waits behind it is served by the next load, after one deadline', async () => {
  const { bw, source, scheduler } = open({ loadTimeout: '1s' });
  const cache = bw.cache('row', { load: source.load });
  const early = assert.rejects(cache.get('1'), { code: 'CACHE_LOAD_TIMEOUT' });
  await drainPromises();
  const late = cache.get('1');
  await scheduler.run(1_000);
  await early;
  await drainPromises();
  assert.equal(source.calls.length, 2);
  source.last.finish();
  assert.equal((await late)?.n, 1);
  const hanging = cache.get('1');
  await drainPromises();
  const behind = cache.get('1');
  const outcomes = Promise.allSettled([hanging, behind]);
  await drainPromises();
  await bw.close();
  for (const outcome of await outcomes) {
    assert.ok(outcome.status === 'rejected' && outcome.reason.code === 'CACHE_CLOSED');
  }
});

test('the store comes back while somebody waits behind a load: the value comes from the store', async () => {
  const { bw, source, store, scheduler } = open();
  const cache = bw.cache('row', { load: source.load });
  const early = cache.get('1');
  await drainPromises();
  const late = cache.get('1');
  await drainPromises();
  store.failing = null;
  await scheduler.run(1_000); // the probe
  await store.set('row:1', new TextEncoder().encode('{"id":"1","n":5}'), { ttlMs: null, tags: [] }, { timeoutMs: 10 });
  source.last.finish();
  assert.equal((await early)?.n, 1);
  assert.equal((await late)?.n, 5);
  assert.equal(source.calls.length, 1);
  await bw.close();
});

test('a stale value in the hand goes to those it was read for, not to who joins, and is gone when the store says so', async () => {
  const { bw, source, store, scheduler } = open({ ttl: '10s', grace: '1h', staleWhileReload: false });
  store.failing = null;
  source.automatic = true;
  const cache = bw.cache('row', { load: source.load });
  const other = openLibrary({ scheduler, store, defaults: { ttl: '10s', grace: '1h' } }).bw.cache('row', {
    load: () => new Promise(() => undefined),
  });
  await cache.get('1');
  await scheduler.run(11_000);
  source.automatic = false;
  void other.get('1', { fresh: true }).catch(() => undefined); // another process holds the lease
  await drainPromises();
  const early = cache.get('1');
  await drainPromises();
  await store.delete(['row:1'], { timeoutMs: 10 });
  source.rows.set('1', 2);
  const late = cache.get('1');
  const failing = Promise.allSettled([early, late]);
  for (let i = 0; i < 40 && source.calls.length < 2; i += 1) await scheduler.run(50);
  for (let i = 0; i < 3; i += 1) {
    for (const call of source.calls.slice(1)) call.fail(new Error('no database'));
    await scheduler.run(50);
  }
  const [, second] = await failing;
  assert.ok(second?.status === 'rejected', 'never the value that was deleted before the call');
  await bw.close();
});
