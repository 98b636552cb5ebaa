/**
 * How a segment of the log looks on disk, and how one is read again after a crash. All numbers are little endian.
 *
 *     segment   bytes  0-7   "BWDLOG1\n"
 *               bytes  8-13  position of its first record (u48)
 *               bytes 14-15  0
 *               bytes 16-19  crc32 of bytes 0-15
 *               bytes 20-23  0
 *               then records, one behind the other
 *
 *     record    bytes  0-3   crc32 of all that follows, payload included
 *               bytes  4-7   length of the payload
 *               bytes  8-13  position (u48): 1, 2, 3, ... over all segments
 *               bytes 14-17  back: all records *below* `position - back` were on disk for sure when this one was written
 *               bytes 18-19  0
 *               then the payload
 *
 * A file of the log is only ever appended to, so a crash can damage nothing but its end, and an end that is damaged was never acknowledged. It is cut.
 * A damaged record in the *middle* is another matter: it was acknowledged, and then the disk lost it. To cut there would lose all that follows,
 * silently. How are the two told apart? Not by "is there a good record behind it": one write of several records that never came to its
 * fdatasync may have reached the disk in any order of its pages, a hole in front of good records. That is why each record says what was on disk for
 * sure before it:
 *
 *     1 2 3 | 4 5 6     group 1-3 synced, acknowledged; group 4-6 written, power lost
 *     1 2 3 | 4 x 6     6 says: below 4 all was on disk. 5 is not below 4: it was never acknowledged. Cut before 5.
 *     1 x 3 | 4 5 6     4 says: below 4 all was on disk. 2 is below 4: it was acknowledged, and is gone. Damage, reported.
 *
 * What cannot be told apart: a bit that turned over in the very last group. No record behind it says that it was on disk; it is cut like a torn one.
 */
import { crc32 } from './crc32.ts';

export const SEGMENT_HEADER_BYTES = 24;
export const RECORD_HEADER_BYTES = 20;
/** Of one payload. */
export const MAX_RECORD_BYTES = 64 * 1024 ** 2;
/** The largest position. */
export const MAX_POSITION = 2 ** 48 - 1;

const MAGIC = Buffer.from('BWDLOG1\n', 'latin1');
const MAX_BACK = 0xffff_ffff;

export function segmentHeader(first: number): Buffer {
  const bytes = Buffer.alloc(SEGMENT_HEADER_BYTES);
  MAGIC.copy(bytes);
  bytes.writeUIntLE(first, 8, 6);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, 16)), 16);
  return bytes;
}

/** The position of the first record, or null: not a header. */
export function readSegmentHeader(bytes: Buffer): number | null {
  if (bytes.length < SEGMENT_HEADER_BYTES || !bytes.subarray(0, 8).equals(MAGIC)) return null;
  return bytes.readUInt32LE(16) === crc32(bytes.subarray(0, 16)) ? bytes.readUIntLE(8, 6) : null;
}

/** Writes a record at `at` of `into`, which has the room; returns the byte behind it. @param durable all records below it are on disk */
export function writeRecord(into: Buffer, at: number, payload: Uint8Array, position: number, durable: number): number {
  const end = at + RECORD_HEADER_BYTES + payload.length;
  into.writeUInt32LE(payload.length, at + 4);
  into.writeUIntLE(position, at + 8, 6);
  into.writeUInt32LE(Math.min(position - durable, MAX_BACK), at + 14);
  into.writeUInt16LE(0, at + 18);
  into.set(payload, at + RECORD_HEADER_BYTES);
  into.writeUInt32LE(crc32(into.subarray(at + 4, end)), at);
  return end;
}

/** The byte behind the good record at `at`, or -1: there is none of this position. */
export function recordEnd(bytes: Buffer, at: number, position: number): number {
  const start = at + RECORD_HEADER_BYTES;
  if (start > bytes.length || bytes.readUIntLE(at + 8, 6) !== position) return -1;
  const end = start + bytes.readUInt32LE(at + 4);
  if (end > bytes.length) return -1;
  return crc32(bytes.subarray(at + 4, end)) === bytes.readUInt32LE(at) ? end : -1;
}

/** A stretch of a segment that cannot be read though it was on disk once: what stood there were records `from` up to and without `to`. */
export interface Hole {
  readonly from: number;
  readonly to: number;
  readonly startByte: number;
  readonly endByte: number;
}

export interface Scan {
  /** The position behind the last good record. */
  readonly next: number;
  /** The byte behind it: what follows is a torn tail. */
  readonly endByte: number;
  readonly holes: readonly Hole[];
}

/**
 * Reads a whole segment. @param first the position of its first record
 * @param below all records below it are known, from elsewhere, to have been on disk: the first of the following segment, where there is one
 */
export function scan(bytes: Buffer, first: number, below: number | null): Scan {
  const holes: Hole[] = [];
  let position = first;
  let at = SEGMENT_HEADER_BYTES;
  while (at < bytes.length) {
    const end = recordEnd(bytes, at, position);
    if (end >= 0) {
      position += 1;
      at = end;
      continue;
    }
    const found = findBehind(bytes, at, position, position < (below ?? 0));
    if (found === null) break;
    holes.push({ from: position, to: found.position, startByte: at, endByte: found.at });
    position = found.position;
    at = found.at;
  }
  if (below !== null && position < below) {
    holes.push({ from: position, to: below, startByte: at, endByte: bytes.length });
    return { next: below, endByte: bytes.length, holes };
  }
  return { next: position, endByte: at, holes };
}

/**
 * A good record behind a bad one that proves that `lost` was on disk: one whose `back` does not reach to it. Its position says how many are missing.
 *
 * `isProven`: that is known already, any good record will do. Looks at every byte, and pays a checksum only where a position stands that may be meant: a damaged log is rare, a wrong guess about it is dear.
 */
function findBehind(
  bytes: Buffer,
  badAt: number,
  lost: number,
  isProven: boolean,
): { readonly at: number; readonly position: number } | null {
  let first: { readonly at: number; readonly position: number } | null = null;
  // More records than this cannot have stood between.
  const most = lost + Math.ceil((bytes.length - badAt) / RECORD_HEADER_BYTES);
  for (let at = badAt + 1; at + RECORD_HEADER_BYTES <= bytes.length; ) {
    const position = bytes.readUIntLE(at + 8, 6);
    const end = position > lost && position <= most ? recordEnd(bytes, at, position) : -1;
    if (end < 0) {
      at += 1;
      continue;
    }
    first ??= { at, position };
    if (isProven || lost < position - bytes.readUInt32LE(at + 14)) return first;
    at = end;
  }
  return null;
}
