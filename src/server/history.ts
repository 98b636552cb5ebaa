/**
 * The last five minutes, one sample a second: what the status page draws, so that it shows the past at once when somebody
 * opens it. A ring of typed arrays; 300 samples of 6 figures are 14 KB.
 */
const SECONDS = 300;

/** One second of the node. */
export interface Sample {
  /** Commands executed, per second. */
  readonly operations: number;
  /** Hits divided by lookups, NaN when there were none. */
  readonly hitRatio: number;
  readonly usedBytes: number;
  readonly entries: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

const FIELDS = ['operations', 'hitRatio', 'usedBytes', 'entries', 'p50Ms', 'p99Ms'] as const;

export class History {
  readonly #columns = FIELDS.map(() => new Float64Array(SECONDS));
  #count = 0;

  push(sample: Sample): void {
    FIELDS.forEach((field, column) => {
      this.#columns[column]![this.#count % SECONDS] = sample[field];
    });
    this.#count += 1;
  }

  /** The columns, oldest sample first; NaN becomes null, as JSON has no NaN. */
  columns(): Record<keyof Sample, (number | null)[]> {
    const length = Math.min(this.#count, SECONDS);
    const first = this.#count - length;
    const read = (column: number): (number | null)[] =>
      Array.from({ length }, (_, i) => {
        const value = this.#columns[column]![(first + i) % SECONDS]!;
        return Number.isNaN(value) ? null : value;
      });
    return Object.fromEntries(FIELDS.map((field, column) => [field, read(column)])) as Record<
      keyof Sample,
      (number | null)[]
    >;
  }
}
