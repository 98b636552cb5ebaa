/**
 * One call to a source: what the caller asks for, and the guard's record of it from arrival to the source's letting go.
 */
import type { Timer } from '../../base/scheduler.ts';
import type { GuardSettings } from './options.ts';
import type { Priority, Waiter } from './queue.ts';

/** The call to the source. It should heed `signal`: a slot stays held until it settles. */
export type SourceCall<T> = (context: { readonly signal: AbortSignal }) => Promise<T> | T;

/** What one call may say about itself. */
export interface GuardRequest {
  /** `background` for refreshes that nobody waits for. Default `foreground`. */
  readonly priority?: Priority;
  /** The keys it loads, for the back-off. All of them fail or succeed together: leave out those which `Guard.remembered` names. */
  readonly keys?: readonly string[];
  /** Settles after this many ms, waiting included. Default: the guard's. */
  readonly deadlineMs?: number | undefined;
  /** Default: the guard's. */
  readonly hardTimeoutMs?: number | undefined;
  /** The caller's own: aborts the waiting or the call, which rejects with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** Where a call stands: drawn in `guard.ts`. */
export type CallState = 'new' | 'waiting' | 'running' | 'lingering' | 'abandoned' | 'done';

/** The guard's record of one call. It is its own place in the queue. */
export interface Call extends Waiter {
  readonly source: SourceCall<unknown>;
  readonly keys: readonly string[];
  readonly deadlineAtMs: number;
  readonly hardTimeoutMs: number;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  state: CallState;
  permit: number;
  startedAtMs: number;
  controller: AbortController | null;
  /** The deadline while waiting, the hard timeout while running, the abandoning while lingering. */
  timer: Timer | null;
  /** Takes the listener off the caller's signal. */
  unlisten: (() => void) | null;
}

/** A call as it arrives. `run` gives it the caller's two ends of the promise. */
export function newCall(
  source: SourceCall<unknown>,
  request: GuardRequest,
  settings: GuardSettings,
  nowMs: number,
  resolve: (value: unknown) => void,
  reject: (error: unknown) => void,
): Call {
  return {
    priority: request.priority ?? 'foreground',
    next: null,
    previous: null,
    queued: false,
    source,
    keys: request.keys ?? [],
    deadlineAtMs: nowMs + (request.deadlineMs ?? settings.deadlineMs),
    hardTimeoutMs: request.hardTimeoutMs ?? settings.hardTimeoutMs,
    resolve,
    reject,
    state: 'new',
    permit: 0,
    startedAtMs: 0,
    controller: null,
    timer: null,
    unlisten: null,
  };
}
