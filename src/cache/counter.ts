/**
 * A counter over all processes of one store: counted here, added to the store now and then.
 *
 *     increment --> pending --flush--> on its way --acknowledged--> in the store
 *                      ^                   |---- surely not counted (never sent, or refused): back to pending
 *                      |___________________|---- nobody knows (the reply was lost): in doubt, never sent again
 *
 * Why at most once: an addition that is repeated when its reply was lost may be counted twice, and a count that is too high is found by nobody. What was not
 * acknowledged is counted in `stats().inDoubt`, so that the error has a bound: the true sum is between `value` and `value` plus what all processes have in doubt.
 *
 * What can be lost beside that: what a process that is killed had not flushed, at most one `flush` interval of its increments. `close` flushes.
 *
 * A hot counter is a hot key. With `shards` its additions are spread over so many keys, and a read sums them: n times the write rate, for a read of n keys.
 */
import { BreakwaterError } from '../base/errors.ts';
import type { Timer } from '../base/scheduler.ts';
import { type Duration, parseDurationMs } from '../base/units.ts';
import type { StoreCounters } from '../stores/counters.ts';
import { checkNames, count, duration, invalid } from './checks.ts';
import { show } from './key.ts';
import type { FlightPorts } from './loads.ts';

export interface CounterOptions {
  /** How long increments are gathered before they are sent. Default `"1s"`; 0 = sent in the same turn of the event loop's timers. */
  readonly flush?: Duration;
  /** Keys that additions are spread over, 1 to 256. All processes must say the same. Default 1. */
  readonly shards?: number;
  /** The counter ends so long after its last addition. Default: never. */
  readonly ttl?: Duration;
}

export interface CounterStats {
  /** Not sent yet, and on their way. */
  readonly pending: number;
  readonly sending: number;
  /** Sum of what the store has acknowledged of this process's. */
  readonly acknowledged: number;
  /** Sum of the amounts of which nobody knows whether they were counted. */
  readonly inDoubt: number;
  /** Flushes that failed, and why the last one did. */
  readonly failures: number;
  readonly lastError: string | null;
}

const OPTIONS = ['flush', 'shards', 'ttl'] as const;
const MOST_SHARDS = 256;
const MAX_NAME_CHARACTERS = 128;

export interface CounterParts {
  readonly counters: StoreCounters;
  readonly ports: FlightPorts;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly closed: () => BreakwaterError | null;
}

/** A counter declared by `bw.counter(name, options)`. */
export class Counter {
  readonly name: string;
  readonly #parts: CounterParts;
  readonly #flushMs: number;
  readonly #ttlMs: number | null;
  readonly #keys: readonly string[];
  #pending = 0;
  #sending = 0;
  #acknowledged = 0;
  #inDoubt = 0;
  #failures = 0;
  #lastError: string | null = null;
  #timer: Timer | null = null;
  #flushing: Promise<void> | null = null;

  /** @internal Use `bw.counter`. */
  constructor(parts: CounterParts, name: string, options: CounterOptions) {
    if (typeof name !== 'string' || !/^[^{}\p{Surrogate}]+$/u.test(name) || name.length > MAX_NAME_CHARACTERS) {
      throw invalid('the name of a counter', `text of 1 to ${MAX_NAME_CHARACTERS} characters without braces`, name);
    }
    this.#parts = parts;
    this.name = name;
    const where = `counter "${name}"`;
    checkNames(options, OPTIONS, where);
    this.#flushMs = parseDurationMs(options.flush ?? '1s', `flush of ${where}`);
    this.#ttlMs = options.ttl === undefined ? null : duration(options.ttl, 'ttl', where, 1);
    const shards = count(options.shards ?? 1, 'shards', where, MOST_SHARDS);
    this.#keys = Array.from({ length: shards }, (_, i) => `bw.counter:${name}#${i}`);
  }

  /** Counts, here; sent within the `flush` interval. @throws BreakwaterError `COUNTER_AMOUNT_INVALID`, `CACHE_CLOSED` */
  increment(by = 1): void {
    const closed = this.#parts.closed();
    if (closed !== null) throw closed;
    if (!Number.isSafeInteger(by) || !Number.isSafeInteger(this.#pending + by)) {
      throw new BreakwaterError(
        'COUNTER_AMOUNT_INVALID',
        `cannot count ${show(by)} in ${show(this.name)}: expected an integer, with what is pending (${this.#pending}) within 2^53`,
      );
    }
    this.#pending += by;
    this.#arm();
  }

  /**
   * What the store has, over all processes, and what of this one is not there yet. Rejects as reads of the store do.
   */
  async value(): Promise<number> {
    const { counters, readTimeoutMs, closed } = this.#parts;
    const over = closed();
    if (over !== null) throw over;
    // Nothing of this process is on its way while the store is asked: it would count twice, or not at all.
    while (this.#flushing !== null) await this.#flushing;
    const reading = counters.sum(this.#keys, { timeoutMs: readTimeoutMs }).then((sum) => sum + this.#pending);
    const settled = reading.then(
      () => undefined,
      () => undefined,
    );
    this.#flushing = settled.then(() => {
      this.#flushing = null;
    });
    return reading;
  }

  /**
   * Sends what is pending. Rejects with `COUNTER_IN_DOUBT` when the store did not answer: it may have been counted, and is not sent again; with
   * `COUNTER_NOT_COUNTED` when it surely was not, and is pending still.
   */
  async flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = null;
    while (this.#flushing !== null) await this.#flushing;
    if (this.#pending === 0) return;
    const sending = this.#send();
    this.#flushing = sending
      .then(
        () => undefined,
        () => undefined,
      )
      .then(() => {
        this.#flushing = null;
        if (this.#pending !== 0 && this.#parts.closed() === null) this.#arm();
      });
    await sending;
  }

  stats(): CounterStats {
    return {
      pending: this.#pending,
      sending: this.#sending,
      acknowledged: this.#acknowledged,
      inDoubt: this.#inDoubt,
      failures: this.#failures,
      lastError: this.#lastError,
    };
  }

  /** @internal What is pending is sent; errors are in the stats. */
  async end(): Promise<void> {
    await this.flush().catch(() => undefined);
    this.#timer?.cancel();
    this.#timer = null;
  }

  async #send(): Promise<void> {
    const { counters, ports, writeTimeoutMs } = this.#parts;
    const by = this.#pending;
    this.#pending = 0;
    this.#sending = by;
    const key = this.#keys[Math.min(this.#keys.length - 1, Math.floor(ports.random.nextFloat() * this.#keys.length))]!;
    try {
      await counters.add(key, by, this.#ttlMs, { timeoutMs: writeTimeoutMs });
      this.#acknowledged += by;
    } catch (error) {
      this.#failures += 1;
      const why = error instanceof Error ? error.message : String(error);
      this.#lastError = why;
      const isRefused = error instanceof BreakwaterError && error.code === 'STORE_REFUSED';
      if (isRefused) this.#pending += by;
      else this.#inDoubt += Math.abs(by);
      throw new BreakwaterError(
        isRefused ? 'COUNTER_NOT_COUNTED' : 'COUNTER_IN_DOUBT',
        `cannot say that ${by} was counted in ${show(this.name)}: ${why}`,
        { cause: error },
      );
    } finally {
      this.#sending = 0;
    }
  }

  #arm(): void {
    if (this.#timer !== null || this.#flushing !== null) return;
    const fire = (): void => {
      this.#timer = null;
      this.flush().catch(() => undefined);
    };
    this.#timer = this.#parts.ports.scheduler.setTimer(this.#flushMs, fire, { keepAlive: false });
  }
}
