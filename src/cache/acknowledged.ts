/**
 * What the caller of a write is told when it went wrong. Two things are kept apart:
 *
 *   a refusal   the store said no: the value is too large, there is no room. Nothing is in doubt, so its own code stands.
 *   a doubt     no answer, a lost connection: it may or may not have taken effect. `..._UNACKNOWLEDGED`, with the reason as `cause`.
 *
 * What is in doubt is in the store's outbox, if it has one: then it is retried until it is acknowledged, and the error says so.
 *
 * An invalidation that was refused is not in force any more than one in doubt: there both are `CACHE_INVALIDATION_UNACKNOWLEDGED`.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { UnacknowledgedStoreError } from '../stores/outbox/errors.ts';

/** The store's words for "this value never". What the key had before is gone all the same (`stores/store.ts`). */
const REFUSALS: ReadonlySet<string> = new Set([
  'STORE_TOO_LARGE',
  'STORE_NO_ROOM',
  'STORE_TOO_MANY_TAGS',
  'STORE_KEY_RESERVED',
]);

/** `CACHE_WRITE_UNACKNOWLEDGED`, `CACHE_INVALIDATION_UNACKNOWLEDGED`, `CACHE_NOT_EVERYWHERE`. */
export class UnacknowledgedError extends BreakwaterError {
  /**
   * True: its invalidation is in the outbox, which retries until the store acknowledges; nobody need call again. Of a `set`: what the key has will be removed.
   * False: nothing more will happen, call again.
   */
  readonly queued: boolean;

  /** @internal */
  constructor(code: string, message: string, queued: boolean, cause: unknown) {
    super(code, message, { cause });
    this.queued = queued;
  }
}

const QUEUED = '; its invalidation is queued, and will be retried until it is acknowledged';

/** The rejection of a write that may not have taken effect. */
export function unacknowledged(code: string, what: string, cause: unknown): UnacknowledgedError {
  const queued = cause instanceof UnacknowledgedStoreError && cause.queued;
  const sentence = `cannot ${what}: the store did not acknowledge it: ${messageOf(cause)}`;
  return new UnacknowledgedError(code, queued ? sentence + QUEUED : sentence, queued, cause);
}

/** What `write` of `key` rejects with when its intent could not be noted first. */
export function notBegun(key: string, cause: unknown): BreakwaterError {
  return new BreakwaterError(
    'CACHE_WRITE_NOT_BEGUN',
    `cannot write ${key}: it could not be noted in the outbox's directory first, so the source was not changed: ${messageOf(cause)}`,
    { cause },
  );
}

/** What `set` of `key` rejects with. */
export function setError(key: string, error: unknown): unknown {
  if (error instanceof BreakwaterError && REFUSALS.has(error.code)) return error;
  return unacknowledged('CACHE_WRITE_UNACKNOWLEDGED', `set ${key}`, error);
}

/**
 * What `write` of `key` rejects with when neither worked: the update failed, so that the source may or may not have changed, and nobody knows whether the
 * old value is still in the store. `cause` is an AggregateError whose `errors` are what `update` threw and why the invalidation failed.
 */
export function writeError(key: string, update: unknown, invalidation: unknown): UnacknowledgedError {
  return new UnacknowledgedError(
    'CACHE_INVALIDATION_UNACKNOWLEDGED',
    `cannot write ${key}: the update failed (${messageOf(update)}), and its key may not be invalidated: ${messageOf(invalidation)}`,
    invalidation instanceof UnacknowledgedError && invalidation.queued,
    new AggregateError([update, invalidation], 'the update and the invalidation failed'),
  );
}
