/**
 * The sampler: counts wrong hits in production. A fraction of the hits is compared with what the source says, in the background and behind
 * the guard, so that the claim "nothing stale" is a number on a dashboard and not a belief.
 *
 *     hit (value V) --1 in 1/rate--> ask the loader ---- V -------------------------------> agreed
 *                                          |
 *                                          +-- not V: suspected. Wait `confirmAfterMs`, ask the loader again, then look what the cache has
 *                                                  |
 *                                                  +-- the loader says V again, or the cache has V no more --> it was a change in flight
 *                                                  +-- the cache still serves V, the loader something else --> wrong hit
 *
 * Why two looks: between "the row is changed" and "the key is invalidated" the cache rightly has the old value, and so it differs for that moment whoever
 * does everything right. What still differs after `confirmAfterMs` was not invalidated in that time: nobody told the cache. The cache is looked at
 * *after* the source's second answer, so that a change between the two cannot be mistaken for one.
 *
 * It says what the cache is told, not who is to blame: rows that are changed without telling the cache show here until their TTL ends, which is what the
 * number is for. Stale values that were asked for (`grace`) are no hits and are not sampled.
 *
 * Costs: one load per check, at background priority; at most `MOST_CHECKS` at a time, more are skipped and counted. With `rate` 0 there is no sampler.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Random } from '../../base/random.ts';
import type { Scheduler } from '../../base/scheduler.ts';
import type { Watch } from './watch.ts';

/** Checks under way at once, of one cache; a suspect waits its second look out in one of these places. */
const MOST_CHECKS = 16;

export interface SamplerSettings {
  /** Of all hits, above 0 up to 1. */
  readonly rate: number;
  readonly confirmAfterMs: number;
  /** Whether the two mean the same. */
  readonly compare: (cached: unknown, loaded: unknown) => boolean;
}

export interface SamplerStats {
  /** Hits that were compared with the source. */
  readonly checked: number;
  /** Of those, the ones that differed at the first look, and those that differed still at the second. */
  readonly suspectedStale: number;
  readonly wrongHits: number;
  /** The oldest entry of a wrong hit when it was served, milliseconds; null = there was none. */
  readonly oldestWrongMs: number | null;
  /** Hits that were drawn and not compared, because so many were being compared already. */
  readonly skipped: number;
  /** Checks without a verdict: the loader failed or the guard did not let it through. */
  readonly failed: number;
}

/** What the sampler asks. `undefined`: nothing. */
export interface SamplerProbes {
  /** The source's answer, as the cache would give it. */
  ask(id: string): Promise<unknown>;
  /** What the cache would serve now; undefined when it would load. */
  cached(id: string): Promise<unknown>;
}

export interface SamplerParts {
  readonly cache: string;
  readonly watch: Watch;
  readonly random: Random;
  readonly scheduler: Scheduler;
  readonly probes: SamplerProbes;
}

export class Sampler {
  readonly #settings: SamplerSettings;
  readonly #parts: SamplerParts;
  /** Hits until the next check: drawn, so that hits in between cost one decrement. */
  #gap: number;
  #underWay = 0;
  #closed = false;
  #checked = 0;
  #suspectedStale = 0;
  #wrongHits = 0;
  #oldestWrongMs: number | null = null;
  #skipped = 0;
  #failed = 0;

  constructor(settings: SamplerSettings, parts: SamplerParts) {
    this.#settings = settings;
    this.#parts = parts;
    this.#gap = this.#drawGap();
  }

  hit(id: string, tier: 'l1' | 'l2', value: unknown, ageMs: number): void {
    this.#gap -= 1;
    if (this.#gap > 0 || this.#closed) return;
    this.#gap = this.#drawGap();
    if (this.#underWay >= MOST_CHECKS) {
      this.#skipped += 1;
      return;
    }
    this.#underWay += 1;
    this.#check(id, tier, value, ageMs)
      .catch(() => {
        this.#failed += 1;
      })
      .finally(() => {
        this.#underWay -= 1;
      });
  }

  stats(): SamplerStats {
    return {
      checked: this.#checked,
      suspectedStale: this.#suspectedStale,
      wrongHits: this.#wrongHits,
      oldestWrongMs: this.#oldestWrongMs,
      skipped: this.#skipped,
      failed: this.#failed,
    };
  }

  close(): void {
    this.#closed = true;
  }

  async #check(id: string, tier: 'l1' | 'l2', value: unknown, ageMs: number): Promise<void> {
    const { probes, watch, cache } = this.#parts;
    const first = await probes.ask(id);
    this.#checked += 1;
    if (this.#agrees(value, first)) return;
    this.#suspectedStale += 1;
    const event = { cache, id, tier, ageMs };
    if (watch.hears('suspected-stale')) watch.tell('suspected-stale', event);
    await this.#pause();
    if (this.#closed) return;
    const second = await probes.ask(id);
    if (this.#agrees(value, second)) return;
    const now = await probes.cached(id);
    if (now === undefined || !this.#agrees(value, now)) return;
    this.#wrongHits += 1;
    this.#oldestWrongMs = Math.max(this.#oldestWrongMs ?? 0, ageMs);
    if (watch.hears('wrong-hit')) watch.tell('wrong-hit', event);
  }

  #agrees(cached: unknown, other: unknown): boolean {
    if (cached === null || other === null) return cached === other;
    return this.#settings.compare(cached, other);
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#parts.scheduler.setTimer(this.#settings.confirmAfterMs, resolve, { keepAlive: false });
    });
  }

  /** Geometric: each hit is drawn with probability `rate`, whatever came before. */
  #drawGap(): number {
    const { rate } = this.#settings;
    if (rate >= 1) return 1;
    return 1 + Math.floor(Math.log(1 - this.#parts.random.nextFloat()) / Math.log(1 - rate));
  }
}

export const sameJson = (cached: unknown, loaded: unknown): boolean => isDeepStrictEqual(cached, loaded);
