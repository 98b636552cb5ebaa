/**
 * What can happen to a record: it is placed, moved, and removed. Each of these keeps log, table and wheel in step; nothing
 * else in the engine touches two of them at once.
 *
 *   place    append to a queue, write, (link into the wheel), insert into the table
 *   move     append to a queue, copy, the wheel's neighbours and the table's slot learn the new address, the old one dies
 *   remove   out of the wheel, out of the table, jumbo segments given back, the record dies
 *
 * A dead record keeps its words until its segment is consumed from the oldest end or compacted.
 */
import { assert } from '../base/assert.ts';
import { type Arena, CHUNK_MASK, CHUNK_SHIFT, JUMBO, LOG } from './arena.ts';
import { expiryOf, HAS_TTL, IS_JUMBO, jumboCount, jumboWord, recordWords, sourceWord, versionOf } from './entry.ts';
import type { ExpiryWheel } from './expiry-wheel.ts';
import type { RemovalCause, SourceGoneCause } from './face.ts';
import type { SegmentLog } from './segment-log.ts';
import type { Table } from './table.ts';

/** Up to this many words a loop copies faster than a call of `copyWithin` or `set`. */
const LOOP_WORDS = 64;

/** Free segments that only an append of a new entry may take: one for the log, one for overflow, one in hand. */
export const SPARE_SEGMENTS = 3;

/** Indexes of the counters. */
export const EVICTIONS = 0;
export const EXPIRATIONS = 1;
export const INVALIDATIONS = 2;
export const MOVES = 3;
export const HITS = 4;
export const MISSES = 5;
export const STORES = 6;
export const DELETIONS = 7;
export const REFUSALS = 8;
const COUNTERS = 9;

export class Records {
  readonly arena: Arena;
  readonly log: SegmentLog;
  readonly table: Table;
  readonly wheel: ExpiryWheel;
  /** Float64: a counter never changes its representation. */
  readonly counters = new Float64Array(COUNTERS);
  /** Integer milliseconds, set by the store at every call that takes the time. */
  nowMs = 0;
  /** A record that must survive making room; follows it when it moves. 0 = none. */
  pinned = 0;
  invalidationFloor = 0;
  isDead: (ref: number) => boolean = neverDead;
  /** Told of an entry with a source version before it is gone. null: nobody asks. */
  sourceGone: ((ref: number, cause: SourceGoneCause, nowMs: number) => void) | null = null;
  /** Told of an entry that leaves by itself (evicted, expired, dead), before it is gone. null: nobody asks. */
  gone: ((ref: number) => void) | null = null;
  readonly #onRemove: ((cause: RemovalCause) => void) | undefined;

  constructor(
    arena: Arena,
    log: SegmentLog,
    table: Table,
    wheel: ExpiryWheel,
    onRemove: ((cause: RemovalCause) => void) | undefined,
  ) {
    this.arena = arena;
    this.log = log;
    this.table = table;
    this.wheel = wheel;
    this.#onRemove = onRemove;
  }

  /** True when an entry is neither expired nor dead. */
  isLive(ref: number): boolean {
    const words = this.arena.words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    if ((words[at + 1]! & HAS_TTL) !== 0) {
      const expiresAtMs = expiryOf(words, at);
      if (expiresAtMs !== 0 && expiresAtMs <= this.nowMs) return false;
    }
    if (this.invalidationFloor === 0) return true;
    return !(versionOf(words, at) < this.invalidationFloor && this.isDead(ref));
  }

  /** Removes an entry that is expired or dead, counting why; false when it is live. */
  reapIfGone(ref: number): boolean {
    if (this.isLive(ref)) return false;
    const expiresAtMs = expiryOf(this.arena.words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK);
    const expired = expiresAtMs !== 0 && expiresAtMs <= this.nowMs;
    this.tellSource(ref, expired ? 'expire' : 'invalidate');
    if (this.gone !== null) this.gone(ref);
    this.remove(ref);
    const counter = expired ? EXPIRATIONS : INVALIDATIONS;
    this.counters[counter] = this.counters[counter]! + 1;
    this.#onRemove?.(expired ? 'expire' : 'invalidate');
    return true;
  }

  /** Says that an entry is about to go, if it has a source version. */
  tellSource(ref: number, cause: SourceGoneCause): void {
    if (this.sourceGone === null) return;
    if (sourceWord(this.arena.words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK) >= 0)
      this.sourceGone(ref, cause, this.nowMs);
  }

  evict(ref: number): void {
    this.tellSource(ref, 'evict');
    if (this.gone !== null) this.gone(ref);
    this.remove(ref);
    this.counters[EVICTIONS] = this.counters[EVICTIONS]! + 1;
    this.#onRemove?.('evict');
  }

  /** Takes an entry out of table, wheel and log. */
  remove(ref: number): void {
    this.table.remove(this.table.hashOf(ref), ref);
    this.discard(ref);
  }

  /** As `remove`, for an entry that the table no longer points to. */
  discard(ref: number): void {
    const words = this.arena.words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const shape = words[at + 1]!;
    if ((shape & HAS_TTL) !== 0 && expiryOf(words, at) !== 0) this.wheel.unlink(ref);
    if ((shape & IS_JUMBO) !== 0) this.#releaseJumbos(ref);
    this.log.kill(ref);
  }

  /** False when the arena is so short of segments that an entry must rather go than move. */
  canMove(): boolean {
    return this.arena.freeCount > SPARE_SEGMENTS;
  }

  /** Copies a live entry to the newest end of `queue` and returns its new address. The caller has made room. */
  move(ref: number, queue: number): number {
    const { arena, log, table } = this;
    const words = arena.words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const length = recordWords(words, at, arena.segmentBytes);
    const hash = table.hashOf(ref);
    const to = log.append(queue, length);
    const target = arena.words[to >>> CHUNK_SHIFT]!;
    const targetAt = to & CHUNK_MASK;
    if (length <= LOOP_WORDS) {
      for (let word = 0; word < length; word += 1) target[targetAt + word] = words[at + word]!;
    } else {
      target.set(words.subarray(at, at + length), targetAt);
    }
    const shape = words[at + 1]!;
    if ((shape & HAS_TTL) !== 0 && expiryOf(words, at) !== 0) this.wheel.moved(to);
    if ((shape & IS_JUMBO) !== 0) {
      const count = jumboCount(words, at, arena.segmentBytes);
      log.addJumbos(ref >>> arena.segmentWordsLog2, -count);
      log.addJumbos(to >>> arena.segmentWordsLog2, count);
    }
    log.kill(ref);
    table.repoint(hash, ref, to);
    this.counters[MOVES] = this.counters[MOVES]! + 1;
    if (ref === this.pinned) this.pinned = to;
    return to;
  }

  /** The queue whose segment holds a record. */
  queueOf(ref: number): number {
    return this.arena.owner[ref >>> this.arena.segmentWordsLog2]! - LOG;
  }

  /** Takes `count` segments for a jumbo value, chained; returns the first. The caller has made room. */
  takeJumbos(count: number): number {
    let first = -1;
    for (let taken = 0; taken < count; taken += 1) {
      const segment = this.arena.allocate(JUMBO);
      assert(segment >= 0, 'room for a jumbo value was made before');
      this.arena.next[segment] = first;
      first = segment;
    }
    return first;
  }

  #releaseJumbos(ref: number): void {
    const { arena } = this;
    const words = arena.words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    let count = 0;
    for (let segment = words[jumboWord(words, at)]!; segment >= 0; ) {
      const next = arena.next[segment]!;
      arena.release(segment);
      count += 1;
      segment = next;
    }
    this.log.addJumbos(ref >>> arena.segmentWordsLog2, -count);
  }
}

function neverDead(): boolean {
  return false;
}
