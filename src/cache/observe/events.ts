/**
 * What a Breakwater tells of itself, by name: the words of `bw.on`, of the channels `breakwater:<name>`, and of nothing else. Facts only:
 * an event carries ids and numbers, never a value, so that a log of events is no second copy of the data.
 */
import type { Advice } from '../advice/advice.ts';
import type { ChangesEvent } from '../changes/port.ts';
import type { BreakerState } from '../guard/breaker.ts';

/** A get was answered from a tier, within its TTL. */
export interface HitEvent {
  readonly cache: string;
  readonly id: string;
  readonly tier: 'l1' | 'l2';
  /** The answer was "known absent". */
  readonly isNegative: boolean;
  readonly ageMs: number;
}

/** A get was answered past the TTL, within the grace. */
export interface StaleEvent {
  readonly cache: string;
  readonly id: string;
  readonly ageMs: number;
  /** Why: what its reload failed with; undefined when it is served while it is reloaded. */
  readonly error: unknown;
}

/** Neither tier had these ids: the loader is asked next, if the guard lets it. */
export interface MissEvent {
  readonly cache: string;
  readonly ids: readonly string[];
}

/** A call of the loader is over. Calls that the guard did not let through are no loads: see `shed`. */
export interface LoadEvent {
  readonly cache: string;
  readonly ids: readonly string[];
  /** Reloads that no caller waits for. */
  readonly isBackground: boolean;
  /** Of the loader alone, waiting for its turn not counted. */
  readonly durationMs: number;
  /** What it failed with; undefined when it did not. */
  readonly error: unknown;
}

/** A loaded value was offered to L2. */
export interface FillEvent {
  readonly cache: string;
  readonly id: string;
  /** False: refused, because something was invalidated meanwhile or the value is too large. */
  readonly isStored: boolean;
}

/** An invalidation (`invalidate`, `delete`, `write`) was acknowledged. */
export interface InvalidateEvent {
  readonly keys: readonly string[];
  readonly tags: readonly string[];
  readonly namespaces: readonly string[];
  readonly durationMs: number;
}

/** The store did not acknowledge a write or an invalidation: it may or may not be in force. */
export interface UnacknowledgedEvent {
  /** `set user:42`, `delete user:42`, `invalidate 2 tag(s) ("org:7")`. */
  readonly what: string;
  readonly error: unknown;
}

/** The guard did not let a load through. */
export interface ShedEvent {
  readonly cache: string;
  readonly source: string;
  readonly ids: readonly string[];
  /** `GUARD_QUEUE_FULL`, `GUARD_DEADLINE`, `GUARD_CIRCUIT_OPEN`, `GUARD_RATE_LIMITED`, `GUARD_CLOSED`. */
  readonly code: string;
  readonly isBackground: boolean;
}

/** The circuit breaker of a source went from one state to another. */
export interface BreakerEvent {
  readonly source: string;
  readonly from: BreakerState;
  readonly to: BreakerState;
}

/** L1 had the id and was not asked, because it is not known recently enough what other processes invalidated. */
export interface BypassEvent {
  readonly cache: string;
  readonly id: string;
}

/** The sampler found that a hit differs from what the source says. */
export interface WrongHitEvent {
  readonly cache: string;
  readonly id: string;
  readonly tier: 'l1' | 'l2';
  /** How old the entry was when it was served. */
  readonly ageMs: number;
}

/** A queued write that the database refused for good: it is among the dead letters now, and the cache shows what the database has. */
export interface DeadLetterEvent {
  readonly cache: string;
  readonly id: string;
  readonly version: number;
  /** What the database said. */
  readonly code: string;
  readonly message: string;
}
export interface BreakwaterEvents {
  readonly hit: HitEvent;
  readonly stale: StaleEvent;
  readonly miss: MissEvent;
  readonly load: LoadEvent;
  readonly fill: FillEvent;
  readonly invalidate: InvalidateEvent;
  readonly unacknowledged: UnacknowledgedEvent;
  readonly shed: ShedEvent;
  readonly breaker: BreakerEvent;
  readonly bypass: BypassEvent;
  /** Differs at the first look; most of these are changes in flight. */
  readonly 'suspected-stale': WrongHitEvent;
  /** Differs still at the second look. */
  readonly 'wrong-hit': WrongHitEvent;
  readonly advice: Advice;
  /** Of a stream of changes that is followed. */
  readonly changes: ChangesEvent;
  readonly 'dead-letter': DeadLetterEvent;
}

export type EventName = keyof BreakwaterEvents;

export const EVENTS = [
  'hit',
  'stale',
  'miss',
  'load',
  'fill',
  'invalidate',
  'unacknowledged',
  'shed',
  'breaker',
  'bypass',
  'suspected-stale',
  'wrong-hit',
  'advice',
  'changes',
  'dead-letter',
] as const satisfies readonly EventName[];

/** What takes time, and so has a span: one context a kind. */
export interface BreakwaterOperations {
  /** A call of the loader, waiting for its turn at the guard included. */
  readonly load: { readonly cache: string; readonly ids: readonly string[]; readonly isBackground: boolean };
  /** A read of L2. */
  readonly read: { readonly cache: string; readonly store: string; readonly keys: number };
  /** Loaded values on their way into L2. Nobody waits for it. */
  readonly fill: { readonly cache: string; readonly store: string; readonly keys: number };
  /** `set`. */
  readonly set: { readonly cache: string; readonly store: string; readonly keys: number };
  /** `invalidate`, `delete` and `write`'s part at the store. `cache` null: more than one. */
  readonly invalidate: {
    readonly cache: string | null;
    readonly store: string;
    readonly keys: number;
    readonly tags: number;
    readonly namespaces: number;
  };
}

export type OperationKind = keyof BreakwaterOperations;

export const OPERATIONS = ['load', 'read', 'fill', 'set', 'invalidate'] as const satisfies readonly OperationKind[];

/** An operation that begins now, of whichever kind. */
export type Operation = {
  readonly [K in OperationKind]: { readonly kind: K; readonly context: BreakwaterOperations[K] };
}[OperationKind];

/**
 * Is shown every operation as it begins. What it gives back is told the end. `within` runs a part of the operation that may begin in another turn of
 * the event loop (the loader, behind the guard's queue), so that what that part does can be seen as done for the operation.
 */
export type Tracer = (operation: Operation) => Traced | null;

export interface Traced {
  within<R>(run: () => R): R;
  end(error: unknown): void;
}
