/**
 * Failures remembered by key. A loader that throws for `user:42` will most likely throw again a millisecond later, and a hot
 * key has a caller every millisecond: without a memory each of them is another failing query. So failures in a row open a *window*
 * for their key; who asks within it gets the remembered error, and the source is not asked. Each further failure doubles the
 * window. The circuit breaker does not do this: one poisonous row among thousands of good ones never moves its share.
 *
 *     fail  fail        fail               fail
 *      |     |---w---|   |------2w------|   |------------4w------------|  ...up to maxMs
 *            ^ `after` (2): one failure alone is often chance (a cut connection, a deadline), and whoever asks
 *              next tries again at once. Nobody's key is blocked by one query that hung.
 *
 * The table is bounded, because keys come from outside: when the younger of two halves is full, the elder is dropped as a whole
 * and the younger becomes the elder. O(1), no walk, no list links; the table holds the last `maxKeys / 2` failing keys for certain and at most `maxKeys`.
 * A forgotten key costs one more failing call, which breaker, rate and cap still bound.
 *
 * Pure: time is an argument.
 */
import type { Random } from '../../base/random.ts';

export interface BackoffOptions {
  /** How many failures in a row open the first window. 1 = the first one does. Default 2. */
  readonly after: number;
  /** Length of the first window, give or take a fifth. Default 500 ms. */
  readonly baseMs: number;
  /** The longest window. Default 30 s. */
  readonly maxMs: number;
  /** How many failing keys are remembered at most. Default 10,000. */
  readonly maxKeys: number;
}

export const DEFAULT_BACKOFF: BackoffOptions = { after: 2, baseMs: 500, maxMs: 30_000, maxKeys: 10_000 };

const JITTER = 0.2;

/** What a key's last load threw. An object of its own, since anything can be thrown, `undefined` included. */
export interface RememberedFailure {
  readonly error: unknown;
  /** Failures in a row. */
  readonly failures: number;
  /** The key is not loaded again before. */
  readonly untilMs: number;
}

export class BackoffTable {
  readonly #options: BackoffOptions;
  readonly #random: Random;
  #young = new Map<string, RememberedFailure>();
  #old = new Map<string, RememberedFailure>();

  constructor(options: Partial<BackoffOptions>, random: Random) {
    this.#options = { ...DEFAULT_BACKOFF, ...options };
    this.#random = random;
  }

  /** How many keys are remembered (some of them in both halves). */
  get size(): number {
    return this.#young.size + this.#old.size;
  }

  /** The failure that stands for `key` at `nowMs`, or null when it may be loaded. */
  check(key: string, nowMs: number): RememberedFailure | null {
    const found = this.#find(key);
    return found !== undefined && nowMs < found.untilMs ? found : null;
  }

  /** Remembers that loading `key` failed, and opens its window. */
  failed(key: string, error: unknown, nowMs: number): void {
    const before = this.#find(key);
    const { after, baseMs, maxMs, maxKeys } = this.#options;
    // Quiet for the longest window since the last one ended: a new story, not the next chapter.
    const inRow = before !== undefined && nowMs < before.untilMs + maxMs ? before.failures : 0;
    const doublings = inRow + 1 - after;
    const windowMs = doublings < 0 ? 0 : Math.min(maxMs, baseMs * 2 ** Math.min(doublings, 30));
    const jitter = 1 + JITTER * (2 * this.#random.nextFloat() - 1);
    if (this.#young.size >= maxKeys / 2 && !this.#young.has(key)) {
      this.#old = this.#young;
      this.#young = new Map();
    }
    this.#young.set(key, { error, failures: inRow + 1, untilMs: nowMs + windowMs * jitter });
  }

  /** Loading `key` worked: nothing is held against it. */
  succeeded(key: string): void {
    if (this.size === 0) return;
    this.#young.delete(key);
    this.#old.delete(key);
  }

  #find(key: string): RememberedFailure | undefined {
    return this.#young.get(key) ?? this.#old.get(key);
  }
}
