/**
 * What the database's catalogue says of the mapped tables, and what is made there if it is missing. Asked at start, and every second after that: what DDL does to
 * rows is in no stream.
 *
 *     ALTER TABLE ... TYPE, ADD COLUMN ... DEFAULT   rewrites or adds values of every row
 *     TRUNCATE of one partition                       not sent where partitions are sent as their root
 *     ATTACH, DETACH, DROP of a partition              rows come and go with it
 *     a table exchanged by two RENAMEs                 another table under the name, perhaps not published
 *
 * All of them change a table's *definition*: oids, files, columns and identity of the table and of everything below it. A definition that is not what it was invalidates the
 * table's namespaces. (So does VACUUM FULL, which would not have to.)
 */
import { createHash } from 'node:crypto';
import { BreakwaterError } from '../../../base/errors.ts';
import { show } from '../../../cache/key.ts';
import { quoted } from '../table.ts';
import type { Sql } from './connection.ts';
import { type Lsn, parseLsn } from './lsn.ts';
import type { Mapping } from './mapping.ts';
import type { DeclaredTable, Settings } from './options.ts';
import { parseSnapshot, type Snapshot } from './snapshot.ts';

/** The mapped tables and all that is below them: partitions, and tables that inherit. One row a table. `$1`: their quoted names, `$2`: the publication. */
const DESCRIBE = `WITH RECURSIVE asked AS (
    SELECT ord::int - 1 AS ord, to_regclass(name)::oid AS oid FROM unnest($1::text[]) WITH ORDINALITY AS a(name, ord)),
  tree AS (SELECT ord, oid, true AS is_root FROM asked WHERE oid IS NOT NULL
    UNION SELECT tree.ord, i.inhrelid, false FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid)
  SELECT tree.ord, c.oid::int8::text, tree.is_root, c.relkind::text, c.relpersistence::text, quote_ident(n.nspname) || '.' || quote_ident(c.relname),
    c.relreplident::text, coalesce(pg_relation_filenode(c.oid), 0)::int8::text, c.relispartition,
    (SELECT coalesce(json_agg(json_build_array(a.attname, a.atttypid::int8::text, a.attgenerated <> '') ORDER BY a.attnum), '[]')
      FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)::text,
    c.relreplident = 'f' OR EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid
      AND ((c.relreplident = 'd' AND i.indisprimary) OR (c.relreplident = 'i' AND i.indisreplident))),
    EXISTS (SELECT FROM pg_publication p WHERE p.pubname = $2 AND (p.puballtables OR EXISTS (SELECT FROM pg_publication_rel r
      WHERE r.prpubid = p.oid AND (r.prrelid = c.oid OR r.prrelid IN (SELECT pg_partition_ancestors(c.oid))))
      OR EXISTS (SELECT FROM pg_publication_tables t WHERE t.pubname = p.pubname AND t.schemaname = n.nspname AND t.tablename = c.relname))),
    (SELECT p.oid::int8::text || ':' || p.xmin::text FROM pg_publication p WHERE p.pubname = $2),
    (SELECT p.pubinsert AND p.pubupdate AND p.pubdelete AND p.pubtruncate FROM pg_publication p WHERE p.pubname = $2),
    (SELECT to_jsonb(t)::text FROM pg_publication_tables t WHERE t.pubname = $2 AND t.schemaname = n.nspname AND t.tablename = c.relname)
  FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY 1, 2`;

/** One table of the tree. */
interface TableRow {
  readonly ord: number;
  readonly oid: number;
  readonly isRoot: boolean;
  readonly kind: string;
  readonly persistence: string;
  readonly sql: string;
  readonly replicaIdentity: string;
  readonly file: string;
  readonly isPartition: boolean;
  readonly columns: readonly (readonly [name: string, type: string, isGenerated: boolean])[];
  readonly hasIdentity: boolean;
  readonly isPublished: boolean;
  /** Of the publication: another one, or one with other settings, is another word. */
  readonly publication: string | null;
  /** All kinds of changes are sent. */
  readonly sendsAllKinds: boolean | null;
  /** Which columns and rows of it are sent, as JSON; null where it comes with its root. */
  readonly published: string | null;
}

/** The mapped tables as they are now. */
export interface Described {
  /** By declared table; the rows of none where there is no such table. */
  readonly trees: ReadonlyMap<DeclaredTable, readonly TableRow[]>;
  /** Whose mapping the rows of an oid have. */
  readonly mappingOf: ReadonlyMap<number, Mapping>;
  /** By table, as one word: definition and mapping. */
  readonly definitions: Readonly<Record<string, string>>;
  /** Tables whose changes are not all sent: they are not there, or not published, or not all of them. */
  readonly uncovered: readonly string[];
}

export async function describe(sql: Sql, { tables, publication }: Settings): Promise<Described> {
  const names = tables.map(({ sql: name }) => name);
  const rows = (await sql.rows(DESCRIBE, [names, publication])).map(tableRow);
  const trees = new Map<DeclaredTable, readonly TableRow[]>();
  const mappingOf = new Map<number, Mapping>();
  const definitions: Record<string, string> = {};
  const uncovered: string[] = [];
  tables.forEach((table, ord) => {
    const tree = rows.filter((row) => row.ord === ord);
    trees.set(table, tree);
    for (const { oid } of tree) mappingOf.set(oid, table.mapping);
    definitions[table.mapping.table] = definition(table, tree);
    if (tree.length === 0 || !tree.every(isSent)) uncovered.push(table.mapping.table);
  });
  return { trees, mappingOf, definitions, uncovered };
}

/** All changes of all rows. A column that is left out is none of it: who reads that finds its value unknown. */
function isSent({ isPublished, sendsAllKinds, published }: TableRow): boolean {
  if (!isPublished || sendsAllKinds !== true) return false;
  const { rowfilter = null } = published === null ? {} : (JSON.parse(published) as { rowfilter?: string | null });
  return rowfilter === null;
}

function tableRow(row: readonly unknown[]): TableRow {
  const [
    ord,
    oid,
    isRoot,
    kind,
    persistence,
    sql,
    replicaIdentity,
    file,
    isPartition,
    columns,
    hasIdentity,
    isPublished,
    publication,
    sendsAllKinds,
    published,
  ] = row as readonly [
    number,
    string,
    boolean,
    string,
    string,
    string,
    string,
    string,
    boolean,
    string,
    boolean,
    boolean,
    string | null,
    boolean | null,
    string | null,
  ];
  return {
    ord,
    oid: Number(oid),
    isRoot,
    kind,
    persistence,
    sql,
    replicaIdentity,
    file,
    isPartition,
    columns: JSON.parse(columns) as TableRow['columns'],
    hasIdentity,
    isPublished,
    publication,
    sendsAllKinds,
    published,
  };
}

/** The functions' text is part of it: who read the table with another mapping did not invalidate what this one would have. */
function definition({ mapping }: DeclaredTable, tree: readonly TableRow[]): string {
  const { columns, namespaces, keys, tags } = mapping;
  const mapped = [columns, namespaces, String(keys), String(tags)];
  const there = tree.map(({ oid, file, columns: own, replicaIdentity, isPublished, publication, published }) => [
    oid,
    file,
    own.map(([name, type]) => [name, type]),
    replicaIdentity,
    isPublished,
    publication,
    published,
  ]);
  return createHash('sha256')
    .update(JSON.stringify([mapped, there]))
    .digest('hex')
    .slice(0, 16);
}

/** What is wrong with single tables; the others can be followed all the same. */
export function tableProblems({ trees }: Described): BreakwaterError[] {
  const problems: BreakwaterError[] = [];
  const declaredAs = new Map<number, string>();
  for (const [{ mapping }, tree] of trees) {
    const root = tree.find(({ isRoot }) => isRoot);
    const again = tree.find(({ oid }) => declaredAs.has(oid));
    const problem = (code: string, why: string): void => {
      problems.push(new BreakwaterError(code, `cannot follow table ${mapping.table}: ${why}`));
    };
    if (root === undefined) {
      problem('SOURCE_TABLE_UNKNOWN', 'there is no such table');
      continue;
    }
    if (again !== undefined) {
      // One of the two would never be asked.
      problem('CHANGES_TABLE_TWICE', `${again.sql} is that of ${declaredAs.get(again.oid)} too; declare it once`);
    }
    for (const { oid } of tree) declaredAs.set(oid, mapping.table);
    const names = root.columns.map(([name]) => name);
    const missing = mapping.columns.filter((column) => !names.includes(column));
    if (missing.length > 0) {
      problem('SOURCE_COLUMN_UNKNOWN', `it has no column ${missing.map(show).join(', ')}; it has ${names.join(', ')}`);
    }
    if (root.kind !== 'r' && root.kind !== 'p') {
      problem('CHANGES_TABLE_UNSUPPORTED', 'it is no table with rows of its own (a view or a foreign table)');
    }
    if (tree.some(({ persistence }) => persistence !== 'p')) {
      problem('CHANGES_TABLE_UNSUPPORTED', 'it is temporary or unlogged, and such changes are in no log');
    }
  }
  return problems;
}

const SERVER = `SELECT current_setting('server_version_num')::int, current_setting('wal_level'), pg_is_in_recovery()`;

/** @throws BreakwaterError `CHANGES_SERVER_OLD`, `CHANGES_WAL_LEVEL`, `CHANGES_NOT_PRIMARY` */
export async function checkServer(sql: Sql, needsLogical: boolean): Promise<void> {
  const [row] = await sql.rows(SERVER);
  const [version, walLevel, isInRecovery] = row as readonly [number, string, boolean];
  if (version < 130_000) {
    throw new BreakwaterError('CHANGES_SERVER_OLD', `cannot follow changes: it needs Postgres 13, this is ${version}`);
  }
  if (isInRecovery) {
    throw new BreakwaterError(
      'CHANGES_NOT_PRIMARY',
      'cannot follow changes: this server is a replica; connect to the primary',
    );
  }
  if (needsLogical && walLevel !== 'logical') {
    throw new BreakwaterError(
      'CHANGES_WAL_LEVEL',
      `cannot follow changes: wal_level must be logical, and is ${walLevel}; set it (ALTER SYSTEM SET wal_level = logical) and restart the server, or use via: 'triggers'`,
    );
  }
}

const PUBLICATION = `SELECT pubinsert AND pubupdate AND pubdelete AND pubtruncate FROM pg_publication WHERE pubname = $1`;
/** As JSON: what these columns are depends on the server's version. */
const PUBLISHED = `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename), to_jsonb(t)::text FROM pg_publication_tables t WHERE pubname = $1`;

/**
 * Makes the publication, or adds to it what is missing, or says so.
 *
 * @returns whether tables were added
 * @throws BreakwaterError `CHANGES_PUBLICATION_MISSING`, `CHANGES_PUBLICATION_INCOMPLETE`, `CHANGES_NO_IDENTITY`, `CHANGES_NOT_ALLOWED`
 */
export async function ensurePublication(sql: Sql, described: Described, settings: Settings): Promise<boolean> {
  const name = quoted(settings.publication);
  const missing = [...described.trees.values()]
    .flat()
    // Partitions come with their root.
    .filter(({ isPublished, isRoot, isPartition }) => !isPublished && (isRoot || !isPartition));
  const [found] = await sql.rows(PUBLICATION, [settings.publication]);
  if (found !== undefined && found[0] !== true) {
    throw incomplete(
      settings,
      'it leaves out some kinds of changes',
      `ALTER PUBLICATION ${name} SET (publish = 'insert, update, delete, truncate')`,
    );
  }
  if (missing.length > 0 || found === undefined) {
    const list = missing
      .map((table) => (table.isRoot && table.kind === 'p' ? table.sql : `ONLY ${table.sql}`))
      .join(', ');
    const statement =
      found === undefined
        ? `CREATE PUBLICATION ${name} FOR TABLE ${list} WITH (publish_via_partition_root = true)`
        : `ALTER PUBLICATION ${name} ADD TABLE ${list}`;
    if (!settings.create) {
      if (found === undefined) {
        throw new BreakwaterError(
          'CHANGES_PUBLICATION_MISSING',
          `cannot follow changes: there is no publication ${name}, and it may not be made (create: false); ${statement}`,
        );
      }
      throw incomplete(settings, `it does not have ${missing.map((table) => table.sql).join(', ')}`, statement);
    }
    checkIdentity(described, missing);
    try {
      if (missing.length > 0) await sql.rows(statement);
    } catch (error) {
      // Another process was faster; what it made is looked at when we are asked again.
      if (!(error instanceof BreakwaterError) || error.code !== 'CHANGES_EXISTS') throw worded(error, statement);
    }
  }
  await checkPublished(sql, described, settings);
  return missing.length > 0;
}

/** Publishing a table whose rows cannot be identified would make Postgres refuse the application's own updates and deletes. */
function checkIdentity({ trees }: Described, missing: readonly TableRow[]): void {
  for (const [{ mapping }, tree] of trees) {
    if (!tree.some((row) => missing.includes(row))) continue;
    const nameless = tree.find(({ kind, hasIdentity }) => kind === 'r' && !hasIdentity);
    if (nameless === undefined) continue;
    throw new BreakwaterError(
      'CHANGES_NO_IDENTITY',
      `cannot follow table ${mapping.table}: ${nameless.sql} has no primary key and no other replica identity, so that publishing it would make Postgres refuse its updates and deletes; add a primary key, or ALTER TABLE ${nameless.sql} REPLICA IDENTITY FULL`,
    );
  }
}

async function checkPublished(sql: Sql, { trees }: Described, settings: Settings): Promise<void> {
  const published = new Map(
    (await sql.rows(PUBLISHED, [settings.publication])).map(([name, json]) => [
      name,
      JSON.parse(json as string) as {
        readonly attnames?: readonly string[] | null;
        readonly rowfilter?: string | null;
      },
    ]),
  );
  for (const [{ mapping }, tree] of trees) {
    for (const table of tree) {
      const row = published.get(table.sql);
      if (row === undefined) continue;
      const { attnames = null, rowfilter = null } = row;
      if (rowfilter !== null) {
        throw incomplete(settings, `it filters the rows of ${table.sql} (${rowfilter})`, 'take the WHERE away');
      }
      const generated = table.columns.filter(([, , isGenerated]) => isGenerated).map(([name]) => name);
      const hidden = mapping.columns.filter((one) =>
        attnames === null ? generated.includes(one) : !attnames.includes(one),
      );
      if (hidden.length > 0) {
        throw incomplete(
          settings,
          `it does not send column ${hidden.map(show).join(', ')} of ${table.sql}, which the mapping reads`,
          'a list of columns leaves it out, or it is a generated one',
        );
      }
    }
  }
}

function incomplete({ publication }: Settings, why: string, cure: string): BreakwaterError {
  return new BreakwaterError(
    'CHANGES_PUBLICATION_INCOMPLETE',
    `cannot follow changes: publication ${quoted(publication)} is not enough: ${why}; ${cure}`,
  );
}

function worded(error: unknown, statement: string): unknown {
  if (!(error instanceof BreakwaterError) || error.code !== 'CHANGES_NOT_ALLOWED') return error;
  return new BreakwaterError(error.code, `${error.message}; let somebody who may run: ${statement}`, {
    cause: error.cause,
  });
}

const SLOT = `SELECT plugin::text, database::text = current_database()::text, active_pid, confirmed_flush_lsn::text, wal_status, safe_wal_size::text,
    pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::int8::text
  FROM pg_replication_slots WHERE slot_name = $1`;

export interface Slot {
  /** The server's process that sends it; null = nobody reads it. */
  readonly activePid: number | null;
  readonly confirmed: Lsn;
  readonly isLost: boolean;
  readonly retainedBytes: number | null;
  readonly safeBytes: number | null;
}

/** @throws BreakwaterError `CHANGES_SLOT_FOREIGN`: it is somebody else's */
export async function slotOf(sql: Sql, name: string): Promise<Slot | null> {
  const [row] = await sql.rows(SLOT, [name]);
  if (row === undefined) return null;
  const [plugin, isHere, activePid, confirmed, status, safe, retained] = row as readonly (string | null)[];
  if (plugin !== 'pgoutput' || (isHere as unknown) !== true) {
    throw new BreakwaterError(
      'CHANGES_SLOT_FOREIGN',
      `cannot follow changes: slot "${name}" is of another plugin or database (${plugin ?? 'physical'}); give the changes another name`,
    );
  }
  return {
    activePid: (activePid as unknown as number | null) ?? null,
    // Not there while it is being made, and after it was lost.
    confirmed: confirmed == null ? 0n : parseLsn(confirmed),
    isLost: status === 'lost',
    retainedBytes: retained == null ? null : Number(retained),
    safeBytes: safe == null ? null : Number(safe),
  };
}

export interface Moment {
  /** End of what is in the log. */
  readonly endLsn: Lsn;
  readonly snapshot: Snapshot;
  /** The database's clock, ms since 1970. */
  readonly nowMs: number;
}

export async function momentOf(sql: Sql): Promise<Moment> {
  const [row] = await sql.rows(
    `SELECT pg_current_wal_flush_lsn()::text, pg_current_snapshot()::text, extract(epoch FROM clock_timestamp())::float8 * 1000`,
  );
  const [lsn, snapshot, nowMs] = row as readonly [string, string, number];
  return { endLsn: parseLsn(lsn), snapshot: parseSnapshot(snapshot), nowMs };
}

export async function snapshotOf(sql: Sql): Promise<Snapshot> {
  const [row] = await sql.rows('SELECT pg_current_snapshot()::text');
  return parseSnapshot(row?.[0]);
}
