/**
 * Making room: how many words the log may hold, and what is done when an append would go beyond.
 *
 * The log may hold every segment that no other structure holds, less a reserve. The reserve is what open and partly consumed
 * segments may waste (one of each a queue), plus one segment each for the structures that an append may extend. So an
 * append never finds the arena empty.
 *
 * In order: what has expired is taken off the wheel; a segment that is largely dead is *compacted* (its live records
 * move, the segment is free); the policy evicts. Work is done record by record and only as much as the append needs, so
 * that its price does not depend on how much the store holds; when the limit itself has just shrunk, because the table took
 * a segment, the debt is paid over several appends.
 */
import { JUMBO } from './arena.ts';
import type { Policy } from './policies/policy.ts';
import { type Records, SPARE_SEGMENTS } from './records.ts';

/** Steps after which an append that is within the soft margin goes ahead. */
const STEPS = 48;
/** Live entries that one append may move instead of evicting. */
const MOVES = 32;
/** Segments by which the log may be over its limit while a debt is paid. */
const SOFT_SEGMENTS = 2;
/** Segments that one append may choose to compact. */
const COMPACTIONS = 8;

export class Room {
  readonly #records: Records;
  readonly #policy: Policy;
  readonly reserve: number;
  /** Test only: evict above this many entries, whatever their bytes. 0 = no such limit. */
  readonly #entryLimit: number;
  readonly #minimumDead: number;
  #sinceScan = 0;

  constructor(records: Records, policy: Policy, entryLimit: number) {
    this.#records = records;
    this.#policy = policy;
    this.#entryLimit = entryLimit;
    this.reserve = reserveFor(policy.queueCount);
    const { segmentWords } = records.arena;
    this.#minimumDead = policy.name === 'noeviction' ? segmentWords >>> 4 : segmentWords >>> 2;
  }

  /** What the log may hold, in words, when `jumbos` more segments are given away. */
  limitWords(jumbos: number): number {
    const { arena } = this.#records;
    return (arena.segmentCount - arena.otherCount - this.reserve - jumbos) * arena.segmentWords;
  }

  /** The capacity that the policy divides among its queues, in words (jumbo values included). */
  capacityWords(): number {
    const { arena, table, log } = this.#records;
    if (this.#entryLimit > 0) {
      return table.count === 0 ? Infinity : (log.liveTotal / table.count) * this.#entryLimit;
    }
    return this.limitWords(0) + arena.countByOwner[JUMBO]! * arena.segmentWords;
  }

  /** True when an append of `words` and `jumbos` segments fits as things are. */
  fits(words: number, jumbos: number, entries: number): boolean {
    const { log, table, arena } = this.#records;
    if (this.#entryLimit > 0 && table.count + entries > this.#entryLimit) return false;
    if (arena.freeCount < jumbos + SPARE_SEGMENTS) return false;
    return log.total + words <= this.limitWords(jumbos);
  }

  /**
   * Makes room for a record of `words` words and `jumbos` segments. May move or evict any entry but the pinned one.
   * @param entries 1 when the record is of a new key
   * @returns false when the policy evicts nothing and it does not fit, or when it can never fit.
   */
  make(words: number, jumbos: number, entries: number): boolean {
    const records = this.#records;
    const { log, arena, wheel } = records;
    this.#sinceScan += words;
    if (this.fits(words, jumbos, entries)) return true;
    const everything =
      (arena.segmentCount - arena.otherCount + arena.countByOwner[JUMBO]! - this.reserve) * arena.segmentWords;
    if (words + jumbos * arena.segmentWords > everything) return false;
    this.#policy.beginRelief(MOVES);
    if (wheel.count > 0) wheel.advance(records.nowMs, 16, this.#expire);
    let steps = 0;
    let compactions = 0;
    while (!this.fits(words, jumbos, entries)) {
      steps += 1;
      if (steps > STEPS && jumbos === 0 && this.#entryLimit === 0) {
        const limit = this.limitWords(0) + SOFT_SEGMENTS * arena.segmentWords;
        if (log.total + words <= limit && arena.freeCount >= SPARE_SEGMENTS) return true;
      }
      if (log.compacting >= 0 && records.canMove()) {
        this.#compactStep();
        continue;
      }
      if (compactions < COMPACTIONS && log.compacting < 0 && records.canMove() && this.#chooseCompaction()) {
        compactions += 1;
        continue;
      }
      if (!this.#policy.relieve(this.capacityWords())) return false;
    }
    return true;
  }

  reset(): void {
    this.#sinceScan = 0;
  }

  readonly #expire = (ref: number): void => {
    this.#records.reapIfGone(ref);
  };

  /** Picks a segment worth compacting; at most one search per quarter of a segment appended. */
  #chooseCompaction(): boolean {
    const { log, arena } = this.#records;
    const dead = log.total - log.liveTotal;
    if (dead < arena.segmentWords) return false;
    const frugal = this.#policy.name === 'noeviction';
    if (!frugal && (this.#sinceScan < arena.segmentWords >>> 2 || dead < this.limitWords(0) / 16)) return false;
    this.#sinceScan = 0;
    log.compacting = log.emptiest(this.#minimumDead);
    return log.compacting >= 0;
  }

  /** Moves one live record of the segment being compacted to the newest end of its queue, or frees the segment. */
  #compactStep(): void {
    const records = this.#records;
    const { log } = records;
    const ref = log.firstLive(log.compacting);
    if (ref === 0) {
      log.free(log.compacting);
    } else if (!records.reapIfGone(ref)) {
      records.move(ref, records.queueOf(ref));
    }
  }
}

/** Segments that the log leaves free. */
export function reserveFor(queues: number): number {
  return SOFT_SEGMENTS + 2 * queues + 1 + 3;
}
