/**
 * The words of the invalidation feed, shared by the node's side (`feed.ts`) and the L1's (`follower.ts`).
 *
 * A key belongs to a range of slots and is numbered there. A tag or a namespace may cover entries of every range, so these are
 * numbered in a stream of the member's own, {@link WIDE}: giving each of 1,024 ranges a number for every invalidated tag would cost 1,024
 * records where one says it.
 */
import type { Ballot } from '../base/ballot.ts';

/** The stream of what covers all ranges of a member. Its ballot is the member's run, never inherited by another one. */
export const WIDE = -1;

/** This key was deleted or overwritten. Name: the key. */
export const KEY = 1;
/** Everything stored under this tag before is dead. Name: the tag. */
export const TAG = 2;
/** The same for a namespace. Name: what stands before the first `:`. */
export const NAMESPACE = 3;
/** Everything is dead (FLUSHALL). No name. */
export const CLEAR = 4;
/** The member owns this range from now on, under this ballot, and `number` is where its counting begins. No name. */
export const BEGIN = 5;
/** The member owns this range no longer. No name. */
export const END = 6;
/** Somebody waits until everybody has come this far: acknowledge now. No name. */
export const BARRIER = 7;

export const KIND_NAMES = ['', 'key', 'tag', 'namespace', 'clear', 'begin', 'end', 'barrier'] as const;

/** How far a follower has come in one stream. */
export interface Position {
  readonly range: number;
  readonly ballot: Ballot;
  readonly number: number;
}

/** Where a stream begins on a new subscription. */
export interface StreamStart extends Position {
  /** Everything after the follower's own position will be sent. Otherwise counting begins at `number` and what came before is unknown. */
  readonly replay: boolean;
}

/** The default staleness bound of an L1, in milliseconds. */
export const DEFAULT_BOUND_MS = 250;

/**
 * How much longer the node waits than the follower trusts: both clocks may run 1 % wrong, in opposite directions
 * (1.01 / 0.99 = 1.0202), and a rest for good measure.
 */
export const DRIFT = 1.03;
