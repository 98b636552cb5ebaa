/**
 * What stands under an entry's own key in Redis or Valkey: one string, either an entry or, while somebody loads, the lease.
 *
 *   entry        C1 'B' 'W' 'E' | version 16 | life 12 | end 10 | gone 16 | epoch 12 | number 16 | tags 1 | (length 2, name)* | value | lease ?
 *   lease only   C1 'B' 'W' 'L' | version 16 | life 12 | end 10 | gone 16 | lease
 *   lease        clock 1 | until 16 | token 12 *
 *
 *   version   of the write, 16 decimal digits (lua.ts)
 *   life      of the server that stored it: its run id, shortened. What is of another life is not there.
 *   end       where the value ends and a lease may begin, 10 digits
 *   gone      when the entry expires: the server's clock in milliseconds, 16 digits, 0 = never. As the server itself keeps it, so that who reads many entries at once
 *             need ask only for the time, and not a PTTL for each. In a lease alone it says nothing.
 *   epoch, number   the table of invalidations as it was when the load began (lua.ts): the entry is dead when the table has another
 *             epoch, or names its namespace or one of its tags with a higher number
 *   clock, until    others are told to wait: 'p' while the key's remaining time to live is above `until`; 't', for a key without one, while the server's
 *             clock is below it (milliseconds). It decides who waits, never what is stored.
 *   name      the first one may be the *mark* of a source version instead of a tag: 00, 'v' or 'x', 20 digits. 'v': the version of this value. 'x': a
 *             version that the key had before; the truth has changed since. A lease alone may have a mark before the lease, where a value's would end:
 *             what is left of a deleted entry with a version (for MARK_MS).
 *   token     of those who may fill, the latest last; blank = given back
 *
 * Why one key, and not the value alone beside a sidecar with the rest: the two would be evicted, expired, deleted and moved to another
 * node one without the other, and each such half is a case to get wrong. Why the lease in the same key: whatever anybody does to the
 * key (DEL, UNLINK, SET, EXPIRE, FLUSHALL, from redis-cli or from another language) takes the lease with it, and the load under way is not stored.
 * What it costs: GET by another client shows 87 bytes and the tags before the value, EXISTS says 1 while a load is under way, a
 * lease to load an entry anew ends when that entry expires, and what another
 * client writes with a plain SET is not served (it says neither under which invalidations nor with which tags it was made).
 *
 * 0xC1 occurs in no UTF-8 text and begins no msgpack value; the letters tell it from the library's envelope (base/envelope.ts). Another layout
 * would be another letter, and an entry with an unknown letter is a miss.
 */
import type { FillEntry } from '../store.ts';

/** Lengths in bytes, which the scripts repeat. */
export const ID_BYTES = 12;
const VERSION_AT = 4;
const LIFE_AT = 20;
export const END_AT = 32;
export const GONE_AT = 42;
export const EPOCH_AT = 58;
const NUMBER_AT = 70;
const TAGS_AT = 86;
/** One fewer than the byte counts: the mark takes its place. */
export const MAX_TAGS = 254;
export const MARK_BYTES = 22;
/** How long the version of a deleted entry is remembered: longer than any write that is still on its way. */
export const MARK_MS = 60_000;
const MARK = /^\0[vx]\d{20}$/;

/** True for a tag that would be taken for the mark of a source version. */
export function isMark(tag: string): boolean {
  return MARK.test(tag);
}

/** A source version as the scripts compare it. */
export function sourceDigits(version: bigint): string {
  return version.toString().padStart(20, '0');
}

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Where the table of invalidations stood: which table, and how many it had. */
export interface Head {
  readonly epoch: string;
  readonly number: number;
}

export interface DecodedEntry {
  readonly version: number;
  readonly head: Head;
  readonly tags: readonly string[];
  readonly value: Uint8Array;
}

/** An entry from its epoch to the end of its value. O(bytes). Tags are at most MAX_TAGS, each at most 65,535 bytes. */
export function encodeBody(head: Head, tags: readonly string[], value: Uint8Array, version?: bigint): Uint8Array {
  const names = tags.map((tag) => encoder.encode(tag));
  if (version !== undefined) names.unshift(encoder.encode(`\0v${sourceDigits(version)}`));
  let size = TAGS_AT - EPOCH_AT + 1 + value.length;
  for (const name of names) size += 2 + name.length;
  const bytes = new Uint8Array(size);
  encoder.encodeInto(head.epoch, bytes);
  encoder.encodeInto(digits(head.number), bytes.subarray(ID_BYTES));
  let at = TAGS_AT - EPOCH_AT;
  bytes[at] = names.length;
  at += 1;
  for (const name of names) {
    bytes[at] = name.length >>> 8;
    bytes[at + 1] = name.length & 0xff;
    bytes.set(name, at + 2);
    at += 2 + name.length;
  }
  bytes.set(value, at);
  return bytes;
}

/** Reads an entry that a script has found to be one; null when it is cut off or garbled all the same. */
export function decodeEntry(bytes: Uint8Array): DecodedEntry | null {
  if (bytes.length <= TAGS_AT) return null;
  const prefix = decoder.decode(bytes.subarray(VERSION_AT, TAGS_AT));
  const version = Number(prefix.slice(0, LIFE_AT - VERSION_AT));
  const head = {
    epoch: prefix.slice(EPOCH_AT - VERSION_AT, NUMBER_AT - VERSION_AT),
    number: Number(prefix.slice(NUMBER_AT - VERSION_AT)),
  };
  const valueEnd = Number(prefix.slice(END_AT - VERSION_AT, GONE_AT - VERSION_AT));
  if (!(valueEnd > TAGS_AT && valueEnd <= bytes.length)) return null;
  if (!Number.isSafeInteger(version) || !Number.isSafeInteger(head.number)) return null;
  const tags: string[] = [];
  let at = TAGS_AT + 1;
  for (let left = bytes[TAGS_AT]!; left > 0; left -= 1) {
    if (at + 2 > valueEnd) return null;
    const end = at + 2 + bytes[at]! * 256 + bytes[at + 1]!;
    if (end > valueEnd) return null;
    tags.push(decoder.decode(bytes.subarray(at + 2, end)));
    at = end;
  }
  if (tags.length > 0 && isMark(tags[0]!)) tags.shift();
  return { version, head, tags, value: bytes.subarray(at, valueEnd) };
}

/** What `readEntry` found. */
export interface ReadEntry {
  readonly version: number;
  readonly number: number;
  /** When it expires by the server's clock, ms; 0 = never. */
  readonly goneAtMs: number;
  /** Where its value stands. */
  readonly valueAt: number;
  readonly valueEnd: number;
}

/**
 * The same for a reader that knows what it wants to find: an entry of this life and epoch with these tags, in this order. Null for anything else, which need not
 * be out of date: ask the scripts. Several times faster than `decodeEntry`, because it compares and makes no strings.
 * @param life, epoch ASCII
 */
export function readEntry(bytes: Uint8Array, life: string, epoch: string, tags: readonly string[]): ReadEntry | null {
  if (bytes.length <= TAGS_AT) return null;
  if (bytes[0] !== 0xc1 || bytes[1] !== 0x42 || bytes[2] !== 0x57 || bytes[3] !== 0x45) return null;
  if (!isAscii(bytes, LIFE_AT, life) || !isAscii(bytes, EPOCH_AT, epoch)) return null;
  const version = numberAt(bytes, VERSION_AT, LIFE_AT);
  const number = numberAt(bytes, NUMBER_AT, TAGS_AT);
  const valueEnd = numberAt(bytes, END_AT, GONE_AT);
  const goneAtMs = numberAt(bytes, GONE_AT, EPOCH_AT);
  if (!(valueEnd > TAGS_AT && valueEnd <= bytes.length)) return null;
  if (!Number.isSafeInteger(version) || !Number.isSafeInteger(number) || !Number.isSafeInteger(goneAtMs)) return null;
  let left = bytes[TAGS_AT]!;
  let at = TAGS_AT + 1;
  // The mark of a source version is no tag.
  if (left > 0 && isMarkAt(bytes, at)) {
    left -= 1;
    at += 2 + MARK_BYTES;
  }
  if (left !== tags.length) return null;
  for (let i = 0; i < left; i += 1) {
    if (at + 2 > valueEnd) return null;
    const begin = at + 2;
    at = begin + bytes[at]! * 256 + bytes[at + 1]!;
    if (at > valueEnd || !isText(bytes, begin, at, tags[i]!)) return null;
  }
  return at > valueEnd ? null : { version, number, goneAtMs, valueAt: at, valueEnd };
}

function isMarkAt(bytes: Uint8Array, at: number): boolean {
  if (bytes[at] !== 0 || bytes[at + 1] !== MARK_BYTES || bytes[at + 2] !== 0) return false;
  return isMark(decoder.decode(bytes.subarray(at + 2, at + 2 + MARK_BYTES)));
}

function isAscii(bytes: Uint8Array, at: number, text: string): boolean {
  for (let i = 0; i < text.length; i += 1) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}

function isText(bytes: Uint8Array, begin: number, end: number, text: string): boolean {
  if (end - begin === text.length && isAscii(bytes, begin, text)) {
    // Units and bytes of the same values are the same text only below 128.
    let isPlain = true;
    for (let at = begin; at < end; at += 1) if (bytes[at]! >= 128) isPlain = false;
    if (isPlain) return true;
  }
  return decoder.decode(bytes.subarray(begin, end)) === text;
}

/** Decimal digits; NaN when there is anything else. */
function numberAt(bytes: Uint8Array, begin: number, end: number): number {
  let number = 0;
  for (let at = begin; at < end; at += 1) {
    const digit = bytes[at]! - 48;
    if (!(digit >= 0 && digit <= 9)) return Number.NaN;
    number = number * 10 + digit;
  }
  return number;
}

/** The digits of the version, whatever else is wrong with the entry. */
export function versionTextOf(bytes: Uint8Array): string {
  return decoder.decode(bytes.subarray(VERSION_AT, LIFE_AT));
}

/** A lease as the library holds it: the token under the key, and the head before its load. `<token>.<epoch>.<number>` */
export interface Lease extends Head {
  readonly token: string;
}

export function formatLease({ token, epoch, number }: Lease): string {
  return `${token}.${epoch}.${number}`;
}

/** Null when it is none of ours. */
export function parseLease(text: FillEntry['lease']): Lease | null {
  const match = /^([\w-]{12})\.([\w-]{12})\.(\d{1,15})$/.exec(text);
  return match === null ? null : { token: match[1]!, epoch: match[2]!, number: Number(match[3]) };
}

function digits(number: number): string {
  return String(number).padStart(16, '0');
}
