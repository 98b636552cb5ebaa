/** How a process of ours that serves comes to its end: by a bug at once, by a signal in order. */
import { BreakwaterError } from '../base/errors.ts';
import type { Log } from '../base/log.ts';

/** Not a bug: a member that can keep no promises must not go on, and ends in whatever it was doing. */
const ENDS = 'CLUSTER_DATA_UNUSABLE';

/** What nobody caught is a bug of ours, and nothing it left behind can be trusted: logged, and the process ends with 1. */
export function endOnBug(log: Log): void {
  const onBug = (error: unknown): never => {
    if (error instanceof BreakwaterError && error.code === ENDS) {
      log.error('stopping', { error: error.message, code: error.code });
      process.exit(1);
    }
    log.error('stopping: a bug in Breakwater', {
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
    process.exit(1);
  };
  process.on('uncaughtException', onBug);
  process.on('unhandledRejection', onBug);
}

/** Resolves when a signal asked to stop and `close` is done; a second signal does not wait. */
export function untilStopped(log: Log, close: (signal: NodeJS.Signals) => Promise<void>): Promise<void> {
  return new Promise((resolve, reject) => {
    let isAsked = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (isAsked) process.exit(1);
      isAsked = true;
      log.info(`${signal}: stopping`);
      close(signal).then(resolve, reject);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
  });
}
