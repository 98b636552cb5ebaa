/**
 * Ranges that change their owner because somebody wants it, not because somebody died: home after a crash, away from a member that is drained, to where an operator says. How often, how soon, and where they are in the end; that nothing
 * wrong is served meanwhile is checked here as in every schedule of the simulation (`sim/cluster/judge.ts`).
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { orderOf } from '../../sim/cluster/member-host.ts';
import { type Fault, type Plan, planOf } from '../../sim/cluster/plan.ts';
import { Simulation } from '../../sim/cluster/simulation.ts';
import type { RosterMember } from '../../src/cluster/roster.ts';
import { STANDING_RULES, type StandingRules } from '../../src/cluster/standing.ts';
import type { Topology } from '../../src/cluster/topology.ts';

const QUICK: StandingRules = { ...STANDING_RULES, stableMs: 800 };
const RANGES = 8;

interface Story {
  readonly balance: StandingRules | null;
  readonly runMs: number;
  readonly faults?: readonly Partial<Fault>[];
  readonly copies?: number;
  readonly topology?: Topology;
  /** By time. */
  readonly at?: Readonly<Record<number, (cluster: Cluster) => void>>;
}

class Cluster {
  readonly sim: Simulation;
  /** By range: how often another member began to reign than the one before. */
  readonly moves: number[] = Array.from({ length: RANGES }, () => 0);
  readonly #last: (string | null)[] = Array.from({ length: RANGES }, () => null);

  constructor(seed: number, { balance, runMs, faults = [], copies = 2, topology = 'sharded', at = {} }: Story) {
    const drawn = planOf(seed, { runMs, ranges: RANGES, faults: [], topology });
    const plan: Plan = {
      ...drawn,
      setup: { ...drawn.setup, balance, copies, clients: 2, evictions: 0, diskMs: drawn.setup.diskMs.map(() => 0) },
      faults: faults.map((fault) => ({ atMs: 0, kind: 'crash', members: [0], forMs: 0, amount: 0, ...fault })),
    };
    this.sim = new Simulation(plan);
    const { judge, world } = this.sim;
    const reigns = judge.reigns.bind(judge);
    judge.reigns = (host, range, ...rest) => {
      if (this.#last[range] !== null && this.#last[range] !== host.name) this.moves[range]! += 1;
      this.#last[range] = host.name;
      reigns(host, range, ...rest);
    };
    for (const [ms, act] of Object.entries(at)) world.at(Number(ms), () => act(this));
    const { violations } = this.sim.run();
    assert.deepEqual(violations, [], `seed ${seed}`);
  }

  /** By range: the index of who owns it. */
  get owners(): number[] {
    return Array.from({ length: RANGES }, (_, range) => this.sim.hosts.findIndex((host) => host.isLeased(range)));
  }

  get homes(): number[] {
    const ids = this.sim.hosts.map(({ id }) => id);
    return Array.from({ length: RANGES }, (_, range) => ids.indexOf(orderOf(range, ids)[0]!));
  }

  /** Ranges whose record names the member, as the others know. */
  held(index: number): number[] {
    const { id } = this.sim.hosts[index]!;
    const { views } = this.sim.hosts[index === 0 ? 1 : 0]!.core!;
    return views.chosen.filter(({ inSync }) => inSync.includes(id)).map(({ range }) => range);
  }

  core(index: number) {
    return this.sim.hosts[index]!.core!;
  }

  now(index: number): number {
    return this.sim.hosts[index]!.machine.clock.now();
  }
}

test('what was taken over goes home when its member has been up for a while, also where the copy has to be made first', () => {
  for (const [seed, downMs] of [
    [1, 600],
    [2, 3000],
    // Longer than a silent copy's place is kept: others copy its ranges by then.
    [3, 42_000],
  ] as const) {
    let seen = 0;
    const cluster = new Cluster(seed, {
      balance: QUICK,
      runMs: downMs + 20_000,
      faults: [{ atMs: 4000, members: [0], forMs: downMs }],
      at: {
        [4000 + downMs]: ({ owners }) => assert.ok(!owners.includes(0), 'it owns nothing when it comes back'),
        [downMs + 19_900]: ({ owners, homes }) => {
          seen += 1;
          assert.deepEqual(owners, homes);
        },
      },
    });
    assert.equal(seen, 1);
    assert.deepEqual([...new Set(cluster.moves)].sort(), [0, 2], 'away and back, and nothing else moves');
  }
});

test('a member that goes down ten times in twenty seconds causes two moves a range at most', () => {
  for (const [seed, forMs] of [
    [4, 150],
    [5, 700],
    [6, 1750],
  ] as const) {
    const flaps = Array.from({ length: 10 }, (_, n) => ({ atMs: 4000 + 2000 * n, members: [0], forMs }));
    const { moves } = new Cluster(seed, {
      balance: STANDING_RULES,
      runMs: 60_000,
      faults: flaps,
      at: { 59900: ({ owners, homes }) => assert.deepEqual(owners, homes) },
    });
    assert.equal(Math.max(...moves), 2, `down for ${forMs} ms: ${moves}`);
  }
});

test('a member that goes down again each time that it is home gets nothing back after the third', () => {
  const flaps = Array.from({ length: 8 }, (_, n) => ({ atMs: 4000 + 25_000 * n, members: [0], forMs: 700 }));
  const cluster = new Cluster(7, { balance: STANDING_RULES, runMs: 215_000, faults: flaps });
  const { moves, sim } = cluster;
  const isFlapping = (index: number): boolean =>
    cluster.core(1).homing.isFlapping(sim.hosts[index]!.id, cluster.now(1));
  assert.deepEqual([isFlapping(0), isFlapping(2)], [true, false], 'and is shown as flapping');
  assert.equal(Math.max(...moves), 5, `three times away, twice back: ${moves}`);
});

test('a drained member gives its ranges and its copies away, and gets them back when that is undone', () => {
  for (const [seed, copies] of [
    [8, 1],
    [9, 2],
    [10, 3],
  ] as const) {
    let seen = 0;
    new Cluster(seed, {
      balance: QUICK,
      runMs: 40_000,
      copies,
      faults: [{ atMs: 5000, kind: 'drain', members: [1], forMs: 15_000 }],
      at: {
        4900: (cluster) => assert.ok(cluster.owners.includes(1) && cluster.held(1).length > 0),
        19900: (cluster) => {
          seen += 1;
          assert.ok(!cluster.owners.includes(1) && !cluster.owners.includes(-1), `${cluster.owners}`);
          assert.deepEqual([cluster.held(1), cluster.core(1).copiedCount], [[], 0]);
          for (const { inSync } of cluster.core(0).views.chosen) assert.equal(inSync.length, copies);
        },
        39900: ({ owners, homes }) => {
          seen += 1;
          assert.deepEqual(owners, homes);
        },
      },
    });
    assert.equal(seen, 2);
  }
});

/** What the roster says of the member, as it says itself when it is started anew. */
function told(cluster: Cluster, index: number, labels: Partial<RosterMember>): void {
  const core = cluster.core(index);
  const member = core.membership.known.members.find(({ id }) => id === core.self)!;
  const change = { kind: 'update', member: { ...member, ...labels } } as const;
  assert.equal(core.changeRoster(change, cluster.now(index)), null);
}

test('a member of weight 0 gives everything away and takes nothing; with a weight again it gets its share', () => {
  for (const [seed, copies] of [
    [12, 2],
    [13, 3],
  ] as const) {
    let seen = 0;
    new Cluster(seed, {
      balance: QUICK,
      runMs: 60_000,
      copies,
      faults: [{ atMs: 22_000, members: [3], forMs: 4000 }],
      at: {
        4900: (cluster) => {
          assert.ok(cluster.owners.includes(1) && cluster.held(1).length > 0);
          told(cluster, 1, { weight: 0 });
        },
        // And stays without anything while another is away.
        ...Object.fromEntries(
          [21_900, 25_900, 34_900].map((ms) => [
            ms,
            (cluster: Cluster) => {
              seen += 1;
              assert.ok(!cluster.owners.includes(1), `${cluster.owners}`);
              assert.deepEqual([cluster.held(1), cluster.core(1).copiedCount], [[], 0]);
            },
          ]),
        ),
        35000: (cluster) => told(cluster, 1, { weight: 2 }),
        59900: (cluster) => {
          seen += 1;
          assert.ok(cluster.owners.filter((owner) => owner === 1).length >= 2, `${cluster.owners}`);
          for (const { inSync } of cluster.core(0).views.chosen) assert.equal(inSync.length, copies);
        },
      },
    });
    assert.equal(seen, 4);
  }
});

test('the place of a copy that stays away is given to another zone than the owner is in', () => {
  const zones = ['a', 'b', 'a', 'b', 'b'];
  let seen = 0;
  new Cluster(14, {
    balance: QUICK,
    runMs: 80_000,
    faults: [{ atMs: 20_000, members: [0], forMs: 50_000 }],
    at: {
      ...Object.fromEntries(
        zones.map((zone, index) => [
          4000 + 1500 * index,
          (cluster: Cluster) => told(cluster, index, { host: `h${index}`, zone }),
        ]),
      ),
      69900: (cluster) => {
        const index = new Map(cluster.sim.hosts.map(({ id }, at) => [id, at]));
        for (const { owner, inSync } of cluster.core(1).views.chosen) {
          if (owner === null || zones[index.get(owner)!] !== 'b') continue;
          seen += 1;
          assert.deepEqual(new Set(inSync.map((id) => zones[index.get(id)!])), new Set(['a', 'b']), `${inSync}`);
        }
      },
    },
  });
  assert.ok(seen > 0);
});

test('one primary: everything is at one member, goes to one other when it dies, and stays there when it comes back', () => {
  for (const seed of [15, 16]) {
    const places: number[] = [];
    /** Everything is at one member; says at which. */
    const together = (cluster: Cluster): void => {
      const all = [...new Set(cluster.owners)];
      assert.ok(all.length === 1 && all[0]! >= 0, `seed ${seed}: ${cluster.owners}`);
      places.push(all[0]!);
    };
    const isWhole = (cluster: Cluster): void => {
      for (const { inSync } of cluster.core(3).views.chosen) {
        assert.deepEqual(new Set(inSync), new Set(cluster.sim.hosts.slice(0, 3).map(({ id }) => id)));
      }
    };
    const cluster = new Cluster(seed, {
      balance: QUICK,
      topology: 'primary',
      copies: 3,
      runMs: 60_000,
      faults: [
        { atMs: 5000, members: [0], forMs: 3000 },
        { atMs: 40_000, kind: 'drain', members: [0], forMs: 8000 },
      ],
      at: {
        4900: together,
        9900: together,
        // The first is back, and copies; nothing has moved.
        21900: (cluster) => {
          together(cluster);
          isWhole(cluster);
          // An operator makes it the primary again: more than half of them, and the others follow.
          const { id } = cluster.sim.hosts[0]!;
          const core = cluster.core(places[2]!);
          for (const range of [0, 1, 2, 4, 6]) assert.equal(core.move(range, id, cluster.now(places[2]!)), null);
        },
        39900: (cluster) => {
          together(cluster);
          isWhole(cluster);
        },
        // Drained: everything goes to one of the others, and stays there when that is undone.
        47900: together,
        59900: together,
      },
    });
    const [first, second, still, again, heir, last] = places;
    assert.deepEqual([first, second !== 0, still, again, heir !== 0, last], [0, true, second, 0, true, heir]);
    assert.ok(Math.max(...cluster.moves) <= 3, `away, back, away: ${cluster.moves}`);
  }
});

test('a range stays where an operator moved it, until everything is sent home', () => {
  let seen = 0;
  new Cluster(11, {
    balance: QUICK,
    runMs: 30_000,
    at: {
      5000: (cluster) => {
        const [owner] = cluster.owners as [number];
        const to = (owner + 3) % 5;
        const { id } = cluster.sim.hosts[to]!;
        assert.equal(cluster.core(to).move(0, id, cluster.now(to)), 'not-owner');
        assert.equal(cluster.core(owner).move(0, 'f'.repeat(40), cluster.now(owner)), 'not-member');
        assert.equal(cluster.core(owner).move(0, id, cluster.now(owner)), null);
      },
      18000: (cluster) => {
        seen += 1;
        const { owners, homes } = cluster;
        assert.deepEqual([owners[0], owners.slice(1)], [(homes[0]! + 3) % 5, homes.slice(1)]);
        const sent = cluster.sim.hosts.map((_, index) => cluster.core(index).rebalance(cluster.now(index)));
        assert.equal(
          sent.reduce((a, b) => a + b),
          1,
        );
      },
      29900: ({ owners, homes }) => {
        seen += 1;
        assert.deepEqual(owners, homes);
      },
    },
  });
  assert.equal(seen, 2);
});
