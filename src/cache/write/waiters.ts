/** Who waits for a condition of the queue. It is looked at whenever something was settled, and now and then for what nobody tells of (room on disk). */
import type { Clock } from '../../base/clock.ts';
import type { Scheduler, Timer } from '../../base/scheduler.ts';

const POLL_MS = 50;

export class Waiters {
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #waiting = new Set<() => void>();
  /** One for all who wait. */
  #poll: Timer | null = null;

  constructor(clock: Clock, scheduler: Scheduler) {
    this.#clock = clock;
    this.#scheduler = scheduler;
  }

  /** All look again. */
  wake(): void {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const look of waiting) look();
  }

  /** False: not within `ms`. */
  async until(holds: () => boolean, ms: number): Promise<boolean> {
    const deadlineMs = this.#clock.now() + ms;
    while (!holds()) {
      const leftMs = deadlineMs - this.#clock.now();
      if (leftMs <= 0) return false;
      this.#poll ??= this.#scheduler.setTimer(POLL_MS, () => {
        this.#poll = null;
        this.wake();
      });
      await new Promise<void>((resolve) => {
        const look = (): void => {
          timer.cancel();
          resolve();
        };
        const timer = this.#scheduler.setTimer(leftMs, () => {
          this.#waiting.delete(look);
          resolve();
        });
        this.#waiting.add(look);
      });
    }
    return true;
  }
}
