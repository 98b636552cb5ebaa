/** Waiting between attempts, with an end: full jitter, as everywhere (Brooker, "Exponential Backoff And Jitter", AWS 2015). */
import type { Random } from '../../base/random.ts';
import type { Scheduler } from '../../base/scheduler.ts';
import { listen } from '../abort.ts';

/** Milliseconds before attempt number `attempt` (0 = the first retry): uniform in [0, base * 2^attempt], capped. */
export function jittered(
  attempt: number,
  { baseMs, capMs }: { readonly baseMs: number; readonly capMs: number },
  random: Random,
): number {
  return random.nextFloat() * Math.min(capMs, baseMs * 2 ** Math.min(attempt, 30));
}

/** Resolves after `ms`; rejects with the signal's reason as soon as it fires. */
export function pause(scheduler: Scheduler, ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const unlisten = listen(signal, () => {
      timer.cancel();
      reject(signal.reason);
    });
    const timer = scheduler.setTimer(ms, () => {
      unlisten();
      resolve();
    });
  });
}
