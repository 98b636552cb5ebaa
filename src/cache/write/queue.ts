/**
 * The write-behind queue of one cache in one process.
 *
 *     write --> room? --> group: versions drawn, records appended, one fdatasync --> pending, shown to all --> acknowledged
 *                                                                                       |
 *                             later: batch, oldest first --> database: only newer versions --> entry and note taken away --> settled
 *                                                                |
 *                                          refused: halves, down to the row; tried again; dead letter
 *
 * - *Acknowledged* means: on disk here, and seen by who reads next, in every process (behind.ts shows it).
 * - *Coalesced*: of an id only the newest write is pending; the one before it need not be written, by anybody.
 * - *In order*: nothing here keeps one. Versions say which write is later (versions.ts), and the sink applies only newer ones, so batches may be sent twice, cut off half
 *   way, or overtaken by another process's.
 * - *Bounded*: rows and bytes. Writers beyond that wait for room, and are told when it does not come.
 *
 * What fails is tried again for ever, with back-off, except what the database refuses by itself: SOURCE_REFUSED and its like.
 */
import type { Clock } from '../../base/clock.ts';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import type { Random } from '../../base/random.ts';
import type { Scheduler, Timer } from '../../base/scheduler.ts';
import type { OrderedChange } from '../data-source.ts';
import type { BehindSettings } from './behind-options.ts';
import { type DeadLetter, DeadLetters } from './dead-letters.ts';
import { type Queued, QueueLog, unclone } from './queue-log.ts';
import { newQueueCounts, type QueueStats } from './queue-stats.ts';
import { isRefusal } from './refusals.ts';
import type { Versions } from './versions.ts';

/** A write that the database does not have yet. */
export interface Pending extends Queued {
  /** This process has acknowledged it, in this life: it is certainly not in the database before it is taken out of here. */
  readonly isOurs: boolean;
  /** As the store keeps it; null: of an earlier life, not made again yet. */
  readonly packed: Uint8Array | null;
  /** When the oldest write of the row that is pending came, and this one. */
  readonly sinceMs: number;
  readonly putAtMs: number;
  /** Settles when the store has answered what {@link QueuePorts.show} told it: before that nothing is taken away. */
  shown: Promise<unknown>;
  isFlying: boolean;
  attempts: number;
  notBeforeMs: number;
}

export interface QueuePorts {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
  readonly versions: Versions;
  /** Behind the guard. */
  apply(changes: ReadonlyMap<string, OrderedChange<unknown>>): Promise<ReadonlyMap<string, number>>;
  /** Makes writes visible to all who read. Settles for each by itself. */
  show(writes: readonly Pending[]): Promise<PromiseSettledResult<void>[]>;
  /** The database has these: what the store has of them goes. Never rejects. */
  landed(writes: readonly Queued[]): Promise<void>;
  /** Shows again what the store may have lost. Never rejects. */
  remind(writes: readonly Pending[]): Promise<void>;
  onDeadLetter(letter: DeadLetter): void;
}

interface Writing {
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly packed: Uint8Array;
  resolve(version: number): void;
  reject(error: unknown): void;
}

const LARGEST_GROUP = 4_096;
const LEAST_BACK_OFF_MS = 50;
const MOST_BACK_OFF_MS = 10_000;
const POLL_MS = 50;
const REOPEN_MS = 500;
const REMIND_MS = 1_000;
const REMINDED_AT_ONCE = 2_000;
const MOST_DEAD_LETTERS = 10_000;
/** Room on disk that is kept for what is under way, and for saying that something was settled. */
const SPARE_BYTES = 8 * 1024 ** 2;

export class WriteQueue {
  readonly #name: string;
  readonly #directory: string;
  readonly #settings: BehindSettings;
  readonly #ports: QueuePorts;
  readonly #pending = new Map<string, Pending>();
  readonly #counts = newQueueCounts();
  /** Wanted at once: drained, or waited for by an update. */
  readonly #urgent = new Set<string>();
  #log: QueueLog | null = null;
  #dead: DeadLetters | null = null;
  #openError: unknown = null;
  #ready: Promise<void>;
  #group: Writing[] = [];
  #isTaking = false;
  /** Groups between their versions and their acknowledgement. */
  readonly #committing = new Set<Promise<void>>();
  #waiting = 0;
  #timer: Timer | null = null;
  #reminder: Timer | null = null;
  #isFlushing = false;
  #failures = 0;
  #retryAtMs = 0;
  #draining = 0;
  readonly #waiters = new Set<() => void>();
  /** One for all who wait. */
  #poll: Timer | null = null;
  #isClosed = false;
  #isOver = false;

  constructor(name: string, directory: string, settings: BehindSettings, ports: QueuePorts) {
    this.#name = name;
    this.#directory = directory;
    this.#settings = settings;
    this.#ports = ports;
    this.#ready = this.#open();
  }

  /** What of `id` is not in the database yet, as far as this process knows. */
  pendingOf(id: string): Pending | undefined {
    return this.#pending.get(id);
  }

  get deadLetters(): DeadLetters | null {
    return this.#dead;
  }

  stats(): QueueStats {
    const { clock } = this.#ports;
    let oldest: number | null = null;
    for (const { sinceMs } of this.#pending.values()) {
      oldest = clock.now() - sinceMs;
      break;
    }
    return {
      length: this.#pending.size,
      oldestAgeMs: oldest,
      waiting: this.#waiting + this.#group.length,
      bytes: this.#log?.bytes ?? 0,
      deadLetters: this.#dead?.size ?? 0,
      isOpen: this.#log !== null,
      ...this.#counts,
      lastError: this.#counts.lastError ?? this.#log?.lastError ?? null,
    };
  }

  /**
   * Queues a write; its version, when it is on disk and shown.
   *
   * Rejects with `WRITE_BEHIND_FULL` (no room came in time), `WRITE_BEHIND_UNAVAILABLE` (the directory, the store's count or the database's epoch is not to be had: nothing
   * is queued), `WRITE_BEHIND_UNACKNOWLEDGED` (it may be queued), `WRITE_BEHIND_UNSEEN` (it is queued and will be written; other processes may not see it yet), `CACHE_CLOSED`.
   */
  async write(id: string, bytes: Uint8Array, packed: Uint8Array): Promise<number> {
    const deadlineMs = this.#ports.clock.now() + this.#settings.writeTimeoutMs;
    await this.#untilOpen(deadlineMs);
    await this.#untilRoom(id, deadlineMs);
    if (this.#isClosed) throw this.#closedError();
    let settle: (() => void) | null = null;
    const written = new Promise<number>((resolve, reject) => {
      const leftMs = Math.max(1, deadlineMs - this.#ports.clock.now());
      const timer = this.#ports.scheduler.setTimer(leftMs, () => {
        const why = `it was not acknowledged within ${this.#settings.writeTimeoutMs} ms; it may be queued`;
        reject(
          new BreakwaterError(
            'WRITE_BEHIND_UNACKNOWLEDGED',
            `cannot say what became of the write of ${this.#name}:${id}: ${why}`,
          ),
        );
      });
      settle = () => timer.cancel();
      this.#group.push({ id, bytes, packed, resolve, reject });
      this.#takeGroups();
    });
    try {
      return await written;
    } finally {
      (settle as (() => void) | null)?.();
    }
  }

  /** Resolves when what is queued of `id` now is in the database. @throws BreakwaterError `WRITE_BEHIND_NOT_DRAINED` */
  async settled(id: string, timeoutMs: number): Promise<void> {
    const pending = this.#pending.get(id);
    if (pending === undefined) return;
    const { version } = pending;
    this.#urgent.add(id);
    this.#arm();
    const isDone = await this.#until(() => (this.#pending.get(id)?.version ?? Infinity) > version, timeoutMs);
    if (!isDone) throw this.#notDrained(1);
  }

  /** Writes all that is pending now and until it is done. @throws BreakwaterError `WRITE_BEHIND_NOT_DRAINED` */
  async drain(timeoutMs: number): Promise<void> {
    const { clock } = this.#ports;
    const deadlineMs = clock.now() + timeoutMs;
    this.#draining += 1;
    try {
      await this.#untilOpen(deadlineMs);
      this.#arm();
      const isEmpty = (): boolean =>
        this.#pending.size === 0 && this.#committing.size === 0 && this.#group.length === 0;
      if (!(await this.#until(isEmpty, deadlineMs - clock.now()))) throw this.#notDrained(this.#pending.size);
    } finally {
      this.#draining -= 1;
    }
  }

  /** Takes no more writes, drains for as long as the options say, and closes the log; how many writes are left in it. */
  async close(): Promise<number> {
    this.#isClosed = true;
    await this.drain(this.#settings.drainTimeoutMs).catch(() => undefined);
    this.#isOver = true;
    this.#timer?.cancel();
    this.#reminder?.cancel();
    await this.#log?.close();
    await this.#dead?.close();
    return this.#pending.size;
  }

  /** Puts dead letters into the queue again, with the versions they had. */
  async retry(letters: readonly DeadLetter[]): Promise<number> {
    await this.#untilOpen(this.#ports.clock.now() + this.#settings.writeTimeoutMs);
    for (const letter of letters) {
      const { id, version, bytes, queuedAtMs } = letter;
      await this.#log!.append({ id, version, bytes, queuedAtMs });
      await this.#dead!.remove(letter);
      this.#put({ id, version, bytes, queuedAtMs }, null, false);
    }
    return letters.length;
  }

  // -- opening

  async #open(): Promise<void> {
    for (;;) {
      try {
        const log = await QueueLog.open(`${this.#directory}/queue`, this.#settings.maxBytes);
        try {
          this.#dead = await DeadLetters.open(`${this.#directory}/dead`);
        } catch (error) {
          await log.close();
          throw error;
        }
        for (const write of log.pending()) this.#put(write, null, false);
        this.#counts.replayed += this.#pending.size;
        this.#log = log;
        this.#openError = null;
        if (this.#isOver) {
          await log.close();
          await this.#dead.close();
        }
        return;
      } catch (error) {
        this.#openError = error;
        this.#counts.lastError = messageOf(error);
        if (this.#isClosed) return;
        await new Promise<void>((resolve) => {
          this.#ports.scheduler.setTimer(REOPEN_MS, resolve, { keepAlive: false });
        });
      }
    }
  }

  async #untilOpen(deadlineMs: number): Promise<void> {
    if (this.#isClosed && this.#draining === 0) throw this.#closedError();
    if (this.#log !== null) return;
    const { clock, scheduler } = this.#ports;
    await new Promise<void>((resolve) => {
      const timer = scheduler.setTimer(Math.max(1, deadlineMs - clock.now()), resolve);
      void this.#ready.then(() => {
        timer.cancel();
        resolve();
      });
    });
    if (this.#log !== null) return;
    throw this.#unavailable(this.#openError ?? 'its directory is not open yet');
  }

  // -- room

  #hasRoom(id: string): boolean {
    if (this.#log!.bytes + SPARE_BYTES > this.#settings.maxBytes) return false;
    const taken = this.#pending.size + this.#group.length;
    return taken < this.#settings.maxEntries || this.#pending.has(id);
  }

  async #untilRoom(id: string, deadlineMs: number): Promise<void> {
    if (this.#hasRoom(id)) return;
    const { clock } = this.#ports;
    this.#waiting += 1;
    this.#counts.blocked += 1;
    this.#arm();
    const hasCome = await this.#until(() => this.#isClosed || this.#hasRoom(id), deadlineMs - clock.now());
    this.#waiting -= 1;
    if (this.#isClosed) throw this.#closedError();
    if (hasCome) return;
    this.#counts.refused += 1;
    throw new BreakwaterError(
      'WRITE_BEHIND_FULL',
      `cannot queue the write of ${this.#name}:${id}: ${this.#pending.size} rows of at most ${this.#settings.maxEntries} wait, ${this.#log!.bytes} of at most ${this.#settings.maxBytes} bytes are used, and no room came within ${this.#settings.writeTimeoutMs} ms`,
    );
  }

  // -- acknowledging

  #takeGroups(): void {
    if (this.#isTaking) return;
    this.#isTaking = true;
    void this.#takeAll();
  }

  /** Versions are drawn for one group at a time, so that the log has them in their order. */
  async #takeAll(): Promise<void> {
    // All that comes in this turn is one group.
    await null;
    while (this.#group.length > 0) {
      const group = this.#group.splice(0, LARGEST_GROUP);
      try {
        const first = await this.#ports.versions.take(group.length);
        const committing: Promise<void> = this.#commit(group, first).finally(() => {
          this.#committing.delete(committing);
          this.#wake();
        });
        this.#committing.add(committing);
      } catch (error) {
        this.#counts.lastError = messageOf(error);
        for (const { reject } of group) reject(this.#unavailable(error));
      }
    }
    this.#isTaking = false;
  }

  /** Never rejects. */
  async #commit(group: readonly Writing[], first: number): Promise<void> {
    const log = this.#log!;
    const queuedAtMs = Date.now();
    const writes = group.map(({ id, bytes }, index) => ({ id, bytes, version: first + index, queuedAtMs }));
    const appended = await Promise.allSettled(writes.map((write) => log.append(write)));
    const newest = new Map<string, Pending>();
    appended.forEach((one, index) => {
      if (one.status === 'rejected') return;
      const write = writes[index]!;
      newest.set(write.id, this.#put(write, group[index]!.packed, true));
    });
    const shown = [...newest.values()];
    const showing = this.#ports.show(shown);
    for (const pending of shown) pending.shown = showing;
    const results = await showing;
    const unseen = new Map<string, unknown>();
    results.forEach((result, index) => {
      const pending = shown[index]!;
      if (result.status === 'rejected') unseen.set(pending.id, result.reason);
    });
    appended.forEach((one, index) => {
      const { id, resolve, reject } = group[index]!;
      if (one.status === 'rejected') {
        reject(this.#notAppended(id, one.reason));
        return;
      }
      this.#counts.acknowledged += 1;
      if (unseen.has(id)) reject(this.#unseen(id, unseen.get(id)));
      else resolve(writes[index]!.version);
    });
    this.#arm();
  }

  #put(write: Queued, packed: Uint8Array | null, isOurs: boolean): Pending {
    const nowMs = this.#ports.clock.now();
    const known = this.#pending.get(write.id);
    const isSame = known !== undefined && !known.isFlying;
    const pending: Pending = {
      ...write,
      packed,
      isOurs,
      sinceMs: isSame ? known.sinceMs : isOurs ? nowMs : nowMs - this.#settings.flushIntervalMs,
      putAtMs: nowMs,
      shown: Promise.resolve(),
      isFlying: false,
      attempts: 0,
      notBeforeMs: 0,
    };
    if (known !== undefined && known.version > write.version) return pending;
    if (isSame) this.#counts.coalesced += 1;
    else this.#pending.delete(write.id);
    this.#pending.set(write.id, pending);
    this.#arm();
    return pending;
  }

  // -- to the database

  #isDue(pending: Pending, nowMs: number): boolean {
    if (pending.isFlying || pending.notBeforeMs > nowMs) return false;
    if (this.#draining > 0 || this.#waiting > 0 || this.#urgent.has(pending.id)) return true;
    return (
      nowMs >= pending.sinceMs + this.#settings.flushIntervalMs || this.#pending.size * 2 > this.#settings.maxEntries
    );
  }

  #arm(): void {
    if (this.#isOver || this.#pending.size === 0) return;
    const { clock, scheduler } = this.#ports;
    this.#reminder ??= scheduler.setTimer(REMIND_MS, () => void this.#remind(), { keepAlive: false });
    if (this.#isFlushing) return;
    this.#timer?.cancel();
    const nowMs = clock.now();
    const isHurried = this.#draining > 0 || this.#waiting > 0 || this.#urgent.size > 0;
    let dueMs = Number.POSITIVE_INFINITY;
    for (const { sinceMs, notBeforeMs } of this.#pending.values()) {
      dueMs = Math.min(dueMs, Math.max(isHurried ? nowMs : sinceMs + this.#settings.flushIntervalMs, notBeforeMs));
      // In the order of `sinceMs`: the rest is due later, unless this one has to wait.
      if (notBeforeMs <= nowMs) break;
    }
    const delayMs = Math.max(0, dueMs - nowMs, this.#retryAtMs - nowMs);
    this.#timer = scheduler.setTimer(delayMs, () => void this.#flush(), { keepAlive: this.#draining > 0 });
  }

  async #flush(): Promise<void> {
    if (this.#isFlushing || this.#isOver || this.#log === null) return;
    this.#isFlushing = true;
    this.#timer = null;
    for (;;) {
      const batch = this.#nextBatch();
      if (batch.length === 0 || !(await this.#send(batch)) || this.#isOver) break;
    }
    this.#isFlushing = false;
    this.#arm();
  }

  #nextBatch(): Pending[] {
    const nowMs = this.#ports.clock.now();
    const batch: Pending[] = [];
    for (const pending of this.#pending.values()) {
      if (!this.#isDue(pending, nowMs)) continue;
      // What was refused before goes alone, so that it holds nobody up.
      if (pending.attempts > 0) {
        if (batch.length === 0) return [pending];
        continue;
      }
      batch.push(pending);
      if (batch.length === this.#settings.maxBatch) break;
    }
    return batch;
  }

  /** False: the database is not to be had now. */
  async #send(batch: readonly Pending[]): Promise<boolean> {
    const changes = new Map<string, OrderedChange<unknown>>();
    for (const pending of batch) {
      pending.isFlying = true;
      changes.set(pending.id, { version: pending.version, value: unclone(pending.bytes) });
    }
    let applied: ReadonlyMap<string, number>;
    try {
      this.#counts.flushes += 1;
      applied = await this.#ports.apply(changes);
    } catch (error) {
      for (const pending of batch) pending.isFlying = false;
      return await this.#failed(batch, error);
    }
    this.#failures = 0;
    this.#retryAtMs = 0;
    this.#counts.lastError = null;
    this.#counts.lastBatch = batch.length;
    for (const { id, version } of batch) {
      if ((applied.get(id) ?? 0) > version) this.#counts.superseded += 1;
      else this.#counts.written += 1;
    }
    await this.#finish(batch);
    return true;
  }

  async #finish(batch: readonly Pending[]): Promise<void> {
    await Promise.allSettled(batch.map(({ shown }) => shown));
    await this.#ports.landed(batch);
    for (const pending of batch) {
      pending.isFlying = false;
      if (this.#pending.get(pending.id) === pending) this.#pending.delete(pending.id);
      this.#urgent.delete(pending.id);
    }
    this.#log!.settle(batch);
    this.#wake();
  }

  async #failed(batch: readonly Pending[], error: unknown): Promise<boolean> {
    const isRefused = isRefusal(error);
    this.#counts.lastError = messageOf(error);
    if (isRefused && batch.length > 1) {
      const half = batch.length >> 1;
      return (await this.#send(batch.slice(0, half))) && (await this.#send(batch.slice(half)));
    }
    this.#counts.failures += 1;
    const nowMs = this.#ports.clock.now();
    if (!isRefused) {
      this.#failures += 1;
      this.#retryAtMs = nowMs + this.#backOffMs(this.#failures);
      return false;
    }
    const pending = batch[0]!;
    pending.attempts += 1;
    pending.notBeforeMs = nowMs + this.#backOffMs(pending.attempts);
    if (pending.attempts >= this.#settings.attempts) await this.#die(pending, error);
    return true;
  }

  /** Out of the queue, for people to decide. Where that cannot be written down it stays in the queue. */
  async #die(pending: Pending, error: BreakwaterError): Promise<void> {
    if (this.#dead!.size >= MOST_DEAD_LETTERS) return;
    const { id, version, bytes, queuedAtMs } = pending;
    const letter: DeadLetter = {
      id,
      version,
      bytes,
      queuedAtMs,
      diedAtMs: Date.now(),
      code: error.code,
      message: error.message,
    };
    try {
      await this.#dead!.add(letter);
    } catch (cause) {
      this.#counts.lastError = messageOf(cause);
      return;
    }
    this.#counts.died += 1;
    await this.#finish([pending]);
    this.#ports.onDeadLetter(letter);
  }

  #backOffMs(failures: number): number {
    const most = Math.min(MOST_BACK_OFF_MS, LEAST_BACK_OFF_MS * 2 ** Math.min(failures - 1, 16));
    return most * (0.5 + this.#ports.random.nextFloat() / 2);
  }

  /** What waits for long is shown again: the store may have lost it. */
  async #remind(): Promise<void> {
    const { clock, scheduler } = this.#ports;
    const nowMs = clock.now();
    const old: Pending[] = [];
    for (const pending of this.#pending.values()) {
      if (old.length === REMINDED_AT_ONCE) break;
      if (nowMs - pending.putAtMs >= REMIND_MS) old.push(pending);
    }
    if (old.length > 0) await this.#ports.remind(old);
    this.#reminder = null;
    if (this.#isOver || this.#pending.size === 0) return;
    this.#reminder = scheduler.setTimer(REMIND_MS, () => void this.#remind(), { keepAlive: false });
  }

  // -- waiting

  #wake(): void {
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const waiter of waiters) waiter();
  }

  /** False: not within `ms`. Looked at whenever something was settled, and now and then for what nobody tells of (room on disk). */
  async #until(holds: () => boolean, ms: number): Promise<boolean> {
    const { clock, scheduler } = this.#ports;
    const deadlineMs = clock.now() + ms;
    while (!holds()) {
      const leftMs = deadlineMs - clock.now();
      if (leftMs <= 0) return false;
      this.#poll ??= scheduler.setTimer(POLL_MS, () => {
        this.#poll = null;
        this.#wake();
      });
      await new Promise<void>((resolve) => {
        const waiter = (): void => {
          timer.cancel();
          resolve();
        };
        const timer = scheduler.setTimer(leftMs, () => {
          this.#waiters.delete(waiter);
          resolve();
        });
        this.#waiters.add(waiter);
      });
    }
    return true;
  }

  // -- errors

  #closedError(): BreakwaterError {
    return new BreakwaterError('CACHE_CLOSED', `cannot write to ${this.#name}: its Breakwater is closed`);
  }

  #unavailable(cause: unknown): BreakwaterError {
    return new BreakwaterError(
      'WRITE_BEHIND_UNAVAILABLE',
      `cannot queue writes of ${this.#name}, nothing was queued: ${messageOf(cause)}`,
      { cause },
    );
  }

  #notAppended(id: string, cause: unknown): BreakwaterError {
    const code = cause instanceof BreakwaterError ? cause.code : '';
    if (code === 'DISK_LOG_FULL' || code === 'DISK_LOG_BUSY' || code === 'DISK_LOG_RECORD_TOO_LARGE') {
      this.#counts.refused += 1;
      const sentence = `cannot queue the write of ${this.#name}:${id}, nothing was queued: ${messageOf(cause)}`;
      return new BreakwaterError('WRITE_BEHIND_FULL', sentence, { cause });
    }
    return new BreakwaterError(
      'WRITE_BEHIND_UNACKNOWLEDGED',
      `cannot say what became of the write of ${this.#name}:${id}: ${messageOf(cause)}`,
      { cause },
    );
  }

  #unseen(id: string, cause: unknown): BreakwaterError {
    return new BreakwaterError(
      'WRITE_BEHIND_UNSEEN',
      `the write of ${this.#name}:${id} is queued and will be written, but the store did not acknowledge it, so other processes may not see it yet: ${messageOf(cause)}`,
      { cause },
    );
  }

  #notDrained(left: number): BreakwaterError {
    const why = this.#counts.lastError === null ? '' : `: ${this.#counts.lastError}`;
    return new BreakwaterError(
      'WRITE_BEHIND_NOT_DRAINED',
      `cannot drain the queue of ${this.#name} in time: ${left} rows are still to be written${why}`,
    );
  }
}
