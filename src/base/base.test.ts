import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ManualClock, systemClock } from './clock.ts';
import { BreakwaterError } from './errors.ts';
import { Histogram } from './histogram.ts';
import { SeededRandom } from './random.ts';
import { formatBytes, parseDurationMs, parseSizeBytes } from './units.ts';

test('durations and sizes read what people write', () => {
  assert.equal(parseDurationMs('10m'), 600_000);
  assert.equal(parseDurationMs('1.5h'), 5_400_000);
  assert.equal(parseDurationMs(250), 250);
  assert.equal(parseSizeBytes('256mb'), 268_435_456);
  assert.equal(parseSizeBytes('1k'), 1000);
  assert.equal(parseSizeBytes('64KiB'), 65_536);
  assert.equal(formatBytes(1536), '1.5 KiB');
});

test('bad durations and sizes are refused with a code and what was received', () => {
  for (const bad of ['', '10', '10 parsecs', '-1s', 'm10']) {
    assert.throws(
      () => parseDurationMs(bad, 'ttl'),
      (error: unknown) =>
        error instanceof BreakwaterError && error.code === 'DURATION_INVALID' && error.message.includes('ttl'),
    );
  }
  for (const bad of ['', 'lots', '-1', '1tb', '1.2.3mb']) {
    assert.throws(
      () => parseSizeBytes(bad),
      (error: unknown) => error instanceof BreakwaterError && error.code === 'SIZE_INVALID',
    );
  }
  assert.throws(() => parseDurationMs(Number.NaN));
  assert.throws(() => parseSizeBytes(-1));
});

test('a seed reproduces the stream and floats stay below 1', () => {
  const a = new SeededRandom(42);
  const b = new SeededRandom(42);
  for (let i = 0; i < 1000; i += 1) assert.equal(a.nextUint32(), b.nextUint32());
  for (let i = 0; i < 1000; i += 1) {
    const f = a.nextFloat();
    assert.ok(f >= 0 && f < 1);
  }
});

test('the manual clock moves only forward; the system clock never goes back', () => {
  const clock = new ManualClock(1000);
  clock.advance(5);
  assert.equal(clock.now(), 1005);
  assert.throws(() => clock.advance(-1), RangeError);
  const real = systemClock();
  let last = real.now();
  for (let i = 0; i < 1000; i += 1) {
    const now = real.now();
    assert.ok(now >= last);
    last = now;
  }
});

test('a histogram quantile is within 1/16 above the exact one', () => {
  fc.assert(
    fc.property(
      fc.array(fc.nat(10_000_000), { minLength: 1, maxLength: 300 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, q) => {
        const histogram = new Histogram();
        for (const value of values) histogram.record(value);
        const sorted = [...values].sort((x, y) => x - y);
        const exact = sorted[Math.max(1, Math.ceil(q * sorted.length)) - 1]!;
        const got = histogram.quantile(q);
        assert.ok(got >= exact && got <= exact + exact / 16 + 1, `${got} for ${exact}`);
        assert.equal(histogram.count, values.length);
        assert.equal(histogram.countAtMost(10_000_000), values.length);
      },
    ),
  );
});

test('merged histograms equal one that saw everything', () => {
  const a = new Histogram();
  const b = new Histogram();
  const both = new Histogram();
  for (let i = 0; i < 500; i += 1) {
    (i % 2 ? a : b).record(i * 37);
    both.record(i * 37);
  }
  a.merge(b);
  for (const q of [0, 0.5, 0.99, 1]) assert.equal(a.quantile(q), both.quantile(q));
  assert.equal(a.sum, both.sum);
});
