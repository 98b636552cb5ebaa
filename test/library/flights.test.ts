import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { createBreakwater } from '../../src/cache/index.ts';
import { embeddedTruth, openLibrary, SlowStore, Source } from './support.ts';

test('10,000 concurrent callers of a cold key: one read of L2, one load, one value for all', async () => {
  const { bw } = openLibrary();
  const source = new Source();
  source.automatic = false;
  source.rows.set('1', 7);
  const cache = bw.cache('row', { load: source.load });
  const callers = Array.from({ length: 5_000 }, () => cache.get('1'));
  await drainPromises();
  callers.push(...Array.from({ length: 5_000 }, () => cache.get('1'))); // these come while it loads
  await drainPromises();
  assert.equal(source.calls.length, 1);
  source.last.finish();
  const values = await Promise.all(callers);
  assert.ok(values.every((value) => value === values[0]));
  assert.deepEqual(values[0], { id: '1', n: 7 });
  assert.equal(source.calls.length, 1);
  const stats = cache.stats();
  assert.deepEqual([stats.loads, stats.joined, stats.misses], [1, 9_999, 1]);
  await bw.close();
});

test('a failing loader is called once per flight, then once per back-off window; every caller gets its very error', async () => {
  const { bw, scheduler } = openLibrary();
  class RowGone extends Error {}
  const failure = new RowGone('the database is on fire');
  let calls = 0;
  const cache = bw.cache('row', {
    load: async (): Promise<string[]> => {
      calls += 1;
      throw failure;
    },
  });
  const results = await Promise.allSettled(Array.from({ length: 1_000 }, () => cache.get('1')));
  assert.ok(results.every((result) => result.status === 'rejected' && result.reason === failure));
  assert.equal(calls, 1);
  await assert.rejects(cache.get('1'), RowGone);
  assert.equal(calls, 2, 'one failure may have been chance');
  await assert.rejects(cache.get('1'), RowGone);
  assert.equal(calls, 2, 'two in a row: the key is given a rest');
  assert.equal(cache.stats().backedOff, 1);
  await scheduler.run(601); // 500 ms, give or take a fifth
  await assert.rejects(cache.get('1'), RowGone);
  assert.equal(calls, 3, 'and is loaded again');
  assert.equal(cache.stats().loadErrors, 3);
});

test('a loader that throws before it returns a promise, or an Error in the place of one value', async () => {
  const { bw } = openLibrary();
  const thrower = bw.cache('throws', {
    load: (): string[] => {
      throw new TypeError('at once');
    },
  });
  await assert.rejects(thrower.get('1'), TypeError);
  const some = bw.cache('some', { load: async (ids) => ids.map((id) => (id === 'bad' ? new RangeError(id) : id)) });
  const [good, bad] = await Promise.allSettled([some.get('good'), some.get('bad')]);
  assert.deepEqual(good, { status: 'fulfilled', value: 'good' });
  assert.ok(bad?.status === 'rejected' && bad.reason instanceof RangeError);
  assert.equal(await some.get('good'), 'good');
});

test('a hung loader is cut off, its signal aborted, its late answer thrown away; the key is free at once', async () => {
  const { bw, scheduler } = openLibrary({ defaults: { loadTimeout: '1s' } });
  const source = new Source();
  source.automatic = false;
  source.rows.set('1', 1);
  const cache = bw.cache('row', { load: source.load });
  const first = cache.get('1');
  const outcome = assert.rejects(first, { code: 'CACHE_LOAD_TIMEOUT' });
  await scheduler.run(999);
  assert.equal(source.last.signal.aborted, false);
  await scheduler.run(1);
  await outcome;
  const hung = source.last;
  assert.equal(hung.signal.aborted, true);

  source.rows.set('1', 2);
  const second = cache.get('1');
  await drainPromises();
  assert.equal(source.calls.length, 2);
  hung.finish(); // the old row, too late
  await drainPromises();
  source.last.finish();
  assert.deepEqual(await second, { id: '1', n: 2 });
  await drainPromises();
  assert.deepEqual(cache.peek('1'), { id: '1', n: 2 });
  assert.equal(cache.stats().loadTimeouts, 1);
  await bw.close();
});

test('a caller’s own signal or timeout ends only that caller’s waiting, and leaves nothing behind', async () => {
  const { bw, scheduler } = openLibrary();
  const source = new Source();
  source.automatic = false;
  source.rows.set('1', 1);
  const cache = bw.cache('row', { load: source.load });
  const timersBefore = scheduler.pending;
  const controller = new AbortController();
  const aborted = assert.rejects(cache.get('1', { signal: controller.signal }), { name: 'AbortError' });
  const timedOut = assert.rejects(cache.get('1', { timeout: 30 }), { code: 'CACHE_TIMEOUT' });
  const patient = cache.get('1', { timeout: '1m', signal: new AbortController().signal });
  await drainPromises();
  controller.abort();
  await scheduler.run(30);
  await Promise.all([aborted, timedOut]);
  source.last.finish();
  assert.deepEqual(await patient, { id: '1', n: 1 });
  assert.equal(source.calls.length, 1);
  assert.equal(cache.stats().abandonedWaits, 2);
  assert.equal(scheduler.pending, timersBefore, 'no timer is left');
  await assert.rejects(cache.get('1', { signal: AbortSignal.abort() }), { name: 'AbortError' });
});

test('gets of one tick gather: one read of L2, one call of the loader, in chunks of maxBatch', async () => {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler), true);
  store.direct = true;
  const { bw } = openLibrary({ scheduler, store });
  const source = new Source();
  for (let i = 0; i < 10; i += 1) source.rows.set(`${i}`, i);
  const cache = bw.cache('row', { load: source.load, maxBatch: 4 });
  const got = [cache.get('0'), cache.get('1'), Promise.resolve().then(() => cache.get('2'))];
  assert.deepEqual(
    (await Promise.all(got)).map((row) => row?.n),
    [0, 1, 2],
  );
  assert.deepEqual(
    source.calls.map((call) => call.ids),
    [['0', '1', '2']],
  );
  assert.deepEqual([store.counts.read, store.counts.fill], [1, 1]);
  await cache.getMany(['3', '4', '5', '6', '7', '8']);
  assert.deepEqual(
    source.calls.slice(1).map((call) => call.ids),
    [
      ['3', '4', '5', '6'],
      ['7', '8'],
    ],
  );
});

test('getMany of more ids than the store has leases: every one of them is stored, in convoys; others need not wait for it', async () => {
  const bw = createBreakwater();
  const ids = Array.from({ length: 40_000 }, (_, i) => `${i}`);
  let [loaded, most, running] = [0, 0, 0];
  const load = async (batch: readonly string[]) => {
    loaded += batch.length;
    running += batch.length;
    most = Math.max(most, running);
    await new Promise((resolve) => setImmediate(resolve));
    running -= batch.length;
    return [...batch];
  };
  const cache = bw.cache('row', { load, l1: false });
  const all = cache.getMany(ids);
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(await Promise.race([cache.get('another'), all.then(() => 'too late')]), 'another');
  assert.equal((await all).get('39999'), '39999');
  assert.deepEqual([loaded, cache.stats().fillsRefused], [40_001, 0]);
  assert.ok(most <= 4_097, `${most} at once`);
  await cache.getMany(ids);
  assert.equal(loaded, 40_001, 'all of them are in the store');
  await bw.close();
});

test('a convoy of flights that fail, or wait for another process, makes room for the next one', async () => {
  const { bw, scheduler } = openLibrary({ defaults: { loadTimeout: '1s', leaseWait: '100ms' } });
  const ids = Array.from({ length: 9_000 }, (_, i) => `${i}`);
  let calls = 0;
  const cache = bw.cache('row', {
    load: async (batch): Promise<string[]> => {
      calls += 1;
      if (batch.includes('0')) throw new Error('no database');
      return batch.includes('1500') ? new Promise(() => undefined) : [...batch];
    },
    l1: false,
  });
  const outcome = Promise.allSettled([cache.getMany(ids), cache.get('8999')]);
  await scheduler.run(3_000);
  const [many, last] = await outcome;
  assert.ok(many?.status === 'rejected');
  assert.deepEqual(last, { status: 'fulfilled', value: '8999' });
  assert.equal(calls, 9);
  await bw.close();
});

test('getMany: order of asking, duplicates once, partial hits, at most one read and one load', async () => {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler), true);
  store.direct = true;
  const { bw } = openLibrary({ scheduler, store });
  const other = openLibrary({ scheduler, store });
  const source = new Source();
  for (const id of ['a', 'b', 'c']) source.rows.set(id, id.charCodeAt(0));
  const cache = bw.cache('row', { load: source.load });
  await cache.get('a'); //                                            in L1
  await other.bw.cache('row', { load: source.load }).get('b'); //     in L2
  const reads = store.counts.read;
  const answer = await cache.getMany(['c', 'b', 'missing', 'a', 'c']);
  assert.deepEqual(
    [...answer].map(([id, row]) => [id, row?.n ?? null]),
    [
      ['c', 99],
      ['b', 98],
      ['missing', null],
      ['a', 97],
    ],
  );
  assert.equal(store.counts.read - reads, 1);
  assert.deepEqual(source.last.ids, ['c', 'missing']);
  const again = source.calls.length;
  assert.equal((await cache.getMany(['a', 'b', 'c', 'missing'])).size, 4);
  assert.equal(source.calls.length, again, 'all of it is in L1 now, the absence too');
  assert.equal((await cache.getMany([])).size, 0);
});

test('known absent: remembered for negativeTtl, 0 = not at all', async () => {
  const { bw, scheduler } = openLibrary();
  const source = new Source();
  const cache = bw.cache('row', { load: source.load, negativeTtl: '10s', ttl: '1m' });
  assert.equal(await cache.get('ghost'), null);
  assert.equal(cache.peek('ghost'), null);
  assert.equal(cache.peek('other'), undefined);
  await scheduler.run(9_999);
  assert.equal(await cache.get('ghost'), null);
  assert.equal(source.calls.length, 1);
  source.rows.set('ghost', 1);
  await scheduler.run(1);
  assert.equal((await cache.get('ghost'))?.n, 1);
  const forgetful = bw.cache('forgetful', { load: source.load, negativeTtl: 0 });
  assert.equal(await forgetful.get('x'), null);
  source.rows.set('x', 3);
  assert.equal((await forgetful.get('x'))?.n, 3);
});

test('an absence that is not remembered has no verdict of the store: who joined its load asks again', async () => {
  const scheduler = new ManualScheduler();
  const truth = embeddedTruth(scheduler);
  const source = new Source();
  source.automatic = false;
  const stores = [new SlowStore(truth), new SlowStore(truth)];
  for (const store of stores) store.direct = true;
  const [here, elsewhere] = stores.map((store) =>
    openLibrary({ scheduler, store }).bw.cache('row', { load: source.load, negativeTtl: 0 }),
  );
  const before = here!.get('1');
  await scheduler.run(1);
  const [load] = source.calls;
  // The row is inserted in another process, and that is acknowledged.
  source.rows.set('1', 1);
  await elsewhere!.delete('1');
  const after = here!.get('1');
  await scheduler.run(1);
  source.automatic = true;
  load!.finish();
  await scheduler.run(1);
  assert.equal(await before, null, 'it came before the insert');
  assert.deepEqual(await after, { id: '1', n: 1 });
});

test('ttl: L1 and L2 let go together, and jitter spreads to both sides', async () => {
  const { bw, scheduler } = openLibrary();
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache('row', { load: source.load, ttl: '10s' });
  await cache.get('1');
  await scheduler.run(9_999);
  assert.equal((await cache.getDetailed('1')).from, 'l1');
  await scheduler.run(1);
  assert.equal((await cache.getDetailed('1')).from, 'loader');

  const spread = bw.cache('spread', { load: source.load, ttl: '100s', jitter: 0.1 });
  const ids = Array.from({ length: 500 }, (_, i) => `s${i}`);
  for (const id of ids) source.rows.set(id, 1);
  await spread.getMany(ids);
  const alive = (): number => ids.filter((id) => spread.peek(id) !== undefined).length;
  await scheduler.run(89_900);
  assert.equal(alive(), 500);
  await scheduler.run(10_100);
  assert.ok(alive() > 180 && alive() < 320, `about half are left at the mean: ${alive()}`);
  await scheduler.run(10_200);
  assert.equal(alive(), 0);
});

test('an L1 entry filled from L2 lives no longer than what was left there', async () => {
  const scheduler = new ManualScheduler();
  const truth = embeddedTruth(scheduler);
  const a = openLibrary({ scheduler, store: truth });
  const b = openLibrary({ scheduler, store: truth });
  const source = new Source();
  source.rows.set('1', 1);
  await a.bw.cache('row', { load: source.load, ttl: '10s' }).get('1');
  await scheduler.run(8_000);
  const cache = b.bw.cache('row', { load: source.load, ttl: '10s' });
  const got = await cache.getDetailed('1');
  assert.deepEqual([got.from, got.ageMs], ['l2', 8_000]);
  assert.ok(got.version !== null);
  await scheduler.run(1_999);
  assert.equal((await cache.getDetailed('1')).ageMs, 9_999);
  await scheduler.run(1);
  assert.equal(cache.peek('1'), undefined);
});

test('what the loader may not return', async () => {
  const { bw } = openLibrary();
  const answers: Record<string, unknown> = {
    short: ['x'],
    none: undefined,
    object: { a: 1 },
    text: 'ab',
  };
  for (const [name, answer] of Object.entries(answers)) {
    const cache = bw.cache(name, { load: (() => answer) as unknown as () => string[] });
    await assert.rejects(cache.getMany(['a', 'b']), { code: 'CACHE_LOADER_RESULT' }, name);
  }
  const extras = bw.cache('extras', {
    load: (ids) => new Map([...ids.map((id) => [id, `${id}!`] as const), ['uninvited', 'x']]),
  });
  assert.equal(await extras.get('a'), 'a!');
  assert.equal(extras.peek('uninvited'), undefined);
  assert.equal(extras.stats().loaderExtras, 1);
  const sorted = bw.cache('sorted', { load: (ids) => [...(ids as string[]).sort()] });
  await assert.rejects(
    sorted.getMany(['b', 'a']),
    TypeError,
    'ids are frozen: a sorted array would put values under wrong keys',
  );
});

test('L2 down: gets go to the loader and never fail for it; after a few failures it is not even asked', async () => {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler), true);
  store.direct = true;
  const { bw } = openLibrary({ scheduler, store, defaults: { l1: false } });
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache('row', { load: source.load });
  store.failing = { what: 'read', error: new BreakwaterError('STORE_TIMEOUT', 'no answer') };
  for (let i = 0; i < 10; i += 1) assert.equal((await cache.get('1'))?.n, 1);
  assert.equal(store.counts.read, 3);
  let stats = cache.stats();
  assert.deepEqual([stats.l2ReadErrors, stats.l2ReadsSkipped, stats.loads], [3, 7, 10]);
  assert.equal((await bw.stats()).store.isDown, true);
  await scheduler.run(1_000);
  await cache.get('1');
  assert.equal(store.counts.read, 4, 'one probe');
  store.failing = null;
  await scheduler.run(1_000);
  await cache.get('1');
  stats = cache.stats();
  assert.equal((await cache.getDetailed('1')).from, 'l2');
  assert.equal((await bw.stats()).store.isDown, false);
});

test('writes that the store did not acknowledge are rejected, and L1 is empty all the same', async () => {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler), true);
  store.direct = true;
  const { bw } = openLibrary({ scheduler, store });
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache('row', { load: source.load, tags: () => ['t'] });
  const error = new BreakwaterError('STORE_UNAVAILABLE', 'the connection is gone');
  for (const [what, code, call] of [
    ['delete', 'CACHE_INVALIDATION_UNACKNOWLEDGED', () => cache.delete('1')],
    ['invalidate', 'CACHE_INVALIDATION_UNACKNOWLEDGED', () => bw.invalidate({ tags: ['t'] })],
    ['set', 'CACHE_WRITE_UNACKNOWLEDGED', () => cache.set('1', { id: '1', n: 2 })],
  ] as const) {
    await cache.get('1');
    assert.notEqual(cache.peek('1'), undefined);
    store.failing = { what, error };
    await assert.rejects(
      call(),
      (thrown) => thrown instanceof BreakwaterError && thrown.code === code && thrown.cause === error,
    );
    assert.equal(cache.peek('1'), undefined, what);
    store.failing = null;
  }
  // A refusal is no doubt: its own code, and nothing is under the key.
  for (const code of ['STORE_TOO_LARGE', 'STORE_NO_ROOM', 'STORE_TOO_MANY_TAGS', 'STORE_KEY_RESERVED']) {
    await cache.get('1');
    const refusal = new BreakwaterError(code, 'no');
    store.failing = { what: 'set', error: refusal };
    await assert.rejects(cache.set('1', { id: '1', n: 2 }), (thrown) => thrown === refusal);
    assert.equal(cache.peek('1'), undefined);
    store.failing = null;
  }
  const big = createBreakwater().cache<string>('big', { load: async () => [] });
  await assert.rejects(big.set('1', 'x'.repeat(65 * 1024 ** 2)), { code: 'STORE_TOO_LARGE' });
  assert.throws(() => createBreakwater({ store: null as never }), { code: 'CACHE_OPTION_INVALID' });
});

test('close: callers, later calls and loaders all learn of it', async () => {
  const { bw } = openLibrary();
  const source = new Source();
  source.automatic = false;
  const cache = bw.cache('row', { load: source.load });
  const waiting = cache.get('1');
  const outcome = assert.rejects(waiting, { code: 'CACHE_CLOSED' });
  await drainPromises();
  await bw.close();
  await bw.close();
  await outcome;
  assert.equal(source.last.signal.aborted, true);
  source.last.finish();
  await drainPromises();
  for (const call of [
    cache.get('1'),
    cache.getMany(['1']),
    cache.getDetailed('1'),
    cache.delete('1'),
    bw.invalidate({ tags: ['t'] }),
  ]) {
    await assert.rejects(call, { code: 'CACHE_CLOSED' });
  }
  await assert.rejects(cache.set('1', { id: '1', n: 1 }), { code: 'CACHE_CLOSED' });
  assert.throws(() => bw.cache('more', { load: source.load }), { code: 'CACHE_CLOSED' });
  assert.equal(cache.peek('1'), undefined);
});
