/**
 * Counters in Redis or Valkey: one string a key, added to by a script that also sets its end. Acknowledged when all known replicas have it. An
 * `allkeys-*` eviction policy may evict a counter, a `volatile-*` one with a ttl: it begins at 0 again.
 */
import { type StoreCounters, surelyNotDone } from '../counters.ts';
import type { StoreCall } from '../store.ts';
import type { Calls } from './calls.ts';
import { storeError } from './errors.ts';
import type { Shards } from './shards.ts';

const decoder = new TextDecoder();

export class ValkeyCounters implements StoreCounters {
  readonly #shards: Shards;
  readonly #calls: Calls;

  constructor(shards: Shards, calls: Calls) {
    this.#shards = shards;
    this.#calls = calls;
  }

  async add(key: string, by: number, ttlMs: number | null, call: StoreCall): Promise<number> {
    const deadline = this.#shards.begin(call);
    const layout = await this.#shards.layout(deadline);
    const request = this.#calls.count(layout.slotOf(key), key, by, ttlMs);
    const [outcome] = await this.#shards.execute([request], deadline, { acknowledged: true });
    if (outcome instanceof Error) throw surelyNotDone(storeError(outcome, call.signal));
    return Number(outcome);
  }

  async draw(key: string, by: number, call: StoreCall): Promise<number> {
    const deadline = this.#shards.begin(call);
    const layout = await this.#shards.layout(deadline);
    const request = this.#calls.draw(layout.slotOf(key), key, by);
    const [outcome] = await this.#shards.execute([request], deadline, { acknowledged: true });
    if (outcome instanceof Error) throw surelyNotDone(storeError(outcome, call.signal));
    return Number(outcome instanceof Uint8Array ? decoder.decode(outcome) : outcome);
  }

  async sum(keys: readonly string[], call: StoreCall): Promise<number> {
    const deadline = this.#shards.begin(call);
    const layout = await this.#shards.layout(deadline);
    const requests = keys.map((key) => ({ slot: layout.slotOf(key), build: () => ['GET', key] }));
    const outcomes = await this.#shards.execute(requests, deadline, { idempotent: true });
    return outcomes.reduce((sum: number, outcome) => {
      if (outcome instanceof Error) throw storeError(outcome, call.signal);
      return sum + (outcome instanceof Uint8Array ? Number(decoder.decode(outcome)) : 0);
    }, 0);
  }
}
