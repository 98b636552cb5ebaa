/**
 * How long to wait before the next attempt to connect: exponential back-off with full jitter, uniform in [0, base * 2^attempt] and capped.
 *
 * Full jitter rather than a fixed or "equal" one: when a server restarts, all its clients lose their connection in the same
 * millisecond, and only a wait that may be anything spreads their return evenly (Brooker, "Exponential Backoff And Jitter", AWS 2015).
 */
import type { Random } from '../base/random.ts';

export interface BackOff {
  /** Bound of the first wait. Raising it slows the return after a short interruption. */
  readonly baseMs: number;
  /** Bound of every wait. Raising it lightens the load on a server that stays away. */
  readonly capMs: number;
}

export const DEFAULT_BACK_OFF: BackOff = { baseMs: 50, capMs: 2000 };

/** Milliseconds before attempt number `attempt` (0 = the first retry). */
export function backOffMs(attempt: number, backOff: BackOff, random: Random): number {
  const bound = Math.min(backOff.capMs, backOff.baseMs * 2 ** Math.min(attempt, 30));
  return random.nextFloat() * bound;
}
