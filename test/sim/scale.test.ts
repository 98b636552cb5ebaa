/** The measurements of bench/results/2026-11-21-cluster-scale.md, of clusters small enough for a test. Times are simulated. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { measureScale, type ScaleResult } from '../../sim/scale/measure.ts';

const within = (ms: number | null, most: number): boolean => ms !== null && ms <= most;

test('a join moves what is to be its own, a crash and the loss of a third are over in time', () => {
  for (const members of [4, 9]) {
    const { join, crash, back, third, shares, rest } = measureScale(members, 1);
    assert.ok(join !== null && back !== null);
    assert.deepEqual([join.moved, back.moved], [join.wanted, back.wanted], 'nothing else moves');
    assert.ok(join.wanted > 0 && within(join.homeMs, 30_000) && within(back.homeMs, 30_000));
    assert.ok(crash.ranges > 0 && within(crash.servedMs, 1700) && within(crash.agreedMs, 2000), JSON.stringify(crash));
    assert.ok(third.ranges > 0 && within(third.servedMs, 3000) && within(third.agreedMs, 3000), JSON.stringify(third));
    assert.ok(shares.ownedMost <= 1.2 && shares.heldMost <= 1.3, JSON.stringify(shares));
    assert.ok(rest.voter.received >= 5 * (members - 2), 'a voter hears everybody');
  }
});

test('one seed, one result', () => {
  const simulated = ({ cpu: _, ...rest }: ScaleResult): unknown => rest;
  assert.deepEqual(simulated(measureScale(4, 7)), simulated(measureScale(4, 7)));
});
