/**
 * Effects as bytes: what an owner did to a range, in the one form that a copy can do too. A command is never replicated, only what came of it, so a copy decides nothing: INCR travels as the
 * value that it made, a conditional write that did nothing does not travel.
 *
 *   | kind | shape | ...
 *   STORE      key, value, tags, source version; the TTL as what is *left* of it, because two clocks have nothing else in common; the owner's stamp
 *   REMOVE     key: deleted, evicted or expired; to a copy it is all the same
 *   EXPIRE     key, what is left of its TTL (0 = it has none any more)
 *   TAG, NAMESPACE   the hash: everything stored before is dead
 *   CLEAR      the whole range: its entries
 *   LOCK, SUM  what is kept beside entries (`beside-effect.ts`)
 *
 * Entries of a synchronisation (`part`) have the form of STORE. Little-endian throughout. What has not this form is a broken promise of another member's, and an assertion says so.
 */
import { assert } from '../base/assert.ts';
import type { SourceVersion, TagList } from '../engine/face.ts';

export const STORE = 1;
export const REMOVE = 2;
export const EXPIRE = 3;
export const TAG = 4;
export const NAMESPACE = 5;
export const CLEAR = 6;
export const LOCK = 7;
export const SUM = 8;
/** Among the entries of a synchronisation only. */
export const BESIDE = 9;

const HAS_TTL = 1;
const HAS_SOURCE = 2;
/** Kind, shape, tag count, key length (2), value length (4), stamp (6). */
const STORE_HEAD = 15;

const number = new Float64Array(1);
const numberBytes = new Uint8Array(number.buffer);

/** An entry that is about to become bytes: the places of key and value are filled by the caller, `keyAt` and `valueAt` say where. */
export interface StoreFrame {
  readonly body: Uint8Array;
  readonly keyAt: number;
  readonly valueAt: number;
}

/** @param leftMs what is left of the TTL; 0 = it has none. At least 1 where it has one */
export function storeFrame(
  keyLength: number,
  valueLength: number,
  leftMs: number,
  stamp: number,
  tags: TagList | null,
  source: SourceVersion | null,
): StoreFrame {
  const tagCount = tags === null ? 0 : tags.count;
  const head = STORE_HEAD + (leftMs === 0 ? 0 : 8) + (source === null ? 0 : 8) + 8 * tagCount;
  const body = new Uint8Array(head + keyLength + valueLength);
  body[0] = STORE;
  body[1] = (leftMs === 0 ? 0 : HAS_TTL) | (source === null ? 0 : HAS_SOURCE);
  body[2] = tagCount;
  body[3] = keyLength & 255;
  body[4] = keyLength >>> 8;
  put32(body, 5, valueLength);
  put32(body, 9, stamp >>> 0);
  const high = Math.floor(stamp / 0x1_0000_0000);
  body[13] = high & 255;
  body[14] = high >>> 8;
  let at = STORE_HEAD;
  if (leftMs !== 0) {
    putNumber(body, at, leftMs);
    at += 8;
  }
  if (source !== null) {
    put32(body, at, source.low);
    put32(body, at + 4, source.high);
    at += 8;
  }
  for (let i = 0; i < tagCount; i += 1) {
    putNumber(body, at, tags!.hashes[i]!);
    at += 8;
  }
  return { body, keyAt: at, valueAt: at + keyLength };
}

/** What a STORE says. One object, overwritten by the next `readStore`. */
export interface StoredEntry {
  keyAt: number;
  keyLength: number;
  valueAt: number;
  valueLength: number;
  /** 0 = no TTL. */
  leftMs: number;
  stamp: number;
  hasSource: boolean;
  readonly source: { high: number; low: number };
  readonly tags: { count: number; readonly hashes: Float64Array };
}

const entry: StoredEntry = {
  keyAt: 0,
  keyLength: 0,
  valueAt: 0,
  valueLength: 0,
  leftMs: 0,
  stamp: 0,
  hasSource: false,
  source: { high: 0, low: 0 },
  tags: { count: 0, hashes: new Float64Array(256) },
};

export function readStore(body: Uint8Array): StoredEntry {
  assert(body.length >= STORE_HEAD && body[0] === STORE, 'an entry of another member has the form of an entry');
  const shape = body[1]!;
  entry.tags.count = body[2]!;
  entry.keyLength = body[3]! | (body[4]! << 8);
  entry.valueLength = get32(body, 5);
  entry.stamp = get32(body, 9) + (body[13]! | (body[14]! << 8)) * 0x1_0000_0000;
  entry.hasSource = (shape & HAS_SOURCE) !== 0;
  let at = STORE_HEAD;
  entry.leftMs = 0;
  if ((shape & HAS_TTL) !== 0) {
    entry.leftMs = getNumber(body, at);
    at += 8;
  }
  if (entry.hasSource) {
    entry.source.low = get32(body, at);
    entry.source.high = get32(body, at + 4);
    at += 8;
  }
  for (let i = 0; i < entry.tags.count; i += 1) {
    entry.tags.hashes[i] = getNumber(body, at);
    at += 8;
  }
  entry.keyAt = at;
  entry.valueAt = at + entry.keyLength;
  assert(entry.valueAt + entry.valueLength === body.length, 'an entry of another member is as long as it says');
  return entry;
}

/** REMOVE with room for a key, from byte {@link REMOVE_KEY_AT} on. */
export const REMOVE_KEY_AT = 1;

export function removeFrame(keyLength: number): Uint8Array {
  const body = new Uint8Array(REMOVE_KEY_AT + keyLength);
  body[0] = REMOVE;
  return body;
}

/** EXPIRE with room for a key, from byte {@link EXPIRE_KEY_AT} on. */
export const EXPIRE_KEY_AT = 9;

export function expireFrame(keyLength: number, leftMs: number): Uint8Array {
  const body = new Uint8Array(EXPIRE_KEY_AT + keyLength);
  body[0] = EXPIRE;
  putNumber(body, 1, leftMs);
  return body;
}

/** TAG or NAMESPACE, by its hash. */
export function nameEffect(kind: typeof TAG | typeof NAMESPACE, hash: number): Uint8Array {
  const body = new Uint8Array(9);
  body[0] = kind;
  putNumber(body, 1, hash);
  return body;
}

/** The number behind the kind: what is left of a TTL, or a hash. */
export function numberOf(body: Uint8Array): number {
  assert(body.length >= 9, 'an effect of another member is as long as its kind wants');
  return getNumber(body, 1);
}

export const CLEAR_EFFECT = Uint8Array.of(CLEAR);

function put32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value & 255;
  bytes[at + 1] = (value >>> 8) & 255;
  bytes[at + 2] = (value >>> 16) & 255;
  bytes[at + 3] = (value >>> 24) & 255;
}

function get32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

function putNumber(bytes: Uint8Array, at: number, value: number): void {
  number[0] = value;
  for (let i = 0; i < 8; i += 1) bytes[at + i] = numberBytes[i]!;
}

function getNumber(bytes: Uint8Array, at: number): number {
  for (let i = 0; i < 8; i += 1) numberBytes[i] = bytes[at + i]!;
  return number[0]!;
}
