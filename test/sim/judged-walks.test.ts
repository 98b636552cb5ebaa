/** The whole command set over production nodes while they stop, forget, are cut off, drained and moved from: nothing that was acknowledged as replaced is read again, by owners, copies or proxies. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { WalkingMembers } from '../support/walking-members.ts';

for (const [seed, members, copies] of [
  [1, 3, 2],
  [2, 5, 3],
] as const) {
  test(`random operations among faults, ${members} members, ${copies} copies, seed ${seed}`, async () => {
    const world = new WalkingMembers(seed, members, copies);
    await world.run(15_000);
    assert.deepEqual(world.problems, []);
    assert.deepEqual(
      world.ledgers.flatMap(({ wrong }) => wrong),
      [],
    );
    for (const { hits, misses } of world.ledgers)
      assert.ok(hits > 300 && misses > 100, `${hits} hits, ${misses} misses`);
    for (const { acknowledged, refused } of world.walks) {
      assert.ok(acknowledged > 300 && refused > 0, `${acknowledged} acknowledged, ${refused} refused`);
    }
  });
}
