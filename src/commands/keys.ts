/**
 * Keys: deleting, expiry, and walking over them.
 */
import type { Args } from '../resp/parser.ts';
import { REPLY_EMPTY_ARRAY, REPLY_OK, REPLY_ONE, REPLY_ZERO, type ReplyWriter } from '../resp/writer.ts';
import type { Context } from './context.ts';
import { errorShowing } from './echo.ts';
import { invalidExpire, NOT_INTEGER, OUT_OF_MEMORY, SYNTAX } from './errors.ts';
import { momentAt } from './expiry.ts';
import { globMatches } from './glob.ts';
import { integerAt } from './numbers.ts';
import type { Session } from './session.ts';
import { argIs, latinOf, word } from './words.ts';
import { remove } from './write.ts';

/** DEL key [key ...], UNLINK: how many were there. */
export function del(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  let removed = 0;
  for (let i = 1; i < args.count; i += 1) {
    if (remove(context, args.bytes, args.start[i]!, args.length[i]!)) removed += 1;
  }
  out.integer(removed);
}

/** EXISTS key [key ...]: a key named twice counts twice. */
export function exists(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  let found = 0;
  for (let i = 1; i < args.count; i += 1) {
    if (context.store.peek(args.bytes, args.start[i]!, args.length[i]!, context.nowMs) !== 0) found += 1;
  }
  out.integer(found);
}

/** TOUCH key [key ...]: as EXISTS, and a use for the eviction policy. */
export function touch(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  let found = 0;
  for (let i = 1; i < args.count; i += 1) {
    if (context.store.find(args.bytes, args.start[i]!, args.length[i]!, context.nowMs) !== 0) found += 1;
  }
  out.integer(found);
}

/** TYPE key */
export function type(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const ref = context.store.peek(args.bytes, args.start[1]!, args.length[1]!, context.nowMs);
  out.simple(ref === 0 ? 'none' : 'string');
}

// -- expiry

const NX = word('nx');
const XX = word('xx');
const GT = word('gt');
const LT = word('lt');

export function expire(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  expireAt(context, args, 1000, context.nowMs, 'expire', out);
}

export function pexpire(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  expireAt(context, args, 1, context.nowMs, 'pexpire', out);
}

export function expireat(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  expireAt(context, args, 1000, 0, 'expireat', out);
}

export function pexpireat(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  expireAt(context, args, 1, 0, 'pexpireat', out);
}

/** EXPIRE key amount [NX | XX | GT | LT]: a moment that has passed deletes. */
function expireAt(
  context: Context,
  args: Args,
  unitMs: number,
  fromMs: number,
  command: string,
  out: ReplyWriter,
): void {
  let nx = false;
  let xx = false;
  let gt = false;
  let lt = false;
  for (let i = 3; i < args.count; i += 1) {
    if (argIs(args, i, NX)) nx = true;
    else if (argIs(args, i, XX)) xx = true;
    else if (argIs(args, i, GT)) gt = true;
    else if (argIs(args, i, LT)) lt = true;
    else {
      errorShowing('ERR Unsupported option ', args, i, '', out);
      return;
    }
  }
  if (nx && (xx || gt || lt)) {
    out.error('ERR NX and XX, GT or LT options at the same time are not compatible');
    return;
  }
  if (gt && lt) {
    out.error('ERR GT and LT options at the same time are not compatible');
    return;
  }
  const moment = momentAt(args, 2, unitMs, fromMs, false);
  if (!Number.isFinite(moment)) {
    out.error(Number.isNaN(moment) ? NOT_INTEGER : invalidExpire(command));
    return;
  }
  const engine = context.store;
  const { bytes, start, length } = args;
  const ref = engine.peek(bytes, start[1]!, length[1]!, context.nowMs);
  if (ref === 0) {
    out.raw(REPLY_ZERO);
    return;
  }
  const current = engine.expiresAtMs(ref);
  if (
    (nx && current !== 0) ||
    (xx && current === 0) ||
    (gt && (current === 0 || moment <= current)) ||
    (lt && current !== 0 && moment >= current)
  ) {
    out.raw(REPLY_ZERO);
  } else if (moment <= context.nowMs) {
    remove(context, bytes, start[1]!, length[1]!);
    out.raw(REPLY_ONE);
  } else if (engine.setExpiry(ref, moment)) {
    if (current === 0 || moment < current) context.freshness.shortened(bytes, start[1]!, length[1]!);
    out.raw(REPLY_ONE);
  } else {
    out.error(OUT_OF_MEMORY);
  }
}

/** PERSIST key */
export function persist(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const engine = context.store;
  const ref = engine.peek(args.bytes, args.start[1]!, args.length[1]!, context.nowMs);
  if (ref === 0 || engine.expiresAtMs(ref) === 0) out.raw(REPLY_ZERO);
  else if (engine.setExpiry(ref, 0)) out.raw(REPLY_ONE);
  else out.error(OUT_OF_MEMORY);
}

export function ttl(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  answerExpiry(context, args, 1000, context.nowMs, out);
}

export function pttl(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  answerExpiry(context, args, 1, context.nowMs, out);
}

export function expiretime(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  answerExpiry(context, args, 1000, 0, out);
}

export function pexpiretime(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  answerExpiry(context, args, 1, 0, out);
}

/** -2 without the key, -1 without an expiry, else what is left, seconds rounded to the nearest as in Redis. */
function answerExpiry(context: Context, args: Args, unitMs: number, fromMs: number, out: ReplyWriter): void {
  const ref = context.store.peek(args.bytes, args.start[1]!, args.length[1]!, context.nowMs);
  if (ref === 0) {
    out.integer(-2);
    return;
  }
  const expiresAtMs = context.store.expiresAtMs(ref);
  if (expiresAtMs === 0) out.integer(-1);
  else if (unitMs === 1) out.integer(expiresAtMs - fromMs);
  else out.integer(Math.floor((expiresAtMs - fromMs + 500) / 1000));
}

// -- walking

const MATCH = word('match');
const COUNT = word('count');
const TYPE = word('type');
const STRING = word('string');
const ASYNC = word('async');
const SYNC = word('sync');

/** Entries in a bucket of the engine's table, about: COUNT is given in entries and spent in buckets. */
const ENTRIES_PER_BUCKET = 5;
/** Buckets walked at a time by KEYS. */
const ALL_BUCKETS = 2 ** 30;

/** SCAN cursor [MATCH pattern] [COUNT n] [TYPE type] */
export function scan(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  // strtoul: an optional sign, digits, nothing at all.
  const text = latinOf(args, 1);
  if (!/^[+-]?[0-9]*$/.test(text) || text.length > 21 || Number(text) > Number.MAX_SAFE_INTEGER) {
    out.error('ERR invalid cursor');
    return;
  }
  const cursor = Math.max(0, Number(text) || 0);
  let pattern = 0;
  let count = 10;
  let strings = true;
  for (let i = 2; i < args.count; i += 2) {
    if (i + 1 >= args.count) {
      out.error(SYNTAX);
      return;
    }
    if (argIs(args, i, COUNT)) {
      count = integerAt(args.bytes, args.start[i + 1]!, args.length[i + 1]!);
      if (Number.isNaN(count)) {
        out.error(NOT_INTEGER);
        return;
      }
      if (count < 1) {
        out.error(SYNTAX);
        return;
      }
    } else if (argIs(args, i, MATCH)) {
      pattern = i + 1;
    } else if (argIs(args, i, TYPE)) {
      strings = argIs(args, i + 1, STRING);
    } else {
      out.error(SYNTAX);
      return;
    }
  }
  const budget = Math.min(ALL_BUCKETS, Math.max(1, Math.ceil(count / ENTRIES_PER_BUCKET)));
  const refs: number[] = [];
  const visit = (ref: number): void => {
    if (strings && (pattern === 0 || keyMatches(context, ref, args, pattern))) refs.push(ref);
  };
  const next = context.store.size === 0 ? 0 : context.store.scan(cursor, budget, context.nowMs, visit);
  out.array(2);
  out.bulkText(String(next));
  writeKeys(context, refs, out);
}

/** KEYS pattern: walks everything at once, as Redis does. */
export function keys(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const refs: number[] = [];
  let cursor = 0;
  do {
    cursor = context.store.scan(cursor, ALL_BUCKETS, context.nowMs, (ref) => {
      if (keyMatches(context, ref, args, 1)) refs.push(ref);
    });
  } while (cursor !== 0);
  writeKeys(context, refs, out);
}

function keyMatches(context: Context, ref: number, args: Args, pattern: number): boolean {
  const size = context.store.keyLength(ref);
  const key = context.scratch(size);
  context.store.copyKey(ref, key, 0);
  return globMatches(args.bytes, args.start[pattern]!, args.length[pattern]!, key, 0, size);
}

function writeKeys(context: Context, refs: readonly number[], out: ReplyWriter): void {
  if (refs.length === 0) {
    out.raw(REPLY_EMPTY_ARRAY);
    return;
  }
  out.array(refs.length);
  for (const ref of refs) writeKey(context, ref, out);
}

function writeKey(context: Context, ref: number, out: ReplyWriter): void {
  const size = context.store.keyLength(ref);
  const at = out.beginBulk(size);
  context.store.copyKey(ref, out.bytes, at);
  out.endBulk(size);
}

/** RANDOMKEY */
export function randomkey(context: Context, _session: Session, _args: Args, out: ReplyWriter): void {
  const ref = context.store.randomRef(context.random, context.nowMs);
  if (ref === 0) out.nullBulk();
  else writeKey(context, ref, out);
}

/** DBSIZE: entries that have expired but were not removed yet count, as in Redis. */
export function dbsize(context: Context, _session: Session, _args: Args, out: ReplyWriter): void {
  out.integer(context.store.size);
}

/** FLUSHALL [ASYNC | SYNC], FLUSHDB */
export function flushall(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  if (args.count > 2 || (args.count === 2 && !argIs(args, 1, ASYNC) && !argIs(args, 1, SYNC))) {
    out.error(SYNTAX);
    return;
  }
  if (context.cluster === null) {
    context.freshness.voidAll();
    context.plainSets.noteAll(context.nowMs);
    context.store.clear(context.nowMs);
  } else context.cluster.spread('everything', args.bytes, 0, 0);
  out.raw(REPLY_OK);
}
