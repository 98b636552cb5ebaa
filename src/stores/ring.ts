/**
 * A ring: independent servers (Redis, Valkey, nodes of ours) that know nothing of each other, and a client that spreads keys over them, as
 * memcached fleets do. A server that joins or leaves moves about its share of the keys and no others (hash/ketama.ts, hash/rendezvous.ts).
 *
 *     key --placement--> home  --up--> read, lease, fill, set there
 *                         |--down----> gutter: read, lease, fill there, at most `gutterTtlMs` long
 *     delete, tag, namespace, the other half of a set: home AND gutter (of tags and namespaces: all), acknowledged when both have
 *
 * **Clients may disagree on who is dead.** One that cannot reach the home reads at the gutter while another writes at the home. So an invalidation
 * is never sent only to where its sender would read: it is acknowledged when every server that may hold the key has acknowledged it, whatever the sender
 * thinks of them. Otherwise it rejects, and stays in the outbox of the server that did not (outbox.ts; one a server).
 *
 *   1. A cannot reach H. It reads user:42 at its gutter G: a miss, a lease of G, a load.
 *   2. B can. It changes the row and deletes user:42 at H and at G: the entry at H is gone, and the lease at G is void.
 *   3. A fills G: refused. Had A deleted instead of B, it would have been told "not acknowledged": B may read the old value until H has heard of it.
 *
 * **A server may return with old values** (it was cut off, not dead). It is read again only when this process has told it all that it missed from here, or
 * has flushed what it reads of it (ring/member.ts).
 *
 * A set while the home is down is only an invalidation: the value would be short-lived at the gutter, and its version could not be compared with the one at
 * home. When home and gutter are down there is no store for the key: a withheld miss.
 *
 * **Changing the list.** While some processes have the old list and others the new one, they read a key at different servers, so each must invalidate at both:
 * `also` is the other list. And what an earlier list left behind on a server is served again when a later list puts the key there: so keep the old
 * list in `also` until its entries have expired (the longest ttl + grace). docs/stores.md walks through it.
 *
 * Who waits for another caller's load is told of its end by the server that granted the lease, if that can.
 *
 * What it has not: a feed (an L1 is bounded by its `ttl`), locks and counters (two clients that disagree on who is dead would both hold one).
 */
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { WeightedServer } from '../hash/servers.ts';
import type { LeaseEnds } from './feed.ts';
import { UnacknowledgedStoreError } from './outbox/errors.ts';
import { type ReadmitRule, RingMember } from './ring/member.ts';
import { joinOutboxes } from './ring/outbox.ts';
import { type PlacementKind, type Places, placement } from './ring/placement.ts';
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
  StoreOutbox,
  WriteEntry,
} from './store.ts';

/** One server, opened. */
export interface RingServer extends WeightedServer {
  /** With an outbox around it; the ring closes it. */
  readonly store: CacheStore;
}

export interface RingOptions {
  /** Every server of either list, each once. */
  readonly servers: readonly RingServer[];
  /** Names of the servers that keys are read from. Default: all. */
  readonly current?: readonly string[];
  /** Names of the list that other processes may read from meanwhile, or that has left entries behind: it is told of invalidations. */
  readonly also?: readonly string[];
  readonly placement: PlacementKind;
  /** Ketama's points of a server of average weight. Default 160. */
  readonly points?: number;
  /** How long an entry lives at a key's gutter, milliseconds; 0 = no gutter: the keys of a dead server are not stored. */
  readonly gutterTtlMs: number;
  readonly readmit: ReadmitRule;
  readonly clock: Clock;
}

const WITHHELD: ReadMiss = Object.freeze({ kind: 'miss', lease: null, waitMs: 0, withheld: true });
/** What a server fails with that is not there, or not well. */
const AWAY: ReadonlySet<string> = new Set([
  'STORE_TIMEOUT',
  'STORE_UNAVAILABLE',
  'STORE_OVERLOADED',
  'STORE_AUTH_FAILED',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
]);
/** Between the number of the server that granted a lease, and its token. */
const LEASE_SEPARATOR = '~';

export class RingStore implements CacheStore {
  readonly kind = 'ring';
  readonly inProcess = false;
  readonly outbox: StoreOutbox;
  readonly leaseEnds: LeaseEnds;
  readonly #members: readonly RingMember[];
  readonly #gutterTtlMs: number;
  readonly #place: (key: string) => Places;
  readonly #placeAlso: ((key: string) => Places) | null;
  readonly #counts = { gutterReads: 0, unplaced: 0, readErrors: 0 };
  #closing: Promise<void> | null = null;

  /** @throws BreakwaterError `RING_INVALID` */
  constructor(options: RingOptions) {
    const { servers, placement: kind, points, gutterTtlMs, readmit, clock, also } = options;
    this.#members = servers.map(({ name, store }) => new RingMember(name, store, clock, readmit));
    this.leaseEnds = leaseEndsOf(this.#members);
    this.#gutterTtlMs = gutterTtlMs;
    const lay = (names: readonly string[]): ((key: string) => Places) => {
      const indices = names.map((name) => servers.findIndex((server) => server.name === name));
      const listed = indices.map((index) => servers[index]!);
      return placement(listed, indices, kind, gutterTtlMs > 0, points);
    };
    this.#place = lay(options.current ?? servers.map(({ name }) => name));
    this.#placeAlso = also === undefined ? null : lay(also);
    const outboxes = this.#members.flatMap(({ store }) => (store.outbox === undefined ? [] : [store.outbox]));
    const joined = joinOutboxes(outboxes, {
      outboxesOf: (key) =>
        this.#holders(key).flatMap((index) => {
          const { outbox } = this.#members[index]!.store;
          return outbox === undefined ? [] : [outbox];
        }),
      outboxRead: (key) => this.#members[this.#readerOf(key)]?.store.outbox ?? null,
    });
    this.outbox = {
      ...joined,
      declare: (namespace) => {
        for (const member of this.#members) member.declare(namespace);
        joined.declare(namespace);
      },
    };
  }

  async read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    this.#checkOpen();
    const results: ReadResult[] = new Array(keys.length).fill(WITHHELD);
    await this.#each(keys, async (index, positions) => {
      const member = this.#members[index]!;
      const asked = positions.map((position) => keys[position]!);
      const found = await this.#watched(member, member.store.read(asked, call), call).catch((error: unknown) => {
        // A miss is always safe, and the other servers' answers are not lost.
        if (call.signal?.aborted === true || this.#closing !== null) throw error;
        this.#counts.readErrors += 1;
        return null;
      });
      if (found === null) return;
      for (let i = 0; i < positions.length; i += 1) results[positions[i]!] = withServer(found[i]!, index);
    });
    return results;
  }

  async lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    this.#checkOpen();
    const leases: (string | null)[] = new Array(keys.length).fill(null);
    await this.#each(keys, async (index, positions) => {
      const member = this.#members[index]!;
      const asked = positions.map((position) => keys[position]!);
      const granted = await this.#watched(member, member.store.lease(asked, call), call);
      for (let i = 0; i < positions.length; i += 1) leases[positions[i]!] = tokenOf(granted[i]!, index);
    });
    return leases;
  }

  async fill(entries: readonly FillEntry[], call: StoreCall): Promise<boolean[]> {
    this.#checkOpen();
    const stored: boolean[] = new Array(entries.length).fill(false);
    const byServer = new Map<number, { readonly position: number; readonly entry: FillEntry }[]>();
    for (let position = 0; position < entries.length; position += 1) {
      const { key, lease, ttlMs, ...rest } = entries[position]!;
      const { index, token } = splitLease(lease);
      if (index === null || !this.#members[index]!.isUp) continue;
      const isHome = index === this.#place(key).home;
      const bounded = isHome ? ttlMs : Math.min(ttlMs ?? Number.POSITIVE_INFINITY, this.#gutterTtlMs);
      const group = byServer.get(index) ?? [];
      group.push({ position, entry: { ...rest, key, lease: token, ttlMs: bounded } });
      byServer.set(index, group);
    }
    await Promise.all(
      [...byServer].map(async ([index, group]) => {
        const member = this.#members[index]!;
        const done = await this.#watched(
          member,
          member.store.fill(
            group.map(({ entry }) => entry),
            call,
          ),
          call,
        );
        for (let i = 0; i < group.length; i += 1) stored[group[i]!.position] = done[i]!;
      }),
    );
    return stored;
  }

  async release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    this.#checkOpen();
    const byServer = new Map<number, HeldLease[]>();
    for (const { key, lease } of leases) {
      const { index, token } = splitLease(lease);
      if (index === null) continue;
      byServer.set(index, [...(byServer.get(index) ?? []), { key, lease: token }]);
    }
    await Promise.all([...byServer].map(([index, held]) => this.#members[index]!.store.release(held, call)));
  }

  /** While the home is down: `unsure` where all servers say that they have removed the key, else it rejects. */
  async set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    this.#checkOpen();
    const home = this.#members[this.#place(key).home]!;
    const others = this.#holders(key).filter((index) => this.#members[index] !== home);
    if (!home.isUp) {
      await this.delete([key], call);
      return 'unsure';
    }
    const set = this.#watched(home, home.store.set(key, value, entry, call), call);
    await settleAll<unknown>([set, ...others.map((index) => this.#deleteAt(index, [key], call))]);
    return set;
  }

  /** How many were there, where they are read and at most: one that was also at its gutter counts twice, up to `keys.length`. */
  async delete(keys: readonly string[], call: StoreCall): Promise<number> {
    this.#checkOpen();
    const byServer = this.#byHolder(keys);
    const deleted = await settleAll([...byServer].map(([index, its]) => this.#deleteAt(index, its, call)));
    return Math.min(
      keys.length,
      deleted.reduce((sum, count) => sum + count, 0),
    );
  }

  async invalidate({ keys = [], tags = [], namespaces = [] }: InvalidateRequest, call: StoreCall): Promise<void> {
    this.#checkOpen();
    const byServer = this.#byHolder(keys);
    // Whoever carries a tag may be anywhere.
    const isWide = tags.length + namespaces.length > 0;
    const indices = isWide ? this.#members.map((_, index) => index) : [...byServer.keys()];
    await settleAll(
      indices.map((index) => {
        const member = this.#members[index]!;
        const request = { keys: byServer.get(index) ?? [], tags, namespaces };
        const patient = { ...call, timeoutMs: member.patienceMs(call.timeoutMs) };
        return this.#watched(member, member.store.invalidate(request, patient), call);
      }),
    );
  }

  /** Sums of the servers that answered, and the ring's own numbers. */
  async stats(call: StoreCall): Promise<Readonly<Record<string, number>>> {
    this.#checkOpen();
    // One that is down would only let everybody wait.
    const asked = this.#members.filter(({ isUp }) => isUp);
    const answers = await Promise.allSettled(asked.map(({ store }) => store.stats(call)));
    const sums: Record<string, number> = {};
    for (const answer of answers) {
      if (answer.status === 'rejected') continue;
      for (const [name, value] of Object.entries(answer.value)) sums[name] = (sums[name] ?? 0) + value;
    }
    const members = this.#members;
    return {
      ...sums,
      ringServers: members.length,
      ringServersDown: members.filter(({ isUp }) => !isUp).length,
      ringServersLost: members.reduce((sum, { counts }) => sum + counts.losses, 0),
      ringServersReadmitted: members.reduce((sum, { counts }) => sum + counts.readmissions, 0),
      ringGutterReads: this.#counts.gutterReads,
      ringReadsUnplaced: this.#counts.unplaced,
      ringReadErrors: this.#counts.readErrors,
    };
  }

  close(): Promise<void> {
    this.#closing ??= Promise.all(this.#members.map(({ store }) => store.close())).then(() => undefined);
    return this.#closing;
  }

  /** Even of nothing at all: with no key, no server would say that it is closed. */
  #checkOpen(): void {
    if (this.#closing !== null) throw new BreakwaterError('STORE_CLOSED', 'cannot use the ring: it is closed');
  }

  // -- routing

  /** The server that a read of `key` goes to; -1 = none is up. */
  #readerOf(key: string): number {
    const { home, gutter } = this.#place(key);
    if (this.#members[home]!.isUp) return home;
    return gutter >= 0 && this.#members[gutter]!.isUp ? gutter : -1;
  }

  /** All servers that may have `key` for some process. */
  #holders(key: string): readonly number[] {
    const places = [this.#place(key)];
    if (this.#placeAlso !== null) places.push(this.#placeAlso(key));
    const holders = new Set<number>();
    for (const { home, gutter } of places) {
      holders.add(home);
      if (gutter >= 0) holders.add(gutter);
    }
    return [...holders];
  }

  #byHolder(keys: readonly string[]): Map<number, string[]> {
    const byServer = new Map<number, string[]>();
    for (const key of keys) {
      for (const index of this.#holders(key)) {
        const group = byServer.get(index);
        if (group === undefined) byServer.set(index, [key]);
        else group.push(key);
      }
    }
    return byServer;
  }

  /** Calls `ask` for each server that is to be read, with the positions of its keys. Keys of no server are left out. */
  async #each(
    keys: readonly string[],
    ask: (index: number, positions: readonly number[]) => Promise<void>,
  ): Promise<void> {
    const byServer = new Map<number, number[]>();
    for (let position = 0; position < keys.length; position += 1) {
      const index = this.#readerOf(keys[position]!);
      if (index < 0) {
        this.#counts.unplaced += 1;
        continue;
      }
      if (index !== this.#place(keys[position]!).home) this.#counts.gutterReads += 1;
      const group = byServer.get(index);
      if (group === undefined) byServer.set(index, [position]);
      else group.push(position);
    }
    await Promise.all([...byServer].map(([index, positions]) => ask(index, positions)));
  }

  #deleteAt(index: number, keys: readonly string[], call: StoreCall): Promise<number> {
    const member = this.#members[index]!;
    const patient = { ...call, timeoutMs: member.patienceMs(call.timeoutMs) };
    return this.#watched(member, member.store.delete(keys, patient), call);
  }

  /** What becomes of a call tells how its server does. */
  async #watched<T>(member: RingMember, sent: Promise<T>, call: StoreCall): Promise<T> {
    try {
      const answer = await sent;
      member.succeeded();
      return answer;
    } catch (error) {
      // A value that it refused, or a caller that went away, says nothing about the server.
      if (isAway(error) && call.signal?.aborted !== true) member.failed();
      throw error;
    }
  }
}

/** Of all servers. One that cannot tell makes everybody ask often, since nobody knows here whose lease a reader waits for. */
function leaseEndsOf(members: readonly RingMember[]): LeaseEnds {
  return {
    get tellsOfLeases() {
      return members.every(({ isUp, store }) => !isUp || store.feed?.tellsOfLeases === true);
    },
    listen(onLeaseEnded) {
      for (const { store } of members) store.feed?.listen(onLeaseEnded);
    },
  };
}

/** Whether `error`, or what an "invalidation not acknowledged" was caused by, says that the server is away. A replica that lags does not. */
function isAway(error: unknown): boolean {
  for (let each = error; each instanceof BreakwaterError; each = each.cause) if (AWAY.has(each.code)) return true;
  return false;
}

/**
 * All answers, or the error that says most: not acknowledged and not kept, before not acknowledged and kept. Waits for every one of them, since a
 * caller that is told must be able to act on all that was done.
 */
async function settleAll<T>(sent: readonly Promise<T>[]): Promise<T[]> {
  const settled = await Promise.allSettled(sent);
  const errors = settled.flatMap((one) => (one.status === 'rejected' ? [one.reason as unknown] : []));
  if (errors.length === 0) return settled.map((one) => (one as PromiseFulfilledResult<T>).value);
  throw errors.find((error) => !(error instanceof UnacknowledgedStoreError && error.queued)) ?? errors[0];
}

function withServer(result: ReadResult, index: number): ReadResult {
  return result.kind === 'miss' && result.lease !== null ? { ...result, lease: tokenOf(result.lease, index) } : result;
}

function tokenOf<T extends string | null>(lease: T, index: number): T | string {
  return lease === null ? lease : `${index}${LEASE_SEPARATOR}${lease}`;
}

function splitLease(lease: string): { readonly index: number | null; readonly token: string } {
  const at = lease.indexOf(LEASE_SEPARATOR);
  const index = at > 0 ? Number(lease.slice(0, at)) : Number.NaN;
  return { index: Number.isInteger(index) ? index : null, token: lease.slice(at + 1) };
}
