/**
 * Nearest expiry first: who goes is whoever would have gone soonest anyway, however often it was used. Right where the TTL says what an entry is worth; entries without
 * one go last, the oldest of them first.
 *
 * The timer wheel knows who expires next, but its entries lie all over the log, and taking them one by one leaves holes that only moving their neighbours closes. So the log is
 * gone through from its oldest end, as CLOCK does, and each record is asked how long it has left: less than the *limit*, it is evicted; more, it moves to the newest end. The
 * limit follows the stream by itself: an estimate of the quantile below which the share {@link GOES} of the records lies, raised a little by each that stays and lowered by each
 * that goes (Robbins and Monro, 1951, on the logarithm, since TTLs span milliseconds to years). An eviction so costs about three moves, and per round of the log the soonest
 * quarter goes. Redis's `volatile-ttl` draws five at random
 * for each that goes, which would leave the same holes here.
 *
 * Unlike there, a write is never refused because nothing has a TTL.
 */
import { CHUNK_MASK, CHUNK_SHIFT } from '../arena.ts';
import { expiryOf } from '../entry.ts';
import type { Records } from '../records.ts';
import type { Policy } from './policy.ts';

/** Of the records that are looked at: fewer choose better and move more. */
const GOES = 1 / 4;
/** Octaves by which one look moves the limit. From the least limit to the largest it is some 1,200 looks. */
const STEP = 0.15;
const RAISED = 2 ** (STEP * GOES);
const LOWERED = 2 ** (-STEP * (1 - GOES));
const LEAST_MS = 1;
/** Beyond every expiry. */
const MOST_MS = 2 ** 48;

export class TtlEviction implements Policy {
  readonly name = 'ttl';
  readonly queueCount = 1;
  /** What has less than this left goes. */
  limitMs = 60_000;
  readonly #records: Records;
  #moves = 0;

  constructor(records: Records) {
    this.#records = records;
  }

  onHit(): void {}

  onStore(): void {}

  beginRelief(moves: number): void {
    this.#moves = moves;
  }

  relieve(): boolean {
    const records = this.#records;
    const ref = records.log.oldestLive(0);
    if (ref === 0) return false;
    if (ref === records.pinned) {
      records.move(ref, 0);
      return true;
    }
    if (records.reapIfGone(ref)) return true;
    // Nobody has a TTL: then it is age alone.
    if (records.wheel.count > 0) {
      const expiresAtMs = expiryOf(records.arena.words[ref >>> CHUNK_SHIFT]!, ref & CHUNK_MASK);
      const stays = expiresAtMs === 0 || expiresAtMs - records.nowMs > this.limitMs;
      this.limitMs = Math.min(MOST_MS, Math.max(LEAST_MS, this.limitMs * (stays ? RAISED : LOWERED)));
      if (stays && this.#moves > 0 && records.canMove()) {
        this.#moves -= 1;
        records.move(ref, 0);
        return true;
      }
    }
    records.evict(ref);
    return true;
  }

  settle(): void {}

  reset(): void {}
}
