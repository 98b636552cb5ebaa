/**
 * Flights that a caller who comes now may join without more ado, because their read is still to be sent: gathered, or waiting between polls. By id, and for callers with
 * wishes by wishes and id.
 */
import { type Flight, type FlightWishes, PLAIN } from './flight.ts';

export class OpenFlights<K extends string, T> {
  readonly #plain = new Map<K, Flight<K, T>>();
  readonly #wished = new Map<string, Flight<K, T>>();

  /** Those without wishes. */
  get plainSize(): number {
    return this.#plain.size;
  }

  get(id: K, wishes: FlightWishes): Flight<K, T> | undefined {
    return wishes === PLAIN ? this.#plain.get(id) : this.#wished.get(wishKey(id, wishes));
  }

  set(flight: Flight<K, T>): void {
    if (flight.wishes === PLAIN) this.#plain.set(flight.id, flight);
    else this.#wished.set(wishKey(flight.id, flight.wishes), flight);
  }

  /** Nobody joins it from here on. */
  leave(flight: Flight<K, T>): void {
    const { id, wishes } = flight;
    if (wishes === PLAIN) {
      if (this.#plain.get(id) === flight) this.#plain.delete(id);
      return;
    }
    const key = wishKey(id, wishes);
    if (this.#wished.get(key) === flight) this.#wished.delete(key);
  }

  clear(): void {
    this.#plain.clear();
    this.#wished.clear();
  }
}

/** Not one with a stale value in the hand, which was read before those came who would join now. */
export function isJoinable(flight: { readonly fallback: { readonly servable: boolean } | null }): boolean {
  return flight.fallback?.servable !== true;
}

function wishKey(id: string, { fresh, afterCall, maxStaleMs }: FlightWishes): string {
  return `${fresh === true ? 'f' : ''}${afterCall === true ? 'a' : ''}${maxStaleMs ?? ''}:${id}`;
}
