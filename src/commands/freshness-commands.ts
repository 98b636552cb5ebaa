/**
 * BW.*: what Redis has no word for. Fills that present a lease, tags, namespaces (leased-reads.ts has the reads). The exact
 * replies are in docs/protocol.md, the reasons in freshness/leases.ts and freshness/generations.ts.
 */
import { MAX_TAGS, type SourceVersion, STORED } from '../engine/face.ts';
import { OLDER, SAME, STORE, UNSURE } from '../freshness/freshness.ts';
import { namespaceHash, tagHash } from '../freshness/names.ts';
import { HELD_OFF, WRITE } from '../freshness/plain-set.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { Context } from './context.ts';
import { invalidExpire, NOT_INTEGER, SYNTAX } from './errors.ts';
import { momentAt } from './expiry.ts';
import { MAX_BATCH } from './leased-reads.ts';
import { integerAt, unsignedAt } from './numbers.ts';
import type { Session } from './session.ts';
import { argIs, word } from './words.ts';
import { judgePlainSet, refuse, remove } from './write.ts';

const LEASE = word('lease');
const PX = word('px');
const NX = word('nx');
const XX = word('xx');
const SVERSION = word('sversion');
const TELL = word('tell');
const TAGS = word('tags');
const KEYS = word('keys');
const NAMESPACES = word('namespaces');

const LEASE_VOID =
  'LEASEVOID this fill was not stored: the key, its namespace or one of its tags changed after the lease was granted, or the lease is not known';
const BAD_TOKEN = 'ERR invalid lease token';
const BAD_VERSION = 'ERR invalid source version: an integer from 0 to 18446744073709551615';
const TOO_MANY_TAGS = `ERR too many tags: at most ${MAX_TAGS} an entry`;

const DASH = 45;

/** BW.RELEASE key token [key token ...]: how many of the tokens were good until now. */
export function bwRelease(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  if (args.count % 2 === 0) {
    out.error(SYNTAX);
    return;
  }
  for (let i = 2; i < args.count; i += 2) {
    if (readToken(args, i)) continue;
    out.error(BAD_TOKEN);
    return;
  }
  let released = 0;
  for (let i = 1; i < args.count; i += 2) {
    readToken(args, i + 1);
    const { epoch, counter } = token;
    if (context.freshness.release(args.bytes, args.start[i]!, args.length[i]!, epoch, counter)) released += 1;
  }
  out.integer(released);
}

// -- tokens: `<epoch>-<counter>`

/** The halves of the last token that `readToken` read. */
const token = { epoch: 0, counter: 0 };

/** Reads argument `index` into `token`; false when it is no token. */
function readToken(args: Args, index: number): boolean {
  const start = args.start[index]!;
  const length = args.length[index]!;
  let dash = 0;
  while (dash < length && args.bytes[start + dash] !== DASH) dash += 1;
  if (dash === 0 || dash >= length) return false;
  token.epoch = integerAt(args.bytes, start, dash);
  token.counter = integerAt(args.bytes, start + dash + 1, length - dash - 1);
  return Number.isSafeInteger(token.epoch) && Number.isSafeInteger(token.counter) && token.counter > 0;
}

/** Hashes `count` tags from argument `from` on into `context.tags`. `count` is at most MAX_TAGS. */
function readTags(context: Context, args: Args, from: number, count: number): void {
  const { tags } = context;
  tags.count = count;
  for (let i = 0; i < count; i += 1) {
    tags.hashes[i] = tagHash(args.bytes, args.start[from + i]!, args.length[from + i]!);
  }
}

// -- writing with leases and tags

/** The source version that the command at hand carries. */
const source = { high: 0, low: 0 };

/** BW.SET key value [PX ms] [TAGS n tag ...] [LEASE token [TELL]] [SVERSION n] [NX | XX] */
export function bwSet(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  let expiresAtMs = 0;
  let leased = false;
  let tell = false;
  let versioned = false;
  let nx = false;
  let xx = false;
  let tagsFrom = 0;
  let tagCount = 0;
  for (let i = 3; i < args.count; i += 1) {
    const more = args.count - 1 - i;
    if (argIs(args, i, PX) && more >= 1) {
      i += 1;
      expiresAtMs = momentAt(args, i, 1, context.nowMs, true);
      if (!Number.isFinite(expiresAtMs)) {
        out.error(Number.isNaN(expiresAtMs) ? NOT_INTEGER : invalidExpire('bw.set'));
        return;
      }
    } else if (argIs(args, i, LEASE) && more >= 1) {
      i += 1;
      if (!readToken(args, i)) {
        out.error(BAD_TOKEN);
        return;
      }
      leased = true;
      if (i + 1 < args.count && argIs(args, i + 1, TELL)) {
        tell = true;
        i += 1;
      }
    } else if (argIs(args, i, SVERSION) && more >= 1) {
      i += 1;
      if (!unsignedAt(args.bytes, args.start[i]!, args.length[i]!, source)) {
        out.error(BAD_VERSION);
        return;
      }
      versioned = true;
    } else if (argIs(args, i, TAGS) && more >= 1) {
      tagCount = integerAt(args.bytes, args.start[i + 1]!, args.length[i + 1]!);
      if (Number.isNaN(tagCount)) {
        out.error(NOT_INTEGER);
        return;
      }
      if (tagCount > MAX_TAGS) {
        out.error(TOO_MANY_TAGS);
        return;
      }
      tagsFrom = i + 2;
      if (tagCount < 0 || tagsFrom + tagCount > args.count) {
        out.error(SYNTAX);
        return;
      }
      i += 1 + tagCount;
    } else if (argIs(args, i, NX)) {
      nx = true;
    } else if (argIs(args, i, XX)) {
      xx = true;
    } else {
      out.error(SYNTAX);
      return;
    }
  }
  if (nx && xx) {
    out.error(SYNTAX);
    return;
  }
  const { bytes, start, length } = args;
  // By HTTP anybody writes, as by SET; BW.SET itself is for those who know what they do.
  if (session.kind === 'http' && !leased && !versioned) {
    const verdict = judgePlainSet(context, args, 1, out);
    if (verdict === HELD_OFF) out.simple('held-off');
    if (verdict !== WRITE) return;
  }
  const present = context.store.peek(bytes, start[1]!, length[1]!, context.nowMs) !== 0;
  if ((nx && present) || (xx && !present)) {
    out.nullBulk();
    return;
  }
  readTags(context, args, tagsFrom, tagCount);
  const { freshness, tags } = context;
  if (versioned && !leased) {
    const verdict = freshness.judgeSource(bytes, start[1]!, length[1]!, source.high, source.low, context.nowMs);
    if (verdict !== STORE) {
      if (verdict !== SAME && verdict !== OLDER) remove(context, bytes, start[1]!, length[1]!);
      out.simple(verdict === SAME ? 'same' : verdict === OLDER ? 'older' : 'unsure');
      return;
    }
  }
  if (!leased) {
    freshness.voidKey(bytes, start[1]!, length[1]!, versioned);
  } else if (!freshness.mayFill(bytes, start[1]!, length[1]!, token.epoch, token.counter, tags.hashes, tagCount)) {
    out.error(LEASE_VOID);
    return;
  } else if (versioned) {
    // Loaded under a good lease, so it is no older than the last write: only a source that lags (a replica) brings what is known to be older.
    const { high, low } = source;
    if (freshness.judgeSource(bytes, start[1]!, length[1]!, high, low, context.nowMs) === OLDER) {
      freshness.release(bytes, start[1]!, length[1]!, token.epoch, token.counter);
      out.simple('older');
      return;
    }
  }
  // What its holder has written to the source is news to all who keep copies, and to who waits for other loads of the key.
  if (tell) freshness.voidKey(bytes, start[1]!, length[1]!, versioned);
  context.isFill = leased && !tell;
  const result = write(context, args, 1, expiresAtMs, versioned ? source : null);
  context.isFill = false;
  if (result !== STORED) {
    if (versioned) freshness.sourceLost(bytes, start[1]!, length[1]!, source.high, source.low, context.nowMs);
    refuse(context, length[1]!, length[2]!, result, out);
    return;
  }
  if (leased && !tell) freshness.filled(bytes, start[1]!, length[1]!);
  out.simple(present ? 'replaced' : 'created');
}

/** BW.FILL n (key value px token ntags tag ...) ...: all is checked, then each entry is judged and stored alone. */
export function bwFill(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  const { bytes, start, length } = args;
  const count = integerAt(bytes, start[1]!, length[1]!);
  if (Number.isNaN(count)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (count < 1 || count > MAX_BATCH) {
    out.error(SYNTAX);
    return;
  }
  let at = 2;
  for (let entry = 0; entry < count; entry += 1) {
    if (at + 5 > args.count) {
      out.error(SYNTAX);
      return;
    }
    const ttlMs = integerAt(bytes, start[at + 2]!, length[at + 2]!);
    const tagCount = integerAt(bytes, start[at + 4]!, length[at + 4]!);
    if (Number.isNaN(ttlMs) || Number.isNaN(tagCount)) {
      out.error(NOT_INTEGER);
      return;
    }
    if (ttlMs !== 0 && !Number.isFinite(momentAt(args, at + 2, 1, context.nowMs, true))) {
      out.error(invalidExpire('bw.fill'));
      return;
    }
    if (length[at + 3] !== 0 && !readToken(args, at + 3)) {
      out.error(BAD_TOKEN);
      return;
    }
    if (tagCount > MAX_TAGS) {
      out.error(TOO_MANY_TAGS);
      return;
    }
    if (tagCount < 0) {
      out.error(SYNTAX);
      return;
    }
    at += 5 + tagCount;
  }
  if (at !== args.count) {
    out.error(SYNTAX);
    return;
  }
  out.array(count);
  at = 2;
  for (let entry = 0; entry < count; entry += 1) {
    const ttlMs = integerAt(bytes, start[at + 2]!, length[at + 2]!);
    const expiresAtMs = ttlMs === 0 ? 0 : momentAt(args, at + 2, 1, context.nowMs, true);
    const tagCount = integerAt(bytes, start[at + 4]!, length[at + 4]!);
    readTags(context, args, at + 5, tagCount);
    out.integer(fillOne(context, args, at, expiresAtMs));
    at += 5 + tagCount;
  }
}

/** The entry whose key is argument `at`: 1 stored, 0 refused, -1 no room or too large. */
function fillOne(context: Context, args: Args, at: number, expiresAtMs: number): number {
  const { bytes, start, length } = args;
  const { tags, freshness } = context;
  if (length[at + 3] === 0) {
    freshness.voidKey(bytes, start[at]!, length[at]!);
  } else {
    readToken(args, at + 3);
    if (!freshness.mayFill(bytes, start[at]!, length[at]!, token.epoch, token.counter, tags.hashes, tags.count))
      return 0;
  }
  context.isFill = length[at + 3] !== 0;
  const result = write(context, args, at, expiresAtMs, null);
  context.isFill = false;
  if (result !== STORED) return -1;
  if (length[at + 3] !== 0) freshness.filled(bytes, start[at]!, length[at]!);
  return 1;
}

/**
 * Stores argument `keyIndex + 1` under argument `keyIndex` with `context.tags`: STORED, NO_ROOM or TOO_LARGE. What could not
 * be stored takes the old value with it: the caller said that the truth has changed, and a miss is always safe. (SET leaves the
 * old value, as Redis does.)
 */
function write(
  context: Context,
  args: Args,
  keyIndex: number,
  expiresAtMs: number,
  version: SourceVersion | null,
): number {
  const { bytes, start, length } = args;
  const tags = context.tags.count === 0 ? null : context.tags;
  const result = context.store.set(
    bytes,
    start[keyIndex]!,
    length[keyIndex]!,
    bytes,
    start[keyIndex + 1]!,
    length[keyIndex + 1]!,
    expiresAtMs,
    context.nowMs,
    0,
    tags,
    version,
  );
  if (result !== STORED) context.store.delete(bytes, start[keyIndex]!, length[keyIndex]!, context.nowMs);
  return result;
}

// -- invalidating

/** BW.INVALIDATE [KEYS n key ...] [TAGS n tag ...] [NAMESPACES n name ...]: how many keys were removed. */
export function bwInvalidate(context: Context, _session: Session, args: Args, out: ReplyWriter): void {
  // Twice over the same clauses: an error must mean that nothing was done.
  for (let i = 1; i < args.count; ) {
    if (!argIs(args, i, KEYS) && !argIs(args, i, TAGS) && !argIs(args, i, NAMESPACES)) {
      out.error(SYNTAX);
      return;
    }
    const count = i + 1 < args.count ? integerAt(args.bytes, args.start[i + 1]!, args.length[i + 1]!) : -1;
    if (Number.isNaN(count)) {
      out.error(NOT_INTEGER);
      return;
    }
    if (count < 0 || i + 2 + count > args.count) {
      out.error(SYNTAX);
      return;
    }
    i += 2 + count;
  }
  let removed = 0;
  for (let i = 1; i < args.count; ) {
    const count = integerAt(args.bytes, args.start[i + 1]!, args.length[i + 1]!);
    const isKeys = argIs(args, i, KEYS);
    const isTags = argIs(args, i, TAGS);
    for (let j = i + 2; j < i + 2 + count; j += 1) {
      const start = args.start[j]!;
      const length = args.length[j]!;
      if (isKeys) removed += remove(context, args.bytes, start, length) ? 1 : 0;
      else if (context.cluster !== null)
        context.cluster.spread(isTags ? 'tag' : 'namespace', args.bytes, start, length);
      else if (isTags) context.freshness.invalidateTag(args.bytes, start, length);
      else invalidateNamespace(context, args.bytes, start, length);
    }
    i += 2 + count;
  }
  out.integer(removed);
}

/** On this node alone; in a cluster on this member. */
export function invalidateNamespace(context: Context, bytes: Uint8Array, start: number, length: number): void {
  context.freshness.invalidateNamespace(bytes, start, length);
  if (context.plainSets.isActive) context.plainSets.noteNamespace(namespaceHash(bytes, start, length), context.nowMs);
}

/** BW.STATS */
export function bwStats(context: Context, _session: Session, _args: Args, out: ReplyWriter): void {
  const { stats } = context.store;
  const { leases, tags, namespaces, sources } = context.freshness;
  const feed = context.pushes.stats;
  const rows: readonly (readonly [string, number])[] = [
    ['hits', stats.hits],
    ['misses', stats.misses],
    ['stores', stats.stores],
    ['deletions', stats.deletions],
    ['evictions', stats.evictions],
    ['expirations', stats.expirations],
    ['invalidations', stats.invalidations],
    ['entries', stats.entries],
    ['used-bytes', stats.usedBytes],
    ['memory-bytes', stats.memoryBytes],
    ['leases-live', leases.live],
    ['leases-granted', leases.stats.granted],
    ['leases-held', leases.stats.held],
    ['leases-filled', leases.stats.filled],
    ['leases-refused', leases.stats.refused],
    ['leases-voided', leases.stats.voided],
    ['leases-released', leases.stats.released],
    ['leases-forgotten', leases.stats.forgotten],
    ['plain-sets-held-off', context.plainSets.heldOff],
    ['plain-sets-refused', context.plainSets.refused],
    ['sources-remembered', sources.size],
    ['sources-forgotten', sources.forgotten],
    ['sources-older', sources.verdicts[OLDER]!],
    ['sources-same', sources.verdicts[SAME]!],
    ['sources-unsure', sources.verdicts[UNSURE]!],
    ['generations', tags.size + namespaces.size],
    ['generations-forgotten', tags.forgotten + namespaces.forgotten],
    ['tags-floor', tags.floor],
    ['namespaces-floor', namespaces.floor],
    ['invalidation-number', Math.max(tags.newest, namespaces.newest)],
    ['feed-subscribers', feed.subscribers],
    ['feed-published', feed.published],
    ['feed-gaps', feed.gaps],
    ['feed-cuts', feed.cuts],
    ['feed-waiters', feed.waiters],
    ['locks', context.locks.size],
    ['locks-granted', context.locks.stats.granted],
    ['locks-refused', context.locks.stats.refused],
    ['locks-expired', context.locks.stats.expired],
    ['locks-full', context.locks.stats.full],
    ['counters', context.tallies.size],
    ['counters-full', context.tallies.stats.full],
    ['commands', context.commandsProcessed],
    ['sessions', context.sessions.size],
  ];
  out.map(rows.length);
  for (const [name, value] of rows) {
    out.bulkText(name);
    out.integer(value);
  }
}
