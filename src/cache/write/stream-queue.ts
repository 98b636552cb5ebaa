/**
 * The queue in the store's own servers (Redis, Valkey): one stream a process, and when a process dies another one goes on with its stream (stores/queues.ts). For services whose processes have no
 * disk that outlives them.
 *
 *     append --> waits for its group --> one call: records in, what was settled or replaced out --> kept
 *
 * So the stream has what is pending and little else: nothing is to be trimmed or written again.
 *
 * What the answer of a call says:
 *
 *   done        kept, as far as the server keeps what it acknowledges
 *   taken       this process was silent for `takeover`, and another one has its stream: what is pending here is pending there too, and may have been sent. So nothing pending is *certain* any
 *               more (`disown`), it begins a stream of its own anew, with all that is pending, and sends it all the same: the database takes no version twice
 *   missing     the same; whether it was taken or lost nobody can say
 *   restarted   the server has begun a new life, and may have lost what it had acknowledged: all that is pending is pushed once more, to a new stream
 *
 * So an acknowledged write is lost only when the server loses it *and* this process ends before it has pushed or flushed it again.
 *
 * `isSole`: as long as the last call that was answered had been *sent* less than `takeover` ago, nobody else can have sent what is pending here: who takes over has seen one beat for so long. With a
 * tenth taken off, since clocks do not run alike.
 */
import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Clock } from '../../base/clock.ts';
import { BreakwaterError, messageOf } from '../../base/errors.ts';
import type { Scheduler, Timer } from '../../base/scheduler.ts';
import type { PushAnswer, QueueDurability, StoreQueues } from '../../stores/queues.ts';
import type { Queued, QueueLog, QueueLogEvents, QueueStorage } from './queue-log.ts';
import { writeRecord } from './queue-records.ts';
import { StreamDeadLetters } from './stream-letters.ts';
import { StreamTakeover } from './stream-takeover.ts';

export interface StreamPorts {
  readonly queues: StoreQueues;
  /** Of the cache. */
  readonly queue: string;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly maxBytes: number;
  /** Silence after which another process goes on with the stream. */
  readonly takeoverMs: number;
  /** Longest that a call waits for the store. */
  readonly timeoutMs: number;
  onDurability(durability: QueueDurability): void;
}

/** Records of one call, and their bytes. */
const MOST_RECORDS = 512;
const MOST_BYTES = 4 * 1024 ** 2;
/** Beats within the silence that counts as death. */
const BEATS = 5;
const RECORD_OVERHEAD_BYTES = 100;

interface Kept {
  readonly write: Queued;
  readonly stream: string;
  readonly position: number;
}

type Loss = Exclude<PushAnswer, 'done'>;

interface Waiting {
  readonly write: Queued;
  readonly record: Uint8Array;
  resolve(): void;
  reject(error: unknown): void;
}

export function streamStorage(ports: StreamPorts): QueueStorage {
  return { maxBytes: ports.maxBytes, open: (events) => StreamQueueLog.open(ports, events) };
}

export class StreamQueueLog implements QueueLog {
  readonly failure = null;
  lastError: string | null = null;
  readonly #ports: StreamPorts;
  readonly #events: QueueLogEvents;
  readonly #holder = randomBytes(9).toString('base64url');
  readonly #takeover: StreamTakeover;
  readonly #letters: StreamDeadLetters;
  /** The newest of each id. */
  readonly #live = new Map<string, Kept>();
  #bytes = 0;
  #stream = '';
  /** Streams that were begun here and not given up: nobody of this process is to take them for a dead one's. */
  readonly #mine = new Set<string>();
  #next = 1;
  #soleUntilMs = Number.NEGATIVE_INFINITY;
  #waiting: Waiting[] = [];
  #gone: number[] = [];
  #isBeatDue = false;
  #running: Promise<void> | null = null;
  /** What the last answer was that this stream is of no use any more for. */
  #isLost: Loss | null = null;
  #timer: Timer | null = null;
  #isLooking = false;
  #isOpen = false;
  #isClosed = false;

  private constructor(ports: StreamPorts, events: QueueLogEvents) {
    this.#ports = ports;
    this.#events = events;
    const { queues, queue, clock, timeoutMs } = ports;
    this.#letters = new StreamDeadLetters({
      queues,
      queue,
      call: { timeoutMs },
      place: () => ({ stream: this.#stream, holder: this.#holder }),
      onTaken: () => this.#lose('taken'),
    });
    this.#takeover = new StreamTakeover({
      queues,
      queue,
      clock,
      call: { timeoutMs },
      holder: this.#holder,
      isOwn: (stream) => this.#mine.has(stream),
      keep: (writes) => this.#keepFound(writes),
      keepLetters: (letters) => this.#letters.keep(letters),
    });
  }

  /** @throws BreakwaterError of the store; `WRITE_BEHIND_STORE_EVICTS` */
  static async open(
    ports: StreamPorts,
    events: QueueLogEvents,
  ): Promise<{ log: StreamQueueLog; dead: StreamDeadLetters }> {
    const { queues, queue, timeoutMs } = ports;
    const durability = await queues.durability(queue, { timeoutMs });
    const { evictionPolicy, maxMemoryBytes } = durability;
    if (evictionPolicy?.startsWith('allkeys-') === true && maxMemoryBytes !== 0) {
      throw new BreakwaterError(
        'WRITE_BEHIND_STORE_EVICTS',
        `cannot keep the queue of ${queue} in this server: its maxmemory-policy is ${evictionPolicy}, by which it may evict what was acknowledged; set volatile-lru or volatile-lfu`,
      );
    }
    ports.onDurability(durability);
    const log = new StreamQueueLog(ports, events);
    await log.#begin();
    await log.#takeover.look();
    log.#isOpen = true;
    log.#arm();
    return { log, dead: log.#letters };
  }

  get bytes(): number {
    return this.#bytes;
  }

  get isSole(): boolean {
    return this.#isLost === null && this.#ports.clock.now() < this.#soleUntilMs;
  }

  *pending(): Generator<Queued> {
    for (const { write } of this.#live.values()) yield write;
  }

  append(write: Queued): Promise<void> {
    if (this.#isClosed) return Promise.reject(closed(this.#ports.queue));
    return new Promise((resolve, reject) => {
      this.#waiting.push({ write, record: writeRecord(write), resolve, reject });
      this.#run();
    });
  }

  settle(writes: readonly Queued[]): void {
    for (const { id, version } of writes) {
      const known = this.#live.get(id);
      if (known !== undefined && known.write.version <= version) this.#forget(known);
    }
    this.#run();
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#running;
    const { queues, queue, timeoutMs } = this.#ports;
    const isEmpty = this.#live.size === 0 && this.#letters.size === 0 && this.#isLost === null;
    // What cannot be said now is found out by the silence.
    await (isEmpty
      ? queues.drop(queue, this.#stream, this.#holder, { timeoutMs })
      : queues.release(queue, this.#stream, this.#holder, { timeoutMs })
    ).catch(() => undefined);
  }

  // -- one call at a time

  #run(): void {
    this.#running ??= this.#loop().finally(() => {
      this.#running = null;
      if (this.#waiting.length > 0) this.#run();
    });
  }

  async #loop(): Promise<void> {
    // All that comes in this turn is one group.
    await null;
    while (this.#waiting.length > 0 || this.#gone.length > 0 || this.#isBeatDue) {
      this.#isBeatDue = false;
      const batch = this.#nextBatch();
      try {
        if (this.#isLost !== null) await this.#renew(this.#isLost);
        await this.#push(batch, this.#gone.splice(0, MOST_RECORDS));
        this.lastError = null;
      } catch (error) {
        this.lastError = messageOf(error);
        for (const { reject } of batch) reject(error);
        // With the next beat at the latest.
        if (this.#waiting.length === 0) return;
      }
    }
  }

  #nextBatch(): Waiting[] {
    let [count, bytes] = [0, 0];
    while (count < this.#waiting.length && count < MOST_RECORDS && bytes < MOST_BYTES) {
      bytes += this.#waiting[count]!.record.length;
      count += 1;
    }
    return this.#waiting.splice(0, count);
  }

  async #push(batch: readonly Waiting[], gone: readonly number[]): Promise<void> {
    const { queues, queue, clock, timeoutMs, takeoverMs } = this.#ports;
    const sentMs = clock.now();
    const first = this.#next;
    // Used up whatever comes of the call: nobody knows.
    this.#next += batch.length;
    const records = batch.map(({ record }) => record);
    let answer: PushAnswer;
    try {
      answer = await queues.push(queue, this.#stream, this.#holder, { first, records, gone }, { timeoutMs });
    } catch (error) {
      this.#gone.push(...gone, ...batch.map((_, at) => first + at));
      throw error;
    }
    if (answer !== 'done') {
      this.#lose(answer);
      await this.#renew(answer);
      // Nothing was done with these.
      await this.#push(batch, []);
      return;
    }
    this.#soleUntilMs = sentMs + 0.9 * takeoverMs;
    batch.forEach(({ write, resolve }, at) => {
      this.#note(write, first + at);
      resolve();
    });
  }

  #note(write: Queued, position: number): void {
    const known = this.#live.get(write.id);
    if (known !== undefined) {
      if (known.write.version > write.version) {
        this.#gone.push(position);
        return;
      }
      this.#forget(known);
    }
    this.#live.set(write.id, { write, stream: this.#stream, position });
    this.#bytes += sizeOf(write);
  }

  #forget(kept: Kept): void {
    this.#live.delete(kept.write.id);
    if (kept.stream === this.#stream) this.#gone.push(kept.position);
    this.#bytes -= sizeOf(kept.write);
  }

  #lose(why: Loss): void {
    if (this.#isLost !== null) return;
    this.#isLost = why;
    if (why !== 'restarted') this.#events.disown();
    // Who took the stream has the letters.
    if (why === 'taken') this.#letters.forget();
  }

  /** A new stream with all that is pending. */
  async #renew(why: Loss): Promise<void> {
    const { queues, queue, timeoutMs } = this.#ports;
    const before = this.#stream;
    this.#mine.delete(before);
    await this.#begin();
    this.#gone = [];
    const all = [...this.#live.values()].map(({ write }) => write);
    for (let at = 0; at < all.length; ) {
      const records: Uint8Array[] = [];
      const first = this.#next;
      for (let bytes = 0; at < all.length && records.length < MOST_RECORDS && bytes < MOST_BYTES; at += 1) {
        const write = all[at]!;
        const record = writeRecord(write);
        const position = first + records.length;
        records.push(record);
        bytes += record.length;
        const isLive = this.#live.get(write.id)?.write === write;
        if (isLive) this.#live.set(write.id, { write, stream: this.#stream, position });
        else this.#gone.push(position);
      }
      this.#next += records.length;
      const answer = await queues.push(queue, this.#stream, this.#holder, { first, records, gone: [] }, { timeoutMs });
      if (answer !== 'done') {
        throw new BreakwaterError(
          'STORE_UNAVAILABLE',
          `cannot begin the queue of ${queue} anew: its server has restarted once more, or its stream was taken`,
        );
      }
    }
    if (why !== 'taken') await this.#letters.keep(this.#letters.list());
    // One that stays is found by the next look, and what it has is there twice.
    if (why === 'restarted') await queues.drop(queue, before, this.#holder, { timeoutMs }).catch(() => undefined);
    this.#isLost = null;
  }

  async #begin(): Promise<void> {
    const { queues, queue, clock, timeoutMs, takeoverMs } = this.#ports;
    const stream = randomBytes(6).toString('base64url');
    this.#mine.add(stream);
    const sentMs = clock.now();
    const about = `${process.pid} on ${hostname()}`;
    try {
      await queues.begin(queue, stream, this.#holder, { holdMs: takeoverMs, about }, { timeoutMs });
    } catch (error) {
      this.#mine.delete(stream);
      throw error;
    }
    this.#stream = stream;
    this.#next = 1;
    this.#soleUntilMs = sentMs + 0.9 * takeoverMs;
  }

  // -- beats

  #arm(): void {
    const { scheduler, takeoverMs } = this.#ports;
    this.#timer = scheduler.setTimer(
      takeoverMs / BEATS,
      () => {
        if (this.#isClosed) return;
        this.#isBeatDue = true;
        this.#run();
        // A look may take long: what it finds is moved. Beats do not wait for it.
        if (!this.#isLooking) void this.#look();
        this.#arm();
      },
      { keepAlive: false },
    );
  }

  async #look(): Promise<void> {
    this.#isLooking = true;
    try {
      await this.#takeover.look();
      await this.#letters.compare();
    } catch (error) {
      if (!this.#isClosed) this.lastError = messageOf(error);
    }
    this.#isLooking = false;
  }

  /** What another process has left becomes ours. */
  async #keepFound(writes: readonly Queued[]): Promise<void> {
    const newer = writes.filter(({ id, version }) => (this.#live.get(id)?.write.version ?? 0) < version);
    await Promise.all(newer.map((write) => this.append(write)));
    // Before that they are among those of `pending`.
    if (this.#isOpen && newer.length > 0) this.#events.adopt(newer);
  }
}

function sizeOf({ id, bytes }: Queued): number {
  return RECORD_OVERHEAD_BYTES + id.length + bytes.length;
}

function closed(queue: string): BreakwaterError {
  return new BreakwaterError('CACHE_CLOSED', `cannot write to ${queue}: its Breakwater is closed`);
}
