/**
 * `breakwater/sources/postgres`: rows of one table of Postgres (13 or later), or of a query, for a declared cache.
 *
 *     const products = postgres<Product>({ pool, table: 'product', key: 'id', columns: ['id', 'name', 'price'] });
 *     bw.cache('product', { source: products });                 read; and written, where the cache's `policy` says so, through `products.sink`
 *     bw.follow(products.changes({ caches: 'product' }));        changes that anybody makes, in SQL too
 *
 * A load is one prepared statement, `... WHERE key = ANY($1)`, however many ids: the planner sees one parameter, so there is one plan and one entry in
 * `pg_stat_statements` for batches of all sizes, which a list of placeholders would not give. Answers are matched by the key as text and not by
 * position: rows come in any order, and those that are missing are the ids that have no row.
 *
 * With `version`, an integer column drawn from a sequence, ids that the cache still has past their TTL are asked about by version: the row's columns travel
 * only where it has changed. What that column must promise is said at {@link PostgresOptions.version}.
 *
 * Nothing here is retried, except, once and under another name, a prepared statement that a schema change has invalidated; and, over another connection, a
 * read whose connection was lost, since a pool hands out idle connections that have died (postgres/statement.ts). A write never is.
 */
import { BreakwaterError } from '../base/errors.ts';
import { checkNames, invalid } from '../cache/checks.ts';
import { NOT_MODIFIED } from '../cache/data-source.ts';
import { show } from '../cache/key.ts';
import type { SourceVersion } from '../cache/source-version.ts';
import { type DataSource, invalidKey, type WritableSource } from './port.ts';
import { Answers } from './postgres/answers.ts';
import type { PostgresPool, PostgresQuery, Result } from './postgres/connection.ts';
import { idsOf } from './postgres/ids.ts';
import { KEY_TYPES, type KeyType } from './postgres/key-type.ts';
import { orderedSink } from './postgres/ordered.ts';
import {
  type SqlChangesOptions,
  sqlChanges,
  type TableChangesOptions,
  tableChanges,
  type WithChanges,
} from './postgres/own-changes.ts';
import { type PostgresReplicaOptions, type Read, type ReplicaStats, Replicas } from './postgres/replica.ts';

import { rowsAsJson } from './postgres/rows.ts';
import { Statement } from './postgres/statement.ts';
import { DESCRIBE, quoted, type Statements, statementsFor } from './postgres/table.ts';

export type { DataSource, OrderedChange, OrderedSink, Sink, SourceCall, WritableSource } from './port.ts';
export {
  type ChangedRow,
  type ChangesTable,
  type PostgresChangesOptions,
  postgresChanges,
} from './postgres/changes.ts';
export type { PostgresClient, PostgresPool, PostgresQuery, PostgresResult } from './postgres/connection.ts';
export type { KeyType } from './postgres/key-type.ts';
export type { SqlChangesOptions, TableChangesOptions, WithChanges } from './postgres/own-changes.ts';
export type { PostgresReplicaOptions, ReplicaStats } from './postgres/replica.ts';

interface CommonOptions {
  /** A `Pool` of `pg` 8 (an optional peer). Its size bounds the connections; the guard of the cache bounds the calls. Give it a `connectionTimeoutMillis`. */
  readonly pool: PostgresPool;
  /** Where loads read instead, as far as it has come; `pool` is the primary's then. Also `{ pools }` of several. */
  readonly replica?: PostgresReplicaOptions;
  /** False: no prepared statements, for poolers that change the server connection between statements. Default true. */
  readonly prepare?: boolean;
}

/** Rows of a table or view. */
export interface PostgresTableOptions<Row> extends CommonOptions {
  /** `"product"` (found by `search_path`) or `["shop", "product"]`. Taken literally and quoted: a dot in a name is part of it. */
  readonly table: string | readonly [schema: string, table: string];
  /** The column that ids are values of: text, varchar, smallint, integer, bigint or uuid. For the sink it must have a unique index of its own. */
  readonly key: string;
  /** What a row consists of, in this order. */
  readonly columns: readonly (keyof NoInfer<Row> & string)[];
  /**
   * An integer column among `columns` that rises with every change of its row, whoever makes it (a trigger does that for updates in SQL) and is never used
   * twice for one key. `DEFAULT nextval('...')` from a sequence without CACHE is such a column; with any other default a row that is deleted and
   * inserted begins again, and then versions are written and returned but not used to answer "not modified".
   */
  readonly version?: keyof NoInfer<Row> & string;
}

/** Rows of a query. */
export interface PostgresSqlOptions<Row> extends CommonOptions {
  /** Gets the ids as the array `$1`: `SELECT ... WHERE p.id = ANY($1::bigint[])`. Its columns are the row. */
  readonly sql: string;
  /** The column of its result that has the id; must print as the id does. */
  readonly key: keyof NoInfer<Row> & string;
  /** Which ids can be keys; others are refused without a query, which would fail as a whole. Default `"text"`: all. */
  readonly keyType?: KeyType;
}

const TABLE_OPTIONS = ['pool', 'replica', 'table', 'key', 'columns', 'version', 'prepare'] as const;
const SQL_OPTIONS = ['pool', 'replica', 'sql', 'key', 'keyType', 'prepare'] as const;

/**
 * A source of rows. Failures: `SOURCE_KEY_INVALID` and `SOURCE_ROW_DUPLICATE` (that id alone), `SOURCE_ROW_UNASKED`, `SOURCE_ROW_INVALID` (of the sink),
 * `SOURCE_TABLE_UNKNOWN`, `SOURCE_COLUMN_UNKNOWN`, `SOURCE_KEY_TYPE`, `SOURCE_VERSION_TYPE`, `SOURCE_REFUSED` (the server refuses the statement or the rows),
 * `SOURCE_FAILED` (anything else, e.g. no connection), `SOURCE_ABORTED`; what the driver said is the `cause`.
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`
 */
export function postgres<Row extends object = Record<string, unknown>>(
  options: PostgresTableOptions<Row>,
): WritableSource<Row> & WithReplicas & WithChanges<TableChangesOptions>;
export function postgres<Row extends object = Record<string, unknown>>(
  options: PostgresSqlOptions<Row>,
): DataSource<Row> & WithReplicas & WithChanges<SqlChangesOptions>;
export function postgres<Row extends object>(
  options: PostgresTableOptions<Row> | PostgresSqlOptions<Row>,
):
  | (WritableSource<Row> & WithReplicas & WithChanges<TableChangesOptions>)
  | (DataSource<Row> & WithReplicas & WithChanges<SqlChangesOptions>) {
  const isQuery = typeof options === 'object' && options !== null && 'sql' in options;
  checkNames(options, isQuery ? SQL_OPTIONS : TABLE_OPTIONS, WHERE);
  const { pool, prepare = true } = options;
  if (typeof pool?.connect !== 'function') throw invalid(`pool of ${WHERE}`, 'a Pool of pg', pool);
  if (typeof prepare !== 'boolean') throw invalid(`prepare of ${WHERE}`, 'a boolean', prepare);
  return 'sql' in options ? querySource(options, prepare) : tableSource(options, prepare);
}

const WHERE = 'postgres()';

/** What a source that may read replicas has besides. */
export interface WithReplicas {
  /** Who was asked how often; absent without `replica`. */
  readonly replicas?: () => ReplicaStats;
}

function querySource<Row extends object>(
  options: PostgresSqlOptions<Row>,
  prepare: boolean,
): DataSource<Row> & WithReplicas & WithChanges<SqlChangesOptions> {
  const { pool, sql, keyType = 'text' } = options;
  const key = identifier(options.key, `key of ${WHERE}`);
  if (typeof sql !== 'string' || !sql.includes('$1')) throw invalid(`sql of ${WHERE}`, 'a query with $1', sql);
  if (typeof keyType !== 'string' || !Object.hasOwn(KEY_TYPES, keyType)) {
    throw invalid(`keyType of ${WHERE}`, Object.keys(KEY_TYPES).join(', '), keyType);
  }
  const database = new Statement(pool, prepare, `postgres ${show(sql)}`);
  // Around the query, so that the key comes as text whatever the driver makes of its type. The line break ends a comment.
  const text = `SELECT q.${quoted(key)}::text, q.* FROM (${sql}\n) AS q`;
  const replicas = replicasOf(options, database, prepare);
  const reader = replicas ?? new PrimaryReader(database);
  const read: Read = (ids) => ({ text, values: [ids] });
  return {
    name: database.name,
    load: async (ids, { signal, quietMs }) => {
      const answers = new Answers<Row>(ids, keyType, database.name);
      if (answers.asked.length > 0) {
        for (const result of await reader.load(answers.asked, quietMs ?? NEVER_QUIET, read, signal))
          answers.add(result, 1);
      }
      return answers.found;
    },
    // An empty array: planned and run, and no row read by an index.
    check: async ({ signal } = {}) => {
      await database.read(text, [[]], signal);
      await replicas?.check(read, signal);
    },
    ids: (query, call = {}) => idsOf(database, async () => null, query, call),
    changes: (changed) => sqlChanges(pool, changed),
    ...(replicas === null ? {} : { replicas: () => replicas.stats() }),
  };
}

function tableSource<Row extends object>(
  options: PostgresTableOptions<Row>,
  prepare: boolean,
): WritableSource<Row> & WithReplicas & WithChanges<TableChangesOptions> {
  const { pool } = options;
  const parts = typeof options.table === 'string' ? [options.table] : options.table;
  if (!Array.isArray(parts) || parts.length < 1 || parts.length > 2) {
    throw invalid(`table of ${WHERE}`, 'a name or [schema, name]', options.table);
  }
  const table = parts.map((part: string) => identifier(part, `table of ${WHERE}`));
  const key = identifier(options.key, `key of ${WHERE}`);
  const { columns, version = null } = options;
  if (!Array.isArray(columns) || columns.length === 0 || new Set(columns).size < columns.length) {
    throw invalid(`columns of ${WHERE}`, 'names, none twice', columns);
  }
  for (const column of columns) identifier(column, `columns of ${WHERE}`);
  if (version !== null && (version === key || !columns.includes(version))) {
    throw invalid(`version of ${WHERE}`, 'one of its columns, not the key', version);
  }
  const from = table.map(quoted).join('.');
  const database = new Statement(pool, prepare, `postgres ${from}`);
  const { name } = database;
  const declared = { table, key, columns, version };

  const replicas = replicasOf(options, database, prepare);
  const reader = replicas ?? new PrimaryReader(database);

  let known: Statements | null = null;
  /** Until it is known each call asks for itself: one that waited for another's question would fail with the other's signal. */
  const statements = async (signal?: AbortSignal): Promise<Statements> => {
    if (known === null) {
      const { rows } = await database.read(DESCRIBE, [from], signal);
      known = statementsFor(declared, rows, name);
    }
    return known;
  };

  const rowChanges = (
    changes: ReadonlyMap<string, Row | null>,
    { keyType, upsert, delete: remove }: Statements,
  ): readonly PostgresQuery[] => {
    if (upsert === null) throw unwritable(name);
    const rows = new Map<string, Row>();
    const gone: string[] = [];
    for (const [id, row] of changes) {
      if (!KEY_TYPES[keyType].accepts(id)) throw invalidKey(name, id, KEY_TYPES[keyType].what);
      if (row === null) gone.push(id);
      else rows.set(id, row);
    }
    const queries: PostgresQuery[] = [];
    if (rows.size > 0) queries.push({ text: upsert, values: [rowsAsJson(rows, keyType, declared, name)] });
    if (gone.length > 0) queries.push({ text: remove, values: [gone] });
    return queries;
  };

  /** Written and read back in one transaction: what triggers and types have made of the rows. */
  const writeRows = async (
    changes: ReadonlyMap<string, Row | null>,
    known: Statements,
    signal: AbortSignal | undefined,
  ): Promise<ReadonlyMap<string, Row | null>> => {
    const queries = rowChanges(changes, known);
    const answers = new Answers<Row>([...changes.keys()], known.keyType, name);
    if (queries.length === 0) return new Map();
    const result = await database.transaction(async (run) => {
      for (const query of queries) await run(query);
      return await run({ text: known.load, values: [answers.asked] });
    }, signal);
    answers.add(result, 1);
    const written = new Map<string, Row | null>();
    for (const id of changes.keys()) {
      const row = answers.found.get(id);
      // A row that two rows claim, or of a key that a trigger has changed, is not kept.
      written.set(id, row === undefined || row === NOT_MODIFIED || row instanceof Error ? null : (row as Row));
    }
    return written;
  };

  return {
    name,
    load: async (ids, { signal, stale, quietMs }) => {
      const { keyType, load, revalidate } = await statements(signal);
      const answers = new Answers<Row>(ids, keyType, name);
      const { asked } = answers;
      if (asked.length === 0) return answers.found;
      const isKnown = revalidate !== null && asked.some((id) => versionIn(stale.get(id), version) !== null);
      const read: Read = isKnown
        ? (some) => ({ text: revalidate, values: [some, some.map((id) => versionIn(stale.get(id), version))] })
        : (some) => ({ text: load, values: [some] });
      for (const result of await reader.load(asked, quietMs ?? NEVER_QUIET, read, signal)) {
        answers.add(result, isKnown ? 2 : 1);
      }
      return answers.found;
    },
    check: async ({ signal } = {}) => {
      known = null;
      const { load } = await statements(signal);
      await database.read(load, [[]], signal);
      await replicas?.check((ids) => ({ text: load, values: [ids] }), signal);
    },
    ids: (query, call = {}) => idsOf(database, async (signal) => (await statements(signal)).ids, query, call),
    changes: (changed) => tableChanges(pool, table, key, changed),
    ...(replicas === null ? {} : { replicas: () => replicas.stats() }),
    sink: {
      upsert: async (rows, { signal } = {}) => {
        const { keyType, upsert } = await statements(signal);
        if (upsert === null) {
          throw unwritable(name);
        }
        const json = rowsAsJson(rows, keyType, { key, columns, version }, name);
        return versionsIn(rows.size === 0 ? NOTHING : await database.write(upsert, [json], signal));
      },
      delete: async (ids, { signal } = {}) => {
        const { keyType, delete: remove } = await statements(signal);
        for (const id of ids) if (!KEY_TYPES[keyType].accepts(id)) throw invalidKey(name, id, KEY_TYPES[keyType].what);
        return versionsIn(ids.length === 0 ? NOTHING : await database.write(remove, [ids], signal));
      },
      write: async (changes, { signal } = {}) => writeRows(changes, await statements(signal), signal),
      ordered: orderedSink<Row>({
        database,
        from,
        plan: async (changes, signal) => rowChanges(changes, await statements(signal)),
        accept: (id, row) => void rowsAsJson(new Map([[id, row]]), known?.keyType ?? 'text', declared, name),
      }),
    },
  };
}

const NEVER_QUIET = (): number => 0;

/** Without replicas. */
class PrimaryReader {
  readonly #primary: Statement;

  constructor(primary: Statement) {
    this.#primary = primary;
  }

  async load(ids: readonly string[], _: unknown, read: Read, signal: AbortSignal | undefined): Promise<Result[]> {
    const { text, values } = read(ids);
    return [await this.#primary.read(text, values, signal)];
  }
}

function replicasOf({ replica }: CommonOptions, primary: Statement, prepare: boolean): Replicas | null {
  return replica === undefined ? null : new Replicas(primary, replica, prepare);
}

function unwritable(name: string): BreakwaterError {
  return new BreakwaterError('SOURCE_REFUSED', `cannot write to ${name}: no unique index has its key alone`);
}

const NOTHING: Result = { rows: [], fields: [] };

/** Of rows of key and version. */
function versionsIn({ rows }: Result): Map<string, SourceVersion | null> {
  return new Map(rows.map(([id, version]) => [id as string, version as string | null]));
}

/** The version in a value that the cache kept, as text for the server; null: none that could be compared. */
function versionIn(value: unknown, column: string | null): string | null {
  if (column === null || typeof value !== 'object' || value === null) return null;
  const version: unknown = (value as Readonly<Record<string, unknown>>)[column];
  if (typeof version === 'number') return Number.isSafeInteger(version) ? String(version) : null;
  const text = String(version);
  return KEY_TYPES.bigint.accepts(text) ? text : null;
}

function identifier(name: unknown, what: string): string {
  // 63 bytes: Postgres cuts longer ones, and would look for another name than what was said.
  if (typeof name === 'string' && name !== '' && !name.includes('\0') && Buffer.byteLength(name) <= 63) return name;
  throw invalid(what, 'a name of 1 to 63 bytes', name);
}
