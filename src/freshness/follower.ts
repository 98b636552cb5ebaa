/**
 * The L1's side of the invalidation feed: may what I hold be served, and may what I have just read be kept?
 *
 * It holds no entries. It hears records, keeps a logical time (how many things it has applied), and answers questions about an entry by
 * the logical time at which the entry's read began, its *stamp*:
 *
 *   trusted   nothing that was missed can concern it: the range's mark (the time of its last gap) is not after the stamp
 *   alive     none of its names was invalidated after the stamp
 *   in time   all that had happened by `freshAsOf` is known, and that is no longer ago than the bound
 *
 * An entry that is not trusted is *suspect*, not dead: its owner asks the node for the version it has, and the same version makes it good
 * again with the stamp of that question. One that is not in time is bypassed and may be good again in a moment. No sweep over entries happens for
 * any of this; a mark is one number for a whole range.
 *
 * Reads in flight. The value and the invalidation travel on different connections, so that this happens:
 *
 *   1. R misses `user:42` in L1 and begins a read: stamp 41.
 *   2. The node answers with version 1. The answer is on its way.
 *   3. W invalidates `user:42`. The node deletes it and publishes record 42.
 *   4. Record 42 arrives here first. There is no entry to drop. It is acknowledged; W is told "everywhere".
 *   5. R's answer arrives. Kept, it would be served for its whole TTL: nothing will ever remove it.
 *
 *   With the stamp: at step 4 "user:42 was invalidated at 42" is remembered; at step 5 42 > 41, so R's caller gets the value (its
 *   read began before the invalidation was acknowledged) and L1 does not.
 *
 * The same comparison refuses a read that began before a gap was closed, and one whose tags, known only now, were invalidated meanwhile.
 *
 * Fresh as of when? `feed.ts` tells why a ping counts from its *sending*. An answer carries the seq that must have been applied; one that
 * overtakes its records waits for them here.
 *
 * Links. One per node that is followed; a range hangs on the link of its owner. A link whose records skip a seq asks anew from its positions; until
 * the answer comes its ranges are not renewed, so the bound takes care of them. What the answer can replay goes on as if nothing had happened; what it cannot
 * gets a new mark. The same with a new ballot. A range that fell off its link is served until its bound ends, no longer.
 *
 * Names are text. The driver decodes a record's bytes as UTF-8 *keeping a byte order mark* (`new TextDecoder('utf-8', { ignoreBOM: true })`), and
 * the L1 keys its entries by `toWellFormed()` text: a lone surrogate is U+FFFD on the wire, and an entry under the ill-formed name would
 * never be matched.
 *
 * Doors: `open`, `subscribed`, `record`, `pong`, `refused`, `closed`, `tick` come from the driver; what it has to send
 * is in `takeEffects()`. The bound is fixed for life: the node was told it. Costs: every question is O(1) (O(tags) after an invalidated tag).
 */
import { assert } from '../base/assert.ts';
import { type Ballot, compareBallots, sameBallot } from '../base/ballot.ts';
import { Applied } from './applied.ts';
import {
  BARRIER,
  BEGIN,
  CLEAR,
  DEFAULT_BOUND_MS,
  END,
  KEY,
  NAMESPACE,
  type Position,
  type StreamStart,
  TAG,
  WIDE,
} from './feed-kinds.ts';
import { FollowedLink, type FollowerEffect } from './follower-link.ts';
import type { Standing } from './judge.ts';

export type { FollowerEffect } from './follower-link.ts';

export interface FollowerOptions {
  /** Ranges of slots of the store that is followed; a lone node has one. Default 1. */
  readonly ranges?: number;
  /** An entry is served for so long after the last ping that proves it. Default 250 ms. */
  readonly boundMs?: number;
  /** Default: a fifth of the bound, so that four pings may fail before L1 is bypassed. */
  readonly pingEveryMs?: number;
  /** A link that answered nothing for so long is given up. Default: four times the bound. */
  readonly answerWithinMs?: number;
  /** Keys whose last invalidation is remembered, for reads in flight. Default 16,384. */
  readonly rememberedKeys?: number;
  /** The same for tags, and for namespaces, for entries. Default 16,384 each. */
  readonly rememberedNames?: number;
}

type Link = FollowedLink<Range>;

interface Range {
  /** Logical time since which nothing can have been missed; Infinity before the first subscription. */
  mark: number;
  link: Link | null;
  ballot: Ballot | null;
  number: number;
  /** Fresh as of then by links it hung on before. */
  asOfMs: number;
}

const MAX_NAME_CHARACTERS = 2_000_000;

export class FeedFollower {
  readonly boundMs: number;
  /** Logical time: grows with everything applied. */
  protected time = 1;
  protected readonly keys: Applied;
  protected readonly tags: Applied;
  protected readonly namespaces: Applied;

  readonly #pingEveryMs: number;
  readonly #answerWithinMs: number;
  readonly #ranges: Range[];
  readonly #links = new Map<number, Link>();
  /** Where each node's own stream was left, to go on there after a reconnect. One per node. */
  readonly #wide = new Map<string, { ballot: Ballot; number: number }>();
  #effects: FollowerEffect[] = [];
  #lastId = 0;

  /** Counters that only grow; for metrics. */
  readonly counts = {
    records: 0,
    duplicates: 0,
    gaps: 0,
    replays: 0,
    suspects: 0,
    superseded: 0,
    refusedFills: 0,
    lateAnswers: 0,
  };

  constructor(options: FollowerOptions = {}) {
    this.boundMs = options.boundMs ?? DEFAULT_BOUND_MS;
    this.#pingEveryMs = options.pingEveryMs ?? this.boundMs / 5;
    this.#answerWithinMs = options.answerWithinMs ?? this.boundMs * 4;
    this.keys = new Applied(options.rememberedKeys ?? 16_384, MAX_NAME_CHARACTERS);
    this.tags = new Applied(options.rememberedNames ?? 16_384, MAX_NAME_CHARACTERS);
    this.namespaces = new Applied(options.rememberedNames ?? 16_384, MAX_NAME_CHARACTERS);
    this.#ranges = Array.from({ length: options.ranges ?? 1 }, () => ({
      mark: Number.POSITIVE_INFINITY,
      link: null,
      ballot: null,
      number: 0,
      asOfMs: Number.NEGATIVE_INFINITY,
    }));
  }

  // -- what the L1 asks

  /** Take it *before* the read is sent; it becomes the entry's stamp. */
  stamp(): number {
    return this.time;
  }

  /** May what a read that began at `stamp` has brought be kept? Otherwise only its caller may have it. */
  mayFill(range: number, stamp: number, key: string, namespace: string, tags: readonly string[]): boolean {
    const allowed =
      this.#range(range).mark <= stamp && !this.keys.since(key, stamp) && this.isAlive(stamp, namespace, tags);
    if (!allowed) this.counts.refusedFills += 1;
    return allowed;
  }

  /** Has no name of the entry been invalidated since its stamp? (Its key is dropped when {@link record} says so.) */
  isAlive(stamp: number, namespace: string, tags: readonly string[]): boolean {
    if (stamp < this.namespaces.newest && this.namespaces.since(namespace, stamp)) return false;
    if (stamp < this.tags.newest) for (const tag of tags) if (this.tags.since(tag, stamp)) return false;
    return true;
  }

  /** Can nothing that was missed concern an entry with this stamp? Otherwise it is suspect. */
  isTrusted(range: number, stamp: number): boolean {
    return this.#range(range).mark <= stamp;
  }

  /** All that had happened to the range by then, on the caller's clock, is known; -Infinity: nothing is. */
  freshAsOf(range: number): number {
    const { asOfMs, link } = this.#range(range);
    return link !== null && link.asOfMs > asOfMs ? link.asOfMs : asOfMs;
  }

  /** How long ago that was. Beyond the bound L1 is bypassed. */
  lagMs(range: number, nowMs: number): number {
    return nowMs - this.freshAsOf(range);
  }

  /** May L1 be used for the range at all? `withinMs` can only be stricter than the bound. */
  isInTime(range: number, nowMs: number, withinMs = this.boundMs): boolean {
    return this.lagMs(range, nowMs) <= Math.min(withinMs, this.boundMs);
  }

  /** The three questions in one, in the words of `judge.ts`. */
  standing(range: number, stamp: number, namespace: string, tags: readonly string[], nowMs: number): Standing {
    if (!this.isAlive(stamp, namespace, tags)) return 'voided';
    return this.isTrusted(range, stamp) && this.isInTime(range, nowMs) ? 'good' : 'suspect';
  }

  /** Ranges that no link vouches for now. O(ranges). */
  get unfollowedRanges(): number {
    return this.#ranges.filter((range) => range.link?.state !== 'following').length;
  }

  // -- what the driver tells

  /** A connection to `peer` (a node's name or address) stands. `link` is the driver's number for it, never used before. */
  open(link: number, peer: string, nowMs: number): void {
    assert(!this.#links.has(link), 'a link number is used once');
    const made: Link = new FollowedLink(link, peer, nowMs);
    this.#links.set(link, made);
    this.#ask(made, nowMs);
  }

  /** The node's answer to the subscription `id`. Answers to earlier ones are passed over. */
  subscribed(link: number, id: number, seq: number, streams: readonly StreamStart[], nowMs: number): void {
    const on = this.#links.get(link);
    if (on === undefined || on.state !== 'asking' || on.askedId !== id) return;
    on.following(seq);
    const listed = new Set<Range>();
    let wideReplayed = false;
    for (const stream of streams) {
      if (stream.range === WIDE) {
        wideReplayed = stream.replay;
        this.#wide.set(on.peer, { ballot: stream.ballot, number: stream.number });
      } else {
        const range = this.#range(stream.range);
        if (this.#attach(range, on, stream.ballot, stream.number, stream.replay)) listed.add(range);
      }
    }
    for (const range of on.ranges) {
      if (listed.has(range)) continue;
      // It moved away, and its last records lie before `seq`: we shall say that we applied everything up to there, so
      // what we hold of it must not be served any more. (Found by the simulation: detached but trusted, it was.)
      this.#suspect(range);
      this.#detach(range);
    }
    if (!wideReplayed) for (const range of on.ranges) this.#suspect(range);
    this.#ping(on, nowMs);
  }

  /**
   * A record from the node. Returns true when the L1 must drop the entry of key `name` now; everything else is known by
   * asking. Whether or not there is such an entry, the read that is under way for it is dealt with.
   */
  record(
    link: number,
    seq: number,
    range: number,
    ballot: Ballot,
    number: number,
    kind: number,
    name: string,
    nowMs: number,
  ): boolean {
    const on = this.#links.get(link);
    if (on === undefined || on.state !== 'following') return false;
    if (seq <= on.applied) {
      this.counts.duplicates += 1;
      return false;
    }
    if (seq !== on.applied + 1) {
      this.counts.gaps += 1;
      this.#ask(on, nowMs);
      return false;
    }
    this.counts.records += 1;
    on.applied = seq;
    const drop = this.#apply(on, range, ballot, number, kind, name);
    if (on.early > 0) this.#prove(on, on.settleEarly());
    return drop;
  }

  /** The node's answer to ping `id`. */
  pong(link: number, id: number, head: number): void {
    const on = this.#links.get(link);
    if (on === undefined) return;
    const before = on.early;
    this.#prove(on, on.answered(id, head));
    if (on.early > before) this.counts.lateAnswers += 1;
  }

  /** The node cut us off: too slow. Its records start anew. */
  cut(link: number, nowMs: number): void {
    const on = this.#links.get(link);
    if (on === undefined || on.state !== 'following') return;
    this.counts.gaps += 1;
    this.#ask(on, nowMs);
  }

  /** The node would not answer this ping or subscription now (no majority, too many subscribers): try again after a while. */
  refused(link: number, id: number, nowMs: number): void {
    this.#links.get(link)?.refused(id, nowMs + this.#pingEveryMs);
  }

  /** The connection is gone. What hung on it is served until its bound ends, or until another link replays what it missed. */
  closed(link: number): void {
    const on = this.#links.get(link);
    if (on === undefined) return;
    for (const range of on.ranges) this.#detach(range);
    this.#links.delete(link);
  }

  /** Sends what is due; returns the milliseconds until it wants to be called again. */
  tick(nowMs: number): number {
    let nextMs = nowMs + this.#pingEveryMs;
    for (const link of this.#links.values()) {
      if (link.isSilent(nowMs, this.#answerWithinMs)) {
        this.#effects.push({ kind: 'reconnect', link: link.id });
      } else if (nowMs >= link.nextPingMs) {
        if (link.state === 'following') this.#ping(link, nowMs);
        else if (link.askedId === 0) this.#ask(link, nowMs);
      }
      if (link.nextPingMs > nowMs) nextMs = Math.min(nextMs, link.nextPingMs);
    }
    return nextMs - nowMs;
  }

  /** Of when an answer is proof: of when its ping was sent, never of when it arrived. */
  protected provenAsOf(sentMs: number): number {
    return sentMs;
  }

  /** What is to be sent, in order. The caller owns the array. */
  takeEffects(): FollowerEffect[] {
    const effects = this.#effects;
    if (effects.length > 0) this.#effects = [];
    return effects;
  }

  /** Throws unless the structure is whole. */
  invariants(): void {
    for (const range of this.#ranges) {
      assert(range.mark <= this.time || range.mark === Number.POSITIVE_INFINITY, 'follower: a mark from the future');
      assert(range.link === null || range.link.ranges.has(range), 'follower: a range that its link does not know');
      assert(
        range.link === null || this.#links.get(range.link.id) === range.link,
        'follower: a range on a closed link',
      );
    }
    for (const link of this.#links.values()) {
      for (const range of link.ranges) assert(range.link === link, 'follower: a link with the range of another');
      assert(link.isWhole, 'follower: a link beyond its bounds');
    }
  }

  // -- within

  /** What a record means. Applied exactly once, in the order of the link. */
  #apply(on: Link, at: number, ballot: Ballot, number: number, kind: number, name: string): boolean {
    this.time += 1;
    switch (kind) {
      case KEY: {
        const range = this.#range(at);
        if (range.link === on && sameBallot(range.ballot, ballot)) this.#count(range, number);
        this.keys.note(name, this.time);
        return true;
      }
      case TAG:
        this.#countWide(on, ballot, number);
        this.tags.note(name, this.time);
        return false;
      case NAMESPACE:
        this.#countWide(on, ballot, number);
        this.namespaces.note(name, this.time);
        return false;
      case CLEAR:
        this.#countWide(on, ballot, number);
        for (const range of on.ranges) this.#suspect(range);
        return false;
      case BEGIN:
        this.#attach(this.#range(at), on, ballot, number, false);
        return false;
      case END: {
        const range = this.#range(at);
        if (range.link !== on || !sameBallot(range.ballot, ballot)) return false;
        // Nobody vouches for it until its next owner does, and what happens to everything (a flush) is no longer said to it here.
        this.#suspect(range);
        this.#detach(range);
        return false;
      }
      case BARRIER:
        this.#countWide(on, ballot, number);
        this.#effects.push({ kind: 'acknowledge', link: on.id, applied: on.applied });
        return false;
      default:
        // A kind from a later version: what it invalidates is not known, so everything of this node may be concerned.
        for (const range of on.ranges) this.#suspect(range);
        return false;
    }
  }

  /** The link's seq has no hole, so a hole in the range's numbers is a bug of the node: distrust rather than count on. */
  #count(range: Range, number: number): void {
    if (number <= range.number) return; // a replay that began earlier for the sake of another range
    if (number !== range.number + 1) this.#suspect(range);
    range.number = number;
  }

  #countWide(on: Link, ballot: Ballot, number: number): void {
    const wide = this.#wide.get(on.peer);
    if (wide === undefined || !sameBallot(wide.ballot, ballot) || number <= wide.number) return;
    if (number !== wide.number + 1) for (const range of on.ranges) this.#suspect(range);
    wide.number = number;
  }

  /** The range hangs on this link now. False: we know of a higher ballot, this owner has been deposed. */
  #attach(range: Range, on: Link, ballot: Ballot, number: number, replay: boolean): boolean {
    if (range.ballot !== null && compareBallots(ballot, range.ballot) < 0) {
      this.counts.superseded += 1;
      return false;
    }
    const continues = replay && sameBallot(range.ballot, ballot);
    if (range.link !== on) {
      this.#detach(range);
      range.link = on;
      on.ranges.add(range);
    }
    range.ballot = ballot;
    if (continues) this.counts.replays += 1;
    else {
      range.number = number;
      this.#suspect(range);
    }
    return true;
  }

  #detach(range: Range): void {
    if (range.link === null) return;
    range.asOfMs = Math.max(range.asOfMs, range.link.asOfMs);
    range.link.ranges.delete(range);
    range.link = null;
  }

  /** Everything of this range that was read before now may have missed an invalidation. */
  #suspect(range: Range): void {
    this.time += 1;
    range.mark = this.time;
    this.counts.suspects += 1;
  }

  /** Asks for the records from our positions on; until the answer nothing on this link counts. */
  #ask(on: Link, nowMs: number): void {
    this.#lastId += 1;
    on.asked(this.#lastId, nowMs);
    const positions: Position[] = [];
    const wide = this.#wide.get(on.peer);
    if (wide !== undefined) positions.push({ range: WIDE, ...wide });
    this.#ranges.forEach(({ ballot, number }, range) => {
      if (ballot !== null) positions.push({ range, ballot, number });
    });
    this.#effects.push({ kind: 'subscribe', link: on.id, id: on.askedId, boundMs: this.boundMs, positions });
  }

  #ping(on: Link, nowMs: number): void {
    this.#lastId += 1;
    on.pinged(this.#lastId, nowMs, nowMs + this.#pingEveryMs);
    this.#effects.push({ kind: 'ping', link: on.id, id: this.#lastId, applied: on.applied });
  }

  #prove(on: Link, sentMs: number): void {
    if (sentMs > Number.NEGATIVE_INFINITY) on.asOfMs = Math.max(on.asOfMs, this.provenAsOf(sentMs));
  }

  #range(index: number): Range {
    const range = this.#ranges[index];
    assert(range !== undefined, 'a range beyond the number of ranges');
    return range;
  }
}
