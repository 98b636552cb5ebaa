/**
 * One server of a ring, as this process sees it.
 *
 *     up --- FAILURES failed calls in a row ---> down --- a probe answers ---> returning --- outbox replayed, or flushed ---> up
 *                                                 ^------- a probe fails ---------|
 *
 * Only what *this* process reads where hangs on it, never what is true: other processes may think otherwise, so an invalidation goes to a server whatever its
 * state, and counts when it has acknowledged.
 *
 * A server that returns may be one that was cut off and has the values of before, so it is read again only when all that this process could not tell it has been
 * told (its outbox is empty), or when what this process reads of it was thrown away.
 */
import type { Clock } from '../../base/clock.ts';
import type { CacheStore } from '../store.ts';

export type ReadmitRule = 'replay' | 'flush';

const FAILURES = 3;
/** Between two probes of a server that is down, and of one that answers and is not told everything yet. */
const PROBE_EVERY_MS = 1_000;
const RETURNING_EVERY_MS = 100;
const PROBE_TIMEOUT_MS = 250;
/** What an invalidation may wait for a server that is known to be down: long enough to reach one that is back, short for the caller. */
const DOWN_TIMEOUT_MS = 100;

export class RingMember {
  readonly name: string;
  /** With an outbox around it. */
  readonly store: CacheStore;
  readonly #clock: Clock;
  readonly #readmit: ReadmitRule;
  #failures = 0;
  #isUp = true;
  #probeAtMs = 0;
  #isProbing = false;
  readonly #namespaces = new Set<string>();
  /** How often it went down, and came back. */
  readonly counts = { losses: 0, readmissions: 0 };

  constructor(name: string, store: CacheStore, clock: Clock, readmit: ReadmitRule) {
    this.name = name;
    this.store = store;
    this.#clock = clock;
    this.#readmit = readmit;
  }

  /** Whether it is to be read. Asked before each call: one that is down is probed now and then because somebody asks. */
  get isUp(): boolean {
    if (!this.#isUp && !this.#isProbing && this.#clock.now() >= this.#probeAtMs) void this.#probe();
    return this.#isUp;
  }

  /** How long a write may wait for it. */
  patienceMs(timeoutMs: number): number {
    return this.isUp ? timeoutMs : Math.min(timeoutMs, DOWN_TIMEOUT_MS);
  }

  /** A cache of this process reads this namespace: what a flush has to cover. */
  declare(namespace: string): void {
    this.#namespaces.add(namespace);
  }

  succeeded(): void {
    this.#failures = 0;
  }

  failed(): void {
    this.#failures += 1;
    if (!this.#isUp || this.#failures < FAILURES) return;
    this.#isUp = false;
    this.counts.losses += 1;
    this.#probeAtMs = this.#clock.now() + PROBE_EVERY_MS;
  }

  async #probe(): Promise<void> {
    this.#isProbing = true;
    const call = { timeoutMs: PROBE_TIMEOUT_MS };
    try {
      await this.store.stats(call);
      if (this.#readmit === 'flush' && this.#namespaces.size > 0) {
        await this.store.invalidate({ namespaces: [...this.#namespaces] }, call);
      }
      if ((this.store.outbox?.stats().length ?? 0) > 0) {
        this.#probeAtMs = this.#clock.now() + RETURNING_EVERY_MS;
        return;
      }
      this.#isUp = true;
      this.#failures = 0;
      this.counts.readmissions += 1;
    } catch {
      // Still down: the next probe will see. What the server failed with is in the stats of its own outbox.
      this.#probeAtMs = this.#clock.now() + PROBE_EVERY_MS;
    } finally {
      this.#isProbing = false;
    }
  }
}
