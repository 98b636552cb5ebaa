/**
 * What JSON can say and JavaScript cannot hold. `JSON.parse` rounds 12345678901234567890 without a word; what is then written to the database, and read back by
 * everyone, is another number. A gateway must not do that for clients whose languages can count further, so such a body is refused. So is one that is nested so deep
 * that writing it out again would end the stack.
 */

const MAX_DEPTH = 500;

/**
 * Why `json` would not be kept as it is, or null: a number that would be rounded, as it is written, or too many levels. One pass, without a stack.
 * @param json a text that JSON.parse accepts
 */
export function findLossIn(json: string): { readonly number: string } | { readonly depth: number } | null {
  let depth = 0;
  let at = 0;
  while (at < json.length) {
    const unit = json.charCodeAt(at);
    if (unit === QUOTE) at = endOfString(json, at);
    else if (unit === MINUS || isDigit(unit)) {
      const end = endOfNumber(json, at);
      const token = json.slice(at, end);
      if (isRounded(token)) return { number: token };
      at = end;
    } else {
      if (unit === BRACE || unit === BRACKET) {
        depth += 1;
        if (depth > MAX_DEPTH) return { depth };
      } else if (unit === BRACE_END || unit === BRACKET_END) depth -= 1;
      at += 1;
    }
  }
  return null;
}

const QUOTE = 0x22;
const MINUS = 0x2d;
const BACKSLASH = 0x5c;
const BRACE = 0x7b;
const BRACE_END = 0x7d;
const BRACKET = 0x5b;
const BRACKET_END = 0x5d;

function isDigit(unit: number): boolean {
  return unit >= 0x30 && unit <= 0x39;
}

function endOfString(json: string, from: number): number {
  let at = from + 1;
  while (json.charCodeAt(at) !== QUOTE) at += json.charCodeAt(at) === BACKSLASH ? 2 : 1;
  return at + 1;
}

/** Digits, signs, the point and the exponent. */
function endOfNumber(json: string, from: number): number {
  let at = from + 1;
  while (at < json.length && /[\d.eE+-]/.test(json[at]!)) at += 1;
  return at;
}

function isRounded(token: string): boolean {
  // Up to 15 significant digits are exact, unless there is an exponent, which may be out of range.
  if (token.length <= 15 && !/[eE]/.test(token)) return false;
  const value = Number(token);
  return !Number.isFinite(value) || canonical(token) !== canonical(String(value));
}

/** Digits without leading and trailing zeros, and the exponent of the last of them: `1.50e3` -> `15e2`. */
function canonical(token: string): string {
  const [, sign = '', whole = '', part = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(token) ?? [];
  const digits = (whole + part).replace(/^0+/, '');
  const kept = digits.replace(/0+$/, '');
  if (kept === '') return '0';
  return `${sign}${kept}e${Number(exponent) - part.length + (digits.length - kept.length)}`;
}
