/**
 * When a member counts as dead before it was silent for T: the crash fast path (docs/decisions/0021).
 *
 *   its link to us was there and has closed, and two dials of its port in a row, `GAP_MS` apart, were refused by the machine at its address: no process listens there
 *
 * What that proves rests on how a member ends: it listens before it serves anything, and closes its listener only when it has renounced everything (`core.ts` `retire`) or with its process. A machine that
 * refuses in the place of another (a proxy, NAT, a firewall that resets, an address that has wandered) is what this must not be used behind, and why it is off unless asked for.
 *
 *   - a connection that is reset while the process lives: the dial is accepted, nothing follows
 *   - a dial that is accepted, by whomever, proves nothing and undoes the refusal before it. It may have come in between the closing of the process's sockets: so it is dialled again, for half a second at most
 *   - a dial without an answer, or that breaks, proves nothing either, and counts as one that was accepted: the machine may be gone, or the way to it, or it came when the port was being closed
 *   - a link of its own, or a heartbeat, ends all of it (the second is the voter's to see)
 *
 * It has neither sockets nor a clock: whoever dials says what came of it, and is told when to dial next.
 */
import type { NodeId } from './member.ts';

/** Between a dial that was refused and the next. */
export const GAP_MS = 5;
/** Refusals in a row. */
const REFUSALS = 2;
/** After an accepted dial the pause is doubled each time: the last is half a second behind the first. */
const MOST_DIALS = 8;

interface Closed {
  refused: number;
  dials: number;
  gapMs: number;
}

export class Refusals {
  readonly #closed = new Map<NodeId, Closed>();

  /** Its link to us has closed: it is to be dialled now. */
  onClosed(id: NodeId): void {
    this.#closed.set(id, { refused: 0, dials: 0, gapMs: GAP_MS });
  }

  /** It has a link to us: whatever we thought, it lives. */
  onLinked(id: NodeId): void {
    this.#closed.delete(id);
  }

  /** What came of a dial: it is gone; or in how many milliseconds to dial again; or null: T will tell. */
  onDialled(id: NodeId, outcome: 'refused' | 'accepted' | 'nothing'): 'gone' | number | null {
    const closed = this.#closed.get(id);
    if (closed === undefined) return null;
    closed.dials += 1;
    closed.refused = outcome === 'refused' ? closed.refused + 1 : 0;
    if (closed.refused >= REFUSALS) {
      this.#closed.delete(id);
      return 'gone';
    }
    if (closed.dials >= MOST_DIALS) {
      this.#closed.delete(id);
      return null;
    }
    if (outcome === 'refused') return GAP_MS;
    closed.gapMs *= 2;
    return closed.gapMs;
  }
}
