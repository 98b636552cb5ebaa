/**
 * Whether a stream of changes could begin, asked of the database without making anything there: for who wants to know before the start (`breakwater gateway --check`).
 */
import { BreakwaterError } from '../../../base/errors.ts';
import { quoted } from '../table.ts';
import { checkServer, type Described, describe, slotOf, tableProblems } from './catalogue.ts';
import { Sql } from './connection.ts';
import { checkOptions, type PostgresChangesOptions, type Settings } from './options.ts';

const ROLE = `SELECT current_user::text, r.rolsuper OR r.rolreplication OR EXISTS (
      SELECT FROM pg_roles m WHERE m.rolname IN ('rds_replication', 'cloudsqlsuperuser') AND pg_has_role(current_user, m.oid, 'USAGE')),
    has_database_privilege(current_database(), 'CREATE'),
    current_setting('max_replication_slots')::int > (SELECT count(*) FROM pg_replication_slots)
  FROM pg_roles r WHERE r.rolname = current_user`;
const OWNED = `SELECT pg_has_role(current_user, c.relowner, 'USAGE'), has_table_privilege(c.oid, 'TRIGGER') FROM pg_class c WHERE c.oid = to_regclass($1)`;
const IDENTITY = `SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
  JOIN pg_class c ON c.oid = i.indrelid
  WHERE i.indrelid = to_regclass($1) AND ((c.relreplident = 'd' AND i.indisprimary) OR (c.relreplident = 'i' AND i.indisreplident))`;
const PUBLICATION = 'SELECT EXISTS (SELECT FROM pg_publication WHERE pubname = $1)';

export interface ChangesCheck {
  /** None: it could begin. */
  readonly problems: readonly BreakwaterError[];
  /** What works and costs more than it need. */
  readonly notes: readonly string[];
}

/**
 * Every problem there is: unknown tables and columns, `wal_level`, rights, tables whose rows have no identity, what `create: false` does
 * not find.
 *
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`; `SOURCE_FAILED` and its like where the database cannot be asked
 */
export async function checkChanges(options: PostgresChangesOptions, signal: AbortSignal): Promise<ChangesCheck> {
  const { via, ...settings } = checkOptions(options);
  const sql = await Sql.open(settings.connection, settings.name, signal);
  try {
    await checkServer(sql, via === 'replication');
    const described = await describe(sql, via === 'replication' ? settings : { ...settings, publication: '' });
    const problems = tableProblems(described);
    if (problems.length > 0) return { problems, notes: [] };
    if (via === 'triggers') return { problems: await triggerProblems(sql, described, settings), notes: [] };
    return { problems: await slotProblems(sql, described, settings), notes: await untold(sql, described) };
  } catch (error) {
    if (error instanceof BreakwaterError && error.code.startsWith('CHANGES_')) return { problems: [error], notes: [] };
    throw error;
  } finally {
    await sql.close();
  }
}

function problem(code: string, why: string): BreakwaterError {
  return new BreakwaterError(code, `cannot follow changes: ${why}`);
}

async function slotProblems(sql: Sql, { trees }: Described, settings: Settings): Promise<BreakwaterError[]> {
  const { name, publication, create, temporary } = settings;
  const problems: BreakwaterError[] = [];
  const [row = []] = await sql.rows(ROLE);
  const [role, mayReplicate, mayPublish, hasRoom] = row;
  if (mayReplicate !== true) {
    problems.push(
      problem(
        'CHANGES_NOT_ALLOWED',
        `the role "${role}" may not replicate: ALTER ROLE ${quoted(String(role))} REPLICATION`,
      ),
    );
  }
  const [found] = await sql.rows(PUBLICATION, [publication]);
  const isThere = found?.[0] === true;
  const missing = [...trees.values()]
    .flat()
    .filter(({ isPublished, isRoot, isPartition }) => !isPublished && (isRoot || !isPartition));
  if (!isThere && !create) {
    problems.push(
      problem(
        'CHANGES_PUBLICATION_MISSING',
        `there is no publication ${quoted(publication)}, and it may not be made (create: false)`,
      ),
    );
  } else if (missing.length > 0 && !create) {
    const tables = missing.map((table) => table.sql).join(', ');
    problems.push(
      problem(
        'CHANGES_PUBLICATION_INCOMPLETE',
        `publication ${quoted(publication)} does not have ${tables}, and it may not be changed (create: false)`,
      ),
    );
  } else if (missing.length > 0) {
    if (!isThere && mayPublish !== true) {
      problems.push(problem('CHANGES_NOT_ALLOWED', `the role "${role}" may not make a publication in this database`));
    }
    for (const table of missing) {
      const [rights] = await sql.rows(OWNED, [table.sql]);
      if (rights?.[0] !== true) {
        problems.push(
          problem('CHANGES_NOT_ALLOWED', `the role "${role}" may not publish ${table.sql}, which is not its own`),
        );
      }
      if (table.kind === 'r' && !table.hasIdentity) {
        problems.push(
          problem(
            'CHANGES_NO_IDENTITY',
            `${table.sql} has no primary key and no other replica identity, so that publishing it would make Postgres refuse its updates and deletes`,
          ),
        );
      }
    }
  }
  const slot = temporary ? null : await slotOf(sql, name);
  if (slot !== null) return problems;
  if (!create && !temporary)
    problems.push(
      problem('CHANGES_SLOT_MISSING', `there is no slot "${name}", and it may not be made (create: false)`),
    );
  else if (hasRoom !== true)
    problems.push(
      problem('CHANGES_SLOTS_EXHAUSTED', 'all replication slots of the server are in use (max_replication_slots)'),
    );
  return problems;
}

/** Mappings that read what the log does not have of the row before its change: exact for inserts alone. */
async function untold(sql: Sql, { trees }: Described): Promise<string[]> {
  const notes: string[] = [];
  for (const [{ mapping, sql: name }, tree] of trees) {
    if (tree.every(({ replicaIdentity }) => replicaIdentity === 'f')) continue;
    const identity = (await sql.rows(IDENTITY, [name])).map(([column]) => column);
    const columns = mapping.columns.filter((column) => !identity.includes(column));
    if (columns.length === 0) continue;
    notes.push(
      `an update or deletion in ${mapping.table} does not tell ${columns.join(', ')}, so that it invalidates ${mapping.namespaces.join(', ')} whole; ALTER TABLE ${name} REPLICA IDENTITY FULL makes it exact`,
    );
  }
  return notes;
}

async function triggerProblems(sql: Sql, { trees }: Described, { create }: Settings): Promise<BreakwaterError[]> {
  if (!create) return [];
  const problems: BreakwaterError[] = [];
  for (const table of [...trees.values()].flat()) {
    const [rights] = await sql.rows(OWNED, [table.sql]);
    if (rights?.[1] === true) continue;
    problems.push(problem('CHANGES_NOT_ALLOWED', `the role may not make triggers on ${table.sql}`));
  }
  return problems;
}
