/**
 * Integers in arguments and values, read from bytes by hand and as strictly as Redis's `string2ll`: an optional `-`, digits, no
 * leading zero, no `+`, no blanks, within 64 bits. Nothing is allocated for what a JavaScript number holds exactly.
 *
 * A 64-bit integer beyond 2^53 is answered as +-Infinity: enough for a count or a time, and a sign to take the exact path
 * (`bigIntegerAt`) for whoever needs every digit.
 */

const ZERO = 48;
const MINUS = 45;

/** 15 digits are always exact. */
const EXACT_DIGITS = 15;

export const INT64_MAX = 9_223_372_036_854_775_807n;
export const INT64_MIN = -9_223_372_036_854_775_808n;

/** The integer at `bytes[start .. start + length)`; NaN when it is none; +-Infinity for a 64-bit one beyond the safe range. */
export function integerAt(bytes: Uint8Array, start: number, length: number): number {
  if (length === 0 || length > 20) return Number.NaN;
  let at = start;
  const end = start + length;
  const negative = bytes[at] === MINUS;
  if (negative) at += 1;
  const digits = end - at;
  if (digits === 0) return Number.NaN;
  const first = bytes[at]! - ZERO;
  if (first <= 0) return first === 0 && length === 1 ? 0 : Number.NaN;
  let value = 0;
  for (; at < end; at += 1) {
    const digit = bytes[at]! - ZERO;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  if (digits > EXACT_DIGITS) {
    const big = bigIntegerAt(bytes, start, length);
    if (big === null) return Number.NaN;
    if (big > 9_007_199_254_740_991n) return Number.POSITIVE_INFINITY;
    if (big < -9_007_199_254_740_991n) return Number.NEGATIVE_INFINITY;
    return Number(big);
  }
  return negative ? -value : value;
}

/** The integer in [0, 2^64) at `bytes[start .. start + length)`, in decimal without leading zeros, as two uint32; false when it is none. */
export function unsignedAt(
  bytes: Uint8Array,
  start: number,
  length: number,
  into: { high: number; low: number },
): boolean {
  if (length === 0 || length > 20 || (bytes[start] === ZERO && length > 1)) return false;
  let high = 0;
  let low = 0;
  for (let at = start; at < start + length; at += 1) {
    const digit = bytes[at]! - ZERO;
    if (digit < 0 || digit > 9) return false;
    low = low * 10 + digit;
    high = high * 10 + Math.floor(low / 0x1_0000_0000);
    low >>>= 0;
  }
  if (high > 0xffff_ffff) return false;
  into.high = high;
  into.low = low;
  return true;
}

/** The 64-bit integer at `bytes[start .. start + length)`, exact; null when it is none. Allocates. */
export function bigIntegerAt(bytes: Uint8Array, start: number, length: number): bigint | null {
  if (length === 0 || length > 20) return null;
  const text = String.fromCharCode(...bytes.subarray(start, start + length));
  if (!/^(?:0|-?[1-9][0-9]{0,18})$/.test(text)) return null;
  const value = BigInt(text);
  return value >= INT64_MIN && value <= INT64_MAX ? value : null;
}
