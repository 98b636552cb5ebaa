/**
 * One attempt to follow by logical replication: check, stand by while another process reads, take the slot over when nobody does, read until something breaks.
 *
 * **Who reads.** A slot has one reader at a time, and the server itself sees to that; so the slot is the lock. It is bound to the very connection over which positions are acknowledged: who
 * has lost it cannot acknowledge any more, whatever it still believes. A lock beside it (advisory, or in the cache) would be a second truth that can disagree. Those who stand by ask once a
 * second over an ordinary connection, since connections for replication are few (`max_wal_senders`).
 *
 * A reader that dies closes its connection and is replaced within about a second; one that falls silent is cut off by the server after `wal_sender_timeout`, which is set
 * to {@link SENDER_TIMEOUT_S} for this connection.
 */
import { BreakwaterError } from '../../../base/errors.ts';
import { pause } from '../../../cache/changes/pause.ts';
import { quoted } from '../table.ts';
import {
  checkServer,
  type Described,
  describe,
  ensurePublication,
  type Slot,
  slotOf,
  tableProblems,
} from './catalogue.ts';
import { ReplicationLink, Sql } from './connection.ts';
import { covers } from './memory.ts';
import type { Settings } from './options.ts';
import type { Run } from './run.ts';
import { recallMemory, Stream } from './stream.ts';

/** Between two looks at a slot that another process reads: the most that a takeover waits, and a query a second for each that stands by. */
const STANDBY_MS = 1_000;
/** After so long without a word of ours the server gives the slot free. Several pings of ours fit in. */
const SENDER_TIMEOUT_S = 10;

export async function replicate(run: Run, signal: AbortSignal): Promise<void> {
  const { settings, target } = run;
  const sql = await Sql.open(settings.connection, settings.name, signal);
  try {
    await checkServer(sql, true);
    let described = await prepared(run, sql);
    while (!signal.aborted) {
      described = await standBy(run, sql, described, signal);
      const error = await readOnce(run, sql, described, signal);
      if (error === null) return;
      // Another one was faster.
      if (!isCode(error, 'CHANGES_SLOT_BUSY') && !isCode(error, 'CHANGES_EXISTS')) {
        if (isCode(error, 'CHANGES_SLOT_LOST')) await dropSlot(run, sql);
        throw error;
      }
      await pause(target.scheduler, STANDBY_MS / 10, signal);
    }
  } finally {
    await sql.close();
  }
}

/** @returns what ended it; null: it was stopped */
async function readOnce(run: Run, sql: Sql, described: Described, signal: AbortSignal): Promise<unknown> {
  const link = await ReplicationLink.open(run.settings.connection, run.settings.name, signal);
  try {
    await read(run, sql, link, described, signal);
    return null;
  } catch (error) {
    return error;
  } finally {
    await link.close();
  }
}

/** The server cannot send from it any more. The next attempt makes it anew, and everything before that is in doubt. */
async function dropSlot({ settings }: Run, sql: Sql): Promise<void> {
  if (!settings.create || settings.temporary) return;
  await sql.rows(
    'SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = $1 AND active_pid IS NULL',
    [settings.name],
  );
}

/** The tables as they are, and a publication that has them. */
async function prepared(run: Run, sql: Sql): Promise<Described> {
  const { settings } = run;
  let described = await describe(sql, settings);
  for (const problem of tableProblems(described)) {
    if (!run.hasBegun) throw problem;
    run.failed(problem);
  }
  for (let round = 0; round < 3; round += 1) {
    if (!(await ensurePublication(sql, described, settings))) return described;
    described = await describe(sql, settings);
  }
  return described;
}

/** Until nobody reads the slot. */
async function standBy(run: Run, sql: Sql, described: Described, signal: AbortSignal): Promise<Described> {
  const { settings, target } = run;
  if (settings.temporary) return described;
  let now = described;
  for (;;) {
    const slot = await slotOf(sql, settings.name);
    if (slot === null || slot.activePid === null) return now;
    const memory = await recallMemory(run, signal);
    // It is behind with the tables, or we are.
    if (!covers(memory, now.definitions)) now = await describe(sql, settings);
    run.gauges = { ...gaugesOf(slot), lagMs: () => null, lagBytes: null, position: null };
    run.standsBy(covers(memory, now.definitions));
    await pause(target.scheduler, STANDBY_MS * (0.75 + target.random.nextFloat() / 2), signal);
  }
}

async function read(
  run: Run,
  sql: Sql,
  link: ReplicationLink,
  described: Described,
  signal: AbortSignal,
): Promise<void> {
  const { settings } = run;
  await link.command(`SET wal_sender_timeout = '${SENDER_TIMEOUT_S}s'`);
  const { systemid, timeline } = await link.command('IDENTIFY_SYSTEM');
  const slotName = settings.temporary ? `${settings.name}_${link.pid}` : settings.name;
  const isNew = await ensureSlot(run, sql, link, slotName);
  const facts = { slotName, isNew, described, system: String(systemid), timeline: Number(timeline) };
  await new Stream(run, sql, link, facts).run(signal);
}

/** @returns whether it was made just now */
async function ensureSlot(run: Run, sql: Sql, link: ReplicationLink, name: string): Promise<boolean> {
  const { settings } = run;
  const slot = await slotOf(sql, name);
  if (slot !== null && !slot.isLost) return false;
  if (!settings.create && !settings.temporary) {
    if (slot !== null) throw lost(settings);
    throw new BreakwaterError(
      'CHANGES_SLOT_MISSING',
      `cannot follow changes: there is no slot "${name}", and it may not be made (create: false); SELECT pg_create_logical_replication_slot('${name}', 'pgoutput')`,
    );
  }
  if (slot !== null) await link.command(`DROP_REPLICATION_SLOT ${quoted(name)}`);
  // Waits until every transaction that is under way now has ended: from then on it has all of every transaction.
  const kind = settings.temporary ? 'TEMPORARY LOGICAL' : 'LOGICAL';
  await link.command(`CREATE_REPLICATION_SLOT ${quoted(name)} ${kind} pgoutput NOEXPORT_SNAPSHOT`);
  return true;
}

function lost({ name }: Settings): BreakwaterError {
  return new BreakwaterError(
    'CHANGES_SLOT_MISSING',
    `cannot follow changes: slot "${name}" was invalidated by the server (it kept too much log), and it may not be made anew (create: false); drop and create it`,
  );
}

export function gaugesOf({ retainedBytes, safeBytes }: Slot): Pick<Slot, 'retainedBytes' | 'safeBytes'> {
  return { retainedBytes, safeBytes };
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof BreakwaterError && error.code === code;
}
