/**
 * When flights leave: all that gathered in one tick leave together at its end, in batches; more than fit leave in convoys, one after the other.
 *
 * Why convoys: each miss takes a lease, and a store remembers a bounded number of leases. A `getMany` of 20,000 cold ids that took
 * them all at once would, on a store that remembers 8,192, push out its own first leases before they are filled, and those fills would be
 * refused. So at most {@link AT_ONCE} of one tick are on their way, and the rest follows when these hold no lease any more:
 *
 *     20,000 ids --> [4,000: read, load, fill] --> [4,000: read, load, fill] --> ...
 *
 * Ticks that fit do not queue up behind a convoy: one caller's long list delays nobody else. A flight that has not left may still be joined.
 */
import { assert } from '../base/assert.ts';

/** An eighth of the leases of the smallest store (the embedded one remembers 32,768), so that other caches and callers find room too. */
export const AT_ONCE = 4_096;

/** What leaves: it says once when it holds no lease and will not take one soon. */
export interface Departing {
  onFree: (() => void) | null;
}

export class Departures<F extends Departing> {
  readonly #batch: number;
  /** A whole number of batches. */
  readonly #convoy: number;
  readonly #send: (flights: readonly F[]) => void;
  #gathered: F[] = [];
  /** Those that did not fit, and how many of the convoy before them still hold leases. */
  #queued: F[] = [];
  #underWay = 0;

  /** @param maxBatch most of one `send` @param send takes flights on their way; must not throw */
  constructor(maxBatch: number, send: (flights: readonly F[]) => void) {
    this.#batch = Math.min(maxBatch, AT_ONCE);
    this.#convoy = AT_ONCE - (AT_ONCE % this.#batch);
    this.#send = send;
  }

  gather(flight: F): void {
    this.#gathered.push(flight);
    // The end of the tick: after every promise reaction that is due now, so that gets behind an await gather too.
    if (this.#gathered.length === 1) Promise.resolve().then(() => process.nextTick(() => this.#depart()));
  }

  clear(): void {
    this.#gathered = [];
    this.#queued = [];
  }

  #depart(): void {
    const flights = this.#gathered;
    this.#gathered = [];
    if (flights.length <= this.#convoy) this.#leave(flights);
    else {
      this.#queued = this.#queued.concat(flights);
      this.#next();
    }
  }

  #next(): void {
    if (this.#underWay > 0 || this.#queued.length === 0) return;
    const convoy = this.#queued.slice(0, this.#convoy);
    this.#queued = this.#queued.slice(this.#convoy);
    this.#underWay = convoy.length;
    for (const flight of convoy) {
      flight.onFree = () => {
        this.#underWay -= 1;
        assert(this.#underWay >= 0, 'a flight of a convoy is free once');
        // In a tick of its own: this may be called from within `send`.
        if (this.#underWay === 0) process.nextTick(() => this.#next());
      };
    }
    this.#leave(convoy);
  }

  #leave(flights: readonly F[]): void {
    for (let start = 0; start < flights.length; start += this.#batch) {
      this.#send(flights.slice(start, start + this.#batch));
    }
  }
}
