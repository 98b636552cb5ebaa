/**
 * Executes one request: finds the row, checks the number of arguments, calls the function, counts. The one place through which every
 * command of every connection goes, so it makes no string and allocates nothing for a command that exists.
 */
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { CommandFunction, Context } from './context.ts';
import { beginError, endError, putText, SHOWN_BYTES, show } from './echo.ts';
import { wrongArity } from './errors.ts';
import { NameIndex } from './name-index.ts';
import { ASIDE, HELD, HERE, REFUSED, type Redirect, redirectOf } from './redirect.ts';
import type { Session } from './session.ts';
import { COMMANDS } from './table.ts';

const INDEX = new NameIndex(COMMANDS.map((row) => row.name));
/** A web page can make a browser post to this port, and the lines of the body would be commands: as in Redis, HTTP ends the connection. */
const HTTP_INDEX = new NameIndex(['post', 'host:']);
const RUN: readonly CommandFunction[] = COMMANDS.map((row) => row.run);
/** In a cluster: is another member the one to execute it? */
const REDIRECT: readonly Redirect[] = COMMANDS.map(redirectOf);
/** Fewest and most arguments, the name included. */
const FEWEST = Int32Array.from(COMMANDS, (row) => Math.abs(row.arity));
const MOST = Int32Array.from(COMMANDS, (row) => (row.arity > 0 ? row.arity : 0x7fff_ffff));

const MINUS = 45;

/** Rows of the table, for the counters in `Context`. */
export const COMMAND_COUNT = COMMANDS.length;

/** Executes the request in `args`, says which member to ask instead, or has that member asked or waits until that is known (both without a reply), at `nowMs` (whole milliseconds) and appends exactly one reply to `out`. */
export function execute(context: Context, session: Session, args: Args, out: ReplyWriter, nowMs: number): void {
  context.nowMs = nowMs;
  context.commandsProcessed += 1;
  const row = INDEX.find(args.bytes, args.start[0]!, args.length[0]!);
  if (row < 0) {
    context.unknownCommands += 1;
    context.errorReplies += 1;
    if (HTTP_INDEX.find(args.bytes, args.start[0]!, args.length[0]!) >= 0) {
      context.protocolErrors += 1;
      session.closing = true;
      out.error('ERR Protocol error: this is an HTTP request, and this port speaks RESP');
    } else unknownCommand(args, out);
    return;
  }
  session.lastCommand = row;
  if (args.count < FEWEST[row]! || args.count > MOST[row]!) {
    context.rejections[row] = context.rejections[row]! + 1;
    context.errorReplies += 1;
    out.error(wrongArity(COMMANDS[row]!.name));
    return;
  }
  if (context.cluster !== null) {
    const where = REDIRECT[row]!(context.cluster, session, args, out);
    if (where !== HERE) {
      // It comes again.
      if (where === HELD) context.commandsProcessed -= 1;
      if (where === ASIDE) context.calls[row] = context.calls[row]! + 1;
      if (where === REFUSED) {
        context.rejections[row] = context.rejections[row]! + 1;
        context.errorReplies += 1;
      }
      return;
    }
  }
  context.calls[row] = context.calls[row]! + 1;
  const replyAt = out.length;
  RUN[row]!(context, session, args, out);
  if (out.bytes[replyAt] === MINUS) {
    context.failures[row] = context.failures[row]! + 1;
    context.errorReplies += 1;
  }
}

/** Redis's text, byte for byte, whatever the bytes of name and arguments. */
function unknownCommand(args: Args, out: ReplyWriter): void {
  beginError("ERR unknown command '", out);
  show(args, 0, SHOWN_BYTES, out);
  putText("', with args beginning with: ", out);
  let shown = 0;
  for (let i = 1; i < args.count && shown < SHOWN_BYTES; i += 1) {
    putText("'", out);
    shown += show(args, i, SHOWN_BYTES - shown, out) + 3;
    putText("' ", out);
  }
  endError(out);
}
