/**
 * What a plain SET may do: one that presents no lease, from redis-cli or from a library of another language that does cache-aside.
 *
 *   1. A misses `user:42` and reads the old row.   2. B updates the row and deletes `user:42`.   3. A sends SET user:42 with the old row.
 *
 * A lease would make step 3 void; a plain SET carries nothing to be judged by. What can be known is that the key was invalidated a moment ago. By
 * namespace:
 *
 *   write     it is stored (Redis's meaning; the default)
 *   holdoff   for {@link HOLDOFF_MS} after an invalidation of its key or namespace it is not stored: a loader that is not slower than that cannot
 *             put the old row back. (memcached proxies know this as delete with hold-off.) It narrows the race, it does not close it.
 *   refuse    never stored: only leased fills and writes by BW.* are. Closes it.
 *
 * Tags are not held off: a plain SET has none, so which of them it would have had is not known.
 *
 * What was invalidated lately is a ring of (key hash, until), found through chains. All hold-offs are equally long, so the ring is in the order
 * of their ends; when it is full the oldest is forgotten and *everything* is held off until its end: a refused SET is a miss.
 * Layout: hash f64 | until f64 | next i32, previous i32, head i32     28 bytes a row, made only when some namespace says holdoff.
 * Costs: O(1); nothing at all where all is `write`. Invariants: used rows are exactly those in chains.
 */
import { assert } from '../base/assert.ts';
import { keyHash, namespaceHash, namespaceOfKey } from './names.ts';

export type PlainSet = 'write' | 'holdoff' | 'refuse';

/** Longer than a sane load and its way back. */
export const HOLDOFF_MS = 2000;
const CAPACITY = 65_536;
const NONE = -1;

/** Answers of {@link PlainSets.judge}. */
export const WRITE = 1;
export const HELD_OFF = 2;
export const REFUSED = 3;

interface Namespace {
  readonly mode: PlainSet;
  /** Everything in it is held off until then. */
  untilMs: number;
}

export class PlainSets {
  /** False when everything is `write`: nothing is noted and nothing asked. */
  readonly isActive: boolean;
  heldOff = 0;
  refused = 0;
  readonly #byHash = new Map<number, Namespace>();
  readonly #others: Namespace;
  /** Namespaces under `*` that were invalidated: held off together. */
  #allUntilMs = Number.NEGATIVE_INFINITY;
  readonly #capacity: number;
  readonly #hash: Float64Array;
  readonly #untilMs: Float64Array;
  readonly #next: Int32Array;
  readonly #previous: Int32Array;
  readonly #heads: Int32Array;
  #turn = 0;

  /** @param modes by namespace; `*` = every other. @param capacity keys held off at once, a power of two */
  constructor(modes: Readonly<Record<string, PlainSet>>, capacity = CAPACITY) {
    assert(capacity >= 1 && (capacity & (capacity - 1)) === 0, 'the table of hold-offs has a power of two of rows');
    const encoder = new TextEncoder();
    for (const [name, mode] of Object.entries(modes)) {
      if (name === '*') continue;
      const bytes = encoder.encode(name);
      this.#byHash.set(namespaceHash(bytes, 0, bytes.length), { mode, untilMs: Number.NEGATIVE_INFINITY });
    }
    this.#others = { mode: modes['*'] ?? 'write', untilMs: Number.NEGATIVE_INFINITY };
    this.isActive = Object.values(modes).some((mode) => mode !== 'write');
    this.#capacity = Object.values(modes).includes('holdoff') ? capacity : 0;
    this.#hash = new Float64Array(this.#capacity);
    this.#untilMs = new Float64Array(this.#capacity);
    this.#next = new Int32Array(this.#capacity).fill(NONE);
    this.#previous = new Int32Array(this.#capacity).fill(NONE);
    this.#heads = new Int32Array(this.#capacity).fill(NONE);
  }

  /** May a plain SET of this key be stored now? */
  judge(key: Uint8Array, start: number, length: number, nowMs: number): number {
    if (!this.isActive) return WRITE;
    const { mode, untilMs } = this.#namespaceOf(key, start, length);
    if (mode === 'write') return WRITE;
    if (mode === 'refuse') {
      this.refused += 1;
      return REFUSED;
    }
    if (nowMs >= untilMs && nowMs >= this.#allUntilMs && nowMs >= this.#keyUntilMs(keyHash(key, start, length)))
      return WRITE;
    this.heldOff += 1;
    return HELD_OFF;
  }

  /** The key was deleted or invalidated. */
  noteKey(key: Uint8Array, start: number, length: number, nowMs: number): void {
    if (this.#capacity === 0 || this.#namespaceOf(key, start, length).mode !== 'holdoff') return;
    const row = this.#turn;
    this.#turn = (row + 1) & (this.#capacity - 1);
    const untilMs = this.#untilMs[row]!;
    if (untilMs !== 0) {
      if (untilMs > nowMs) this.#allUntilMs = Math.max(this.#allUntilMs, untilMs);
      this.#unlink(row);
    }
    const hash = keyHash(key, start, length);
    const bucket = this.#bucketOf(hash);
    const head = this.#heads[bucket]!;
    this.#hash[row] = hash;
    this.#untilMs[row] = nowMs + HOLDOFF_MS;
    this.#next[row] = head;
    this.#previous[row] = NONE;
    if (head !== NONE) this.#previous[head] = row;
    this.#heads[bucket] = row;
  }

  /** A namespace was invalidated, by the hash of its name. Under `*` all of those that it stands for are held off. */
  noteNamespace(hash: number, nowMs: number): void {
    const namespace = this.#byHash.get(hash) ?? this.#others;
    namespace.untilMs = nowMs + HOLDOFF_MS;
  }

  /** Everything was cleared. */
  noteAll(nowMs: number): void {
    this.#allUntilMs = nowMs + HOLDOFF_MS;
  }

  get sizeBytes(): number {
    return this.#capacity * 28;
  }

  /** Checks the whole structure. O(capacity). */
  invariants(): void {
    let chained = 0;
    for (let bucket = 0; bucket < this.#capacity; bucket += 1) {
      let before = NONE;
      for (let row = this.#heads[bucket]!; row !== NONE; row = this.#next[row]!) {
        assert(this.#untilMs[row] !== 0 && this.#previous[row] === before, 'a chained hold-off is in use');
        assert(this.#bucketOf(this.#hash[row]!) === bucket, 'a hold-off hangs in the bucket of its hash');
        before = row;
        chained += 1;
        assert(chained <= this.#capacity, 'a chain has no loop');
      }
    }
    const used = this.#untilMs.reduce((sum, untilMs) => sum + (untilMs === 0 ? 0 : 1), 0);
    assert(used === chained, 'every hold-off in use is chained');
  }

  #namespaceOf(key: Uint8Array, start: number, length: number): Namespace {
    if (this.#byHash.size === 0) return this.#others;
    return this.#byHash.get(namespaceOfKey(key, start, length)) ?? this.#others;
  }

  #keyUntilMs(hash: number): number {
    // The newest note of a key stands first in its chain.
    for (let row = this.#heads[this.#bucketOf(hash)]!; row !== NONE; row = this.#next[row]!) {
      if (this.#hash[row] === hash) return this.#untilMs[row]!;
    }
    return Number.NEGATIVE_INFINITY;
  }

  #bucketOf(hash: number): number {
    return (hash >>> 0) & (this.#capacity - 1);
  }

  #unlink(row: number): void {
    const previous = this.#previous[row]!;
    const next = this.#next[row]!;
    if (previous === NONE) this.#heads[this.#bucketOf(this.#hash[row]!)] = next;
    else this.#next[previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#untilMs[row] = 0;
  }
}
