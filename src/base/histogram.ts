/**
 * A log-linear histogram of durations in a typed array: nothing is allocated per record and a quantile is exact to 1/16
 * of its value. Same idea as HdrHistogram (Tene), reduced to what a hot path can afford; two of them add up by `merge`.
 *
 * Buckets: values below 16 are exact; above, each power of two is split into 16 equal parts.
 */
const PARTS_LOG2 = 4;
const PARTS = 1 << PARTS_LOG2;
const BUCKETS = PARTS * (32 - PARTS_LOG2 + 1);

/** Counts of non-negative integers below 2^32 (the caller picks the unit: we use microseconds). */
export class Histogram {
  readonly #counts = new Float64Array(BUCKETS);
  #count = 0;
  #sum = 0;
  #max = 0;

  /** Adds `value` (clamped to [0, 2^32)) `times` times. O(1). */
  record(value: number, times = 1): void {
    const v = value <= 0 ? 0 : value >= 0xffff_ffff ? 0xffff_ffff : Math.floor(value);
    const index = bucketOf(v);
    this.#counts[index] = this.#counts[index]! + times;
    this.#count += times;
    this.#sum += v * times;
    if (v > this.#max) this.#max = v;
  }

  get count(): number {
    return this.#count;
  }

  get sum(): number {
    return this.#sum;
  }

  get max(): number {
    return this.#max;
  }

  /** The value at or below which a fraction `q` (0..1) of the records lies: the upper edge of its bucket; 0 when empty. */
  quantile(q: number): number {
    if (this.#count === 0) return 0;
    const rank = Math.max(1, Math.ceil(q * this.#count));
    let seen = 0;
    for (let index = 0; index < BUCKETS; index += 1) {
      seen += this.#counts[index]!;
      if (seen >= rank) return Math.min(upperEdge(index), this.#max);
    }
    return this.#max;
  }

  /** How many records are at most `value`, to the resolution of a bucket: for cumulative Prometheus buckets. */
  countAtMost(value: number): number {
    const last = bucketOf(Math.min(Math.max(0, Math.floor(value)), 0xffff_ffff));
    let seen = 0;
    for (let index = 0; index <= last; index += 1) seen += this.#counts[index]!;
    return seen;
  }

  merge(other: Histogram): void {
    for (let index = 0; index < BUCKETS; index += 1) this.#counts[index] = this.#counts[index]! + other.#counts[index]!;
    this.#count += other.#count;
    this.#sum += other.#sum;
    if (other.#max > this.#max) this.#max = other.#max;
  }

  reset(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#sum = 0;
    this.#max = 0;
  }
}

function bucketOf(value: number): number {
  if (value < PARTS) return value;
  const exponent = 31 - Math.clz32(value);
  const shift = exponent - PARTS_LOG2;
  return ((shift + 1) << PARTS_LOG2) + ((value >>> shift) - PARTS);
}

function upperEdge(index: number): number {
  if (index < PARTS) return index;
  const shift = (index >>> PARTS_LOG2) - 1;
  const part = (index & (PARTS - 1)) + PARTS;
  return (part + 1) * 2 ** shift - 1;
}
