/**
 * The node's side of the invalidation feed: what every L1 in the world must hear, in order, and when all of them have.
 *
 * An L1 is a copy in somebody else's process. To keep it right there are two usual ways, and each lies in its own manner. Publish and
 * forget (Redis pub/sub, the "bus" of the common libraries): a message that is lost is never missed, and the copy is wrong
 * until its TTL. Or ask the server at each read: then it is no L1. Here every invalidation has a number, so that a follower
 * knows what it lacks, and a follower serves only while it knows that it lacks nothing that is older than its bound.
 *
 *   (range, ballot, number)   names an invalidation for good: the n-th of this range in this reign. A follower that comes back asks
 *                             for what follows its numbers, and gets it, or is told "gap": too old, another reign, from the future.
 *   seq                       counts what this member publishes, over all ranges. A link is complete up to the seq it has
 *                             applied; one integer in a ping's answer says what "complete" is.
 *
 * What a ping's answer promises. The follower's ping carries nothing but its name; the answer carries `head`, the seq published last. All
 * that was acknowledged before the *answer* has a seq up to head; the ping was *sent* before that. So a follower that has applied everything
 * up to head knows all that had happened when it sent the ping, by its own clock, whatever delay the two messages had:
 *
 *   1. L1 sends a ping at its 1000.          2. The node answers head = 41. The answer is stuck for 10 s.
 *   3. A key is invalidated: 42; the link to the L1 is cut, 42 is lost.
 *   4. The answer arrives at 11000. Counted from its arrival the L1 would be "fresh as of 11000" and serve what 42 removed.
 *      Counted from its sending it is fresh as of 1000, long beyond its bound, and bypassed.
 *
 * `wait: 'everywhere'`. At the answer to a ping the node notes how long this subscriber can trust it at most: answer + bound, a little more
 * for clocks that run differently (DRIFT). An invalidation is everywhere when each subscriber acknowledged it or the trust it had *at the time of the
 * publication* ran out; a later ping cannot renew it past the invalidation, because its answer's head would include it. So the wait
 * ends within one bound whoever is dead, and no clock of another machine is read. Subscribers that vanished leave their end of
 * trust behind (one number for all). After a takeover or a restart the subscribers of the one before are unknown: one full bound.
 *
 * Doors, driven by node/ and by the simulator: `publish` and `begin` / `end` at each effect, `subscribe` / `ping` / `acknowledge` /
 * `unsubscribe` / `lost` at requests, `take` while a socket has room, `settled` and `tick` by time. `nowMs` must be read *after* the request arrived: an
 * older reading would end a trust too early.
 *
 * Costs: publish is O(1), allocates nothing, and costs a few additions until the first subscriber comes (about 0.15 microseconds afterwards). A subscriber is one
 * small object and a cursor, never a queue (`feed-ring.ts`). Subscribe scans the ring once. Settle is O(subscribers), only while somebody waits.
 * Bounds: subscribers, waiters, records and bytes; each full one has an answer.
 */
import { assert } from '../base/assert.ts';
import { type Ballot, compareBallots, sameBallot } from '../base/ballot.ts';
import {
  BARRIER,
  BEGIN,
  CLEAR,
  DRIFT,
  END,
  KEY,
  NAMESPACE,
  type Position,
  type StreamStart,
  TAG,
  WIDE,
} from './feed-kinds.ts';
import { type FeedRecord, FeedRing } from './feed-ring.ts';

export interface FeedOptions {
  /** The ballot of this run of this member: one that no earlier run had. */
  readonly run: Ballot;
  readonly nowMs: number;
  /** Records kept for followers that are behind, rounded up to a power of two. Default 65,536. */
  readonly maxRecords?: number;
  /** Bytes of names kept with them. Default 2 MiB; at least the longest key. */
  readonly maxNameBytes?: number;
  /** Default 10,000. The next one is refused. */
  readonly maxSubscribers?: number;
  /** Invalidations waiting to be everywhere. Default 10,000. The next one is refused. */
  readonly maxWaiters?: number;
  /** Longest staleness bound that a follower may ask for; what a takeover costs a wait. Default 1000 ms. */
  readonly maxBoundMs?: number;
}

/** One L1 that follows. Read it, but let the feed write it. */
export interface Subscriber {
  readonly id: number;
  /** For how long it trusts what it has, after the ping that told it so. */
  boundMs: number;
  /** The last record taken for it. */
  cursor: number;
  /** It applied everything up to here. */
  acknowledged: number;
  /** It serves nothing from before, unless it applied what came since, after this moment. */
  trustUntilMs: number;
  heardMs: number;
  /** `cut`: it was too slow, the log has moved on; it must subscribe anew. */
  state: 'following' | 'cut' | 'gone';
}

export type Subscription =
  | {
      readonly kind: 'following';
      readonly subscriber: Subscriber;
      /** Records come from the next one on. */
      readonly seq: number;
      /** Every stream that this member has. What is not among them, it does not own. */
      readonly streams: readonly StreamStart[];
    }
  /** The follower has seen a higher ballot of this range: we are deposed, or a lone node that must begin above it. */
  | { readonly kind: 'surpassed'; readonly range: number; readonly ballot: Ballot }
  | { readonly kind: 'refused'; readonly reason: 'full' | 'bound' | 'paused' };

/** The answer to a ping that is no number. */
export const CUT = -1;
export const PAUSED = -2;

interface Stream {
  readonly range: number;
  readonly ballot: Ballot;
  number: number;
  /** Followers of the owner before may trust what they have until then. */
  readonly inheritedTrustUntilMs: number;
}

interface Waiter {
  readonly id: number;
  readonly seq: number;
  readonly untilMs: number;
  /** Subscribers that nobody can ask any more (vanished, or of an earlier owner) may trust what they have until then. */
  readonly unaskableUntilMs: number;
}

/** A subscriber that has not been heard for so many of its bounds is forgotten; its trust ran out long before. */
const SILENT_BOUNDS = 20;
const NOTHING = new Uint8Array(0);

export class InvalidationFeed {
  readonly #ring: FeedRing;
  readonly #streams = new Map<number, Stream>();
  readonly #subscribers = new Map<number, Subscriber>();
  readonly #waiters: Waiter[] = [];
  readonly #maxSubscribers: number;
  readonly #maxWaiters: number;
  readonly #maxBoundMs: number;
  readonly #wide: Stream;
  #lastId = 0;
  /** The latest end of trust of all subscribers that went away without a word. */
  #departedUntilMs: number;
  /** Somebody has subscribed once: records are worth keeping. */
  #followed = false;
  #paused = false;

  /** Counters that only grow; for metrics. */
  readonly counts = { published: 0, replays: 0, gaps: 0, cuts: 0, refused: 0, silent: 0 };

  constructor(options: FeedOptions) {
    this.#ring = new FeedRing(options.maxRecords ?? 65_536, options.maxNameBytes ?? 2 * 1024 * 1024);
    this.#maxSubscribers = options.maxSubscribers ?? 10_000;
    this.#maxWaiters = options.maxWaiters ?? 10_000;
    this.#maxBoundMs = options.maxBoundMs ?? 1000;
    this.#departedUntilMs = Number.NEGATIVE_INFINITY;
    this.#wide = this.#newStream(WIDE, options.run, options.nowMs);
  }

  /** Sequence number of what was published last. */
  get head(): number {
    return this.#ring.head;
  }

  get subscribers(): number {
    return this.#subscribers.size;
  }

  get waiters(): number {
    return this.#waiters.length;
  }

  /** Records a subscriber still has to take: its lag. */
  lag(subscriber: Subscriber): number {
    return this.#ring.head - subscriber.cursor;
  }

  /** Of the slowest subscriber: what it has acknowledged, and how many records it has not taken. Memory of the ring. O(subscribers). */
  progress(): { readonly acknowledged: number; readonly lag: number; readonly sizeBytes: number } {
    let acknowledged = this.#ring.head;
    let lag = 0;
    for (const subscriber of this.#subscribers.values()) {
      acknowledged = Math.min(acknowledged, subscriber.acknowledged);
      lag = Math.max(lag, this.lag(subscriber));
    }
    return { acknowledged, lag, sizeBytes: this.#ring.sizeBytes };
  }

  // -- what this member owns

  /** This member owns `range` from now on. The ballot must be higher than the last it had for it. */
  begin(range: number, ballot: Ballot, nowMs: number): void {
    assert(range >= 0, 'only ranges of slots have owners');
    const before = this.#streams.get(range);
    assert(before === undefined || compareBallots(before.ballot, ballot) < 0, 'a ballot must grow');
    const stream = this.#newStream(range, ballot, nowMs);
    this.#append(stream, BEGIN, NOTHING, 0, 0);
  }

  /** This member owns `range` no longer: its followers stop trusting it as soon as they hear, and no ping vouches for it from now on. */
  end(range: number): void {
    const stream = this.#streams.get(range);
    assert(stream !== undefined && range >= 0, 'a range that is not owned cannot end');
    this.#append(stream, END, NOTHING, 0, 0);
    this.#streams.delete(range);
  }

  /** This member is not sure that it owns what it owns (no majority within F): no ping is answered until {@link resume}. */
  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
  }

  /**
   * This member owns from now on what somebody else has owned: whose followers are not known here, and may trust what they have for one bound still. Until then nothing is said to be everywhere.
   * For members whose feed has one range for all that they own.
   */
  inherit(nowMs: number): void {
    this.#departedUntilMs = Math.max(this.#departedUntilMs, nowMs + this.#maxBoundMs * DRIFT);
  }

  // -- invalidations

  /** A key of an owned range was deleted, or overwritten by what may be newer. Returns its seq. */
  publishKey(range: number, key: Uint8Array, start: number, length: number): number {
    const stream = this.#streams.get(range);
    assert(stream !== undefined && range >= 0, 'an invalidation in a range that is not owned');
    stream.number += 1;
    return this.#append(stream, KEY, key, start, length);
  }

  publishTag(tag: Uint8Array, start: number, length: number): number {
    return this.#publishWide(TAG, tag, start, length);
  }

  publishNamespace(namespace: Uint8Array, start: number, length: number): number {
    return this.#publishWide(NAMESPACE, namespace, start, length);
  }

  publishClear(): number {
    return this.#publishWide(CLEAR, NOTHING, 0, 0);
  }

  /**
   * Asks that everything published up to now be everywhere. `waiter` is the caller's own id, answered by {@link settled}.
   *
   * @returns `done`: it is, already; `waiting`; `full`: too many wait, the caller must refuse
   */
  awaitEverywhere(waiter: number, nowMs: number): 'done' | 'waiting' | 'full' {
    let untilMs = this.#departedUntilMs;
    for (const stream of this.#streams.values()) untilMs = Math.max(untilMs, stream.inheritedTrustUntilMs);
    const unaskableUntilMs = untilMs;
    for (const subscriber of this.#subscribers.values()) untilMs = Math.max(untilMs, this.trustedUntil(subscriber));
    if (untilMs <= nowMs) return 'done';
    if (this.#waiters.length >= this.#maxWaiters) return 'full';
    const seq = this.#publishWide(BARRIER, NOTHING, 0, 0);
    this.#waiters.push({ id: waiter, seq, untilMs, unaskableUntilMs });
    return 'waiting';
  }

  /** Appends to `out` the waiters whose invalidations are everywhere now. Call after each batch of requests and at each tick. */
  settled(nowMs: number, out: number[]): void {
    if (this.#waiters.length === 0) return;
    let acknowledged = Number.POSITIVE_INFINITY;
    for (const subscriber of this.#subscribers.values()) {
      if (this.trustedUntil(subscriber) > nowMs) acknowledged = Math.min(acknowledged, subscriber.acknowledged);
    }
    let kept = 0;
    for (const waiter of this.#waiters) {
      // Who left since, without a word and without an acknowledgement, must not count as having one.
      const unaskableUntilMs = Math.max(waiter.unaskableUntilMs, this.#departedUntilMs);
      const everybodyAsked = unaskableUntilMs <= nowMs && waiter.seq <= acknowledged;
      if (everybodyAsked || waiter.untilMs <= nowMs) out.push(waiter.id);
      else {
        this.#waiters[kept] = waiter;
        kept += 1;
      }
    }
    this.#waiters.length = kept;
  }

  /** When this subscriber cannot serve anything older than what is published now, acknowledged or not. */
  protected trustedUntil(subscriber: Subscriber): number {
    return subscriber.trustUntilMs;
  }

  // -- followers

  /**
   * A follower begins, or begins again on the same link (`again`). `positions` may name ranges that others own: ignored.
   * O(records held + ranges).
   */
  subscribe(positions: readonly Position[], boundMs: number, nowMs: number, again: Subscriber | null): Subscription {
    if (this.#paused) return this.#refuse('paused');
    if (!(boundMs > 0 && boundMs <= this.#maxBoundMs)) return this.#refuse('bound');
    if (again === null && this.#subscribers.size >= this.#maxSubscribers) return this.#refuse('full');
    for (const position of positions) {
      const stream = this.#streams.get(position.range);
      if (stream === undefined || position.range === WIDE) continue;
      if (compareBallots(position.ballot, stream.ballot) > 0) {
        return { kind: 'surpassed', range: position.range, ballot: position.ballot };
      }
    }
    this.#followed = true;
    const known = new Map(positions.map((position) => [position.range, position]));
    const replayable = this.#replayable(known);
    let seq = this.#ring.head;
    const streams: StreamStart[] = [];
    for (const stream of this.#streams.values()) {
      const from = replayable.get(stream.range);
      const { range, ballot } = stream;
      if (from === undefined) {
        if (known.has(range)) this.counts.gaps += 1;
        streams.push({ range, ballot, number: stream.number, replay: false });
      } else {
        this.counts.replays += 1;
        streams.push({ range, ballot, number: known.get(range)!.number, replay: true });
        seq = Math.min(seq, from - 1);
      }
    }
    const subscriber = again ?? this.#newSubscriber();
    subscriber.boundMs = Math.max(boundMs, again?.boundMs ?? 0);
    subscriber.cursor = seq;
    subscriber.heardMs = nowMs;
    subscriber.state = 'following';
    return { kind: 'following', subscriber, seq, streams };
  }

  /**
   * The follower's heartbeat. The answer is the seq that it must have applied to know all that had happened when it sent
   * this ping; {@link CUT}: it must subscribe anew; {@link PAUSED}: nothing is vouched for at the moment.
   *
   * @param applied the seq up to which it applied everything: an acknowledgement that costs no message
   */
  ping(subscriber: Subscriber, applied: number, nowMs: number): number {
    subscriber.heardMs = nowMs;
    if (subscriber.state !== 'following') return CUT;
    this.acknowledge(subscriber, applied);
    if (this.#paused) return PAUSED;
    subscriber.trustUntilMs = Math.max(subscriber.trustUntilMs, nowMs + subscriber.boundMs * DRIFT);
    return this.#ring.head;
  }

  /** It applied everything up to `applied`. What was never sent to it cannot be acknowledged. */
  acknowledge(subscriber: Subscriber, applied: number): void {
    const seq = Math.min(applied, subscriber.cursor);
    if (seq > subscriber.acknowledged) subscriber.acknowledged = seq;
  }

  /** The next record for this subscriber; false when it has all, or was cut off because it was too slow. */
  take(subscriber: Subscriber, into: FeedRecord): boolean {
    if (subscriber.state !== 'following' || subscriber.cursor >= this.#ring.head) return false;
    if (!this.#ring.holds(subscriber.cursor + 1)) {
      subscriber.state = 'cut';
      this.counts.cuts += 1;
      return false;
    }
    subscriber.cursor += 1;
    this.#ring.read(subscriber.cursor, into);
    return true;
  }

  /** It said good-bye, after it stopped trusting what it has: nobody waits for it. */
  unsubscribe(subscriber: Subscriber): void {
    subscriber.state = 'gone';
    this.#subscribers.delete(subscriber.id);
  }

  /** Its connection is gone and it may not know yet: until its trust runs out it counts. */
  lost(subscriber: Subscriber): void {
    if (subscriber.state === 'gone') return;
    this.#departedUntilMs = Math.max(this.#departedUntilMs, this.trustedUntil(subscriber));
    this.unsubscribe(subscriber);
  }

  /** Forgets followers that have been silent for long; appends them to `out`, whose connections are to be closed. O(subscribers). */
  tick(nowMs: number, out: Subscriber[]): void {
    for (const subscriber of this.#subscribers.values()) {
      if (nowMs - subscriber.heardMs <= subscriber.boundMs * SILENT_BOUNDS) continue;
      this.counts.silent += 1;
      this.lost(subscriber);
      out.push(subscriber);
    }
  }

  /** Throws unless the structure is whole. */
  invariants(): void {
    this.#ring.invariants();
    for (const subscriber of this.#subscribers.values()) {
      assert(subscriber.cursor <= this.#ring.head, 'feed: a cursor beyond the head');
      assert(subscriber.acknowledged <= this.#ring.head, 'feed: acknowledged what was not published');
      assert(subscriber.state !== 'gone', 'feed: a subscriber that is gone');
    }
    assert(this.#waiters.length <= this.#maxWaiters, 'feed: too many waiters');
    assert(this.#subscribers.size <= this.#maxSubscribers, 'feed: too many subscribers');
  }

  // -- within

  #newStream(range: number, ballot: Ballot, nowMs: number): Stream {
    const stream = { range, ballot, number: 0, inheritedTrustUntilMs: nowMs + this.#maxBoundMs * DRIFT };
    this.#streams.set(range, stream);
    return stream;
  }

  #newSubscriber(): Subscriber {
    this.#lastId += 1;
    const subscriber: Subscriber = {
      id: this.#lastId,
      boundMs: 0,
      cursor: 0,
      acknowledged: 0,
      trustUntilMs: Number.NEGATIVE_INFINITY,
      heardMs: 0,
      state: 'following',
    };
    this.#subscribers.set(subscriber.id, subscriber);
    return subscriber;
  }

  #refuse(reason: 'full' | 'bound' | 'paused'): Subscription {
    this.counts.refused += 1;
    return { kind: 'refused', reason };
  }

  #publishWide(kind: number, name: Uint8Array, start: number, length: number): number {
    this.#wide.number += 1;
    return this.#append(this.#wide, kind, name, start, length);
  }

  #append(stream: Stream, kind: number, name: Uint8Array, start: number, length: number): number {
    this.counts.published += 1;
    if (!this.#followed) return this.#ring.skip();
    return this.#ring.append(stream.range, stream.ballot, stream.number, kind, name, start, length);
  }

  /**
   * Which of `known` can be continued, and from which seq: the next number is held, or there is none yet. One scan finds each
   * stream's next record.
   */
  #replayable(known: ReadonlyMap<number, Position>): Map<number, number> {
    const found = new Map<number, number>();
    for (const [range, position] of known) {
      const stream = this.#streams.get(range);
      if (stream === undefined || !sameBallot(stream.ballot, position.ballot)) continue;
      if (position.number === stream.number) found.set(range, this.#ring.head + 1);
    }
    for (let seq = this.#ring.tail; seq <= this.#ring.head; seq += 1) {
      const range = this.#ring.rangeAt(seq);
      const position = known.get(range);
      if (position === undefined || found.has(range)) continue;
      if (this.#ring.numberAt(seq) !== position.number + 1) continue;
      if (!sameBallot(this.#ring.ballotAt(seq), position.ballot)) continue;
      if (sameBallot(this.#streams.get(range)?.ballot ?? null, position.ballot)) found.set(range, seq);
    }
    return found;
  }
}
