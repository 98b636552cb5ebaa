/**
 * One timer for any number of deadlines. A timer per command would cost more than the command; here a new deadline is one comparison,
 * and when the timer fires `sweep` looks at what is still pending, fails what is due, and says when the next is.
 *
 * In a steady flow the timer fires about once per command timeout. A deadline is met late by up to MIN_WAIT_MS, never early.
 *
 * A timer that fires much too late means that this process was held up: a long computation, a garbage collection, a stopped container.
 * Then timers run before sockets are read, and every reply that lies there would be called a timeout, and a store that answered in
 * time would count as down. So what has arrived is read first.
 */
import type { Clock } from '../base/clock.ts';
import type { Scheduler, Timer } from '../base/scheduler.ts';

/** Bounds how often a long queue with many different deadlines is swept. */
const MIN_WAIT_MS = 5;
/** Later than a timer is on a busy machine that still runs its turns. */
const HELD_UP_MS = 20;

export class Deadlines {
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #sweep: (nowMs: number) => number;
  #armedForMs = Number.POSITIVE_INFINITY;
  #timer: Timer | null = null;
  /** Runs behind the reading of sockets in the same turn of the event loop. */
  #afterReading: Timer | null = null;

  /** `sweep(nowMs)` handles what is due and returns the next deadline, Infinity when there is none. */
  constructor(clock: Clock, scheduler: Scheduler, sweep: (nowMs: number) => number) {
    this.#clock = clock;
    this.#scheduler = scheduler;
    this.#sweep = sweep;
  }

  /** Something is due at `deadlineMs`. */
  note(deadlineMs: number, nowMs: number): void {
    if (deadlineMs < this.#armedForMs && this.#afterReading === null) this.#arm(deadlineMs, nowMs);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#afterReading?.cancel();
    this.#afterReading = null;
    this.#armedForMs = Number.POSITIVE_INFINITY;
  }

  #arm(deadlineMs: number, nowMs: number): void {
    this.stop();
    this.#armedForMs = deadlineMs;
    this.#timer = this.#scheduler.setTimer(Math.max(MIN_WAIT_MS, deadlineMs - nowMs), this.#onTimer);
  }

  readonly #onTimer = (): void => {
    this.#timer = null;
    if (this.#clock.now() - this.#armedForMs < HELD_UP_MS) this.#look();
    else this.#afterReading = this.#scheduler.afterInput(this.#look);
  };

  readonly #look = (): void => {
    this.#afterReading = null;
    this.#armedForMs = Number.POSITIVE_INFINITY;
    const nowMs = this.#clock.now();
    const nextMs = this.#sweep(nowMs);
    if (nextMs !== Number.POSITIVE_INFINITY) this.note(nextMs, nowMs);
  };
}
