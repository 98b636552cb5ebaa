/**
 * A slice of the library's simulation, and whether it can be trusted: the same seed leaves the same trace, by either way of draining promises; a rule taken out of `src/` is found.
 * The long runs are `npm run sim` (sim/README.md); what they found stands in `schedules.test.ts`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { search } from '../../sim/library/ablation.ts';
import { runBatch } from '../../sim/library/batch.ts';
import { MUTATIONS } from '../../sim/library/mutations.ts';
import { planOf } from '../../sim/library/plan.ts';
import { shrink } from '../../sim/library/shrink.ts';
import { type Report, Simulation } from '../../sim/library/simulation.ts';
import { fromMacrotask } from '../../sim/world/world.ts';

const SEEDS = Number(process.env['BREAKWATER_SIM_SEEDS'] ?? 200);

test('no wrong hit, no hang and no lost error in random schedules of the library over a node', async () => {
  const { failures, counts, seeds, repeated } = await runBatch({
    from: 1,
    seeds: SEEDS,
    everyTwice: 25,
    stopAtFailure: false,
  });
  assert.deepEqual(failures, []);
  assert.ok(seeds === SEEDS && repeated > 0);
  // It would be easy to find nothing by doing nothing.
  assert.ok(counts.answers > 20 * SEEDS && counts.loads > 8 * SEEDS && counts.acknowledged > 5 * SEEDS);
  assert.ok(counts.fromL1 > SEEDS && counts.everywhere > SEEDS / 2 && counts.faults > SEEDS);
});

test('the same seed leaves the same trace, also where promises are drained by the event loop', async () => {
  for (const seed of [3, 5, 8]) {
    const fast = await fromMacrotask(() => new Simulation(planOf(seed)).run());
    const again = await fromMacrotask(() => new Simulation(planOf(seed), true).run());
    const slow = await new Simulation(planOf(seed)).runSlowly();
    assert.deepEqual([again.hash, slow.hash], [fast.hash, fast.hash], `seed ${seed}`);
    assert.ok(again.lines.length > 50, 'a recorded run can be read');
    const other = await fromMacrotask(() => new Simulation(planOf(seed + 1)).run());
    assert.notEqual(other.hash, fast.hash);
  }
});

for (const name of ['delete-voids-no-lease', 'generation-off-by-one']) {
  test(`a rule taken out of src/ is found: ${name}`, async () => {
    const mutation = MUTATIONS.find((one) => one.name === name)!;
    const found = await search(mutation, 200);
    assert.notEqual(found.seed, null, `${mutation.what}: not found in ${found.schedules} schedules`);
  });
}

test('a failing schedule is made smaller and still fails', async () => {
  // "Failing" here: something is loaded while the steps run, so one get is enough.
  const plan = planOf(5);
  const idle = await fromMacrotask(() => new Simulation({ ...plan, steps: [] }).run());
  const isBad = (report: Report): boolean => report.counts.loads > idle.counts.loads;
  const { plan: small } = await fromMacrotask(() => shrink(plan, isBad));
  assert.ok(small.steps.length >= 1 && small.steps.length <= 3, `${small.steps.length} steps left`);
  assert.ok(isBad(await fromMacrotask(() => new Simulation(small).run())));
});
