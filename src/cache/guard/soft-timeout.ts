/**
 * A soft timeout ends the *waiting*, not the *load*: a caller who has a stale value in the hand waits this long for a better
 * one, then takes the stale one, while the load goes on and fills the cache for the next. (The hard timeout of the guard ends
 * the load.)
 */
import type { Scheduler } from '../../base/scheduler.ts';

/** What {@link withSoftTimeout} resolves to when the time is up first. */
export const SOFT_TIMEOUT: unique symbol = Symbol('soft timeout');

/**
 * The result of `load`, or {@link SOFT_TIMEOUT} after `timeoutMs`. Rejects as `load` does when that comes first. A later rejection
 * is not lost for others who wait on `load`, and is no unhandled one for nobody.
 */
export function withSoftTimeout<T>(
  load: Promise<T>,
  timeoutMs: number,
  scheduler: Scheduler,
): Promise<T | typeof SOFT_TIMEOUT> {
  if (timeoutMs === Number.POSITIVE_INFINITY) return load;
  return new Promise((resolve, reject) => {
    const timer = scheduler.setTimer(timeoutMs, () => resolve(SOFT_TIMEOUT));
    load.then(
      (value) => {
        timer.cancel();
        resolve(value);
      },
      (error: unknown) => {
        timer.cancel();
        reject(error);
      },
    );
  });
}
