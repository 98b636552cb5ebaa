/**
 * Breakwater nodes as L2, over RESP and the `BW.*` commands of docs/protocol.md: one node, or the members of a cluster (`breakwater/members.ts`).
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
 *
 * One node or a cluster? Several hosts in the URL are a cluster. One host may be a member of one, and says so: in its answer to HELLO, or by sending a command elsewhere (MOVED and its kin, which a node of its own
 * never answers). Then the store becomes one of all members, for good, and what was sent elsewhere is asked again there: it was not done. Until then nothing is asked that would not be asked of a node of its own.
 */
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { parseSizeBytes } from '../base/units.ts';
import { type ClientOptions, type CommandOptions, RespClient } from '../client/client.ts';
import type { Dial } from '../client/link.ts';
import type { ClientState } from '../client/state.ts';
import { clientOptionsOf, type HostPort, parseStoreUrl } from '../client/url.ts';
import { StoreFeeds } from './breakwater/feeds.ts';
import { BreakwaterMembers } from './breakwater/members.ts';
import {
  countOf,
  fillsOf,
  fillWords,
  invalidateWords,
  isUnknownOutcome,
  leasedWords,
  leasesOf,
  leaseWords,
  numbersOf,
  outcomeOf,
  type Reply,
  readWords,
  releaseWords,
  resultsOf,
  setWords,
  storeError,
  tooLarge,
  unexpected,
  type Words,
} from './breakwater/words.ts';
import { BreakwaterFeed } from './breakwater-feed.ts';
import { type StoreCounters, surelyNotDone } from './counters.ts';
import type { StoreLocks } from './locks.ts';
import type {
  CacheStore,
  FillCall,
  FillEntry,
  HeldLease,
  InvalidateRequest,
  LeaseCall,
  ReadCall,
  ReadResult,
  SetOutcome,
  StoreCall,
  WriteEntry,
} from './store.ts';

export interface BreakwaterStoreOptions {
  /** `breakwater://` and one host, or several members of one cluster. `maxValue`, `reads` and `zone` are options of its own, beside the client's (docs/stores.md). */
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

/** Only members of a cluster answer so, and what they answer so they have not done. */
const SENT_ELSEWHERE: ReadonlySet<string> = new Set(['MOVED', 'CROSSSLOT', 'TRYAGAIN', 'CLUSTERDOWN']);

export class BreakwaterStore implements CacheStore {
  readonly kind = 'breakwater';
  readonly inProcess = false;
  readonly takesLeasedWrites = true;
  readonly feed: StoreFeeds;
  readonly maxValueBytes: number;
  readonly readsCopies: boolean;
  readonly locks: StoreLocks;
  readonly counters: StoreCounters;
  readonly #options: BreakwaterStoreOptions;
  readonly #clientOptions: Omit<ClientOptions, 'host' | 'port'>;
  readonly #seeds: readonly HostPort[];
  readonly #near: { readonly zone: string | null } | undefined;
  /** The one host of the URL, also when it has turned out to be one of many. */
  #node: RespClient | null = null;
  /** null: a node of its own, as far as is known. */
  #members: BreakwaterMembers | null = null;
  #closed = false;

  /** Connects with the first command. @throws BreakwaterError `STORE_URL_INVALID` */
  constructor(options: BreakwaterStoreOptions) {
    const url = parseStoreUrl(options.url);
    if (url.kind !== 'breakwater') {
      throw new BreakwaterError(
        'STORE_URL_INVALID',
        `cannot use a ${url.kind}:// store here: expected breakwater://host:port`,
      );
    }
    const { clock, scheduler, random, dial } = options;
    const { maxValue } = url.options;
    this.maxValueBytes =
      maxValue === undefined ? MAX_VALUE_BYTES : parseSizeBytes(maxValue, 'maxValue of the store URL');
    this.#options = options;
    this.#seeds = url.hosts;
    const { host, port, ...client } = clientOptionsOf(url, 0, ['maxValue', 'reads', 'zone']);
    this.#near = nearOf(url.options);
    this.readsCopies = this.#near !== undefined;
    this.locks = this.#makeLocks();
    this.counters = this.#makeCounters();
    this.#clientOptions = { name: 'breakwater-library', ...given({ ...client, dial }) };
    if (url.hosts.length > 1) {
      this.feed = new StoreFeeds(null, () => this.#members!.client, scheduler);
      this.#members = this.#openMembers();
      return;
    }
    const feed = new BreakwaterFeed(() => this.#node!, `${host}:${port}`, scheduler);
    this.feed = new StoreFeeds(feed, () => this.#members!.client, scheduler);
    this.#node = new RespClient({
      ...this.#clientOptions,
      onPush: feed.onPush,
      onState: (state) => this.#onState(state, feed),
      host,
      port,
      clock,
      scheduler,
      random,
    });
  }

  async read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    if (keys.length === 0) return [];
    if (this.#members !== null) return this.#members.read(keys, call);
    try {
      const reply = await this.#send(readWords(keys, call, this.feed.isListenedTo), call);
      return resultsOf(reply, keys.length);
    } catch (error) {
      return this.#membersInstead(error).read(keys, call);
    }
  }

  async lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    if (keys.length === 0) return [];
    if (this.#members !== null) return this.#members.lease(keys, call);
    try {
      return leasesOf(await this.#send(leaseWords(keys, call), call), keys.length);
    } catch (error) {
      return this.#membersInstead(error).lease(keys, call);
    }
  }

  async fill(entries: readonly FillEntry[], call: FillCall): Promise<boolean[]> {
    if (call.isWrite === true) return await Promise.all(entries.map((entry) => this.#setLeased(entry, call)));
    const fitting = entries.filter(({ value }) => value.length <= this.maxValueBytes);
    if (fitting.length === 0) return entries.map(() => false);
    if (this.#members !== null) return this.#members.fill(entries, call);
    try {
      const stored = fillsOf(await this.#send(fillWords(fitting), call), fitting.length);
      let next = 0;
      return entries.map(({ value }) => value.length <= this.maxValueBytes && stored[next++]!);
    } catch (error) {
      return this.#membersInstead(error).fill(entries, call);
    }
  }

  async release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    if (leases.length === 0) return;
    if (this.#members !== null) return this.#members.release(leases, call);
    try {
      countOf(await this.#send(releaseWords(leases), call, true), 'BW.RELEASE');
    } catch (error) {
      await this.#membersInstead(error).release(leases, call);
    }
  }

  async set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    if (this.#members !== null) return this.#members.set(key, value, entry, call);
    try {
      if (value.length > this.maxValueBytes) throw tooLarge(key, value.length, this.maxValueBytes);
      return outcomeOf(await this.#send(setWords(key, value, entry), call));
    } catch (error) {
      if (isSentElsewhere(error)) return this.#membersInstead(error).set(key, value, entry, call);
      // Refused, so what the key had is still there, and the caller has said that it is replaced: it must not be served on. When nothing
      // is known (a timeout, a lost connection) the caller is told so and decides.
      if (!isUnknownOutcome(error) && call.signal?.aborted !== true) await this.delete([key], call);
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
    if (this.#members !== null) return this.#members.stats(call);
    return numbersOf(await this.#send(['BW.STATS'], call));
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.feed.close();
    await Promise.all([this.#node?.close({ drain: false }), this.#members?.close()]);
  }

  /** What was written to the source under this lease: followers are told. */
  async #setLeased(entry: FillEntry, call: StoreCall): Promise<boolean> {
    if (entry.value.length > this.maxValueBytes) return false;
    if (this.#members !== null) return this.#members.setLeased(entry, call);
    try {
      return outcomeOf(await this.#send(leasedWords(entry), call)) === 'stored';
    } catch (error) {
      if (error instanceof BreakwaterError && error.code === 'LEASEVOID') return false;
      return this.#membersInstead(error).setLeased(entry, call);
    }
  }

  async #invalidate(request: InvalidateRequest, call: StoreCall): Promise<number> {
    if (this.#members !== null) return this.#members.invalidate(request, call);
    const words = invalidateWords(request);
    if (words === null) return 0;
    try {
      return countOf(await this.#send(words, call, true), 'BW.INVALIDATE');
    } catch (error) {
      return this.#membersInstead(error).invalidate(request, call);
    }
  }

  // -- one node, or one of many

  #openMembers(): BreakwaterMembers {
    const { clock, scheduler, random } = this.#options;
    return new BreakwaterMembers({
      seeds: this.#seeds,
      near: this.#near,
      client: this.#clientOptions,
      maxValueBytes: this.maxValueBytes,
      feed: this.feed,
      clock,
      scheduler,
      random,
    });
  }

  #onState(state: ClientState, feed: BreakwaterFeed): void {
    if (state.kind === 'ready' && state.isCluster) {
      // Behind what has waited for this connection: that is sent, and answered there or sent elsewhere.
      queueMicrotask(() => this.#becomeCluster());
    } else feed.onState(state);
  }

  #becomeCluster(): BreakwaterMembers {
    if (this.#members !== null) return this.#members;
    this.#members = this.#openMembers();
    this.feed.becomeCluster();
    this.#node?.close({ drain: true }).catch(() => undefined);
    return this.#members;
  }

  /** For whom `error` sent elsewhere; throws any other. It was not done, and it is asked anew, with the time of a call that begins now: once in the life of a store. */
  #membersInstead(error: unknown): BreakwaterMembers {
    if (!isSentElsewhere(error) || this.#closed) throw error;
    return this.#becomeCluster();
  }

  async #send(words: Words, call: StoreCall, idempotent = false): Promise<Reply> {
    const { timeoutMs, signal } = call;
    const options: CommandOptions =
      signal === undefined ? { timeoutMs, idempotent } : { timeoutMs, idempotent, signal };
    try {
      return await this.#node!.command(words, options);
    } catch (error) {
      throw storeError(error, signal);
    }
  }

  // -- what is kept beside entries

  /** Of the lock or counter `name`. */
  async #ask(name: string, words: Words, call: StoreCall, idempotent: boolean): Promise<Reply> {
    if (this.#members !== null) return this.#members.ask(name, words, call, idempotent);
    try {
      return await this.#send(words, call, idempotent);
    } catch (error) {
      return this.#membersInstead(error).ask(name, words, call, idempotent);
    }
  }

  #makeCounters(): StoreCounters {
    const add: StoreCounters['add'] = async (key, by, ttlMs, call) => {
      const words: Words = ['BW.COUNT', key, by];
      if (ttlMs !== null) words.push(Math.ceil(ttlMs));
      const sum = await this.#ask(key, words, call, false).catch((error: unknown) => {
        throw surelyNotDone(error);
      });
      return countOf(sum, 'BW.COUNT');
    };
    return {
      add,
      draw: (key, by, call) => add(key, by, null, call),
      sum: async (keys, call) => {
        const sums = await Promise.all(keys.map((key) => this.#ask(key, ['BW.COUNT', key], call, true)));
        return sums.reduce((sum: number, one) => sum + Number(one), 0);
      },
    };
  }

  /** Sent again when a connection is lost: the same owner gets the same answer. */
  #makeLocks(): StoreLocks {
    const send = (name: string, words: Words, call: StoreCall): Promise<Reply> => this.#ask(name, words, call, true);
    return {
      acquire: async (name, owner, ttlMs, call) => {
        const reply = await send(name, ['BW.LOCK', name, owner, Math.ceil(ttlMs)], call).catch((error: unknown) => {
          const isFull = error instanceof BreakwaterError && error.code === 'LOCKSFULL';
          throw isFull ? new BreakwaterError('STORE_NO_ROOM', error.message, { cause: error }) : error;
        });
        const [token, ms] = Array.isArray(reply) ? reply : [];
        if (typeof token === 'number') return { kind: 'granted', token };
        if (token === null && typeof ms === 'number') return { kind: 'held', waitMs: ms };
        throw unexpected('BW.LOCK');
      },
      renew: async (name, owner, ttlMs, call) =>
        (await send(name, ['BW.RENEW', name, owner, Math.ceil(ttlMs)], call)) === 1,
      release: async (name, owner, call) => (await send(name, ['BW.UNLOCK', name, owner], call)) === 1,
    };
  }
}

/** What the URL says of reads from copies; undefined: there are none. @throws BreakwaterError `STORE_URL_INVALID` */
function nearOf({ reads = 'owner', zone }: Readonly<Record<string, string>>): { zone: string | null } | undefined {
  if (reads !== 'owner' && reads !== 'nearest') {
    throw new BreakwaterError(
      'STORE_URL_INVALID',
      `cannot use the store URL: reads must be owner or nearest, received "${reads}"`,
    );
  }
  if (reads === 'nearest') return { zone: zone ?? null };
  if (zone === undefined) return undefined;
  throw new BreakwaterError('STORE_URL_INVALID', 'cannot use the store URL: zone says nothing without reads=nearest');
}

function isSentElsewhere(error: unknown): boolean {
  return error instanceof BreakwaterError && SENT_ELSEWHERE.has(error.code);
}

/** Without the members that are undefined, which would hide a default. */
function given<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
