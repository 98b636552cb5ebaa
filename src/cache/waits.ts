/**
 * Flights that have to wait for somebody else's load: of another process, which holds the lease; of this one; or of nobody's, with L2 gone.
 *
 *     leased elsewhere --this process loads it--> follows that load
 *                      --told, or it is time----> asks the store again (flights.ts)
 *                      --for too long-----------> loads without a lease
 *     no lease to be had --nobody loads it------> loads
 *                        --somebody does--------> flies again when that is over, all of them together
 *
 * flights.ts tells who may follow what, and why.
 */
import { BreakwaterError } from '../base/errors.ts';
import { type Flight, PLAIN, type Seat } from './flight.ts';
import type { FlightsOptions, Loads } from './loads.ts';
import { isJoinable, type OpenFlights } from './open-flights.ts';
import type { Cached } from './types.ts';

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
export const LEFT_TO_OTHERS = new BreakwaterError('CACHE_RELOAD_ELSEWHERE', 'another process reloads this key');

/** What warming ends with where nothing can be stored at the moment. */
const NOT_STORED = new BreakwaterError('STORE_UNAVAILABLE', 'the store does not answer, or waits for an invalidation');

/** What waits need of the flights that they belong to. */
export interface WaitPorts<K extends string, V> {
  readonly options: FlightsOptions<K, V>;
  readonly loads: Loads<K, V>;
  readonly open: OpenFlights<K, Cached<V>>;
  /** It has its answer. */
  over(flight: Flight<K, Cached<V>>): void;
  /** It leaves for the store with the next tick. */
  gather(flight: Flight<K, Cached<V>>): void;
  readonly isClosed: boolean;
}

export class Waits<K extends string, V> {
  readonly #ports: WaitPorts<K, V>;
  readonly #options: FlightsOptions<K, V>;
  readonly #loads: Loads<K, V>;
  readonly #open: OpenFlights<K, Cached<V>>;

  constructor(ports: WaitPorts<K, V>) {
    this.#ports = ports;
    this.#options = ports.options;
    this.#loads = ports.loads;
    this.#open = ports.open;
  }

  /** Another caller holds the lease. */
  onHeld(flight: Flight<K, Cached<V>>, givenUp: Flight<K, Cached<V>>[]): void {
    const { counters } = this.#options;
    if (flight.priority === 'background') {
      counters.reloadsElsewhere += 1;
      this.#ports.over(flight);
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
    const open = flight.wishes === PLAIN ? this.#open.get(flight.id, PLAIN) : undefined;
    if (open !== undefined && open.waitUntilMs !== null) {
      this.#follow(flight, open);
      return true;
    }
    const nowMs = ports.clock.now();
    flight.waitUntilMs ??= nowMs + settings.leaseWaitMs * LEASES_WAITED;
    if (nowMs >= flight.waitUntilMs) return false;
    if (open === undefined && isJoinable(flight)) this.#open.set(flight);
    const { store } = this.#options;
    const pollMs =
      (store.leaseEnds ?? store.feed)?.tellsOfLeases !== true || flight.wishes !== PLAIN
        ? Math.min(FIRST_POLL_MS * 2 ** flight.polls, LONGEST_POLL_MS)
        : TOLD_POLL_MS;
    const delayMs = Math.min(pollMs, flight.waitUntilMs - nowMs);
    flight.polls += 1;
    counters.leasePolls += 1;
    flight.free();
    flight.timer = ports.scheduler.setTimer(delayMs, () => {
      flight.timer = null;
      if (!flight.isOver) this.#ports.gather(flight);
    });
    return true;
  }

  #follow(flight: Flight<K, Cached<V>>, seat: Seat<Cached<V>>): void {
    flight.free();
    this.#options.counters.joined += 1;
    seat.got.then(
      (got) => {
        this.#ports.over(flight);
        if (!flight.isOver) flight.answer(got);
      },
      (error: unknown) => {
        if (flight.isOver || !this.#loads.answerStale(flight, error)) flight.fail(error);
        this.#ports.over(flight);
      },
    );
  }

  /** L2 could not be asked, or has no lease for us. At most one such load of a key is under way. */
  loadWithoutLease(flights: readonly Flight<K, Cached<V>>[]): void {
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
      this.#ports.over(flight);
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
    const open = this.#open.get(id, wishes);
    if (open !== undefined) {
      this.#follow(flight, open);
      return;
    }
    flight.free();
    if (isJoinable(flight)) this.#open.set(flight);
    const again = (): void => {
      if (!this.#ports.isClosed && !flight.isOver) this.#ports.gather(flight);
    };
    // Null: what was started a moment ago is over already, with an error that is remembered.
    if (loading === null) again();
    else loading.verdict!.promise.then(again, again);
  }
}
