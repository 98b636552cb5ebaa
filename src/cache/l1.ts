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

/** Our own objects around a value: the entry (17 fields), its share of the Map, the promise, the id's header. Measured: about 290 with 13. */
const ENTRY_BYTES = 340;

export class L1<V> {
  evictions = 0;
  /** Entries that were there and not served, because what other processes invalidated is not known recently enough. */
  bypassed = 0;
  readonly #bounds: L1Bounds;
  readonly #voids: Voids;
  readonly #namespace: number;
  readonly #onBypass: (id: string) => void;
  readonly #entries = new Map<string, L1Entry<V>>();
  readonly #eviction = new L1Eviction<V>();

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

  get bytes(): number {
    return this.#eviction.bytes;
  }

  /** The entry of `id` if it is certainly fresh at `nowMs`, else null. Counts as a use. */
  find(id: string, nowMs: number): L1Entry<V> | null {
    const entry = this.#entries.get(id);
    if (entry === undefined || nowMs >= entry.sureUntilMs || nowMs > this.#voids.goodUntilMs) return null;
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

  /** The entry of `id` if it is of this version, trusted or not: for who has just asked L2. */
  ofVersion(id: string, version: number, nowMs: number): L1Entry<V> | null {
    const entry = this.#entries.get(id);
    return entry === undefined || entry.version !== version || nowMs >= entry.goneAtMs ? null : entry;
  }

  /** L2 has this very entry, and for so long: as of `stamp` there is nothing against it. */
  trust(entry: L1Entry<V>, stamp: number, goneAtMs: number): void {
    entry.stamp = stamp;
    entry.goneAtMs = Math.min(entry.goneAtMs, goneAtMs);
    entry.sureUntilMs = Math.min(entry.sureUntilMs, goneAtMs);
  }

  /** Puts or replaces. An entry above `maxBytes` alone is not kept. */
  put(id: string, facts: L1Facts<V>): void {
    const bytes = facts.bytes + ENTRY_BYTES + id.length;
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
    this.#makeRoom(1, bytes);
    const entry: L1Entry<V> = {
      id,
      value: facts.value,
      promise: null,
      storedAtMs: facts.storedAtMs,
      sureUntilMs: facts.sureUntilMs,
      goneAtMs: facts.goneAtMs,
      ttlMs: facts.ttlMs,
      graceMs: facts.graceMs,
      loadMs: facts.loadMs,
      version: facts.version,
      stamp: facts.stamp,
      tags: facts.tags,
      bytes,
      recency: 0,
      queue: null,
      older: null,
      newer: null,
    };
    this.#entries.set(id, entry);
    const { maxEntries, maxBytes } = this.#bounds;
    this.#eviction.add(entry, Math.max(this.#entries.size / maxEntries, (this.bytes + bytes) / maxBytes));
  }

  remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) this.#drop(entry);
  }

  clear(): void {
    this.#entries.clear();
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
    assert(count <= this.#bounds.maxEntries && this.bytes <= this.#bounds.maxBytes, 'L1 is within its bounds');
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
    entry.sureUntilMs = facts.sureUntilMs;
    entry.goneAtMs = facts.goneAtMs;
    entry.ttlMs = facts.ttlMs;
    entry.graceMs = facts.graceMs;
    entry.loadMs = facts.loadMs;
    entry.version = facts.version;
    entry.stamp = facts.stamp;
    entry.tags = facts.tags;
  }

  /** Evicts until `entries` more with `bytes` more are within the bounds. */
  #makeRoom(entries: number, bytes: number): void {
    const { maxEntries, maxBytes } = this.#bounds;
    const eviction = this.#eviction;
    if (this.#entries.size + entries <= maxEntries && this.bytes + bytes <= maxBytes) return;
    eviction.beginRelief();
    while (this.#entries.size + entries > maxEntries || this.bytes + bytes > maxBytes) {
      const evicted = eviction.relieve();
      if (evicted === null) continue;
      this.#entries.delete(evicted.id);
      this.evictions += 1;
    }
  }

  #drop(entry: L1Entry<V>): void {
    this.#entries.delete(entry.id);
    entry.queue?.remove(entry);
  }
}
