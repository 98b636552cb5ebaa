/**
 * The face of the engine: one member's memory, as commands and the embedded store see it.
 *
 * Two things implement it: `Store` (store.ts), off the JavaScript heap and bounded, and the model that it is tested
 * against, `MapStore` (test/model/map-store.ts), over a plain Map and unbounded.
 *
 * Conventions
 * - A key or a value is `(bytes, start, length)`: no subarray, no string, nothing allocated per request.
 * - Time is an argument: `nowMs`, milliseconds since the epoch (a fraction is ignored). It must not go backwards.
 * - A *ref* is a non-zero integer (it may be negative) that names a live entry. It is valid until the next call of
 *   `set`, `delete`, `setExpiry`, `clear` or `tick`. `find` and `peek` of other keys leave it valid.
 * - Four removals are never mixed: evict (for room), expire (by time), invalidate (dead by the liveness check), delete.
 */
import type { Random } from '../base/random.ts';

/** Who goes when memory is full. See docs/engine.md for what each one does. */
export type EvictionPolicy = 'tinylfu' | 'lru' | 'lfu' | 'fifo' | 'random' | 'ttl' | 'noeviction';

/** Why an entry left that nobody deleted or overwrote. */
export type RemovalCause = 'evict' | 'expire' | 'invalidate';

export interface StoreOptions {
  /** Everything the store may hold, all its structures counted, in bytes. At least {@link MIN_MEMORY_BYTES}. */
  readonly memoryBytes: number;
  readonly eviction: EvictionPolicy;
  /** Secret 32-bit seed of the table's hash, so that nobody can choose keys that collide. */
  readonly seed: number;
  /** 1 to 65,535; default 512. A longer key is TOO_LARGE. */
  readonly maxKeyBytes?: number;
  /** Up to 268,435,455; default 8 MiB. A longer value is TOO_LARGE. */
  readonly maxValueBytes?: number;
  /** Called for each entry evicted, expired or found dead. Must not call the store. */
  readonly onRemove?: (cause: RemovalCause) => void;
}

/** Hashes of an entry's tags: `hashes[0 .. count)`, each an integer in [0, 2^53). */
export interface TagList {
  readonly count: number;
  readonly hashes: Float64Array;
}

/**
 * The version that the *source* gave a value (a row version, an LSN): an integer in [0, 2^64), as two uint32. The store keeps it with the
 * entry and judges nothing by it; `freshness/source-versions.ts` does.
 */
export interface SourceVersion {
  readonly high: number;
  readonly low: number;
}

/** How an entry with a source version left: `replaced` by a write without one, or as in {@link RemovalCause}, or deleted. */
export type SourceGoneCause = RemovalCause | 'delete' | 'replace';

/** Answers of {@link StoreFace.set}. */
export const STORED = 1;
/** Memory is full under `noeviction`, or the entry is larger than this memory can ever hold. What was there stays. */
export const NO_ROOM = 0;
/** Key or value above the configured limit. What was there stays. */
export const TOO_LARGE = -1;

/** Most tags one entry may carry. More are TOO_LARGE. */
export const MAX_TAGS = 255;

/** Plain numbers; a fresh object at each call. Byte figures are exact, not estimates. */
export interface StoreStats {
  readonly hits: number;
  readonly misses: number;
  /** Entries written: new or replaced. */
  readonly stores: number;
  readonly deletions: number;
  readonly evictions: number;
  readonly expirations: number;
  /** Entries found dead by the liveness check and removed. */
  readonly invalidations: number;
  /** Times `set` answered NO_ROOM. */
  readonly refusals: number;
  /** Live records moved to make room. */
  readonly moves: number;
  /** Entries, including those expired or dead but not yet removed. */
  readonly entries: number;
  /** The configured bound. */
  readonly memoryBytes: number;
  /** What all structures hold now; never above `memoryBytes`. The sum of the parts below. */
  readonly usedBytes: number;
  readonly logBytes: number;
  readonly jumboBytes: number;
  readonly tableBytes: number;
  readonly overflowBytes: number;
  readonly sketchBytes: number;
  /** Timer heads, segment headers, directories: what does not depend on the entries. */
  readonly fixedBytes: number;
  /** Bytes of live entries: headers, keys, values. */
  readonly liveBytes: number;
  readonly segmentBytes: number;
  readonly segments: number;
  readonly freeSegments: number;
}

export interface StoreFace {
  // -- lookups

  /** The entry of a key, or 0 when absent, expired or dead. Counts a hit or a miss and tells the policy. O(1). */
  find(key: Uint8Array, start: number, length: number, nowMs: number): number;
  /** As {@link find}, but neither counts, nor touches recency or frequency, nor removes what has expired. */
  peek(key: Uint8Array, start: number, length: number, nowMs: number): number;
  valueLength(ref: number): number;
  keyLength(ref: number): number;
  /** Copies the whole value to `target[targetStart ..]`. */
  copyValue(ref: number, target: Uint8Array, targetStart: number): void;
  /** Copies bytes `[from, to)` of the value; both within [0, valueLength]. */
  copyValueRange(ref: number, from: number, to: number, target: Uint8Array, targetStart: number): void;
  copyKey(ref: number, target: Uint8Array, targetStart: number): void;
  /** When the entry expires, integer milliseconds since the epoch; 0 = never. */
  expiresAtMs(ref: number): number;
  /** The stamp of the write that stored it: below 2^48, unique and increasing over the whole member. */
  version(ref: number): number;
  /** The 8 bits that the caller kept with the entry. */
  flags(ref: number): number;
  tagCount(ref: number): number;
  tagHash(ref: number, index: number): number;
  /** The source version that it was stored with, in `into`; false when it has none. */
  readSource(ref: number, into: { high: number; low: number }): boolean;

  // -- writes

  /**
   * Stores an entry, replacing what the key had. The value may not lie in the store's own memory.
   *
   * @param expiresAtMs 0 = never. A moment not after `nowMs` stores an entry that is expired at once.
   * @param flags 8 bits kept with the entry, default 0.
   * @param tags copied; default none.
   * @param source copied; default none. 12 bytes an entry that has one and no tags, else 8.
   * @returns {@link STORED}, {@link NO_ROOM} or {@link TOO_LARGE}
   */
  set(
    key: Uint8Array,
    keyStart: number,
    keyLength: number,
    value: Uint8Array,
    valueStart: number,
    valueLength: number,
    expiresAtMs: number,
    nowMs: number,
    flags?: number,
    tags?: TagList | null,
    source?: SourceVersion | null,
  ): number;
  /** Removes an entry; true when a live one was there. */
  delete(key: Uint8Array, start: number, length: number, nowMs: number): boolean;
  /** Removes the entry of a key if it has expired or is dead; true when it was. */
  reap(key: Uint8Array, start: number, length: number, nowMs: number): boolean;
  /** Changes when an entry expires (0 = never), keeping its version. The ref is invalid afterwards; false = no room, unchanged. */
  setExpiry(ref: number, expiresAtMs: number): boolean;

  // -- the whole store

  /** Removes everything; counters and versions go on. */
  clear(nowMs: number): void;
  /**
   * Visits the live entries of at least `budgetBuckets` buckets from `cursor` on (start with 0) and returns the next cursor,
   * 0 when done. An entry present throughout is visited at least once, even while the table grows; some may be visited
   * twice. `visit` must not write to the store.
   */
  scan(cursor: number, budgetBuckets: number, nowMs: number, visit: (ref: number) => void): number;
  /** A live entry, picked nearly uniformly; 0 when there is none. */
  randomRef(random: Random, nowMs: number): number;
  /** Entries, including those expired or dead but not yet removed. */
  readonly size: number;
  /**
   * Background work, bounded by `budgetEntries` entries touched: removes expired and dead entries.
   * @returns milliseconds until it wants to be called again; 0 = at once, there is more to do.
   */
  tick(nowMs: number, budgetEntries: number): number;

  // -- versions and invalidation

  /** Takes the next number of the member-wide counter that stamps writes. */
  nextVersion(): number;
  /**
   * Entries with a version below this are asked about by the liveness check. 0 at the start: nothing is asked. Raise it to
   * the number of the latest invalidation, after noting that invalidation where the check looks.
   */
  invalidationFloor: number;
  /** `isDead(ref)` true = treated as absent and reclaimed. It must only read. */
  setLiveness(isDead: (ref: number) => boolean): void;
  /**
   * `listener` is told of each entry with a source version that leaves, while it can still be read, unless another write with a source
   * version replaces it or everything is cleared. It must only read.
   */
  onSourceGone(listener: (ref: number, cause: SourceGoneCause, nowMs: number) => void): void;

  /** A fresh snapshot of the counters and the exact accounting. */
  readonly stats: StoreStats;
  /** Checks the whole structure; throws AssertionError. O(entries): for tests. */
  invariants(): void;
}
