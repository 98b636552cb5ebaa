/**
 * One link of a follower to one node: how far its records were applied, and of when its pings are proof.
 *
 * A ping's answer names a seq. When everything up to it is applied, all that had happened at the node when the ping was *sent* is
 * known here; an answer that overtakes its records waits. A silence that lasts too long is the sign to give the link up.
 */
import type { Position } from './feed-kinds.ts';

/** What the driver has to send, or do, for the follower. */
export type FollowerEffect =
  | {
      readonly kind: 'subscribe';
      readonly link: number;
      readonly id: number;
      readonly boundMs: number;
      readonly positions: readonly Position[];
    }
  | { readonly kind: 'ping'; readonly link: number; readonly id: number; readonly applied: number }
  | { readonly kind: 'acknowledge'; readonly link: number; readonly applied: number }
  /** Close the link's connection, call `closed`, and `open` another one when it stands. */
  | { readonly kind: 'reconnect'; readonly link: number };

/** Pings without an answer that are remembered; the oldest one's answer would prove least. */
export const MAX_PINGS = 16;

/** `R`: what hangs on the link. */
export class FollowedLink<R> {
  readonly id: number;
  readonly peer: string;
  /** `asking`: a subscription is under way; records and answers of the one before are not listened to. */
  state: 'asking' | 'following' = 'asking';
  /** All records up to here were applied. */
  applied = 0;
  /** All that had happened at the node by then is known. */
  asOfMs = Number.NEGATIVE_INFINITY;
  /** The subscription that waits for its answer; 0: it was refused, ask again at the next tick. */
  askedId = 0;
  nextPingMs: number;
  readonly ranges = new Set<R>();
  /** Since when no answer has come although one was due; Infinity: none is due. */
  #waitingSinceMs = Number.POSITIVE_INFINITY;
  /** When each ping without an answer was sent. */
  readonly #pings = new Map<number, number>();
  /** Answers that wait for records. */
  readonly #early: { readonly head: number; readonly sentMs: number }[] = [];

  constructor(id: number, peer: string, nowMs: number) {
    this.id = id;
    this.peer = peer;
    this.nextPingMs = nowMs;
  }

  /** Answers that wait for records. */
  get early(): number {
    return this.#early.length;
  }

  asked(id: number, nowMs: number): void {
    this.state = 'asking';
    this.askedId = id;
    this.#waitingSinceMs = nowMs;
  }

  /** The subscription was answered: records come from the one after `seq`. */
  following(seq: number): void {
    this.state = 'following';
    this.applied = seq;
    this.#early.length = 0;
    this.#waitingSinceMs = Number.POSITIVE_INFINITY;
  }

  pinged(id: number, nowMs: number, nextPingMs: number): void {
    const oldest = this.#pings.size >= MAX_PINGS ? this.#pings.keys().next().value : undefined;
    if (oldest !== undefined) this.#pings.delete(oldest);
    this.#pings.set(id, nowMs);
    this.#waitingSinceMs = Math.min(this.#waitingSinceMs, nowMs);
    this.nextPingMs = nextPingMs;
  }

  /** The answer to ping `id`. Returns when that ping was sent, if it proves something now; else -Infinity. */
  answered(id: number, head: number): number {
    const sentMs = this.#pings.get(id);
    this.#pings.delete(id);
    if (sentMs === undefined || this.state !== 'following') return Number.NEGATIVE_INFINITY;
    this.#waitingSinceMs = Number.POSITIVE_INFINITY;
    if (head <= this.applied) return sentMs;
    if (this.#early.length < MAX_PINGS) this.#early.push({ head, sentMs });
    return Number.NEGATIVE_INFINITY;
  }

  /** Records were applied up to `applied`. Returns the latest sending that is proof now; else -Infinity. */
  settleEarly(): number {
    let latestMs = Number.NEGATIVE_INFINITY;
    let kept = 0;
    for (const answer of this.#early) {
      if (answer.head <= this.applied) latestMs = Math.max(latestMs, answer.sentMs);
      else {
        this.#early[kept] = answer;
        kept += 1;
      }
    }
    this.#early.length = kept;
    return latestMs;
  }

  /** The node refused ping or subscription `id` for now. */
  refused(id: number, nextPingMs: number): void {
    this.#pings.delete(id);
    if (this.state === 'asking') {
      if (this.askedId !== id) return;
      this.askedId = 0;
    }
    this.#waitingSinceMs = Number.POSITIVE_INFINITY;
    this.nextPingMs = nextPingMs;
  }

  /** Has it been silent for longer than `withinMs`? Says so once. */
  isSilent(nowMs: number, withinMs: number): boolean {
    if (nowMs - this.#waitingSinceMs <= withinMs) return false;
    this.#waitingSinceMs = Number.POSITIVE_INFINITY;
    return true;
  }

  /** True when its bounds hold. */
  get isWhole(): boolean {
    return (
      this.#pings.size <= MAX_PINGS &&
      this.#early.length <= MAX_PINGS &&
      this.#early.every(({ head }) => head > this.applied)
    );
  }
}
