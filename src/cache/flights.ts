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
 * crossed is kept out of L1. Loading and filling stand in loads.ts.
 *
 * Every wait ends: a read after `readTimeoutMs`, waiting for other processes after twice `leaseWaitMs`, a load after `loadTimeoutMs`, a fill after
 * `fillTimeoutMs`; a caller who must ask again does so once, since in the new flight it is among the first.
 */
import { assert } from '../base/assert.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { ReadResult } from '../stores/store.ts';
import { Batch, type BatchPart } from './batch.ts';
import { Departures } from './departures.ts';
import { Flight, type FlightWishes, type Permit, PLAIN, type Seat } from './flight.ts';
import { Hits } from './hits.ts';
import { fullKey } from './key.ts';
import { type FlightsOptions, Loads } from './loads.ts';
import type { Cached } from './types.ts';
import type { Warmed } from './warm.ts';

const FIRST_POLL_MS = 5;
const LONGEST_POLL_MS = 50;
/** Where the store tells when another caller's lease ends, asking is for what it could not tell: a lost message, an invalidated tag. */
const TOLD_POLL_MS = 200;
/**
 * How long a flight waits for loads of other processes, in leases: the first holder may be dead, then the next one is granted, and it is
 * worth waiting for that one too before everybody loads.
 */
const LEASES_WAITED = 2;

/** What a reload in the background ends with when it is not worth it. Nobody sees it. */
const LEFT_TO_OTHERS = new BreakwaterError('CACHE_RELOAD_ELSEWHERE', 'another process reloads this key');

/** What warming ends with where nothing can be stored at the moment. */
const NOT_STORED = new BreakwaterError('STORE_UNAVAILABLE', 'the store does not answer, or waits for an invalidation');

export class Flights<K extends string, V> {
  readonly #options: FlightsOptions<K, V>;
  readonly #prefix: string;
  readonly #loads: Loads<K, V>;
  readonly #hits: Hits<K, V>;
  /** Flights that may be joined without more ado: gathered, or waiting between polls. */
  readonly #open = new Map<K, Flight<K, Cached<V>>>();
  /** The same for callers with wishes, by wishes and id. */
  readonly #openWished = new Map<string, Flight<K, Cached<V>>>();
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
    this.#hits = new Hits<K, V>({
      options,
      over: (flight) => this.#all.delete(flight),
      leaveOpen: (flight) => this.#leaveOpen(flight),
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
    this.#setOpen(flight);
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
    const isAlone = wishes === PLAIN && this.#open.size === 0 && this.#loads.isIdle;
    for (const id of ids) {
      if (isAlone) batch.add(id, fullKey(this.#prefix, id));
      else if (wishes !== PLAIN) batch.join(id, this.seat(id, wishes));
      else {
        const joined = this.#join(id, wishes);
        if (joined === null) batch.add(id, fullKey(this.#prefix, id));
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
    const open = wishes === PLAIN ? this.#open.get(id) : this.#openWished.get(wishKey(id, wishes));
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
    const flight = this.#open.get(id);
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
    this.#openWished.clear();
    this.#departures.clear();
    for (const batch of this.#batches) batch.fail(reason);
    this.#loads.close(reason);
  }

  #newFlight(id: K, wishes: FlightWishes, priority: Flight<K, V>['priority']): Flight<K, Cached<V>> {
    const flight = new Flight<K, Cached<V>>(id, fullKey(this.#prefix, id), wishes, priority);
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

  #setOpen(flight: Flight<K, Cached<V>>): void {
    if (flight.wishes === PLAIN) this.#open.set(flight.id, flight);
    else this.#openWished.set(wishKey(flight.id, flight.wishes), flight);
  }

  #leaveOpen(flight: Flight<K, Cached<V>>): void {
    if (this.#open.get(flight.id) === flight) this.#open.delete(flight.id);
    if (flight.wishes === PLAIN) return;
    const key = wishKey(flight.id, flight.wishes);
    if (this.#openWished.get(key) === flight) this.#openWished.delete(key);
  }

  /** Flights for what more than one of this tick's callers asks for, and for all ids of a crowd. */
  #untangle(batches: readonly Batch<K, Cached<V>>[], isCrowd: boolean): Flight<K, Cached<V>>[] {
    const flights: Flight<K, Cached<V>>[] = [];
    if (!isCrowd && batches.length === 1 && this.#open.size === 0) return flights;
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
        this.#setOpen(flight);
        flights.push(flight);
        return flight;
      });
    }
    return flights;
  }

  #send(flights: readonly Flight<K, Cached<V>>[], parts: readonly BatchPart<K, Cached<V>>[]): void {
    const departed = this.#loads.next();
    for (const flight of flights) {
      this.#leaveOpen(flight);
      flight.departed = departed;
    }
    for (const { batch } of parts) batch.departed = departed;
    // Who wants the source's answer asks the store for the right to load, not for what it has.
    const fresh = flights.filter(({ wishes }) => wishes.fresh === true);
    const others = fresh.length === 0 ? flights : flights.filter(({ wishes }) => wishes.fresh !== true);
    if (others.length > 0 || parts.length > 0) this.#read(others, parts);
    if (fresh.length === 0) return;
    if (this.#mayAsk(fresh)) this.#lease(fresh);
    else this.#loadWithoutLease(fresh);
  }

  #mayAsk(all: readonly unknown[]): boolean {
    const { outage, ports, counters } = this.#options;
    if (outage.mayRead(ports.clock.now())) return true;
    counters.l2ReadsSkipped += all.length;
    return false;
  }

  // -- reading

  #read(flights: readonly Flight<K, Cached<V>>[], parts: readonly BatchPart<K, Cached<V>>[] = []): void {
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
      this.#loadWithoutLease(this.#flightsOf(flights, parts));
      return;
    }
    const leaseMs = Math.max(1, settings.leaseWaitMs);
    const call = { lease: true, leaseMs, timeoutMs: settings.readTimeoutMs };
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
    this.#loadWithoutLease(flights);
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
      else this.#onHeld(flight, givenUp);
    });
    if (toClean.length > 0) this.#clean(toClean);
    if (toLease.length > 0) this.#lease(toLease);
    if (toLoad.length > 0) this.#loads.start(toLoad);
    if (givenUp.length > 0) this.#loadWithoutLease(givenUp);
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
          else this.#onHeld(flight, givenUp);
        });
        if (toLoad.length > 0) this.#loads.start(toLoad);
        if (givenUp.length > 0) this.#loadWithoutLease(givenUp);
      },
      (error: unknown) => this.#onStoreError(flights, error),
    );
  }

  // -- waiting

  /** Another caller holds the lease. */
  #onHeld(flight: Flight<K, Cached<V>>, givenUp: Flight<K, Cached<V>>[]): void {
    const { counters } = this.#options;
    if (flight.priority === 'background') {
      counters.reloadsElsewhere += 1;
      this.#all.delete(flight);
      flight.fail(LEFT_TO_OTHERS);
    } else if (!flight.isOver && !this.#waitOrFollow(flight)) {
      counters.leaseGiveUps += 1;
      givenUp.push(flight);
    }
  }

  /** False: it has been waited for long enough. */
  #waitOrFollow(flight: Flight<K, Cached<V>>): boolean {
    const { ports, settings, counters } = this.#options;
    // Our own process holds it: no need to poll.
    const loading = this.#loads.followable(flight.id, flight.wishes, flight.departed);
    if (loading !== null) {
      this.#follow(flight, this.#loads.lateSeat(loading, flight.wishes));
      return true;
    }
    const open = flight.wishes === PLAIN ? this.#open.get(flight.id) : undefined;
    if (open !== undefined && open.waitUntilMs !== null) {
      this.#follow(flight, open);
      return true;
    }
    const nowMs = ports.clock.now();
    flight.waitUntilMs ??= nowMs + settings.leaseWaitMs * LEASES_WAITED;
    if (nowMs >= flight.waitUntilMs) return false;
    if (open === undefined && isJoinable(flight)) this.#setOpen(flight);
    const pollMs =
      this.#options.store.feed?.tellsOfLeases !== true || flight.wishes !== PLAIN
        ? Math.min(FIRST_POLL_MS * 2 ** flight.polls, LONGEST_POLL_MS)
        : TOLD_POLL_MS;
    const delayMs = Math.min(pollMs, flight.waitUntilMs - nowMs);
    flight.polls += 1;
    counters.leasePolls += 1;
    flight.free();
    flight.timer = ports.scheduler.setTimer(delayMs, () => {
      flight.timer = null;
      if (!flight.isOver) this.#departures.gather(flight);
    });
    return true;
  }

  #follow(flight: Flight<K, Cached<V>>, seat: Seat<Cached<V>>): void {
    flight.free();
    this.#options.counters.joined += 1;
    seat.got.then(
      (got) => {
        this.#all.delete(flight);
        if (!flight.isOver) flight.answer(got);
      },
      (error: unknown) => {
        if (flight.isOver || !this.#loads.answerStale(flight, error)) flight.fail(error);
        this.#all.delete(flight);
      },
    );
  }

  /** L2 could not be asked, or has no lease for us. At most one such load of a key is under way. */
  #loadWithoutLease(flights: readonly Flight<K, Cached<V>>[]): void {
    const asked = flights.filter((flight) => flight.permit === null);
    // What cannot be stored is loaded for somebody, and for nobody not.
    if (asked.length < flights.length) this.#leaveCold(flights.filter((flight) => flight.permit !== null));
    const toLoad = new Map<K, Flight<K, Cached<V>>>();
    const behind: Flight<K, Cached<V>>[] = [];
    for (const flight of asked) {
      if (toLoad.has(flight.id) || !this.#mustLoad(flight)) behind.push(flight);
      else toLoad.set(flight.id, flight);
    }
    if (toLoad.size > 0) this.#loads.start([...toLoad.values()]);
    for (const flight of behind) {
      const loading = this.#followable(flight);
      if (loading !== null) this.#follow(flight, this.#loads.lateSeat(loading, flight.wishes));
      else this.#flyAfter(flight);
    }
  }

  #leaveCold(flights: readonly Flight<K, Cached<V>>[]): void {
    for (const flight of flights) {
      this.#all.delete(flight);
      flight.fail(NOT_STORED);
    }
  }

  #mustLoad(flight: Flight<K, Cached<V>>): boolean {
    return this.#followable(flight) === null && this.#loads.leaseless(flight.id) === null;
  }

  /** What is brought in the background is nobody's answer: any load will do. */
  #followable(flight: Flight<K, Cached<V>>): Flight<K, Cached<V>> | null {
    return this.#loads.followable(flight.id, flight.wishes, flight.priority === 'background' ? 0 : flight.departed);
  }

  /** Flies again when the load without a lease that is under way is over. Until then others may join. */
  #flyAfter(flight: Flight<K, Cached<V>>): void {
    const { id, wishes } = flight;
    const loading = this.#loads.leaseless(id);
    const open = wishes === PLAIN ? this.#open.get(id) : this.#openWished.get(wishKey(id, wishes));
    if (open !== undefined) {
      this.#follow(flight, open);
      return;
    }
    flight.free();
    if (isJoinable(flight)) this.#setOpen(flight);
    const again = (): void => {
      if (this.#closed === null && !flight.isOver) this.#departures.gather(flight);
    };
    // Null: what was started a moment ago is over already, with an error that is remembered.
    if (loading === null) again();
    else loading.verdict!.promise.then(again, again);
  }
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

/** Not one with a stale value in the hand, which was read before those came who would join now. */
function isJoinable(flight: { readonly fallback: { readonly servable: boolean } | null }): boolean {
  return flight.fallback?.servable !== true;
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

function wishKey(id: string, { fresh, afterCall, maxStaleMs }: FlightWishes): string {
  return `${fresh === true ? 'f' : ''}${afterCall === true ? 'a' : ''}${maxStaleMs ?? ''}:${id}`;
}
