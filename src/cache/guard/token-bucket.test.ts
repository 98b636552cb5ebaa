import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { TokenBucket } from './token-bucket.ts';

const START = 1_700_000_000_000.123;

test('a burst passes at once, then one each interval; a quiet time fills it again, and no more than that', () => {
  const bucket = new TokenBucket(10, 3);
  const takes = (atMs: number): number => {
    let taken = 0;
    while (bucket.tryTake(START + atMs)) taken += 1;
    return taken;
  };
  assert.equal(takes(0), 3);
  assert.equal(bucket.waitMs(START), 100);
  assert.equal(takes(99), 0);
  assert.equal(takes(100), 1);
  assert.equal(takes(350), 2);
  assert.equal(takes(1e9), 3);
});

test('in every stretch of time at most burst + rate * length pass, and the announced wait is enough', () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0.3, max: 5000, noNaN: true }),
      fc.integer({ min: 1, max: 50 }),
      fc.array(
        fc.oneof(
          fc.constant('wait' as const),
          fc.nat(2400).map((n) => n / 8),
        ),
        {
          maxLength: 200,
        },
      ),
      (rate, burst, steps) => {
        const bucket = new TokenBucket(rate, burst);
        const passed: number[] = [];
        let nowMs = START;
        for (const step of steps) {
          if (step === 'wait') {
            nowMs += bucket.waitMs(nowMs);
            assert.ok(bucket.tryTake(nowMs), 'after waiting as long as it said');
            passed.push(nowMs);
          } else {
            nowMs += step;
            if (bucket.tryTake(nowMs)) passed.push(nowMs);
          }
        }
        for (let from = 0; from < passed.length; from += 1) {
          for (let to = from; to < passed.length; to += 1) {
            const seconds = (passed[to]! - passed[from]! + 0.02) / 1000;
            assert.ok(to - from + 1 <= burst + rate * seconds + 1e-6);
          }
        }
      },
    ),
    { numRuns: 200 },
  );
});
