import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Copies } from './copies.ts';
import type { Message } from './messages.ts';
import { Primary } from './primary.ts';
import type { RangeStore } from './range-store.ts';
import type { OwnershipRecord } from './record.ts';
import { CUTS_AT_ONCE, CUTS_PER_MS, Streams } from './streams.ts';
import { DEFAULT_TIMING, DRIFT } from './timing.ts';

const [A, B, C] = ['a', 'b', 'c'].map((letter) => letter.repeat(40)) as [string, string, string];
const { readLeaseMs } = DEFAULT_TIMING;

/** A list of bytes a range; an effect or entry is one byte that goes in, 0 empties it. */
class Memory implements RangeStore {
  bytes: number[] = [];
  #unconfirmed: number[] = [];
  apply(_range: number, effect: Uint8Array): void {
    if (effect[0] === 0) this.clear();
    else this.bytes.push(effect[0]!);
  }
  clear(): void {
    this.bytes = [];
    this.#unconfirmed = [];
  }
  beginSync(): void {
    this.#unconfirmed = [...this.bytes];
  }
  put(_range: number, entries: readonly Uint8Array[]): void {
    for (const [byte] of entries) {
      if (!this.bytes.includes(byte!)) this.bytes.push(byte!);
      this.#unconfirmed = this.#unconfirmed.filter((each) => each !== byte);
    }
  }
  prepare(): void {}
  endSync(): void {
    this.bytes = this.bytes.filter((each) => !this.#unconfirmed.includes(each));
  }
  cut(_range: number, cursor: number): { entries: Uint8Array[]; cursor: number } {
    const entries = this.bytes.slice(cursor, cursor + 1).map((byte) => Uint8Array.of(byte));
    return { entries, cursor: cursor + 1 < this.bytes.length ? cursor + 1 : -1 };
  }
}

const record = (epoch: number, inSync: readonly string[]): OwnershipRecord => ({
  range: 0,
  ballot: { epoch, node: A },
  owner: A,
  inSync,
});

/** An owner and copies that talk at once, unless a name is in `deaf`. */
function scene(inSync: readonly string[], kept: readonly string[] = [], graceUntilMs = 0, leasedUntilMs?: number) {
  const memory = new Memory();
  const copies = new Map([B, C].map((id) => [id, { memory: new Memory(), side: null as unknown as Copies }]));
  for (const copy of copies.values()) copy.side = new Copies(1, copy.memory, DEFAULT_TIMING);
  const deaf = new Set<string>();
  const settled: [number, boolean][] = [];
  const queue: [string, Message][] = [];
  const time = { nowMs: 0 };
  const streams = new Streams();
  const resynced: [string, string][] = [];
  const primary = new Primary(
    A,
    record(5, inSync),
    kept,
    graceUntilMs,
    DEFAULT_TIMING,
    {
      store: memory,
      streams,
      resynced: (to, how) => resynced.push([to, how]),
      send: (to, message) => queue.push([to, message]),
      settled: (id, isAcknowledged) => settled.push([id, isAcknowledged]),
    },
    leasedUntilMs,
  );
  const talk = (): void => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const [to, message] = next;
      const copy = copies.get(to)!;
      if (deaf.has(to)) continue;
      if (message.kind === 'begin') copy.side.onBegin(A, message, record(5, [A]).ballot);
      if (message.kind === 'effects') copy.side.onEffects(message);
      if (message.kind === 'part') {
        const ack = copy.side.onPart(message);
        if (ack !== null) primary.onPartAck(to, ack, time.nowMs);
      }
      primary.onApplied(to, copy.side.applied(0), time.nowMs, time.nowMs);
    }
  };
  const pass = (ms: number): void => {
    time.nowMs += ms;
    streams.turn(time.nowMs);
    primary.onTick(time.nowMs, time.nowMs);
    talk();
    primary.invariants();
  };
  const write = (id: number, byte: number, isFirst: boolean): void => {
    memory.apply(0, Uint8Array.of(byte));
    primary.write(id, Uint8Array.of(byte), isFirst, time.nowMs, time.nowMs);
    talk();
  };
  return { memory, primary, streams, resynced, copies, deaf, settled, pass, write, time };
}

test('an invalidation is acknowledged when every copy of the set has applied it', () => {
  const { primary, deaf, settled, pass, write, copies } = scene([A, B, C]);
  pass(100);
  deaf.add(C);
  write(1, 7, false);
  assert.deepEqual([settled, copies.get(B)!.memory.bytes], [[], [7]]);
  deaf.delete(C);
  pass(100);
  assert.deepEqual([settled, copies.get(C)!.memory.bytes], [[[1, true]], [7]]);
  assert.equal(primary.pendingCount, 0);
});

test('a first SET need not wait, unless a copy may have an older value', () => {
  const { deaf, settled, pass, write } = scene([A, B]);
  pass(100);
  deaf.add(B);
  write(1, 7, true);
  assert.deepEqual(settled, [[1, true]]);
  // A removal that the copy has not applied: the next SET of any key of the range waits for it.
  write(2, 0, false);
  write(3, 8, true);
  assert.deepEqual(settled, [[1, true]]);
  deaf.delete(B);
  pass(100);
  assert.deepEqual(settled, [
    [1, true],
    [2, true],
    [3, true],
  ]);
});

test('a removed copy is waited for until the record is chosen, and then until its read lease has run out', () => {
  const { primary, deaf, settled, pass, write, copies, time } = scene([A, B]);
  pass(100);
  assert.equal(primary.grantRead(B, copies.get(B)!.side.position(0), time.nowMs), true);
  deaf.add(B);
  write(1, 7, false);
  pass(DEFAULT_TIMING.ackMs);
  assert.equal(primary.isLate(primary.followers.get(B)!, time.nowMs), true);
  primary.propose(record(6, [A]).ballot, [A]);
  pass(1000);
  assert.deepEqual(settled, []);
  // No lease is left by now: the record is all that is wanting.
  primary.adopt(record(6, [A]));
  pass(1);
  assert.deepEqual(settled, [[1, true]]);
});

test('a set that was proposed in place of one that turns out to be chosen is counted on still', () => {
  const { primary, deaf, settled, pass, write, time } = scene([A, B]);
  pass(100);
  deaf.add(B);
  primary.propose(record(6, [A]).ballot, [A]);
  // Nobody says what became of it: the set as it is, on top of it.
  primary.propose(record(7, [A, B]).ballot, [A, B]);
  primary.adopt(record(6, [A]));
  primary.unstage(B, time.nowMs, false, time.nowMs);
  write(1, 7, false);
  pass(1);
  assert.deepEqual(settled, [], 'it may be in the set');
  primary.adopt(record(7, [A, B]));
  primary.invariants();
  deaf.delete(B);
  pass(100);
  pass(100);
  assert.deepEqual(settled, [[1, true]]);
});

test('the read lease of a removed copy is waited out', () => {
  const { primary, deaf, settled, pass, write, copies, time } = scene([A, B]);
  pass(100);
  primary.grantRead(B, copies.get(B)!.side.position(0), time.nowMs);
  const untilMs = time.nowMs + readLeaseMs * DRIFT;
  deaf.add(B);
  write(1, 7, false);
  primary.adopt(record(6, [A]));
  pass(untilMs - time.nowMs - 1);
  assert.deepEqual(settled, []);
  assert.equal(primary.grantRead(B, copies.get(B)!.side.position(0), time.nowMs), false);
  pass(2);
  assert.deepEqual(settled, [[1, true]]);
});

test('nothing is acknowledged while read leases of the owner before may last', () => {
  const { settled, pass, write } = scene([A], [], 500);
  write(1, 7, true);
  pass(499);
  assert.deepEqual(settled, []);
  pass(1);
  assert.deepEqual(settled, [[1, true]]);
});

test('who is proposed holds from then on', () => {
  const { primary, deaf, settled, pass, write } = scene([A]);
  primary.stage(B);
  pass(100);
  pass(100);
  assert.equal(primary.isReady(primary.followers.get(B)!), true);
  primary.propose(record(6, [A, B]).ballot, [A, B]);
  deaf.add(B);
  write(1, 7, false);
  pass(100);
  assert.deepEqual(settled, []);
  primary.adopt(record(6, [A, B]));
  deaf.delete(B);
  pass(100);
  assert.deepEqual(settled, [[1, true]]);
});

test('a kept copy loses in the end what the owner does not have; one from outside begins empty', () => {
  const { memory, copies, pass, primary } = scene([A, B], [B]);
  memory.bytes = [1, 2, 3];
  copies.get(B)!.memory.bytes = [2, 9];
  copies.get(C)!.memory.bytes = [8];
  primary.stage(C);
  for (let i = 0; i < 6; i += 1) pass(100);
  assert.deepEqual(copies.get(B)!.memory.bytes.sort(), [1, 2, 3]);
  assert.deepEqual(copies.get(C)!.memory.bytes, [1, 2, 3]);
  assert.equal(primary.followers.get(B)!.mayHoldMore, false);
});

test('a write that nobody could acknowledge is given up after its time, and at the end of the reign', () => {
  const { primary, deaf, settled, pass, write } = scene([A, B]);
  pass(100);
  deaf.add(B);
  write(1, 7, false);
  pass(DEFAULT_TIMING.writeMs);
  assert.deepEqual(settled, [[1, false]]);
  write(2, 8, false);
  primary.end();
  assert.deepEqual(settled[1], [2, false]);
});

test('a copy that is behind the backlog begins anew, from nothing', () => {
  const { primary, deaf, pass, copies, memory } = scene([A, B]);
  pass(100);
  deaf.add(B);
  for (let i = 0; i < 1100; i += 1) primary.append(Uint8Array.of(1), false, 0);
  memory.bytes = [4, 5];
  copies.get(B)!.memory.bytes = [9];
  const { session } = primary.followers.get(B)!;
  deaf.delete(B);
  for (let i = 0; i < 6; i += 1) pass(100);
  assert.ok(primary.followers.get(B)!.session > session);
  assert.deepEqual(copies.get(B)!.memory.bytes, [4, 5]);
  assert.ok(primary.backlogCount <= 1024);
});

test('what every copy has applied is kept no longer, be it one effect', () => {
  const { primary, deaf, pass, write } = scene([A, B, C]);
  pass(100);
  write(1, 7, false);
  pass(1);
  assert.equal(primary.backlogCount, 0);
  deaf.add(C);
  write(2, 8, false);
  pass(1);
  assert.equal(primary.backlogCount, 1, 'one copy does not have it');
  deaf.delete(C);
  pass(100);
  assert.equal(primary.backlogCount, 0);
  primary.invariants();
});

test('a copy that was removed goes on from where it was, and is not ready before it has everything', () => {
  const { primary, resynced, deaf, pass, write, copies, memory } = scene([A, B]);
  pass(100);
  write(1, 4, false);
  pass(1);
  resynced.length = 0;
  deaf.add(B);
  for (const byte of [5, 6, 7]) write(byte, byte, false);
  primary.adopt(record(6, [A]));
  pass(1000);
  const follower = primary.followers.get(B)!;
  const { session } = follower;
  assert.equal(primary.isReady(follower), false);
  deaf.delete(B);
  // What it has of its own would be gone, were it to begin anew.
  copies.get(B)!.memory.bytes.push(99);
  pass(500);
  assert.deepEqual([primary.isReady(follower), follower.session], [true, session]);
  primary.propose(record(7, [A, B]).ballot, [A, B]);
  primary.adopt(record(7, [A, B]));
  assert.deepEqual(resynced, [[B, 'partial']]);
  assert.deepEqual(copies.get(B)!.memory.bytes, [4, 99, 5, 6, 7]);
  assert.deepEqual(memory.bytes, [4, 5, 6, 7]);
});

test('a copy that was silent and given up goes on too, as long as the backlog reaches back to it; then it is forgotten', () => {
  for (const writes of [3, 1100]) {
    const { primary, deaf, pass, copies, time, memory } = scene([A, B]);
    pass(100);
    deaf.add(B);
    primary.append(Uint8Array.of(1), true, time.nowMs);
    primary.adopt(record(6, [A]));
    primary.unstage(B, time.nowMs, true, time.nowMs);
    assert.equal(primary.followers.size, 0);
    for (let i = 0; i < writes; i += 1) primary.append(Uint8Array.of(2), false, time.nowMs);
    memory.bytes = [9];
    pass(2000);
    primary.stage(B);
    const follower = primary.followers.get(B)!;
    assert.equal(primary.isReady(follower), false, 'it has not been heard');
    deaf.delete(B);
    for (let i = 0; i < 30; i += 1) pass(100);
    assert.equal(primary.isReady(follower), true);
    assert.deepEqual(copies.get(B)!.memory.bytes, writes === 3 ? [1, 2, 2, 2] : [9]);
  }
});

test('who is away is remembered for no longer than its place is kept, and its backlog no longer than it', () => {
  const { primary, deaf, pass, time, streams } = scene([A, B]);
  pass(100);
  deaf.add(B);
  primary.append(Uint8Array.of(1), true, time.nowMs);
  primary.adopt(record(6, [A]));
  primary.unstage(B, time.nowMs, true, time.nowMs);
  pass(DEFAULT_TIMING.replaceMs - 1);
  assert.equal(primary.backlogCount, 1);
  pass(1);
  assert.deepEqual([primary.backlogCount, streams.backlogBytes], [0, 0]);
});

test('a copy whose memory is lost says so, and begins anew although its offset is remembered', () => {
  const { primary, deaf, pass, copies, time, memory } = scene([A, B]);
  pass(100);
  deaf.add(B);
  primary.append(Uint8Array.of(1), true, time.nowMs);
  primary.adopt(record(6, [A]));
  const lost = copies.get(B)!;
  lost.memory.bytes = [];
  lost.side = new Copies(1, lost.memory, DEFAULT_TIMING);
  memory.bytes = [7, 8];
  deaf.delete(B);
  for (let i = 0; i < 10; i += 1) pass(100);
  assert.deepEqual(lost.memory.bytes, [7, 8]);
});

test('nothing is sent into a full link, and what was held back goes when there is room', () => {
  const { primary, pass, copies, time, streams, deaf } = scene([A, B]);
  pass(100);
  streams.linkFull(B, true);
  for (let i = 0; i < 200; i += 1) primary.append(Uint8Array.of(1), false, time.nowMs);
  pass(1000);
  assert.equal(copies.get(B)!.memory.bytes.length, 0);
  deaf.add(C);
  streams.linkFull(B, false);
  pass(1);
  pass(100);
  assert.equal(copies.get(B)!.memory.bytes.length, 200);
});

test('one turn cuts a few pieces and no more, over all ranges; time brings more', () => {
  const streams = new Streams();
  streams.turn(0);
  const taken = (): number => Array.from({ length: 100 }, () => streams.takeCut()).filter(Boolean).length;
  assert.equal(taken(), CUTS_AT_ONCE);
  streams.turn(2);
  assert.equal(taken(), 2 * CUTS_PER_MS);
  streams.turn(1000);
  assert.equal(taken(), CUTS_AT_ONCE);
});

test('the backlogs of all ranges together are bounded: then each keeps less', () => {
  const { primary, pass, deaf, streams } = scene([A, B]);
  pass(100);
  deaf.add(B);
  const body = new Uint8Array(1000);
  for (let i = 0; i < 400; i += 1) primary.append(body, false, 0);
  assert.ok(primary.backlogCount > 100);
  streams.kept(0, 1e9);
  primary.append(body, false, 0);
  assert.ok(primary.backlogCount < 20);
  streams.kept(0, -1e9);
  primary.invariants();
});

test('leases that an earlier owner granted to members of the set: void when they follow, waited out when they are removed', () => {
  const heard = scene([A, B], [B], 0, 408);
  heard.write(1, 7, false);
  heard.pass(100);
  assert.deepEqual(heard.settled, [[1, true]], 'as soon as the copy follows and has it');

  const { primary, pass, settled, deaf, time, write } = scene([A, B], [B], 0, 408);
  deaf.add(B);
  write(1, 7, false);
  pass(300);
  primary.adopt(record(6, [A]));
  pass(100);
  assert.deepEqual(settled, [], 'it is removed, and may serve reads still');
  assert.equal(primary.outsideLeasesMs(time.nowMs), 8);
  pass(20);
  assert.deepEqual(settled, [[1, true]]);
});
