/**
 * The write-behind queue of one cache in one process.
 *
 *     write --> room? --> group: versions drawn, records appended, kept --> pending, shown to all --> acknowledged
 *                         (queue-log.ts: on disk, or in streams)             |
 *                                                                            `--> later, in batches, to the database (flusher.ts) --> settled
 *
 * - *Acknowledged* means: kept, and seen by who reads next, in every process (behind.ts shows it).
 * - *Coalesced*: of an id only the newest write is pending (pending-rows.ts); the one before it need not be written, by anybody.
 * - *In order*: nothing here keeps one. Versions say which write is later (versions.ts), and the sink applies only newer ones.
 * - *Bounded*: rows and bytes. Writers beyond that wait for room, and are told when it does not come.
 */
import { messageOf } from '../../base/errors.ts';
import type { Timer } from '../../base/scheduler.ts';
import type { BehindSettings } from './behind-options.ts';
import { Flusher, type FlusherPorts } from './flusher.ts';
import { type Pending, PendingRows } from './pending-rows.ts';
import { QueueErrors } from './queue-errors.ts';
import type { DeadLetter, DeadLetterLog, Queued, QueueLog, QueueStorage } from './queue-log.ts';
import { newQueueCounts, type QueueStats } from './queue-stats.ts';
import type { Versions } from './versions.ts';
import { Waiters } from './waiters.ts';

export interface QueuePorts
  extends Pick<FlusherPorts, 'clock' | 'scheduler' | 'random' | 'apply' | 'landed' | 'onDeadLetter'> {
  readonly versions: Versions;
  /** Makes writes visible to all who read. Settles for each by itself. */
  show(writes: readonly Pending[]): Promise<PromiseSettledResult<void>[]>;
  /** Shows again what the store may have lost. Never rejects. */
  remind(writes: readonly Pending[]): Promise<void>;
}

interface Writing {
  readonly id: string;
  readonly bytes: Uint8Array;
  readonly packed: Uint8Array;
  resolve(version: number): void;
  reject(error: unknown): void;
}

const LARGEST_GROUP = 4_096;
const REOPEN_MS = 500;
const REMIND_MS = 1_000;
const REMINDED_AT_ONCE = 2_000;

export class WriteQueue {
  readonly #storage: QueueStorage;
  readonly #settings: BehindSettings;
  readonly #ports: QueuePorts;
  readonly #errors: QueueErrors;
  readonly #counts = newQueueCounts();
  readonly #rows: PendingRows;
  readonly #flusher: Flusher;
  readonly #waiters: Waiters;
  #log: QueueLog | null = null;
  #dead: DeadLetterLog | null = null;
  #openError: unknown = null;
  readonly #ready: Promise<void>;
  #group: Writing[] = [];
  #isTaking = false;
  /** Groups between their versions and their acknowledgement. */
  readonly #committing = new Set<Promise<void>>();
  #waiting = 0;
  /** How often what is kept was taken by another process. */
  #disowned = 0;
  #reminder: Timer | null = null;
  #draining = 0;
  #isClosed = false;
  #isOver = false;

  /** @param name of the cache */
  constructor(name: string, storage: QueueStorage, settings: BehindSettings, ports: QueuePorts) {
    this.#storage = storage;
    this.#settings = settings;
    this.#ports = ports;
    this.#errors = new QueueErrors(name);
    const { clock, scheduler, random, apply, landed, onDeadLetter } = ports;
    this.#waiters = new Waiters(clock, scheduler);
    this.#rows = new PendingRows({ ...settings, maxRemembered: settings.maxEntries });
    this.#flusher = new Flusher(this.#rows, settings, this.#counts, {
      clock,
      scheduler,
      random,
      apply,
      landed,
      onDeadLetter,
      isHurried: () => this.#draining > 0 || this.#waiting > 0,
      deadLetters: () => this.#dead,
      settled: (writes) => {
        this.#log!.settle(writes);
        this.#waiters.wake();
      },
    });
    this.#ready = this.#open();
  }

  /** Resolves when what an earlier life has left is known. @throws BreakwaterError `WRITE_BEHIND_UNAVAILABLE`, `CACHE_CLOSED` */
  async opened(timeoutMs: number): Promise<void> {
    if (this.#log === null) await this.#untilOpen(this.#ports.clock.now() + timeoutMs);
  }

  /** What of `id` is not in the database yet, as far as this process knows. */
  pendingOf(id: string): Pending | undefined {
    return this.#rows.get(id);
  }

  /** It is certainly not in the database before it is taken out of here. */
  isCertain(pending: Pending): boolean {
    return pending.isOurs && this.#log?.isSole === true;
  }

  get deadLetters(): DeadLetterLog | null {
    return this.#dead;
  }

  stats(): QueueStats {
    const oldestMs = this.#rows.oldestMs();
    return {
      length: this.#rows.size,
      oldestAgeMs: oldestMs === null ? null : this.#ports.clock.now() - oldestMs,
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
   * Rejects with `WRITE_BEHIND_FULL` (no room came in time), `WRITE_BEHIND_UNAVAILABLE` (the log, the store's count or the database's epoch is not to be had), `WRITE_BEHIND_STOPPED`
   * (the log is over until the next start), `CACHE_CLOSED`: nothing is queued. With `WRITE_BEHIND_UNACKNOWLEDGED` (it may be queued) or `WRITE_BEHIND_UNSEEN` (it is queued and will be
   * written; other processes may not see it yet).
   */
  async write(id: string, bytes: Uint8Array, packed: Uint8Array): Promise<number> {
    const deadlineMs = this.#ports.clock.now() + this.#settings.writeTimeoutMs;
    await this.#untilOpen(deadlineMs);
    await this.#untilRoom(id, deadlineMs);
    if (this.#isClosed) throw this.#errors.closed();
    if (this.#log!.failure !== null) throw this.#errors.stopped(this.#log!.failure);
    let settle: (() => void) | null = null;
    const written = new Promise<number>((resolve, reject) => {
      const leftMs = Math.max(1, deadlineMs - this.#ports.clock.now());
      const timer = this.#ports.scheduler.setTimer(leftMs, () => {
        const why = `it was not acknowledged within ${this.#settings.writeTimeoutMs} ms; it may be queued`;
        reject(this.#errors.unacknowledged(id, why));
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
    const pending = this.#rows.get(id);
    if (pending === undefined) return;
    const { version } = pending;
    this.#rows.urge(id);
    this.#arm();
    const isDone = await this.#waiters.until(() => (this.#rows.get(id)?.version ?? Infinity) > version, timeoutMs);
    if (!isDone) throw this.#errors.notDrained(1, this.#counts.lastError);
  }

  /** Writes all that is pending now and until it is done. @throws BreakwaterError `WRITE_BEHIND_NOT_DRAINED` */
  async drain(timeoutMs: number): Promise<void> {
    const { clock } = this.#ports;
    const deadlineMs = clock.now() + timeoutMs;
    this.#draining += 1;
    try {
      await this.#untilOpen(deadlineMs);
      this.#arm();
      const isEmpty = (): boolean => this.#rows.size === 0 && this.#committing.size === 0 && this.#group.length === 0;
      if (!(await this.#waiters.until(isEmpty, deadlineMs - clock.now()))) {
        throw this.#errors.notDrained(this.#rows.size, this.#counts.lastError);
      }
    } finally {
      this.#draining -= 1;
    }
  }

  /** Takes no more writes, drains for as long as the options say, and closes the log; how many writes are left in it. */
  async close(): Promise<number> {
    this.#isClosed = true;
    await this.drain(this.#settings.drainTimeoutMs).catch(() => undefined);
    this.#isOver = true;
    this.#flusher.close();
    this.#reminder?.cancel();
    await this.#dead?.close();
    await this.#log?.close();
    return this.#rows.size;
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
        const { log, dead } = await this.#storage.open({
          adopt: (writes) => this.#adopt(writes),
          disown: () => {
            this.#disowned += 1;
            this.#rows.disown();
          },
        });
        this.#dead = dead;
        for (const write of log.pending()) this.#put(write, null, false);
        this.#counts.replayed += this.#rows.size;
        this.#log = log;
        this.#arm();
        this.#openError = null;
        if (this.#isOver) {
          await dead.close();
          await log.close();
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

  /** What another process has left. */
  #adopt(writes: readonly Queued[]): void {
    for (const write of writes) this.#put(write, null, false);
    this.#counts.replayed += writes.length;
  }

  async #untilOpen(deadlineMs: number): Promise<void> {
    if (this.#isClosed && this.#draining === 0) throw this.#errors.closed();
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
    throw this.#errors.unavailable(this.#openError ?? 'its log is not open yet');
  }

  // -- room

  #hasRoom(id: string): boolean {
    if (this.#log!.bytes > this.#storage.maxBytes) return false;
    const taken = this.#rows.size + this.#group.length;
    return taken < this.#settings.maxEntries || this.#rows.get(id) !== undefined;
  }

  async #untilRoom(id: string, deadlineMs: number): Promise<void> {
    if (this.#hasRoom(id)) return;
    const { clock } = this.#ports;
    this.#waiting += 1;
    this.#counts.blocked += 1;
    this.#arm();
    const hasCome = await this.#waiters.until(() => this.#isClosed || this.#hasRoom(id), deadlineMs - clock.now());
    this.#waiting -= 1;
    if (this.#isClosed) throw this.#errors.closed();
    if (hasCome) return;
    this.#counts.refused += 1;
    const { maxEntries, writeTimeoutMs } = this.#settings;
    throw this.#errors.full(
      id,
      `${this.#rows.size} rows of at most ${maxEntries} wait, ${this.#log!.bytes} of at most ${this.#storage.maxBytes} bytes are used, and no room came within ${writeTimeoutMs} ms`,
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
          this.#waiters.wake();
        });
        this.#committing.add(committing);
      } catch (error) {
        this.#counts.lastError = messageOf(error);
        for (const { reject } of group) reject(this.#errors.unavailable(error));
      }
    }
    this.#isTaking = false;
  }

  /** Never rejects. */
  async #commit(group: readonly Writing[], first: number): Promise<void> {
    const log = this.#log!;
    const disowned = this.#disowned;
    const queuedAtMs = Date.now();
    const writes = group.map(({ id, bytes }, index) => ({ id, bytes, version: first + index, queuedAtMs }));
    const appended = await Promise.allSettled(writes.map((write) => log.append(write)));
    const newest = new Map<string, Pending>();
    appended.forEach((one, index) => {
      if (one.status === 'rejected') return;
      const write = writes[index]!;
      newest.set(write.id, this.#put(write, group[index]!.packed, disowned === this.#disowned));
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
        const refusal = this.#errors.notAppended(id, one.reason);
        if (refusal.code === 'WRITE_BEHIND_FULL') this.#counts.refused += 1;
        reject(refusal);
        return;
      }
      this.#counts.acknowledged += 1;
      if (unseen.has(id)) reject(this.#errors.unseen(id, unseen.get(id)));
      else resolve(writes[index]!.version);
    });
    this.#arm();
  }

  #put(write: Queued, packed: Uint8Array | null, isOurs: boolean): Pending {
    const { pending, isCoalesced } = this.#rows.put(write, packed, isOurs, this.#ports.clock.now());
    if (isCoalesced) this.#counts.coalesced += 1;
    this.#arm();
    return pending;
  }

  #arm(): void {
    if (this.#isOver || this.#log === null || this.#rows.size === 0) return;
    this.#reminder ??= this.#ports.scheduler.setTimer(REMIND_MS, () => void this.#remind(), { keepAlive: false });
    this.#flusher.arm();
  }

  /** What waits for long is shown again: the store may have lost it. */
  async #remind(): Promise<void> {
    const { clock, scheduler } = this.#ports;
    const nowMs = clock.now();
    const old: Pending[] = [];
    for (const pending of this.#rows.values()) {
      if (old.length === REMINDED_AT_ONCE) break;
      if (nowMs - pending.putAtMs >= REMIND_MS) old.push(pending);
    }
    if (old.length > 0) await this.#ports.remind(old);
    this.#reminder = null;
    if (this.#isOver || this.#rows.size === 0) return;
    this.#reminder = scheduler.setTimer(REMIND_MS, () => void this.#remind(), { keepAlive: false });
  }
}
