/**
 * Many schedules, one after the other, and what they came to, whichever simulation they are of. Some are run twice: the same seed must leave the same trace, or a failing seed
 * could not be looked at again.
 */

/** What one schedule came to. `C` is what the simulation counts: an object of numbers. */
export interface ScheduleReport<C> {
  /** Of its trace, in hexadecimal digits. */
  readonly hash: string;
  readonly counts: C;
  readonly violations: readonly string[];
}

export interface Failure {
  readonly seed: number;
  readonly violations: readonly string[];
}

export interface BatchOptions {
  readonly from: number;
  readonly seeds: number;
  /** One in so many is run twice; 0 = none. */
  readonly everyTwice: number;
  /** Ends with the first schedule that fails. */
  readonly stopAtFailure: boolean;
}

export interface BatchResult<C> {
  readonly from: number;
  /** How many were run: fewer than asked for behind a failure that stops. */
  readonly seeds: number;
  /** Of all traces: two runs of the same seeds agree. */
  readonly hash: number;
  readonly repeated: number;
  readonly failures: readonly Failure[];
  readonly counts: C;
}

/** @param nothing counts of no schedule: zeros */
export async function runSeeds<C extends object>(
  { from, seeds, everyTwice, stopAtFailure }: BatchOptions,
  nothing: C,
  run: (seed: number) => ScheduleReport<C> | Promise<ScheduleReport<C>>,
): Promise<BatchResult<C>> {
  let counts = nothing;
  let hash = 0;
  let repeated = 0;
  let done = 0;
  const failures: Failure[] = [];
  for (let seed = from; seed < from + seeds; seed += 1) {
    const report = await run(seed);
    done += 1;
    counts = sum(counts, report.counts);
    hash = (Math.imul(hash ^ Number.parseInt(report.hash, 16), 0x01000193) ^ seed) >>> 0;
    const violations = [...report.violations];
    if (everyTwice > 0 && seed % everyTwice === 0) {
      repeated += 1;
      const again = await run(seed);
      if (again.hash !== report.hash) violations.push(`a second run left another trace: ${report.hash}, ${again.hash}`);
    }
    if (violations.length === 0) continue;
    failures.push({ seed, violations });
    if (stopAtFailure) break;
  }
  return { from, seeds: done, hash, repeated, failures, counts };
}

/** Field by field. */
export function sum<C extends object>(a: C, b: C): C {
  const more = b as Record<string, number>;
  return Object.fromEntries(Object.entries(a).map(([name, value]) => [name, value + more[name]!])) as C;
}
