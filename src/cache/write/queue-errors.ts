/** What a write-behind queue tells writers, in one place: a stable code, what could not be done, and why. */
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import { NO_ROOM } from './queue-log.ts';

export class QueueErrors {
  readonly #name: string;

  /** @param name of the cache */
  constructor(name: string) {
    this.#name = name;
  }

  closed(): BreakwaterError {
    return new BreakwaterError('CACHE_CLOSED', `cannot write to ${this.#name}: its Breakwater is closed`);
  }

  unavailable(cause: unknown): BreakwaterError {
    return new BreakwaterError(
      'WRITE_BEHIND_UNAVAILABLE',
      `cannot queue writes of ${this.#name}, nothing was queued: ${messageOf(cause)}`,
      { cause },
    );
  }

  /** The log keeps nothing any more. */
  stopped(cause: BreakwaterError): BreakwaterError {
    return new BreakwaterError(
      'WRITE_BEHIND_STOPPED',
      `cannot queue writes of ${this.#name}, nothing was queued: the queue takes no more writes until this process is started again; what it has acknowledged goes on to the database: ${cause.message}`,
      { cause },
    );
  }

  /** @param why e.g. `3 rows of at most 3 wait` */
  full(id: string, why: string): BreakwaterError {
    return new BreakwaterError('WRITE_BEHIND_FULL', `cannot queue the write of ${this.#name}:${id}: ${why}`);
  }

  /** What the log rejected a write with. */
  notAppended(id: string, cause: unknown): BreakwaterError {
    const code = cause instanceof BreakwaterError ? cause.code : '';
    const sentence = `cannot queue the write of ${this.#name}:${id}, nothing was queued: ${messageOf(cause)}`;
    if (NO_ROOM.has(code)) return new BreakwaterError('WRITE_BEHIND_FULL', sentence, { cause });
    // The disk refused it and took it back.
    if (code === 'DISK_LOG_NOT_WRITTEN') return new BreakwaterError('WRITE_BEHIND_UNAVAILABLE', sentence, { cause });
    return this.unacknowledged(id, messageOf(cause), cause);
  }

  unacknowledged(id: string, why: string, cause?: unknown): BreakwaterError {
    return new BreakwaterError(
      'WRITE_BEHIND_UNACKNOWLEDGED',
      `cannot say what became of the write of ${this.#name}:${id}: ${why}`,
      { cause },
    );
  }

  unseen(id: string, cause: unknown): BreakwaterError {
    return new BreakwaterError(
      'WRITE_BEHIND_UNSEEN',
      `the write of ${this.#name}:${id} is queued and will be written, but the store did not acknowledge it, so other processes may not see it yet: ${messageOf(cause)}`,
      { cause },
    );
  }

  notDrained(left: number, lastError: string | null): BreakwaterError {
    const why = lastError === null ? '' : `: ${lastError}`;
    return new BreakwaterError(
      'WRITE_BEHIND_NOT_DRAINED',
      `cannot drain the queue of ${this.#name} in time: ${left} rows are still to be written${why}`,
    );
  }
}
