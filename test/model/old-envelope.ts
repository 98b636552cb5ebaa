/**
 * The reader of envelopes as it was before they had a seal, word for word: what a process of the version before makes of entries that this one
 * writes. Not to be changed.
 */
const MAGIC = 0xc1;
const VERSION = 1;
const FIXED_BYTES = 30;
const FLAG_ABSENT = 1;
const KNOWN_FLAGS = FLAG_ABSENT;
const NO_LIMIT = 2 ** 48 - 1;

/** How the payload is encoded. */
type EnvelopeCodec = 'none' | 'json';

const CODECS: readonly EnvelopeCodec[] = ['none', 'json'];

/** What stands in front of the payload. */
interface EnvelopeHeader {
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
interface Envelope extends EnvelopeHeader {
  readonly kind: 'envelope';
  readonly payload: Uint8Array;
}

/**
 * What some bytes are: an envelope; `foreign` (not written by the library); or `unreadable` (an envelope of another version,
 * with an unknown flag or codec, or cut short), which is a miss.
 */
export type OldDecoded =
  | Envelope
  | { readonly kind: 'foreign' }
  | { readonly kind: 'unreadable'; readonly reason: string };

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const NO_TAGS: readonly string[] = Object.freeze([]);
const FOREIGN: OldDecoded = Object.freeze({ kind: 'foreign' });

/** True when the bytes begin like an envelope of any version. */
function isEnvelope(bytes: Uint8Array): boolean {
  return bytes.length > 0 && bytes[0] === MAGIC;
}

/** Reads the header; the payload stays a view into `bytes`. Never throws: what cannot be read is `unreadable`. */
export function decodeOldEnvelope(bytes: Uint8Array): OldDecoded {
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

function unreadable(reason: string): OldDecoded {
  return { kind: 'unreadable', reason };
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

function readU32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function readU48(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at) + (bytes[at + 4]! | (bytes[at + 5]! << 8)) * 0x1_0000_0000;
}
