/**
 * The cluster's simulation with whole production nodes in it: engine, commands, leases, effects and parked replies under the same faults and the same judge as the model of a memory (`cluster.test.ts`). A slice;
 * thousands: `npm run sim -- --seeds N --memory node`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runBatch } from '../../sim/cluster/batch.ts';

const SEEDS = Number(process.env['BREAKWATER_SIM_CLUSTER_NODE_SEEDS'] ?? 10);

test('no wrong hit and everything comes together, with nodes that have all their commands', async () => {
  const { failures, counts, seeds, repeated } = await runBatch({
    from: 1,
    seeds: SEEDS,
    everyTwice: 5,
    stopAtFailure: false,
    memory: 'node',
    runMs: 15_000,
  });
  assert.deepEqual(failures, []);
  assert.ok(seeds === SEEDS && repeated > 0);
  // It would be easy to find nothing by doing nothing.
  assert.ok(counts.hits > 200 * SEEDS && counts.copyHits > 5 * SEEDS && counts.acknowledged > 80 * SEEDS);
  assert.ok(counts.takeovers > 0 && counts.faults > 5 * SEEDS && counts.fills > 50 * SEEDS);
});
