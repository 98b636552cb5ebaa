/** What a caller of `get`, `getDetailed` and `getMany` may ask for, checked before anything is done. */
import { parseDurationMs } from '../base/units.ts';
import { checkNames, checkSignal, duration, invalid } from './checks.ts';
import { type FlightWishes, PLAIN } from './flight.ts';
import type { GetOptions } from './types.ts';

const GET_OPTIONS = ['signal', 'timeout', 'maxStale', 'fresh', 'after'] as const;

export interface CallOptions {
  readonly signal: AbortSignal | undefined;
  readonly timeoutMs: number | null;
  /** `PLAIN` itself when there are none. */
  readonly wishes: FlightWishes;
}

/** @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `DURATION_INVALID`; the signal's reason when it is aborted already */
export function readGetOptions(options: GetOptions): CallOptions {
  checkNames(options, GET_OPTIONS, 'get');
  const { signal, timeout, maxStale, fresh } = options;
  checkSignal(signal, 'get');
  signal?.throwIfAborted();
  if (fresh !== undefined && typeof fresh !== 'boolean') throw invalid('fresh of get', 'a boolean', fresh);
  const maxStaleMs = maxStale === undefined ? undefined : duration(maxStale, 'maxStale', 'get', 0);
  return {
    signal,
    timeoutMs: timeout === undefined ? null : parseDurationMs(timeout, 'timeout of get'),
    wishes:
      fresh !== true && maxStaleMs === undefined
        ? PLAIN
        : { ...(fresh === true && { fresh }), ...(maxStaleMs !== undefined && { maxStaleMs }) },
  };
}

/**
 * Text is iterable as well, and `getMany('42')` would ask for `4` and for `2`.
 * @throws BreakwaterError `CACHE_OPTION_INVALID`
 */
export function checkIds(ids: unknown, name: string): void {
  if (typeof ids === 'object' && ids !== null && Symbol.iterator in ids) return;
  throw invalid(`the ids of getMany of cache "${name}"`, 'an array or another iterable of ids', ids);
}
