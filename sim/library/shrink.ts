/** A failing schedule of the library with fewer steps. */
import { leaveOut } from '../run/shrink.ts';
import type { Plan, Step } from './plan.ts';
import { type Report, Simulation } from './simulation.ts';

const MOST_RUNS = 600;

/**
 * A plan that still fails, and how many runs it took to find. From a macrotask: see `World`.
 * @param isBad what counts as failing; default: any violation
 */
export function shrink(
  plan: Plan,
  isBad: (report: Report) => boolean = ({ violations }) => violations.length > 0,
): { readonly plan: Plan; readonly runs: number } {
  const fails = (steps: readonly Step[]): boolean => isBad(new Simulation({ ...plan, steps }).run());
  const { parts: steps, runs } = leaveOut(plan.steps, fails, MOST_RUNS);
  return { plan: { ...plan, steps }, runs };
}
