/**
 * A rate limit: at most `ratePerSecond` calls a second in the long run, at most `burst` at once. In any stretch of T seconds
 * no more than `burst + ratePerSecond * T` pass.
 *
 * Kept as the generic cell rate algorithm (ITU-T I.371): instead of a fraction of a token that is topped up, one point in
 * time, at which the bucket will be full again. It says the same as the bucket of tokens, but nothing accumulates, so no
 * rounding does either; a counter topped up by `elapsed * rate` drifts, and after a wait of exactly the announced length it
 * may stand at 0.9999999 of a token and wait for ever in steps too small to move the clock.
 *
 *     full at      <= now            : full, `burst` may pass
 *     full at - now = k * interval   : k tokens are gone
 *     a call passes if (full at - now) <= (burst - 1) * interval, and moves `full at` by one interval
 */
import { assert } from '../../base/assert.ts';

/** A clock in ms since 1970 resolves 0.00024 ms; a call this much early is on time. */
const TOLERANCE_MS = 0.01;

export class TokenBucket {
  readonly #intervalMs: number;
  readonly #depthMs: number;
  #fullAtMs = Number.NEGATIVE_INFINITY;

  /**
   * @param ratePerSecond > 0
   * @param burst >= 1: how many may pass at once after a quiet time
   */
  constructor(ratePerSecond: number, burst: number) {
    assert(ratePerSecond > 0 && burst >= 1, 'a token bucket has a rate above 0 and a burst of at least 1');
    this.#intervalMs = 1000 / ratePerSecond;
    this.#depthMs = (burst - 1) * this.#intervalMs;
  }

  /** Milliseconds between two calls at the allowed rate. */
  get intervalMs(): number {
    return this.#intervalMs;
  }

  /** Milliseconds until a call may pass: 0 = now. */
  waitMs(nowMs: number): number {
    const waitMs = this.#fullAtMs - nowMs - this.#depthMs;
    return waitMs > TOLERANCE_MS ? waitMs : 0;
  }

  /** Takes a token if there is one. */
  tryTake(nowMs: number): boolean {
    if (this.waitMs(nowMs) > 0) return false;
    this.#fullAtMs = Math.max(this.#fullAtMs, nowMs) + this.#intervalMs;
    return true;
  }
}
