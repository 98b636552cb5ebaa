/**
 * Words in arguments (command names, options), compared by their bytes whatever their case, and text made from bytes where
 * a reply needs it. A word is kept as its lower-case ASCII bytes.
 */
import type { Args } from '../resp/parser.ts';

const utf8 = new TextEncoder();
const decoder = new TextDecoder();

/** The lower-case bytes of an ASCII word. */
export function word(text: string): Uint8Array {
  return utf8.encode(text.toLowerCase());
}

/** Is `bytes[start .. start + length)` this word, in any case? */
export function isWord(bytes: Uint8Array, start: number, length: number, lower: Uint8Array): boolean {
  if (length !== lower.length) return false;
  for (let i = 0; i < length; i += 1) {
    const expected = lower[i]!;
    const got = bytes[start + i]!;
    // Only letters have two cases: `got | 32` alone would take a control character for a punctuation mark.
    if (got !== expected && (got + 32 !== expected || got < 65 || got > 90)) return false;
  }
  return true;
}

/** Is argument `index` this word? */
export function argIs(args: Args, index: number, lower: Uint8Array): boolean {
  return isWord(args.bytes, args.start[index]!, args.length[index]!, lower);
}

/** Argument `index` as UTF-8 text; not for the hot path. */
export function textOf(args: Args, index: number): string {
  const start = args.start[index]!;
  return decoder.decode(args.bytes.subarray(start, start + args.length[index]!));
}

/** Argument `index` with one character a byte, so that any bytes survive; not for the hot path. */
export function latinOf(args: Args, index: number): string {
  let text = '';
  const start = args.start[index]!;
  const end = start + args.length[index]!;
  for (let at = start; at < end; at += 1) text += String.fromCharCode(args.bytes[at]!);
  return text;
}
