/**
 * May this entry be served? Every question of freshness that the library asks is this one function: what is known about an
 * entry, what the caller wishes, what time it is and one roll of the dice go in; a verdict with its reason comes out. It
 * reads no clock, starts no load and remembers nothing, so its whole behaviour is a table (`judge.test.ts` holds it).
 *
 * Two different things make a value old and they are never mixed here:
 *
 *   invalidated   the truth changed. `standing` says so. Such a value is never served, to nobody, for no reason: not within
 *                 its TTL, not within its grace, not when the source is down. A miss is always safe; a wrong hit never is.
 *   aged          nobody said that it changed, but it was stored a while ago. How old is too old is a matter of taste, and
 *                 the declaration (`ttl`, `grace`) and the caller (`maxStaleMs`) settle it between them.
 *
 * An entry's life on the axis of age, all three borders belonging to the later part:
 *
 *     0                              ttl - early              ttl                        ttl + min(grace, maxStaleMs)
 *     |------------ fresh -------------|---- refresh-early ----|--------- stale -----------|------ miss ------>
 *                                                              | (or stale-if-error)       |
 *
 * `early` is XFetch (Vattani, Chierichetti, Lowenstein: Optimal Probabilistic Cache Stampede Prevention, PVLDB 8(8), 2015):
 * each reader draws an exponential of mean `beta * loadMs` and acts as if it were that much later. Many readers of a hot
 * key make it near certain that one of them reloads before the end, one reader of a cold key hardly ever does, and nobody
 * has to agree with anybody. Fixed "refresh at 80 %" reloads cold keys in vain and lets every reader of a hot key reload in
 * the same millisecond.
 *
 * Order of the questions, each closing what stands beneath it: standing, `fresh: true`, the caller's token, the age.
 *
 * Costs: no allocation (verdicts are constants, compare them by `kind`), one logarithm and only near the end of the TTL.
 * The caller passes a *local* monotonic time: see `age.ts` for how ages travel between machines without their clocks.
 */

/** What is known against an entry beside its age. */
export type Standing =
  /** Nothing. */
  | 'good'
  /** The feed has a gap or is beyond its bound: the entry may have been invalidated. To be revalidated by version first. */
  | 'suspect'
  /** Its key, one of its tags or its namespace was invalidated after it was stored. */
  | 'voided';

/** The facts about an entry. Any object that has these fields will do; the L1 passes its own entries. */
export interface EntryFacts {
  /** When it became the truth as far as anyone can tell, on the local clock: now minus its age. */
  readonly storedAtMs: number;
  /** Fresh for so long after that; jitter is already in it. `Infinity`: no end. */
  readonly ttlMs: number;
  /** Usable, if allowed, for so long after its TTL. 0: not at all. */
  readonly graceMs: number;
  /** How long the load took that brought it, for XFetch. 0: not known, never refreshed early. */
  readonly loadMs: number;
  /** The numbering that `version` belongs to: a takeover or a restarted store begins another. */
  readonly epoch: number;
  /** Within one epoch, larger is later. */
  readonly version: number;
  /** It says "known absent". Such an entry has its own TTL and no grace: absence is the answer that ages worst. */
  readonly negative: boolean;
  readonly standing: Standing;
}

/** What a session saw or wrote: an answer from before it would contradict the caller's own eyes. */
export interface SeenToken {
  readonly epoch: number;
  readonly version: number;
}

/** What one caller asks for, beyond the declaration. {@link NO_WISHES} for most. */
export interface Wishes {
  /**
   * How long past its TTL a value may be. It narrows the declared grace and never widens it: past ttl + grace the stores
   * have dropped the entry, so a wider promise would hold by luck. 0: no stale values. Default: the entry's grace.
   */
  readonly maxStaleMs?: number | undefined;
  /** Read your writes: nothing older than this. A token of another epoch cannot be compared, so it asks for a load. */
  readonly after?: SeenToken | null | undefined;
  /** The source's answer and nothing else. */
  readonly fresh?: boolean | undefined;
}

/** What a declaration says about all its entries. */
export interface FreshnessPolicy {
  /** XFetch's eagerness: 1 is the paper's optimum, 2 reloads about twice as far ahead, 0 turns early refresh off. */
  readonly beta: number;
  /** True: a value within grace is served at once while one caller reloads. False: it is kept for when the load fails. */
  readonly staleWhileReload: boolean;
}

export const DEFAULT_POLICY: FreshnessPolicy = { beta: 1, staleWhileReload: true };

export const NO_WISHES: Wishes = {};

/** What to do. The reason is for metrics, traces and tests; only `kind` decides. */
export type Verdict =
  /** Serve it. */
  | { readonly kind: 'fresh'; readonly reason: 'within-ttl' }
  /** Serve it, and reload in the background unless a load is under way. */
  | { readonly kind: 'refresh-early'; readonly reason: 'xfetch' }
  /** Serve it, and let one caller reload. Also what to serve when that load fails. */
  | { readonly kind: 'stale'; readonly reason: 'within-grace' }
  /** Load; serve it only when the load fails, is shed, or takes longer than the soft timeout. */
  | { readonly kind: 'stale-if-error'; readonly reason: 'within-grace' }
  /** Load; do not serve it. It may still be shown to the loader, to ask "has it changed since?". */
  | { readonly kind: 'miss'; readonly reason: MissReason };

export type MissReason =
  /** No entry at all. */
  | 'absent'
  | 'voided'
  | 'suspect'
  /** The caller said `fresh: true`. */
  | 'fresh-wanted'
  /** Its version is below the caller's token. */
  | 'older-than-token'
  /** The token is of another epoch. */
  | 'other-epoch'
  /** Its age cannot be told (not a number, or stored in the future). */
  | 'age-unknown'
  /** Past its TTL, with no grace. */
  | 'expired'
  /** Within its grace, but beyond what the caller allows. */
  | 'past-max-stale'
  /** Past its TTL and its grace. */
  | 'past-grace';

const FRESH: Verdict = { kind: 'fresh', reason: 'within-ttl' };
const EARLY: Verdict = { kind: 'refresh-early', reason: 'xfetch' };
const STALE: Verdict = { kind: 'stale', reason: 'within-grace' };
const STALE_IF_ERROR: Verdict = { kind: 'stale-if-error', reason: 'within-grace' };
const ABSENT: Verdict = { kind: 'miss', reason: 'absent' };
const VOIDED: Verdict = { kind: 'miss', reason: 'voided' };
const SUSPECT: Verdict = { kind: 'miss', reason: 'suspect' };
const FRESH_WANTED: Verdict = { kind: 'miss', reason: 'fresh-wanted' };
const OLDER_THAN_TOKEN: Verdict = { kind: 'miss', reason: 'older-than-token' };
const OTHER_EPOCH: Verdict = { kind: 'miss', reason: 'other-epoch' };
const AGE_UNKNOWN: Verdict = { kind: 'miss', reason: 'age-unknown' };
const EXPIRED: Verdict = { kind: 'miss', reason: 'expired' };
const PAST_MAX_STALE: Verdict = { kind: 'miss', reason: 'past-max-stale' };
const PAST_GRACE: Verdict = { kind: 'miss', reason: 'past-grace' };

/**
 * -ln of the smallest non-zero 32-bit float, rounded up: the most that a draw can be. Spares the logarithm to every reader
 * that is further from the end than that.
 */
const LONGEST_DRAW = 23;

/**
 * Judges `entry` (null: there is none) for a caller with `wishes` at `nowMs` of the local clock. `random` is one uniform
 * float in [0, 1), used by early refresh only.
 */
export function judge(
  entry: EntryFacts | null,
  wishes: Wishes,
  policy: FreshnessPolicy,
  nowMs: number,
  random: number,
): Verdict {
  if (entry === null) return ABSENT;
  if (entry.standing !== 'good') return entry.standing === 'voided' ? VOIDED : SUSPECT;
  if (wishes.fresh === true) return FRESH_WANTED;

  const after = wishes.after;
  if (after !== undefined && after !== null) {
    if (entry.epoch !== after.epoch) return OTHER_EPOCH;
    // Written so that a version that is not a number is a miss.
    if (!(entry.version >= after.version)) return OLDER_THAN_TOKEN;
  }

  const ageMs = nowMs - entry.storedAtMs;
  if (!(ageMs >= 0)) return AGE_UNKNOWN;
  if (ageMs < entry.ttlMs) return refreshesEarly(entry, policy.beta, ageMs, random) ? EARLY : FRESH;
  return judgePastTtl(entry, wishes, policy, ageMs - entry.ttlMs);
}

/** For how long of its TTL an entry is certainly `fresh`, whatever the dice say: a caller with no wishes need not ask before. */
export function surelyFreshMs(ttlMs: number, loadMs: number, beta: number): number {
  return ttlMs - loadMs * beta * LONGEST_DRAW;
}

function judgePastTtl(entry: EntryFacts, wishes: Wishes, policy: FreshnessPolicy, staleMs: number): Verdict {
  if (entry.negative || !(entry.graceMs > 0)) return EXPIRED;
  if (!(staleMs < entry.graceMs)) return PAST_GRACE;
  const { maxStaleMs } = wishes;
  if (maxStaleMs !== undefined && !(staleMs < maxStaleMs)) return PAST_MAX_STALE;
  return policy.staleWhileReload ? STALE : STALE_IF_ERROR;
}

/** XFetch: `now - loadMs * beta * ln(u) >= expiry`, with u in (0, 1]. */
function refreshesEarly(entry: EntryFacts, beta: number, ageMs: number, random: number): boolean {
  const leftMs = entry.ttlMs - ageMs;
  const meanMs = entry.loadMs * beta;
  if (!(leftMs < meanMs * LONGEST_DRAW)) return false;
  return -Math.log(1 - random) * meanMs >= leftMs;
}

/** Whether the value may be handed to the caller at once. */
export function isServable(verdict: Verdict): boolean {
  return verdict.kind === 'fresh' || verdict.kind === 'refresh-early' || verdict.kind === 'stale';
}

/** Whether the value may be handed to the caller when the load failed, was shed, or outlasted the soft timeout. */
export function isServableOnError(verdict: Verdict): boolean {
  return verdict.kind !== 'miss';
}
