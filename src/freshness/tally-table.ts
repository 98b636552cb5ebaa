/**
 * Counters of one member, beside the store, so that eviction and FLUSHALL cannot set one back to 0 in silence. Bounded instead: when the table is
 * full, new names are refused, and the caller is told. A restart loses all of them.
 */
import { assert } from '../base/assert.ts';

const CAPACITY = 65_536;

/** What `add` says when it did nothing. */
export type TallyRefusal = 'full' | 'overflow';

export interface Tally {
  value: number;
  /** `Infinity`: never. */
  untilMs: number;
}

export class TallyTable {
  readonly stats = { expired: 0, full: 0 };
  readonly #capacity: number;
  readonly #tallies = new Map<string, Tally>();
  /** No counter expires before: a full table that cannot have room is not gone through for every name it refuses. */
  #nextExpiryMs = Number.POSITIVE_INFINITY;

  constructor(capacity = CAPACITY) {
    assert(Number.isInteger(capacity) && capacity > 0, 'a table has room for something');
    this.#capacity = capacity;
  }

  /** Counters in the table, expired ones that nobody has met included. */
  get size(): number {
    return this.#tallies.size;
  }

  /** The new sum, or why nothing was added: the table is full, or the sum would not be a safe integer. */
  add(name: string, by: number, ttlMs: number | null, nowMs: number): number | TallyRefusal {
    const tally = this.#live(name, nowMs);
    const value = (tally === null ? 0 : tally.value) + by;
    if (!Number.isSafeInteger(value)) return 'overflow';
    const untilMs = ttlMs === null ? Number.POSITIVE_INFINITY : nowMs + ttlMs;
    if (untilMs < this.#nextExpiryMs) this.#nextExpiryMs = untilMs;
    if (tally !== null) {
      tally.value = value;
      tally.untilMs = untilMs;
      return value;
    }
    if (this.#tallies.size >= this.#capacity && nowMs >= this.#nextExpiryMs) this.#sweep(nowMs);
    if (this.#tallies.size >= this.#capacity) {
      this.stats.full += 1;
      return 'full';
    }
    this.#tallies.set(name, { value, untilMs });
    return value;
  }

  /** 0 for who is not there. */
  value(name: string, nowMs: number): number {
    return this.#live(name, nowMs)?.value ?? 0;
  }

  has(name: string, nowMs: number): boolean {
    return this.#live(name, nowMs) !== null;
  }

  // -- copies

  /** A copy is told what its owner has. Never refused: what does not fit there was refused there. What has expired the owner forgets without a word. `untilMs` Infinity: for ever. */
  put(name: string, value: number, untilMs: number, nowMs: number): void {
    if (untilMs < this.#nextExpiryMs) this.#nextExpiryMs = untilMs;
    if (this.#tallies.size >= this.#capacity && nowMs >= this.#nextExpiryMs) this.#sweep(nowMs);
    this.#tallies.set(name, { value, untilMs });
  }

  /** All that count still. O(counters). */
  *live(nowMs: number): Generator<readonly [string, Readonly<Tally>]> {
    this.#sweep(nowMs);
    yield* this.#tallies;
  }

  #live(name: string, nowMs: number): Tally | null {
    const tally = this.#tallies.get(name);
    if (tally === undefined || nowMs < tally.untilMs) return tally ?? null;
    this.#tallies.delete(name);
    this.stats.expired += 1;
    return null;
  }

  #sweep(nowMs: number): void {
    this.#nextExpiryMs = Number.POSITIVE_INFINITY;
    for (const [name, { untilMs }] of this.#tallies) {
      if (nowMs < untilMs) {
        if (untilMs < this.#nextExpiryMs) this.#nextExpiryMs = untilMs;
        continue;
      }
      this.#tallies.delete(name);
      this.stats.expired += 1;
    }
  }
}
