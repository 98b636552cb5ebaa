/**
 * The times of the protocol, and what must hold between them.
 *
 *   heartbeat sent ---------- F ----------> the owner serves no more (its own clock, from its own sending)
 *        heard  ------------------- T -------------------> a voter may grant its ranges to another (the voter's clock, from its hearing)
 *                                  |<---- T - F: what wrong clocks and stalls may eat ---->|
 *
 * Two kinds of waiting, told apart everywhere. What was *granted to us* for a time (the serve lease, a read lease, a majority's answers) ends by the clock as it
 * is: a clock that jumps ahead ends it early, which is safe. What we must *wait out* (the silence of an owner, the read lease of another one) is counted by a
 * clock that does not count stalls: when a machine stood still, or its clock jumped, for a second, that second proves nothing about anybody else. `core.ts` keeps
 * both readings: `nowMs` and `patientMs`.
 */
import { BreakwaterError } from '../base/errors.ts';

export interface Timing {
  /** Between two heartbeats to a voter. Default 200 ms. */
  readonly heartbeatMs: number;
  /** F: an owner serves this long after the sending of a heartbeat that a majority acknowledged. Default 1000 ms. */
  readonly leaseMs: number;
  /** T: a voter grants an owner's ranges after this much silence. Default 1500 ms, at least 1.4 F. */
  readonly takeoverMs: number;
  /** A copy that has not acknowledged an effect for so long is to be removed from the in-sync set. Default 300 ms. */
  readonly ackMs: number;
  /** A copy serves reads this long after it asked. Default 400 ms; at most (T - F) * 0.93, so that a takeover need not wait for it. */
  readonly readLeaseMs: number;
  /** The claims of several candidates are staggered by this. Default 250 ms. */
  readonly staggerMs: number;
  /** A write that its copies have not acknowledged by then is answered: not acknowledged. Default 2000 ms. */
  readonly writeMs: number;
  /** A copy's place is given to another member when it was silent this long. Default 30,000 ms. */
  readonly replaceMs: number;
  /** A machine that was not called for this long has stalled. Default 120 ms. */
  readonly stallMs: number;
  /** The longest time between two ticks. Default 50 ms. */
  readonly tickMs: number;
}

export const DEFAULT_TIMING: Timing = {
  heartbeatMs: 200,
  leaseMs: 1000,
  takeoverMs: 1500,
  ackMs: 300,
  readLeaseMs: 400,
  staggerMs: 250,
  writeMs: 2000,
  replaceMs: 30_000,
  stallMs: 120,
  tickMs: 50,
};

/** Clocks run at most 1 % wrong against each other and what is waited out for others is waited out this much longer. */
export const DRIFT = 1.05;

/** @throws BreakwaterError `TIMING_INVALID` */
export function checkTiming(timing: Timing): void {
  for (const [name, value] of Object.entries(timing) as [string, number][]) {
    if (!(Number.isFinite(value) && value > 0)) refuse(`${name} must be above 0`, value);
  }
  const { heartbeatMs, leaseMs, takeoverMs, readLeaseMs, stallMs, tickMs } = timing;
  if (takeoverMs < 1.4 * leaseMs)
    refuse('takeoverMs must be at least 1.4 times leaseMs, or two members may serve one range', takeoverMs);
  if (leaseMs < 2.5 * heartbeatMs)
    refuse('leaseMs must be at least 2.5 times heartbeatMs, or one lost heartbeat stops the owner', leaseMs);
  if (readLeaseMs > 0.93 * (takeoverMs - leaseMs))
    refuse('readLeaseMs must be at most 0.93 of takeoverMs - leaseMs', readLeaseMs);
  if (stallMs < 2 * tickMs) refuse('stallMs must be at least twice tickMs', stallMs);
}

function refuse(why: string, received: number): never {
  throw new BreakwaterError('TIMING_INVALID', `cannot take the times of the cluster: ${why}, received ${received}`);
}

/** The patient reading of a clock: goes on with it, but for stalls and jumps, of which it counts a tick. For who is called at least every `stallMs`. */
export class PatientClock {
  readonly #timing: Timing;
  nowMs: number;
  patientMs = 0;

  constructor(timing: Timing, nowMs: number) {
    this.#timing = timing;
    this.nowMs = nowMs;
  }

  advance(nowMs: number): void {
    const gapMs = nowMs - this.nowMs;
    if (gapMs <= 0) return;
    this.nowMs = nowMs;
    this.patientMs += gapMs <= this.#timing.stallMs ? gapMs : this.#timing.tickMs;
  }
}
