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
 * **Many rows at once.** More than `foldAbove` rows of one table that wait are not read: its namespaces are invalidated, and what could be seen before that (by the snapshot that was taken then,
 * and the transaction that each row names) is deleted where it lies. So a transaction of a million rows costs memory for a batch. And the table itself is bounded, trigger-objects.ts says how.
 *
 * One reads at a time, by an advisory lock of the session that deletes. Two would do no harm, only twice the work.
 *
 * The price is the writer's: a row more for each row, and one NOTIFY a transaction, for which commits queue.
 */
import { pause } from '../../../cache/changes/pause.ts';
import { quoted } from '../table.ts';
import { checkServer, type Described, describe, snapshotOf } from './catalogue.ts';
import { Sql } from './connection.ts';
import { type Names, Plan, type Row } from './mapping.ts';
import { covers, doubts, writeMemory } from './memory.ts';
import type { Run } from './run.ts';
import { recallMemory } from './stream.ts';
import { definitionsOf, type Objects, objectsOf, prepared } from './trigger-objects.ts';

const STANDBY_MS = 1_000;
const POLL_MS = 1_000;
/** Rows that are read and invalidated together. */
const ROWS = 2_000;
/** Most rows that wait for the outbox. */
const MOST_HELD = 100_000;
/** Rows that one statement deletes: it must end within the deadline of a query. */
const DELETED_AT_ONCE = 20_000;

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
  /** By table: the rows that could be seen in that snapshot were folded, and that is only queued. */
  readonly #heldFolds = new Map<string, { readonly snapshot: string; readonly atMs: number }>();
  /** How many changes were not noted, as far as that was answered with a doubt; and as far as that doubt is certain to have come after them. */
  #over = 0n;
  #settledOver = 0n;
  /** Doubts to be repeated when every transaction before `xmax` is over. */
  #unsettled: { readonly over: bigint; readonly xmax: bigint }[] = [];
  /** The mark that was set last. */
  #mark: string | null = null;
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
    this.#over = this.#settledOver = memory?.lsn ?? 0n;
    await this.#lookAtBound(signal);
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
        await this.#lookAtBound(signal);
        await this.#lookAtTables(signal);
        lookedMs = target.clock.now();
      }
      await this.#settle(signal);
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
    const left = this.#left();
    const rows = (
      await this.#sql.rows(
        `SELECT id::text, mapped, before, after, extract(epoch FROM noted_at)::float8 * 1000 FROM ${table} c WHERE ${left.where} ORDER BY id LIMIT ${ROWS}`,
        left.values,
      )
    ).map(([id, mapped, before, after, atMs]) => ({ id, mapped, before, after, atMs })) as unknown as Noted[];
    if (rows.length === ROWS && (await this.#fold(signal))) return true;
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

  /** What is neither only queued nor part of what is. */
  #left(): { readonly where: string; readonly values: unknown[] } {
    const folds = [...this.#heldFolds];
    return {
      where: `id <> ALL($1::bigint[]) AND NOT EXISTS (SELECT FROM unnest($2::text[], $3::text[]) AS f(folded, snapshot)
        WHERE f.folded = c.mapped AND pg_visible_in_snapshot(c.xid, f.snapshot::pg_snapshot))`,
      values: [[...this.#held.keys()], folds.map(([mapped]) => mapped), folds.map(([, { snapshot }]) => snapshot)],
    };
  }

  /** Tables of which more waits than is told apart. @returns whether there was one */
  async #fold(signal: AbortSignal): Promise<boolean> {
    const { settings, counts, target } = this.#run;
    const { foldAbove } = settings;
    const left = this.#left();
    // Taken first: what is deleted later could be seen before the invalidation began.
    const [moment] = await this.#sql.rows('SELECT pg_current_snapshot()::text');
    const snapshot = String(moment?.[0]);
    const crowded = await this.#sql.rows(
      `SELECT mapped, extract(epoch FROM min(noted_at))::float8 * 1000, count(*)::int FROM ${quoted(this.#objects.table)} c
        WHERE ${left.where} AND pg_visible_in_snapshot(c.xid, $4::pg_snapshot) GROUP BY 1 HAVING count(*) > $5`,
      [...left.values, snapshot, foldAbove],
    );
    for (const [mapped, oldestMs, rows] of crowded as readonly (readonly [string, number, number])[]) {
      this.#oldestMs = oldestMs;
      const plan = this.#plans.get(mapped);
      if (plan === undefined) counts.unmappedRows += rows;
      else {
        const { namespaces, table } = plan.mapping;
        counts.rows += rows;
        counts.folded += 1;
        counts.namespaces += namespaces.length;
        const outcome = await target.invalidate({ namespaces: [...namespaces] }, signal);
        const reason = `more than ${foldAbove} changed rows of ${table} waited`;
        this.#run.tell({ what: 'folded', namespaces, reason, error: undefined });
        this.#run.delayed(Math.max(0, target.clock.now() - oldestMs));
        if (outcome === 'queued') {
          this.#heldFolds.set(mapped, { snapshot, atMs: target.clock.now() });
          continue;
        }
      }
      await this.#deleteFolded(mapped, snapshot, signal);
    }
    return crowded.length > 0;
  }

  async #deleteFolded(mapped: string, snapshot: string, signal: AbortSignal): Promise<void> {
    const table = quoted(this.#objects.table);
    for (;;) {
      signal.throwIfAborted();
      const [gone] = await this.#sql.rows(
        `WITH gone AS (DELETE FROM ${table} WHERE id = ANY(ARRAY(SELECT id FROM ${table}
          WHERE mapped = $1 AND pg_visible_in_snapshot(xid, $2::pg_snapshot) LIMIT ${DELETED_AT_ONCE})) RETURNING 1) SELECT count(*)::int FROM gone`,
        [mapped, snapshot],
      );
      if (Number(gone?.[0]) < DELETED_AT_ONCE) return;
    }
  }

  /** Tells the triggers how far we are, and learns of what they could not note. */
  async #lookAtBound(signal: AbortSignal): Promise<void> {
    const { settings } = this.#run;
    const { table, done, over } = this.#objects;
    const [row] = await this.#sql.rows(
      `SELECT coalesce((SELECT min(id) - 1 FROM ${quoted(table)}), pg_sequence_last_value(pg_get_serial_sequence($1, 'id')), 0)::text, (SELECT last_value + is_called::int FROM ${quoted(over)})::text`,
      [quoted(table)],
    );
    const [mark, noted] = row as readonly [string, string];
    if (mark !== this.#mark) {
      await this.#sql.rows('SELECT setval($1::regclass, $2::bigint)', [quoted(done), mark]);
      this.#mark = mark;
    }
    const tables = settings.tables.map(({ mapping }) => mapping.table);
    const { xmin, xmax } = await snapshotOf(this.#sql);
    if (BigInt(noted) !== this.#over) {
      await this.#doubt(tables, 'the table of changes was full, and what came then was not noted', signal);
      this.#over = BigInt(noted);
      // Who counted up may not have committed yet: once more when all have ended.
      if (xmin < xmax) this.#unsettled.push({ over: this.#over, xmax });
      else this.#settledOver = this.#over;
    }
    const due = this.#unsettled.filter((one) => one.xmax <= xmin);
    if (due.length === 0) return;
    this.#unsettled = this.#unsettled.filter((one) => one.xmax > xmin);
    await this.#doubt(tables, 'changes that were not noted can be seen now', signal, false);
    this.#settledOver = due.at(-1)!.over;
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
  async #settle(signal: AbortSignal): Promise<void> {
    const { target } = this.#run;
    for (const [mapped, { snapshot, atMs }] of this.#heldFolds) {
      if (!target.hasSettled(atMs)) continue;
      await this.#deleteFolded(mapped, snapshot, signal);
      this.#heldFolds.delete(mapped);
    }
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
    const text = writeMemory({
      system: this.#system,
      timeline: this.#timeline,
      lsn: this.#settledOver,
      tables: definitions,
    });
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
