import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BreakwaterError } from '../../base/errors.ts';
import { KnownKeys } from './known-keys.ts';

const keysFrom = (from: number, to: number): string[] =>
  Array.from({ length: to - from }, (_, index) => `user:${from + index}`);

/** An iterator that hands out a key when told to, as a slow scan of a table. */
class Scan implements AsyncIterable<string> {
  readonly #items: ({ key: string } | { end: unknown })[] = [];
  #wake: () => void = () => undefined;

  push(...keys: string[]): void {
    for (const key of keys) this.#items.push({ key });
    this.#wake();
  }

  end(error: unknown = null): void {
    this.#items.push({ end: error });
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for (;;) {
      const next = this.#items.shift();
      if (next === undefined) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      } else if ('key' in next) yield next.key;
      else if (next.end !== null) throw next.end;
      else return;
    }
  }
}

describe('known keys', () => {
  test('everything passes until a build went through; then absent keys are refused', async () => {
    const known = new KnownKeys({ expectedKeys: 1000, seed: 1 });
    assert.equal(known.mightContain('user:9999'), true);
    assert.equal(known.stats().falsePositiveRate, 1);
    await known.build(keysFrom(0, 1000));
    for (const key of keysFrom(0, 1000)) assert.ok(known.mightContain(key));
    const refused = keysFrom(5000, 9000).filter((key) => !known.mightContain(key)).length;
    assert.ok(refused > 3900, `${refused}`);
    const { ready, builds, keys } = known.stats();
    assert.ok(ready && builds === 1 && keys > 990 && keys <= 1000);
  });

  test('a build that fails or is aborted changes nothing, and the next one works', async () => {
    const known = new KnownKeys({ expectedKeys: 100, seed: 1 });
    const broken = new Scan();
    broken.push('user:1');
    broken.end(new Error('connection lost'));
    await assert.rejects(known.build(broken), /connection lost/);
    assert.equal(known.stats().ready, false);
    await known.build(['user:1']);
    const stop = new AbortController();
    const scan = new Scan();
    const building = known.build(scan, { signal: stop.signal });
    scan.push('user:2');
    stop.abort(new Error('enough'));
    scan.end();
    await assert.rejects(building, /enough/);
    assert.equal(known.mightContain('user:1'), true);
    assert.equal(known.mightContain('user:2'), false);
    assert.equal(known.stats().building, false);
    await known.build(['user:2']);
    assert.equal(known.mightContain('user:2'), true);
    assert.equal(known.mightContain('user:1'), false, 'no longer there, no longer built in');
  });

  test('one build at a time', async () => {
    const known = new KnownKeys({ seed: 1 });
    const scan = new Scan();
    const building = known.build(scan);
    await assert.rejects(
      known.build([]),
      (error: unknown) => error instanceof BreakwaterError && error.code === 'FILTER_BUILDING',
    );
    scan.end();
    await building;
  });

  test('what is added before, during and after a build stays known, though its scan never sees it', async () => {
    const known = new KnownKeys({ expectedKeys: 100, seed: 1 });
    known.add('before');
    const scan = new Scan();
    const building = known.build(scan);
    scan.push('user:1');
    known.add('during');
    scan.end();
    await building;
    known.add('after');
    for (const key of ['before', 'during', 'after', 'user:1']) assert.ok(known.mightContain(key), key);
    // A second build, which still does not see "during" (its transaction began before and is open)...
    await known.build(['user:1']);
    assert.ok(known.mightContain('during'));
    assert.ok(known.mightContain('after'));
    // ...and a third, an interval later: whoever is not there by now was rolled back or deleted.
    await known.build(['user:1']);
    assert.equal(known.mightContain('during'), false);
    assert.equal(known.mightContain('before'), false);
  });

  test('failed builds in between shorten nothing', async () => {
    const known = new KnownKeys({ expectedKeys: 100, seed: 1 });
    await known.build([]);
    known.add('k');
    const fail = async (): Promise<void> => {
      const scan = new Scan();
      scan.end(new Error('no'));
      await assert.rejects(known.build(scan));
    };
    for (let i = 0; i < 5; i += 1) await fail();
    await known.build([]);
    assert.ok(known.mightContain('k'));
    for (let i = 0; i < 5; i += 1) await fail();
    assert.ok(known.mightContain('k'));
    assert.ok(known.stats().layers <= 4, 'generations do not pile up');
  });

  test('a long list lets others run', async () => {
    const known = new KnownKeys({ seed: 1 });
    let pauses = 0;
    const pause = async (): Promise<void> => {
      pauses += 1;
    };
    await known.build(keysFrom(0, 1000), { keysPerTurn: 100, pause });
    assert.equal(pauses, 10);
    await known.build(keysFrom(0, 10), { keysPerTurn: 3 });
  });

  test('measures itself: the observed rate of false positives agrees with what the bits say', async () => {
    const known = new KnownKeys({ expectedKeys: 20_000, falsePositiveRate: 0.02, seed: 3 });
    assert.equal(known.stats().observedFalsePositiveRate, null);
    await known.build(keysFrom(0, 20_000));
    for (const key of keysFrom(100_000, 150_000)) if (known.mightContain(key)) known.noteAbsent();
    const { observedFalsePositiveRate, falsePositiveRate, refused, passed, passedButAbsent } = known.stats();
    assert.equal(refused + passed, 50_000);
    assert.equal(passed, passedButAbsent);
    assert.ok(observedFalsePositiveRate !== null && falsePositiveRate <= 0.02);
    assert.ok(Math.abs(observedFalsePositiveRate - falsePositiveRate) < 0.003, `${observedFalsePositiveRate}`);
  });

  test('options that make no sense are refused', () => {
    for (const bad of [{ expectedKeys: 0 }, { falsePositiveRate: 0 }, { falsePositiveRate: 0.9 }, { maxBytes: 10 }]) {
      assert.throws(
        () => new KnownKeys({ seed: 1, ...bad }),
        (error: unknown) => error instanceof BreakwaterError && error.code === 'FILTER_OPTION_INVALID',
      );
    }
  });
});

test('under random writes, commits and builds: no committed row is ever "certainly absent"', async () => {
  // A table whose rows become visible to scans at commit; a scan sees what was committed when it began. Transactions end before
  // the second build after their `add` begins.
  const step = fc.oneof(
    fc.record({ kind: fc.constant('begin' as const), key: fc.nat(60) }),
    fc.record({ kind: fc.constant('commit' as const), which: fc.nat(10) }),
    fc.record({ kind: fc.constant('delete' as const), key: fc.nat(60) }),
    fc.record({ kind: fc.constant('build' as const), outcome: fc.constantFrom('ok', 'ok', 'fails') }),
    fc.record({ kind: fc.constant('end build' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 120, size: 'max' }), async (steps) => {
      const known = new KnownKeys({ expectedKeys: 8, falsePositiveRate: 0.01, maxBytes: 4096, seed: 5 });
      const rows = new Set<string>();
      const open: { readonly key: string; readonly buildsBegun: number }[] = [];
      let buildsBegun = 0;
      let running: { finish: () => Promise<void> } | null = null;
      for (const action of steps) {
        switch (action.kind) {
          case 'begin': {
            const key = `row:${action.key}`;
            known.add(key);
            open.push({ key, buildsBegun });
            break;
          }
          case 'commit': {
            const [transaction] = open.splice(action.which % Math.max(1, open.length), 1);
            if (transaction !== undefined) rows.add(transaction.key);
            break;
          }
          case 'delete':
            rows.delete(`row:${action.key}`);
            break;
          case 'build': {
            if (running !== null) break;
            // Open for longer than a whole interval between builds: outside of what is promised.
            for (let i = open.length - 1; i >= 0; i -= 1) if (open[i]!.buildsBegun < buildsBegun) open.splice(i, 1);
            buildsBegun += 1;
            const scan = new Scan();
            scan.push(...rows);
            const building = known.build(scan).catch(() => undefined);
            running = {
              finish: async () => {
                scan.end(action.outcome === 'ok' ? null : new Error('no'));
                await building;
              },
            };
            break;
          }
          case 'end build':
            await running?.finish();
            running = null;
            break;
        }
        for (const key of rows) assert.ok(known.mightContain(key), `${key} exists`);
      }
      await running?.finish();
    }),
    { numRuns: 200 },
  );
});
