/**
 * The feed of a `breakwater://` store, whatever the store turns out to be: one node's, or nobody's when it is a cluster.
 *
 * Members of a cluster refuse BW.FEED today, so what is said of a cluster is that it has no feed for us: an L1 with a `ttl` is bounded by that, one without is not used. Ends of leases are told by members too.
 */
import type { Scheduler } from '../../base/scheduler.ts';
import type { ClusterWatcher } from '../../client/cluster.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { BreakwaterFeed } from '../breakwater-feed.ts';
import type { FeedHandlers, FeedPosition, StoreFeed } from '../feed.ts';
import type { MembersReads } from './members.ts';
import { type Reply, textOf } from './words.ts';

const WHY_NOT = 'the members of a cluster of nodes do not offer one yet';

export class StoreFeeds implements StoreFeed, ClusterWatcher, MembersReads {
  readonly tellsOfReadsOnly = false;
  readonly tellsOfLeases = true;
  readonly #scheduler: Scheduler;
  /** null: a cluster. */
  #node: BreakwaterFeed | null;
  #handlers: FeedHandlers | null = null;
  #onLeaseEnded: ((key: string) => void) | null = null;
  /** Of the cluster: above all that the node had. */
  #link = 0;

  constructor(node: BreakwaterFeed | null, scheduler: Scheduler) {
    this.#node = node;
    this.#scheduler = scheduler;
  }

  /** It is a cluster, as was found out. */
  becomeCluster(): void {
    const node = this.#node;
    if (node === null) return;
    this.#node = null;
    this.#link = node.retire();
    if (this.#handlers !== null) this.#openLink();
  }

  get isListenedTo(): boolean {
    return this.#onLeaseEnded !== null;
  }

  get everywhere(): ((timeoutMs: number) => Promise<void>) | undefined {
    const node = this.#node;
    return node === null ? undefined : (timeoutMs) => node.everywhere(timeoutMs);
  }

  follow(handlers: FeedHandlers): void {
    this.#handlers = handlers;
    if (this.#node !== null) this.#node.follow(handlers);
    else this.#openLink();
  }

  listen(onLeaseEnded: (key: string) => void): void {
    this.#onLeaseEnded = onLeaseEnded;
    this.#node?.listen(onLeaseEnded);
  }

  subscribe(link: number, id: number, boundMs: number, positions: readonly FeedPosition[]): void {
    if (this.#node !== null) this.#node.subscribe(link, id, boundMs, positions);
    else queueMicrotask(() => this.#handlers?.refused(link, id, true, WHY_NOT));
  }

  ping(link: number, id: number, applied: number): void {
    this.#node?.ping(link, id, applied);
  }

  acknowledge(link: number, applied: number): void {
    this.#node?.acknowledge(link, applied);
  }

  reconnect(link: number): void {
    this.#node?.reconnect(link);
  }

  // -- what members' connections tell (ClusterWatcher), and what is sent over them (MembersReads)

  onPush(_node: ClusterNode, kind: string, items: Reply[]): void {
    // Later: the reader whose answer came just before has to be waiting by then.
    if (kind === 'bw.lease') this.#scheduler.setTimer(0, () => this.#onLeaseEnded?.(textOf(items[0]!) ?? ''));
  }

  onState(): void {}

  onTopology(): void {}

  sending(): void {}

  // -- within

  #openLink(): void {
    this.#link += 1;
    this.#handlers?.open(this.#link, 'cluster');
  }
}
