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
  /** At the allowed rate, or after the rest that the source asked for, its turn cannot come within its deadline. */
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

export interface ShedFacts {
  readonly maxQueue: number;
  readonly ratePerSecond: number;
  /** The source has asked for a rest ({@link SourceBusyError}). */
  readonly isResting: boolean;
}

/** Why `source` was not asked, for people. */
export function shedSentence(
  code: ShedCode,
  source: string,
  { maxQueue, ratePerSecond, isResting }: ShedFacts,
): string {
  switch (code) {
    case 'GUARD_QUEUE_FULL':
      return `cannot load from ${source}: ${maxQueue} calls wait for it already`;
    case 'GUARD_DEADLINE':
      return `cannot load from ${source}: the turn did not come before the deadline`;
    case 'GUARD_CIRCUIT_OPEN':
      return `cannot load from ${source}: it failed too often of late and is given a rest`;
    case 'GUARD_RATE_LIMITED':
      return isResting
        ? `cannot load from ${source}: it asked not to be called for a while, and the turn cannot come before the deadline`
        : `cannot load from ${source}: at ${ratePerSecond} calls a second the turn cannot come before the deadline`;
    case 'GUARD_CLOSED':
      return `cannot load from ${source}: its guard was closed`;
  }
}

/**
 * What a loader may throw, or give for an id, when its source answered "not now": the guard begins no call to it before `retryAfterMs` have passed (at most a
 * minute), whoever wants one. Who can wait so long waits, the others are shed with `GUARD_RATE_LIMITED`. It is no failure in the breaker's eyes: the source
 * does answer, and has said when it wants to be asked. Code `SOURCE_BUSY`.
 */
export class SourceBusyError extends BreakwaterError {
  readonly retryAfterMs: number;

  constructor(message: string, retryAfterMs: number, options?: { readonly cause?: unknown }) {
    super('SOURCE_BUSY', message, options);
    this.name = 'SourceBusyError';
    this.retryAfterMs = retryAfterMs;
  }
}

/** The source was asked and cut off: `signal` was aborted with this error as its reason. Code `GUARD_TIMEOUT`. */
export class GuardTimeoutError extends BreakwaterError {
  constructor(source: string, afterMs: number) {
    super('GUARD_TIMEOUT', `cannot load from ${source}: it did not answer within ${Math.round(afterMs)} ms`);
    this.name = 'GuardTimeoutError';
  }
}
