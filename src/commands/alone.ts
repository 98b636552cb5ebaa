/** Commands that a member of a cluster refuses rather than do by halves: what they promise, they would keep for this member's part alone. */
import type { CommandFunction } from './context.ts';

/** `run` on a single node; in a cluster an error that says why not. */
export function alone(run: CommandFunction, why: string): CommandFunction {
  return (context, session, args, out) => {
    if (context.cluster === null) run(context, session, args, out);
    else out.error(`ERR not offered by a cluster: ${why}`);
  };
}

export const LOCKS_ALONE = 'a lock would be forgotten when its slot changes its owner';
export const COUNTERS_ALONE =
  'a counter would be forgotten when its slot changes its owner; INCR keeps one as an entry';
