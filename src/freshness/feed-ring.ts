/**
 * The last invalidations of this member, kept for followers that are behind: one log, and every subscriber is a cursor in it.
 *
 * The obvious alternative, a queue per subscriber, holds each invalidation once for every L1 and grows with the slowest of
 * them. Here the slowest costs nothing: when the log has moved on past its cursor, it is told "gap" and starts anew. That is
 * how Kafka treats its consumers; and a follower that was cut off for a second and one that is a second slow are the same case.
 *
 * Bounded twice, by records and by bytes of names. Whatever is oldest goes first.
 *
 *   record   range i32 | kind u8 | number f64 | ballot (reference) | start i32 | length i32 | taken i32      at  seq & mask
 *   bytes    the names, each contiguous from `start`; one that would not fit before the end begins at 0, and `taken` counts what it left unused
 *
 *        tail                                head
 *         |  oldest record still held          |  newest
 *   ......[=====|=======|==|==========|========]
 *
 * Costs: about 37 bytes a record beside its name; append copies the name, allocates nothing and divides nothing.
 * Invariants: head - tail + 1 <= capacity; usedBytes is the sum of `taken` of the held records and at most `maxBytes`.
 */
import { assert } from '../base/assert.ts';
import type { Ballot } from '../base/ballot.ts';

/** One record as a reader sees it; `bytes` is the ring's own memory, valid until the next append. */
export interface FeedRecord {
  /** Counts everything this member publishes; what a link is complete by. */
  seq: number;
  range: number;
  ballot: Ballot;
  /** Counts the records of this range under this ballot; what a position is made of. */
  number: number;
  kind: number;
  bytes: Uint8Array;
  start: number;
  length: number;
}

export class FeedRing {
  /** Sequence number of the newest record; 0 before the first. */
  head = 0;
  /** Sequence number of the oldest record held; head + 1 when none is. */
  tail = 1;

  /** Bytes that the names held take, what was left unused before the wrap included. */
  usedBytes = 0;

  readonly #capacity: number;
  readonly #mask: number;
  readonly #maxBytes: number;
  readonly #range: Int32Array;
  readonly #kind: Uint8Array;
  readonly #number: Float64Array;
  readonly #start: Int32Array;
  readonly #length: Int32Array;
  readonly #taken: Int32Array;
  readonly #ballot: (Ballot | undefined)[];
  readonly #bytes: Uint8Array;
  /** Where the next name begins. */
  #place = 0;

  /**
   * @param capacity records; rounded up to a power of two
   * @param maxBytes of names; no name may be longer
   */
  constructor(capacity: number, maxBytes: number) {
    assert(Number.isInteger(capacity) && capacity >= 1 && capacity <= 2 ** 30, 'a feed ring holds at least one record');
    assert(Number.isInteger(maxBytes) && maxBytes >= 1 && maxBytes < 2 ** 31, 'a feed ring needs room for a name');
    this.#capacity = 2 ** Math.ceil(Math.log2(capacity));
    this.#mask = this.#capacity - 1;
    this.#maxBytes = maxBytes;
    this.#range = new Int32Array(this.#capacity);
    this.#kind = new Uint8Array(this.#capacity);
    this.#number = new Float64Array(this.#capacity);
    this.#start = new Int32Array(this.#capacity);
    this.#length = new Int32Array(this.#capacity);
    this.#taken = new Int32Array(this.#capacity);
    this.#ballot = new Array<Ballot | undefined>(this.#capacity).fill(undefined);
    this.#bytes = new Uint8Array(maxBytes);
  }

  /** Bytes of the arrays, whatever they hold. */
  get sizeBytes(): number {
    return this.#capacity * 37 + this.#maxBytes;
  }

  get records(): number {
    return this.head - this.tail + 1;
  }

  /** Counts a record that nobody can ask for; only while none is held. */
  skip(): number {
    assert(this.records === 0, 'a record passed over among held ones');
    this.head += 1;
    this.tail = this.head + 1;
    return this.head;
  }

  /** Keeps a record, forgetting the oldest ones if it must; returns its sequence number. */
  append(
    range: number,
    ballot: Ballot,
    number: number,
    kind: number,
    bytes: Uint8Array,
    start: number,
    length: number,
  ): number {
    assert(length <= this.#maxBytes, 'a name longer than the whole feed ring');
    let place = this.#place;
    let taken = length;
    if (place + length > this.#maxBytes) {
      taken += this.#maxBytes - place; // a name is never split
      place = 0;
    }
    if (this.records >= this.#capacity) this.#forgetOldest();
    while (this.records > 0 && this.usedBytes + taken > this.#maxBytes) this.#forgetOldest();
    if (this.records === 0) {
      place = 0;
      taken = length;
    }
    const target = this.#bytes;
    for (let i = 0; i < length; i += 1) target[place + i] = bytes[start + i]!;
    this.head += 1;
    const row = this.head & this.#mask;
    this.#range[row] = range;
    this.#kind[row] = kind;
    this.#number[row] = number;
    this.#ballot[row] = ballot;
    this.#start[row] = place;
    this.#length[row] = length;
    this.#taken[row] = taken;
    this.#place = place + length;
    this.usedBytes += taken;
    return this.head;
  }

  /** Is record `seq` still here? */
  holds(seq: number): boolean {
    return seq >= this.tail && seq <= this.head;
  }

  /** Fills `into` with record `seq`, which must be held. */
  read(seq: number, into: FeedRecord): void {
    assert(this.holds(seq), 'a feed record that is not held');
    const row = seq & this.#mask;
    into.seq = seq;
    into.range = this.#range[row]!;
    into.ballot = this.#ballot[row]!;
    into.number = this.#number[row]!;
    into.kind = this.#kind[row]!;
    into.bytes = this.#bytes;
    into.start = this.#start[row]!;
    into.length = this.#length[row]!;
  }

  rangeAt(seq: number): number {
    return this.#range[seq & this.#mask]!;
  }

  numberAt(seq: number): number {
    return this.#number[seq & this.#mask]!;
  }

  ballotAt(seq: number): Ballot {
    return this.#ballot[seq & this.#mask]!;
  }

  /** Throws unless the structure is whole. */
  invariants(): void {
    assert(this.tail >= 1 && this.head >= this.tail - 1, 'ring: tail beyond head');
    assert(this.records <= this.#capacity, 'ring: more records than rows');
    assert(this.usedBytes <= this.#maxBytes, 'ring: more bytes than it has');
    let used = 0;
    for (let seq = this.tail; seq <= this.head; seq += 1) {
      const row = seq & this.#mask;
      const end = this.#start[row]! + this.#length[row]!;
      used += this.#taken[row]!;
      assert(end <= this.#maxBytes, 'ring: a name is split');
      assert(seq !== this.head || end === this.#place, 'ring: the next name would not follow the last');
      assert(this.#ballot[row] !== undefined, 'ring: a record without a ballot');
    }
    assert(used === this.usedBytes, 'ring: bytes counted wrongly');
  }

  #forgetOldest(): void {
    const row = this.tail & this.#mask;
    this.#ballot[row] = undefined;
    this.usedBytes -= this.#taken[row]!;
    this.tail += 1;
  }
}
