/**
 * Where the versions of queued writes come from: numbers such that of two writes of which one was acknowledged before the other began, the later has the larger,
 * whichever processes they came through. No clock has a part in it.
 *
 *     version = epoch * 2^32 + n        n is counted in the store, one call for a whole group of writes; the epoch is kept in the database
 *
 * A count in the store alone would be forgotten with the store's memory and begin again below what it gave; a count in the database alone would need the database for
 * every write, and write-behind is for the hours in which it is slow or away. So the store counts, and the database is asked only when the store has forgotten:
 *
 *   1. The store adds to its sum. The epoch in what it answers is 0: it has forgotten.
 *   2. The database raises its epoch, durably, to e. e * 2^32 is added to the store's sum. Whoever does this at the same time adds too: the sum's epoch is then
 *      even larger, e + e'. Larger is always good.
 *   3. Before a process gives a number of an epoch that it has not seen yet, the database has raised its own at least to that. So whoever comes to 2 later
 *      draws a larger one than any that was given.
 *
 * A number is drawn after its write began and before it is acknowledged, and the sum only grows: that is the order.
 */
import { BreakwaterError } from '../../base/errors.ts';

/** Numbers an epoch. When they are used up the epoch in the sum rises by itself, and step 3 tells the database. */
const PER_EPOCH = 2 ** 32;
const ATTEMPTS = 8;

export interface VersionPorts {
  /** Adds to the store's sum; 0 before, when the store may have forgotten. */
  draw(by: number): Promise<number>;
  /** The database's epoch, raised by `by` and to `atLeast`. */
  epoch(by: 0 | 1, atLeast: number): Promise<number>;
}

export class Versions {
  readonly #ports: VersionPorts;
  /** The database's is at least this. */
  #confirmed = 0;
  #last = 0;

  constructor(ports: VersionPorts) {
    this.#ports = ports;
  }

  /** The first of `count` consecutive versions. One call at a time. @throws what the ports throw; BreakwaterError `WRITE_BEHIND_NO_VERSION` */
  async take(count: number): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt += 1) {
      const last = await this.#ports.draw(count);
      const first = last - count + 1;
      const epoch = Math.floor(last / PER_EPOCH);
      if (first < PER_EPOCH || first <= this.#last) {
        const fresh = await this.#ports.epoch(1, Math.max(1, this.#confirmed + 1));
        await this.#ports.draw(fresh * PER_EPOCH);
        continue;
      }
      if (epoch > this.#confirmed) {
        const kept = await this.#ports.epoch(0, epoch);
        if (kept > epoch) {
          // The database has given larger ones than the store knows of.
          await this.#ports.draw((kept - epoch) * PER_EPOCH);
          continue;
        }
        this.#confirmed = epoch;
      }
      this.#last = last;
      return first;
    }
    throw new BreakwaterError(
      'WRITE_BEHIND_NO_VERSION',
      'cannot queue the write: the store forgets its count as fast as it is begun anew',
    );
  }
}
