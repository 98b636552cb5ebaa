/** Warming: what it loads, whom it lets pass, and that no invalidation is overwritten by it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { type LoadContext, SourceBusyError } from '../../src/cache/index.ts';
import type { WarmProgress } from '../../src/cache/warm.ts';
import { createTestBreakwater, type TestClock, TestNode, TestSource } from '../../src/testing/index.ts';

interface Row {
  readonly n: number;
  readonly org?: string;
}

const idsUpTo = (count: number): string[] => Array.from({ length: count }, (_, i) => `${i}`);
const rowsUpTo = (count: number): TestSource<string, Row> =>
  new TestSource(idsUpTo(count).map((id) => [id, { n: Number(id) }] as const));

/** Lets time pass until `promise` has settled. */
async function settled<T>(clock: TestClock, promise: Promise<T>, step = '100ms'): Promise<T> {
  let isOver = false;
  promise.then(
    () => {
      isOver = true;
    },
    () => {
      isOver = true;
    },
  );
  for (let i = 0; !isOver; i += 1) {
    assert.ok(i < 50_000, 'it settles');
    await clock.advance(step);
  }
  return promise;
}

const WHERE = [
  ['embedded', () => 'embedded' as const],
  ['a node', () => new TestNode()],
] as const;

for (const [what, openStore] of WHERE) {
  describe(`warm, ${what}`, () => {
    test('loads what is missing, in batches; what is there is left alone; absences are remembered', async () => {
      const { bw, clock } = createTestBreakwater({ store: openStore() });
      const source = rowsUpTo(250);
      const cache = bw.cache<Row>('row', { load: source.load });
      await settled(clock, cache.get('7'));
      source.reset();
      const first = await settled(clock, cache.warm([...idsUpTo(250), 'none']));
      const expected = { done: 251, present: 1, loaded: 249, absent: 1, refused: 0, elsewhere: 0, failed: 0, waits: 0 };
      assert.deepEqual(first, { cursor: 251, lastId: 'none', ...expected, errors: [] });
      assert.equal(source.calls, 3);
      source.reset();
      const again = await settled(clock, cache.warm(idsUpTo(250)));
      assert.equal(again.present, 250);
      const all = await settled(clock, cache.getMany([...idsUpTo(250), 'none']));
      assert.equal(all.get('249')?.n, 249);
      assert.equal(all.get('none'), null);
      assert.equal(source.calls, 0);
      await settled(clock, bw.close());
    });

    test('what is invalidated while its row is on its way is not stored: by key, tag, namespace or a set', async () => {
      for (const invalidate of ['delete', 'write', 'tag', 'namespace', 'set', 'elsewhere'] as const) {
        const store = openStore();
        if (store === 'embedded' && invalidate === 'elsewhere') continue;
        const { bw, clock } = createTestBreakwater({ store });
        const other = createTestBreakwater(store === 'embedded' ? { clock } : { store });
        const source = rowsUpTo(3);
        const declared = { load: source.load, tags: () => ['org:1'], loadTimeout: '50m' } as const;
        const cache = bw.cache<Row>('row', declared);
        const there = other.bw.cache<Row>('row', declared);
        source.hold();
        const warming = cache.warm(['0', '1', '2']);
        for (let i = 0; source.held.length === 0; i += 1) {
          assert.ok(i < 100);
          await clock.advance('1ms');
        }
        source.rows.set('1', { n: 100 });
        if (invalidate === 'delete') await settled(clock, cache.delete('1'), '1ms');
        else if (invalidate === 'write')
          await settled(
            clock,
            cache.write('1', () => 0),
            '1ms',
          );
        else if (invalidate === 'set') await settled(clock, cache.set('1', { n: 100 }), '1ms');
        else if (invalidate === 'tag') await settled(clock, bw.invalidate({ tags: ['org:1'] }), '1ms');
        else if (invalidate === 'namespace') await settled(clock, bw.invalidate({ namespaces: ['row'] }), '1ms');
        else await settled(clock, there.delete('1'), '1ms');
        source.release();
        const { loaded, refused } = await settled(clock, warming, '1ms');
        const isWide = invalidate === 'tag' || invalidate === 'namespace';
        assert.deepEqual(
          { loaded, refused },
          isWide ? { loaded: 0, refused: 3 } : { loaded: 2, refused: 1 },
          invalidate,
        );
        assert.equal((await settled(clock, cache.get('1'), '1ms'))?.n, 100, invalidate);
        await Promise.all([settled(clock, bw.close()), settled(clock, other.bw.close())]);
      }
    });

    test('a get of what is being warmed joins its load', async () => {
      const { bw, clock } = createTestBreakwater({ store: openStore() });
      const source = rowsUpTo(3);
      const cache = bw.cache<Row>('row', { load: source.load, loadTimeout: '50m' });
      source.hold();
      const warming = cache.warm(['0', '1']);
      while (source.held.length === 0) await clock.advance('1ms');
      const get = cache.get('1');
      await clock.advance('50ms');
      source.release();
      assert.equal((await settled(clock, get))?.n, 1);
      await settled(clock, warming);
      assert.equal(source.calls, 1);
      await settled(clock, bw.close());
    });
  });
}

test('whatever crosses it: when all is quiet the store has nothing but the truth', async () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('update' as const), id: fc.nat(5), from: fc.nat(1) }),
    fc.record({ do: fc.constant('release' as const), id: fc.nat(3), from: fc.nat(1) }),
    fc.record({ do: fc.constant('warm' as const), id: fc.nat(5), from: fc.nat(1) }),
    fc.record({ do: fc.constant('get' as const), id: fc.nat(5), from: fc.nat(1) }),
    fc.record({ do: fc.constant('time' as const), id: fc.nat(30), from: fc.nat(1) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
      const node = new TestNode();
      const { clock } = node;
      const source = rowsUpTo(6);
      source.hold();
      const open = (seed: number) => {
        const { bw } = createTestBreakwater({ store: node, seed });
        return { bw, cache: bw.cache<Row>('row', { load: source.load, loadTimeout: '50m', maxBatch: 2 }) };
      };
      const all = [open(1), open(2)] as const;
      const left: Promise<unknown>[] = [];
      let edition = 100;
      for (const one of steps) {
        const { cache } = all[one.from]!;
        const id = `${one.id % 6}`;
        if (one.do === 'update') {
          edition += 1;
          const row = { n: edition };
          left.push(cache.write(id, () => source.rows.set(id, row)));
        } else if (one.do === 'warm')
          left.push(cache.warm([id, `${(one.id + 1) % 6}`, `${(one.id + 2) % 6}`], { batch: 2 }));
        else if (one.do === 'get') left.push(cache.get(id));
        else if (one.do === 'release') source.held.splice(one.id, 1)[0]?.release();
        await clock.advance(one.do === 'time' ? one.id : 0);
      }
      source.release();
      await settled(clock, Promise.all(left), '10ms');
      const reader = open(3);
      const found = await settled(clock, reader.cache.getMany(idsUpTo(6)), '10ms');
      for (const [id, row] of source.rows) assert.deepEqual(found.get(id), row, `id ${id}`);
      await settled(clock, Promise.all([...all, reader].map(({ bw }) => bw.close())), '100ms');
    }),
    { numRuns: 60 },
  );
});

test('an endless iterable: no more is taken than is worked at, and the signal ends it', async () => {
  const { bw, clock } = createTestBreakwater();
  const cache = bw.cache<Row>('row', {
    load: async (ids) => ids.map((id) => ({ n: Number(id) })),
    l1: { maxEntries: 10 },
  });
  let taken = 0;
  let isReturned = false;
  async function* endless(): AsyncGenerator<string> {
    try {
      for (;;) {
        yield `${taken}`;
        taken += 1;
      }
    } finally {
      isReturned = true;
    }
  }
  const abort = new AbortController();
  let ahead = 0;
  let last: WarmProgress | null = null;
  const warming = cache.warm(endless(), {
    batch: 10,
    concurrency: 3,
    signal: abort.signal,
    onProgress: (progress) => {
      last = progress;
      ahead = Math.max(ahead, taken - progress.cursor);
      if (progress.done >= 5_000) abort.abort(new Error('enough'));
    },
  });
  await assert.rejects(settled(clock, warming), /enough/);
  await clock.settle();
  assert.ok(isReturned);
  assert.ok(ahead <= 40, `${ahead} ids ahead of the cursor`);
  const { cursor, done } = last!;
  assert.ok(done >= 5_000 && done < 5_100 && cursor <= done);
  // One that never gives its next id is not waited for either.
  const hanging = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
  const stop = new AbortController();
  const hung = assert.rejects(cache.warm(hanging, { signal: stop.signal }), /stop/);
  stop.abort(new Error('stop'));
  await hung;
  await bw.close();
});

test('it goes behind everybody: callers take the slots that come free, and it never has more than the background may', async () => {
  const { bw, clock } = createTestBreakwater();
  const running = { warmed: 0, asked: 0 };
  let most = 0;
  let order = '';
  const gates: (() => void)[] = [];
  const load = async (ids: readonly string[]) => {
    const kind = ids[0]!.startsWith('w') ? 'warmed' : 'asked';
    order += kind[0];
    running[kind] += 1;
    most = Math.max(most, running.warmed);
    await new Promise<void>((resolve) => gates.push(resolve));
    running[kind] -= 1;
    return ids.map(() => ({ n: 1 }));
  };
  const cache = bw.cache<Row>('row', { load, loadTimeout: '50m', guard: { concurrency: 4, backgroundConcurrency: 2 } });
  const warming = cache.warm(
    idsUpTo(60).map((id) => `w${id}`),
    { batch: 5, concurrency: 8 },
  );
  await clock.settle();
  assert.deepEqual(running, { warmed: 2, asked: 0 });
  const gets: Promise<unknown>[] = [];
  for (let i = 0; i < 6; i += 1) {
    gets.push(cache.get(`a${i}`));
    await clock.settle();
  }
  assert.deepEqual(running, { warmed: 2, asked: 2 }, 'two of the callers, the others wait');
  for (let i = 0; i < 4; i += 1) {
    gates.shift()!();
    await clock.settle();
  }
  assert.equal(order.slice(4, 8), 'aaaa', 'callers first');
  while (gates.length > 0) {
    gates.shift()!();
    await clock.settle();
  }
  assert.equal((await settled(clock, warming)).loaded, 60);
  await Promise.all(gets);
  assert.equal(most, 2);
  await bw.close();
});

test('what the guard does not let through comes again: a full queue, an open circuit, a source that asks for a rest', async () => {
  const { bw, clock } = createTestBreakwater();
  let isDown = true;
  let rests = 1;
  const load = async (ids: readonly string[]) => {
    if (isDown) throw new Error('the database is away');
    if (rests > 0) {
      rests -= 1;
      throw new SourceBusyError('not now', 2_000);
    }
    return ids.map((id) => ({ n: Number(id) }));
  };
  const cache = bw.cache<Row>('row', {
    load,
    guard: { queue: 1, concurrency: 1, backoff: false, breaker: { consecutiveFailures: 3, open: '1s' } },
  });
  const warming = cache.warm(idsUpTo(100), { batch: 10, concurrency: 5 });
  await clock.advance('20s');
  isDown = false;
  const { done, loaded, failed, waits, errors } = await settled(clock, warming);
  assert.equal(done, 100);
  assert.equal(loaded + failed, 100);
  assert.ok(failed >= 30 && failed < 100, `${failed} failed`);
  assert.ok(waits > 0);
  assert.equal(errors.length, 10);
  assert.match(String(errors[0]?.error), /the database is away/);
  assert.equal((await settled(clock, cache.warm(idsUpTo(100)))).failed, 0);
  await bw.close();
});

test('the guard’s rate and its own', async () => {
  for (const [guard, own] of [
    [{ rate: 2, burst: 1 }, {}],
    [{}, { rate: 20 }],
  ] as const) {
    const { bw, clock } = createTestBreakwater();
    const source = rowsUpTo(100);
    const cache = bw.cache<Row>('row', { load: source.load, guard });
    const from = clock.now();
    const { loaded } = await settled(clock, cache.warm(idsUpTo(100), { batch: 10, ...own }), '10ms');
    assert.equal(loaded, 100);
    const tookMs = clock.now() - from;
    assert.ok(tookMs >= 4_400 && tookMs < 6_500, `ten batches of ten took ${tookMs} ms`);
    await bw.close();
  }
});

test('errors are counted by id, and the rest goes on', async () => {
  const { bw, clock } = createTestBreakwater();
  const load = async (ids: readonly string[]) => {
    if (ids.includes('55')) throw new Error('the whole batch');
    return ids.map((id) => (id === '5' ? new Error('this id') : { n: Number(id) }));
  };
  const cache = bw.cache<Row>('row', { load });
  const progress = await settled(clock, cache.warm(idsUpTo(100), { batch: 10 }));
  assert.equal(progress.loaded, 89);
  assert.equal(progress.failed, 11);
  assert.equal(progress.errors.find(({ id }) => id === '5')?.error instanceof Error, true);
  await bw.close();
});

test('interrupted and begun again from its cursor: nothing is left out, and what was done is not asked for', async () => {
  const { bw, clock } = createTestBreakwater();
  const asked: string[] = [];
  const load = async (ids: readonly string[], _: LoadContext) => {
    asked.push(...ids);
    // Batches end in another order than they began.
    for (let i = 0; i < (Number(ids[0]) % 7) * 3; i += 1) await Promise.resolve();
    return ids.map((id) => ({ n: Number(id) }));
  };
  const cache = bw.cache<Row>('row', { load });
  let cursor = 0;
  for (let run = 0; cursor < 200; run += 1) {
    assert.ok(run < 50);
    const abort = new AbortController();
    const steps: number[] = [];
    const warming = cache.warm(idsUpTo(200), {
      batch: 4,
      concurrency: 5,
      skip: cursor,
      signal: abort.signal,
      onProgress: (progress) => {
        steps.push(progress.cursor);
        assert.equal(progress.lastId, progress.cursor === cursor ? null : `${progress.cursor - 1}`);
        if (progress.done >= 40) abort.abort();
      },
    });
    await settled(
      clock,
      warming.catch(() => undefined),
    );
    assert.deepEqual(
      steps,
      [...steps].sort((a, b) => a - b),
    );
    cursor = steps.at(-1)!;
  }
  assert.deepEqual([...new Set(asked)].sort(), idsUpTo(200).sort());
  assert.ok(asked.length < 300, `${asked.length} ids asked for`);
  await bw.close();
});

test('the store away: nothing is loaded in vain; it goes on when the store is back, or says after a while that it does not', async () => {
  const node = new TestNode();
  const { bw, clock, faults } = createTestBreakwater({ store: node });
  const source = rowsUpTo(50);
  const cache = bw.cache<Row>('row', { load: source.load });
  faults.cut();
  const warming = cache.warm(idsUpTo(50));
  await clock.advance('30s');
  assert.equal(source.calls, 0);
  faults.heal();
  assert.equal((await settled(clock, warming)).loaded, 50);
  faults.cut();
  const stalled = settled(clock, cache.warm(['51'], { patience: '1m' }), '1s');
  await assert.rejects(stalled, { code: 'CACHE_WARM_STALLED' });
  faults.heal();
  await settled(clock, bw.close());
});

test('what cannot be warmed is refused; what its caller throws ends it', async () => {
  const { bw, clock } = createTestBreakwater();
  const cache = bw.cache<Row>('row', { load: rowsUpTo(10).load });
  for (const [ids, options] of [
    [['1'], { batch: 0 }],
    [['1'], { batch: 100_000 }],
    [['1'], { concurrency: 0 }],
    [['1'], { rate: 0 }],
    [['1'], { skip: -1 }],
    [['1'], { patience: 'long' }],
    [['1'], { onProgress: 5 }],
    [['1'], { cursor: 5 }],
    ['1', {}],
    [null, {}],
    [[1], {}],
    [{ sql: 'SELECT 1' }, {}],
    [{ sqll: 'SELECT 1' }, {}],
  ] as const) {
    await assert.rejects(
      async () => cache.warm(ids as never, options as object),
      { code: /^(CACHE_OPTION|DURATION)_/ },
      JSON.stringify([ids, options]),
    );
  }
  await assert.rejects(cache.warm(['']), { code: 'CACHE_KEY_INVALID' });
  function* breaks(): Generator<string> {
    yield '1';
    throw new Error('the list ends badly');
  }
  await assert.rejects(settled(clock, cache.warm(breaks())), /ends badly/);
  const progress = () => {
    throw new Error('no more');
  };
  await assert.rejects(settled(clock, cache.warm(idsUpTo(5), { onProgress: progress })), /no more/);
  await assert.rejects(cache.warm(['1'], { signal: AbortSignal.abort(new Error('before')) }), /before/);
  await bw.close();
  await assert.rejects(cache.warm(['1']), { code: 'CACHE_CLOSED' });
});
