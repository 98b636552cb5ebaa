/**
 * The most common envelope, read in a hurry: sealed, this version, JSON or a remembered absence, nothing done to its payload, short. Whatever else it is, a
 * damaged one too, is left to `decodeEnvelope`, which alone says what is wrong; so this may say no as it likes, and a yes must be one that the other would have said.
 *
 * It reads where the bytes lie among those of others and writes into an object that is used again: of a hundred entries of one reply the general way makes
 * two hundred objects and a hundred views, which cost as much as the reading (measured).
 */
import { tableCrc32, tableCrc32AndWidth, WIDE } from './crc32.ts';
import {
  CHECKSUM_AT,
  CODECS,
  FIXED_BYTES,
  FLAG_ABSENT,
  LENGTH_AT,
  MAGIC,
  NO_LIMIT,
  readU32,
  readU48,
  SEALED,
  SHORT_BYTES,
  VERSION,
} from './envelope.ts';

const JSON_CODEC = CODECS.indexOf('json');

export class PlainEnvelope {
  absent = false;
  hasTags = false;
  /** `Infinity` = no limit. */
  freshMs = 0;
  keptMs = 0;
  loadMicros = 0;
  payloadAt = 0;
  /** The payload has a character of its own for each byte. */
  isAscii = false;

  /** Reads `bytes[start .. end)`. False: not one of these, and what is here is of another. */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    const size = end - start;
    if (size < FIXED_BYTES || size > SHORT_BYTES || end > bytes.length) return false;
    if (bytes[start] !== MAGIC || bytes[start + 1] !== VERSION || bytes[start + 5] !== SEALED) return false;
    // The fixed header ends where it does without a wrapping and without fields of a later version.
    if (bytes[start + 4] !== FIXED_BYTES) return false;
    const flags = bytes[start + 3]!;
    if (flags > FLAG_ABSENT || (flags === 0 && bytes[start + 2] !== JSON_CODEC)) return false;
    if (bytes[start + 2]! > JSON_CODEC) return false;
    const tagBytes = bytes[start + 28]! | (bytes[start + 29]! << 8);
    const payloadAt = start + FIXED_BYTES + tagBytes;
    if (payloadAt > end || readU32(bytes, start + LENGTH_AT) !== end - payloadAt) return false;
    const before = tableCrc32(bytes, start, start + CHECKSUM_AT);
    const sum = tableCrc32AndWidth(bytes, start + CHECKSUM_AT + 4, end, before);
    const isWide = sum >= WIDE;
    if (readU32(bytes, start + CHECKSUM_AT) !== (isWide ? sum - WIDE : sum)) return false;
    this.absent = flags === FLAG_ABSENT;
    this.hasTags = tagBytes !== 0;
    const freshMs = readU48(bytes, start + 12);
    const keptMs = readU48(bytes, start + 18);
    this.freshMs = freshMs === NO_LIMIT ? Number.POSITIVE_INFINITY : freshMs;
    this.keptMs = keptMs === NO_LIMIT ? Number.POSITIVE_INFINITY : keptMs;
    this.loadMicros = readU32(bytes, start + 24);
    this.payloadAt = payloadAt;
    this.isAscii = !isWide;
    return true;
  }
}
