/**
 * The cluster's simulation with etcd in place of voters: the production core and `EtcdVoter` on each member, a pretended etcd that is slow, cut off, and does things without saying so. A slice; thousands:
 * `npm run sim -- --seeds N --coordination etcd`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runBatch } from '../../sim/cluster/batch.ts';
import { CLUSTER_MUTATIONS } from '../../sim/cluster/mutations.ts';
import { search } from '../../sim/library/ablation.ts';

const SEEDS = Number(process.env['BREAKWATER_SIM_CLUSTER_ETCD_SEEDS'] ?? 30);

test('no wrong hit, one owner a range, and everything comes together, where etcd keeps the records', async () => {
  const { failures, counts, seeds, repeated } = await runBatch({
    from: 1,
    seeds: SEEDS,
    everyTwice: 20,
    stopAtFailure: false,
    coordination: 'etcd',
  });
  assert.deepEqual(failures, []);
  assert.ok(seeds === SEEDS && repeated > 0);
  // It would be easy to find nothing by doing nothing.
  assert.ok(counts.hits > 200 * SEEDS && counts.copyHits > 5 * SEEDS && counts.acknowledged > 100 * SEEDS);
  assert.ok(counts.takeovers > SEEDS && counts.faults > 10 * SEEDS && counts.fills > 50 * SEEDS);
});

test('the same with members that join and are forgotten, and with whole nodes', async () => {
  for (const more of [{ joiners: 3 }, { memory: 'node' as const, runMs: 12_000 }]) {
    const { failures } = await runBatch({
      from: 1,
      seeds: 3,
      everyTwice: 0,
      stopAtFailure: false,
      coordination: 'etcd',
      ...more,
    });
    assert.deepEqual(failures, [], JSON.stringify(more));
  }
});

test('a rule taken out is found: an acknowledgement without the records of its moment', async () => {
  const mutation = CLUSTER_MUTATIONS.find(({ name }) => name === 'etcd-lease-without-table')!;
  const found = await search(mutation, 40, 1, 'cluster');
  assert.notEqual(found.seed, null, `${mutation.what}: not found in ${found.schedules} schedules`);
});
