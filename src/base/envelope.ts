/**
 * The envelope: how a value of the library looks as bytes in any store.
 *
 * A store keeps bytes; a cache needs to know more about them: is this a remembered "there is no such row", how long was it
 * meant to be fresh, how long did the load take, which tags does it carry. That goes into a short binary header in front of
 * the payload, and not into a JSON wrapper around it, so that the payload is parsed once and a reader that only wants to
 * judge freshness parses nothing.
 *
 *     byte  0      0xC1: never the first byte of UTF-8 text, JSON or msgpack, so foreign values cannot be taken for ours
 *     byte  1      format version (1). Another one = a clean miss, never a guess
 *     byte  2      codec of the payload: 0 none, 1 JSON (UTF-8)
 *     byte  3      flags: bit 0 = known absent. The others are reserved; one of them set = a clean miss
 *     byte  4      length of the fixed header in bytes (30): later fields are appended here, old readers skip them
 *     byte  5      0
 *     bytes 6-11   storedAt, ms since the epoch by the writer's clock: for people, no rule reads it
 *     bytes 12-17  freshMs: how long the value was to be fresh, from its storing; 2^48-1 = no limit
 *     bytes 18-23  keptMs: the TTL given to the store (fresh time plus grace); 2^48-1 = no limit
 *     bytes 24-27  loadMicros: how long its loader ran (for early refresh)
 *     bytes 28-29  length of the tag section: per tag a length (u16) and its UTF-8
 *     then         the tags, then the payload
 *
 * All numbers are little endian. **Age is not computed from storedAt**: a process whose clock is an hour off would serve
 * stale values or throw away fresh ones. It is `keptMs - the TTL that the store says remains`, which needs one clock only,
 * the store's.
 *
 * Values without an envelope (HTTP PUT, redis-cli) are `foreign`: the caller may read them as JSON text.
 */
import { assert } from './assert.ts';

const MAGIC = 0xc1;
const VERSION = 1;
const FIXED_BYTES = 30;
const FLAG_ABSENT = 1;
const KNOWN_FLAGS = FLAG_ABSENT;
const NO_LIMIT = 2 ** 48 - 1;
const MAX_TAG_SECTION = 0xffff;

/** How the payload is encoded. */
export type EnvelopeCodec = 'none' | 'json';

const CODECS: readonly EnvelopeCodec[] = ['none', 'json'];

/** What stands in front of the payload. */
export interface EnvelopeHeader {
  readonly codec: EnvelopeCodec;
  /** True for a negative entry: the source has no such row. The payload is empty. */
  readonly absent: boolean;
  /** Milliseconds since the epoch by the writer's clock. Informational. */
  readonly storedAtMs: number;
  /** How long the value was meant to be fresh, counted from its storing; null = no limit. */
  readonly freshMs: number | null;
  /** The TTL it was stored with, grace included; null = no limit. */
  readonly keptMs: number | null;
  /** How long its loader ran, microseconds; 0 = unknown. */
  readonly loadMicros: number;
  readonly tags: readonly string[];
}

/** A header and a view (not a copy) of the payload behind it. */
export interface Envelope extends EnvelopeHeader {
  readonly kind: 'envelope';
  readonly payload: Uint8Array;
}

/**
 * What some bytes are: an envelope; `foreign` (not written by the library); or `unreadable` (an envelope of another version,
 * with an unknown flag or codec, or cut short), which is a miss.
 */
export type Decoded =
  | Envelope
  | { readonly kind: 'foreign' }
  | { readonly kind: 'unreadable'; readonly reason: string };

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const NO_TAGS: readonly string[] = Object.freeze([]);
const FOREIGN: Decoded = Object.freeze({ kind: 'foreign' });

/** True when the bytes begin like an envelope of any version. */
export function isEnvelope(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes[0] === MAGIC;
}

/**
 * The bytes of `header` + `payload`. Text is written as UTF-8 straight behind the header, without an intermediate copy.
 * The tags together may take 65,535 bytes (callers bound them much lower).
 */
export function encodeEnvelope(header: EnvelopeHeader, payload: Uint8Array | string): Uint8Array {
  const tags = header.tags.length === 0 ? null : encodeTags(header.tags);
  const tagBytes = tags === null ? 0 : tags.length;
  const start = FIXED_BYTES + tagBytes;
  const room = start + (typeof payload === 'string' ? utf8Length(payload) : payload.length);
  const bytes = new Uint8Array(room);
  bytes[0] = MAGIC;
  bytes[1] = VERSION;
  bytes[2] = CODECS.indexOf(header.codec);
  bytes[3] = header.absent ? FLAG_ABSENT : 0;
  bytes[4] = FIXED_BYTES;
  writeU48(bytes, 6, header.storedAtMs);
  writeU48(bytes, 12, header.freshMs ?? NO_LIMIT);
  writeU48(bytes, 18, header.keptMs ?? NO_LIMIT);
  writeU32(bytes, 24, Math.min(header.loadMicros, 0xffff_ffff));
  bytes[28] = tagBytes & 0xff;
  bytes[29] = tagBytes >>> 8;
  if (tags !== null) bytes.set(tags, FIXED_BYTES);
  if (typeof payload === 'string') {
    const { written } = encoder.encodeInto(payload, bytes.subarray(start));
    assert(written === room - start, 'an envelope has exactly the room its text needs');
  } else {
    bytes.set(payload, start);
  }
  return bytes;
}

/** Reads the header; the payload stays a view into `bytes`. Never throws: what cannot be read is `unreadable`. */
export function decodeEnvelope(bytes: Uint8Array): Decoded {
  if (!isEnvelope(bytes)) return FOREIGN;
  if (bytes.length < 5) return unreadable('cut short');
  if (bytes[1] !== VERSION) return unreadable(`format version ${bytes[1]}`);
  const codec = CODECS[bytes[2]!];
  if (codec === undefined) return unreadable(`codec ${bytes[2]}`);
  const flags = bytes[3]!;
  if ((flags & ~KNOWN_FLAGS) !== 0) return unreadable(`flags 0x${flags.toString(16)}`);
  const fixed = bytes[4]!;
  if (fixed < FIXED_BYTES || bytes.length < fixed) return unreadable('cut short');
  const tagBytes = bytes[28]! | (bytes[29]! << 8);
  const start = fixed + tagBytes;
  if (bytes.length < start) return unreadable('cut short');
  const tags = tagBytes === 0 ? NO_TAGS : decodeTags(bytes, fixed, start);
  if (tags === null) return unreadable('damaged tags');
  const freshMs = readU48(bytes, 12);
  const keptMs = readU48(bytes, 18);
  return {
    kind: 'envelope',
    codec,
    absent: (flags & FLAG_ABSENT) !== 0,
    storedAtMs: readU48(bytes, 6),
    freshMs: freshMs === NO_LIMIT ? null : freshMs,
    keptMs: keptMs === NO_LIMIT ? null : keptMs,
    loadMicros: readU32(bytes, 24),
    tags,
    payload: bytes.subarray(start),
  };
}

/**
 * The value behind the payload: what JSON.parse makes of it, or `undefined` when the text is not JSON (or not UTF-8), which
 * no JSON text parses to.
 */
export function decodeJson(payload: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(payload)) as unknown;
  } catch {
    return undefined;
  }
}

/** Bytes of `text` in UTF-8, without encoding it (a lone surrogate counts as U+FFFD, as TextEncoder writes it). */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit >= 0xd800 && unit < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      bytes += 2; // two code units, four bytes
      i += 1;
    } else bytes += 2;
  }
  return bytes;
}

function unreadable(reason: string): Decoded {
  return { kind: 'unreadable', reason };
}

function encodeTags(tags: readonly string[]): Uint8Array {
  const parts = tags.map((tag) => encoder.encode(tag));
  const total = parts.reduce((sum, part) => sum + 2 + part.length, 0);
  assert(total <= MAX_TAG_SECTION, 'the tags of one entry fit in 65,535 bytes');
  const bytes = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    bytes[at] = part.length & 0xff;
    bytes[at + 1] = part.length >>> 8;
    bytes.set(part, at + 2);
    at += 2 + part.length;
  }
  return bytes;
}

function decodeTags(bytes: Uint8Array, start: number, end: number): string[] | null {
  const tags: string[] = [];
  let at = start;
  while (at < end) {
    if (at + 2 > end) return null;
    const length = bytes[at]! | (bytes[at + 1]! << 8);
    at += 2;
    if (at + length > end) return null;
    try {
      tags.push(decoder.decode(bytes.subarray(at, at + length)));
    } catch {
      return null;
    }
    at += length;
  }
  return tags;
}

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 0xff;
  bytes[at + 1] = (value >>> 8) & 0xff;
  bytes[at + 2] = (value >>> 16) & 0xff;
  bytes[at + 3] = (value >>> 24) & 0xff;
}

function writeU48(bytes: Uint8Array, at: number, value: number): void {
  const whole = Math.min(Math.max(0, Math.floor(value)), NO_LIMIT);
  writeU32(bytes, at, whole % 0x1_0000_0000);
  const high = Math.floor(whole / 0x1_0000_0000);
  bytes[at + 4] = high & 0xff;
  bytes[at + 5] = high >>> 8;
}

function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function readU48(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) + (bytes[at + 4]! | (bytes[at + 5]! << 8)) * 0x1_0000_0000;
}
