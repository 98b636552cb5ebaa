/**
 * What L2 has of an id, and what becomes of it: opened, checked, judged (freshness/judge.ts), kept in L1, and given to those who asked, or kept in the hand
 * while it is loaded anew.
 *
 *     hit --L1 has that very entry--------------------------------------------------------> answered
 *      |--opened--not readable, or not what the schema says--> cleaned (flights.ts)
 *            |----fresh-------------------------------------------------------------------> answered
 *            |----to be refreshed, or stale-------------------> a lease for a reload -----> answered
 *            '----too old-------------------------------------> a lease for a load
 *
 * Nearly all hits are plain: short, JSON, and so young that no dice are needed. Of those that a batch reads nothing is made but the value (`onPlainHit`); whatever
 * is not clearly one of them begins again as a flight.
 */
import { surelyFreshMs } from '../freshness/judge.ts';
import { PackedHit } from '../stores/packed-hit.ts';
import type { ReadHit } from '../stores/store.ts';
import type { Batch } from './batch.ts';
import type { ChunkReader, Unreadable } from './codec/packing.ts';
import { PlainEntry } from './codec/plain-entry.ts';
import { FREEZE_VALUES } from './codec.ts';
import { noteUnreadable } from './counters.ts';
import { type Entry, verdictOf } from './entry.ts';
import { type Flight, type FlightWishes, type Got, gotOf, PLAIN, type Sending } from './flight.ts';
import type { FlightsOptions } from './loads.ts';
import type { Cached } from './types.ts';

/** What hits need of the flights that they belong to. */
export interface HitPorts<K extends string, V> {
  readonly options: FlightsOptions<K, V>;
  /** It has its answer. */
  over(flight: Flight<K, Cached<V>>): void;
  /** From here on nobody joins it. */
  leaveOpen(flight: Flight<K, Cached<V>>): void;
  /** Answers with the stale value in the hand; false: it may not be had any more. */
  answerStale(flight: Flight<K, Cached<V>>): boolean;
  /** A flight in the background that is to load `id` anew; null: that is under way, or would be in vain. */
  reload(id: K): Flight<K, Cached<V>> | null;
  /** Asks for leases. */
  lease(flights: readonly Flight<K, Cached<V>>[]): void;
  /** Removes what cannot be read, and reads again. */
  clean(flights: readonly Flight<K, Cached<V>>[]): void;
  failed(flights: readonly Flight<K, Cached<V>>[], error: unknown): void;
  readonly isClosed: boolean;
}

export class Hits<K extends string, V> {
  readonly #ports: HitPorts<K, V>;
  readonly #options: FlightsOptions<K, V>;
  readonly #hasL1: boolean;
  readonly #plain = new PlainEntry();
  /** Hits of batches that take their time to open. */
  readonly #opening = new WeakMap<ReadHit, Promise<Entry<Cached<V>> | Unreadable>>();

  constructor(ports: HitPorts<K, V>) {
    this.#ports = ports;
    this.#options = ports.options;
    this.#hasL1 = ports.options.settings.l1 !== null;
  }

  /** A hit that a batch read. False, and nothing has happened: it goes the way of flights. */
  onPlainHit(batch: Batch<K, Cached<V>>, index: number, hit: ReadHit): boolean {
    const { settings, keep, packing } = this.#options;
    const id = batch.ids[index]!;
    if (this.#hasL1) {
      const same = this.#same(id, hit, batch, PLAIN);
      if (same !== null) {
        batch.answer(id, same.value);
        return true;
      }
    }
    let entry: Entry<Cached<V>> | null = this.#openPlain(hit);
    if (entry === null) {
      const opened = packing.open<Cached<V>>(batch.keys[index]!, hit, settings.graceMs, this.#readChunks);
      if (opened instanceof Promise) {
        // As a flight it need not begin anew.
        this.#opening.set(hit, opened);
        return false;
      }
      if ('unreadable' in opened || !this.#isPlainlyGood(opened)) return false;
      entry = opened;
    }
    const { value } = entry;
    try {
      if (this.#hasL1) keep(id, entry, batch.stamp, batch.sentAtMs);
    } catch (error) {
      if (error instanceof RangeError) return false; // nested too deep, as in #onOpened
      throw error;
    }
    this.#countHit(id, entry, batch.sentAtMs);
    batch.answer(id, value);
    return true;
  }

  /** The entry, to be used before the next one is asked for; null: it is another kind of entry, or there is more to ask about it. */
  #openPlain(hit: ReadHit): Entry<Cached<V>> | null {
    const { settings, packing } = this.#options;
    if (!packing.isPlain || !(hit instanceof PackedHit)) return null;
    const entry = this.#plain;
    if (!entry.open(hit, settings.graceMs, this.#hasL1)) return null;
    return this.#isPlainlyGood(entry as Entry<Cached<V>>) ? (entry as Entry<Cached<V>>) : null;
  }

  /** What the schema says, and so young that no dice are needed: certainly fresh to a caller without wishes. */
  #isPlainlyGood(entry: Entry<Cached<V>>): boolean {
    const { settings, check, packing } = this.#options;
    const { value, ageMs, ttlMs, loadMs } = entry;
    if (!(ageMs < surelyFreshMs(ttlMs, loadMs, settings.policy.beta))) return false;
    try {
      if (value !== null && check(value) !== null) return false;
      if (FREEZE_VALUES) packing.codec.freeze(value);
      return true;
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  }

  #countHit(id: K, entry: Entry<Cached<V>>, sentAtMs: number): void {
    const { counters, observer } = this.#options;
    observer.hit(id, 'l2', entry.value, sentAtMs - entry.ageMs);
    counters.l2Hits += 1;
    if (entry.value === null) counters.negativeHits += 1;
  }

  /** False: what L2 has cannot be read, or is not what the schema says. What takes its time to open is seen to when it is open. */
  onHit(flight: Flight<K, Cached<V>>, hit: ReadHit, toLease: Flight<K, Cached<V>>[]): boolean {
    flight.isCopied = hit.isCopied === true;
    // The versions of a copy are its own.
    if (this.#hasL1 && !flight.isCopied && this.#onSame(flight, hit)) return true;
    const { settings, packing } = this.#options;
    if (flight.wishes === PLAIN && flight.reloadsAgeMs === null) {
      const plain = this.#openPlain(hit);
      if (plain !== null && this.#onPlainEntry(flight, plain)) return true;
    }
    const opened =
      this.#opening.get(hit) ?? packing.open<Cached<V>>(flight.key, hit, settings.graceMs, this.#readChunks);
    if (!(opened instanceof Promise)) return this.#onOpened(flight, opened, toLease);
    opened.then(
      (entry) => {
        if (this.#ports.isClosed) return;
        const lateLease: Flight<K, Cached<V>>[] = [];
        if (!this.#onOpened(flight, entry, lateLease)) this.#ports.clean([flight]);
        if (lateLease.length > 0) this.#ports.lease(lateLease);
      },
      (error: unknown) => this.#ports.failed([flight], error),
    );
    return true;
  }

  readonly #readChunks: ChunkReader = (keys) => {
    const { store, settings } = this.#options;
    return store.read(keys, { lease: false, timeoutMs: settings.readTimeoutMs });
  };

  /** False, and nothing has happened: it is nested too deep for us. */
  #onPlainEntry(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>>): boolean {
    try {
      this.#answerHit(flight, entry, 'l2');
      return true;
    } catch (error) {
      if (error instanceof RangeError) return false;
      throw error;
    }
  }

  #onOpened(
    flight: Flight<K, Cached<V>>,
    entry: Entry<Cached<V>> | Unreadable,
    toLease: Flight<K, Cached<V>>[],
  ): boolean {
    const { check, packing, counters } = this.#options;
    if ('unreadable' in entry) {
      noteUnreadable(counters, entry.cause);
      return false;
    }
    try {
      if (entry.value !== null && check(entry.value) !== null) {
        counters.schemaMisses += 1;
        return false;
      }
      if (FREEZE_VALUES) packing.codec.freeze(entry.value);
      this.#onEntry(flight, entry, toLease);
    } catch (error) {
      // JSON.parse reads any depth, our walks of its value do not: others may write what this library would refuse to.
      if (error instanceof RangeError) {
        counters.unreadableDamaged += 1;
        return false;
      }
      throw error;
    }
    return true;
  }

  #onSame(flight: Flight<K, Cached<V>>, hit: ReadHit): boolean {
    if (flight.reloadsAgeMs !== null) return false;
    const entry = this.#same(flight.id, hit, flight, flight.wishes);
    if (entry === null) return false;
    this.#ports.over(flight);
    flight.answer(gotOf(entry, 'l2'));
    return true;
  }

  /** The entry of L1 if it is the very one that L2 has, and fresh: nothing to decode. Counts the hit. */
  #same(id: K, hit: ReadHit, read: Sending, wishes: FlightWishes): Entry<Cached<V>> | null {
    const { voids, revalidate, settings, counters, observer } = this.#options;
    const { link, stamp, sentAtMs } = read;
    // Over another link the same number may be another run's.
    if (link === 0 || link !== voids.link) return null;
    const entry = revalidate(id, hit, stamp, sentAtMs);
    if (entry === null) return null;
    if (verdictOf(entry, sentAtMs - entry.ageMs, wishes, settings.policy, sentAtMs, 0).kind !== 'fresh') return null;
    counters.revalidated += 1;
    observer.hit(id, 'l2', entry.value, sentAtMs - entry.ageMs);
    counters.l2Hits += 1;
    if (entry.value === null) counters.negativeHits += 1;
    return entry;
  }

  /** L2 has something: judged as it stood in the store when it was read. */
  #onEntry(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>>, toLease: Flight<K, Cached<V>>[]): void {
    const { settings, ports } = this.#options;
    const { sentAtMs, reloadsAgeMs } = flight;
    const dice = ports.random.nextFloat();
    const verdict = verdictOf(entry, sentAtMs - entry.ageMs, flight.wishes, settings.policy, sentAtMs, dice);
    if (reloadsAgeMs !== null) {
      const isYounger = entry.ageMs * 2 < reloadsAgeMs && entry.ageMs < entry.ttlMs;
      if (isYounger) this.#answerHit(flight, entry, 'l2');
      else {
        flight.fallback = { entry, servable: false };
        toLease.push(flight);
      }
      return;
    }
    switch (verdict.kind) {
      case 'fresh':
        this.#answerHit(flight, entry, 'l2');
        break;
      case 'refresh-early':
      case 'stale':
        this.#answerHit(flight, entry, verdict.kind === 'stale' ? 'stale' : 'l2');
        this.#reload(flight, entry, toLease);
        break;
      case 'stale-if-error':
        flight.fallback = { entry, servable: true };
        this.#armSoftTimeout(flight);
        toLease.push(flight);
        break;
      case 'miss':
        flight.fallback = { entry, servable: false };
        toLease.push(flight);
        break;
    }
  }

  #reload({ id, sentAtMs }: Flight<K, Cached<V>>, entry: Entry<Cached<V>>, toLease: Flight<K, Cached<V>>[]): void {
    const reload = this.#ports.reload(id);
    if (reload === null) return;
    reload.sentAtMs = sentAtMs;
    reload.fallback = { entry, servable: false };
    toLease.push(reload);
  }

  #answerHit(flight: Flight<K, Cached<V>>, entry: Entry<Cached<V>>, from: Got<V>['from']): void {
    const { counters, keep, observer } = this.#options;
    // First, since it may throw. As of the sending: on its way back it has grown older, never younger.
    if (!flight.isCopied) keep(flight.id, entry, flight.stamp, flight.sentAtMs);
    if (from === 'stale') {
      observer.stale(flight.id, entry.ageMs, undefined);
      counters.staleHits += 1;
    } else if (flight.priority === 'foreground') {
      observer.hit(flight.id, 'l2', entry.value, flight.sentAtMs - entry.ageMs);
      counters.l2Hits += 1;
    }
    if (entry.value === null) counters.negativeHits += 1;
    this.#ports.over(flight);
    flight.answer(gotOf(entry, from));
  }

  /** Who has a stale value in the hand waits so long for a better one. */
  #armSoftTimeout(flight: Flight<K, Cached<V>>): void {
    const { settings, ports } = this.#options;
    if (flight.softTimer !== null || settings.softTimeoutMs === Number.POSITIVE_INFINITY) return;
    flight.softTimer = ports.scheduler.setTimer(settings.softTimeoutMs, () => {
      flight.softTimer = null;
      // From here on nobody joins it: its answer is given.
      this.#ports.leaveOpen(flight);
      if (this.#ports.answerStale(flight)) this.#ports.over(flight);
    });
  }
}
