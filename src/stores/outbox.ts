/**
 * The outbox: a store in front of a networked store, which keeps what that one did not acknowledge and asks again until it does.
 *
 *     delete, invalidate, set --acknowledged--> done
 *                             --not----------> rejected, and pending: retried with back-off (outbox/pending.ts: bounded, coarser when full, never dropped)
 *
 * **A lost SET costs one load; a lost DELETE is a lie.** So what is kept are invalidations, and a set that was not acknowledged is kept as a delete of its key: it
 * may have taken effect or not, a miss is right in both cases. A retry can only ever cause a miss, so it may come after any later write of the same key.
 *
 * While something is pending this process knows that the store may have an old value, so it does not look: a read of a key that is pending (itself, its namespace, one of its tags)
 * is a miss that is *withheld*: to be loaded from the source, filled nowhere and kept in no L1. Other processes cannot know; they are right again when the retry is acknowledged.
 *
 *   1. The row of user:42 changes here. delete(user:42) is sent; the store is cut off. Rejected, pending.
 *   2. get(user:42) here: withheld. The source answers with the new row. The store is back, and still has the old one: it is not asked.
 *   3. The retry is acknowledged: from here on the store is asked again, in every process, and misses.
 *
 * Three readings that would be wrong without a rule of their own:
 *
 *   - a read sent while a tag was pending may come back after its retry was acknowledged, with a value from before: so a read that a tag was settled under takes no hit at all;
 *   - a fill whose lease is older than 1 is not sent (and its lease is given back): it may carry the old row. Sent before, the retry kills it at the store;
 *   - after a start with a directory, nothing is served before what an earlier process left behind is read.
 *
 * With a directory the pending ones survive the process, and a write can note its *intent* before it touches the source: a process that is killed between
 * its commit and its invalidation has left word of it. One process a directory.
 *
 * Not needed in front of the embedded store, where everything is acknowledged when the call returns.
 */
import { crc32 } from 'node:zlib';
import type { Clock } from '../base/clock.ts';
import { decodeEnvelope } from '../base/envelope.ts';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Scheduler, Timer } from '../base/scheduler.ts';
import { backOffMs } from '../client/back-off.ts';
import type { StoreCounters } from './counters.ts';
import type { StoreFeed } from './feed.ts';
import type { StoreLocks } from './locks.ts';
import { isSettled, UnacknowledgedStoreError } from './outbox/errors.ts';
import { Journal } from './outbox/journal.ts';
import { byKind, type Kind, Pending } from './outbox/pending.ts';
import type { StoreQueues } from './queues.ts';
import type {
  CacheStore,
  FillCall,
  FillEntry,
  HeldLease,
  InvalidateRequest,
  LeaseCall,
  OutboxStats,
  ReadCall,
  ReadMiss,
  ReadResult,
  SetOutcome,
  StoreCall,
  StoreFacts,
  StoreOutbox,
  WriteEntry,
} from './store.ts';

export interface OutboxOptions {
  /** Most keys, tags and namespaces that are kept. */
  readonly maxEntries: number;
  /** Where they are kept on disk; null = in memory only. */
  readonly directory: string | null;
  /** Longest that a retry waits for the store. */
  readonly timeoutMs: number;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
}

const BACK_OFF = { baseMs: 100, capMs: 5_000 };
const OPEN_BACK_OFF = { baseMs: 200, capMs: 5_000 };
/** Names of one retry. Halved when one fails, so that names that fail for ever do not take the others with them. */
const LARGEST_BATCH = 512;
/** Longest that `close` tries, and that somebody waits to hear that a registration is on disk. */
const LAST_DRAIN_MS = 1_000;
const NOTED_MS = 1_000;
/** Least time between two attempts that were set off by a call of somebody that succeeded. */
const KICK_MS = 250;

const WITHHELD: ReadMiss = Object.freeze({ kind: 'miss', lease: null, waitMs: 0, withheld: true });

export class OutboxStore implements CacheStore {
  readonly kind: string;
  readonly inProcess: boolean;
  readonly maxValueBytes?: number;
  readonly locks?: StoreLocks;
  readonly counters?: StoreCounters;
  readonly queues?: StoreQueues;
  readonly feed?: StoreFeed;
  readonly outbox: StoreOutbox;
  readonly #inner: CacheStore;
  readonly #options: OutboxOptions;
  readonly #pending: Pending;
  /** Null: none is wanted, or it is not open. */
  #journal: Journal | null = null;
  /** False: what an earlier process left behind is not known. */
  #isSure: boolean;
  /** Settles with the first attempt to open the directory. */
  readonly #opened: Promise<void>;
  /** The last attempt; never rejects. */
  #opening: Promise<void>;
  /** From here on nobody waits for an attempt that is under way: it closes what it opened. */
  #isClosed = false;
  #opens = 0;
  #openError: string | null = null;
  /** Something that an earlier process left behind cannot be read: any cache may be meant. */
  #isDamaged = false;
  #timer: Timer | null = null;
  #openTimer: Timer | null = null;
  #retrying: Promise<void> | null = null;
  #failuresInARow = 0;
  #lastAttemptMs = Number.NEGATIVE_INFINITY;
  #batchSize = LARGEST_BATCH;
  readonly #counts = { queued: 0, retried: 0, attempts: 0, failures: 0, withheld: 0 };
  #lastError: string | null = null;
  /** Sets, deletes and invalidations under way. */
  readonly #writing = new Set<Promise<unknown>>();
  #closing: Promise<void> | null = null;

  constructor(inner: CacheStore, options: OutboxOptions) {
    this.#inner = inner;
    this.#options = options;
    this.kind = inner.kind;
    this.inProcess = inner.inProcess;
    if (inner.maxValueBytes !== undefined) this.maxValueBytes = inner.maxValueBytes;
    if (inner.locks !== undefined) this.locks = inner.locks;
    if (inner.counters !== undefined) this.counters = inner.counters;
    if (inner.queues !== undefined) this.queues = inner.queues;
    if (inner.feed !== undefined) this.feed = inner.feed;
    this.#pending = new Pending(options.maxEntries);
    this.#isSure = options.directory === null;
    this.#opened = options.directory === null ? Promise.resolve() : this.#open(options.directory);
    this.#opening = this.#opened;
    this.outbox = {
      isDurable: options.directory !== null,
      withholds: (key, tags) => this.#withholds(key, tags),
      declare: (namespace) => this.#declare(namespace),
      intend: (keys, call) => this.#intend(keys, call),
      stats: () => this.#outboxStats(),
      left: () => this.#pending.list(),
    };
  }

  // -- the port

  /** A node may turn out to be one of many. */
  get takesLeasedWrites(): boolean {
    return this.#inner.takesLeasedWrites === true;
  }

  get readsCopies(): boolean {
    return this.#inner.readsCopies === true;
  }

  async read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    if (!this.#isSure) {
      const beganMs = this.#options.clock.now();
      await this.#within(this.#opened, call.timeoutMs);
      if (!this.#isSure) {
        this.#counts.withheld += keys.length;
        return keys.map(() => WITHHELD);
      }
      return this.read(keys, {
        ...call,
        timeoutMs: Math.max(1, call.timeoutMs - (this.#options.clock.now() - beganMs)),
      });
    }
    const pending = this.#pending;
    if (pending.size === 0) return this.#inner.read(keys, call);
    const asked = keys.filter((key) => !pending.withholdsKey(key));
    const hadTags = pending.tags > 0;
    const { tagsSettled } = pending;
    const found = asked.length === 0 ? [] : await this.#inner.read(asked, call);
    const isAfter = pending.tagsSettled !== tagsSettled;
    let next = 0;
    // By place, not by asking again: what was left out is withheld even if it was settled meanwhile.
    return keys.map((key) => {
      if (asked[next] !== key) {
        this.#counts.withheld += 1;
        return WITHHELD;
      }
      const result = found[next++]!;
      if (result.kind !== 'hit') return result;
      const isDoubtful = (hadTags && (isAfter || this.#mayCarryPendingTag(result.value))) || pending.withholdsKey(key);
      if (!isDoubtful) return result;
      this.#counts.withheld += 1;
      return WITHHELD;
    });
  }

  lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    if (this.#isSure && this.#pending.size === 0) return this.#inner.lease(keys, call);
    return this.#leaseSome(keys, call);
  }

  fill(entries: readonly FillEntry[], call: FillCall): Promise<boolean[]> {
    if (this.#isSure && this.#pending.size === 0) return this.#inner.fill(entries, call);
    return this.#fillSome(entries, call);
  }

  release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    return this.#inner.release(leases, call);
  }

  set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    // Acknowledged, it replaced what there was, but a delete of the key that is pending may be later than it: that one stays.
    return this.#tracked(this.#inner.set(key, value, entry, call), { keys: [key] }, call, 'set');
  }

  async delete(keys: readonly string[], call: StoreCall): Promise<number> {
    const { sequence } = this.#pending;
    const deleted = await this.#tracked(this.#inner.delete(keys, call), { keys }, call, 'invalidate');
    this.#acknowledged({ keys }, sequence);
    return deleted;
  }

  async invalidate(request: InvalidateRequest, call: StoreCall): Promise<void> {
    const { sequence } = this.#pending;
    await this.#tracked(this.#inner.invalidate(request, call), request, call, 'invalidate');
    this.#acknowledged(request, sequence);
  }

  facts(call: StoreCall): Promise<StoreFacts> {
    return this.#inner.facts?.(call) ?? Promise.reject(new Error(`${this.kind} has no facts`));
  }

  stats(call: StoreCall): Promise<Readonly<Record<string, number>>> {
    return this.#inner.stats(call);
  }

  /** Tries once more what is pending, for at most a second. What is left then is on disk, or lost: `outbox.left()` says what. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  // -- what is not acknowledged

  #tracked<T>(sent: Promise<T>, what: InvalidateRequest, call: StoreCall, as: 'set' | 'invalidate'): Promise<T> {
    const beganOpen = this.#closing === null;
    const outcome = sent.catch(async (error: unknown) => {
      throw await this.#unacknowledged(error, what, call, as, beganOpen);
    });
    this.#writing.add(outcome);
    const over = (): void => {
      this.#writing.delete(outcome);
    };
    outcome.then(over, over);
    return outcome;
  }

  /** Registers `what`, and says what to reject with. */
  async #unacknowledged(
    error: unknown,
    what: InvalidateRequest,
    call: StoreCall,
    as: 'set' | 'invalidate',
    beganOpen: boolean,
  ): Promise<unknown> {
    if (isSettled(error, as, beganOpen)) return error;
    if (!beganOpen) return new UnacknowledgedStoreError(error, false);
    const isKept = this.#register(what);
    const written = this.#writeChanges();
    if (this.#options.directory !== null) await this.#within(written, NOTED_MS);
    this.#arm(backOffMs(this.#failuresInARow, BACK_OFF, this.#options.random));
    if (call.signal?.aborted === true) return error;
    // Of what is in memory only, a process that is about to end can say nothing more.
    return new UnacknowledgedStoreError(error, isKept && (this.#closing === null || this.#journal !== null));
  }

  /** False: not all of it. */
  #register({ keys = [], tags = [], namespaces = [] }: InvalidateRequest): boolean {
    const nowMs = this.#options.clock.now();
    let all = true;
    const add = (kind: Kind, names: readonly string[]): void => {
      for (const name of names) {
        this.#counts.queued += 1;
        if (!this.#pending.add(kind, name, nowMs)) all = false;
      }
    };
    add('namespace', namespaces);
    add('tag', tags);
    add('key', keys);
    return all;
  }

  /** The store has done a call that began when `sequence` was the last registration. */
  #acknowledged({ keys = [], tags = [], namespaces = [] }: InvalidateRequest, sequence: number): void {
    const pending = this.#pending;
    if (pending.size === 0) return;
    for (const name of keys) pending.settle('key', name, sequence);
    for (const name of tags) pending.settle('tag', name, sequence);
    for (const name of namespaces) pending.settle('namespace', name, sequence);
    void this.#writeChanges();
    // The store is there: what waits need not wait for its back-off, but is not tried with every write either.
    if (pending.size > 0 && this.#options.clock.now() - this.#lastAttemptMs >= KICK_MS) this.#arm(0, true);
  }

  #withholds(key: string, tags: readonly string[]): boolean {
    return !this.#isSure || this.#pending.withholdsKey(key) || this.#pending.withholdsTags(tags);
  }

  /** Whose tags cannot be read may have any. */
  #mayCarryPendingTag(value: Uint8Array): boolean {
    const decoded = decodeEnvelope(value, crc32);
    return decoded.kind === 'envelope' ? this.#pending.withholdsTags(decoded.tags) : this.#pending.tags > 0;
  }

  async #leaseSome(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    const asked = keys.filter((key) => this.#isSure && !this.#pending.withholdsKey(key));
    const leases = asked.length === 0 ? [] : await this.#inner.lease(asked, call);
    let next = 0;
    return keys.map((key) => (asked[next] === key ? leases[next++]! : null));
  }

  async #fillSome(entries: readonly FillEntry[], call: FillCall): Promise<boolean[]> {
    const good = entries.filter(({ key, tags }) => !this.#withholds(key, tags));
    const bad = entries.filter((entry) => !good.includes(entry));
    // Whoever waits for these loads elsewhere need not wait on. Best effort.
    if (bad.length > 0) this.#inner.release(bad, call).catch(() => undefined);
    const stored = good.length === 0 ? [] : await this.#inner.fill(good, call);
    return entries.map((entry) => {
      const index = good.indexOf(entry);
      return index >= 0 && stored[index] === true;
    });
  }

  // -- retrying

  #arm(delayMs: number, sooner = false): void {
    if (this.#closing !== null || this.#pending.size === 0 || this.#retrying !== null) return;
    if (sooner) this.#timer?.cancel();
    else if (this.#timer !== null) return;
    this.#timer = this.#options.scheduler.setTimer(
      delayMs,
      () => {
        this.#timer = null;
        void this.#retry(this.#options.timeoutMs);
      },
      { keepAlive: false },
    );
  }

  #retry(timeoutMs: number): Promise<void> {
    this.#retrying ??= this.#attempt(timeoutMs).then((isDone) => {
      this.#retrying = null;
      this.#arm(isDone ? 0 : backOffMs(this.#failuresInARow, BACK_OFF, this.#options.random));
    });
    return this.#retrying;
  }

  /** One call for the next names. Never rejects. */
  async #attempt(timeoutMs: number): Promise<boolean> {
    const batch = this.#pending.take(this.#batchSize);
    if (batch.length === 0) return true;
    const { sequence } = this.#pending;
    this.#counts.attempts += 1;
    this.#lastAttemptMs = this.#options.clock.now();
    try {
      await this.#inner.invalidate(byKind(batch), { timeoutMs });
    } catch (error) {
      this.#lastError = messageOf(error);
      this.#counts.failures += 1;
      this.#failuresInARow += 1;
      this.#batchSize = Math.max(1, Math.min(this.#batchSize, batch.length) >> 1);
      this.#pending.postpone(batch);
      return false;
    }
    this.#failuresInARow = 0;
    this.#batchSize = Math.min(LARGEST_BATCH, this.#batchSize * 2);
    for (const { kind, name } of batch) if (this.#pending.settle(kind, name, sequence)) this.#counts.retried += 1;
    void this.#writeChanges();
    return true;
  }

  // -- on disk

  /** Resolves when what changed is on disk, or could not be written (stats say so). */
  async #writeChanges(): Promise<void> {
    const changes = this.#pending.takeChanges();
    if (this.#journal === null || changes.length === 0) return;
    try {
      await this.#journal.note(changes);
    } catch (error) {
      this.#reopenIfFailed(error);
    }
  }

  /** The log is over: only opening it again says what is on disk. What is pending is known here all the same. */
  #reopenIfFailed(error: unknown): void {
    const { directory } = this.#options;
    if (directory === null || this.#journal === null || this.#closing !== null) return;
    if (!(error instanceof BreakwaterError) || error.code !== 'DISK_LOG_FAILED') return;
    const journal = this.#journal;
    this.#journal = null;
    this.#openError = error.message;
    journal.close().then(
      () => this.#open(directory),
      () => this.#open(directory),
    );
  }

  async #open(directory: string): Promise<void> {
    try {
      const pending = this.#pending;
      const { journal, remains } = await Journal.open(directory, this.#options.maxEntries, () =>
        pending.take(Number.POSITIVE_INFINITY),
      );
      const nowMs = this.#options.clock.now();
      let isDamaged = remains.isDamaged;
      for (const { kind, name } of remains.names) if (!pending.add(kind, name, nowMs)) isDamaged = true;
      if (isDamaged) {
        this.#isDamaged = true;
        pending.addKnown(nowMs);
      }
      pending.takeChanges();
      this.#journal = journal;
      this.#openError = null;
      this.#opens = 0;
      this.#isSure = true;
      // What was registered while there was no directory to write it to is written now, also by a store that is being closed.
      const rewritten = journal.rewrite();
      if (this.#isClosed) await rewritten.then(() => journal.close());
      this.#arm(0);
    } catch (error) {
      if (this.#openError === null) {
        process.emitWarning(
          `the outbox cannot use its directory, nothing of the store is served until it can: ${messageOf(error)}`,
          {
            code: 'BREAKWATER_OUTBOX',
          },
        );
      }
      this.#openError = messageOf(error);
      if (this.#closing !== null) return;
      this.#openTimer = this.#options.scheduler.setTimer(
        backOffMs(this.#opens, OPEN_BACK_OFF, this.#options.random),
        () => {
          this.#openTimer = null;
          this.#opening = this.#open(directory);
        },
        { keepAlive: false },
      );
      this.#opens += 1;
    }
  }

  #declare(namespace: string): void {
    this.#pending.know(namespace);
    if (!this.#isDamaged) return;
    this.#register({ namespaces: [namespace] });
    void this.#writeChanges();
    this.#arm(0);
  }

  async #intend(keys: readonly string[], call: StoreCall): Promise<() => void> {
    if (this.#options.directory === null) return () => undefined;
    await this.#within(this.#opened, call.timeoutMs);
    const journal = this.#journal;
    if (journal === null) throw notNoted(this.#openError ?? 'its directory is not open yet');
    let id: number | null = null;
    let failure: unknown;
    let isLate = false;
    const noted = journal.intend(keys).then(
      (intent) => {
        if (isLate) journal.closeIntent(intent);
        else id = intent;
      },
      (error: unknown) => {
        failure = error;
        this.#reopenIfFailed(error);
      },
    );
    await this.#within(noted, call.timeoutMs);
    if (id === null) {
      isLate = true;
      throw notNoted(failure === undefined ? `not within ${call.timeoutMs} ms` : messageOf(failure), failure);
    }
    const intent = id;
    return () => journal.closeIntent(intent);
  }

  // -- the end

  async #close(): Promise<void> {
    const { clock, random } = this.#options;
    this.#timer?.cancel();
    this.#openTimer?.cancel();
    const untilMs = clock.now() + LAST_DRAIN_MS;
    for (;;) {
      const leftMs = untilMs - clock.now();
      if (leftMs <= 0 || this.#pending.size === 0) break;
      const failures = this.#failuresInARow;
      await this.#within(this.#retry(Math.max(1, Math.min(leftMs, this.#options.timeoutMs))), leftMs);
      if (this.#failuresInARow > failures)
        await this.#sleep(Math.min(backOffMs(2, BACK_OFF, random), untilMs - clock.now()));
    }
    await this.#inner.close();
    // What was under way has been rejected by that, and is written down as well.
    await this.#within(
      Promise.allSettled([...this.#writing]).then(() => undefined),
      NOTED_MS,
    );
    await this.#within(this.#opening, NOTED_MS);
    this.#isClosed = true;
    await this.#journal?.close();
  }

  #outboxStats(): OutboxStats {
    const { size, tags, namespaces, counts } = this.#pending;
    const oldestMs = this.#pending.oldestSinceMs();
    const journal = this.#journal;
    return {
      length: size,
      keys: size - tags - namespaces,
      tags,
      namespaces,
      oldestAgeMs: oldestMs === null ? null : this.#options.clock.now() - oldestMs,
      ...this.#counts,
      ...counts,
      lastError: this.#lastError,
      disk:
        this.#options.directory === null
          ? null
          : {
              isOpen: journal !== null,
              bytes: journal?.bytes ?? 0,
              intents: journal?.intents ?? 0,
              lastError: journal?.lastError ?? this.#openError,
            },
    };
  }

  /** Resolves when `promise` does, or after `ms`. */
  #within(promise: Promise<void>, ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#options.scheduler.setTimer(ms, resolve);
      const over = (): void => {
        timer.cancel();
        resolve();
      };
      promise.then(over, over);
    });
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.#options.scheduler.setTimer(Math.max(0, ms), resolve);
    });
  }
}

function notNoted(why: string, cause?: unknown): BreakwaterError {
  return new BreakwaterError('OUTBOX_UNAVAILABLE', `cannot note in the outbox what is about to change: ${why}`, {
    cause,
  });
}
