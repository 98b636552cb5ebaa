/**
 * Ranges: equal runs of contiguous slots, the unit in which slots are owned, placed, copied and numbered.
 *
 *   slots   | 0 .. 15 | 16 .. 31 | 32 .. 47 | ...              | 16,368 .. 16,383 |
 *   ranges  |    0    |     1    |     2    | ...              |      1,023       |     1,024 ranges of 16 slots
 *
 * Why not single slots, as Redis Cluster: its clients read the map as runs, and slots scattered by rendezvous make nearly as many runs as
 * slots: 15,830 rows and 2.7 MB of CLUSTER SLOTS, asked for by every client at every change. And a record, a feed and an in-sync set a slot
 * would be 16,384 of each for a cluster of three. Why not a few large ones: a member's share is a whole number of ranges, so the fewer
 * there are the less even the load (placement.ts says how even).
 *
 * The count is a power of two, fixed when the cluster is formed: every member computes the same range from a slot, by a shift.
 */
import { BreakwaterError } from '../base/errors.ts';
import { SLOT_COUNT } from '../hash/slot.ts';

/** Of 16 slots each: enough for some dozens of members, few enough for a small CLUSTER SLOTS. */
export const DEFAULT_RANGE_COUNT = 1024;

const SLOT_BITS = 14;

export class Ranges {
  readonly count: number;
  readonly slotsPerRange: number;
  readonly #shift: number;

  /** @throws BreakwaterError `RANGES_INVALID`: not a power of two from 1 to 16,384 */
  constructor(count: number = DEFAULT_RANGE_COUNT) {
    if (!isRangeCount(count)) {
      throw new BreakwaterError(
        'RANGES_INVALID',
        `cannot cut the slots into ranges: their number must be a power of two from 1 to 16384, received ${String(count)}`,
      );
    }
    this.count = count;
    this.slotsPerRange = SLOT_COUNT / count;
    this.#shift = SLOT_BITS - (31 - Math.clz32(count));
  }

  /** The range of a slot in [0, 16,384). */
  of(slot: number): number {
    return slot >>> this.#shift;
  }

  first(range: number): number {
    return range << this.#shift;
  }

  /** The last slot, inclusive. */
  last(range: number): number {
    return ((range + 1) << this.#shift) - 1;
  }
}

export function isRangeCount(count: number): boolean {
  return Number.isInteger(count) && count >= 1 && count <= SLOT_COUNT && (count & (count - 1)) === 0;
}
