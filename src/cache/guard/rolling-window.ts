/**
 * How many calls succeeded and failed of late. "Of late" is a window of time cut into equal parts; the oldest part falls out
 * as a whole when a new one begins. A list of timestamps would be exact and grow with the traffic; this is two typed
 * arrays, and the window's length is right to one part.
 */
export class RollingWindow {
  readonly #partMs: number;
  readonly #successes: Float64Array;
  readonly #failures: Float64Array;
  /** Number of the newest part: floor(now / partMs). */
  #newest = Number.NEGATIVE_INFINITY;
  successes = 0;
  failures = 0;

  /** @param parts how many equal parts the window has (>= 1) */
  constructor(windowMs: number, parts: number) {
    this.#partMs = windowMs / parts;
    this.#successes = new Float64Array(parts);
    this.#failures = new Float64Array(parts);
  }

  get total(): number {
    return this.successes + this.failures;
  }

  record(success: boolean, nowMs: number): void {
    this.advance(nowMs);
    const index = this.#newest % this.#successes.length;
    if (success) {
      this.#successes[index]! += 1;
      this.successes += 1;
    } else {
      this.#failures[index]! += 1;
      this.failures += 1;
    }
  }

  /** Drops the parts that have left the window by `nowMs`. O(parts) at worst. */
  advance(nowMs: number): void {
    const part = Math.floor(nowMs / this.#partMs);
    if (part <= this.#newest) return;
    const parts = this.#successes.length;
    if (part - this.#newest >= parts) {
      this.clear();
    } else {
      for (let dropped = this.#newest + 1; dropped <= part; dropped += 1) {
        const index = dropped % parts;
        this.successes -= this.#successes[index]!;
        this.failures -= this.#failures[index]!;
        this.#successes[index] = 0;
        this.#failures[index] = 0;
      }
    }
    this.#newest = part;
  }

  clear(): void {
    this.#successes.fill(0);
    this.#failures.fill(0);
    this.successes = 0;
    this.failures = 0;
  }
}
