/**
 * What a database gives to a cache: a loader, and where it can be written to, a sink. A plain function is a loader too and stays enough; a
 * source is one with promises that a suite checks (test/contract/source-contract.ts), whichever database it speaks to.
 *
 *     bw.cache('product', { load: source.load })                       reads
 *     products.write(id, () => source.sink.upsert(new Map([[id, row]])))   database first, then the invalidation
 *
 * A source holds no value and no queue. What protects the database (one flight per key, the cap on concurrent calls, the breaker, deadlines)
 * stands in front of it, in the cache: a source that had its own would hide from those how long a call really takes.
 */
import { BreakwaterError } from '../base/errors.ts';
import { show } from '../cache/key.ts';
import type { SourceVersion } from '../cache/source-version.ts';
import type { Loader } from '../cache/types.ts';

/**
 * A database, or one table of it, as far as reading goes.
 *
 * - An id is answered by the row that has it as its key, letter for letter: `"042"` is not 42. It could be loaded under that name, but no
 *   invalidation of `42` would ever reach it.
 * - A row that nobody asked for fails the whole call: the query does not do what the source believes.
 * - An id that cannot be a key, or that two rows claim, fails alone; its neighbours are answered.
 * - `NOT_MODIFIED` only where the database said so about the very value in `context.stale`.
 * - When the signal fires the call rejects, and not before the database was told to stop, if it can be told; connections come back.
 */
export interface DataSource<V> {
  /** What it loads from, for error sentences. */
  readonly name: string;
  /** For `load` of a declared cache. Needs no `this`. */
  readonly load: Loader<string, V>;
  /**
   * Asks the database whether what was declared is there. Good at start: otherwise the first load finds out.
   * @throws BreakwaterError what stands in the way, with a code
   */
  check(call?: SourceCall): Promise<void>;
}

/** A source that can be written to. */
export interface WritableSource<V> extends DataSource<V> {
  readonly sink: Sink<V>;
}

/**
 * Writes of whole rows. Each call is one atomic change: all of its rows or none. When it has resolved, the change is committed; when it rejected
 * with a code that says that the database refused it, nothing was written; with any other, nobody knows, and the keys must be invalidated.
 * Both `write` of a cache does (it invalidates whatever the outcome).
 */
export interface Sink<V> {
  /**
   * Inserts or replaces the rows by id.
   * @returns the version of each row after the write, for `set(id, value, { version })`; null where the source has no versions
   */
  upsert(rows: ReadonlyMap<string, V>, call?: SourceCall): Promise<ReadonlyMap<string, SourceVersion | null>>;
  /**
   * Deletes rows by id; deleting what is not there is no error.
   * @returns of each row that was there, the version that it had; null where the source has no versions
   */
  delete(ids: readonly string[], call?: SourceCall): Promise<ReadonlyMap<string, SourceVersion | null>>;
}

export interface SourceCall {
  /** Ends the call; the outcome of a write is unknown then. */
  readonly signal?: AbortSignal;
}

/** What the call was cut off with stays visible as the cause. */
export function aborted(name: string, signal: AbortSignal): BreakwaterError {
  return new BreakwaterError('SOURCE_ABORTED', `the call to ${name} was cut off by its signal`, {
    cause: signal.reason,
  });
}

/** @param why e.g. `the key is a bigint` */
export function invalidKey(name: string, id: string, why: string): BreakwaterError {
  return new BreakwaterError('SOURCE_KEY_INVALID', `cannot ask ${name} for an id: ${why}, received ${show(id)}`);
}
