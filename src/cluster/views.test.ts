import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Ballot } from '../base/ballot.ts';
import type { HeartbeatAck, VoterRow } from './messages.ts';
import { NO_BALLOT, type OwnershipRecord } from './record.ts';
import { DEFAULT_TIMING } from './timing.ts';
import { Views } from './views.ts';

const [A, B, C] = ['a', 'b', 'c'].map((letter) => letter.repeat(40)) as [string, string, string];
const F = DEFAULT_TIMING.leaseMs;

const record = (epoch: number, owner: string): OwnershipRecord => ({
  range: 0,
  ballot: { epoch, node: owner },
  owner,
  inSync: [owner],
});

const row = (accepted: OwnershipRecord, promised = accepted.ballot): VoterRow => ({ range: 0, promised, accepted });

function ack(sentMs: number, counter: number, rows: readonly VoterRow[], more: Partial<HeartbeatAck> = {}) {
  return {
    kind: 'heartbeat-ack',
    incarnation: 1,
    sentMs,
    isVoting: true,
    life: 1,
    after: 0,
    counter,
    rows,
    roster: null,
    silent: [],
    notes: [],
    set: NO_BALLOT,
    isWhole: true,
    taken: [],
    ...more,
  } as const;
}

const views = (): Views => new Views([A, B, C], 1, DEFAULT_TIMING);

test('a record holds when a majority of recent views has it', () => {
  const all = views();
  const changed = new Set<number>();
  all.onAck(0, ack(0, 1, [row(record(3, A))]), 10, changed);
  assert.equal(all.chosen[0]!.owner, null);
  assert.deepEqual(all.newest[0], record(3, A));
  all.onAck(1, ack(20, 1, [row(record(3, A))]), 30, changed);
  assert.deepEqual([all.chosen[0], [...changed]], [record(3, A), [0]]);
});

test('an old view proves nothing: its voter may have forgotten meanwhile', () => {
  const all = views();
  all.onAck(0, ack(0, 1, [row(record(3, A))]), 10, new Set());
  all.onAck(1, ack(F + 5, 1, [row(record(3, A))]), F + 10, new Set());
  assert.equal(all.chosen[0]!.owner, null);
  // It is asked again, and still has it.
  all.onAck(0, ack(F + 20, 1, [], { after: 1 }), F + 30, new Set());
  assert.equal(all.chosen[0]!.owner, A);
});

test('the lease counts from the sending of what a majority acknowledged, however late the answer', () => {
  const all = views();
  const { ballot } = record(3, A);
  all.onAck(0, ack(100, 1, [row(record(3, A))]), 100, new Set());
  assert.equal(all.isLeased(0, ballot, 100), false);
  all.onAck(1, ack(50, 1, [row(record(3, A))]), 50 + F - 1, new Set());
  assert.equal(all.isLeased(0, ballot, 50 + F - 1), true);
  assert.equal(all.hasMajority(50 + F - 1), true);
  assert.equal(all.isLeased(0, ballot, 50 + F), false);
  assert.equal(all.hasMajority(50 + F), false);
});

test('an acknowledgement counts for no range of which its voter has promised more', () => {
  const all = views();
  const { ballot } = record(3, A);
  all.onAck(0, ack(100, 1, [row(record(3, A))]), 100, new Set());
  all.onAck(1, ack(100, 1, [row(record(3, A), { epoch: 3, node: B })]), 100, new Set());
  assert.equal(all.isLeased(0, ballot, 110), false);
  assert.equal(all.isContested(0, ballot), true);
  all.onAck(2, ack(100, 1, [row(record(2, A))]), 100, new Set());
  assert.equal(all.isLeased(0, ballot, 110), true);
});

test('a voter that does not vote, or lives no more, acknowledges nothing', () => {
  const all = views();
  const { ballot } = record(3, A);
  all.onAck(0, ack(100, 1, [row(record(3, A))]), 100, new Set());
  all.onAck(1, ack(100, 1, [row(record(3, A))]), 100, new Set());
  assert.equal(all.isLeased(0, ballot, 110), true);
  all.onAck(1, ack(105, 1, [], { life: 2, isVoting: false }), 110, new Set());
  assert.equal(all.isLeased(0, ballot, 110), false);
  // A late one of its life before changes nothing.
  all.onAck(1, ack(106, 2, [row(record(3, A))], { life: 1 }), 112, new Set());
  assert.equal(all.isLeased(0, ballot, 112), false);
});

test('a record that no voter in touch knows for 2 T is forgotten, and its ballot is not', () => {
  const all = views();
  const { takeoverMs } = DEFAULT_TIMING;
  all.onAck(0, ack(100, 1, [row(record(3, A))]), 100, new Set());
  all.onAck(1, ack(100, 1, [row(record(3, A))]), 100, new Set());
  all.onAck(2, ack(100, 1, [row(record(5, C))]), 100, new Set());
  assert.equal(all.newest[0]!.owner, C);
  const hear = (atMs: number): void => {
    for (const index of [0, 1]) all.onAck(index, ack(atMs, 1, [], { after: 1 }), atMs, new Set());
  };
  // Its only voter starts anew, and has lost it.
  all.onAck(2, ack(150, 1, [], { life: 2, isVoting: false }), 150, new Set());
  for (let ms = 200; ms < 150 + 2 * takeoverMs; ms += 200) hear(ms);
  assert.equal(all.newest[0]!.owner, C, 'it may be known to somebody who is away for a moment');
  const changes = all.newestChanges;
  hear(200 + 2 * takeoverMs);
  assert.deepEqual(all.newest[0], record(3, A));
  assert.ok(all.newestChanges > changes, 'who claims looks again');
  assert.equal(all.knownNewest(0)!.epoch, 5, 'nobody is followed whose record is older');
  // Told of it again, we wait again.
  all.note(record(5, C), 0, 5);
  assert.equal(all.newest[0]!.owner, C);
  hear(400 + 2 * takeoverMs);
  assert.equal(all.newest[0]!.owner, C);
});

test('a record that a voter in touch has is not forgotten, chosen or not', () => {
  const all = views();
  for (let ms = 100; ms < 10_000; ms += 200) {
    const after = ms === 100 ? {} : { after: 1 };
    all.onAck(0, ack(ms, 1, [row(record(3, A))], after), ms, new Set());
    all.onAck(1, ack(ms, 1, [row(record(3, A))], after), ms, new Set());
    all.onAck(2, ack(ms, 1, [row(record(5, C))], after), ms, new Set());
  }
  assert.equal(all.newest[0]!.owner, C);
});

test('a member is silent when a majority of recent acknowledgements says so, and for as long as that majority says', () => {
  const all = views();
  const silent = (ms: number) => ({ silent: [{ id: C, ms }] });
  all.onAck(0, ack(100, 1, [], silent(900)), 100, new Set());
  assert.equal(all.silenceOf(C, 100), 0);
  all.onAck(1, ack(100, 1, [], silent(700)), 110, new Set());
  assert.equal(all.silenceOf(C, 110), 700);
  assert.equal(all.silenceOf(C, 160), 750);
  assert.equal(all.silenceOf(A, 160), 0);
  assert.equal(all.silenceOf(C, 100 + F), 0);
});

test('what changed since is only taken by a view that has what came before', () => {
  const all = views();
  all.onAck(0, ack(100, 9, [row(record(5, B))], { after: 7 }), 100, new Set());
  assert.equal(all.newest[0]!.owner, null);
  assert.equal(all.knownOf(0).counter, 0);
});

test('a stance and a life hold until something else is said of them, or by another life of the voter', () => {
  const all = views();
  const note = { notes: [{ id: C, stance: 'drained', lifeMs: 100 }] } as const;
  all.onAck(0, ack(100, 1, [], note), 100, new Set());
  all.onAck(1, ack(100, 1, [], note), 110, new Set());
  all.onAck(0, ack(300, 2, [], { after: 1 }), 300, new Set());
  all.onAck(1, ack(300, 2, [], { after: 1 }), 300, new Set());
  assert.equal(all.stanceOf(C, 310), 'drained');
  assert.equal(all.lifeMsOf(C, 310), 310);
  assert.equal(all.lifeMsOf(A, 310), Number.POSITIVE_INFINITY);
  all.onAck(1, ack(400, 1, [], { life: 2 }), 400, new Set());
  assert.equal(all.stanceOf(C, 410), 'here');
  assert.equal(all.isAnybodyAway, true);
});

// -- sets of voters

const D = 'd'.repeat(40);
const [SECOND, THIRD] = [1, 2].map((epoch) => ({ epoch, node: A })) as [Ballot, Ballot];

test('what was acknowledged in the set before goes on counting for a lease, what was accepted there counts when it is said anew', () => {
  const all = views();
  const changed = new Set<number>();
  all.onAck(0, ack(0, 1, [row(record(3, A))]), 5, changed);
  all.onAck(1, ack(0, 1, [row(record(2, A))]), 5, changed);
  assert.ok(all.isLeased(0, record(3, A).ballot, 10));
  all.follow([A, B, D], SECOND, NO_BALLOT);
  assert.deepEqual([all.voters, all.isLeased(0, record(3, A).ballot, 10)], [[A, B, D], true]);
  // Out of the set before: it has not gone over yet.
  all.onAck(1, ack(20, 2, [row(record(3, A))], { after: 1 }), 25, changed);
  assert.equal(all.chosen[0]!.owner, null);
  assert.equal(all.isLeased(0, record(3, A).ballot, F + 1), false);
  all.onAck(0, ack(30, 2, [], { after: 1, set: SECOND }), 35, changed);
  all.onAck(2, ack(30, 1, [row(record(3, A))], { set: SECOND, isVoting: false }), 35, changed);
  assert.equal(all.chosen[0]!.owner, null, 'who does not vote yet makes no majority');
  all.onAck(1, ack(40, 3, [], { after: 2, set: SECOND }), 45, changed);
  assert.equal(all.chosen[0]!.owner, A);
});

test('nothing that was acknowledged two sets ago counts: those majorities need not meet', () => {
  const all = views();
  for (const index of [1, 2]) all.onAck(index, ack(0, 1, []), 5, new Set());
  assert.ok(all.hasMajority(10));
  all.follow([B, C, D], THIRD, SECOND);
  assert.equal(all.hasMajority(10), false);
  for (const index of [0, 1]) all.onAck(index, ack(20, 2, [], { after: 1, set: THIRD }), 25, new Set());
  assert.ok(all.hasMajority(30));
});

test('a record that voters took over from others when they recovered is not chosen by that', () => {
  const all = views();
  all.onAck(0, ack(0, 1, [row(record(3, A))]), 5, new Set());
  all.onAck(1, ack(0, 1, [row(record(3, A))], { taken: [0] }), 5, new Set());
  assert.deepEqual([all.chosen[0]!.owner, all.newest[0]!.owner], [null, A]);
  all.onAck(2, ack(0, 1, [row(record(3, A))]), 5, new Set());
  assert.equal(all.chosen[0]!.owner, A);
});
