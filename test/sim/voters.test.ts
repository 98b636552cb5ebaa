/** Voters that change while everything else breaks, in a few schedules; `npm run sim -- --voters-every 1500` runs more. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runBatch } from '../../sim/cluster/batch.ts';

test('voters change all the time among all faults, and among members that come and go', async () => {
  const among = { from: 1, everyTwice: 2, stopAtFailure: false, runMs: 15_000, votersEveryMs: 1500 };
  const first = await runBatch({ ...among, seeds: 2 });
  assert.deepEqual(first.failures, []);
  assert.ok(first.counts.revotes >= 4, `${first.counts.revotes} changes of the voters`);
  const second = await runBatch({ ...among, from: 50, seeds: 1, joiners: 3 });
  assert.deepEqual(second.failures, []);
});
