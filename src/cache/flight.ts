/**
 * One flight: an id on its way through L2 and loader, and the promises of those who wait for it. What happens to it is decided in flights.ts.
 */
import type { Timer } from '../base/scheduler.ts';
import type { Entry } from './entry.ts';
import type { Priority } from './guard/queue.ts';
import type { Tier } from './types.ts';
import { Deferred } from './waiting.ts';

/** What a flight brings. */
export interface Got<T> extends Entry<T> {
  readonly from: Tier;
  /** Why the value is stale: what its reload failed with. */
  readonly reloadError?: unknown;
}

/** An entry of which nothing is used again, as an answer. */
export function gotOf<T>(entry: Entry<T>, from: Tier): Got<T> {
  const { value, tags, ageMs, ttlMs, graceMs, loadMs, version, encodedBytes, validator } = entry;
  const got = { value, tags, ageMs, ttlMs, graceMs, loadMs, version, encodedBytes, from };
  return validator === undefined ? got : { ...got, validator };
}

/** A place in a flight. `value` is one promise for all its callers. */
export interface Seat<T> {
  readonly got: Promise<Got<T>>;
  readonly value: Promise<T | null>;
}

/** What a caller asks for beyond the declaration. {@link PLAIN} for most; callers with other wishes do not share their flights before the load. */
export interface FlightWishes {
  readonly maxStaleMs?: number;
  /** From a load that begins after the call. */
  readonly fresh?: boolean;
  /** Nothing from before the call, whoever invalidated it. */
  readonly afterCall?: boolean;
}

export const PLAIN: FlightWishes = {};

/** What is remembered of the moment at which a read was sent. */
export interface Sending {
  /** The last void. */
  readonly stamp: number;
  readonly sentAtMs: number;
  /** The link that it was sent on (`voids.ts`). */
  readonly link: number;
}

/** A value past its TTL that a flight has in the hand while it loads. */
export interface Fallback<T> {
  readonly entry: Entry<T>;
  /** Whether callers may have it when the load fails; else it is only shown to the loader. */
  readonly servable: boolean;
}

/** A slot of the guard that somebody else holds, for loads that nobody waits for. */
export interface Permit {
  readonly signal: AbortSignal;
  /** Calls of the loader within it: the slot is held until they have settled. None rejects. */
  readonly calls: Promise<unknown>[];
  /** What the last of them that failed rejected with. */
  error: unknown;
}

export class Flight<K extends string, T> implements Seat<T> {
  readonly id: K;
  readonly key: string;
  readonly wishes: FlightWishes;
  readonly priority: Priority;
  /** Made when somebody asks for them: most flights are asked for the value alone, and some for nothing. */
  #got: Deferred<Got<T>> | null = null;
  #value: Deferred<T | null> | null = null;
  #outcome: { readonly got: Got<T> } | { readonly error: unknown } | null = null;
  /** The last void when its read was sent, or its load began. */
  stamp = 0;
  sentAtMs = 0;
  /** The link that its read was sent on (`voids.ts`). */
  link = 0;
  lease: string | null = null;
  /** When it last left for the store: all its callers had come by then. A number of `Loads.next()`. */
  departed = 0;
  /** When its load began to ask the source, by the same count; 0 = it has not. */
  asked = 0;
  /** Until when it may wait for another process's load; null = it has not waited. */
  waitUntilMs: number | null = null;
  polls = 0;
  /** Its last hit came out of a copy that may be behind: kept nowhere. */
  isCopied = false;
  /** Its L2 entry could not be read and was removed; not done twice. */
  cleaned = false;
  timer: Timer | null = null;
  softTimer: Timer | null = null;
  isOver = false;
  fallback: Fallback<T> | null = null;
  /** A reload for an entry of L1: how old that is. An entry of L2 less than half as old is taken instead. */
  reloadsAgeMs: number | null = null;
  /** While loading: what those who came late may have; null = they ask again. */
  verdict: Deferred<Got<T> | null> | null = null;
  late: Seat<T> | null = null;
  /** It warms, in a slot of the guard that is held for it. */
  permit: Permit | null = null;
  onFree: (() => void) | null = null;

  constructor(id: K, key: string, wishes: FlightWishes, priority: Priority) {
    this.id = id;
    this.key = key;
    this.wishes = wishes;
    this.priority = priority;
  }

  get got(): Promise<Got<T>> {
    if (this.#got === null) {
      this.#got = new Deferred();
      this.#settle();
    }
    return this.#got.promise;
  }

  get value(): Promise<T | null> {
    if (this.#value === null) {
      this.#value = new Deferred();
      this.#settle();
    }
    return this.#value.promise;
  }

  /** The first outcome stands. */
  answer(got: Got<T>): void {
    this.end();
    this.#outcome ??= { got };
    this.#settle();
  }

  fail(error: unknown): void {
    this.end();
    this.#outcome ??= { error };
    this.#settle();
  }

  #settle(): void {
    const outcome = this.#outcome;
    if (outcome === null) return;
    if ('error' in outcome) {
      this.#got?.reject(outcome.error);
      this.#value?.reject(outcome.error);
    } else {
      this.#got?.resolve(outcome.got);
      this.#value?.resolve(outcome.got.value);
    }
  }

  /** It holds no lease (any more), and waits for others or is over. */
  free(): void {
    const { onFree } = this;
    this.onFree = null;
    onFree?.();
  }

  end(): void {
    // With a load under way it is free when that has filled.
    if (this.verdict === null) this.free();
    this.isOver = true;
    this.timer?.cancel();
    this.timer = null;
    this.softTimer?.cancel();
    this.softTimer = null;
  }
}

/** One promise of the value alone, for all who want no more. */
export function justValue<T>(got: Promise<Got<T>>): Promise<T | null> {
  const value = got.then((answer) => answer.value);
  value.catch(ignore);
  return value;
}

function ignore(): void {}
