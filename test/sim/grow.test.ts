/**
 * Members that join and are forgotten while everything else breaks, in a few schedules (`npm run sim -- --joiners 3` runs more); and what a join moves when nothing breaks, counted by who reigned where.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runBatch } from '../../sim/cluster/batch.ts';
import { type Fault, type Plan, planOf } from '../../sim/cluster/plan.ts';
import { Simulation } from '../../sim/cluster/simulation.ts';
import { homesOf } from '../../src/cluster/roster.ts';
import { STANDING_RULES } from '../../src/cluster/standing.ts';

test('five grow to eight and some are forgotten, among all faults', async () => {
  const { failures, counts } = await runBatch({
    from: 1,
    seeds: 5,
    everyTwice: 5,
    stopAtFailure: false,
    joiners: 3,
    runMs: 20_000,
  });
  assert.deepEqual(failures, []);
  assert.ok(counts.joins > 5 && counts.forgotten > 0, `${counts.joins} joined, ${counts.forgotten} were forgotten`);
});

test('a join moves at most 1.2/(N+1) of the primaries, all of them to the newcomer, and everything ends where it should be', () => {
  const ranges = 32;
  const drawn = planOf(1, { runMs: 40_000, ranges, faults: [], joiners: 3 });
  const join = (atMs: number, index: number): Fault => ({ atMs, kind: 'join', members: [index], forMs: 0, amount: 0 });
  const joins = [join(4000, 5), join(16_000, 6), join(28_000, 7)];
  const plan: Plan = {
    ...drawn,
    setup: {
      ...drawn.setup,
      balance: { ...STANDING_RULES, stableMs: 800 },
      copies: 2,
      clients: 2,
      evictions: 0,
      diskMs: drawn.setup.diskMs.map(() => 0),
    },
    faults: joins,
  };
  const sim = new Simulation(plan);
  const { judge, world } = sim;
  let moves: string[] = [];
  const last = new Map<number, string>();
  const reigns = judge.reigns.bind(judge);
  judge.reigns = (host, range, ...rest) => {
    if (last.has(range) && last.get(range) !== host.name) moves.push(host.name);
    last.set(range, host.name);
    reigns(host, range, ...rest);
  };
  let seen = 0;
  joins.forEach(({ atMs, members: [index] }) => {
    world.at(atMs, () => {
      assert.deepEqual(moves, [], 'nothing moves without a reason');
    });
    world.at(atMs + 11_900, () => {
      seen += 1;
      assert.ok(
        moves.length > 0 && moves.length <= (1.2 / (index! + 1)) * ranges,
        `${moves.length} of ${ranges} moved`,
      );
      assert.deepEqual([...new Set(moves)], [`m${index}`]);
      moves = [];
      for (let range = 0; range < ranges; range += 1) {
        const owner = sim.hosts.find((host) => host.isLeased(range));
        assert.equal(owner?.id, homesOf(judge.roster!, range)[0], `range ${range}`);
      }
    });
  });
  assert.deepEqual(sim.run().violations, []);
  assert.equal(seen, 3);
});
