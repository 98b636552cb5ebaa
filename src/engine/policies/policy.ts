/**
 * What an eviction policy is: it is told of hits and stores, and when room is needed it takes one step towards it.
 *
 * It owns the *recency* byte of every record (bits 24 to 31 of word 0) and decides what the log's queues mean. New entries
 * are always appended to queue 0.
 */
import type { EvictionPolicy } from '../face.ts';

export interface Policy {
  readonly name: EvictionPolicy;
  /** Queues of the log that it uses. */
  readonly queueCount: number;
  /** A live entry was found. `words[at ..]` is its record. */
  onHit(words: Int32Array, at: number, ref: number, hash: number): void;
  /** An entry was written: a new record in queue 0, or in place of the old value. */
  onStore(words: Int32Array, at: number, ref: number, hash: number, isNew: boolean): void;
  /** Room is asked for; the steps that follow may move `moves` live entries before they must evict. */
  beginRelief(moves: number): void;
  /**
   * One step towards room: evicts, or moves an entry that deserves to stay, or drops one that is gone.
   * @param capacity what the log may hold, in words
   * @returns false when there is nothing to evict.
   */
  relieve(capacity: number): boolean;
  /** Called after a new entry while memory is not full: lets the queues take their shares. */
  settle(capacity: number): void;
  reset(): void;
}
