/**
 * Is it worth asking L2? A store that is down costs each get the whole read timeout before the loader is asked. After a few
 * failures in a row reads are skipped, and every now and then one is let through to see whether the store is back.
 *
 *     up --- FAILURES failed reads in a row ---> down --- PAUSE_MS later ---> one probe --- answers ---> up
 *                                                  ^------------ fails ----------|
 *
 * A skipped read is a miss, which is always safe: its load holds no lease and so fills nothing in L2. Writes and invalidations are never
 * skipped: they are tried, and rejected when they are not acknowledged.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';

const FAILURES = 3;
const PAUSE_MS = 1_000;

export class Outage {
  #failures = 0;
  /** When the next read may try; meaningful while down. */
  #probeAtMs = 0;
  /** What the store last failed with, for stats; null = never. */
  lastError: string | null = null;
  #hasWarned = false;
  /** Called once, when the store has answered a read. */
  onFirstAnswer: (() => void) | null = null;

  /** May a read go to the store now? While down, one may per pause. */
  mayRead(nowMs: number): boolean {
    if (this.#failures < FAILURES) return true;
    if (nowMs < this.#probeAtMs) return false;
    this.#probeAtMs = nowMs + PAUSE_MS;
    return true;
  }

  succeeded(): void {
    this.#failures = 0;
    if (this.onFirstAnswer === null) return;
    const first = this.onFirstAnswer;
    this.onFirstAnswer = null;
    first();
  }

  /** A read failed. */
  failed(nowMs: number, error: unknown): void {
    this.note(error);
    this.#failures += 1;
    if (this.#failures === FAILURES) this.#probeAtMs = nowMs + PAUSE_MS;
  }

  /**
   * Something failed that callers are not told about, since a miss is always safe. A coded error is an operating matter and shows in
   * stats; anything else is a bug of ours, and is said aloud, once.
   */
  note(error: unknown): void {
    this.lastError = error instanceof BreakwaterError ? `${error.code}: ${error.message}` : messageOf(error);
    if (error instanceof BreakwaterError || this.#hasWarned) return;
    this.#hasWarned = true;
    process.emitWarning(error instanceof Error ? error : new Error(messageOf(error)));
  }

  get isDown(): boolean {
    return this.#failures >= FAILURES;
  }
}
