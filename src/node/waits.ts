/**
 * WAIT, as in Redis: how many copies have applied what this connection wrote.
 *
 * A member need not be asked for it to be safe: an acknowledged DEL or overwrite is on every in-sync copy already (rule 3). It is for what is acknowledged earlier, first SETs and fills, and for whole namespaces where
 * the write mode says so (`write-modes.ts`).
 *
 * Which ranges a connection has written is a bit each. WAIT asks of each of them for its newest effect at that moment, which may be another connection's: what is waited for is a little more than what was asked, and a
 * write costs one bit. The answer is the least of the ranges' counts, when it is high enough or the time is over, or when a range was lost: what its new owner knows of this connection's writes is not known here.
 *
 * Bounds: {@link MAX_WAIT_MS}, since a client may be gone without a word; one WAIT a reply that waits (`parked-replies.ts` bounds those); O(ranges written) to begin one, O(those x copies) when copies get on.
 */
import { type Ballot, sameBallot } from '../base/ballot.ts';
import type { Primary } from '../cluster/primary.ts';

/** Longest that a WAIT lasts, one without a timeout too. */
export const MAX_WAIT_MS = 600_000;

/** Ranges that a connection has written. */
export class WrittenRanges {
  readonly #bits: Uint32Array;

  constructor(rangeCount: number) {
    this.#bits = new Uint32Array(Math.ceil(rangeCount / 32));
  }

  add(range: number): void {
    this.#bits[range >>> 5]! |= 1 << (range & 31);
  }

  all(): number[] {
    const ranges: number[] = [];
    this.#bits.forEach((word, index) => {
      for (let left = word; left !== 0; left &= left - 1) ranges.push(index * 32 + 31 - Math.clz32(left & -left));
    });
    return ranges;
  }
}

interface Waited {
  readonly range: number;
  readonly reign: Ballot;
  readonly offset: number;
}

interface Wait {
  /** Whose it is: `drop` forgets what nobody waits for any more. */
  readonly owner: object;
  readonly count: number;
  readonly untilMs: number;
  /** null: the connection wrote to a range that is not this member's any more. */
  readonly ranges: readonly Waited[] | null;
  readonly done: (count: number) => void;
}

export class Waits {
  readonly #primaries: () => readonly (Primary | null)[];
  readonly #waiting = new Set<Wait>();

  constructor(primaries: () => readonly (Primary | null)[]) {
    this.#primaries = primaries;
  }

  get count(): number {
    return this.#waiting.size;
  }

  /**
   * `done` is called once, with the number of copies, now or later; never after `drop(owner)`.
   * @param ranges that the connection has written; none: how many copies every range of this member has is answered at once
   * @param count copies wanted
   * @param timeoutMs 0, or more than {@link MAX_WAIT_MS}: that
   */
  begin(
    owner: object,
    ranges: readonly number[],
    count: number,
    timeoutMs: number,
    nowMs: number,
    done: Wait['done'],
  ): void {
    const primaries = this.#primaries();
    if (ranges.length === 0) {
      const copies = primaries.flatMap((primary) => (primary === null ? [] : [copiesWith(primary, 0)]));
      done(copies.length === 0 ? 0 : Math.min(...copies));
      return;
    }
    const waited: Waited[] = [];
    let isWhole = true;
    for (const range of ranges) {
      const primary = primaries[range] ?? null;
      if (primary === null) isWhole = false;
      else waited.push({ range, reign: primary.reign, offset: primary.offset });
    }
    const untilMs = nowMs + (timeoutMs === 0 ? MAX_WAIT_MS : Math.min(timeoutMs, MAX_WAIT_MS));
    const wait: Wait = { owner, count, untilMs, ranges: isWhole ? waited : null, done };
    if (!this.#look(wait, nowMs)) this.#waiting.add(wait);
  }

  /** Copies have got on, a reign has ended, or time has passed. */
  look(nowMs: number): void {
    for (const wait of this.#waiting) if (this.#look(wait, nowMs)) this.#waiting.delete(wait);
  }

  drop(owner: object): void {
    for (const wait of this.#waiting) if (wait.owner === owner) this.#waiting.delete(wait);
  }

  #look({ count, untilMs, ranges, done }: Wait, nowMs: number): boolean {
    let least = Number.POSITIVE_INFINITY;
    for (const waited of ranges ?? []) least = Math.min(least, this.#copiesWith(waited));
    const isLost = ranges === null || least < 0;
    if (isLost) least = 0;
    if (!isLost && least < count && nowMs < untilMs) return false;
    done(least);
    return true;
  }

  /** Members of the set that have applied it; -1: the reign is over. */
  #copiesWith({ range, reign, offset }: Waited): number {
    const primary = this.#primaries()[range] ?? null;
    return primary === null || !sameBallot(primary.reign, reign) ? -1 : copiesWith(primary, offset);
  }
}

function copiesWith({ followers }: Primary, offset: number): number {
  let copies = 0;
  for (const { isStaged, isFollowing, applied } of followers.values()) {
    if (!isStaged && isFollowing && applied >= offset) copies += 1;
  }
  return copies;
}
