/**
 * Two small things about promises: one that is settled from outside, and one caller's own end to a shared wait.
 */
import { BreakwaterError } from '../base/errors.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { listen } from './abort.ts';

/** A promise and the functions that settle it. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T | PromiseLike<T>) => void;
  #reject!: (reason: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.#reject = reject;
    });
  }

  reject(reason: unknown): void {
    // Whoever waits sees the rejection; a flight that all its callers have left is no unhandled one.
    this.promise.catch(ignore);
    this.#reject(reason);
  }
}

/**
 * `shared`, unless `signal` or `timeoutMs` comes first: then this caller alone stops waiting, with the signal's reason or
 * `CACHE_TIMEOUT`. Leaves neither listener nor timer behind.
 */
export function waitAlone<T>(
  shared: Promise<T>,
  signal: AbortSignal | undefined,
  timeoutMs: number | null,
  scheduler: Scheduler,
  what: string,
  onAbandon: () => void,
): Promise<T> {
  if (signal === undefined && timeoutMs === null) return shared;
  return new Promise<T>((resolve, reject) => {
    const abandon = (reason: unknown): void => {
      done();
      onAbandon();
      reject(reason);
    };
    const onAbort = (): void => abandon(signal?.reason);
    const timer =
      timeoutMs === null
        ? null
        : scheduler.setTimer(timeoutMs, () =>
            abandon(
              new BreakwaterError('CACHE_TIMEOUT', `cannot get ${what} within ${timeoutMs} ms: this call's timeout`),
            ),
          );
    const done = (): void => {
      unlisten?.();
      timer?.cancel();
    };
    const unlisten = signal === undefined ? null : listen(signal, onAbort);
    shared.then(
      (value) => {
        done();
        resolve(value);
      },
      (error: unknown) => {
        done();
        reject(error);
      },
    );
  });
}

function ignore(): void {}
