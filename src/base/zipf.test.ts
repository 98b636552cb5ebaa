import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from './random.ts';
import { Zipf } from './zipf.ts';

/** Chi-square of `draws` samples against the exact probabilities; cells with fewer than 10 expected are joined at the tail. */
function chiSquare(items: number, exponent: number, draws: number, seed: number): { value: number; cells: number } {
  const zipf = new Zipf(items, exponent, new SeededRandom(seed));
  const seen = new Float64Array(items);
  for (let i = 0; i < draws; i += 1) {
    const rank = zipf.next();
    seen[rank] = seen[rank]! + 1;
  }
  let total = 0;
  for (let k = 1; k <= items; k += 1) total += k ** -exponent;
  let value = 0;
  let cells = 0;
  let expected = 0;
  let observed = 0;
  for (let k = 1; k <= items; k += 1) {
    expected += (draws * k ** -exponent) / total;
    observed += seen[k - 1]!;
    if (expected < 10 && k < items) continue;
    value += (observed - expected) ** 2 / expected;
    cells += 1;
    expected = 0;
    observed = 0;
  }
  return { value, cells };
}

for (const [items, exponent] of [
  [1000, 0.5],
  [1000, 0.99],
  [1000, 1],
  [100_000, 1.1],
  [50, 2],
  [2, 1],
] as const) {
  test(`the frequencies of ${items} items at exponent ${exponent} are Zipf's`, () => {
    const { value, cells } = chiSquare(items, exponent, 300_000, 7);
    const freedom = Math.max(1, cells - 1);
    // Mean `freedom`, deviation sqrt(2 freedom): five deviations do not happen by chance with a fixed seed.
    assert.ok(value < freedom + 5 * Math.sqrt(2 * freedom) + 5, `chi-square ${value} over ${cells} cells`);
  });
}

test('a rank is always an integer within range', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 5_000_000 }),
      fc.double({ min: 0.05, max: 5, noNaN: true }),
      fc.integer(),
      (items, exponent, seed) => {
        const zipf = new Zipf(items, exponent, new SeededRandom(seed));
        for (let i = 0; i < 20; i += 1) {
          const rank = zipf.next();
          assert.ok(Number.isInteger(rank) && rank >= 0 && rank < items);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('one seed gives one stream', () => {
  const a = new Zipf(1000, 0.99, new SeededRandom(3));
  const b = new Zipf(1000, 0.99, new SeededRandom(3));
  for (let i = 0; i < 1000; i += 1) assert.equal(a.next(), b.next());
});

test('an exponent or a count that means nothing is refused', () => {
  assert.throws(() => new Zipf(0, 1, new SeededRandom(1)), /at least one item/);
  assert.throws(() => new Zipf(10, 0, new SeededRandom(1)), /positive/);
  assert.throws(() => new Zipf(10, Number.NaN, new SeededRandom(1)), /positive/);
});
