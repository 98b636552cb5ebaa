/**
 * One attempt to follow by triggers: where logical replication is not to be had. A trigger on each table writes every changed row into a table of changes, in the writer's own
 * transaction; whoever follows reads that table, invalidates, and deletes what it has read.
 *
 * **Why it deletes and does not count up.** Ids are given when a row is written and become visible when its transaction commits: 7 may be seen long after 8. A reader that asks for
 * `id > last` passes over 7 for ever. Here what is there is what is left to do, whatever its number.
 *
 * That a row can be read means that its transaction can be seen by all who ask from now on, so nothing has to be waited for. It is deleted only when its invalidation is acknowledged: a crash
 * before that reads it again. NOTIFY says that there is something; it may get lost, and the table is looked at every {@link POLL_MS} all the same.
 *
 * One reads at a time, by an advisory lock of the session that deletes. Two would do no harm, only twice the work.
 *
 * The price is the writer's: a row more for each row, and one NOTIFY a transaction, for which commits queue.
 */
import { BreakwaterError } from '../../../base/errors.ts';
import { pause } from '../../../cache/changes/pause.ts';
import { quoted } from '../table.ts';
import { checkServer, type Described, describe, tableProblems } from './catalogue.ts';
import { Sql } from './connection.ts';
import { type Names, Plan, type Row } from './mapping.ts';
import { covers, doubts, writeMemory } from './memory.ts';
import type { DeclaredTable } from './options.ts';
import type { Run } from './run.ts';
import { recallMemory } from './stream.ts';

const STANDBY_MS = 1_000;
const POLL_MS = 1_000;
/** Rows that are read and invalidated together. */
const ROWS = 2_000;
/** Most rows that wait for the outbox. */
const MOST_HELD = 100_000;

interface Objects {
  readonly table: string;
  readonly note: string;
  readonly rowTrigger: string;
  readonly truncateTrigger: string;
  readonly channel: string;
}

const objectsOf = (name: string): Objects => ({
  table: `${name}_change`,
  note: `${name}_note`,
  rowTrigger: `${name}_row`,
  truncateTrigger: `${name}_truncate`,
  channel: `${name}_change`,
});

export async function followTriggers(run: Run, signal: AbortSignal): Promise<void> {
  const { settings, target } = run;
  const objects = objectsOf(settings.name);
  const sql = await Sql.open(settings.connection, settings.name, signal);
  try {
    await checkServer(sql, false);
    const described = await prepared(run, sql, objects);
    const [identity] = await sql.rows(
      `SELECT (SELECT system_identifier::text FROM pg_control_system()), left(pg_walfile_name(pg_current_wal_lsn()), 8)`,
    );
    const system = String(identity?.[0]);
    const timeline = Number.parseInt(String(identity?.[1]), 16);
    for (;;) {
      const [lock] = await sql.rows(`SELECT pg_try_advisory_lock(hashtextextended($1, 0))`, [
        `breakwater changes ${settings.name}`,
      ]);
      if (lock?.[0] === true) break;
      run.standsBy(covers(await recallMemory(run, signal), await definitionsOf(sql, described, objects)));
      await pause(target.scheduler, STANDBY_MS * (0.75 + target.random.nextFloat() / 2), signal);
    }
    await new Reader(run, sql, objects, system, timeline).read(described, signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    await sql.close();
  }
}

/** Tables, their triggers, and the table of changes, made where they are missing. */
async function prepared(run: Run, sql: Sql, objects: Objects): Promise<Described> {
  const { settings } = run;
  const described = await describe(sql, { ...settings, publication: '' });
  for (const problem of tableProblems(described)) {
    if (!run.hasBegun) throw problem;
    run.failed(problem);
  }
  const isThere = (await sql.rows('SELECT to_regclass($1) IS NOT NULL', [quoted(objects.table)]))[0]![0] === true;
  if (!isThere) {
    if (!settings.create) throw missing(`table ${objects.table}`);
    const table = quoted(objects.table);
    await sql.rows(`DO $do$ BEGIN
      PERFORM pg_advisory_xact_lock(hashtextextended('breakwater triggers', 0));
      CREATE TABLE IF NOT EXISTS ${table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, noted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        mapped text NOT NULL, before text[], after text[]);
    END $do$`);
  }
  const [place] = await sql.rows(
    `SELECT quote_ident(n.nspname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`,
    [quoted(objects.table)],
  );
  const schema = String(place?.[0]);
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
        await makeTrigger(sql, objects, schema, table, name, trigger);
      }
    }
  }
  return described;
}

function missing(what: string): BreakwaterError {
  return new BreakwaterError(
    'CHANGES_TRIGGERS_MISSING',
    `cannot follow changes by triggers: there is no ${what}, and it may not be made (create: false)`,
  );
}

/** Which table it is, and what of a row is written down: values as Postgres prints them. */
function argumentsOf({ mapping }: DeclaredTable): readonly string[] {
  const values = mapping.columns.map((column) => {
    const value = `($1).${quoted(column)}`;
    return `CASE WHEN ${value} IS NOT NULL THEN format('%s', ${value}) END`;
  });
  return [mapping.table, `SELECT ARRAY[${values.join(', ')}]::text[]`];
}

async function makeTrigger(
  sql: Sql,
  objects: Objects,
  schema: string,
  table: DeclaredTable,
  on: string,
  trigger: string,
): Promise<void> {
  const isRow = trigger === objects.rowTrigger;
  const note = `${schema}.${quoted(objects.note)}`;
  const literals = argumentsOf(table).map((one) => `'${one.replaceAll("'", "''")}'`);
  await sql.rows(`DO $do$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('breakwater triggers', 0));
    CREATE OR REPLACE FUNCTION ${note}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog SET datestyle = 'ISO' AS $note$
    DECLARE old_row text[]; new_row text[];
    BEGIN
      IF TG_LEVEL = 'ROW' THEN
        IF TG_OP <> 'INSERT' THEN EXECUTE TG_ARGV[1] INTO old_row USING OLD; END IF;
        IF TG_OP <> 'DELETE' THEN EXECUTE TG_ARGV[1] INTO new_row USING NEW; END IF;
      END IF;
      INSERT INTO ${schema}.${quoted(objects.table)} (mapped, before, after) VALUES (TG_ARGV[0], old_row, new_row);
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
async function definitionsOf(
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

interface Noted {
  readonly id: string;
  readonly mapped: string;
  readonly before: readonly (string | null)[] | null;
  readonly after: readonly (string | null)[] | null;
  readonly atMs: number;
}

class Reader {
  readonly #run: Run;
  readonly #sql: Sql;
  readonly #objects: Objects;
  readonly #system: string;
  readonly #timeline: number;
  readonly #plans = new Map<string, Plan>();
  /** Invalidated and only queued: not to be deleted, and not to be read again. */
  readonly #held = new Map<string, number>();
  #definitions: Record<string, string> = {};
  #wake: () => void = () => {};
  #isNotified = false;
  #oldestMs: number | null = null;
  /** Namespaces were only queued then: the store may not remember that they are as they should be. */
  #heldSinceMs: number | null = null;

  constructor(run: Run, sql: Sql, objects: Objects, system: string, timeline: number) {
    this.#run = run;
    this.#sql = sql;
    this.#objects = objects;
    this.#system = system;
    this.#timeline = timeline;
    for (const { mapping } of run.settings.tables) {
      const columns = mapping.columns.map((name) => ({ name, isIdentity: true, type: 0 }));
      this.#plans.set(mapping.table, new Plan(mapping, { columns }));
    }
  }

  async read(described: Described, signal: AbortSignal): Promise<void> {
    const run = this.#run;
    const { target } = run;
    this.#sql.onNotice(() => {
      this.#isNotified = true;
      this.#wake();
    });
    await this.#sql.rows(`LISTEN ${quoted(this.#objects.channel)}`);
    this.#definitions = await definitionsOf(this.#sql, described, this.#objects);
    const memory = await recallMemory(run, signal);
    const present = { system: this.#system, timeline: this.#timeline, confirmed: 0n, tables: this.#definitions };
    const doubt = doubts(memory, present);
    if (doubt !== null) await this.#doubt(doubt.tables, doubt.reason, signal);
    run.gauges = {
      lagMs: () => (this.#oldestMs === null ? 0 : Math.max(0, target.clock.now() - this.#oldestMs)),
      lagBytes: null,
      retainedBytes: null,
      safeBytes: null,
      position: null,
    };
    run.activated([...described.trees.values()].every((tree) => tree.length > 0));
    let lookedMs = Number.NEGATIVE_INFINITY;
    for (;;) {
      signal.throwIfAborted();
      this.#isNotified = false;
      if (target.clock.now() - lookedMs >= POLL_MS) {
        await this.#lookAtTables(signal);
        lookedMs = target.clock.now();
      }
      await this.#settle();
      const isMore = await this.#round(signal);
      if (!isMore && !this.#isNotified) await this.#wait(signal);
    }
  }

  /** Until something is noted, at most {@link POLL_MS}. */
  async #wait(signal: AbortSignal): Promise<void> {
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    const own = new AbortController();
    const stop = (): void => own.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    const poll = pause(this.#run.target.scheduler, POLL_MS, own.signal);
    poll.catch(() => undefined);
    await Promise.race([woken, poll]).finally(() => {
      own.abort();
      signal.removeEventListener('abort', stop);
    });
  }

  /** @returns whether there may be more */
  async #round(signal: AbortSignal): Promise<boolean> {
    const { target, counts } = this.#run;
    if (this.#held.size >= MOST_HELD) return false;
    const table = quoted(this.#objects.table);
    const rows = (
      await this.#sql.rows(
        `SELECT id::text, mapped, before, after, extract(epoch FROM noted_at)::float8 * 1000 FROM ${table} WHERE id <> ALL($1::bigint[]) ORDER BY id LIMIT ${ROWS}`,
        [[...this.#held.keys()]],
      )
    ).map(([id, mapped, before, after, atMs]) => ({ id, mapped, before, after, atMs })) as unknown as Noted[];
    if (rows.length === 0) {
      this.#oldestMs = null;
      return false;
    }
    this.#oldestMs = rows[0]!.atMs;
    const names: Names = { keys: new Set(), tags: new Set(), namespaces: new Set() };
    for (const row of rows) this.#map(row, names);
    const { keys, tags, namespaces } = names;
    const what = { keys: [...keys], tags: [...tags], namespaces: [...namespaces] };
    counts.keys += keys.size;
    counts.tags += tags.size;
    counts.namespaces += namespaces.size;
    const ids = rows.map(({ id }) => id);
    const isEmpty = keys.size + tags.size + namespaces.size === 0;
    if (!isEmpty && (await target.invalidate(what, signal)) === 'queued') {
      for (const id of ids) this.#held.set(id, target.clock.now());
      return rows.length === ROWS;
    }
    await this.#sql.rows(`DELETE FROM ${table} WHERE id = ANY($1::bigint[])`, [ids]);
    for (const { atMs } of rows) this.#run.delayed(Math.max(0, target.clock.now() - atMs));
    return rows.length === ROWS;
  }

  #map({ mapped, before, after }: Noted, names: Names): void {
    const run = this.#run;
    const { counts } = run;
    const plan = this.#plans.get(mapped);
    if (plan === undefined) {
      counts.unmappedRows += 1;
      return;
    }
    const { namespaces, table } = plan.mapping;
    if (before === null && after === null) {
      counts.truncated += 1;
      for (const namespace of namespaces) names.namespaces.add(namespace);
      return;
    }
    counts.rows += 1;
    const kind = before === null ? 'insert' : after === null ? 'delete' : 'update';
    const outcome = plan.map(
      { kind, before: rowOf(before), beforeIs: before === null ? null : 'full', after: rowOf(after) },
      names,
    );
    if (outcome.kind !== 'failed') return;
    counts.mappingFailures += 1;
    run.tell({
      what: 'mapping',
      namespaces,
      reason: `the mapping of ${table} failed: ${String(outcome.error)}`,
      error: outcome.error,
    });
  }

  /** What was queued and has been acknowledged since. */
  async #settle(): Promise<void> {
    const { target } = this.#run;
    const done = [...this.#held].filter(([, atMs]) => target.hasSettled(atMs)).map(([id]) => id);
    if (done.length === 0) return;
    await this.#sql.rows(`DELETE FROM ${quoted(this.#objects.table)} WHERE id = ANY($1::bigint[])`, [done]);
    for (const id of done) this.#held.delete(id);
  }

  /** What DDL has done, triggers included; what is missing is made again. */
  async #lookAtTables(signal: AbortSignal): Promise<void> {
    const run = this.#run;
    const { settings, target } = run;
    const described = await describe(this.#sql, { ...settings, publication: '' });
    let definitions = await definitionsOf(this.#sql, described, this.#objects);
    const changed = Object.keys(definitions).filter((table) => definitions[table] !== this.#definitions[table]);
    if (changed.length > 0) {
      run.counts.schemaChanges += changed.length;
      try {
        definitions = await definitionsOf(this.#sql, await prepared(run, this.#sql, this.#objects), this.#objects);
        run.isCovered =
          described.uncovered.length === 0 || [...described.trees.values()].every((tree) => tree.length > 0);
      } catch (error) {
        run.isCovered = false;
        run.failed(error);
      }
      this.#definitions = definitions;
      await this.#doubt(changed, `changed in their definition: ${changed.join(', ')}`, signal, false);
    }
    if (this.#heldSinceMs !== null) {
      if (!target.hasSettled(this.#heldSinceMs)) return;
      this.#heldSinceMs = null;
    }
    const text = writeMemory({ system: this.#system, timeline: this.#timeline, lsn: 0n, tables: definitions });
    await target.remember(settings.name, text, signal).catch(() => undefined);
  }

  async #doubt(tables: readonly string[], reason: string, signal: AbortSignal, isGap = true): Promise<void> {
    const { settings, counts } = this.#run;
    const mappings = settings.tables.map(({ mapping }) => mapping).filter(({ table }) => tables.includes(table));
    if (isGap) counts.gaps += 1;
    const namespaces = [...new Set(mappings.flatMap((mapping) => mapping.namespaces))];
    if ((await this.#run.doubt(namespaces, reason, signal)) === 'queued') {
      this.#heldSinceMs = this.#run.target.clock.now();
    }
  }
}

function rowOf(values: readonly (string | null)[] | null): Row | null {
  return values === null ? null : { text: (column) => values[column] ?? null };
}
