/**
 * From the queue to the database: what is due, in batches, one at a time.
 *
 *     due --> batch --> database: only newer versions --> entry and note taken away --> settled
 *               ^              |
 *               |              +-- away, slow, the statement refused: all of it again, with back-off, for ever
 *               |              +-- a row refused: halves, down to the row; tried again alone; dead letter
 *               '--------------'
 *
 * A batch may be sent twice, cut off half way, or overtaken by another process's: the sink applies only newer versions.
 */
import type { Clock } from '../../base/clock.ts';
import { type BreakwaterError, messageOf } from '../../base/errors.ts';
import type { Random } from '../../base/random.ts';
import type { Scheduler, Timer } from '../../base/scheduler.ts';
import type { OrderedChange } from '../data-source.ts';
import type { BehindSettings } from './behind-options.ts';
import type { Pending, PendingRows } from './pending-rows.ts';
import { type DeadLetter, type DeadLetterLog, type Queued, unclone } from './queue-log.ts';
import type { QueueCounts } from './queue-stats.ts';
import { isRefusal } from './refusals.ts';

export interface FlusherPorts {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** Behind the guard. */
  apply(changes: ReadonlyMap<string, OrderedChange<unknown>>): Promise<ReadonlyMap<string, number>>;
  /** The database has these: what the store has of them goes. Never rejects. */
  landed(writes: readonly Queued[]): Promise<void>;
  onDeadLetter(letter: DeadLetter): void;
  /** Whether all is due, whatever its time: drained, or somebody waits for room. */
  isHurried(): boolean;
  /** Nothing may be sent before the log is open: null. */
  deadLetters(): DeadLetterLog | null;
  /** These need not be kept any more. */
  settled(writes: readonly Pending[]): void;
}

const LEAST_BACK_OFF_MS = 50;
const MOST_BACK_OFF_MS = 10_000;
const MOST_DEAD_LETTERS = 10_000;

export class Flusher {
  readonly #rows: PendingRows;
  readonly #settings: BehindSettings;
  readonly #counts: QueueCounts;
  readonly #ports: FlusherPorts;
  #timer: Timer | null = null;
  #isFlushing = false;
  #failures = 0;
  #retryAtMs = 0;
  #isOver = false;

  constructor(rows: PendingRows, settings: BehindSettings, counts: QueueCounts, ports: FlusherPorts) {
    this.#rows = rows;
    this.#settings = settings;
    this.#counts = counts;
    this.#ports = ports;
  }

  /** Sets the timer for what is due next. To be called whenever that may have changed. */
  arm(): void {
    if (this.#isOver || this.#isFlushing || this.#rows.size === 0) return;
    const { clock, scheduler, isHurried } = this.#ports;
    this.#timer?.cancel();
    const nowMs = clock.now();
    const isKeptAlive = isHurried();
    const dueMs = this.#rows.nextDueMs(nowMs, isKeptAlive || this.#isHalfFull());
    const delayMs = Math.max(0, dueMs - nowMs, this.#retryAtMs - nowMs);
    this.#timer = scheduler.setTimer(delayMs, () => void this.#flush(), { keepAlive: isKeptAlive });
  }

  close(): void {
    this.#isOver = true;
    this.#timer?.cancel();
  }

  #isHalfFull(): boolean {
    return this.#rows.size * 2 > this.#settings.maxEntries;
  }

  async #flush(): Promise<void> {
    if (this.#isFlushing || this.#isOver || this.#ports.deadLetters() === null) return;
    this.#isFlushing = true;
    this.#timer = null;
    for (;;) {
      const batch = this.#nextBatch();
      if (batch.length === 0 || !(await this.#send(batch)) || this.#isOver) break;
    }
    this.#isFlushing = false;
    this.arm();
  }

  #nextBatch(): Pending[] {
    const batch: Pending[] = [];
    const isHurried = this.#ports.isHurried() || this.#isHalfFull();
    for (const pending of this.#rows.due(this.#ports.clock.now(), isHurried)) {
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
    const nowMs = this.#ports.clock.now();
    for (const pending of batch) {
      pending.isFlying = false;
      this.#rows.remove(pending, nowMs);
    }
    this.#ports.settled(batch);
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
    const dead = this.#ports.deadLetters()!;
    if (dead.size >= MOST_DEAD_LETTERS) return;
    const { id, version, bytes, queuedAtMs } = pending;
    const { code, message } = error;
    const letter: DeadLetter = { id, version, bytes, queuedAtMs, diedAtMs: Date.now(), code, message };
    try {
      await dead.add(letter);
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
}
