/**
 * For how long an id is known not to have been invalidated: what a loader must know before it reads a replica of the database, which may lag.
 *
 *   1. `write('42')` commits at the primary; the key is invalidated, acknowledged.
 *   2. `get('42')` misses, with a good lease, and its loader asks a replica that has not replayed the commit: the old row.
 *   3. The fill is accepted, since nothing was invalidated after the lease. The old row stays until its TTL.
 *
 * Leases cannot see this: the load came late enough, the *replica* did not. So a load says how long ago the last invalidation that it must show can have been, and
 * a source with replicas reads one only if that has caught up so far (sources/postgres/replica.ts). Where nothing is known that is 0: the state of this very moment.
 *
 * Known it is only where the store is in this process: every invalidation passes `voids.ts` then, those of a change stream too. Behind a networked store a miss may be the work
 * of an invalidation of another process that is still to be heard of, however good the feed; there it is always 0.
 *
 * Kept as marks: at this moment the voids had come so far. An id that was not voided since the mark has been quiet since then. Marks are set when somebody asks, not
 * at each invalidation, so that nobody pays who has no replica; what is not marked is taken for shorter than it was. Tags are not known before the load, so that of any tag,
 * and of any namespace, counts for all.
 */
import type { Voids } from './voids.ts';

/** Marks kept; of more, every other one of the older half goes. */
const MOST_MARKS = 64;
const NO_TAGS: readonly number[] = Object.freeze([]);

interface Mark {
  readonly stamp: number;
  readonly atMs: number;
}

export class Quiet {
  readonly #voids: Voids;
  readonly #namespace: number;
  /** Of growing stamps and times. */
  #marks: Mark[];

  /** @param nowMs what was before is not known */
  constructor(voids: Voids, namespace: number, nowMs: number) {
    this.#voids = voids;
    this.#namespace = namespace;
    this.#marks = [{ stamp: voids.stamp, atMs: nowMs }];
  }

  /** Milliseconds; 0 = it may have been invalidated just now. O(log marks). */
  since(key: string, nowMs: number): number {
    this.#mark(nowMs);
    const marks = this.#marks;
    let low = 0;
    let high = marks.length;
    // The first mark that nothing crossed: all later ones are not crossed either.
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#isCrossed(marks[middle]!.stamp, key)) low = middle + 1;
      else high = middle;
    }
    return low === marks.length ? 0 : Math.max(0, nowMs - marks[low]!.atMs);
  }

  #isCrossed(stamp: number, key: string): boolean {
    return stamp < this.#voids.newest || this.#voids.crossed(stamp, key, this.#namespace, NO_TAGS);
  }

  #mark(nowMs: number): void {
    const { stamp } = this.#voids;
    if (this.#marks.at(-1)!.stamp === stamp) return;
    this.#marks.push({ stamp, atMs: nowMs });
    if (this.#marks.length > MOST_MARKS) {
      this.#marks = this.#marks.filter((_, index) => index % 2 === 0 || index > MOST_MARKS / 2);
    }
  }
}
