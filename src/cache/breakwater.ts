/**
 * One Breakwater: the caches declared on one store, what this process invalidates across them, and their end.
 */
import { randomUUID } from 'node:crypto';
import { BreakwaterError } from '../base/errors.ts';
import type { Duration } from '../base/units.ts';
import type { CacheStore, InvalidateRequest, OutboxStats } from '../stores/store.ts';
import { unacknowledged } from './acknowledged.ts';
import type { Advice } from './advice/advice.ts';
import { Advisor, type AdvisorSettings, SILENT } from './advice/advisor.ts';
import { DECLARED_RULES, OPENED_RULES, type OpenedFacts, QUEUE_RULES, STORE_RULES } from './advice/rules.ts';
import { Cache } from './cache.ts';
import { type Following, Followings } from './changes/followings.ts';
import type { ChangeStats, ChangeStream } from './changes/port.ts';
import { duration, invalid } from './checks.ts';
import type { Codec } from './codec/value-codec.ts';
import { Coherence, type CoherenceStats } from './coherence.ts';
import { Counter, type CounterOptions } from './counter.ts';
import type { GuardStats } from './guard/stats.ts';
import { checkInvalidation, describe, type Invalidation } from './invalidation.ts';
import { checkName } from './key.ts';
import type { FlightPorts } from './loads.ts';
import { acquireLock, type Lock, type LockOptions, type LockParts, LockWaiters } from './lock.ts';
import { invalidating } from './observe/acknowledged.ts';
import { EVENTS, type EventName } from './observe/events.ts';
import type { Readings } from './observe/metrics.ts';
import { exposition, type MetricRegistry, registerWith } from './observe/prometheus.ts';
import { type Listener, Watch } from './observe/watch.ts';
import { cacheSettings, checkDefaults, type Reach, type Settings } from './options.ts';
import { Outage } from './outage.ts';
import { newToken, type SessionToken } from './session.ts';
import type { CacheControls, Shared, WriteUnderWay } from './shared.ts';
import { Source, type SourceOptions } from './source.ts';
import type { AnswerOf, CacheOptions, CacheStats, CodecChoice, Packed, SharedCacheOptions } from './types.ts';
import { Voids } from './voids.ts';
import type { BehindOptions } from './write/behind-options.ts';

export interface BreakwaterStats {
  readonly store: {
    readonly kind: string;
    /** True while reads of L2 are skipped because they kept failing. */
    readonly isDown: boolean;
    /** What a read or fill last failed with: those are not told to callers, who get the loader's answer. */
    readonly lastError: string | null;
    /** The store's own numbers; null when it did not answer in time. */
    readonly numbers: Readonly<Record<string, number>> | null;
  };
  /** How well L1s know what other processes invalidate; null = it is not followed: no L1, or no feed. */
  readonly feed: CoherenceStats | null;
  /** What the store has not acknowledged yet; null = the embedded store, which acknowledges everything at once. */
  readonly outbox: OutboxStats | null;
  readonly caches: Readonly<Record<string, CacheStats>>;
  /** The streams of changes that are followed (`follow`), by name. */
  readonly changes: Readonly<Record<string, ChangeStats>>;
  /** Invalidations that the store acknowledged, and writes and invalidations that it did not. */
  readonly invalidations: number;
  readonly unacknowledged: number;
  /** Exceptions of listeners (`on`). */
  readonly listenerFailures: number;
  /** The guards: by the name of the source, or `cache:<name>` for a cache that has one of its own. */
  readonly sources: Readonly<Record<string, GuardStats>>;
}

/** What `close` leaves behind. */
export interface Closed {
  /** Invalidations that the store never acknowledged, and keys whose `write` was still changing the source. */
  readonly unacknowledged: Required<InvalidateRequest>;
  /** Whether they are on disk, for the next start with the same `outbox.directory`. Otherwise they are lost: what they name may be stale until its TTL. */
  readonly isKept: boolean;
  /** Rows that policy `behind` has acknowledged and the database does not have yet: they are on disk, and written after the next start with the same directory. */
  readonly queued: number;
}

/** What a Breakwater is made of; `createBreakwater` makes it from options. */
export interface BreakwaterParts {
  readonly store: CacheStore;
  readonly ports: FlightPorts;
  readonly defaults: SharedCacheOptions;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  /** Of caches with policy `behind`. */
  readonly behind?: BehindOptions;
  /** The bound of L1s on a store with a feed; null (default) = it is not followed. */
  readonly stalenessMs?: number | null;
  /** What the advisor may say, and where this process stands. Default: it says nothing aloud. */
  readonly advisor?: AdvisorSettings;
  readonly place?: Pick<OpenedFacts, 'severalProcesses' | 'plaintextHost'>;
  /** How many invalidated keys, tags and namespaces this process remembers, a power of two: what was forgotten counts as invalidated. Default 4,096. */
  readonly rememberedVoids?: number;
}

/** Longest that `close` waits for the updates of writes that are under way. */
const LAST_WRITES_MS = 1_000;
/** And for fills and leases given back, which others wait for: a round trip, unless the store hangs. */
const LAST_FILLS_MS = 250;
/** A takeover costs those who wait the largest bound of anybody, 1 s, and a little for clocks and timers. */
const EVERYWHERE_MS = 2_000;

/** @typeParam D the codec of `defaults`, for the types of caches that do not say one */
export class Breakwater<D extends CodecChoice = 'json'> {
  readonly #parts: BreakwaterParts;
  readonly #shared: Shared;
  /** null: no cache has an L1 yet, or the store has no feed, or it is not wanted. */
  #coherence: Coherence | null = null;
  readonly #caches = new Map<string, CacheControls>();
  readonly #sources = new Map<string, Source>();
  readonly #advisor: Advisor;
  #closed: BreakwaterError | null = null;
  #closing: Promise<Closed> | null = null;
  #lockParts: LockParts | null = null;
  readonly #locks = new Set<Lock>();
  readonly #counters = new Map<string, Counter>();
  readonly #followings = new Followings();

  /** @internal Use `createBreakwater`. */
  constructor(parts: BreakwaterParts) {
    const { store, ports, readTimeoutMs, writeTimeoutMs, defaults, stalenessMs = null } = parts;
    checkDefaults(defaults, reachOf(store, stalenessMs));
    this.#parts = parts;
    const { random } = ports;
    const half = (): string => random.nextUint32().toString(16).padStart(8, '0');
    const sessionId = half() + half();
    this.#shared = {
      sessionId,
      store,
      ports,
      readTimeoutMs,
      writeTimeoutMs,
      outage: new Outage(),
      voids: new Voids(parts.rememberedVoids),
      watch: new Watch(),
      behind: parts.behind ?? {},
      onQueueDurability: (cache, facts) => this.#advisor.consider(QUEUE_RULES, `the queue of cache "${cache}"`, facts),
    };
    const { severalProcesses = null, plaintextHost = null } = parts.place ?? {};
    const { watch, outage } = this.#shared;
    this.#advisor = new Advisor(parts.advisor ?? SILENT, watch);
    const { inProcess } = store;
    const facts = { readTimeoutMs, writeTimeoutMs, inProcess, severalProcesses, plaintextHost };
    this.#advisor.consider(OPENED_RULES, 'createBreakwater', facts);
    if (store.facts !== undefined) outage.onFirstAnswer = () => this.#considerStore();
    (store.leaseEnds ?? store.feed)?.listen((key) =>
      this.#controlsOf(key)?.leaseEnded(key.slice(key.indexOf(':') + 1)),
    );
  }

  /**
   * Declares a cache. Its entries are kept under `name:id`.
   *
   * @param name 1 to 64 letters, digits, `_`, `.` or `-`; once per Breakwater, since two declarations would not see each other's L1
   * @throws BreakwaterError `CACHE_NAME_INVALID`, `CACHE_NAME_RESERVED`, `CACHE_NAME_TAKEN`, `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `CACHE_CLOSED`
   */
  cache<V, K extends string = string>(
    name: string,
    options: CacheOptions<K, V, Packed<V>> & { readonly codec: 'msgpack' },
  ): Cache<K, V, Packed<V>>;
  cache<V, K extends string = string, A = V>(
    name: string,
    options: CacheOptions<K, V, A> & { readonly codec: Codec<V, A> },
  ): Cache<K, V, A>;
  cache<V, K extends string = string>(
    name: string,
    options: CacheOptions<K, V, AnswerOf<V, D>>,
  ): Cache<K, V, AnswerOf<V, D>>;
  cache<V, K extends string, A>(name: string, options: CacheOptions<K, V, A>): Cache<K, V, A> {
    if (this.#closed !== null) throw this.#closed;
    checkName(name);
    if (this.#caches.has(name)) {
      throw new BreakwaterError(
        'CACHE_NAME_TAKEN',
        `cannot declare cache "${name}": it is declared already; share that one`,
      );
    }
    const { defaults, stalenessMs = null } = this.#parts;
    const reach = reachOf(this.#shared.store, stalenessMs);
    const settings = cacheSettings(options, defaults, name, reach);
    if (settings.l1 !== null && reach === 'feed') this.#follow();
    this.#shared.store.outbox?.declare(name);
    const cache = new Cache<K, V, A>(name, options, settings, this.#shared, (controls) => {
      this.#caches.set(name, controls);
      this.#sources.set(controls.source.name, controls.source);
    });
    this.#considerCache(name, settings, options, reach);
    return cache;
  }

  /**
   * A database that several caches load from, with one guard in front of it: hand it to them as their `guard`.
   *
   * @param name as of a cache; once per Breakwater
   * @throws BreakwaterError `CACHE_NAME_INVALID`, `CACHE_NAME_TAKEN`, `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `GUARD_OPTION_INVALID`, `CACHE_CLOSED`
   */
  source(name: string, options: SourceOptions = {}): Source {
    if (this.#closed !== null) throw this.#closed;
    checkName(name);
    if (this.#sources.has(name)) {
      throw new BreakwaterError('CACHE_NAME_TAKEN', `cannot make source "${name}": it is made already; share that one`);
    }
    const source = new Source(name, options, this.#shared.ports, this.#shared.watch);
    this.#sources.set(name, source);
    return source;
  }

  /**
   * Invalidates keys, tags and whole caches, in every process that uses the store. Resolves when the store has acknowledged.
   *
   * Rejects with `CACHE_INVALIDATION_UNACKNOWLEDGED` when it has not: it may or may not be in force, and the outbox retries until it is (`queued`). A load under way for any of
   * it is not stored. L1s of *other* processes follow within the `staleness` bound (without a feed within their `l1.ttl`), or before this resolves
   * with `wait: 'everywhere'`. Rejects with `CACHE_NOT_EVERYWHERE` when the store has it and that it is everywhere was not proved, and with
   * `CACHE_OPTION_INVALID` where the store cannot prove it.
   */
  async invalidate(what: Invalidation): Promise<void> {
    if (this.#closed !== null) throw this.#closed;
    const names = checkInvalidation(what);
    const everywhere = this.#everywhere(what.wait);
    await this.#invalidate(names);
    await everywhere();
  }

  async #invalidate(names: Required<InvalidateRequest>): Promise<void> {
    const what = `invalidate ${describe(names)}`;
    // Twice, as a delete does: see voids.ts.
    this.#void(names);
    try {
      const { store, writeTimeoutMs: timeoutMs } = this.#shared;
      await invalidating(this.#shared, { cache: null, what, ...names }, () => store.invalidate(names, { timeoutMs }));
    } catch (error) {
      throw unacknowledged('CACHE_INVALIDATION_UNACKNOWLEDGED', what, error);
    } finally {
      this.#void(names);
    }
  }

  /**
   * Invalidates what changes in a database, whoever changes it: `postgresChanges()` of `breakwater/sources/postgres` is such a stream. Begins at once and goes on until
   * it is stopped or this Breakwater is closed.
   *
   * @throws BreakwaterError `CACHE_NAME_TAKEN`, `CACHE_OPTION_INVALID`, `CACHE_CLOSED`
   */
  follow(changes: ChangeStream): Following {
    if (this.#closed !== null) throw this.#closed;
    const { store, ports, writeTimeoutMs: timeoutMs, watch } = this.#shared;
    return this.#followings.follow(changes, {
      ports,
      invalidate: (what) => this.#invalidate(what),
      oldestPendingMs: () => store.outbox?.stats().oldestAgeMs ?? null,
      read: async (key, signal) => {
        const [found] = await store.read([key], { lease: false, timeoutMs, signal });
        return found?.kind === 'hit' ? found.value : null;
      },
      write: async (key, value, signal) => {
        await store.set(key, value, { ttlMs: null, tags: [] }, { timeoutMs, signal });
      },
      tell: (event) => {
        if (watch.hears('changes')) watch.tell('changes', event);
      },
    });
  }

  /**
   * A token for {@link GetOptions.after}: a get with it, in any process on the same store, sees every `set`, `delete`, `write` and `invalidate` that this
   * Breakwater has had acknowledged so far, of whatever keys, tags and namespaces. What is still under way is not covered. Asks nobody.
   */
  token(): SessionToken {
    const { sessionId, voids } = this.#shared;
    return newToken(sessionId, voids.stamp);
  }

  /** What is to be waited for after the store's acknowledgement. */
  #everywhere(wait: unknown): () => Promise<void> {
    const { store } = this.#shared;
    if (wait === undefined || wait === 'store' || (wait === 'everywhere' && store.inProcess))
      return () => Promise.resolve();
    if (wait !== 'everywhere') throw invalid('wait of invalidate', `'store' or 'everywhere'`, wait);
    const { feed } = store;
    if (feed?.everywhere === undefined) {
      throw new BreakwaterError(
        'CACHE_OPTION_INVALID',
        `cannot wait until an invalidation is everywhere: the ${store.kind} store does not know who keeps copies; use a Breakwater node, or wait: 'store'`,
      );
    }
    return async () => {
      try {
        await feed.everywhere!(Math.max(this.#shared.writeTimeoutMs, EVERYWHERE_MS));
      } catch (error) {
        throw unacknowledged('CACHE_NOT_EVERYWHERE', 'prove that the invalidation is everywhere', error);
      }
    };
  }

  /**
   * Calls `listener` whenever `name` happens, until what this gives back is called. Listeners run at once, within the call that they are told of: they must be
   * quick. One that throws harms nobody else. docs/observing.md says what each event is and carries.
   */
  on<N extends EventName>(name: N, listener: Listener<N>): () => void {
    if (!EVENTS.includes(name)) throw invalid('event of on', `one of ${EVENTS.join(', ')}`, name);
    if (typeof listener !== 'function') throw invalid(`listener of "${name}"`, 'a function', listener);
    return this.#shared.watch.on(name, listener);
  }

  /** Takes away a listener that `on` has added. */
  off<N extends EventName>(name: N, listener: Listener<N>): void {
    this.#shared.watch.off(name, listener);
  }

  /** Counters of every cache and of the store. Never rejects because the store does not answer. */
  async stats(): Promise<BreakwaterStats> {
    const { store, outage, readTimeoutMs } = this.#shared;
    const numbers = await store.stats({ timeoutMs: readTimeoutMs }).catch(() => null);
    return {
      sources: mapped(this.#sources, ({ guard }) => guard.stats()),
      feed: this.#coherence?.stats() ?? null,
      outbox: store.outbox?.stats() ?? null,
      store: { kind: store.kind, isDown: outage.isDown, lastError: outage.lastError, numbers },
      caches: mapped(this.#caches, (cache) => cache.stats()),
      changes: this.#followings.stats(),
      ...this.#shared.watch.counts,
    };
  }

  /**
   * What is allowed and unwise about the declarations so far, and about the store once it has been read from. docs/advice.md lists all codes. Silenced ones are left
   * out (`advice` of `createBreakwater`).
   */
  advice(): readonly Advice[] {
    return this.#advisor.given;
  }

  #considerCache(name: string, settings: Settings, options: SharedCacheOptions, reach: Reach): void {
    const { store } = this.#shared;
    const source = this.#caches.get(name)?.source;
    const own = [...this.#sources.keys()].filter((one) => one.startsWith('cache:')).length;
    this.#advisor.consider(DECLARED_RULES, `cache "${name}"`, {
      settings,
      given: { ...this.#parts.defaults, ...options },
      reach,
      hasFeed: store.feed !== undefined,
      hasSchema: 'schema' in options && options.schema !== undefined,
      inProcess: store.inProcess,
      concurrency: source?.guard.concurrency ?? 0,
      ownGuards: source?.name === `cache:${name}` ? own : 0,
    });
  }

  #considerStore(): void {
    const { store, writeTimeoutMs } = this.#shared;
    // Who may not ask (a server's ACL) gets no advice about it.
    store.facts?.({ timeoutMs: writeTimeoutMs }).then(
      (facts) => this.#advisor.consider(STORE_RULES, `store ${store.kind}`, facts),
      () => undefined,
    );
  }

  /** The metrics of docs/metrics.md as text for a Prometheus scrape (version 0.0.4), read now. Loads no package. */
  metrics(): string {
    return exposition(this.readings());
  }

  /** Adds the metrics to a prom-client registry of the application's, once; they are read at each scrape. */
  register(registry: MetricRegistry): void {
    registerWith(registry, () => this.readings());
  }

  /** @internal What metrics are made of: all that is known without asking the store. */
  readings(): Readings {
    const { store, outage, watch } = this.#shared;
    return {
      sources: mapped(this.#sources, ({ guard }) => guard.stats()),
      feed: this.#coherence?.stats() ?? null,
      store: { kind: store.kind, isDown: outage.isDown },
      caches: mapped(this.#caches, (cache) => cache.stats()),
      loadMicros: mapped(this.#caches, ({ observer }) => observer.loadMicros),
      outbox: store.outbox?.stats() ?? null,
      changes: this.#followings.stats(),
      ...watch.counts,
    };
  }

  /** @internal Where tracers are added. */
  get watch(): Watch {
    return this.#shared.watch;
  }

  /**
   * Resolves when every write-behind queue of this process is empty: the database has all that was acknowledged before the call. Rejects with
   * `WRITE_BEHIND_NOT_DRAINED` when it is not within `timeout` (default `"30s"`); what is left goes on being written.
   */
  async drain({ timeout = '30s' }: { readonly timeout?: Duration } = {}): Promise<void> {
    if (this.#closed !== null) throw this.#closed;
    const timeoutMs = duration(timeout, 'timeout', 'drain', 0);
    const queues = [...this.#caches.values()].map(({ behind }) => behind?.drain(timeoutMs));
    for (const result of await Promise.allSettled(queues)) if (result.status === 'rejected') throw result.reason;
  }

  /**
   * Ends it: gets under way reject with `CACHE_CLOSED`, loaders' signals are aborted, what waits in the outbox is tried once more for at most a second, and
   * connections are closed. Later calls reject with `CACHE_CLOSED`. Closing twice is once.
   *
   * Waits for each `write` that is under way, at most a second: what it changed at the source is still to be invalidated. Then for fills on their way to the
   * store, at most 250 ms: whoever else wants those keys need not wait for leases that nobody holds any more.
   *
   * Resolves to what was not acknowledged to the end.
   */
  close(): Promise<Closed> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<Closed> {
    const ended: Promise<unknown>[] = [];
    for (const counter of this.#counters.values()) ended.push(counter.end());
    this.#closed = new BreakwaterError('CACHE_CLOSED', 'cannot use the cache: its Breakwater is closed');
    ended.push(this.#followings.stop());
    this.#coherence?.close();
    for (const cache of this.#caches.values()) cache.close(this.#closed);
    this.#lockParts?.waiters.wakeAll();
    // Others need not wait for what this process holds.
    for (const lock of this.#locks) ended.push(lock[Symbol.asyncDispose]());
    // What is being changed at the source is still to be invalidated: a service that is shut down has such writes under way as a rule.
    const caches = [...this.#caches.values()];
    const writes = caches.flatMap((cache) => [...cache.writes].map(({ done }) => done));
    ended.push(this.#within(writes, LAST_WRITES_MS));
    await Promise.all(ended);
    // Behind the writes under way, which may still be acknowledged; before the guards, through which it goes. Each has a deadline of its own.
    const queued = await Promise.all(caches.map(({ behind }) => behind?.close() ?? 0));
    await this.#within(
      caches.flatMap(({ parting }) => [...parting]),
      LAST_FILLS_MS,
    );
    for (const { guard } of this.#sources.values()) guard.close();
    const { store } = this.#shared;
    // Their updates may still change the source, and nobody will say so to the store.
    const cutOff = store.inProcess ? [] : [...this.#caches.values()].flatMap(({ writes }) => keysOf(writes));
    await store.close();
    const { keys, tags, namespaces } = store.outbox?.left() ?? { keys: [], tags: [], namespaces: [] };
    const left = { keys: [...new Set([...keys, ...cutOff])], tags, namespaces };
    // A directory that was given and could not be opened, or a disk that is full, has kept nothing.
    const disk = store.outbox?.stats().disk ?? null;
    const isKept = disk?.isOpen === true && disk.lastError === null;
    return { unacknowledged: left, isKept, queued: queued.reduce((sum, one) => sum + one, 0) };
  }

  /** Resolves when all have settled, or after `ms`. */
  #within(under: readonly Promise<unknown>[], ms: number): Promise<void> {
    if (under.length === 0) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = this.#shared.ports.scheduler.setTimer(ms, resolve);
      void Promise.allSettled(under).then(() => {
        timer.cancel();
        resolve();
      });
    });
  }

  /**
   * Acquires a lock over all processes of the store. It saves work that two would do at once; where two at once would be *wrong*, the resource must check
   * the lock's `token` (docs/guide/12-locks.md).
   *
   * Rejects with `LOCK_HELD` when another had it to the end of `wait`; `LOCK_UNACKNOWLEDGED` when the store did not answer; `STORE_NO_ROOM` when it can keep no more
   * locks; the signal's reason; `CACHE_CLOSED`.
   */
  async lock(name: string, options: LockOptions): Promise<Lock> {
    if (this.#closed !== null) throw this.#closed;
    const { store, ports, writeTimeoutMs } = this.#shared;
    const { locks } = store;
    if (locks === undefined) {
      throw new BreakwaterError('LOCK_UNAVAILABLE', `cannot lock: the ${store.kind} store has no locks`);
    }
    if (this.#lockParts === null) {
      const waiters = new LockWaiters();
      locks.listen?.((released) => waiters.wake(released));
      this.#lockParts = { locks, ports, writeTimeoutMs, waiters, newOwner: randomUUID };
    }
    const lock = await acquireLock(
      this.#lockParts,
      name,
      options,
      () => this.#closed,
      (ended) => this.#locks.delete(ended),
    );
    this.#locks.add(lock);
    return lock;
  }

  /**
   * A counter over all processes of the store: increments are gathered here and added every `flush` interval, and by `close`. Once per name.
   *
   * @throws BreakwaterError `CACHE_NAME_TAKEN`, `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `COUNTER_UNAVAILABLE`, `CACHE_CLOSED`
   */
  counter(name: string, options: CounterOptions = {}): Counter {
    if (this.#closed !== null) throw this.#closed;
    const { store, ports, readTimeoutMs, writeTimeoutMs } = this.#shared;
    if (store.counters === undefined) {
      throw new BreakwaterError('COUNTER_UNAVAILABLE', `cannot count: the ${store.kind} store has no counters`);
    }
    if (this.#counters.has(name)) {
      throw new BreakwaterError(
        'CACHE_NAME_TAKEN',
        `cannot make counter "${name}": it is made already; share that one`,
      );
    }
    const { counters } = store;
    const parts = { counters, ports, readTimeoutMs, writeTimeoutMs, closed: () => this.#closed };
    const counter = new Counter(parts, name, options);
    this.#counters.set(name, counter);
    return counter;
  }

  /** From the first L1 on: a process without one need not hear of every invalidation. */
  #follow(): void {
    const { store, voids, ports } = this.#shared;
    const { stalenessMs = null } = this.#parts;
    if (this.#coherence !== null || store.feed === undefined || stalenessMs === null) return;
    const onKey = (key: string): void => {
      voids.voidKey(key);
      this.#forget(key);
    };
    // That it changed: perhaps by the lease of a load of our own, which must go on.
    const onChanged = (key: string): void => {
      voids.changeKey(key);
      this.#controlsOf(key)?.drop(key.slice(key.indexOf(':') + 1));
    };
    const { tellsOfReadsOnly } = store.feed;
    this.#coherence = new Coherence(store.feed, voids, stalenessMs, ports, tellsOfReadsOnly ? onChanged : onKey);
  }

  #forget(key: string): void {
    this.#controlsOf(key)?.forget(key.slice(key.indexOf(':') + 1));
  }

  /** A key of no cache here is in no L1 and in no flight here. */
  #controlsOf(key: string): CacheControls | undefined {
    return this.#caches.get(key.slice(0, Math.max(0, key.indexOf(':'))));
  }

  #void({ keys, tags, namespaces }: Required<InvalidateRequest>): void {
    const { voids } = this.#shared;
    for (const key of keys) {
      this.#forget(key);
    }
    for (const tag of tags) voids.voidTag(tag);
    for (const namespace of namespaces) voids.voidNamespace(namespace);
  }
}

function mapped<A, B>(map: ReadonlyMap<string, A>, of: (one: A) => B): Record<string, B> {
  return Object.fromEntries([...map].map(([name, one]) => [name, of(one)]));
}

function reachOf(store: CacheStore, stalenessMs: number | null): Reach {
  if (store.inProcess) return 'process';
  return store.feed !== undefined && stalenessMs !== null ? 'feed' : 'ttl';
}

function keysOf(writes: ReadonlySet<WriteUnderWay>): string[] {
  return Array.from(writes, ({ key }) => key);
}
