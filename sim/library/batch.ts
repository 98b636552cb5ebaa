/**
 * Many schedules, one after the other, and what they came to. Some are run twice: the same seed must leave the same trace.
 */
import { fromMacrotask } from '../world/world.ts';
import { planOf } from './plan.ts';
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
  answers: 0,
  fromL1: 0,
  staleFromL1: 0,
  loads: 0,
  changes: 0,
  acknowledged: 0,
  unacknowledged: 0,
  everywhere: 0,
  refused: 0,
  faults: 0,
  events: 0,
  virtualMs: 0,
};

/**
 * Runs `seeds` schedules from seed `from` on.
 * @param everyTwice one in so many is run twice; 0 = none
 * @param stopAtFailure ends with the first schedule that fails
 */
export async function runBatch(
  from: number,
  seeds: number,
  everyTwice: number,
  stopAtFailure = false,
): Promise<BatchResult> {
  // A thousand errors a second are made and looked at by nobody.
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    let counts = NOTHING;
    let hash = 0;
    let repeated = 0;
    let done = 0;
    const failures: Failure[] = [];
    for (let seed = from; seed < from + seeds; seed += 1) {
      const report = await fromMacrotask(() => new Simulation(planOf(seed)).run());
      done += 1;
      counts = sum(counts, report.counts);
      hash = (Math.imul(hash ^ Number.parseInt(report.hash, 16), 0x01000193) ^ seed) >>> 0;
      const violations = [...report.violations];
      if (everyTwice > 0 && seed % everyTwice === 0) {
        repeated += 1;
        const again = await fromMacrotask(() => new Simulation(planOf(seed)).run());
        if (again.hash !== report.hash)
          violations.push(`a second run left another trace: ${report.hash}, ${again.hash}`);
      }
      if (violations.length === 0) continue;
      failures.push({ seed, violations });
      if (stopAtFailure) break;
    }
    return { from, seeds: done, hash, repeated, failures, counts };
  } finally {
    Error.stackTraceLimit = before;
  }
}

export function sum(a: Counts, b: Counts): Counts {
  return Object.fromEntries(
    Object.entries(a).map(([name, value]) => [name, value + b[name as keyof Counts]]),
  ) as unknown as Counts;
}
