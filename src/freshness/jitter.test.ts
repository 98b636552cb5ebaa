import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BreakwaterError } from '../base/errors.ts';
import { SeededRandom } from '../base/random.ts';
import { checkJitter, jitteredTtlMs } from './jitter.ts';

const float = fc.nat(0xffff_ffff).map((n) => n / 2 ** 32);

test('jitter stays within its fraction on both sides, and its mean is the declared ttl', () => {
  fc.assert(
    fc.property(
      fc.nat(1e9),
      fc.nat(99).map((n) => n / 100),
      float,
      (ttl, fraction, random) => {
        const got = jitteredTtlMs(ttl, fraction, random);
        assert.ok(Math.abs(got - ttl) <= ttl * fraction + 1, `${got}`);
        assert.equal(Number.isInteger(got), true);
        assert.equal(got > 0, ttl > 0);
      },
    ),
  );
  const random = new SeededRandom(3);
  let sum = 0;
  let below = 0;
  for (let i = 0; i < 20_000; i += 1) {
    const ttl = jitteredTtlMs(600_000, 0.1, random.nextFloat());
    sum += ttl;
    if (ttl < 600_000) below += 1;
  }
  assert.ok(Math.abs(sum / 20_000 - 600_000) < 1500, `mean ${sum / 20_000}`);
  assert.ok(below > 9_500 && below < 10_500, `${below} of 20000 below`);
});

test('jitter leaves endless, zero and unjittered ttls alone', () => {
  assert.equal(jitteredTtlMs(Number.POSITIVE_INFINITY, 0.5, 0.3), Number.POSITIVE_INFINITY);
  assert.equal(jitteredTtlMs(0, 0.5, 0.3), 0);
  assert.equal(jitteredTtlMs(12.5, 0, 0.3), 12.5);
  assert.equal(jitteredTtlMs(1, 0.9, 0), 1);
});

test('a jitter that could eat the whole ttl is refused', () => {
  assert.equal(checkJitter(0), 0);
  assert.equal(checkJitter(0.99), 0.99);
  for (const bad of [1, -0.1, Number.NaN, 10]) {
    assert.throws(
      () => checkJitter(bad),
      (error: unknown) => error instanceof BreakwaterError && error.code === 'JITTER_INVALID',
    );
  }
});
