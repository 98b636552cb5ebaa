/**
 * How long the node takes to serve, measured once per chunk of input (parse, execute, write), not once per command: two
 * clock reads a chunk are 0.1 microseconds, two per command would cost as much as a pipelined GET itself.
 *
 * The hot path records into one histogram, that of the second under way. Each second `roll()` adds it to the total since the start
 * (for Prometheus) and puts it into a ring of the last seconds (for the status page), so that nothing is recorded
 * twice.
 *
 * A clock read is still 3 % of an unpipelined GET, so above `FULL_RATE` chunks a second only every eighth is measured and counts
 * for eight: the histogram keeps its shape and its counts, and a quiet node sees every single slow request.
 *
 * Unit of the records: tenths of a microsecond. Commands of a pipeline share the chunk they came in, and it counts for the
 * family of its last one.
 */
import { Histogram } from '../base/histogram.ts';

/** Records per millisecond of time: the unit above. */
export const UNITS_PER_MS = 10_000;

/** Up to so many chunks a second every one is measured. */
const FULL_RATE = 5000;
/** Above, one in so many (a power of two). */
const SAMPLE = 8;

/** What the last command of a chunk does. */
export const FAMILIES = ['read', 'write', 'other'] as const;
export type Family = 0 | 1 | 2;
export const READ: Family = 0;
export const WRITE: Family = 1;
export const OTHER: Family = 2;

/** Three histograms of one second. */
type Second = readonly Histogram[];
const second = (): Second => FAMILIES.map(() => new Histogram());

export class LatencyMeter {
  readonly #ring: readonly Second[];
  readonly #total = second();
  #at = 0;
  /** Chunks of the second under way. */
  #chunks = 0;
  #current: Second;

  /** @param seconds how many past seconds a quantile may look back */
  constructor(seconds = 10) {
    this.#ring = Array.from({ length: seconds + 1 }, second);
    this.#current = this.#ring[0]!;
  }

  /** Counts a chunk: how many it stands for if it is to be measured, 0 if not. */
  weigh(): number {
    this.#chunks += 1;
    if (this.#chunks <= FULL_RATE) return 1;
    return (this.#chunks & (SAMPLE - 1)) === 0 ? SAMPLE : 0;
  }

  /** A chunk that stands for `weight` took `elapsedMs`. */
  record(family: Family, elapsedMs: number, weight: number): void {
    this.#current[family]!.record(elapsedMs * UNITS_PER_MS, weight);
  }

  /** The second is over. */
  roll(): void {
    this.#chunks = 0;
    this.#total.forEach((total, family) => {
      total.merge(this.#current[family]!);
    });
    this.#at = (this.#at + 1) % this.#ring.length;
    this.#current = this.#ring[this.#at]!;
    for (const part of this.#current) part.reset();
  }

  /** Milliseconds at or below which a fraction `q` of the chunks of the last seconds were served; 0 when there were none. */
  recentQuantilesMs(...qs: readonly number[]): number[] {
    const merged = new Histogram();
    for (const part of this.#ring.flat()) merged.merge(part);
    return qs.map((q) => merged.quantile(q) / UNITS_PER_MS);
  }

  /** Everything of a family since the start, as a fresh histogram. */
  total(family: Family): Histogram {
    const merged = new Histogram();
    merged.merge(this.#total[family]!);
    merged.merge(this.#current[family]!);
    return merged;
  }
}
