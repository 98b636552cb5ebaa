/** Some of the seeds that every run of the tests goes through: 500 of them, in files of their own so that all processors take part. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runBatch } from '../../sim/cluster/batch.ts';

/** A test of the schedules of these seeds, both included. */
export function slice(from: number, to: number): void {
  const count = to - from + 1;
  test(`no wrong hit, one owner a range, and everything comes together: seeds ${from} to ${to}`, async () => {
    const { failures, counts, seeds, repeated } = await runBatch({
      from,
      seeds: count,
      everyTwice: 25,
      stopAtFailure: false,
    });
    assert.deepEqual(failures, []);
    assert.ok(seeds === count && repeated > 0);
    // It would be easy to find nothing by doing nothing.
    assert.ok(counts.hits > 200 * count && counts.copyHits > 5 * count && counts.acknowledged > 100 * count);
    assert.ok(counts.takeovers > count && counts.faults > 5 * count && counts.fills > 50 * count);
    assert.ok(counts.handOvers > count / 2);
  });
}
