/**
 * A slice of the cluster's simulation, and whether it can be trusted: the same seed leaves the same trace; every rule in the table of what is taken out stands where the table says; some that are taken out are found
 * (all of them: `npm run sim -- --cluster-ablation`, bench/results/cluster-simulation.md).
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { runBatch } from '../../sim/cluster/batch.ts';
import { CLUSTER_MUTATIONS } from '../../sim/cluster/mutations.ts';
import { planOf } from '../../sim/cluster/plan.ts';
import { shrink } from '../../sim/cluster/shrink.ts';
import { type Report, Simulation } from '../../sim/cluster/simulation.ts';
import { search } from '../../sim/library/ablation.ts';

const SEEDS = Number(process.env['BREAKWATER_SIM_CLUSTER_SEEDS'] ?? 100);

test('no wrong hit, one owner a range, and everything comes together, in random schedules of five members', async () => {
  const { failures, counts, seeds, repeated } = await runBatch({
    from: 1,
    seeds: SEEDS,
    everyTwice: 25,
    stopAtFailure: false,
  });
  assert.deepEqual(failures, []);
  assert.ok(seeds === SEEDS && repeated > 0);
  // It would be easy to find nothing by doing nothing.
  assert.ok(counts.hits > 200 * SEEDS && counts.copyHits > 5 * SEEDS && counts.acknowledged > 100 * SEEDS);
  assert.ok(counts.takeovers > SEEDS && counts.faults > 5 * SEEDS && counts.fills > 50 * SEEDS);
});

test('the same seed leaves the same trace, recorded or not', () => {
  for (const seed of [3, 5]) {
    const fast = new Simulation(planOf(seed)).run();
    const again = new Simulation(planOf(seed), true).run();
    assert.equal(again.hash, fast.hash, `seed ${seed}`);
    assert.ok(again.lines.length > 500, 'a recorded run can be read');
    assert.notEqual(new Simulation(planOf(seed + 1)).run().hash, fast.hash);
  }
});

test('three members, seven, and one', async () => {
  for (const members of [1, 3, 7]) {
    const { failures } = await runBatch({
      from: 1,
      seeds: 4,
      everyTwice: 0,
      stopAtFailure: false,
      members,
      runMs: 15_000,
    });
    assert.deepEqual(failures, [], `${members} members`);
  }
});

test('every rule that can be taken out stands where the table says', () => {
  for (const { name, edits } of CLUSTER_MUTATIONS) {
    for (const { file, find } of edits) {
      const parts = readFileSync(join(import.meta.dirname, '../..', file), 'utf8').split(find).length - 1;
      assert.equal(parts, 1, `${name}: its piece of ${file} is there ${parts} times`);
    }
  }
});

for (const name of ['voter-grants-unheard', 'acknowledged-at-once']) {
  test(`a rule taken out of src/cluster is found: ${name}`, async () => {
    const mutation = CLUSTER_MUTATIONS.find((one) => one.name === name)!;
    const found = await search(mutation, 100, 1, 'cluster');
    assert.notEqual(found.seed, null, `${mutation.what}: not found in ${found.schedules} schedules`);
  });
}

test('a failing schedule is made smaller and still fails', () => {
  // "Failing" here: somebody's range was taken over, for which one fault is enough.
  const isBad = ({ counts }: Report): boolean => counts.takeovers > 0;
  let seed = 1;
  while (planOf(seed).faults.length <= 4 || !isBad(new Simulation(planOf(seed)).run())) seed += 1;
  const plan = planOf(seed);
  const { plan: small } = shrink(plan, isBad);
  assert.ok(small.faults.length >= 1 && small.faults.length < plan.faults.length, `${small.faults.length} faults left`);
  assert.ok(isBad(new Simulation(small).run()));
});
