/**
 * Those who wait for the source: a bounded queue with two priorities. *Foreground* is a caller who waits for the value;
 * *background* is a refresh that nobody waits for, whose caller was served already.
 *
 *   order     first come, first served within a priority; foreground before background, except that after `backgroundEvery`
 *             foreground ones in a row, while background waited, one of the background is taken: late, but never for ever.
 *   full      a background one is turned away; a foreground one pushes out the *youngest* background one, which has waited
 *             least; when there is none, it is turned away. A wave of refreshes can therefore never lock out callers.
 *
 * Waiters leave from anywhere in the middle (deadline, abort), so each priority is a doubly linked list threaded through the
 * waiters themselves: join, leave and take are O(1), and nothing is allocated beside the waiter.
 */
import { assert } from '../../base/assert.ts';

export type Priority = 'foreground' | 'background';

/** What a waiter has to carry to be in a queue; the links belong to the queue. */
export interface Waiter {
  readonly priority: Priority;
  next: Waiter | null;
  previous: Waiter | null;
  queued: boolean;
}

class WaiterList<W extends Waiter> {
  first: W | null = null;
  last: W | null = null;
  length = 0;

  append(waiter: W): void {
    waiter.previous = this.last;
    waiter.next = null;
    if (this.last === null) this.first = waiter;
    else this.last.next = waiter;
    this.last = waiter;
    this.length += 1;
  }

  unlink(waiter: W): void {
    // The lists hold W only; the links are typed by what a waiter knows of its neighbours.
    const previous = waiter.previous as W | null;
    const next = waiter.next as W | null;
    if (previous === null) this.first = next;
    else previous.next = next;
    if (next === null) this.last = previous;
    else next.previous = previous;
    waiter.previous = null;
    waiter.next = null;
    this.length -= 1;
  }
}

export class WaitQueue<W extends Waiter> {
  readonly #capacity: number;
  readonly #backgroundEvery: number;
  readonly #foreground = new WaiterList<W>();
  readonly #background = new WaiterList<W>();
  /** Foreground waiters taken in a row while background waited. */
  #passedOver = 0;

  constructor(capacity: number, backgroundEvery: number) {
    this.#capacity = capacity;
    this.#backgroundEvery = backgroundEvery;
  }

  get length(): number {
    return this.#foreground.length + this.#background.length;
  }

  count(priority: Priority): number {
    return this.#list(priority).length;
  }

  /**
   * Lets `waiter` join if there is room or if it may push one out. Returns the one for whom there was no room: the pushed-out
   * one, `waiter` itself, or null when everybody fits.
   */
  join(waiter: W): W | null {
    assert(!waiter.queued, 'a waiter joins once');
    let displaced: W | null = null;
    if (this.length >= this.#capacity) {
      displaced = waiter.priority === 'foreground' ? this.#background.last : null;
      if (displaced === null) return waiter;
      this.leave(displaced);
    }
    waiter.queued = true;
    this.#list(waiter.priority).append(waiter);
    return displaced;
  }

  /** Takes `waiter` out, wherever it stands. */
  leave(waiter: W): void {
    assert(waiter.queued, 'only who waits can leave');
    waiter.queued = false;
    this.#list(waiter.priority).unlink(waiter);
    if (this.#background.length === 0) this.#passedOver = 0;
  }

  /**
   * Whose turn it is, left in the queue; null when nobody may go.
   * @param backgroundMayGo false when background has all the slots it may have: then it is not being passed over either
   */
  peek(backgroundMayGo: boolean): W | null {
    const background = backgroundMayGo ? this.#background.first : null;
    const foreground = this.#foreground.first;
    if (foreground === null) return background;
    return background !== null && this.#passedOver >= this.#backgroundEvery ? background : foreground;
  }

  /** As {@link peek}, taken out. */
  take(backgroundMayGo: boolean): W | null {
    const waiter = this.peek(backgroundMayGo);
    if (waiter === null) return null;
    if (waiter.priority === 'background') this.#passedOver = 0;
    else if (backgroundMayGo) this.#passedOver += 1;
    this.leave(waiter);
    return waiter;
  }

  #list(priority: Priority): WaiterList<W> {
    return priority === 'foreground' ? this.#foreground : this.#background;
  }
}
