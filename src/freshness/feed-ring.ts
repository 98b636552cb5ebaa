/**
 * The last invalidations of this member, kept for followers that are behind: one log, and every subscriber is a cursor in it.
 *
 * The obvious alternative, a queue per subscriber, holds each invalidation once for every L1 and grows with the slowest of
 * them. Here the slowest costs nothing: when the log has moved on past its cursor, it is told "gap" and starts anew. That is
 * how Kafka treats its consumers; and a follower that was cut off for a second and one that is a second slow are the same case.
 *
 * Bounded twice, by records and by bytes of names. Whatever is oldest goes first.
 *
 *   record   range i32 | kind u8 | number f64 | ballot (reference) | start f64 | length i32      at  seq mod capacity
 *   bytes    the names, each contiguous; `start` is an offset that only grows, its remainder is the place
 *
 *        tail                                head
 *         |  oldest record still held          |  newest
 *   ......[=====|=======|==|==========|========]
 *
 * Costs: about 33 bytes a record beside its name; append copies the name and allocates nothing.
 * Invariants: head - tail + 1 <= capacity; the names of all held records lie within the last `maxBytes` of offsets.
 */
import { assert } from '../base/assert.ts';
import type { Ballot } from './ballot.ts';

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

  readonly #capacity: number;
  readonly #maxBytes: number;
  readonly #range: Int32Array;
  readonly #kind: Uint8Array;
  readonly #number: Float64Array;
  readonly #start: Float64Array;
  readonly #length: Int32Array;
  readonly #ballot: (Ballot | undefined)[];
  readonly #bytes: Uint8Array;
  #writeAt = 0;

  /** @param maxBytes of names; no name may be longer. */
  constructor(capacity: number, maxBytes: number) {
    assert(Number.isInteger(capacity) && capacity >= 1, 'a feed ring holds at least one record');
    assert(Number.isInteger(maxBytes) && maxBytes >= 1, 'a feed ring needs room for a name');
    this.#capacity = capacity;
    this.#maxBytes = maxBytes;
    this.#range = new Int32Array(capacity);
    this.#kind = new Uint8Array(capacity);
    this.#number = new Float64Array(capacity);
    this.#start = new Float64Array(capacity);
    this.#length = new Int32Array(capacity);
    this.#ballot = new Array<Ballot | undefined>(capacity).fill(undefined);
    this.#bytes = new Uint8Array(maxBytes);
  }

  get records(): number {
    return this.head - this.tail + 1;
  }

  /** Longest name that fits. */
  get maxNameBytes(): number {
    return this.#maxBytes;
  }

  /** Bytes of names held, padding before the wrap included. */
  get usedBytes(): number {
    return this.records === 0 ? 0 : this.#writeAt - this.#start[this.tail % this.#capacity]!;
  }

  /** Counts a record that nobody can ask for. */
  skip(): number {
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
    let at = this.#writeAt;
    const place = at % this.#maxBytes;
    if (place + length > this.#maxBytes) at += this.#maxBytes - place; // a name is never split
    while (this.records >= this.#capacity) this.#forgetOldest();
    while (this.records > 0 && at + length - this.#start[this.tail % this.#capacity]! > this.#maxBytes) {
      this.#forgetOldest();
    }
    const target = at % this.#maxBytes;
    for (let i = 0; i < length; i += 1) this.#bytes[target + i] = bytes[start + i]!;
    this.head += 1;
    const row = this.head % this.#capacity;
    this.#range[row] = range;
    this.#kind[row] = kind;
    this.#number[row] = number;
    this.#ballot[row] = ballot;
    this.#start[row] = at;
    this.#length[row] = length;
    this.#writeAt = at + length;
    return this.head;
  }

  /** Is record `seq` still here? */
  holds(seq: number): boolean {
    return seq >= this.tail && seq <= this.head;
  }

  /** Fills `into` with record `seq`, which must be held. */
  read(seq: number, into: FeedRecord): void {
    assert(this.holds(seq), 'a feed record that is not held');
    const row = seq % this.#capacity;
    into.seq = seq;
    into.range = this.#range[row]!;
    into.ballot = this.#ballot[row]!;
    into.number = this.#number[row]!;
    into.kind = this.#kind[row]!;
    into.bytes = this.#bytes;
    into.start = this.#start[row]! % this.#maxBytes;
    into.length = this.#length[row]!;
  }

  rangeAt(seq: number): number {
    return this.#range[seq % this.#capacity]!;
  }

  numberAt(seq: number): number {
    return this.#number[seq % this.#capacity]!;
  }

  ballotAt(seq: number): Ballot {
    return this.#ballot[seq % this.#capacity]!;
  }

  /** Throws unless the structure is whole. */
  invariants(): void {
    assert(this.tail >= 1 && this.head >= this.tail - 1, 'ring: tail beyond head');
    assert(this.records <= this.#capacity, 'ring: more records than rows');
    assert(this.usedBytes <= this.#maxBytes, 'ring: more bytes than it has');
    let end = 0;
    for (let seq = this.tail; seq <= this.head; seq += 1) {
      const row = seq % this.#capacity;
      assert(this.#start[row]! >= end, 'ring: names overlap');
      assert((this.#start[row]! % this.#maxBytes) + this.#length[row]! <= this.#maxBytes, 'ring: a name is split');
      assert(this.#ballot[row] !== undefined, 'ring: a record without a ballot');
      end = this.#start[row]! + this.#length[row]!;
    }
  }

  #forgetOldest(): void {
    this.#ballot[this.tail % this.#capacity] = undefined;
    this.tail += 1;
  }
}
