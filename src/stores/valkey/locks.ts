/**
 * Locks in Redis or Valkey: one script each, in one slot (lua.ts). An acquisition counts when all known replicas have it (WAIT), so that a failover to one of
 * them does not give the lock away; otherwise it rejects. An `allkeys-*` eviction policy may evict a lock; its token goes on rising.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { SlotRequest } from '../../client/cluster-request.ts';
import type { LockAnswer, StoreLocks } from '../locks.ts';
import type { StoreCall } from '../store.ts';
import type { Calls } from './calls.ts';
import { storeError } from './errors.ts';
import type { Deadline, Shards } from './shards.ts';

const decoder = new TextDecoder();

export class ValkeyLocks implements StoreLocks {
  readonly #shards: Shards;
  readonly #calls: Calls;

  constructor(shards: Shards, calls: Calls) {
    this.#shards = shards;
    this.#calls = calls;
  }

  async acquire(name: string, owner: string, ttlMs: number, call: StoreCall): Promise<LockAnswer> {
    const [key, fence] = [lockKey(name), fenceKey(name)];
    const reply = await this.#one(call, key, (slot) => this.#calls.lock(slot, [key, fence], owner, ttlMs));
    const [token, ms] = Array.isArray(reply) ? (reply as unknown[]) : [];
    if (token === null && typeof ms === 'number') return { kind: 'held', waitMs: ms };
    const text = token instanceof Uint8Array ? decoder.decode(token) : '';
    if (!/^\d{16}$/.test(text)) throw new BreakwaterError('STORE_REPLY_INVALID', 'cannot read the reply to a lock');
    return { kind: 'granted', token: Number(text) };
  }

  async renew(name: string, owner: string, ttlMs: number, call: StoreCall): Promise<boolean> {
    const key = lockKey(name);
    return (await this.#one(call, key, (slot) => this.#calls.renewLock(slot, key, owner, ttlMs))) === 1;
  }

  async release(name: string, owner: string, call: StoreCall): Promise<boolean> {
    const key = lockKey(name);
    return (await this.#one(call, key, (slot) => this.#calls.unlock(slot, key, owner))) === 1;
  }

  async #one(call: StoreCall, key: string, request: (slot: number) => SlotRequest): Promise<unknown> {
    const deadline: Deadline = this.#shards.begin(call);
    const layout = await this.#shards.layout(deadline);
    const how = { idempotent: true, acknowledged: true };
    const [outcome] = await this.#shards.execute([request(layout.slotOf(key))], deadline, how);
    if (outcome instanceof Error) throw storeError(outcome, call.signal);
    return outcome;
  }
}

/** Both in one slot: an encoded name has no brace of its own. */
const lockKey = (name: string): string => `bw.lock:{${encodeURIComponent(name)}}`;
const fenceKey = (name: string): string => `bw.fence:{${encodeURIComponent(name)}}`;
