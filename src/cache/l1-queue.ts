/** An entry of L1, and the doubly linked queues in which entries wait for their eviction. Every step is O(1). */
import { assert } from '../base/assert.ts';

export interface L1Entry<V> {
  readonly id: string;
  value: V | null;
  /** Resolved with `value`: a hit allocates nothing. Made by the first `get`. */
  promise: Promise<V | null> | null;
  storedAtMs: number;
  /** Certainly fresh until then: `judge` need not be asked. */
  sureUntilMs: number;
  /** Not served from then on, whatever `judge` says. */
  goneAtMs: number;
  ttlMs: number;
  graceMs: number;
  loadMs: number;
  version: number | null;
  /** The latest void that the entry is known to have survived. */
  stamp: number;
  tags: readonly number[];
  bytes: number;
  /** uses:4 | clock:2, for the eviction (l1-eviction.ts). */
  recency: number;
  queue: Queue<V> | null;
  older: L1Entry<V> | null;
  newer: L1Entry<V> | null;
}

export class Queue<V> {
  oldest: L1Entry<V> | null = null;
  newest: L1Entry<V> | null = null;
  bytes = 0;
  count = 0;

  append(entry: L1Entry<V>): void {
    entry.queue = this;
    entry.newer = null;
    entry.older = this.newest;
    if (this.newest === null) this.oldest = entry;
    else this.newest.newer = entry;
    this.newest = entry;
    this.bytes += entry.bytes;
    this.count += 1;
  }

  remove(entry: L1Entry<V>): void {
    assert(entry.queue === this, 'an entry leaves the queue that it is in');
    if (entry.older === null) this.oldest = entry.newer;
    else entry.older.newer = entry.newer;
    if (entry.newer === null) this.newest = entry.older;
    else entry.newer.older = entry.older;
    this.bytes -= entry.bytes;
    this.count -= 1;
    entry.queue = null;
    // A dropped entry that somebody still holds must hold no others.
    entry.older = null;
    entry.newer = null;
  }

  clear(): void {
    this.oldest = null;
    this.newest = null;
    this.bytes = 0;
    this.count = 0;
  }
}
