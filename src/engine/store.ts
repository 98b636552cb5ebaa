/**
 * The store: one member's memory, off the JavaScript heap. The face that commands see (face.ts) over the parts:
 *
 *     arena        one pool of equal segments, from which everything below is made
 *     segment-log  queues of segments that records are appended to          entry     the record's bytes
 *     table        hash -> record, grows one bucket at a time               sketch    how often was a key asked for
 *     expiry-wheel what expires next                                        records   keeps log, table and wheel in step
 *     room         compaction and eviction, as much as an append needs      policies  who goes
 *
 * Read them in this order; docs/engine.md draws the picture. The paths of GET and SET read straight down here.
 *
 * Costs: find, set, delete are O(1) and allocate nothing on the JavaScript heap; no call does work that grows with the number
 * of entries, except `clear` (segments) and `invariants`. A value longer than half a segment costs evictions in
 * proportion to its own size.
 */
import type { Random } from '../base/random.ts';
import { Arena, CHUNK_MASK, CHUNK_SHIFT, FIXED, JUMBO, LOG, OVERFLOW, SKETCH, TABLE } from './arena.ts';
import { copyIn, copyOut } from './copy.ts';
import {
  expiryOf,
  FLAGS_SHIFT,
  HAS_TAGS,
  HAS_TTL,
  HEADER_WORDS,
  headWords,
  IS_JUMBO,
  inlineLength,
  jumboCount,
  jumboSegments,
  jumboWord,
  RECENCY_SHIFT,
  recordWords,
  sourceWord,
  TTL_WORDS,
  tagCountOf,
  tagHashOf,
  VALUE_LENGTH_MASK,
  versionOf,
  writeExpiry,
  writePairs,
} from './entry.ts';
import { ExpiryWheel } from './expiry-wheel.ts';
import {
  MAX_TAGS,
  NO_ROOM,
  type SourceGoneCause,
  type SourceVersion,
  STORED,
  type StoreFace,
  type StoreOptions,
  type StoreStats,
  type TagList,
  TOO_LARGE,
} from './face.ts';
import { checkInvariants } from './invariants.ts';
import { makePolicy, queuesOf } from './policies/make.ts';
import type { Policy } from './policies/policy.ts';
import {
  DELETIONS,
  EVICTIONS,
  EXPIRATIONS,
  HITS,
  INVALIDATIONS,
  MISSES,
  MOVES,
  REFUSALS,
  Records,
  STORES,
} from './records.ts';
import { Room } from './room.ts';
import { SegmentLog } from './segment-log.ts';
import { type Sizing, sizingFor } from './sizing.ts';
import { Sketch } from './sketch.ts';
import { Table } from './table.ts';

/** A tick's longest pause, so that expiry is looked after even when nothing is due for long. */
const MAX_TICK_PAUSE_MS = 1000;
/** Random buckets tried before `randomRef` walks on from one. */
const RANDOM_TRIES = 32;
/** An expiry is kept in 48 bits: the year 10,889. */
const MAX_EXPIRY_MS = 2 ** 48 - 1;

export interface StoreTestOptions {
  /** Test and bench only: evict above this many entries whatever their bytes, so that policies compare with simulators. */
  readonly entryLimit?: number;
}

export class Store implements StoreFace {
  readonly #sizing: Sizing;
  readonly #memoryBytes: number;
  readonly #arena: Arena;
  readonly #log: SegmentLog;
  readonly #table: Table;
  readonly #wheel: ExpiryWheel;
  readonly #sketch: Sketch;
  readonly #records: Records;
  readonly #policy: Policy;
  readonly #room: Room;
  readonly #counters: Float64Array;
  readonly #words: Int32Array[];
  #versionLow = 0;
  #versionHigh = 0;
  #sweptFloor = 0;
  #sweepFloor = 0;
  #sweepBucket = 0;

  /** @throws BreakwaterError ENGINE_OPTIONS_INVALID when the options are out of range or memory is too small for them. */
  constructor(options: StoreOptions & StoreTestOptions) {
    this.#sizing = sizingFor(options);
    this.#memoryBytes = options.memoryBytes;
    this.#arena = new Arena(this.#sizing.segmentCount, this.#sizing.segmentWordsLog2);
    this.#arena.allocate(FIXED);
    this.#words = this.#arena.words;
    this.#log = new SegmentLog(this.#arena, queuesOf(options.eviction, this.#arena));
    this.#table = new Table(this.#arena, options.seed);
    this.#wheel = new ExpiryWheel(this.#arena);
    this.#sketch = new Sketch(this.#arena);
    this.#records = new Records(this.#arena, this.#log, this.#table, this.#wheel, options.onRemove);
    this.#policy = makePolicy(options.eviction, this.#records, this.#sketch, options.seed);
    this.#room = new Room(this.#records, this.#policy, options.entryLimit ?? 0);
    this.#counters = this.#records.counters;
  }

  // -- lookups ------------------------------------------------------------------------------------------------------

  find(key: Uint8Array, start: number, length: number, nowMs: number): number {
    const hash = this.#table.hash(key, start, length);
    const ref = this.#table.find(hash, key, start, length);
    if (ref !== 0) {
      const records = this.#records;
      records.nowMs = Math.floor(nowMs);
      if (records.isLive(ref)) {
        this.#counters[HITS] = this.#counters[HITS]! + 1;
        this.#policy.onHit(this.#words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK, ref, hash);
        return ref;
      }
      records.reapIfGone(ref);
    }
    this.#counters[MISSES] = this.#counters[MISSES]! + 1;
    return 0;
  }

  peek(key: Uint8Array, start: number, length: number, nowMs: number): number {
    const ref = this.#table.find(this.#table.hash(key, start, length), key, start, length);
    if (ref === 0) return 0;
    this.#records.nowMs = Math.floor(nowMs);
    return this.#records.isLive(ref) ? ref : 0;
  }

  valueLength(ref: number): number {
    return this.#words[ref >>> CHUNK_SHIFT]![(ref & CHUNK_MASK) + 1]! & VALUE_LENGTH_MASK;
  }

  keyLength(ref: number): number {
    return this.#words[ref >>> CHUNK_SHIFT]![ref & CHUNK_MASK]! & 0xffff;
  }

  copyValue(ref: number, target: Uint8Array, targetStart: number): void {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const shape = words[at + 1]!;
    if ((shape & IS_JUMBO) !== 0) {
      this.copyValueRange(ref, 0, shape & VALUE_LENGTH_MASK, target, targetStart);
      return;
    }
    const from = ((at + headWords(words, at)) << 2) + (words[at]! & 0xffff);
    copyOut(words, this.#arena.bytes[ref >>> CHUNK_SHIFT]!, from, shape & VALUE_LENGTH_MASK, target, targetStart);
  }

  copyValueRange(ref: number, from: number, to: number, target: Uint8Array, targetStart: number): void {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    let position = from;
    let written = targetStart;
    let recordPart = 0;
    if ((words[at + 1]! & IS_JUMBO) !== 0) {
      // Whole segments first, then what the record holds.
      const { segmentBytes, next } = this.#arena;
      let segmentStart = 0;
      for (let segment = words[jumboWord(words, at)]!; segment >= 0 && position < to; segment = next[segment]!) {
        const end = Math.min(to, segmentStart + segmentBytes);
        if (position < end) {
          const address = this.#arena.addressOf(segment);
          const source = ((address & CHUNK_MASK) << 2) + (position - segmentStart);
          const chunk = address >>> CHUNK_SHIFT;
          copyOut(this.#words[chunk]!, this.#arena.bytes[chunk]!, source, end - position, target, written);
          written += end - position;
          position = end;
        }
        segmentStart += segmentBytes;
      }
      recordPart = (words[at + 1]! & VALUE_LENGTH_MASK) - inlineLength(words, at, segmentBytes);
    }
    if (position >= to) return;
    const source = ((at + headWords(words, at)) << 2) + (words[at]! & 0xffff) + (position - recordPart);
    copyOut(words, this.#arena.bytes[ref >>> CHUNK_SHIFT]!, source, to - position, target, written);
  }

  copyKey(ref: number, target: Uint8Array, targetStart: number): void {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const from = (at + headWords(words, at)) << 2;
    copyOut(words, this.#arena.bytes[ref >>> CHUNK_SHIFT]!, from, words[at]! & 0xffff, target, targetStart);
  }

  expiresAtMs(ref: number): number {
    return expiryOf(this.#words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK);
  }

  version(ref: number): number {
    return versionOf(this.#words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK);
  }

  flags(ref: number): number {
    return (this.#words[ref >>> CHUNK_SHIFT]![ref & CHUNK_MASK]! >>> FLAGS_SHIFT) & 0xff;
  }

  tagCount(ref: number): number {
    return tagCountOf(this.#words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK);
  }

  tagHash(ref: number, index: number): number {
    return tagHashOf(this.#words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK, index);
  }

  readSource(ref: number, into: { high: number; low: number }): boolean {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const word = sourceWord(words, ref & CHUNK_MASK);
    if (word < 0) return false;
    into.low = words[word]! >>> 0;
    into.high = words[word + 1]! >>> 0;
    return true;
  }

  // -- writes -------------------------------------------------------------------------------------------------------

  set(
    key: Uint8Array,
    keyStart: number,
    keyLength: number,
    value: Uint8Array,
    valueStart: number,
    valueLength: number,
    expiresAtMs: number,
    nowMs: number,
    flags = 0,
    tags: TagList | null = null,
    source: SourceVersion | null = null,
  ): number {
    if (keyLength > this.#sizing.maxKeyBytes || valueLength > this.#sizing.maxValueBytes) return TOO_LARGE;
    const tagCount = tags === null ? 0 : tags.count;
    const { segmentBytes } = this.#arena;
    let head = HEADER_WORDS;
    let shape = valueLength;
    if (expiresAtMs !== 0) {
      head += TTL_WORDS;
      shape |= HAS_TTL;
    }
    if (tagCount !== 0 || source !== null) {
      if (tagCount > MAX_TAGS) return TOO_LARGE;
      head += 1 + 2 * tagCount + (source === null ? 0 : 2);
      shape |= HAS_TAGS;
    }
    let jumbos = 0;
    let inline = valueLength;
    if (head * 4 + keyLength + valueLength > segmentBytes >>> 1) {
      if ((head + 1) * 4 + keyLength > segmentBytes >>> 1) return TOO_LARGE;
      head += 1;
      shape |= IS_JUMBO;
      jumbos = jumboSegments(head * 4, keyLength, valueLength, segmentBytes);
      inline = Math.max(0, valueLength - jumbos * segmentBytes);
    }
    const recordLength = head + ((keyLength + inline + 3) >>> 2);
    const records = this.#records;
    records.nowMs = Math.floor(nowMs);
    const hash = this.#table.hash(key, keyStart, keyLength);
    let old = this.#table.find(hash, key, keyStart, keyLength);
    const expiry = expiresAtMs >= MAX_EXPIRY_MS ? MAX_EXPIRY_MS : Math.floor(expiresAtMs);

    if (old !== 0 && this.#hasShape(old, shape, recordLength, tagCount, source !== null)) {
      this.#overwrite(old, shape, value, valueStart, expiry, flags, tags, source);
      this.#policy.onStore(this.#words[old >>> CHUNK_SHIFT]!, old & CHUNK_MASK, old, hash, false);
      this.#counters[STORES] = this.#counters[STORES]! + 1;
      return STORED;
    }

    if (!this.#room.fits(recordLength, jumbos, old === 0 ? 1 : 0)) {
      if (!this.#room.make(recordLength, jumbos, old === 0 ? 1 : 0)) {
        this.#counters[REFUSALS] = this.#counters[REFUSALS]! + 1;
        return NO_ROOM;
      }
      // The old record may have moved or gone meanwhile.
      if (old !== 0) old = this.#table.find(hash, key, keyStart, keyLength);
    }
    const slot = this.#table.slot;
    const ref = this.#log.append(0, recordLength);
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const bytes = this.#arena.bytes[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    words[at] = keyLength | ((flags & 0xff) << FLAGS_SHIFT);
    words[at + 1] = shape;
    words[at + 3] = 0;
    this.#stamp(words, at);
    if ((shape & HAS_TTL) !== 0) {
      writeExpiry(words, at, expiry);
      this.#wheel.link(ref, expiry, records.nowMs);
    }
    if ((shape & HAS_TAGS) !== 0) {
      writePairs(words, at + HEADER_WORDS + ((shape & HAS_TTL) !== 0 ? TTL_WORDS : 0), tags, source);
    }
    const keyAt = (at + head) << 2;
    copyIn(words, bytes, keyAt, key, keyStart, keyLength);
    if (jumbos === 0) {
      copyIn(words, bytes, keyAt + keyLength, value, valueStart, valueLength);
    } else {
      words[at + head - 1] = records.takeJumbos(jumbos);
      this.#log.addJumbos(ref >>> this.#arena.segmentWordsLog2, jumbos);
      this.#writeJumbo(ref, value, valueStart, valueLength);
    }
    if (old !== 0) {
      this.#table.slot = slot;
      this.#table.replaceFound(ref);
      if (source === null) records.tellSource(old, 'replace');
      records.discard(old);
    } else {
      this.#table.insert(hash, ref);
    }
    this.#policy.onStore(words, at, ref, hash, true);
    this.#policy.settle(this.#room.capacityWords());
    this.#counters[STORES] = this.#counters[STORES]! + 1;
    return STORED;
  }

  delete(key: Uint8Array, start: number, length: number, nowMs: number): boolean {
    const hash = this.#table.hash(key, start, length);
    const ref = this.#table.find(hash, key, start, length);
    if (ref === 0) return false;
    const records = this.#records;
    records.nowMs = Math.floor(nowMs);
    records.tellSource(ref, 'delete');
    if (records.reapIfGone(ref)) return false;
    this.#table.remove(hash, ref);
    records.discard(ref);
    this.#counters[DELETIONS] = this.#counters[DELETIONS]! + 1;
    return true;
  }

  reap(key: Uint8Array, start: number, length: number, nowMs: number): boolean {
    const ref = this.#table.find(this.#table.hash(key, start, length), key, start, length);
    if (ref === 0) return false;
    this.#records.nowMs = Math.floor(nowMs);
    return this.#records.reapIfGone(ref);
  }

  setExpiry(ref: number, expiresAtMs: number): boolean {
    const records = this.#records;
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const expiry = expiresAtMs >= MAX_EXPIRY_MS ? MAX_EXPIRY_MS : Math.floor(expiresAtMs);
    if ((words[at + 1]! & HAS_TTL) !== 0) {
      this.#changeExpiry(ref, expiry);
      return true;
    }
    if (expiry === 0) return true;
    // The record has no words for it: it is written anew, with them.
    const { segmentBytes } = this.#arena;
    const length = recordWords(words, at, segmentBytes);
    const jumbos = jumboCount(words, at, segmentBytes);
    if ((length + TTL_WORDS) * 4 > segmentBytes >>> 1) return this.#rewriteWithExpiry(ref, expiry);
    records.pinned = ref;
    const made = this.#room.make(length + TTL_WORDS, 0, 0);
    const from = records.pinned;
    records.pinned = 0;
    if (!made) return false;
    const source = this.#words[from >>> CHUNK_SHIFT]!;
    const sourceAt = from & CHUNK_MASK;
    const to = this.#log.append(records.queueOf(from), length + TTL_WORDS);
    const target = this.#words[to >>> CHUNK_SHIFT]!;
    const targetAt = to & CHUNK_MASK;
    for (let word = 0; word < HEADER_WORDS; word += 1) target[targetAt + word] = source[sourceAt + word]!;
    target[targetAt + 1] = source[sourceAt + 1]! | HAS_TTL;
    target.set(source.subarray(sourceAt + HEADER_WORDS, sourceAt + length), targetAt + HEADER_WORDS + TTL_WORDS);
    writeExpiry(target, targetAt, expiry);
    this.#table.repoint(this.#table.hashOf(from), from, to);
    if (jumbos !== 0) {
      this.#log.addJumbos(from >>> this.#arena.segmentWordsLog2, -jumbos);
      this.#log.addJumbos(to >>> this.#arena.segmentWordsLog2, jumbos);
    }
    this.#log.kill(from);
    this.#wheel.link(to, expiry, records.nowMs);
    return true;
  }

  // -- the whole store ----------------------------------------------------------------------------------------------

  clear(nowMs: number): void {
    this.#records.nowMs = Math.floor(nowMs);
    this.#records.pinned = 0;
    this.#arena.reset();
    this.#arena.allocate(FIXED);
    this.#log.reset();
    this.#table.reset();
    this.#wheel.reset();
    this.#sketch.reset();
    this.#policy.reset();
    this.#room.reset();
    this.#sweepBucket = 0;
  }

  scan(cursor: number, budgetBuckets: number, nowMs: number, visit: (ref: number) => void): number {
    const records = this.#records;
    records.nowMs = Math.floor(nowMs);
    const end = Math.min(this.#table.bucketCount, cursor + Math.max(1, budgetBuckets));
    for (let bucket = cursor; bucket < end; bucket += 1) {
      for (let position = 0; ; position += 1) {
        const ref = this.#table.refAt(bucket, position);
        if (ref === 0) break;
        if (records.isLive(ref)) visit(ref);
      }
    }
    return end >= this.#table.bucketCount ? 0 : end;
  }

  randomRef(random: Random, nowMs: number): number {
    if (this.#table.count === 0) return 0;
    const records = this.#records;
    records.nowMs = Math.floor(nowMs);
    const buckets = this.#table.bucketCount;
    // A bucket, then a slot as if all had 12: an empty one is another try, so full and empty buckets weigh as they should.
    for (let tries = 0; tries < RANDOM_TRIES; tries += 1) {
      const ref = this.#table.refAt(random.nextUint32() % buckets, random.nextUint32() % 12);
      if (ref !== 0 && records.isLive(ref)) return ref;
    }
    const first = random.nextUint32() % buckets;
    for (let step = 0; step < buckets; step += 1) {
      for (let position = 0; ; position += 1) {
        const ref = this.#table.refAt((first + step) % buckets, position);
        if (ref === 0) break;
        if (records.isLive(ref)) return ref;
      }
    }
    return 0;
  }

  get size(): number {
    return this.#table.count;
  }

  tick(nowMs: number, budgetEntries: number): number {
    const records = this.#records;
    records.nowMs = Math.floor(nowMs);
    let left = budgetEntries;
    if (this.#wheel.count > 0) left -= this.#wheel.advance(records.nowMs, left, this.#expire);
    if (left > 0 && this.invalidationFloor > this.#sweptFloor) left = this.#sweep(left);
    this.#log.freeEmpty();
    if (left <= 0) return 0;
    return Math.min(MAX_TICK_PAUSE_MS, this.#wheel.msUntilNext(records.nowMs));
  }

  // -- versions and invalidation --------------------------------------------------------------------------------------

  nextVersion(): number {
    this.#versionLow = (this.#versionLow + 1) | 0;
    if (this.#versionLow === 0) this.#versionHigh += 1;
    return this.#versionHigh * 0x1_0000_0000 + (this.#versionLow >>> 0);
  }

  /** The moment of the last call that took one. */
  protected get nowMs(): number {
    return this.#records.nowMs;
  }

  /** The last number given. */
  get lastVersion(): number {
    return this.#versionHigh * 0x1_0000_0000 + (this.#versionLow >>> 0);
  }

  /** Later stamps are above `version`: one that another member has given is not given again. */
  raiseVersion(version: number): void {
    if (version <= this.lastVersion) return;
    this.#versionLow = version | 0;
    this.#versionHigh = Math.floor(version / 0x1_0000_0000);
  }

  get invalidationFloor(): number {
    return this.#records.invalidationFloor;
  }

  set invalidationFloor(version: number) {
    this.#records.invalidationFloor = version;
  }

  setLiveness(isDead: (ref: number) => boolean): void {
    this.#records.isDead = isDead;
  }

  onSourceGone(listener: (ref: number, cause: SourceGoneCause, nowMs: number) => void): void {
    this.#records.sourceGone = listener;
  }

  /** What was stored before this and is dead by an invalidation before it is no longer there: the sweep of `tick` has passed. */
  get sweptFloor(): number {
    return this.#sweptFloor;
  }

  /** Is there a record of the key, be it expired or dead? */
  holds(key: Uint8Array, start: number, length: number): boolean {
    return this.#table.find(this.#table.hash(key, start, length), key, start, length) !== 0;
  }

  /** `listener` is told of each entry that is evicted, or reaped because it has expired or is dead, while it can still be read. It must only read. */
  onGone(listener: (ref: number) => void): void {
    this.#records.gone = listener;
  }

  get stats(): StoreStats {
    const counters = this.#counters;
    const arena = this.#arena;
    const { segmentBytes, countByOwner } = arena;
    const jumboBytes = countByOwner[JUMBO]! * segmentBytes;
    const tableBytes = countByOwner[TABLE]! * segmentBytes;
    const overflowBytes = countByOwner[OVERFLOW]! * segmentBytes;
    const sketchBytes = countByOwner[SKETCH]! * segmentBytes;
    let logSegments = 0;
    for (let queue = 0; queue < this.#log.queueCount; queue += 1) logSegments += countByOwner[LOG + queue]!;
    const logBytes = logSegments * segmentBytes;
    const fixedBytes = this.#sizing.fixedBytes + segmentBytes;
    return {
      hits: counters[HITS]!,
      misses: counters[MISSES]!,
      stores: counters[STORES]!,
      deletions: counters[DELETIONS]!,
      evictions: counters[EVICTIONS]!,
      expirations: counters[EXPIRATIONS]!,
      invalidations: counters[INVALIDATIONS]!,
      refusals: counters[REFUSALS]!,
      moves: counters[MOVES]!,
      entries: this.#table.count,
      memoryBytes: this.#memoryBytes,
      usedBytes: logBytes + jumboBytes + tableBytes + overflowBytes + sketchBytes + fixedBytes,
      logBytes,
      jumboBytes,
      tableBytes,
      overflowBytes,
      sketchBytes,
      fixedBytes,
      liveBytes: this.#log.liveTotal * 4 + jumboBytes,
      segmentBytes,
      segments: arena.segmentCount,
      freeSegments: arena.freeCount,
    };
  }

  invariants(): void {
    checkInvariants(this.#arena, this.#log, this.#table, this.#wheel, this.#room.reserve);
    const { usedBytes, memoryBytes } = this.stats;
    if (usedBytes > memoryBytes) throw new Error(`usedBytes ${usedBytes} is above memoryBytes ${memoryBytes}`);
  }

  // -- parts ----------------------------------------------------------------------------------------------------------

  readonly #expire = (ref: number): void => {
    this.#records.reapIfGone(ref);
  };

  /** True when a record can take the new value in place. */
  #hasShape(ref: number, shape: number, length: number, tagCount: number, hasSource: boolean): boolean {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const flags = HAS_TTL | HAS_TAGS | IS_JUMBO;
    if (((words[at + 1]! ^ shape) & flags) !== 0) return false;
    if ((shape & HAS_TAGS) !== 0 && sourceWord(words, at) >= 0 !== hasSource) return false;
    if ((shape & IS_JUMBO) !== 0)
      return (words[at + 1]! & VALUE_LENGTH_MASK) === (shape & VALUE_LENGTH_MASK) && tagCountOf(words, at) === tagCount;
    return tagCountOf(words, at) === tagCount && recordWords(words, at, this.#arena.segmentBytes) === length;
  }

  /** Writes a value of the same shape over the old one. */
  #overwrite(
    ref: number,
    shape: number,
    value: Uint8Array,
    valueStart: number,
    expiry: number,
    flags: number,
    tags: TagList | null,
    source: SourceVersion | null,
  ): void {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const valueLength = shape & VALUE_LENGTH_MASK;
    words[at] = (words[at]! & 0xff00_ffff) | ((flags & 0xff) << FLAGS_SHIFT);
    words[at + 1] = shape;
    this.#stamp(words, at);
    if ((shape & HAS_TTL) !== 0) this.#changeExpiry(ref, expiry);
    if ((shape & HAS_TAGS) !== 0) {
      writePairs(words, at + HEADER_WORDS + ((shape & HAS_TTL) !== 0 ? TTL_WORDS : 0), tags, source);
    }
    if ((shape & IS_JUMBO) !== 0) {
      this.#writeJumbo(ref, value, valueStart, valueLength);
    } else {
      const valueAt = ((at + headWords(words, at)) << 2) + (words[at]! & 0xffff);
      copyIn(words, this.#arena.bytes[ref >>> CHUNK_SHIFT]!, valueAt, value, valueStart, valueLength);
    }
  }

  #writeJumbo(ref: number, value: Uint8Array, valueStart: number, valueLength: number): void {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const { segmentBytes, next, bytes } = this.#arena;
    let position = 0;
    for (let segment = words[jumboWord(words, at)]!; segment >= 0; segment = next[segment]!) {
      const length = Math.min(segmentBytes, valueLength - position);
      const address = this.#arena.addressOf(segment);
      const chunk = address >>> CHUNK_SHIFT;
      const to = (address & CHUNK_MASK) << 2;
      copyIn(this.#words[chunk]!, bytes[chunk]!, to, value, valueStart + position, length);
      position += length;
    }
    const keyAt = (at + headWords(words, at)) << 2;
    const to = keyAt + (words[at]! & 0xffff);
    copyIn(words, bytes[ref >>> CHUNK_SHIFT]!, to, value, valueStart + position, valueLength - position);
  }

  /** Changes the expiry of a record that has the words for it. */
  #changeExpiry(ref: number, expiry: number): void {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const before = expiryOf(words, at);
    if (before === expiry) return;
    if (before !== 0) this.#wheel.unlink(ref);
    writeExpiry(words, at, expiry);
    if (expiry !== 0) this.#wheel.link(ref, expiry, this.#records.nowMs);
  }

  /** The rare way: a record that would pass half a segment gets its expiry by being read out and stored anew. */
  #rewriteWithExpiry(ref: number, expiry: number): boolean {
    const key = new Uint8Array(this.keyLength(ref));
    const value = new Uint8Array(this.valueLength(ref));
    this.copyKey(ref, key, 0);
    this.copyValue(ref, value, 0);
    const count = this.tagCount(ref);
    const hashes = new Float64Array(count);
    for (let index = 0; index < count; index += 1) hashes[index] = this.tagHash(ref, index);
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const versionLow = words[at + 2]!;
    const versionHigh = words[at + 3]! & 0xffff;
    const recency = words[at]! & (0xff << RECENCY_SHIFT);
    const now = this.#records.nowMs;
    const source = { high: 0, low: 0 };
    const hasSource = this.readSource(ref, source);
    const stored = this.set(
      key,
      0,
      key.length,
      value,
      0,
      value.length,
      expiry,
      now,
      this.flags(ref),
      { count, hashes },
      hasSource ? source : null,
    );
    if (stored !== STORED) return false;
    this.#counters[STORES] = this.#counters[STORES]! - 1;
    const hash = this.#table.hash(key, 0, key.length);
    const renewed = this.#table.find(hash, key, 0, key.length);
    const target = this.#words[renewed >>> CHUNK_SHIFT]!;
    const targetAt = renewed & CHUNK_MASK;
    target[targetAt] = (target[targetAt]! & 0x00ff_ffff) | recency;
    target[targetAt + 2] = versionLow;
    target[targetAt + 3] = (target[targetAt + 3]! & ~0xffff) | versionHigh;
    return true;
  }

  #stamp(words: Int32Array, at: number): void {
    this.#versionLow = (this.#versionLow + 1) | 0;
    if (this.#versionLow === 0) this.#versionHigh += 1;
    words[at + 2] = this.#versionLow;
    words[at + 3] = (words[at + 3]! & ~0xffff) | (this.#versionHigh & 0xffff);
  }

  /** Walks on through the buckets and removes what the liveness check calls dead. Returns the budget left. */
  #sweep(budget: number): number {
    let left = budget;
    if (this.#sweepBucket === 0) this.#sweepFloor = this.invalidationFloor;
    while (left > 0) {
      if (this.#sweepBucket >= this.#table.bucketCount) {
        this.#sweepBucket = 0;
        this.#sweptFloor = this.#sweepFloor;
        break;
      }
      left -= 1;
      for (let position = 0; ; ) {
        const ref = this.#table.refAt(this.#sweepBucket, position);
        if (ref === 0) break;
        left -= 1;
        if (!this.#records.reapIfGone(ref)) position += 1;
      }
      this.#sweepBucket += 1;
    }
    return left;
  }
}
