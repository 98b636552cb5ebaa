/**
 * L1: live objects of this process, bounded by count and by bytes, evicted by lazy W-TinyLFU (l1-eviction.ts).
 *
 * Costs: a hit is one Map lookup, two comparisons of numbers, a count in a small integer, one promise that is already there. Insert, remove and
 * evict are O(1) amortised, and an insert moves at most a few dozen entries.
 *
 * An entry is served while all of these hold:
 *   - its time has not come, by the clock asked at each hit: a blocked event loop does not make it live longer. `find` answers while it is
 *     certainly fresh, in one comparison; `findAged` finds it until its grace or the L1's own ttl is over, for `judge` to say;
 *   - what other processes invalidated is known within the bound (`voids.goodUntilMs`; always in the embedded store);
 *   - no tag or namespace of it was voided after it came in, and it is not suspect (something may have been missed since then). That is one
 *     comparison of stamps (`voids.ts`) unless something was voided since the entry was last looked at; then its names are looked up, once.
 *
 * Invariants (`invariants()`): every entry of the Map is in exactly one queue; bytes and counts are the sums; both within bounds.
 */
import { assert } from '../base/assert.ts';
import type { Lifetime } from './entry.ts';
import { MapBytes, numbersBytes, stringBytes } from './heap-bytes.ts';
import { L1Eviction } from './l1-eviction.ts';
import type { L1Entry } from './l1-queue.ts';
import type { Voids } from './voids.ts';

/** What goes in. */
export interface L1Facts<V> extends Lifetime {
  readonly value: V | null;
  readonly storedAtMs: number;
  readonly sureUntilMs: number;
  readonly goneAtMs: number;
  readonly version: number | null;
  readonly stamp: number;
  readonly tags: readonly number[];
  /** Of the value. */
  readonly bytes: number;
}

export interface L1Bounds {
  readonly maxEntries: number;
  readonly maxBytes: number;
}

/**
 * How finely "certainly fresh until" is kept: as a small integer, which a hit reads with the entry instead of in a box elsewhere in memory. Rounded down, so
 * that the last of it is `judge`'s. After a year's uptime nothing is certain any more, and `judge` is asked at every hit.
 */
const TICK_MS = 16;
const LAST_TICK = 2 ** 31 - 1;
/** An entry without what it points to: 17 fields, four of them numbers with a fraction in boxes of their own. */
const ENTRY_BYTES = 24 + 17 * 8 + 4 * 16;
/** A version beyond a small integer has a box too. */
const BOX_BYTES = 16;
/** A settled promise. */
const PROMISE_BYTES = 48;

export class L1<V> {
  evictions = 0;
  /** Entries that were there and not served, because what other processes invalidated is not known recently enough. */
  bypassed = 0;
  readonly #bounds: L1Bounds;
  readonly #voids: Voids;
  readonly #namespace: number;
  readonly #onBypass: (id: string) => void;
  readonly #entries = new Map<string, L1Entry<V>>();
  readonly #mapBytes = new MapBytes();
  readonly #eviction = new L1Eviction<V>();
  /** Tick 0: when the first entry came. */
  #epochMs = Number.NaN;

  /** @param namespace hash of the cache's name */
  constructor(bounds: L1Bounds, voids: Voids, namespace: number, onBypass: (id: string) => void = () => {}) {
    this.#onBypass = onBypass;
    this.#bounds = bounds;
    this.#voids = voids;
    this.#namespace = namespace;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Heap that it takes, measured as heap-bytes.ts says: values, ids, entries, promises, the Map, the sketch. */
  get bytes(): number {
    return this.#eviction.bytes + this.#mapBytes.bytes + this.#eviction.sketchBytes;
  }

  /** A promise of the entry's value, the same one each time. */
  promiseOf(entry: L1Entry<V>): Promise<V | null> {
    if (entry.promise === null) {
      entry.promise = Promise.resolve(entry.value);
      if (entry.queue !== null) entry.queue.bytes += PROMISE_BYTES;
      entry.bytes += PROMISE_BYTES;
    }
    return entry.promise;
  }

  /** The entry of `id` if it is certainly fresh at `nowMs`, else null. Counts as a use. */
  find(id: string, nowMs: number): L1Entry<V> | null {
    const entry = this.#entries.get(id);
    if (entry === undefined || nowMs > this.#voids.goodUntilMs) return null;
    if (nowMs - this.#epochMs >= entry.sureUntilTick * TICK_MS) return null;
    if (entry.stamp < this.#voids.newest && !this.#isGood(entry)) return null;
    this.#eviction.onHit(entry);
    return entry;
  }

  /** The entry of `id` as long as it may be of use, for `judge`; what is over is dropped. Counts as a use. */
  findAged(id: string, nowMs: number): L1Entry<V> | null {
    const entry = this.#entries.get(id);
    if (entry === undefined) return null;
    if (nowMs > this.#voids.goodUntilMs) {
      this.bypassed += 1;
      this.#onBypass(id);
      return null;
    }
    if (nowMs >= entry.goneAtMs) {
      this.#drop(entry);
      return null;
    }
    if (entry.stamp < this.#voids.newest && !this.#isGood(entry)) return null;
    this.#eviction.onHit(entry);
    return entry;
  }

  /**
   * The entry of `id` if it is of this version and not void, suspect or not: for who has just asked L2. A void one is of no use whatever its number: a node that began anew counts from the
   * beginning, and its number 38 is another value than that of the run before.
   */
  ofVersion(id: string, version: number, nowMs: number): L1Entry<V> | null {
    const entry = this.#entries.get(id);
    if (entry === undefined || entry.version !== version || nowMs >= entry.goneAtMs) return null;
    if (!this.#voids.crossedNames(entry.stamp, this.#namespace, entry.tags)) return entry;
    this.#drop(entry);
    return null;
  }

  /** L2 has this very entry, and for so long: as of `stamp` there is nothing against it. */
  trust(entry: L1Entry<V>, stamp: number, goneAtMs: number): void {
    entry.stamp = stamp;
    entry.goneAtMs = Math.min(entry.goneAtMs, goneAtMs);
    entry.sureUntilTick = Math.min(entry.sureUntilTick, this.#tickOf(goneAtMs));
  }

  /** Puts or replaces. An entry above `maxBytes` alone is not kept. */
  put(id: string, facts: L1Facts<V>): void {
    if (Number.isNaN(this.#epochMs)) this.#epochMs = facts.storedAtMs;
    const bytes = entryBytes(id, facts);
    const present = this.#entries.get(id);
    if (bytes > this.#bounds.maxBytes) {
      if (present !== undefined) this.#drop(present);
      return;
    }
    if (present !== undefined) {
      this.#replace(present, facts, bytes);
      this.#makeRoom(0, 0);
      return;
    }
    if (!this.#makeRoom(1, bytes)) return;
    const entry: L1Entry<V> = {
      value: facts.value,
      promise: null,
      sureUntilTick: this.#tickOf(facts.sureUntilMs),
      stamp: facts.stamp,
      recency: 0,
      id,
      storedAtMs: facts.storedAtMs,
      goneAtMs: facts.goneAtMs,
      ttlMs: facts.ttlMs,
      graceMs: facts.graceMs,
      loadMs: facts.loadMs,
      version: facts.version,
      tags: facts.tags,
      bytes,
      queue: null,
      older: null,
      newer: null,
    };
    this.#entries.set(id, entry);
    this.#mapBytes.onAdd();
    const { maxEntries, maxBytes } = this.#bounds;
    const fullness = Math.max(this.#entries.size / maxEntries, (this.bytes + bytes) / maxBytes);
    this.#eviction.add(entry, Math.min(1, fullness));
  }

  remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) this.#drop(entry);
  }

  clear(): void {
    this.#entries.clear();
    this.#mapBytes.clear();
    this.#eviction.clear();
  }

  invariants(): void {
    let count = 0;
    for (const queue of [this.#eviction.window, this.#eviction.main]) {
      let bytes = 0;
      let inQueue = 0;
      let before: L1Entry<V> | null = null;
      for (let entry = queue.oldest; entry !== null; entry = entry.newer) {
        assert(entry.queue === queue && entry.older === before, 'an entry knows its queue and its neighbours');
        assert(this.#entries.get(entry.id) === entry, 'a queued entry is found');
        bytes += entry.bytes;
        inQueue += 1;
        before = entry;
      }
      assert(queue.newest === before && queue.bytes === bytes && queue.count === inQueue, 'a queue knows its sums');
      count += inQueue;
    }
    assert(count === this.#entries.size, 'every entry is in one queue');
    // Promises come with hits; the next put makes room for them.
    const mostBytes = this.#bounds.maxBytes + count * PROMISE_BYTES;
    assert(count <= this.#bounds.maxEntries && this.bytes <= mostBytes, 'L1 is within its bounds');
  }

  /** Of the first entry on. NaN and what lies before tick 0 is tick 0: certain of nothing. */
  #tickOf(atMs: number): number {
    return Math.trunc(Math.min(Math.max((atMs - this.#epochMs) / TICK_MS, 0), LAST_TICK)) | 0;
  }

  /** For an entry of before the last void. A voided one is dropped, a suspect one stays until L2 was asked. */
  #isGood(entry: L1Entry<V>): boolean {
    if (this.#voids.crossedNames(entry.stamp, this.#namespace, entry.tags)) {
      this.#drop(entry);
      return false;
    }
    if (entry.stamp < this.#voids.suspectedAt) return false;
    // It survived everything so far: the next hits need not look again.
    entry.stamp = this.#voids.newest;
    return true;
  }

  #replace(entry: L1Entry<V>, facts: L1Facts<V>, bytes: number): void {
    assert(entry.queue !== null, 'a kept entry is in a queue');
    entry.queue.bytes += bytes - entry.bytes;
    entry.bytes = bytes;
    entry.value = facts.value;
    entry.promise = null;
    entry.storedAtMs = facts.storedAtMs;
    entry.sureUntilTick = this.#tickOf(facts.sureUntilMs);
    entry.goneAtMs = facts.goneAtMs;
    entry.ttlMs = facts.ttlMs;
    entry.graceMs = facts.graceMs;
    entry.loadMs = facts.loadMs;
    entry.version = facts.version;
    entry.stamp = facts.stamp;
    entry.tags = facts.tags;
  }

  /** Evicts until `entries` more with `bytes` more are within the bounds. False: that cannot be, and all is evicted. */
  #makeRoom(entries: number, bytes: number): boolean {
    const eviction = this.#eviction;
    if (this.#fits(entries, bytes)) return true;
    eviction.beginRelief();
    while (this.#entries.size > 0 && !this.#fits(entries, bytes)) {
      const evicted = eviction.relieve();
      if (evicted === null) continue;
      this.#entries.delete(evicted.id);
      this.#mapBytes.onDelete();
      this.evictions += 1;
    }
    return this.#fits(entries, bytes);
  }

  /** The Map doubles now and then; who comes in pays for it, by evictions, when there is no room for that. */
  #fits(entries: number, bytes: number): boolean {
    const { maxEntries, maxBytes } = this.#bounds;
    const mapBytes = entries === 0 ? this.#mapBytes.bytes : this.#mapBytes.bytesWithNext;
    const all = this.#eviction.bytes + mapBytes + this.#eviction.sketchBytesFor(this.#entries.size + entries);
    return this.#entries.size + entries <= maxEntries && all + bytes <= maxBytes;
  }

  #drop(entry: L1Entry<V>): void {
    this.#entries.delete(entry.id);
    this.#mapBytes.onDelete();
    entry.queue?.remove(entry);
  }
}

function entryBytes<V>(id: string, { bytes, tags, version }: L1Facts<V>): number {
  const box = version === null || (version | 0) === version ? 0 : BOX_BYTES;
  return ENTRY_BYTES + stringBytes(id) + numbersBytes(tags.length) + box + bytes;
}
