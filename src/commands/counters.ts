/**
 * Counters: INCR and its kin, 64-bit and exact. The value is read from the arena into a few bytes, added to as a JavaScript number while
 * that is exact, and as a BigInt only beyond 2^53. The expiry and the tags of the entry stay.
 */
import type { Args } from '../resp/parser.ts';
import { putInteger, type ReplyWriter } from '../resp/writer.ts';
import type { Context } from './context.ts';
import { addDecimals, DECIMAL_OVERFLOW, NOT_DECIMAL } from './decimals.ts';
import { DECREMENT_OVERFLOW, INCREMENT_OVERFLOW, NOT_FLOAT, NOT_INTEGER } from './errors.ts';
import { bigIntegerAt, INT64_MAX, INT64_MIN, integerAt } from './numbers.ts';
import type { Session } from './session.ts';
import { latinOf } from './words.ts';
import { store } from './write.ts';

/** A 64-bit integer has at most 20 characters. */
const digits = new Uint8Array(32);

export function incr(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  add(context, args, 1, null, out);
}

export function decr(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  add(context, args, -1, null, out);
}

/** INCRBY key amount */
export function incrby(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const amount = integerAt(args.bytes, args.start[2]!, args.length[2]!);
  if (Number.isNaN(amount)) out.error(NOT_INTEGER);
  else if (Number.isFinite(amount)) add(context, args, amount, null, out);
  else add(context, args, 0, bigIntegerAt(args.bytes, args.start[2]!, args.length[2]!), out);
}

/** DECRBY key amount */
export function decrby(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const amount = integerAt(args.bytes, args.start[2]!, args.length[2]!);
  if (Number.isNaN(amount)) {
    out.error(NOT_INTEGER);
  } else if (Number.isFinite(amount)) {
    add(context, args, -amount, null, out);
  } else {
    const exact = bigIntegerAt(args.bytes, args.start[2]!, args.length[2]!)!;
    if (exact === INT64_MIN) out.error(DECREMENT_OVERFLOW);
    else add(context, args, 0, -exact, out);
  }
}

/** Adds `amount`, or `bigAmount` where it is not null, and answers the sum. */
function add(context: Context, args: Args, amount: number, bigAmount: bigint | null, out: ReplyWriter): void {
  const engine = context.store;
  const ref = engine.peek(args.bytes, args.start[1]!, args.length[1]!, context.nowMs);
  let value = 0;
  let size = 0;
  if (ref !== 0) {
    size = engine.valueLength(ref);
    if (size > 20) {
      out.error(NOT_INTEGER);
      return;
    }
    engine.copyValue(ref, digits, 0);
    value = integerAt(digits, 0, size);
    if (Number.isNaN(value)) {
      out.error(NOT_INTEGER);
      return;
    }
  }
  const sum = value + amount;
  if (bigAmount !== null || !Number.isSafeInteger(sum)) {
    addExactly(context, args, ref, ref === 0 ? 0n : bigIntegerAt(digits, 0, size)!, bigAmount ?? BigInt(amount), out);
    return;
  }
  const written = putInteger(digits, 0, sum);
  if (keep(context, args, ref, written, out)) out.integer(sum);
}

function addExactly(context: Context, args: Args, ref: number, value: bigint, amount: bigint, out: ReplyWriter): void {
  const sum = value + amount;
  if (sum > INT64_MAX || sum < INT64_MIN) {
    out.error(INCREMENT_OVERFLOW);
    return;
  }
  if (keep(context, args, ref, putText(sum.toString()), out)) out.integer64(sum);
}

/** INCRBYFLOAT key amount */
export function incrbyfloat(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const engine = context.store;
  const ref = engine.peek(args.bytes, args.start[1]!, args.length[1]!, context.nowMs);
  let value = '0';
  if (ref !== 0) {
    const size = engine.valueLength(ref);
    const scratch = context.scratch(size);
    engine.copyValue(ref, scratch, 0);
    if (size > 256) {
      out.error(NOT_FLOAT);
      return;
    }
    value = String.fromCharCode(...scratch.subarray(0, size));
  }
  const sum = addDecimals(value, latinOf(args, 2));
  if (sum === NOT_DECIMAL) {
    out.error(NOT_FLOAT);
    return;
  }
  if (sum === DECIMAL_OVERFLOW) {
    out.error('ERR increment would produce NaN or Infinity');
    return;
  }
  const bytes = new TextEncoder().encode(sum);
  const expiresAtMs = ref === 0 ? 0 : engine.expiresAtMs(ref);
  const tags = ref === 0 ? null : context.tagsOf(ref);
  if (store(context, args, 1, bytes, 0, bytes.length, expiresAtMs, tags, out)) out.bulk(bytes, 0, bytes.length);
}

/** Stores `digits[0 .. size)` under the key, with the expiry and tags that it had. */
function keep(context: Context, args: Args, ref: number, size: number, out: ReplyWriter): boolean {
  const expiresAtMs = ref === 0 ? 0 : context.store.expiresAtMs(ref);
  const tags = ref === 0 ? null : context.tagsOf(ref);
  return store(context, args, 1, digits, 0, size, expiresAtMs, tags, out);
}

function putText(text: string): number {
  for (let i = 0; i < text.length; i += 1) digits[i] = text.charCodeAt(i);
  return text.length;
}
