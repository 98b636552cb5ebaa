/**
 * What the caller of a write is told when it went wrong. Two things are kept apart:
 *
 *   a refusal   the store said no: the value is too large, there is no room. Nothing is in doubt, so its own code stands.
 *   a doubt     no answer, a lost connection: it may or may not have taken effect. `..._UNACKNOWLEDGED`, with the reason as `cause`.
 *
 * An invalidation that was refused is not in force any more than one in doubt: there both are `CACHE_INVALIDATION_UNACKNOWLEDGED`.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';

/** The store's words for "this value never". What the key had before is gone all the same (`stores/store.ts`). */
const REFUSALS: ReadonlySet<string> = new Set([
  'STORE_TOO_LARGE',
  'STORE_NO_ROOM',
  'STORE_TOO_MANY_TAGS',
  'STORE_KEY_RESERVED',
]);

/** The rejection of a write that may not have taken effect. */
export function unacknowledged(code: string, what: string, cause: unknown): BreakwaterError {
  return new BreakwaterError(code, `cannot ${what}: the store did not acknowledge it: ${messageOf(cause)}`, { cause });
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
export function writeError(key: string, update: unknown, invalidation: unknown): BreakwaterError {
  return new BreakwaterError(
    'CACHE_INVALIDATION_UNACKNOWLEDGED',
    `cannot write ${key}: the update failed (${messageOf(update)}), and its key may not be invalidated: ${messageOf(invalidation)}`,
    { cause: new AggregateError([update, invalidation], 'the update and the invalidation failed') },
  );
}
