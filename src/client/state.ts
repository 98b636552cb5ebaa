/**
 * The life of a client as one value: what it is doing now, and the only way from one to the next.
 *
 *   idle --wanted--> connecting --opened--> ready --lost--> backing-off --retry--> connecting ...
 *                        `------lost----------------------------^
 *   any --close--> closing --closed--> closed          (closing: ready and draining what is in flight)
 */
import { AssertionError } from '../base/assert.ts';

export type ClientState =
  /** Nothing was asked for yet. */
  | { readonly kind: 'idle' }
  /** `attempt` failures in a row came before this one. */
  | { readonly kind: 'connecting'; readonly attempt: number }
  /** `isCluster`: the server said that it is a member of a cluster. */
  | {
      readonly kind: 'ready';
      readonly attempt: number;
      readonly protocol: 2 | 3;
      readonly isCluster: boolean;
      readonly sinceMs: number;
    }
  | { readonly kind: 'backing-off'; readonly attempt: number; readonly untilMs: number; readonly error: Error }
  /** No new commands; those in flight are waited for. */
  | { readonly kind: 'closing' }
  | { readonly kind: 'closed' };

export type ClientEvent =
  /** A command came, or the wait is over. */
  | { readonly kind: 'connect' }
  | { readonly kind: 'opened'; readonly protocol: 2 | 3; readonly isCluster: boolean; readonly nowMs: number }
  | { readonly kind: 'lost'; readonly error: Error; readonly attempt: number; readonly untilMs: number }
  | { readonly kind: 'close' }
  | { readonly kind: 'closed' };

/** The state after `event`. @throws AssertionError when the event cannot happen in that state. */
export function transition(state: ClientState, event: ClientEvent): ClientState {
  switch (event.kind) {
    case 'connect':
      if (state.kind === 'idle') return { kind: 'connecting', attempt: 0 };
      if (state.kind === 'backing-off') return { kind: 'connecting', attempt: state.attempt };
      break;
    case 'opened':
      if (state.kind !== 'connecting') break;
      return {
        kind: 'ready',
        attempt: state.attempt,
        protocol: event.protocol,
        isCluster: event.isCluster,
        sinceMs: event.nowMs,
      };
    case 'lost':
      if (state.kind !== 'connecting' && state.kind !== 'ready') break;
      return { kind: 'backing-off', attempt: event.attempt, untilMs: event.untilMs, error: event.error };
    case 'close':
      if (state.kind !== 'closing' && state.kind !== 'closed') return { kind: 'closing' };
      break;
    case 'closed':
      if (state.kind === 'closing') return { kind: 'closed' };
      break;
  }
  throw new AssertionError(`a client that is ${state.kind} cannot take the event ${event.kind}`);
}

/** A connection that lived this long was a good one: the next back-off starts from the beginning. */
const STABLE_MS = 1000;

/** How many failures in a row the next back-off counts, after a connection (attempt) was lost at `nowMs`. */
export function nextAttempt(state: ClientState, nowMs: number): number {
  if (state.kind === 'ready') return nowMs - state.sinceMs >= STABLE_MS ? 0 : state.attempt + 1;
  return state.kind === 'connecting' ? state.attempt + 1 : 0;
}
