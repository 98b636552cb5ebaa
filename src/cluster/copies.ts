/**
 * The other side of `primary.ts`: the copies that a member holds of ranges that others own.
 *
 * A copy follows one reign at a time, the highest that told it to `begin`, and forgets the reign before in that moment: what its deposed owner still sends is answered
 * with whom it follows now. Within a reign it applies effects in order and says how far it is; that number is a promise, because acknowledgements rest on it.
 *
 * Whether a copy may answer reads is the owner's to say: it asks each `heartbeatMs`, and a yes is good for `readLeaseMs` from the *asking*. The owner that wants to be rid
 * of it stops saying yes and waits that long. So all that was acknowledged before a lease ended is here, and a copy whose lease has ended (the owner is dead, or it was cut off) still knows how far behind it can be: who says
 * how old an answer may be is given one (`lagMs`).
 *
 * A copy that was told nothing (after a start) says so to the owner that counts on it. And it follows nobody before it knows the records of a majority of the voters, and nobody
 * whose record is older than the newest of them. Without that, a copy that lost its memory, and with it the reign that it had followed, can be fed by an owner that was deposed before: still a member of
 * the present set, it would then hold what had been invalidated with its own acknowledgement (found by the simulator, docs/decisions/0017):
 *
 *   1. A owns, is cut off.   2. B takes over with C in its set; a key is deleted, acknowledged by B and C.   3. B and C restart: both are empty, which is right.
 *   4. A, who knows nothing, feeds C, whom nothing tells otherwise.   5. B yields to C, a member of its set. C reigns with what A had.
 */
import { type Ballot, compareBallots, sameBallot } from '../base/ballot.ts';
import type { NodeId } from './member.ts';
import type { Applied, Begin, Effects, Followed, Part, PartAck, Position } from './messages.ts';
import type { RangeStore } from './range-store.ts';
import { NO_BALLOT } from './record.ts';
import { drop, put } from './sorted.ts';
import { DRIFT, type Timing } from './timing.ts';

interface Copy {
  readonly range: number;
  /** Whom it follows; null after a reign of our own, and at first. */
  owner: NodeId | null;
  reign: Ballot;
  session: number;
  applied: number;
  isSyncing: boolean;
  lastPart: number;
  readUntilMs: number;
}

const NEVER = Number.NEGATIVE_INFINITY;

export class Copies {
  readonly #copies: Copy[];
  /** Ranges that follow somebody, in their order. */
  readonly #following: number[] = [];
  readonly #store: RangeStore;
  readonly #timing: Timing;

  constructor(rangeCount: number, store: RangeStore, timing: Timing) {
    this.#store = store;
    this.#timing = timing;
    this.#copies = Array.from({ length: rangeCount }, (_, range) => ({
      range,
      owner: null,
      reign: NO_BALLOT,
      session: 0,
      applied: 0,
      isSyncing: false,
      lastPart: 0,
      readUntilMs: NEVER,
    }));
  }

  /** The reign that it follows, or followed last, or led itself. */
  reignOf(range: number): Ballot {
    return this.#copies[range]!.reign;
  }

  /** Whom it follows, if that one reigns under a ballot above this. */
  leaderAbove(range: number, ballot: Ballot): NodeId | null {
    const { owner, reign } = this.#copies[range]!;
    return owner !== null && compareBallots(reign, ballot) > 0 ? owner : null;
  }

  position(range: number): Position {
    const { reign, session, applied, owner } = this.#copies[range]!;
    return { range, reign: owner === null ? NO_BALLOT : reign, session, offset: applied };
  }

  /** We own it now, under this ballot: whoever was followed, and every read lease, is over. */
  lead(range: number, reign: Ballot): void {
    const copy = this.#copies[range]!;
    drop(this.#following, range);
    copy.owner = null;
    copy.reign = reign;
    copy.session = 0;
    copy.isSyncing = false;
    copy.readUntilMs = NEVER;
  }

  mayServe(range: number, nowMs: number): boolean {
    return nowMs < this.#copies[range]!.readUntilMs;
  }

  /**
   * How far an answer may be behind: nothing that was acknowledged longer ago is missing here. 0 while it {@link mayServe}; then it grows with the time since, because until the lease ended nothing could be
   * acknowledged without this copy. `Infinity`: nothing can be said.
   */
  lagMs(range: number, nowMs: number): number {
    return Math.max(0, nowMs - this.#copies[range]!.readUntilMs) * DRIFT;
  }

  /** No more reads until the owner says so again. */
  doubt(range: number): void {
    this.#copies[range]!.readUntilMs = NEVER;
  }

  /**
   * True if it begins to follow another reign or session; then the content went, unless the owner said that it stays.
   * @param newest the newest record of the range that any voter is known to have accepted; null: not a majority of them was heard yet in this life
   */
  onBegin(from: NodeId, { range, reign, session, offset, keeps, record }: Begin, newest: Ballot | null): boolean {
    const copy = this.#copies[range]!;
    if (newest === null || compareBallots(record, newest) < 0) return false;
    const order = compareBallots(reign, copy.reign);
    if (order < 0 || (order === 0 && (copy.owner === null || session <= copy.session))) return false;
    put(this.#following, range);
    copy.owner = from;
    copy.reign = reign;
    copy.session = session;
    copy.applied = offset;
    copy.isSyncing = true;
    copy.lastPart = 0;
    copy.readUntilMs = NEVER;
    if (!keeps) this.#store.clear(range);
    this.#store.beginSync(range);
    return true;
  }

  onEffects({ range, reign, session, from, bodies }: Effects): void {
    const copy = this.#copies[range]!;
    if (copy.owner === null || session !== copy.session || !sameBallot(reign, copy.reign)) return;
    if (from > copy.applied + 1) return;
    for (let index = copy.applied + 1 - from; index < bodies.length; index += 1) {
      this.#store.apply(range, bodies[index]!);
      copy.applied += 1;
    }
  }

  /** Null: it is of another session and says nothing. */
  onPart({ range, reign, session, number, at, entries, isLast }: Part): PartAck | null {
    const copy = this.#copies[range]!;
    if (copy.owner === null || session !== copy.session || !sameBallot(reign, copy.reign)) return null;
    let isTaken = true;
    if (copy.isSyncing && number > copy.lastPart) {
      isTaken = at === copy.applied;
      if (isTaken) {
        copy.lastPart = number;
        this.#store.put(range, entries);
        if (isLast) {
          copy.isSyncing = false;
          this.#store.endSync(range);
        }
      }
    }
    return { kind: 'part-ack', range, reign, session, number, isTaken };
  }

  applied(range: number): Applied {
    return { kind: 'applied', ...this.position(range) };
  }

  onFollowed(from: NodeId, { sentMs, leases }: Followed): void {
    for (const { range, reign } of leases) {
      const copy = this.#copies[range]!;
      if (copy.owner !== from || !sameBallot(copy.reign, reign)) continue;
      copy.readUntilMs = Math.max(copy.readUntilMs, sentMs + this.#timing.readLeaseMs);
    }
  }

  /** Whom each range follows: what is asked of the owners each heartbeat. */
  byOwner(): ReadonlyMap<NodeId, Position[]> {
    const found = new Map<NodeId, Position[]>();
    for (const range of this.#following) {
      const owner = this.#copies[range]!.owner!;
      const positions = found.get(owner);
      if (positions === undefined) found.set(owner, [this.position(range)]);
      else positions.push(this.position(range));
    }
    return found;
  }
}
