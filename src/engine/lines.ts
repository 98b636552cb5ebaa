/**
 * An array of equal lines that grows by segments of the arena: the table's buckets and the sketch's blocks.
 * A line's address costs one look-up in a small directory that stays in the first-level cache.
 */
import { assert } from '../base/assert.ts';
import type { Arena } from './arena.ts';

/** 64 bytes: a cache line. */
export const LINE_WORDS_LOG2 = 4;

export class Lines {
  readonly #arena: Arena;
  readonly #owner: number;
  readonly #perSegmentLog2: number;
  readonly #perSegmentMask: number;
  readonly #directory: Int32Array;
  #segments = 0;

  constructor(arena: Arena, owner: number) {
    this.#arena = arena;
    this.#owner = owner;
    this.#perSegmentLog2 = arena.segmentWordsLog2 - LINE_WORDS_LOG2;
    this.#perSegmentMask = (1 << this.#perSegmentLog2) - 1;
    this.#directory = new Int32Array(arena.segmentCount);
  }

  /** Lines that have memory behind them. */
  get capacity(): number {
    return this.#segments << this.#perSegmentLog2;
  }

  /** Word address of a line below `capacity`. */
  address(line: number): number {
    return this.#directory[line >>> this.#perSegmentLog2]! + ((line & this.#perSegmentMask) << LINE_WORDS_LOG2);
  }

  /** Adds one segment of zeroed lines; false when the arena has none to give beyond `keepFree`. O(segment). */
  grow(keepFree: number): boolean {
    if (this.#arena.freeCount <= keepFree) return false;
    const segment = this.#arena.allocate(this.#owner);
    assert(segment >= 0, 'a free segment was counted');
    this.#arena.zero(segment);
    this.#directory[this.#segments] = this.#arena.addressOf(segment);
    this.#segments += 1;
    return true;
  }

  /** Forgets all lines; the arena takes its segments back itself. */
  reset(): void {
    this.#segments = 0;
  }
}
