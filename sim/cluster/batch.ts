/** Many schedules of the cluster, one after the other, and what they came to. Some are run twice: the same seed must leave the same trace. */
import { type PlanOptions, planOf } from './plan.ts';
import { type Counts, Simulation } from './simulation.ts';

export interface Failure {
  readonly seed: number;
  readonly violations: readonly string[];
}

export interface BatchResult {
  readonly from: number;
  readonly seeds: number;
  /** Of all traces: two runs of the same seeds agree. */
  readonly hash: number;
  readonly repeated: number;
  readonly failures: readonly Failure[];
  readonly counts: Counts;
}

export const NOTHING: Counts = {
  reads: 0,
  hits: 0,
  copyHits: 0,
  gutterHits: 0,
  misses: 0,
  unserved: 0,
  acknowledged: 0,
  unacknowledged: 0,
  fills: 0,
  refusedFills: 0,
  reigns: 0,
  takeovers: 0,
  emptyReigns: 0,
  faults: 0,
  messages: 0,
  events: 0,
  virtualMs: 0,
};

export interface BatchOptions extends PlanOptions {
  readonly from: number;
  readonly seeds: number;
  /** One in so many is run twice; 0 = none. */
  readonly everyTwice: number;
  readonly stopAtFailure: boolean;
}

export function runBatch(options: BatchOptions): BatchResult {
  const { from, seeds, everyTwice, stopAtFailure } = options;
  let counts = NOTHING;
  let hash = 0;
  let repeated = 0;
  let done = 0;
  const failures: Failure[] = [];
  for (let seed = from; seed < from + seeds; seed += 1) {
    const report = runOne(seed, options);
    done += 1;
    counts = sum(counts, report.counts);
    hash = (Math.imul(hash ^ Number.parseInt(report.hash, 16), 0x01000193) ^ seed) >>> 0;
    const violations = [...report.violations];
    if (everyTwice > 0 && seed % everyTwice === 0) {
      repeated += 1;
      const again = runOne(seed, options);
      if (again.hash !== report.hash) violations.push(`a second run left another trace: ${report.hash}, ${again.hash}`);
    }
    if (violations.length === 0) continue;
    failures.push({ seed, violations });
    if (stopAtFailure) break;
  }
  return { from, seeds: done, hash, repeated, failures, counts };
}

/** A bug that throws fails its seed and no other. */
function runOne(seed: number, options: PlanOptions): { hash: string; counts: Counts; violations: readonly string[] } {
  try {
    return new Simulation(planOf(seed, options)).run();
  } catch (error) {
    return { hash: '0', counts: NOTHING, violations: [`it throws: ${(error as Error).stack ?? String(error)}`] };
  }
}

export function sum(a: Counts, b: Counts): Counts {
  return Object.fromEntries(
    Object.entries(a).map(([name, value]) => [name, value + b[name as keyof Counts]]),
  ) as unknown as Counts;
}
