/**
 * Strings: GET, SET and what is made of them. The two hot paths, `get` and `set` without options, come first; they read
 * straight down, make no string and allocate nothing.
 */

import { STORED } from '../engine/face.ts';
import { HELD_OFF, REFUSED, WRITE } from '../freshness/plain-set.ts';
import type { Args } from '../resp/parser.ts';
import { REPLY_OK, REPLY_ONE, REPLY_ZERO, type ReplyWriter } from '../resp/writer.ts';
import { type Context, MAX_REPLY_BYTES } from './context.ts';
import { invalidExpire, NOT_INTEGER, REPLY_TOO_LARGE, STRING_TOO_LONG, SYNTAX, wrongArity } from './errors.ts';
import { momentAt } from './expiry.ts';
import { bigIntegerAt, integerAt } from './numbers.ts';
import type { Session } from './session.ts';
import { argIs, word } from './words.ts';
import { judgePlainSet, refuse, remove, store } from './write.ts';

const NX = word('nx');
const XX = word('xx');
const GET = word('get');
const KEEPTTL = word('keepttl');
const PERSIST = word('persist');
const EX = word('ex');
const PX = word('px');
const EXAT = word('exat');
const PXAT = word('pxat');

/** GET key */
export function get(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const engine = context.store;
  const ref = engine.find(args.bytes, args.start[1]!, args.length[1]!, context.nowMs);
  if (ref === 0) {
    out.nullBulk();
    return;
  }
  const size = engine.valueLength(ref);
  const at = out.beginBulk(size);
  engine.copyValue(ref, out.bytes, at);
  out.endBulk(size);
}

/** SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL] */
export function set(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  if (args.count !== 3) {
    setWithOptions(context, session, args, out);
    return;
  }
  const { bytes, start, length } = args;
  const keyStart = start[1]!;
  const keyLength = length[1]!;
  if (context.plainSets.isActive) {
    const verdict = judgePlainSet(context, args, 1, out);
    if (verdict === HELD_OFF) out.nullBulk();
    if (verdict !== WRITE) return;
  }
  const freshness = context.freshness;
  if (freshness.leases.live !== 0 || freshness.listener !== null || freshness.sources.size !== 0) {
    freshness.voidKey(bytes, keyStart, keyLength);
  }
  const result = context.store.set(bytes, keyStart, keyLength, bytes, start[2]!, length[2]!, 0, context.nowMs, 0, null);
  if (result === STORED) out.raw(REPLY_OK);
  else refuse(context, keyLength, length[2]!, result, out);
}

/** Options of SET and GETEX as bits. */
const HAS_NX = 1;
const HAS_XX = 2;
const HAS_GET = 4;
const HAS_KEEPTTL = 8;
const HAS_PERSIST = 16;
const HAS_EX = 32;
const HAS_PX = 64;
const HAS_EXAT = 128;
const HAS_PXAT = 256;
const HAS_EXPIRY = HAS_EX | HAS_PX | HAS_EXAT | HAS_PXAT;

/** Where the last `readOptions` found the expiry's number; 0 = none. */
let expiryIndex = 0;

/** Options from argument `from` on as bits, or -1 for a syntax error. Redis's parseExtendedStringArgumentsOrReply. */
function readOptions(args: Args, from: number, allowed: number): number {
  let bits = 0;
  expiryIndex = 0;
  for (let i = from; i < args.count; i += 1) {
    const hasNext = i + 1 < args.count;
    let bit = 0;
    let against = 0;
    if (argIs(args, i, NX)) {
      bit = HAS_NX;
      against = HAS_XX;
    } else if (argIs(args, i, XX)) {
      bit = HAS_XX;
      against = HAS_NX;
    } else if (argIs(args, i, GET)) {
      bit = HAS_GET;
    } else if (argIs(args, i, KEEPTTL)) {
      bit = HAS_KEEPTTL;
      against = HAS_EXPIRY | HAS_PERSIST;
    } else if (argIs(args, i, PERSIST)) {
      bit = HAS_PERSIST;
      against = HAS_EXPIRY | HAS_KEEPTTL;
    } else {
      if (argIs(args, i, EX)) bit = HAS_EX;
      else if (argIs(args, i, PX)) bit = HAS_PX;
      else if (argIs(args, i, EXAT)) bit = HAS_EXAT;
      else if (argIs(args, i, PXAT)) bit = HAS_PXAT;
      if (bit === 0 || !hasNext) return -1;
      against = (HAS_EXPIRY & ~bit) | HAS_KEEPTTL | HAS_PERSIST;
      expiryIndex = i + 1;
      i += 1;
    }
    if ((bit & allowed) === 0 || (bits & against) !== 0) return -1;
    bits |= bit;
  }
  return bits;
}

/** The moment of expiry that the options ask for, 0 = none; NaN after an error was written. */
function expiryOf(context: Context, args: Args, bits: number, command: string, out: ReplyWriter): number {
  if (expiryIndex === 0) return 0;
  const unitMs = (bits & (HAS_EX | HAS_EXAT)) !== 0 ? 1000 : 1;
  const fromMs = (bits & (HAS_EX | HAS_PX)) !== 0 ? context.nowMs : 0;
  const moment = momentAt(args, expiryIndex, unitMs, fromMs, true);
  if (Number.isFinite(moment)) return moment;
  out.error(Number.isNaN(moment) ? NOT_INTEGER : invalidExpire(command));
  return Number.NaN;
}

function setWithOptions(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const bits = readOptions(args, 3, HAS_NX | HAS_XX | HAS_GET | HAS_KEEPTTL | HAS_EXPIRY);
  if (bits < 0) {
    out.error(SYNTAX);
    return;
  }
  let expiresAtMs = expiryOf(context, args, bits, 'set', out);
  if (Number.isNaN(expiresAtMs)) return;
  const engine = context.store;
  const { bytes, start, length } = args;
  const wantsOld = (bits & HAS_GET) !== 0;
  const verdict = judgePlainSet(context, args, 1, out);
  if (verdict === REFUSED) return;
  const replyAt = out.length;
  if (wantsOld) get(context, session, args, out);
  if (verdict === HELD_OFF) {
    if (!wantsOld) out.nullBulk();
    return;
  }
  if ((bits & (HAS_NX | HAS_XX | HAS_KEEPTTL)) !== 0) {
    const ref = engine.peek(bytes, start[1]!, length[1]!, context.nowMs);
    if (((bits & HAS_NX) !== 0 && ref !== 0) || ((bits & HAS_XX) !== 0 && ref === 0)) {
      if (!wantsOld) out.nullBulk();
      return;
    }
    if ((bits & HAS_KEEPTTL) !== 0 && ref !== 0) expiresAtMs = engine.expiresAtMs(ref);
  }
  const after = out.length;
  if (!store(context, args, 1, bytes, start[2]!, length[2]!, expiresAtMs, null, out)) {
    // The error replaces the old value that was written already.
    if (wantsOld) dropBefore(out, replyAt, after);
    return;
  }
  if (!wantsOld) out.raw(REPLY_OK);
}

/** Removes `[from, to)` from what was written. */
function dropBefore(out: ReplyWriter, from: number, to: number): void {
  out.bytes.copyWithin(from, to, out.length);
  out.length -= to - from;
}

/** SETEX key seconds value · PSETEX key milliseconds value */
export function setex(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  setWithTtl(context, args, 1000, 'setex', out);
}

export function psetex(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  setWithTtl(context, args, 1, 'psetex', out);
}

function setWithTtl(context: Context, args: Args, unitMs: number, command: string, out: ReplyWriter): void {
  const moment = momentAt(args, 2, unitMs, context.nowMs, true);
  if (!Number.isFinite(moment)) {
    out.error(Number.isNaN(moment) ? NOT_INTEGER : invalidExpire(command));
    return;
  }
  const verdict = judgePlainSet(context, args, 1, out);
  if (verdict === HELD_OFF) out.nullBulk();
  if (verdict !== WRITE) return;
  if (store(context, args, 1, args.bytes, args.start[3]!, args.length[3]!, moment, null, out)) out.raw(REPLY_OK);
}

/** SETNX key value */
export function setnx(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const { bytes, start, length } = args;
  const verdict = judgePlainSet(context, args, 1, out);
  if (verdict === REFUSED) return;
  if (verdict === HELD_OFF || context.store.peek(bytes, start[1]!, length[1]!, context.nowMs) !== 0) {
    out.raw(REPLY_ZERO);
  } else if (store(context, args, 1, bytes, start[2]!, length[2]!, 0, null, out)) {
    out.raw(REPLY_ONE);
  }
}

/** GETSET key value */
export function getset(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const verdict = judgePlainSet(context, args, 1, out);
  if (verdict === REFUSED) return;
  const replyAt = out.length;
  get(context, session, args, out);
  if (verdict === HELD_OFF) return;
  const after = out.length;
  if (!store(context, args, 1, args.bytes, args.start[2]!, args.length[2]!, 0, null, out)) {
    dropBefore(out, replyAt, after);
  }
}

/** GETDEL key */
export function getdel(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  get(context, session, args, out);
  remove(context, args.bytes, args.start[1]!, args.length[1]!);
}

/** GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST] */
export function getex(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const bits = readOptions(args, 2, HAS_PERSIST | HAS_EXPIRY);
  if (bits < 0) {
    out.error(SYNTAX);
    return;
  }
  const engine = context.store;
  const { bytes, start, length } = args;
  const ref = engine.find(bytes, start[1]!, length[1]!, context.nowMs);
  if (ref === 0) {
    out.nullBulk();
    return;
  }
  const moment = expiryOf(context, args, bits, 'getex', out);
  if (Number.isNaN(moment)) return;
  const size = engine.valueLength(ref);
  const at = out.beginBulk(size);
  engine.copyValue(ref, out.bytes, at);
  out.endBulk(size);
  if ((bits & HAS_EXPIRY) !== 0) {
    if (moment <= context.nowMs) remove(context, bytes, start[1]!, length[1]!);
    else if (engine.setExpiry(ref, moment)) context.freshness.shortened(bytes, start[1]!, length[1]!);
  } else if ((bits & HAS_PERSIST) !== 0 && engine.expiresAtMs(ref) !== 0) {
    engine.setExpiry(ref, 0);
  }
}

/** MGET key [key ...] */
export function mget(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const engine = context.store;
  const { bytes, start, length, count } = args;
  const replyAt = out.length;
  out.array(count - 1);
  for (let i = 1; i < count; i += 1) {
    if (out.length - replyAt > MAX_REPLY_BYTES) {
      out.length = replyAt;
      out.error(REPLY_TOO_LARGE);
      return;
    }
    const ref = engine.find(bytes, start[i]!, length[i]!, context.nowMs);
    if (ref === 0) {
      out.nullBulk();
      continue;
    }
    const size = engine.valueLength(ref);
    const at = out.beginBulk(size);
    engine.copyValue(ref, out.bytes, at);
    out.endBulk(size);
  }
}

/** MSET key value [key value ...]. Without room for all, what was stored before the refusal stays. */
export function mset(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  if ((args.count & 1) === 0) {
    out.error(wrongArity('mset'));
    return;
  }
  const verdict = judgePairs(context, args, out);
  if (verdict === HELD_OFF) out.nullBulk();
  if (verdict === WRITE && storePairs(context, args, out)) out.raw(REPLY_OK);
}

/** MSETNX key value [key value ...] */
export function msetnx(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  if ((args.count & 1) === 0) {
    out.error(wrongArity('msetnx'));
    return;
  }
  const verdict = judgePairs(context, args, out);
  if (verdict === HELD_OFF) out.raw(REPLY_ZERO);
  if (verdict !== WRITE) return;
  for (let i = 1; i < args.count; i += 2) {
    if (context.store.peek(args.bytes, args.start[i]!, args.length[i]!, context.nowMs) !== 0) {
      out.raw(REPLY_ZERO);
      return;
    }
  }
  if (storePairs(context, args, out)) out.raw(REPLY_ONE);
}

/** WRITE when every key may be written; nothing is, else. */
function judgePairs(context: Context, args: Args, out: ReplyWriter): number {
  for (let i = 1; i < args.count; i += 2) {
    const verdict = judgePlainSet(context, args, i, out);
    if (verdict !== WRITE) return verdict;
  }
  return WRITE;
}

function storePairs(context: Context, args: Args, out: ReplyWriter): boolean {
  const { start, length } = args;
  // Sizes first, so that a pair that can never be stored stops the command before it has begun.
  for (let i = 1; i < args.count; i += 2) {
    if (length[i]! > context.settings.maxKeyBytes || length[i + 1]! > context.settings.maxValueBytes) {
      refuse(context, length[i]!, length[i + 1]!, -1, out);
      return false;
    }
  }
  for (let i = 1; i < args.count; i += 2) {
    if (!store(context, args, i, args.bytes, start[i + 1]!, length[i + 1]!, 0, null, out)) return false;
  }
  return true;
}

/** STRLEN key */
export function strlen(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const ref = context.store.find(args.bytes, args.start[1]!, args.length[1]!, context.nowMs);
  out.integer(ref === 0 ? 0 : context.store.valueLength(ref));
}

/** APPEND key value: the expiry and the tags stay. */
export function append(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const engine = context.store;
  const { bytes, start, length } = args;
  const added = length[2]!;
  const ref = engine.peek(bytes, start[1]!, length[1]!, context.nowMs);
  if (ref === 0) {
    if (store(context, args, 1, bytes, start[2]!, added, 0, null, out)) out.integer(added);
    return;
  }
  const before = engine.valueLength(ref);
  const size = before + added;
  if (size > context.settings.maxValueBytes) {
    out.error(STRING_TOO_LONG);
    return;
  }
  const scratch = context.scratch(size);
  engine.copyValue(ref, scratch, 0);
  scratch.set(bytes.subarray(start[2]!, start[2]! + added), before);
  if (store(context, args, 1, scratch, 0, size, engine.expiresAtMs(ref), context.tagsOf(ref), out)) out.integer(size);
}

/** SETRANGE key offset value: zero bytes fill a gap; the expiry and the tags stay. */
export function setrange(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const engine = context.store;
  const { bytes, start, length } = args;
  const offset = integerAt(bytes, start[2]!, length[2]!);
  if (Number.isNaN(offset)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (offset < 0) {
    out.error('ERR offset is out of range');
    return;
  }
  const added = length[3]!;
  const ref = engine.peek(bytes, start[1]!, length[1]!, context.nowMs);
  const before = ref === 0 ? 0 : engine.valueLength(ref);
  if (added === 0) {
    out.integer(before);
    return;
  }
  const size = Math.max(before, offset + added);
  if (size > context.settings.maxValueBytes) {
    out.error(STRING_TOO_LONG);
    return;
  }
  const scratch = context.scratch(size);
  if (ref !== 0) engine.copyValue(ref, scratch, 0);
  if (offset > before) scratch.fill(0, before, offset);
  scratch.set(bytes.subarray(start[3]!, start[3]! + added), offset);
  const expiresAtMs = ref === 0 ? 0 : engine.expiresAtMs(ref);
  const tags = ref === 0 ? null : context.tagsOf(ref);
  if (store(context, args, 1, scratch, 0, size, expiresAtMs, tags, out)) out.integer(size);
}

/** GETRANGE key start end: both ends included, negative ones count from the end. */
export function getrange(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const engine = context.store;
  const { bytes, start, length } = args;
  let from = integerAt(bytes, start[2]!, length[2]!);
  let to = integerAt(bytes, start[3]!, length[3]!);
  if (Number.isNaN(from) || Number.isNaN(to)) {
    out.error(NOT_INTEGER);
    return;
  }
  const ref = engine.find(bytes, start[1]!, length[1]!, context.nowMs);
  const size = ref === 0 ? 0 : engine.valueLength(ref);
  // Two that are too far below zero for a number are told apart by their digits.
  const areCrossed =
    from === Number.NEGATIVE_INFINITY && from === to
      ? bigIntegerAt(bytes, start[2]!, length[2]!)! > bigIntegerAt(bytes, start[3]!, length[3]!)!
      : from > to;
  const bothNegativeAndCrossed = from < 0 && to < 0 && areCrossed;
  if (from < 0) from = Math.max(0, size + from);
  if (to < 0) to = Math.max(0, size + to);
  if (to >= size) to = size - 1;
  if (size === 0 || bothNegativeAndCrossed || from > to) {
    out.bulk(bytes, 0, 0);
    return;
  }
  const wanted = to - from + 1;
  const at = out.beginBulk(wanted);
  engine.copyValueRange(ref, from, to + 1, out.bytes, at);
  out.endBulk(wanted);
}
