/**
 * Slices of the library's simulation that are about versions, and about outboxes; and rules of both taken out of `src/`. The rest is in `library.test.ts`.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { search } from '../../sim/library/ablation.ts';
import { runBatch } from '../../sim/library/batch.ts';
import { MUTATIONS } from '../../sim/library/mutations.ts';

const SEEDS = Number(process.env['BREAKWATER_SIM_ABOUT_SEEDS'] ?? 25);

test('sets with versions that overtake each other: once one is answered, nothing older comes back', async () => {
  const { failures, counts } = await runBatch({
    from: 1,
    seeds: SEEDS,
    everyTwice: 20,
    stopAtFailure: false,
    about: 'versions',
  });
  assert.deepEqual(failures, []);
  assert.ok(counts.versionedSets > 4 * SEEDS && counts.outdatedSets > SEEDS / 10, JSON.stringify(counts));
});

test('what was not acknowledged is in the outbox: its process gives it to nobody, and when all is healed it is in force', async () => {
  const { failures, counts } = await runBatch({
    from: 1,
    seeds: SEEDS,
    everyTwice: 20,
    stopAtFailure: false,
    about: 'outbox',
  });
  assert.deepEqual(failures, []);
  assert.ok(counts.queued > SEEDS / 2, JSON.stringify(counts));
});

for (const name of ['older-version-replaces', 'pending-key-served']) {
  test(`a rule taken out of src/ is found: ${name}`, async () => {
    const mutation = MUTATIONS.find((one) => one.name === name)!;
    const found = await search(mutation, 100);
    assert.notEqual(found.seed, null, `${mutation.what}: not found in ${found.schedules} schedules`);
  });
}
