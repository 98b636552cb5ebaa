/**
 * The slots in front of a source: at most `concurrency` calls at once. The whole difficulty is when a slot is free again.
 *
 * The obvious answer, "when the caller has been answered", is wrong exactly when it matters. A query that ran into the
 * timeout is still running at the database: aborting a promise stops the waiting, not the work. Hand its slot to the next
 * caller, whose query times out too, and a database that was merely slow gets `concurrency` more queries every timeout, on
 * top of all the old ones, until it is dead. So a slot is held by a *call at the source*, not by a caller:
 *
 *     enter --> running --(source settles)---------------------------------> free
 *                  |
 *                  +--(caller answered: timeout, abort)--> lingering --(source settles)--> free
 *                                                              |
 *                                                              +--(declared abandoned)--> free, counted as abandoned
 *                                                                                         until the source settles
 *
 * Abandoning is the stated limit: some drivers never settle a promise at all, and a slot must not be lost for ever to a bug
 * in one of them. It happens a long time after the abort, and to at most `maxAbandoned` calls at a time, so that what the source can
 * see at worst is a number: `concurrency + maxAbandoned`. With 0 (or an endless time before abandoning) it is `concurrency`, whatever happens.
 *
 * Background calls may hold at most `backgroundConcurrency` of the slots, so that refreshes leave room for callers.
 */
import { assert } from '../../base/assert.ts';
import type { Priority } from './queue.ts';

export class Limiter {
  readonly #concurrency: number;
  readonly #backgroundConcurrency: number;
  readonly #maxAbandoned: number;
  #foreground = 0;
  #background = 0;
  #abandoned = 0;

  constructor(concurrency: number, backgroundConcurrency: number, maxAbandoned: number) {
    this.#concurrency = concurrency;
    this.#backgroundConcurrency = backgroundConcurrency;
    this.#maxAbandoned = maxAbandoned;
  }

  /** Slots held: calls at the source that were not abandoned. At most the cap. */
  get held(): number {
    return this.#foreground + this.#background;
  }

  /** Calls that were declared abandoned and have not settled. */
  get abandoned(): number {
    return this.#abandoned;
  }

  /** What the source may be working on for us at this moment. */
  get atSource(): number {
    return this.held + this.#abandoned;
  }

  admits(priority: Priority): boolean {
    return (
      this.held < this.#concurrency && (priority === 'foreground' || this.#background < this.#backgroundConcurrency)
    );
  }

  enter(priority: Priority): void {
    assert(this.admits(priority), 'a call enters only when there is a slot');
    if (priority === 'foreground') this.#foreground += 1;
    else this.#background += 1;
  }

  /** The call settled at the source: its slot is free. */
  leave(priority: Priority): void {
    if (priority === 'foreground') this.#foreground -= 1;
    else this.#background -= 1;
    assert(this.#foreground >= 0 && this.#background >= 0, 'only who entered leaves');
  }

  /** Frees the slot of a call that has not settled. False when too many are abandoned already: the slot stays held. */
  tryAbandon(priority: Priority): boolean {
    if (this.#abandoned >= this.#maxAbandoned) return false;
    this.leave(priority);
    this.#abandoned += 1;
    return true;
  }

  /** An abandoned call settled after all. */
  returned(): void {
    this.#abandoned -= 1;
    assert(this.#abandoned >= 0, 'only abandoned calls return');
  }
}
