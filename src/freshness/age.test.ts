import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { ageReceived, ageToSend } from './age.ts';

/** Times with a fraction. (`fc.double` would give mostly numbers next to 0.) */
const eighths = fc.nat(8_000_000).map((n) => n / 8);

test('an age that travelled never makes a value younger or its life longer, whatever the clocks and the network', () => {
  fc.assert(
    fc.property(
      fc.record({
        skewMs: fc.integer({ min: -7_200_000, max: 7_200_000 }),
        ageMs: eighths,
        ttlMs: fc.oneof(eighths, fc.constant(Number.POSITIVE_INFINITY)),
        thereMs: fc.oneof(fc.constant(0), fc.nat(5000)),
        backMs: fc.oneof(fc.constant(0), fc.nat(5000)),
      }),
      ({ skewMs, ageMs, ttlMs, thereMs, backMs }) => {
        const sentAtMs = 50_000_000;
        // The store's own clock, which the reader cannot see.
        const storeNow = sentAtMs + thereMs + skewMs;
        const onWire = ageToSend(storeNow - ageMs, ttlMs, storeNow);
        const local = ageReceived(onWire, sentAtMs);
        const nowMs = sentAtMs + thereMs + backMs;
        const trueAgeMs = ageMs + backMs;
        const seenAgeMs = nowMs - local.storedAtMs;
        const rounding = 2;
        assert.ok(seenAgeMs >= trueAgeMs - 1e-6, `seen ${seenAgeMs}, true ${trueAgeMs}`);
        assert.ok(seenAgeMs <= trueAgeMs + thereMs + rounding);
        const trueLeftMs = ttlMs - trueAgeMs;
        const seenLeftMs = local.ttlMs - seenAgeMs;
        assert.ok(seenLeftMs <= Math.max(trueLeftMs, 0) + 1e-6 || seenLeftMs === Number.POSITIVE_INFINITY);
        assert.equal(local.ttlMs === Number.POSITIVE_INFINITY, ttlMs === Number.POSITIVE_INFINITY);
      },
    ),
  );
});
