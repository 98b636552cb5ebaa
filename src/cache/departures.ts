/**
 * When flights leave: all that gathered in one tick leave together at its end, in batches; more than fit leave in convoys, one after the other.
 *
 * Why convoys: each miss takes a lease, and a store remembers a bounded number of leases. A `getMany` of 20,000 cold ids that took
 * them all at once would, on a store that remembers 8,192, push out its own first leases before they are filled, and those fills would be
 * refused. So at most {@link AT_ONCE} of one tick are on their way, and the rest follows when these hold no lease any more:
 *
 *     20,000 ids --> [4,000: read, load, fill] --> [4,000: read, load, fill] --> ...
 *
 * A batch (batch.ts) that fits leaves as it is; one that does not becomes flights.
 *
 * Ticks that fit do not queue up behind a convoy: one caller's long list delays nobody else. A flight that has not left may still be joined.
 */
import { assert } from '../base/assert.ts';
import { type AnyBatch, type Part, parcels } from './batch.ts';

/** An eighth of the leases of the smallest store (the embedded one remembers 32,768), so that other caches and callers find room too. */
export const AT_ONCE = 4_096;

/** What leaves: it says once when it holds no lease and will not take one soon. */
export interface Departing {
  onFree: (() => void) | null;
}

export class Departures<F extends Departing, B extends AnyBatch> {
  readonly #batch: number;
  /** A whole number of batches. */
  readonly #convoy: number;
  readonly #send: (flights: readonly F[], parts: readonly Part<B>[]) => void;
  readonly #untangle: (batches: readonly B[], isCrowd: boolean) => F[];
  #gathered: F[] = [];
  #batches: B[] = [];
  /** Those that did not fit, and how many of the convoy before them still hold leases. */
  #queued: F[] = [];
  #underWay = 0;

  /**
   * @param maxBatch most ids of one `send`
   * @param send takes flights and parts of batches on their way; must not throw
   * @param untangle makes flights of what batches have in common with others, and of all ids of a crowd
   */
  constructor(
    maxBatch: number,
    send: (flights: readonly F[], parts: readonly Part<B>[]) => void,
    untangle: (batches: readonly B[], isCrowd: boolean) => F[],
  ) {
    this.#batch = Math.min(maxBatch, AT_ONCE);
    this.#convoy = AT_ONCE - (AT_ONCE % this.#batch);
    this.#send = send;
    this.#untangle = untangle;
  }

  gather(flight: F): void {
    this.#gathered.push(flight);
    this.#departLater();
  }

  gatherBatch(batch: B): void {
    this.#batches.push(batch);
    this.#departLater();
  }

  /** Behind each that gathers. */
  #departLater(): void {
    // The end of the tick: after every promise reaction that is due now, so that gets behind an await gather too.
    const isFirst = this.#gathered.length + this.#batches.length === 1;
    if (isFirst) Promise.resolve().then(() => process.nextTick(() => this.#depart()));
  }

  clear(): void {
    this.#gathered = [];
    this.#batches = [];
    this.#queued = [];
  }

  #depart(): void {
    let flights = this.#gathered;
    const batches = this.#batches;
    this.#gathered = [];
    this.#batches = [];
    if (batches.length > 0) {
      const ids = batches.reduce((sum, batch) => sum + batch.ids.length, flights.length);
      flights = this.#untangle(batches, ids > this.#convoy).concat(flights);
    }
    if (flights.length <= this.#convoy) this.#leave(flights, batches);
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
    this.#leave(convoy, []);
  }

  #leave(flights: readonly F[], batches: readonly B[]): void {
    for (const parcel of parcels(flights, batches, this.#batch)) this.#send(parcel.flights, parcel.parts);
  }
}
