/**
 * A declared cache: the face that callers see, and the order in which the tiers are asked.
 *
 *     get -> L1 -> a seat in a flight of the key (flights.ts) -> L2 with a lease -> loader -> fill -> L1
 *
 * What changes the truth (`set`, `delete`, `write`) is done in write/changing.ts.
 *
 * The L1 path is written for its cost: one lookup, and the promise that the entry already has. Whatever else there is to check
 * (keys, options, closed) is checked behind a miss: an id that L1 has was checked when it came in.
 */
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import { surelyFreshMs } from '../freshness/judge.ts';
import type { ReadHit } from '../stores/store.ts';
import { invalid } from './checks.ts';
import { type ChunkReader, Packing } from './codec/packing.ts';
import { type Counters, newCounters } from './counters.ts';
import type { DataSource, IdQuery } from './data-source.ts';
import { type Entry, keptMs, verdictOf } from './entry.ts';
import { KnownKeys } from './filter/known-keys.ts';
import { type FlightWishes, PLAIN, type Seat } from './flight.ts';
import { Flights } from './flights.ts';
import { type CallOptions, checkIds, readGetOptions } from './get-options.ts';
import { keyMaker } from './id-rule.ts';
import { checkTags, fullKey } from './key.ts';
import { L1 } from './l1.ts';
import type { L1Entry } from './l1-queue.ts';
import { CacheObserver } from './observe/cache-observer.ts';
import { samplerOf } from './observe/sampling.ts';
import { HIT_CHANNEL, type Interest } from './observe/watch.ts';
import type { Settings } from './options.ts';
import { type Check, checkOf } from './schema.ts';
import { isOwnToken } from './session.ts';
import type { CacheControls, Shared } from './shared.ts';
import { Source } from './source.ts';
import type { Cached, CacheOptions, CacheStats, Detailed, GetOptions, SetOptions, Written } from './types.ts';
import { hashNamespace, hashTags } from './voids.ts';
import { waitAlone } from './waiting.ts';
import { type WarmOptions, type WarmProgress, warm } from './warm.ts';
import { idsToWarm, warmPartsOf } from './warm-parts.ts';
import { Changing } from './write/changing.ts';
import { type DeadLetterBox, deadLetterBox } from './write/dead-letter-box.ts';
import { declaredSource } from './write/declared.ts';
import type { WriteReceipt } from './write/writer.ts';

const NO_TAGS: readonly string[] = Object.freeze([]);

/**
 * A cache declared by `bw.cache(name, options)`.
 *
 * Answers are what the codec makes of a value, by default JSON ({@link Cached}), shared between callers: treat them as read-only. They are frozen
 * unless `NODE_ENV` is `production`.
 */
export class Cache<K extends string, V, A = Cached<V>> {
  readonly name: string;
  readonly #shared: Shared;
  /** Asked at every hit. */
  readonly #clock: Clock;
  readonly #settings: Settings;
  readonly #tagsOf: (value: A, id: K) => readonly string[];
  readonly #prefix: string;
  /** Of an id that may be asked for or stored. */
  readonly #allowedKey: (id: unknown) => string;
  readonly #namespace: number;
  readonly #counters: Counters = newCounters();
  readonly #l1: L1<A> | null;
  /** It knows answers as `unknown`: what they are is the codec's word. */
  readonly #flights: Flights<K, unknown>;
  readonly #source: Source;
  readonly #check: Check;
  readonly #packing: Packing;
  readonly #known: KnownKeys | null;
  readonly #observer: CacheObserver;
  readonly #interest: Interest;
  readonly #dataSource: DataSource<V> | undefined;
  readonly #changing: Changing<K, V, A>;
  #closed: BreakwaterError | null = null;

  /** @internal Use `bw.cache`. `expose` is given what only the Breakwater may do with it. */
  constructor(
    name: string,
    options: CacheOptions<K, V, A>,
    settings: Settings,
    shared: Shared,
    expose: (controls: CacheControls) => void,
  ) {
    const { tags, known } = options;
    const declared = declaredSource(options, name, shared);
    if (tags !== undefined && typeof tags !== 'function') throw invalid(`tags of cache "${name}"`, 'a function', tags);
    this.#check = checkOf(options.schema, `cache "${name}"`);
    this.#known = known === undefined ? null : checkKnown(known, name, shared.store.inProcess);
    this.name = name;
    this.#dataSource = options.source;
    this.#shared = shared;
    this.#clock = shared.ports.clock;
    this.#settings = settings;
    this.#prefix = `${name}:`;
    this.#allowedKey = keyMaker(this.#prefix, options.ids);
    this.#namespace = hashNamespace(name);
    this.#tagsOf =
      tags === undefined ? () => NO_TAGS : (value, id) => checkTags(tags(value, id), `of ${this.#prefix}${id}`);
    this.#l1 =
      settings.l1 === null
        ? null
        : new L1(settings.l1, shared.voids, this.#namespace, (id) => this.#observer.bypass(id));
    const { guard } = settings;
    this.#source = guard instanceof Source ? guard : new Source(`cache:${name}`, guard, shared.ports, shared.watch);
    const { watch, store, ports } = shared;
    this.#observer = new CacheObserver({
      cache: name,
      source: this.#source.name,
      store: store.kind,
      watch,
      clock: ports.clock,
    });
    this.#packing = new Packing(settings.packing, shared.store.maxValueBytes ?? Number.POSITIVE_INFINITY);
    this.#changing = new Changing<K, V, A>({
      ...{ name, prefix: this.#prefix, namespace: this.#namespace, declared, settings, shared },
      source: this.#source,
      packing: this.#packing,
      check: this.#check,
      known: this.#known,
      counters: this.#counters,
      tagsOf: (value, id) => this.#tagsOf(value, id),
      keyOf: (id) => this.#keyOf(id),
      checkId: (id) => void this.#allowedKey(id),
      refuseClosed: () => this.#refuseClosed(),
      forget: (id) => this.#forget(id),
      keep: (id, entry, stamp, atMs) => this.#keep(id, entry, stamp, atMs),
    });
    const { behind } = this.#changing;
    const load = behind === null ? declared.load : behind.loader(declared.load);
    this.#observer.sampler = samplerOf(name, load, settings, shared, this.#source, (id) => this.#current(id as K));
    this.#interest = this.#observer.sampler === null ? watch.interest : { hits: true };
    this.#flights = new Flights<K, unknown>({
      name,
      namespace: this.#namespace,
      keyOf: this.#allowedKey,
      load,
      source: this.#source,
      check: this.#check,
      observer: this.#observer,
      onAbsent: () => this.#known?.noteAbsent(),
      tagsOf: (value, id) => this.#tagsOf(value as A, id),
      settings: { ...settings, readTimeoutMs: shared.readTimeoutMs, fillTimeoutMs: shared.writeTimeoutMs },
      packing: this.#packing,
      store: shared.store,
      outage: shared.outage,
      voids: shared.voids,
      counters: this.#counters,
      ports: shared.ports,
      keep: (id, entry, stamp, atMs) => this.#keep(id, entry as Entry<A>, stamp, atMs),
      revalidate: (id, hit, stamp, atMs) => this.#revalidate(id, hit, stamp, atMs),
    });
    expose({
      forget: (id) => this.#forget(id as K),
      drop: (id) => this.#l1?.remove(id),
      leaseEnded: (id) => this.#flights.wake(id as K),
      source: this.#source,
      observer: this.#observer,
      writes: this.#changing.writes,
      parting: this.#flights.parting,
      behind,
      stats: () => this.stats(),
      close: (reason) => this.#close(reason),
    });
  }

  /**
   * The value of `id`, null when the source has none.
   *
   * Rejects with the loader's own error; `CACHE_LOAD_TIMEOUT`, `CACHE_LOADER_RESULT`, `CACHE_VALUE_UNSERIALISABLE` when the load
   * went wrong otherwise; `CACHE_TIMEOUT` or the signal's reason for this caller alone; `CACHE_KEY_INVALID`, `CACHE_CLOSED`.
   * Never because L2 cannot be reached.
   */
  get(id: K, options?: GetOptions): Promise<A | null> {
    if (options !== undefined) return this.#getWith(id, options, false);
    const entry = this.#l1 === null ? null : this.#l1.find(id, this.#clock.now());
    if (entry === null) return this.#getAged(id);
    const counters = this.#counters;
    counters.l1Hits += 1;
    if (entry.value === null) counters.negativeHits += 1;
    if (this.#interest.hits || HIT_CHANNEL.hasSubscribers) this.#observer.hit(id, 'l1', entry.value, entry.storedAtMs);
    return this.#l1!.promiseOf(entry);
  }

  /** As {@link get}, and where the answer came from. */
  getDetailed(id: K, options?: GetOptions): Promise<Detailed<A>> {
    return this.#getWith(id, options ?? {}, true);
  }

  /**
   * Several values, in the order of `ids` (duplicates once): one read of L2 and one call of the loader for all that L1 does not have
   * (per `maxBatch`; of more than 4,096 the next ones when these are stored), each key with the guarantees of {@link get}. Rejects with the first error when any of them fails; the others are still cached.
   */
  getMany(ids: Iterable<K>, options: GetOptions = {}): Promise<Map<K, A | null>> {
    try {
      const { signal, timeoutMs, wishes } = this.#readOptions(options);
      checkIds(ids, this.name);
      const answers = new Map<K, A | null>();
      const missing: K[] = [];
      const asksFar = this.#l1 === null && this.#known === null;
      for (const id of ids) {
        if (asksFar) {
          const { size } = answers;
          if (answers.set(id, null).size > size) missing.push(id);
          continue;
        }
        if (answers.has(id)) continue;
        const near = this.#near(id, wishes);
        answers.set(id, near === null ? null : near.entry.value);
        if (near !== null || this.#isUnknown(id, wishes)) continue;
        missing.push(id);
      }
      if (missing.length === 0) return Promise.resolve(answers);
      const all = this.#flights.seats(missing, wishes, answers) as Promise<Map<K, A | null>>;
      return this.#waitAlone(all, signal, timeoutMs, `${answers.size} ids of "${this.name}"`);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** What L1 has within its TTL, at once: the value, null for known absent, undefined when L1 has nothing (or is off). Asks nobody. */
  peek(id: K): A | null | undefined {
    if (this.#l1 === null) return undefined;
    const nowMs = this.#clock.now();
    let entry = this.#l1.find(id, nowMs);
    if (entry === null) {
      entry = this.#l1.findAged(id, nowMs);
      if (entry === null || nowMs >= entry.storedAtMs + entry.ttlMs) return undefined;
    }
    const counters = this.#counters;
    counters.l1Hits += 1;
    if (entry.value === null) counters.negativeHits += 1;
    if (this.#interest.hits || HIT_CHANNEL.hasSubscribers) this.#observer.hit(id, 'l1', entry.value, entry.storedAtMs);
    return entry.value;
  }

  /**
   * Stores a value in all tiers. Resolves when the store has it; loads of the key under way are voided. True = the cache has this value or,
   * with {@link SetOptions.version}, already had that version; false = the version is older than one that the cache has or had, and the value was not stored.
   *
   * Rejects with `CACHE_WRITE_UNACKNOWLEDGED` when the store did not say so: it may or may not have taken effect; with the store's own code when it refused
   * (`STORE_TOO_LARGE`, `STORE_NO_ROOM`, `STORE_TOO_MANY_TAGS`, `STORE_KEY_RESERVED`): then nothing is stored under the key. It is in no L1 here either way.
   * What was not acknowledged the outbox removes from the store as soon as that answers ({@link UnacknowledgedError.queued}).
   */
  set(id: K, value: V, options: SetOptions = {}): Promise<boolean> {
    return this.#changing.set(id, value, options);
  }

  /**
   * Removes `id` from all tiers; whether the store had it. When it resolves, no later `get` through this Breakwater, nor through
   * another without L1, gives what was there: loads under way are voided.
   *
   * Rejects with `CACHE_INVALIDATION_UNACKNOWLEDGED` when the store did not acknowledge. Then it is in the outbox and retried until it is
   * ({@link UnacknowledgedError.queued}); until then gets of this process ask the source, and other processes may have the old value.
   */
  delete(id: K): Promise<boolean> {
    return this.#changing.delete(id);
  }

  /**
   * Changes the source, then invalidates `id` everywhere: the order that leaves no old value behind. Resolves when the store has
   * acknowledged; gets that begin then, in any process without L1, see the change, and with {@link GetOptions.after} in every process.
   *
   * Rejects with what `update` threw (the key is invalidated all the same, since the source may have taken the change), or with
   * `CACHE_INVALIDATION_UNACKNOWLEDGED` when the store did not acknowledge: then the outbox retries, as with {@link delete}. When both failed it is this code too, and
   * `error.cause` is an AggregateError: `errors[0]` what `update` threw, `errors[1]` why the store is in doubt.
   *
   * With an outbox on disk the key is noted there before `update` runs, so that it is invalidated at the next start if this process is killed in between. With
   * `CACHE_WRITE_NOT_BEGUN` that was not possible, and `update` was not called.
   */
  write<T>(id: K, update: () => T | Promise<T>): Promise<Written<T>>;
  /**
   * Under policy `through` and `behind`: writes the row of `id`, `null` deletes it.
   *
   * Through: resolves when the database has it and nothing older is in any tier. Rejects with what the sink threw (`SOURCE_REFUSED`, ...): then the cache shows what
   * the database has; with the codes of `write(id, fn)` otherwise.
   *
   * Behind: resolves when it is in the log on disk and visible to all who read; the database gets it later, unless a later write of the row makes it needless. Rejects with
   * `WRITE_BEHIND_FULL`, `WRITE_BEHIND_UNAVAILABLE` (nothing was queued), `WRITE_BEHIND_UNACKNOWLEDGED` (it may be), `WRITE_BEHIND_UNSEEN` (it is, and other
   * processes may not see it yet), `STORE_TOO_LARGE`.
   *
   * Both reject before anything is written with `CACHE_VALUE_INVALID`, `CACHE_VALUE_UNSERIALISABLE`, `CACHE_TAGS_INVALID`, and what the sink's `accept` says.
   */
  write(id: K, value: V | null): Promise<Written<WriteReceipt>>;
  write(id: K, update: unknown): Promise<Written<unknown>> {
    return this.#changing.write(id, update);
  }

  /**
   * As {@link write} of each value. Through: one transaction, all or none. Behind: each by itself; when one is rejected the others may be queued.
   */
  writeMany(changes: ReadonlyMap<K, V | null>): Promise<Written<ReadonlyMap<K, WriteReceipt>>> {
    return this.#changing.writeMany(changes);
  }

  /** Queued writes that the database refused for good. Only under policy `behind`. docs/guide/17-write-behind.md */
  get deadLetters(): DeadLetterBox {
    const { behind } = this.#changing;
    if (behind === null) throw invalid(`deadLetters of cache "${this.name}"`, "policy 'behind'", 'another');
    return deadLetterBox(behind);
  }

  /**
   * Loads and stores what of `ids` is not there or not fresh, behind the guard and after everybody who waits for a value (warm.ts). With `{ sql }`, or `{}` for all, the ids are
   * those of the declared `source`. Resolves when the iterable has ended; what could not be loaded is counted, not thrown.
   *
   * Rejects with `CACHE_WARM_STALLED`, `CACHE_CLOSED`, `CACHE_OPTION_INVALID`, `CACHE_OPTION_UNKNOWN`, the signal's reason, or what the iterable or `onProgress` threw.
   */
  async warm(ids: Iterable<K> | AsyncIterable<K> | IdQuery, options: WarmOptions = {}): Promise<WarmProgress> {
    this.#refuseClosed();
    if (options === null) throw invalid(`the options of warm of cache "${this.name}"`, 'an object', options);
    const { store, outage, ports, readTimeoutMs } = this.#shared;
    const { maxBatch, loadTimeoutMs } = this.#settings;
    const parts = warmPartsOf<K>({
      ...{ name: this.name, maxBatch, loadTimeoutMs, readTimeoutMs, store, outage, ports },
      packing: this.#packing,
      source: this.#source,
      keyOf: this.#allowedKey,
      warm: (some, permit) => this.#flights.warm(some, permit),
    });
    return await warm(parts, idsToWarm<K>(ids, this.#dataSource, this.name, options.signal), options);
  }

  /** What this cache has counted since it was declared. */
  stats(): CacheStats {
    const l1 = this.#l1;
    return {
      ...this.#counters,
      l1: l1 === null ? null : { entries: l1.size, bytes: l1.bytes, evictions: l1.evictions, bypassed: l1.bypassed },
      flights: this.#flights.count,
      known: this.#known?.stats() ?? null,
      sample: this.#observer.sampler?.stats() ?? null,
      queue: this.#changing.behind?.stats() ?? null,
    };
  }

  /** `id` was written or invalidated by this process: out of L1, and whatever is on its way is not kept. */
  #forget(id: K): void {
    // Whoever invalidates a key may have inserted its row.
    this.#known?.add(id);
    this.#shared.voids.voidKey(this.#prefix + id);
    this.#flights.forget(id);
    this.#l1?.remove(id);
  }

  #close(reason: BreakwaterError): void {
    this.#closed = reason;
    this.#observer.sampler?.close();
    this.#flights.close(reason);
    this.#l1?.clear();
  }

  /** The way behind an L1 that has nothing certainly fresh, for the most common call. */
  #getAged(id: K): Promise<A | null> {
    try {
      const near = this.#near(id, PLAIN);
      if (near === null) return this.#isUnknown(id, PLAIN) ? Promise.resolve(null) : this.#seat(id).value;
      return this.#l1!.promiseOf(near.entry);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #seat(id: K, wishes?: FlightWishes): Seat<A> {
    return this.#flights.seat(id, wishes) as Seat<A>;
  }

  #getWith(id: K, options: GetOptions, detailed: true): Promise<Detailed<A>>;
  #getWith(id: K, options: GetOptions, detailed: false): Promise<A | null>;
  #getWith(id: K, options: GetOptions, detailed: boolean): Promise<Detailed<A> | A | null> {
    try {
      const { signal, timeoutMs, wishes } = this.#readOptions(options);
      const near = this.#near(id, wishes);
      if (near !== null) {
        const { value, version, storedAtMs, ttlMs } = near.entry;
        if (!detailed) return Promise.resolve(value);
        const ageMs = this.#shared.ports.clock.now() - storedAtMs;
        return Promise.resolve({ value, from: near.isStale ? 'stale' : 'l1', ageMs, ttlMs, version });
      }
      if (this.#isUnknown(id, wishes)) {
        return Promise.resolve(detailed ? { value: null, from: 'filter', ageMs: 0, ttlMs: 0, version: null } : null);
      }
      const seat = this.#seat(id, wishes);
      if (!detailed) return this.#waitAlone(seat.value, signal, timeoutMs, this.#prefix + id);
      const answer = seat.got.then(({ value, from, ageMs, ttlMs, version }) => ({
        value,
        from,
        ageMs,
        ttlMs,
        version,
      }));
      return this.#waitAlone(answer, signal, timeoutMs, this.#prefix + id);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /**
   * What L1 may answer a caller with these wishes, or null. What is to be loaded anew while it is served, is.
   */
  #near(id: K, wishes: FlightWishes): { readonly entry: L1Entry<A>; readonly isStale: boolean } | null {
    // What L1 has may be older than another process's write.
    if (this.#l1 === null || wishes.afterCall === true) return null;
    const { ports } = this.#shared;
    const nowMs = ports.clock.now();
    const entry = this.#l1.findAged(id, nowMs);
    if (entry === null) return null;
    const { policy } = this.#settings;
    const verdict = verdictOf(entry, entry.storedAtMs, wishes, policy, nowMs, ports.random.nextFloat());
    if (verdict.kind === 'miss' || verdict.kind === 'stale-if-error') return null;
    if (verdict.kind !== 'fresh') this.#flights.reload(id, nowMs - entry.storedAtMs);
    const isStale = verdict.kind === 'stale';
    const counters = this.#counters;
    if (isStale) counters.staleHits += 1;
    else counters.l1Hits += 1;
    if (entry.value === null) counters.negativeHits += 1;
    if (isStale) this.#observer.stale(id, nowMs - entry.storedAtMs, undefined);
    else this.#observer.hit(id, 'l1', entry.value, entry.storedAtMs);
    return { entry, isStale };
  }

  /** What a get without wishes would be answered with at once: the value, null for known absent, undefined when it would load. */
  async #current(id: K): Promise<A | null | undefined> {
    const { ports, store, readTimeoutMs } = this.#shared;
    const near = this.#l1 === null ? null : this.#l1.find(id, ports.clock.now());
    if (near !== null) return near.value;
    const [far] = await store.read([this.#prefix + id], { lease: false, timeoutMs: readTimeoutMs });
    if (far === undefined || far.kind === 'miss') return undefined;
    const chunks: ChunkReader = (keys) => store.read(keys, { lease: false, timeoutMs: readTimeoutMs });
    const entry = await this.#packing.open<A>(this.#prefix + id, far, this.#settings.graceMs, chunks);
    return 'unreadable' in entry || entry.ageMs >= entry.ttlMs ? undefined : entry.value;
  }

  /** Whether the filter is sure that there is no such id. Who wants the source's answer is not told by a filter. */
  #isUnknown(id: K, wishes: FlightWishes): boolean {
    if (this.#known === null || this.#closed !== null || wishes.fresh === true) return false;
    this.#allowedKey(id);
    if (this.#known.mightContain(id)) return false;
    this.#counters.filtered += 1;
    return true;
  }

  #readOptions(options: GetOptions): CallOptions {
    const read = readGetOptions(options);
    const { sessionId, store } = this.#shared;
    if (options.after === undefined || isOwnToken(options.after, sessionId)) return read;
    // An embedded store heard nothing of a write elsewhere: only the source can answer.
    return { ...read, wishes: { ...read.wishes, ...(store.inProcess ? { fresh: true } : { afterCall: true }) } };
  }

  #waitAlone<T>(
    shared: Promise<T>,
    signal: AbortSignal | undefined,
    timeoutMs: number | null,
    what: string,
  ): Promise<T> {
    return waitAlone(shared, signal, timeoutMs, this.#shared.ports.scheduler, what, () => {
      this.#counters.abandonedWaits += 1;
    });
  }

  #refuseClosed(): void {
    if (this.#closed !== null) throw this.#closed;
  }

  #keyOf(id: K): string {
    this.#refuseClosed();
    return fullKey(this.#prefix, id);
  }

  /** L2 has `hit`: if L1 has that very entry, of this version, it is good again as of the read. */
  #revalidate(id: K, hit: ReadHit, stamp: number, atMs: number): Entry<A> | null {
    const { voids } = this.#shared;
    const entry = this.#l1?.ofVersion(id, hit.version, atMs) ?? null;
    if (entry === null || voids.crossed(stamp, this.#prefix + id, this.#namespace, entry.tags)) return null;
    // The store's word on how long it lives: somebody may have shortened it.
    this.#l1?.trust(entry, voids.stamp, hit.ttlMs === null ? Number.POSITIVE_INFINITY : atMs + hit.ttlMs);
    const { value, ttlMs, graceMs, loadMs, version, storedAtMs } = entry;
    return {
      value,
      tags: NO_TAGS,
      ageMs: Math.max(0, atMs - storedAtMs),
      ttlMs,
      graceMs,
      loadMs,
      version,
      encodedBytes: 0,
    };
  }

  #keep(id: K, entry: Entry<A>, stamp: number, atMs: number): void {
    const { l1 } = this.#settings;
    if (this.#l1 === null || l1 === null || this.#closed !== null) return;
    const tags = hashTags(entry.tags);
    const { voids } = this.#shared;
    if (voids.isBoundByTtl && l1.ttlMs === Number.POSITIVE_INFINITY) return;
    const key = this.#prefix + id;
    if (voids.changed(stamp, key) || voids.crossed(stamp, key, this.#namespace, tags)) return;
    if (this.#shared.store.outbox?.withholds(key, entry.tags) === true) return;
    const { value, ageMs, ttlMs, graceMs, loadMs, version } = entry;
    const storedAtMs = atMs - ageMs;
    const goneAtMs = Math.min(storedAtMs + keptMs(entry), atMs + l1.ttlMs);
    this.#l1.put(id, {
      value,
      storedAtMs,
      sureUntilMs: Math.min(goneAtMs, storedAtMs + surelyFreshMs(ttlMs, loadMs, this.#settings.policy.beta)),
      goneAtMs,
      ttlMs,
      graceMs,
      loadMs,
      version,
      // It survived all voids so far, as was just checked.
      stamp: voids.stamp,
      tags,
      bytes: this.#packing.codec.heapBytes(value, entry.encodedBytes),
    });
  }
}

/** @throws BreakwaterError `CACHE_OPTION_INVALID` */
function checkKnown(known: unknown, name: string, inProcess: boolean): KnownKeys {
  if (!(known instanceof KnownKeys)) throw invalid(`known of cache "${name}"`, 'a KnownKeys', known);
  if (inProcess) return known;
  throw new BreakwaterError(
    'CACHE_OPTION_INVALID',
    `cannot use known of cache "${name}": it needs the embedded store, since a row that another process inserts would be called absent here`,
  );
}
