/**
 * The guard in front of loaders: what the database sees, and what callers are told.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { GuardShedError } from '../../src/cache/index.ts';
import { embeddedTruth, openLibrary, SlowStore, Source } from './support.ts';

test('with the whole of L2 gone the database sees no more calls than the cap, also when loaders ignore their signal', async () => {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler));
  store.direct = true;
  store.failing = { what: 'read', error: new BreakwaterError('STORE_UNAVAILABLE', 'gone') };
  const { bw } = openLibrary({ scheduler, store });
  let atSource = 0;
  let peak = 0;
  const cache = bw.cache('row', {
    load: async (ids) => {
      atSource += 1;
      peak = Math.max(peak, atSource);
      await new Promise<void>((resolve) => scheduler.setTimer(3_000, resolve)); // longer than loadTimeout
      atSource -= 1;
      return [...ids];
    },
    loadTimeout: '1s',
    maxBatch: 1,
    guard: { concurrency: 3, queue: 50, breaker: false },
  });
  const outcomes = Array.from({ length: 200 }, (_, i) => cache.get(`${i}`).catch((error: Error) => error));
  for (let ms = 0; ms < 20_000; ms += 500) await scheduler.run(500);
  const codes = new Map<string, number>();
  for (const outcome of await Promise.all(outcomes)) {
    const code = outcome instanceof BreakwaterError ? outcome.code : 'value';
    codes.set(code, (codes.get(code) ?? 0) + 1);
  }
  assert.equal(peak, 3);
  assert.equal(codes.get('GUARD_QUEUE_FULL'), 147);
  assert.ok((codes.get('CACHE_LOAD_TIMEOUT') ?? 0) >= 6 && (codes.get('GUARD_DEADLINE') ?? 0) > 0, `${[...codes]}`);
  const { sources } = await bw.stats();
  assert.equal(sources['cache:row']?.peakAtSource, 3);
});

test('caches share a source: one cap for both, told in stats; options are checked', async () => {
  const { bw } = openLibrary();
  const pg = bw.source('pg', { concurrency: 1 });
  const one = new Source();
  const two = new Source();
  one.automatic = false;
  two.automatic = false;
  const a = bw.cache('a', { load: one.load, guard: pg });
  const b = bw.cache('b', { load: two.load, guard: pg });
  const both = [a.get('1'), b.get('1')];
  await drainPromises();
  assert.deepEqual([one.calls.length, two.calls.length], [1, 0]);
  one.last.finish();
  await drainPromises();
  two.last.finish();
  assert.deepEqual(await Promise.all(both), [null, null]);
  const { sources } = await bw.stats();
  assert.deepEqual(Object.keys(sources), ['pg']);
  assert.equal(sources['pg']?.succeeded, 2);
  assert.throws(() => bw.source('pg'), { code: 'CACHE_NAME_TAKEN' });
  assert.throws(() => bw.source('x', { concurency: 1 } as object), { code: 'CACHE_OPTION_UNKNOWN' });
  assert.throws(() => bw.source('x', { concurrency: 0 }), { code: 'GUARD_OPTION_INVALID' });
  const bad = (guard: object) => () => bw.cache('c', { load: one.load, guard });
  assert.throws(bad({ hardTimeout: '1s' }), { code: 'CACHE_OPTION_UNKNOWN' });
  assert.throws(bad({ breaker: { openn: '1s' } }), { code: 'CACHE_OPTION_UNKNOWN' });
  assert.throws(bad({ backoff: { base: 'x' } }), { code: 'DURATION_INVALID' });
  assert.throws(() => openLibrary({ defaults: { guard: { cap: 1 } as object } }), { code: 'CACHE_OPTION_UNKNOWN' });
});

test('the breaker opens: callers are shed with a typed error, or get the stale value; reloads pause', async () => {
  const { bw, scheduler } = openLibrary();
  const source = new Source();
  source.rows.set('old', 1);
  const cache = bw.cache('row', {
    load: source.load,
    ttl: '10s',
    grace: '1h',
    guard: { breaker: { consecutiveFailures: 3, open: '5s' } },
  });
  await cache.get('old');
  await scheduler.run(11_000);
  source.automatic = false;
  for (let i = 0; i < 3; i += 1) {
    const failing = cache.get(`${i}`);
    await drainPromises();
    source.last.fail(new Error('down'));
    await assert.rejects(failing, /down/);
  }
  const calls = source.calls.length;
  await assert.rejects(
    cache.get('new'),
    (error) => error instanceof GuardShedError && error.code === 'GUARD_CIRCUIT_OPEN' && (error.retryAfterMs ?? 0) > 0,
  );
  for (let i = 0; i < 10; i += 1) {
    assert.equal((await cache.getDetailed('old')).from, 'stale');
    await drainPromises();
  }
  assert.equal(source.calls.length, calls, 'the source is given its rest');
  assert.equal(cache.stats().shed, 2, 'one caller, one reload');
  assert.equal((await bw.stats()).sources['cache:row']?.breaker, 'open');
});

test('a batch leaves out the keys that failed a moment ago, and gives their callers the error', async () => {
  const { bw, scheduler } = openLibrary();
  const asked: string[][] = [];
  const cache = bw.cache('row', {
    guard: { backoff: { after: 1 } },
    load: async (ids) => {
      asked.push([...ids]);
      return ids.map((id) => (id === 'bad' ? new RangeError('poison') : id));
    },
  });
  await assert.rejects(cache.getMany(['a', 'bad']), RangeError);
  const [b, bad] = await Promise.allSettled([cache.get('b'), cache.get('bad')]);
  assert.deepEqual(b, { status: 'fulfilled', value: 'b' });
  assert.ok(bad?.status === 'rejected' && bad.reason instanceof RangeError);
  assert.deepEqual(asked, [['a', 'bad'], ['b']]);
  await scheduler.run(601);
  await assert.rejects(cache.get('bad'), RangeError);
  assert.equal(asked.length, 3);
});

test('reloads in the background go behind what callers wait for', async () => {
  const { bw, scheduler } = openLibrary();
  const source = new Source();
  for (const id of ['a', 'b', 'c', 'd']) source.rows.set(id, 1);
  const cache = bw.cache('row', {
    load: source.load,
    ttl: '10s',
    grace: '1m',
    maxBatch: 1,
    guard: { concurrency: 1 },
  });
  await cache.getMany(['a', 'b']);
  await scheduler.run(10_000);
  source.automatic = false;
  source.calls.length = 0;
  await cache.get('a'); // a reload takes the slot
  await drainPromises();
  await cache.get('b'); // a reload waits
  await drainPromises();
  const waiting = cache.get('c'); // a caller waits
  await drainPromises();
  const order: string[] = [];
  for (let i = 0; i < 3; i += 1) {
    order.push(...source.last.ids);
    source.last.finish();
    await drainPromises();
  }
  assert.equal((await waiting)?.n, 1);
  assert.deepEqual(order, ['a', 'c', 'b']);
});

test('close: calls at the source are aborted with the reason, those that wait are told', async () => {
  const { bw } = openLibrary();
  const source = new Source();
  source.automatic = false;
  const cache = bw.cache('row', { load: source.load, maxBatch: 1, guard: { concurrency: 1 } });
  const outcomes = Promise.allSettled([cache.get('1'), cache.get('2')]);
  await drainPromises();
  await bw.close();
  for (const outcome of await outcomes) {
    assert.ok(outcome.status === 'rejected' && outcome.reason.code === 'CACHE_CLOSED');
  }
  assert.equal(source.last.signal.reason.code, 'CACHE_CLOSED');
  assert.equal(source.calls.length, 1);
});

test('loaders that hang and ignore their signal hold their slots, but not for ever', async () => {
  const { bw, scheduler } = openLibrary();
  let hanging = true;
  const cache = bw.cache('row', {
    load: (ids) => (hanging ? new Promise<string[]>(() => {}) : Promise.resolve([...ids])),
    loadTimeout: '100ms',
    maxBatch: 1,
    guard: { concurrency: 2, queueTimeout: '1s' },
  });
  const hung = Promise.allSettled([cache.get('1'), cache.get('2')]);
  await drainPromises();
  await scheduler.run(100);
  assert.ok((await hung).every((one) => one.status === 'rejected' && one.reason.code === 'CACHE_LOAD_TIMEOUT'));
  hanging = false;
  const shed = assert.rejects(cache.get('3'), { code: 'GUARD_DEADLINE' });
  await drainPromises();
  await scheduler.run(1_100);
  await shed;
  await scheduler.run(60_000);
  const answer = cache.get('4');
  await scheduler.run(10);
  assert.equal(await answer, '4');
  await bw.close();
});
