/**
 * Grace, early reloads, per-call wishes and "not modified", on a clock turned by hand.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import type { Cache } from '../../src/cache/cache.ts';
import { type CacheOptions, type LoadContext, NOT_MODIFIED } from '../../src/cache/index.ts';
import { embeddedTruth, openLibrary, type Row, SlowStore, Source } from './support.ts';

interface Fleet {
  readonly scheduler: ManualScheduler;
  readonly source: Source;
  readonly caches: Cache<string, Row>[];
  readonly stores: SlowStore[];
}

/** Several processes on one store, without L1. */
function fleet(count: number, options: Partial<CacheOptions<string, Row>>): Fleet {
  const scheduler = new ManualScheduler();
  const truth = embeddedTruth(scheduler);
  const source = new Source();
  source.rows.set('1', 1);
  const stores: SlowStore[] = [];
  const caches = Array.from({ length: count }, (_, i) => {
    const store = new SlowStore(truth);
    store.direct = true;
    stores.push(store);
    return openLibrary({ scheduler, store, seed: i }).bw.cache<Row>('row', { load: source.load, ...options });
  });
  return { scheduler, source, caches, stores };
}

const GRACE = { ttl: '10s', grace: '1m' } as const;

test('grace, L1: served stale at once while one reload runs; then fresh; past its grace a load like any other', async () => {
  const { bw, scheduler } = openLibrary();
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache('row', { load: source.load, ...GRACE });
  await cache.get('1');
  source.automatic = false;
  source.rows.set('1', 2);
  await scheduler.run(10_000);
  assert.equal(cache.peek('1'), undefined, 'peek gives what is within its TTL');
  const answers = await Promise.all(Array.from({ length: 100 }, () => cache.getDetailed('1')));
  assert.ok(answers.every(({ from, value, ageMs }) => from === 'stale' && value?.n === 1 && ageMs === 10_000));
  assert.equal((await cache.getMany(['1'])).get('1')?.n, 1);
  await drainPromises();
  assert.equal(source.calls.length, 2, 'one reload');
  source.last.finish();
  await drainPromises();
  assert.deepEqual(cache.peek('1'), { id: '1', n: 2 });
  const { staleHits, reloads } = cache.stats();
  assert.deepEqual([staleHits, reloads], [101, 1]);

  source.rows.set('1', 3);
  await scheduler.run(70_000);
  const late = cache.getDetailed('1');
  await drainPromises();
  source.last.finish();
  const { from, value } = await late;
  assert.deepEqual([from, value?.n], ['loader', 3]);
});

test('grace, L2: ten processes serve stale at once, and one of them reloads', async () => {
  const { scheduler, source, caches } = fleet(10, GRACE);
  await caches[0]!.get('1');
  source.automatic = false;
  await scheduler.run(10_001);
  const answers = await Promise.all(caches.flatMap((cache) => [cache.getDetailed('1'), cache.getDetailed('1')]));
  assert.ok(answers.every(({ from, value }) => from === 'stale' && value?.n === 1));
  await drainPromises();
  assert.equal(source.calls.length, 2);
  source.last.finish();
  await drainPromises();
  assert.deepEqual((await caches[7]!.getDetailed('1')).from, 'l2');
  const elsewhere = caches.reduce((sum, cache) => sum + cache.stats().reloadsElsewhere, 0);
  assert.equal(elsewhere, 9);
});

test('what was invalidated is not served within its grace, and a reload that it crosses is not stored', async () => {
  const { scheduler, source, caches } = fleet(2, { ...GRACE, tags: () => ['t'] });
  const [a, b] = caches as [Cache<string, Row>, Cache<string, Row>];
  await a.get('1');
  source.automatic = false;
  await scheduler.run(11_000);
  assert.equal((await a.getDetailed('1')).from, 'stale'); // 1. a reload begins: it reads row 1
  await drainPromises();
  const reload = source.last;
  source.rows.set('1', 2); //                                2. the row changes, and the cache is told
  await b.delete('1');
  reload.finish(); //                                        3. the reload ends
  await drainPromises();
  source.automatic = true;
  assert.deepEqual(await b.get('1'), { id: '1', n: 2 });
  assert.deepEqual(await a.get('1'), { id: '1', n: 2 });
});

test('a failing reload: the stale value until its grace is over, one call of the loader per back-off window', async () => {
  const { scheduler, source, caches } = fleet(1, { ...GRACE, grace: '20s', guard: { backoff: { after: 1 } } });
  const [cache] = caches as [Cache<string, Row>];
  await cache.get('1');
  const before = source.calls.length;
  source.automatic = false;
  await scheduler.run(10_000);
  for (let i = 0; i < 50; i += 1) {
    assert.equal((await cache.getDetailed('1')).from, 'stale');
    await drainPromises();
    if (source.calls.length > before) source.last.fail(new Error('down'));
    await drainPromises();
  }
  assert.equal(source.calls.length, before + 1);
  await scheduler.run(20_000);
  const over = cache.get('1');
  await drainPromises();
  source.last.fail(new Error('still down'));
  await assert.rejects(over, /still down/);
});

test('staleWhileReload: false: callers wait for the load; its error, timeout or shedding gives them the stale value', async () => {
  const options = { ...GRACE, staleWhileReload: false, loadTimeout: '1s', guard: { backoff: { after: 1 } } } as const;
  const { scheduler, source, caches } = fleet(1, options);
  const [cache] = caches as [Cache<string, Row>];
  await cache.get('1');
  source.automatic = false;
  await scheduler.run(10_000);
  const first = cache.getDetailed('1');
  await drainPromises();
  const late = cache.getDetailed('1');
  await drainPromises();
  source.last.fail(new Error('down'));
  for (const answer of [await first, await late]) assert.deepEqual([answer.from, answer.value?.n], ['stale', 1]);
  assert.equal((await cache.getDetailed('1')).from, 'stale', 'backed off');
  await assert.rejects(cache.get('1', { maxStale: 0 }), /down/);
  await scheduler.run(700);
  const hung = cache.getDetailed('1');
  await scheduler.run(1_000);
  assert.equal((await hung).from, 'stale', 'timed out');
  await scheduler.run(3_000);
  source.automatic = true;
  assert.equal((await cache.getDetailed('1')).from, 'loader');
});

test('softTimeout: who has a stale value waits so long for a better one; the load goes on', async () => {
  const options = { ...GRACE, staleWhileReload: false, softTimeout: '50ms' } as const;
  const { scheduler, source, caches } = fleet(2, options);
  const [a, b] = caches as [Cache<string, Row>, Cache<string, Row>];
  await a.get('1');
  source.automatic = false;
  source.rows.set('1', 2);
  await scheduler.run(10_000);
  const answers = [a.getDetailed('1'), b.getDetailed('1')];
  await scheduler.run(20);
  answers.push(a.getDetailed('1')); // joins the load, with a soft timeout of its own
  await scheduler.run(50);
  for (const answer of await Promise.all(answers)) assert.deepEqual([answer.from, answer.value?.n], ['stale', 1]);
  assert.equal(source.calls.length, 2);
  source.last.finish();
  await drainPromises();
  assert.equal((await b.get('1'))?.n, 2);
  assert.deepEqual([a.stats().flights, b.stats().flights], [0, 0]);
  assert.equal(scheduler.pending, 1, 'no timer is left but the store’s');
});

test('maxStale narrows the grace for one caller; fresh is the source’s answer, stored for the others', async () => {
  const { scheduler, source, caches } = fleet(2, GRACE);
  const [a, b] = caches as [Cache<string, Row>, Cache<string, Row>];
  await a.get('1');
  source.rows.set('1', 2);
  await scheduler.run(15_000);
  assert.equal((await a.getDetailed('1', { maxStale: '6s' })).from, 'stale');
  await drainPromises();
  await scheduler.run(15_000);
  source.rows.set('1', 3);
  assert.deepEqual(await b.get('1', { maxStale: '5s' }), { id: '1', n: 3 });
  source.rows.set('1', 4);
  assert.equal((await b.getDetailed('1')).from, 'l2');
  assert.equal((await b.get('1'))?.n, 3);
  assert.deepEqual(await b.get('1', { fresh: true }), { id: '1', n: 4 });
  assert.deepEqual(await a.get('1'), { id: '1', n: 4 });
  assert.deepEqual((await a.getMany(['1', '2'], { fresh: true })).get('2'), null);
});

test('fresh does not join a load that began before it', async () => {
  const { source, caches } = fleet(1, GRACE);
  const [cache] = caches as [Cache<string, Row>];
  source.automatic = false;
  const before = cache.get('1');
  await drainPromises();
  source.rows.set('1', 2);
  const fresh = [cache.get('1', { fresh: true }), cache.get('1', { fresh: true })];
  await drainPromises();
  assert.equal(source.calls.length, 2);
  for (const call of source.calls) call.finish();
  assert.equal((await before)?.n, 1);
  assert.deepEqual(
    (await Promise.all(fresh)).map((row) => row?.n),
    [2, 2],
  );
});

test('fresh gets the source’s answer or its error, never a stale value; its caller’s own timeout ends its waiting alone', async () => {
  const { scheduler, source, caches } = fleet(1, { ...GRACE, staleWhileReload: false, softTimeout: '10ms' });
  const [cache] = caches as [Cache<string, Row>];
  await cache.get('1');
  await scheduler.run(10_000);
  source.automatic = false;
  const fresh = cache.get('1', { fresh: true });
  await drainPromises();
  await scheduler.run(50);
  source.last.fail(new Error('down'));
  await assert.rejects(fresh, /down/);
  assert.equal((await Promise.all([cache.getDetailed('1'), scheduler.run(10)]))[0].from, 'stale');
  const impatient = assert.rejects(cache.get('1', { fresh: true, timeout: '20ms' }), { code: 'CACHE_TIMEOUT' });
  await scheduler.run(20);
  await impatient;
});

test('xfetch: a hot key is reloaded before its TTL ends, by one caller, by the time its load takes', async () => {
  const { bw, scheduler } = openLibrary({ seed: 3 });
  let loads = 0;
  const cache = bw.cache('hot', {
    load: async (ids) => {
      loads += 1;
      await new Promise<void>((resolve) => scheduler.setTimer(200, resolve));
      return ids.map(() => loads);
    },
    ttl: '10s',
    early: 'xfetch',
  });
  const first = cache.get('1');
  await scheduler.run(200);
  await first;
  let waited = 0;
  for (let ms = 0; ms < 60_000; ms += 5) {
    let isThere = false;
    const got = cache.get('1').then(() => {
      isThere = true;
    });
    await drainPromises();
    if (!isThere) waited += 1;
    await scheduler.run(5);
    await got;
  }
  assert.equal(waited, 0, 'nobody meets the end of the TTL');
  assert.ok(loads >= 6 && loads <= 9, `${loads} loads in a minute`);
  assert.equal(cache.stats().reloads, loads - 1);
});

test('notModified: the loader is shown the old value, and may say that it is still the truth', async () => {
  const { bw, scheduler } = openLibrary();
  const shown: unknown[] = [];
  let version = 1;
  const cache = bw.cache<{ version: number }>('row', {
    load: async (ids, { stale }: LoadContext) => {
      return ids.map((id) => {
        const old = stale.get(id) as { version: number } | undefined;
        shown.push(old?.version);
        return old?.version === version ? NOT_MODIFIED : { version };
      });
    },
    ...GRACE,
  });
  await cache.get('1');
  await scheduler.run(10_000);
  await cache.get('1');
  await drainPromises();
  assert.deepEqual(cache.peek('1'), { version: 1 }, 'fresh again');
  assert.equal(cache.stats().notModified, 1);
  version = 2;
  await scheduler.run(10_000);
  await cache.get('1');
  await drainPromises();
  assert.deepEqual(cache.peek('1'), { version: 2 });
  assert.deepEqual(shown, [undefined, 1, 1]);
  const liar = bw.cache<string>('liar', { load: async (ids) => ids.map((): typeof NOT_MODIFIED => NOT_MODIFIED) });
  await assert.rejects(liar.get('x'), { code: 'CACHE_LOADER_RESULT' });
});

test('L2 goes away within the grace: L1 serves stale and reloads from the source', async () => {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler), true);
  store.direct = true;
  const { bw } = openLibrary({ scheduler, store });
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache('row', { load: source.load, ...GRACE });
  await cache.get('1');
  store.failing = { what: 'read', error: new BreakwaterError('STORE_TIMEOUT', 'no answer') };
  source.rows.set('1', 2);
  await scheduler.run(12_000);
  assert.equal((await cache.getDetailed('1')).from, 'stale');
  await drainPromises();
  assert.equal(cache.peek('1')?.n, 2);
});

test('options: what makes no sense is refused', async () => {
  const { bw } = openLibrary();
  const declare = (options: object) => () => bw.cache('x', { load: async () => [], ...options });
  for (const options of [
    { early: 'always' },
    { early: 0 },
    { early: true },
    { staleWhileReload: 'no' },
    { softTimeout: '1s' },
    { softTimeout: '1s', grace: '1m' },
  ]) {
    assert.throws(declare(options), { code: 'CACHE_OPTION_INVALID' }, JSON.stringify(options));
  }
  assert.throws(declare({ grace: 'long' }), { code: 'DURATION_INVALID' });
  const cache = bw.cache('x', { load: async () => [] });
  await Promise.all([
    assert.rejects(cache.get('1', { fresh: 1 as unknown as boolean }), { code: 'CACHE_OPTION_INVALID' }),
    assert.rejects(cache.get('1', { maxStale: 'x' }), { code: 'DURATION_INVALID' }),
    assert.rejects(cache.get('1', { maxstale: 1 } as object), { code: 'CACHE_OPTION_UNKNOWN' }),
  ]);
});
