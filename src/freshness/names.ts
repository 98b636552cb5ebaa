/**
 * Names that can be invalidated: a key's *namespace* is what stands before its first `:` (`user:42` is in `user`; a key without `:`
 * is in the empty namespace), a *tag* is any byte string an entry was stored under.
 *
 * Both are known by 53 bits of hash, so that an entry carries 8 bytes a tag and no text, and a number of JavaScript holds
 * it exactly. The seeds are constants, not secrets: members of a cluster must agree on them, and two names made to collide only
 * invalidate each other's entries. With a million names in use the chance of any collision is 1 in 18,000.
 */
import { hashBytes } from '../hash/table-hash.ts';

const COLON = 58;
const TAG_SEEDS = [0x7a6b_0001, 0x7a6b_9e37] as const;
const KEY_SEEDS = [0x6b65_0001, 0x6b65_9e37] as const;
const NAMESPACE_SEEDS = [0x4e53_0001, 0x4e53_9e37] as const;

/** Bytes of the key's namespace, 0 when it has no `:`. */
export function namespaceLength(key: Uint8Array, start: number, length: number): number {
  for (let i = 0; i < length; i += 1) if (key[start + i] === COLON) return i;
  return 0;
}

/** Hash of the namespace that `key` belongs to. */
export function namespaceOfKey(key: Uint8Array, start: number, length: number): number {
  return namespaceHash(key, start, namespaceLength(key, start, length));
}

/** Hash of the namespace with this name (what stands before the `:`, without it). An integer in [0, 2^53). */
export function namespaceHash(name: Uint8Array, start: number, length: number): number {
  return hash53(name, start, length, NAMESPACE_SEEDS[0], NAMESPACE_SEEDS[1]);
}

/** Hash of the tag with this name. An integer in [0, 2^53), never the hash of a namespace but by chance. */
export function tagHash(name: Uint8Array, start: number, length: number): number {
  return hash53(name, start, length, TAG_SEEDS[0], TAG_SEEDS[1]);
}

/** Hash of a whole key. An integer in [0, 2^53). */
export function keyHash(key: Uint8Array, start: number, length: number): number {
  return hash53(key, start, length, KEY_SEEDS[0], KEY_SEEDS[1]);
}

function hash53(name: Uint8Array, start: number, length: number, seedLow: number, seedHigh: number): number {
  const low = hashBytes(name, start, start + length, seedLow);
  const high = hashBytes(name, start, start + length, seedHigh);
  return (high & 0x1f_ffff) * 0x1_0000_0000 + low;
}
