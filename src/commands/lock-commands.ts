/**
 * BW.LOCK, BW.RENEW, BW.UNLOCK: locks with fencing tokens, kept beside the store (freshness/lock-table.ts).
 */
import { LOCKS_FULL } from '../freshness/lock-table.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { Context } from './context.ts';
import { NOT_INTEGER } from './errors.ts';
import { integerAt } from './numbers.ts';
import type { Session } from './session.ts';

/** A day: a lock is for work that ends. */
const MAX_LOCK_MS = 86_400_000;
const MAX_NAME_BYTES = 512;
const MAX_OWNER_BYTES = 64;
const TOO_LONG = `ERR invalid lock: a name has 1 to ${MAX_NAME_BYTES} bytes, an owner 1 to ${MAX_OWNER_BYTES}`;
const FULL = 'LOCKSFULL no room for another lock: too many are held';

/** BW.LOCK name owner ms */
export function bwLock(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const ms = read(args, out);
  if (ms === 0) return;
  const got = context.locks.acquire(textAt(args, 1), textAt(args, 2), ms, context.nowMs);
  if (got === LOCKS_FULL) {
    out.error(FULL);
    return;
  }
  out.array(2);
  if (got > 0) {
    out.integer(got);
    out.integer(ms);
  } else {
    out.nullBulk();
    out.integer(-got);
  }
}

/** BW.RENEW name owner ms */
export function bwRenew(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const ms = read(args, out);
  if (ms === 0) return;
  out.integer(context.locks.renew(textAt(args, 1), textAt(args, 2), ms, context.nowMs) ? 1 : 0);
}

/** BW.UNLOCK name owner */
export function bwUnlock(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  if (!areNamed(args, out)) return;
  out.integer(context.locks.release(textAt(args, 1), textAt(args, 2), context.nowMs) ? 1 : 0);
}

/** The milliseconds, or 0 after an error was written. */
function read(args: Args, out: ReplyWriter): number {
  if (!areNamed(args, out)) return 0;
  const ms = integerAt(args.bytes, args.start[3]!, args.length[3]!);
  if (ms >= 1 && ms <= MAX_LOCK_MS) return ms;
  out.error(NOT_INTEGER);
  return 0;
}

function areNamed(args: Args, out: ReplyWriter): boolean {
  const [name, owner] = [args.length[1]!, args.length[2]!];
  if (name >= 1 && name <= MAX_NAME_BYTES && owner >= 1 && owner <= MAX_OWNER_BYTES) return true;
  out.error(TOO_LONG);
  return false;
}

/** Bytes as characters, one each: names that differ in a byte differ, whatever their encoding. */
function textAt(args: Args, index: number): string {
  let text = '';
  const start = args.start[index]!;
  for (let i = 0; i < args.length[index]!; i += 1) text += String.fromCharCode(args.bytes[start + i]!);
  return text;
}
