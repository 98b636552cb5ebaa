/**
 * What other processes invalidate on Redis or Valkey, told to the L1s of this one: CLIENT TRACKING, as the feed of the store port.
 *
 * A server with tracking on remembers which keys a connection has read and says once, in a push, when one of them changes, whoever changed it and how:
 * DEL, SET, expiry, eviction, MIGRATE, FLUSHALL. That is the whole of what an L1 of entries needs; what it lacks for the promises of the port is made up here.
 *
 *   a change of tags, namespaces   No key says which tag it was. The table of invalidations (lua.ts) does, by number: with every ping it is asked for what
 *                                  has a higher number than the last time. A table that is gone or begins anew: everything is void.
 *   a bound                        Pushes and replies share the connection and keep their order, so when a ping is answered, every push that the server
 *                                  had sent when it answered has been handled. What is known then is known as of the ping's *sending* (freshness/follower.ts).
 *   reads in flight                Usually a placeholder for each. Here a read takes the number of the last void before it is sent and a push is a void with a
 *                                  higher one (cache/voids.ts), which says the same of every key at once.
 *   a connection of its own?       No: the one that the reads go by. Only then does the server know what was read, and only then does order prove anything.
 *   our own writes                 come back as pushes too, a lease and a fill among them. They are told from nobody else's: each drops the key from L1 and keeps
 *                                  reads in flight out of it, and leaves the load under way alone, which its lease guards (`changed`, cache/voids.ts). So what this
 *                                  process loads or sets is kept with its next read. NOLOOP would spare us the echo and cannot be used: Redis 7.0 takes
 *                                  whatever happens *while* our command runs for ours, an eviction or an overflow of its tracking table too, and
 *                                  says nothing, with the key tracked no longer (seen by a test: docs/decisions/0014).
 *   a demoted server               still answers. Each ping asks ROLE, and reads the tables, which a cluster node that lost their slot refuses (MOVED).
 *
 * To the follower all connections are one *link*: it opens when every primary's reader stands, each ping goes to all of them and is answered when all have,
 * and it is closed when one is lost or when the map of slots changes in any way. Each new link voids everything that was read before its tracking was on: there
 * is no replay. So one shard that is away keeps the L1s of all bypassed. A link for each shard would need each L1 entry to know its shard; a miss is always safe.
 *
 * Why not BCAST, with a prefix for each cache (docs/decisions/0014): it costs the server no memory a key, but every write of anybody
 * goes to everybody, and here a lease and a fill are writes too: each load anywhere would be told to all processes twice.
 *
 * **Without an L1** nobody follows, and only who waits for another caller's load wants to hear something: when the key that he waits for changes. Then tracking is on
 * in its opt-in mode, in which a connection is told of the keys alone whose read stands behind CLIENT CACHING YES (`watch`), so the server remembers a key
 * while somebody waits for it, and nothing else:
 *
 *   1. B reads user:42: A's lease, wait.     2. CACHING YES, EXISTS user:42: from here on B is told.    3. B reads again: still A's lease.
 *   4. A fills, or gives its lease back: the push wakes B. What happened between 1 and 2 is seen by 3.
 *
 * Invariant: a value that is kept was read by a connection of the open link after its tracking was on, or is void. A read that is sent elsewhere (an
 * importing node that has no slots yet) voids its keys when it is sent.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { Scheduler, Timer } from '../../base/scheduler.ts';
import type { ClusterClient, ClusterWatcher } from '../../client/cluster.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { Outcome } from '../../client/cluster-outcome.ts';
import type { ClientState } from '../../client/state.ts';
import type { FeedHandlers, StoreFeed } from '../feed.ts';
import { isReserved, layoutOfCluster, type Sector, STANDALONE } from './sectors.ts';

/** Longest that an answer is waited for; the follower's own patience is shorter. */
const ANSWER_MS = 2000;
/** Between two attempts to have all connections. */
const RETRY_MS = 200;
/** More names than these at once, and everything is void: the answer to a ping stays small. */
const MOST_NAMES = 1000;
const RANGE = 0;
/** Most keys of one read that are watched; who waits for more asks often. */
const MOST_WATCHED = 128;

/** What is sent. */
type Command = readonly (string | number)[];

const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

/** Where a table was when it was read last: which one, and how many invalidations it had. */
interface Position {
  readonly head: string;
  readonly number: number;
}

export class TrackingFeed implements StoreFeed, ClusterWatcher {
  readonly tellsOfReadsOnly = true;
  readonly #client: () => ClusterClient;
  readonly #scheduler: Scheduler;
  #handlers: FeedHandlers | null = null;
  #onLeaseEnded: ((key: string) => void) | null = null;
  /** Readers that stand, and what they speak. */
  readonly #ready = new Map<ClusterNode, 2 | 3>();
  /** The link that stands, 0 = none, and its nodes, each with the tables it has. */
  #link = 0;
  #lastLink = 0;
  #nodes = new Map<ClusterNode, readonly Sector[]>();
  #isFollowing = false;
  /** Records told on this link. */
  #seq = 0;
  #keys = 0;
  #positions = new Map<Sector, Position | null>();
  /** How a server is asked whether it is a primary. */
  #roleCommand: Command = ['ROLE'];
  #retry: Timer | null = null;
  #closed = false;
  /** The last watch did not succeed: the connection speaks RESP2, it is not allowed, the server is away. */
  #watchFailed = false;
  /** It is not allowed. */
  #cannotWatch = false;
  readonly counts = { pushes: 0, flushes: 0, links: 0, untracked: 0 };

  constructor(client: () => ClusterClient, scheduler: Scheduler) {
    this.#client = client;
    this.#scheduler = scheduler;
  }

  /** A waiter has read the key that it waits for, so the server tells when its holder fills it or gives it back. */
  get tellsOfLeases(): boolean {
    return this.#onLeaseEnded !== null && (this.#isFollowing || (this.#handlers === null && !this.#watchFailed));
  }

  follow(handlers: FeedHandlers): void {
    this.#handlers = handlers;
    this.#open();
  }

  listen(onLeaseEnded: (key: string) => void): void {
    this.#onLeaseEnded = onLeaseEnded;
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#shut();
  }

  /** `keys` are about to be read or filled on `node`: if nobody there would tell of their changes, what comes back is not to be kept. */
  sending(node: ClusterNode, keys: readonly string[]): void {
    if (this.#link === 0 || this.#nodes.has(node)) return;
    for (const key of keys) {
      if (isReserved(key)) continue;
      this.counts.untracked += 1;
      this.#record('key', key);
    }
  }

  /**
   * Asks to be told when one of `keys` changes, for who waits for it and has no L1. True: from now on they are told, and must look once more at what happened until
   * now. False: they are told anyway, or cannot be.
   */
  async watch(keys: readonly string[], options: { readonly timeoutMs: number }): Promise<boolean> {
    if (this.#onLeaseEnded === null || this.#handlers !== null || this.#cannotWatch || this.#closed) return false;
    const byNode = keys.length > MOST_WATCHED ? null : this.#byNode(keys);
    if (byNode === null) {
      this.#watchFailed = true;
      return false;
    }
    const answers = [...byNode].map(async ([node, its]): Promise<boolean> => {
      const commands: Command[] = [['CLIENT', 'TRACKING', 'ON', 'OPTIN']];
      for (const key of its) commands.push(['CLIENT', 'CACHING', 'YES'], ['EXISTS', key]);
      const replies = await node.reader.pipeline(commands, options);
      if (replies[0] instanceof BreakwaterError && replies[0].code === 'NOPERM') this.#cannotWatch = true;
      return replies.every((reply) => !(reply instanceof Error));
    });
    const settled = await Promise.allSettled(answers);
    const isWatching = settled.every((answer) => answer.status === 'fulfilled' && answer.value);
    this.#watchFailed = !isWatching;
    return isWatching;
  }

  /** Null: some have no server that could tell. */
  #byNode(keys: readonly string[]): Map<ClusterNode, string[]> | null {
    const client = this.#client();
    const primaries = client.primaries();
    const { known } = client;
    if (known === null) return null;
    const byNode = new Map<ClusterNode, string[]>();
    for (const key of keys) {
      const owner =
        known.mode === 'cluster' ? known.ownerOf(layoutOfCluster().slotOf(key))?.primary : primaries[0]?.address;
      const node = primaries.find(({ address }) => address.host === owner?.host && address.port === owner.port);
      if (node === undefined || this.#ready.get(node) !== 3) return null;
      const its = byNode.get(node) ?? [];
      if (its.length === 0) byNode.set(node, its);
      its.push(key);
    }
    return byNode;
  }

  // -- what the follower asks (StoreFeed)

  subscribe(link: number, id: number): void {
    if (link !== this.#link) return;
    this.#isFollowing = false;
    this.#positions.clear();
    const on = [...this.#nodes.keys()];
    if (on.some((node) => this.#ready.get(node) !== 3)) {
      queueMicrotask(() => this.#refused(link, id, 'the connection speaks RESP2, tracking needs RESP3'));
      return;
    }
    // Ends the opt-in mode too, where that is on (`watch`).
    this.#ask(link, [['CLIENT', 'TRACKING', 'ON']], ([reply]) => {
      if (!(reply instanceof Error)) return true;
      if (reply instanceof BreakwaterError && (reply.code === 'NOPERM' || reply.code === 'ERR')) {
        this.#refused(link, id, `the server refuses CLIENT TRACKING (${reply.message})`);
      } else this.#handlers?.refused(link, id, false);
      return false;
    }).then((isDone) => {
      if (!isDone || link !== this.#link) return;
      this.#isFollowing = true;
      const start = { range: RANGE, ballot: { epoch: link, node: 'tracking' }, number: this.#keys, replay: false };
      this.#handlers?.subscribed(link, id, this.#seq, [start]);
    });
  }

  ping(link: number, id: number): void {
    if (link !== this.#link) return;
    this.#ask(link, [], () => true).then((isDone) => {
      if (isDone && link === this.#link) this.#handlers?.pong(link, id, this.#seq);
    });
  }

  acknowledge(): void {
    // Nobody waits for it: there is no `everywhere` here.
  }

  reconnect(link: number): void {
    if (link !== this.#link) return;
    this.#shut();
    this.#open();
  }

  // -- what the client tells (ClusterWatcher)

  onState(node: ClusterNode, state: ClientState): void {
    if (state.kind === 'ready') {
      // At once: what is sent on this connection from now on stands behind the command that begins its tracking.
      this.#ready.set(node, state.protocol);
      this.#open();
    } else if (this.#ready.delete(node) && this.#nodes.has(node)) {
      this.#shut();
      this.#retryLater();
    }
  }

  onTopology(): void {
    this.#shut();
    this.#open();
  }

  onPush(node: ClusterNode, kind: string, items: readonly Outcome[]): void {
    if (kind !== 'invalidate') return;
    const isLinked = this.#nodes.has(node);
    if (!isLinked && this.#handlers !== null) return;
    this.counts.pushes += 1;
    const [keys] = items;
    if (!isLinked) {
      if (Array.isArray(keys)) for (const key of keys) this.#wake(textOf(key));
      return;
    }
    if (!Array.isArray(keys)) {
      this.#clear();
      return;
    }
    for (const each of keys) {
      const key = textOf(each);
      if (isReserved(key)) this.#readTableSoon(node, key);
      else {
        this.#record('key', key);
        this.#wake(key);
      }
    }
  }

  /** Later: the reader whose answer came just before has to be waiting by then. */
  #wake(key: string): void {
    if (this.#onLeaseEnded !== null) this.#scheduler.setTimer(0, () => this.#onLeaseEnded?.(key));
  }

  // -- the link

  #open(): void {
    if (this.#handlers === null || this.#link !== 0 || this.#closed) return;
    const client = this.#client();
    const { known } = client;
    if (known === null) return; // the first request brings it
    let isWhole = true;
    const primaries = client.primaries();
    for (const node of primaries) {
      if (this.#ready.has(node)) continue;
      isWhole = false;
      if (node.reader.state.kind === 'idle') node.reader.connect({ timeoutMs: ANSWER_MS }).catch(ignore);
    }
    if (!isWhole || primaries.length === 0) {
      this.#retryLater();
      return;
    }
    this.#retry?.cancel();
    this.#retry = null;
    const { sectors } = known.mode === 'cluster' ? layoutOfCluster() : STANDALONE;
    this.#nodes = new Map(primaries.map((node) => [node, []]));
    for (const sector of sectors) {
      const owner = known.ownerOf(sector.slot)?.primary;
      const node = primaries.find(({ address }) => address.host === owner?.host && address.port === owner.port);
      if (node !== undefined) this.#nodes.set(node, [...this.#nodes.get(node)!, sector]);
      else {
        // A sixteenth without an owner: nothing can be said about its tags.
        this.#nodes.clear();
        this.#retryLater();
        return;
      }
    }
    this.#seq = 0;
    this.#keys = 0;
    this.#lastLink += 1;
    this.#link = this.#lastLink;
    this.counts.links += 1;
    this.#handlers.open(this.#link, 'tracking');
  }

  #shut(): void {
    const link = this.#link;
    this.#link = 0;
    this.#isFollowing = false;
    this.#nodes.clear();
    this.#positions.clear();
    if (link !== 0) this.#handlers?.closed(link);
  }

  /** The map may be wrong, or a server is not what we take it for. */
  #doubt(link: number): void {
    if (link !== this.#link) return;
    this.#shut();
    this.#retryLater();
  }

  #retryLater(): void {
    if (this.#closed || this.#handlers === null || this.#retry !== null) return;
    this.#retry = this.#scheduler.setTimer(
      RETRY_MS,
      () => {
        this.#retry = null;
        this.#client().refreshSoon();
        this.#open();
      },
      { keepAlive: false },
    );
  }

  #refused(link: number, id: number, why: string): void {
    if (link === this.#link) this.#handlers?.refused(link, id, true, why);
  }

  /**
   * Sends `first`, the questions to the tables and ROLE to every node, each in one pipeline. Resolves true when all have answered as they should and
   * what they said has been told. Nothing is awaited before all are sent.
   */
  async #ask(
    link: number,
    first: readonly Command[],
    check: (replies: readonly Outcome[]) => boolean,
  ): Promise<boolean> {
    const answers = [...this.#nodes].map(async ([node, sectors]): Promise<boolean> => {
      const commands = [...first, ...sectors.map((sector) => this.#tableCommand(sector)), this.#roleCommand];
      let replies: Outcome[];
      try {
        replies = await node.reader.pipeline(commands, { timeoutMs: ANSWER_MS });
      } catch {
        return false; // silence is the follower's to notice, a lost connection is told by onState
      }
      if (link !== this.#link || !check(replies)) return false;
      const tables = replies.slice(first.length, -1);
      const role = replies.at(-1)!;
      if (role instanceof BreakwaterError && role.code === 'NOPERM') {
        // The store needs INFO anyway.
        this.#roleCommand = ['INFO', 'replication'];
        return false;
      }
      if (!isPrimary(role) || tables.some((reply) => !Array.isArray(reply))) {
        this.#doubt(link);
        return false;
      }
      sectors.forEach((sector, i) => {
        this.#readTable(sector, tables[i]! as readonly Outcome[]);
      });
      return true;
    });
    return (await Promise.all(answers)).every((isGood) => isGood) && link === this.#link;
  }

  // -- tables

  /** The head and what has a higher number than the last time, the highest first. */
  #tableCommand(sector: Sector): Command {
    const from = this.#positions.get(sector)?.number;
    const limit = from === undefined ? 1 : MOST_NAMES + 1;
    return ['ZREVRANGEBYSCORE', sector.key, '+inf', from ?? '-inf', 'WITHSCORES', 'LIMIT', 0, limit];
  }

  #readTable(sector: Sector, reply: readonly Outcome[]): void {
    const rows = reply.map(rowOf);
    const [top] = rows;
    const before = this.#positions.get(sector);
    if (top === undefined || !top.name.startsWith('h')) {
      // There is no table, or it counts anew. If there was one, nothing is known of what it had since.
      if (before !== null && before !== undefined) this.#clear();
      this.#positions.set(sector, null);
      return;
    }
    if (before !== undefined) {
      if (before === null || before.head !== top.name || top.number < before.number || rows.length > MOST_NAMES) {
        this.#clear();
      } else {
        for (const { name, number } of rows) {
          if (number <= before.number) continue;
          if (name.startsWith('t')) this.#record('tag', name.slice(1));
          else if (name.startsWith('n')) this.#record('namespace', name.slice(1));
        }
      }
    }
    const now = this.#positions.get(sector);
    // An answer to an earlier question brings nothing new.
    if (now === null || now === undefined || now.head !== top.name || now.number < top.number) {
      this.#positions.set(sector, { head: top.name, number: top.number });
    }
  }

  /** A table changed: its names are asked for now, not with the next ping. Until that answer the server does not tell again. */
  #readTableSoon(node: ClusterNode, key: string): void {
    const sector = this.#nodes.get(node)?.find((each) => each.key === key);
    if (sector === undefined || !this.#isFollowing) return;
    // One that was not there when it was last looked for: what it has had until it is read, if it is still there by then, nobody says.
    if (this.#positions.get(sector) === null) this.#clear();
    const link = this.#link;
    node.reader.command(this.#tableCommand(sector), { timeoutMs: ANSWER_MS }).then((reply) => {
      if (link === this.#link && Array.isArray(reply)) this.#readTable(sector, reply);
    }, ignore);
  }

  // -- records

  #record(kind: 'key' | 'tag' | 'namespace' | 'clear', name: string): void {
    if (this.#link === 0) return;
    this.#seq += 1;
    if (kind === 'key') this.#keys += 1;
    const ballot = { epoch: this.#link, node: 'tracking' };
    this.#handlers?.record(this.#link, this.#seq, RANGE, ballot, this.#keys, kind, name);
  }

  #clear(): void {
    this.counts.flushes += 1;
    this.#record('clear', '');
  }
}

/** A member of a sorted set with its score: a pair in RESP3. */
function rowOf(row: Outcome): { readonly name: string; readonly number: number } {
  const [name, score] = Array.isArray(row) ? row : [];
  return { name: textOf(name ?? null), number: Number(score) };
}

function isPrimary(reply: Outcome): boolean {
  if (Array.isArray(reply)) return textOf(reply[0] ?? null) === 'master';
  return !(reply instanceof BreakwaterError) && /^role:master/m.test(textOf(reply));
}

function textOf(reply: Outcome): string {
  if (typeof reply === 'string') return reply;
  return reply instanceof Uint8Array ? decoder.decode(reply) : '';
}

function ignore(): void {}
