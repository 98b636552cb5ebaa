/** What a declaration of changes says, checked. */
import { BreakwaterError } from '../../../base/errors.ts';
import { checkNames, count, invalid } from '../../../cache/checks.ts';
import { checkName, show } from '../../../cache/key.ts';
import { quoted } from '../table.ts';
import type { ChangedRow, Mapping } from './mapping.ts';

/** How a change of a table's row becomes names. */
export interface ChangesTable {
  /** What `keys` and `tags` read; checked against the table at start. Values come as Postgres prints them: text, or null. */
  readonly columns?: readonly string[];
  /** Full keys that a row makes untrue: `(row) => [`product:${row.id}`]`. Called for the row before the change and after it, and perhaps more often: it must be pure. */
  keys?(row: ChangedRow): readonly string[];
  /** Tags that a row makes untrue. */
  tags?(row: ChangedRow): readonly string[];
  /**
   * Every cache that has anything made of this table, those with its tags included. They are invalidated whole where it cannot be told which keys are meant: the table is
   * truncated, a value is missing from the change, too many rows changed at once, changes may have been missed. Without `keys` and `tags`: by every change.
   */
  readonly namespaces: readonly string[];
}

export interface PostgresChangesOptions {
  /**
   * A URL, or the configuration of a `Client` of `pg` 8. It must lead to the primary itself: a pooler that shares server connections cannot carry a stream. Two connections
   * are held by the process that reads, one by each that stands by.
   */
  readonly connection: string | Readonly<Record<string, unknown>>;
  /** What is followed, by table: `"product"` (found by `search_path`), `"shop.product"`, or with quotes where a name has a dot: `"\"my.schema\".product"`. */
  readonly tables: Readonly<Record<string, ChangesTable>>;
  /** Of the slot and the publication (or of the table of changes), in the database. Those who share it share the work. Default `"breakwater"`. */
  readonly name?: string;
  /** Another name for the publication. Default: `name`. */
  readonly publication?: string;
  /**
   * `'replication'` (default): logical replication, which needs `wal_level = logical` and a role that may replicate. `'triggers'`: triggers that write into a table
   * of changes, which costs every writing transaction a little more.
   */
  readonly via?: 'replication' | 'triggers';
  /** Makes what is missing: publication and slot, or table, functions and triggers. False: only checks that they are there. Default true. */
  readonly create?: boolean;
  /**
   * With replication: a slot of this process's own, which ends with its connection. For the embedded store, where every process has to hear of every change. Nothing is kept by
   * the database while nobody reads; each new connection invalidates the namespaces. Default false.
   */
  readonly temporary?: boolean;
  /** Rows of one table beyond which its namespaces are invalidated instead: of one transaction; by triggers, that wait. Default 10,000. */
  readonly foldAbove?: number;
}

export interface Settings {
  readonly connection: Readonly<Record<string, unknown>>;
  readonly name: string;
  readonly publication: string;
  readonly create: boolean;
  readonly temporary: boolean;
  readonly foldAbove: number;
  readonly tables: readonly DeclaredTable[];
  /** Of all tables. */
  readonly namespaces: readonly string[];
}

export interface DeclaredTable {
  readonly mapping: Mapping;
  /** Quoted, for SQL. */
  readonly sql: string;
}

/** Names of options, also for who passes them on. */
export const OPTIONS = [
  'connection',
  'tables',
  'name',
  'publication',
  'via',
  'create',
  'temporary',
  'foldAbove',
] as const;
export const TABLE = ['columns', 'keys', 'tags', 'namespaces'] as const;
const WHERE = 'postgresChanges()';
const FOLD_ABOVE = 10_000;

/** @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `CACHE_NAME_INVALID` */
export function checkOptions(options: PostgresChangesOptions): Settings & { readonly via: 'replication' | 'triggers' } {
  checkNames(options, OPTIONS, WHERE);
  const { connection, tables, name = 'breakwater', via = 'replication', create = true, temporary = false } = options;
  const { publication = name, foldAbove = FOLD_ABOVE } = options;
  if (via !== 'replication' && via !== 'triggers') throw invalid(`via of ${WHERE}`, `'replication' or 'triggers'`, via);
  for (const [what, value] of Object.entries({ create, temporary })) {
    if (typeof value !== 'boolean') throw invalid(`${what} of ${WHERE}`, 'a boolean', value);
  }
  // The characters and the length of a slot's name.
  if (typeof name !== 'string' || !/^[a-z0-9_]{1,50}$/.test(name)) {
    throw invalid(`name of ${WHERE}`, '1 to 50 of a-z, 0-9 and _', name);
  }
  if (typeof publication !== 'string' || publication === '' || Buffer.byteLength(publication) > 63) {
    throw invalid(`publication of ${WHERE}`, 'a name of 1 to 63 bytes', publication);
  }
  if (via === 'triggers' && (temporary || options.publication !== undefined)) {
    const what = temporary ? 'temporary' : 'publication';
    throw new BreakwaterError('CACHE_OPTION_INVALID', `cannot use ${what} of ${WHERE}: triggers have none`);
  }
  checkNames(tables, Object.keys(tables ?? {}), `tables of ${WHERE}`);
  const declared = Object.entries(tables).map(([table, given]) => checkTable(table, given));
  if (declared.length === 0) throw invalid(`tables of ${WHERE}`, 'at least one table', 'none');
  return {
    via,
    connection: checkConnection(connection),
    name,
    publication,
    create,
    temporary,
    foldAbove: count(foldAbove, 'foldAbove', WHERE, 1_000_000),
    tables: declared,
    namespaces: [...new Set(declared.flatMap(({ mapping }) => mapping.namespaces))],
  };
}

function checkConnection(connection: unknown): Readonly<Record<string, unknown>> {
  if (typeof connection === 'string' && /^postgres(?:ql)?:\/\//.test(connection))
    return { connectionString: connection };
  if (typeof connection === 'object' && connection !== null && !Array.isArray(connection)) {
    return connection as Readonly<Record<string, unknown>>;
  }
  // Not what was received: it may hold a password.
  throw invalid(`connection of ${WHERE}`, 'postgres://... or the configuration of a Client of pg', typeof connection);
}

function checkTable(table: string, given: ChangesTable): DeclaredTable {
  const where = `table ${show(table)} of ${WHERE}`;
  checkNames(given, TABLE, where);
  const { columns = [], keys = null, tags = null, namespaces } = given;
  if (!Array.isArray(columns) || !columns.every((column) => typeof column === 'string' && column !== '')) {
    throw invalid(`columns of ${where}`, 'an array of names', columns);
  }
  for (const [what, value] of Object.entries({ keys, tags })) {
    if (value !== null && typeof value !== 'function') throw invalid(`${what} of ${where}`, 'a function', value);
  }
  if ((keys !== null || tags !== null) && columns.length === 0) {
    throw invalid(`columns of ${where}`, 'the names of the columns that keys and tags read', 'none');
  }
  if (!Array.isArray(namespaces) || namespaces.length === 0) {
    throw invalid(`namespaces of ${where}`, 'the names of all caches that have anything made of it', namespaces);
  }
  for (const namespace of namespaces) checkName(namespace);
  const parts = nameParts(table, where);
  const mapping = { table: parts.join('.'), columns: [...new Set(columns)], namespaces: [...namespaces], keys, tags };
  return { mapping, sql: parts.map(quoted).join('.') };
}

/** `a`, `a.b`, `"a.b".c`; taken literally, capitals too. */
function nameParts(table: string, where: string): readonly string[] {
  const part = '(?:"((?:[^"]|"")+)"|([^".]+))';
  const match = new RegExp(`^${part}(?:\\.${part})?$`).exec(table);
  if (match === null) throw invalid(`name of ${where}`, 'table or schema.table', table);
  const [, quotedFirst, first, quotedSecond, second] = match;
  const one = first ?? quotedFirst!.replaceAll('""', '"');
  const other = second ?? quotedSecond?.replaceAll('""', '"');
  return other === undefined ? [one] : [one, other];
}
