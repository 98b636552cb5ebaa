/** The list of members: one change at a time, and placement that moves the newcomer's share. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { BreakwaterError } from '../base/errors.ts';
import {
  asMember,
  changedRoster,
  checkRoster,
  foundingRoster,
  homesOf,
  orderIn,
  type Roster,
  type RosterMember,
  setOf,
} from './roster.ts';
import { nearness } from './topology.ts';

const AT = { epoch: 1, node: 'f'.repeat(40) };
const idOf = (index: number): string => index.toString(16).padStart(40, '0');
const memberOf = (index: number): RosterMember => {
  return { id: idOf(index), host: `10.0.0.${index}`, linkPort: 17_379, zone: `z${index % 2}`, weight: 1 };
};

function founded(members: number, ranges: number, copies: number): Roster {
  const all = Array.from({ length: members }, (_, index) => memberOf(index));
  const order = (range: number): string[] => all.map((_, at) => all[(range + at) % members]!.id);
  return foundingRoster(all, order, ranges, copies);
}

function add(roster: Roster, index: number, voters: readonly string[], copies: number): Roster {
  const next = changedRoster(roster, { kind: 'add', member: memberOf(index) }, voters, copies, AT);
  assert.ok(typeof next !== 'string');
  return { ...next, ballot: { epoch: roster.ballot.epoch + 1, node: idOf(0) } };
}

test('a join moves at most 1.2/(N+1) of the primaries, and all of them to the newcomer; a forget moves only what was its own', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 3, max: 8 }),
      fc.constantFrom(64, 128, 256),
      fc.integer({ min: 1, max: 3 }),
      (n, ranges, copies) => {
        const voters = [0, 1, 2].map(idOf);
        let roster = founded(n, ranges, copies);
        for (let index = n; index < n + 3; index += 1) {
          const next = add(roster, index, voters, copies);
          checkRoster(next);
          const moved = Array.from({ length: ranges }, (_, range) => range).filter(
            (range) => homesOf(roster, range)[0] !== homesOf(next, range)[0],
          );
          assert.ok(moved.length > 0 && moved.length <= (1.2 / (index + 1)) * ranges, `${moved.length} of ${ranges}`);
          assert.ok(moved.every((range) => homesOf(next, range)[0] === idOf(index)));
          roster = next;
        }
        const before = roster;
        const after = changedRoster(before, { kind: 'forget', id: idOf(n) }, voters, copies, AT);
        assert.ok(typeof after !== 'string');
        const last: Roster = { ...after, ballot: { epoch: 9, node: idOf(1) } };
        checkRoster(last);
        for (let range = 0; range < ranges; range += 1) {
          const [was] = homesOf(before, range);
          if (was !== idOf(n)) assert.equal(homesOf(last, range)[0], was);
          assert.ok(!orderIn(last)[range]!.includes(idOf(n)));
          assert.equal(new Set(orderIn(last)[range]).size, last.members.length);
        }
      },
    ),
    { numRuns: 40 },
  );
});

test('what is not changed, and why', () => {
  const roster = founded(4, 4, 2);
  const voters = [0, 1, 2].map(idOf);
  assert.equal(changedRoster(roster, { kind: 'add', member: memberOf(1) }, voters, 2, AT), 'done');
  assert.equal(changedRoster(roster, { kind: 'forget', id: idOf(2) }, voters, 2, AT), 'voter');
  assert.equal(changedRoster(roster, { kind: 'forget', id: idOf(9) }, voters, 2, AT), 'not-member');
  assert.equal(changedRoster(roster, { kind: 'pardon', id: idOf(9) }, voters, 2, AT), 'done');
  const without = changedRoster(roster, { kind: 'forget', id: idOf(3) }, voters, 2, AT);
  assert.ok(typeof without !== 'string');
  const then: Roster = { ...without, ballot: { epoch: 1, node: idOf(0) } };
  assert.equal(changedRoster(then, { kind: 'forget', id: idOf(3) }, voters, 2, AT), 'done');
  assert.equal(changedRoster(then, { kind: 'add', member: memberOf(3) }, voters, 2, AT), 'forgotten');
  const pardoned = changedRoster(then, { kind: 'pardon', id: idOf(3) }, voters, 2, AT);
  assert.ok(typeof pardoned !== 'string');
  assert.equal(add({ ...pardoned, ballot: then.ballot }, 3, voters, 2).members.length, 4);
});

test('a member changes what is said of it: another weight moves its difference, another address nothing', () => {
  const voters = [0, 1, 2].map(idOf);
  const roster = add(founded(4, 64, 2), 4, voters, 2);
  const owned = (each: Pick<Roster, 'members' | 'homes'>, index: number): number =>
    each.homes.filter(([first]) => each.members[first!]!.id === idOf(index)).length;
  const update = (basis: Roster, member: RosterMember): Roster => {
    const next = changedRoster(basis, { kind: 'update', member }, voters, 2, AT);
    assert.ok(typeof next !== 'string', `${next}`);
    const made = { ...next, ballot: { epoch: basis.ballot.epoch + 1, node: idOf(0) } };
    checkRoster(made);
    return made;
  };
  assert.equal(changedRoster(roster, { kind: 'update', member: memberOf(3) }, voters, 2, AT), 'done');
  assert.equal(changedRoster(roster, { kind: 'update', member: memberOf(7) }, voters, 2, AT), 'not-member');

  const moved = update(roster, { ...memberOf(3), linkPort: 20_000 });
  assert.deepEqual([moved.homes, moved.members[3]!.linkPort], [roster.homes, 20_000]);

  const twice = update(roster, { ...memberOf(3), weight: 2 });
  assert.ok(Math.abs(owned(twice, 3) - 64 / 3) <= 3, `${owned(twice, 3)} of 64 with a third of the weights`);
  twice.homes.forEach((homes, range) => {
    const [before, after] = [homesOf(roster, range)[0], twice.members[homes[0]!]!.id];
    assert.ok(before === after || after === idOf(3), 'only towards whom the weight has grown of');
  });

  const idle = update(twice, { ...memberOf(3), weight: 0 });
  assert.ok(idle.homes.every((homes) => homes.length === 2 && !homes.includes(3)));
  assert.ok(orderIn(idle).every((order) => !order.includes(idOf(3))));

  const elsewhere = update(roster, { ...memberOf(2), zone: 'z9', machine: 'rack' });
  assert.deepEqual([elsewhere.members[2]!.zone, elsewhere.members[2]!.machine], ['z9', 'rack']);
});

test('how near two members are: machine before zone, and no zone is no common one', () => {
  const at = (host: string, zone: string, machine = '') => asMember({ ...memberOf(1), host, zone, machine });
  assert.equal(nearness(at('a', 'z'), at('a', 'y')), 2);
  assert.equal(nearness(at('a', 'z', 'm'), at('b', 'y', 'm')), 2);
  assert.equal(nearness(at('a', 'z', 'm'), at('a', 'z', 'n')), 1);
  assert.equal(nearness(at('a', ''), at('b', '')), 0);
  assert.equal(nearness(at('a', 'z'), at('b', 'y')), 0);
});

test('a roster that contradicts itself is refused', () => {
  const whole = add(founded(3, 2, 2), 3, [idOf(0)], 2);
  checkRoster(whole);
  const bad: Roster[] = [
    { ...whole, ballot: { epoch: 0, node: '' } },
    { ...whole, members: [] },
    { ...whole, members: [...whole.members, whole.members[0]!] },
    { ...whole, forgotten: [idOf(3)] },
    { ...whole, homes: [[0, 0], [1]] },
    { ...whole, homes: [[7], [1]] },
  ];
  for (const roster of bad) {
    assert.throws(
      () => checkRoster(roster),
      (error) => error instanceof BreakwaterError && error.code === 'ROSTER_INVALID',
    );
  }
});

test("the voters: one comes, one goes, or one takes another's place", () => {
  const founders = [0, 1, 2].map(idOf);
  const change = (roster: Roster, come: number | null, go: number | null): Roster | string => {
    const [add, remove] = [come, go].map((index) => (index === null ? null : idOf(index))) as [string, string];
    const ballot = { epoch: roster.ballot.epoch + 1, node: idOf(0) };
    return changedRoster(roster, { kind: 'voters', add, remove }, founders, 2, ballot);
  };
  const made = (found: Roster | string): Roster => {
    assert.ok(typeof found !== 'string', `${found}`);
    checkRoster(found);
    return found;
  };
  const first = founded(6, 4, 2);
  assert.equal(setOf(first).epoch, 0);
  const second = made(change(first, 3, 1));
  assert.deepEqual(
    [second.seats!.voters, second.seats!.before, second.seats!.behind.epoch, setOf(second).epoch],
    [[0, 3, 2].map(idOf), founders, 0, 1],
  );
  const third = made(change(second, 1, null));
  assert.deepEqual([third.seats!.voters.length, third.seats!.behind.epoch], [4, 1]);
  const full = made(change(third, 4, null));
  for (const [roster, come, go, why] of [
    [full, 5, null, 'voters-full'],
    [full, 4, null, 'done'],
    [full, null, 5, 'done'],
    [second, 3, 1, 'done'],
    [second, 9, 0, 'not-member'],
    [second, 0, 2, 'voter'],
    [second, 4, 1, 'not-voter'],
  ] as const) {
    assert.equal(change(roster, come, go), why);
  }
  let alone = full;
  for (const index of [0, 1, 2, 3]) alone = made(change(alone, null, index));
  assert.deepEqual(alone.seats!.voters, [idOf(4)]);
  assert.deepEqual([change(alone, null, 4), change(alone, 0, 4)], ['voters-few', 'voters-few']);
  assert.equal(changedRoster(full, { kind: 'forget', id: idOf(3) }, founders, 2, AT), 'voter');
  // Other changes leave the voters as they are.
  const fewer = made(changedRoster(full, { kind: 'forget', id: idOf(5) }, founders, 2, AT));
  assert.deepEqual(fewer.seats, full.seats);
});
