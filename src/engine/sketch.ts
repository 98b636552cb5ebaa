/**
 * How often was this key asked for lately? A count-min sketch of 4-bit counters (Cormode and Muthukrishnan, 2005; as TinyLFU
 * uses it, Einziger, Friedman and Manes, 2017), 4 bytes an entry.
 *
 * Blocked: the four counters of a key lie in one line of 64 bytes, one in each quarter, so that counting costs one cache
 * miss and not four. An estimate is the least of the four: never too low (before ageing), too high by what collides.
 *
 * Ageing halves a counter about once per ten counts an entry, so that what was popular yesterday gives way. It goes
 * block by block, one every AGE_INTERVAL counts: no pause over the whole sketch. Growth is linear hashing by doubling:
 * a new block starts as a copy of the block it splits from, which keeps every estimate an upper bound.
 */
import { type Arena, CHUNK_MASK, CHUNK_SHIFT, SKETCH } from './arena.ts';
import { LINE_WORDS_LOG2, Lines } from './lines.ts';

const BLOCK_WORDS = 1 << LINE_WORDS_LOG2;
/** 64 bytes for 16 entries: 4 bytes, or 8 counters, an entry. */
const ENTRIES_PER_BLOCK = 16;
/** Ten counts per entry between two halvings of the same block, Caffeine's sample size. */
const AGE_INTERVAL = 10 * ENTRIES_PER_BLOCK;
const KEEP_FREE = 3;

export class Sketch {
  readonly #words: Int32Array[];
  readonly #blocks: Lines;
  #blockCount = 0;
  /** Blocks are numbered by the low bits of the hash: `mask`, or twice as many below `split`. */
  #mask = 0;
  #split = 0;
  #untilAge = AGE_INTERVAL;
  #ageCursor = 0;

  constructor(arena: Arena) {
    this.#words = arena.words;
    this.#blocks = new Lines(arena, SKETCH);
  }

  get blockCount(): number {
    return this.#blockCount;
  }

  reset(): void {
    this.#blocks.reset();
    this.#blockCount = 0;
    this.#mask = 0;
    this.#split = 0;
    this.#ageCursor = 0;
  }

  /** Takes one step towards the size for `entries`; call it at every new entry. */
  growFor(entries: number): void {
    if (entries <= this.#blockCount * ENTRIES_PER_BLOCK) return;
    if (this.#blockCount === this.#blocks.capacity && !this.#blocks.grow(KEEP_FREE)) return;
    const created = this.#blockCount;
    this.#blockCount += 1;
    if (created === 0) return;
    const from = this.#blocks.address(this.#split);
    const to = this.#blocks.address(created);
    const source = this.#words[from >>> CHUNK_SHIFT]!;
    const target = this.#words[to >>> CHUNK_SHIFT]!;
    for (let word = 0; word < BLOCK_WORDS; word += 1) {
      target[(to & CHUNK_MASK) + word] = source[(from & CHUNK_MASK) + word]!;
    }
    this.#split += 1;
    if (this.#split > this.#mask) {
      this.#mask = this.#mask * 2 + 1;
      this.#split = 0;
    }
  }

  /** Counts one use of a key. O(1), one cache line. */
  count(hash: number): void {
    if (this.#blockCount === 0) return;
    const mixed = Math.imul(hash, 0x9e3779b1);
    const block = this.#blockOf(mixed);
    const words = this.#words[block >>> CHUNK_SHIFT]!;
    const at = block & CHUNK_MASK;
    const where = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
    // Quarter q, word of it by two bits, counter by three: twenty bits of `where`.
    let word = at + ((where >>> 3) & 3);
    let shift = (where & 7) << 2;
    let value = words[word]!;
    if (((value >>> shift) & 15) !== 15) words[word] = (value + (1 << shift)) | 0;
    word = at + 4 + ((where >>> 8) & 3);
    shift = ((where >>> 5) & 7) << 2;
    value = words[word]!;
    if (((value >>> shift) & 15) !== 15) words[word] = (value + (1 << shift)) | 0;
    word = at + 8 + ((where >>> 13) & 3);
    shift = ((where >>> 10) & 7) << 2;
    value = words[word]!;
    if (((value >>> shift) & 15) !== 15) words[word] = (value + (1 << shift)) | 0;
    word = at + 12 + ((where >>> 18) & 3);
    shift = ((where >>> 15) & 7) << 2;
    value = words[word]!;
    if (((value >>> shift) & 15) !== 15) words[word] = (value + (1 << shift)) | 0;
    this.#untilAge -= 1;
    if (this.#untilAge === 0) this.#ageNext();
  }

  /** How often a key was counted lately, 0 to 15: never too low since the last ageing. */
  estimate(hash: number): number {
    if (this.#blockCount === 0) return 0;
    const mixed = Math.imul(hash, 0x9e3779b1);
    const block = this.#blockOf(mixed);
    const words = this.#words[block >>> CHUNK_SHIFT]!;
    const at = block & CHUNK_MASK;
    const where = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b);
    let least = (words[at + ((where >>> 3) & 3)]! >>> ((where & 7) << 2)) & 15;
    let value = (words[at + 4 + ((where >>> 8) & 3)]! >>> (((where >>> 5) & 7) << 2)) & 15;
    if (value < least) least = value;
    value = (words[at + 8 + ((where >>> 13) & 3)]! >>> (((where >>> 10) & 7) << 2)) & 15;
    if (value < least) least = value;
    value = (words[at + 12 + ((where >>> 18) & 3)]! >>> (((where >>> 15) & 7) << 2)) & 15;
    if (value < least) least = value;
    return least;
  }

  #blockOf(mixed: number): number {
    const high = (mixed >>> 16) ^ mixed;
    const block = high & this.#mask;
    return this.#blocks.address(block < this.#split ? high & (this.#mask * 2 + 1) : block);
  }

  #ageNext(): void {
    this.#untilAge = AGE_INTERVAL;
    if (this.#ageCursor >= this.#blockCount) this.#ageCursor = 0;
    const block = this.#blocks.address(this.#ageCursor);
    this.#ageCursor += 1;
    const words = this.#words[block >>> CHUNK_SHIFT]!;
    const at = block & CHUNK_MASK;
    for (let word = at; word < at + BLOCK_WORDS; word += 1) words[word] = (words[word]! >>> 1) & 0x7777_7777;
  }
}
