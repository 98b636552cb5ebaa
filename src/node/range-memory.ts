/**
 * A member's memory, range by range, as the protocol wants it (`cluster/range-store.ts`): over one engine in which the entries of all ranges lie mixed.
 *
 * Why one engine and not one a range: memory that is cut into 1,024 parts is full when one of them is. The price is that a range has no list of its entries. Two things make it small:
 *
 *   a range is emptied by a number   everything of it that was stored before `floors[range]` is dead, as with an invalidated namespace (`freshness/generations.ts`): O(1), and the engine's sweep takes
 *                                    the entries away a little at each tick. A synchronisation ends the same way: what was not stored since it began goes
 *   entries carry a mark             8 bits of their range, in the engine's own room for that: no byte an entry more. Up to 256 ranges it is the range; above, it spares 255 of 256 keys a look
 *
 * A range is cut into parts of bounded work, out of an index that one walk through the table makes for all ranges that are to be cut (`range-index.ts`).
 *
 * The floor is asked about only for entries older than the newest one, and once the sweep has passed it, not at all.
 */
import type { Cut, RangeStore } from '../cluster/range-store.ts';
import type { Ranges } from '../cluster/ranges.ts';
import { STORED } from '../engine/face.ts';
import type { Freshness } from '../freshness/freshness.ts';
import { keyHash } from '../freshness/names.ts';
import { slotOf } from '../hash/slot.ts';
import {
  BESIDE,
  CLEAR,
  EXPIRE,
  EXPIRE_KEY_AT,
  LOCK,
  NAMESPACE,
  numberOf,
  REMOVE,
  REMOVE_KEY_AT,
  readStore,
  STORE,
  SUM,
  storeFrame,
  TAG,
} from './effect.ts';
import type { MemberStore } from './member-store.ts';
import type { RangeBeside } from './range-beside.ts';
import { RangeIndex } from './range-index.ts';

/** One part has about so many bytes, or one entry that is larger... */
const PART_BYTES = 128 * 1024;
/** ...an entry counted as so many more, since it costs as much to make... */
const ENTRY_BYTES = 192;
/** ...and costs a look into at most so many buckets: together some tenths of a millisecond. */
const PART_BUCKETS = 512;
/** A part that is nearly full takes small entries still: only larger ones are left for the next. */
const SMALL_ENTRY_BYTES = 4096;
/** Cursors count so many places a bucket. Above the engine's: a chain of overflow is some entries long. */
const MOST_A_BUCKET = 4096;
const EVERY_MARK = 256;
/** What is kept beside entries goes with the first of them if it is no more than this, else alone. */
const SMALL_BYTES = 64 * 1024;
/** Behind what is kept beside entries, when that went alone. 0 and -1 say something else already. */
const FIRST_ENTRY = -2;

export class RangeMemory implements RangeStore {
  /** The moment of the door that was entered last. */
  nowMs = 0;
  /** What copies could not hold for want of room. */
  refused = 0;
  readonly ranges: Ranges;
  readonly #store: MemberStore;
  readonly #freshness: Freshness;
  readonly #beside: RangeBeside;
  /** By range: what was stored before is gone. */
  readonly #floors: Float64Array;
  /** By range: what was there when its synchronisation began was stored before. */
  readonly #syncFloors: Float64Array;
  /** By range: lease tokens granted before are of an earlier reign. */
  readonly #tokenFloors: Float64Array;
  /** The newest floor that the sweep has not passed yet, 0 = none; and what the sweep must have reached to have passed it. */
  #newestFloor = 0;
  #sweepTo = 0;
  readonly #index: RangeIndex;
  #isLastBucket = false;
  readonly #key = new Uint8Array(65_535);
  readonly #source = { high: 0, low: 0 };
  readonly #tags = { count: 0, hashes: new Float64Array(255) };

  constructor(store: MemberStore, freshness: Freshness, ranges: Ranges, beside: RangeBeside) {
    this.#store = store;
    this.#freshness = freshness;
    this.#beside = beside;
    this.ranges = ranges;
    this.#floors = new Float64Array(ranges.count);
    this.#syncFloors = new Float64Array(ranges.count);
    this.#tokenFloors = new Float64Array(ranges.count);
    this.#index = new RangeIndex(store, (ref) => this.rangeOfRef(ref));
    store.setLiveness((ref) => this.#isDead(ref));
    freshness.fillFloor = (key, start, length) => this.#tokenFloors[this.rangeOf(key, start, length)]!;
  }

  rangeOf(key: Uint8Array, start: number, length: number): number {
    return this.ranges.of(slotOf(key, start, start + length));
  }

  rangeOfRef(ref: number): number {
    if (this.ranges.count <= EVERY_MARK) return this.#store.markOf(ref);
    const length = this.#store.keyLength(ref);
    this.#store.copyKey(ref, this.#key, 0);
    return this.rangeOf(this.#key, 0, length);
  }

  /** Is the entry of a time before its range was emptied, or synchronised? Whoever has copies of the range was told of that. */
  isEmptied(ref: number, range: number): boolean {
    return this.#store.version(ref) < this.#floors[range]!;
  }

  /** A reign begins: no token of an earlier one may fill, no stamp of an earlier one is given again. */
  begin(range: number): void {
    this.#tokenFloors[range] = this.#store.nextVersion();
  }

  /** Time passes. */
  tick(): void {
    this.#index.forget(this.nowMs);
    if (this.#newestFloor !== 0 && this.#store.sweptFloor >= this.#sweepTo) this.#newestFloor = 0;
  }

  // -- RangeStore

  apply(range: number, body: Uint8Array): void {
    const store = this.#store;
    switch (body[0]) {
      case STORE:
        this.#take(range, body);
        break;
      case REMOVE:
        store.copyDelete(body, REMOVE_KEY_AT, body.length - REMOVE_KEY_AT, this.nowMs);
        this.#changed(body, REMOVE_KEY_AT, body.length - REMOVE_KEY_AT);
        break;
      case EXPIRE: {
        const leftMs = numberOf(body);
        const length = body.length - EXPIRE_KEY_AT;
        const ref = store.peek(body, EXPIRE_KEY_AT, length, this.nowMs);
        if (ref === 0 || store.copyExpiry(ref, leftMs === 0 ? 0 : this.nowMs + leftMs)) break;
        store.copyDelete(body, EXPIRE_KEY_AT, length, this.nowMs);
        break;
      }
      case TAG:
        this.#freshness.copyTag(numberOf(body));
        break;
      case NAMESPACE:
        this.#freshness.copyNamespace(numberOf(body));
        break;
      case CLEAR:
        this.flush(range);
        break;
      case LOCK:
      case SUM:
        this.#beside.apply(range, body, this.nowMs);
        break;
      default:
        // Of a newer version of ours. What it did is not known, so nothing of the range may stay.
        this.clear(range);
    }
  }

  /** Its entries go. What is kept beside them stays: nobody flushes a lock or a sum. */
  flush(range: number): void {
    this.#raise(range, this.#store.nextVersion());
  }

  clear(range: number): void {
    this.flush(range);
    this.#beside.clear(range);
  }

  beginSync(range: number): void {
    this.#syncFloors[range] = this.#store.nextVersion();
  }

  put(range: number, entries: readonly Uint8Array[]): void {
    for (const entry of entries) {
      if (entry[0] === BESIDE) this.#beside.put(range, entry, this.nowMs);
      else this.#take(range, entry);
    }
  }

  endSync(range: number): void {
    this.#raise(range, this.#syncFloors[range]!);
  }

  prepare(range: number, since: number): void {
    this.#index.want(range, since, this.nowMs);
  }

  cut(range: number, cursor: number, since: number): Cut | null {
    const places = this.#index.of(range, since, this.nowMs);
    if (places === null) return null;
    const entries: Uint8Array[] = [];
    let bytes = 0;
    if (cursor === 0) {
      const beside = this.#beside.cut(range, this.nowMs);
      if (beside.length > SMALL_BYTES) return { entries: [beside], cursor: FIRST_ENTRY };
      bytes = beside.length;
      entries.push(beside);
    }
    const from = cursor <= 0 ? 0 : cursor - 1;
    const { buckets, end } = places;
    let bucket = Math.floor(from / MOST_A_BUCKET);
    let skip = from % MOST_A_BUCKET;
    let at = firstFrom(buckets, bucket);
    for (let looked = 0; looked < PART_BUCKETS; looked += 1) {
      // Behind those that are known everything is looked at: entries move there while the table grows.
      if (at < buckets.length) bucket = buckets[at]!;
      else bucket = Math.max(bucket, end);
      const { next, taken } = this.#cutBucket(range, bucket, skip, PART_BYTES - bytes, entries);
      bytes += taken;
      if (next >= 0) return { entries, cursor: cursorAt(bucket, next) };
      skip = 0;
      at += 1;
      bucket += 1;
      if (at >= buckets.length && this.#isLastBucket) {
        this.#index.release(range, since);
        return { entries, cursor: -1 };
      }
      if (bytes >= PART_BYTES) break;
    }
    return { entries, cursor: cursorAt(bucket, 0) };
  }

  /** The entries of the range in one bucket, without the first `skip`, until there are so many bytes of them. `next`: how many to skip the next time; -1: these were all. */
  #cutBucket(
    range: number,
    bucket: number,
    skip: number,
    most: number,
    entries: Uint8Array[],
  ): { readonly next: number; readonly taken: number } {
    const store = this.#store;
    const mark = range & (EVERY_MARK - 1);
    let seen = 0;
    let taken = 0;
    let next = -1;
    const after = store.scan(bucket, 1, this.nowMs, (ref) => {
      if (store.markOf(ref) !== mark || this.rangeOfRef(ref) !== range) return;
      seen += 1;
      if (seen <= skip || next >= 0) return;
      const size = store.keyLength(ref) + store.valueLength(ref) + ENTRY_BYTES;
      // One at least, or it would never come to an end.
      if (entries.length > 0 && taken + size > most && size > SMALL_ENTRY_BYTES) {
        next = seen - 1;
        return;
      }
      taken += size;
      entries.push(this.#entryOf(ref));
    });
    this.#isLastBucket = after === 0;
    return { next, taken };
  }

  // -- within

  #entryOf(ref: number): Uint8Array {
    const store = this.#store;
    const keyLength = store.keyLength(ref);
    const valueLength = store.valueLength(ref);
    const expiresAtMs = store.expiresAtMs(ref);
    const tags = this.#tags;
    tags.count = store.tagCount(ref);
    for (let i = 0; i < tags.count; i += 1) tags.hashes[i] = store.tagHash(ref, i);
    const source = store.readSource(ref, this.#source) ? this.#source : null;
    const leftMs = expiresAtMs === 0 ? 0 : Math.max(1, Math.ceil(expiresAtMs - this.nowMs));
    const frame = storeFrame(keyLength, valueLength, leftMs, store.version(ref), tags, source);
    store.copyKey(ref, frame.body, frame.keyAt);
    store.copyValue(ref, frame.body, frame.valueAt);
    return frame.body;
  }

  #take(range: number, body: Uint8Array): void {
    const store = this.#store;
    const { keyAt, keyLength, valueAt, valueLength, leftMs, stamp, hasSource, source, tags } = readStore(body);
    store.raiseVersion(stamp);
    const stored = store.copySet(
      body,
      keyAt,
      keyLength,
      valueAt,
      valueLength,
      leftMs === 0 ? 0 : this.nowMs + leftMs,
      this.nowMs,
      range,
      tags.count === 0 ? null : tags,
      hasSource ? source : null,
    );
    if (!hasSource) this.#changed(body, keyAt, keyLength);
    if (stored === STORED) return;
    // No room: what was there is older than what the owner has now.
    this.refused += 1;
    store.copyDelete(body, keyAt, keyLength, this.nowMs);
  }

  #changed(key: Uint8Array, start: number, length: number): void {
    const { sources } = this.#freshness;
    if (sources.size !== 0) sources.changed(keyHash(key, start, length));
  }

  #raise(range: number, floor: number): void {
    this.#floors[range] = floor;
    if (floor > this.#newestFloor) this.#newestFloor = floor;
    // A number of now, whatever the floor's: the sweep may have passed that one already, when it was none yet.
    this.#sweepTo = this.#store.nextVersion();
    this.#store.invalidationFloor = this.#sweepTo;
  }

  #isDead(ref: number): boolean {
    if (this.#newestFloor !== 0) {
      const version = this.#store.version(ref);
      if (version < this.#newestFloor && version < this.#floors[this.rangeOfRef(ref)]!) return true;
    }
    return this.#freshness.isDead(ref);
  }
}

/** 0 says something else. */
function cursorAt(bucket: number, skip: number): number {
  return 1 + bucket * MOST_A_BUCKET + skip;
}

/** Of ascending numbers, the place of the first that is not below `least`. */
function firstFrom(numbers: Uint32Array, least: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle]! < least) low = middle + 1;
    else high = middle;
  }
  return low;
}
