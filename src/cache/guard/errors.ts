/**
 * The two ways in which a guard says no, kept apart because they mean different things to whoever decides what to do next:
 *
 *   GuardShedError     the source was *not asked*. Nothing happened there; asking again later is harmless.
 *   GuardTimeoutError  the source *was asked* and did not answer in time. It may still be working on it.
 *
 * Both lead a cache to the stale value if there is one that may be served.
 */
import { BreakwaterError } from '../../base/errors.ts';

export type ShedCode =
  /** So many wait already that another one is not let in (or was pushed out by one that matters more). */
  | 'GUARD_QUEUE_FULL'
  /** Its turn did not come within its deadline. */
  | 'GUARD_DEADLINE'
  /** The source failed too often of late. */
  | 'GUARD_CIRCUIT_OPEN'
  /** At the allowed rate its turn cannot come within its deadline. */
  | 'GUARD_RATE_LIMITED'
  /** The guard was closed. */
  | 'GUARD_CLOSED';

/** The call was refused before the source was asked. */
export class GuardShedError extends BreakwaterError {
  declare readonly code: ShedCode;
  /** When asking again makes sense, in ms from now, as far as the guard can tell. */
  readonly retryAfterMs: number | null;

  constructor(code: ShedCode, message: string, retryAfterMs: number | null = null) {
    super(code, message);
    this.name = 'GuardShedError';
    this.retryAfterMs = retryAfterMs;
  }
}

/** Why `source` was not asked, for people. */
export function shedSentence(code: ShedCode, source: string, maxQueue: number, ratePerSecond: number): string {
  switch (code) {
    case 'GUARD_QUEUE_FULL':
      return `cannot load from ${source}: ${maxQueue} calls wait for it already`;
    case 'GUARD_DEADLINE':
      return `cannot load from ${source}: the turn did not come before the deadline`;
    case 'GUARD_CIRCUIT_OPEN':
      return `cannot load from ${source}: it failed too often of late and is given a rest`;
    case 'GUARD_RATE_LIMITED':
      return `cannot load from ${source}: at ${ratePerSecond} calls a second the turn cannot come before the deadline`;
    case 'GUARD_CLOSED':
      return `cannot load from ${source}: its guard was closed`;
  }
}

/** The source was asked and cut off: `signal` was aborted with this error as its reason. Code `GUARD_TIMEOUT`. */
export class GuardTimeoutError extends BreakwaterError {
  constructor(source: string, afterMs: number) {
    super('GUARD_TIMEOUT', `cannot load from ${source}: it did not answer within ${Math.round(afterMs)} ms`);
    this.name = 'GuardTimeoutError';
  }
}
