/**
 * Generations: how a tag or a namespace over any number of entries is invalidated in O(1).
 *
 * The obvious way keeps, for each tag, the set of its keys, and deletes them one by one: memory for every membership, and a
 * pause of seconds for a large tag. The usual other way stores "tag invalidated at" as a wall-clock time and compares: a
 * clock that is an hour off then serves stale values for an hour. Here the member's own version counter is the only clock:
 * every stored entry and every invalidation takes the next number from it, so "stored before the invalidation" is a comparison of
 * two integers that no clock can falsify.
 *
 *   an entry is dead      when its namespace or one of its tags was invalidated at a number above the entry's version
 *   a fill is refused     when its namespace or one of its tags was invalidated at a number above its lease token's
 *
 * The second one covers the tag that becomes known only with the loaded value:
 *
 *   1. A misses `user:42` and is granted a lease at number 100. Whose organisation the user belongs to is not known yet.
 *   2. B moves everybody of `org:7` elsewhere and invalidates the tag `org:7`: number 101. No entry carries the tag.
 *   3. A's load, which read the row before step 2, returns: tags [org:7]. The fill presents its lease of number 100.
 *   4. `org:7` was invalidated at 101 > 100: nothing is stored. (A plain SET with that tag would have taken version 102 and lived.)
 *
 * Names are known by 53 bits of hash (`names.ts`); two names that collide cost misses, never a wrong hit.
 *
 * The table is bounded. When it is full, the name invalidated longest ago is forgotten, and since it is no longer known
 * *which* entries it had killed, the floor rises to its number: everything stored below the floor is dead. A miss is always safe. Raising the floor
 * throws away what is older than the last `capacity` invalidated names, which is little if capacity is large.
 *
 * The cost to a GET is one comparison: the engine asks about an entry only when its version is below `newest`, the number of the last
 * invalidation (`store.invalidationFloor`).
 *
 * Layout: rows in typed arrays, found by hash through chains, in a doubly linked list from the oldest invalidation to the newest.
 *
 *   hash f64 | version f64 | next i32 (chain) | older i32, newer i32 (list)       28 bytes a row + 4 a bucket
 *
 * Invariants (`invariants()`): versions rise along the list; each row is in the chain of its hash; floor <= every version in the table.
 */
import { assert } from '../base/assert.ts';

/** Rows by default: 65,536 different names invalidated before the floor moves. 2.1 MB. */
const DEFAULT_CAPACITY = 65_536;

const NONE = -1;

export class Generations {
  /** Everything stored below this number is dead, whatever its names. 0 at first. */
  floor = 0;
  /** The number of the last invalidation; entries of a higher version are alive without looking. 0 at first. */
  newest = 0;
  /** Names in the table. */
  size = 0;
  /** Names forgotten because the table was full. */
  forgotten = 0;
  /** Invalidations so far. */
  bumps = 0;

  readonly #capacity: number;
  readonly #mask: number;
  readonly #hash: Float64Array;
  readonly #version: Float64Array;
  readonly #next: Int32Array;
  readonly #older: Int32Array;
  readonly #newer: Int32Array;
  readonly #heads: Int32Array;
  #oldestRow = NONE;
  #newestRow = NONE;

  /** @param capacity names remembered, a power of two; 32 bytes each. */
  constructor(capacity = DEFAULT_CAPACITY) {
    assert(capacity >= 1 && (capacity & (capacity - 1)) === 0, 'the table of generations has a power of two of rows');
    this.#capacity = capacity;
    this.#mask = capacity - 1;
    this.#hash = new Float64Array(capacity);
    this.#version = new Float64Array(capacity);
    this.#next = new Int32Array(capacity);
    this.#older = new Int32Array(capacity);
    this.#newer = new Int32Array(capacity);
    this.#heads = new Int32Array(capacity).fill(NONE);
  }

  /** The name was invalidated at `version`, which must be above every number seen before. O(1). */
  invalidate(hash: number, version: number): void {
    assert(version > this.newest, 'invalidations are numbered upwards');
    this.newest = version;
    this.bumps += 1;
    let row = this.#find(hash);
    if (row !== NONE) {
      this.#leaveList(row);
    } else {
      row = this.size < this.#capacity ? this.size++ : this.#forgetOldest();
      const bucket = bucketOf(hash, this.#mask);
      this.#hash[row] = hash;
      this.#next[row] = this.#heads[bucket]!;
      this.#heads[bucket] = row;
    }
    this.#version[row] = version;
    this.#older[row] = this.#newestRow;
    this.#newer[row] = NONE;
    if (this.#newestRow === NONE) this.#oldestRow = row;
    else this.#newer[this.#newestRow] = row;
    this.#newestRow = row;
  }

  /** Everything stored so far is dead: as if every name were invalidated at `version`. Empties the table. */
  invalidateAll(version: number): void {
    assert(version > this.newest, 'invalidations are numbered upwards');
    this.newest = version;
    this.bumps += 1;
    this.floor = version;
    this.size = 0;
    this.#heads.fill(NONE);
    this.#oldestRow = NONE;
    this.#newestRow = NONE;
  }

  /**
   * Was the name invalidated after `version`? True as well when it may have been (below the floor). Asked of an entry with
   * its version, of a fill with its token's.
   */
  invalidatedAfter(hash: number, version: number): boolean {
    if (version < this.floor) return true;
    if (version >= this.newest) return false;
    const row = this.#find(hash);
    return row !== NONE && this.#version[row]! > version;
  }

  /** Bytes of the typed arrays. */
  get sizeBytes(): number {
    return this.#capacity * 32;
  }

  /** Checks the whole structure. O(capacity). */
  invariants(): void {
    let listed = 0;
    let last = this.floor - 1;
    for (let row = this.#oldestRow; row !== NONE; row = this.#newer[row]!) {
      assert(this.#version[row]! > last, 'versions rise along the list');
      last = this.#version[row]!;
      assert(this.#find(this.#hash[row]!) === row, 'a listed name is found by its hash');
      listed += 1;
      assert(listed <= this.size, 'the list has no loop');
    }
    assert(listed === this.size, 'every row is listed');
    assert(
      this.size === 0 || last === this.newest || this.floor === this.newest,
      'the newest row is the last invalidation',
    );
    assert(this.floor <= this.newest, 'the floor is an invalidation of the past');
  }

  #find(hash: number): number {
    let row = this.#heads[bucketOf(hash, this.#mask)]!;
    while (row !== NONE && this.#hash[row] !== hash) row = this.#next[row]!;
    return row;
  }

  #leaveList(row: number): void {
    const older = this.#older[row]!;
    const newer = this.#newer[row]!;
    if (older === NONE) this.#oldestRow = newer;
    else this.#newer[older] = newer;
    if (newer === NONE) this.#newestRow = older;
    else this.#older[newer] = older;
  }

  /** Frees the row invalidated longest ago and raises the floor to its number: an entry stored before it may have been its victim. */
  #forgetOldest(): number {
    const row = this.#oldestRow;
    assert(row !== NONE, 'a full table has an oldest row');
    this.floor = this.#version[row]!;
    this.forgotten += 1;
    this.#leaveList(row);
    const bucket = bucketOf(this.#hash[row]!, this.#mask);
    if (this.#heads[bucket] === row) {
      this.#heads[bucket] = this.#next[row]!;
    } else {
      let before = this.#heads[bucket]!;
      while (this.#next[before] !== row) before = this.#next[before]!;
      this.#next[before] = this.#next[row]!;
    }
    return row;
  }
}

/** The low bits of a 53-bit hash. */
function bucketOf(hash: number, mask: number): number {
  return (hash >>> 0) & mask;
}
