/** What a Breakwater tells of itself, and that listening changes nothing. */
import assert from 'node:assert/strict';
import { channel, tracingChannel } from 'node:diagnostics_channel';
import { describe, test } from 'node:test';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import type { Breakwater } from '../../src/cache/breakwater.ts';
import { EVENTS } from '../../src/cache/observe/events.ts';
import { embeddedTruth, openLibrary, SlowStore, Source } from '../library/support.ts';

/** Everything told, in order. */
function listenToAll(bw: Breakwater): { readonly name: string; readonly event: Readonly<Record<string, unknown>> }[] {
  const told: { name: string; event: Readonly<Record<string, unknown>> }[] = [];
  for (const name of EVENTS) {
    // Its tests are elsewhere, and the clock without jitter here is worth a hint.
    if (name === 'advice') continue;
    bw.on(name, (event) => told.push({ name, event: { ...event } }));
  }
  return told;
}

describe('events', () => {
  test('of the life of a key: miss, load, fill, hit, stale, invalidate', async () => {
    const { bw, scheduler } = openLibrary();
    const told = listenToAll(bw);
    const source = new Source();
    source.rows.set('1', 7);
    const cache = bw.cache('row', { load: source.load, ttl: '10s', grace: '1h' });
    await cache.get('1');
    scheduler.advance(2_000);
    await cache.get('1');
    assert.deepEqual(cache.peek('1'), { id: '1', n: 7 });
    scheduler.advance(10_000);
    source.automatic = false;
    await cache.get('1');
    await drainPromises();
    source.last.fail(new Error('down'));
    await drainPromises();
    await cache.delete('1');
    await bw.invalidate({ tags: ['org:7'], namespaces: ['other'] });
    assert.deepEqual(
      told.map(({ name }) => name),
      ['miss', 'load', 'fill', 'hit', 'hit', 'stale', 'load', 'invalidate', 'invalidate'],
    );
    assert.deepEqual(told[0]?.event, { cache: 'row', ids: ['1'] });
    assert.deepEqual(told[1]?.event, {
      cache: 'row',
      ids: ['1'],
      isBackground: false,
      durationMs: 0,
      error: undefined,
    });
    assert.deepEqual(told[2]?.event, { cache: 'row', id: '1', isStored: true });
    assert.deepEqual(told[3]?.event, { cache: 'row', id: '1', tier: 'l1', isNegative: false, ageMs: 2_000 });
    assert.deepEqual(told[5]?.event, { cache: 'row', id: '1', ageMs: 12_000, error: undefined });
    assert.equal(told[6]?.event['isBackground'], true);
    assert.match(String(told[6]?.event['error']), /down/);
    assert.deepEqual(told[7]?.event, { keys: ['row:1'], tags: [], namespaces: [], durationMs: 0 });
    assert.deepEqual(told[8]?.event, { keys: [], tags: ['org:7'], namespaces: ['other'], durationMs: 0 });
    await bw.close();
  });

  test('shed, breaker, and what the store did not acknowledge', async () => {
    const scheduler = new ManualScheduler();
    const store = new SlowStore(embeddedTruth(scheduler));
    store.direct = true;
    const { bw } = openLibrary({ scheduler, store });
    const told = listenToAll(bw);
    const guard = { breaker: { consecutiveFailures: 1, minimumCalls: 1_000 } };
    const cache = bw.cache<string>('row', { load: () => Promise.reject(new Error('down')), guard });
    await assert.rejects(cache.get('1'));
    await assert.rejects(cache.get('2'));
    store.failing = { what: 'delete', error: new Error('lost') };
    await assert.rejects(cache.delete('1'));
    assert.deepEqual(
      told.map(({ name }) => name),
      ['miss', 'load', 'breaker', 'miss', 'shed', 'unacknowledged'],
    );
    assert.deepEqual(told[2]?.event, { source: 'cache:row', from: 'closed', to: 'open' });
    assert.deepEqual(told[4]?.event, {
      cache: 'row',
      source: 'cache:row',
      ids: ['2'],
      code: 'GUARD_CIRCUIT_OPEN',
      isBackground: false,
    });
    assert.equal(told[5]?.event['what'], 'delete row:1');
    await bw.close();
  });

  test('a listener that throws or rejects harms nobody, is counted, and is said aloud once', async () => {
    const { bw } = openLibrary();
    const warnings: string[] = [];
    const onWarning = (warning: Error): void => {
      if (warning.name === 'BreakwaterWarning') warnings.push(warning.message);
    };
    process.on('warning', onWarning);
    const heard: string[] = [];
    bw.on('hit', () => {
      throw new Error('listener');
    });
    bw.on('hit', async () => {
      throw new Error('late');
    });
    const off = bw.on('hit', ({ id }) => heard.push(id));
    const cache = bw.cache('row', { load: (ids: readonly string[]) => ids });
    for (let i = 0; i < 3; i += 1) assert.equal(await cache.get('1'), '1');
    await drainPromises();
    assert.deepEqual(heard, ['1', '1']);
    assert.equal((await bw.stats()).listenerFailures, 4);
    assert.equal(warnings.length, 1);
    process.off('warning', onWarning);
    off();
    await cache.get('1');
    assert.equal(heard.length, 2);
    assert.throws(() => bw.on('hits' as 'hit', () => undefined), { code: 'CACHE_OPTION_INVALID' });
    await bw.close();
  });
});

describe('diagnostics_channel', () => {
  test('breakwater:<event> carries the events', async () => {
    const { bw } = openLibrary();
    const seen: unknown[] = [];
    const onHit = (event: unknown): void => void seen.push(event);
    channel('breakwater:hit').subscribe(onHit);
    const cache = bw.cache('row', { load: (ids: readonly string[]) => ids });
    await cache.get('1');
    await cache.get('1');
    channel('breakwater:hit').unsubscribe(onHit);
    await cache.get('1');
    assert.deepEqual(seen, [{ cache: 'row', id: '1', tier: 'l1', isNegative: false, ageMs: 0 }]);
    await bw.close();
  });

  test('tracing:breakwater:<operation>:* shows beginning, end and error', async () => {
    const { bw } = openLibrary();
    const seen: string[] = [];
    const load = tracingChannel<unknown, { cache: string; ids: readonly string[]; error?: Error }>('breakwater:load');
    const handlers = {
      start: ({ cache, ids }: { cache: string; ids: readonly string[] }) =>
        void seen.push(`start ${cache} ${ids.join()}`),
      asyncEnd: () => void seen.push('end'),
      error: ({ error }: { error?: Error }) => void seen.push(`error ${error?.message}`),
      end: () => undefined,
      asyncStart: () => undefined,
    };
    load.subscribe(handlers as never);
    const cache = bw.cache('row', {
      load: (ids: readonly string[]) => (ids[0] === '2' ? Promise.reject(new Error('down')) : ids),
    });
    await cache.get('1');
    await assert.rejects(cache.get('2'), /down/);
    await drainPromises();
    load.unsubscribe(handlers as never);
    assert.deepEqual(seen, ['start row 1', 'end', 'start row 2', 'error down', 'end']);
    await bw.close();
  });
});

describe('the sampler of wrong hits', () => {
  function sampled(rate = 1) {
    const source = new Source();
    source.rows.set('1', 1);
    const { bw, scheduler } = openLibrary();
    const told = listenToAll(bw);
    const cache = bw.cache('row', { load: source.load, ttl: '1h', sample: { rate, confirmAfter: '2s' } });
    const names = (): string[] => told.map(({ name }) => name).filter((name) => /wrong|suspect/.test(name));
    return { source, bw, scheduler, told, cache, names };
  }

  test('agrees with the source while nothing changed', async () => {
    const { bw, cache, names, source } = sampled();
    await cache.get('1');
    await cache.get('1');
    await drainPromises();
    assert.equal(cache.stats().sample?.checked, 1);
    assert.equal(source.calls.length, 2);
    assert.equal(cache.stats().loads, 1, 'a check is no load of the cache');
    assert.deepEqual(names(), []);
    await bw.close();
  });

  test('a row that was changed without telling the cache is a wrong hit, with its age', async () => {
    const { source, bw, scheduler, told, cache, names } = sampled();
    await cache.get('1');
    scheduler.advance(5_000);
    source.rows.set('1', 2);
    await cache.get('1');
    await scheduler.run(2_000);
    await drainPromises();
    assert.deepEqual(names(), ['suspected-stale', 'wrong-hit']);
    assert.deepEqual(told.at(-1)?.event, { cache: 'row', id: '1', tier: 'l1', ageMs: 5_000 });
    const { wrongHits, suspectedStale, oldestWrongMs } = cache.stats().sample!;
    assert.deepEqual([wrongHits, suspectedStale, oldestWrongMs], [1, 1, 5_000]);
    await bw.close();
  });

  test('a change in flight is suspected and acquitted', async () => {
    const { source, bw, scheduler, cache, names } = sampled();
    await cache.get('1');
    source.rows.set('1', 2); // committed,
    await cache.get('1'); // seen by a reader in between,
    await drainPromises();
    await cache.delete('1'); // and told.
    await scheduler.run(2_000);
    assert.deepEqual(names(), ['suspected-stale']);
    assert.equal(cache.stats().sample?.wrongHits, 0);
    await bw.close();
  });

  test('an L1 that lost its entry is acquitted when L2 has the new value; a replica that lags is none of the cache', async () => {
    const { source, bw, scheduler, cache } = sampled();
    await cache.get('1');
    source.rows.set('1', 0); // what a lagging replica says
    await cache.get('1');
    await drainPromises();
    source.rows.set('1', 1);
    await scheduler.run(2_000);
    assert.deepEqual(cache.stats().sample?.suspectedStale, 1);
    assert.equal(cache.stats().sample?.wrongHits, 0);
    await bw.close();
  });

  test('draws about the share it was told to, bounds what is under way, and passes the guard', async () => {
    const { source, bw, cache } = sampled(0.1);
    await cache.get('1');
    source.automatic = false;
    for (let i = 0; i < 2_000; i += 1) await cache.get('1');
    await drainPromises();
    const { skipped } = cache.stats().sample!;
    assert.ok(skipped > 100 && skipped < 300, `${skipped} drawn beyond those under way`);
    assert.ok(source.calls.length - 1 <= 10, 'at most the background half of the guard');
    await bw.close();
  });

  test('a bad option is refused', () => {
    const { bw } = openLibrary();
    const load = (ids: readonly string[]) => ids;
    for (const sample of [{ rate: 0 }, { rate: 2 }, { rate: '1' as never }, { rate: 1, confirm: 1 } as never]) {
      assert.throws(() => bw.cache('row', { load, sample }), { name: 'BreakwaterError' });
    }
  });
});
