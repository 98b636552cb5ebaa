/**
 * The rules by which etcd stands in for voters (`src/cluster/etcd-voter.ts`), each alone, against the pretended etcd: what is asked arrives when the test says so, late or never.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeEtcd } from '../../sim/cluster/fake-etcd.ts';
import { EtcdKeys, type EtcdTxn, writeMark } from '../../src/cluster/etcd.ts';
import { EtcdVoter } from '../../src/cluster/etcd-voter.ts';
import type { Accepted, HeartbeatAck, Message, Promised, RosterAccepted } from '../../src/cluster/messages.ts';
import { NO_BALLOT, type OwnershipRecord, unowned } from '../../src/cluster/record.ts';
import type { Roster } from '../../src/cluster/roster.ts';
import { DEFAULT_TIMING } from '../../src/cluster/timing.ts';

const [A, B, C] = ['a', 'b', 'c'].map((letter) => letter.repeat(40)) as [string, string, string];
const PREFIX = '/test';
const MARK = writeMark({ cluster: '1'.repeat(32), setup: 'test' });
const KEYS = new EtcdKeys(PREFIX);
const { heartbeatMs: BEAT, takeoverMs: T, tickMs: TICK } = DEFAULT_TIMING;

/** A moment that all members share: their clocks are right here. */
class Place {
  etcd = new FakeEtcd();
  nowMs = 0;
  readonly members: Beside[] = [];

  constructor() {
    this.etcd.run({ compare: [], success: [{ kind: 'put', key: KEYS.cluster, value: MARK }], failure: [] });
  }

  /** Time passes; these members beat. */
  run(ms: number, ...beating: readonly Beside[]): void {
    for (const untilMs = this.nowMs + ms; this.nowMs < untilMs; ) {
      this.nowMs += TICK;
      for (const member of this.members) member.voter.onTick(this.nowMs);
      if (this.nowMs % BEAT === 0) for (const member of beating) member.beat();
    }
  }
}

/** A member without a core: the test says what its core would. */
class Beside {
  readonly voter: EtcdVoter;
  readonly id: string;
  /** Nothing that it asks arrives: it is kept here. */
  held: { readonly number: number; readonly txn: EtcdTxn }[] | null = null;
  heard: Message[] = [];
  lost: string | null = null;
  #counter = 0;
  #claims = 0;
  readonly #place: Place;
  readonly #life: number;

  constructor(place: Place, id: string, life = 1) {
    this.#place = place;
    this.#life = life;
    this.id = id;
    this.voter = new EtcdVoter({
      self: id,
      life,
      rangeCount: 2,
      founding: [A, B, C],
      timing: DEFAULT_TIMING,
      prefix: PREFIX,
      mark: MARK,
      clusterId: place.etcd.clusterId,
      nowMs: place.nowMs,
    });
    place.members.push(this);
  }

  say(message: Message): void {
    this.voter.onMessage(message, this.#place.nowMs);
    this.#drain();
  }

  beat(): HeartbeatAck | null {
    this.heard = this.heard.filter(({ kind }) => kind !== 'heartbeat-ack');
    this.say({
      kind: 'heartbeat',
      incarnation: this.#life,
      sentMs: this.#place.nowMs,
      life: this.#life,
      counter: this.#counter,
      lagMs: 0,
      stance: 'here',
      known: NO_BALLOT,
    });
    const ack = this.last<HeartbeatAck>('heartbeat-ack');
    if (ack !== null) this.#counter = ack.counter;
    return ack;
  }

  /** Asks for the range of `basis`; returns the claim. */
  prepare(basis: OwnershipRecord, epoch: number, isYielded = false): number {
    this.#claims += 1;
    const { range, ballot, owner } = basis;
    const claim = this.#life * 1000 + this.#claims;
    this.heard = this.heard.filter(({ kind }) => kind !== 'promised' && kind !== 'accepted');
    this.say({ kind: 'prepare', set: NO_BALLOT, claim, epoch, items: [{ range, basis: ballot, owner, isYielded }] });
    return claim;
  }

  /** Both steps. True: it is written. */
  claim(basis: OwnershipRecord, record: OwnershipRecord, isYielded = false): boolean {
    const claim = this.prepare(basis, record.ballot.epoch, isYielded);
    if (this.last<Promised>('promised')?.granted.length !== 1) return false;
    this.say({ kind: 'accept', set: NO_BALLOT, claim, records: [record] });
    return this.last<Accepted>('accepted')?.ranges.length === 1;
  }

  last<M extends Message>(kind: M['kind']): M | null {
    return (this.heard.findLast((message) => message.kind === kind) as M | undefined) ?? null;
  }

  /** What was held arrives now, and is answered unless nobody is told. */
  arrive(isAnswered: boolean): void {
    const held = this.held ?? [];
    this.held = null;
    for (const { number, txn } of held) {
      const answer = this.#place.etcd.run(txn);
      if (isAnswered) this.voter.onAnswer(number, answer, this.#place.nowMs);
    }
    this.#drain();
  }

  #drain(): void {
    for (let wishes = this.voter.take(); wishes.length > 0; wishes = this.voter.take()) {
      for (const wish of wishes) {
        if (wish.kind === 'say') this.heard.push(wish.message);
        else if (wish.kind === 'lost') this.lost = wish.why;
        else if (this.held !== null) this.held.push(wish);
        else this.voter.onAnswer(wish.number, this.#place.etcd.run(wish.txn), this.#place.nowMs);
      }
    }
    this.voter.invariants();
  }
}

function record(epoch: number, owner: string, ...others: string[]): OwnershipRecord {
  return { range: 0, ballot: { epoch, node: owner }, owner, inSync: [owner, ...others] };
}

/** Three members that beat, the first of them the owner of range 0. */
function owned(): { place: Place; a: Beside; b: Beside; c: Beside; first: OwnershipRecord } {
  const place = new Place();
  const [a, b, c] = [A, B, C].map((id) => new Beside(place, id)) as [Beside, Beside, Beside];
  place.run(BEAT, a, b, c);
  const first = record(1, A, B);
  assert.ok(a.claim(unowned(0), first));
  place.run(BEAT, a, b, c);
  return { place, a, b, c, first };
}

test('an acknowledgement shows every record up to its own moment, and who owns nothing learns who does', () => {
  const { place, a, b, first } = owned();
  assert.deepEqual(
    b.beat()!.rows.map(({ accepted }) => accepted),
    [],
    'what it knows is not told again',
  );
  const d = new Beside(place, B, 2);
  assert.deepEqual(
    d.beat()!.rows.map(({ accepted }) => accepted),
    [first],
  );
  assert.ok(a.claim(first, record(2, A)));
  const ack = d.beat()!;
  assert.deepEqual(
    ack.rows.map(({ accepted }) => accepted.ballot.epoch),
    [2],
  );
  assert.equal(ack.counter, place.etcd.revision);
});

test('a range is claimed when its owner was silent for T, not before; of two claimants one gets it, and the other is told', () => {
  const { place, b, c, first } = owned();
  place.run(T - 2 * BEAT, b, c);
  assert.equal(b.claim(first, record(2, B)), false);
  assert.equal(b.last<Promised>('promised')!.refused[0]!.reason, 'heard');
  place.run(3 * BEAT, b, c);
  assert.ok(b.beat()!.silent.some(({ id }) => id === A));
  const claim = c.prepare(first, 2);
  assert.ok(b.claim(first, record(2, B)));
  c.say({ kind: 'accept', set: NO_BALLOT, claim, records: [record(2, C)] });
  const { refused } = c.last<Accepted>('accepted')!;
  assert.deepEqual([refused[0]!.reason, refused[0]!.accepted], ['promised', record(2, B)]);
});

test('a claim that was on its way while its owner was heard is not done', () => {
  const { place, a, b, first } = owned();
  place.run(T + BEAT, b);
  const claim = b.prepare(first, 2);
  assert.deepEqual(b.last<Promised>('promised')!.granted, [0]);
  b.held = [];
  b.say({ kind: 'accept', set: NO_BALLOT, claim, records: [record(2, B)] });
  a.beat();
  b.arrive(true);
  const { ranges, refused } = b.last<Accepted>('accepted')!;
  assert.deepEqual([ranges, refused[0]!.reason, refused[0]!.waitMs], [[], 'heard', T]);
  assert.deepEqual(a.beat()!.rows, []);
});

test('while etcd was away nobody was silent', () => {
  const { place, a, b, first } = owned();
  a.held = [];
  b.held = [];
  place.run(20 * T, a, b);
  // Both are there again, and one of the two looks first.
  b.held = null;
  assert.deepEqual(
    b.beat()!.silent.filter(({ id, ms }) => id === A && ms >= T),
    [],
  );
  assert.equal(b.claim(first, record(2, B)), false);
});

test('what was done and not answered for is found done when it is asked for again', () => {
  const { place, a, first } = owned();
  const claim = a.prepare(first, 2);
  a.held = [];
  const message: Message = { kind: 'accept', set: NO_BALLOT, claim, records: [record(2, A)] };
  a.say(message);
  a.say(message);
  assert.equal(a.held.length, 1, 'not asked twice while it is on its way');
  a.arrive(false);
  place.run(1000);
  assert.equal(a.last<Accepted>('accepted'), null);
  a.say(message);
  assert.deepEqual(a.last<Accepted>('accepted')!.ranges, [0]);
});

test('what an earlier life asked is not done in a later one, and the earlier one is no more', () => {
  const { place, a, first } = owned();
  const claim = a.prepare(first, 2);
  a.held = [];
  a.say({ kind: 'accept', set: NO_BALLOT, claim, records: [record(2, A, C)] });
  const later = new Beside(place, A, 2);
  later.beat();
  a.arrive(true);
  assert.ok(later.claim(first, record(2, A)), 'under the same ballot: nothing else was ever written under it');
  assert.equal(a.lost, null);
  a.beat();
  assert.match(a.lost!, /a later life of this member/);
  assert.equal(a.beat(), null);
  // Nor does an earlier life begin behind a later one.
  const earlier = new Beside(place, A, 1);
  assert.equal(earlier.beat(), null);
  assert.match(earlier.lost!, /a later life of this member/);
});

test('an owner that hands over is followed at once, by whom it told of a record that nobody else knows yet', () => {
  const { a, b, first } = owned();
  const newer = record(2, A, B);
  assert.ok(a.claim(first, newer));
  assert.ok(b.claim(newer, record(3, B, A), true));
});

test('a roster is not written when records have come to name whom it leaves out', () => {
  const { place, a, b, c, first } = owned();
  const member = (id: string) => ({ id, host: id[0]!, linkPort: 1, zone: '', weight: 1 });
  const without: Roster = {
    ballot: { epoch: 1, node: B },
    members: [member(A), member(B)],
    forgotten: [C],
    homes: [[0], [1]],
    seats: null,
  };
  b.say({ kind: 'roster-prepare', set: NO_BALLOT, claim: 9, epoch: 1 });
  b.held = [];
  b.say({ kind: 'roster-accept', set: NO_BALLOT, claim: 9, roster: without });
  assert.ok(a.claim(first, record(2, A, C)));
  b.arrive(true);
  assert.equal(b.last<RosterAccepted>('roster-accepted')!.answer, 'named');
  assert.ok(a.claim(record(2, A, C), record(3, A)));
  b.beat();
  b.say({ kind: 'roster-accept', set: NO_BALLOT, claim: 9, roster: without });
  assert.equal(b.last<RosterAccepted>('roster-accepted')!.answer, 'accepted');
  // Who was forgotten is told, holds no lease, and gets nothing.
  assert.deepEqual(
    [c.beat()!.isVoting, c.heard.length > 0 && c.last<HeartbeatAck>('heartbeat-ack')!.roster!.accepted!.forgotten],
    [false, [C]],
  );
  assert.equal(a.claim(record(3, A), record(4, A, C)), false, 'the roster was another when it was judged');
  a.beat();
  assert.equal(a.claim(record(3, A), record(5, A, C)), false);
  assert.equal(a.last<Accepted>('accepted')!.refused[0]!.reason, 'stranger');
  place.run(BEAT, a, b);
});

test('an etcd that went back, was emptied or is another one is acknowledged nothing', () => {
  const backup = (change: (etcd: FakeEtcd) => void): string | null => {
    const { place, a } = owned();
    const old = place.etcd.snapshot();
    place.run(5 * BEAT, a);
    place.etcd = old;
    change(old);
    assert.equal(a.beat(), null);
    assert.equal(a.beat(), null, 'nor later');
    return a.lost;
  };
  assert.match(backup(() => {})!, /at revision \d+ and was at \d+ before/);
  // Others have written much since.
  assert.match(backup((etcd) => Object.assign(etcd, { revision: 1000 }))!, /went back/);
  assert.match(backup((etcd) => etcd.delete(KEYS.cluster))!, /mark|revision/);
  assert.match(backup((etcd) => Object.assign(etcd, { clusterId: '2', revision: 1000 }))!, /another etcd/);
});

test('what no member wrote is not taken for a record', () => {
  const { place, a } = owned();
  place.etcd.run({
    compare: [],
    success: [
      { kind: 'put', key: KEYS.record(1), value: '{"epoch":"x"}' },
      { kind: 'put', key: KEYS.changed, value: '' },
    ],
    failure: [],
  });
  assert.equal(a.beat(), null);
  assert.match(a.lost!, /record\/00001.*no member wrote that/);
});

test('nothing is known of a range that nobody has claimed', () => {
  assert.equal(unowned(0).ballot, NO_BALLOT);
  const place = new Place();
  const a = new Beside(place, A);
  assert.deepEqual([a.beat()!.rows, a.beat()!.isVoting], [[], true]);
});
