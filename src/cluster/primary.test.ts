import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Copies } from './copies.ts';
import type { Message } from './messages.ts';
import { Primary } from './primary.ts';
import type { RangeStore } from './range-store.ts';
import type { OwnershipRecord } from './record.ts';
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
function scene(inSync: readonly string[], kept: readonly string[] = [], graceUntilMs = 0) {
  const memory = new Memory();
  const copies = new Map([B, C].map((id) => [id, { memory: new Memory(), side: null as unknown as Copies }]));
  for (const copy of copies.values()) copy.side = new Copies(1, copy.memory, DEFAULT_TIMING);
  const deaf = new Set<string>();
  const settled: [number, boolean][] = [];
  const queue: [string, Message][] = [];
  const time = { nowMs: 0 };
  const primary = new Primary(A, record(5, inSync), kept, graceUntilMs, DEFAULT_TIMING, {
    store: memory,
    send: (to, message) => queue.push([to, message]),
    settled: (id, isAcknowledged) => settled.push([id, isAcknowledged]),
  });
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
    primary.onTick(time.nowMs, time.nowMs);
    talk();
    primary.invariants();
  };
  const write = (id: number, byte: number, isFirst: boolean): void => {
    memory.apply(0, Uint8Array.of(byte));
    primary.write(id, Uint8Array.of(byte), isFirst, time.nowMs, time.nowMs);
    talk();
  };
  return { memory, primary, copies, deaf, settled, pass, write, time };
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
  primary.propose([A]);
  pass(1000);
  assert.deepEqual(settled, []);
  // No lease is left by now: the record is all that is wanting.
  primary.adopt(record(6, [A]));
  pass(1);
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
  primary.propose([A, B]);
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
