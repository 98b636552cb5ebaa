/**
 * The record of an entry, as it lies in the log: a whole number of words, a header of 16 bytes, 28 with an expiry.
 *
 *      word 0   recency:8 | flags:8 | keyLength:16        recency belongs to the eviction policy, flags to the caller
 *      word 1   dead:1 jumbo:1 tags:1 ttl:1 | valueLength:28
 *      word 2   version, low 32 bits
 *      word 3   expiry high 16 | version high 16
 *     [word 4   expiry, low 32 bits (ms)                  only with the ttl bit; expiry 0 = none (after PERSIST)
 *      word 5   next  ┐ in the timer wheel's list
 *      word 6   prev  ┘ ]
 *     [pairs:16 | source:1, then two words a pair]        only with the tags bit: hashes of tags; with `source`, the last pair
 *                                                         is the source version (low, high) that came with the write
 *     [first jumbo segment]                               only with the jumbo bit
 *      key bytes, then value bytes (of a jumbo value: what its segments do not hold), padded to a word
 *
 * A *jumbo* value does not fit into half a segment. Its first bytes fill segments of its own, chained through the arena's
 * `next`; what is left over lies in the record when it fits there, else in one more segment.
 *
 * The length of a record follows from its own words, so a segment can be walked from its start; dead records keep theirs.
 */
import type { SourceVersion, TagList } from './face.ts';

export const HEADER_WORDS = 4;
export const TTL_WORDS = 3;
/** Offsets of the fields that come with an expiry. */
export const EXPIRY_LOW = 4;
export const WHEEL_NEXT = 5;
export const WHEEL_PREVIOUS = 6;

export const VALUE_LENGTH_MASK = 0x0fff_ffff;
export const HAS_TTL = 1 << 28;
/** The record has pairs: tags, a source version, or both. */
export const HAS_TAGS = 1 << 29;
export const IS_JUMBO = 1 << 30;
export const IS_DEAD = 1 << 31;

/** In the word that counts the pairs: how many, and whether the last one is a source version. */
const PAIRS_MASK = 0xffff;
const HAS_SOURCE = 1 << 16;

export const RECENCY_SHIFT = 24;
export const FLAGS_SHIFT = 16;

const TWO_32 = 0x1_0000_0000;

/**
 * Words before the key. The expiry is tested by a branch, not by arithmetic, on purpose: the processor predicts it and
 * fetches the key's cache line while the header's is still on its way. Arithmetic would make it wait.
 */
export function headWords(words: Int32Array, at: number): number {
  const shape = words[at + 1]!;
  let head = HEADER_WORDS;
  if ((shape & HAS_TTL) !== 0) head = HEADER_WORDS + TTL_WORDS;
  if ((shape & (HAS_TAGS | IS_JUMBO)) !== 0) {
    if ((shape & HAS_TAGS) !== 0) head += 1 + 2 * (words[at + head]! & PAIRS_MASK);
    if ((shape & IS_JUMBO) !== 0) head += 1;
  }
  return head;
}

/** Segments that a jumbo value fills. `headBytes` counts the words before the key (jumbo word included) in bytes. */
export function jumboSegments(headBytes: number, keyLength: number, valueLength: number, segmentBytes: number): number {
  const full = Math.floor(valueLength / segmentBytes);
  const rest = valueLength - full * segmentBytes;
  return rest === 0 || headBytes + keyLength + rest <= segmentBytes >>> 1 ? full : full + 1;
}

/** Bytes of the value that lie in the record itself. */
export function inlineLength(words: Int32Array, at: number, segmentBytes: number): number {
  const shape = words[at + 1]!;
  const valueLength = shape & VALUE_LENGTH_MASK;
  if ((shape & IS_JUMBO) === 0) return valueLength;
  const keyLength = words[at]! & 0xffff;
  const segments = jumboSegments(headWords(words, at) * 4, keyLength, valueLength, segmentBytes);
  return Math.max(0, valueLength - segments * segmentBytes);
}

/** Jumbo segments of a record, 0 for an ordinary one. */
export function jumboCount(words: Int32Array, at: number, segmentBytes: number): number {
  const shape = words[at + 1]!;
  if ((shape & IS_JUMBO) === 0) return 0;
  return jumboSegments(headWords(words, at) * 4, words[at]! & 0xffff, shape & VALUE_LENGTH_MASK, segmentBytes);
}

/** The whole record, in words. */
export function recordWords(words: Int32Array, at: number, segmentBytes: number): number {
  const shape = words[at + 1]!;
  const keyLength = words[at]! & 0xffff;
  if ((shape & (HAS_TAGS | IS_JUMBO)) === 0) {
    const head = HEADER_WORDS + ((shape >>> 28) & 1) * TTL_WORDS;
    return head + ((keyLength + (shape & VALUE_LENGTH_MASK) + 3) >>> 2);
  }
  return headWords(words, at) + ((keyLength + inlineLength(words, at, segmentBytes) + 3) >>> 2);
}

/** Where the first jumbo segment's number stands: the word before the key. */
export function jumboWord(words: Int32Array, at: number): number {
  return at + headWords(words, at) - 1;
}

/** When the entry expires, ms; 0 = never. */
export function expiryOf(words: Int32Array, at: number): number {
  if ((words[at + 1]! & HAS_TTL) === 0) return 0;
  return (words[at + 3]! >>> 16) * TWO_32 + (words[at + EXPIRY_LOW]! >>> 0);
}

/** Writes an expiry below 2^48 into a record that has the ttl words. */
export function writeExpiry(words: Int32Array, at: number, expiresAtMs: number): void {
  words[at + 3] = (words[at + 3]! & 0xffff) | (((expiresAtMs / TWO_32) & 0xffff) << 16);
  words[at + EXPIRY_LOW] = expiresAtMs | 0;
}

export function versionOf(words: Int32Array, at: number): number {
  return (words[at + 3]! & 0xffff) * TWO_32 + (words[at + 2]! >>> 0);
}

export function tagCountOf(words: Int32Array, at: number): number {
  const shape = words[at + 1]!;
  if ((shape & HAS_TAGS) === 0) return 0;
  const word = words[at + HEADER_WORDS + ((shape >>> 28) & 1) * TTL_WORDS]!;
  return (word & PAIRS_MASK) - ((word >>> 16) & 1);
}

/** Word of the source version's low half, -1 when the entry has none. */
export function sourceWord(words: Int32Array, at: number): number {
  const shape = words[at + 1]!;
  if ((shape & HAS_TAGS) === 0) return -1;
  const counted = at + HEADER_WORDS + ((shape >>> 28) & 1) * TTL_WORDS;
  const word = words[counted]!;
  return (word & HAS_SOURCE) === 0 ? -1 : counted + 2 * (word & PAIRS_MASK) - 1;
}

export function tagHashOf(words: Int32Array, at: number, index: number): number {
  const first = at + HEADER_WORDS + ((words[at + 1]! >>> 28) & 1) * TTL_WORDS + 1;
  return words[first + 2 * index + 1]! * TWO_32 + (words[first + 2 * index]! >>> 0);
}

/** Writes the pairs of an entry at word `at`: their count, the tags' hashes, the source version. */
export function writePairs(words: Int32Array, at: number, tags: TagList | null, source: SourceVersion | null): void {
  const count = tags === null ? 0 : tags.count;
  words[at] = source === null ? count : (count + 1) | HAS_SOURCE;
  for (let index = 0; index < count; index += 1) {
    const hash = tags!.hashes[index]!;
    words[at + 1 + 2 * index] = hash | 0;
    words[at + 2 + 2 * index] = (hash / TWO_32) | 0;
  }
  if (source !== null) {
    words[at + 1 + 2 * count] = source.low | 0;
    words[at + 2 + 2 * count] = source.high | 0;
  }
}
