/**
 * Keeps the L1s of one Breakwater right while other processes write: follows the store's feed and turns what it says into voids.
 *
 * The library knows already what to do about an invalidation of its own (`voids.ts`): the entry goes, and what is on its way is not kept. One that
 * another process made is the same thing, heard a moment later. So there is one memory of what was invalidated, and one comparison at a hit. What the
 * feed adds:
 *
 *   heard        a record of the feed voids its key, tag or namespace here
 *   missed       something may not have been heard (a gap): everything that was read before is suspect. It stays, and is not served before L2 was
 *                asked: the same version as in L1 makes it good again, without a load and without decoding the value anew; another one replaces it
 *   begun anew   another run of the node (a restart): its versions mean something else, so everything that was read before is void
 *   in time      all that had happened at the node when the last answered ping was *sent* is known. Beyond the bound since then the
 *                L1s are bypassed: the entries stay and are good again when the next answer comes
 *
 * The interleaving that `freshness/follower.ts` tells (an invalidation overtakes a read's answer) is closed by the stamps of `voids.ts`: a read takes
 * its stamp before it is sent, and what was voided after that is not kept.
 *
 * Versions are compared only within one run of the node: within one link (a connection that is followed), over which both the feed and the reads go.
 * A read whose answer came over another link than it was sent on is decoded in full.
 *
 * Time is asked of the monotonic clock, at every hit: a blocked event loop cannot make an L1 look fresh.
 *
 * Costs: a hit compares one number more. One ping each fifth of the bound, while the store's connection stands.
 */

import { sameBallot } from '../base/ballot.ts';
import type { Clock } from '../base/clock.ts';
import type { Scheduler, Timer } from '../base/scheduler.ts';
import { KIND_NAMES, WIDE } from '../freshness/feed-kinds.ts';
import { FeedFollower } from '../freshness/follower.ts';
import type { FeedBallot, FeedHandlers, FeedStart, StoreFeed } from '../stores/feed.ts';
import type { Voids } from './voids.ts';

/** A lone node owns everything. */
const RANGE = 0;
/** A kind from a later version of the node. */
const UNKNOWN_KIND = 99;

/** For people and metrics. */
export interface CoherenceStats {
  /** L1s are served from at the moment. */
  readonly isInTime: boolean;
  /** The staleness bound, and how old the knowledge is now; null = nothing is known yet. */
  readonly boundMs: number;
  readonly lagMs: number | null;
  /** Invalidations heard. */
  readonly records: number;
  /** Times that something may have been missed, so that nothing in L1 was served before L2 was asked for its version (or all of it was dropped). */
  readonly suspects: number;
  /** Times that the feed went on after a break without loss. */
  readonly replays: number;
  /** The store has no feed for us: L1s that have a `ttl` are bounded by it, the others are never served from. */
  readonly isUnsupported: boolean;
  /** Why it has none, and what that means. */
  readonly warning: string | null;
}

export class Coherence implements FeedHandlers {
  readonly #feed: StoreFeed;
  readonly #voids: Voids;
  readonly #forgetKey: (key: string) => void;
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #follower: FeedFollower;
  #suspects = 0;
  /** The run of the node that was followed last. */
  #run: FeedBallot | null = null;
  #timer: Timer | null = null;
  #unsupported = false;
  #warning: string | null = null;
  #closed = false;

  /** @param forgetKey voids a full key: out of its cache, and what is under way for it is not kept */
  constructor(
    feed: StoreFeed,
    voids: Voids,
    boundMs: number,
    ports: { readonly clock: Clock; readonly scheduler: Scheduler },
    forgetKey: (key: string) => void,
  ) {
    this.#feed = feed;
    this.#voids = voids;
    this.#forgetKey = forgetKey;
    this.#clock = ports.clock;
    this.#scheduler = ports.scheduler;
    // Names are remembered by `voids`; the follower's own memory of them is not asked.
    this.#follower = new FeedFollower({ boundMs, rememberedKeys: 1, rememberedNames: 1 });
    voids.goodUntilMs = Number.NEGATIVE_INFINITY;
    feed.follow(this);
  }

  get boundMs(): number {
    return this.#follower.boundMs;
  }

  stats(): CoherenceStats {
    const { counts, boundMs } = this.#follower;
    const nowMs = this.#clock.now();
    const lagMs = this.#follower.lagMs(RANGE, nowMs);
    return {
      isInTime: nowMs <= this.#voids.goodUntilMs,
      boundMs,
      lagMs: Number.isFinite(lagMs) ? lagMs : null,
      records: counts.records,
      suspects: counts.suspects,
      replays: counts.replays,
      isUnsupported: this.#unsupported,
      warning: this.#warning,
    };
  }

  /** No ping any more, and no L1. */
  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.#voids.goodUntilMs = Number.NEGATIVE_INFINITY;
    this.#voids.link = 0;
  }

  // -- what the store tells (FeedHandlers)

  open(link: number, peer: string): void {
    this.#unsupported = false;
    this.#voids.link = 0;
    this.#warning = null;
    this.#follower.open(link, peer, this.#clock.now());
    this.#after();
    this.#arm(0);
  }

  closed(link: number): void {
    this.#voids.link = 0;
    this.#follower.closed(link);
    this.#after();
  }

  subscribed(link: number, id: number, seq: number, streams: readonly FeedStart[]): void {
    const run = streams.find(({ range }) => range === WIDE)?.ballot ?? null;
    if (run === null || !sameBallot(run, this.#run)) {
      this.#run = run;
      this.#voids.voidAll();
    }
    this.#follower.subscribed(link, id, seq, streams, this.#clock.now());
    this.#voids.link = run === null || this.#closed ? 0 : link;
    this.#after();
  }

  refused(link: number, id: number, forGood: boolean, why = 'the node has none'): void {
    if (forGood) {
      this.#unsupported = true;
      this.#voids.link = 0;
      this.#warning = `no feed of invalidations: ${why}. An L1 with a ttl is bounded by that alone, one without is not used`;
      // What was kept while there was one may have no ttl.
      this.#voids.voidAll();
      this.#follower.closed(link);
    } else {
      this.#follower.refused(link, id, this.#clock.now());
    }
    this.#after();
  }

  cut(link: number): void {
    this.#follower.cut(link, this.#clock.now());
    this.#after();
  }

  pong(link: number, id: number, head: number): void {
    this.#follower.pong(link, id, head);
    this.#after();
  }

  record(
    link: number,
    seq: number,
    range: number,
    ballot: FeedBallot,
    number: number,
    kind: string,
    name: string,
  ): void {
    const { counts } = this.#follower;
    const before = counts.records;
    const known = KIND_NAMES.indexOf(kind as (typeof KIND_NAMES)[number]);
    const code = known > 0 ? known : UNKNOWN_KIND;
    if (range > RANGE) {
      // This version follows one range: of another one nothing is understood.
      this.#voids.voidAll();
      return;
    }
    this.#follower.record(link, seq, range, ballot, number, code, name, this.#clock.now());
    if (counts.records !== before) {
      // Applied: before anything is acknowledged, which `#after` does.
      if (kind === 'key') this.#forgetKey(name);
      else if (kind === 'tag') this.#voids.voidTag(name);
      else if (kind === 'namespace') this.#voids.voidNamespace(name);
      else if (kind === 'clear') this.#voids.voidAll();
    }
    this.#after();
  }

  // -- within

  /** After every door: what was missed is void, what is due is sent, and the bound is set anew. */
  #after(): void {
    const follower = this.#follower;
    if (follower.counts.suspects !== this.#suspects) {
      this.#suspects = follower.counts.suspects;
      this.#voids.suspectAll();
    }
    this.#voids.isBoundByTtl = this.#unsupported;
    if (this.#closed) this.#voids.goodUntilMs = Number.NEGATIVE_INFINITY;
    else
      this.#voids.goodUntilMs = this.#unsupported
        ? Number.POSITIVE_INFINITY
        : follower.freshAsOf(RANGE) + follower.boundMs;
    for (const effect of follower.takeEffects()) {
      switch (effect.kind) {
        case 'subscribe':
          this.#feed.subscribe(effect.link, effect.id, effect.boundMs, effect.positions);
          break;
        case 'ping':
          this.#feed.ping(effect.link, effect.id, effect.applied);
          break;
        case 'acknowledge':
          this.#feed.acknowledge(effect.link, effect.applied);
          break;
        case 'reconnect':
          this.#feed.reconnect(effect.link);
          break;
      }
    }
  }

  #arm(delayMs: number): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    this.#timer = this.#scheduler.setTimer(
      delayMs,
      () => {
        this.#timer = null;
        const nextMs = this.#follower.tick(this.#clock.now());
        this.#after();
        if (this.#timer === null) this.#arm(nextMs);
      },
      { keepAlive: false },
    );
  }
}
