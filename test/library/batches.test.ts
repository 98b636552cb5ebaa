/** `getMany`: its ids are read without a flight each; whatever is no plain hit, or that others ask for too, becomes one. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { embeddedTruth, openLibrary, SlowStore, Source } from './support.ts';

function open(defaults = {}) {
  const scheduler = new ManualScheduler();
  const store = new SlowStore(embeddedTruth(scheduler));
  store.direct = true;
  const { bw } = openLibrary({ scheduler, store, defaults: { l1: false, ...defaults } });
  const source = new Source();
  for (let n = 0; n < 20; n += 1) source.rows.set(`${n}`, n);
  return { bw, store, scheduler, source };
}

test('what several callers of one tick ask for is read once and loaded once, in any order of asking', async () => {
  const { bw, store, source } = open();
  const cache = bw.cache('row', { load: source.load });
  const answers = await Promise.all([
    cache.get('1'),
    cache.getMany(['1', '2', '3']),
    cache.get('3'),
    cache.getMany(['2', '3', '4', 'none']),
    cache.get('4'),
    cache.getMany(['5']),
  ]);
  assert.deepEqual(
    answers.map((answer) => (answer instanceof Map ? [...answer].map(([id, row]) => [id, row?.n ?? null]) : answer?.n)),
    [
      1,
      [
        ['1', 1],
        ['2', 2],
        ['3', 3],
      ],
      3,
      [
        ['2', 2],
        ['3', 3],
        ['4', 4],
        ['none', null],
      ],
      4,
      [['5', 5]],
    ],
  );
  assert.equal(store.counts.read, 1);
  assert.equal(source.calls.length, 1);
  assert.deepEqual([...source.last.ids].sort(), ['1', '2', '3', '4', '5', 'none']);
  const { joined, misses, flights } = cache.stats();
  assert.deepEqual([joined, misses, flights], [5, 6, 0]);
  await bw.close();
});

test('a batch of hits, misses, what cannot be read and what another process loads: each goes its own way', async () => {
  const { bw, store, source, scheduler } = open();
  const other = openLibrary({ scheduler, store, defaults: { l1: false } });
  const cache = bw.cache('row', { load: source.load });
  const elsewhere = new Source();
  elsewhere.automatic = false;
  elsewhere.rows.set('held', 99);
  await cache.getMany(['1', '2']);
  await store.set('row:bad', new TextEncoder().encode('{'), { ttlMs: null, tags: [] }, { timeoutMs: 1_000 });
  source.rows.set('bad', 13);
  const held = other.bw.cache('row', { load: elsewhere.load }).get('held');
  await drainPromises();
  const many = cache.getMany(['2', 'held', 'bad', '3', '1']);
  await drainPromises();
  assert.equal(cache.stats().flights, 1, 'it waits for the other process’s load alone');
  elsewhere.last.finish();
  await scheduler.run(1_000);
  await held;
  assert.deepEqual(
    [...(await many)].map(([id, row]) => [id, row?.n]),
    [
      ['2', 2],
      ['held', 99],
      ['bad', 13],
      ['3', 3],
      ['1', 1],
    ],
  );
  assert.deepEqual(source.calls.flatMap(({ ids }) => ids).sort(), ['1', '2', '3', 'bad']);
  assert.equal(cache.stats().unreadable, 1);
  await bw.close();
});

test('what a batch read before an invalidation is not kept, and those who come after it read again', async () => {
  const { bw, store, source, scheduler } = open({ l1: { ttl: '1m' } });
  const cache = bw.cache('row', { load: source.load });
  await cache.getMany(['1', '2']);
  await scheduler.run(61_000); // out of L1, not out of L2
  store.direct = false;
  const early = cache.getMany(['1', '2']);
  await drainPromises();
  store.steps.shift()!.go(); // the read has reached the store, its answer is on its way
  source.rows.set('1', 100);
  const deleted = cache.delete('1');
  const late = cache.getMany(['1', '2']);
  await store.settle();
  await Promise.all([early, deleted]);
  assert.equal((await late).get('1')?.n, 100);
  assert.notEqual(cache.peek('1')?.n, 1, 'the old row is not in L1');
  assert.equal(cache.peek('2')?.n, 2);
  await bw.close();
});

test('stale values, refusals and ends: as for one key', async () => {
  const { bw, store, source, scheduler } = open({ ttl: '10s', grace: '1m' });
  const cache = bw.cache('row', { load: source.load });
  await cache.getMany(['1', '2']);
  await scheduler.run(11_000);
  source.rows.set('1', 100);
  assert.equal((await cache.getMany(['1', '2'])).get('1')?.n, 1, 'stale, within grace');
  await drainPromises();
  assert.equal((await cache.getMany(['1', '2'])).get('1')?.n, 100, 'and was reloaded meanwhile');
  assert.equal(cache.stats().staleHits, 2);

  const reads = store.counts.read;
  await assert.rejects(cache.getMany(['1', '', '2']), { code: 'CACHE_KEY_INVALID' });
  await drainPromises();
  assert.equal(store.counts.read, reads, 'nothing was asked for');

  store.failing = { what: 'read', error: new BreakwaterError('STORE_UNAVAILABLE', 'gone') };
  assert.equal((await cache.getMany(['5', '6'])).get('6')?.n, 6, 'from the source');
  assert.equal(cache.stats().l2ReadErrors, 2);
  store.failing = null;

  store.direct = false;
  const lost = assert.rejects(cache.getMany(['7', '8']), { code: 'CACHE_CLOSED' });
  await drainPromises();
  assert.equal(cache.stats().flights, 2);
  await bw.close();
  await lost;
  await store.settle();
});

test('more than maxBatch: several reads, each id once', async () => {
  const { bw, store, source } = open({ maxBatch: 4 });
  const cache = bw.cache('row', { load: source.load });
  const ids = Array.from({ length: 10 }, (_, i) => `${i}`);
  await Promise.all([cache.getMany(ids), cache.get('15')]);
  assert.equal(store.counts.read, 3);
  assert.deepEqual(
    source.calls.map((call) => call.ids.length),
    [4, 4, 3],
  );
  assert.equal((await cache.getMany(ids)).get('9')?.n, 9);
  assert.equal(cache.stats().l2Hits, 10);
  await bw.close();
});
