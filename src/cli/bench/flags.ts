/** Flags of benches that are whole numbers. */
import { BreakwaterError } from '../../base/errors.ts';

/** @throws BreakwaterError `USAGE_INVALID` unless it is one from 1 to `max` */
export function countFlag(flag: string, text: string, max: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw invalidFlag(flag, `a whole number from 1 to ${max}`, text);
}

export function invalidFlag(flag: string, expected: string, received: string): BreakwaterError {
  return new BreakwaterError('USAGE_INVALID', `cannot read ${flag}: expected ${expected}, received "${received}"`);
}
