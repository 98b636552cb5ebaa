/** Many schedules of the cluster, one after the other, and what they came to. */
import { type BatchOptions, type BatchResult, runSeeds, type ScheduleReport } from '../run/batch.ts';
import { type PlanOptions, planOf } from './plan.ts';
import { type Counts, Simulation } from './simulation.ts';

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
  handOvers: 0,
  partialResyncs: 0,
  fullResyncs: 0,
  comparedCopies: 0,
  joins: 0,
  forgotten: 0,
  revotes: 0,
  faults: 0,
  messages: 0,
  events: 0,
  virtualMs: 0,
};

/** Runs `seeds` schedules from seed `from` on. */
export function runBatch(options: BatchOptions & PlanOptions): Promise<BatchResult<Counts>> {
  return runSeeds(options, NOTHING, (seed) => runOne(seed, options));
}

/** A bug that throws fails its seed and no other. */
function runOne(seed: number, options: PlanOptions): ScheduleReport<Counts> {
  try {
    return new Simulation(planOf(seed, options)).run();
  } catch (error) {
    return { hash: '0', counts: NOTHING, violations: [`it throws: ${(error as Error).stack ?? String(error)}`] };
  }
}
