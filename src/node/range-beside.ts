/**
 * Locks and sums of a member of a cluster: a table of each for every range that it owns or copies, and every change of one an effect, as with entries (`range-memory.ts`). So what was answered is on every
 * in-sync copy, and a takeover by one of those forgets neither who holds a lock nor what was counted.
 *
 * A lock's end is counted by each member's own clock, from when it heard of it: later on a copy than at the owner, never sooner.
 *
 * Fencing tokens must grow over takeovers too, and even when a range has lost all its copies, and with them every token that was granted. What outlives them all is the epoch of its record, which the voters keep and
 * which is larger with each new owner. So it stands in front: token = epoch x 2^29 + n. Whoever begins empty begins above everything that was granted under an earlier record; a copy that
 * takes over has heard of every token besides. When n is used up (536,870,912 tokens of one range under one record) locks are refused until the record changes.
 * The first epoch of a cluster is a time (`cluster-node.ts`), so that one that was formed anew, all voters having lost their memory, goes on growing as well.
 *
 * What is not promised: when every member of a range's in-sync set is lost, it is forgotten who held which lock (the next holder's token is larger), and sums begin at 0.
 *
 * To fill a copy all of a range goes in one piece and in place of what the copy had. So there may be only so many in a range that they fit into a frame.
 */
import { assert } from '../base/assert.ts';
import type { Locks, Tallies } from '../freshness/beside.ts';
import { type Acquired, LOCKS_FULL, LockTable } from '../freshness/lock-table.ts';
import { type TallyRefusal, TallyTable } from '../freshness/tally-table.ts';
import { slotOf } from '../hash/slot.ts';
import { besideEntry, lockEffect, readBeside, readLock, readSum, sumEffect } from './beside-effect.ts';
import { LOCK, SUM } from './effect.ts';

/** Of each: at most 600 bytes each on the wire, half a frame together. */
export const MAX_A_RANGE = 8192;
/** Of each, in all ranges that this member owns or copies. */
const MAX_A_MEMBER = 65_536;
const TOKENS_AN_EPOCH = 2 ** 29;

export interface BesidePorts {
  readonly rangeCount: number;
  rangeOf(slot: number): number;
  /** Of the record under which this member owns the range. */
  epochOf(range: number): number;
  /** Something was done to a range of ours that every copy is to do before it is answered. */
  write(range: number, body: Uint8Array): void;
}

interface Beside {
  readonly locks: LockTable;
  readonly sums: TallyTable;
}

export class RangeBeside {
  readonly locks: Locks;
  readonly tallies: Tallies;
  readonly #ports: BesidePorts;
  readonly #ranges: (Beside | null)[];
  readonly #bytes = new Uint8Array(512);
  /** Of ranges that were emptied. */
  readonly #gone = { granted: 0, refused: 0, released: 0, expired: 0, full: 0 };

  constructor(ports: BesidePorts) {
    this.#ports = ports;
    this.#ranges = Array.from({ length: ports.rangeCount }, () => null);
    this.locks = new RangeLocks(this, ports);
    this.tallies = new RangeTallies(this, ports);
  }

  rangeOf(name: string): number {
    for (let i = 0; i < name.length; i += 1) this.#bytes[i] = name.charCodeAt(i);
    return this.#ports.rangeOf(slotOf(this.#bytes, 0, name.length));
  }

  /** Of a range, if there is anything. */
  at(range: number): Beside | null {
    return this.#ranges[range]!;
  }

  /** The same, made if it is not there. */
  of(range: number): Beside {
    const known = this.#ranges[range]!;
    if (known !== null) return known;
    const nextToken = (last: number): number => {
      const epoch = this.#ports.epochOf(range);
      const token = Math.max(last + 1, epoch * TOKENS_AN_EPOCH);
      return token < (epoch + 1) * TOKENS_AN_EPOCH && Number.isSafeInteger(token) ? token : 0;
    };
    const made = { locks: new LockTable({ capacity: MAX_A_RANGE, nextToken }), sums: new TallyTable(MAX_A_RANGE) };
    this.#ranges[range] = made;
    return made;
  }

  /** Over all ranges. O(ranges). */
  sum(of: (one: Beside) => number): number {
    let sum = 0;
    for (const one of this.#ranges) if (one !== null) sum += of(one);
    return sum;
  }

  get gone(): Locks['stats'] {
    return this.#gone;
  }

  // -- what a copy is told (as `RangeStore`)

  apply(range: number, body: Uint8Array, nowMs: number): void {
    if (body[0] === LOCK) {
      const { name, owner, token, leftMs } = readLock(body);
      const { locks } = this.of(range);
      if (leftMs === 0) locks.drop(name);
      else locks.put(name, owner, token, nowMs + leftMs, nowMs);
    } else {
      assert(body[0] === SUM, 'a lock or a sum');
      const { name, value, leftMs } = readSum(body);
      const untilMs = leftMs === 0 ? Number.POSITIVE_INFINITY : nowMs + leftMs;
      this.of(range).sums.put(name, value, untilMs, nowMs);
    }
  }

  /** Nothing is known of the range any more. */
  clear(range: number): void {
    const beside = this.#ranges[range]!;
    if (beside === null) return;
    const { stats } = beside.locks;
    for (const name of ['granted', 'refused', 'released', 'expired', 'full'] as const) this.#gone[name] += stats[name];
    this.#ranges[range] = null;
  }

  /** All of the range, for a copy. */
  cut(range: number, nowMs: number): Uint8Array {
    const beside = this.#ranges[range]!;
    if (beside === null) return besideEntry(0, []);
    const effects: Uint8Array[] = [];
    for (const [name, { owner, token, untilMs }] of beside.locks.live(nowMs)) {
      effects.push(lockEffect({ name, owner, token, leftMs: untilMs - nowMs }));
    }
    for (const [name, { value, untilMs }] of beside.sums.live(nowMs)) {
      effects.push(sumEffect({ name, value, leftMs: untilMs === Number.POSITIVE_INFINITY ? 0 : untilMs - nowMs }));
    }
    return besideEntry(beside.locks.lastToken, effects);
  }

  /** The other side of `cut`: in place of what there was. */
  put(range: number, entry: Uint8Array, nowMs: number): void {
    const { lastToken, effects } = readBeside(entry);
    this.clear(range);
    if (lastToken === 0 && effects.length === 0) return;
    const { locks } = this.of(range);
    locks.lastToken = lastToken;
    for (const effect of effects) this.apply(range, effect, nowMs);
  }
}

class RangeLocks implements Locks {
  readonly #beside: RangeBeside;
  readonly #ports: BesidePorts;
  #full = 0;

  constructor(beside: RangeBeside, ports: BesidePorts) {
    this.#beside = beside;
    this.#ports = ports;
  }

  get stats(): Locks['stats'] {
    const { gone } = this.#beside;
    const all = (name: keyof Locks['stats']): number => gone[name] + this.#beside.sum(({ locks }) => locks.stats[name]);
    return {
      granted: all('granted'),
      refused: all('refused'),
      released: all('released'),
      expired: all('expired'),
      full: all('full') + this.#full,
    };
  }

  get size(): number {
    return this.#beside.sum(({ locks }) => locks.size);
  }

  acquire(name: string, owner: string, ttlMs: number, nowMs: number): Acquired {
    const range = this.#beside.rangeOf(name);
    const { locks } = this.#beside.of(range);
    if (locks.held(name, nowMs) === null && this.size >= MAX_A_MEMBER) {
      this.#full += 1;
      return LOCKS_FULL;
    }
    const got = locks.acquire(name, owner, ttlMs, nowMs);
    // Granted, or the same again: then its end is another one.
    if (got > 0) this.#ports.write(range, lockEffect({ name, owner, token: got, leftMs: ttlMs }));
    return got;
  }

  renew(name: string, owner: string, ttlMs: number, nowMs: number): boolean {
    const range = this.#beside.rangeOf(name);
    const locks = this.#beside.at(range)?.locks;
    if (locks === undefined || !locks.renew(name, owner, ttlMs, nowMs)) return false;
    const { token } = locks.held(name, nowMs)!;
    this.#ports.write(range, lockEffect({ name, owner, token, leftMs: ttlMs }));
    return true;
  }

  release(name: string, owner: string, nowMs: number): boolean {
    const range = this.#beside.rangeOf(name);
    if (this.#beside.at(range)?.locks.release(name, owner, nowMs) !== true) return false;
    this.#ports.write(range, lockEffect({ name, owner, token: 0, leftMs: 0 }));
    return true;
  }
}

class RangeTallies implements Tallies {
  readonly #beside: RangeBeside;
  readonly #ports: BesidePorts;
  #full = 0;

  constructor(beside: RangeBeside, ports: BesidePorts) {
    this.#beside = beside;
    this.#ports = ports;
  }

  get stats(): Tallies['stats'] {
    return {
      expired: this.#beside.sum(({ sums }) => sums.stats.expired),
      full: this.#beside.sum(({ sums }) => sums.stats.full) + this.#full,
    };
  }

  get size(): number {
    return this.#beside.sum(({ sums }) => sums.size);
  }

  add(name: string, by: number, ttlMs: number | null, nowMs: number): number | TallyRefusal {
    const range = this.#beside.rangeOf(name);
    const { sums } = this.#beside.of(range);
    if (!sums.has(name, nowMs) && this.size >= MAX_A_MEMBER) {
      this.#full += 1;
      return 'full';
    }
    const sum = sums.add(name, by, ttlMs, nowMs);
    if (typeof sum === 'number') this.#ports.write(range, sumEffect({ name, value: sum, leftMs: ttlMs ?? 0 }));
    return sum;
  }

  value(name: string, nowMs: number): number {
    return this.#beside.at(this.#beside.rangeOf(name))?.sums.value(name, nowMs) ?? 0;
  }
}
