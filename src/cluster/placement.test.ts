/** Where ranges should be: balance, what moves when members come and go, zones and machines. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BreakwaterError } from '../base/errors.ts';
import { SeededRandom } from '../base/random.ts';
import { type Member, machineOf } from './member.ts';
import { sharesOf } from './placement/shares.ts';
import { type Placement, type PlacementRules, place } from './placement.ts';
import { Ranges } from './ranges.ts';

/** Ids as chance gives them: not in the order of the numbers. */
const id = (n: number): string => (Math.imul(n + 1, 0x9e37_79b1) >>> 0).toString(16).padStart(8, '0').repeat(5);
const member = (n: number, more: Partial<Member> = {}): Member => ({
  id: id(n),
  host: `10.0.${n >> 8}.${n & 255}`,
  port: 7379,
  httpPort: 8379,
  linkPort: 17_379,
  zone: '',
  machine: '',
  weight: 1,
  incarnation: 1,
  ...more,
});
const members = (count: number, more: (n: number) => Partial<Member> = () => ({})): Member[] =>
  Array.from({ length: count }, (_, n) => member(n, more(n)));
const inZones = (zones: number) => (n: number) => ({ zone: `zone-${n % zones}` });

const ownersMoved = (before: Placement, after: Placement): number =>
  before.filter((held, range) => held.owner !== after[range]!.owner).length;

function counts(placement: Placement): { readonly owned: Map<string, number>; readonly held: Map<string, number> } {
  const owned = new Map<string, number>();
  const held = new Map<string, number>();
  for (const { owner, inSync } of placement) {
    owned.set(owner!, (owned.get(owner!) ?? 0) + 1);
    for (const one of inSync) held.set(one, (held.get(one) ?? 0) + 1);
  }
  return { owned, held };
}

/** What holds after any history. */
function check(placement: Placement, all: readonly Member[], ranges: Ranges, copies: number): void {
  const eligible = all.filter(({ weight }) => weight > 0);
  assert.equal(placement.length, ranges.count);
  for (const { owner, inSync } of placement) {
    if (eligible.length === 0) {
      assert.deepEqual({ owner, inSync }, { owner: null, inSync: [] });
      continue;
    }
    assert.equal(owner, inSync[0]);
    assert.equal(inSync.length, Math.min(copies, eligible.length));
    assert.equal(new Set(inSync).size, inSync.length);
    assert.ok(inSync.every((one) => eligible.some((each) => each.id === one)));
  }
  const weight = eligible.reduce((sum, each) => sum + each.weight, 0);
  const { owned } = counts(placement);
  for (const each of eligible) {
    const share = (ranges.count * each.weight) / weight;
    const bound = Math.ceil(1.1 * share);
    assert.ok((owned.get(each.id) ?? 0) <= bound, `${owned.get(each.id)} of ${share} ranges`);
    assert.ok(
      (owned.get(each.id) ?? 0) >= Math.min(Math.floor(share), Math.floor(0.8 * share)),
      `only ${owned.get(each.id) ?? 0} of ${share}`,
    );
  }
}

type Step =
  | { readonly kind: 'join'; readonly weight: number; readonly zone: number; readonly machine: number }
  | { readonly kind: 'leave'; readonly which: number }
  | { readonly kind: 'drain'; readonly which: number }
  | { readonly kind: 'weigh'; readonly which: number; readonly weight: number };

const STEPS: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        kind: fc.constant('join' as const),
        weight: fc.constantFrom(1, 1, 1, 2, 5),
        zone: fc.nat(2),
        machine: fc.nat(9),
      }),
    },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('leave' as const), which: fc.nat(99) }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('drain' as const), which: fc.nat(99) }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant('weigh' as const),
        which: fc.nat(99),
        weight: fc.constantFrom(1, 2, 3),
      }),
    },
  ),
  { maxLength: 24 },
);

function apply(all: readonly Member[], step: Step, next: number): Member[] {
  switch (step.kind) {
    case 'join':
      return [...all, member(next, { weight: step.weight, zone: `z${step.zone}`, machine: `m${step.machine}` })];
    case 'leave':
      return all.filter((_, at) => at !== step.which % all.length);
    case 'drain':
      return all.map((each, at) => (at === step.which % all.length ? { ...each, weight: 0 } : each));
    case 'weigh':
      return all.map((each, at) => (at === step.which % all.length ? { ...each, weight: step.weight } : each));
  }
}

describe('histories of joins, leaves and weights', () => {
  test('every range has an owner and all its copies, owners are within their bounds, and placing again moves nothing', () => {
    fc.assert(
      fc.property(STEPS, fc.constantFrom(64, 256), fc.integer({ min: 1, max: 3 }), (steps, count, copies) => {
        const ranges = new Ranges(count);
        let all = members(3);
        let placement = place(all, ranges, [], { copies });
        check(placement, all, ranges, copies);
        steps.forEach((step, number) => {
          if (all.length === 0 && step.kind !== 'join') return;
          all = apply(all, step, 100 + number);
          placement = place(all, ranges, placement, { copies });
          check(placement, all, ranges, copies);
          assert.equal(
            ownersMoved(placement, place(all, ranges, placement, { copies })),
            0,
            'placing again moves no owner',
          );
        });
      }),
      { numRuns: 60 },
    );
  });

  test('a leave moves only what the leaver owned, a join at most 1.2/(N+1) of the primaries', () => {
    const random = new SeededRandom(7);
    for (const [count, least, most] of [
      [1024, 1, 40],
      [16_384, 90, 120],
    ] as const) {
      const ranges = new Ranges(count);
      let all = members(Math.floor((least + most) / 2), inZones(3));
      let placement = place(all, ranges);
      for (let number = 0; number < (count === 1024 ? 150 : 30); number += 1) {
        const before = placement;
        const size = all.length;
        if (size <= least || (size < most && random.nextFloat() < 0.5)) {
          all = [...all, member(1000 + number, inZones(3)(random.nextUint32() % 3))];
          placement = place(all, ranges, before);
          const moved = ownersMoved(before, placement);
          assert.ok(
            moved <= (1.2 * count) / (size + 1),
            `join number ${number} of ${size}: moved ${moved} of ${count}`,
          );
          const newcomer = all.at(-1)!.id;
          for (const [range, { owner }] of placement.entries()) {
            if (owner !== before[range]!.owner) assert.equal(owner, newcomer, 'only towards the newcomer');
          }
        } else {
          const leaver = all[random.nextUint32() % size]!;
          all = all.filter((each) => each !== leaver);
          placement = place(all, ranges, before);
          before.forEach(({ owner }, range) => {
            if (owner !== leaver.id) assert.equal(placement[range]!.owner, owner, `leave number ${number} of ${size}`);
          });
        }
      }
    }
  });

  test('the order of the members makes no difference', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(members(12, inZones(3)), { minLength: 12 }), (shuffled) => {
        const ranges = new Ranges(128);
        const sorted = members(12, inZones(3));
        assert.deepEqual(place(shuffled, ranges), place(sorted, ranges));
        assert.deepEqual(
          place(
            shuffled.filter(({ id: one }) => one !== id(4)),
            ranges,
            place(sorted, ranges),
          ),
          place(
            sorted.filter(({ id: one }) => one !== id(4)),
            ranges,
            place(sorted, ranges),
          ),
        );
      }),
      { numRuns: 10 },
    );
  });

  test('what a member leaves behind goes to its copies, which costs no transfer of what is read', () => {
    const ranges = new Ranges(1024);
    const all = members(8);
    const before = place(all, ranges);
    const after = place(all.slice(1), ranges, before);
    const orphans = before.flatMap((held, range) => (held.owner === id(0) ? [range] : []));
    const adopted = orphans.filter((range) => before[range]!.inSync.includes(after[range]!.owner!));
    assert.ok(adopted.length >= orphans.length * 0.8, `${adopted.length} of ${orphans.length} went to a copy`);
  });

  test('a member that comes back finds most of what it had', () => {
    const ranges = new Ranges(1024);
    const all = members(8);
    const before = place(all, ranges);
    const back = place(all, ranges, place(all.slice(1), ranges, before));
    const had = before.filter(({ owner }) => owner === id(0)).length;
    const regained = before.filter(({ owner }, range) => owner === id(0) && back[range]!.owner === owner).length;
    assert.ok(regained >= 0.7 * had, `${regained} of ${had}`);
  });
});

describe('balance', () => {
  for (const [size, count] of [
    [3, 1024],
    [6, 256],
    [10, 1024],
    [30, 1024],
    [100, 1024],
    [250, 4096],
  ] as const) {
    test(`${size} members, ${count} ranges: nobody owns more than 1.1 of its share, rounded up`, () => {
      const ranges = new Ranges(count);
      const all = members(size, inZones(3));
      const placement = place(all, ranges);
      check(placement, all, ranges, 2);
      const share = (2 * count) / size;
      for (const held of counts(placement).held.values())
        assert.ok(held <= Math.max(Math.ceil(share), 1.25 * share), `${held} of ${share}`);
    });
  }

  test('1,000 members: a change of one computes what that one has, and keeps the bounds', () => {
    const ranges = new Ranges(1024);
    const all = members(1000, inZones(3));
    const placement = place(all, ranges);
    check(placement, all, ranges, 2);
    const joined = place([...all, member(1000, inZones(3)(1000))], ranges, placement);
    assert.ok(ownersMoved(placement, joined) <= (1.2 * 1024) / 1001);
    const left = place(all.slice(1), ranges, placement);
    assert.equal(ownersMoved(placement, left), counts(placement).owned.get(id(0)) ?? 0);
  });

  test('weights: shares in proportion; 0 owns and copies nothing', () => {
    const ranges = new Ranges(1024);
    const all = members(6, (n) => ({ weight: [4, 2, 1, 1, 0, 0][n]! }));
    const { owned, held } = counts(place(all, ranges, [], { copies: 2 }));
    for (const [n, share] of [512, 256, 128, 128].entries())
      assert.ok(Math.abs(owned.get(id(n))! - share) <= share * 0.1 + 1);
    assert.ok(!held.has(id(4)) && !held.has(id(5)));
  });

  test('one primary with replicas is a matter of weights: the light ones own nothing and copy everything', () => {
    const ranges = new Ranges(1024);
    const all = members(3, (n) => ({ weight: n === 0 ? 1 : 1e-6 }));
    const placement = place(all, ranges, [], { copies: 3 });
    assert.ok(placement.every(({ owner, inSync }) => owner === id(0) && inSync.length === 3));
    const without = place(all.slice(1), ranges, placement, { copies: 3 });
    const { owned } = counts(without);
    assert.ok(Math.abs(owned.get(id(1))! - 512) <= 52, 'without it they share');
    const back = place(all, ranges, without, { copies: 3 });
    assert.ok(
      back.every(({ owner }) => owner === id(0)),
      'and it comes back to everything',
    );
  });

  test('draining gives away exactly what the member has', () => {
    const ranges = new Ranges(256);
    const all = members(5);
    const before = place(all, ranges);
    const after = place(
      all.map((each, n) => (n === 2 ? { ...each, weight: 0 } : each)),
      ranges,
      before,
    );
    assert.ok(!counts(after).held.has(id(2)));
    assert.equal(ownersMoved(before, after), counts(before).owned.get(id(2)));
  });

  test('nobody with a weight: nobody owns anything', () => {
    const nobody = place(
      members(2, () => ({ weight: 0 })),
      new Ranges(4),
    );
    assert.deepEqual(nobody[3], { owner: null, inSync: [] });
  });
});

describe('zones and machines', () => {
  const zoneOf = (all: readonly Member[], one: string): string => all.find((each) => each.id === one)!.zone;
  const machine = (all: readonly Member[], one: string): string => machineOf(all.find((each) => each.id === one)!);
  const share = (placement: Placement, isSo: (inSync: readonly string[]) => boolean): number =>
    placement.filter(({ inSync }) => isSo(inSync)).length / placement.length;

  test('every copy in a zone of its own where there are as many', () => {
    const all = members(9, inZones(3));
    for (const copies of [2, 3]) {
      const placement = place(all, new Ranges(1024), [], { copies });
      assert.equal(
        share(placement, (inSync) => new Set(inSync.map((one) => zoneOf(all, one))).size === copies),
        1,
      );
    }
  });

  test('two zones and three copies: both zones, three machines', () => {
    const all = members(8, inZones(2));
    const placement = place(all, new Ranges(256), [], { copies: 3 });
    assert.equal(
      share(placement, (inSync) => new Set(inSync.map((one) => zoneOf(all, one))).size === 2),
      1,
    );
    assert.equal(
      share(placement, (inSync) => new Set(inSync.map((one) => machine(all, one))).size === 3),
      1,
    );
  });

  test('several members a machine: copies on other machines; one machine only: copies all the same', () => {
    const all = members(12, (n) => ({ machine: `machine-${n % 4}` }));
    const spread = place(all, new Ranges(256), [], { copies: 3 });
    assert.equal(
      share(spread, (inSync) => new Set(inSync.map((one) => machine(all, one))).size === 3),
      1,
    );
    const together = members(6, () => ({ host: '127.0.0.1' }));
    assert.equal(
      share(place(together, new Ranges(256)), (inSync) => inSync.length === 2),
      1,
    );
  });

  test('a small zone holds what its bound allows, the rest stays in the large one: zoneBound is the say', () => {
    const all = members(10, (n) => ({ zone: n === 0 ? 'small' : 'large' }));
    for (const zoneBound of [2, 5]) {
      const placement = place(all, new Ranges(1024), [], { zoneBound });
      const small = counts(placement).held.get(id(0))!;
      assert.ok(small <= zoneBound * 0.2 * 1024 && small > zoneBound * 0.2 * 1024 * 0.95, `${small}`);
    }
  });

  test('a zone that comes later is used, and only copies move for it beyond its own share', () => {
    const ranges = new Ranges(256);
    const one = members(6, () => ({ zone: 'a' }));
    const before = place(one, ranges);
    const all = [...one, ...[6, 7, 8, 9, 10, 11].map((n) => member(n, { zone: 'b' }))];
    const after = place(all, ranges, before);
    assert.equal(
      share(after, (inSync) => new Set(inSync.map((each) => zoneOf(all, each))).size === 2),
      1,
    );
    assert.ok(ownersMoved(before, after) <= 0.6 * 256);
  });
});

test('shares add up, follow the weights, and nobody has more than the most', () => {
  fc.assert(
    fc.property(
      fc.array(fc.double({ min: 1e-6, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 20 }),
      fc.integer({ min: 1, max: 4 }),
      (weights, copies) => {
        const most = 100;
        const total = most * Math.min(copies, weights.length);
        const shares = sharesOf(weights, total, most);
        assert.ok(Math.abs(shares.reduce((sum, each) => sum + each, 0) - total) < 1e-6 * total);
        shares.forEach((each, a) => {
          assert.ok(each <= most);
          for (const [b, other] of shares.entries()) assert.ok(weights[a]! > weights[b]! || each <= other + 1e-9);
        });
      },
    ),
  );
  assert.deepEqual([...sharesOf([1000, 1, 1], 300, 100)], [100, 100, 100]);
});

test('rules that make no sense are refused', () => {
  const wrong: Partial<PlacementRules>[] = [
    { copies: 0 },
    { copies: 9 },
    { copies: 1.5 },
    { bound: 0.9 },
    { low: 1 },
    { heldBound: 0 },
    { zoneBound: 1 },
    { bound: Number.NaN },
  ];
  for (const each of wrong) {
    assert.throws(
      () => place(members(3), new Ranges(4), [], each),
      (error: unknown) => error instanceof BreakwaterError && error.code === 'PLACEMENT_INVALID',
      JSON.stringify(each),
    );
  }
});
