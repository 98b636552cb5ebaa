/** A failing schedule made smaller: faults are left out as long as what is left still fails, many at a time and then one by one. */
import type { Fault, Plan } from './plan.ts';
import { type Report, Simulation } from './simulation.ts';

const MOST_RUNS = 400;

/** A plan that still fails, and how many runs it took to find. @param isBad what counts as failing; default: any violation */
export function shrink(
  plan: Plan,
  isBad: (report: Report) => boolean = ({ violations }) => violations.length > 0,
): { readonly plan: Plan; readonly runs: number } {
  let runs = 0;
  const fails = (faults: readonly Fault[]): boolean => {
    runs += 1;
    try {
      return isBad(new Simulation({ ...plan, faults }).run());
    } catch {
      return true;
    }
  };
  let { faults } = plan;
  for (let size = Math.ceil(faults.length / 2); size >= 1 && runs < MOST_RUNS; ) {
    let shrunk = false;
    for (let from = 0; from < faults.length && runs < MOST_RUNS; ) {
      const rest = [...faults.slice(0, from), ...faults.slice(from + size)];
      if (fails(rest)) {
        faults = rest;
        shrunk = true;
      } else from += size;
    }
    if (size === 1 && !shrunk) break;
    if (size > 1) size = Math.floor(size / 2);
  }
  return { plan: { ...plan, faults }, runs };
}
