/**
 * How the outbox says that an invalidation was not acknowledged, and what becomes of it.
 */
import { BreakwaterError, messageOf } from '../../base/errors.ts';

/** The store's own error, with its code, and whether the invalidation is in the outbox now: then it will be retried until it is acknowledged. */
export class UnacknowledgedStoreError extends BreakwaterError {
  readonly queued: boolean;

  constructor(cause: unknown, queued: boolean) {
    super(cause instanceof BreakwaterError ? cause.code : 'STORE_UNAVAILABLE', messageOf(cause), { cause });
    this.queued = queued;
  }
}

/** Refused before anything was sent. */
const REFUSED: ReadonlySet<string> = new Set(['STORE_KEY_RESERVED']);
/** Of a set besides: refused, and what the key had is removed, acknowledged; else it would have ended with the removal's error. */
const REMOVED: ReadonlySet<string> = new Set(['STORE_TOO_LARGE', 'STORE_TOO_MANY_TAGS', 'STORE_NO_ROOM']);

/** Is it known what became of a call that ended with `error`? @param beganOpen it was made before the store was closed */
export function isSettled(error: unknown, as: 'set' | 'invalidate', beganOpen: boolean): boolean {
  if (!(error instanceof BreakwaterError)) return false;
  if (error.code === 'STORE_CLOSED') return !beganOpen;
  return REFUSED.has(error.code) || (as === 'set' && REMOVED.has(error.code));
}
