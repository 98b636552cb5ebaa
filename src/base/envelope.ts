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
 *     byte  2      codec of the payload: 0 none, 1 JSON (UTF-8), 2 msgpack, 3 the user's own
 *     byte  3      flags: 1 known absent, 2 deflate, 4 zstd, 8 encrypted, 16 manifest of chunks, 32 a chunk. Another one = a clean miss
 *     byte  4      length of the fixed header in bytes: later fields are appended here, old readers skip them
 *     byte  5      1 = sealed: length and checksum follow (bytes 30-37). 0 = written before there were seals, and the header has 30 bytes
 *     bytes 6-11   storedAt, ms since the epoch by the writer's clock: for people, no rule reads it
 *     bytes 12-17  freshMs: how long the value was to be fresh, from its storing; 2^48-1 = no limit
 *     bytes 18-23  keptMs: the TTL given to the store (fresh time plus grace); 2^48-1 = no limit
 *     bytes 24-27  loadMicros: how long its loader ran (for early refresh)
 *     bytes 28-29  length of the tag section: per tag a length (u16) and its UTF-8
 *     bytes 30-33  length of the payload
 *     bytes 34-37  CRC-32 of everything before and after these four bytes
 *     then, when a flag from 2 on is set or the codec is the user's own: u32 bytes of the payload before compression (0 = not compressed), u8 and
 *                  the codec's id, u8 and the key's id, and with a key the nonce (12)
 *     then, when the fixed header is longer than that: u8 and the validator, by which the source knows this value again (an ETag)
 *     then         the tags, then the payload
 *
 * All numbers are little endian. **Age is not computed from storedAt**: a process whose clock is an hour off would serve
 * stale values or throw away fresh ones. It is `keptMs - the TTL that the store says remains`, which needs one clock only,
 * the store's.
 *
 * The seal is there because a JSON text with one wrong byte is mostly still a JSON text, and one that is cut short may be (12 of 123):
 * a wrong value, which nobody would notice. It is no defence against somebody who can compute a CRC; that is encryption's.
 *
 * Both ways of an upgrade: readers from before the seal skip it and read plain JSON entries as ever, and take what is compressed, encrypted, chunked
 * or in another codec for unreadable, because they know neither flag nor codec. This reader reads what they wrote. Values without an
 * envelope (HTTP PUT, redis-cli) are `foreign`: the caller may read them as JSON text.
 */
import { assert } from './assert.ts';
import { tableCrc32 } from './crc32.ts';

export const MAGIC = 0xc1;
export const VERSION = 1;
const OLD_FIXED_BYTES = 30;
export const FIXED_BYTES = 38;
export const LENGTH_AT = 30;
export const CHECKSUM_AT = 34;
export const SEALED = 1;
export const FLAG_ABSENT = 1;
const FLAG_DEFLATE = 2;
const FLAG_ZSTD = 4;
const FLAG_ENCRYPTED = 8;
const FLAG_MANIFEST = 16;
const FLAG_CHUNK = 32;
const KNOWN_FLAGS = 63;
const CODEC_CUSTOM = 3;
export const NO_LIMIT = 2 ** 48 - 1;
const MAX_TAG_SECTION = 0xffff;
/** Up to here the tables are faster than a call of the native checksum and the views that it needs. */
export const SHORT_BYTES = 640;
/** Of a codec's or a key's id: two of them, a nonce and the rest fit a header of 255 bytes. */
export const MAX_ID_BYTES = 32;
export const NONCE_BYTES = 12;
/** Of a validator: it still fits the header behind the longest wrapping (38 + 82 + 1 + 128 of 255). */
export const MAX_VALIDATOR_BYTES = 128;

/** How the payload is encoded. */
export type EnvelopeCodec = 'none' | 'json' | 'msgpack' | 'custom';

export const CODECS: readonly EnvelopeCodec[] = ['none', 'json', 'msgpack', 'custom'];

/** CRC-32 of `bytes`, continued from `before`: `zlib.crc32`. It is asked about envelopes above {@link SHORT_BYTES}; shorter ones are summed by tables (crc32.ts). */
export type Checksum = (bytes: Uint8Array, before: number) => number;

export type Compression = 'none' | 'deflate' | 'zstd';

/** What was done to the payload after its encoding. */
export interface Wrapping {
  /** Of the user's own codec; otherwise empty. ASCII, at most {@link MAX_ID_BYTES}. */
  readonly codecId: string;
  readonly compression: Compression;
  /** Bytes of the payload before compression; 0 when it is not compressed. */
  readonly plainBytes: number;
  /** The key it is encrypted under; empty = not encrypted. ASCII, at most {@link MAX_ID_BYTES}. */
  readonly keyId: string;
  /** {@link NONCE_BYTES} with a key, else empty. */
  readonly nonce: Uint8Array;
  /** `manifest`: the payload tells where the value's chunks are; `chunk`: it is one of them. */
  readonly role: 'entry' | 'manifest' | 'chunk';
}

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
  /** null or left out: the payload is as it was encoded. */
  readonly wrapping?: Wrapping | null;
  /** What the source will know the value by (an ETag): printable ASCII, at most {@link MAX_VALIDATOR_BYTES}. Empty or left out: nothing. */
  readonly validator?: string;
}

/** A header, and where the payload behind it begins: it reaches to the end. {@link payloadOf} makes a view of it, which costs more than the rest together. */
export interface Envelope extends EnvelopeHeader {
  readonly kind: 'envelope';
  readonly wrapping: Wrapping | null;
  readonly validator: string;
  readonly payloadAt: number;
}

/** The payload of an envelope that was read from `bytes`: a view, not a copy. */
export function payloadOf(bytes: Uint8Array, { payloadAt }: Envelope): Uint8Array {
  return bytes.subarray(payloadAt);
}

/**
 * Why an envelope cannot be read: `format`, another version or something that this version does not know; `damaged`, not what was written.
 */
export interface UnreadableEnvelope {
  readonly kind: 'unreadable';
  readonly cause: 'format' | 'damaged';
  readonly reason: string;
}

/** What some bytes are: an envelope; `foreign` (not written by the library); or `unreadable`, which is a miss. */
export type Decoded = Envelope | { readonly kind: 'foreign' } | UnreadableEnvelope;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const NO_TAGS: readonly string[] = Object.freeze([]);
const NO_NONCE = new Uint8Array(0);
const FOREIGN: Decoded = Object.freeze({ kind: 'foreign' });

/** True when the bytes begin like an envelope of any version. */
export function isEnvelope(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes[0] === MAGIC;
}

/**
 * The bytes of `header` + `payload`. Text is written as UTF-8 straight behind the header, without an intermediate copy.
 * The tags together may take 65,535 bytes (callers bound them much lower).
 */
export function encodeEnvelope(header: EnvelopeHeader, payload: Uint8Array | string, checksum: Checksum): Uint8Array {
  const isText = typeof payload === 'string';
  const { bytes, payloadAt } = layOutEnvelope(header, isText ? utf8Length(payload) : payload.length);
  if (isText) {
    const { written } = encoder.encodeInto(payload, bytes.subarray(payloadAt));
    assert(written === bytes.length - payloadAt, 'an envelope has exactly the room its text needs');
  } else {
    bytes.set(payload, payloadAt);
  }
  sealEnvelope(bytes, checksum);
  return bytes;
}

/** A header with room for a payload, for a caller who writes that itself and then calls {@link sealEnvelope}. */
export function layOutEnvelope(
  header: EnvelopeHeader,
  payloadBytes: number,
): { readonly bytes: Uint8Array; readonly payloadAt: number } {
  const { wrapping } = header;
  const tags = header.tags.length === 0 ? null : encodeTags(header.tags);
  const tagBytes = tags === null ? 0 : tags.length;
  const wrapped = wrapping === undefined || wrapping === null ? null : encodeWrapping(wrapping);
  assert(header.codec !== 'custom' || wrapped !== null, 'a codec of the user has an id');
  const { validator = '' } = header;
  assert(validator.length <= MAX_VALIDATOR_BYTES, 'a validator fits the header');
  const wrappedTo = FIXED_BYTES + (wrapped === null ? 0 : wrapped.length);
  const fixed = wrappedTo + (validator === '' ? 0 : 1 + validator.length);
  const payloadAt = fixed + tagBytes;
  const bytes = new Uint8Array(payloadAt + payloadBytes);
  bytes[0] = MAGIC;
  bytes[1] = VERSION;
  bytes[2] = CODECS.indexOf(header.codec);
  bytes[3] = (header.absent ? FLAG_ABSENT : 0) | (wrapped === null ? 0 : flagsOf(wrapping!));
  bytes[4] = fixed;
  bytes[5] = SEALED;
  writeU48(bytes, 6, header.storedAtMs);
  writeU48(bytes, 12, header.freshMs ?? NO_LIMIT);
  writeU48(bytes, 18, header.keptMs ?? NO_LIMIT);
  writeU32(bytes, 24, Math.min(header.loadMicros, 0xffff_ffff));
  bytes[28] = tagBytes & 0xff;
  bytes[29] = tagBytes >>> 8;
  writeU32(bytes, LENGTH_AT, payloadBytes);
  if (wrapped !== null) bytes.set(wrapped, FIXED_BYTES);
  if (validator !== '') {
    bytes[wrappedTo] = validator.length;
    encoder.encodeInto(validator, bytes.subarray(wrappedTo + 1, fixed));
  }
  if (tags !== null) bytes.set(tags, fixed);
  return { bytes, payloadAt };
}

/** Writes the checksum: the last thing that happens to an envelope. */
export function sealEnvelope(bytes: Uint8Array, checksum: Checksum): void {
  writeU32(bytes, CHECKSUM_AT, checksumOf(bytes, checksum));
}

/**
 * What encryption authenticates beside the payload: the full key and the header with its tags, all but the checksum. So an entry that was copied to
 * another key, or given another TTL or other tags, is refused.
 */
export function authenticatedHeader(key: string, bytes: Uint8Array, payloadAt: number): Uint8Array {
  const name = encoder.encode(key);
  const data = new Uint8Array(4 + name.length + payloadAt - 4);
  writeU32(data, 0, name.length);
  data.set(name, 4);
  data.set(bytes.subarray(0, CHECKSUM_AT), 4 + name.length);
  data.set(bytes.subarray(FIXED_BYTES, payloadAt), 4 + name.length + CHECKSUM_AT);
  return data;
}

/** Reads the header. Never throws: what cannot be read is `unreadable`. O(bytes), for the checksum. */
export function decodeEnvelope(bytes: Uint8Array, checksum: Checksum): Decoded {
  if (!isEnvelope(bytes)) return FOREIGN;
  if (bytes.length < 2) return damaged('cut short');
  if (bytes[1] !== VERSION) return unknown(`format version ${bytes[1]}`);
  if (bytes.length < OLD_FIXED_BYTES) return damaged('cut short');
  const fixed = bytes[4]!;
  const tagBytes = bytes[28]! | (bytes[29]! << 8);
  const payloadAt = fixed + tagBytes;
  if (bytes[5] === 0) {
    if (fixed !== OLD_FIXED_BYTES) return damaged('no seal');
  } else if (bytes[5] !== SEALED) {
    return unknown(`seal ${bytes[5]}`);
  } else {
    if (fixed < FIXED_BYTES || bytes.length < payloadAt) return damaged('cut short');
    if (readU32(bytes, LENGTH_AT) !== bytes.length - payloadAt) return damaged('not of its length');
    if (readU32(bytes, CHECKSUM_AT) !== checksumOf(bytes, checksum)) return damaged('checksum');
  }
  if (bytes.length < payloadAt) return damaged('cut short');
  const codec = CODECS[bytes[2]!];
  if (codec === undefined) return unknown(`codec ${bytes[2]}`);
  const flags = bytes[3]!;
  if ((flags & ~KNOWN_FLAGS) !== 0) return unknown(`flags 0x${flags.toString(16)}`);
  let wrapping: Wrapping | null = null;
  let wrappedTo = FIXED_BYTES;
  if (flags > FLAG_ABSENT || bytes[2]! === CODEC_CUSTOM) {
    wrapping = bytes[5] === 0 ? null : decodeWrapping(bytes, fixed, flags);
    if (wrapping === null) return damaged('what was done to its payload');
    wrappedTo += 6 + wrapping.codecId.length + wrapping.keyId.length + wrapping.nonce.length;
  }
  const tags = tagBytes === 0 ? NO_TAGS : decodeTags(bytes, fixed, payloadAt);
  if (tags === null) return damaged('tags');
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
    wrapping,
    validator: fixed > wrappedTo ? validatorIn(bytes, wrappedTo, fixed) : '',
    payloadAt,
  };
}

/**
 * The value behind the payload, `bytes[start .. end)`: what JSON.parse makes of it, or `undefined` when the text is not JSON (or not UTF-8), which no JSON
 * text parses to.
 */
export function decodeJson(bytes: Uint8Array, start = 0, end = bytes.length): unknown {
  try {
    return JSON.parse(textIn(bytes, start, end)) as unknown;
  } catch {
    return undefined;
  }
}

/**
 * UTF-8 text. The native call without a view costs half of what the decoder and one cost, but puts U+FFFD where the bytes are no UTF-8: where there is one, the
 * decoder says whether it was written or put there. Few texts have one, and to look for it in a text of one-byte characters costs nothing.
 * @throws TypeError not UTF-8
 */
function textIn(bytes: Uint8Array, start: number, end: number): string {
  const text = utf8Slice.call(bytes, start, end);
  return text.includes('\uFFFD') ? decoder.decode(bytes.subarray(start, end)) : text;
}

const { utf8Slice } = Buffer.prototype as unknown as {
  readonly utf8Slice: (this: Uint8Array, start: number, end: number) => string;
};

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

function damaged(reason: string): Decoded {
  return { kind: 'unreadable', cause: 'damaged', reason };
}

function unknown(reason: string): Decoded {
  return { kind: 'unreadable', cause: 'format', reason };
}

function checksumOf(bytes: Uint8Array, checksum: Checksum): number {
  const { length } = bytes;
  if (length <= SHORT_BYTES) return tableCrc32(bytes, CHECKSUM_AT + 4, length, tableCrc32(bytes, 0, CHECKSUM_AT));
  return checksum(bytes.subarray(CHECKSUM_AT + 4), checksum(bytes.subarray(0, CHECKSUM_AT), 0));
}

function flagsOf({ compression, keyId, role }: Wrapping): number {
  return (
    (compression === 'deflate' ? FLAG_DEFLATE : compression === 'zstd' ? FLAG_ZSTD : 0) |
    (keyId === '' ? 0 : FLAG_ENCRYPTED) |
    (role === 'manifest' ? FLAG_MANIFEST : role === 'chunk' ? FLAG_CHUNK : 0)
  );
}

function encodeWrapping({ codecId, plainBytes, keyId, nonce }: Wrapping): Uint8Array {
  assert(codecId.length <= MAX_ID_BYTES && keyId.length <= MAX_ID_BYTES, 'ids fit the header');
  assert(nonce.length === (keyId === '' ? 0 : NONCE_BYTES), 'a nonce for a key');
  const bytes = new Uint8Array(6 + codecId.length + keyId.length + nonce.length);
  writeU32(bytes, 0, plainBytes);
  bytes[4] = codecId.length;
  encoder.encodeInto(codecId, bytes.subarray(5));
  const keyAt = 5 + codecId.length;
  bytes[keyAt] = keyId.length;
  encoder.encodeInto(keyId, bytes.subarray(keyAt + 1));
  bytes.set(nonce, keyAt + 1 + keyId.length);
  return bytes;
}

/** Null when it does not fit the flags or the header. */
function decodeWrapping(bytes: Uint8Array, end: number, flags: number): Wrapping | null {
  const isCompressed = (flags & (FLAG_DEFLATE | FLAG_ZSTD)) !== 0;
  const isEncrypted = (flags & FLAG_ENCRYPTED) !== 0;
  const isWhole = (flags & (FLAG_MANIFEST | FLAG_CHUNK)) === 0;
  if ((flags & (FLAG_DEFLATE | FLAG_ZSTD)) === (FLAG_DEFLATE | FLAG_ZSTD)) return null;
  if ((flags & (FLAG_MANIFEST | FLAG_CHUNK)) === (FLAG_MANIFEST | FLAG_CHUNK)) return null;
  let at = FIXED_BYTES;
  if (at + 5 > end) return null;
  const plainBytes = readU32(bytes, at);
  const codecBytes = bytes[at + 4]!;
  at += 5;
  if (at + codecBytes + 1 > end || codecBytes > MAX_ID_BYTES) return null;
  const codecId = asciiOf(bytes, at, codecBytes);
  at += codecBytes;
  const keyBytes = bytes[at]!;
  at += 1;
  if (at + keyBytes + (isEncrypted ? NONCE_BYTES : 0) > end || keyBytes > MAX_ID_BYTES) return null;
  const keyId = asciiOf(bytes, at, keyBytes);
  at += keyBytes;
  if ((keyId !== '') !== isEncrypted || plainBytes > 0 !== isCompressed) return null;
  if (isWhole && (codecId !== '') !== (bytes[2] === CODEC_CUSTOM)) return null;
  return {
    codecId,
    compression: (flags & FLAG_DEFLATE) !== 0 ? 'deflate' : (flags & FLAG_ZSTD) !== 0 ? 'zstd' : 'none',
    plainBytes,
    keyId,
    nonce: isEncrypted ? bytes.slice(at, at + NONCE_BYTES) : NO_NONCE,
    role: (flags & FLAG_MANIFEST) !== 0 ? 'manifest' : (flags & FLAG_CHUNK) !== 0 ? 'chunk' : 'entry',
  };
}

/** Empty when there is none that this version understands: then nothing can be asked about the value, and it is loaded in full. */
function validatorIn(bytes: Uint8Array, at: number, end: number): string {
  const length = bytes[at]!;
  return length > MAX_VALIDATOR_BYTES || at + 1 + length > end ? '' : asciiOf(bytes, at + 1, length);
}

function asciiOf(bytes: Uint8Array, at: number, length: number): string {
  let text = '';
  for (let i = 0; i < length; i += 1) text += String.fromCharCode(bytes[at + i]!);
  return text;
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

export function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

export function readU48(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) + (bytes[at + 4]! | (bytes[at + 5]! << 8)) * 0x1_0000_0000;
}
