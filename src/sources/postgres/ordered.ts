/**
 * Writes that may come twice, late and in any order, and are applied in one: the sink of write-behind.
 *
 * What was applied last is kept in a table of its own beside the target, one row an id, also of ids that were deleted:
 *
 *     breakwater_order   target     key    version
 *                        product    42     21474836481     the row of 42, or its absence, is that write
 *                        product    ''     5               the epoch of the target
 *
 * A batch is one transaction of these statements:
 *
 *   1. INSERT INTO breakwater_order ... ON CONFLICT DO UPDATE ... WHERE version < EXCLUDED.version RETURNING key
 *   2. upsert and delete the rows of the keys that came back
 *
 * Step 1 takes the row locks in the order of keys, so two batches cannot deadlock over them, and whoever comes second for an id waits and then compares with what the
 * first has committed. Statements of their own, and not one with several parts: all parts of one statement see the rows of when *it* began, and a delete that
 * has waited in 1 would not find the row that the other one has inserted meanwhile. It would stay, for ever.
 *
 * Why not a column in the table itself: a row that is deleted takes its version with it, and a write that comes late would bring the row back. And the application's table
 * stays as it is. The price is a second row written for each row.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { OrderedChange, OrderedSink } from '../port.ts';
import { type PostgresQuery, sqlState } from './connection.ts';
import type { Statement } from './statement.ts';
import { quoted } from './table.ts';

export const ORDER_TABLE = 'breakwater_order';

interface Place {
  readonly table: string;
  /** In the column `target`. */
  readonly target: string;
  /** For everybody who shares the order. */
  readonly name: string;
}

export interface OrderedParts<Row> {
  readonly database: Statement;
  /** The table as SQL. */
  readonly from: string;
  /** The statements that change the rows. @throws BreakwaterError */
  plan(changes: ReadonlyMap<string, Row | null>, signal: AbortSignal | undefined): Promise<readonly PostgresQuery[]>;
  /** @throws BreakwaterError */
  accept(id: string, row: Row): void;
}

const NOTHING = { rows: [], fields: [] };
const PLACE = `SELECT n.nspname::text, c.relname::text, current_database()::text
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`;

export function orderedSink<Row extends object>({ database, from, plan, accept }: OrderedParts<Row>): OrderedSink<Row> {
  let known: Place | null = null;
  const place = async (signal: AbortSignal | undefined): Promise<Place> => {
    known ??= await findPlace(database, from, signal);
    return known;
  };
  return {
    accept,
    target: async ({ signal } = {}) => (await place(signal)).name,
    apply: async (changes, { signal } = {}) => {
      const { table, target } = await place(signal);
      // What cannot be a row is said before anything is locked.
      await plan(valuesOf(changes), signal);
      try {
        return await applyAll(database, table, target, changes, plan, signal);
      } catch (error) {
        throw isAboutRights(error) ? notNow(error) : error;
      }
    },
    applied: async (ids, { signal } = {}) => {
      const { table, target } = await place(signal);
      if (ids.length === 0) return new Map();
      const text = `SELECT o.key, o.version FROM ${table} o WHERE o.target = $1 AND o.key = ANY($2::text[])`;
      return versionsOf((await database.read(text, [target, ids], signal)).rows);
    },
    epoch: async (by, atLeast, { signal } = {}) => {
      const { table, target } = await place(signal);
      const text = `INSERT INTO ${table} AS o (target, key, version) VALUES ($1, '', greatest($2::int8, $3::int8))
  ON CONFLICT (target, key) DO UPDATE SET version = greatest(o.version + $2::int8, $3::int8) RETURNING o.version`;
      const { rows } = await database.write(text, [target, by, atLeast], signal);
      return Number(rows[0]![0]);
    },
  };
}

async function applyAll<Row extends object>(
  database: Statement,
  table: string,
  target: string,
  changes: ReadonlyMap<string, OrderedChange<Row>>,
  plan: OrderedParts<Row>['plan'],
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, number>> {
  const versions = new Map<string, number>();
  if (changes.size === 0) return versions;
  const ids = [...changes.keys()];
  const claim = {
    text: `INSERT INTO ${table} AS o (target, key, version)
  SELECT $1, a.key, a.version FROM unnest($2::text[], $3::int8[]) AS a (key, version) ORDER BY a.key
  ON CONFLICT (target, key) DO UPDATE SET version = EXCLUDED.version WHERE o.version < EXCLUDED.version RETURNING o.key`,
    values: [target, ids, ids.map((id) => changes.get(id)!.version)],
  };
  await database.transaction(async (run) => {
    versions.clear();
    const won = new Map<string, OrderedChange<Row>>();
    for (const [id] of (await run(claim)).rows) {
      const change = changes.get(id as string)!;
      won.set(id as string, change);
      versions.set(id as string, change.version);
    }
    for (const query of await plan(valuesOf(won), signal)) await run(query);
    const late = ids.filter((id) => !won.has(id));
    if (late.length === 0) return NOTHING;
    const text = `SELECT o.key, o.version FROM ${table} o WHERE o.target = $1 AND o.key = ANY($2::text[])`;
    for (const [id, version] of versionsOf((await run({ text, values: [target, late] })).rows))
      versions.set(id, version);
    return NOTHING;
  }, signal);
  return versions;
}

function valuesOf<Row>(changes: ReadonlyMap<string, OrderedChange<Row>>): Map<string, Row | null> {
  return new Map(Array.from(changes, ([id, { value }]) => [id, value]));
}

function versionsOf(rows: readonly (readonly unknown[])[]): Map<string, number> {
  return new Map(rows.map(([id, version]) => [id as string, Number(version)]));
}

/** Syntax and rights are about the statement and not about a row: somebody will mend them, and the writes wait. */
function isAboutRights(error: unknown): boolean {
  return error instanceof BreakwaterError && sqlState(error.cause)?.startsWith('42') === true;
}

function notNow(error: unknown): BreakwaterError {
  return new BreakwaterError('SOURCE_FAILED', (error as BreakwaterError).message, { cause: error });
}

/** @throws BreakwaterError `SOURCE_TABLE_UNKNOWN`, `SOURCE_ORDER_TABLE` */
async function findPlace(database: Statement, from: string, signal: AbortSignal | undefined): Promise<Place> {
  const { rows } = await database.read(PLACE, [from], signal);
  const [row] = rows as readonly (readonly [schema: string, name: string, database: string])[];
  if (row === undefined) {
    throw new BreakwaterError('SOURCE_TABLE_UNKNOWN', `cannot write to ${database.name}: there is no such table`);
  }
  const [schema, target, databaseName] = row;
  const table = `${quoted(schema)}.${quoted(ORDER_TABLE)}`;
  const isThere = await database.read('SELECT to_regclass($1) IS NOT NULL', [table], signal);
  if (isThere.rows[0]![0] !== true) await makeTable(database, table, signal);
  return { table, target, name: `${databaseName}.${schema}.${target}` };
}

async function makeTable(database: Statement, table: string, signal: AbortSignal | undefined): Promise<void> {
  const text = `CREATE TABLE IF NOT EXISTS ${table} (target text NOT NULL, key text NOT NULL, version bigint NOT NULL, PRIMARY KEY (target, key)) WITH (fillfactor = 70)`;
  try {
    await database.write(text, [], signal);
  } catch (error) {
    // Two processes at once: "if not exists" does not wait for the other one.
    const isThere = await database.read('SELECT to_regclass($1) IS NOT NULL', [table], signal);
    if (isThere.rows[0]![0] === true) return;
    throw new BreakwaterError(
      'SOURCE_ORDER_TABLE',
      `cannot write behind to ${database.name}: it needs the table ${table}, which could not be made; make it: ${text}`,
      { cause: error },
    );
  }
}
