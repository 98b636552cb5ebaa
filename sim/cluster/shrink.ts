/** A failing schedule of the cluster with fewer faults. */
import { leaveOut } from '../run/shrink.ts';
import type { Fault, Plan } from './plan.ts';
import { type Report, Simulation } from './simulation.ts';

const MOST_RUNS = 400;

/** A plan that still fails, and how many runs it took to find. @param isBad what counts as failing; default: any violation */
export function shrink(
  plan: Plan,
  isBad: (report: Report) => boolean = ({ violations }) => violations.length > 0,
): { readonly plan: Plan; readonly runs: number } {
  const fails = (faults: readonly Fault[]): boolean => {
    try {
      return isBad(new Simulation({ ...plan, faults }).run());
    } catch {
      // Whatever throws is wrong too.
      return true;
    }
  };
  const { parts: faults, runs } = leaveOut(plan.faults, fails, MOST_RUNS);
  return { plan: { ...plan, faults }, runs };
}
