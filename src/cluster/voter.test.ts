import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Ballot } from '../base/ballot.ts';
import type { Prepare } from './messages.ts';
import { NO_BALLOT, type OwnershipRecord } from './record.ts';
import type { Roster } from './roster.ts';
import { checkTiming, DEFAULT_TIMING } from './timing.ts';
import { Voter, type VoterOptions } from './voter.ts';

const [A, B, C] = ['a', 'b', 'c'].map((letter) => letter.repeat(40)) as [string, string, string];
const members = [A, B, C];
const set = NO_BALLOT;
const T = DEFAULT_TIMING.takeoverMs;

function voter(options: Partial<VoterOptions> = {}): Voter {
  return new Voter({
    rangeCount: 2,
    timing: DEFAULT_TIMING,
    members,
    life: 1,
    restored: null,
    hasForgotten: false,
    patientMs: 0,
    ...options,
  });
}

const record = (epoch: number, owner: string, inSync: readonly string[] = [owner]): OwnershipRecord => ({
  range: 0,
  ballot: { epoch, node: owner },
  owner,
  inSync,
});

let claims = 0;
function prepare(epoch: number, basis: OwnershipRecord | null, isYielded = false): Prepare {
  claims += 1;
  return {
    kind: 'prepare',
    set,
    claim: claims,
    epoch,
    items: [{ range: 0, basis: basis?.ballot ?? NO_BALLOT, owner: basis?.owner ?? null, isYielded }],
  };
}

function beat(one: Voter, from: string, patientMs: number, known = { life: 0, counter: 0 }) {
  return one.onHeartbeat(
    from,
    {
      kind: 'heartbeat',
      known: set,
      incarnation: 1,
      sentMs: 77,
      life: known.life,
      counter: known.counter,
      lagMs: 0,
      stance: 'here',
    },
    patientMs,
  );
}

test('a range is granted when its owner was silent for T, not before', () => {
  const one = voter();
  one.onAccept({ kind: 'accept', set, claim: 0, records: [record(1, A, [A, B])] });
  beat(one, A, 100);
  const early = one.onPrepare(B, prepare(2, record(1, A)), 100 + T - 40);
  assert.equal(early.refused[0]?.reason, 'heard');
  assert.equal(early.refused[0]?.waitMs, 40);
  assert.deepEqual(one.row(0).promised, { epoch: 1, node: A });
  assert.deepEqual(one.onPrepare(B, prepare(2, record(1, A)), 100 + T).granted, [0]);
});

test('the owner itself, and whom it told to take over, need not wait', () => {
  const one = voter();
  beat(one, A, 0);
  assert.deepEqual(one.onPrepare(A, prepare(2, record(1, A)), 1).granted, [0]);
  assert.deepEqual(one.onPrepare(B, prepare(3, record(1, A), true), 2).granted, [0]);
});

test('the owner of the record that is to be replaced is judged, not the one in its own stale table', () => {
  const one = voter();
  one.onAccept({ kind: 'accept', set, claim: 0, records: [record(1, A, [A, B, C])] });
  // It missed that B took over from A, who is dead; B lives.
  beat(one, B, T + 500);
  const claim = one.onPrepare(C, prepare(3, record(2, B, [B, C])), T + 600);
  assert.equal(claim.refused[0]?.reason, 'heard');
  // And where its table is the newer one, the claimant is told.
  one.onAccept({ kind: 'accept', set, claim: 0, records: [record(5, B, [B])] });
  const late = one.onPrepare(C, prepare(6, record(2, B, [B, C])), 10 * T);
  assert.equal(late.refused[0]?.reason, 'newer');
  assert.deepEqual(late.refused[0]?.accepted, record(5, B, [B]));
});

test('a refusal says what was promised, so that the next attempt can be above it', () => {
  const one = voter();
  assert.deepEqual(one.onPrepare(C, prepare(9, null), 0).granted, [0]);
  const refused = one.onPrepare(B, prepare(2, null), 1).refused[0]!;
  assert.deepEqual([refused.reason, refused.promised], ['promised', { epoch: 9, node: C }]);
  assert.deepEqual(one.onPrepare(B, prepare(refused.promised.epoch + 1, null), 2).granted, [0]);
  const accepted = one.onAccept({ kind: 'accept', set, claim: 0, records: [record(9, C)] });
  assert.deepEqual([accepted.ranges, accepted.refused[0]?.promised.epoch], [[], 10]);
});

test('two claims of one epoch are two ballots, and one is higher', () => {
  const one = voter();
  assert.deepEqual(one.onPrepare(B, prepare(2, null), 0).granted, [0]);
  assert.equal(one.onPrepare(A, prepare(2, null), 0).refused[0]?.reason, 'promised');
  assert.deepEqual(one.onPrepare(C, prepare(2, null), 0).granted, [0]);
  assert.equal(one.onAccept({ kind: 'accept', set, claim: 0, records: [record(2, B)] }).refused.length, 1);
  assert.deepEqual(one.onAccept({ kind: 'accept', set, claim: 0, records: [record(2, C)] }).ranges, [0]);
});

test('a question that is asked again is answered again; another one under the same ballot is not', () => {
  const one = voter();
  const asked = prepare(2, null);
  assert.deepEqual(one.onPrepare(B, asked, 0).granted, [0]);
  assert.deepEqual(one.onPrepare(B, asked, 0).granted, [0]);
  assert.deepEqual(one.onPrepare(B, prepare(2, null), 0).granted, []);
  const told = { kind: 'accept', set, claim: 0, records: [record(2, B)] } as const;
  assert.deepEqual([one.onAccept(told).ranges, one.onAccept(told).ranges], [[0], [0]]);
});

test('a voter that forgot answers nothing but that it recovers, until it has waited T and read what others hold', () => {
  const one = voter({ hasForgotten: true, life: 2, patientMs: 1000 });
  assert.equal(one.onPrepare(B, prepare(9, null), 9000).refused[0]?.reason, 'recovering');
  assert.equal(
    one.onAccept({ kind: 'accept', set, claim: 0, records: [record(9, B)] }).refused[0]?.reason,
    'recovering',
  );
  assert.equal(beat(one, A, 1001).isVoting, false);
  one.learn(record(8, A));
  assert.deepEqual(one.row(0).accepted.ballot, NO_BALLOT);
  assert.equal(one.hasWaited(1000 + T - 1), false);
  assert.equal(one.hasWaited(1000 + T), true);
  one.recover(
    [
      [{ range: 0, promised: { epoch: 4, node: C }, accepted: record(2, A) }],
      [{ range: 0, promised: { epoch: 3, node: B }, accepted: record(3, B) }],
    ],
    [],
    1000 + T,
  );
  // It makes no majority with it: what it promised is above.
  assert.deepEqual(one.row(0), { range: 0, promised: { epoch: 4, node: C }, accepted: record(3, B), isTaken: true });
  assert.equal(beat(one, A, 1000 + T).isVoting, true);
});

test('after a start nobody has been silent for longer than it has run', () => {
  const one = voter({
    restored: [{ range: 0, promised: { epoch: 1, node: A }, accepted: record(1, A) }],
    patientMs: 500,
  });
  assert.equal(one.onPrepare(B, prepare(2, record(1, A)), 500 + T - 1).refused[0]?.reason, 'heard');
  assert.deepEqual(one.onPrepare(B, prepare(2, record(1, A)), 500 + T).granted, [0]);
});

test('an acknowledgement brings what changed since the sender last knew, and who is silent', () => {
  const one = voter();
  one.onPrepare(B, prepare(2, null), 0);
  const first = beat(one, A, 0);
  assert.deepEqual([first.after, first.rows.map(({ range }) => range), first.sentMs], [0, [0], 77]);
  const again = beat(one, A, 10, { life: 1, counter: first.counter });
  assert.deepEqual([again.rows, again.silent], [[], []]);
  one.onAccept({ kind: 'accept', set, claim: 0, records: [record(2, B)] });
  const third = beat(one, A, 20, { life: 1, counter: first.counter });
  assert.deepEqual([third.after, third.rows[0]?.accepted], [first.counter, record(2, B)]);
  // Of another life, or of a future: everything.
  assert.equal(beat(one, A, 30, { life: 7, counter: 2 }).after, 0);
  assert.equal(beat(one, A, 30, { life: 1, counter: 999 }).after, 0);
  assert.deepEqual(beat(one, A, 800, { life: 1, counter: third.counter }).silent, [
    { id: B, ms: 800 },
    { id: C, ms: 800 },
  ]);
  one.invariants(800);
});

test('what was changed is handed out to be written once, as it is', () => {
  const one = voter();
  one.onPrepare(B, prepare(2, null), 0);
  one.onAccept({ kind: 'accept', set, claim: 0, records: [record(2, B)] });
  assert.deepEqual(one.takeChanged(), [{ range: 0, promised: { epoch: 2, node: B }, accepted: record(2, B) }]);
  assert.deepEqual(one.takeChanged(), []);
});

test('times that would let two members serve one range are refused', () => {
  assert.throws(() => checkTiming({ ...DEFAULT_TIMING, takeoverMs: 1399 }), /TIMING_INVALID|1\.4 times leaseMs/);
  assert.throws(() => checkTiming({ ...DEFAULT_TIMING, readLeaseMs: 470 }), /readLeaseMs/);
  assert.throws(() => checkTiming({ ...DEFAULT_TIMING, heartbeatMs: 500 }), /heartbeat/);
  assert.throws(() => checkTiming({ ...DEFAULT_TIMING, ackMs: Number.NaN }), /ackMs/);
  checkTiming(DEFAULT_TIMING);
});

// -- rosters

const D = 'd'.repeat(40);

function roster(epoch: number, ids: readonly string[]): Roster {
  const all = ids.map((id) => ({ id, host: '', linkPort: 0, zone: '', weight: 1 }));
  return { ballot: { epoch, node: A }, members: all, forgotten: [], homes: [[], []], seats: null };
}

test('a roster is a register: nothing below what was promised, the newest is told, and one ballot is promised once', () => {
  const one = voter();
  assert.equal(one.onRosterPrepare(A, { kind: 'roster-prepare', set, claim: 1, epoch: 5 }).isGranted, true);
  assert.equal(one.onRosterPrepare(A, { kind: 'roster-prepare', set, claim: 1, epoch: 5 }).isGranted, true);
  // Another life of the same member, which does not know what it did.
  const again = one.onRosterPrepare(A, { kind: 'roster-prepare', set, claim: 2, epoch: 5 });
  assert.deepEqual([again.isGranted, again.promised.epoch], [false, 5]);
  assert.equal(
    one.onRosterAccept({ kind: 'roster-accept', set, claim: 9, roster: roster(4, [A, B, C, D]) }, 0).answer,
    'promised',
  );
  assert.equal(
    one.onRosterAccept({ kind: 'roster-accept', set, claim: 1, roster: roster(5, [A, B, C, D]) }, 0).answer,
    'accepted',
  );
  const next = one.onRosterPrepare(B, { kind: 'roster-prepare', set, claim: 3, epoch: 6 });
  assert.deepEqual([next.isGranted, next.accepted?.members.length], [true, 4]);
  assert.equal(one.takeChangedRoster()?.accepted?.members.length, 4);
  assert.equal(one.takeChangedRoster(), null);
});

test('who is not in the roster that a voter accepted is promised nothing, and no record that names it is accepted', () => {
  const one = voter();
  assert.equal(one.onPrepare(D, prepare(1, null), 0).refused[0]?.reason, 'stranger');
  one.onRosterAccept({ kind: 'roster-accept', set, claim: 1, roster: roster(1, [A, B, C, D]) }, 0);
  assert.deepEqual(one.onPrepare(D, prepare(1, null), 0).granted, [0]);
  one.onRosterAccept({ kind: 'roster-accept', set, claim: 2, roster: roster(2, [A, B, C]) }, 0);
  assert.equal(one.onAccept({ kind: 'accept', set, claim: 1, records: [record(1, D)] }).refused[0]?.reason, 'stranger');
  assert.equal(
    one.onAccept({ kind: 'accept', set, claim: 1, records: [record(2, A, [A, D])] }).refused[0]?.reason,
    'stranger',
  );
});

test('a roster that leaves out whom the voter has in a record is refused', () => {
  const one = voter();
  one.onRosterAccept({ kind: 'roster-accept', set, claim: 1, roster: roster(1, [A, B, C, D]) }, 0);
  one.onAccept({ kind: 'accept', set, claim: 1, records: [record(1, A, [A, D])] });
  assert.equal(
    one.onRosterAccept({ kind: 'roster-accept', set, claim: 2, roster: roster(2, [A, B, C]) }, 0).answer,
    'named',
  );
  one.onAccept({ kind: 'accept', set, claim: 1, records: [record(2, A, [A, B])] });
  assert.equal(
    one.onRosterAccept({ kind: 'roster-accept', set, claim: 2, roster: roster(2, [A, B, C]) }, 0).answer,
    'accepted',
  );
});

test('a voter that forgot takes the newest roster of the others, and what they promised', () => {
  const one = voter({ hasForgotten: true });
  assert.equal(one.onRosterPrepare(A, { kind: 'roster-prepare', set, claim: 1, epoch: 5 }).isGranted, false);
  assert.equal(
    one.onRosterAccept({ kind: 'roster-accept', set, claim: 1, roster: roster(5, [A, B, C, D]) }, 0).answer,
    'recovering',
  );
  one.recover(
    [[], []],
    [
      { promised: { epoch: 9, node: B }, accepted: roster(3, [A, B, C]), votedIn: set },
      { promised: { epoch: 7, node: A }, accepted: roster(7, [A, B, C, D]), votedIn: set },
    ],
    T,
  );
  assert.deepEqual([one.roster.promised.epoch, one.roster.accepted?.ballot.epoch], [9, 7]);
});

test('what is told in notes is told once to each: a new life, another stance', () => {
  const one = voter();
  beat(one, A, 0);
  const first = beat(one, B, 10);
  assert.deepEqual(
    first.notes.map(({ id, lifeMs }) => [id, lifeMs]),
    [
      [A, 10],
      [B, 0],
    ],
  );
  const known = { life: 1, counter: first.counter };
  assert.deepEqual(beat(one, B, 20, known).notes, []);
  const leaving = {
    kind: 'heartbeat',
    incarnation: 1,
    sentMs: 0,
    ...known,
    lagMs: 0,
    stance: 'leaving',
    known: set,
  } as const;
  const own = one.onHeartbeat(A, leaving, 30);
  assert.deepEqual(own.notes, [{ id: A, stance: 'leaving', lifeMs: 30 }]);
  assert.deepEqual(beat(one, B, 40, known).notes, [{ id: A, stance: 'leaving', lifeMs: 40 }], 'also who comes later');
  assert.deepEqual(beat(one, B, 50, { life: 1, counter: own.counter }).notes, []);
  // Who knows nothing need not hear of those that have been there for long.
  assert.deepEqual(
    beat(one, C, 100_000).notes.map(({ id }) => id),
    [A, C],
  );
});

test('rows are told by what changed after what is known, however long ago that was', () => {
  const one = voter();
  one.onPrepare(A, prepare(1, null), 0);
  const early = beat(one, B, 1).counter;
  for (let epoch = 2; epoch < 4000; epoch += 1) {
    one.onAccept({ kind: 'accept', set, claim: epoch, records: [record(epoch, A)] });
  }
  const { rows, counter } = beat(one, B, 2, { life: 1, counter: early });
  assert.deepEqual(
    rows.map(({ range, accepted }) => [range, accepted.ballot.epoch]),
    [[0, 3999]],
  );
  one.onAccept({ kind: 'accept', set, claim: 1, records: [record(4000, A)] });
  assert.equal(beat(one, B, 3, { life: 1, counter }).rows.length, 1);
  assert.equal(beat(one, B, 4, { life: 1, counter: counter + 1 }).rows.length, 0);
});

test('a member whose process is gone counts as silent for T from then on, and whoever is granted its ranges is told that it was hasty', () => {
  const one = voter();
  one.onAccept({ kind: 'accept', set, claim: 0, records: [record(1, A, [A, B])] });
  beat(one, A, 100);
  beat(one, B, 100);
  one.onGone(A, 200);
  assert.deepEqual(beat(one, B, 200).silent, [{ id: A, ms: T }]);
  assert.deepEqual(beat(one, B, 450).silent, [{ id: A, ms: T + 250 }], 'who comes later in the order waits as ever');
  const asked = prepare(2, record(1, A));
  const promised = one.onPrepare(B, asked, 460);
  assert.deepEqual([promised.granted, promised.isHasty], [[0], true]);
  assert.equal(one.onPrepare(B, asked, 461).isHasty, true, 'also when it is asked again');
  assert.equal(one.onPrepare(B, prepare(3, record(1, A)), 100 + T).isHasty, false, 'by then it was silent for T');
});

test('a heartbeat, or a link, of a member that was taken for gone is stronger than that; of an earlier life it is not', () => {
  const one = voter();
  one.onAccept({ kind: 'accept', set, claim: 0, records: [record(1, A, [A, B])] });
  const said = { kind: 'heartbeat', sentMs: 7, life: 0, counter: 0, lagMs: 0, stance: 'here', known: set } as const;
  one.onHeartbeat(A, { ...said, incarnation: 2 }, 100);
  for (const undo of [() => one.onHeartbeat(A, { ...said, incarnation: 2 }, 210), () => one.onBack(A)]) {
    one.onGone(A, 200);
    one.onHeartbeat(A, { ...said, incarnation: 1 }, 205);
    assert.deepEqual(one.onPrepare(B, prepare(2 + claims, record(1, A)), 205).granted, [0]);
    undo();
    assert.equal(one.onPrepare(B, prepare(2 + claims, record(1, A)), 210).refused[0]?.reason, 'heard');
    assert.deepEqual(beat(one, B, 210).silent, []);
  }
  one.onGone('d'.repeat(40), 200);
  assert.deepEqual(beat(one, B, 210).silent, [], 'who is no member is nobody');
});

// -- sets of voters

const NEXT = { epoch: 7, node: A };

function seated(epoch: number, since: Ballot): Roster {
  const seats = { since, voters: [A, B, D], before: [A, B, C], behind: set };
  return { ...roster(epoch, [A, B, C, D]), seats };
}

test('a voter answers nobody who names another set, and one that went over votes when it knows what the set before agreed upon', () => {
  const one = voter();
  assert.deepEqual(one.onPrepare(B, prepare(2, null), 0).granted, [0]);
  assert.equal(one.onPrepare(B, { ...prepare(3, null), set: NEXT }, 0).refused[0]?.reason, 'voters');
  one.goOver(NEXT, false);
  const ack = beat(one, A, 10);
  assert.deepEqual([ack.isVoting, ack.isWhole, ack.set], [false, true, NEXT]);
  assert.equal(one.onAccept({ kind: 'accept', set, claim: 0, records: [record(2, B)] }).refused[0]?.reason, 'voters');
  assert.equal(
    one.onAccept({ kind: 'accept', set: NEXT, claim: 0, records: [record(2, B)] }).refused[0]?.reason,
    'recovering',
  );
  const elsewhere = { promised: { epoch: 5, node: C }, accepted: record(4, B) };
  one.recover([[{ range: 0, ...elsewhere }]], [{ promised: NEXT, accepted: seated(7, NEXT), votedIn: set }], 20);
  assert.deepEqual(one.row(0), { range: 0, ...elsewhere, isTaken: true });
  assert.deepEqual(beat(one, A, 30).taken, [0]);
  assert.deepEqual([beat(one, A, 30).isVoting, one.roster.votedIn, one.roster.accepted?.ballot], [true, NEXT, NEXT]);
  const asked = { ...prepare(6, record(4, B), true), set: NEXT };
  assert.deepEqual(one.onPrepare(A, asked, 40).granted, [0]);
  // What it accepts itself is its own again.
  one.onAccept({ kind: 'accept', set: NEXT, claim: 0, records: [record(6, A)] });
  assert.deepEqual(beat(one, A, 50).taken, []);
});

test('a newcomer among the voters is as one that forgot: it waits for T, from when others vote', () => {
  const one = voter({ set: NEXT, isNew: true });
  assert.deepEqual([one.phase, one.isWaiting, one.hasWaited(10 * T)], ['recovering', false, false]);
  one.wait(100);
  one.wait(200);
  assert.deepEqual([one.hasWaited(100 + T - 1), one.hasWaited(100 + T)], [false, true]);
  // Its directory says that it has voted in this set.
  const votedIn = { promised: NEXT, accepted: seated(7, NEXT), votedIn: NEXT };
  assert.equal(voter({ set: NEXT, isNew: true, restoredRoster: votedIn }).phase, 'voting');
  assert.equal(voter({ set: NEXT, restoredRoster: { ...votedIn, votedIn: set } }).phase, 'syncing');
  assert.equal(voter({ set: NEXT, restoredRoster: votedIn, hasForgotten: true }).phase, 'recovering');
});

test('the voters are changed again when T has passed; other changes of the roster need not wait', () => {
  const one = voter({ patientMs: 1000 });
  const change = { kind: 'roster-accept', set, claim: 1, roster: seated(7, NEXT) } as const;
  assert.equal(one.onRosterAccept(change, 1000 + T - 1).answer, 'settling');
  assert.equal(one.onRosterAccept({ ...change, roster: roster(6, [A, B, C, D]) }, 1000 + T - 1).answer, 'accepted');
  assert.equal(one.onRosterAccept(change, 1000 + T).answer, 'accepted');
});

test('who votes no more answers nobody and shows its table, unless it had forgotten it', () => {
  const one = voter();
  one.leave(NEXT);
  assert.deepEqual([beat(one, A, 1).isVoting, beat(one, A, 1).isWhole], [false, true]);
  assert.equal(one.onPrepare(B, prepare(2, null), 1).refused[0]?.reason, 'voters');
  assert.equal(one.onPrepare(B, { ...prepare(2, null), set: NEXT }, 1).refused[0]?.reason, 'voters');
  const other = voter({ hasForgotten: true });
  other.leave(NEXT);
  assert.equal(beat(other, A, 1).isWhole, false);
});
