/**
 * A value between the tiers: from the loader's hands to the bytes that L2 keeps, and from L2's bytes to an answer.
 */
import { decodeEnvelope, decodeJson, type EnvelopeHeader, encodeEnvelope } from '../base/envelope.ts';
import type { ReadHit } from '../stores/store.ts';

/** An answer and what L1 needs to know about it. */
export interface Entry<T> {
  /** null = known absent. */
  readonly value: T | null;
  readonly tags: readonly string[];
  /** How long ago it was stored; 0 when just loaded. */
  readonly ageMs: number;
  /** What is left of its time to live; `Infinity` = no end. */
  readonly ttlMs: number;
  readonly version: number | null;
}

/** Why an entry of L2 is no answer: another format version, an unknown codec, not JSON. */
export interface Unreadable {
  readonly unreadable: string;
}

const NO_TAGS: readonly string[] = Object.freeze([]);
const NOTHING = new Uint8Array(0);

/**
 * Reads what L2 had. Bytes without an envelope (HTTP PUT, redis-cli) are read as JSON text. The type is the
 * declaration's word: whoever writes other things under the cache's keys is not checked for here.
 */
export function entryOf<T>(hit: ReadHit): Entry<T> | Unreadable {
  const decoded = decodeEnvelope(hit.value);
  const ttlMs = hit.ttlMs ?? Number.POSITIVE_INFINITY;
  switch (decoded.kind) {
    case 'unreadable':
      return { unreadable: decoded.reason };
    case 'foreign': {
      const value = decodeJson(hit.value);
      if (value === undefined) return { unreadable: 'not JSON' };
      return { value: value as T | null, tags: NO_TAGS, ageMs: 0, ttlMs, version: hit.version };
    }
    case 'envelope': {
      // By the store's clock alone: how long it was given, less what is left.
      const ageMs = decoded.keptMs === null || hit.ttlMs === null ? 0 : Math.max(0, decoded.keptMs - hit.ttlMs);
      const { tags } = decoded;
      if (decoded.absent) return { value: null, tags, ageMs, ttlMs, version: hit.version };
      const value = decodeJson(decoded.payload);
      if (value === undefined) return { unreadable: 'the payload is not JSON' };
      return { value: value as T, tags, ageMs, ttlMs, version: hit.version };
    }
  }
}

/** The bytes that L2 keeps. `text` null = known absent. */
export function bytesOf(
  text: string | null,
  ttlMs: number,
  tags: readonly string[],
  nowMs: number,
  loadMs: number,
): Uint8Array {
  const header: EnvelopeHeader = {
    codec: text === null ? 'none' : 'json',
    absent: text === null,
    storedAtMs: nowMs,
    freshMs: ttlMs,
    keptMs: ttlMs,
    loadMicros: Math.round(loadMs * 1000),
    tags,
  };
  return encodeEnvelope(header, text ?? NOTHING);
}
