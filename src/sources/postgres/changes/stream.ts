/**
 * Reading a slot: frames into batches, batches into invalidations, invalidations into positions.
 *
 *     link --frame--> intake --batch--> can everybody see it? --> invalidate --> done up to P
 *       ^                                                                            |
 *       '------- "done up to P" <-- the store remembers P <-- once a second ---------'
 *
 * Three positions, never in another order: *acknowledged* (the database may forget what is before it) <= *remembered* (by the store, memory.ts) <= *done*
 * (invalidated). What is only queued in the outbox is done and not remembered.
 */
import { BreakwaterError } from '../../../base/errors.ts';
import { pause } from '../../../cache/changes/pause.ts';
import { Deferred } from '../../../cache/waiting.ts';
import {
  type Described,
  describe,
  ensurePublication,
  momentOf,
  slotOf,
  snapshotOf,
  tableProblems,
} from './catalogue.ts';
import type { ReplicationLink, Sql } from './connection.ts';
import { type Batch, hasNames, Intake } from './intake.ts';
import { formatLsn, type Lsn } from './lsn.ts';
import type { Mapping } from './mapping.ts';
import { doubts, type Memory, readMemory, writeMemory } from './memory.ts';
import { type Relation, statusUpdate, unframe } from './pgoutput.ts';
import type { Run } from './run.ts';
import { isVisible } from './snapshot.ts';

/** Between two looks at the catalogue, pings and acknowledgements. Lower = less is repeated after a crash, DDL is seen sooner, and a write to the store more often. */
const TICK_MS = 1_000;
/** A server that has not answered pings for so long has gone, whatever TCP says. */
const SILENCE_MS = 10_000;
/** Between two looks whether a transaction can be seen, doubled up to the second. */
const LOOK_MS = { baseMs: 1, capMs: 100 };

export interface StreamFacts {
  readonly slotName: string;
  /** The slot was made just now. */
  readonly isNew: boolean;
  readonly described: Described;
  readonly system: string;
  readonly timeline: number;
}

export class Stream {
  readonly #run: Run;
  readonly #sql: Sql;
  readonly #link: ReplicationLink;
  readonly #facts: StreamFacts;
  readonly #intake: Intake;
  #described: Described;
  /** Oids that were looked up and belong to no mapped table. */
  readonly #unmapped = new Set<number>();
  #done: Lsn = 0n;
  #acknowledged: Lsn = 0n;
  /** Something queued then is not known to be acknowledged; null = nothing is. */
  #heldSinceMs: number | null = null;
  /** Tables in doubt whose namespaces are to be invalidated once more, when every transaction before `xmax` is over. */
  #unsettled: { readonly tables: readonly string[]; readonly namespaces: readonly string[]; readonly xmax: bigint }[] =
    [];
  /** What wakes the pump. */
  #wake: () => void = () => {};
  #isPaused = false;
  #flying: Batch | null = null;
  #heardMs: number;
  /** The database's clock minus ours. */
  #clockOffsetMs = 0;
  /** A position that was the end of the log at that time, by our clock, and was not done when we learned of it. */
  #aim: { readonly lsn: Lsn; readonly atMs: number } | null = null;
  #advancing: Promise<void> | null = null;
  /** What this stream had the store remember last. */
  #remembered: string | null = null;
  /** Rejects when the link has ended. */
  readonly #broken = new Deferred<never>();

  constructor(run: Run, sql: Sql, link: ReplicationLink, facts: StreamFacts) {
    this.#run = run;
    this.#sql = sql;
    this.#link = link;
    this.#facts = facts;
    this.#described = facts.described;
    this.#heardMs = run.target.clock.now();
    const { namespaces, foldAbove } = run.settings;
    this.#intake = new Intake(
      (relation) => this.#mappingOf(relation),
      namespaces,
      foldAbove,
      (doubt) => run.tell(doubt),
    );
  }

  /** Takes the slot, settles what may have been missed before, and reads until something breaks (rejects) or the signal fires (resolves, with what was done acknowledged). */
  async run(signal: AbortSignal): Promise<void> {
    await this.#take();
    const own = new AbortController();
    const stop = (): void => own.abort(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    // Whatever breaks first ends the others.
    const parts = [this.#follow(own.signal), this.#ping(own.signal), this.#broken.promise];
    try {
      await Promise.race(parts);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      const over = new BreakwaterError('CHANGES_STOPPED', 'the stream of changes has ended');
      own.abort(over);
      this.#broken.reject(over);
      await Promise.allSettled(parts);
      this.#collect();
      signal.removeEventListener('abort', stop);
    }
    // Stopped, not broken: the next reader need not repeat what was done.
    await this.#advance(AbortSignal.timeout(TICK_MS)).catch(() => undefined);
  }

  async #take(): Promise<void> {
    const { slotName } = this.#facts;
    const { publication } = this.#run.settings;
    const name = `"${publication.replaceAll('"', '""')}"`.replaceAll("'", "''");
    await this.#link.start(
      `START_REPLICATION SLOT "${slotName}" LOGICAL 0/0 (proto_version '1', publication_names '${name}')`,
      (bytes) => this.#frame(bytes),
      (error) => this.#broken.reject(error),
    );
  }

  async #follow(signal: AbortSignal): Promise<void> {
    const run = this.#run;
    const { settings } = run;
    const { slotName, isNew, system, timeline, described } = this.#facts;
    const found = await slotOf(this.#sql, slotName);
    if (found === null || found.activePid !== this.#link.pid) throw this.#exchanged();
    this.#done = this.#acknowledged = found.confirmed;
    const isFirst = isNew || settings.temporary;
    const memory = isFirst ? null : await recallMemory(run, signal);
    const confirmed = isFirst ? null : found.confirmed;
    const doubt = doubts(memory, { system, timeline, confirmed, tables: described.definitions });
    if (doubt !== null) await this.#doubt(doubt.tables, doubt.reason, signal);
    run.gauges = {
      lagMs: () => this.#lagMs(),
      lagBytes: null,
      retainedBytes: found.retainedBytes,
      safeBytes: found.safeBytes,
      position: formatLsn(this.#acknowledged),
    };
    run.activated(described.uncovered.length === 0);
    await Promise.race([this.#pump(signal), this.#tick(signal)]);
  }

  // -- from frames to positions

  #frame(bytes: Uint8Array): void {
    const frame = unframe(bytes);
    this.#heardMs = this.#run.target.clock.now();
    if (frame.kind === 'data') this.#intake.apply(frame.message);
    else {
      if (!this.#intake.isWithin) this.#intake.reached(frame.endLsn);
      if (frame.wantsReply) {
        // A server that shuts down waits until all is acknowledged.
        this.#report(false);
        void this.#advance(AbortSignal.timeout(TICK_MS)).catch(() => undefined);
      }
    }
    if (this.#intake.isFull && !this.#isPaused) {
      this.#isPaused = true;
      this.#link.pause();
    }
    this.#wake();
  }

  async #pump(signal: AbortSignal): Promise<void> {
    signal.addEventListener('abort', () => this.#wake(), { once: true });
    for (;;) {
      signal.throwIfAborted();
      if (this.#intake.isEmpty) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      const batch = this.#intake.take();
      if (this.#isPaused) {
        this.#isPaused = false;
        this.#link.resume();
      }
      this.#flying = batch;
      if (hasNames(batch)) await this.#deliver(batch, signal);
      if (batch.endLsn !== null && batch.endLsn > this.#done) this.#done = batch.endLsn;
      this.#flying = null;
      if (this.#aim !== null && this.#done >= this.#aim.lsn) this.#aim = null;
      this.#collect();
    }
  }

  async #deliver(batch: Batch, signal: AbortSignal): Promise<void> {
    const { target, counts } = this.#run;
    for (let attempt = 0; ; attempt += 1) {
      const snapshot = await snapshotOf(this.#sql);
      if ([...batch.xids].every((xid) => isVisible(xid, snapshot))) break;
      await pause(target.scheduler, Math.min(LOOK_MS.capMs, LOOK_MS.baseMs * 2 ** Math.min(attempt, 10)), signal);
    }
    if (batch.strangers.size > 0) await this.#lookUp(batch);
    const { keys, tags, namespaces } = batch;
    if (keys.size + tags.size + namespaces.size > 0) {
      const names = { keys: [...keys], tags: [...tags], namespaces: [...namespaces] };
      if ((await target.invalidate(names, signal)) === 'queued') this.#heldSinceMs = target.clock.now();
      counts.keys += keys.size;
      counts.tags += tags.size;
      counts.namespaces += namespaces.size;
    }
    const nowMs = target.clock.now() + this.#clockOffsetMs;
    for (const commitMs of batch.commitsMs) this.#run.delayed(Math.max(0, nowMs - commitMs));
  }

  /** The store remembers how far it is done, and then the database hears of it. One at a time. */
  #advance(signal: AbortSignal): Promise<void> {
    this.#advancing ??= this.#advanceOnce(signal).finally(() => {
      this.#advancing = null;
    });
    return this.#advancing;
  }

  async #advanceOnce(signal: AbortSignal): Promise<void> {
    const { settings, target, gauges } = this.#run;
    if (this.#heldSinceMs !== null) {
      if (!target.hasSettled(this.#heldSinceMs)) return;
      this.#heldSinceMs = null;
    }
    const lsn = this.#done;
    const { system, timeline } = this.#facts;
    if (!settings.temporary) {
      const tables: Record<string, string> = { ...this.#described.definitions };
      const doubtful = [...this.#unsettled.flatMap((one) => one.tables), ...this.#described.uncovered];
      for (const table of doubtful) tables[table] = '';
      const text = writeMemory({ system, timeline, lsn, tables });
      if (text !== this.#remembered) {
        await target.remember(settings.name, text, signal);
        this.#remembered = text;
      }
    }
    if (lsn <= this.#acknowledged) return;
    this.#acknowledged = lsn;
    gauges.position = formatLsn(lsn);
    this.#report(false);
  }

  #report(wantsReply: boolean): void {
    const nowMs = this.#run.target.clock.now();
    this.#link.send(statusUpdate(this.#done, this.#acknowledged, nowMs, wantsReply));
  }

  // -- once a second

  /** Apart from the rest, which may have to wait for the store: without word from us the server gives the slot free. */
  async #ping(signal: AbortSignal): Promise<void> {
    const { target } = this.#run;
    let silentTimes = 0;
    for (;;) {
      this.#report(true);
      await pause(target.scheduler, TICK_MS, signal);
      // Held back by us, it cannot be heard. Twice, because a process that was held up runs its timers before it reads.
      const isSilent = !this.#isPaused && target.clock.now() - this.#heardMs > SILENCE_MS;
      silentTimes = isSilent ? silentTimes + 1 : 0;
      if (silentTimes > 1) {
        throw new BreakwaterError('SOURCE_FAILED', `the stream of changes has been silent for ${SILENCE_MS} ms`);
      }
    }
  }

  async #tick(signal: AbortSignal): Promise<void> {
    const { target, gauges } = this.#run;
    for (;;) {
      const beganMs = target.clock.now();
      const moment = await momentOf(this.#sql);
      this.#clockOffsetMs = moment.nowMs - (beganMs + target.clock.now()) / 2;
      if (this.#done >= moment.endLsn) this.#aim = null;
      else this.#aim ??= { lsn: moment.endLsn, atMs: beganMs };
      const slot = await slotOf(this.#sql, this.#facts.slotName);
      if (slot === null || slot.activePid !== this.#link.pid) throw this.#exchanged();
      Object.assign(gauges, {
        retainedBytes: slot.retainedBytes,
        safeBytes: slot.safeBytes,
        lagBytes: Math.max(0, Number(moment.endLsn - this.#acknowledged)),
      });
      await this.#lookAtTables(signal);
      await this.#settle(moment.snapshot.xmin, signal);
      // A store that is away is no reason to stop: what is not remembered is not acknowledged, and that is all.
      await this.#advance(signal).catch((error: unknown) => {
        if (signal.aborted) throw error;
      });
      await pause(target.scheduler, TICK_MS, signal);
    }
  }

  /** What DDL has done. */
  async #lookAtTables(signal: AbortSignal): Promise<void> {
    const run = this.#run;
    const before = this.#described;
    const described = await describe(this.#sql, run.settings);
    const tables = Object.keys(described.definitions).filter(
      (table) => described.definitions[table] !== before.definitions[table],
    );
    if (tables.length === 0) return;
    this.#described = described;
    this.#unmapped.clear();
    this.#intake.learn();
    run.counts.schemaChanges += tables.length;
    await this.#doubt(tables, `changed in their definition: ${tables.join(', ')}`, signal, false);
    run.isCovered = described.uncovered.length === 0;
    for (const problem of tableProblems(described)) run.failed(problem);
    try {
      // Under its name there may be another table now, which nobody has published. What is added changes the definition, and is looked at once more.
      await ensurePublication(this.#sql, described, run.settings);
    } catch (error) {
      run.failed(error);
    }
  }

  // -- doubt

  /**
   * Invalidates the namespaces of tables now, and once more when every transaction that is under way now has ended: one that changed a row before and is seen only later may be in no
   * stream, and readers load the old row until then.
   */
  async #doubt(tables: readonly string[], reason: string, signal: AbortSignal, isGap = true): Promise<void> {
    const run = this.#run;
    const namespaces = [
      ...new Set(
        run.settings.tables
          .filter(({ mapping }) => tables.includes(mapping.table))
          .flatMap(({ mapping }) => mapping.namespaces),
      ),
    ];
    const { xmin, xmax } = await snapshotOf(this.#sql);
    if (xmin < xmax) this.#unsettled.push({ tables, namespaces, xmax });
    if (isGap) run.counts.gaps += 1;
    if ((await run.doubt(namespaces, reason, signal)) === 'queued') this.#heldSinceMs = run.target.clock.now();
  }

  async #settle(xmin: bigint, signal: AbortSignal): Promise<void> {
    const { target, counts } = this.#run;
    for (const one of [...this.#unsettled]) {
      if (xmin < one.xmax) continue;
      if ((await target.invalidate({ namespaces: one.namespaces }, signal)) === 'queued') {
        this.#heldSinceMs = target.clock.now();
      }
      counts.namespaces += one.namespaces.length;
      this.#unsettled = this.#unsettled.filter((other) => other !== one);
    }
  }

  #mappingOf({ oid }: Relation): Mapping | null | undefined {
    return this.#described.mappingOf.get(oid) ?? (this.#unmapped.has(oid) ? null : undefined);
  }

  /** Tables that were not there when we last looked: those below a mapped one count as a change of it, once. */
  async #lookUp(batch: Batch): Promise<void> {
    const { mappingOf } = await describe(this.#sql, this.#run.settings);
    this.#described = { ...this.#described, mappingOf };
    for (const oid of batch.strangers) {
      const mapping = mappingOf.get(oid);
      if (mapping === undefined) this.#unmapped.add(oid);
      else for (const namespace of mapping.namespaces) batch.namespaces.add(namespace);
    }
    this.#intake.learn();
  }

  #exchanged(): BreakwaterError {
    return new BreakwaterError(
      'SOURCE_FAILED',
      `slot "${this.#facts.slotName}" is not read by this connection: the two connections may lead to different servers`,
    );
  }

  // -- numbers

  /** Counts of the intake into those of the run, which outlives it. */
  #collect(): void {
    const { counts } = this.#run;
    const own = this.#intake.counts;
    for (const name of Object.keys(own) as (keyof typeof own)[]) {
      counts[name] += own[name];
      own[name] = 0;
    }
  }

  #lagMs(): number {
    const nowMs = this.#run.target.clock.now();
    const firstMs = this.#flying?.firstCommitMs ?? this.#intake.firstCommitMs;
    const byCommit = firstMs === null ? 0 : nowMs + this.#clockOffsetMs - firstMs;
    const byLog = this.#aim === null ? 0 : nowMs - this.#aim.atMs;
    const bySilence = nowMs - this.#heardMs > 2 * TICK_MS ? nowMs - this.#heardMs : 0;
    return Math.max(0, byCommit, byLog, bySilence);
  }
}

/** What cannot be read counts as not there: nothing waits for a store that is away. */
export async function recallMemory({ settings, target }: Run, signal: AbortSignal): Promise<Memory | null> {
  try {
    return readMemory(await target.recall(settings.name, signal));
  } catch {
    signal.throwIfAborted();
    return null;
  }
}
