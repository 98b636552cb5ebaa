/**
 * Where L2 lives: the port that every store fills, and the promises that the library builds on. One contract suite
 * (test/contract/store-contract.ts) holds every maker to them.
 *
 * What a store must promise:
 *
 *   read        a hit is never something that an *acknowledged* `delete`, `set` or `invalidate` replaced. A miss is always allowed.
 *   lease       a miss read with `lease: true` hands a token to one caller; while that one loads, the others get `lease: null`. `lease()`
 *               does the same for an entry that is to be loaded anew.
 *   fill        stores only while its token is good. A write or delete of the key, or an invalidation of its namespace or of one
 *               of the entry's tags, after the token was granted, voids it: `false`, and nothing is stored. Droppable.
 *   versions    a `set` that carries a version never replaces a later one ({@link SetOutcome}).
 *   set, delete, invalidate
 *               resolve when they are in force for every later read, reject when that is not known. Never dropped silently.
 *   deadlines   every call settles within its `timeoutMs`, or soon after its signal aborts.
 *
 * Batches are one round trip. Keys are full keys (`user:42`); a key's namespace is what stands before its first `:`.
 */

import type { StoreCall } from './call.ts';
import type { StoreCounters } from './counters.ts';
import type { LeaseEnds, StoreFeed } from './feed.ts';
import type { StoreLocks } from './locks.ts';
import type { StoreQueues } from './queues.ts';

export type { StoreCall } from './call.ts';

export interface LeaseCall extends StoreCall {
  /** How long other callers are told to wait for this one's load, milliseconds. Default 10,000. */
  readonly leaseMs?: number;
}

export interface ReadCall extends LeaseCall {
  /** Ask for the right to fill what is missing. */
  readonly lease: boolean;
  /**
   * A hit may be one that was replaced so many milliseconds ago, but not by this store: it may come out of a copy ({@link ReadHit.isCopied}). Only where the store {@link CacheStore.readsCopies}.
   * Default 0: not at all.
   */
  readonly maxStaleMs?: number;
}

export interface FillCall extends StoreCall {
  /**
   * The values are rows that the caller has just written to the source, under leases from before it did: every L1 that may have what was there is told as of a `set`, and `true`
   * means in force for every later read. Only where the store says {@link CacheStore.takesLeasedWrites}. Default false.
   */
  readonly isWrite?: boolean;
}

/** What is known about one key. */
export type ReadResult = ReadHit | ReadMiss;

export interface ReadHit {
  readonly kind: 'hit';
  readonly value: Uint8Array;
  /** Remaining time to live in milliseconds; null = does not expire. */
  readonly ttlMs: number | null;
  /** The store's number of the write that stored it; larger is later. */
  readonly version: number;
  /** Out of a copy that may be behind, as the call allowed: to be given to who asked and to be kept nowhere. Its `version` is no other member's. */
  readonly isCopied?: true;
}

export interface ReadMiss {
  readonly kind: 'miss';
  /** The token of a granted lease; null when it was not asked for, or when another caller holds it. */
  readonly lease: string | null;
  /** While another caller holds the lease: the longest that one should wait for its load. Otherwise 0. */
  readonly waitMs: number;
  /**
   * Present: the store may have something, and it must not be looked at, since an invalidation of it is not acknowledged yet. Load, without waiting for anybody,
   * and fill nothing.
   */
  readonly withheld?: true;
}

/** A loaded value and the lease of the miss that it answers. */
export interface FillEntry extends WriteEntry {
  readonly key: string;
  readonly value: Uint8Array;
  readonly lease: string;
}

export interface WriteEntry {
  /** Time to live in milliseconds, at least 1; null = does not expire. */
  readonly ttlMs: number | null;
  readonly tags: readonly string[];
  /**
   * The version that the source gave the value, in [0, 2^64): `set` never lets it replace a later one, whatever the order of arrival
   * (freshness/source-versions.ts). Of fills it is not asked. Absent = none.
   */
  readonly version?: bigint;
}

/**
 * What came of a `set`. Without a version: always `stored`. With one:
 *
 *   stored   it is there, and was the newest known
 *   same     this very version was there: nothing was done
 *   older    a later version is or was there: nothing was done
 *   unsure   it may be older than what was there: not stored, and the key removed, so that the next reader loads
 */
export type SetOutcome = 'stored' | 'same' | 'older' | 'unsure';

/** A granted lease that will not be used. */
export interface HeldLease {
  readonly key: string;
  readonly lease: string;
}

export interface InvalidateRequest {
  readonly keys?: readonly string[];
  readonly tags?: readonly string[];
  /** Namespaces by name, without the `:`. */
  readonly namespaces?: readonly string[];
}

/** The part of the port that a store has which keeps what was not acknowledged, and retries it. */
export interface StoreOutbox {
  /** Whether it outlives the process, so that {@link intend} means something. */
  readonly isDurable: boolean;
  /** True: the key, its namespace or one of the tags is pending; a value of it may be given to who asked for it, and kept nowhere. */
  withholds(key: string, tags: readonly string[]): boolean;
  /** A cache of this name is declared in this process: one of those that a tag may cover. */
  declare(namespace: string): void;
  /**
   * Notes on disk that the source's rows of these keys are about to change, so that they are invalidated at the next start should the process end before their
   * invalidation is acknowledged or pending. Resolves to the function that takes the note away. Rejects with `OUTBOX_UNAVAILABLE`.
   */
  intend(keys: readonly string[], call: StoreCall): Promise<() => void>;
  stats(): OutboxStats;
  /** What is pending. */
  left(): Required<InvalidateRequest>;
}

export interface OutboxStats {
  /** Keys, tags and namespaces whose invalidation is not acknowledged. */
  readonly length: number;
  readonly keys: number;
  readonly tags: number;
  readonly namespaces: number;
  /** How long the oldest of them has waited; null = none waits. */
  readonly oldestAgeMs: number | null;
  /** Registered in all; retried until they were acknowledged; made part of something wider for want of room; refused for want of it. */
  readonly queued: number;
  readonly retried: number;
  readonly folded: number;
  readonly refused: number;
  /** Calls that retried something, and those of them that failed. */
  readonly attempts: number;
  readonly failures: number;
  readonly lastError: string | null;
  /** Reads that were answered as misses because of what is pending. */
  readonly withheld: number;
  /** Null: in memory only. */
  readonly disk: null | {
    /** False: the directory could not be opened yet. Until it was for the first time, nothing of the store is served. */
    readonly isOpen: boolean;
    readonly bytes: number;
    /** Writes under way whose intent is noted. */
    readonly intents: number;
    /** What was not written, or why it is not open. */
    readonly lastError: string | null;
  };
}

/** What a server alone or the primaries of a cluster say of how they are configured. */
export interface StoreFacts {
  /** As in `volatile-lru`; null = not told. */
  readonly evictionPolicy: string | null;
  /** Bound of the memory of one server; 0 = none. */
  readonly memoryBytes: number;
  /** Connected replicas of a server alone; 0 for a cluster, which knows its own. */
  readonly replicas: number;
  /** The URL says how many replicas there are. */
  readonly replicasAreStated: boolean;
  readonly keysWithoutTtl: number;
}

export interface CacheStore {
  /** Keeps and retries what was not acknowledged; absent = who called must call again. */
  readonly outbox?: StoreOutbox;
  /** Where the store tells of invalidations by other processes; absent = it does not, and an L1 is bounded by its TTL alone. */
  readonly feed?: StoreFeed;
  /** Where it tells of ends of leases and of nothing else; absent = by its `feed`, if it has one. */
  readonly leaseEnds?: LeaseEnds;
  /** Locks over all processes of the store; absent = it has none. */
  readonly locks?: StoreLocks;
  /** Sums that many processes add to; absent = it has none. */
  readonly counters?: StoreCounters;
  /** Where write-behind queues can be kept, for all processes of the store; absent = it keeps nothing on disk. */
  readonly queues?: StoreQueues;
  /** What it is, for stats and messages: `embedded`, `breakwater`. */
  readonly kind: string;
  /**
   * True when nobody but this process can write to the store, so that what this process knows about invalidations is all
   * there is to know, and live objects may be kept in L1 without a feed.
   */
  readonly inProcess: boolean;
  /** Whether a `fill` can be a write, {@link FillCall.isWrite}. Absent = no: who writes invalidates. */
  readonly takesLeasedWrites?: boolean;
  /** Whether {@link ReadCall.maxStaleMs} makes a difference. Absent = no. */
  readonly readsCopies?: boolean;
  /** Longest value that it takes, bytes. Absent: not known, and what it refuses is not kept. */
  readonly maxValueBytes?: number;
  /** Answers aligned with `keys`, in one round trip. */
  read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]>;
  /**
   * Leases to load keys anew whether they have an entry or not; aligned with `keys`, null where another caller holds one. What a later write or
   * invalidation does to a lease, it does to these.
   */
  lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]>;
  /** Aligned with `entries`: whether each was stored. */
  fill(entries: readonly FillEntry[], call: FillCall): Promise<boolean[]>;
  /** Gives leases back whose load failed, so that the next caller need not wait for them. Best effort. */
  release(leases: readonly HeldLease[], call: StoreCall): Promise<void>;
  set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome>;
  /** How many of the keys were there. */
  delete(keys: readonly string[], call: StoreCall): Promise<number>;
  invalidate(request: InvalidateRequest, call: StoreCall): Promise<void>;
  /** What the store says of its own configuration, for the advisor; absent = nothing that it could be advised about. */
  facts?(call: StoreCall): Promise<StoreFacts>;
  /** Numbers for people and metrics; which ones depends on the store. */
  stats(call: StoreCall): Promise<Readonly<Record<string, number>>>;
  /** Rejects what is under way and all later calls with `STORE_CLOSED`. Closing twice is once. */
  close(): Promise<void>;
}
