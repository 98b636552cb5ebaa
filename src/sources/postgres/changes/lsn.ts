/**
 * Positions in Postgres's log (LSN), as 64-bit numbers here and as `16/B374D848` in its words and in ours. A bigint: they pass 2^53 in no database that exists, but
 * their arithmetic should not be what one has to think about.
 */
import { BreakwaterError } from '../../../base/errors.ts';

export type Lsn = bigint;

/** @throws BreakwaterError `CHANGES_PROTOCOL` */
export function parseLsn(text: unknown): Lsn {
  const match = typeof text === 'string' ? /^([0-9A-Fa-f]{1,8})\/([0-9A-Fa-f]{1,8})$/.exec(text) : null;
  if (match === null) {
    throw new BreakwaterError('CHANGES_PROTOCOL', `cannot read a position of the log: received ${String(text)}`);
  }
  return (BigInt(`0x${match[1]}`) << 32n) | BigInt(`0x${match[2]}`);
}

export function formatLsn(lsn: Lsn): string {
  return `${(lsn >> 32n).toString(16).toUpperCase()}/${(lsn & 0xffff_ffffn).toString(16).toUpperCase()}`;
}
