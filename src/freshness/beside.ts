/**
 * What a node keeps beside its entries, as commands see it: locks and sums. A node of its own has one table of each (`lock-table.ts`, `tally-table.ts`); a member of a cluster one for each range,
 * with copies (`node/range-beside.ts`).
 */
import type { Acquired } from './lock-table.ts';
import type { TallyRefusal } from './tally-table.ts';

export interface Locks {
  readonly stats: {
    readonly granted: number;
    readonly refused: number;
    readonly released: number;
    readonly expired: number;
    readonly full: number;
  };
  /** Locks that are kept, expired ones that nobody has met included. */
  readonly size: number;
  /** The same owner again: its token, and the lock from now on. So a request whose reply was lost may be sent again. */
  acquire(name: string, owner: string, ttlMs: number, nowMs: number): Acquired;
  /** False: it is not this owner's any more. */
  renew(name: string, owner: string, ttlMs: number, nowMs: number): boolean;
  release(name: string, owner: string, nowMs: number): boolean;
}

export interface Tallies {
  readonly stats: { readonly expired: number; readonly full: number };
  /** Counters that are kept, expired ones that nobody has met included. */
  readonly size: number;
  /** The new sum, or why nothing was added: no room, or the sum would not be a safe integer. */
  add(name: string, by: number, ttlMs: number | null, nowMs: number): number | TallyRefusal;
  /** 0 for who is not there. */
  value(name: string, nowMs: number): number;
}
