/**
 * The rumors that a member passes on: newest word on each member, told a limited number of times.
 *
 * After about log(N) rounds of telling it to random others everybody has heard it with high probability (Das et al., section 4.1), so each is passed on
 * `factor * ceil(log10(N + 1))` times and then forgotten. The least told go first; a message takes what fits into its bytes. Bounded: one rumor a member.
 */
import type { NodeId } from '../member.ts';
import type { Rumor } from './messages.ts';

interface Told {
  readonly rumor: Rumor;
  times: number;
  readonly order: number;
}

/** What a rumor takes in a frame, generously: two ids, numbers, and for `alive` how to reach the member. */
const RUMOR_BYTES = 60;
const MEMBER_BYTES = 80;

export class Rumors {
  readonly #byId = new Map<NodeId, Told>();
  #order = 0;

  get size(): number {
    return this.#byId.size;
  }

  /** Replaces what was said of the same member. */
  add(rumor: Rumor): void {
    this.#order += 1;
    this.#byId.set(rumor.id, { rumor, times: 0, order: this.#order });
  }

  /**
   * What to put into the next message; counts as told once.
   *
   * @param first a member whose rumor goes in whatever else there is: the suspected is told of it when it is asked (Lifeguard's buddy system)
   */
  take(maxBytes: number, limit: number, first: NodeId | null = null): Rumor[] {
    if (this.#byId.size === 0) return [];
    const least = [...this.#byId.values()].sort(
      (a, b) => Number(b.rumor.id === first) - Number(a.rumor.id === first) || a.times - b.times || b.order - a.order,
    );
    const taken: Rumor[] = [];
    let room = maxBytes;
    for (const told of least) {
      const size = RUMOR_BYTES + (told.rumor.member === null ? 0 : MEMBER_BYTES);
      if (size > room) continue;
      room -= size;
      taken.push(told.rumor);
      told.times += 1;
      if (told.times >= limit) this.#byId.delete(told.rumor.id);
      if (room < RUMOR_BYTES) break;
    }
    return taken;
  }
}
