/**
 * One connection, from the first SYN to the end, and never again after that: it sends pending commands in order, reads
 * their replies in the same order, and reports once how it ended, with everything that was left unanswered. Reconnecting is the
 * client's business (`client.ts`), which makes a new one.
 *
 * Writing: commands are encoded into one buffer, which goes to the socket in one write when the current tick's callbacks *and*
 * their promise continuations have run (`process.nextTick`, which runs once the microtask queue is empty). So commands issued
 * together travel together, and a lone command waits for nothing.
 *
 * Reading: out of the link's buffer; the reply parser copies values. The network itself is behind the port `link.ts`.
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Scheduler, Timer } from '../base/scheduler.ts';
import type { Reply } from '../resp/reply.ts';
import { PROTOCOL_ERROR, REPLY, ReplyParser } from '../resp/reply-parser.ts';
import { type Command, RequestWriter } from '../resp/request-writer.ts';
import { type Greeting, type HandshakeOptions, handshake } from './handshake.ts';
import type { Dial, DialTarget, Link } from './link.ts';
import { Pending } from './pending.ts';
import { Ring } from './ring.ts';
import type { ClientStats } from './stats.ts';

export interface ConnectionOptions extends HandshakeOptions, DialTarget {
  readonly dial: Dial;
  /** For TCP, TLS and the handshake together. */
  readonly connectTimeoutMs: number;
  /** The oldest command unanswered, and not a byte of progress, or none but late replies, for so long: the peer counts as dead. */
  readonly hangTimeoutMs: number;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
}

export interface ConnectionEvents {
  onReady(greeting: Greeting): void;
  onPush(kind: string, items: Reply[]): void;
  /** A reply settled a command. Called once per chunk, not per reply. */
  onProgress(): void;
  /** The end, exactly once, from any state. `unanswered` are in the order sent. */
  onEnd(error: BreakwaterError, unanswered: Pending[]): void;
}

/** A batch this large is written before the tick ends, so that sending overlaps encoding. */
const EARLY_FLUSH_BYTES = 1024 * 1024;

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #events: ConnectionEvents;
  readonly #stats: ClientStats;
  readonly #link: Link;
  readonly #parser: ReplyParser;
  readonly #writer = new RequestWriter();
  readonly #inFlight = new Ring<Pending>();
  readonly #connectTimer: Timer;
  #commandsInFlight = 0;
  #flushScheduled = false;
  #connected = false;
  #ended = false;
  #progressMs = 0;
  /** When the first came of an unbroken run of replies that nobody waited for any more; Infinity = the last one was in time, or nothing is in flight. */
  #lateSinceMs = Number.POSITIVE_INFINITY;

  constructor(options: ConnectionOptions, events: ConnectionEvents, stats: ClientStats) {
    this.#options = options;
    this.#events = events;
    this.#stats = stats;
    this.#parser = new ReplyParser(this.#onPush);
    this.#link = options.dial(options, {
      onOpen: () => void this.#introduce(),
      onBytes: (bytes, size) => this.#onBytes(bytes, size),
      onClose: (error) => this.destroy(this.#linkEnded(error)),
    });
    this.#connectTimer = options.scheduler.setTimer(options.connectTimeoutMs, () => {
      this.destroy(
        new BreakwaterError(
          'CLIENT_CONNECT_FAILED',
          `cannot connect to ${this.#peer}: no answer in ${options.connectTimeoutMs} ms`,
        ),
      );
    });
  }

  /** Commands sent whose replies have not all come. */
  get commandsInFlight(): number {
    return this.#commandsInFlight;
  }

  /** Bytes accepted that the kernel has not taken yet. */
  get unsentBytes(): number {
    return this.#writer.length + this.#link.unsentBytes;
  }

  /** No caller waits for anything that was sent. O(in flight) in the worst case. */
  get drained(): boolean {
    for (let i = 0; i < this.#inFlight.length; i += 1) if (!this.#inFlight.at(i)!.settled) return false;
    return true;
  }

  /** Sends `pending` with the current tick's batch. Only between `onReady` and `onEnd`. */
  send(pending: Pending, nowMs: number): void {
    assert(!this.#ended, 'nothing is sent on an ended connection');
    const commands = pending.commands!;
    for (let i = 0; i < commands.length; i += 1) this.#writer.command(commands[i]!);
    if (!pending.idempotent) pending.commands = null;
    pending.sentAtMs = nowMs;
    this.#inFlight.push(pending);
    this.#commandsInFlight += pending.expected;
    this.#stats.commandsSent += pending.expected;
    if (this.#writer.length >= EARLY_FLUSH_BYTES) this.#flush();
    else if (!this.#flushScheduled) {
      this.#flushScheduled = true;
      process.nextTick(this.#flushTick);
    }
  }

  /**
   * Fails what is due with `makeError`, and ends the connection when its peer hangs. Returns the next moment to look again, Infinity
   * when nothing is in flight. O(in flight).
   */
  sweep(nowMs: number, makeError: (pending: Pending) => Error): number {
    const oldest = this.#inFlight.peek();
    if (oldest === undefined) return Number.POSITIVE_INFINITY;
    const hangMs = Math.max(this.#options.hangTimeoutMs, oldest.timeoutMs);
    const silentMs = Math.max(oldest.sentAtMs, this.#progressMs) + hangMs;
    const lateMs = this.#lateSinceMs + hangMs;
    let nextMs = Math.min(silentMs, lateMs);
    const hangs = nowMs >= nextMs;
    for (let i = 0; i < this.#inFlight.length; i += 1) {
      const pending = this.#inFlight.at(i)!;
      if (pending.settled) continue;
      if (nowMs >= pending.deadlineMs) pending.fail(makeError(pending));
      else if (pending.deadlineMs < nextMs) nextMs = pending.deadlineMs;
    }
    if (!hangs) return nextMs;
    this.destroy(
      new BreakwaterError(
        'CLIENT_CONNECTION_LOST',
        nowMs >= silentMs
          ? `lost the connection to ${this.#peer}: the peer was silent for ${hangMs} ms with commands unanswered`
          : `lost the connection to ${this.#peer}: every reply of the last ${hangMs} ms came too late`,
      ),
    );
    return Number.POSITIVE_INFINITY;
  }

  /** Ends the connection now; `onEnd` is called before this returns. Nothing when it has ended already. */
  destroy(error: BreakwaterError): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#connectTimer.cancel();
    this.#link.destroy();
    const unanswered = this.#inFlight.drain();
    this.#commandsInFlight = 0;
    this.#events.onEnd(error, unanswered);
  }

  get #peer(): string {
    return `${this.#options.host}:${this.#options.port}`;
  }

  async #introduce(): Promise<void> {
    this.#connected = true;
    try {
      const greeting = await handshake((commands) => this.#sendAll(commands), this.#options);
      if (this.#ended) return;
      this.#connectTimer.cancel();
      this.#events.onReady(greeting);
    } catch (error) {
      // The connection's own end rejects the handshake too; then this is the second call and does nothing.
      if (error instanceof BreakwaterError) this.destroy(error);
      else throw error;
    }
  }

  #sendAll(commands: readonly Command[]): Promise<Reply[]> {
    return new Promise((resolve, reject) => {
      const nowMs = this.#options.clock.now();
      const timeoutMs = this.#options.connectTimeoutMs;
      const options = { commands, pipeline: true, text: true, idempotent: false, timeoutMs, nowMs, bytes: 0 };
      if (this.#ended) reject(new BreakwaterError('CLIENT_CONNECTION_LOST', `lost the connection to ${this.#peer}`));
      else this.send(new Pending(options, resolve, reject), nowMs);
    });
  }

  readonly #flushTick = (): void => {
    this.#flushScheduled = false;
    this.#flush();
  };

  #flush(): void {
    const writer = this.#writer;
    if (this.#ended || writer.length === 0) return;
    this.#stats.writes += 1;
    this.#stats.bytesSent += writer.length;
    if (this.#link.write(Buffer.from(writer.bytes.buffer, 0, writer.length))) writer.reset();
    else writer.release();
  }

  #onBytes(bytes: Uint8Array, size: number): void {
    if (this.#ended) return;
    const parser = this.#parser;
    const inFlight = this.#inFlight;
    this.#stats.bytesReceived += size;
    const repliesBefore = this.#stats.replies;
    parser.begin(bytes, 0, size);
    let settledOne = false;
    for (;;) {
      const oldest = inFlight.peek();
      parser.text = oldest?.text ?? false;
      const result = parser.next();
      if (result !== REPLY) {
        parser.finish();
        if (result === PROTOCOL_ERROR) this.#breakOff(parser.error);
        break;
      }
      if (oldest === undefined) {
        this.#breakOff('received a reply that nobody asked for');
        break;
      }
      this.#stats.replies += 1;
      this.#commandsInFlight -= 1;
      if (oldest.settled) this.#noteLate(oldest);
      else this.#lateSinceMs = Number.POSITIVE_INFINITY;
      if (oldest.accept(parser.value)) {
        inFlight.shift();
        settledOne = true;
      }
      parser.value = null;
    }
    // Pushes alone are no progress: a peer that sends only those does not answer.
    if (this.#stats.replies > repliesBefore || parser.midReply) this.#progressMs = this.#options.clock.now();
    if (inFlight.length === 0) this.#lateSinceMs = Number.POSITIVE_INFINITY;
    if (settledOne && !this.#ended) this.#events.onProgress();
  }

  /**
   * Late replies keep a connection from being silent, and may do so for ever: where one reply was lost, each next one goes to the place before its
   * own, whose caller has given up meanwhile. Only a new connection tells whether the server is slow or this one is a place behind.
   */
  #noteLate(oldest: Pending): void {
    this.#stats.lateReplies += 1;
    const nowMs = this.#options.clock.now();
    // Of a command that was aborted the reply may be in time all the same.
    if (nowMs < oldest.deadlineMs) this.#lateSinceMs = Number.POSITIVE_INFINITY;
    else if (nowMs < this.#lateSinceMs) this.#lateSinceMs = nowMs;
  }

  #breakOff(what: string): void {
    this.#stats.protocolErrors += 1;
    this.destroy(new BreakwaterError('CLIENT_CONNECTION_LOST', `lost the connection to ${this.#peer}: ${what}`));
  }

  /** A throwing handler must not leave the parser half-way: its error surfaces as uncaught, after this chunk. */
  readonly #onPush = (kind: string, items: Reply[]): void => {
    this.#stats.pushes += 1;
    try {
      this.#events.onPush(kind, items);
    } catch (error) {
      process.nextTick(() => {
        throw error;
      });
    }
  };

  #linkEnded(error: (Error & { readonly code?: string }) | null): BreakwaterError {
    const why = error === null ? 'the server closed it' : error.message || error.code || error.name;
    return this.#connected
      ? new BreakwaterError('CLIENT_CONNECTION_LOST', `lost the connection to ${this.#peer}: ${why}`, { cause: error })
      : new BreakwaterError('CLIENT_CONNECT_FAILED', `cannot connect to ${this.#peer}: ${why}`, { cause: error });
  }
}
