/**
 * What is said to a Breakwater node and how its answers are read (docs/protocol.md), for one node and for the members of a cluster. Nothing here sends anything.
 */
import { BreakwaterError } from '../../base/errors.ts';
import { PackReader } from '../../base/read-pack.ts';
import type { RespClient } from '../../client/client.ts';
import { HitPack, PackedHit } from '../packed-hit.ts';
import type {
  FillEntry,
  HeldLease,
  InvalidateRequest,
  LeaseCall,
  ReadCall,
  ReadMiss,
  ReadResult,
  SetOutcome,
  WriteEntry,
} from '../store.ts';

/** What a member answers that is no error. */
export type Reply = Awaited<ReturnType<RespClient['command']>>;

/** Its words and numbers; bytes are values. */
export type Words = (string | number | Uint8Array)[];

/** How long others are told to wait when the caller does not say. */
const DEFAULT_LEASE_MS = 10_000;

/** The client's words for what went wrong, in the port's. What is not here (a ReplyError) keeps its code. */
const CODES: Readonly<Record<string, string>> = {
  CLIENT_TIMEOUT: 'STORE_TIMEOUT',
  CLIENT_QUEUE_FULL: 'STORE_OVERLOADED',
  CLIENT_CONNECTION_LOST: 'STORE_UNAVAILABLE',
  CLIENT_DISCONNECTED: 'STORE_UNAVAILABLE',
  CLIENT_AUTH_FAILED: 'STORE_AUTH_FAILED',
  CLIENT_CLOSED: 'STORE_CLOSED',
};

/** What the node refused, in the port's words. */
const REFUSALS: Readonly<Record<string, string>> = { OOM: 'STORE_NO_ROOM' };

/** Besides, of the members of a cluster: to the last they said so, or nobody was there to ask. */
const CLUSTER_CODES: Readonly<Record<string, string>> = {
  ...CODES,
  ...REFUSALS,
  CLIENT_CONNECT_FAILED: 'STORE_UNAVAILABLE',
  CLUSTER_SLOT_UNSERVED: 'STORE_UNAVAILABLE',
  CLUSTER_REPLY_INVALID: 'STORE_REPLY_INVALID',
  CLUSTER_EXPECTED: 'STORE_URL_INVALID',
  CLUSTERDOWN: 'STORE_UNAVAILABLE',
  TRYAGAIN: 'STORE_UNAVAILABLE',
  MOVED: 'STORE_UNAVAILABLE',
  // It was done at the owner, and not by all of its copies for all that is known.
  NOREPLICAS: 'INVALIDATION_NOT_ACKNOWLEDGED',
};

/** With these codes it is not known whether a write was done. */
const UNKNOWN_OUTCOMES: ReadonlySet<string> = new Set([...Object.values(CODES), 'INVALIDATION_NOT_ACKNOWLEDGED']);

/** A lease that no fill is accepted with: the key's owner could not be asked. */
export const UNFILLABLE = 'none';

const WITHOUT_LEASE: ReadMiss = Object.freeze({ kind: 'miss', lease: null, waitMs: 0 });
const TO_LOAD: ReadMiss = Object.freeze({ kind: 'miss', lease: UNFILLABLE, waitMs: 0 });

/** Of a key whose owner could not be asked. */
export function unasked(call: ReadCall): ReadMiss {
  return call.lease ? TO_LOAD : WITHOUT_LEASE;
}

/** Is it that? */
export function isUnasked(result: ReadResult): boolean {
  return result === TO_LOAD || result === WITHOUT_LEASE;
}

const decoder = new TextDecoder();

// -- what is said

export function readWords(keys: readonly string[], call: ReadCall, isListening: boolean): Words {
  const words: Words = ['BW.MGET', keys.length, ...keys];
  if (call.lease) words.push('LEASE', leaseMsOf(call));
  if (call.lease && isListening) words.push('NOTIFY');
  words.push('PACKED');
  return words;
}

/** The same of a copy, whose answer may be behind by `staleMs`. */
export function staleWords(keys: readonly string[], staleMs: number): Words {
  return ['BW.MGET', keys.length, ...keys, 'STALE', staleMs, 'PACKED'];
}

export function leaseWords(keys: readonly string[], call: LeaseCall): Words {
  return ['BW.LEASE', keys.length, ...keys, leaseMsOf(call)];
}

export function fillWords(entries: readonly FillEntry[]): Words {
  const words: Words = ['BW.FILL', entries.length];
  for (const { key, value, ttlMs, lease, tags } of entries) {
    words.push(key, value, wholeMs(ttlMs) ?? 0, lease, tags.length, ...tags);
  }
  return words;
}

export function releaseWords(leases: readonly HeldLease[]): Words {
  return ['BW.RELEASE', ...leases.flatMap(({ key, lease }) => [key, lease])];
}

/** A fill that is a write (`FillCall.isWrite`). */
export function leasedWords({ key, value, lease, ...entry }: FillEntry): Words {
  const { version: _, ...unversioned } = entry;
  return [...setWords(key, value, unversioned), 'LEASE', lease, 'TELL'];
}

export function setWords(key: string, value: Uint8Array, entry: WriteEntry): Words {
  const words: Words = ['BW.SET', key, value];
  const px = wholeMs(entry.ttlMs);
  if (px !== null) words.push('PX', px);
  if (entry.tags.length > 0) words.push('TAGS', entry.tags.length, ...entry.tags);
  if (entry.version !== undefined) words.push('SVERSION', String(entry.version));
  return words;
}

/** Null: there is nothing to invalidate. */
export function invalidateWords(request: InvalidateRequest): Words | null {
  const words: Words = ['BW.INVALIDATE'];
  const clause = (word: string, names: readonly string[] | undefined): void => {
    if (names !== undefined && names.length > 0) words.push(word, names.length, ...names);
  };
  clause('KEYS', request.keys);
  clause('TAGS', request.tags);
  clause('NAMESPACES', request.namespaces);
  return words.length === 1 ? null : words;
}

// -- what comes back

/** @throws BreakwaterError `STORE_REPLY_INVALID` */
export function resultsOf(reply: Reply, count: number): ReadResult[] {
  if (!Array.isArray(reply) || reply.length !== 2) throw unexpected('BW.MGET');
  return unpack(reply, count);
}

/** @throws BreakwaterError `STORE_REPLY_INVALID` */
export function leasesOf(reply: Reply, count: number): (string | null)[] {
  if (!Array.isArray(reply) || reply.length !== count) throw unexpected('BW.LEASE');
  return reply.map((one) => {
    if (!Array.isArray(one)) throw unexpected('BW.LEASE');
    return missOf(one).lease;
  });
}

/** @throws BreakwaterError `STORE_REPLY_INVALID` */
export function fillsOf(reply: Reply, count: number): boolean[] {
  if (!Array.isArray(reply) || reply.length !== count) throw unexpected('BW.FILL');
  return reply.map((one) => one === 1);
}

/** @throws BreakwaterError `STORE_REPLY_INVALID` */
export function outcomeOf(reply: Reply): SetOutcome {
  const word = textOf(reply);
  if (word === 'created' || word === 'replaced') return 'stored';
  if (word === 'same' || word === 'older' || word === 'unsure') return word;
  throw unexpected('BW.SET');
}

/** @throws BreakwaterError `STORE_REPLY_INVALID` */
export function countOf(reply: Reply, command: string): number {
  if (typeof reply !== 'number') throw unexpected(command);
  return reply;
}

/** BW.STATS, in the spelling of the embedded store: usedBytes, not used-bytes. */
export function numbersOf(reply: Reply): Record<string, number> {
  const flat = Array.isArray(reply) ? reply : isMap(reply) ? reply.flat : [];
  const numbers: Record<string, number> = {};
  for (let i = 0; i + 1 < flat.length; i += 2) {
    const name = textOf(flat[i]!);
    if (name !== null)
      numbers[name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())] = Number(flat[i + 1]);
  }
  return numbers;
}

/** A member of a map by its name. */
export function fieldOf(reply: Reply, name: string): Reply | undefined {
  if (Array.isArray(reply) || !isMap(reply)) return undefined;
  const { flat } = reply;
  for (let i = 0; i + 1 < flat.length; i += 2) if (textOf(flat[i]!) === name) return flat[i + 1];
  return undefined;
}

// -- what went wrong

/** The error of one node to throw for `error`: the signal's reason when that was it. */
export function storeError(error: unknown, signal: AbortSignal | undefined): unknown {
  return inWordsOfThePort(error, signal, (code) => CODES[code] ?? REFUSALS[code]);
}

/** The same for the members of a cluster. */
export function clusterError(error: unknown, signal: AbortSignal | undefined): unknown {
  return inWordsOfThePort(error, signal, (code) => CLUSTER_CODES[code]);
}

/** Did a write that ended with `error` perhaps take effect? */
export function isUnknownOutcome(error: unknown): boolean {
  return error instanceof BreakwaterError && UNKNOWN_OUTCOMES.has(error.code);
}

function inWordsOfThePort(
  error: unknown,
  signal: AbortSignal | undefined,
  codeOf: (code: string) => string | undefined,
): unknown {
  if (signal?.aborted === true) return signal.reason;
  const code = error instanceof BreakwaterError ? codeOf(error.code) : undefined;
  return code === undefined ? error : new BreakwaterError(code, (error as BreakwaterError).message, { cause: error });
}

// -- within

function leaseMsOf({ leaseMs }: LeaseCall): number {
  return Math.max(1, Math.ceil(leaseMs ?? DEFAULT_LEASE_MS));
}

/** What was found, packed, and the replies to the misses in it. */
function unpack([pack, misses]: readonly Reply[], count: number): ReadResult[] {
  if (!(pack instanceof Uint8Array) || !Array.isArray(misses)) throw unexpected('BW.MGET');
  const reader = new PackReader(pack);
  const hits = new HitPack(pack, count > 1);
  const results: ReadResult[] = [];
  let missed = 0;
  for (let i = 0; i < count; i += 1) {
    const found = reader.next();
    if (found > 0) {
      const { start, end, ttlMs, version } = reader;
      results.push(new PackedHit(hits, start, end, ttlMs < 0 ? null : ttlMs, version));
    } else {
      if (found < 0 || missed === misses.length) throw unexpected('BW.MGET');
      results.push(missOf(misses[missed]!));
      missed += 1;
    }
  }
  if (!reader.isWhole || missed !== misses.length) throw unexpected('BW.MGET');
  return results;
}

/** `[token | null, wait]` or null. */
function missOf(reply: Reply): ReadMiss {
  if (reply === null) return { kind: 'miss', lease: null, waitMs: 0 };
  const [first, second] = Array.isArray(reply) && reply.length === 2 ? reply : [];
  if (first === undefined || typeof second !== 'number') throw unexpected('BW.MGET');
  const lease = first === null ? null : textOf(first);
  return { kind: 'miss', lease, waitMs: lease === null ? second : 0 };
}

export function textOf(reply: Reply): string | null {
  if (typeof reply === 'string') return reply;
  return reply instanceof Uint8Array ? decoder.decode(reply) : null;
}

function isMap(reply: Reply): reply is Extract<Reply, { readonly flat: unknown }> {
  return typeof reply === 'object' && reply !== null && 'flat' in reply;
}

/** The wire counts whole milliseconds, at least 1. */
function wholeMs(ttlMs: number | null): number | null {
  return ttlMs === null ? null : Math.max(1, Math.round(ttlMs));
}

export function tooLarge(key: string, bytes: number, most: number): BreakwaterError {
  return new BreakwaterError(
    'STORE_TOO_LARGE',
    `cannot set ${JSON.stringify(key)}: the value has ${bytes} bytes, the store takes ${most} (a node configured for more: ?maxValue=32mb in the URL)`,
  );
}

export function unexpected(command: string): BreakwaterError {
  return new BreakwaterError(
    'STORE_REPLY_INVALID',
    `cannot read the reply to ${command}: it has another shape than a Breakwater node's`,
  );
}
