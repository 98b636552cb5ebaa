/**
 * The one port through which a Breakwater is seen from outside: the library calls `tell` and `trace` at a few places, and events,
 * `diagnostics_channel`, OpenTelemetry and whoever comes next sit behind it.
 *
 *     l1 hit, flights, loads, breaker ...  --tell-->  Watch  --> listeners of bw.on(name)
 *                                          --trace-->        --> diagnostics_channel  breakwater:<name>, tracing:breakwater:<kind>:*
 *                                                            --> tracers (OpenTelemetry)
 *
 * Why not an EventEmitter: its `emit` runs the listener's exception through the caller, here a get that did nothing wrong, and an event object would
 * be made whether or not anybody wants it. So:
 *
 *   - `hears(name)` is asked first, and with no listener it is one lookup and one getter of a channel: nothing is allocated. The L1 hit reads a single field
 *     instead of a table (`watch.interest`), since there even that shows;
 *   - a listener that throws, or whose promise rejects, harms nobody: it is counted, and said aloud once (a channel's subscriber that throws is
 *     Node.js's matter: it becomes an uncaught exception of its own, outside the call);
 *   - listeners run at once, in the caller's turn: they must be quick.
 *
 * Channels are asked for subscribers at each event and at the L1 hit too, because they do not say when they get one.
 */
import { type Channel, channel, tracingChannel } from 'node:diagnostics_channel';
import { messageOf } from '../../base/errors.ts';
import {
  type BreakwaterEvents,
  EVENTS,
  type EventName,
  OPERATIONS,
  type Operation,
  type OperationKind,
  type Traced,
  type Tracer,
} from './events.ts';

export type Listener<N extends EventName> = (event: BreakwaterEvents[N]) => void;

const CHANNELS = new Map<EventName, Channel>(EVENTS.map((name) => [name, channel(`breakwater:${name}`)]));
const TRACING = new Map(OPERATIONS.map((kind) => [kind, tracingChannel(`breakwater:${kind}`)]));
export const HIT_CHANNEL = CHANNELS.get('hit')!;

/** Runs a part of an operation that nobody watches. */
const direct = <R>(run: () => R): R => run();

export type Within = typeof direct;

/** Read at every L1 hit, and so a plain field of a plain object. */
export interface Interest {
  hits: boolean;
}

export class Watch {
  readonly interest: Interest = { hits: false };
  /** What is counted whoever listens: acknowledged invalidations, what was not acknowledged, listeners that threw. */
  readonly counts = { invalidations: 0, unacknowledged: 0, listenerFailures: 0 };
  readonly #listeners = new Map<EventName, Set<(event: never) => unknown>>();
  #tracers: readonly Tracer[] = [];
  #hasWarned = false;

  /** Whether anybody wants to know of hits. */
  get hearsHits(): boolean {
    return this.interest.hits || HIT_CHANNEL.hasSubscribers;
  }

  hears(name: EventName): boolean {
    return this.#listeners.has(name) || CHANNELS.get(name)!.hasSubscribers;
  }

  /** Adds a listener; gives back what takes it away again. The same function added twice is called once. */
  on<N extends EventName>(name: N, listener: Listener<N>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    listeners.add(listener);
    this.#listeners.set(name, listeners);
    this.interest.hits = this.#listeners.has('hit');
    return () => this.off(name, listener);
  }

  off<N extends EventName>(name: N, listener: Listener<N>): void {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return;
    listeners.delete(listener);
    if (listeners.size === 0) this.#listeners.delete(name);
    this.interest.hits = this.#listeners.has('hit');
  }

  /** Tells everybody who listens. Ask {@link hears} first where making the event costs something. */
  tell<N extends EventName>(name: N, event: BreakwaterEvents[N]): void {
    const there = CHANNELS.get(name)!;
    if (there.hasSubscribers) there.publish(event);
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return;
    // A copy: a listener may take itself away.
    for (const listener of [...listeners]) this.#call(() => (listener as (event: unknown) => unknown)(event));
  }

  /** Adds a tracer; gives back what takes it away again. */
  addTracer(tracer: Tracer): () => void {
    this.#tracers = [...this.#tracers, tracer];
    return () => {
      this.#tracers = this.#tracers.filter((one) => one !== tracer);
    };
  }

  /** Runs an operation, shown to tracers and channels if there are any. Settles as `run` does. */
  trace<T>(operation: Operation, run: (within: Within) => Promise<T>): Promise<T> {
    const there = TRACING.get(operation.kind)!;
    const traced = this.#begin(operation);
    const start =
      traced.length === 0
        ? () => run(direct)
        : () => {
            const promise = through(traced, () => run((part) => through(traced, part)));
            promise.then(
              () => this.#end(traced, undefined),
              (error: unknown) => this.#end(traced, error ?? new Error('rejected with nothing')),
            );
            return promise;
          };
    return isTraced(operation.kind) ? there.tracePromise(start, { ...operation.context }) : start();
  }

  #begin(operation: Operation): readonly Traced[] {
    if (this.#tracers.length === 0) return NOBODY;
    const traced: Traced[] = [];
    for (const tracer of this.#tracers) {
      this.#call(() => {
        const one = tracer(operation);
        if (one !== null) traced.push(one);
      });
    }
    return traced;
  }

  #end(traced: readonly Traced[], error: unknown): void {
    for (const one of traced) this.#call(() => one.end(error));
  }

  /** Code that we did not write, in the middle of a call that did nothing wrong. */
  #call(run: () => unknown): void {
    try {
      const result = run();
      if (result instanceof Promise) result.catch((error: unknown) => this.#failed(error));
    } catch (error) {
      this.#failed(error);
    }
  }

  #failed(error: unknown): void {
    this.counts.listenerFailures += 1;
    if (this.#hasWarned) return;
    this.#hasWarned = true;
    process.emitWarning(`a listener threw, and others may follow it unseen: ${messageOf(error)}`, {
      type: 'BreakwaterWarning',
      code: 'BREAKWATER_LISTENER_THREW',
    });
  }
}

const NOBODY: readonly Traced[] = Object.freeze([]);

function through<R>(traced: readonly Traced[], run: () => R, at = 0): R {
  const one = traced[at];
  return one === undefined ? run() : one.within(() => through(traced, run, at + 1));
}

/** Node.js 20's tracing channels have `hasSubscribers` from 20.13 on; older ones are asked one by one. */
function isTraced(kind: OperationKind): boolean {
  const { start, end, asyncStart, asyncEnd, error } = TRACING.get(kind)!;
  return (
    start.hasSubscribers ||
    end.hasSubscribers ||
    asyncStart.hasSubscribers ||
    asyncEnd.hasSubscribers ||
    error.hasSubscribers
  );
}
