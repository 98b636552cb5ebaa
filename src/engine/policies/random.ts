/**
 * Random: what goes has nothing to do with use or age. The baseline that every policy must beat, and the right one where all entries are
 * equally likely to be asked for: it does no bookkeeping, and unlike FIFO and LRU it keeps a part of a loop that is larger than memory.
 *
 * Chosen is a random *segment*; its entries go one by one, from its oldest, until it is empty and free (as Segcache's random policy; Yang et al.,
 * NSDI '21). Choosing single entries, as Redis does, would leave holes all over the log, and an eviction would pay for moving their
 * neighbours. The price: entries written at about the same time go at about the same time.
 *
 * Chance is a generator of its own (xorshift32) from the store's seed: one run can be repeated.
 */
import { LOG } from '../arena.ts';
import type { Records } from '../records.ts';
import type { Policy } from './policy.ts';

/** Segments tried before the oldest is taken. */
const TRIES = 16;

export class RandomEviction implements Policy {
  readonly name = 'random';
  readonly queueCount = 1;
  readonly #records: Records;
  #state: number;
  #victim = -1;

  constructor(records: Records, seed: number) {
    this.#records = records;
    this.#state = seed | 1;
  }

  onHit(): void {}

  onStore(): void {}

  beginRelief(): void {}

  relieve(): boolean {
    const records = this.#records;
    const { log } = records;
    if (!this.#isVictim(this.#victim)) this.#victim = this.#choose();
    if (this.#victim < 0) {
      // Hardly more than the open segment is left: from its oldest end.
      const ref = log.oldestLive(0);
      if (ref === 0) return false;
      if (ref === records.pinned) records.move(ref, 0);
      else if (!records.reapIfGone(ref)) records.evict(ref);
      return true;
    }
    const ref = log.firstLive(this.#victim);
    if (ref === 0) {
      log.free(this.#victim);
      this.#victim = -1;
    } else if (ref === records.pinned) {
      records.move(ref, 0);
    } else if (!records.reapIfGone(ref)) {
      records.evict(ref);
    }
    return true;
  }

  settle(): void {}

  reset(): void {
    this.#victim = -1;
  }

  /** Sealed, in the log, and not being compacted. */
  #isVictim(segment: number): boolean {
    const { log, arena } = this.#records;
    return segment >= 0 && arena.owner[segment] === LOG && log.open[0] !== segment && log.compacting !== segment;
  }

  #choose(): number {
    const { arena } = this.#records;
    for (let tries = 0; tries < TRIES; tries += 1) {
      const segment = this.#next() % arena.segmentCount;
      if (this.#isVictim(segment)) return segment;
    }
    const oldest = this.#records.log.oldest[0]!;
    return this.#isVictim(oldest) ? oldest : -1;
  }

  #next(): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return x >>> 0;
  }
}
