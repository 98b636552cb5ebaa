import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BlockFilter, bitsPerKeyFor, theoreticalFalsePositiveRate } from './block-filter.ts';
import { GrowingFilter } from './growing-filter.ts';
import { KeyHash } from './key-hash.ts';

const hash = new KeyHash(77);
const of = (key: string): KeyHash => {
  hash.take(key);
  return hash;
};

/** The share of keys never added that are answered "perhaps". */
function measure(has: (hash: KeyHash) => boolean, tries: number): number {
  let perhaps = 0;
  for (let i = 0; i < tries; i += 1) if (has(of(`absent:${i}`))) perhaps += 1;
  return perhaps / tries;
}

test('theory: more bits, fewer false positives; the bits for a rate give that rate', () => {
  let last = 1;
  for (let bits = 1; bits <= 40; bits += 1) {
    const rate = theoreticalFalsePositiveRate(bits);
    assert.ok(rate < last, `${bits} bits: ${rate}`);
    last = rate;
  }
  for (const rate of [0.1, 0.01, 0.001, 0.0001]) {
    assert.ok(Math.abs(theoreticalFalsePositiveRate(bitsPerKeyFor(rate)) / rate - 1) < 1e-6);
  }
  // The figure that Parquet's specification gives for split-block filters: about 10.5 bits at 1 %.
  assert.ok(Math.abs(bitsPerKeyFor(0.01) - 10.5) < 0.2, `${bitsPerKeyFor(0.01)}`);
});

test('measured false positives agree with theory and with what the bits say, half full and full', () => {
  const keys = 40_000;
  for (const rate of [0.05, 0.01, 0.002]) {
    const filter = new BlockFilter(keys, rate);
    for (const part of [0.5, 1]) {
      const from = part === 0.5 ? 0 : keys / 2;
      for (let i = from; i < keys * part; i += 1) {
        const { high, low } = of(`user:${i}`);
        filter.add(high, low);
      }
      const theory = theoreticalFalsePositiveRate((filter.sizeBytes * 8) / (keys * part));
      const tries = 100_000;
      const measured = measure((each) => filter.has(each.high, each.low), tries);
      const noise = 5 * Math.sqrt(theory / tries);
      assert.ok(Math.abs(measured - theory) < noise + theory * 0.05, `measured ${measured}, theory ${theory}`);
      const bits = filter.falsePositiveRate();
      assert.ok(Math.abs(bits - theory) < theory * 0.1, `bits ${bits}, theory ${theory}`);
    }
  }
});

test('never "certainly not" for a key that was added, whatever the keys, the size and the hash', () => {
  const anyKey = fc.oneof(fc.string({ unit: 'binary', maxLength: 20 }), fc.nat(1000).map(String));
  fc.assert(
    fc.property(
      fc.array(anyKey, { maxLength: 300, size: 'max' }),
      fc.integer({ min: 1, max: 100 }),
      fc.double({ min: 0.0001, max: 0.5, noNaN: true }),
      fc.integer(),
      fc.integer({ min: 64, max: 20_000 }),
      (keys, expected, rate, seed, maxBytes) => {
        const own = new KeyHash(seed);
        const filter = new GrowingFilter(expected, rate, maxBytes);
        keys.forEach((key, index) => {
          own.take(key);
          filter.add(own);
          assert.ok(filter.has(own));
          const earlier = keys[index >>> 1]!;
          own.take(earlier);
          assert.ok(filter.has(own), `lost ${JSON.stringify(earlier)}`);
        });
        for (const key of keys) {
          own.take(key);
          assert.ok(filter.has(own));
        }
        assert.ok(filter.keys <= new Set(keys).size);
        assert.ok(filter.sizeBytes <= Math.max(maxBytes, 64), `${filter.sizeBytes} of ${maxBytes}`);
      },
    ),
    { numRuns: 200 },
  );
});

test('grows to a hundred times what was expected and keeps its rate; repeated adds do not make it grow', () => {
  const filter = new GrowingFilter(1000, 0.01, 64 * 1024 ** 2);
  for (let i = 0; i < 100_000; i += 1) filter.add(of(`user:${i}`));
  assert.ok(filter.layers >= 6 && filter.layers <= 8, `${filter.layers} layers`);
  assert.ok(filter.keys > 98_500 && filter.keys <= 100_000, `${filter.keys}`);
  const measured = measure((each) => filter.has(each), 50_000);
  assert.ok(measured <= 0.0115, `${measured}`);
  assert.ok(Math.abs(measured - filter.falsePositiveRate()) < 0.003);
  assert.equal(filter.saturated, false);
  const before = filter.sizeBytes;
  for (let round = 0; round < 3; round += 1) for (let i = 0; i < 1000; i += 1) filter.add(of(`user:${i}`));
  assert.equal(filter.sizeBytes, before);
});

test('at its bound of memory it says so, answers "perhaps" more and more often, and loses nobody', () => {
  const filter = new GrowingFilter(1000, 0.01, 4096);
  let i = 0;
  while (!filter.saturated) filter.add(of(`user:${i++}`));
  assert.ok(filter.sizeBytes <= 4096);
  for (const until = i + 20_000; i < until; i += 1) filter.add(of(`user:${i}`));
  assert.ok(filter.falsePositiveRate() > 0.3, `${filter.falsePositiveRate()}`);
  while (i > 0) assert.ok(filter.has(of(`user:${--i}`)));
});

test('the hash: keys that differ in one character or in order spread evenly over blocks and bits', () => {
  const buckets = new Float64Array(64);
  const lowBuckets = new Float64Array(64);
  const count = 64_000;
  for (let i = 0; i < count; i += 1) {
    const { high, low } = of(`user:${i}`);
    buckets[high >>> 26]! += 1;
    lowBuckets[low >>> 26]! += 1;
  }
  for (const counts of [buckets, lowBuckets]) {
    for (const each of counts) assert.ok(Math.abs(each - 1000) < 5 * Math.sqrt(1000), `${each}`);
  }
  const pair = (key: string, seed: number): string => {
    const own = new KeyHash(seed);
    own.take(key);
    return `${own.high}:${own.low}`;
  };
  assert.notEqual(pair('ab', 1), pair('ba', 1));
  assert.notEqual(pair('ab', 1), pair('ab', 2));
  assert.equal(pair('ab', 1), pair('ab', 1));
});
