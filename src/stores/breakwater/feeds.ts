/**
 * The feed of a `breakwater://` store, whatever the store turns out to be: one node's (`breakwater-feed.ts`), or that of all members of a cluster (`members-feed.ts`). And what members push of leases that ended.
 */
import type { Scheduler } from '../../base/scheduler.ts';
import type { ClusterClient, ClusterWatcher } from '../../client/cluster.ts';
import type { ClusterNode } from '../../client/cluster-node.ts';
import type { ClientState } from '../../client/state.ts';
import type { BreakwaterFeed } from '../breakwater-feed.ts';
import type { FeedHandlers, FeedPosition, StoreFeed } from '../feed.ts';
import type { MembersReads } from './members.ts';
import { MembersEverywhere } from './members-everywhere.ts';
import { MembersFeed } from './members-feed.ts';
import { type Reply, textOf } from './words.ts';

export class StoreFeeds implements StoreFeed, ClusterWatcher, MembersReads {
  readonly tellsOfReadsOnly = false;
  readonly tellsOfLeases = true;
  readonly #scheduler: Scheduler;
  readonly #members: MembersFeed;
  readonly #membersEverywhere: MembersEverywhere;
  /** null: a cluster. */
  #node: BreakwaterFeed | null;
  #handlers: FeedHandlers | null = null;
  #onLeaseEnded: ((key: string) => void) | null = null;
  #lastLink = 0;

  /** @param members the client of the cluster, once it is known to be one */
  constructor(node: BreakwaterFeed | null, members: () => ClusterClient, scheduler: Scheduler) {
    this.#node = node;
    this.#scheduler = scheduler;
    this.#members = new MembersFeed(members, scheduler, () => {
      this.#lastLink += 1;
      return this.#lastLink;
    });
    this.#membersEverywhere = new MembersEverywhere(members, scheduler);
  }

  /** It is a cluster, as was found out. */
  becomeCluster(): void {
    const node = this.#node;
    if (node === null) return;
    this.#node = null;
    this.#lastLink = node.retire();
    if (this.#handlers !== null) this.#members.follow(this.#handlers);
  }

  close(): void {
    this.#members.close();
  }

  get isListenedTo(): boolean {
    return this.#onLeaseEnded !== null;
  }

  async everywhere(timeoutMs: number): Promise<void> {
    const node = this.#node;
    try {
      await (node ?? this.#membersEverywhere).everywhere(timeoutMs);
    } catch (error) {
      // It has turned out to be one of many meanwhile: they are asked, with the time of a call that begins now.
      if (node === null || this.#node !== null) throw error;
      await this.#membersEverywhere.everywhere(timeoutMs);
    }
  }

  follow(handlers: FeedHandlers): void {
    this.#handlers = handlers;
    (this.#node ?? this.#members).follow(handlers);
  }

  listen(onLeaseEnded: (key: string) => void): void {
    this.#onLeaseEnded = onLeaseEnded;
    this.#node?.listen(onLeaseEnded);
  }

  subscribe(link: number, id: number, boundMs: number, positions: readonly FeedPosition[]): void {
    (this.#node ?? this.#members).subscribe(link, id, boundMs, positions);
  }

  ping(link: number, id: number, applied: number): void {
    if (this.#node === null) this.#members.ping(link, id);
    else this.#node.ping(link, id, applied);
  }

  /** Of a cluster each member is told at its own barriers (`members-feed.ts`). */
  acknowledge(link: number, applied: number): void {
    this.#node?.acknowledge(link, applied);
  }

  reconnect(link: number): void {
    (this.#node ?? this.#members).reconnect(link);
  }

  // -- what members' connections tell (ClusterWatcher), and what is sent over them (MembersReads)

  onPush(node: ClusterNode, kind: string, items: Reply[]): void {
    // Later: the reader whose answer came just before has to be waiting by then.
    if (kind === 'bw.lease') this.#scheduler.setTimer(0, () => this.#onLeaseEnded?.(textOf(items[0]!) ?? ''));
    else if (kind === 'bw.everywhere') this.#membersEverywhere.onPush(node, items[0]);
    else this.#members.onPush(node, kind, items);
  }

  onState(node: ClusterNode, state: ClientState): void {
    if (state.kind !== 'ready') this.#membersEverywhere.onLost(node);
    this.#members.onState(node, state);
  }

  onTopology(): void {
    this.#members.onTopology();
  }

  sending(node: ClusterNode, keys: readonly string[]): void {
    this.#members.sending(node, keys);
  }
}
