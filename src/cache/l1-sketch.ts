/**
 * How often was this id asked for lately? A count-min sketch of 4-bit counters, 4 bytes an entry: what `engine/sketch.ts` is for the engine,
 * over an array of its own instead of the engine's arena. Blocked: the four counters of an id lie in one line of 64 bytes, one in each quarter.
 * An estimate is the least of the four: never too low before ageing, too high by what collides.
 *
 * It grows by doubling while L1 fills: each half begins as a copy of the whole, which keeps every estimate an upper bound. Ageing halves one
 * block after the other, each about once per ten counts an entry, so there is no pause.
 *
 * Papers: Cormode and Muthukrishnan, 2005; Einziger, Friedman and Manes, "TinyLFU", 2017.
 */
const BLOCK_WORDS = 16;
/** 64 bytes for 16 entries. */
const ENTRIES_PER_BLOCK = 16;
/** Ten counts an entry between two halvings of a block. */
const AGE_INTERVAL = 10 * ENTRIES_PER_BLOCK;
/** 16 MiB, good for 4 million entries; beyond them ids share counters. */
const MOST_BLOCKS = 2 ** 18;

export class L1Sketch {
  #words = new Int32Array(BLOCK_WORDS);
  #blocks = 1;
  #untilAge = AGE_INTERVAL;
  #ageCursor = 0;

  /** Heap that it takes. */
  get bytes(): number {
    return this.#words.byteLength;
  }

  /** After `growFor(entries)`. */
  bytesFor(entries: number): number {
    let blocks = this.#blocks;
    while (entries > blocks * ENTRIES_PER_BLOCK && blocks < MOST_BLOCKS) blocks *= 2;
    return blocks * BLOCK_WORDS * 4;
  }

  growFor(entries: number): void {
    while (entries > this.#blocks * ENTRIES_PER_BLOCK && this.#blocks < MOST_BLOCKS) {
      const grown = new Int32Array(this.#words.length * 2);
      grown.set(this.#words);
      grown.set(this.#words, this.#words.length);
      this.#words = grown;
      this.#blocks *= 2;
    }
  }

  /** One use more. O(1), one line of memory. */
  count(hash: number): void {
    const words = this.#words;
    const at = this.#lineOf(hash);
    const where = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
    // Quarter q, word of it by two bits, counter by three: twenty bits of `where`.
    raise(words, at + ((where >>> 3) & 3), (where & 7) << 2);
    raise(words, at + 4 + ((where >>> 8) & 3), ((where >>> 5) & 7) << 2);
    raise(words, at + 8 + ((where >>> 13) & 3), ((where >>> 10) & 7) << 2);
    raise(words, at + 12 + ((where >>> 18) & 3), ((where >>> 15) & 7) << 2);
    this.#untilAge -= 1;
    if (this.#untilAge === 0) this.#ageNext();
  }

  /** 0 to 15. */
  estimate(hash: number): number {
    const words = this.#words;
    const at = this.#lineOf(hash);
    const where = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b);
    return Math.min(
      (words[at + ((where >>> 3) & 3)]! >>> ((where & 7) << 2)) & 15,
      (words[at + 4 + ((where >>> 8) & 3)]! >>> (((where >>> 5) & 7) << 2)) & 15,
      (words[at + 8 + ((where >>> 13) & 3)]! >>> (((where >>> 10) & 7) << 2)) & 15,
      (words[at + 12 + ((where >>> 18) & 3)]! >>> (((where >>> 15) & 7) << 2)) & 15,
    );
  }

  /** The low bits choose the line, so that doubling splits each line in two. */
  #lineOf(hash: number): number {
    return (((hash >>> 16) ^ hash) & (this.#blocks - 1)) * BLOCK_WORDS;
  }

  #ageNext(): void {
    this.#untilAge = AGE_INTERVAL;
    if (this.#ageCursor >= this.#blocks) this.#ageCursor = 0;
    const at = this.#ageCursor * BLOCK_WORDS;
    this.#ageCursor += 1;
    const words = this.#words;
    for (let word = at; word < at + BLOCK_WORDS; word += 1) words[word] = (words[word]! >>> 1) & 0x7777_7777;
  }
}

function raise(words: Int32Array, word: number, shift: number): void {
  const value = words[word]!;
  if (((value >>> shift) & 15) !== 15) words[word] = (value + (1 << shift)) | 0;
}

/** FNV-1a over code units, then mixed so that the low bits are good. */
export function hashId(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i += 1) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash ^= hash >>> 15;
  hash = Math.imul(hash, 0x2c1b3c6d);
  return (hash ^ (hash >>> 13)) >>> 0;
}
