/**
 * A failing schedule made smaller: steps are left out, first many at a time and then one by one, as long as what is left still fails. (Delta debugging, Zeller and
 * Hildebrandt, 2002, without its complements: a run costs milliseconds.)
 *
 * Delays are drawn while the schedule runs, so leaving a step out moves what comes after it. The result is therefore one that fails, not always the smallest; that is enough to
 * read its trace.
 */
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
  let runs = 0;
  const fails = (steps: readonly Step[]): boolean => {
    runs += 1;
    return isBad(new Simulation({ ...plan, steps }).run());
  };
  let { steps } = plan;
  for (let size = Math.ceil(steps.length / 2); size >= 1 && runs < MOST_RUNS; ) {
    let shrunk = false;
    for (let from = 0; from < steps.length && runs < MOST_RUNS; ) {
      const rest = [...steps.slice(0, from), ...steps.slice(from + size)];
      if (fails(rest)) {
        steps = rest;
        shrunk = true;
      } else from += size;
    }
    if (size === 1 && !shrunk) break;
    if (size > 1) size = Math.floor(size / 2);
  }
  return { plan: { ...plan, steps }, runs };
}
