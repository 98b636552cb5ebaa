/**
 * A store that breaks on command: what stands between the library and its L2 in a test. Each fault is what an application sees of a real one, and the errors are the
 * stores' own (`STORE_UNAVAILABLE`, `STORE_TIMEOUT`), so that the library takes the same paths.
 *
 *   cut          connections refused: every call fails at once, the feed is silent
 *   freeze       nothing is answered and nothing takes effect: calls run into their deadlines
 *   loseAnswers  calls take effect, their answers are lost: the case in which "failed" does not mean "did not happen"
 *   delay        everything takes so much longer; beyond a call's deadline it is as `loseAnswers`
 *   failNext     the next calls fail, then all is well
 *   dropFeed     invalidations by others are not heard, nor pings answered: L1s are bypassed once the staleness bound is over
 */
import { BreakwaterError } from '../base/errors.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { type Duration, parseDurationMs } from '../base/units.ts';
import type { FeedHandlers, StoreFeed } from '../stores/feed.ts';
import type {
  CacheStore,
  FillCall,
  FillEntry,
  HeldLease,
  InvalidateRequest,
  LeaseCall,
  ReadCall,
  ReadResult,
  SetOutcome,
  StoreCall,
  WriteEntry,
} from '../stores/store.ts';

/** What the library asks of a store. */
export type StoreOperation = 'read' | 'lease' | 'fill' | 'release' | 'set' | 'delete' | 'invalidate' | 'stats';

export class Faults {
  #mode: 'well' | 'cut' | 'frozen' | 'answers lost' = 'well';
  #delayMs = 0;
  #failing: { left: number; readonly on: StoreOperation | undefined } = { left: 0, on: undefined };
  #feedDropped = false;
  /** Calls by operation, those that failed included. */
  readonly calls: Record<StoreOperation, number> = {
    read: 0,
    lease: 0,
    fill: 0,
    release: 0,
    set: 0,
    delete: 0,
    invalidate: 0,
    stats: 0,
  };

  /** The store cannot be reached: every call fails at once. */
  cut(): void {
    this.#mode = 'cut';
  }

  /** The store hangs: nothing is answered, nothing takes effect. */
  freeze(): void {
    this.#mode = 'frozen';
  }

  /** Everything takes effect, and nobody is told: calls run into their deadlines. */
  loseAnswers(): void {
    this.#mode = 'answers lost';
  }

  /** Every call takes so much longer; `0` = no longer. */
  delay(by: Duration): void {
    this.#delayMs = parseDurationMs(by, 'by of delay');
  }

  /** The next `count` calls (of `on` alone, if given) fail as if the connection had been lost, without effect. */
  failNext(count = 1, on?: StoreOperation): void {
    this.#failing = { left: count, on };
  }

  /** What other processes invalidate is not heard here any more. */
  dropFeed(): void {
    this.#feedDropped = true;
  }

  /** Ends every fault. What happened stays. */
  heal(): void {
    const wasDeaf = this.isDeaf;
    this.#mode = 'well';
    this.#delayMs = 0;
    this.#failing = { left: 0, on: undefined };
    this.#feedDropped = false;
    if (wasDeaf) this.onHeard();
  }

  /** @internal Called when the feed is heard again. */
  onHeard: () => void = () => {};

  /** @internal */
  get isDeaf(): boolean {
    return this.#feedDropped || this.#mode === 'cut' || this.#mode === 'frozen';
  }

  /** @internal */
  pass<T>(on: StoreOperation, call: StoreCall, scheduler: Scheduler, act: () => Promise<T>): Promise<T> {
    this.calls[on] += 1;
    if (this.#mode === 'cut' || this.#fails(on)) {
      return Promise.reject(
        new BreakwaterError('STORE_UNAVAILABLE', `cannot ${on}: the connection is cut, by the test`),
      );
    }
    if (this.#mode === 'frozen') return never(on, call, scheduler);
    if (this.#mode === 'answers lost') {
      act().catch(() => undefined);
      return never(on, call, scheduler);
    }
    if (this.#delayMs === 0) return act();
    // Half on the way there, half on the way back.
    const half = (): Promise<void> => new Promise((resolve) => void scheduler.setTimer(this.#delayMs / 2, resolve));
    const answer = half().then(act).finally(half);
    answer.catch(() => undefined);
    return Promise.race([answer, never<T>(on, call, scheduler)]);
  }

  #fails(on: StoreOperation): boolean {
    const { left, on: only } = this.#failing;
    if (left === 0 || (only !== undefined && only !== on)) return false;
    this.#failing.left = left - 1;
    return true;
  }
}

/** Rejects at the call's deadline, or when its caller gives up. */
function never<T>(on: string, { timeoutMs, signal }: StoreCall, scheduler: Scheduler): Promise<T> {
  const promise = new Promise<T>((_, reject) => {
    const error = new BreakwaterError('STORE_TIMEOUT', `cannot ${on}: no answer within ${timeoutMs} ms, by the test`);
    const timer = scheduler.setTimer(timeoutMs, () => reject(error), { keepAlive: false });
    signal?.addEventListener(
      'abort',
      () => {
        timer.cancel();
        reject(signal.reason);
      },
      { once: true },
    );
  });
  promise.catch(() => undefined);
  return promise;
}

/** @internal The store behind the faults. */
export class FaultyStore implements CacheStore {
  readonly kind: string;
  readonly inProcess: boolean;
  readonly takesLeasedWrites?: boolean;
  readonly feed?: StoreFeed;
  readonly #inner: CacheStore;
  readonly #faults: Faults;
  readonly #scheduler: Scheduler;

  constructor(inner: CacheStore, faults: Faults, scheduler: Scheduler) {
    this.#inner = inner;
    this.#faults = faults;
    this.#scheduler = scheduler;
    this.kind = inner.kind;
    this.inProcess = inner.inProcess;
    if (inner.takesLeasedWrites !== undefined) this.takesLeasedWrites = inner.takesLeasedWrites;
    if (inner.feed !== undefined) this.feed = faultyFeed(inner.feed, faults);
  }

  read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    return this.#pass('read', call, () => this.#inner.read(keys, call));
  }
  lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    return this.#pass('lease', call, () => this.#inner.lease(keys, call));
  }
  fill(entries: readonly FillEntry[], call: FillCall): Promise<boolean[]> {
    return this.#pass('fill', call, () => this.#inner.fill(entries, call));
  }
  release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    return this.#pass('release', call, () => this.#inner.release(leases, call));
  }
  set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    return this.#pass('set', call, () => this.#inner.set(key, value, entry, call));
  }
  delete(keys: readonly string[], call: StoreCall): Promise<number> {
    return this.#pass('delete', call, () => this.#inner.delete(keys, call));
  }
  invalidate(request: InvalidateRequest, call: StoreCall): Promise<void> {
    return this.#pass('invalidate', call, () => this.#inner.invalidate(request, call));
  }
  stats(call: StoreCall): Promise<Readonly<Record<string, number>>> {
    return this.#pass('stats', call, () => this.#inner.stats(call));
  }
  close(): Promise<void> {
    return this.#inner.close();
  }

  #pass<T>(on: StoreOperation, call: StoreCall, act: () => Promise<T>): Promise<T> {
    return this.#faults.pass(on, call, this.#scheduler, act);
  }
}

/**
 * What comes in while it is dropped is lost. A connection on which that happens is a dead one, so it ends with the fault: the follower goes on from where it was, on
 * the next.
 */
function faultyFeed(inner: StoreFeed, faults: Faults): StoreFeed {
  const heard =
    <A extends unknown[]>(handle: (...args: A) => void) =>
    (...args: A): void => {
      if (!faults.isDeaf) handle(...args);
    };
  let link = 0;
  faults.onHeard = () => inner.reconnect(link);
  const { everywhere } = inner;
  return {
    tellsOfReadsOnly: inner.tellsOfReadsOnly,
    tellsOfLeases: inner.tellsOfLeases,
    ...(everywhere !== undefined && { everywhere: (timeoutMs: number) => everywhere.call(inner, timeoutMs) }),
    follow: (handlers: FeedHandlers) =>
      inner.follow({
        open: (id, peer) => {
          link = id;
          handlers.open(id, peer);
        },
        closed: (...args) => handlers.closed(...args),
        subscribed: heard((...args) => handlers.subscribed(...args)),
        refused: heard((...args) => handlers.refused(...args)),
        cut: heard((...args) => handlers.cut(...args)),
        pong: heard((...args) => handlers.pong(...args)),
        record: heard((...args) => handlers.record(...args)),
      }),
    listen: (onLeaseEnded) => inner.listen(heard(onLeaseEnded)),
    subscribe: (...args) => inner.subscribe(...args),
    ping: (...args) => inner.ping(...args),
    acknowledge: (...args) => inner.acknowledge(...args),
    reconnect: (...args) => inner.reconnect(...args),
  };
}
