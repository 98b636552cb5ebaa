/**
 * BW.COUNT: counters beside the store (freshness/tally-table.ts).
 */
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { Context } from './context.ts';
import { NOT_INTEGER } from './errors.ts';
import { integerAt } from './numbers.ts';
import type { Session } from './session.ts';
import { latinOf } from './words.ts';

const MAX_NAME_BYTES = 512;
const LONGEST_MS = 1e14;
const REFUSALS = {
  full: 'COUNTERSFULL no room for another counter',
  overflow: 'ERR increment or decrement would overflow',
} as const;

/** BW.COUNT name [by [ms]] */
export function bwCount(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  if (args.length[1]! < 1 || args.length[1]! > MAX_NAME_BYTES || args.count > 4) {
    out.error(`ERR invalid counter: BW.COUNT name [by [ms]], a name has 1 to ${MAX_NAME_BYTES} bytes`);
    return;
  }
  const name = latinOf(args, 1);
  if (args.count === 2) {
    out.integer(context.tallies.value(name, context.nowMs));
    return;
  }
  const by = integerAt(args.bytes, args.start[2]!, args.length[2]!);
  const ms = args.count === 3 ? null : integerAt(args.bytes, args.start[3]!, args.length[3]!);
  if (!Number.isSafeInteger(by) || (ms !== null && !(ms >= 1 && ms <= LONGEST_MS))) {
    out.error(NOT_INTEGER);
    return;
  }
  const sum = context.tallies.add(name, by, ms, context.nowMs);
  if (typeof sum === 'number') out.integer(sum);
  else out.error(REFUSALS[sum]);
}
