/**
 * Sums of decimal fractions for INCRBYFLOAT, exact: 0.1 + 0.2 is 0.3. JavaScript's doubles would say 0.30000000000000004, and Redis's
 * 80-bit `long double` printed with 17 decimals says 0.3. Text is taken apart into an integer and a power of ten, added as BigInts,
 * and cut to 17 decimals as Redis prints them.
 */

/** `addDecimals`: one of the two is no number, or longer than is sensible. */
export const NOT_DECIMAL = '';
/** `addDecimals`: one of the two is infinite or the sum larger than a number may be. */
export const DECIMAL_OVERFLOW = 'overflow';

/** Decimals that Redis prints (LD_STR_HUMAN: "%.17Lf", then zeros cut). */
const DECIMALS = 17;
/** Exponents beyond this are refused: they would make a text of that many digits. */
const MAX_EXPONENT = 308;

const NUMBER = /^([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]{1,6}))?$/;
const INFINITE = /^[+-]?inf(?:inity)?$/i;

/** The sum of two numbers given as text, as text without needless zeros; or NOT_DECIMAL, DECIMAL_OVERFLOW. */
export function addDecimals(a: string, b: string): string {
  if (INFINITE.test(a) || INFINITE.test(b)) return DECIMAL_OVERFLOW;
  const x = scaled(a);
  const y = scaled(b);
  if (x === null || y === null) return NOT_DECIMAL;
  const places = Math.max(x.places, y.places, DECIMALS);
  const sum = x.digits * 10n ** BigInt(places - x.places) + y.digits * 10n ** BigInt(places - y.places);
  const text = fixed(rounded(sum, places - DECIMALS));
  return text.length > MAX_EXPONENT + DECIMALS + 3 ? DECIMAL_OVERFLOW : text;
}

/** `digits / 10 ** places`, or null. */
function scaled(text: string): { digits: bigint; places: number } | null {
  const match = NUMBER.exec(text);
  if (match === null || text.length > 400) return null;
  const [, sign, whole = '', fraction = '', exponent = '0'] = match;
  if (whole === '' && fraction === '') return null;
  const power = Number(exponent);
  if (Math.abs(power) > MAX_EXPONENT) return null;
  const digits = BigInt(`${whole}${fraction}`) * (sign === '-' ? -1n : 1n);
  const places = fraction.length - power;
  return places >= 0 ? { digits, places } : { digits: digits * 10n ** BigInt(-places), places: 0 };
}

/** Drops `extra` digits, to the nearest, ties to even as the C library rounds. */
function rounded(value: bigint, extra: number): bigint {
  if (extra === 0) return value;
  const unit = 10n ** BigInt(extra);
  const negative = value < 0n;
  const magnitude = negative ? -value : value;
  let quotient = magnitude / unit;
  const twice = (magnitude % unit) * 2n;
  if (twice > unit || (twice === unit && (quotient & 1n) === 1n)) quotient += 1n;
  return negative ? -quotient : quotient;
}

/** The text of `value / 10^17` without trailing zeros; never `-0`. */
function fixed(value: bigint): string {
  const negative = value < 0n;
  const text = (negative ? -value : value).toString().padStart(DECIMALS + 1, '0');
  const fraction = text.slice(-DECIMALS).replace(/0+$/, '');
  const whole = text.slice(0, -DECIMALS);
  return `${negative ? '-' : ''}${whole}${fraction === '' ? '' : `.${fraction}`}`;
}
