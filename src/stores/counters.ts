/**
 * The part of the store port for counters (docs/guide/13-counters.md): sums that many processes add to.
 *
 * An addition that resolves is counted once. One that rejects is not counted when its error is `STORE_REFUSED`; otherwise it is not known. Nothing is ever sent twice.
 */
import { BreakwaterError } from '../base/errors.ts';
import type { StoreCall } from './call.ts';

export interface StoreCounters {
  /** Adds an integer; the sum of this key. `ttlMs` null: for ever; else it begins anew with each addition. */
  add(key: string, by: number, ttlMs: number | null, call: StoreCall): Promise<number>;
  /**
   * As `add` for ever, of a sum that is 0 again whenever the store may have forgotten an addition that it acknowledged (it was restarted from an older copy, a replica took
   * over): numbers below one that was given are then never given again without the sum having begun anew. For keys that `add` is not used with.
   */
  draw(key: string, by: number, call: StoreCall): Promise<number>;
  /** The sum over `keys`; who is not there counts 0. */
  sum(keys: readonly string[], call: StoreCall): Promise<number>;
}

/** What says that a command was answered with an error, or never left: it changed nothing. Everything else leaves that open. */
const NOT_DONE: ReadonlySet<string> = new Set([
  'STORE_OVERLOADED',
  'STORE_NO_ROOM',
  'COUNTERSFULL',
  'ERR',
  'WRONGTYPE',
]);

/** The error with the port's word for it, where it is sure that nothing was added. */
export function surelyNotDone(error: unknown): unknown {
  if (!(error instanceof BreakwaterError) || !NOT_DONE.has(error.code)) return error;
  return new BreakwaterError('STORE_REFUSED', error.message, { cause: error });
}
