/**
 * What the node says to sessions unasked: records of the invalidation feed, "it is everywhere now", and the outcome of another caller's
 * lease. The rules of the feed are in freshness/feed.ts; here they meet sessions and bytes.
 *
 * Nothing is queued per subscriber: a follower is a cursor in the feed's log, and what is written for it is read from there when its
 * connection has room. One that is too slow loses its place and is told `gap`. Of the other messages a session has at most as many as it asked for.
 *
 * The feed is made when the first session subscribes. Before that an invalidation costs one comparison (`Freshness.listener` is
 * null): nobody holds a position in a log that nobody has read.
 *
 * The server asks `hasDue` after each chunk and each tick, and lets `write` fill its buffer for each session of `takeDue`.
 */
import { above, type Ballot, formatBallot } from '../base/ballot.ts';
import { InvalidationFeed, type Subscriber, type Subscription } from '../freshness/feed.ts';
import { KIND_NAMES, type Position } from '../freshness/feed-kinds.ts';
import type { FeedRecord } from '../freshness/feed-ring.ts';
import type { Freshness, InvalidationListener } from '../freshness/freshness.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { LeaseWaiters } from './lease-waiters.ts';
import type { Notice, Session } from './session.ts';

/** A lone node owns everything: one range. */
const RANGE = 0;
/** A longer tag or namespace goes out as "everything": the log keeps names contiguous and its room is bounded. */
const LONGEST_NAME_BYTES = 65_536;
/** Of one session, not yet sent. */
const MAX_NOTICES = 65_536;
/** How soon a tick is wanted while somebody waits for "everywhere". */
const WAITING_TICK_MS = 10;

export class Pushes implements InvalidationListener {
  readonly #freshness: Freshness;
  readonly leaseWaiters: LeaseWaiters;
  readonly #run: Ballot;
  /** Followers of before (of an earlier run, or of who owned before us) are not known here since then. */
  #sinceMs: number;
  readonly #feedRecords: number | undefined;
  #feed: InvalidationFeed | null = null;
  /** By the subscriber's id. */
  readonly #followers = new Map<number, Session>();
  /** Who asked to be told when something is everywhere, by the feed's waiter id, and under which number of its own. */
  readonly #waiters = new Map<number, { readonly session: Session; readonly id: number }>();
  #lastWaiter = 0;
  /** The feed's head when its followers were last collected by `takeDue`. */
  #collected = 0;
  /** Sessions with something else to be told, or with records that were there before they came. */
  readonly #due = new Set<Session>();
  readonly #settled: number[] = [];
  readonly #silent: Subscriber[] = [];
  readonly #record: FeedRecord;

  /** @param run a ballot that no earlier run of this node had @param feedRecords records kept for followers that are behind */
  constructor(freshness: Freshness, run: Ballot, startedMs: number, feedRecords?: number) {
    this.#freshness = freshness;
    this.#run = run;
    this.leaseWaiters = new LeaseWaiters(freshness.leases, (session, key, end) =>
      this.#tell(session, { kind: 'lease', key, end }),
    );
    this.#sinceMs = startedMs;
    this.#feedRecords = feedRecords;
    this.#record = {
      seq: 0,
      range: 0,
      ballot: run,
      number: 0,
      kind: 0,
      bytes: new Uint8Array(0),
      start: 0,
      length: 0,
    };
  }

  // -- what happened (InvalidationListener)

  key(bytes: Uint8Array, start: number, length: number): void {
    // No entry has a longer key.
    if (length <= LONGEST_NAME_BYTES) this.#feed?.publishKey(RANGE, bytes, start, length);
  }

  tag(bytes: Uint8Array, start: number, length: number): void {
    if (length > LONGEST_NAME_BYTES) this.clear();
    else this.#feed?.publishTag(bytes, start, length);
  }

  namespace(bytes: Uint8Array, start: number, length: number): void {
    if (length > LONGEST_NAME_BYTES) this.clear();
    else this.#feed?.publishNamespace(bytes, start, length);
  }

  clear(): void {
    this.#feed?.publishClear();
  }

  /** A member of a cluster owns something from now on that another one has owned, whose followers may trust what they have for one bound still. */
  inherit(nowMs: number): void {
    if (nowMs > this.#sinceMs) this.#sinceMs = nowMs;
    this.#feed?.inherit(nowMs);
  }

  // -- what sessions ask (BW.FEED)

  subscribe(session: Session, positions: readonly Position[], boundMs: number, nowMs: number): Subscription {
    const feed = this.#open();
    let answer = feed.subscribe(positions, boundMs, nowMs, session.follower);
    if (answer.kind === 'surpassed') {
      // Our clock stood earlier at this start than at an earlier one. There is no other owner: reign above it.
      feed.begin(RANGE, above(answer.ballot, this.#run.node), nowMs);
      answer = feed.subscribe(positions, boundMs, nowMs, session.follower);
    }
    if (answer.kind === 'following') {
      session.follower = answer.subscriber;
      session.toldGap = false;
      this.#followers.set(answer.subscriber.id, session);
      this.#due.add(session);
    }
    return answer;
  }

  /** The seq that proves this ping; negative as `InvalidationFeed.ping`, which see. */
  ping(subscriber: Subscriber, applied: number, nowMs: number): number {
    return this.#open().ping(subscriber, applied, nowMs);
  }

  acknowledge(subscriber: Subscriber, applied: number): void {
    this.#feed?.acknowledge(subscriber, applied);
  }

  /** Good-bye: it has stopped serving from its L1. */
  unsubscribe(session: Session): void {
    if (session.follower === null) return;
    this.#followers.delete(session.follower.id);
    this.#feed?.unsubscribe(session.follower);
    session.follower = null;
  }

  /** It is gone, or listens no longer, without a good-bye: it counts until its trust has run out. */
  lost(session: Session): void {
    this.#due.delete(session);
    session.notices.length = 0;
    if (session.hasLeases) this.#freshness.leases.abandon(session.id);
    session.hasLeases = false;
    if (session.follower === null) return;
    this.#followers.delete(session.follower.id);
    this.#feed?.lost(session.follower);
    session.follower = null;
  }

  /** Asks that all that was invalidated so far be everywhere; if it is not yet, the session is told under `id` when it is. */
  everywhere(session: Session, id: number, nowMs: number): 'done' | 'waiting' | 'full' {
    this.#lastWaiter += 1;
    const answer = this.#open().awaitEverywhere(this.#lastWaiter, nowMs);
    if (answer === 'waiting') this.#waiters.set(this.#lastWaiter, { session, id });
    return answer;
  }

  /** At the next occasion. A session has as many of these as it asked for, or its connection does not read and it must ask again. */
  #tell(session: Session, notice: Notice): void {
    if (session.notices.length < MAX_NOTICES) session.notices.push(notice);
    this.#due.add(session);
  }

  // -- what the node drives

  /** Is there anything to send? */
  get hasDue(): boolean {
    return this.#due.size !== 0 || (this.#feed !== null && this.#feed.head !== this.#collected);
  }

  /** After each batch of requests: whose invalidations are everywhere by now? One comparison while nobody waits. */
  settle(nowMs: number): void {
    if (this.#waiters.size === 0) return;
    this.#feed?.settled(nowMs, this.#settled);
    for (const waiter of this.#settled) {
      const asked = this.#waiters.get(waiter);
      this.#waiters.delete(waiter);
      if (asked !== undefined && !asked.session.closing) {
        this.#tell(asked.session, { kind: 'everywhere', id: asked.id });
      }
    }
    this.#settled.length = 0;
  }

  /** Time passes. Returns the milliseconds until it wants to be called again. */
  tick(nowMs: number): number {
    if (this.#feed === null) return Number.POSITIVE_INFINITY;
    this.settle(nowMs);
    this.#feed.tick(nowMs, this.#silent);
    for (const subscriber of this.#silent) {
      // Its next ping is told FEEDGAP.
      const session = this.#followers.get(subscriber.id);
      if (session !== undefined) session.follower = null;
      this.#followers.delete(subscriber.id);
    }
    this.#silent.length = 0;
    return this.#waiters.size === 0 ? Number.POSITIVE_INFINITY : WAITING_TICK_MS;
  }

  /** The sessions that something is to be written for, each once. O(subscribers) when the feed has moved. */
  takeDue(): Session[] {
    const sessions = new Set(this.#due);
    this.#due.clear();
    if (this.#feed !== null && this.#feed.head !== this.#collected) {
      this.#collected = this.#feed.head;
      for (const session of this.#followers.values()) sessions.add(session);
    }
    return [...sessions];
  }

  /** Appends what is due for `session` until `out` reaches `limit` bytes. True when there is more. */
  write(session: Session, out: ReplyWriter, limit: number): boolean {
    if (session.protocol !== 3) {
      // It went back to RESP2 (HELLO 2, RESET), which has no way to say these things.
      this.lost(session);
      return false;
    }
    const { notices, follower } = session;
    let told = 0;
    while (told < notices.length && out.length < limit) {
      writeNotice(notices[told]!, out);
      told += 1;
    }
    notices.splice(0, told);
    if (notices.length > 0) return true;
    if (follower === null || this.#feed === null) return false;
    const record = this.#record;
    while (out.length < limit) {
      if (!this.#feed.take(follower, record)) {
        if (follower.state === 'cut' && !session.toldGap) {
          session.toldGap = true;
          out.push(2);
          out.bulkText('bw.feed');
          out.bulkText('gap');
        }
        return false;
      }
      writeRecord(record, out);
    }
    return this.#feed.lag(follower) > 0;
  }

  /** For BW.STATS and /metrics. */
  get stats(): PushStats {
    const feed = this.#feed;
    const none = { published: 0, replays: 0, gaps: 0, cuts: 0, refused: 0, silent: 0 };
    return {
      subscribers: feed?.subscribers ?? 0,
      head: feed?.head ?? 0,
      ...(feed === null ? NO_PROGRESS : feed.progress()),
      waiters: feed?.waiters ?? 0,
      ...(feed === null ? none : feed.counts),
    };
  }

  #open(): InvalidationFeed {
    if (this.#feed === null) {
      // As of then: followers of before may trust what they have until one bound after it.
      this.#feed = new InvalidationFeed({
        run: this.#run,
        nowMs: this.#sinceMs,
        // Room for names goes with the records, and any one name fits.
        ...(this.#feedRecords === undefined
          ? {}
          : { maxRecords: this.#feedRecords, maxNameBytes: LONGEST_NAME_BYTES + 32 * this.#feedRecords }),
      });
      this.#feed.begin(RANGE, this.#run, this.#sinceMs);
      this.#collected = this.#feed.head;
      this.#freshness.listener = this;
    }
    return this.#feed;
  }
}

const NO_PROGRESS = { acknowledged: 0, lag: 0, sizeBytes: 0 };

export interface PushStats {
  readonly subscribers: number;
  /** Sequence number of the last record; what the slowest follower has acknowledged, and how many it has not been sent. */
  readonly head: number;
  readonly acknowledged: number;
  readonly lag: number;
  /** Memory of the feed; 0 until somebody follows. */
  readonly sizeBytes: number;
  /** Invalidations that are not known to be everywhere yet. */
  readonly waiters: number;
  readonly published: number;
  readonly replays: number;
  readonly gaps: number;
  readonly cuts: number;
  readonly refused: number;
  readonly silent: number;
}

function writeRecord(record: FeedRecord, out: ReplyWriter): void {
  out.push(8);
  out.bulkText('bw.feed');
  out.integer(record.seq);
  out.integer(record.range);
  out.bulkText(formatBallot(record.ballot));
  out.integer(record.number);
  out.bulkText(KIND_NAMES[record.kind] ?? 'unknown');
  out.bulk(record.bytes, record.start, record.length);
  out.nullBulk();
}

function writeNotice(notice: Notice, out: ReplyWriter): void {
  switch (notice.kind) {
    case 'everywhere':
      out.push(2);
      out.bulkText('bw.everywhere');
      out.integer(notice.id);
      return;
    case 'lease':
      out.push(3);
      out.bulkText('bw.lease');
      out.bulk(notice.key, 0, notice.key.length);
      out.bulkText(notice.end);
      return;
  }
}
