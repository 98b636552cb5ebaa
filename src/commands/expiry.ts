/**
 * Moments of expiry as commands give them: seconds or milliseconds, from now or since the epoch, checked for overflow of 64
 * bits as Redis does and then cut to what an entry can hold.
 */
import type { Args } from '../resp/parser.ts';
import { bigIntegerAt, INT64_MAX, INT64_MIN, integerAt } from './numbers.ts';

/** The latest moment an entry can hold: in the year 10889. Later ones are kept as this one. */
export const LATEST_MS = 2 ** 48 - 1;

/** `momentAt`: the argument is no integer. */
export const NOT_A_NUMBER = Number.NaN;
/** `momentAt`: beyond 64 bits in milliseconds, or not above 0 where it must be. */
export const OUT_OF_RANGE = Number.POSITIVE_INFINITY;

/**
 * The moment that argument `index` means, whole milliseconds since the epoch, at most LATEST_MS; possibly in the past and,
 * unless `positive`, below 0.
 *
 * @param unitMs 1000 for seconds, 1 for milliseconds
 * @param fromMs now for a duration, 0 for a point in time
 * @param positive SET and GETEX refuse what EXPIRE takes as "delete": zero and below
 * @returns NOT_A_NUMBER, OUT_OF_RANGE or the moment
 */
export function momentAt(args: Args, index: number, unitMs: number, fromMs: number, positive: boolean): number {
  const start = args.start[index]!;
  const length = args.length[index]!;
  const amount = integerAt(args.bytes, start, length);
  if (Number.isNaN(amount)) return NOT_A_NUMBER;
  if (positive && amount <= 0) return OUT_OF_RANGE;
  if (amount > -1e12 && amount < 1e12) {
    return Math.min(amount * unitMs + fromMs, LATEST_MS);
  }
  const exact = bigIntegerAt(args.bytes, start, length)! * BigInt(unitMs);
  const moment = exact + BigInt(fromMs);
  if (exact > INT64_MAX || exact < INT64_MIN || moment > INT64_MAX) return OUT_OF_RANGE;
  return moment > BigInt(LATEST_MS) ? LATEST_MS : Number(moment);
}
