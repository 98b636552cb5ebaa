/**
 * Errors that show the client's own bytes. They are copied as they are (Redis does no decoding either), up to their first NUL, with
 * line ends as blanks: an error is one line, whatever was sent.
 */
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';

/** Redis shows this much of a command's name and of its arguments. */
export const SHOWN_BYTES = 128;

/** `-<before><argument index><after>`. */
export function errorShowing(before: string, args: Args, index: number, after: string, out: ReplyWriter): void {
  beginError(before, out);
  show(args, index, SHOWN_BYTES, out);
  putText(after, out);
  endError(out);
}

export function beginError(text: string, out: ReplyWriter): void {
  putByte(out, 45);
  putText(text, out);
}

export function endError(out: ReplyWriter): void {
  putByte(out, 13);
  putByte(out, 10);
}

/** Appends at most `most` bytes of argument `index`; returns how many. */
export function show(args: Args, index: number, most: number, out: ReplyWriter): number {
  const start = args.start[index]!;
  const size = Math.min(args.length[index]!, most);
  for (let i = 0; i < size; i += 1) {
    const byte = args.bytes[start + i]!;
    if (byte === 0) return i;
    putByte(out, byte === 13 || byte === 10 ? 32 : byte);
  }
  return size;
}

/** Appends ASCII text. */
export function putText(ascii: string, out: ReplyWriter): void {
  for (let i = 0; i < ascii.length; i += 1) putByte(out, ascii.charCodeAt(i));
}

function putByte(out: ReplyWriter, byte: number): void {
  out.reserve(1);
  out.bytes[out.length] = byte;
  out.length += 1;
}
