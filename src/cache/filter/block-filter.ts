/**
 * A set that answers "certainly not" or "perhaps", in about ten bits a key: a split-block Bloom filter (Putze, Sanders and
 * Singler, Cache-, Hash- and Space-Efficient Bloom Filters, 2007; in this form in Impala and Apache Parquet).
 *
 * A key picks one block of 256 bits, and in each of the block's eight 32-bit words one bit. Adding sets the eight bits; a
 * key all of whose bits are set is perhaps in. All of it lies in half a cache line, so a lookup is one memory access where the
 * classic Bloom filter has seven.
 *
 *     block      |  word 0  |  word 1  |   ...   |  word 7  |      8 x 32 bits
 *                   bit i0     bit i1                bit i7         i_w = top 5 bits of (low * SALT_w)
 *
 * Why not a cuckoo filter, which can forget keys. Forgetting is what makes it dangerous: removing a key that was never added, but
 * looked as if (a false positive), takes away *another* key's fingerprint, and from then on an existing row is reported as
 * absent. A Bloom filter cannot be wrong in that direction, whatever is done to it, and for us that direction is the only one
 * that matters: a false "perhaps" costs a load, a false "certainly not" is a lie. A cuckoo filter also fills up under repeated adds of one key
 * (each write of a row is one), and its size is a power of two. Measured for 1,000,000 keys (Node.js 20, all about equally fast, 0.1 to 0.25 microseconds with
 * the reading of a cold string): split-block 10.5 bits a key at 1.0 % false positives and 16 at 0.13 %; classic Bloom 9.6 at 1.0 %, twice
 * the time to add; cuckoo with 8-bit fingerprints 16.8 at 1.5 %, with 12-bit 25.2 at 0.09 %.
 */
import { assert } from '../../base/assert.ts';

const WORDS = 8;
const BLOCK_BITS = WORDS * 32;
/** The smallest filter there is. */
export const BLOCK_BYTES = BLOCK_BITS / 8;
/** Odd multipliers of Parquet's specification, one a word. */
const SALT = Int32Array.of(
  0x47b6137b,
  0x44974d91,
  0x8824ad5b | 0,
  0xa2b7289d | 0,
  0x705495c7,
  0x2df1424b,
  0x9efc4947 | 0,
  0x5c6bfb31,
);
/** How many blocks are looked at to tell the rate at which a filter answers "perhaps". */
const SAMPLE_BLOCKS = 4096;

export class BlockFilter {
  readonly #words: Int32Array;
  readonly #blocks: number;

  /** Memory for `keys` keys at `falsePositiveRate`, all of it at once. */
  constructor(keys: number, falsePositiveRate: number) {
    this.#blocks = blocksFor(keys, falsePositiveRate);
    this.#words = new Int32Array(this.#blocks * WORDS);
  }

  /** Bytes that a filter for so many keys takes. */
  static sizeBytes(keys: number, falsePositiveRate: number): number {
    return blocksFor(keys, falsePositiveRate) * BLOCK_BYTES;
  }

  get sizeBytes(): number {
    return this.#words.byteLength;
  }

  add(high: number, low: number): void {
    const words = this.#words;
    const at = this.#blockOf(high);
    for (let word = 0; word < WORDS; word += 1) {
      words[at + word]! |= 1 << (Math.imul(low, SALT[word]!) >>> 27);
    }
  }

  /** False: certainly never added. */
  has(high: number, low: number): boolean {
    const words = this.#words;
    const at = this.#blockOf(high);
    for (let word = 0; word < WORDS; word += 1) {
      if ((words[at + word]! & (1 << (Math.imul(low, SALT[word]!) >>> 27))) === 0) return false;
    }
    return true;
  }

  /**
   * The chance that a key which was never added is answered "perhaps", read off the bits that are set: the mean over blocks of
   * the product of their words' fill. Looks at 4,096 blocks at most, spread evenly.
   */
  falsePositiveRate(): number {
    const step = Math.max(1, Math.floor(this.#blocks / SAMPLE_BLOCKS));
    let sum = 0;
    let blocks = 0;
    for (let block = 0; block < this.#blocks; block += step) {
      let product = 1;
      for (let word = 0; word < WORDS; word += 1) product *= bitCount(this.#words[block * WORDS + word]!) / 32;
      sum += product;
      blocks += 1;
    }
    return sum / blocks;
  }

  /** Index of the first word of the block: the hash as a fraction of the blocks. Their number need be no power of two. */
  #blockOf(high: number): number {
    return Math.floor(((high >>> 0) * this.#blocks) / 0x1_0000_0000) * WORDS;
  }
}

/**
 * The rate of false positives that theory gives for a filter with `bitsPerKey` bits a key. Keys fall into blocks by chance, so a
 * block holds a Poisson-distributed number i of them, and a word of it has a given bit set with chance 1 - (31/32)^i:
 *
 *     rate = sum over i of  Poisson(i; 256 / bitsPerKey) * (1 - (31/32)^i)^8
 */
export function theoreticalFalsePositiveRate(bitsPerKey: number): number {
  const mean = BLOCK_BITS / bitsPerKey;
  const last = Math.ceil(mean + 12 * Math.sqrt(mean) + 20);
  let poisson = Math.exp(-mean);
  let unset = 1;
  let rate = 0;
  for (let keys = 1; keys <= last; keys += 1) {
    poisson *= mean / keys;
    unset *= 31 / 32;
    const fourth = ((1 - unset) * (1 - unset)) ** 2;
    rate += poisson * fourth * fourth;
  }
  return rate;
}

/** The bits a key for a wanted rate, by halving: the rate falls as the bits grow. Between 1 and 64. */
export function bitsPerKeyFor(falsePositiveRate: number): number {
  assert(falsePositiveRate > 0 && falsePositiveRate < 1, 'a rate of false positives lies between 0 and 1');
  let low = 1;
  let high = 64;
  for (let step = 0; step < 30; step += 1) {
    const middle = (low + high) / 2;
    if (theoreticalFalsePositiveRate(middle) > falsePositiveRate) low = middle;
    else high = middle;
  }
  return high;
}

function blocksFor(keys: number, falsePositiveRate: number): number {
  return Math.max(1, Math.ceil((keys * bitsPerKeyFor(falsePositiveRate)) / BLOCK_BITS));
}

/** Set bits of a 32-bit integer (Hacker's Delight, 5-1). */
function bitCount(word: number): number {
  let v = word - ((word >>> 1) & 0x5555_5555);
  v = (v & 0x3333_3333) + ((v >>> 2) & 0x3333_3333);
  return Math.imul((v + (v >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24;
}
