/**
 * Locks and tallies of one member: small tables beside the store, so that eviction, FLUSHALL and a full memory cannot take a lock from its holder
 * or a count from its counter. Bounded instead: when a table is full, new names are refused, and the caller is told.
 *
 * A lock is a name, an owner (whoever knows the owner's id), an end, and a *fencing token*: a number larger than any that was granted before, for any
 * name. Tokens are counted from the clock's microseconds, so that they go on growing across a restart that lost the table, as long as the clock was not set
 * back by more than the process was away. What a restart does lose is who held what: a lock promises one holder at a time only while its table lives. That is
 * why the token is there (Kleppmann, "How to do distributed locking", 2016): the resource that is written to refuses a token below one it has seen.
 *
 * Costs: one Map lookup a call. Expired locks are removed when they are met, and all of them when the table is full.
 */
import { assert } from '../base/assert.ts';

export interface LockTableOptions {
  /** Locks held at once. Default 65,536, about 300 bytes each. */
  readonly capacity?: number;
  /** Another source of tokens than the clock: larger than `last`, 0 = there are none left. */
  readonly nextToken?: (last: number) => number;
}

/** A lock as it is told to a copy. */
export interface HeldLock {
  readonly owner: string;
  readonly token: number;
  readonly untilMs: number;
}

/** What `acquire` says: a token above 0; {@link LOCKS_FULL}; or below 0, and then the holder has at most so many milliseconds left. */
export type Acquired = number;
export const LOCKS_FULL = 0;

const CAPACITY = 65_536;
const MICROS = 1_000;

interface Held {
  readonly owner: string;
  readonly token: number;
  untilMs: number;
}

export class LockTable {
  /** Called when a lock is given back: who waits for it may ask. */
  listener: ((name: string) => void) | null = null;
  readonly stats = { granted: 0, refused: 0, released: 0, expired: 0, full: 0 };
  readonly #capacity: number;
  readonly #held = new Map<string, Held>();
  readonly #nextToken: ((last: number) => number) | undefined;
  /** The largest token that was granted, or heard of. */
  lastToken = 0;

  constructor({ capacity = CAPACITY, nextToken }: LockTableOptions = {}) {
    assert(Number.isInteger(capacity) && capacity > 0, 'a table has room for something');
    this.#capacity = capacity;
    this.#nextToken = nextToken;
  }

  /** Locks in the table, expired ones that nobody has met included. */
  get size(): number {
    return this.#held.size;
  }

  /** The same owner again: its token, and the lock from now on. So a request whose reply was lost may be sent again. */
  acquire(name: string, owner: string, ttlMs: number, nowMs: number): Acquired {
    const held = this.#live(name, nowMs);
    if (held !== null) {
      if (held.owner !== owner) {
        this.stats.refused += 1;
        return -Math.max(1, Math.ceil(held.untilMs - nowMs));
      }
      held.untilMs = nowMs + ttlMs;
      return held.token;
    }
    if (this.#held.size >= this.#capacity) this.#sweep(nowMs);
    if (this.#held.size >= this.#capacity) {
      this.stats.full += 1;
      return LOCKS_FULL;
    }
    const token =
      this.#nextToken === undefined
        ? Math.max(this.lastToken + 1, Math.floor(nowMs) * MICROS)
        : this.#nextToken(this.lastToken);
    if (token === 0) {
      this.stats.full += 1;
      return LOCKS_FULL;
    }
    this.lastToken = token;
    this.stats.granted += 1;
    this.#held.set(name, { owner, token, untilMs: nowMs + ttlMs });
    return token;
  }

  /** False: it is not this owner's any more. */
  renew(name: string, owner: string, ttlMs: number, nowMs: number): boolean {
    const held = this.#live(name, nowMs);
    if (held === null || held.owner !== owner) return false;
    held.untilMs = nowMs + ttlMs;
    return true;
  }

  release(name: string, owner: string, nowMs: number): boolean {
    const held = this.#live(name, nowMs);
    if (held === null || held.owner !== owner) return false;
    this.#held.delete(name);
    this.stats.released += 1;
    this.listener?.(name);
    return true;
  }

  // -- copies

  /** Who has it, if anybody, and until when. */
  held(name: string, nowMs: number): HeldLock | null {
    return this.#live(name, nowMs);
  }

  /** A copy is told what its owner has. Never refused: what does not fit there was refused there. What has expired the owner forgets without a word. */
  put(name: string, owner: string, token: number, untilMs: number, nowMs: number): void {
    if (token > this.lastToken) this.lastToken = token;
    if (this.#held.size >= this.#capacity) this.#sweep(nowMs);
    this.#held.set(name, { owner, token, untilMs });
  }

  drop(name: string): void {
    this.#held.delete(name);
  }

  /** All that are held. O(locks). */
  *live(nowMs: number): Generator<readonly [string, HeldLock]> {
    this.#sweep(nowMs);
    yield* this.#held;
  }

  #live(name: string, nowMs: number): Held | null {
    const held = this.#held.get(name);
    if (held === undefined) return null;
    if (nowMs < held.untilMs) return held;
    this.#held.delete(name);
    this.stats.expired += 1;
    return null;
  }

  #sweep(nowMs: number): void {
    for (const [name, { untilMs }] of this.#held) {
      if (nowMs < untilMs) continue;
      this.#held.delete(name);
      this.stats.expired += 1;
    }
  }
}
