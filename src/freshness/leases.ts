/**
 * Leases: who may fill a miss, and whether what was loaded may still be stored.
 *
 * Cache-aside has a race that no TTL repairs:
 *
 *   1. A misses `user:42` and reads row version 1 from the database.
 *   2. B updates the row to version 2 and deletes `user:42` from the cache. Nothing is there; the delete succeeds.
 *   3. A stores version 1. Every reader now gets what B has replaced, until the TTL ends.
 *
 * A lock around the load (`SET NX`) makes it worse: it lets only A store, and A holds the old row. What is missing is that
 * step 2 leaves a trace although nothing was there to delete. The lease is that trace (Nishtala et al., "Scaling Memcache at
 * Facebook", NSDI '13, section 3.2.1):
 *
 *   1. A misses and is granted a token, noted here under the key.
 *   2. B's delete voids every token of the key.
 *   3. A's fill presents its token; it is no longer known; nothing is stored. The next reader loads version 2.
 *
 * The same token is the stampede protection: while a grant lasts, other callers that miss the key are told that somebody is
 * loading and how long to wait at most.
 *
 * Two clocks would be one too many. The *duration* of a grant only says for how long others are told to wait; when it is
 * over the next caller gets a token of its own, and the first one stays valid until something voids it. Were it void by
 * time, a loader slower than the duration would never fill anything:
 *
 *   1. A is granted at 0 s, loads for 15 s.   2. B is granted at 10 s, A's token would end here.   3. A's fill at 15 s is refused.
 *   4. C is granted at 20 s, B's token ends.  5. B's fill at 25 s is refused. ... A database that is slow already gets every load.
 *
 * That A's late fill is safe rests on voiding alone, never on time: no clock that is wrong can store a stale value.
 *
 * A token carries (epoch, counter): the epoch names this table's life, so that a token from before a restart is unknown; the
 * counter is never reused and its remainder is the row, so a lookup is one comparison. It also stands for the member's version number at
 * the grant (`versionOf`): tags are often known only after the load, and a fill whose tag was invalidated after that number is
 * refused by `generations.ts`.
 *
 * Layout: a ring of rows in typed arrays. Grant number c takes row c mod capacity; whoever was there is *forgotten* and its fill
 * refused, which costs a load and nothing else. Rows with a live token hang in chains by key hash, newest first.
 *
 *   counter  f64  0 = row is free          hash, check  u32  two hashes of the key
 *   untilMs  f64  others wait until then   version      f64  member's version number at the grant
 *   next, previous  i32  the chain of one bucket
 *   owner  f64  the session that holds it; 0 = not known
 *
 * Keys are known by 64 bits of hash: a collision voids a token too many or makes a caller wait, it never lets a fill through,
 * because a fill must present the counter as well.
 *
 * Costs: 52 bytes a row, no allocation; grant, fill and void are O(1) expected. Bounded by construction.
 * Invariants (`invariants()`): live rows are exactly those in chains; `live` counts them; counters in a row belong to that row.
 */
import { assert } from '../base/assert.ts';
import { hashBytes } from '../hash/table-hash.ts';

/** `grant()`: another caller holds the lease of this key. */
export const HELD = 0;

/** A grant lasts this long unless the caller says otherwise: longer than any sane load, shorter than a person's patience. */
export const DEFAULT_LEASE_MS = 10_000;

/** Rows. At 1,000 misses a second a token is remembered for at least a minute. 3.4 MB. */
const DEFAULT_CAPACITY = 65_536;

const NONE = -1;

/** How a token ended, for those who wait for it. `abandoned`: its holder is gone, but a late fill would still be good. */
export type LeaseEnd = 'filled' | 'voided' | 'released' | 'forgotten' | 'abandoned';

/** Told of every token that ends while somebody waits; `hash` and `check` stand for the key. */
export type LeaseListener = (hash: number, check: number, end: LeaseEnd) => void;

export interface LeaseOptions {
  /** Names this table's life; tokens of another epoch are unknown. An integer in [0, 2^32). */
  readonly epoch: number;
  /** Seed of the key hashes. */
  readonly seed: number;
  /** How many tokens are remembered, a power of two. Default 65,536 (52 bytes each). */
  readonly capacity?: number;
}

/** What happened so far; read by INFO, BW.STATS and /metrics. */
export interface LeaseStats {
  granted: number;
  /** A caller was told that another one holds the lease. */
  held: number;
  filled: number;
  /** A fill was refused: its token was voided, forgotten or never ours. */
  refused: number;
  /** A live token was voided by a write or an invalidation. */
  voided: number;
  /** A live token was given back, or its fill was refused for a name of the entry. */
  released: number;
  /** A live token was overwritten because the ring came round. */
  forgotten: number;
}

export class Leases {
  readonly epoch: number;
  readonly stats: LeaseStats = { granted: 0, held: 0, filled: 0, refused: 0, voided: 0, released: 0, forgotten: 0 };
  /** Live tokens. Writers skip `voidKey` while it is 0. */
  live = 0;
  /** null: nobody waits. */
  listener: LeaseListener | null = null;

  readonly #capacity: number;
  readonly #mask: number;
  readonly #seed: number;
  readonly #counter: Float64Array;
  readonly #untilMs: Float64Array;
  readonly #version: Float64Array;
  readonly #hash: Uint32Array;
  readonly #check: Uint32Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #heads: Int32Array;
  readonly #owner: Float64Array;
  #lastCounter = 0;

  constructor(options: LeaseOptions) {
    const capacity = options.capacity ?? DEFAULT_CAPACITY;
    assert(capacity >= 1 && (capacity & (capacity - 1)) === 0, 'the lease table has a power of two of rows');
    assert(Number.isInteger(options.epoch) && options.epoch >= 0 && options.epoch < 2 ** 32, 'an epoch is a uint32');
    this.epoch = options.epoch;
    this.#seed = options.seed >>> 0;
    this.#capacity = capacity;
    this.#mask = capacity - 1;
    this.#counter = new Float64Array(capacity);
    this.#untilMs = new Float64Array(capacity);
    this.#version = new Float64Array(capacity);
    this.#hash = new Uint32Array(capacity);
    this.#check = new Uint32Array(capacity);
    this.#next = new Int32Array(capacity);
    this.#previous = new Int32Array(capacity);
    this.#heads = new Int32Array(capacity).fill(NONE);
    this.#owner = new Float64Array(capacity);
  }

  /**
   * A miss of `key` asks to load it. Returns the token's counter (> 0), or HELD while another caller's grant lasts
   * (`waitMs()` then says for how long). `version` is the member's version number now: what is invalidated later has a higher one.
   * `durationMs` > 0. `owner`: who is named to {@link abandon} when it is gone; 0 = nobody.
   */
  grant(
    key: Uint8Array,
    start: number,
    length: number,
    version: number,
    nowMs: number,
    durationMs: number,
    owner = 0,
  ): number {
    const hash = hashBytes(key, start, start + length, this.#seed);
    const newest = this.#newest(hash, key, start, length);
    if (newest !== NONE && nowMs < this.#untilMs[newest]!) {
      this.stats.held += 1;
      return HELD;
    }
    this.#lastCounter += 1;
    const row = this.#lastCounter & this.#mask;
    if (this.#counter[row] !== 0) {
      this.#unlink(row, 'forgotten');
      this.stats.forgotten += 1;
    }
    this.#counter[row] = this.#lastCounter;
    this.#untilMs[row] = nowMs + durationMs;
    this.#version[row] = version;
    this.#owner[row] = owner;
    this.#hash[row] = hash;
    this.#check[row] = this.#checkOf(key, start, length);
    this.#link(row);
    this.stats.granted += 1;
    return this.#lastCounter;
  }

  /** Milliseconds (rounded up) until the newest grant of `key` stops making others wait; 0 when nobody holds one. */
  waitMs(key: Uint8Array, start: number, length: number, nowMs: number): number {
    if (this.live === 0) return 0;
    const row = this.#newest(hashBytes(key, start, start + length, this.#seed), key, start, length);
    return row === NONE ? 0 : Math.max(0, Math.ceil(this.#untilMs[row]! - nowMs));
  }

  /** The version number at the newest grant of `key`, or -1 when it has no live token. */
  newestVersionOf(key: Uint8Array, start: number, length: number): number {
    const row = this.#newest(hashBytes(key, start, start + length, this.#seed), key, start, length);
    return row === NONE ? -1 : this.#version[row]!;
  }

  /**
   * The version number at the grant of this token, or -1 when it may not fill `key`: voided, forgotten, of another
   * epoch or of another key. Changes nothing; a fill that stores must then `voidKey`, one that is refused `refuse`.
   */
  versionOf(key: Uint8Array, start: number, length: number, epoch: number, counter: number): number {
    if (epoch !== this.epoch || !(counter > 0) || counter > this.#lastCounter) return -1;
    const row = counter % this.#capacity;
    if (this.#counter[row] !== counter) return -1;
    if (this.#hash[row] !== hashBytes(key, start, start + length, this.#seed)) return -1;
    if (this.#check[row] !== this.#checkOf(key, start, length)) return -1;
    return this.#version[row]!;
  }

  /** The fill of `key` was stored: its token is used up, and so is every other one of the key. */
  filled(key: Uint8Array, start: number, length: number): void {
    const others = this.#drop(key, start, length, 'filled') - 1;
    this.stats.filled += 1;
    if (others > 0) this.stats.voided += others;
  }

  /**
   * Drops this token alone, if it is good for `key`: its load will not fill, so nobody should wait for it. Other tokens of the key stay. Whether
   * it was there.
   */
  release(key: Uint8Array, start: number, length: number, epoch: number, counter: number): boolean {
    if (this.versionOf(key, start, length, epoch, counter) < 0) return false;
    this.#unlink(counter % this.#capacity, 'released');
    this.stats.released += 1;
    return true;
  }

  /** Counts a refused fill. */
  refused(): void {
    this.stats.refused += 1;
  }

  /** `key` was deleted, overwritten or invalidated: what is being loaded for it may not be stored. Call it only after `live > 0`. */
  voidKey(key: Uint8Array, start: number, length: number): void {
    this.stats.voided += this.#drop(key, start, length, 'voided');
  }

  /** The holder of these tokens is gone: nobody waits for them any more. Should it fill after all, its tokens are as good as before. O(capacity). */
  abandon(owner: number): void {
    assert(owner !== 0, 'nobody has no leases');
    if (this.live === 0) return;
    for (let row = 0; row < this.#capacity; row += 1) {
      if (this.#owner[row] !== owner || this.#counter[row] === 0) continue;
      this.#owner[row] = 0;
      this.#untilMs[row] = 0;
      if (this.listener !== null) this.listener(this.#hash[row]!, this.#check[row]!, 'abandoned');
    }
  }

  /** The two hashes that the listener is told for this key. */
  hashOf(key: Uint8Array, start: number, length: number): number {
    return hashBytes(key, start, start + length, this.#seed);
  }

  checkOf(key: Uint8Array, start: number, length: number): number {
    return this.#checkOf(key, start, length);
  }

  /** Everything was cleared. O(capacity). */
  voidAll(): void {
    this.stats.voided += this.live;
    if (this.listener !== null) {
      for (let row = 0; row < this.#capacity; row += 1) {
        if (this.#counter[row] !== 0) this.listener(this.#hash[row]!, this.#check[row]!, 'voided');
      }
    }
    this.#counter.fill(0);
    this.#heads.fill(NONE);
    this.live = 0;
  }

  /** Bytes of the typed arrays. */
  get sizeBytes(): number {
    return this.#capacity * 52;
  }

  /** Checks the whole structure. O(capacity). */
  invariants(): void {
    let chained = 0;
    for (let bucket = 0; bucket <= this.#mask; bucket += 1) {
      let before = NONE;
      for (let row = this.#heads[bucket]!; row !== NONE; row = this.#next[row]!) {
        assert(this.#previous[row] === before, 'a lease knows its predecessor');
        assert(this.#counter[row] !== 0, 'a chained lease is live');
        assert((this.#hash[row]! & this.#mask) === bucket, 'a lease hangs in the bucket of its hash');
        before = row;
        chained += 1;
        assert(chained <= this.#capacity, 'a chain has no loop');
      }
    }
    assert(chained === this.live, 'live counts the chained leases');
    let used = 0;
    for (let row = 0; row < this.#capacity; row += 1) {
      const counter = this.#counter[row]!;
      if (counter === 0) continue;
      used += 1;
      assert(counter % this.#capacity === row && counter <= this.#lastCounter, 'a counter stands in its own row');
    }
    assert(used === this.live, 'live counts the used rows');
  }

  #checkOf(key: Uint8Array, start: number, length: number): number {
    return hashBytes(key, start, start + length, this.#seed ^ 0x5bd1e995);
  }

  /** Row of the newest token of the key, or NONE. The second hash is computed only when the first one matches. */
  #newest(hash: number, key: Uint8Array, start: number, length: number): number {
    for (let row = this.#heads[hash & this.#mask]!; row !== NONE; row = this.#next[row]!) {
      if (this.#hash[row] === hash && this.#check[row] === this.#checkOf(key, start, length)) return row;
    }
    return NONE;
  }

  /** Unlinks every token of the key; returns how many. */
  #drop(key: Uint8Array, start: number, length: number, end: LeaseEnd): number {
    const hash = hashBytes(key, start, start + length, this.#seed);
    let dropped = 0;
    let row = this.#heads[hash & this.#mask]!;
    while (row !== NONE) {
      const next = this.#next[row]!;
      if (this.#hash[row] === hash && this.#check[row] === this.#checkOf(key, start, length)) {
        this.#unlink(row, end);
        dropped += 1;
      }
      row = next;
    }
    return dropped;
  }

  #link(row: number): void {
    const bucket = this.#hash[row]! & this.#mask;
    const head = this.#heads[bucket]!;
    this.#previous[row] = NONE;
    this.#next[row] = head;
    if (head !== NONE) this.#previous[head] = row;
    this.#heads[bucket] = row;
    this.live += 1;
  }

  #unlink(row: number, end: LeaseEnd): void {
    const previous = this.#previous[row]!;
    const next = this.#next[row]!;
    if (previous === NONE) this.#heads[this.#hash[row]! & this.#mask] = next;
    else this.#next[previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#counter[row] = 0;
    this.live -= 1;
    if (this.listener !== null) this.listener(this.#hash[row]!, this.#check[row]!, end);
  }
}
