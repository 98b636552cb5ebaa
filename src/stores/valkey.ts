/**
 * Redis or Valkey as L2, one server or a cluster, with the promises of the port: leased fills, tags and namespaces in O(1), acknowledged
 * invalidations. No module, no configuration; every step that must happen at once is a script on the server.
 *
 *   valkey/format.ts    what stands under an entry's key: the entry, or its lease
 *   valkey/lua.ts       the scripts, and the table of invalidations that entries are judged by
 *   valkey/scripts.ts   loading them, and why a server that restarted serves nothing of before
 *   valkey/survey.ts    the judgement, and the interleavings that it must survive
 *   valkey/sectors.ts   where the tables live in a cluster
 *   valkey/plain-reading.ts   what is there and in date, by plain commands
 *   valkey/reading.ts   everything else, a batch in one round trip a server
 *   valkey/tracking.ts  how an L1 hears of what other processes invalidate
 *
 * Why not generation counters, a key for each tag, compared by readers: an entry's tags are known only when it has been read; in a cluster a script
 * cannot look at them; each key is lost (evicted) alone; and a fill cannot be judged, because the tags' generations of *before* the load were never read,
 * the tags being unknown then. A table of what was invalidated answers for any tag, before and after, and is lost as a whole or not at all.
 *
 * An invalidation is acknowledged when all replicas that are known have it (WAIT), on a server without any by its reply. Otherwise it rejects with
 * `INVALIDATION_NOT_ACKNOWLEDGED`: it is not known to be in force everywhere.
 *
 * docs/stores.md says what is not promised.
 */
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { parseSizeBytes } from '../base/units.ts';
import type { ClusterNode } from '../client/cluster-node.ts';
import type { SlotRequest } from '../client/cluster-request.ts';
import { clientOptionsOf, parseStoreUrl } from '../client/url.ts';
import type { StoreCounters } from './counters.ts';
import type { StoreLocks } from './locks.ts';
import type { StoreQueues } from './queues.ts';
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
  StoreFacts,
  WriteEntry,
} from './store.ts';
import { Calls } from './valkey/calls.ts';
import { ValkeyCounters } from './valkey/counters.ts';
import { notAcknowledged, storeError } from './valkey/errors.ts';
import { encodeBody, isMark, type Lease, MAX_TAGS, parseLease } from './valkey/format.ts';
import { idMaker } from './valkey/ids.ts';
import { ValkeyLocks } from './valkey/locks.ts';
import { PlainReads } from './valkey/plain-reading.ts';
import { ValkeyQueues } from './valkey/queues.ts';
import { leaseAll, type ReadPorts, readAll, UNFILLABLE } from './valkey/reading.ts';
import { Scripts } from './valkey/scripts.ts';
import { isReserved, type Layout, type Sector, STANDALONE } from './valkey/sectors.ts';
import { serverFacts, serverNumbers } from './valkey/server-numbers.ts';
import { type Deadline, Shards } from './valkey/shards.ts';
import { isDead, namespaceName, surveyOf, tagName } from './valkey/survey.ts';
import { TagMemory } from './valkey/tag-memory.ts';
import { TrackingFeed } from './valkey/tracking.ts';

export interface ValkeyStoreOptions {
  /**
   * `redis://`, `valkey://`, `rediss://` or `valkeys://`, with one host or several of one cluster. Options of its own, beside the client's:
   * `maxValue` (default 8mb); `replicas`, how many each shard has, where the servers cannot be asked or believed; `afterRestart=trust` to serve what
   * was stored before a restart or a failover (default `miss`); `remembered`, how many invalidated tags a table remembers (default 16384).
   */
  readonly url: string;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** Makes ids that nobody has had: 12 characters of A-Z a-z 0-9 - _. Default: 72 random bits of the system. */
  readonly newId?: () => string;
  /** `adaptive` (default): as in valkey/plain-reading.ts. `always`: also where misses are many, which costs them a round trip. */
  readonly plainReads?: 'adaptive' | 'always';
}

const OWN_OPTIONS = ['maxValue', 'replicas', 'afterRestart', 'remembered'] as const;
const MAX_VALUE_BYTES = 8 * 1024 ** 2;
const REMEMBERED = 16_384;
const MAX_TAG_BYTES = 65_535;
/** What the script answers. */
const OUTCOMES: readonly (SetOutcome | undefined)[] = [undefined, 'stored', 'same', 'older', 'unsure'];
const KEYS_PER_DELETE = 512;

export class ValkeyStore implements CacheStore {
  readonly kind: string;
  readonly inProcess = false;
  /** The server tells who has read a key of whatever changes it, a fill too. Who is not told keeps L1s by their own ttl. */
  readonly takesLeasedWrites = true;
  readonly feed: TrackingFeed;
  readonly #shards: Shards;
  readonly #scripts: Scripts;
  readonly #calls: Calls;
  readonly #plain: PlainReads;
  readonly #tags = new TagMemory();
  readonly #newId: () => string;
  readonly maxValueBytes: number;
  readonly locks: StoreLocks;
  readonly counters: StoreCounters;
  readonly queues: StoreQueues;
  readonly #replicasAreStated: boolean;
  readonly #remembered: number;
  readonly #counts = { hits: 0, misses: 0, leasesGranted: 0, leasesHeld: 0, leasesFilled: 0, leasesRefused: 0 };

  /** Connects with the first call. @throws BreakwaterError `STORE_URL_INVALID` */
  constructor(options: ValkeyStoreOptions) {
    const url = parseStoreUrl(options.url);
    if (url.kind === 'breakwater') {
      throw new BreakwaterError('STORE_URL_INVALID', 'cannot use breakwater:// here: expected redis:// or valkey://');
    }
    this.kind = url.kind;
    const { maxValue, replicas, remembered, afterRestart = 'miss' } = url.options;
    if (afterRestart !== 'miss' && afterRestart !== 'trust') {
      throw optionInvalid('afterRestart', 'miss or trust', afterRestart);
    }
    this.maxValueBytes =
      maxValue === undefined ? MAX_VALUE_BYTES : parseSizeBytes(maxValue, 'maxValue of the store URL');
    this.#remembered = remembered === undefined ? REMEMBERED : count('remembered', remembered, 16);
    this.#replicasAreStated = replicas !== undefined;
    this.#scripts = new Scripts({ trust: afterRestart === 'trust' });
    this.#newId = options.newId ?? idMaker();
    this.feed = new TrackingFeed(() => this.#shards.client, options.scheduler);
    const sending = (node: ClusterNode, keys: readonly string[]): void => this.feed.sending(node, keys);
    this.#calls = new Calls(this.#scripts, this.#newId, sending);
    this.#plain = new PlainReads({
      client: () => this.#shards.client,
      scripts: this.#scripts,
      tags: this.#tags,
      sending,
      always: options.plainReads === 'always',
    });
    const { host: _host, port: _port, ...client } = clientOptionsOf(url, 0, OWN_OPTIONS);
    const { clock, scheduler, random } = options;
    this.#shards = new Shards({
      seeds: url.hosts,
      client: { name: 'breakwater-library', backOff: { baseMs: 20, capMs: 1000 }, ...given(client) },
      preparation: this.#scripts,
      watcher: this.feed,
      expectedReplicas: replicas === undefined ? null : count('replicas', replicas, 0),
      clock,
      scheduler,
      random,
    });
    this.locks = new ValkeyLocks(this.#shards, this.#calls);
    this.counters = new ValkeyCounters(this.#shards, this.#calls);
    this.queues = new ValkeyQueues(this.#shards, this.#calls);
  }

  async read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    const deadline = this.#shards.begin(call);
    if (keys.length === 0) return [];
    for (const key of keys) refuseReserved(key);
    const hits = await this.#plain.read(keys, deadline.options());
    const results = isComplete(hits) ? hits : await this.#readRest(keys, hits ?? keys.map(() => null), call, deadline);
    await this.#watchHeld(keys, results, call, deadline);
    this.#plain.note(results);
    const counts = this.#counts;
    for (const result of results) {
      if (result.kind === 'hit') counts.hits += 1;
      else {
        counts.misses += 1;
        if (result.lease !== null) counts.leasesGranted += 1;
        else if (call.lease) counts.leasesHeld += 1;
      }
    }
    return results;
  }

  /** Who is to wait for others is told of their end; what happened before he could be is looked at here. */
  async #watchHeld(keys: readonly string[], results: ReadResult[], call: ReadCall, deadline: Deadline): Promise<void> {
    const held = keys.filter((_, i) => isHeld(results[i]!));
    if (held.length === 0) return;
    try {
      if (!(await this.feed.watch(held, deadline.options()))) return;
      const again = await readAll(held, call, deadline, await this.#ports(deadline));
      let at = 0;
      for (let i = 0; i < results.length; i += 1) if (isHeld(results[i]!)) results[i] = again[at++]!;
    } catch (error) {
      // What was read first stands: he waits, and asks again by himself.
      if (call.signal?.aborted === true) throw error;
    }
  }

  /** By scripts, what `hits` lacks. */
  async #readRest(
    keys: readonly string[],
    hits: readonly (ReadResult | null)[],
    call: ReadCall,
    deadline: Deadline,
  ): Promise<ReadResult[]> {
    const left = keys.filter((_, i) => hits[i] === null);
    let found: readonly ReadResult[];
    try {
      found = await readAll(left, call, deadline, await this.#ports(deadline));
    } catch (error) {
      // As when some of the shards cannot be reached: who aborts is told, else the hits stand.
      if (left.length === keys.length || call.signal?.aborted === true) throw error;
      found = left.map(() => ({ kind: 'miss', lease: call.lease ? UNFILLABLE : null, waitMs: 0 }));
    }
    let at = 0;
    return hits.map((hit) => hit ?? found[at++]!);
  }

  async lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    const deadline = this.#shards.begin(call);
    if (keys.length === 0) return [];
    for (const key of keys) refuseReserved(key);
    const leases = await leaseAll(keys, call, deadline, await this.#ports(deadline));
    for (const lease of leases) {
      if (lease === null) this.#counts.leasesHeld += 1;
      else this.#counts.leasesGranted += 1;
    }
    return leases;
  }

  /**
   * One round trip: the fills, and beside them the tables, for the verdict. What is stored under an invalidated name is dead
   * whatever the verdict says (survey.ts). One that is a write is acknowledged as a `set` is.
   */
  async fill(entries: readonly FillEntry[], call: FillCall): Promise<boolean[]> {
    const deadline = this.#shards.begin(call);
    const stored = entries.map(() => false);
    const good: { readonly index: number; readonly entry: FillEntry; readonly lease: Lease }[] = [];
    entries.forEach((entry, index) => {
      const lease = parseLease(entry.lease);
      if (lease !== null && this.#refusal(entry.key, entry.value, entry.tags) === null)
        good.push({ index, entry, lease });
    });
    if (good.length > 0) {
      const layout = await this.#shards.layout(deadline);
      const namesOf = new Map<Sector, Set<string>>();
      const sectors = good.map(({ entry: { key, tags } }) => {
        const sector = layout.sectorOf(layout.slotOf(key));
        const names = namesOf.get(sector) ?? new Set<string>();
        namesOf.set(sector, names.add(namespaceName(key)));
        for (const tag of tags) names.add(tagName(tag));
        return sector;
      });
      const tables = [...namesOf].map(([sector, names]) => ({ sector, names: [...names] }));
      const requests = [
        ...tables.map(({ sector, names }) => this.#calls.survey(sector, names)),
        ...good.map(({ entry: { key, value, tags, ttlMs }, lease }) =>
          this.#calls.fill(layout.slotOf(key), key, lease.token, encodeBody(lease, tags, value), ttlMs),
        ),
      ];
      const outcomes = await this.#shards.execute(requests, deadline, { acknowledged: call.isWrite === true });
      good.forEach(({ index, entry: { key, tags }, lease }, i) => {
        const table = outcomes[tables.findIndex(({ sector }) => sector === sectors[i])]!;
        if (outcomes[tables.length + i] !== 1 || table instanceof Error) return;
        const survey = surveyOf(table, tables.find(({ sector }) => sector === sectors[i])!.names);
        stored[index] = isDead(lease, key, tags, survey) === false;
        if (stored[index]) this.#tags.set(key, tags);
      });
      const failed = outcomes.slice(tables.length);
      if (failed.every((outcome) => outcome instanceof Error)) throw storeError(failed[0], call.signal);
    }
    for (const isStored of stored) {
      if (isStored) this.#counts.leasesFilled += 1;
      else this.#counts.leasesRefused += 1;
    }
    return stored;
  }

  async release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    const deadline = this.#shards.begin(call);
    const layout = leases.length === 0 ? null : await this.#shards.layout(deadline);
    const requests: SlotRequest[] = [];
    for (const { key, lease } of leases) {
      const parsed = parseLease(lease);
      if (parsed !== null) requests.push(this.#calls.release(layout!.slotOf(key), key, parsed.token));
    }
    await this.#shards.execute(requests, deadline, { idempotent: true });
  }

  /** Two round trips: where the table stands, then the write under that number. */
  async set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    const deadline = this.#shards.begin(call);
    refuseReserved(key);
    const refusal = this.#refusal(key, value, entry.tags);
    if (refusal !== null) {
      // The caller has said that what the key had is replaced: it must not be served on.
      await this.delete([key], call);
      throw refusal;
    }
    const layout = await this.#shards.layout(deadline);
    const slot = layout.slotOf(key);
    const [table] = await this.#shards.execute([this.#calls.survey(layout.sectorOf(slot), [])], deadline, {
      idempotent: true,
    });
    if (table instanceof Error) throw storeError(table, call.signal);
    const body = encodeBody(surveyOf(table!, []), entry.tags, value, entry.version);
    const [outcome] = await this.#shards.execute(
      [this.#calls.set(slot, key, body, entry.ttlMs, entry.version)],
      deadline,
      {
        acknowledged: true,
      },
    );
    if (outcome instanceof Error) {
      const error = storeError(outcome, call.signal);
      if (error instanceof BreakwaterError && error.code === 'STORE_NO_ROOM') await this.delete([key], call);
      throw error;
    }
    const word = OUTCOMES[Number(outcome)];
    if (word === undefined)
      throw new BreakwaterError('STORE_REPLY_INVALID', `cannot read the reply to a set of ${JSON.stringify(key)}`);
    if (word === 'stored') this.#tags.set(key, entry.tags);
    return word;
  }

  async delete(keys: readonly string[], call: StoreCall): Promise<number> {
    return this.#invalidate({ keys }, call);
  }

  async invalidate(request: InvalidateRequest, call: StoreCall): Promise<void> {
    await this.#invalidate(request, call);
  }

  async stats(call: StoreCall): Promise<Readonly<Record<string, number>>> {
    const deadline = this.#shards.begin(call);
    const nodes = await this.#shards.primaries(deadline);
    const numbers = await serverNumbers(nodes, deadline).catch((error: unknown) => {
      throw storeError(error, call.signal);
    });
    const { pushes, flushes, links, untracked } = this.feed.counts;
    return {
      ...this.#counts,
      ...numbers,
      scriptLoads: this.#scripts.loads,
      plainHits: this.#plain.hits,
      trackingPushes: pushes,
      trackingFlushes: flushes,
      trackingLinks: links,
      trackingUntracked: untracked,
      ...this.#shards.client.stats,
    };
  }

  async facts(call: StoreCall): Promise<StoreFacts> {
    const deadline = this.#shards.begin(call);
    const isCluster = (await this.#shards.layout(deadline)) !== STANDALONE;
    return serverFacts(await this.#shards.primaries(deadline), isCluster, this.#replicasAreStated, deadline);
  }

  close(): Promise<void> {
    this.feed.close();
    return this.#shards.close();
  }

  async #ports(deadline: Deadline): Promise<ReadPorts> {
    const layout = await this.#shards.layout(deadline);
    return {
      shards: this.#shards,
      calls: this.#calls,
      layout,
      tags: this.#tags,
      plain: this.#plain,
      newId: this.#newId,
    };
  }

  async #invalidate(request: InvalidateRequest, call: StoreCall): Promise<number> {
    const deadline = this.#shards.begin(call);
    const { keys = [], tags = [], namespaces = [] } = request;
    for (const key of keys) refuseReserved(key);
    if (keys.length + tags.length + namespaces.length === 0) return 0;
    try {
      const layout = await this.#shards.layout(deadline);
      const deletes = this.#deletes(keys, layout);
      const names = [...tags.map(tagName), ...namespaces.map((name) => `n${name}`)];
      const requests = [...deletes];
      if (names.length > 0) {
        for (const sector of layout.sectors) requests.push(this.#calls.invalidate(sector, names, this.#remembered));
      }
      return await this.#acknowledged(requests, deletes.length, deadline);
    } catch (error) {
      throw notAcknowledged(error, call.signal);
    }
  }

  /** The sum of the first `counted` replies. */
  async #acknowledged(requests: readonly SlotRequest[], counted: number, deadline: Deadline): Promise<number> {
    const outcomes = await this.#shards.execute(requests, deadline, { idempotent: true, acknowledged: true });
    let sum = 0;
    outcomes.forEach((outcome, i) => {
      if (typeof outcome !== 'number') throw outcome;
      if (i < counted) sum += outcome;
    });
    return sum;
  }

  #deletes(keys: readonly string[], layout: Layout): SlotRequest[] {
    const requests: SlotRequest[] = [];
    if (layout.sectors.length === 1) {
      for (let i = 0; i < keys.length; i += KEYS_PER_DELETE) {
        requests.push(this.#calls.delete(0, keys.slice(i, i + KEYS_PER_DELETE)));
      }
      return requests;
    }
    // One key each: a command with several has to wait while their slot moves.
    for (const key of keys) requests.push(this.#calls.delete(layout.slotOf(key), [key]));
    return requests;
  }

  /** Why an entry cannot be stored whatever the servers say. */
  #refusal(key: string, value: Uint8Array, tags: readonly string[]): BreakwaterError | null {
    if (isReserved(key)) return reserved(key);
    if (value.length > this.maxValueBytes) {
      return new BreakwaterError(
        'STORE_TOO_LARGE',
        `cannot set ${JSON.stringify(key)}: the value has ${value.length} bytes, the store takes ${this.maxValueBytes} (?maxValue=32mb in the URL for more)`,
      );
    }
    if (tags.length > MAX_TAGS || tags.some((tag) => tag.length * 3 > MAX_TAG_BYTES)) {
      return new BreakwaterError(
        'STORE_TOO_MANY_TAGS',
        `cannot store ${JSON.stringify(key)}: at most ${MAX_TAGS} tags of ${Math.floor(MAX_TAG_BYTES / 3)} characters, received ${tags.length}`,
      );
    }
    if (tags.some(isMark)) {
      return new BreakwaterError(
        'STORE_TAG_RESERVED',
        `cannot store ${JSON.stringify(key)}: the store marks versions with such a tag`,
      );
    }
    return null;
  }
}

/** Another caller loads it. */
function isHeld(result: ReadResult): boolean {
  return result.kind === 'miss' && result.lease === null && result.waitMs > 0;
}

function isComplete(hits: readonly (ReadResult | null)[] | null): hits is ReadResult[] {
  return hits !== null && !hits.includes(null);
}

function refuseReserved(key: string): void {
  if (isReserved(key)) throw reserved(key);
}

function reserved(key: string): BreakwaterError {
  return new BreakwaterError(
    'STORE_KEY_RESERVED',
    `cannot use the key ${JSON.stringify(key)}: the store keeps its own there`,
  );
}

function count(name: string, text: string, least: number): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= least) return value;
  throw optionInvalid(name, `an integer of at least ${least}`, text);
}

function optionInvalid(name: string, expected: string, received: string): BreakwaterError {
  return new BreakwaterError(
    'STORE_URL_INVALID',
    `cannot use the store URL: ${name} must be ${expected}, received "${received}"`,
  );
}

/** Without the members that are undefined, which would hide a default. */
function given<T extends object>(options: T): T {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as T;
}
