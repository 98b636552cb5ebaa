/**
 * Where in the engine's table the entries of some ranges are: made when copies are to be filled, by one walk for all of them, a piece at a time, and forgotten when they are.
 *
 * Why not a list a range, always: 8 bytes an entry, for what happens seldom. Why not a walk a range: a member with a million entries and 200 ranges would look at 200 million (a quarter of a microsecond each, since every look misses the
 * processor's caches). What is kept is the number of each bucket that has entries of the range, 4 bytes at most an entry, of 64 ranges at most;
 * who comes when there are so many waits.
 *
 * That it is right while the table changes:
 *   - An entry stored later is the stream's to tell of: an index serves synchronisations that began before its walk, and no later ones (`since`).
 *   - Entries move only to buckets that are new (`engine/table.ts`): behind `end` everything is looked at.
 *   - Entries that have gone leave a bucket that is looked at for nothing.
 */
import type { MemberStore } from './member-store.ts';

/** A piece of a walk: some tenths of a millisecond. */
const WALK_BUCKETS = 128;
export const MOST_RANGES = 64;
/** Who has not asked for so long does not want it any more. */
const IDLE_MS = 10_000;

export interface Places {
  /** Ascending. */
  readonly buckets: Uint32Array;
  /** Buckets of the table when it was walked through: what is behind is looked at one by one. */
  readonly end: number;
}

interface Wanted {
  /** Of the latest synchronisation that wants it. */
  since: number;
  places: Places | null;
  /** While it is walked for. */
  list: number[] | null;
  askedMs: number;
}

export class RangeIndex {
  readonly #store: MemberStore;
  readonly #rangeOfRef: (ref: number) => number;
  readonly #wanted = new Map<number, Wanted>();
  /** The next bucket of the walk; -1: there is none. */
  #at = -1;
  /** By mark: may a range that is walked for have it? */
  readonly #marks = new Uint8Array(256);
  #bucket = 0;

  constructor(store: MemberStore, rangeOfRef: (ref: number) => number) {
    this.#store = store;
    this.#rangeOfRef = rangeOfRef;
  }

  /** Ranges of which places are known, or wanted. */
  get size(): number {
    return this.#wanted.size;
  }

  /**
   * The range is to be in the next walk, unless it was in one for this.
   * @param since grows with each synchronisation of the range: what was there when this one began is in
   */
  want(range: number, since: number, nowMs: number): Places | null {
    const wanted = this.#wanted.get(range);
    if (wanted === undefined) {
      if (this.#wanted.size < MOST_RANGES) this.#wanted.set(range, { since, places: null, list: null, askedMs: nowMs });
      return null;
    }
    wanted.askedMs = nowMs;
    if (since > wanted.since) {
      wanted.since = since;
      wanted.places = null;
      // A walk under way may have passed what this one needs: it is for the next.
      wanted.list = null;
    }
    return wanted.places;
  }

  /** Where the entries of the range are; null: not known yet, and a piece of the walk was done. */
  of(range: number, since: number, nowMs: number): Places | null {
    const places = this.want(range, since, nowMs);
    if (places === null) this.#walk(nowMs);
    return places;
  }

  release(range: number, since: number): void {
    const wanted = this.#wanted.get(range);
    if (wanted !== undefined && wanted.since <= since && wanted.list === null) this.#wanted.delete(range);
  }

  /** Drops what nobody has asked for in a while. */
  forget(nowMs: number): void {
    if (this.#wanted.size === 0) return;
    for (const [range, { askedMs }] of this.#wanted) if (nowMs - askedMs >= IDLE_MS) this.#wanted.delete(range);
  }

  #walk(nowMs: number): void {
    if (this.#at < 0) {
      this.#at = 0;
      this.#marks.fill(0);
      for (const [range, wanted] of this.#wanted) {
        if (wanted.places !== null) continue;
        wanted.list = [];
        this.#marks[range & 255] = 1;
      }
    }
    const store = this.#store;
    for (let walked = 0; walked < WALK_BUCKETS; walked += 1) {
      this.#bucket = this.#at;
      const next = store.scan(this.#bucket, 1, nowMs, this.#visit);
      if (next === 0) {
        this.#finish(this.#bucket + 1);
        return;
      }
      this.#at = next;
    }
  }

  #finish(end: number): void {
    this.#at = -1;
    for (const wanted of this.#wanted.values()) {
      if (wanted.list === null) continue;
      wanted.places = { buckets: Uint32Array.from(wanted.list), end };
      wanted.list = null;
    }
  }

  readonly #visit = (ref: number): void => {
    if (this.#marks[this.#store.markOf(ref)] === 0) return;
    const list = this.#wanted.get(this.#rangeOfRef(ref))?.list;
    if (list == null || list[list.length - 1] === this.#bucket) return;
    list.push(this.#bucket);
  };
}
