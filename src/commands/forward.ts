/**
 * Commands that are executed for a client at the members that own their keys, for clients that know nothing of clusters (`Session.isProxied`): cut into one request a slot, and the replies joined into
 * the one that a single node would have given. How they travel is the node's affair (`node/proxy.ts`).
 *
 *   GET k                 one request, its reply as it comes
 *   MGET a b c            MGET a c | MGET b        values put back to their places
 *   DEL, UNLINK, EXISTS, TOUCH                     numbers added up
 *   MSET a 1 b 2          MSET a 1 | MSET b 2      OK when all are
 *   BW.INVALIDATE         its keys by slot, its tags and namespaces with the first of them
 *
 * Not atomic, unlike on a single node: another client may see one part done and another not, and a command that fails may have been done in part. MSETNX, whose meaning is that it is not, and the other BW
 * commands over several slots are refused (`-CROSSSLOT`).
 */
import { slotOf } from '../hash/slot.ts';
import type { Args } from '../resp/parser.ts';
import { RequestWriter } from '../resp/request-writer.ts';
import { ReplyWriter } from '../resp/writer.ts';
import type { Forwarded, ForwardedPart, Join } from './cluster-face.ts';
import { nextKeyOf } from './key-positions.ts';
import { integerAt } from './numbers.ts';
import type { CommandRow } from './row.ts';
import { argIs, word } from './words.ts';

const KEYS = word('keys');
const TAGS = word('tags');
const NAMESPACES = word('namespaces');
const MINUS = 45;
const DOLLAR = 36;
const LF = 10;
const UNREADABLE = new TextEncoder().encode('-ERR the owner of a slot gave a reply of another kind\r\n');

const JOINS: Readonly<Record<string, Join>> = {
  mget: 'values',
  mset: 'ok',
  del: 'sum',
  unlink: 'sum',
  exists: 'sum',
  touch: 'sum',
  'bw.invalidate': 'sum',
};

/** May a command over several slots be cut into one a slot? */
export function isDivisible(row: CommandRow): boolean {
  return JOINS[row.name] !== undefined;
}

/** The whole request, whose keys are all in `slot`. */
export function forwardedWhole(row: CommandRow, args: Args, slot: number, protocol: 2 | 3): Forwarded {
  const request = requestOf(
    args,
    Array.from({ length: args.count }, (_, index) => index),
  );
  return { parts: [{ slot, request, places: [0] }], join: 'only', keyCount: 1, isWrite: mayWrite(row), protocol };
}

/** One request for each slot, in the order in which they come up. `row` is divisible. null: something is wrong with the command, which says so when it is executed. */
export function forwardedInParts(row: CommandRow, args: Args, protocol: 2 | 3): Forwarded | null {
  if (row.name === 'bw.invalidate') return invalidationInParts(args, protocol);
  if ((args.count - 1) % row.keys[2] !== 0) return null;
  const next = nextKeyOf(row)!;
  const step = row.keys[2];
  const bySlot = new Map<number, { readonly places: number[]; readonly indexes: number[] }>();
  let keyCount = 0;
  for (let at = next(args, 0); at !== 0; at = next(args, at)) {
    const slot = slotOf(args.bytes, args.start[at]!, args.start[at]! + args.length[at]!);
    let part = bySlot.get(slot);
    if (part === undefined) {
      part = { places: [], indexes: [0] };
      bySlot.set(slot, part);
    }
    part.places.push(keyCount);
    for (let of = 0; of < step; of += 1) part.indexes.push(at + of);
    keyCount += 1;
  }
  return {
    parts: [...bySlot].map(([slot, { places, indexes }]) => ({ slot, places, request: requestOf(args, indexes) })),
    join: JOINS[row.name]!,
    keyCount,
    isWrite: mayWrite(row),
    protocol,
  };
}

/** `BW.INVALIDATE [KEYS n key ...] [TAGS n tag ...] [NAMESPACES n name ...]`, each any number of times. */
function invalidationInParts(args: Args, protocol: 2 | 3): Forwarded | null {
  const bySlot = new Map<number, Uint8Array[]>();
  const names: Uint8Array[] = [];
  const argument = (at: number): Uint8Array => args.bytes.subarray(args.start[at]!, args.start[at]! + args.length[at]!);
  for (let i = 1; i < args.count; ) {
    const count = i + 1 < args.count ? integerAt(args.bytes, args.start[i + 1]!, args.length[i + 1]!) : -1;
    const isKeys = argIs(args, i, KEYS);
    const end = i + 2 + count;
    if (!(count >= 0 && end <= args.count) || !(isKeys || argIs(args, i, TAGS) || argIs(args, i, NAMESPACES)))
      return null;
    if (!isKeys) for (let at = i; at < end; at += 1) names.push(argument(at));
    for (let at = i + 2; isKeys && at < end; at += 1) {
      const slot = slotOf(args.bytes, args.start[at]!, args.start[at]! + args.length[at]!);
      const keys = bySlot.get(slot);
      if (keys === undefined) bySlot.set(slot, [argument(at)]);
      else keys.push(argument(at));
    }
    i = end;
  }
  const parts = [...bySlot].map(([slot, keys], index): ForwardedPart => {
    const writer = new RequestWriter(64);
    writer.command(['BW.INVALIDATE', 'KEYS', keys.length, ...keys, ...(index === 0 ? names : [])]);
    return { slot, request: writer.bytes.subarray(0, writer.length), places: [] };
  });
  return { parts, join: 'sum', keyCount: 0, isWrite: true, protocol };
}

/** The reply to the whole of it from the replies to its parts, none of which is an error. */
export function joined({ join, parts, keyCount, protocol }: Forwarded, replies: readonly Uint8Array[]): Uint8Array {
  if (join === 'only') return replies[0]!;
  const out = new ReplyWriter(256);
  out.protocol = protocol;
  if (join === 'ok') out.ok();
  else if (join === 'sum') {
    const sum = replies.reduce((all, reply) => all + integerIn(reply), 0);
    if (Number.isNaN(sum)) return UNREADABLE;
    out.integer(sum);
  } else {
    const values = new Array<Uint8Array>(keyCount);
    for (const [index, { places }] of parts.entries()) {
      const elements = elementsOf(replies[index]!);
      if (elements.length !== places.length) return UNREADABLE;
      for (const [nth, place] of places.entries()) values[place] = elements[nth]!;
    }
    out.array(keyCount);
    for (const value of values) out.raw(value);
  }
  return out.take();
}

export function isError(reply: Uint8Array): boolean {
  return reply[0] === MINUS;
}

function mayWrite(row: CommandRow): boolean {
  return !row.flags.split(' ').includes('readonly');
}

function requestOf(args: Args, indexes: readonly number[]): Uint8Array {
  const writer = new RequestWriter(64);
  writer.command(
    indexes.map((index) => args.bytes.subarray(args.start[index]!, args.start[index]! + args.length[index]!)),
  );
  return writer.bytes.subarray(0, writer.length);
}

/** Of `:n`; NaN of anything else. */
function integerIn(reply: Uint8Array): number {
  if (reply[0] !== 58) return Number.NaN;
  return Number(String.fromCharCode(...reply.subarray(1, reply.length - 2)));
}

/** The elements of an array of bulk strings and nulls, as they stand there. */
function elementsOf(reply: Uint8Array): Uint8Array[] {
  const found: Uint8Array[] = [];
  let at = endOfLine(reply, 0);
  while (at < reply.length) {
    let end = endOfLine(reply, at);
    if (reply[at] === DOLLAR) {
      const size = Number(String.fromCharCode(...reply.subarray(at + 1, end - 2)));
      if (size >= 0) end += size + 2;
    }
    found.push(reply.subarray(at, end));
    at = end;
  }
  return found;
}

/** Behind the line end that is next. */
function endOfLine(bytes: Uint8Array, from: number): number {
  const at = bytes.indexOf(LF, from);
  return at < 0 ? bytes.length : at + 1;
}
