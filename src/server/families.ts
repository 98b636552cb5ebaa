/**
 * Which latency family each row of the command table belongs to: `read` (GET, MGET, BW.GET), `write` (SET, DEL, BW.INVALIDATE), `other` (PING,
 * INFO).
 */
import { COMMANDS } from '../commands/table.ts';
import { type Family, OTHER, READ, WRITE } from './latency.ts';

const FAMILY_OF_ROW: readonly Family[] = COMMANDS.map(({ flags, keys }) => {
  const words = flags.split(' ');
  if (words.includes('write')) return WRITE;
  return words.includes('readonly') && keys[0] > 0 ? READ : OTHER;
});

/** The family of a row; `other` for -1, the session that has not said anything yet. */
export function familyOf(row: number): Family {
  return row < 0 ? OTHER : FAMILY_OF_ROW[row]!;
}
