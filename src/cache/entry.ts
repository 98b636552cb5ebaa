/**
 * A value between the tiers. What `judge` asks about it travels along: its age, how long it is fresh, how long it may be served after that, how long
 * its load took. How it becomes bytes and comes back is told in codec/packing.ts.
 */
import { type FreshnessPolicy, judge, type Verdict, type Wishes } from '../freshness/judge.ts';

/** How long an entry lives, and what its load cost. */
export interface Lifetime {
  /** Fresh for so long from its storing, jitter included; `Infinity` = no end. */
  readonly ttlMs: number;
  /** May be served, if allowed, for so long after that. */
  readonly graceMs: number;
  /** How long the load took that brought it; 0 = not known. */
  readonly loadMs: number;
}

/** An answer and what the tiers need to know about it. */
export interface Entry<T> extends Lifetime {
  /** null = known absent. */
  readonly value: T | null;
  readonly tags: readonly string[];
  /** How long ago it was stored; 0 when just loaded. */
  readonly ageMs: number;
  readonly version: number | null;
  /** What the source will know it by ({@link Validated}); left out: nothing. */
  readonly validator?: string | undefined;
  /** Length of its encoding, before compression and encryption: what the size of values of unknown shape is estimated by. */
  readonly encodedBytes: number;
}

/** The time to live that the store is given. */
export function keptMs(lifetime: Lifetime): number {
  return lifetime.ttlMs + lifetime.graceMs;
}

/** `judge` for an entry of either tier. Whether it was invalidated has been asked before: such an entry is in neither. */
export function verdictOf(
  entry: Lifetime & { readonly value: unknown },
  storedAtMs: number,
  wishes: Wishes,
  policy: FreshnessPolicy,
  nowMs: number,
  random: number,
): Verdict {
  const { ttlMs, graceMs, loadMs } = entry;
  const negative = entry.value === null;
  const facts = { storedAtMs, ttlMs, graceMs, loadMs, negative, epoch: 0, version: 0, standing: 'good' } as const;
  return judge(facts, wishes, policy, nowMs, random);
}
