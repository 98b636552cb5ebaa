/**
 * Numbers in JSON that a double cannot hold. `JSON.parse` rounds 12345678901234567890 without a word; what is then written to the database, and read back by
 * everyone, is another number. A gateway must not do that for clients whose languages can count further, so such a body is refused.
 */

/** Strings, which are passed over, and numbers. */
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/gs;

/**
 * The first number of `json` that would not come back as it is written, or null. O(length).
 * @param json a text that JSON.parse accepts
 */
export function findInexactNumber(json: string): string | null {
  for (const [token] of json.matchAll(TOKENS)) {
    if (token.startsWith('"') || token.length < 16) {
      // Up to 15 significant digits are exact, unless the exponent is out of range.
      if (token.startsWith('"') || !/[eE]/.test(token)) continue;
    }
    const value = Number(token);
    if (!Number.isFinite(value) || canonical(token) !== canonical(String(value))) return token;
  }
  return null;
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
