/**
 * Loads under way, from the guard's door to the fill: what a flight does when neither tier had what its callers want.
 *
 *     start --guard lets through--> loading --> answered --> filling --> judged
 *        |                             |
 *        +--- shed, backed off --------+--- failed, timed out ---> the stale value in the hand, if callers may have it; else the error
 *
 * Every load passes the guard (guard/guard.ts), whatever the state of L2: with the whole of it gone, the source sees no more calls at once than the
 * cap. Reloads in the background go behind what callers wait for. A call that was cut off holds its slot until the loader has settled.
 *
 * Who comes while a load is under way waits for its *verdict* (flights.ts says why), which carries what the load brought, or null: ask again.
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { jitteredTtlMs } from '../freshness/jitter.ts';
import { isServableOnError } from '../freshness/judge.ts';
import type { CacheStore, FillEntry, HeldLease, ReadHit } from '../stores/store.ts';
import { listen } from './abort.ts';
import { chunkTtlMs, type Packing, type Parcel } from './codec/packing.ts';
import { FREEZE_VALUES } from './codec.ts';
import type { Counters } from './counters.ts';
import { type Entry, keptMs, verdictOf } from './entry.ts';
import { type Flight, type FlightWishes, type Got, justValue, type Permit, PLAIN, type Seat } from './flight.ts';
import type { GuardRequest } from './guard/call.ts';
import { GuardShedError } from './guard/errors.ts';
import { badResult, callLoader, type LoadAnswer, type Loaded, loadError, readAnswer } from './load.ts';
import type { CacheObserver } from './observe/cache-observer.ts';
import type { Settings } from './options.ts';
import type { Outage } from './outage.ts';
import { Quiet } from './quiet.ts';
import type { Source } from './source.ts';
import type { Cached, Loader } from './types.ts';
import { hashTags, type Voids } from './voids.ts';
import { Deferred } from './waiting.ts';

export interface FlightPorts {
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
}

export interface FlightSettings {
  readonly readTimeoutMs: number;
  readonly fillTimeoutMs: number;
}

/** What the flights of one cache work with. */
export interface FlightsOptions<K extends string, V> {
  readonly name: string;
  /** Of the cache's name. */
  readonly namespace: number;
  /** The key in the store. @throws BreakwaterError `CACHE_KEY_INVALID` */
  readonly keyOf: (id: K) => string;
  readonly load: Loader<K, V>;
  readonly source: Source;
  readonly tagsOf: (value: Cached<V>, id: K) => readonly string[];
  /** What is wrong with a value, or null. */
  readonly check: (value: Cached<V>) => string | null;
  readonly settings: Settings & FlightSettings;
  readonly packing: Packing;
  readonly store: CacheStore;
  readonly outage: Outage;
  readonly voids: Voids;
  readonly counters: Counters;
  readonly ports: FlightPorts;
  /**
   * Keeps an answer in L1 unless something of it was voided after `stamp`. `atMs`: the moment that its age and TTL count from.
   */
  readonly keep: (id: K, entry: Entry<Cached<V>>, stamp: number, atMs: number) => void;
  /**
   * What L1 has of `id`, if L2's hit says that it is the same entry: it is trusted again. Null when it is another one, there is none, or something of it
   * was voided after `stamp`. `atMs`: when the read was sent.
   */
  readonly revalidate: (id: K, hit: ReadHit, stamp: number, atMs: number) => Entry<Cached<V>> | null;
  readonly observer: CacheObserver;
  /** The source had no row of this id. */
  readonly onAbsent: (id: K) => void;
}

/** After a reload in the background was shed, none is tried for so long (unless the guard says for how long). */
const RELOAD_PAUSE_MS = 250;
const LONGEST_RELOAD_PAUSE_MS = 2_000;

const NO_TAGS: readonly string[] = Object.freeze([]);
const NOTHING = new Map<string, never>();
const NEVER_QUIET = (): number => 0;

/** A call of the loader that has ended well. */
interface Brought<V> extends LoadAnswer<V> {
  readonly loadMs: number;
}

interface Fill<K extends string, T> {
  readonly flight: Flight<K, T>;
  readonly entry: Entry<T>;
  readonly fill: FillEntry;
}

export class Loads<K extends string, V> {
  readonly #options: FlightsOptions<K, V>;
  readonly #all: Set<Flight<K, Cached<V>>>;
  readonly #again: (id: K, wishes: FlightWishes) => Seat<Cached<V>>;
  /** Loads that callers wait for, their fills not yet sent. */
  readonly #loading = new Map<K, Flight<K, Cached<V>>>();
  /** Reloads in the background. */
  readonly #reloading = new Map<K, Flight<K, Cached<V>>>();
  readonly #ending = new AbortController();
  /** What is on its way to the store, that others wait for: fills, and leases given back. */
  readonly parting = new Set<Promise<unknown>>();
  readonly #quiet: Quiet | null;
  #noReloadBeforeMs = 0;
  #order = 0;
  #closed = false;

  /** @param all flights under way, shared with `Flights` @param again a new seat, for those who must ask again */
  constructor(
    options: FlightsOptions<K, V>,
    all: Set<Flight<K, Cached<V>>>,
    again: (id: K, wishes: FlightWishes) => Seat<Cached<V>>,
  ) {
    this.#options = options;
    const { store, voids, namespace, ports } = options;
    this.#quiet = store.inProcess ? new Quiet(voids, namespace, ports.clock.now()) : null;
    this.#all = all;
    this.#again = again;
  }

  /** Counts what happens in this process, so that "before" and "after" are comparisons of two integers. */
  next(): number {
    this.#order += 1;
    return this.#order;
  }

  /** Nothing that a caller who comes now could join. */
  get isIdle(): boolean {
    return this.#loading.size === 0;
  }

  /** A load that a caller who comes now may join at once: not one whose own callers may take a stale value meanwhile. */
  joinable(id: K, wishes: FlightWishes): Flight<K, Cached<V>> | null {
    const loading = this.#loading.get(id);
    if (loading === undefined || loading.fallback?.servable === true) return null;
    return suits(loading, wishes, this.#order) ? loading : null;
  }

  /** A load that a flight whose callers had come by `departed` may wait for instead of loading itself: a reload in the background too. */
  followable(id: K, wishes: FlightWishes, departed: number): Flight<K, Cached<V>> | null {
    const loading = this.#underWay(id);
    return loading === null || !suits(loading, wishes, departed) ? null : loading;
  }

  /** A load without a lease: nobody joins it once it asks the source, and the next one of the key begins when it is over. */
  leaseless(id: K): Flight<K, Cached<V>> | null {
    const loading = this.#underWay(id);
    return loading === null || loading.lease !== null ? null : loading;
  }

  #underWay(id: K): Flight<K, Cached<V>> | null {
    return this.#loading.get(id) ?? this.#reloading.get(id) ?? null;
  }

  lateSeat(flight: Flight<K, Cached<V>>, wishes: FlightWishes): Seat<Cached<V>> {
    if (wishes === PLAIN && flight.late !== null) return flight.late;
    const { verdict } = flight;
    assert(verdict !== null, 'a load under way has a verdict to come');
    const got = verdict.promise.then((brought) => brought ?? this.#again(flight.id, wishes).got);
    got.catch(ignore);
    const seat = { got, value: justValue(got) };
    if (wishes === PLAIN) flight.late = seat;
    return seat;
  }

  /** Whether it makes sense to reload `key` in the background now. */
  mayReload(key: string): boolean {
    const { source, ports } = this.#options;
    return ports.clock.now() >= this.#noReloadBeforeMs && source.guard.remembered(key) === null;
  }

  forget(id: K): void {
    this.#loading.delete(id);
    this.#reloading.delete(id);
  }

  close(reason: BreakwaterError): void {
    this.#closed = true;
    // Nothing of what they bring will be stored, and other processes wait for it.
    this.#release([...this.#loading.values(), ...this.#reloading.values()]);
    this.#loading.clear();
    this.#reloading.clear();
    this.#ending.abort(reason);
  }

  /** Answers with the stale value in the hand, if callers may have it still. False: there is none. */
  answerStale(flight: Flight<K, Cached<V>>, reloadError: unknown): boolean {
    const { settings, ports, counters } = this.#options;
    const { fallback } = flight;
    if (fallback === null || !fallback.servable) return false;
    const { entry } = fallback;
    const storedAtMs = flight.sentAtMs - entry.ageMs;
    const nowMs = ports.clock.now();
    const verdict = verdictOf(entry, storedAtMs, flight.wishes, settings.policy, nowMs, 0);
    if (!isServableOnError(verdict) || this.#isCrossed(flight, entry)) return false;
    counters.staleHits += 1;
    this.#options.observer.stale(flight.id, nowMs - storedAtMs, reloadError);
    flight.answer({ ...entry, ageMs: nowMs - storedAtMs, from: 'stale', reloadError });
    return true;
  }

  // -- loading

  start(flights: readonly Flight<K, Cached<V>>[]): void {
    const foreground = flights.filter(({ priority }) => priority === 'foreground');
    if (foreground.length === flights.length) this.#begin(foreground);
    else {
      if (foreground.length > 0) this.#begin(foreground);
      const background = flights.filter(({ priority }) => priority === 'background');
      for (const permit of new Set(background.map((flight) => flight.permit))) {
        this.#begin(background.filter((flight) => flight.permit === permit));
      }
    }
  }

  /** All of one priority and one permit. */
  #begin(all: readonly Flight<K, Cached<V>>[]): void {
    const { settings, source, voids, counters, observer } = this.#options;
    const isBackground = all[0]!.priority === 'background';
    const failed: Flight<K, Cached<V>>[] = [];
    const flights = all.filter((flight) => {
      // A leased flight counts from its lease: what was voided since then voids the fill as well.
      if (flight.lease === null) flight.stamp = voids.stamp;
      this.#all.add(flight); // its callers may have been answered already, those who come now have not
      flight.verdict = new Deferred<Got<Cached<V>> | null>();
      const remembered = source.guard.remembered(flight.key);
      if (remembered === null) {
        (isBackground ? this.#reloading : this.#loading).set(flight.id, flight);
        return true;
      }
      counters.backedOff += 1;
      this.#fail(flight, this.#errorFor(remembered.error, [flight]));
      failed.push(flight);
      return false;
    });
    this.#release(failed);
    if (flights.length === 0) return;
    if (isBackground) counters.reloads += flights.length;
    else counters.misses += flights.length;
    if (!isBackground) observer.miss(flights);
    const { loadTimeoutMs } = settings;
    const request: GuardRequest = {
      priority: isBackground ? 'background' : 'foreground',
      keys: flights.map(({ key }) => key),
      hardTimeoutMs: loadTimeoutMs,
      deadlineMs: loadTimeoutMs + source.queueTimeoutMs,
      signal: this.#ending.signal,
    };
    const { permit } = flights[0]!;
    observer
      .load(flights, (within) =>
        permit === null
          ? source.guard.run(({ signal }) => within(() => this.#call(flights, signal)), request)
          : this.#callWithin(permit, () => within(() => this.#call(flights, permit.signal))),
      )
      .then(
        (brought) => {
          if (!this.#closed) this.#onLoaded(flights, brought);
        },
        (error: unknown) => {
          if (!this.#closed) this.#onFailed(flights, error);
        },
      );
  }

  /** Whoever holds the slot holds it until the loader has settled; those who joined are told when the time is up. */
  #callWithin<T>(permit: Permit, call: () => Promise<T>): Promise<T> {
    const { signal } = permit;
    return new Promise((resolve, reject) => {
      const unlisten = listen(signal, () => reject(signal.reason));
      const over = call().then(resolve, (error: unknown) => {
        permit.error = error;
        reject(error);
      });
      permit.calls.push(over.finally(unlisten));
    });
  }

  /** The guard's turn: calls the loader, and settles when the loader does. */
  async #call(flights: readonly Flight<K, Cached<V>>[], signal: AbortSignal): Promise<Brought<V>> {
    const { load, name, ports, counters, observer } = this.#options;
    counters.loads += 1;
    counters.loadedIds += flights.length;
    const asked = this.next();
    for (const flight of flights) flight.asked = asked;
    const ids = flights.map((flight) => flight.id);
    const context = { signal, ...staleOf(flights), quietMs: this.#quietMs(flights) };
    // Measured here, where the source is asked: waiting for a turn is not the source's doing, and XFetch must not react to it.
    const beganMs = ports.clock.now();
    const result = await observer.timed(flights, () => callLoader(load, ids, context));
    const loadMs = ports.clock.now() - beganMs;
    return { ...readAnswer(result, ids, name), loadMs };
  }

  /** Only a lease is judged by the store, and who wants what is true after his call is not told of before. */
  #quietMs(flights: readonly Flight<K, Cached<V>>[]): (id: string) => number {
    const quiet = this.#quiet;
    if (quiet === null) return NEVER_QUIET;
    const { name, ports } = this.#options;
    const isPlain = flights.every(({ lease, wishes }) => lease !== null && !wishes.fresh && !wishes.afterCall);
    return isPlain ? (id) => quiet.since(`${name}:${id}`, ports.clock.now()) : NEVER_QUIET;
  }

  #errorFor(error: unknown, flights: readonly Flight<K, Cached<V>>[]): unknown {
    const { name, settings } = this.#options;
    return loadError(
      error,
      name,
      flights.map(({ id }) => id),
      settings.loadTimeoutMs,
    );
  }

  #onFailed(flights: readonly Flight<K, Cached<V>>[], thrown: unknown): void {
    const { counters, ports } = this.#options;
    const error = this.#errorFor(thrown, flights);
    if (error instanceof GuardShedError) {
      counters.shed += flights.length;
      this.#options.observer.shed(flights, error);
      if (flights[0]!.priority === 'background') {
        const pauseMs = Math.min(error.retryAfterMs ?? RELOAD_PAUSE_MS, LONGEST_RELOAD_PAUSE_MS);
        this.#noReloadBeforeMs = ports.clock.now() + pauseMs;
      }
    } else {
      counters.loadErrors += 1;
      if (error instanceof BreakwaterError && error.code === 'CACHE_LOAD_TIMEOUT') counters.loadTimeouts += 1;
    }
    for (const flight of flights) this.#fail(flight, error);
    this.#release(flights);
  }

  #onLoaded(flights: readonly Flight<K, Cached<V>>[], { loaded, extras, loadMs }: Brought<V>): void {
    const { ports, source, store, counters, packing } = this.#options;
    counters.loaderExtras += extras;
    const nowMs = ports.clock.now();
    const fills: Fill<K, Cached<V>>[] = [];
    const unused: Flight<K, Cached<V>>[] = [];
    flights.forEach((flight, index) => {
      const one = loaded[index]!;
      try {
        if (one.kind === 'error') throw one.error;
        const { entry, plain } = this.#entryOf(flight, one, loadMs);
        const { key, lease } = flight;
        if (entry.ttlMs > 0 && lease !== null) {
          // A fill over the network is not waited for. One in this process is done at once, and then `peek` has what `get` gave.
          if (!store.inProcess) this.#answer(flight, entry);
          const parcel = packing.pack(key, plain, entry, entry.tags, nowMs, entry.validator);
          if (parcel instanceof Promise || parcel.chunks.length > 0)
            this.#fillLate(flight, entry, lease, parcel, nowMs);
          else fills.push(fillOf(flight, entry, lease, parcel));
        } else {
          // No lease, or an absence that is not to be remembered: nothing to fill, so the store gives no verdict.
          this.#answer(flight, entry);
          if (entry.ttlMs > 0 && store.feed?.tellsOfReadsOnly !== true) {
            this.#options.keep(flight.id, entry, flight.stamp, nowMs);
          }
          // Who joined a leased load came to it at any time, and only the store could say what happened before: he asks again.
          this.#judged(flight, lease !== null || this.#isCrossed(flight, entry) ? null : entry);
          unused.push(flight);
        }
      } catch (error) {
        if (one.kind === 'error') counters.loadErrors += 1;
        source.guard.noteFailure(flight.key, error);
        this.#fail(flight, error);
        unused.push(flight);
      }
    });
    if (fills.length > 0) this.#fill(fills, nowMs);
    this.#release(unused);
  }

  #entryOf(
    flight: Flight<K, Cached<V>>,
    loaded: Exclude<Loaded<V>, { readonly kind: 'error' }>,
    loadMs: number,
  ): { readonly entry: Entry<Cached<V>>; readonly plain: string | Uint8Array | null } {
    const { settings, ports, tagsOf, name, check, counters, packing } = this.#options;
    const ttlMs = (meanMs: number): number => jitteredTtlMs(meanMs, settings.jitter, ports.random.nextFloat());
    const { graceMs } = settings;
    if (loaded.kind === 'absent') {
      this.#options.onAbsent(flight.id);
      const absent = { value: null, tags: NO_TAGS, ageMs: 0, version: null, graceMs: 0, loadMs, encodedBytes: 0 };
      return { entry: { ...absent, ttlMs: ttlMs(settings.negativeTtlMs) }, plain: null };
    }
    let raw: unknown;
    let validator: string | undefined;
    if (loaded.kind === 'not-modified') {
      raw = flight.fallback?.entry.value;
      if (raw === undefined || raw === null) {
        throw badResult(name, `NOT_MODIFIED only for ids in the context's stale, received it for "${flight.id}"`);
      }
      counters.notModified += 1;
      validator = flight.fallback?.entry.validator;
    } else {
      raw = loaded.value;
      validator = loaded.validator;
    }
    const { codec } = packing;
    const encoded = codec.encode(raw, flight.key);
    const value = encoded.value as Cached<V>;
    if (FREEZE_VALUES) codec.freeze(value);
    const wrong = check(value);
    if (wrong !== null) throw invalidValue(flight.key, wrong);
    const tags = tagsOf(value, flight.id);
    return {
      entry: {
        value,
        tags,
        ageMs: 0,
        ttlMs: ttlMs(settings.ttlMs),
        graceMs,
        loadMs,
        version: null,
        validator,
        encodedBytes: encoded.plain.length,
      },
      plain: encoded.plain,
    };
  }

  /** Its callers get the stale value in the hand or the error; who came late asks again or gets the error. */
  #fail(flight: Flight<K, Cached<V>>, error: unknown): void {
    this.#all.delete(flight);
    this.#leave(flight);
    assert(flight.verdict !== null, 'only a load fails');
    if (flight.isOver || this.answerStale(flight, error)) {
      flight.verdict.resolve(null);
    } else {
      flight.fail(error);
      flight.verdict.reject(error);
    }
    flight.free();
  }

  // -- filling

  /**
   * A fill that is not ready at once: large values, compressed or encrypted in the thread pool, or in chunks. Until then it is loading: who comes may
   * join, since the fill is still to be judged. Chunks go first; nobody finds them before the fill.
   */
  #fillLate(
    flight: Flight<K, Cached<V>>,
    entry: Entry<Cached<V>>,
    lease: string,
    packing: Parcel | Promise<Parcel>,
    nowMs: number,
  ): void {
    const { store, settings, counters, outage } = this.#options;
    const send = async (): Promise<void> => {
      const parcel = await packing;
      const chunk = { ttlMs: chunkTtlMs(entry), tags: entry.tags };
      for (const { key, bytes } of parcel.chunks) {
        await store.set(key, bytes, chunk, { timeoutMs: settings.fillTimeoutMs });
      }
      this.#fill([fillOf(flight, entry, lease, parcel)], nowMs);
    };
    const sent = send().catch((error: unknown) => {
      if (!this.#closed) outage.note(error);
      counters.fillErrors += 1;
      this.#answer(flight, entry);
      this.#judged(flight, null);
      this.#release([flight]);
    });
    this.#part(sent);
  }

  #fill(fills: readonly Fill<K, Cached<V>>[], nowMs: number): void {
    const { store, settings, counters, outage, observer } = this.#options;
    // From here on nobody joins: the fill may have been judged before such a caller came. Its read follows the fill to the store.
    for (const { flight } of fills) this.#leave(flight);
    const entries = fills.map(({ fill }) => fill);
    const sent = observer
      .fill(entries.length, () => store.fill(entries, { timeoutMs: settings.fillTimeoutMs }))
      .then(
        (stored) => {
          fills.forEach(({ flight, entry }, index) => {
            const isGood = stored[index] === true && !this.#isCrossed(flight, entry);
            if (stored[index] !== true) counters.fillsRefused += 1;
            observer.filled(flight.id, stored[index] === true);
            if (isGood && store.feed?.tellsOfReadsOnly !== true)
              this.#options.keep(flight.id, entry, flight.stamp, nowMs);
            this.#answer(flight, entry);
            this.#judged(flight, isGood ? entry : null);
          });
        },
        (error: unknown) => {
          if (!this.#closed) outage.note(error);
          counters.fillErrors += fills.length;
          for (const { flight, entry } of fills) {
            this.#answer(flight, entry);
            this.#judged(flight, null);
          }
        },
      );
    this.#part(sent);
  }

  #answer(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>>): void {
    this.#all.delete(flight);
    if (!flight.isOver) flight.answer({ ...entry, from: 'loader' });
  }

  #isCrossed(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>>): boolean {
    const { voids, namespace } = this.#options;
    return voids.crossed(flight.stamp, flight.key, namespace, hashTags(entry.tags));
  }

  /** The verdict is out: late callers take what was brought, or ask again. */
  #judged(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>> | null): void {
    this.#leave(flight);
    assert(flight.verdict !== null, 'only a load is judged');
    flight.verdict.resolve(entry === null ? null : { ...entry, from: 'loader' });
    flight.free();
  }

  #leave(flight: Flight<K, Cached<V>>): void {
    if (this.#loading.get(flight.id) === flight) this.#loading.delete(flight.id);
    if (this.#reloading.get(flight.id) === flight) this.#reloading.delete(flight.id);
  }

  /** Gives the leases of loads that will not fill back, so that other processes need not wait for them. */
  #release(flights: readonly Flight<K, Cached<V>>[]): void {
    const { store, settings } = this.#options;
    const leases: HeldLease[] = [];
    for (const { key, lease } of flights) if (lease !== null) leases.push({ key, lease });
    if (leases.length > 0) this.#part(store.release(leases, { timeoutMs: settings.fillTimeoutMs }).catch(ignore));
  }

  /** @param sent never rejects */
  #part(sent: Promise<unknown>): void {
    this.parting.add(sent);
    void sent.then(() => this.parting.delete(sent));
  }
}

/** Whether what a load under way brings is what callers with `wishes` who had come by `departed` may have, once it is judged. */
function suits(
  loading: { readonly lease: string | null; readonly asked: number },
  wishes: FlightWishes,
  departed: number,
): boolean {
  // It asks the source after they came: whatever they wish for.
  if (loading.asked === 0 || loading.asked > departed) return true;
  // Without a lease there is no word from the store about what was invalidated before they came.
  return loading.lease !== null && wishes.fresh !== true;
}

/** What the cache still has of what is to be loaded. */
function staleOf<K extends string, T>(
  flights: readonly Flight<K, T>[],
): { readonly stale: ReadonlyMap<string, unknown>; readonly validators: ReadonlyMap<string, string> } {
  if (flights.every(({ fallback }) => fallback === null)) return { stale: NOTHING, validators: NOTHING };
  const stale = new Map<string, unknown>();
  const validators = new Map<string, string>();
  for (const { id, fallback } of flights) {
    if (fallback === null) continue;
    stale.set(id, fallback.entry.value);
    const { validator } = fallback.entry;
    if (validator !== undefined) validators.set(id, validator);
  }
  return { stale, validators };
}

function fillOf<K extends string, T>(flight: Flight<K, T>, entry: Entry<T>, lease: string, parcel: Parcel): Fill<K, T> {
  const { tags } = entry;
  return { flight, entry, fill: { key: flight.key, value: parcel.bytes, lease, ttlMs: keptMs(entry), tags } };
}

export function invalidValue(key: string, wrong: string): BreakwaterError {
  return new BreakwaterError(
    'CACHE_VALUE_INVALID',
    `cannot cache ${key}: its value is not what the schema says: ${wrong}`,
  );
}

function ignore(): void {}
