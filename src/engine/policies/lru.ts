/**
 * Least recently used, nearly exactly, without a list link per entry and without moving anything on a hit.
 *
 * The queues of the log are *age classes*: queue 0 holds what was written in the current epoch, queue 1 in the one before,
 * and so on; the last one holds the rest. An epoch ends when queue 0 holds its share of memory: every queue then becomes
 * the next one, by relabelling segments. A hit writes the current epoch into the record's recency byte, nothing more.
 *
 * When room is needed the oldest record of the oldest queue is looked at. If it was used in a later epoch than its
 * queue stands for, it is moved to the queue of that epoch; else it is the least recently used up to the width of
 * a class, and evicted. An entry moves at most once for each time the log goes round, however often it is hit.
 *
 * CLOCK, the usual approximation, moves a survivor to the newest end although it may have been used long ago.
 */
import { CHUNK_MASK, CHUNK_SHIFT } from '../arena.ts';
import { RECENCY_SHIFT } from '../entry.ts';
import type { Records } from '../records.ts';
import type { Policy } from './policy.ts';

export class Lru implements Policy {
  readonly name = 'lru';
  readonly queueCount: number;
  readonly #records: Records;
  #epoch = 0;
  #moves = 0;

  /** @param classes age classes: more are nearer to exact LRU, and each holds an open segment. At most 64. */
  constructor(records: Records, classes: number) {
    this.#records = records;
    this.queueCount = classes;
  }

  onHit(words: Int32Array, at: number): void {
    words[at] = (words[at]! & 0x00ff_ffff) | (this.#epoch << RECENCY_SHIFT);
  }

  onStore(words: Int32Array, at: number): void {
    words[at] = (words[at]! & 0x00ff_ffff) | (this.#epoch << RECENCY_SHIFT);
  }

  beginRelief(moves: number): void {
    this.#moves = moves;
  }

  relieve(_capacity: number): boolean {
    const records = this.#records;
    const { log } = records;
    for (let queue = this.queueCount - 1; queue >= 0; queue -= 1) {
      if (log.oldest[queue]! < 0) continue;
      const ref = log.oldestLive(queue);
      if (ref === 0) continue;
      if (records.reapIfGone(ref)) return true;
      const words = records.arena.words[ref >>> CHUNK_SHIFT]!;
      const age = (this.#epoch - (words[ref & CHUNK_MASK]! >>> RECENCY_SHIFT)) & 0xff;
      if ((age < queue && this.#moves > 0 && records.canMove()) || ref === records.pinned) {
        this.#moves -= 1;
        records.move(ref, Math.min(age, queue));
      } else {
        records.evict(ref);
      }
      return true;
    }
    return false;
  }

  settle(capacity: number): void {
    const { log } = this.#records;
    if (log.weight[0]! * this.queueCount < capacity) return;
    for (let queue = this.queueCount - 1; queue > 0; queue -= 1) log.joinNewer(queue - 1, queue);
    this.#epoch = (this.#epoch + 1) & 0xff;
  }

  reset(): void {}
}
