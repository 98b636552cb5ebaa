/**
 * The members of a Breakwater cluster as L2: every key is asked of the member that owns its slot. The routing is the client's (`client/cluster.ts`: the map, MOVED, TRYAGAIN and CLUSTERDOWN within
 * the deadline); here the calls of the port are cut by slots and put together again.
 *
 *   keys --> by slot, one command each --> one pipeline a member, all at once --> answers in the order of the keys
 *
 * Why a command for each slot and not one a member: members refuse commands over many slots (as Redis Cluster does), because a map may change under way and half a command is nobody's. A pipeline is one
 * round trip all the same.
 *
 * What makes it right is the members' doing (docs/cluster.md), and what this file must not spoil:
 *
 *   tokens        are the owner's, of one reign. After a takeover no member knows them, and the fill is refused
 *   keys          an invalidation is acknowledged by the key's owner when all its copies have it; `-NOREPLICAS` is none, and rejects (`INVALIDATION_NOT_ACKNOWLEDGED`)
 *   tags, namespaces   one command to any member, which asks every owner and answers when every range is done
 *   twice         only deletes, invalidations and reads without leases are sent again when a connection was lost. What was answered with MOVED, TRYAGAIN or CLUSTERDOWN was not done, and is asked again
 *
 * A member that is away takes its own keys along and no others: they are misses that may be loaded and not filled ({@link UNFILLABLE}), until its ranges have another owner. Only when nothing at all could be asked does a
 * read reject.
 */
import type { Clock } from '../../base/clock.ts';
import { BreakwaterError } from '../../base/errors.ts';
import type { Random } from '../../base/random.ts';
import type { Scheduler } from '../../base/scheduler.ts';
import { type ClientOptions, RespClient } from '../../client/client.ts';
import { ClusterClient, type ClusterWatcher } from '../../client/cluster.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { Outcome } from '../../client/cluster-outcome.ts';
import type { ExecuteOptions, SlotRequest } from '../../client/cluster-request.ts';
import type { HostPort } from '../../client/url.ts';
import type {
  FillEntry,
  HeldLease,
  InvalidateRequest,
  LeaseCall,
  ReadCall,
  ReadResult,
  SetOutcome,
  StoreCall,
  WriteEntry,
} from '../store.ts';
import { NearReads } from './near-reads.ts';
import { bySlot, type Group, inOrder, slotOfText } from './slot-groups.ts';
import {
  clusterError,
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
  tooLarge,
  UNFILLABLE,
  unasked,
  type Words,
} from './words.ts';

export interface MembersOptions {
  readonly seeds: readonly HostPort[];
  /** Copies are asked where a call allows it; the zone that this process is in, or null. Absent: they never are. */
  readonly near?: { readonly zone: string | null } | undefined;
  /** For each connection. */
  readonly client: Omit<ClientOptions, 'host' | 'port'>;
  readonly maxValueBytes: number;
  readonly feed: ClusterWatcher & MembersReads;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
}

/** Who must know what is read where. */
export interface MembersReads {
  /** Ends of leases are of use to somebody. */
  readonly isListenedTo: boolean;
  /** `keys` are about to be read, filled or set on `node`. */
  sending(node: ClusterNode, keys: readonly string[]): void;
}

/** Sooner than a takeover is over. */
const BACK_OFF = { baseMs: 20, capMs: 1000 };

export class BreakwaterMembers {
  readonly client: ClusterClient;
  readonly #options: MembersOptions;
  readonly #near: NearReads | null;

  /** Connects with the first call. */
  constructor(options: MembersOptions) {
    this.#options = options;
    const { seeds, near, client, feed, clock, scheduler, random } = options;
    const connection = { backOff: BACK_OFF, ...client };
    this.client = new ClusterClient({ seeds, client: connection, watcher: feed, clock, scheduler, random });
    this.#near =
      near === undefined
        ? null
        : new NearReads({
            zone: near.zone,
            client: this.client,
            connect: ({ host, port }) =>
              new RespClient({ ...connection, clock, scheduler, random, whenDown: 'reject', host, port }),
            readOwners: (keys, call) => this.#readOwners(keys, call),
            release: (leases, call) => this.release(leases, call),
            clock,
            scheduler,
          });
  }

  read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    const isNear = this.#near !== null && (call.maxStaleMs ?? 0) > 0;
    return isNear ? this.#near!.read(keys, call) : this.#readOwners(keys, call);
  }

  async #readOwners(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    const { feed } = this.#options;
    const groups = bySlot(keys, (key) => key);
    const outcomes = await this.#each(groups, call, { idempotent: !call.lease }, (group, node) => {
      feed.sending(node, group.items);
      return readWords(group.items, call, feed.isListenedTo);
    });
    return inOrder(keys.length, groups, outcomes, resultsOf, unasked(call));
  }

  async lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    const groups = bySlot(keys, (key) => key);
    const outcomes = await this.#each(groups, call, {}, ({ items }) => leaseWords(items, call));
    return inOrder(keys.length, groups, outcomes, leasesOf, UNFILLABLE);
  }

  async fill(entries: readonly FillEntry[], call: StoreCall): Promise<boolean[]> {
    const { feed, maxValueBytes } = this.#options;
    const stored = entries.map(() => false);
    const good = entries
      .map((entry, place) => ({ entry, place }))
      .filter(({ entry: { lease, value } }) => lease !== UNFILLABLE && value.length <= maxValueBytes);
    if (good.length === 0) return stored;
    const groups = bySlot(good, ({ entry }) => entry.key);
    const outcomes = await this.#each(groups, call, {}, ({ items }, node) => {
      const group = items.map(({ entry }) => entry);
      feed.sending(
        node,
        group.map(({ key }) => key),
      );
      return fillWords(group);
    });
    const done = inOrder(good.length, groups, outcomes, fillsOf, false);
    good.forEach(({ place }, i) => {
      stored[place] = done[i]!;
    });
    return stored;
  }

  /** What was written to the source under this lease: followers are told, and `true` means that every copy of the range has it, or nothing older. */
  async setLeased(entry: FillEntry, call: StoreCall): Promise<boolean> {
    const { feed } = this.#options;
    const { key, lease } = entry;
    if (lease === UNFILLABLE) return false;
    try {
      const [outcome] = await this.#each(bySlot([key], String), call, {}, (_, node) => {
        feed.sending(node, [key]);
        return leasedWords(entry);
      });
      this.#near?.touched(slotOfText(key));
      return outcomeOf(outcome!) === 'stored';
    } catch (error) {
      if (error instanceof BreakwaterError && error.code === 'LEASEVOID') return false;
      throw error;
    }
  }

  async release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    const known = leases.filter(({ lease }) => lease !== UNFILLABLE);
    if (known.length === 0) return;
    const groups = bySlot(known, ({ key }) => key);
    await this.#each(groups, call, { idempotent: true }, ({ items }) => releaseWords(items));
  }

  async set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    const { feed, maxValueBytes } = this.#options;
    try {
      if (value.length > maxValueBytes) throw tooLarge(key, value.length, maxValueBytes);
      const [outcome] = await this.#each(bySlot([key], String), call, {}, (_, node) => {
        feed.sending(node, [key]);
        return setWords(key, value, entry);
      });
      this.#near?.touched(slotOfText(key));
      return outcomeOf(outcome!);
    } catch (error) {
      // Refused, so what the key had is still there, and the caller has said that it is replaced: it must not be served on. What is not known the caller is told, and decides.
      if (!isUnknownOutcome(error) && call.signal?.aborted !== true) await this.invalidate({ keys: [key] }, call);
      throw error;
    }
  }

  /** How many of the keys were there. Keys by their owners, names by whichever member is asked: all at once. */
  async invalidate({ keys = [], tags = [], namespaces = [] }: InvalidateRequest, call: StoreCall): Promise<number> {
    const groups = bySlot(keys, (key) => key);
    const requests = groups.map(({ slot, items }): SlotRequest => {
      const words = invalidateWords({ keys: items })!;
      return { slot, build: () => words };
    });
    const names = invalidateWords({ tags, namespaces });
    // Any member will do; the same one for the same name, and not one for all.
    if (names !== null) requests.push({ slot: slotOfText(tags[0] ?? namespaces[0] ?? ''), build: () => names });
    if (requests.length === 0) return 0;
    const outcomes = await this.#execute(requests, call, { idempotent: true });
    if (this.#near !== null) {
      for (const { slot } of groups) this.#near.touched(slot);
      if (names !== null) this.#near.touchedNames();
    }
    let removed = 0;
    for (const outcome of outcomes) {
      if (outcome instanceof Error) throw clusterError(outcome, call.signal);
      removed += countOf(outcome, 'BW.INVALIDATE');
    }
    return removed;
  }

  /** One command about one name (a lock, a counter), at its owner. */
  async ask(name: string, words: Words, call: StoreCall, idempotent: boolean): Promise<Reply> {
    const [outcome] = await this.#each(bySlot([name], String), call, { idempotent }, () => words);
    return outcome as Reply;
  }

  /** Sums over the members that answer, copies included. @throws when none does */
  async stats(call: StoreCall): Promise<Readonly<Record<string, number>>> {
    const { timeoutMs, signal } = call;
    try {
      await this.client.topology({ timeoutMs, signal });
    } catch (error) {
      throw clusterError(error, signal);
    }
    const members = this.client.primaries();
    const answers = await Promise.allSettled(
      members.map((member) => member.reader.command(['BW.STATS'], { timeoutMs, signal, idempotent: true })),
    );
    const sums: Record<string, number> = {};
    for (const answer of answers) {
      if (answer.status === 'rejected') continue;
      for (const [name, value] of Object.entries(numbersOf(answer.value))) sums[name] = (sums[name] ?? 0) + value;
    }
    const failed = answers.filter((answer) => answer.status === 'rejected');
    if (failed.length === answers.length) throw clusterError(failed[0]?.reason, signal);
    const { refreshes, moved, pauses } = this.client.stats;
    return {
      ...sums,
      members: members.length,
      membersSilent: failed.length,
      ...this.#near?.stats,
      mapRefreshes: refreshes,
      mapMoved: moved,
      pauses,
    };
  }

  async close(): Promise<void> {
    await Promise.all([this.client.close(), this.#near?.close()]);
  }

  /** One command a group. Rejects when every one of them failed. */
  async #each<T>(
    groups: readonly Group<T>[],
    call: StoreCall,
    how: Pick<ExecuteOptions, 'idempotent'>,
    wordsOf: (group: Group<T>, node: ClusterNode) => Words,
  ): Promise<Outcome[]> {
    if (groups.length === 0) return [];
    const requests = groups.map((group): SlotRequest => ({ slot: group.slot, build: (node) => wordsOf(group, node) }));
    const outcomes = await this.#execute(requests, call, how);
    if (outcomes.every((outcome) => outcome instanceof Error)) throw clusterError(outcomes[0], call.signal);
    return outcomes;
  }

  async #execute(
    requests: readonly SlotRequest[],
    { timeoutMs, signal }: StoreCall,
    how: Pick<ExecuteOptions, 'idempotent'>,
  ): Promise<Outcome[]> {
    try {
      return await this.client.execute(requests, { timeoutMs, signal, ...how });
    } catch (error) {
      throw clusterError(error, signal);
    }
  }
}
