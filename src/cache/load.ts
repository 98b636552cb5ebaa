/**
 * One call of the user's loader: its deadline, its signal, and what its answer says about each id.
 *
 * The loader is code that we did not write. It may throw before it returns a promise, never settle, settle after its deadline, bring
 * an array of the wrong length (the ids that are missing cannot be told: an error), or keys that nobody asked for (ignored and counted).
 */
import { BreakwaterError } from '../base/errors.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { show } from './key.ts';
import type { Loader, LoadResult } from './types.ts';

/** What a load brought for one id. */
export type Loaded<V> =
  | { readonly kind: 'value'; readonly value: V }
  | { readonly kind: 'absent' }
  | { readonly kind: 'error'; readonly error: unknown };

export interface LoadAnswer<V> {
  /** Aligned with the ids. */
  readonly loaded: readonly Loaded<V>[];
  /** Keys in the answer that were not asked for. */
  readonly extras: number;
}

const ABSENT = { kind: 'absent' } as const;

/** A call under way. */
export interface LoadCall<V> {
  /** Rejects with the loader's own error, or with `CACHE_LOAD_TIMEOUT`, `CACHE_LOADER_RESULT`, or what `abort` was given. */
  readonly answer: Promise<LoadAnswer<V>>;
  /** Aborts the loader's signal and rejects `answer` with `reason`. Nothing happens when it is over. */
  abort(reason: unknown): void;
}

/**
 * Calls `load` now. What comes after the deadline is thrown away. `ids` is frozen: a loader that sorted it in place would
 * return values aligned with another order, under the wrong keys.
 */
export function callLoader<K extends string, V>(
  load: Loader<K, V>,
  ids: readonly K[],
  timeoutMs: number,
  scheduler: Scheduler,
  name: string,
): LoadCall<V> {
  const controller = new AbortController();
  let cutOff: (reason: unknown) => void = () => undefined;
  const answer = new Promise<LoadAnswer<V>>((resolve, reject) => {
    cutOff = (reason) => {
      timer.cancel();
      reject(reason); // first: a loader that answers the signal with an error of its own comes second
      controller.abort(reason);
    };
    const timer = scheduler.setTimer(timeoutMs, () =>
      cutOff(
        new BreakwaterError(
          'CACHE_LOAD_TIMEOUT',
          `cannot load ${nameIds(name, ids)}: the loader of cache "${name}" did not answer within ${timeoutMs} ms (loadTimeout)`,
        ),
      ),
    );
    const settle = (result: LoadResult<K, V>): void => {
      timer.cancel();
      try {
        resolve(readAnswer(result, ids, name));
      } catch (error) {
        reject(error);
      }
    };
    const fail = (error: unknown): void => {
      timer.cancel();
      reject(error);
    };
    try {
      Promise.resolve(load(Object.freeze(ids), { signal: controller.signal })).then(settle, fail);
    } catch (error) {
      fail(error);
    }
  });
  return { answer, abort: (reason) => cutOff(reason) };
}

function readAnswer<K extends string, V>(result: LoadResult<K, V>, ids: readonly K[], name: string): LoadAnswer<V> {
  if (Array.isArray(result)) {
    const values = result as readonly (V | Error | null | undefined)[];
    // Not values.map: it steps over holes, and `new Array(ids.length)` filled with the rows found has them.
    if (values.length === ids.length) return { loaded: Array.from(values, (value) => loadedOf(value)), extras: 0 };
    throw badResult(name, `an array of ${ids.length} values aligned with the ids, received ${values.length}`);
  }
  // Not instanceof: a Map of another realm (a test runner's, a vm's) is a Map.
  if (Object.prototype.toString.call(result) === '[object Map]') {
    const values = result as ReadonlyMap<K, V | Error | null | undefined>;
    let found = 0;
    const loaded = ids.map((id) => {
      const value = values.get(id);
      if (value !== undefined || values.has(id)) found += 1;
      return loadedOf<V>(value);
    });
    return { loaded, extras: values.size - found };
  }
  throw badResult(name, `a Map or an array aligned with the ids, received ${show(result)}`);
}

function loadedOf<V>(value: V | Error | null | undefined): Loaded<V> {
  if (value === null || value === undefined) return ABSENT;
  if (value instanceof Error) return { kind: 'error', error: value };
  return { kind: 'value', value };
}

function badResult(name: string, expected: string): BreakwaterError {
  return new BreakwaterError(
    'CACHE_LOADER_RESULT',
    `cannot use what the loader of cache "${name}" returned: expected ${expected}`,
  );
}

function nameIds(name: string, ids: readonly string[]): string {
  return ids.length === 1 ? `${name}:${ids[0]}` : `${ids.length} ids of "${name}" (${ids[0]}, ...)`;
}
