/**
 * Flights: what happens to an id that L1 does not have. Ten thousand callers who ask for one key at once are one flight, one read of L2
 * and one load; a hundred keys asked for in one tick are one read and one call of the loader.
 *
 *     get --> gathered --tick ends--> reading --hit----------------------------------------> answered
 *                ^                      |------miss, lease granted--> loading --> answered --> filling --> done
 *                |                      |------miss, leased elsewhere--> waiting
 *                |                      |------L2 failed or down-----> loading (no lease, fills nothing in L2)
 *                |                      |------withheld--------------> loading (the same: an invalidation of it waits in the outbox)
 *                +------poll, with back-off-------------------------------+
 *
 * What becomes of a hit is `judge`'s word (freshness/judge.ts): answered; answered and reloaded in the background; kept in the hand while it is
 * loaded anew; or loaded anew. Loading what has an entry needs a lease too (`store.lease`), so that one caller of the fleet does it and
 * its fill is judged like any other. Nobody waits for a reload in the background: who cannot have the lease lets it be.
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
 * Without a lease (L2 cannot be reached, or waiting for other processes took too long) there is no verdict. Such a load is joined only until it
 * asks the source. Who comes later waits for its end and then flies again, all of them together: so while the store is gone at most one load of
 * a key is running and one is to come, and no answer is older than its caller.
 *
 *   1. The store is down. A's load of `user:42` has read the old row, and is slow to answer.
 *   2. The store is back. Another process updates the row and deletes `user:42`; acknowledged. Here the next probe is some time off.
 *   3. B calls get('42') here. Joined to A's load, it would get the old row. It waits for A's load to end; the next load reads the new row.
 *
 * What this process itself invalidates is known at once (`voids.ts`): a delete takes the load of its key out of `#loading`, and anything
 * crossed is kept out of L1. What becomes of a hit stands in hits.ts, waiting for others in waits.ts, loading and filling in loads.ts.
 *
 * Every wait ends: a read after `readTimeoutMs`, waiting for other processes after twice `leaseWaitMs`, a load after `loadTimeoutMs`, a fill after
 * `fillTimeoutMs`; a caller who must ask again does so once, since in the new flight it is among the first.
 */
import { assert } from '../base/assert.ts';
import type { BreakwaterError } from '../base/errors.ts';
import type { ReadResult } from '../stores/store.ts';
import { Batch, type BatchPart } from './batch.ts';
import { Departures } from './departures.ts';
import { Flight, type FlightWishes, type Permit, PLAIN, type Seat } from './flight.ts';
import { Hits } from './hits.ts';
import { type FlightsOptions, Loads } from './loads.ts';
import { OpenFlights } from './open-flights.ts';
import type { Cached } from './types.ts';
import { LEFT_TO_OTHERS, Waits } from './waits.ts';
import type { Warmed } from './warm.ts';

export class Flights<K extends string, V> {
  readonly #options: FlightsOptions<K, V>;
  readonly #prefix: string;
  readonly #loads: Loads<K, V>;
  readonly #open = new OpenFlights<K, Cached<V>>();
  readonly #waits: Waits<K, V>;
  readonly #hits: Hits<K, V>;
  /** Ids that are being reloaded in the background, from the wish for it to its end. */
  readonly #reloading = new Set<K>();
  readonly #all = new Set<Flight<K, Cached<V>>>();
  readonly #departures: Departures<Flight<K, Cached<V>>, Batch<K, Cached<V>>>;
  /** Ids of `getMany` that are on their way without a flight each (batch.ts). */
  readonly #batches = new Set<Batch<K, Cached<V>>>();
  #closed: BreakwaterError | null = null;

  constructor(options: FlightsOptions<K, V>) {
    this.#options = options;
    this.#prefix = `${options.name}:`;
    this.#departures = new Departures(
      options.settings.maxBatch,
      (flights, parts) => this.#send(flights, parts),
      (batches, isCrowd) => this.#untangle(batches, isCrowd),
    );
    this.#loads = new Loads(options, this.#all, (id, wishes) => this.seat(id, wishes));
    const flights = this;
    this.#waits = new Waits<K, V>({
      options,
      loads: this.#loads,
      open: this.#open,
      over: (flight) => this.#all.delete(flight),
      gather: (flight) => this.#departures.gather(flight),
      get isClosed() {
        return flights.#closed !== null;
      },
    });
    this.#hits = new Hits<K, V>({
      options,
      over: (flight) => this.#all.delete(flight),
      leaveOpen: (flight) => this.#open.leave(flight),
      answerStale: (flight) => this.#loads.answerStale(flight, undefined),
      reload: (id) => (this.#mayReload(id) ? this.#newFlight(id, PLAIN, 'background') : null),
      lease: (all) => this.#lease(all),
      clean: (all) => this.#clean(all),
      failed: (all, error) => this.#onStoreError(all, error),
      get isClosed() {
        return flights.#closed !== null;
      },
    });
  }

  /** What is on its way to the store, that other processes wait for. None of it rejects. */
  get parting(): ReadonlySet<Promise<unknown>> {
    return this.#loads.parting;
  }

  /** Flights under way. */
  get count(): number {
    let count = this.#all.size;
    for (const batch of this.#batches) count += batch.unread;
    return count;
  }

  /**
   * A seat in a flight of `id`: an existing one if it may be joined, else a new one that leaves at the end of this tick.
   * @throws BreakwaterError `CACHE_KEY_INVALID`, `CACHE_CLOSED`
   */
  seat(id: K, wishes: FlightWishes = PLAIN): Seat<Cached<V>> {
    if (this.#closed !== null) throw this.#closed;
    const joined = this.#join(id, wishes);
    if (joined !== null) return joined;
    const flight = this.#newFlight(id, wishes, 'foreground');
    this.#open.set(flight);
    this.#departures.gather(flight);
    return flight;
  }

  /**
   * Seats for several ids, each once. Their values are put into `answers`; the promise is that they all are, or the first error.
   * @throws BreakwaterError `CACHE_KEY_INVALID`, `CACHE_CLOSED`
   */
  seats(ids: readonly K[], wishes: FlightWishes, answers: Map<K, Cached<V> | null>): Promise<Map<K, Cached<V> | null>> {
    if (this.#closed !== null) throw this.#closed;
    const batch = new Batch(answers, this.#onBatchOver);
    const isAlone = wishes === PLAIN && this.#open.plainSize === 0 && this.#loads.isIdle;
    for (const id of ids) {
      if (isAlone) batch.add(id, this.#options.keyOf(id));
      else if (wishes !== PLAIN) batch.join(id, this.seat(id, wishes));
      else {
        const joined = this.#join(id, wishes);
        if (joined === null) batch.add(id, this.#options.keyOf(id));
        else batch.join(id, joined);
      }
    }
    this.#batches.add(batch);
    batch.seal();
    if (batch.ids.length > 0) this.#departures.gatherBatch(batch);
    return batch.promise;
  }

  readonly #onBatchOver = (batch: Batch<K, Cached<V>>): void => {
    this.#batches.delete(batch);
  };

  /** A seat in what is under way for `id`, if a caller who comes now may join it. */
  #join(id: K, wishes: FlightWishes): Seat<Cached<V>> | null {
    const loading = this.#loads.joinable(id, wishes);
    if (loading !== null) {
      this.#options.counters.joined += 1;
      return this.#loads.lateSeat(loading, wishes);
    }
    const open = this.#open.get(id, wishes);
    if (open === undefined) return null;
    this.#options.counters.joined += 1;
    return open;
  }

  /** Loads `id` anew in the background, for an entry of L1 that is `ageMs` old. Nothing happens when that is under way, or would be in vain. */
  reload(id: K, ageMs: number): void {
    if (this.#closed !== null || !this.#mayReload(id)) return;
    const flight = this.#newFlight(id, PLAIN, 'background');
    flight.reloadsAgeMs = ageMs;
    this.#departures.gather(flight);
  }

  /**
   * Loads and fills what is not there or not fresh, in a slot of the guard that the caller holds. Settles when the store has judged all fills; never rejects for
   * what became of an id.
   */
  async warm(ids: readonly K[], permit: Permit): Promise<Warmed[]> {
    if (this.#closed !== null) throw this.#closed;
    const flights = ids.map((id) => {
      if (this.#reloading.has(id) || this.#loads.joinable(id, PLAIN) !== null) return null;
      const flight = this.#newFlight(id, PLAIN, 'background');
      flight.permit = permit;
      // Anything that is fresh is young enough.
      flight.reloadsAgeMs = Number.POSITIVE_INFINITY;
      this.#departures.gather(flight);
      return flight;
    });
    const warmed = await Promise.all(flights.map((flight) => (flight === null ? 'elsewhere' : warmedBy(flight))));
    await Promise.all(permit.calls);
    return warmed;
  }

  /** This process wrote or deleted `id`: nobody joins what is being loaded for it any more. */
  forget(id: K): void {
    this.#loads.forget(id);
  }

  /** Another process's load of `id` is over: whoever waits for it here asks now. */
  wake(id: K): void {
    const flight = this.#open.get(id, PLAIN);
    if (flight === undefined || flight.timer === null || flight.isOver) return;
    flight.timer.cancel();
    flight.timer = null;
    this.#departures.gather(flight);
  }

  /** Ends all flights with `reason` and aborts their loaders. */
  close(reason: BreakwaterError): void {
    this.#closed = reason;
    for (const flight of this.#all) {
      flight.timer?.cancel();
      flight.fail(reason);
      flight.verdict?.reject(reason);
    }
    this.#all.clear();
    this.#open.clear();
    this.#departures.clear();
    for (const batch of this.#batches) batch.fail(reason);
    this.#loads.close(reason);
  }

  #newFlight(id: K, wishes: FlightWishes, priority: Flight<K, V>['priority']): Flight<K, Cached<V>> {
    const flight = new Flight<K, Cached<V>>(id, this.#options.keyOf(id), wishes, priority);
    this.#all.add(flight);
    if (priority === 'background') {
      this.#reloading.add(id);
      const over = (): void => {
        this.#reloading.delete(id);
      };
      flight.got.then(over, over);
    }
    return flight;
  }

  #mayReload(id: K): boolean {
    return (
      !this.#reloading.has(id) && this.#loads.joinable(id, PLAIN) === null && this.#loads.mayReload(this.#prefix + id)
    );
  }

  /** Flights for what more than one of this tick's callers asks for, and for all ids of a crowd. */
  #untangle(batches: readonly Batch<K, Cached<V>>[], isCrowd: boolean): Flight<K, Cached<V>>[] {
    const flights: Flight<K, Cached<V>>[] = [];
    if (!isCrowd && batches.length === 1 && this.#open.plainSize === 0) return flights;
    const seen = new Set<K>();
    const shared = new Set<K>();
    for (const { ids } of isCrowd ? [] : batches) {
      for (const id of ids) {
        if (seen.has(id)) shared.add(id);
        else seen.add(id);
      }
    }
    for (const batch of batches) {
      batch.hand((id) => {
        const joined = this.#join(id, PLAIN);
        if (joined !== null || (!isCrowd && !shared.has(id))) return joined;
        const flight = this.#newFlight(id, PLAIN, 'foreground');
        this.#open.set(flight);
        flights.push(flight);
        return flight;
      });
    }
    return flights;
  }

  #send(flights: readonly Flight<K, Cached<V>>[], parts: readonly BatchPart<K, Cached<V>>[]): void {
    const departed = this.#loads.next();
    for (const flight of flights) {
      this.#open.leave(flight);
      flight.departed = departed;
    }
    for (const { batch } of parts) batch.departed = departed;
    // Who wants the source's answer asks the store for the right to load, not for what it has.
    const fresh = flights.filter(({ wishes }) => wishes.fresh === true);
    const others = fresh.length === 0 ? flights : flights.filter(({ wishes }) => wishes.fresh !== true);
    // Who takes what is not the latest may be answered by a copy: a read of its own, as what it brings is kept nowhere.
    const near = this.#options.store.readsCopies === true ? others.filter(mayReadCopies) : [];
    const rest = near.length === 0 ? others : others.filter((flight) => !mayReadCopies(flight));
    if (rest.length > 0 || parts.length > 0) this.#read(rest, parts);
    if (near.length > 0) this.#read(near, [], Math.min(...near.map(({ wishes }) => wishes.maxStaleMs!)));
    if (fresh.length === 0) return;
    if (this.#mayAsk(fresh)) this.#lease(fresh);
    else this.#waits.loadWithoutLease(fresh);
  }

  #mayAsk(all: readonly unknown[]): boolean {
    const { outage, ports, counters } = this.#options;
    if (outage.mayRead(ports.clock.now())) return true;
    counters.l2ReadsSkipped += all.length;
    return false;
  }

  // -- reading

  /** @param maxStaleMs how old an answer out of a copy may be; 0: none */
  #read(
    flights: readonly Flight<K, Cached<V>>[],
    parts: readonly BatchPart<K, Cached<V>>[] = [],
    maxStaleMs = 0,
  ): void {
    const { store, outage, settings, voids, ports } = this.#options;
    const nowMs = ports.clock.now();
    for (const flight of flights) {
      flight.stamp = voids.stamp;
      flight.link = voids.link;
      flight.sentAtMs = nowMs;
    }
    for (const { batch } of parts) {
      batch.stamp = voids.stamp;
      batch.link = voids.link;
      batch.sentAtMs = nowMs;
    }
    const keys = keysOf(flights, parts);
    if (!this.#mayAsk(keys)) {
      this.#waits.loadWithoutLease(this.#flightsOf(flights, parts));
      return;
    }
    const leaseMs = Math.max(1, settings.leaseWaitMs);
    const plain = { lease: true, leaseMs, timeoutMs: settings.readTimeoutMs };
    const call = maxStaleMs === 0 ? plain : { ...plain, maxStaleMs };
    this.#options.observer
      .read(keys.length, () => store.read(keys, call))
      .then(
        (results) => {
          // Where all is withheld the store was not asked.
          if (results.some((result) => result.kind === 'hit' || result.withheld !== true)) outage.succeeded();
          if (parts.length === 0) this.#onRead(flights, results);
          else this.#onBatchRead(flights, parts, results);
        },
        (error: unknown) => this.#onStoreError(this.#flightsOf(flights, parts), error),
      );
  }

  /** Flights for all, when there are no plain hits to be had. */
  #flightsOf(
    flights: readonly Flight<K, Cached<V>>[],
    parts: readonly BatchPart<K, Cached<V>>[],
  ): readonly Flight<K, Cached<V>>[] {
    if (parts.length === 0 || this.#closed !== null) return flights;
    const all: Flight<K, Cached<V>>[] = [];
    for (const { batch, from, to } of parts) {
      for (let i = from; i < to; i += 1) all.push(this.#flightOf(batch, i));
    }
    return all.concat(flights);
  }

  /** A flight for an id of a batch that was read already, as if it had been one from the start. */
  #flightOf(batch: Batch<K, Cached<V>>, index: number): Flight<K, Cached<V>> {
    const flight = this.#newFlight(batch.ids[index]!, PLAIN, 'foreground');
    flight.stamp = batch.stamp;
    flight.link = batch.link;
    flight.sentAtMs = batch.sentAtMs;
    flight.departed = batch.departed;
    batch.follow(flight.id, flight);
    return flight;
  }

  /** Plain hits of batches are answers at once; the rest goes the way of flights. */
  #onBatchRead(
    flights: readonly Flight<K, Cached<V>>[],
    parts: readonly BatchPart<K, Cached<V>>[],
    results: readonly ReadResult[],
  ): void {
    if (this.#closed !== null) return;
    const left: Flight<K, Cached<V>>[] = [];
    const leftResults: ReadResult[] = [];
    let at = 0;
    for (const { batch, from, to } of parts) {
      for (let i = from; i < to; i += 1) {
        const result = results[at]!;
        at += 1;
        if (result.kind === 'hit' && this.#hits.onPlainHit(batch, i, result)) continue;
        left.push(this.#flightOf(batch, i));
        leftResults.push(result);
      }
    }
    for (const flight of flights) {
      left.push(flight);
      leftResults.push(results[at]!);
      at += 1;
    }
    assert(results.length === at, 'a store answers every key');
    if (left.length > 0) this.#onRead(left, leftResults);
  }

  #onStoreError(flights: readonly Flight<K, Cached<V>>[], error: unknown): void {
    const { outage, ports, counters } = this.#options;
    if (this.#closed !== null) return;
    outage.failed(ports.clock.now(), error);
    counters.l2ReadErrors += flights.length;
    this.#waits.loadWithoutLease(flights);
  }

  #onRead(flights: readonly Flight<K, Cached<V>>[], results: readonly ReadResult[]): void {
    assert(results.length === flights.length, 'a store answers every key');
    if (this.#closed !== null) return;
    const toLoad: Flight<K, Cached<V>>[] = [];
    const givenUp: Flight<K, Cached<V>>[] = [];
    const toLease: Flight<K, Cached<V>>[] = [];
    const toClean: Flight<K, Cached<V>>[] = [];
    flights.forEach((flight, index) => {
      const result = results[index]!;
      if (result.kind === 'hit') {
        if (!this.#hits.onHit(flight, result, toLease)) toClean.push(flight);
        return;
      }
      // What an earlier read of this flight brought is gone, perhaps invalidated.
      flight.fallback = null;
      flight.lease = result.lease;
      if (result.lease !== null) toLoad.push(flight);
      else if (result.withheld === true) givenUp.push(flight);
      else this.#waits.onHeld(flight, givenUp);
    });
    if (toClean.length > 0) this.#clean(toClean);
    if (toLease.length > 0) this.#lease(toLease);
    if (toLoad.length > 0) this.#loads.start(toLoad);
    if (givenUp.length > 0) this.#waits.loadWithoutLease(givenUp);
  }

  /**
   * What L2 has cannot be read: another format version, not JSON, or not what the schema says. It is removed and the key read again, so that the
   * load has a lease and its fill repairs the entry. A plain overwrite would be the race that leases are there to close.
   */
  #clean(flights: readonly Flight<K, Cached<V>>[]): void {
    const { store, counters, settings } = this.#options;
    counters.unreadable += flights.length;
    const again = flights.filter((flight) => !flight.cleaned);
    const twice = flights.filter((flight) => flight.cleaned);
    for (const flight of again) flight.cleaned = true;
    if (twice.length > 0) this.#waits.loadWithoutLease(twice);
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
          if (this.#closed === null) this.#waits.loadWithoutLease(again);
        },
      );
  }

  // -- leases for what has an entry

  #lease(flights: readonly Flight<K, Cached<V>>[]): void {
    const { store, outage, settings, voids } = this.#options;
    for (const flight of flights) flight.stamp = voids.stamp;
    const keys = flights.map((flight) => flight.key);
    const leaseMs = Math.max(1, settings.leaseWaitMs);
    store.lease(keys, { leaseMs, timeoutMs: settings.readTimeoutMs }).then(
      (leases) => {
        assert(leases.length === flights.length, 'a store answers every key');
        if (this.#closed !== null) return;
        outage.succeeded();
        const toLoad: Flight<K, Cached<V>>[] = [];
        const givenUp: Flight<K, Cached<V>>[] = [];
        flights.forEach((flight, index) => {
          flight.lease = leases[index]!;
          if (flight.lease !== null) toLoad.push(flight);
          else if (flight.wishes.fresh === true) givenUp.push(flight);
          else this.#waits.onHeld(flight, givenUp);
        });
        if (toLoad.length > 0) this.#loads.start(toLoad);
        if (givenUp.length > 0) this.#waits.loadWithoutLease(givenUp);
      },
      (error: unknown) => this.#onStoreError(flights, error),
    );
  }
}

/** Not again where what a copy had could not be read. */
function mayReadCopies({ wishes, cleaned }: { readonly wishes: FlightWishes; readonly cleaned: boolean }): boolean {
  return wishes.maxStaleMs !== undefined && wishes.maxStaleMs > 0 && wishes.afterCall !== true && !cleaned;
}

/** What is read for, parts first. Nothing is copied of one whole batch. */
function keysOf<K extends string, T>(
  flights: readonly Flight<K, T>[],
  parts: readonly BatchPart<K, T>[],
): readonly string[] {
  const [first] = parts;
  if (first === undefined) return flights.map(({ key }) => key);
  const { batch } = first;
  if (parts.length === 1 && flights.length === 0 && first.from === 0 && first.to === batch.keys.length)
    return batch.keys;
  const keys: string[] = [];
  for (const part of parts) for (let i = part.from; i < part.to; i += 1) keys.push(part.batch.keys[i]!);
  for (const { key } of flights) keys.push(key);
  return keys;
}

/** What became of a flight of {@link Flights.warm}. */
async function warmedBy<K extends string, T>(flight: Flight<K, T>): Promise<Warmed> {
  try {
    const got = await flight.got;
    if (got.from !== 'loader') return 'present';
    const judged = await flight.verdict?.promise;
    if (got.value === null) return 'absent';
    return judged === null || judged === undefined ? 'refused' : 'loaded';
  } catch (error) {
    return error === LEFT_TO_OTHERS ? 'elsewhere' : { error };
  }
}
