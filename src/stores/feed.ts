/**
 * The part of the store port that a store has when it tells of invalidations by other processes: what may be asked of it, and what it
 * says. The rules are those of docs/feed.md; who keeps them is `freshness/follower.ts` on the other side of this port.
 *
 * A *link* is one connection to the store's node, numbered by the store, never used again. Nothing here blocks or throws: an answer that does not
 * come is the follower's to notice.
 */

/** One reign over a range; compared by the follower. */
export interface FeedBallot {
  readonly epoch: number;
  readonly node: string;
}

export interface FeedPosition {
  readonly range: number;
  readonly ballot: FeedBallot;
  readonly number: number;
}

export interface FeedStart extends FeedPosition {
  readonly replay: boolean;
}

/** What the store tells. */
export interface FeedHandlers {
  open(link: number, peer: string): void;
  closed(link: number): void;
  subscribed(link: number, id: number, seq: number, streams: readonly FeedStart[]): void;
  /** Subscription or ping `id` was refused for now. `forGood`: the store has no feed for us, and `why`. */
  refused(link: number, id: number, forGood: boolean, why?: string): void;
  /** The node has moved on without us: subscribe anew. */
  cut(link: number): void;
  pong(link: number, id: number, head: number): void;
  /** `kind` by its name on the wire. */
  record(
    link: number,
    seq: number,
    range: number,
    ballot: FeedBallot,
    number: number,
    kind: string,
    name: string,
  ): void;
}

/** The part of the store port that a store has when it says that another caller's lease has ended. */
export interface LeaseEnds {
  /** Ends of leases are told at the moment, so that who waits for one need not ask often. */
  readonly tellsOfLeases: boolean;
  /** Calls back when another caller's lease ended that a read here was told to wait for: ask again. Best effort. Once. */
  listen(onLeaseEnded: (key: string) => void): void;
}

export interface StoreFeed extends LeaseEnds {
  /** Follows from the next connection on, or at once where one stands. Once. */
  follow(handlers: FeedHandlers): void;
  /**
   * True: it tells of keys that were read from the store, of each change, leases and fills by anybody included. So what came to this process otherwise (a
   * value that it loaded or set) must not be kept in L1, since nobody would say when it is out of date; and that a key changed says nothing about a
   * load of it that is under way.
   */
  readonly tellsOfReadsOnly: boolean;
  subscribe(link: number, id: number, boundMs: number, positions: readonly FeedPosition[]): void;
  ping(link: number, id: number, applied: number): void;
  acknowledge(link: number, applied: number): void;
  /** The link is to be given up: `closed`, then `open` with another number. */
  reconnect(link: number): void;
  /**
   * Resolves when all that was invalidated through this store so far has reached every process that follows its feed, or can be served there no longer.
   * Rejects when that is not known in time. Absent: the store does not know who keeps copies.
   */
  readonly everywhere?: ((timeoutMs: number) => Promise<void>) | undefined;
}
