/**
 * What one cache tells of itself: the calls that `cache.ts`, `flights.ts` and `loads.ts` make, one line each, and the two things that are kept
 * for it: how long loads took, and the sampler of wrong hits.
 */
import type { Clock } from '../../base/clock.ts';
import { Histogram } from '../../base/histogram.ts';
import type { GuardShedError } from '../guard/errors.ts';
import type { Sampler } from './sampler.ts';
import type { Watch, Within } from './watch.ts';

/** The cache's side of an id that is on its way. */
interface OnItsWay {
  readonly id: string;
  readonly priority: 'foreground' | 'background';
}

export interface CacheObserverParts {
  readonly cache: string;
  readonly source: string;
  readonly store: string;
  readonly watch: Watch;
  readonly clock: Clock;
}

export class CacheObserver {
  /** Microseconds that calls of the loader took. */
  readonly loadMicros = new Histogram();
  /** null: hits are not sampled. Set once, by the cache. */
  sampler: Sampler | null = null;
  readonly #parts: CacheObserverParts;
  readonly #watch: Watch;

  constructor(parts: CacheObserverParts) {
    this.#parts = parts;
    this.#watch = parts.watch;
  }

  /** @param storedAtMs by this process's clock */
  hit(id: string, tier: 'l1' | 'l2', value: unknown, storedAtMs: number): void {
    if (this.sampler === null && !this.#watch.hearsHits) return;
    const ageMs = this.#parts.clock.now() - storedAtMs;
    this.sampler?.hit(id, tier, value, ageMs);
    if (this.#watch.hearsHits) {
      this.#watch.tell('hit', { cache: this.#parts.cache, id, tier, isNegative: value === null, ageMs });
    }
  }

  stale(id: string, ageMs: number, error: unknown): void {
    if (this.#watch.hears('stale')) this.#watch.tell('stale', { cache: this.#parts.cache, id, ageMs, error });
  }

  bypass(id: string): void {
    if (this.#watch.hears('bypass')) this.#watch.tell('bypass', { cache: this.#parts.cache, id });
  }

  miss(flights: readonly OnItsWay[]): void {
    if (this.#watch.hears('miss')) this.#watch.tell('miss', { cache: this.#parts.cache, ids: idsOf(flights) });
  }

  /** Runs a load, guard and all. */
  load<T>(flights: readonly OnItsWay[], run: (within: Within) => Promise<T>): Promise<T> {
    const context = { cache: this.#parts.cache, ids: idsOf(flights), isBackground: isBackground(flights) };
    return this.#watch.trace({ kind: 'load', context }, run);
  }

  /** Times a call of the loader. */
  async timed<T>(flights: readonly OnItsWay[], call: () => Promise<T>): Promise<T> {
    const { clock } = this.#parts;
    const beganMs = clock.now();
    try {
      const result = await call();
      this.#loaded(flights, clock.now() - beganMs, undefined);
      return result;
    } catch (error) {
      this.#loaded(flights, clock.now() - beganMs, error);
      throw error;
    }
  }

  #loaded(flights: readonly OnItsWay[], durationMs: number, error: unknown): void {
    this.loadMicros.record(durationMs * 1000);
    if (!this.#watch.hears('load')) return;
    const { cache } = this.#parts;
    this.#watch.tell('load', {
      cache,
      ids: idsOf(flights),
      isBackground: isBackground(flights),
      durationMs,
      error,
    });
  }

  shed(flights: readonly OnItsWay[], error: GuardShedError): void {
    if (!this.#watch.hears('shed')) return;
    const { cache, source } = this.#parts;
    this.#watch.tell('shed', {
      cache,
      source,
      ids: idsOf(flights),
      code: error.code,
      isBackground: isBackground(flights),
    });
  }

  read<T>(keys: number, run: () => Promise<T>): Promise<T> {
    const { cache, store } = this.#parts;
    return this.#watch.trace({ kind: 'read', context: { cache, store, keys } }, run);
  }

  fill<T>(keys: number, run: () => Promise<T>): Promise<T> {
    const { cache, store } = this.#parts;
    return this.#watch.trace({ kind: 'fill', context: { cache, store, keys } }, run);
  }

  filled(id: string, isStored: boolean): void {
    if (this.#watch.hears('fill')) this.#watch.tell('fill', { cache: this.#parts.cache, id, isStored });
  }
}

function idsOf(flights: readonly OnItsWay[]): readonly string[] {
  return flights.map(({ id }) => id);
}

/** All of one load have one priority. */
function isBackground(flights: readonly OnItsWay[]): boolean {
  return flights[0]?.priority === 'background';
}
