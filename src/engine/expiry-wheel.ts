/**
 * The timer wheel: which entries expire next, without sorting and without a heap.
 *
 * Six wheels of 64 slots (Varghese and Lauck, SOSP '87, scheme 7): a slot of the first spans 16 ms, of each next one 64 times
 * more: 1 s, 65 s, 70 min, 3 days, 199 days; the last wheel reaches 34.9 years. What lies farther waits in its last slot
 * and is placed anew from there. An entry is placed where its distance from now fits and comes down one wheel whenever
 * the slot's span begins, so each entry is touched at most six times in its life and expiry is O(1).
 *
 * The lists are doubly linked through two words of the record (entry.ts), so that an overwrite or a delete takes its entry
 * out in O(1) and nothing stale is left behind. The 384 list heads are words of the arena too, laid out so that a
 * head looks like a record: linking and unlinking has no special case. Head i has the pseudo-address 2i.
 *
 *     address 2i:   … +5 first entry (or itself)   +6 last entry (or itself)
 *
 * The wheel only gives memory back; whether an entry is expired is decided exactly, to the millisecond, by its own expiry.
 */
import { type Arena, CHUNK_MASK, CHUNK_SHIFT } from './arena.ts';
import { expiryOf, WHEEL_NEXT, WHEEL_PREVIOUS } from './entry.ts';

const LEVELS = 6;
const SLOTS = 64;
const SLOT_BITS = 6;
const HEADS = LEVELS * SLOTS;
/** Milliseconds of a slot of the first wheel. */
const TICK_MS = 16;
/** Words of segment 0 that the heads take. */
export const WHEEL_WORDS = 2 * HEADS + WHEEL_PREVIOUS;
const SPAN: readonly number[] = [1, 2 ** 6, 2 ** 12, 2 ** 18, 2 ** 24, 2 ** 30];

export class ExpiryWheel {
  readonly #words: Int32Array[];
  /** The tick that everything before was handled for. */
  #tick = 0;
  /** No slot with entries begins before this tick: spares the search for the next one. */
  #notBefore = Infinity;
  count = 0;

  /** `arena`'s segment 0 is held for the heads. */
  constructor(arena: Arena) {
    this.#words = arena.words;
    this.reset();
  }

  reset(): void {
    for (let head = 0; head < 2 * HEADS; head += 2) {
      this.#set(head, WHEEL_NEXT, head);
      this.#set(head, WHEEL_PREVIOUS, head);
    }
    this.count = 0;
    this.#notBefore = Infinity;
  }

  /** Puts a record with an expiry into the wheel. */
  link(ref: number, expiresAtMs: number, nowMs: number): void {
    // An empty wheel has nothing to handle on the way: it may jump.
    if (this.count === 0) this.#tick = Math.max(this.#tick, Math.floor(nowMs / TICK_MS));
    this.#place(ref, Math.ceil(expiresAtMs / TICK_MS));
    this.count += 1;
  }

  /** Takes a record out. */
  unlink(ref: number): void {
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const next = words[at + WHEEL_NEXT]!;
    const previous = words[at + WHEEL_PREVIOUS]!;
    this.#words[next >>> CHUNK_SHIFT]![(next & CHUNK_MASK) + WHEEL_PREVIOUS] = previous;
    this.#words[previous >>> CHUNK_SHIFT]![(previous & CHUNK_MASK) + WHEEL_NEXT] = next;
    this.count -= 1;
  }

  /** The record was copied, links and all, to `to`: its neighbours learn the new address. */
  moved(to: number): void {
    const words = this.#words[to >>> CHUNK_SHIFT]!;
    const at = to & CHUNK_MASK;
    const next = words[at + WHEEL_NEXT]!;
    const previous = words[at + WHEEL_PREVIOUS]!;
    this.#words[next >>> CHUNK_SHIFT]![(next & CHUNK_MASK) + WHEEL_PREVIOUS] = to;
    this.#words[previous >>> CHUNK_SHIFT]![(previous & CHUNK_MASK) + WHEEL_NEXT] = to;
  }

  /**
   * Advances to `nowMs` and gives expired entries to `expire`, which must unlink them. Touches at most `budget` entries.
   * @returns entries touched; less than `budget` = everything up to `nowMs` is done.
   */
  advance(nowMs: number, budget: number, expire: (ref: number) => void): number {
    const target = Math.floor(nowMs / TICK_MS);
    let touched = 0;
    if (this.#notBefore > target) {
      if (target > this.#tick) this.#tick = target;
      return 0;
    }
    while (touched < budget) {
      // The first slot due, higher wheels before lower ones of the same moment.
      const event = this.nextEvent();
      if (event > target) {
        if (target > this.#tick) this.#tick = target;
        break;
      }
      this.#tick = event;
      for (let level = LEVELS - 1; level >= 0 && touched < budget; level -= 1) {
        const head = this.#headOf(level, event);
        for (
          let ref = this.#get(head, WHEEL_NEXT);
          ref !== head && touched < budget;
          ref = this.#get(head, WHEEL_NEXT)
        ) {
          touched += 1;
          const due = this.#dueTick(ref);
          if (due <= event) {
            expire(ref);
          } else {
            this.unlink(ref);
            this.#place(ref, due);
            this.count += 1;
          }
        }
      }
    }
    return touched;
  }

  /** Milliseconds from `nowMs` until the next slot with entries begins, at least 1; Infinity when the wheel is empty. */
  msUntilNext(nowMs: number): number {
    const event = this.nextEvent();
    return event === Infinity ? Infinity : Math.max(1, event * TICK_MS - nowMs);
  }

  /** The tick at which the first slot with entries begins, Infinity when there is none. O(slots). */
  nextEvent(): number {
    let first = Infinity;
    this.#notBefore = first;
    if (this.count === 0) return first;
    for (let level = 0; level < LEVELS; level += 1) {
      const span = SPAN[level]!;
      const base = Math.floor(this.#tick / span);
      const index = base % SLOTS;
      for (let ahead = 0; ahead < SLOTS; ahead += 1) {
        const head = (level * SLOTS + ((index + ahead) & (SLOTS - 1))) * 2;
        if (this.#get(head, WHEEL_NEXT) !== head) {
          // A slot whose span has begun is due now.
          first = Math.min(first, Math.max(this.#tick, (base + ahead) * span));
          break;
        }
      }
    }
    this.#notBefore = first;
    return first;
  }

  /** Walks every list and gives each entry to `check`. For `invariants()`. */
  walk(check: (ref: number) => void): void {
    for (let head = 0; head < 2 * HEADS; head += 2) {
      for (let ref = this.#get(head, WHEEL_NEXT); ref !== head; ref = this.#get(ref, WHEEL_NEXT)) check(ref);
    }
  }

  /** True when the neighbours of a linked record point back at it. */
  isLinked(ref: number): boolean {
    const next = this.#get(ref, WHEEL_NEXT);
    const previous = this.#get(ref, WHEEL_PREVIOUS);
    return this.#get(next, WHEEL_PREVIOUS) === ref && this.#get(previous, WHEEL_NEXT) === ref;
  }

  #dueTick(ref: number): number {
    return Math.ceil(expiryOf(this.#words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK) / TICK_MS);
  }

  /** Links a record where its distance from now fits: never into a slot of a higher wheel whose span has begun. */
  #place(ref: number, dueTick: number): void {
    const head = this.#slotFor(Math.max(dueTick, this.#tick));
    const words = this.#words[ref >>> CHUNK_SHIFT]!;
    const at = ref & CHUNK_MASK;
    const last = this.#get(head, WHEEL_PREVIOUS);
    words[at + WHEEL_NEXT] = head;
    words[at + WHEEL_PREVIOUS] = last;
    this.#set(last, WHEEL_NEXT, ref);
    this.#set(head, WHEEL_PREVIOUS, ref);
  }

  #slotFor(dueTick: number): number {
    for (let level = 0; level < LEVELS; level += 1) {
      const span = SPAN[level]!;
      // Spans are powers of two: the quotients are exact.
      const slot = Math.floor(dueTick / span);
      if (slot - Math.floor(this.#tick / span) < SLOTS) {
        if (slot * span < this.#notBefore) this.#notBefore = slot * span;
        return this.#headOf(level, dueTick);
      }
    }
    const last = this.#tick + SPAN[LEVELS - 1]! * (SLOTS - 1);
    if (this.#tick < this.#notBefore) this.#notBefore = this.#tick;
    return this.#headOf(LEVELS - 1, last);
  }

  /** The head of the slot of `level` that holds `tick`, by its bits: `tick` is below 2^44. */
  #headOf(level: number, tick: number): number {
    const low = tick | 0;
    const shift = level * SLOT_BITS;
    const slot =
      level < LEVELS - 1 ? (low >>> shift) & (SLOTS - 1) : ((low >>> 30) | ((tick / 0x1_0000_0000) << 2)) & (SLOTS - 1);
    return (level * SLOTS + slot) * 2;
  }

  #get(address: number, field: number): number {
    return this.#words[address >>> CHUNK_SHIFT]![(address & CHUNK_MASK) + field]!;
  }

  #set(address: number, field: number, value: number): void {
    this.#words[address >>> CHUNK_SHIFT]![(address & CHUNK_MASK) + field] = value;
  }
}
