/**
 * Who waits for another caller's load of a key, and is told when its lease ends: filled, voided, given back, or its holder gone. Without
 * this a waiter can only ask again and again.
 *
 * The alternative, a request that is answered when the load is done, would hold up everything behind it on its connection:
 * replies come in the order of the requests.
 *
 * Best effort by design: a waiter that is forgotten here (the table is bounded; the longest waiting goes first) asks again when the time that it was
 * told has passed. Keys are known by the lease table's two hashes: a collision wakes somebody for nothing.
 *
 * Costs: nothing while nobody waits (`Leases.listener` is null); else one Map lookup for each lease that ends.
 */
import type { LeaseEnd, Leases } from '../freshness/leases.ts';
import type { Session } from './session.ts';

/** Keys waited for at most; about 200 bytes each. */
const MAX_KEYS = 16_384;
/** Sessions told of one key at most. */
const MAX_SESSIONS = 4096;

interface Waited {
  readonly key: Uint8Array;
  readonly sessions: Set<Session>;
}

export class LeaseWaiters {
  readonly #leases: Leases;
  readonly #tell: (session: Session, key: Uint8Array, end: LeaseEnd) => void;
  /** By both hashes. */
  readonly #waited = new Map<number, Waited>();

  constructor(leases: Leases, tell: (session: Session, key: Uint8Array, end: LeaseEnd) => void) {
    this.#leases = leases;
    this.#tell = tell;
  }

  get size(): number {
    return this.#waited.size;
  }

  /** Tells `session` when the lease of this key, which another caller holds, ends. */
  add(session: Session, key: Uint8Array, start: number, length: number): void {
    const name = nameOf(this.#leases.hashOf(key, start, length), this.#leases.checkOf(key, start, length));
    let waited = this.#waited.get(name);
    if (waited === undefined) {
      if (this.#waited.size >= MAX_KEYS) {
        for (const oldest of this.#waited.keys()) {
          this.#waited.delete(oldest);
          break;
        }
      }
      // Not `key.slice`: of a Buffer, which a socket's bytes may be, that is a view of what the next request overwrites.
      waited = { key: new Uint8Array(key.subarray(start, start + length)), sessions: new Set() };
      this.#waited.set(name, waited);
    }
    if (waited.sessions.size < MAX_SESSIONS) waited.sessions.add(session);
    this.#leases.listener = this.#onEnd;
  }

  readonly #onEnd = (hash: number, check: number, end: LeaseEnd): void => {
    const name = nameOf(hash, check);
    const waited = this.#waited.get(name);
    if (waited === undefined) return;
    this.#waited.delete(name);
    if (this.#waited.size === 0) this.#leases.listener = null;
    for (const session of waited.sessions) if (!session.closing) this.#tell(session, waited.key, end);
  };
}

/** 52 bits of the two hashes. */
function nameOf(hash: number, check: number): number {
  return hash * 2 ** 20 + (check & 0xf_ffff);
}
