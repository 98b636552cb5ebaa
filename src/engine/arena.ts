/**
 * The arena: the one pool of memory that everything in a store lives in: entries, hash table, sketch, timer heads.
 *
 * It is cut into *segments* of equal size, and every structure is made of whole segments, never of an array of its own.
 * Three things follow. The bound is exact: segments in use times their size, plus what is counted as fixed. When small
 * entries come in the table grows and the log of entries shrinks by the same bytes, with no copy of the table and no
 * second pool that could run over. And the process's resident memory follows use: chunks of 64 MiB are allocated when
 * first needed, and the operating system commits a page when it is first written.
 *
 * Addresses are in words of 4 bytes, as *signed* 32-bit integers, so that an address never becomes a heap number: 16 GiB
 * a member. A chunk's index stays below 2^24.
 *
 *     address  = segment << segmentWordsLog2 | word in segment
 *              = chunk << 24                 | word in chunk          (segments do not cross chunks)
 */
import { assert } from '../base/assert.ts';

/** 2^24 words of 4 bytes: a chunk is 64 MiB. */
export const CHUNK_SHIFT = 24;
export const CHUNK_MASK = (1 << CHUNK_SHIFT) - 1;

/**
 * A large ArrayBuffer comes from mmap with glibc's 16-byte header before it; starting 48 bytes in puts our buckets of 64
 * bytes on cache lines. Elsewhere it costs nothing but the 64 bytes.
 */
const ALIGN_OFFSET = 48;
const ALIGN_BYTES = 64;

/** Who holds a segment. Log queue q holds with `LOG + q`. */
export const FREE = 0;
export const FIXED = 1;
export const TABLE = 2;
export const OVERFLOW = 3;
export const SKETCH = 4;
export const JUMBO = 5;
export const LOG = 8;

/** JavaScript-side bytes kept for each segment: six Int32 and an owner byte, plus three directory words. */
export const HEADER_BYTES_PER_SEGMENT = 6 * 4 + 1 + 3 * 4;

/** Segments of a fixed number of words, given out and taken back in O(1). */
export class Arena {
  readonly segmentCount: number;
  readonly segmentWordsLog2: number;
  readonly segmentWords: number;
  readonly segmentBytes: number;

  /** The chunks, as words and as bytes of the same memory. Empty arrays stand for chunks not yet allocated. */
  readonly words: Int32Array[] = [];
  readonly bytes: Uint8Array[] = [];

  /** Neighbours in a list (of a queue, of a jumbo value, of free segments); -1 ends it. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
  /** Words written, from the segment's start. */
  readonly used: Int32Array;
  /** Words consumed, from the segment's start: records before it are gone. */
  readonly start: Int32Array;
  /** Words of live records. */
  readonly live: Int32Array;
  /** Jumbo segments that live records here own. */
  readonly jumbos: Int32Array;
  readonly owner: Uint8Array;

  /** Segments nobody holds. */
  freeCount: number;
  /** Segments held by anything but the log. */
  otherCount = 0;
  /** Segments held, by owner (the log's queues apart). */
  readonly countByOwner = new Int32Array(256);

  #freeList = -1;
  #fresh = 0;

  constructor(segmentCount: number, segmentWordsLog2: number) {
    this.segmentCount = segmentCount;
    this.segmentWordsLog2 = segmentWordsLog2;
    this.segmentWords = 1 << segmentWordsLog2;
    this.segmentBytes = this.segmentWords * 4;
    this.next = new Int32Array(segmentCount);
    this.previous = new Int32Array(segmentCount);
    this.used = new Int32Array(segmentCount);
    this.start = new Int32Array(segmentCount);
    this.live = new Int32Array(segmentCount);
    this.jumbos = new Int32Array(segmentCount);
    this.owner = new Uint8Array(segmentCount);
    this.freeCount = segmentCount;
    const chunkCount = Math.ceil((segmentCount * this.segmentWords) / (1 << CHUNK_SHIFT));
    for (let chunk = 0; chunk < chunkCount; chunk += 1) {
      this.words.push(new Int32Array(0));
      this.bytes.push(new Uint8Array(0));
    }
  }

  /** Takes a free segment for `owner`; -1 when there is none. Its words are whatever they were. */
  allocate(owner: number): number {
    let segment = this.#freeList;
    if (segment >= 0) {
      this.#freeList = this.next[segment]!;
    } else {
      if (this.#fresh === this.segmentCount) return -1;
      segment = this.#fresh;
      this.#fresh += 1;
      const chunk = segment >>> (CHUNK_SHIFT - this.segmentWordsLog2);
      if (this.words[chunk]!.length === 0) this.#allocateChunk(chunk);
    }
    assert(this.owner[segment] === FREE, 'a segment given out was free');
    this.owner[segment] = owner;
    this.next[segment] = -1;
    this.previous[segment] = -1;
    this.used[segment] = 0;
    this.start[segment] = 0;
    this.live[segment] = 0;
    this.jumbos[segment] = 0;
    this.freeCount -= 1;
    this.countByOwner[owner] = this.countByOwner[owner]! + 1;
    if (owner < LOG) this.otherCount += 1;
    return segment;
  }

  release(segment: number): void {
    const owner = this.owner[segment]!;
    assert(owner !== FREE, 'a segment given back was held');
    this.countByOwner[owner] = this.countByOwner[owner]! - 1;
    if (owner < LOG) this.otherCount -= 1;
    this.owner[segment] = FREE;
    this.next[segment] = this.#freeList;
    this.#freeList = segment;
    this.freeCount += 1;
  }

  /** Hands a log segment from one queue to another. */
  relabel(segment: number, owner: number): void {
    const before = this.owner[segment]!;
    this.countByOwner[before] = this.countByOwner[before]! - 1;
    this.countByOwner[owner] = this.countByOwner[owner]! + 1;
    this.owner[segment] = owner;
  }

  addressOf(segment: number): number {
    return segment << this.segmentWordsLog2;
  }

  /** Sets every word of a segment to 0. */
  zero(segment: number): void {
    const address = this.addressOf(segment);
    const at = address & CHUNK_MASK;
    this.words[address >>> CHUNK_SHIFT]!.fill(0, at, at + this.segmentWords);
  }

  /** Gives every segment back. Lists and counts start anew; memory once committed stays with the process. */
  reset(): void {
    this.owner.fill(FREE);
    this.countByOwner.fill(0);
    this.otherCount = 0;
    this.freeCount = this.segmentCount;
    this.#freeList = -1;
    for (let segment = this.#fresh - 1; segment >= 0; segment -= 1) {
      this.next[segment] = this.#freeList;
      this.#freeList = segment;
    }
  }

  /** Length of the free list plus the segments never used: equals `freeCount`, for `invariants()`. */
  countFree(): number {
    let count = this.segmentCount - this.#fresh;
    for (let segment = this.#freeList; segment >= 0; segment = this.next[segment]!) count += 1;
    return count;
  }

  #allocateChunk(chunk: number): void {
    const first = chunk << CHUNK_SHIFT;
    const words = Math.min(1 << CHUNK_SHIFT, this.segmentCount * this.segmentWords - (first >>> 0));
    const buffer = new ArrayBuffer(words * 4 + ALIGN_BYTES);
    this.words[chunk] = new Int32Array(buffer, ALIGN_OFFSET, words);
    this.bytes[chunk] = new Uint8Array(buffer, ALIGN_OFFSET, words * 4);
  }
}
