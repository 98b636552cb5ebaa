/**
 * A value between the tiers: from the loader's hands to the bytes that L2 keeps, and from L2's bytes to an answer. What `judge` asks about
 * it travels along: its age, how long it is fresh, how long it may be served after that, how long its load took.
 */
import { decodeEnvelope, decodeJson, type EnvelopeHeader, encodeEnvelope } from '../base/envelope.ts';
import { type FreshnessPolicy, judge, type Verdict, type Wishes } from '../freshness/judge.ts';
import type { ReadHit } from '../stores/store.ts';

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
}

/** Why an entry of L2 is no answer: another format version, an unknown codec, not JSON. */
export interface Unreadable {
  readonly unreadable: string;
}

const NO_TAGS: readonly string[] = Object.freeze([]);
const NOTHING = new Uint8Array(0);

/**
 * Reads what L2 had. Bytes without an envelope (HTTP PUT, redis-cli) are read as JSON text; they have no grace. The type is the
 * declaration's word: whoever writes other things under the cache's keys is checked by `schema`, not here.
 *
 * @param mostGraceMs this declaration's: an entry stored under a longer one is served no longer than this
 */
export function entryOf<T>(hit: ReadHit, mostGraceMs: number): Entry<T> | Unreadable {
  const decoded = decodeEnvelope(hit.value);
  const { version } = hit;
  switch (decoded.kind) {
    case 'unreadable':
      return { unreadable: decoded.reason };
    case 'foreign': {
      const value = decodeJson(hit.value);
      if (value === undefined) return { unreadable: 'not JSON' };
      const ttlMs = hit.ttlMs ?? Number.POSITIVE_INFINITY;
      return { value: value as T | null, tags: NO_TAGS, ageMs: 0, ttlMs, graceMs: 0, loadMs: 0, version };
    }
    case 'envelope': {
      const { tags, keptMs, absent } = decoded;
      // By the store's clock alone: how long it was given, less what is left.
      const ageMs = keptMs === null || hit.ttlMs === null ? 0 : Math.max(0, keptMs - hit.ttlMs);
      const ttlMs = decoded.freshMs ?? Number.POSITIVE_INFINITY;
      const graceMs = absent || keptMs === null ? 0 : Math.max(0, Math.min(keptMs - ttlMs, mostGraceMs));
      const loadMs = decoded.loadMicros / 1000;
      const value = absent ? null : decodeJson(decoded.payload);
      if (value === undefined) return { unreadable: 'the payload is not JSON' };
      return { value: value as T | null, tags, ageMs, ttlMs, graceMs, loadMs, version };
    }
  }
}

/** The bytes that L2 keeps for `keptMs(lifetime)`. `text` null = known absent. */
export function bytesOf(text: string | null, lifetime: Lifetime, tags: readonly string[], nowMs: number): Uint8Array {
  const header: EnvelopeHeader = {
    codec: text === null ? 'none' : 'json',
    absent: text === null,
    storedAtMs: nowMs,
    freshMs: lifetime.ttlMs,
    keptMs: keptMs(lifetime),
    loadMicros: Math.round(lifetime.loadMs * 1000),
    tags,
  };
  return encodeEnvelope(header, text ?? NOTHING);
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
