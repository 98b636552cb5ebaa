/**
 * Checks the promise that a cache makes: a read that begins after a write was acknowledged never gives what was before it. Reads that overlap a write may give either.
 *
 * The rule, for one id: let `w` be the last write that had ended well when the read began. The read may give the value of `w`, or of any write that began later
 * and before the read ended, whether it ended well or not. Anything else is stale (or made up), and throws at once.
 */
import { isDeepStrictEqual } from 'node:util';
import { BreakwaterError } from '../base/errors.ts';

interface Write<V> {
  readonly value: V | null;
  readonly beganAt: number;
  endedAt: number;
}

export class StaleChecker<V> {
  readonly #writes = new Map<string, Write<V>[]>();
  #moment = 0;
  /** Reads that were checked. */
  reads = 0;

  /**
   * Runs a write of `id` (the update of the database *and* its invalidation) and notes its value; null = the row is gone. Gives back what `run` does. When it rejects,
   * nobody knows whether it is in force: old and new are allowed.
   */
  async write<T>(id: string, value: V | null, run: () => Promise<T>): Promise<T> {
    const write: Write<V> = { value, beganAt: this.#next(), endedAt: Number.POSITIVE_INFINITY };
    this.#of(id).push(write);
    const result = await run();
    write.endedAt = this.#next();
    return result;
  }

  /** Runs a read of `id` and checks its answer. @throws BreakwaterError `TEST_STALE_READ` */
  async read(id: string, run: () => Promise<V | null>): Promise<V | null> {
    const beganAt = this.#next();
    const value = await run();
    const endedAt = this.#next();
    this.reads += 1;
    const writes = this.#of(id);
    const known = writes.filter((write) => write.endedAt < beganAt);
    // Concurrent writes have no order: none that began before the last one that had surely ended is allowed.
    const lastBeganAt = Math.max(0, ...known.map((write) => write.beganAt));
    const allowed = writes.filter(
      (write) => write.beganAt < endedAt && (write.endedAt >= beganAt || write.endedAt > lastBeganAt),
    );
    const hasUnknownPast = known.length === 0;
    if (hasUnknownPast || allowed.some((write) => isDeepStrictEqual(write.value, value))) return value;
    const show = JSON.stringify;
    throw new BreakwaterError(
      'TEST_STALE_READ',
      `a read of "${id}" gave ${show(value)}, allowed were ${allowed.map((write) => show(write.value)).join(' and ')}: it began after the last of them was acknowledged`,
    );
  }

  #of(id: string): Write<V>[] {
    const writes = this.#writes.get(id) ?? [];
    this.#writes.set(id, writes);
    return writes;
  }

  #next(): number {
    this.#moment += 1;
    return this.#moment;
  }
}
