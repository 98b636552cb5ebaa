/** The values that members agree upon: ranges, members, records, and the map made of them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BreakwaterError } from '../base/errors.ts';
import { addressOf, checkMember, isNodeId, type Member, machineOf } from './member.ts';
import { Ranges } from './ranges.ts';
import { checkRecord, type OwnershipRecord, sameRecord, supersedes, unowned } from './record.ts';
import { SlotMap } from './slot-map.ts';

const id = (n: number): string => n.toString(16).padStart(40, '0');
const member = (n: number, more: Partial<Member> = {}): Member => ({
  id: id(n),
  host: `10.0.0.${n}`,
  port: 7379,
  httpPort: 8379,
  linkPort: 17_379,
  zone: '',
  machine: '',
  weight: 1,
  incarnation: 1,
  ...more,
});
const record = (range: number, epoch: number, owner: number | null, ...copies: number[]): OwnershipRecord => ({
  range,
  ballot: { epoch, node: id(owner ?? copies[0] ?? 1) },
  owner: owner === null ? null : id(owner),
  inSync: [...(owner === null ? [] : [owner]), ...copies].map(id),
});
const refusedWith = (code: string) => (error: unknown) => error instanceof BreakwaterError && error.code === code;

describe('ranges', () => {
  test('every slot is in one range, between its first and its last', () => {
    for (let count = 1; count <= 16_384; count *= 2) {
      const ranges = new Ranges(count);
      assert.equal(ranges.slotsPerRange * count, 16_384);
      assert.equal(ranges.first(0), 0);
      assert.equal(ranges.last(count - 1), 16_383);
      for (let slot = 0; slot < 16_384; slot += count > 64 ? 1 : 37) {
        const range = ranges.of(slot);
        assert.ok(range >= 0 && range < count && ranges.first(range) <= slot && slot <= ranges.last(range));
      }
    }
  });

  test('other numbers are refused', () => {
    for (const count of [0, -1, 3, 1000, 32_768, 1.5, Number.NaN])
      assert.throws(() => new Ranges(count), refusedWith('RANGES_INVALID'));
  });
});

describe('members', () => {
  test('what a member may say of itself', () => {
    checkMember(member(1, { zone: 'eu-west-1a', machine: 'rack-7/host_2', weight: 0, httpPort: 0 }));
    const wrong: Partial<Member>[] = [
      { id: 'ABC' },
      { id: id(1).replace('0', 'A') },
      { host: '' },
      { host: 'a b' },
      { port: 65_536 },
      { linkPort: 1.5 },
      { zone: 'a zone' },
      { machine: 'x'.repeat(65) },
      { weight: -1 },
      { weight: Number.NaN },
      { weight: Number.POSITIVE_INFINITY },
      { incarnation: -1 },
    ];
    for (const more of wrong)
      assert.throws(() => checkMember(member(1, more)), refusedWith('MEMBER_INVALID'), JSON.stringify(more));
  });

  test('names', () => {
    assert.equal(machineOf(member(1)), '10.0.0.1');
    assert.equal(machineOf(member(1, { machine: 'm' })), 'm');
    assert.equal(addressOf(member(1, { host: 'fe80::1' })), '[fe80::1]:7379');
    assert.ok(isNodeId(id(7)) && !isNodeId(7) && !isNodeId(''));
  });
});

describe('records', () => {
  test('what is no record', () => {
    checkRecord(record(3, 1, 1, 2), 4);
    checkRecord(record(3, 1, null, 2), 4);
    checkRecord(unowned(0), 1);
    const good = record(3, 1, 1, 2);
    const wrong: OwnershipRecord[] = [
      { ...good, range: 4 },
      { ...good, range: -1 },
      { ...good, ballot: { epoch: -1, node: id(1) } },
      { ...good, ballot: { epoch: 1, node: 'somebody' } },
      { ...good, inSync: [id(2)] },
      { ...good, inSync: [id(1), id(2), id(2)] },
      { ...good, inSync: [id(1), 'x'] },
      { ...good, inSync: Array.from({ length: 9 }, (_, n) => id(n + 1)) },
    ];
    for (const each of wrong)
      assert.throws(() => checkRecord(each, 4), refusedWith('RECORD_INVALID'), JSON.stringify(each));
  });

  test('the ballot is compared whole: of one epoch the higher node is the newer', () => {
    const a = record(0, 7, 1);
    const b = record(0, 7, 2);
    assert.ok(supersedes(b, a) && !supersedes(a, b) && !supersedes(a, a));
    assert.ok(supersedes(record(0, 8, 1), b));
    assert.ok(!sameRecord(a, b) && sameRecord(a, { ...a, inSync: [...a.inSync] }));
  });
});

const NEWS = fc.array(
  fc
    .tuple(
      fc.nat({ max: 7 }),
      fc.integer({ min: 1, max: 4 }),
      fc.option(fc.integer({ min: 1, max: 5 })),
      fc.integer({ min: 6, max: 9 }),
    )
    .map(([range, epoch, owner, copy]) => record(range, epoch, owner, copy)),
  { maxLength: 30 },
);
/** As voters see to it: the first record of a ballot is the only one. */
function oneABallot(news: readonly OwnershipRecord[]): OwnershipRecord[] {
  const seen = new Set<string>();
  return news.filter(({ range, ballot }) => {
    const name = `${range} ${ballot.epoch} ${ballot.node}`;
    return !seen.has(name) && seen.add(name);
  });
}

describe('the map', () => {
  test('the order and the grouping of news make no difference, and no ballot ever falls', () => {
    fc.assert(
      fc.property(NEWS.map(oneABallot), fc.infiniteStream(fc.nat()), (news, dice) => {
        const start = SlotMap.empty(new Ranges(8), [member(2), member(1)]);
        const whole = start.withRecords(news);
        const shuffled = news.map((each) => ({ each, lot: dice.next().value })).sort((a, b) => a.lot - b.lot);
        let step = SlotMap.empty(new Ranges(8), [member(1), member(2)]);
        for (const { each } of shuffled) {
          const next = step.withRecords([each]);
          assert.equal(next === step, !supersedes(each, step.records[each.range]!));
          assert.ok(next.records.every((held, range) => !supersedes(step.records[range]!, held)));
          step = next;
        }
        assert.deepEqual(step.records, whole.records);
        assert.deepEqual([...step.members], [...whole.members]);
        assert.deepEqual(step.runs, whole.runs);
      }),
    );
  });

  test('queries agree with the records', () => {
    fc.assert(
      fc.property(NEWS.map(oneABallot), (news) => {
        const map = SlotMap.empty(new Ranges(8)).withRecords(news);
        const owners = new Array<string | null>(16_384).fill(null);
        let last = -1;
        for (const run of map.runs) {
          assert.ok(run.first > last && run.last >= run.first);
          last = run.last;
          owners.fill(run.owner, run.first, run.last + 1);
          assert.ok(!run.copies.includes(run.owner));
        }
        for (let slot = 0; slot < 16_384; slot += 97) assert.equal(map.ownerOf(slot), owners[slot]);
        for (let n = 1; n < 10; n += 1) {
          for (const range of map.owned(id(n))) assert.equal(map.records[range]!.owner, id(n));
          for (const range of map.copied(id(n))) assert.ok(map.records[range]!.inSync.includes(id(n)));
        }
        const counted = [1, 2, 3, 4, 5].reduce((sum, n) => sum + map.owned(id(n)).length, 0);
        assert.equal(counted, map.ownedCount);
        assert.equal(map.epoch, Math.max(0, ...map.records.map(({ ballot }) => ballot.epoch)));
      }),
    );
  });

  test('neighbours with the same owner and copies are one run, whatever the order of the copies', () => {
    const map = SlotMap.empty(new Ranges(8)).withRecords([
      record(0, 1, 1, 2, 3),
      record(1, 2, 1, 3, 2),
      record(2, 1, 1, 2),
      record(4, 1, 1, 2),
    ]);
    const shape = map.runs.map(({ first, last, copies }) => [
      first,
      last,
      copies.map((each) => Number.parseInt(each, 16)),
    ]);
    assert.deepEqual(shape, [
      [0, 4095, [2, 3]],
      [4096, 6143, [2]],
      [8192, 10_239, [2]],
    ]);
  });

  test('a second record under one ballot is a bug that is not passed over', () => {
    const map = SlotMap.empty(new Ranges(8)).withRecords([record(0, 1, 1, 2)]);
    assert.throws(() => map.withRecords([record(0, 1, 1, 3)]), /one record a ballot/);
    assert.equal(map.withRecords([record(0, 1, 1, 2)]), map);
  });

  test('members: by id, the later life wins, and one that goes leaves the records alone', () => {
    const map = SlotMap.empty(new Ranges(8), [member(3), member(1)]).withRecords([record(0, 1, 3, 1)]);
    assert.deepEqual([...map.members.keys()], [id(1), id(3)]);
    const moved = map.withMember(member(3, { incarnation: 2, host: 'elsewhere' }));
    assert.equal(moved.members.get(id(3))!.host, 'elsewhere');
    assert.equal(moved.withMember(member(3)), moved, 'what an earlier life says changes nothing');
    assert.equal(moved.withMember(member(3, { incarnation: 2, host: 'elsewhere' })), moved);
    const left = moved.withoutMember(id(3));
    assert.deepEqual([...left.members.keys()], [id(1)]);
    assert.equal(left.ownerOf(5), id(3));
    assert.equal(left.withoutMember(id(3)), left);
    assert.equal(map.members.size, 2, 'the old map is as it was');
  });
});
