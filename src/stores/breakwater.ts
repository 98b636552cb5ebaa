/**
 * A Breakwater node as L2, over RESP and the `BW.*` commands of docs/protocol.md.
 *
 *   read        BW.MGET n key ... [LEASE ms] PACKED one round trip for any number of keys
 *   fill        BW.FILL n (key value px token ntags tag ...) ...
 *   set         BW.SET key value [PX ms] [TAGS n tag ...] [SVERSION n]
 *   lease       BW.LEASE n key ... [ms]
 *   release     BW.RELEASE key token ...
 *   delete, invalidate   BW.INVALIDATE ...
 *   locks       BW.LOCK name owner ms, BW.RENEW name owner ms, BW.UNLOCK name owner
 *
 * What is sent again after a lost connection: only deletes and invalidations. Done twice they cost a miss. A read is not, because its
 * first sending may have been granted leases that nobody would use; a set is not, because the second one could undo a newer write.
 */
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import { PackReader } from '../base/read-pack.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { parseSizeBytes } from '../base/units.ts';
import { type CommandOptions, RespClient } from '../client/client.ts';
import type { Dial } from '../client/link.ts';
import { clientOptionsOf, parseStoreUrl } from '../client/url.ts';
import { BreakwaterFeed } from './breakwater-feed.ts';
import { type StoreCounters, surelyNotDone } from './counters.ts';
import type { StoreLocks } from './locks.ts';
import { HitPack, PackedHit } from './packed-hit.ts';
import type {
  CacheStore,
  FillEntry,
  HeldLease,
  InvalidateRequest,
  LeaseCall,
  ReadCall,
  ReadMiss,
  ReadResult,
  SetOutcome,
  StoreCall,
  WriteEntry,
} from './store.ts';

export interface BreakwaterStoreOptions {
  readonly url: string;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** The network. Default: sockets. */
  readonly dial?: Dial;
}

/**
 * Largest value that is sent: a node's own limit unless it was configured higher (then say `?maxValue=32mb`). A larger one would be a
 * protocol error, which costs the connection and with it everything else in flight.
 */
const MAX_VALUE_BYTES = 8 * 1024 ** 2;

type Command = Parameters<RespClient['command']>[0];
type Reply = Awaited<ReturnType<RespClient['command']>>;

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

const decoder = new TextDecoder();

export class BreakwaterStore implements CacheStore {
  readonly kind = 'breakwater';
  readonly inProcess = false;
  readonly feed: BreakwaterFeed;
  readonly #client: RespClient;
  readonly counters: StoreCounters = {
    add: async (key, by, ttlMs, call) => {
      const command: (string | number)[] = ['BW.COUNT', key, by];
      if (ttlMs !== null) command.push(Math.ceil(ttlMs));
      const sum = await this.#send(command, call).catch((error: unknown) => {
        throw surelyNotDone(error);
      });
      if (typeof sum !== 'number') throw unexpected('BW.COUNT');
      return sum;
    },
    // A node keeps its sums in memory alone.
    draw: (key, by, call) => this.counters.add(key, by, null, call),
    sum: async (keys, call) => {
      const sums = await Promise.all(keys.map((key) => this.#send(['BW.COUNT', key], call, true)));
      return sums.reduce((sum: number, one) => sum + Number(one), 0);
    },
  };
  // Sent again when a connection is lost: the same owner gets the same answer.
  readonly locks: StoreLocks = {
    acquire: async (name, owner, ttlMs, call) => {
      const reply = await this.#send(['BW.LOCK', name, owner, Math.ceil(ttlMs)], call, true).catch((error: unknown) => {
        const isFull = error instanceof BreakwaterError && error.code === 'LOCKSFULL';
        throw isFull ? new BreakwaterError('STORE_NO_ROOM', error.message, { cause: error }) : error;
      });
      const [token, ms] = Array.isArray(reply) ? reply : [];
      if (typeof token === 'number') return { kind: 'granted', token };
      if (token === null && typeof ms === 'number') return { kind: 'held', waitMs: ms };
      throw unexpected('BW.LOCK');
    },
    renew: async (name, owner, ttlMs, call) =>
      (await this.#send(['BW.RENEW', name, owner, Math.ceil(ttlMs)], call, true)) === 1,
    release: async (name, owner, call) => (await this.#send(['BW.UNLOCK', name, owner], call, true)) === 1,
  };
  readonly maxValueBytes: number;

  /** Connects with the first command. @throws BreakwaterError `STORE_URL_INVALID` */
  constructor(options: BreakwaterStoreOptions) {
    const url = parseStoreUrl(options.url);
    if (url.kind !== 'breakwater') {
      throw new BreakwaterError(
        'STORE_URL_INVALID',
        `cannot use a ${url.kind}:// store: this version knows 'embedded' and breakwater://host:port`,
      );
    }
    if (url.hosts.length > 1) {
      throw new BreakwaterError(
        'STORE_URL_INVALID',
        `cannot use ${url.hosts.length} hosts: this version knows one node, as in breakwater://host:port`,
      );
    }
    const { clock, scheduler, random, dial } = options;
    const { maxValue } = url.options;
    this.maxValueBytes =
      maxValue === undefined ? MAX_VALUE_BYTES : parseSizeBytes(maxValue, 'maxValue of the store URL');
    const [host] = url.hosts;
    this.feed = new BreakwaterFeed(() => this.#client, `${host?.host}:${host?.port}`, scheduler);
    this.#client = new RespClient({
      onPush: this.feed.onPush,
      onState: this.feed.onState,
      name: 'breakwater-library',
      ...given(clientOptionsOf(url, 0, ['maxValue'])),
      clock,
      scheduler,
      random,
      dial,
    });
  }

  async read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    if (keys.length === 0) return [];
    const command: (string | number)[] = ['BW.MGET', keys.length, ...keys];
    if (call.lease) command.push('LEASE', Math.max(1, Math.ceil(call.leaseMs ?? DEFAULT_LEASE_MS)));
    if (call.lease && this.feed.isListenedTo) command.push('NOTIFY');
    command.push('PACKED');
    const reply = await this.#send(command, call);
    if (!Array.isArray(reply) || reply.length !== 2) throw unexpected('BW.MGET');
    return unpack(reply, keys.length);
  }

  async lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    if (keys.length === 0) return [];
    const leaseMs = Math.max(1, Math.ceil(call.leaseMs ?? DEFAULT_LEASE_MS));
    const reply = await this.#send(['BW.LEASE', keys.length, ...keys, leaseMs], call);
    if (!Array.isArray(reply) || reply.length !== keys.length) throw unexpected('BW.LEASE');
    return reply.map((one) => {
      if (!Array.isArray(one)) throw unexpected('BW.LEASE');
      return missOf(one).lease;
    });
  }

  async fill(entries: readonly FillEntry[], call: StoreCall): Promise<boolean[]> {
    const fitting = entries.filter(({ value }) => value.length <= this.maxValueBytes);
    if (fitting.length === 0) return entries.map(() => false);
    const command: (string | number | Uint8Array)[] = ['BW.FILL', fitting.length];
    for (const { key, value, ttlMs, lease, tags } of fitting) {
      command.push(key, value, wholeMs(ttlMs) ?? 0, lease, tags.length, ...tags);
    }
    const reply = await this.#send(command, call);
    if (!Array.isArray(reply) || reply.length !== fitting.length) throw unexpected('BW.FILL');
    let next = 0;
    return entries.map(({ value }) => value.length <= this.maxValueBytes && reply[next++] === 1);
  }

  async release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    if (leases.length === 0) return;
    const reply = await this.#send(['BW.RELEASE', ...leases.flatMap(({ key, lease }) => [key, lease])], call, true);
    if (typeof reply !== 'number') throw unexpected('BW.RELEASE');
  }

  async set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    const command: (string | number | Uint8Array)[] = ['BW.SET', key, value];
    const px = wholeMs(entry.ttlMs);
    if (px !== null) command.push('PX', px);
    if (entry.tags.length > 0) command.push('TAGS', entry.tags.length, ...entry.tags);
    if (entry.version !== undefined) command.push('SVERSION', String(entry.version));
    try {
      if (value.length > this.maxValueBytes) throw tooLarge(key, value.length, this.maxValueBytes);
      const word = textOf(await this.#send(command, call));
      if (word === 'created' || word === 'replaced') return 'stored';
      if (word === 'same' || word === 'older' || word === 'unsure') return word;
      throw unexpected('BW.SET');
    } catch (error) {
      // Refused, so what the key had is still there, and the caller has said that it is replaced: it must not be served on. When nothing
      // is known (a timeout, a lost connection) the caller is told so and decides.
      const isUnknown = error instanceof BreakwaterError && Object.values(CODES).includes(error.code);
      if (!isUnknown && call.signal?.aborted !== true) await this.delete([key], call);
      throw error;
    }
  }

  delete(keys: readonly string[], call: StoreCall): Promise<number> {
    return keys.length === 0 ? Promise.resolve(0) : this.#invalidate({ keys }, call);
  }

  async invalidate(request: InvalidateRequest, call: StoreCall): Promise<void> {
    await this.#invalidate(request, call);
  }

  async stats(call: StoreCall): Promise<Readonly<Record<string, number>>> {
    const reply = await this.#send(['BW.STATS'], call);
    const flat = Array.isArray(reply) ? reply : isMap(reply) ? reply.flat : [];
    const numbers: Record<string, number> = {};
    for (let i = 0; i + 1 < flat.length; i += 2) {
      const name = textOf(flat[i]!);
      // The same spelling as the embedded store's: usedBytes, not used-bytes.
      if (name !== null)
        numbers[name.replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase())] = Number(flat[i + 1]);
    }
    return numbers;
  }

  close(): Promise<void> {
    return this.#client.close({ drain: false });
  }

  async #invalidate(request: InvalidateRequest, call: StoreCall): Promise<number> {
    const command: (string | number)[] = ['BW.INVALIDATE'];
    const clause = (word: string, names: readonly string[] | undefined): void => {
      if (names !== undefined && names.length > 0) command.push(word, names.length, ...names);
    };
    clause('KEYS', request.keys);
    clause('TAGS', request.tags);
    clause('NAMESPACES', request.namespaces);
    if (command.length === 1) return 0;
    const reply = await this.#send(command, call, true);
    if (typeof reply !== 'number') throw unexpected('BW.INVALIDATE');
    return reply;
  }

  async #send(command: Command, call: StoreCall, idempotent = false): Promise<Reply> {
    const { timeoutMs, signal } = call;
    const options: CommandOptions =
      signal === undefined ? { timeoutMs, idempotent } : { timeoutMs, idempotent, signal };
    try {
      return await this.#client.command(command, options);
    } catch (error) {
      if (signal?.aborted === true) throw signal.reason;
      const code = error instanceof BreakwaterError ? (CODES[error.code] ?? REFUSALS[error.code]) : undefined;
      if (code === undefined) throw error;
      throw new BreakwaterError(code, (error as BreakwaterError).message, { cause: error });
    }
  }
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

function textOf(reply: Reply): string | null {
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

/** Without the members that are undefined, which would hide a default. */
function given<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}

function tooLarge(key: string, bytes: number, most: number): BreakwaterError {
  return new BreakwaterError(
    'STORE_TOO_LARGE',
    `cannot set ${JSON.stringify(key)}: the value has ${bytes} bytes, the store takes ${most} (a node configured for more: ?maxValue=32mb in the URL)`,
  );
}

function unexpected(command: string): BreakwaterError {
  return new BreakwaterError(
    'STORE_REPLY_INVALID',
    `cannot read the reply to ${command}: it has another shape than a Breakwater node's`,
  );
}
