/**
 * Timers as a port, the third of the family after `clock.ts` and `random.ts`: code that must act *later* (a deadline, a
 * back-off, the next ping) asks a `Scheduler`, so that tests and the simulator make later happen by hand and in an order
 * that one seed reproduces.
 *
 * Why not `setTimeout` with mocked globals: a mocked global is shared by everything in the process, test runner included,
 * and cannot serve two simulated machines whose clocks run apart.
 *
 * The contract that both implementations keep:
 *  - `fire` never runs inside `setTimer` itself, not even with a delay of 0;
 *  - a cancelled timer never fires; cancelling twice, or after it fired, does nothing;
 *  - timers of the same due time fire in the order in which they were set;
 *  - a timer may fire late, never early: whoever needs the exact time asks the clock.
 */
import { ManualClock } from './clock.ts';

/** A timer that was set and can be called off. */
export interface Timer {
  /** Calls the timer off. Does nothing when it has fired or was cancelled before. */
  cancel(): void;
}

export interface TimerOptions {
  /**
   * Whether the process stays alive for this timer. Default true: somebody waits for it (a deadline). False for
   * housekeeping that nobody waits for.
   */
  readonly keepAlive?: boolean;
}

export interface Scheduler {
  /**
   * Runs `fire` once, `delayMs` milliseconds from now (negative counts as 0; an infinite delay never fires). `fire` must
   * not throw: an exception out of a timer crashes the process.
   */
  setTimer(delayMs: number, fire: () => void, options?: TimerOptions): Timer;
  /**
   * Runs `fire` once, behind the reading of what has arrived by now. A process that was held up runs its timers before it reads its sockets: who would
   * call a peer silent looks again after this.
   */
  afterInput(fire: () => void): Timer;
}

/** The longest delay that the platform's timers take (2^31 - 1 ms, 24.8 days); longer ones are set again on the way. */
const LONGEST_DELAY_MS = 0x7fff_ffff;

const NEVER: Timer = { cancel: () => undefined };

/** Timers of the platform. The monotonic clock drives them, so setting the wall clock moves none. */
export function systemScheduler(): Scheduler {
  return { setTimer: setSystemTimer, afterInput };
}

function setSystemTimer(delayMs: number, fire: () => void, options?: TimerOptions): Timer {
  if (delayMs === Number.POSITIVE_INFINITY) return NEVER;
  let handle: ReturnType<typeof setTimeout>;
  const arm = (leftMs: number): void => {
    // Rounded up: `setTimeout` cuts the fraction off and would fire early by it.
    const stepMs = Math.min(Math.max(0, Math.ceil(leftMs)), LONGEST_DELAY_MS);
    handle = setTimeout(() => (leftMs > stepMs ? arm(leftMs - stepMs) : fire()), stepMs);
    if (options?.keepAlive === false) handle.unref();
  };
  arm(delayMs);
  return { cancel: () => clearTimeout(handle) };
}

function afterInput(fire: () => void): Timer {
  const handle = setImmediate(fire);
  return { cancel: () => clearImmediate(handle) };
}

interface ManualTimer extends Timer {
  readonly dueMs: number;
  readonly fire: () => void;
  cancelled: boolean;
}

/**
 * Timers that fire only when told to, on a {@link ManualClock} that moves only when told to. While a timer fires, the clock
 * shows exactly its due time.
 */
export class ManualScheduler implements Scheduler {
  readonly clock: ManualClock;
  /** Sorted by due time; among equals, by the order of setting. */
  readonly #timers: ManualTimer[] = [];

  constructor(clock: ManualClock = new ManualClock()) {
    this.clock = clock;
  }

  setTimer(delayMs: number, fire: () => void): Timer {
    if (delayMs === Number.POSITIVE_INFINITY) return NEVER;
    const timer: ManualTimer = {
      dueMs: this.clock.now() + Math.max(0, delayMs),
      fire,
      cancelled: false,
      cancel: () => {
        if (timer.cancelled) return;
        timer.cancelled = true;
        const index = this.#timers.indexOf(timer);
        if (index >= 0) this.#timers.splice(index, 1);
      },
    };
    let low = 0;
    let high = this.#timers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#timers[middle]!.dueMs <= timer.dueMs) low = middle + 1;
      else high = middle;
    }
    this.#timers.splice(low, 0, timer);
    return timer;
  }

  /** Input comes from nowhere here: behind the timers that are due already. */
  afterInput(fire: () => void): Timer {
    return this.setTimer(0, fire);
  }

  /** How many timers are set: a test that ends with some left has found a leak. */
  get pending(): number {
    return this.#timers.length;
  }

  /** Milliseconds until the next timer is due (0 when one is overdue), or null when none is set. */
  get nextInMs(): number | null {
    const next = this.#timers[0];
    return next === undefined ? null : Math.max(0, next.dueMs - this.clock.now());
  }

  /** Moves time forward by `ms` and fires what falls due, in order. Promises do not run in between: see {@link run}. */
  advance(ms: number): void {
    const untilMs = this.clock.now() + ms;
    while (this.#fireNext(untilMs));
    this.#moveTo(untilMs);
  }

  /**
   * As {@link advance}, but everything that a timer set in motion through promises runs before the next timer fires, and
   * what is already under way runs first. This is what tests of asynchronous code want.
   */
  async run(ms: number): Promise<void> {
    const untilMs = this.clock.now() + ms;
    await drainPromises();
    while (this.#fireNext(untilMs)) await drainPromises();
    this.#moveTo(untilMs);
  }

  #fireNext(untilMs: number): boolean {
    const next = this.#timers[0];
    if (next === undefined || next.dueMs > untilMs) return false;
    this.#timers.shift();
    next.cancelled = true;
    this.#moveTo(next.dueMs);
    next.fire();
    return true;
  }

  #moveTo(nowMs: number): void {
    this.clock.advance(Math.max(0, nowMs - this.clock.now()));
  }
}

/** Resolves when every promise reaction that is due, and all that those bring about, has run. */
export function drainPromises(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
