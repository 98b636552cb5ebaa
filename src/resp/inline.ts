/**
 * Splits an inline command (`SET greeting "hello world"\r\n`, typed over telnet) into arguments with the quoting rules of Redis's
 * sdssplitargs: "..." knows \n \r \t \b \a \xHH and \<any>, '...' knows only \', and a closing quote must be followed by
 * a blank or the end of the line.
 *
 * A line without quotes is split in place; one with quotes is unescaped into a fresh array (never longer than the line).
 */
import { type Args, growArgs } from './args.ts';

/** Result of `splitInline`: `args` is filled (possibly with no argument). */
export const SPLIT = 0;
/** Result of `splitInline`: a quote is open at the end of the line, or closed in the middle of a word. */
export const UNBALANCED_QUOTES = -1;

const DOUBLE_QUOTE = 34;
const SINGLE_QUOTE = 39;
const BACKSLASH = 92;

/** Fills `args` with the words of `bytes[start..end)`, which holds no line end. O(n). */
export function splitInline(bytes: Uint8Array, start: number, end: number, args: Args): number {
  args.bytes = bytes;
  args.count = 0;
  let p = start;
  for (;;) {
    while (p < end && isSpace(bytes[p]!)) p += 1;
    if (p === end) return SPLIT;
    const from = p;
    while (p < end && !endsWord(bytes[p]!)) {
      if (bytes[p] === DOUBLE_QUOTE || bytes[p] === SINGLE_QUOTE) return splitQuoted(bytes, start, end, args);
      p += 1;
    }
    push(args, from, p - from);
  }
}

/** As `splitInline`, for a line with quotes: words are unescaped into an array of their own. */
function splitQuoted(bytes: Uint8Array, start: number, end: number, args: Args): number {
  const words = new Uint8Array(end - start);
  let length = 0;
  args.bytes = words;
  args.count = 0;
  let p = start;
  for (;;) {
    while (p < end && isSpace(bytes[p]!)) p += 1;
    if (p === end) return SPLIT;
    const from = length;
    let quote = 0;
    for (;;) {
      if (p === end) {
        if (quote !== 0) return UNBALANCED_QUOTES;
        break;
      }
      const byte = bytes[p]!;
      if (quote === 0) {
        if (endsWord(byte)) break;
        if (byte === DOUBLE_QUOTE || byte === SINGLE_QUOTE) quote = byte;
        else words[length++] = byte;
        p += 1;
      } else if (byte === quote) {
        p += 1;
        if (p < end && !isSpace(bytes[p]!)) return UNBALANCED_QUOTES;
        break;
      } else if (byte === BACKSLASH && quote === SINGLE_QUOTE && p + 1 < end && bytes[p + 1] === SINGLE_QUOTE) {
        words[length++] = SINGLE_QUOTE;
        p += 2;
      } else if (byte === BACKSLASH && quote === DOUBLE_QUOTE && p + 1 < end) {
        const high = p + 3 < end && bytes[p + 1] === 120 ? hexDigit(bytes[p + 2]!) : -1;
        const low = high >= 0 ? hexDigit(bytes[p + 3]!) : -1;
        if (low >= 0) {
          words[length++] = high * 16 + low;
          p += 4;
        } else {
          words[length++] = unescaped(bytes[p + 1]!);
          p += 2;
        }
      } else {
        words[length++] = byte;
        p += 1;
      }
    }
    push(args, from, length - from);
  }
}

function push(args: Args, start: number, length: number): void {
  const count = args.count;
  if (count === args.start.length) growArgs(args);
  args.start[count] = start;
  args.length[count] = length;
  args.count = count + 1;
}

/** C's isspace: what separates words. */
function isSpace(byte: number): boolean {
  return byte === 32 || (byte >= 9 && byte <= 13);
}

/** What ends a word outside quotes: not all of isspace (\v and \f do not), as in sdssplitargs. */
function endsWord(byte: number): boolean {
  return byte === 32 || byte === 9 || byte === 10 || byte === 13;
}

function hexDigit(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

function unescaped(byte: number): number {
  switch (byte) {
    case 110:
      return 10;
    case 114:
      return 13;
    case 116:
      return 9;
    case 98:
      return 8;
    case 97:
      return 7;
    default:
      return byte;
  }
}
