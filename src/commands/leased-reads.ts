/**
 * BW.GET, BW.MGET, BW.LEASE: reads that say what they found with its version, and hand out a lease for what is missing. The exact replies are in
 * docs/protocol.md, the reasons in freshness/leases.ts.
 */
import { HIT_HEAD_BYTES, MISS_BYTES, NO_TTL, putHitHead, putMiss } from '../base/read-pack.ts';
import { DEFAULT_LEASE_MS, HELD } from '../freshness/leases.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { type Context, MAX_REPLY_BYTES } from './context.ts';
import { NOT_INTEGER, REPLY_TOO_LARGE, SYNTAX } from './errors.ts';
import { integerAt } from './numbers.ts';
import type { CommandRow } from './row.ts';
import type { Session } from './session.ts';
import { argIs, word } from './words.ts';

const LEASE = word('lease');
const NOTIFY = word('notify');
const PACKED = word('packed');
const STALE = word('stale');

/** An hour: nobody waits longer for another one's load. */
const MAX_LEASE_MS = 3_600_000;
/** Most keys of one BW.MGET or BW.FILL. */
export const MAX_BATCH = 65_536;

/** BW.GET key [LEASE [ms [NOTIFY]] | STALE ms] */
export function bwGet(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const leaseMs = readLease(args, 2, args.count, out);
  if (leaseMs >= 0) answer(context, session, args, 1, leaseMs, out);
}

/** BW.MGET n key [key ...] [LEASE [ms [NOTIFY]] | STALE ms] [PACKED] */
export function bwMget(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const count = integerAt(args.bytes, args.start[1]!, args.length[1]!);
  if (Number.isNaN(count)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (count < 1 || count > MAX_BATCH || 2 + count > args.count) {
    out.error(SYNTAX);
    return;
  }
  const isPacked = args.count > 2 + count && argIs(args, args.count - 1, PACKED);
  const leaseMs = readLease(args, 2 + count, isPacked ? args.count - 1 : args.count, out);
  if (leaseMs < 0) return;
  const replyAt = out.length;
  if (isPacked) {
    answerPacked(context, session, args, count, leaseMs, out);
    return;
  }
  out.array(count);
  for (let i = 2; i < 2 + count; i += 1) {
    answer(context, session, args, i, leaseMs, out);
    if (out.length - replyAt > MAX_REPLY_BYTES) {
      out.length = replyAt;
      out.error(REPLY_TOO_LARGE);
      return;
    }
  }
}

/** The arguments that the last packed batch missed; grows to the largest. */
let missed = new Int32Array(128);

/** Two elements: what was found (base/read-pack.ts), and what a plain reply would have for each miss, in their order. */
function answerPacked(
  context: Context,
  session: Session,
  args: Args,
  count: number,
  leaseMs: number,
  out: ReplyWriter,
): void {
  const { store: engine, nowMs } = context;
  const { bytes, start, length } = args;
  const replyAt = out.length;
  if (count > missed.length) missed = new Int32Array(MAX_BATCH);
  let misses = 0;
  out.array(2);
  const bulkAt = out.openBulk();
  for (let i = 2; i < 2 + count; i += 1) {
    const ref = engine.find(bytes, start[i]!, length[i]!, nowMs);
    if (ref === 0) {
      missed[misses] = i;
      misses += 1;
      out.reserve(MISS_BYTES);
      putMiss(out.bytes, out.length);
      out.length += MISS_BYTES;
      continue;
    }
    const size = engine.valueLength(ref);
    out.reserve(HIT_HEAD_BYTES + size);
    const at = out.length;
    const expiresAtMs = engine.expiresAtMs(ref);
    putHitHead(out.bytes, at, size, expiresAtMs === 0 ? NO_TTL : expiresAtMs - nowMs, engine.version(ref));
    engine.copyValue(ref, out.bytes, at + HIT_HEAD_BYTES);
    out.length = at + HIT_HEAD_BYTES + size;
    if (out.length - replyAt > MAX_REPLY_BYTES) {
      out.length = replyAt;
      out.error(REPLY_TOO_LARGE);
      return;
    }
  }
  out.closeBulk(bulkAt);
  out.array(misses);
  for (let i = 0; i < misses; i += 1) {
    if (leaseMs === 0) out.nullBulk();
    else grant(context, session, args, missed[i]!, leaseMs, out);
  }
}

/** Did the last `readLease` read NOTIFY? */
let notify = false;

/** How old an answer of a copy may be for this BW.GET or BW.MGET, milliseconds; NaN: it does not say, or is to be refused. Where a copy is asked decides `redirect.ts`. */
export function staleAllowed({ name }: CommandRow, args: Args): number {
  const count = name === 'bw.mget' ? integerAt(args.bytes, args.start[1]!, args.length[1]!) : 0;
  const from = 2 + count;
  return from + 1 < args.count && argIs(args, from, STALE)
    ? integerAt(args.bytes, args.start[from + 1]!, args.length[from + 1]!)
    : Number.NaN;
}

/** `[LEASE [ms [NOTIFY]] | STALE ms]` from argument `from` to `end`: milliseconds of the lease, 0 = not asked for, -1 after an error was written. */
function readLease(args: Args, from: number, end: number, out: ReplyWriter): number {
  notify = false;
  if (from === end) return 0;
  if (end === from + 2 && argIs(args, from, STALE)) {
    if (integerAt(args.bytes, args.start[from + 1]!, args.length[from + 1]!) >= 0) return 0;
    out.error(NOT_INTEGER);
    return -1;
  }
  if (end > from + 3 || !argIs(args, from, LEASE) || (end === from + 3 && !argIs(args, from + 2, NOTIFY))) {
    out.error(SYNTAX);
    return -1;
  }
  notify = end === from + 3;
  if (from + 1 === end) return DEFAULT_LEASE_MS;
  const ms = integerAt(args.bytes, args.start[from + 1]!, args.length[from + 1]!);
  if (ms >= 1 && ms <= MAX_LEASE_MS) return ms;
  out.error(NOT_INTEGER);
  return -1;
}

/** 3 elements for a hit, 2 for a miss with a lease asked for, null for a plain miss. */
function answer(
  context: Context,
  session: Session,
  args: Args,
  index: number,
  leaseMs: number,
  out: ReplyWriter,
): void {
  const { store: engine, nowMs } = context;
  const bytes = args.bytes;
  const start = args.start[index]!;
  const length = args.length[index]!;
  const ref = engine.find(bytes, start, length, nowMs);
  if (ref !== 0) {
    out.array(3);
    const size = engine.valueLength(ref);
    const at = out.beginBulk(size);
    engine.copyValue(ref, out.bytes, at);
    out.endBulk(size);
    const expiresAtMs = engine.expiresAtMs(ref);
    out.integer(expiresAtMs === 0 ? -1 : expiresAtMs - nowMs);
    out.integer(engine.version(ref));
    return;
  }
  if (leaseMs === 0) {
    out.nullBulk();
    return;
  }
  grant(context, session, args, index, leaseMs, out);
}

/** 2 elements: the token and its time, or null and how long to wait for the one who holds it. */
function grant(context: Context, session: Session, args: Args, index: number, leaseMs: number, out: ReplyWriter): void {
  const { nowMs, freshness } = context;
  const bytes = args.bytes;
  const start = args.start[index]!;
  const length = args.length[index]!;
  const counter = freshness.grant(bytes, start, length, nowMs, leaseMs, session.kind === 'resp' ? session.id : 0);
  out.array(2);
  if (counter === HELD) {
    out.nullBulk();
    out.integer(Math.max(1, freshness.leases.waitMs(bytes, start, length, nowMs)));
    // A session of the node's own has nobody to tell.
    if (notify && session.protocol === 3 && session.kind === 'resp') {
      context.pushes.leaseWaiters.add(session, bytes, start, length);
    }
  } else {
    session.hasLeases = true;
    out.bulkText(`${freshness.leases.epoch}-${counter}`);
    out.integer(leaseMs);
  }
}

/** BW.LEASE n key [key ...] [ms]: a lease for each key whether it has an entry or not, to renew what is about to grow old. */
export function bwLease(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const count = integerAt(args.bytes, args.start[1]!, args.length[1]!);
  if (Number.isNaN(count)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (count < 1 || count > MAX_BATCH || args.count < 2 + count || args.count > 3 + count) {
    out.error(SYNTAX);
    return;
  }
  let leaseMs = DEFAULT_LEASE_MS;
  if (args.count === 3 + count) {
    leaseMs = integerAt(args.bytes, args.start[2 + count]!, args.length[2 + count]!);
    if (!(leaseMs >= 1 && leaseMs <= MAX_LEASE_MS)) {
      out.error(NOT_INTEGER);
      return;
    }
  }
  out.array(count);
  notify = false;
  for (let i = 2; i < 2 + count; i += 1) grant(context, session, args, i, leaseMs, out);
}
