/**
 * Flights: what happens to an id that L1 does not have. Ten thousand callers who ask for one key at once are one flight, one read of L2
 * and one load; a hundred keys asked for in one tick are one read and one call of the loader.
 *
 *     get --> gathered --tick ends--> reading --hit----------------------------------------> answered
 *                ^                      |------miss, lease granted--> loading --> answered --> filling --> done
 *                |                      |------miss, leased elsewhere--> waiting
 *                |                      |------L2 failed or down-----> loading (no lease, fills nothing in L2)
 *                +------poll, with back-off-------------------------------+
 *
 * Joining is where such libraries go stale: a caller who comes after an invalidation must not be given what was read before
 * it. So who may join depends on where the flight is:
 *
 *   gathered, waiting   its read is still to be sent: whatever it brings is later than the caller. Joins.
 *   reading             the answer may have left the store before the caller came. The caller starts a flight of its own: a read is cheap.
 *   loading             a second load is not cheap. The caller joins, but waits for the *verdict*: what L2 says to the
 *                       fill. The lease is good from the miss to the fill, so "stored" proves that nothing was invalidated before
 *                       the fill, and the caller came earlier than that. "Refused": the caller asks again, and all like him with him.
 *   filling             the fill may have been judged before the caller came. The caller starts a flight of its own, and finds the value in L2.
 *
 *   1. A's flight misses `user:42` with a lease and loads the old row.
 *   2. Another process updates the row and deletes `user:42`; acknowledged. The lease is void.
 *   3. B calls get('42') here, sees A's load under way and joins it.
 *   4. The load ends. A asked before 2, A may have the old row. The fill is refused: B asks again, in a new flight, and gets the new row.
 *
 * Without a lease (L2 cannot be reached) there is no verdict and callers take what the load brings: protecting the source comes first
 * while the store is gone, and staleness is bounded by the length of a load.
 *
 * What this process itself invalidates is known at once (`voids.ts`): a delete takes the load of its key out of `#loading`, and anything
 * crossed is kept out of L1.
 *
 * Every wait ends: a read after `readTimeoutMs`, waiting for other processes after twice `leaseWaitMs`, a load after `loadTimeoutMs`, a fill after
 * `fillTimeoutMs`; a caller who must ask again does so once, since in the new flight it is among the first.
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Scheduler } from '../base/scheduler.ts';
import { jitteredTtlMs } from '../freshness/jitter.ts';
import type { CacheStore, FillEntry, HeldLease, ReadHit, ReadResult } from '../stores/store.ts';
import { deepFreeze, FREEZE_VALUES, toJson } from './codec.ts';
import type { Counters } from './counters.ts';
import { bytesOf, type Entry, entryOf } from './entry.ts';
import { Flight, justValue, type Seat } from './flight.ts';
import { fullKey } from './key.ts';
import { callLoader, type LoadCall, type Loaded } from './load.ts';
import type { Settings } from './options.ts';
import type { Outage } from './outage.ts';
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
  readonly load: Loader<K, V>;
  readonly tagsOf: (value: Cached<V>, id: K) => readonly string[];
  readonly settings: Settings & FlightSettings;
  readonly store: CacheStore;
  readonly outage: Outage;
  readonly voids: Voids;
  readonly counters: Counters;
  readonly ports: FlightPorts;
  /**
   * Keeps an answer in L1 unless something of it was voided after `stamp`. `atMs`: the moment that its age and TTL count from.
   */
  readonly keep: (id: K, entry: Entry<Cached<V>>, stamp: number, atMs: number) => void;
}

const FIRST_POLL_MS = 5;
const LONGEST_POLL_MS = 50;
/**
 * How long a flight waits for loads of other processes, in leases: the first holder may be dead, then the next one is granted, and it is
 * worth waiting for that one too before everybody loads.
 */
const LEASES_WAITED = 2;

export class Flights<K extends string, V> {
  readonly #options: FlightsOptions<K, V>;
  readonly #prefix: string;
  /** Flights that may be joined without more ado: gathered, or waiting between polls. */
  readonly #open = new Map<K, Flight<K, Cached<V>>>();
  /** Loads under way, their fills not yet sent. */
  readonly #loading = new Map<K, Flight<K, Cached<V>>>();
  readonly #all = new Set<Flight<K, Cached<V>>>();
  readonly #calls = new Set<LoadCall<V>>();
  #gathered: Flight<K, Cached<V>>[] = [];
  #closed: BreakwaterError | null = null;

  constructor(options: FlightsOptions<K, V>) {
    this.#options = options;
    this.#prefix = `${options.name}:`;
  }

  /** Flights under way. */
  get count(): number {
    return this.#all.size;
  }

  /**
   * A seat in a flight of `id`: an existing one if it may be joined, else a new one that leaves at the end of this tick.
   * @throws BreakwaterError `CACHE_KEY_INVALID`, `CACHE_CLOSED`
   */
  seat(id: K): Seat<Cached<V>> {
    if (this.#closed !== null) throw this.#closed;
    const loading = this.#loading.get(id);
    if (loading !== undefined) {
      this.#options.counters.joined += 1;
      return this.#lateSeat(loading);
    }
    const open = this.#open.get(id);
    if (open !== undefined) {
      this.#options.counters.joined += 1;
      return open;
    }
    const flight = new Flight<K, Cached<V>>(id, fullKey(this.#prefix, id));
    this.#all.add(flight);
    this.#open.set(id, flight);
    this.#gather(flight);
    return flight;
  }

  /** This process wrote or deleted `id`: nobody joins what is being loaded for it any more. */
  forget(id: K): void {
    this.#loading.delete(id);
  }

  /** Ends all flights with `reason` and aborts their loaders. */
  close(reason: BreakwaterError): void {
    this.#closed = reason;
    for (const call of this.#calls) call.abort(reason);
    for (const flight of this.#all) {
      flight.timer?.cancel();
      flight.fail(reason);
      flight.verdict?.resolve(true);
    }
    this.#all.clear();
    this.#open.clear();
    this.#loading.clear();
    this.#gathered = [];
  }

  #lateSeat(flight: Flight<K, Cached<V>>): Seat<Cached<V>> {
    if (flight.late === null) {
      const { verdict } = flight;
      assert(verdict !== null, 'a load under way has a verdict to come');
      const got = verdict.promise.then((isGood) => (isGood ? flight.got : this.seat(flight.id).got));
      got.catch(ignore);
      flight.late = { got, value: justValue(got) };
    }
    return flight.late;
  }

  // -- gathered

  #gather(flight: Flight<K, Cached<V>>): void {
    this.#gathered.push(flight);
    // The end of the tick: after every promise reaction that is due now, so that gets behind an await gather too.
    if (this.#gathered.length === 1) Promise.resolve().then(() => process.nextTick(() => this.#depart()));
  }

  #depart(): void {
    const flights = this.#gathered;
    this.#gathered = [];
    const { maxBatch } = this.#options.settings;
    for (let start = 0; start < flights.length; start += maxBatch) this.#read(flights.slice(start, start + maxBatch));
  }

  // -- reading

  #read(flights: Flight<K, Cached<V>>[]): void {
    const { store, outage, settings, counters, voids, ports } = this.#options;
    const nowMs = ports.clock.now();
    for (const flight of flights) {
      if (this.#open.get(flight.id) === flight) this.#open.delete(flight.id);
      flight.stamp = voids.stamp;
      flight.sentAtMs = nowMs;
    }
    if (!outage.mayRead(nowMs)) {
      counters.l2ReadsSkipped += flights.length;
      this.#loadWithoutLease(flights);
      return;
    }
    const keys = flights.map((flight) => flight.key);
    const leaseMs = Math.max(1, settings.leaseWaitMs);
    store.read(keys, { lease: true, leaseMs, timeoutMs: settings.readTimeoutMs }).then(
      (results) => {
        outage.succeeded();
        this.#onRead(flights, results);
      },
      (error: unknown) => {
        if (this.#closed !== null) return;
        outage.failed(ports.clock.now(), error);
        counters.l2ReadErrors += flights.length;
        this.#loadWithoutLease(flights);
      },
    );
  }

  #onRead(flights: readonly Flight<K, Cached<V>>[], results: readonly ReadResult[]): void {
    assert(results.length === flights.length, 'a store answers every key');
    if (this.#closed !== null) return;
    const toLoad: Flight<K, Cached<V>>[] = [];
    const toClean: Flight<K, Cached<V>>[] = [];
    flights.forEach((flight, index) => {
      const result = results[index]!;
      if (result.kind === 'hit') {
        if (!this.#onHit(flight, result)) toClean.push(flight);
      } else if (result.lease !== null) {
        flight.lease = result.lease;
        toLoad.push(flight);
      } else if (!this.#waitOrFollow(flight)) {
        this.#options.counters.leaseGiveUps += 1;
        toLoad.push(flight);
      }
    });
    if (toClean.length > 0) this.#clean(toClean);
    if (toLoad.length > 0) this.#load(toLoad);
  }

  /** False: it cannot be read. */
  #onHit(flight: Flight<K, Cached<V>>, hit: ReadHit): boolean {
    const { counters, keep } = this.#options;
    const entry = entryOf<Cached<V>>(hit);
    if ('unreadable' in entry) return false;
    try {
      if (FREEZE_VALUES) deepFreeze(entry.value);
      // As of the sending: on its way back it has grown older, never younger.
      keep(flight.id, entry, flight.stamp, flight.sentAtMs);
    } catch (error) {
      // JSON.parse reads any depth, our walks of its value do not: others may write what this library would refuse to.
      if (error instanceof RangeError) return false;
      throw error;
    }
    counters.l2Hits += 1;
    if (entry.value === null) counters.negativeHits += 1;
    this.#all.delete(flight);
    flight.answer({ ...entry, from: 'l2' });
    return true;
  }

  /**
   * What L2 has cannot be read: another format version, or not JSON. It is removed and the key read again, so that the load
   * has a lease and its fill repairs the entry. A plain overwrite would be the race that leases are there to close.
   */
  #clean(flights: readonly Flight<K, Cached<V>>[]): void {
    const { store, counters, settings } = this.#options;
    counters.unreadable += flights.length;
    const again = flights.filter((flight) => !flight.cleaned);
    const twice = flights.filter((flight) => flight.cleaned);
    for (const flight of again) flight.cleaned = true;
    if (twice.length > 0) this.#loadWithoutLease(twice);
    if (again.length === 0) return;
    store
      .delete(
        again.map((flight) => flight.key),
        { timeoutMs: settings.readTimeoutMs },
      )
      .then(
        () => {
          if (this.#closed === null) this.#read(again);
        },
        () => {
          if (this.#closed === null) this.#loadWithoutLease(again);
        },
      );
  }

  // -- waiting

  /** Another caller holds the lease. False: it has been waited for long enough. */
  #waitOrFollow(flight: Flight<K, Cached<V>>): boolean {
    const { ports, settings, counters } = this.#options;
    // Our own process holds it: no need to poll.
    const loading = this.#loading.get(flight.id);
    if (loading !== undefined) {
      this.#follow(flight, this.#lateSeat(loading));
      return true;
    }
    const open = this.#open.get(flight.id);
    if (open !== undefined && open.waitUntilMs !== null) {
      this.#follow(flight, open);
      return true;
    }
    const nowMs = ports.clock.now();
    flight.waitUntilMs ??= nowMs + settings.leaseWaitMs * LEASES_WAITED;
    if (nowMs >= flight.waitUntilMs) return false;
    if (open === undefined) this.#open.set(flight.id, flight);
    const delayMs = Math.min(FIRST_POLL_MS * 2 ** flight.polls, LONGEST_POLL_MS, flight.waitUntilMs - nowMs);
    flight.polls += 1;
    counters.leasePolls += 1;
    flight.timer = ports.scheduler.setTimer(delayMs, () => {
      flight.timer = null;
      if (!flight.isOver) this.#gather(flight);
    });
    return true;
  }

  #follow(flight: Flight<K, Cached<V>>, seat: Seat<Cached<V>>): void {
    this.#options.counters.joined += 1;
    this.#all.delete(flight);
    flight.answer(seat.got);
  }

  // -- loading

  /** L2 could not be asked. A load of the key that is under way here will do. */
  #loadWithoutLease(flights: readonly Flight<K, Cached<V>>[]): void {
    const toLoad: Flight<K, Cached<V>>[] = [];
    for (const flight of flights) {
      const loading = this.#loading.get(flight.id);
      if (loading === undefined) toLoad.push(flight);
      else this.#follow(flight, this.#lateSeat(loading));
    }
    if (toLoad.length > 0) this.#load(toLoad);
  }

  #load(flights: readonly Flight<K, Cached<V>>[]): void {
    const { load, settings, ports, name, voids, counters } = this.#options;
    const beganMs = ports.clock.now();
    for (const flight of flights) {
      // A leased flight counts from its read: what was voided since the lease voids the fill as well.
      if (flight.lease === null) flight.stamp = voids.stamp;
      flight.verdict = new Deferred<boolean>();
      this.#loading.set(flight.id, flight);
    }
    counters.misses += flights.length;
    counters.loads += 1;
    counters.loadedIds += flights.length;
    const ids = flights.map((flight) => flight.id);
    const call = callLoader(load, ids, settings.loadTimeoutMs, ports.scheduler, name);
    this.#calls.add(call);
    call.answer.then(
      ({ loaded, extras }) => {
        this.#calls.delete(call);
        if (this.#closed !== null) return;
        counters.loaderExtras += extras;
        this.#onLoaded(flights, loaded, ports.clock.now() - beganMs);
      },
      (error: unknown) => {
        this.#calls.delete(call);
        if (this.#closed !== null) return;
        counters.loadErrors += 1;
        if (error instanceof BreakwaterError && error.code === 'CACHE_LOAD_TIMEOUT') counters.loadTimeouts += 1;
        for (const flight of flights) this.#failLoad(flight, error);
        this.#release(flights);
      },
    );
  }

  #onLoaded(flights: readonly Flight<K, Cached<V>>[], loaded: readonly Loaded<V>[], loadMs: number): void {
    const nowMs = this.#options.ports.clock.now();
    const fills: Fill<K, Cached<V>>[] = [];
    const unused: Flight<K, Cached<V>>[] = [];
    flights.forEach((flight, index) => {
      const one = loaded[index]!;
      try {
        if (one.kind === 'error') throw one.error;
        const { entry, text } = this.#entryOf(flight, one);
        const isFilled = entry.ttlMs > 0 && flight.lease !== null;
        // A fill over the network is not waited for. One in this process is done at once, and then `peek` has what `get` gave.
        if (!isFilled || !this.#options.store.inProcess) this.#answerLoaded(flight, entry);
        if (isFilled && flight.lease !== null) {
          const value = bytesOf(text, entry.ttlMs, entry.tags, nowMs, loadMs);
          const { key, lease } = flight;
          fills.push({ flight, entry, fill: { key, value, lease, ttlMs: entry.ttlMs, tags: entry.tags } });
        } else {
          // No lease, or an absence that is not to be remembered: nothing to fill, so no verdict to wait for.
          if (entry.ttlMs > 0) this.#keep(flight, entry, nowMs);
          this.#judged(flight, !this.#isCrossed(flight, entry));
          unused.push(flight);
        }
      } catch (error) {
        if (one.kind === 'error') this.#options.counters.loadErrors += 1;
        this.#failLoad(flight, error);
        unused.push(flight);
      }
    });
    if (unused.length > 0) this.#release(unused);
    if (fills.length > 0) this.#fill(fills, nowMs);
  }

  /** @throws BreakwaterError `CACHE_VALUE_UNSERIALISABLE`, `CACHE_TAGS_INVALID`; what the user's `tags` throws */
  #entryOf(
    flight: Flight<K, Cached<V>>,
    loaded: Exclude<Loaded<V>, { kind: 'error' }>,
  ): { entry: Entry<Cached<V>>; text: string | null } {
    const { settings, ports, tagsOf } = this.#options;
    const ttlMs = (meanMs: number): number => jitteredTtlMs(meanMs, settings.jitter, ports.random.nextFloat());
    if (loaded.kind === 'absent') {
      const entry = { value: null, tags: [], ageMs: 0, ttlMs: ttlMs(settings.negativeTtlMs), version: null };
      return { entry, text: null };
    }
    const text = toJson(loaded.value, flight.key);
    const value = JSON.parse(text) as Cached<V>;
    if (FREEZE_VALUES) deepFreeze(value);
    const entry = { value, tags: tagsOf(value, flight.id), ageMs: 0, ttlMs: ttlMs(settings.ttlMs), version: null };
    return { entry, text };
  }

  #failLoad(flight: Flight<K, Cached<V>>, error: unknown): void {
    this.#all.delete(flight);
    flight.fail(error);
    this.#judged(flight, true);
  }

  // -- filling

  #fill(fills: readonly Fill<K, Cached<V>>[], nowMs: number): void {
    const { store, settings, counters } = this.#options;
    // From here on nobody joins: the fill may have been judged before such a caller came. Its read follows the fill to the store.
    for (const { flight } of fills) this.#leave(flight);
    store
      .fill(
        fills.map(({ fill }) => fill),
        { timeoutMs: settings.fillTimeoutMs },
      )
      .then(
        (stored) => {
          fills.forEach(({ flight, entry }, index) => {
            const isGood = stored[index] === true && !this.#isCrossed(flight, entry);
            if (stored[index] !== true) counters.fillsRefused += 1;
            if (isGood) this.#keep(flight, entry, nowMs);
            if (!flight.isOver) this.#answerLoaded(flight, entry);
            this.#judged(flight, isGood);
          });
        },
        (error: unknown) => {
          if (this.#closed === null) this.#options.outage.note(error);
          counters.fillErrors += fills.length;
          for (const { flight, entry } of fills) {
            if (!flight.isOver) this.#answerLoaded(flight, entry);
            this.#judged(flight, false);
          }
        },
      );
  }

  #answerLoaded(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>>): void {
    this.#all.delete(flight);
    flight.answer({ ...entry, from: 'loader' });
  }

  #keep(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>>, nowMs: number): void {
    this.#options.keep(flight.id, entry, flight.stamp, nowMs);
  }

  #isCrossed(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>>): boolean {
    const { voids, namespace } = this.#options;
    return voids.crossed(flight.stamp, flight.key, namespace, hashTags(entry.tags));
  }

  /** The verdict is out: late callers take the answer, or ask again. */
  #judged(flight: Flight<K, Cached<V>>, isGood: boolean): void {
    this.#leave(flight);
    assert(flight.verdict !== null, 'only a load is judged');
    flight.verdict.resolve(isGood);
  }

  #leave(flight: Flight<K, Cached<V>>): void {
    if (this.#loading.get(flight.id) === flight) this.#loading.delete(flight.id);
  }

  /** Gives the leases of loads that will not fill back, so that other processes need not wait for them. */
  #release(flights: readonly Flight<K, Cached<V>>[]): void {
    const { store, settings } = this.#options;
    const leases: HeldLease[] = [];
    for (const { key, lease } of flights) if (lease !== null) leases.push({ key, lease });
    if (leases.length > 0) store.release(leases, { timeoutMs: settings.fillTimeoutMs }).catch(ignore);
  }
}

interface Fill<K extends string, T> {
  readonly flight: Flight<K, T>;
  readonly entry: Entry<T>;
  readonly fill: FillEntry;
}

function ignore(): void {}
