/**
 * What a Breakwater and its caches know of each other: what all caches share, and what the Breakwater does with any of them.
 */
import type { BreakwaterError } from '../base/errors.ts';
import type { QueueDurability } from '../stores/queues.ts';
import type { CacheStore } from '../stores/store.ts';
import type { FlightPorts } from './loads.ts';
import type { CacheObserver } from './observe/cache-observer.ts';
import type { Watch } from './observe/watch.ts';
import type { Outage } from './outage.ts';
import type { Source } from './source.ts';
import type { CacheStats } from './types.ts';
import type { Voids } from './voids.ts';
import type { Behind } from './write/behind.ts';
import type { BehindOptions } from './write/behind-options.ts';

/** What all caches of one Breakwater share. */
export interface Shared {
  /** Names this Breakwater in session tokens. */
  readonly sessionId: string;
  readonly store: CacheStore;
  readonly outage: Outage;
  readonly voids: Voids;
  /** Through which all of it is seen from outside. */
  readonly watch: Watch;
  readonly ports: FlightPorts;
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  /** Of caches with policy `behind`. */
  readonly behind: BehindOptions;
  /** What the server that keeps a write-behind queue says of how it keeps it. */
  onQueueDurability(cache: string, durability: QueueDurability): void;
}

/** What the Breakwater does with any of its caches, whatever it holds. */
export interface CacheControls {
  /** This process wrote or invalidated `id`. */
  forget(id: string): void;
  /** What L1 has of `id` may be out of date. */
  drop(id: string): void;
  /** Another caller's load of `id` is over, with a value or without. */
  leaseEnded(id: string): void;
  /** The guard in front of its loader. */
  readonly source: Source;
  readonly observer: CacheObserver;
  /** Whose source is being changed, or whose invalidation is not acknowledged yet. */
  readonly writes: ReadonlySet<WriteUnderWay>;
  /** Its write-behind queue; null = it has none. */
  readonly behind: Behind | null;
  /** What is on its way to the store, that other processes wait for: fills, and leases given back. None of it rejects. */
  readonly parting: ReadonlySet<Promise<unknown>>;
  stats(): CacheStats;
  close(reason: BreakwaterError): void;
}

/** A `write` that has not settled. */
export interface WriteUnderWay {
  readonly key: string;
  readonly done: Promise<unknown>;
}
