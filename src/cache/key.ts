/**
 * Keys. A cache named `user` keeps id `42` under `user:42`; what stands before the first `:` is the namespace, for every
 * client in every language. So a name has no `:`, an id may.
 *
 * Ids are text only. Were numbers accepted too, `42` and `"42"` would be one key in L2 and two in L1, and a delete of one would
 * leave the other.
 */
import { BreakwaterError, isUntouchable } from '../base/errors.ts';

/** Longest key in bytes of UTF-8, namespace and colon included: the limit of nodes and of HTTP. */
export const MAX_KEY_BYTES = 512;
const MAX_NAME_BYTES = 64;
const MAX_TAG_BYTES = 256;
const MAX_TAGS = 64;

/** What stands before the first colon of the library's own keys in a store: notes and the order of queued writes, queues, locks, tables of invalidations. */
const RESERVED_NAMES: readonly string[] = [
  'bw-pending',
  'bw-order',
  'bw.queue',
  'bw.queues',
  'bw.lock',
  'bw.fence',
  'bw.invalidations',
];

/** @throws BreakwaterError `CACHE_NAME_INVALID`, `CACHE_NAME_RESERVED` */
export function checkName(name: unknown): string {
  if (RESERVED_NAMES.includes(name as string)) {
    throw new BreakwaterError(
      'CACHE_NAME_RESERVED',
      `cannot declare a cache: the name ${show(name)} is kept for what Breakwater itself has in the store`,
    );
  }
  if (typeof name === 'string' && name.length <= MAX_NAME_BYTES && /^[A-Za-z0-9_.-]+$/.test(name)) return name;
  throw new BreakwaterError(
    'CACHE_NAME_INVALID',
    `cannot declare a cache: its name must be 1 to ${MAX_NAME_BYTES} letters, digits, "_", "." or "-", received ${show(name)}`,
  );
}

/**
 * The full key of `id` under `prefix` (`"user:"`, ASCII).
 * @throws BreakwaterError `CACHE_KEY_INVALID`
 */
export function fullKey(prefix: string, id: unknown): string {
  if (typeof id !== 'string') {
    const hint = typeof id === 'number' ? '; write String(id)' : '';
    throw invalidKey(prefix, id, `an id must be a string${hint}`);
  }
  if (id.length === 0) throw invalidKey(prefix, id, 'an id must not be empty');
  const bytes = wellFormedLength(id);
  if (bytes < 0) throw invalidKey(prefix, id, 'an id must not have a lone surrogate, which no UTF-8 can carry');
  if (prefix.length + bytes > MAX_KEY_BYTES) {
    throw invalidKey(
      prefix,
      id,
      `a key has at most ${MAX_KEY_BYTES} bytes with "${prefix}", this one ${prefix.length + bytes}`,
    );
  }
  return prefix + id;
}

/**
 * A copy of `given`: it is looked at again later, when its owner may have put other tags into it.
 * @throws BreakwaterError `CACHE_TAGS_INVALID`
 */
export function checkTags(given: readonly string[], what: string, most = MAX_TAGS): readonly string[] {
  if (isUntouchable(given) || !Array.isArray(given))
    throw invalidTags(what, `expected an array of strings, received ${show(given)}`);
  const tags: readonly string[] = Array.from(given);
  if (tags.length > most) throw invalidTags(what, `at most ${most} tags an entry, received ${tags.length}`);
  for (const tag of tags) {
    const bytes = typeof tag === 'string' ? wellFormedLength(tag) : -1;
    if (bytes < 1 || bytes > MAX_TAG_BYTES) {
      throw invalidTags(what, `a tag is a well-formed string of 1 to ${MAX_TAG_BYTES} bytes, received ${show(tag)}`);
    }
  }
  return tags;
}

/** Bytes of `text` in UTF-8, or -1 when it has a lone surrogate. */
function wellFormedLength(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    if (unit < 0x800) bytes += 1;
    else if (unit < 0xd800 || unit > 0xdfff) bytes += 2;
    else if (unit < 0xdc00 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) {
      bytes += 2; // two code units, four bytes
      i += 1;
    } else return -1;
  }
  return bytes;
}

function invalidKey(prefix: string, id: unknown, why: string): BreakwaterError {
  return new BreakwaterError(
    'CACHE_KEY_INVALID',
    `cannot use an id of cache "${prefix.slice(0, -1)}": ${why}, received ${show(id)}`,
  );
}

function invalidTags(what: string, why: string): BreakwaterError {
  return new BreakwaterError('CACHE_TAGS_INVALID', `cannot use the tags ${what}: ${why}`);
}

/** A value for an error sentence: short, and never throwing. */
export function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 64 ? `${value.slice(0, 61)}...` : value);
  if (isUntouchable(value)) return 'a Proxy that was revoked';
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return String(value);
}
