/**
 * L1: live objects of this process, bounded by count and by bytes, evicted by S3-FIFO.
 *
 * Why S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction", SOSP '23) and not LRU: most keys are asked for once. An
 * LRU lets each of them push through the whole cache; here they die in a small queue of a tenth of the bytes. A hit moves nothing, it
 * counts to 3, so that the hot path writes one small integer.
 *
 *     new --> [ small, 10 % ] --hit twice or more--> [ main, 90 % ] --> evicted when its count is 0, else once more round, count - 1
 *                   |                                     ^
 *                   +-- not --> ghost (fingerprints) --asked again soon--+
 *
 * Costs: a hit is one Map lookup, two comparisons of numbers, one promise that is already there. Insert, remove and evict are O(1)
 * amortised. The ghost is a direct-mapped table of fingerprints in typed arrays: a collision mistakes one key for another, which costs a
 * wrong guess of the policy and nothing else.
 *
 * An entry is served while all of these hold:
 *   - its time has not come, by the clock asked at each hit: a blocked event loop does not make it live longer. `find` answers while it is
 *     certainly fresh, in one comparison; `findAged` finds it until its grace or the L1's own ttl is over, for `judge` to say;
 *   - what other processes invalidated is known within the bound (`voids.goodUntilMs`; always in the embedded store);
 *   - no tag or namespace of it was voided after it came in. That is one comparison of stamps (`voids.ts`) unless something was
 *     voided since the entry was last looked at; then its names are looked up, once.
 *
 * Invariants (`invariants()`): every entry of the Map is in exactly one queue; bytes and counts are the sums; both within bounds.
 */
import { assert } from '../base/assert.ts';
import type { Lifetime } from './entry.ts';
import type { Voids } from './voids.ts';

export interface L1Entry<V> {
  readonly id: string;
  value: V | null;
  /** Resolved with `value`: a hit allocates nothing. Made by the first `get`. */
  promise: Promise<V | null> | null;
  storedAtMs: number;
  /** Certainly fresh until then: `judge` need not be asked. */
  sureUntilMs: number;
  /** Not served from then on, whatever `judge` says. */
  goneAtMs: number;
  ttlMs: number;
  graceMs: number;
  loadMs: number;
  version: number | null;
  /** The latest void that the entry is known to have survived. */
  stamp: number;
  tags: readonly number[];
  bytes: number;
  /** Hits since it came in or was passed over, up to 3. */
  hits: number;
  queue: Queue<V> | null;
  older: L1Entry<V> | null;
  newer: L1Entry<V> | null;
}

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

interface Queue<V> {
  oldest: L1Entry<V> | null;
  newest: L1Entry<V> | null;
  bytes: number;
  count: number;
}

export interface L1Bounds {
  readonly maxEntries: number;
  readonly maxBytes: number;
}

/** Our own objects around a value: the entry (17 fields), its share of the Map, the promise, the id's header. Measured: about 290 with 13. */
const ENTRY_BYTES = 340;
const MOST_HITS = 3;
const SMALL_SHARE = 10;

export class L1<V> {
  evictions = 0;
  /** Entries that were there and not served, because what other processes invalidated is not known recently enough. */
  bypassed = 0;
  readonly #bounds: L1Bounds;
  readonly #voids: Voids;
  readonly #namespace: number;
  readonly #entries = new Map<string, L1Entry<V>>();
  readonly #small: Queue<V> = { oldest: null, newest: null, bytes: 0, count: 0 };
  readonly #main: Queue<V> = { oldest: null, newest: null, bytes: 0, count: 0 };
  readonly #ghost: Ghost;

  /** @param namespace hash of the cache's name */
  constructor(bounds: L1Bounds, voids: Voids, namespace: number) {
    this.#bounds = bounds;
    this.#voids = voids;
    this.#namespace = namespace;
    this.#ghost = new Ghost(bounds.maxEntries);
  }

  get size(): number {
    return this.#entries.size;
  }

  get bytes(): number {
    return this.#small.bytes + this.#main.bytes;
  }

  /** The entry of `id` if it is certainly fresh at `nowMs`, else null. Counts as a use. */
  find(id: string, nowMs: number): L1Entry<V> | null {
    const entry = this.#entries.get(id);
    if (entry === undefined || nowMs >= entry.sureUntilMs || nowMs > this.#voids.goodUntilMs) return null;
    if (entry.stamp < this.#voids.names.newest && this.#isVoided(entry)) {
      this.#drop(entry);
      return null;
    }
    if (entry.hits < MOST_HITS) entry.hits += 1;
    return entry;
  }

  /** The entry of `id` as long as it may be of use, for `judge`; what is over is dropped. Counts as a use. */
  findAged(id: string, nowMs: number): L1Entry<V> | null {
    const entry = this.#entries.get(id);
    if (entry === undefined) return null;
    if (nowMs > this.#voids.goodUntilMs) {
      this.bypassed += 1;
      return null;
    }
    if (nowMs >= entry.goneAtMs || (entry.stamp < this.#voids.names.newest && this.#isVoided(entry))) {
      this.#drop(entry);
      return null;
    }
    if (entry.hits < MOST_HITS) entry.hits += 1;
    return entry;
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
    } else {
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
        hits: 0,
        queue: null,
        older: null,
        newer: null,
      };
      this.#entries.set(id, entry);
      this.#append(this.#ghost.take(id) ? this.#main : this.#small, entry);
    }
    while (this.#entries.size > this.#bounds.maxEntries || this.bytes > this.#bounds.maxBytes) this.#evict();
  }

  remove(id: string): void {
    const entry = this.#entries.get(id);
    if (entry !== undefined) this.#drop(entry);
  }

  clear(): void {
    this.#entries.clear();
    for (const queue of [this.#small, this.#main]) {
      queue.oldest = null;
      queue.newest = null;
      queue.bytes = 0;
      queue.count = 0;
    }
  }

  invariants(): void {
    let count = 0;
    for (const queue of [this.#small, this.#main]) {
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

  #isVoided(entry: L1Entry<V>): boolean {
    if (this.#voids.crossedNames(entry.stamp, this.#namespace, entry.tags)) return true;
    // It survived everything so far: the next hits need not look again.
    entry.stamp = this.#voids.names.newest;
    return false;
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

  /** Removes one entry, or moves some toward main and then removes one. */
  #evict(): void {
    for (;;) {
      const fromSmall = this.#main.count === 0 || this.#small.bytes * SMALL_SHARE >= this.bytes;
      const queue = fromSmall && this.#small.count > 0 ? this.#small : this.#main;
      const entry = queue.oldest;
      assert(entry !== null, 'something is over the bounds, so something is there');
      if (queue === this.#small && entry.hits > 1) {
        entry.hits = 0;
        this.#unlink(entry);
        this.#append(this.#main, entry);
      } else if (queue === this.#main && entry.hits > 0) {
        entry.hits -= 1;
        this.#unlink(entry);
        this.#append(this.#main, entry);
      } else {
        if (queue === this.#small) this.#ghost.add(entry.id);
        this.#drop(entry);
        this.evictions += 1;
        return;
      }
    }
  }

  #drop(entry: L1Entry<V>): void {
    this.#entries.delete(entry.id);
    this.#unlink(entry);
  }

  #append(queue: Queue<V>, entry: L1Entry<V>): void {
    entry.queue = queue;
    entry.newer = null;
    entry.older = queue.newest;
    if (queue.newest === null) queue.oldest = entry;
    else queue.newest.newer = entry;
    queue.newest = entry;
    queue.bytes += entry.bytes;
    queue.count += 1;
  }

  #unlink(entry: L1Entry<V>): void {
    const queue = entry.queue;
    assert(queue !== null, 'an entry leaves the queue that it is in');
    if (entry.older === null) queue.oldest = entry.newer;
    else entry.older.newer = entry.newer;
    if (entry.newer === null) queue.newest = entry.older;
    else entry.newer.older = entry.older;
    queue.bytes -= entry.bytes;
    queue.count -= 1;
    entry.queue = null;
  }
}

/** Remembers about as many evicted ids as the cache holds entries, each as a fingerprint and the time (in evictions) it left. */
class Ghost {
  readonly #mask: number;
  readonly #reach: number;
  readonly #prints: Uint32Array;
  readonly #times: Uint32Array;
  #now = 1;

  constructor(reach: number) {
    const rows = 2 ** Math.ceil(Math.log2(Math.min(Math.max(reach, 16), 1 << 20)));
    this.#reach = Math.min(reach, rows);
    this.#mask = rows - 1;
    this.#prints = new Uint32Array(rows);
    this.#times = new Uint32Array(rows);
  }

  add(id: string): void {
    const hash = hashText(id);
    this.#now = (this.#now + 1) >>> 0;
    this.#prints[hash & this.#mask] = hash;
    this.#times[hash & this.#mask] = this.#now;
  }

  /** Was `id` evicted not long ago? Forgets it. */
  take(id: string): boolean {
    const hash = hashText(id);
    const row = hash & this.#mask;
    if (this.#prints[row] !== hash || this.#times[row] === 0) return false;
    const isRecent = (this.#now - this.#times[row]!) >>> 0 <= this.#reach;
    this.#times[row] = 0;
    return isRecent;
  }
}

/** FNV-1a over code units, then mixed so that the low bits are good. */
function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
