/**
 * How commands change an entry: every write of a key goes through here, because every write must void the leases of its
 * key (a load under way may have read what the write replaces) and because the store's three answers have three replies.
 */
import { NO_ROOM, STORED, type TagList } from '../engine/face.ts';
import { REFUSED } from '../freshness/plain-set.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { Context } from './context.ts';
import { OUT_OF_MEMORY, PLAIN_SET_REFUSED } from './errors.ts';

/**
 * Stores `value[start .. start + length)` under argument `keyIndex`. True when it was stored; else the error is written.
 * An expiry that has passed already removes the key instead: nobody could ever read it.
 */
export function store(
  context: Context,
  args: Args,
  keyIndex: number,
  value: Uint8Array,
  start: number,
  length: number,
  expiresAtMs: number,
  tags: TagList | null,
  out: ReplyWriter,
): boolean {
  const bytes = args.bytes;
  const keyStart = args.start[keyIndex]!;
  const keyLength = args.length[keyIndex]!;
  if (expiresAtMs !== 0 && expiresAtMs <= context.nowMs) {
    remove(context, bytes, keyStart, keyLength);
    return true;
  }
  context.freshness.voidKey(bytes, keyStart, keyLength);
  const result = context.store.set(
    bytes,
    keyStart,
    keyLength,
    value,
    start,
    length,
    expiresAtMs,
    context.nowMs,
    0,
    tags,
  );
  if (result === STORED) return true;
  refuse(context, keyLength, length, result, out);
  return false;
}

/**
 * May a plain SET write argument `keyIndex` (freshness/plain-set.ts)? WRITE; HELD_OFF: the caller answers as if a condition had not been met; REFUSED:
 * the error is written. To be asked before anything else is.
 */
export function judgePlainSet(context: Context, args: Args, keyIndex: number, out: ReplyWriter): number {
  const verdict = context.plainSets.judge(args.bytes, args.start[keyIndex]!, args.length[keyIndex]!, context.nowMs);
  if (verdict === REFUSED) out.error(PLAIN_SET_REFUSED);
  return verdict;
}

/** Deletes a key; true when it was there. */
export function remove(context: Context, bytes: Uint8Array, start: number, length: number): boolean {
  if (context.plainSets.isActive) context.plainSets.noteKey(bytes, start, length, context.nowMs);
  context.freshness.voidKey(bytes, start, length);
  return context.store.delete(bytes, start, length, context.nowMs);
}

/** The error for what `set` refused. */
export function refuse(
  context: Context,
  keyLength: number,
  valueLength: number,
  result: number,
  out: ReplyWriter,
): void {
  if (result === NO_ROOM) {
    out.error(OUT_OF_MEMORY);
    return;
  }
  const { maxKeyBytes, maxValueBytes } = context.settings;
  if (keyLength > maxKeyBytes) {
    out.error(`ERR key is too long: ${keyLength} bytes, at most ${maxKeyBytes}`);
  } else {
    out.error(`ERR value is too large: ${valueLength} bytes, at most ${maxValueBytes}`);
  }
}
