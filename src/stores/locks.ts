/**
 * The part of the store port for locks (docs/guide/12-locks.md says what a lock is for, and what not).
 *
 * What a store must promise, as long as its memory lives: one owner at a time between the arrival of an acquisition and the end of its `ttlMs`, counted by the
 * store from then or from its last renewal; tokens that only grow, per name at least. An owner's id is known to the owner alone. The same owner may ask again: it
 * gets the same token. Release and renewal by anybody else do nothing and say so.
 */
import type { StoreCall } from './call.ts';

export type LockAnswer =
  | { readonly kind: 'granted'; readonly token: number }
  /** Another owner has it, for at most so long without a renewal. */
  | { readonly kind: 'held'; readonly waitMs: number };

export interface StoreLocks {
  /** Rejects with `STORE_NO_ROOM` when no more locks can be kept; otherwise as every call of a store: then it is not known whether it was granted. */
  acquire(name: string, owner: string, ttlMs: number, call: StoreCall): Promise<LockAnswer>;
  /** False: it is another's, or nobody's. */
  renew(name: string, owner: string, ttlMs: number, call: StoreCall): Promise<boolean>;
  /** Whether it was this owner's. */
  release(name: string, owner: string, call: StoreCall): Promise<boolean>;
  /** Calls back when a lock is given back, where the store tells; absent = who waits has to ask. Once. */
  listen?(onReleased: (name: string) => void): void;
}
