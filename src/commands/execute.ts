/**
 * Executes one request: finds the row, checks the number of arguments, calls the function, counts. The one place through which every
 * command of every connection goes, so it makes no string and allocates nothing for a command that exists.
 */
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { CommandFunction, Context } from './context.ts';
import { wrongArity } from './errors.ts';
import { NameIndex } from './name-index.ts';
import type { Session } from './session.ts';
import { COMMANDS } from './table.ts';

const INDEX = new NameIndex(COMMANDS.map((row) => row.name));
const RUN: readonly CommandFunction[] = COMMANDS.map((row) => row.run);
/** Fewest and most arguments, the name included. */
const FEWEST = Int32Array.from(COMMANDS, (row) => Math.abs(row.arity));
const MOST = Int32Array.from(COMMANDS, (row) => (row.arity > 0 ? row.arity : 0x7fff_ffff));

const MINUS = 45;

/** Rows of the table, for the counters in `Context`. */
export const COMMAND_COUNT = COMMANDS.length;

/** Executes the request in `args` at `nowMs` (whole milliseconds) and appends exactly one reply to `out`. */
export function execute(context: Context, session: Session, args: Args, out: ReplyWriter, nowMs: number): void {
  context.nowMs = nowMs;
  context.commandsProcessed += 1;
  const row = INDEX.find(args.bytes, args.start[0]!, args.length[0]!);
  if (row < 0) {
    context.unknownCommands += 1;
    context.errorReplies += 1;
    unknownCommand(args, out);
    return;
  }
  session.lastCommand = row;
  if (args.count < FEWEST[row]! || args.count > MOST[row]!) {
    context.rejections[row] = context.rejections[row]! + 1;
    context.errorReplies += 1;
    out.error(wrongArity(COMMANDS[row]!.name));
    return;
  }
  context.calls[row] = context.calls[row]! + 1;
  const replyAt = out.length;
  RUN[row]!(context, session, args, out);
  if (out.bytes[replyAt] === MINUS) {
    context.failures[row] = context.failures[row]! + 1;
    context.errorReplies += 1;
  }
}

/** How much of the name and of the arguments an error shows. */
const SHOWN_BYTES = 128;
const encoder = new TextEncoder();
const BEFORE_NAME = encoder.encode("-ERR unknown command '");
const AFTER_NAME = encoder.encode("', with args beginning with: ");

/** Redis's text, byte for byte, whatever the bytes of name and arguments: each shown up to its first NUL, line ends as blanks. */
function unknownCommand(args: Args, out: ReplyWriter): void {
  out.raw(BEFORE_NAME);
  show(args, 0, SHOWN_BYTES, out);
  out.raw(AFTER_NAME);
  let shown = 0;
  for (let i = 1; i < args.count && shown < SHOWN_BYTES; i += 1) {
    putByte(out, 39);
    const size = show(args, i, SHOWN_BYTES - shown, out);
    putByte(out, 39);
    putByte(out, 32);
    shown += size + 3;
  }
  putByte(out, 13);
  putByte(out, 10);
}

function show(args: Args, index: number, most: number, out: ReplyWriter): number {
  const start = args.start[index]!;
  const size = Math.min(args.length[index]!, most);
  let i = 0;
  for (; i < size; i += 1) {
    const byte = args.bytes[start + i]!;
    if (byte === 0) break;
    putByte(out, byte === 13 || byte === 10 ? 32 : byte);
  }
  return i;
}

function putByte(out: ReplyWriter, byte: number): void {
  out.reserve(1);
  out.bytes[out.length] = byte;
  out.length += 1;
}
