/** What a guard counts. Plain numbers; a metrics exporter reads them when it is scraped. */
import type { BreakerState } from './breaker.ts';
import type { ShedCode } from './errors.ts';

/** Counts since the start, and how things stand. */
export interface GuardStats {
  readonly breaker: BreakerState | 'none';
  readonly breakerOpenings: number;
  /** Slots held, including by calls that were cut off and have not settled. At most `concurrency`. */
  readonly running: number;
  readonly lingering: number;
  readonly abandoned: number;
  readonly queuedForeground: number;
  readonly queuedBackground: number;
  readonly backoffKeys: number;
  /** Most calls that were at the source at once. */
  readonly peakAtSource: number;
  readonly started: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly timedOut: number;
  /** Aborted by their caller, waiting or running. */
  readonly cancelled: number;
  /** Answered by a remembered error. */
  readonly backedOff: number;
  readonly shed: Readonly<Record<ShedCode, number>>;
}

/** The part of {@link GuardStats} that only counts up. */
export interface GuardCounters {
  peakAtSource: number;
  started: number;
  succeeded: number;
  failed: number;
  timedOut: number;
  cancelled: number;
  backedOff: number;
  readonly shed: Record<ShedCode, number>;
}

export function newCounters(): GuardCounters {
  return {
    peakAtSource: 0,
    started: 0,
    succeeded: 0,
    failed: 0,
    timedOut: 0,
    cancelled: 0,
    backedOff: 0,
    shed: { GUARD_QUEUE_FULL: 0, GUARD_DEADLINE: 0, GUARD_CIRCUIT_OPEN: 0, GUARD_RATE_LIMITED: 0, GUARD_CLOSED: 0 },
  };
}
