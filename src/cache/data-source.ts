/**
 * What a database gives to a cache: a loader, and where it can be written to, a sink. The types alone: `cache/` knows what it may ask of a database, and
 * none by name. `sources/` fills them (src/sources/port.ts has the checks that all of them share, test/contract/source-contract.ts holds them to it).
 */
import type { SourceVersion } from './source-version.ts';

export interface LoadContext {
  /** Aborted when the load's deadline has passed or the cache is closed. Hand it to the database driver. */
  readonly signal: AbortSignal;
  /**
   * What the cache still has of the ids, past its TTL: a loader that can ask "has it changed since?" (a version column, an ETag) may return
   * {@link NOT_MODIFIED} for such an id. Values as the cache gives them.
   */
  readonly stale: ReadonlyMap<string, unknown>;
  /** Of the ids in `stale`, the {@link Validated.validator} that their value was loaded with, where there was one. */
  readonly validators?: ReadonlyMap<string, string>;
  /**
   * For how long `id` is known not to have been invalidated, in milliseconds: what is loaded must show all that was committed up to so long ago. 0 = all that was
   * committed up to this call, which is what a loader of the primary does anyway; one that reads a replica must know that it has caught up so far. Absent = 0 for all.
   */
  readonly quietMs?: (id: string) => number;
}

/**
 * A loader's answer for an id: the value, and what the source will know it by (an ETag, a revision). It is kept in L2 beside the value, for
 * all processes, and comes back in {@link LoadContext.validators} when the value is past its TTL. Callers of the cache see the value alone.
 */
export class Validated<V> {
  readonly value: V;
  readonly validator: string;

  /** @param validator printable ASCII, at most 128 characters; one that is longer, or empty, is not kept */
  constructor(value: V, validator: string) {
    this.value = value;
    this.validator = validator;
  }
}

/** A loader's answer for an id in its context's `stale`: that value is the truth, and is fresh again. */
export const NOT_MODIFIED: unique symbol = Symbol('breakwater: not modified');

/**
 * What a loader brings: an array aligned with the ids, or a Map. `null`, `undefined` and what is missing from the Map mean
 * *known absent*. An `Error` in the place of a value fails that id alone.
 */
export type LoadResult<K extends string, V> = ReadonlyMap<K, LoadedOne<V>> | readonly LoadedOne<V>[];

/** What a loader may say of one id. */
export type LoadedOne<V> = V | Validated<V> | Error | null | undefined | typeof NOT_MODIFIED;

/** Asks the source for all of `ids` at once (no duplicates, at least one). */
export type Loader<K extends string, V> = (
  ids: readonly K[],
  context: LoadContext,
) => LoadResult<K, V> | Promise<LoadResult<K, V>>;

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
  /** The ids that it has, for `warm`: in pages, in an order that a later call can go on in. Absent: it cannot tell. */
  ids?(query: IdQuery, call?: SourceCall): AsyncIterable<string>;
}

/** Which ids of a source, and in which order. */
export interface IdQuery {
  /**
   * A query whose first column is the id. With `$1` and `$2` it is asked page by page, `$1` being the last id that it gave (at first null, or `after`) and `$2` the most
   * rows: `SELECT id FROM product WHERE $1::bigint IS NULL OR id > $1::bigint ORDER BY id LIMIT $2`. Without parameters it is asked once, and must give no more than 1,000,000 rows. Default: all keys, in
   * their order, page by page.
   */
  readonly sql?: string;
  /** Go on behind this id. Only where it is asked page by page. */
  readonly after?: string;
  /** Most ids of one page. Default 1,000. */
  readonly page?: number;
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
  /**
   * For policy `through`: all changes in one transaction; null deletes.
   * @returns each row as a load finds it afterwards (defaults, triggers, rounding), null where there is none. A sink without it is written to by `upsert` and
   * `delete`, and what they wrote is invalidated instead of kept
   */
  write?(changes: ReadonlyMap<string, V | null>, call?: SourceCall): Promise<ReadonlyMap<string, V | null>>;
  /** What policy `behind` needs besides. */
  readonly ordered?: OrderedSink<V>;
}

/** One write on its way: the later version wins, whatever the order in which they arrive. */
export interface OrderedChange<V> {
  /** A safe integer above 0. */
  readonly version: number;
  /** null: the row is deleted. */
  readonly value: V | null;
}

/**
 * Writes that carry an order of their own, and may be sent twice or in any order. What the database must keep for that: of each id the version of the last
 * change that was applied, also of one that was deleted (an older write that comes late must not bring the row back), and one number for all ids, the epoch.
 */
export interface OrderedSink<V> {
  /** Names the set of rows that share one order, alike in all processes, e.g. database, schema and table. */
  target(call?: SourceCall): Promise<string>;
  /**
   * Applies each change unless one of an equal or later version was applied to its id; all that it applies in one transaction, or none.
   * Rejects with `SOURCE_REFUSED`, `SOURCE_ROW_INVALID` or `SOURCE_KEY_INVALID` when the database will not have one of the rows, whoever asks; with any other code
   * when it is worth trying again.
   * @returns of each id the version that it has now
   */
  apply(changes: ReadonlyMap<string, OrderedChange<V>>, call?: SourceCall): Promise<ReadonlyMap<string, number>>;
  /** The version last applied, of each id that has one. */
  applied(ids: readonly string[], call?: SourceCall): Promise<ReadonlyMap<string, number>>;
  /** Raises the epoch by `by` (0 or 1) and at least to `atLeast`, durably; the epoch after that. */
  epoch(by: 0 | 1, atLeast: number, call?: SourceCall): Promise<number>;
  /** Throws when a value can be seen to be none that the database takes, without asking it. */
  accept?(id: string, value: V): void;
}

export interface SourceCall {
  /** Ends the call; the outcome of a write is unknown then. */
  readonly signal?: AbortSignal;
}
