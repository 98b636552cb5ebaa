/**
 * The RESP client: one logical connection to one server, over as many sockets in turn as it takes.
 *
 *   command --> connected? --yes--> encoded into the tick's batch --> socket --> replies in order --> promise
 *                   |no
 *                   `--> waits, bounded, until connected or its deadline
 *
 * What it promises:
 *  - every wait ends: with a reply, or with a coded error not later than the command's deadline (plus a timer's slack);
 *  - a reply never goes to the wrong caller: a command that timed out keeps its place (see pending.ts);
 *  - nothing is sent twice unless the caller said that it may be (`idempotent`): after a lost connection nobody knows whether a
 *    command in flight was executed, so it fails with CLIENT_CONNECTION_LOST;
 *  - memory is bounded in commands and bytes; what does not fit is refused at once, so that a slow server pushes back;
 *  - a peer that is silent while commands are unanswered, or only answers too late, is taken for dead and the connection made anew.
 *
 * Error codes: CLIENT_TIMEOUT, CLIENT_QUEUE_FULL, CLIENT_CONNECTION_LOST, CLIENT_DISCONNECTED, CLIENT_AUTH_FAILED, CLIENT_ABORTED,
 * CLIENT_CLOSED, CLIENT_COMMAND_INVALID, CLIENT_OPTION_INVALID; and a ReplyError with the server's own code. When a connection is lost, all its
 * commands reject with the same error object.
 */
import type { ConnectionOptions as TlsOptions } from 'node:tls';
import { type Clock, systemClock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import { type Random, SeededRandom } from '../base/random.ts';
import { type Scheduler, systemScheduler, type Timer } from '../base/scheduler.ts';
import type { Reply } from '../resp/reply.ts';
import { type Command, commandBytes } from '../resp/request-writer.ts';
import { AbortListeners } from './abort.ts';
import { type BackOff, backOffMs, DEFAULT_BACK_OFF } from './back-off.ts';
import { Connection } from './connection.ts';
import { Deadlines } from './deadlines.ts';
import type { Greeting } from './handshake.ts';
import type { Dial } from './link.ts';
import { Pending } from './pending.ts';
import { Ring } from './ring.ts';
import { type ClientEvent, type ClientState, nextAttempt, transition } from './state.ts';
import { type ClientStats, newStats } from './stats.ts';
import { tcpDial } from './tcp-dial.ts';

export interface ClientOptions {
  /** Host name or address. Default 127.0.0.1. */
  readonly host?: string | undefined;
  readonly port: number;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  /** 3 (default) tries RESP3 and falls back to RESP2 when refused; 2 does not try. */
  readonly protocol?: 2 | 3 | undefined;
  /** Shown by CLIENT LIST. */
  readonly name?: string | undefined;
  /** TLS options; `{}` or true for the defaults. Absent: plain TCP. */
  readonly tls?: TlsOptions | boolean | undefined;
  /** For TCP, TLS and log-in together, of each attempt. Default 2000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Deadline of a command from its call to its reply, time waiting for a connection included. Default 1000. */
  readonly commandTimeoutMs?: number | undefined;
  /**
   * A connection that has commands unanswered, and for so long not a byte of progress, or no reply but such as came too late, is given up and made anew:
   * sooner than a few command timeouts is no use, later costs callers so much longer. Default 3000; never less than the oldest command's own deadline.
   */
  readonly hangTimeoutMs?: number | undefined;
  /** Commands waiting or in flight. Default 100,000. */
  readonly maxQueuedCommands?: number | undefined;
  /** Bytes of commands that the kernel has not taken. Default 64 MiB. A command is refused when others already fill it; one alone may be larger. */
  readonly maxQueuedBytes?: number | undefined;
  /** What a command does while there is no connection *and the last attempt failed*: `wait` (default) for the next one, or `reject` at once. */
  readonly whenDown?: 'wait' | 'reject' | undefined;
  readonly backOff?: BackOff | undefined;
  /** Out-of-band messages of the server. Must not throw. */
  readonly onPush?: ((kind: string, items: Reply[]) => void) | undefined;
  /** Told after every change of `state`. Must not throw. */
  readonly onState?: ((state: ClientState) => void) | undefined;
  /** The network. Default: sockets. */
  readonly dial?: Dial | undefined;
  readonly clock?: Clock | undefined;
  readonly scheduler?: Scheduler | undefined;
  readonly random?: Random | undefined;
}

export interface CommandOptions {
  /** Default: the client's `commandTimeoutMs`. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Bulk replies as strings (UTF-8). Default false: Uint8Array. */
  readonly text?: boolean | undefined;
  /** Executing it twice does no harm: it is sent again, until its deadline, when the connection is lost. Default false. */
  readonly idempotent?: boolean | undefined;
}

const NO_OPTIONS: CommandOptions = {};

export class RespClient {
  readonly stats: ClientStats = newStats();
  readonly #options: ClientOptions;
  readonly #host: string;
  readonly #commandTimeoutMs: number;
  readonly #maxQueuedCommands: number;
  readonly #maxQueuedBytes: number;
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #random: Random;
  readonly #deadlines: Deadlines;

  readonly #aborts = new AbortListeners<Pending>((pending, signal) => this.#abort(pending, signal));

  #state: ClientState = { kind: 'idle' };
  /** The connection being made or used. */
  #connection: Connection | null = null;
  #retryTimer: Timer | null = null;
  /** Why there is no connection; null while there is one, and before the first attempt. */
  #lastError: Error | null = null;
  /** Commands for the next connection, oldest first, and what they amount to (settled ones still in it excluded). */
  #waiting = new Ring<Pending>();
  #waitingCommands = 0;
  #waitingBytes = 0;
  #closing: { readonly promise: Promise<void>; readonly resolve: () => void } | null = null;

  /** Connects when the first command comes, or on `connect()`. @throws BreakwaterError `CLIENT_OPTION_INVALID` */
  constructor(options: ClientOptions) {
    this.#options = options;
    this.#host = options.host ?? '127.0.0.1';
    if (!Number.isInteger(options.port) || options.port < 1 || options.port > 65_535) {
      throw new BreakwaterError(
        'CLIENT_OPTION_INVALID',
        `cannot use port: expected 1 to 65535, received ${options.port}`,
      );
    }
    this.#commandTimeoutMs = positive('commandTimeoutMs', options.commandTimeoutMs ?? 1000);
    this.#maxQueuedCommands = positive('maxQueuedCommands', options.maxQueuedCommands ?? 100_000);
    this.#maxQueuedBytes = positive('maxQueuedBytes', options.maxQueuedBytes ?? 64 * 1024 * 1024);
    positive('connectTimeoutMs', options.connectTimeoutMs ?? 2000);
    positive('hangTimeoutMs', options.hangTimeoutMs ?? 3000);
    this.#clock = options.clock ?? systemClock();
    this.#scheduler = options.scheduler ?? systemScheduler();
    // Differs per client, so that the clients of one server do not retry in step.
    this.#random = options.random ?? new SeededRandom(Math.floor(Math.random() * 2 ** 32));
    this.#deadlines = new Deadlines(this.#clock, this.#scheduler, (nowMs) => this.#sweep(nowMs));
  }

  get state(): ClientState {
    return this.#state;
  }

  /** Commands waiting for a connection or for their reply. */
  get queuedCommands(): number {
    return this.#waitingCommands + (this.#connection?.commandsInFlight ?? 0);
  }

  /** Resolves once the server answered a PING: for those who want to know before the first command. */
  async connect(options: CommandOptions = NO_OPTIONS): Promise<void> {
    await this.command(['PING'], { idempotent: true, ...options });
  }

  /**
   * Sends one command and resolves with its reply.
   * Byte arguments are read before the call returns while connected, but only later while waiting for a connection: do not change them.
   * @throws ReplyError when the server replies with an error; BreakwaterError with a code of the list above
   */
  command(args: Command, options: CommandOptions = NO_OPTIONS): Promise<Reply> {
    return new Promise((resolve, reject) => {
      this.#enqueue([args], false, options, resolve, reject);
    });
  }

  /**
   * Sends several commands together and resolves with their replies in order; an error reply stands in its place as a ReplyError.
   * One deadline and one signal for all. Rejects as a whole when the replies cannot be had.
   */
  pipeline(commands: readonly Command[], options: CommandOptions = NO_OPTIONS): Promise<Reply[]> {
    if (commands.length === 0) return Promise.resolve([]);
    return new Promise((resolve, reject) => {
      this.#enqueue(commands, true, options, resolve, reject);
    });
  }

  /**
   * Ends the client; resolves when its socket and timers are gone. With `drain` (default) commands in flight are waited for, at most until
   * their deadlines; those still waiting for a connection reject with CLIENT_CLOSED. New ones are refused. Safe to call again.
   */
  close(options: { readonly drain?: boolean } = {}): Promise<void> {
    const wasReady = this.#state.kind === 'ready' || this.#state.kind === 'closing';
    if (this.#closing === null) {
      let resolve = (): void => {};
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.#closing = { promise, resolve };
      this.#retryTimer?.cancel();
      this.#change({ kind: 'close' });
      this.#failWaiting(closedError());
    }
    if (options.drain === false || !wasReady || this.#connection?.drained !== false) this.#end();
    return this.#closing.promise;
  }

  #enqueue(
    commands: readonly Command[],
    pipeline: boolean,
    options: CommandOptions,
    resolve: (value: never) => void,
    reject: (error: Error) => void,
  ): void {
    const refusal = this.#refusal(commands, options);
    if (refusal !== null) {
      reject(refusal);
      return;
    }
    let bytes = 0;
    for (let i = 0; i < commands.length; i += 1) bytes += commandBytes(commands[i]!);
    const queuedBytes = this.#waitingBytes + (this.#connection?.unsentBytes ?? 0);
    if (
      this.queuedCommands + commands.length > this.#maxQueuedCommands ||
      (queuedBytes > 0 && queuedBytes + bytes > this.#maxQueuedBytes)
    ) {
      this.stats.refused += commands.length;
      reject(this.#queueFull(queuedBytes));
      return;
    }
    const nowMs = this.#clock.now();
    const timeoutMs = options.timeoutMs ?? this.#commandTimeoutMs;
    const pending = new Pending(
      {
        commands,
        pipeline,
        text: options.text ?? false,
        idempotent: options.idempotent ?? false,
        timeoutMs,
        nowMs,
        bytes,
      },
      resolve,
      reject,
    );
    const signal = options.signal;
    if (signal !== undefined) {
      this.#aborts.add(signal, pending);
      pending.whenSettled(() => this.#aborts.remove(signal, pending));
    }
    this.#deadlines.note(pending.deadlineMs, nowMs);
    if (this.#state.kind === 'ready') this.#connection!.send(pending, nowMs);
    else this.#wait(pending);
  }

  /** Why a command cannot even be queued; null when it can. */
  #refusal(commands: readonly Command[], options: CommandOptions): BreakwaterError | null {
    if (this.#closing !== null) return closedError();
    for (let i = 0; i < commands.length; i += 1) {
      if (commands[i]!.length === 0) {
        return new BreakwaterError(
          'CLIENT_COMMAND_INVALID',
          'cannot send a command without a name: received an empty array',
        );
      }
    }
    const { timeoutMs, signal } = options;
    if (timeoutMs !== undefined && !(timeoutMs > 0 && Number.isFinite(timeoutMs))) {
      return new BreakwaterError(
        'CLIENT_OPTION_INVALID',
        `cannot use timeoutMs: expected a number above 0, received ${timeoutMs}`,
      );
    }
    if (signal?.aborted) return abortedError(signal);
    const state = this.#state;
    if (state.kind === 'backing-off' && this.#options.whenDown === 'reject') {
      return new BreakwaterError('CLIENT_DISCONNECTED', `cannot send the command: ${state.error.message}`, {
        cause: state.error,
      });
    }
    return null;
  }

  #abort(pending: Pending, signal: AbortSignal): void {
    this.stats.aborts += 1;
    pending.fail(abortedError(signal));
    if (pending.waiting) this.#forgetWaiting(pending);
    this.#endIfDrained();
  }

  #wait(pending: Pending): void {
    pending.waiting = true;
    this.#waiting.push(pending);
    this.#waitingCommands += pending.expected;
    this.#waitingBytes += pending.bytes;
    if (this.#state.kind === 'idle') this.#connect();
  }

  /** `pending` was settled while waiting: it no longer counts, and its slot goes when the settled ones are the most. */
  #forgetWaiting(pending: Pending): void {
    this.#waitingCommands -= pending.expected;
    this.#waitingBytes -= pending.bytes;
    if (this.#waiting.length > 64 && this.#waiting.length > 2 * this.#waitingCommands) this.#compactWaiting();
  }

  #compactWaiting(): void {
    const kept = new Ring<Pending>();
    for (const pending of this.#waiting.drain()) if (!pending.settled) kept.push(pending);
    this.#waiting = kept;
  }

  #takeWaiting(): Pending[] {
    this.#waitingCommands = 0;
    this.#waitingBytes = 0;
    const taken = this.#waiting.drain();
    for (const pending of taken) pending.waiting = false;
    return taken;
  }

  #failWaiting(error: Error): void {
    for (const pending of this.#takeWaiting()) pending.fail(error);
  }

  #connect(): void {
    this.#change({ kind: 'connect' });
    this.#retryTimer = null;
    const { username, password, name, tls } = this.#options;
    const connection = new Connection(
      {
        host: this.#host,
        port: this.#options.port,
        tls: tls === true ? {} : tls ? tls : null,
        dial: this.#options.dial ?? tcpDial,
        protocol: this.#options.protocol ?? 3,
        username,
        password,
        name,
        connectTimeoutMs: this.#options.connectTimeoutMs ?? 2000,
        hangTimeoutMs: this.#options.hangTimeoutMs ?? 3000,
        clock: this.#clock,
        scheduler: this.#scheduler,
      },
      {
        onReady: (greeting) => this.#onReady(connection, greeting),
        onPush: (kind, items) => this.#options.onPush?.(kind, items),
        onProgress: () => this.#endIfDrained(),
        onEnd: (error, unanswered) => this.#onEnd(connection, error, unanswered),
      },
      this.stats,
    );
    this.#connection = connection;
  }

  #onReady(connection: Connection, { protocol, isCluster }: Greeting): void {
    if (this.#closing !== null) return;
    const nowMs = this.#clock.now();
    this.stats.connects += 1;
    this.#lastError = null;
    this.#change({ kind: 'opened', protocol, isCluster, nowMs });
    for (const pending of this.#takeWaiting()) if (!pending.settled) connection.send(pending, nowMs);
  }

  #onEnd(connection: Connection, error: BreakwaterError, unanswered: Pending[]): void {
    if (this.#connection !== connection) return;
    this.#connection = null;
    if (this.#closing !== null) {
      for (const pending of unanswered) pending.fail(error);
      this.#end();
      return;
    }
    const nowMs = this.#clock.now();
    this.#lastError = error;
    if (this.#state.kind === 'ready') this.stats.connectionsLost += 1;
    else this.stats.connectFailures += 1;

    const attempt = nextAttempt(this.#state, nowMs);
    const waitMs = backOffMs(attempt, this.#options.backOff ?? DEFAULT_BACK_OFF, this.#random);
    this.#retryTimer = this.#scheduler.setTimer(waitMs, () => this.#connect());
    // The order: those sent before stand before those that waited.
    for (let i = unanswered.length - 1; i >= 0; i -= 1) this.#sendAgainOrFail(unanswered[i]!, error, nowMs);
    // Wrong credentials do not get right by waiting.
    if (error.code === 'CLIENT_AUTH_FAILED') this.#failWaiting(error);
    if (this.#options.whenDown === 'reject') {
      this.#failWaiting(
        new BreakwaterError('CLIENT_DISCONNECTED', `cannot send the command: ${error.message}`, { cause: error }),
      );
    }
    this.#change({ kind: 'lost', error, attempt, untilMs: nowMs + waitMs });
  }

  #sendAgainOrFail(pending: Pending, error: BreakwaterError, nowMs: number): void {
    if (pending.settled) return;
    if (pending.commands === null || nowMs >= pending.deadlineMs) {
      pending.fail(error);
      return;
    }
    pending.restart();
    this.stats.retries += pending.expected;
    pending.waiting = true;
    this.#waiting.unshift(pending);
    this.#waitingCommands += pending.expected;
    this.#waitingBytes += pending.bytes;
    // The connection may have been lost within a sweep, which has looked at those who wait already.
    this.#deadlines.note(pending.deadlineMs, nowMs);
  }

  #sweep(nowMs: number): number {
    let nextMs = Number.POSITIVE_INFINITY;
    let due = false;
    for (let i = 0; i < this.#waiting.length; i += 1) {
      const pending = this.#waiting.at(i)!;
      if (pending.settled) continue;
      if (nowMs >= pending.deadlineMs) {
        pending.fail(this.#timeout(pending));
        pending.waiting = false;
        this.#waitingCommands -= pending.expected;
        this.#waitingBytes -= pending.bytes;
        due = true;
      } else if (pending.deadlineMs < nextMs) nextMs = pending.deadlineMs;
    }
    if (due) this.#compactWaiting();
    if (this.#connection !== null && (this.#state.kind === 'ready' || this.#state.kind === 'closing')) {
      nextMs = Math.min(nextMs, this.#connection.sweep(nowMs, this.#makeTimeout));
    }
    this.#endIfDrained();
    return this.#state.kind === 'closed' ? Number.POSITIVE_INFINITY : nextMs;
  }

  readonly #makeTimeout = (pending: Pending): Error => this.#timeout(pending);

  #timeout(pending: Pending): BreakwaterError {
    this.stats.timeouts += pending.expected;
    const why =
      this.#lastError !== null
        ? `not connected: ${this.#lastError.message}`
        : this.#state.kind === 'connecting'
          ? 'still connecting'
          : 'no reply';
    return new BreakwaterError(
      'CLIENT_TIMEOUT',
      `no answer from ${this.#host}:${this.#options.port} in ${pending.timeoutMs} ms (${why})`,
    );
  }

  #queueFull(queuedBytes: number): BreakwaterError {
    return new BreakwaterError(
      'CLIENT_QUEUE_FULL',
      `cannot queue the command for ${this.#host}:${this.#options.port}: ${this.queuedCommands} commands (limit ${this.#maxQueuedCommands}) and ${queuedBytes} bytes (limit ${this.#maxQueuedBytes}) are queued`,
    );
  }

  #endIfDrained(): void {
    if (this.#state.kind === 'closing' && this.#connection?.drained !== false) this.#end();
  }

  /** The last step of `close()`. */
  #end(): void {
    if (this.#state.kind !== 'closing') return;
    this.#change({ kind: 'closed' });
    this.#deadlines.stop();
    this.#connection?.destroy(closedError()); // its onEnd fails what is left
    this.#closing?.resolve();
  }

  #change(event: ClientEvent): void {
    this.#state = transition(this.#state, event);
    this.#options.onState?.(this.#state);
  }
}

function closedError(): BreakwaterError {
  return new BreakwaterError('CLIENT_CLOSED', 'cannot send the command: the client was closed');
}

function abortedError(signal: AbortSignal): BreakwaterError {
  return new BreakwaterError('CLIENT_ABORTED', 'the command was aborted by its signal', { cause: signal.reason });
}

function positive(name: string, value: number): number {
  if (value > 0 && Number.isFinite(value)) return value;
  throw new BreakwaterError(
    'CLIENT_OPTION_INVALID',
    `cannot use ${name}: expected a number above 0, received ${value}`,
  );
}
