/** An entry of L1, and the doubly linked queues in which entries wait for their eviction. Every step is O(1). */
import { assert } from '../base/assert.ts';

/**
 * The first five are all that a hit reads, in this order in memory (the literal in l1.ts makes it so): one or two cache lines of an object
 * of three.
 */
export interface L1Entry<V> {
  value: V | null;
  /** Resolved with `value`: a hit allocates nothing. Made by the first `get`. */
  promise: Promise<V | null> | null;
  /** Certainly fresh until then: `judge` need not be asked. At most `storedAtMs + ttlMs`. In the ticks of l1.ts: a small integer, which needs no box. */
  sureUntilTick: number;
  /** The latest void that the entry is known to have survived. */
  stamp: number;
  /** uses:4 | clock:2, for the eviction (l1-eviction.ts). */
  recency: number;
  readonly id: string;
  storedAtMs: number;
  /** Not served from then on, whatever `judge` says. */
  goneAtMs: number;
  ttlMs: number;
  graceMs: number;
  loadMs: number;
  version: number | null;
  tags: readonly number[];
  bytes: number;
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
