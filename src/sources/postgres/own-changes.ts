/**
 * A source's own stream of changes: what `postgres({ table, key })` already says is not said again.
 *
 *     const products = postgres<Product>({ pool, table: 'product', key: 'id', columns: [...] });
 *     bw.cache('product', { source: products });
 *     bw.follow(products.changes({ caches: 'product' }));       a changed row of product  ->  product:<id>
 *
 * Nothing more than `postgresChanges()` with its connection (the pool's own settings), its table and the mapping of the key written out: the same stream, the same
 * options, and further tables beside this one. A source of SQL has no table whose rows are its rows, so there the tables are named, and the connection alone is known.
 */
import type { ChangeStream } from '../../cache/changes/port.ts';
import { checkNames, invalid } from '../../cache/checks.ts';
import { checkName } from '../../cache/key.ts';
import type { ChangedRow } from './changes/mapping.ts';
import { type ChangesTable, OPTIONS, type PostgresChangesOptions, TABLE } from './changes/options.ts';
import { postgresChanges } from './changes.ts';
import type { PostgresPool } from './connection.ts';
import { quoted } from './table.ts';

/** Of a source of SQL: `tables` says what each table that it reads makes untrue. */
export interface SqlChangesOptions extends Omit<PostgresChangesOptions, 'connection'> {
  /**
   * Default: where the source's `pool` connects to. Say your own where that is a pooler that shares server connections, a replica, or a role that may not replicate.
   */
  readonly connection?: PostgresChangesOptions['connection'];
}

/** Of a source of one table, which is followed without being named. What more its rows make untrue is said as in {@link ChangesTable}. */
export interface TableChangesOptions extends Omit<SqlChangesOptions, 'tables'>, Partial<ChangesTable> {
  /** The declared caches that keep rows of this table by its key: a changed row invalidates `<cache>:<key>` in each of them. */
  readonly caches: string | readonly string[];
  /** What `keys` and `tags` read besides the key. Default: nothing. */
  readonly columns?: readonly string[];
  /** Further caches that have anything made of this table; those of `caches` are meant anyway. Default: none. */
  readonly namespaces?: readonly string[];
  /** Further tables in the same stream. */
  readonly tables?: PostgresChangesOptions['tables'];
}

/** A source whose changes can be followed. */
export interface WithChanges<Options> {
  /**
   * The changes of its rows, whoever makes them, for `bw.follow`: `postgresChanges()` with what the source knows. It connects when it is followed.
   * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `CACHE_NAME_INVALID`
   */
  readonly changes: (options: Options) => ChangeStream;
}

const WHERE = 'changes()';

export function sqlChanges(pool: PostgresPool, options: SqlChangesOptions): ChangeStream {
  checkNames(options, OPTIONS, WHERE);
  return postgresChanges({ ...options, connection: connectionOf(pool, options) });
}

export function tableChanges(
  pool: PostgresPool,
  table: readonly string[],
  key: string,
  options: TableChangesOptions,
): ChangeStream {
  checkNames(options, ['caches', ...TABLE, ...OPTIONS], WHERE);
  const { caches: given, columns = [], keys, tags, namespaces = [], tables = {}, ...stream } = options;
  const caches = typeof given === 'string' ? [given] : given;
  if (!Array.isArray(caches) || caches.length === 0) {
    throw invalid(`caches of ${WHERE}`, 'the names of the caches that keep its rows', given);
  }
  for (const cache of caches) checkName(cache);
  for (const [what, value] of Object.entries({ columns, namespaces })) {
    if (!Array.isArray(value)) throw invalid(`${what} of ${WHERE}`, 'an array of names', value);
  }
  checkNames(tables, Object.keys(tables ?? {}), `tables of ${WHERE}`);
  const name = table.map(quoted).join('.');
  const own: ChangesTable = {
    columns: [key, ...columns],
    keys: keysOf(caches, key, keys),
    ...(tags !== undefined && { tags }),
    namespaces: [...new Set([...caches, ...namespaces])],
  };
  return postgresChanges({ ...stream, connection: connectionOf(pool, options), tables: { ...tables, [name]: own } });
}

/** A row's key under each cache, and what the application adds. */
function keysOf(caches: readonly string[], key: string, more: ChangesTable['keys']): (row: ChangedRow) => string[] {
  if (more !== undefined && typeof more !== 'function') throw invalid(`keys of ${WHERE}`, 'a function', more);
  const keys = (row: ChangedRow): string[] => {
    const id = row[key];
    const own = id === null ? [] : caches.map((cache) => `${cache}:${id}`);
    return more === undefined ? own : [...own, ...more(row)];
  };
  // Two processes are known to map alike by the text of their functions: this one's has to say what it closes over.
  return Object.assign(keys, { toString: () => JSON.stringify([caches, key, String(more)]) });
}

/** Settings of a pool that say where its connections lead. Not its deadlines, which a stream would break; nor its bounds. */
const LEADING = [
  'connectionString',
  'host',
  'port',
  'database',
  'user',
  'password',
  'ssl',
  'sslnegotiation',
  'enableChannelBinding',
  'options',
  'stream',
] as const;

/** @throws BreakwaterError `CACHE_OPTION_INVALID` */
export function connectionOf(
  pool: PostgresPool,
  { connection }: Pick<SqlChangesOptions, 'connection'>,
): PostgresChangesOptions['connection'] {
  if (connection !== undefined) return connection;
  const { options } = pool;
  if (typeof options !== 'object' || options === null) {
    throw invalid(
      `connection of ${WHERE}`,
      'one to be given, since the pool does not say where it connects to',
      undefined,
    );
  }
  // By name: a pool hides its password from enumeration. None of them at all = what the environment says (PGHOST ...), as for the pool.
  const settings = options as Readonly<Record<string, unknown>>;
  return Object.fromEntries(LEADING.flatMap((one) => (settings[one] === undefined ? [] : [[one, settings[one]]])));
}
