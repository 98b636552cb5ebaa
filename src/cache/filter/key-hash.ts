/**
 * 64 bits of hash from a key that is a JavaScript string, read in UTF-16 units where it lies: encoding it to bytes first would
 * cost more than the filter. Two 32-bit multiplicative lanes, crossed at the end (the construction of cyrb53). Keyed by a seed, so
 * that two processes have different false positives; it is no defence against somebody who works out collisions, who gains no
 * more than a load per key: rate and cap of the guard stand behind.
 */
export class KeyHash {
  /** First 32 bits, signed: picks the block. */
  high = 0;
  /** Second 32 bits, signed: picks the bits. */
  low = 0;
  readonly #seed: number;

  constructor(seed: number) {
    this.#seed = seed | 0;
  }

  /** Leaves the hash of `key` in `high` and `low`. O(length), allocates nothing. */
  take(key: string): void {
    let a = 0xdeadbeef ^ this.#seed;
    let b = 0x41c6ce57 ^ this.#seed;
    for (let i = 0; i < key.length; i += 1) {
      const unit = key.charCodeAt(i);
      a = Math.imul(a ^ unit, 0x9e3779b1);
      b = Math.imul(b ^ unit, 0x5f356495);
    }
    a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35);
    b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
    this.high = a;
    this.low = b;
  }
}
