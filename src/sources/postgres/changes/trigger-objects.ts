/**
 * What following by triggers needs in the database: two triggers on each table, the function that they call, the table of changes that it fills, and two sequences that bound it.
 *
 * **The bound.** While nobody reads, the table would grow with every change until the disk is full. So the trigger compares the number that its row would get with how far readers
 * have come (`..._done`, a sequence, since a sequence is read and set without waiting for any transaction). More than {@link MOST_NOTED} apart, it writes no row and counts up
 * `..._over` instead. Who reads finds that count changed, and takes it for what it is: changes that nobody can name. Rolled back transactions use numbers up too, and count as full
 * a little early; the reader's mark passes over them once a second.
 */
import { BreakwaterError } from '../../../base/errors.ts';
import { quoted } from '../table.ts';
import { type Described, describe, tableProblems } from './catalogue.ts';
import type { Sql } from './connection.ts';
import type { DeclaredTable } from './options.ts';
import type { Run } from './run.ts';

/** Rows of the table of changes beyond which no more are written: some 100 MB. */
const MOST_NOTED = 1_000_000;

export interface Objects {
  /** Of changes: `(id, noted_at, mapped, before, after, xid)`. */
  readonly table: string;
  readonly note: string;
  readonly rowTrigger: string;
  readonly truncateTrigger: string;
  readonly channel: string;
  /** Sequences: up to which id readers have come; how many changes were not noted because the table was full. */
  readonly done: string;
  readonly over: string;
}

export const objectsOf = (name: string): Objects => ({
  table: `${name}_change`,
  note: `${name}_note`,
  rowTrigger: `${name}_row`,
  truncateTrigger: `${name}_truncate`,
  channel: `${name}_change`,
  done: `${name}_change_done`,
  over: `${name}_change_over`,
});

/** Tables, their triggers, and the table of changes, made where they are missing. */
export async function prepared(run: Run, sql: Sql, objects: Objects): Promise<Described> {
  const { settings } = run;
  const described = await describe(sql, { ...settings, publication: '' });
  for (const problem of tableProblems(described)) {
    if (!run.hasBegun) throw problem;
    run.failed(problem);
  }
  const place = await ensureChangeTable(sql, objects, settings.create);
  for (const [table, tree] of described.trees) {
    for (const { sql: name, isRoot, isPartition, kind } of tree) {
      const wanted = [
        ...(isRoot || !isPartition ? [objects.rowTrigger] : []),
        ...(kind === 'r' ? [objects.truncateTrigger] : []),
      ];
      const found = new Map(
        (
          await sql.rows(
            `SELECT tgname::text, tgenabled = 'A' AND tgargs = $2::bytea FROM pg_trigger WHERE tgrelid = to_regclass($1)`,
            [
              name,
              Buffer.from(
                argumentsOf(table)
                  .map((one) => `${one}\0`)
                  .join(''),
              ),
            ],
          )
        ).map(([trigger, isGood]) => [trigger, isGood === true]),
      );
      for (const trigger of wanted) {
        if (found.get(trigger) === true) continue;
        if (!settings.create) throw missing(`trigger ${trigger} on ${name} (or it is disabled)`);
        await makeTrigger(sql, objects, place, table, name, trigger);
      }
    }
  }
  return described;
}

/** Where the table of changes is. */
interface Place {
  readonly schema: string;
  /** The sequence of its ids, quoted. */
  readonly ids: string;
}

async function ensureChangeTable(sql: Sql, objects: Objects, mayCreate: boolean): Promise<Place> {
  const { table, done, over } = objects;
  const find = async (): Promise<(Place & { readonly isWhole: boolean }) | null> => {
    const [row] = await sql.rows(
      `SELECT quote_ident(n.nspname), pg_get_serial_sequence(c.oid::regclass::text, 'id'),
        EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'xid' AND NOT a.attisdropped)
        AND 2 = (SELECT count(*) FROM pg_class s WHERE s.relnamespace = n.oid AND s.relkind = 'S' AND s.relname = ANY($2::name[]))
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`,
      [quoted(table), [done, over]],
    );
    return row === undefined ? null : { schema: String(row[0]), ids: String(row[1]), isWhole: row[2] === true };
  };
  const found = await find();
  if (found?.isWhole === true) return found;
  if (!mayCreate) throw missing(`table ${table} with its column xid and the sequences ${done} and ${over} beside it`);
  const lock = `PERFORM pg_advisory_xact_lock(hashtextextended('breakwater triggers', 0))`;
  await sql.rows(`DO $do$ BEGIN
    ${lock};
    CREATE TABLE IF NOT EXISTS ${quoted(table)} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
      mapped text NOT NULL, before text[], after text[], xid xid8 NOT NULL DEFAULT pg_current_xact_id());
  END $do$`);
  const made = await find();
  if (made === null) throw missing(`table ${table}`);
  const { schema } = made;
  const owner = `${schema}.${quoted(table)}`;
  await sql.rows(`DO $do$ BEGIN
    ${lock};
    ALTER TABLE ${owner} ADD COLUMN IF NOT EXISTS xid xid8 NOT NULL DEFAULT pg_current_xact_id();
    CREATE SEQUENCE IF NOT EXISTS ${schema}.${quoted(done)} MINVALUE 0 OWNED BY ${owner}.id;
    CREATE SEQUENCE IF NOT EXISTS ${schema}.${quoted(over)} MINVALUE 0 OWNED BY ${owner}.id;
  END $do$`);
  return made;
}

function missing(what: string): BreakwaterError {
  return new BreakwaterError(
    'CHANGES_TRIGGERS_MISSING',
    `cannot follow changes by triggers: there is no ${what}, and it may not be made (create: false)`,
  );
}

/** Which table it is, what of a row is written down (values as Postgres prints them), and the bound. */
function argumentsOf({ mapping }: DeclaredTable): readonly string[] {
  const values = mapping.columns.map((column) => {
    const value = `($1).${quoted(column)}`;
    return `CASE WHEN ${value} IS NOT NULL THEN format('%s', ${value}) END`;
  });
  return [mapping.table, `SELECT ARRAY[${values.join(', ')}]::text[]`, String(MOST_NOTED)];
}

async function makeTrigger(
  sql: Sql,
  objects: Objects,
  { schema, ids }: Place,
  table: DeclaredTable,
  on: string,
  trigger: string,
): Promise<void> {
  const isRow = trigger === objects.rowTrigger;
  const note = `${schema}.${quoted(objects.note)}`;
  const over = `${schema}.${quoted(objects.over)}`.replaceAll("'", "''");
  const literals = argumentsOf(table).map((one) => `'${one.replaceAll("'", "''")}'`);
  await sql.rows(`DO $do$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('breakwater triggers', 0));
    CREATE OR REPLACE FUNCTION ${note}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET datestyle = 'ISO' AS $note$
    DECLARE old_row text[]; new_row text[]; next_id bigint := nextval('${ids.replaceAll("'", "''")}');
    BEGIN
      IF next_id - (SELECT last_value FROM ${schema}.${quoted(objects.done)}) > TG_ARGV[2]::bigint THEN
        PERFORM nextval('${over}');
        PERFORM pg_notify('${objects.channel}', '');
        RETURN NULL;
      END IF;
      IF TG_LEVEL = 'ROW' THEN
        -- A column may have gone since: that is a doubt for who reads, and no reason to refuse the writer's row.
        BEGIN
          IF TG_OP <> 'INSERT' THEN EXECUTE TG_ARGV[1] INTO old_row USING OLD; END IF;
          IF TG_OP <> 'DELETE' THEN EXECUTE TG_ARGV[1] INTO new_row USING NEW; END IF;
        EXCEPTION WHEN OTHERS THEN
          old_row := NULL;
          new_row := NULL;
        END;
      END IF;
      INSERT INTO ${schema}.${quoted(objects.table)} (id, mapped, before, after) OVERRIDING SYSTEM VALUE VALUES (next_id, TG_ARGV[0], old_row, new_row);
      PERFORM pg_notify('${objects.channel}', '');
      RETURN NULL;
    END $note$;
    DROP TRIGGER IF EXISTS ${quoted(trigger)} ON ${on};
    CREATE TRIGGER ${quoted(trigger)} AFTER ${isRow ? 'INSERT OR UPDATE OR DELETE' : 'TRUNCATE'} ON ${on}
      FOR EACH ${isRow ? 'ROW' : 'STATEMENT'} EXECUTE FUNCTION ${note}(${literals.join(', ')});
    ALTER TABLE ${on} ENABLE ALWAYS TRIGGER ${quoted(trigger)};
  END $do$`);
}

/** As without triggers, and which triggers there are: one that was dropped or disabled for a while is another one, or has another definition. */
export async function definitionsOf(
  sql: Sql,
  { definitions, trees }: Described,
  objects: Objects,
): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for (const [{ mapping }, tree] of trees) {
    const oids = tree.map(({ oid }) => String(oid));
    const rows = await sql.rows(
      `SELECT coalesce(string_agg(oid::int8::text || tgenabled::text, ',' ORDER BY oid), '') FROM pg_trigger WHERE tgrelid = ANY($1::oid[]) AND tgname = ANY($2::name[])`,
      [oids, [objects.rowTrigger, objects.truncateTrigger]],
    );
    found[mapping.table] = `${definitions[mapping.table]}:${String(rows[0]?.[0])}`;
  }
  return found;
}
