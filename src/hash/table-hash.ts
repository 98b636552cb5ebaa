/**
 * The hash of the table: a keyed one, so that nobody who does not know the seed can choose keys that fall into one bucket.
 *
 * HalfSipHash-1-3 (Aumasson and Bernstein's SipHash with 32-bit words: one round a word, three to finish). Murmur and the
 * multiply-and-shift family are a few nanoseconds faster and are no defence: there are keys that collide under *every*
 * seed of theirs, because a chosen difference in one word cancels a known difference left by the word before, whatever
 * the state. Here every word passes a round that mixes it with state the attacker does not know. JavaScript has
 * no 64-bit multiply, which rules out the wyhash family.
 *
 * The rounds are written out: a call per round costs more than the round. About 1 ns a byte for keys of 8 to 64 bytes.
 */

/** As {@link hashBytes}, as a signed 32-bit integer: the form that never becomes a heap number. For the engine. */
export function hashBytesSigned(bytes: Uint8Array, start: number, end: number, seed: number): number {
  const k0 = seed | 0;
  const k1 = Math.imul(seed ^ 0x5bd1e995, 0x9e3779b1) ^ (seed >>> 15);
  let v0 = k0;
  let v1 = k1;
  let v2 = 0x6c796765 ^ k0;
  let v3 = 0x74656462 ^ k1;
  let at = start;
  for (const last = end - 3; at < last; at += 4) {
    const word = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    v3 ^= word;
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
  }
  let tail = (end - start) << 24;
  if (at < end) {
    tail |= bytes[at]!;
    if (at + 1 < end) {
      tail |= bytes[at + 1]! << 8;
      if (at + 2 < end) tail |= bytes[at + 2]! << 16;
    }
  }
  v3 ^= tail;
  for (let round = 0; round < 4; round += 1) {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    if (round === 0) {
      v0 ^= tail;
      v2 ^= 0xff;
    }
  }
  return v1 ^ v3;
}

/**
 * The seeded hash of `bytes[start, end)`: an integer in [0, 2^32).
 *
 * @param seed any 32-bit integer; keep it secret and different in every process. O(length).
 */
export function hashBytes(bytes: Uint8Array, start: number, end: number, seed: number): number {
  return hashBytesSigned(bytes, start, end, seed) >>> 0;
}
