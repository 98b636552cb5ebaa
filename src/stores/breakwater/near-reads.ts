/**
 * Reads that may be answered by a copy: where the caller takes what is a little old (`maxStale`), and the store was told so (`reads=nearest`). A copy in our zone is asked instead of an owner in another; and when the owner is
 * away or slow, a copy is asked too, so that a takeover (1.5 s) or a pause costs these reads nothing.
 *
 *     owner in our zone, or no copy there -----> the owner --no answer for 30 ms, or none at all--> a copy as well; whoever has it first
 *     a copy in our zone, the owner not there --> the copy --what it has not, or it is no help----> the owner
 *     the owner is known to be away -----------> a copy --the same-------------------------------> the owner
 *
 * Why not ask both at once each time: it doubles the reads of the cluster, to gain what one in a hundred needs (Dean and Barroso, The Tail at Scale, CACM 2013: ask the second when the first is late).
 *
 * What makes it right. A copy answers `STALE ms` when it can be behind by no more than that (docs/cluster.md): nothing is missing in its answer that was acknowledged longer ago. So:
 *
 *   1. `ms` is what the caller allows, and never reaches back before the last invalidation or overwrite *of this store* that may concern the key was acknowledged: nobody reads here what he has replaced here himself.
 *   2. A hit is marked `isCopied`, and kept in no L1: whoever reads it later may allow less, and the feed may have told of its invalidation before the copy applied it.
 *   3. What a copy has not is asked of the owner: only that one grants the lease to fill it.
 *   4. Leases that the owner granted when nobody waited for it any more are given back.
 *
 * A connection of its own to each copy, made when first needed: those of the cluster's client come and go with who owns something, and the feed lives on them.
 */
import type { Clock } from '../../base/clock.ts';
import { BreakwaterError } from '../../base/errors.ts';
import type { Scheduler } from '../../base/scheduler.ts';
import type { RespClient } from '../../client/client.ts';
import type { ClusterClient } from '../../client/cluster.ts';
import type { Outcome } from '../../client/cluster-outcome.ts';
import { addressOf, type Place, type Shard, type Topology } from '../../client/cluster-topology.ts';
import type { HostPort } from '../../client/url.ts';
import { SLOT_COUNT } from '../../hash/slot.ts';
import type { HeldLease, ReadCall, ReadHit, ReadResult, StoreCall } from '../store.ts';
import { merged, missing, preferred, put } from './near-answers.ts';
import { bySlot, type Group } from './slot-groups.ts';
import { isUnasked, resultsOf, staleWords, unasked } from './words.ts';

/** An owner that has not answered by then is slow: a hundred times what it takes in one machine room, a fiftieth of a takeover. */
const HEDGE_MS = 30;
/** Reads that wait for an owner and a copy at once. Where more are slow it is the cluster, or this process, and not an owner. */
const MOST_HEDGES = 256;
/** A copy that did not answer in time is asked after all others for so long. */
const REST_MS = 1000;
/** Who copies what changes without anybody being sent elsewhere: the map is asked for so often while it is used, and sooner where it knows of no copy. */
const MAP_AGE_MS = 10_000;
const MAP_WITHOUT_COPIES_AGE_MS = 1000;
/** Copies of a range that are asked, one after the other. */
const MOST_ASKED = 2;
const NEVER = Number.NEGATIVE_INFINITY;

/** What is needed of a connection to a copy: a `RespClient`. */
export type CopyConnection = Pick<RespClient, 'state' | 'pipeline' | 'close'>;

export interface NearReadsOptions {
  /** Where this process is; null: nobody said, and no copy is nearer than an owner. */
  readonly zone: string | null;
  readonly client: Pick<ClusterClient, 'topology' | 'isAway' | 'refreshSoon'>;
  /** A connection to a copy, which fails at once while it is away. */
  readonly connect: (copy: HostPort) => CopyConnection;
  /** Of the owners, as if there were no copies. */
  readonly readOwners: (keys: readonly string[], call: ReadCall) => Promise<ReadResult[]>;
  readonly release: (leases: readonly HeldLease[], call: StoreCall) => Promise<void>;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
}

export interface NearReadsStats {
  /** Keys that a copy answered. */
  copyHits: number;
  /** Keys of which a copy that might answer had nothing. */
  copyMisses: number;
  /** Commands that copies refused: too far behind, or no copies any more. */
  copyRefusals: number;
  /** Commands that copies did not answer. */
  copyFailures: number;
  /** Reads whose owner was slow. */
  hedges: number;
}

/** Keys of one owner. */
interface Part {
  readonly shard: Shard;
  readonly isCopyFirst: boolean;
  readonly groups: Group<string>[];
}

export class NearReads {
  readonly stats: NearReadsStats = { copyHits: 0, copyMisses: 0, copyRefusals: 0, copyFailures: 0, hedges: 0 };
  readonly #options: NearReadsOptions;
  /** When something of the slot, or of any slot, was last invalidated or overwritten here, acknowledged. */
  readonly #touchedMs = new Float64Array(SLOT_COUNT).fill(NEVER);
  #namesTouchedMs = NEVER;
  readonly #copies = new Map<string, CopyConnection>();
  readonly #restsUntilMs = new Map<string, number>();
  /** The map that the connections are of. */
  #topology: Topology | null = null;
  /** When the map was asked for, or changed, last. */
  #askedMs = NEVER;
  #hedges = 0;
  #closed = false;

  constructor(options: NearReadsOptions) {
    this.#options = options;
  }

  /** An invalidation or overwrite of a key of this slot is over. */
  touched(slot: number): void {
    this.#touchedMs[slot] = this.#options.clock.now();
  }

  /** One of a tag or namespace is over. */
  touchedNames(): void {
    this.#namesTouchedMs = this.#options.clock.now();
  }

  /** As `readOwners`, and by copies that are behind by no more than `call.maxStaleMs`. */
  async read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    const { client, clock } = this.#options;
    const deadlineMs = clock.now() + call.timeoutMs;
    let topology: Topology;
    try {
      topology = await client.topology({ timeoutMs: call.timeoutMs, signal: call.signal });
    } catch {
      // Says why nobody can be asked.
      return this.#options.readOwners(keys, call);
    }
    this.#prune(topology);
    let mapAgeMs = MAP_AGE_MS;
    const results = new Array<ReadResult>(keys.length);
    const unowned: Group<string>[] = [];
    const parts = new Map<Shard, Part>();
    for (const group of bySlot(keys, (key) => key)) {
      const shard = topology.ownerOf(group.slot);
      if (shard === null || shard.copies.length === 0) {
        unowned.push(group);
        mapAgeMs = MAP_WITHOUT_COPIES_AGE_MS;
        continue;
      }
      const part = parts.get(shard);
      if (part !== undefined) part.groups.push(group);
      else parts.set(shard, { shard, isCopyFirst: this.#isCopyNearer(shard), groups: [group] });
    }
    if (clock.now() - this.#askedMs >= mapAgeMs) {
      this.#askedMs = clock.now();
      client.refreshSoon();
    }
    // All are waited for: who failed alone must not make the others' leases nobody's.
    const outcomes = await Promise.allSettled([
      ...[...parts.values()].map(async (part) => {
        put(results, part.groups, await this.#readPart(part, { ...call, timeoutMs: deadlineMs - clock.now() }));
      }),
      ...(unowned.length === 0
        ? []
        : [this.#ofOwners(unowned, call, deadlineMs).then((found) => put(results, unowned, found))]),
    ]);
    const failed = outcomes.filter((outcome) => outcome.status === 'rejected');
    if (failed.length === outcomes.length) throw failed[0]!.reason;
    for (let place = 0; place < keys.length; place += 1) results[place] ??= unasked(call);
    return results;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const copies = [...this.#copies.values()];
    this.#copies.clear();
    await Promise.all(copies.map((copy) => copy.close({ drain: false })));
  }

  // -- one owner's keys

  #readPart(part: Part, call: ReadCall): Promise<ReadResult[]> {
    const deadlineMs = this.#options.clock.now() + call.timeoutMs;
    return part.isCopyFirst ? this.#copyFirst(part, call, deadlineMs) : this.#ownerFirst(part, call, deadlineMs);
  }

  async #copyFirst({ shard, groups }: Part, call: ReadCall, deadlineMs: number): Promise<ReadResult[]> {
    const found = await this.#ofCopies(shard, groups, call, deadlineMs);
    const rest = missing(groups, found);
    if (rest.length === 0) return found as ReadResult[];
    const results = await this.#ofOwners(rest, call, deadlineMs).catch((error: unknown) => {
      // What a copy had is an answer all the same.
      if (found.every((hit) => hit === null)) throw error;
      return null;
    });
    return merged(groups, found, rest, results, unasked(call));
  }

  async #ownerFirst({ shard, groups }: Part, call: ReadCall, deadlineMs: number): Promise<ReadResult[]> {
    let owned: ReadResult[] | null = null;
    let error: unknown = null;
    const owner = this.#ofOwners(groups, call, deadlineMs).then(
      (results) => {
        owned = results;
      },
      (reason: unknown) => {
        error = reason ?? new BreakwaterError('STORE_UNAVAILABLE', 'the owner could not be asked');
      },
    );
    const isOver = (): boolean => owned !== null || error !== null;
    if (this.#hedges < MOST_HEDGES) await this.#within(owner, HEDGE_MS);
    else await owner;
    if (owned !== null && !(owned as ReadResult[]).some(isUnasked)) return owned;
    if (error !== null && call.signal?.aborted === true) throw error;
    this.#hedges += 1;
    try {
      if (!isOver()) this.stats.hedges += 1;
      const copies = this.#ofCopies(shard, groups, call, deadlineMs);
      if (!isOver()) await Promise.race([owner, copies]);
      if (owned !== null && !(owned as ReadResult[]).some(isUnasked)) return owned;
      const found = await copies;
      if (found.every((hit) => hit !== null)) {
        this.#giveBack(groups, owner, () => owned);
        return found;
      }
      await owner;
      if (error !== null && found.every((hit) => hit === null)) throw error;
      return preferred(owned, found, unasked(call));
    } finally {
      this.#hedges -= 1;
    }
  }

  /** Nobody waits for the owner any more. */
  #giveBack(groups: readonly Group<string>[], owner: Promise<void>, owned: () => ReadResult[] | null): void {
    void owner.then(() => {
      const results = owned();
      if (results === null || this.#closed) return;
      const keys = groups.flatMap(({ items }) => items);
      const leases = results.flatMap((result, i) =>
        result.kind === 'miss' && result.lease !== null && !isUnasked(result)
          ? [{ key: keys[i]!, lease: result.lease }]
          : [],
      );
      if (leases.length > 0) this.#options.release(leases, { timeoutMs: REST_MS }).catch(ignore);
    });
  }

  #ofOwners(groups: readonly Group<string>[], call: ReadCall, deadlineMs: number): Promise<ReadResult[]> {
    const timeoutMs = Math.max(1, deadlineMs - this.#options.clock.now());
    return this.#options.readOwners(
      groups.flatMap(({ items }) => items),
      { ...call, timeoutMs },
    );
  }

  // -- copies

  /** Is a copy to be asked before the owner? */
  #isCopyNearer({ primary, copies }: Shard): boolean {
    const { zone, client } = this.#options;
    if (client.isAway(primary)) {
      // Somebody has taken over, or will.
      client.refreshSoon();
      return true;
    }
    if (zone === null || primary.zone === zone) return false;
    return copies.some((copy) => this.#isInZone(copy) && this.#isReachable(copy) && !this.#isResting(copy));
  }

  /** Aligned with the keys of the groups; null: no copy has said anything of it. Never rejects. */
  async #ofCopies(
    { copies }: Shard,
    groups: readonly Group<string>[],
    call: ReadCall,
    deadlineMs: number,
  ): Promise<(ReadHit | null)[]> {
    const found: (ReadHit | null)[] = groups.flatMap(({ items }) => items.map(() => null));
    const candidates = copies
      .filter((copy) => this.#isReachable(copy))
      .map((copy) => ({ copy, rank: (this.#isResting(copy) ? 2 : 0) + (this.#isInZone(copy) ? 0 : 1) }))
      .sort((a, b) => a.rank - b.rank)
      .slice(0, MOST_ASKED);
    let at = 0;
    let left = groups.map((group) => {
      const one = { group, at };
      at += group.items.length;
      return one;
    });
    for (const [turn, { copy }] of candidates.entries()) {
      const leftMs = deadlineMs - this.#options.clock.now();
      if (left.length === 0 || leftMs <= 1) break;
      const refused: typeof left = [];
      const outcomes = await this.#ask(copy, left, call, leftMs / (candidates.length - turn));
      outcomes.forEach((results, i) => {
        const one = left[i]!;
        if (results === null) refused.push(one);
        else {
          results.forEach((result, j) => {
            if (result.kind === 'hit') found[one.at + j] = result;
          });
        }
      });
      left = refused;
    }
    return found;
  }

  /** One pipeline; null for each group that it did not answer. */
  async #ask(
    copy: Place,
    left: readonly { readonly group: Group<string> }[],
    call: ReadCall,
    timeoutMs: number,
  ): Promise<(ReadResult[] | null)[]> {
    const { clock, client } = this.#options;
    const name = addressOf(copy);
    const nowMs = clock.now();
    const commands = left.map(({ group }) => staleWords(group.items, this.#staleMs(group.slot, call, nowMs)));
    let replies: readonly Outcome[];
    try {
      replies = await this.#connectionTo(copy).pipeline(commands, { timeoutMs, signal: call.signal, idempotent: true });
    } catch (error) {
      this.stats.copyFailures += commands.length;
      if (error instanceof BreakwaterError && error.code === 'CLIENT_TIMEOUT') {
        this.#restsUntilMs.set(name, clock.now() + REST_MS);
      }
      return left.map(() => null);
    }
    const outcomes = replies.map((reply, i) => this.#copied(reply, left[i]!.group.items.length));
    // It is behind, or no copy any more: another one may be, or owns it by now.
    if (outcomes.includes(null)) client.refreshSoon();
    return outcomes;
  }

  /** null: it was refused, or cannot be read. */
  #copied(reply: Outcome, count: number): ReadResult[] | null {
    let results: ReadResult[];
    try {
      if (reply instanceof BreakwaterError) throw reply;
      results = resultsOf(reply, count);
    } catch {
      this.stats.copyRefusals += 1;
      return null;
    }
    return results.map((result): ReadResult => {
      if (result.kind === 'miss') {
        this.stats.copyMisses += 1;
        return result;
      }
      this.stats.copyHits += 1;
      const { value, ttlMs, version } = result;
      return { kind: 'hit', value, ttlMs, version, isCopied: true };
    });
  }

  /** How old what a copy says of the slot may be: not from before what was done here. */
  #staleMs(slot: number, { maxStaleMs = 0 }: ReadCall, nowMs: number): number {
    const sinceMs = nowMs - Math.max(this.#touchedMs[slot]!, this.#namesTouchedMs);
    return Math.max(0, Math.floor(Math.min(maxStaleMs, sinceMs, Number.MAX_SAFE_INTEGER)));
  }

  #isInZone({ zone }: Place): boolean {
    return zone !== null && zone === this.#options.zone;
  }

  #isResting(copy: Place): boolean {
    return this.#options.clock.now() < (this.#restsUntilMs.get(addressOf(copy)) ?? NEVER);
  }

  /** Its connection stands, or is being made for the first time. */
  #isReachable(copy: Place): boolean {
    const state = this.#copies.get(addressOf(copy))?.state;
    if (state === undefined || state.kind === 'idle' || state.kind === 'ready') return true;
    return state.kind === 'connecting' && state.attempt === 0;
  }

  #connectionTo(copy: Place): CopyConnection {
    if (this.#closed) throw new BreakwaterError('CLIENT_CLOSED', 'cannot read a copy: the store was closed');
    const name = addressOf(copy);
    let connection = this.#copies.get(name);
    if (connection === undefined) {
      connection = this.#options.connect(copy);
      this.#copies.set(name, connection);
    }
    return connection;
  }

  /** Connections to who copies nothing any more are closed. */
  #prune(topology: Topology): void {
    if (topology === this.#topology) return;
    this.#topology = topology;
    this.#askedMs = this.#options.clock.now();
    const names = new Set(topology.shards.flatMap(({ copies }) => copies.map(addressOf)));
    for (const [name, connection] of this.#copies) {
      if (names.has(name)) continue;
      this.#copies.delete(name);
      this.#restsUntilMs.delete(name);
      connection.close({ drain: true }).catch(ignore);
    }
  }

  /** Resolves when the promise does, which never rejects, or then. */
  #within(promise: Promise<void>, ms: number): Promise<void> {
    const { scheduler } = this.#options;
    return new Promise((resolve) => {
      // Behind what has arrived by then: we may have been held up, and not the owner.
      let timer = scheduler.setTimer(ms, () => {
        timer = scheduler.afterInput(resolve);
      });
      void promise.then(() => {
        timer.cancel();
        resolve();
      });
    });
  }
}

function ignore(): void {}
