/**
 * Requests that wait for a range to have its owner: while a range changes hands nobody may answer for it, for the few milliseconds that a hand-over takes. Were they refused, every client would have to
 * know what `-TRYAGAIN` means, and those that do wait longer than the hand-over lasts.
 *
 *   client   GET a | SET b 1              the range of `a` is frozen
 *   parser         ^ taken back           nothing of it was done; nothing behind it is looked at, so replies keep their order
 *   session  halted                       its connection is read no further
 *   ...      somebody reigns, or the hand-over was given up, or `holdMs` has passed: the parser goes on where it stood, and the guard is asked anew
 *
 * What waits is therefore a request like one whose bytes have not arrived, and every rule is checked when it is executed. Whoever disconnects while waiting has asked for nothing.
 *
 * Bounds: sessions, and bytes that have arrived from them; one more is told `-TRYAGAIN` at once, as is one that has waited `holdMs`.
 */
import { assert } from '../base/assert.ts';
import type { NodeSession } from './node-session.ts';

/** Sessions that wait. */
export const MAX_HELD = 4096;
/** Of requests that they have sent, the last read left out of account. */
export const MAX_HELD_BYTES = 32 * 1024 * 1024;

/** Plain numbers that only grow. */
export interface HoldCounts {
  /** Requests that had to wait. */
  held: number;
  /** Of these: waited in vain, and were told to try again. */
  expired: number;
  /** Refused at once, since too many waited. */
  refused: number;
  /** Milliseconds for which they waited, all of them together, and the longest. */
  waitedMs: number;
  longestMs: number;
}

interface Held {
  readonly session: NodeSession;
  readonly range: number;
}

export class HeldRequests {
  readonly counts: HoldCounts = { held: 0, expired: 0, refused: 0, waitedMs: 0, longestMs: 0 };
  readonly #holdMs: number;
  readonly #held = new Map<NodeSession, Held>();
  #bytes = 0;

  constructor(holdMs: number) {
    this.#holdMs = holdMs;
  }

  get size(): number {
    return this.#held.size;
  }

  /** May the session's request wait for the range? It has not been taken back yet: `take` follows. */
  mayWait(session: NodeSession, nowMs: number): boolean {
    if (session.heldUntilMs !== 0) {
      if (nowMs < session.heldUntilMs) return true;
      this.counts.expired += 1;
      return false;
    }
    if (this.#held.size < MAX_HELD && this.#bytes < MAX_HELD_BYTES) return true;
    this.counts.refused += 1;
    return false;
  }

  /** Takes the request back that the session's parser has just handed out. Nothing more of the session is executed. */
  take(session: NodeSession, range: number, nowMs: number): void {
    assert(!this.#held.has(session), 'a session waits for one range at a time');
    if (session.heldUntilMs === 0) {
      session.heldUntilMs = nowMs + this.#holdMs;
      this.counts.held += 1;
    }
    session.parser.unread();
    session.requests -= 1;
    session.halted = true;
    this.#held.set(session, { session, range });
    // Of earlier chunks; what of this one is behind it is a read at most.
    this.#bytes += session.inputBytes;
  }

  /** The request that waited was executed, or refused. */
  done(session: NodeSession, nowMs: number): void {
    const waitedMs = Math.max(0, nowMs - (session.heldUntilMs - this.#holdMs));
    this.counts.waitedMs += waitedMs;
    this.counts.longestMs = Math.max(this.counts.longestMs, waitedMs);
    session.heldUntilMs = 0;
  }

  isHeld(session: NodeSession): boolean {
    return this.#held.has(session);
  }

  /** The sessions that go on: their range changes hands no more, or they have waited long enough. */
  release(isChanging: (range: number) => boolean, nowMs: number): readonly NodeSession[] {
    const freed: NodeSession[] = [];
    const known = new Map<number, boolean>();
    this.#bytes = 0;
    for (const { session, range } of this.#held.values()) {
      let waits = known.get(range);
      if (waits === undefined) {
        waits = isChanging(range);
        known.set(range, waits);
      }
      if (waits && nowMs < session.heldUntilMs) {
        this.#bytes += session.inputBytes;
        continue;
      }
      this.#held.delete(session);
      freed.push(session);
    }
    return freed;
  }

  /** Its connection is gone. */
  forget(session: NodeSession): void {
    this.#held.delete(session);
  }

  invariants(): void {
    assert(this.#held.size <= MAX_HELD, 'held: sessions are bounded');
    for (const { session } of this.#held.values()) assert(session.halted, 'held: nothing more of it is executed');
  }
}
