/**
 * How long the node takes to serve, measured once per chunk of input (parse, execute, write), not once per command: two
 * clock reads a chunk are 0.1 microseconds, two per command would cost as much as a pipelined GET itself.
 *
 * The hot path records into one histogram, that of the second under way. Each second `roll()` adds it to the total since the start
 * (for Prometheus) and puts it into a ring of the last seconds (for the status page), so that nothing is recorded
 * twice.
 *
 * Unit of the records: tenths of a microsecond. Commands of a pipeline share the chunk they came in.
 */
import { Histogram } from '../base/histogram.ts';

/** Records per millisecond of time: the unit above. */
export const UNITS_PER_MS = 10_000;

export class LatencyMeter {
  readonly #ring: readonly Histogram[];
  readonly #total = new Histogram();
  #at = 0;
  #current: Histogram;

  /** @param seconds how many past seconds a quantile may look back */
  constructor(seconds = 10) {
    this.#ring = Array.from({ length: seconds + 1 }, () => new Histogram());
    this.#current = this.#ring[0]!;
  }

  /** One chunk took `elapsedMs`. */
  record(elapsedMs: number): void {
    this.#current.record(elapsedMs * UNITS_PER_MS);
  }

  /** The second is over. */
  roll(): void {
    this.#total.merge(this.#current);
    this.#at = (this.#at + 1) % this.#ring.length;
    this.#current = this.#ring[this.#at]!;
    this.#current.reset();
  }

  /** Milliseconds at or below which a fraction `q` of the chunks of the last seconds were served; 0 when there were none. */
  recentQuantilesMs(...qs: readonly number[]): number[] {
    const merged = new Histogram();
    for (const part of this.#ring) merged.merge(part);
    return qs.map((q) => merged.quantile(q) / UNITS_PER_MS);
  }

  /** Everything since the start, as a fresh histogram. */
  total(): Histogram {
    const merged = new Histogram();
    merged.merge(this.#total);
    merged.merge(this.#current);
    return merged;
  }
}
