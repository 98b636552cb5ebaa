/**
 * One flight: an id on its way through L2 and loader, and the promises of those who wait for it. What happens to it is decided in flights.ts.
 */
import type { Timer } from '../base/scheduler.ts';
import type { Entry } from './entry.ts';
import type { Tier } from './types.ts';
import { Deferred } from './waiting.ts';

/** What a flight brings. */
export interface Got<T> extends Entry<T> {
  readonly from: Tier;
}

/** A place in a flight. `value` is one promise for all its callers. */
export interface Seat<T> {
  readonly got: Promise<Got<T>>;
  readonly value: Promise<T | null>;
}

export class Flight<K extends string, T> implements Seat<T> {
  readonly id: K;
  readonly key: string;
  readonly #answer = new Deferred<Got<T>>();
  readonly value: Promise<T | null>;
  /** The last void when its read was sent, or its load began. */
  stamp = 0;
  sentAtMs = 0;
  lease: string | null = null;
  /** Until when it may wait for another process's load; null = it has not waited. */
  waitUntilMs: number | null = null;
  polls = 0;
  /** Its L2 entry could not be read and was removed; not done twice. */
  cleaned = false;
  timer: Timer | null = null;
  isOver = false;
  /** While loading: whether those who came late may have the answer. */
  verdict: Deferred<boolean> | null = null;
  late: Seat<T> | null = null;

  constructor(id: K, key: string) {
    this.id = id;
    this.key = key;
    this.value = justValue(this.#answer.promise);
  }

  get got(): Promise<Got<T>> {
    return this.#answer.promise;
  }

  answer(got: Got<T> | Promise<Got<T>>): void {
    this.isOver = true;
    this.#answer.resolve(got);
  }

  fail(error: unknown): void {
    this.isOver = true;
    this.#answer.reject(error);
  }
}

/** One promise of the value alone, for all who want no more. */
export function justValue<T>(got: Promise<Got<T>>): Promise<T | null> {
  const value = got.then((answer) => answer.value);
  value.catch(ignore);
  return value;
}

function ignore(): void {}
