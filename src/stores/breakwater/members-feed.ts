/**
 * The feeds of all members of a cluster as one: what other processes invalidate, told to the L1s of this one.
 *
 * Each member tells of the invalidations of what it owns (BW.FEED, docs/feed.md), over the connection by which it is read. To the follower all of them are one *link*, as with the shards of Redis
 * (`valkey/tracking.ts`): it opens when every owner's connection stands and all of them are followed, each ping goes to all and is answered when all have, and it is closed when one is lost or when the map of slots
 * changes in any way. Each new link voids everything that was read before it: nothing is replayed. So a member that is away keeps the L1s of all bypassed until its ranges are taken over. A link for
 * each member would need each L1 entry to know who served it; a miss is always safe.
 *
 * Why that bounds what an L1 may serve. `user:42` was read of A, at the time its owner. Somebody invalidates it, and the owner of that moment acknowledges:
 *
 *   that is A still                 A told of it on its feed before. A ping that was sent after the acknowledgement is not taken for answered before that record was applied
 *   that is B, A gave the range away    A told "everything" (`clear`) when its reign ended, before B could begin
 *   that is B, A does not know yet      A does not hold the lease of that range any more, and a member answers no ping (`FEEDPAUSED`) while it lacks the lease of anything that it takes for its own
 *   that is B, A is dead, or started anew   its connection is lost, and with it the link
 *
 * So a ping that was answered by all proves that nothing which was acknowledged before it was *sent* is missing here, and beyond the bound since then the L1s are bypassed.
 *
 * Versions of values are a member's own numbers, and say nothing between two members: none are compared (no stream of the member's run is named, `cache/coherence.ts`).
 *
 * Invariant: a value that is kept was read of a member of the open link after it was followed, or is void. What is read elsewhere (of a member that owns slots since a moment ago) is void when it is sent.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { Scheduler, Timer } from '../../base/scheduler.ts';
import type { ClusterClient, ClusterWatcher } from '../../client/cluster.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { ClientState } from '../../client/state.ts';
import type { FeedHandlers, FeedPosition } from '../feed.ts';
import { fieldOf, type Reply, textOf } from './words.ts';

/** Longest that an answer is waited for; the follower's own patience is shorter. */
const ANSWER_MS = 2000;
/** Between two attempts to have all connections. */
const RETRY_MS = 200;
/** Answers of one member that wait for records; the follower remembers as many pings. */
const MOST_EARLY = 16;
const RANGE = 0;

/** One member on the open link. */
interface Followed {
  /** Its records are applied up to here; -1: it has not answered the subscription. */
  applied: number;
  /** The last record that overtook that answer. */
  overtook: number;
  /** Answers to pings that came before the records that they tell of. */
  early: { readonly head: number; readonly resolve: (isGood: boolean) => void }[];
}

export class MembersFeed implements ClusterWatcher {
  readonly #client: () => ClusterClient;
  readonly #scheduler: Scheduler;
  readonly #nextLink: () => number;
  #handlers: FeedHandlers | null = null;
  /** Connections that stand, and what they speak. */
  readonly #ready = new Map<ClusterNode, 2 | 3>();
  /** The link that stands, 0 = none, and its members. */
  #link = 0;
  #members = new Map<ClusterNode, Followed>();
  /** All of them have answered the subscription: what they tell is applied, and may be acknowledged. */
  #isFollowing = false;
  /** Records told on this link, and those of keys. */
  #seq = 0;
  #keys = 0;
  #retry: Timer | null = null;
  #closed = false;

  /** @param nextLink a number that no link of this store had */
  constructor(client: () => ClusterClient, scheduler: Scheduler, nextLink: () => number) {
    this.#client = client;
    this.#scheduler = scheduler;
    this.#nextLink = nextLink;
  }

  follow(handlers: FeedHandlers): void {
    this.#handlers = handlers;
    this.#open();
  }

  close(): void {
    this.#closed = true;
    this.#retry?.cancel();
    this.#shut();
  }

  /** `keys` are about to be read, filled or set on `node`: if it is not followed, what comes back is not to be kept. */
  sending(node: ClusterNode, keys: readonly string[]): void {
    if (this.#link === 0 || this.#members.has(node)) return;
    for (const key of keys) this.#record('key', key);
  }

  // -- what the follower asks (StoreFeed)

  subscribe(link: number, id: number, boundMs: number, _positions: readonly FeedPosition[]): void {
    if (link !== this.#link) return;
    if ([...this.#members.keys()].some((node) => this.#ready.get(node) !== 3)) {
      queueMicrotask(() => this.#refused(link, id, true, 'the connection speaks RESP2, the feed needs RESP3'));
      return;
    }
    this.#isFollowing = false;
    // Nothing is replayed: what was read before all have answered is void then, whatever was told until then.
    for (const followed of this.#members.values()) {
      followed.applied = -1;
      followed.overtook = 0;
    }
    this.#askAll(link, id, ['BW.FEED', 'SUBSCRIBE', id, boundMs, 0], (followed, reply) => {
      const seq = fieldOf(reply, 'seq');
      if (typeof seq !== 'number') return false;
      followed.applied = Math.max(seq, followed.overtook);
      return true;
    }).then((isDone) => {
      if (!isDone || link !== this.#link) return;
      this.#isFollowing = true;
      const start = { range: RANGE, ballot: { epoch: link, node: 'members' }, number: this.#keys, replay: false };
      this.#handlers?.subscribed(link, id, this.#seq, [start]);
    });
  }

  ping(link: number, id: number): void {
    if (link !== this.#link) return;
    this.#askAll(
      link,
      id,
      ({ applied }) => ['BW.FEED', 'PING', id, Math.max(0, applied)],
      (followed, reply) => {
        const [answered, head] = Array.isArray(reply) ? reply : [];
        if (answered !== id || typeof head !== 'number') return false;
        if (head <= followed.applied) return true;
        if (followed.early.length >= MOST_EARLY) followed.early.shift()?.resolve(false);
        return new Promise((resolve) => followed.early.push({ head, resolve }));
      },
    ).then((isDone) => {
      if (isDone && link === this.#link) this.#handlers?.pong(link, id, this.#seq);
    });
  }

  reconnect(link: number): void {
    if (link !== this.#link) return;
    this.#shut();
    this.#open();
  }

  // -- what the client tells (ClusterWatcher)

  onState(node: ClusterNode, state: ClientState): void {
    if (state.kind === 'ready') {
      this.#ready.set(node, state.protocol);
      this.#open();
    } else if (this.#ready.delete(node) && this.#members.has(node)) {
      this.#shut();
      this.#retryLater();
    }
  }

  onTopology(): void {
    this.#shut();
    this.#open();
  }

  /** At once: what a record voids must be void before the answers behind it are looked at. */
  onPush(node: ClusterNode, kind: string, items: readonly Reply[]): void {
    const followed = this.#members.get(node);
    if (kind !== 'bw.feed' || followed === undefined) return;
    const [seq, , , , what, name] = items;
    if (followed.applied < 0 && typeof seq === 'number') {
      // Handled before the answer to the subscription, with which everything is void.
      followed.overtook = seq;
      return;
    }
    if (items.length === 1 || seq !== followed.applied + 1) {
      // The member has moved on without us, or something is missing.
      this.#doubt();
      return;
    }
    followed.applied = seq;
    const record = textOf(what ?? null);
    if (record === 'key' || record === 'tag' || record === 'namespace')
      this.#record(record, textOf(name ?? null) ?? '');
    else if (record === 'barrier') this.#acknowledge(node, seq);
    else if (record !== 'begin') this.#record('clear', '');
    if (followed.early.length === 0) return;
    const { early } = followed;
    followed.early = early.filter(({ head }) => head > seq);
    for (const { head, resolve } of early) if (head <= seq) resolve(true);
  }

  /** Somebody waits for all who keep copies. Not before what was told is applied: until then entries of the link before may be served. */
  #acknowledge(node: ClusterNode, seq: number): void {
    if (!this.#isFollowing) return;
    node.reader.command(['BW.FEED', 'ACK', seq], { timeoutMs: ANSWER_MS }).catch(ignore);
  }

  // -- the link

  #open(): void {
    if (this.#handlers === null || this.#link !== 0 || this.#closed) return;
    const client = this.#client();
    if (client.known === null) return; // the first request brings it
    const owners = client.primaries();
    let isWhole = owners.length > 0;
    for (const node of owners) {
      if (this.#ready.has(node)) continue;
      isWhole = false;
      if (node.reader.state.kind === 'idle') node.reader.connect({ timeoutMs: ANSWER_MS }).catch(ignore);
    }
    if (!isWhole) {
      this.#retryLater();
      return;
    }
    this.#retry?.cancel();
    this.#retry = null;
    this.#members = new Map(owners.map((node) => [node, { applied: -1, overtook: 0, early: [] }]));
    this.#seq = 0;
    this.#keys = 0;
    this.#link = this.#nextLink();
    this.#handlers.open(this.#link, 'cluster');
  }

  #shut(): void {
    const link = this.#link;
    const members = this.#members;
    this.#link = 0;
    this.#members = new Map();
    this.#isFollowing = false;
    for (const { early } of members.values()) for (const { resolve } of early) resolve(false);
    if (link !== 0) this.#handlers?.closed(link);
  }

  #doubt(): void {
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

  #refused(link: number, id: number, forGood: boolean, why?: string): void {
    if (link === this.#link) this.#handlers?.refused(link, id, forGood, why);
  }

  /** One question to every member, all sent at once. Resolves true when all have answered as they should. */
  async #askAll(
    link: number,
    id: number,
    command: readonly (string | number)[] | ((followed: Followed) => readonly (string | number)[]),
    read: (followed: Followed, reply: Reply) => boolean | Promise<boolean>,
  ): Promise<boolean> {
    const answers = [...this.#members].map(async ([node, followed]): Promise<boolean> => {
      const words = typeof command === 'function' ? command(followed) : command;
      let reply: Reply;
      try {
        reply = await node.reader.command(words, { timeoutMs: ANSWER_MS });
      } catch (error) {
        if (link === this.#link) this.#onRefusal(link, id, error);
        return false;
      }
      return link === this.#link && (await read(followed, reply));
    });
    return (await Promise.all(answers)).every((isGood) => isGood) && link === this.#link;
  }

  #onRefusal(link: number, id: number, error: unknown): void {
    const code = error instanceof BreakwaterError ? error.code : '';
    if (code === 'FEEDGAP') this.#doubt();
    else if (code === 'FEEDPAUSED' || code === 'FEEDFULL') {
      this.#refused(link, id, false);
      // It may own nothing any more, and not know it.
      this.#retryLater();
    } else if (!code.startsWith('CLIENT_')) {
      this.#refused(link, id, true, error instanceof Error ? error.message : String(error));
    }
    // Silence is the follower's to notice; a lost connection is told by `onState`.
  }

  #record(kind: 'key' | 'tag' | 'namespace' | 'clear', name: string): void {
    if (this.#link === 0) return;
    this.#seq += 1;
    if (kind === 'key') this.#keys += 1;
    const ballot = { epoch: this.#link, node: 'members' };
    this.#handlers?.record(this.#link, this.#seq, RANGE, ballot, this.#keys, kind, name);
  }
}

function ignore(): void {}
