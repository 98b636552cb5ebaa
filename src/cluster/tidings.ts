/**
 * Who has begun to reign, told to everybody at once: a range that has changed its owner is known by the heartbeats of a majority of voters 200 ms later, and until then members send clients to an owner that sends them on.
 *
 * It moves clients and nothing else. What a new owner says of itself is believed for F, by `ownerOf`, and stands in no record: it is not chosen by it, voters learn nothing from it, nobody claims or follows because of it.
 * So a word that is lost, late or overtaken costs a client one hop more, as before there were any.
 *
 * Costs: N - 1 frames a change of owner; all ranges that one claim won are in one. A member says nothing more before N / 4 ms have passed (what it wins meanwhile goes with the next): at most 4,000 frames a second of one
 * that is given everything, whatever N is.
 */
import { compareBallots } from '../base/ballot.ts';
import type { OwnershipRecord } from './record.ts';

/** Between two words of one member, a member that hears them. */
const EACH_MS = 0.25;

interface Heard {
  readonly record: OwnershipRecord;
  readonly untilMs: number;
}

export class Tidings {
  /** Grows whenever `of` may say something else. */
  changes = 0;
  readonly #believedMs: number;
  readonly #heard = new Map<number, Heard>();
  /** Ranges that we won, and that nobody was told of. */
  readonly #won = new Set<number>();
  #nextMs = Number.NEGATIVE_INFINITY;

  /** @param believedMs what a new owner says of itself counts for so long, if no record has come by then */
  constructor(believedMs: number) {
    this.#believedMs = believedMs;
  }

  // -- what others say

  hear(record: OwnershipRecord, chosen: OwnershipRecord, nowMs: number): void {
    const { range, ballot } = record;
    if (compareBallots(ballot, this.of(range, chosen).ballot) <= 0) return;
    this.#heard.set(range, { record, untilMs: nowMs + this.#believedMs });
    this.changes += 1;
  }

  /** The newest that is known of the range: what is chosen, or what its new owner says. */
  of(range: number, chosen: OwnershipRecord): OwnershipRecord {
    const heard = this.#heard.size === 0 ? undefined : this.#heard.get(range);
    return heard !== undefined && compareBallots(heard.record.ballot, chosen.ballot) > 0 ? heard.record : chosen;
  }

  /** Forgets what has been chosen meanwhile, and what should have been. At each tick. */
  settle(chosen: readonly OwnershipRecord[], nowMs: number): void {
    for (const [range, { record, untilMs }] of this.#heard) {
      if (nowMs < untilMs && compareBallots(record.ballot, chosen[range]!.ballot) > 0) continue;
      this.#heard.delete(range);
      this.changes += 1;
    }
  }

  // -- what we have to say

  win(range: number): void {
    this.#won.add(range);
  }

  /** The ranges that are to be told of now. Most of the time none. */
  take(nowMs: number, members: number): readonly number[] {
    if (this.#won.size === 0 || nowMs < this.#nextMs) return NONE;
    this.#nextMs = nowMs + members * EACH_MS;
    const ranges = [...this.#won].sort((a, b) => a - b);
    this.#won.clear();
    return ranges;
  }
}

const NONE: readonly number[] = [];
