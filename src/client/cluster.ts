/**
 * Sends requests to whoever owns their slot: a Redis Cluster, or a single server that owns all of them.
 *
 *   requests --> grouped by owner --> one pipeline a node, all at once --> outcomes, aligned with the requests
 *       ^                                                    |
 *       +---- MOVED, ASK, TRYAGAIN, CLUSTERDOWN, a node that is down: only those requests again
 *
 * So a batch costs one round trip to each node while the map is right, and while it is not, only what was misdirected goes round again.
 * Why not learn the owner by asking any node each time: every second command would travel twice.
 *
 * Every request ends: redirections are counted (a cluster whose nodes point at each other is an error, not a loop), pauses and
 * refreshes stay within the caller's deadline. A failure is the outcome of its own request, never of its neighbours on other shards.
 *
 * A request that may have been executed is sent again only when it is `idempotent`. One that was redirected or refused was not executed.
 */
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { type Reply, ReplyError } from '../resp/reply.ts';
import type { Command } from '../resp/request-writer.ts';
import type { ClientOptions } from './client.ts';
import { discover } from './cluster-discovery.ts';
import { ClusterNode } from './cluster-node.ts';
import type { Outcome } from './cluster-outcome.ts';
import { directionOf } from './cluster-redirect.ts';
import { type ExecuteOptions, NO_PREPARATION, type Preparation, type SlotRequest } from './cluster-request.ts';
import { addressOf, isSame, type Topology } from './cluster-topology.ts';
import type { ClientState } from './state.ts';
import type { HostPort } from './url.ts';

/** Hears of the readers' connections and of the map. What it is told it is told at once, and it must not throw. */
export interface ClusterWatcher {
  onState(node: ClusterNode, state: ClientState): void;
  onPush(node: ClusterNode, kind: string, items: Reply[]): void;
  /** There is a map, and it differs from the one before in who owns what. */
  onTopology(): void;
}

export interface ClusterOptions {
  /** Where to ask for the topology first; at least one. */
  readonly seeds: readonly HostPort[];
  /** For each connection. */
  readonly client: Omit<ClientOptions, 'host' | 'port'>;
  readonly preparation?: Preparation;
  readonly watcher?: ClusterWatcher;
  /** Replicas of each shard, when the topology cannot be trusted to know. Default null. */
  readonly expectedReplicas?: number | null;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
}

export interface ClusterStats {
  refreshes: number;
  moved: number;
  asks: number;
  /** Requests that had to wait: TRYAGAIN, CLUSTERDOWN, a node that is down. */
  pauses: number;
}

/** A request is pointed elsewhere at most so often: two for a failover in the middle of a migration, the rest is margin. */
const MAX_REDIRECTS = 8;
const FIRST_PAUSE_MS = 5;
const LONGEST_PAUSE_MS = 100;
/** Between two looks at the topology, however many requests call for one. */
const REFRESH_INTERVAL_MS = 50;
/** A node that does not say what it knows within this time is passed over. */
const DISCOVERY_TIMEOUT_MS = 1000;

interface Routed {
  readonly request: SlotRequest;
  readonly index: number;
  ask: HostPort | null;
  redirects: number;
  /** Why it is not done yet. */
  error: BreakwaterError | null;
}

export class ClusterClient {
  readonly stats: ClusterStats = { refreshes: 0, moved: 0, asks: 0, pauses: 0 };
  readonly #options: ClusterOptions;
  readonly #preparation: Preparation;
  readonly #nodes = new Map<string, ClusterNode>();
  #topology: Topology | null = null;
  #refreshing: Promise<Topology> | null = null;
  #refreshedMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  /** Connects with the first request. */
  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#preparation = options.preparation ?? NO_PREPARATION;
  }

  /** The map in force; asked for when there is none yet. @throws BreakwaterError `CLIENT_TIMEOUT`, `CLIENT_DISCONNECTED`, ... */
  topology(options: ExecuteOptions): Promise<Topology> | Topology {
    if (this.#closed) return Promise.reject(closed());
    return this.#topology ?? this.#firstTopology(this.#options.clock.now() + options.timeoutMs, options.signal);
  }

  /** The map in force, if there is one yet. */
  get known(): Topology | null {
    return this.#topology;
  }

  /** Somebody doubts the map: it is asked for in the background, and not more often than every 50 ms. */
  refreshSoon(): void {
    this.#wantRefresh();
  }

  /** Its last connection or attempt failed: it may be back, and nobody has reached it since. */
  isAway(address: HostPort): boolean {
    const state = this.#nodes.get(addressOf(address))?.reader.state;
    return state?.kind === 'backing-off' || (state?.kind === 'connecting' && state.attempt > 0);
  }

  /** Nodes that serve slots, each once (one may own several shards with different copies). Empty before the first request. */
  primaries(): ClusterNode[] {
    return [...new Set((this.#topology?.shards ?? []).map(({ primary }) => this.#nodeAt(primary)))];
  }

  /**
   * Executes all and resolves with their outcomes in order; rejects only when the signal aborts (`CLIENT_ABORTED`), the client is closed
   * (`CLIENT_CLOSED`) or the topology cannot be had.
   */
  async execute(requests: readonly SlotRequest[], options: ExecuteOptions): Promise<Outcome[]> {
    if (this.#closed) throw closed();
    if (options.signal?.aborted === true) throw aborted(options.signal);
    const deadlineMs = this.#options.clock.now() + options.timeoutMs;
    const outcomes = new Array<Outcome>(requests.length).fill(null);
    let left: Routed[] = requests.map((request, index) => ({ request, index, ask: null, redirects: 0, error: null }));
    for (let pauses = 0; left.length > 0; ) {
      const topology = this.#topology ?? (await this.#firstTopology(deadlineMs, options.signal));
      const round = await this.#round(left, topology, outcomes, deadlineMs, options);
      left = round.again;
      if (left.length === 0 || !round.pause) continue;
      this.stats.pauses += left.length;
      const leftMs = deadlineMs - this.#options.clock.now();
      const pauseMs = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** pauses);
      pauses += 1;
      if (leftMs > pauseMs) {
        await this.#pause(pauseMs, options.signal);
        if (round.refresh) await this.#refreshWithin(deadlineMs - this.#options.clock.now(), options.signal);
      }
      if (this.#options.clock.now() >= deadlineMs || leftMs <= pauseMs) {
        for (const { index, error } of left) outcomes[index] = error ?? timeout(options.timeoutMs);
        break;
      }
    }
    return outcomes;
  }

  /** The node of an address in the topology, made when it is new. */
  #nodeAt(address: HostPort): ClusterNode {
    const name = addressOf(address);
    let node = this.#nodes.get(name);
    if (node === undefined) {
      const { clock, scheduler, random, client, expectedReplicas = null, watcher } = this.#options;
      // Fails at once while a node is down, so that its requests can look where the slot has gone.
      const made: ClusterNode = new ClusterNode(
        address,
        { ...client, clock, scheduler, random, whenDown: 'reject' },
        expectedReplicas,
        watcher === undefined
          ? {}
          : {
              onState: (state) => watcher.onState(made, state),
              onPush: (kind, items) => watcher.onPush(made, kind, items),
            },
      );
      node = made;
      this.#nodes.set(name, node);
    }
    return node;
  }

  async close(): Promise<void> {
    this.#closed = true;
    const nodes = [...this.#nodes.values()];
    this.#nodes.clear();
    await Promise.all(nodes.map((node) => node.close({ drain: false })));
  }

  // -- one round

  async #round(
    items: readonly Routed[],
    topology: Topology,
    outcomes: Outcome[],
    deadlineMs: number,
    options: ExecuteOptions,
  ): Promise<{ again: Routed[]; pause: boolean; refresh: boolean }> {
    const groups = new Map<ClusterNode, Routed[]>();
    const round = { again: [] as Routed[], pause: false, refresh: false };
    for (const item of items) {
      const address = item.ask ?? topology.ownerOf(item.request.slot)?.primary ?? null;
      if (address === null) {
        item.error = new BreakwaterError('CLUSTER_SLOT_UNSERVED', `no node serves slot ${item.request.slot}`);
        round.again.push(item);
        round.pause = true;
        round.refresh = true;
        continue;
      }
      const node = this.#nodeAt(address);
      const group = groups.get(node);
      if (group === undefined) groups.set(node, [item]);
      else group.push(item);
    }
    const settle = (node: ClusterNode, item: Routed, outcome: Outcome): void => {
      const verdict = outcome instanceof Error ? this.#judge(node, item, outcome, options) : 'done';
      if (verdict === 'done') {
        outcomes[item.index] = outcome;
        return;
      }
      item.error = outcome as BreakwaterError;
      round.again.push(item);
      if (verdict !== 'at-once') round.pause = true;
      if (verdict === 'refresh') round.refresh = true;
    };
    await Promise.all(
      [...groups].map(async ([node, group]) => {
        let replies: readonly Outcome[];
        try {
          replies = await this.#send(node, group, deadlineMs, options);
        } catch (error) {
          if (!(error instanceof BreakwaterError)) throw error;
          if (error.code === 'CLIENT_ABORTED' || this.#closed) throw error;
          replies = group.map(() => error);
        }
        group.forEach((item, i) => {
          settle(node, item, replies[i]!);
        });
      }),
    );
    return round;
  }

  async #send(
    node: ClusterNode,
    group: readonly Routed[],
    deadlineMs: number,
    options: ExecuteOptions,
  ): Promise<Outcome[]> {
    const { clock } = this.#options;
    const preparing = this.#preparation.prepare(node, { timeoutMs: Math.max(1, deadlineMs - clock.now()) });
    if (preparing !== null) await preparing.catch(unsent);
    const commands: Command[] = [];
    for (const item of group) {
      if (item.ask !== null) commands.push(['ASKING']);
      commands.push(item.request.build(node));
    }
    const { signal, idempotent = false, acknowledged = false } = options;
    const timeoutMs = deadlineMs - clock.now();
    if (timeoutMs <= 0) throw timeout(options.timeoutMs);
    const callOptions = { timeoutMs, signal, idempotent };
    const replies = await (acknowledged
      ? node.sendAcknowledged(commands, callOptions)
      : node.send(commands, callOptions));
    if (replies.length === group.length) return replies;
    let at = 0;
    return group.map((item) => {
      if (item.ask !== null) at += 1;
      const reply = replies[at]!;
      at += 1;
      return reply;
    });
  }

  /** What becomes of a request that got an error. */
  #judge(
    node: ClusterNode,
    item: Routed,
    error: BreakwaterError,
    options: ExecuteOptions,
  ): 'done' | 'at-once' | 'later' | 'refresh' {
    const wasAsked = item.ask !== null;
    item.ask = null;
    if (!(error instanceof ReplyError)) {
      const isUnsent = error.code === 'CLIENT_DISCONNECTED' || error.code === 'CLIENT_CLOSED';
      const isLost = error.code === 'CLIENT_CONNECTION_LOST' || error.code === 'CLIENT_CONNECT_FAILED';
      if (isUnsent || isLost || error.code === 'CLIENT_TIMEOUT' || error.code === 'NOT_ACKNOWLEDGED')
        this.#wantRefresh();
      return isUnsent || (isLost && options.idempotent === true) ? 'refresh' : 'done';
    }
    if (this.#preparation.isUndone(node, error)) return this.#again(item);
    const direction = directionOf(error, node.address);
    switch (direction.kind) {
      case 'none':
        return 'done';
      case 'later':
        return direction.refresh || wasAsked ? 'refresh' : 'later';
      case 'ask':
        this.stats.asks += 1;
        item.ask = direction.to;
        return this.#again(item);
      case 'moved':
        this.stats.moved += 1;
        this.#learn(direction.slot, direction.to);
        return this.#again(item);
    }
  }

  #again(item: Routed): 'done' | 'at-once' {
    item.redirects += 1;
    return item.redirects > MAX_REDIRECTS ? 'done' : 'at-once';
  }

  // -- the map

  #learn(slot: number, to: HostPort): void {
    const owner = this.#topology?.ownerOf(slot);
    if (owner !== undefined && (owner === null || !isSame(owner.primary, to))) {
      this.#topology = this.#topology!.withMoved(slot, to);
      this.#options.watcher?.onTopology();
    }
    this.#wantRefresh();
  }

  /** In the background, and not more often than REFRESH_INTERVAL_MS. */
  #wantRefresh(): void {
    if (this.#refreshing !== null || this.#closed || this.#topology === null) return;
    if (this.#options.clock.now() - this.#refreshedMs < REFRESH_INTERVAL_MS) return;
    this.#refresh().catch(ignore);
  }

  async #refreshWithin(leftMs: number, signal: AbortSignal | undefined): Promise<void> {
    if (leftMs <= 0) return;
    if (this.#refreshing === null && this.#options.clock.now() - this.#refreshedMs < REFRESH_INTERVAL_MS) return;
    // That nobody could be asked is no news to the request: its own error tells more.
    await this.#within(this.#refresh().then(ignore, ignore), leftMs, signal).catch((error: unknown) => {
      if (signal?.aborted === true) throw error;
    });
  }

  /** A server that did not answer within its second is asked again as long as the caller has time; one that cannot be reached is reported at once. */
  async #firstTopology(deadlineMs: number, signal: AbortSignal | undefined): Promise<Topology> {
    for (;;) {
      const leftMs = deadlineMs - this.#options.clock.now();
      try {
        return await this.#within(this.#refresh(), leftMs, signal);
      } catch (error) {
        const isLate = error instanceof BreakwaterError && error.code === 'CLIENT_TIMEOUT';
        if (!isLate || this.#closed || this.#options.clock.now() >= deadlineMs) throw error;
      }
    }
  }

  #refresh(): Promise<Topology> {
    this.#refreshing ??= this.#discover().finally(() => {
      this.#refreshing = null;
      this.#refreshedMs = this.#options.clock.now();
    });
    return this.#refreshing;
  }

  async #discover(): Promise<Topology> {
    this.stats.refreshes += 1;
    const { seeds, client, random } = this.#options;
    const known = this.#topology?.shards.map(({ primary }) => primary) ?? [];
    const first = random.nextUint32() % Math.max(1, known.length);
    const candidates: HostPort[] = [...known.slice(first), ...known.slice(0, first)];
    for (const seed of seeds) if (!candidates.some((each) => isSame(each, seed))) candidates.push(seed);
    const nodes = candidates.map((address) => this.#nodeAt(address));
    const topology = await discover(nodes, { tls: Boolean(client.tls), timeoutMs: DISCOVERY_TIMEOUT_MS });
    if (this.#closed) throw closed();
    const isNew = this.#topology === null || !this.#topology.hasOwnersOf(topology);
    this.#topology = topology;
    const primaries = new Set<string>();
    for (const { primary, replicas } of topology.shards) {
      primaries.add(addressOf(primary));
      if (topology.mode === 'cluster') this.#nodeAt(primary).setReplicas(replicas);
    }
    for (const [name, node] of this.#nodes) {
      if (primaries.has(name)) continue;
      this.#nodes.delete(name);
      node.close({ drain: true }).catch(ignore);
    }
    if (isNew) this.#options.watcher?.onTopology();
    return topology;
  }

  // -- waiting

  #pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
    return this.#within(new Promise<never>(ignore), ms, signal).catch((error: unknown) => {
      if (signal?.aborted === true || this.#closed) throw error;
    });
  }

  #within<T>(promise: Promise<T>, ms: number, signal: AbortSignal | undefined): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const onAbort = (): void => end(() => reject(aborted(signal!)));
      const timer = this.#options.scheduler.setTimer(ms, () => end(() => reject(timeout(ms))));
      const end = (settle: () => void): void => {
        timer.cancel();
        signal?.removeEventListener('abort', onAbort);
        settle();
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      promise.then(
        (value) => end(() => resolve(value)),
        (error: unknown) => end(() => reject(error)),
      );
    });
  }
}

function timeout(ms: number): BreakwaterError {
  return new BreakwaterError('CLIENT_TIMEOUT', `no answer within ${Math.round(ms)} ms`);
}

function aborted(signal: AbortSignal): BreakwaterError {
  return new BreakwaterError('CLIENT_ABORTED', 'the command was aborted by its signal', { cause: signal.reason });
}

function closed(): BreakwaterError {
  return new BreakwaterError('CLIENT_CLOSED', 'cannot send the command: the client was closed');
}

/** What fails before a request is sent leaves it unsent, however it fails. */
function unsent(error: unknown): never {
  if (!(error instanceof BreakwaterError) || error.code !== 'CLIENT_CONNECTION_LOST') throw error;
  throw new BreakwaterError('CLIENT_DISCONNECTED', error.message, { cause: error });
}

function ignore(): void {}
