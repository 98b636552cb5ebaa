/**
 * The table: hash -> address of the record, in buckets of one cache line.
 *
 *     bucket, 16 words:   h0 h1 h2 h3 h4 h5 h6 link  r0 r1 r2 r3 r4 r5 r6 -
 *     overflow, 8 words:  h0 h1 h2 link  r0 r1 r2 -
 *
 * Seven entries a bucket with their full 32-bit hashes, so that a look-up reads the bucket's line and the record, and no
 * other record. Slots fill without holes: the first empty one (ref 0) ends the chain. A bucket that overflows is
 * continued in half-lines from a free list. About 12 bytes an entry, all counted.
 *
 * Growth has no pause: *linear hashing* (Litwin, 1980) splits one bucket at a time, in order. Plain linear hashing lets the
 * buckets not yet split carry twice the load of the others; *partial expansions* (Larson, 1980) bound that by 1.5. Buckets
 * g, g+G form a group; in phase 0 each group in turn gets a third bucket g+2G, in phase 1 a fourth g+3G; then G
 * doubles and groups of four become groups of two.
 *
 *     with b0, b1 = the two hash bits above the group's number, and t = true for two thirds of all hashes:
 *     2 buckets: b0        3 buckets: (b1 and t) ? 2 : b0        4 buckets: b1 * 2 + b0
 *
 * Every move goes to a bucket with a higher number (from 0 to the third as well, when the fourth is made): a scan that
 * walks up the buckets misses nothing that was present throughout. The table never shrinks; `reset` starts it anew.
 */
import { assert } from '../base/assert.ts';
import { hashBytesSigned } from '../hash/table-hash.ts';
import { type Arena, CHUNK_MASK, CHUNK_SHIFT, OVERFLOW, TABLE } from './arena.ts';
import { headWords } from './entry.ts';
import { Lines } from './lines.ts';

const BUCKET_SLOTS = 7;
const BUCKET_LINK = 7;
const BUCKET_REFS = 8;
const OVERFLOW_SLOTS = 3;
const OVERFLOW_LINK = 3;
const OVERFLOW_REFS = 4;
const OVERFLOW_WORDS = 8;

/** Entries per bucket at which the next bucket is split: 5.75 of 7 slots, 11.1 bytes an entry before overflow. */
const LOAD_TARGET = 5.75;
/** The table leaves this many free segments to the log, which cannot do without. */
const KEEP_FREE = 2;
/** `t` in the header: two thirds of the range of the top 8 bits. */
const TWO_THIRDS = 171;

export class Table {
  /** Where the last successful look-up found its ref: word address of the slot. */
  slot = 0;
  count = 0;

  readonly #arena: Arena;
  readonly #words: Int32Array[];
  readonly #bytes: Uint8Array[];
  readonly #seed: number;
  readonly #buckets: Lines;
  #bucketCount = 0;
  #groups = 0;
  #groupsLog2 = 0;
  #phase = 0;
  #next = 0;
  #freeOverflow = 0;
  #overflowEnd = 0;
  #overflowFresh = 0;
  overflowNodes = 0;

  constructor(arena: Arena, seed: number) {
    this.#arena = arena;
    this.#words = arena.words;
    this.#bytes = arena.bytes;
    this.#seed = seed;
    this.#buckets = new Lines(arena, TABLE);
    this.reset();
  }

  /** Forgets every entry. The arena was reset, or is new. */
  reset(): void {
    this.#buckets.reset();
    assert(this.#buckets.grow(0), 'the arena is large enough for the smallest table');
    this.#bucketCount = Math.min(this.#buckets.capacity, 64);
    this.#groups = this.#bucketCount / 2;
    this.#groupsLog2 = 31 - Math.clz32(this.#groups);
    this.#phase = 0;
    this.#next = 0;
    this.#freeOverflow = 0;
    this.#overflowEnd = 0;
    this.#overflowFresh = 0;
    this.overflowNodes = 0;
    this.count = 0;
  }

  get bucketCount(): number {
    return this.#bucketCount;
  }

  hash(key: Uint8Array, start: number, length: number): number {
    return hashBytesSigned(key, start, start + length, this.#seed);
  }

  /** The hash of a record's key. */
  hashOf(ref: number): number {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const start = (at + headWords(words, at)) << 2;
    return hashBytesSigned(this.#bytes[ref >>> CHUNK_SHIFT]!, start, start + (words[at]! & 0xffff), this.#seed);
  }

  /** The bucket that a hash belongs to now. */
  bucketOf(hash: number): number {
    const log2 = this.#groupsLog2;
    const group = hash & (this.#groups - 1);
    // 1 when this group has had its turn in the present phase. All of it without branches: they would be coin tosses.
    const done = (group - this.#next) >>> 31;
    const size = 2 + this.#phase + done;
    const isFour = size >>> 2;
    const isThree = size & 1 & (size >>> 1);
    const twoThirds = ((hash >>> 24) - TWO_THIRDS) >>> 31;
    const b0 = (hash >>> log2) & 1;
    const high = (hash >>> (log2 + 1)) & (isFour | (isThree & twoThirds)) & 1;
    return group + (((high << 1) | (b0 & ((high ^ 1) | isFour))) << log2);
  }

  /** The ref of a key, or 0; sets `slot`. */
  find(hash: number, key: Uint8Array, start: number, length: number): number {
    const bucket = this.#buckets.address(this.bucketOf(hash));
    const words = this.#words[bucket >>> CHUNK_SHIFT]!;
    const at = bucket & CHUNK_MASK;
    for (let slot = 0; slot < BUCKET_SLOTS; slot += 1) {
      if (words[at + slot] === hash) {
        const ref = words[at + BUCKET_REFS + slot]!;
        if (ref !== 0 && this.#isKey(ref, key, start, length)) {
          this.slot = bucket + BUCKET_REFS + slot;
          return ref;
        }
      }
    }
    const link = words[at + BUCKET_LINK]!;
    return link === 0 ? 0 : this.#findInOverflow(link, hash, key, start, length);
  }

  #findInOverflow(first: number, hash: number, key: Uint8Array, start: number, length: number): number {
    let node = first;
    while (node !== 0) {
      const words = this.#words[node >>> CHUNK_SHIFT]!;
      const at = node & CHUNK_MASK;
      for (let slot = 0; slot < OVERFLOW_SLOTS; slot += 1) {
        if (words[at + slot] === hash) {
          const ref = words[at + OVERFLOW_REFS + slot]!;
          if (ref !== 0 && this.#isKey(ref, key, start, length)) {
            this.slot = node + OVERFLOW_REFS + slot;
            return ref;
          }
        }
      }
      node = words[at + OVERFLOW_LINK]!;
    }
    return 0;
  }

  /** Points the slot of `from` to `to`: the record was moved. */
  repoint(hash: number, from: number, to: number): void {
    const slot = this.#slotOf(this.#buckets.address(this.bucketOf(hash)), from);
    assert(slot !== 0, 'a moved record is in the table');
    this.#words[slot >>> CHUNK_SHIFT]![slot & CHUNK_MASK] = to;
  }

  /** Points the slot found last to `ref`. */
  replaceFound(ref: number): void {
    this.#words[this.slot >>> CHUNK_SHIFT]![this.slot & CHUNK_MASK] = ref;
  }

  /** Adds an entry that is not there, then splits a bucket if the load asks for it. */
  insert(hash: number, ref: number): void {
    this.#add(this.bucketOf(hash), hash, ref);
    this.count += 1;
    if (this.count > this.#bucketCount * LOAD_TARGET) {
      this.#split();
      if (this.count > this.#bucketCount * LOAD_TARGET) this.#split();
    }
  }

  /** Removes an entry that is there. The last entry of its chain takes its slot. */
  remove(hash: number, ref: number): void {
    const bucket = this.#buckets.address(this.bucketOf(hash));
    const slot = this.#slotOf(bucket, ref);
    assert(slot !== 0, 'a removed record is in the table');
    this.#removeSlot(bucket, slot);
    this.count -= 1;
  }

  /** Calls `visit` for every ref of a bucket. `visit` must not change the table. */
  visitBucket(index: number, visit: (ref: number) => void): void {
    const bucket = this.#buckets.address(index);
    for (let position = 0; ; position += 1) {
      const slot = this.#slotAt(bucket, position);
      if (slot === 0) return;
      visit(this.#words[slot >>> CHUNK_SHIFT]![slot & CHUNK_MASK]!);
    }
  }

  /** The ref at `position` of a bucket's chain, 0 past its end. */
  refAt(index: number, position: number): number {
    const slot = this.#slotAt(this.#buckets.address(index), position);
    return slot === 0 ? 0 : this.#words[slot >>> CHUNK_SHIFT]![slot & CHUNK_MASK]!;
  }

  /** Counts entries and overflow nodes by walking everything, and checks each entry with `check`. For `invariants()`. */
  walk(check: (ref: number, hash: number) => void): void {
    let entries = 0;
    let nodes = 0;
    for (let index = 0; index < this.#bucketCount; index += 1) {
      const bucket = this.#buckets.address(index);
      for (let position = 0; ; position += 1) {
        const slot = this.#slotAt(bucket, position);
        if (slot === 0) break;
        const inBucket = position < BUCKET_SLOTS;
        if (!inBucket && (position - BUCKET_SLOTS) % OVERFLOW_SLOTS === 0) nodes += 1;
        const words = this.#words[slot >>> CHUNK_SHIFT]!;
        const at = slot & CHUNK_MASK;
        const hash = words[at - (inBucket ? BUCKET_REFS : OVERFLOW_REFS)]!;
        assert(this.bucketOf(hash) === index, 'an entry stands in the bucket of its hash');
        check(words[at]!, hash);
        entries += 1;
      }
    }
    assert(entries === this.count, 'the count of the table is what it holds');
    assert(nodes === this.overflowNodes, 'every overflow node in use is reachable and not empty');
  }

  #isKey(ref: number, key: Uint8Array, start: number, length: number): boolean {
    const chunk = ref >>> CHUNK_SHIFT;
    const words = this.#words[chunk]!;
    const at = ref & CHUNK_MASK;
    if ((words[at]! & 0xffff) !== length) return false;
    const bytes = this.#bytes[chunk]!;
    const from = ((at + headWords(words, at)) << 2) - start;
    for (let i = start, end = start + length; i < end; i += 1) {
      if (bytes[from + i] !== key[i]) return false;
    }
    return true;
  }

  /** Address of the slot that holds `ref` in the chain of `bucket`, or 0. */
  #slotOf(bucket: number, ref: number): number {
    let words = this.#words[bucket >>> CHUNK_SHIFT]!;
    let at = bucket & CHUNK_MASK;
    for (let slot = 0; slot < BUCKET_SLOTS; slot += 1) {
      if (words[at + BUCKET_REFS + slot] === ref) return bucket + BUCKET_REFS + slot;
    }
    let node = words[at + BUCKET_LINK]!;
    while (node !== 0) {
      words = this.#words[node >>> CHUNK_SHIFT]!;
      at = node & CHUNK_MASK;
      for (let slot = 0; slot < OVERFLOW_SLOTS; slot += 1) {
        if (words[at + OVERFLOW_REFS + slot] === ref) return node + OVERFLOW_REFS + slot;
      }
      node = words[at + OVERFLOW_LINK]!;
    }
    return 0;
  }

  /** Address of the slot at `position` of a chain when it is filled, else 0. */
  #slotAt(bucket: number, position: number): number {
    let slot = 0;
    if (position < BUCKET_SLOTS) {
      slot = bucket + BUCKET_REFS + position;
    } else {
      let rest = position - BUCKET_SLOTS;
      let node = this.#words[bucket >>> CHUNK_SHIFT]![(bucket & CHUNK_MASK) + BUCKET_LINK]!;
      while (node !== 0 && rest >= OVERFLOW_SLOTS) {
        node = this.#words[node >>> CHUNK_SHIFT]![(node & CHUNK_MASK) + OVERFLOW_LINK]!;
        rest -= OVERFLOW_SLOTS;
      }
      if (node === 0) return 0;
      slot = node + OVERFLOW_REFS + rest;
    }
    return this.#words[slot >>> CHUNK_SHIFT]![slot & CHUNK_MASK] === 0 ? 0 : slot;
  }

  /** Puts an entry into the first empty slot of a bucket's chain. */
  #add(index: number, hash: number, ref: number): void {
    const bucket = this.#buckets.address(index);
    let words = this.#words[bucket >>> CHUNK_SHIFT]!;
    let at = bucket & CHUNK_MASK;
    for (let slot = 0; slot < BUCKET_SLOTS; slot += 1) {
      if (words[at + BUCKET_REFS + slot] === 0) {
        words[at + slot] = hash;
        words[at + BUCKET_REFS + slot] = ref;
        return;
      }
    }
    let link = at + BUCKET_LINK;
    let node = words[link]!;
    while (node !== 0) {
      words = this.#words[node >>> CHUNK_SHIFT]!;
      at = node & CHUNK_MASK;
      for (let slot = 0; slot < OVERFLOW_SLOTS; slot += 1) {
        if (words[at + OVERFLOW_REFS + slot] === 0) {
          words[at + slot] = hash;
          words[at + OVERFLOW_REFS + slot] = ref;
          return;
        }
      }
      link = at + OVERFLOW_LINK;
      node = words[link]!;
    }
    node = this.#allocateOverflow();
    words[link] = node;
    words = this.#words[node >>> CHUNK_SHIFT]!;
    at = node & CHUNK_MASK;
    words[at] = hash;
    words[at + OVERFLOW_REFS] = ref;
  }

  #removeSlot(bucket: number, slot: number): void {
    const bucketWords = this.#words[bucket >>> CHUNK_SHIFT]!;
    // The chain's last node and the word that links to it.
    let node = bucketWords[(bucket & CHUNK_MASK) + BUCKET_LINK]!;
    let linkWords = bucketWords;
    let link = (bucket & CHUNK_MASK) + BUCKET_LINK;
    let refs = bucket + BUCKET_REFS;
    let slots = BUCKET_SLOTS;
    let toHash = BUCKET_REFS;
    while (node !== 0) {
      const words = this.#words[node >>> CHUNK_SHIFT]!;
      refs = node + OVERFLOW_REFS;
      slots = OVERFLOW_SLOTS;
      toHash = OVERFLOW_REFS;
      const following = words[(node & CHUNK_MASK) + OVERFLOW_LINK]!;
      if (following === 0) break;
      linkWords = words;
      link = (node & CHUNK_MASK) + OVERFLOW_LINK;
      node = following;
    }
    const lastWords = this.#words[refs >>> CHUNK_SHIFT]!;
    const lastRefs = refs & CHUNK_MASK;
    let last = slots - 1;
    while (lastWords[lastRefs + last] === 0) last -= 1;
    const slotWords = this.#words[slot >>> CHUNK_SHIFT]!;
    const at = slot & CHUNK_MASK;
    const inBucket = slot - bucket >= BUCKET_REFS && slot - bucket < BUCKET_REFS + BUCKET_SLOTS;
    slotWords[at] = lastWords[lastRefs + last]!;
    slotWords[at - (inBucket ? BUCKET_REFS : OVERFLOW_REFS)] = lastWords[lastRefs + last - toHash]!;
    lastWords[lastRefs + last] = 0;
    lastWords[lastRefs + last - toHash] = 0;
    if (last === 0 && node !== 0) {
      linkWords[link] = 0;
      lastWords[(node & CHUNK_MASK) + OVERFLOW_LINK] = this.#freeOverflow;
      this.#freeOverflow = node;
      this.overflowNodes -= 1;
    }
  }

  #allocateOverflow(): number {
    this.overflowNodes += 1;
    let node = this.#freeOverflow;
    if (node !== 0) {
      const words = this.#words[node >>> CHUNK_SHIFT]!;
      this.#freeOverflow = words[(node & CHUNK_MASK) + OVERFLOW_LINK]!;
    } else {
      if (this.#overflowFresh === this.#overflowEnd) {
        const segment = this.#arena.allocate(OVERFLOW);
        assert(segment >= 0, 'the reserve holds a segment for overflow');
        this.#overflowFresh = this.#arena.addressOf(segment);
        this.#overflowEnd = (this.#overflowFresh + this.#arena.segmentWords) | 0;
      }
      node = this.#overflowFresh;
      this.#overflowFresh = (node + OVERFLOW_WORDS) | 0;
    }
    const at = node & CHUNK_MASK;
    this.#words[node >>> CHUNK_SHIFT]!.fill(0, at, at + OVERFLOW_WORDS);
    return node;
  }

  /** Adds one bucket and moves what now belongs elsewhere in its group. Does nothing when memory is too tight for it. */
  #split(): void {
    if (this.#bucketCount === this.#buckets.capacity && !this.#buckets.grow(KEEP_FREE)) return;
    if (this.#arena.freeCount === 0) return;
    const group = this.#next;
    const sources = 2 + this.#phase;
    this.#bucketCount += 1;
    this.#next += 1;
    for (let source = 0; source < sources; source += 1) {
      const index = group + (source << this.#groupsLog2);
      const bucket = this.#buckets.address(index);
      let position = 0;
      for (;;) {
        const slot = this.#slotAt(bucket, position);
        if (slot === 0) break;
        const words = this.#words[slot >>> CHUNK_SHIFT]!;
        const at = slot & CHUNK_MASK;
        const hash = words[at - (position < BUCKET_SLOTS ? BUCKET_REFS : OVERFLOW_REFS)]!;
        const target = this.bucketOf(hash);
        if (target === index) {
          position += 1;
        } else {
          const ref = words[at]!;
          this.#removeSlot(bucket, slot);
          this.#add(target, hash, ref);
        }
      }
    }
    if (this.#next === this.#groups) {
      this.#next = 0;
      this.#phase += 1;
      if (this.#phase === 2) {
        this.#phase = 0;
        this.#groups *= 2;
        this.#groupsLog2 += 1;
      }
    }
  }
}
