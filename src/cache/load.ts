/**
 * One call of the user's loader, and what its answer says about each id. Deadlines and signals are the guard's.
 *
 * The loader is code that we did not write. It may throw before it returns a promise, never settle, settle after its deadline, bring
 * an array of the wrong length (the ids that are missing cannot be told: an error), or keys that nobody asked for (ignored and counted).
 */

import { MAX_VALIDATOR_BYTES } from '../base/envelope.ts';
import { BreakwaterError, isUntouchable, messageOf } from '../base/errors.ts';
import { GuardTimeoutError } from './guard/errors.ts';
import { show } from './key.ts';
import { type LoadContext, type LoadedOne, type Loader, type LoadResult, NOT_MODIFIED, Validated } from './types.ts';

/** What a load brought for one id. */
export type Loaded<V> =
  | { readonly kind: 'value'; readonly value: V; readonly validator?: string }
  | { readonly kind: 'absent' }
  /** What the loader was shown as stale is still the truth. */
  | { readonly kind: 'not-modified' }
  | { readonly kind: 'error'; readonly error: unknown };

export interface LoadAnswer<V> {
  /** Aligned with the ids. */
  readonly loaded: readonly Loaded<V>[];
  /** Keys in the answer that were not asked for. */
  readonly extras: number;
}

const ABSENT = { kind: 'absent' } as const;
const UNCHANGED = { kind: 'not-modified' } as const;

/**
 * Calls `load` now; settles when it does, with what it brings. `ids` is frozen: a loader that sorted it in place would return values
 * aligned with another order, under the wrong keys.
 */
export function callLoader<K extends string, V>(
  load: Loader<K, V>,
  ids: readonly K[],
  context: LoadContext,
): Promise<LoadResult<K, V>> {
  try {
    const answer = load(Object.freeze(ids), context);
    if (isUntouchable(answer)) return Promise.reject(untouchableAnswer());
    return Promise.resolve(answer).then(undefined, rethrow);
  } catch (error) {
    return Promise.reject(tangible(error));
  }
}

function rethrow(error: unknown): never {
  throw tangible(error);
}

/** What was thrown, or an error in its place where nobody could look at it without another one. */
function tangible(error: unknown): unknown {
  if (isUntouchable(error)) {
    return new BreakwaterError(
      'CACHE_LOADER_RESULT',
      'cannot say what the loader failed with: it threw a Proxy that was revoked',
    );
  }
  // An async function that returns one rejects with the engine's own words for having looked at it.
  return error instanceof TypeError && error.message.includes('proxy that has been revoked')
    ? untouchableAnswer(error)
    : error;
}

function untouchableAnswer(cause?: unknown): BreakwaterError {
  return new BreakwaterError(
    'CACHE_LOADER_RESULT',
    'cannot use what the loader brought: it met a Proxy that was revoked',
    cause === undefined ? undefined : { cause },
  );
}

/** @throws BreakwaterError `CACHE_LOADER_RESULT` */
export function readAnswer<K extends string, V>(
  result: LoadResult<K, V>,
  ids: readonly K[],
  name: string,
): LoadAnswer<V> {
  try {
    return readResult(result, ids, name);
  } catch (error) {
    if (error instanceof BreakwaterError) throw error;
    // A getter, a trap or a method of its own threw: code that we did not write either.
    throw new BreakwaterError(
      'CACHE_LOADER_RESULT',
      `cannot read what the loader of cache "${name}" returned: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

function readResult<K extends string, V>(result: LoadResult<K, V>, ids: readonly K[], name: string): LoadAnswer<V> {
  if (Array.isArray(result)) {
    const values = result as readonly LoadedOne<V>[];
    // Not values.map: it steps over holes, and `new Array(ids.length)` filled with the rows found has them.
    if (values.length === ids.length) return { loaded: Array.from(values, (value) => loadedOf(value)), extras: 0 };
    throw badResult(name, `an array of ${ids.length} values aligned with the ids, received ${values.length}`);
  }
  // Not instanceof: a Map of another realm (a test runner's, a vm's) is a Map.
  if (Object.prototype.toString.call(result) === '[object Map]') {
    const values = result as ReadonlyMap<K, LoadedOne<V>>;
    let found = 0;
    const loaded = ids.map((id) => {
      const value = values.get(id);
      if (value !== undefined || values.has(id)) found += 1;
      return loadedOf<V>(value);
    });
    // A row nobody asked for is counted; an id of another type is a mistake that would read as "there is no such row" for every one of them.
    if (found < values.size) {
      for (const key of values.keys() as Iterable<unknown>) {
        if (typeof key !== 'string') {
          throw badResult(name, `a Map whose keys are ids, text; write String(row.id); received ${show(key)}`);
        }
      }
    }
    return { loaded, extras: values.size - found };
  }
  throw badResult(name, `a Map or an array aligned with the ids, received ${show(result)}`);
}

function loadedOf<V>(value: LoadedOne<V>): Loaded<V> {
  if (value === null || value === undefined) return ABSENT;
  if (value === NOT_MODIFIED) return UNCHANGED;
  if (isUntouchable(value)) return { kind: 'error', error: untouchableValue() };
  if (value instanceof Error) return { kind: 'error', error: value };
  if (value instanceof Validated) {
    const inner = loadedOf<V>(value.value as V);
    const { validator } = value;
    return inner.kind === 'value' && isKept(validator) ? { ...inner, validator } : inner;
  }
  return { kind: 'value', value: value as V };
}

function untouchableValue(): BreakwaterError {
  return new BreakwaterError(
    'CACHE_LOADER_RESULT',
    'cannot use a value that the loader brought: it is a Proxy that was revoked',
  );
}

function isKept(validator: unknown): validator is string {
  return typeof validator === 'string' && validator.length <= MAX_VALIDATOR_BYTES && /^[\x20-\x7e]+$/.test(validator);
}

export function badResult(name: string, expected: string): BreakwaterError {
  return new BreakwaterError(
    'CACHE_LOADER_RESULT',
    `cannot use what the loader of cache "${name}" returned: expected ${expected}`,
  );
}

/** What callers are told: the guard's timeout in the cache's words, everything else as it is. */
export function loadError(error: unknown, name: string, ids: readonly string[], timeoutMs: number): unknown {
  if (!(error instanceof GuardTimeoutError)) return error;
  return new BreakwaterError(
    'CACHE_LOAD_TIMEOUT',
    `cannot load ${nameIds(name, ids)}: the loader of cache "${name}" did not answer within ${timeoutMs} ms (loadTimeout)`,
    { cause: error },
  );
}

function nameIds(name: string, ids: readonly string[]): string {
  return ids.length === 1 ? `${name}:${ids[0]}` : `${ids.length} ids of "${name}" (${ids[0]}, ...)`;
}
