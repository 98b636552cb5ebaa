/**
 * Glob patterns over bytes, as Redis's `stringmatchlen`: `*`, `?`, `[abc]`, `[^a-z]`, `\x`. Used by KEYS, SCAN MATCH and CONFIG GET.
 *
 * Redis's version recurses at each `*` and needs exponential time for `a*a*a*...b`. Here the last `*` alone is tried again at
 * the next byte, which is enough because a later `*` can take whatever an earlier one could: O(pattern * text), no stack.
 */

const STAR = 42;
const QUESTION = 63;
const OPEN = 91;
const CLOSE = 93;
const CARET = 94;
const BACKSLASH = 92;
const DASH = 45;

/** Does `text[ts .. ts + tl)` match `pattern[ps .. ps + pl)`? */
export function globMatches(
  pattern: Uint8Array,
  ps: number,
  pl: number,
  text: Uint8Array,
  ts: number,
  tl: number,
  ignoreCase = false,
): boolean {
  const pEnd = ps + pl;
  const tEnd = ts + tl;
  let p = ps;
  let t = ts;
  let retryPattern = -1;
  let retryText = 0;
  for (;;) {
    if (p < pEnd && pattern[p] === STAR) {
      while (p < pEnd && pattern[p] === STAR) p += 1;
      if (p === pEnd) return true;
      retryPattern = p;
      retryText = t;
      continue;
    }
    if (t === tEnd) return p === pEnd;
    const after = p < pEnd ? matchOne(pattern, p, pEnd, text[t]!, ignoreCase) : -1;
    if (after >= 0) {
      p = after;
      t += 1;
    } else {
      if (retryPattern < 0) return false;
      retryText += 1;
      t = retryText;
      p = retryPattern;
    }
  }
}

/** Matches one byte against the pattern element at `p`; returns where the next element begins, or -1. */
function matchOne(pattern: Uint8Array, p: number, pEnd: number, byte: number, ignoreCase: boolean): number {
  const element = pattern[p]!;
  if (element === QUESTION) return p + 1;
  if (element === OPEN) return matchClass(pattern, p + 1, pEnd, byte, ignoreCase);
  if (element === BACKSLASH && p + 1 < pEnd) return same(pattern[p + 1]!, byte, ignoreCase) ? p + 2 : -1;
  return same(element, byte, ignoreCase) ? p + 1 : -1;
}

/** `[...]` from behind the bracket; an unclosed class ends with the pattern, as in Redis. */
function matchClass(pattern: Uint8Array, from: number, pEnd: number, byte: number, ignoreCase: boolean): number {
  let p = from;
  const not = p < pEnd && pattern[p] === CARET;
  if (not) p += 1;
  let found = false;
  for (;;) {
    if (p >= pEnd) return found !== not ? pEnd : -1;
    const element = pattern[p]!;
    if (element === BACKSLASH && p + 1 < pEnd) {
      p += 1;
      // Redis compares an escaped byte of a class exactly, even without regard to case elsewhere.
      if (pattern[p] === byte) found = true;
    } else if (element === CLOSE) {
      return found !== not ? p + 1 : -1;
    } else if (p + 2 < pEnd && pattern[p + 1] === DASH) {
      // Redis compares C's signed chars here: bytes from 128 on come before 0.
      const a = (fold(element, ignoreCase) << 24) >> 24;
      const b = (fold(pattern[p + 2]!, ignoreCase) << 24) >> 24;
      const c = (fold(byte, ignoreCase) << 24) >> 24;
      if (c >= Math.min(a, b) && c <= Math.max(a, b)) found = true;
      p += 2;
    } else if (same(element, byte, ignoreCase)) {
      found = true;
    }
    p += 1;
  }
}

function same(a: number, b: number, ignoreCase: boolean): boolean {
  return a === b || (ignoreCase && fold(a, true) === fold(b, true));
}

function fold(byte: number, ignoreCase: boolean): number {
  return ignoreCase && byte >= 65 && byte <= 90 ? byte + 32 : byte;
}
