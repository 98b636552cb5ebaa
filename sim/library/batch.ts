/** Many schedules of the library, one after the other, and what they came to. */
import { type BatchOptions, type BatchResult, runSeeds } from '../run/batch.ts';
import { fromMacrotask } from '../world/world.ts';
import { type About, planOf } from './plan.ts';
import { type Counts, Simulation } from './simulation.ts';

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
  queued: 0,
  versionedSets: 0,
  outdatedSets: 0,
  faults: 0,
  events: 0,
  virtualMs: 0,
};

/** Runs `seeds` schedules from seed `from` on. */
export async function runBatch(
  options: BatchOptions & { readonly about?: About | null },
): Promise<BatchResult<Counts>> {
  const { about = null } = options;
  // A thousand errors a second are made and looked at by nobody.
  const before = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return await runSeeds(options, NOTHING, (seed) => fromMacrotask(() => new Simulation(planOf(seed, about)).run()));
  } finally {
    Error.stackTraceLimit = before;
  }
}
