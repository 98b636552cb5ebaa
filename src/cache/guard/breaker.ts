/**
 * A circuit breaker (Nygard, Release It!, 2007): when a source fails often, stop asking it for a while. Two parties gain:
 * callers, who get an answer (an error, or a stale value) at once instead of at the end of a timeout, and the source, which
 * cannot recover under the very load that brought it down.
 *
 *              too many failures                     the pause is over
 *     closed ----------------------> open --------------------------------> half-open
 *       ^                             ^                                       |  |
 *       |                             +------------ a probe fails ------------+  |
 *       +------------------------- `probes` probes succeed ---------------------+
 *
 * "Too many" is either a share of the calls in a rolling window, once there were enough of them to speak of a share, or so
 * many failures in a row: the share is slow to notice a source that dies while quiet. Each opening that follows a failed
 * probe lasts twice as long, up to a limit, with jitter, so that a fleet does not probe in step.
 *
 * A permit remembers the *generation* in which it was given, and the generation changes with every transition. Without that, calls
 * which started before the source went down and fail one by one during half-open would count as failed probes and keep the
 * circuit open for as long as the longest of them lasts; or a late success would close it.
 *
 * Pure: time is an argument. Costs O(1) a call, O(parts of the window) at worst.
 */
import { assert } from '../../base/assert.ts';
import type { Random } from '../../base/random.ts';
import { RollingWindow } from './rolling-window.ts';

export interface BreakerOptions {
  /** Length of the rolling window. Default 10 s. */
  readonly windowMs: number;
  /** Share of failures in the window that opens the circuit, in (0, 1]. Default 0.5. */
  readonly failureRatio: number;
  /** The share counts only from so many calls in the window on. Default 20. */
  readonly minimumCalls: number;
  /** So many failures in a row open it whatever the share. Default 10. */
  readonly consecutiveFailures: number;
  /** How long the first opening lasts, give or take a fifth. Default 1 s. Doubles with each failed probe. */
  readonly openMs: number;
  /** The longest an opening lasts. Default 30 s. */
  readonly maxOpenMs: number;
  /** How many probes must succeed to close it, and how many may be under way at once. Default 3. */
  readonly probes: number;
}

export const DEFAULT_BREAKER: BreakerOptions = {
  windowMs: 10_000,
  failureRatio: 0.5,
  minimumCalls: 20,
  consecutiveFailures: 10,
  openMs: 1000,
  maxOpenMs: 30_000,
  probes: 3,
};

export type BreakerState = 'closed' | 'open' | 'half-open';

/** How a call ended. `neutral`: it says nothing about the source (the caller gave up). */
export type Outcome = 'success' | 'failure' | 'neutral';

const WINDOW_PARTS = 10;
const OPEN_JITTER = 0.2;

export class CircuitBreaker {
  readonly #options: BreakerOptions;
  readonly #random: Random;
  readonly #onState: (from: BreakerState, to: BreakerState) => void;
  readonly #window: RollingWindow;
  #state: BreakerState = 'closed';
  /** Counts transitions; > 0. */
  #generation = 1;
  #consecutiveFailures = 0;
  /** Openings in a row without a closing between: the exponent of the pause. */
  #openingsInRow = 0;
  #openUntilMs = 0;
  #probesUnderWay = 0;
  #probesSucceeded = 0;
  /** How often it went from closed or half-open to open. */
  openings = 0;

  /** @param onState told of every transition */
  constructor(
    options: Partial<BreakerOptions>,
    random: Random,
    onState: (from: BreakerState, to: BreakerState) => void = () => {},
  ) {
    this.#onState = onState;
    this.#options = { ...DEFAULT_BREAKER, ...options };
    this.#random = random;
    this.#window = new RollingWindow(this.#options.windowMs, WINDOW_PARTS);
  }

  /** The state at `nowMs`. An opening whose pause is over reads as half-open. */
  state(nowMs: number): BreakerState {
    return this.#state === 'open' && nowMs >= this.#openUntilMs ? 'half-open' : this.#state;
  }

  /** Whether {@link acquire} would give a permit. Changes nothing. */
  admits(nowMs: number): boolean {
    switch (this.#state) {
      case 'closed':
        return true;
      case 'open':
        return nowMs >= this.#openUntilMs;
      case 'half-open':
        return this.#probesUnderWay + this.#probesSucceeded < this.#options.probes;
    }
  }

  /** How long until it may admit again, in ms; 0 when it admits or when that depends on the probes under way. */
  retryAfterMs(nowMs: number): number {
    return this.#state === 'open' ? Math.max(0, this.#openUntilMs - nowMs) : 0;
  }

  /** A permit (> 0) to call the source, to be handed to {@link settle} exactly once; 0 = refused. */
  acquire(nowMs: number): number {
    if (!this.admits(nowMs)) return 0;
    if (this.#state === 'open') this.#enter('half-open');
    if (this.#state === 'half-open') this.#probesUnderWay += 1;
    return this.#generation;
  }

  /** Tells how the call of `permit` ended. One from before the last transition says nothing any more. */
  settle(permit: number, outcome: Outcome, nowMs: number): void {
    assert(permit > 0 && permit <= this.#generation, 'a permit comes from acquire');
    if (permit !== this.#generation) return;
    if (this.#state === 'half-open') this.#settleProbe(outcome, nowMs);
    else if (outcome !== 'neutral') this.#settleClosed(outcome === 'success', nowMs);
  }

  #settleClosed(success: boolean, nowMs: number): void {
    assert(this.#state === 'closed', 'nothing is under way in the generation of an open circuit');
    this.#window.record(success, nowMs);
    this.#consecutiveFailures = success ? 0 : this.#consecutiveFailures + 1;
    if (success) return;
    const { total, failures } = this.#window;
    const byShare = total >= this.#options.minimumCalls && failures >= this.#options.failureRatio * total;
    if (byShare || this.#consecutiveFailures >= this.#options.consecutiveFailures) this.#open(nowMs);
  }

  #settleProbe(outcome: Outcome, nowMs: number): void {
    this.#probesUnderWay -= 1;
    assert(this.#probesUnderWay >= 0, 'a permit is settled once');
    if (outcome === 'failure') {
      this.#open(nowMs);
    } else if (outcome === 'success') {
      this.#probesSucceeded += 1;
      if (this.#probesSucceeded < this.#options.probes) return;
      this.#openingsInRow = 0;
      this.#enter('closed');
    }
  }

  #open(nowMs: number): void {
    const { openMs, maxOpenMs } = this.#options;
    const pauseMs = Math.min(maxOpenMs, openMs * 2 ** Math.min(this.#openingsInRow, 30));
    this.#openUntilMs = nowMs + pauseMs * (1 + OPEN_JITTER * (2 * this.#random.nextFloat() - 1));
    this.#openingsInRow += 1;
    this.openings += 1;
    this.#enter('open');
  }

  #enter(state: BreakerState): void {
    const from = this.#state;
    this.#state = state;
    this.#generation += 1;
    this.#consecutiveFailures = 0;
    this.#probesUnderWay = 0;
    this.#probesSucceeded = 0;
    this.#window.clear();
    this.#onState(from, state);
  }
}
