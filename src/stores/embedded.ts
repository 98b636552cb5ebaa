/**
 * The embedded store: one member's memory inside the application's own process. Nothing to install, nothing to connect to,
 * and the same leases, tags and namespaces as a node has, because it is the same engine and the same `freshness/` code.
 *
 * Every operation is done when its function returns; the promises are there for the port. So an order of calls is an order
 * of effects, and an invalidation is in force the moment `invalidate` is called.
 *
 * Why not simply a Map of objects: the values would be on the JavaScript heap, where a hundred megabytes of cache make every
 * major garbage collection longer, and a bug or an upgrade from embedded to a node would change what `get` gives back. Bytes are
 * bytes in every store; live objects are what L1 is for.
 *
 * One process only. Two workers of one service would each have their own truth (DESIGN.md, "How staleness is closed", 6):
 * `createBreakwater` refuses it there.
 */
import type { Clock } from '../base/clock.ts';
import { utf8Length } from '../base/envelope.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Scheduler, Timer } from '../base/scheduler.ts';
import {
  type EvictionPolicy,
  NO_ROOM,
  type SourceVersion,
  STORED,
  type StoreFace,
  type TagList,
} from '../engine/face.ts';
import { Store } from '../engine/store.ts';
import { Freshness, HELD, OLDER, SAME, STORE } from '../freshness/freshness.ts';
import { LOCKS_FULL, LockTable } from '../freshness/lock-table.ts';
import { tagHash } from '../freshness/names.ts';
import { TallyTable } from '../freshness/tally-table.ts';
import type { StoreCounters } from './counters.ts';
import type { StoreLocks } from './locks.ts';
import type {
  CacheStore,
  FillEntry,
  HeldLease,
  InvalidateRequest,
  LeaseCall,
  ReadCall,
  ReadResult,
  SetOutcome,
  StoreCall,
  WriteEntry,
} from './store.ts';

export interface EmbeddedStoreOptions {
  /** The bound of all its structures. */
  readonly memoryBytes: number;
  readonly eviction: EvictionPolicy;
  /** Instead of the engine; for tests. */
  readonly engine?: StoreFace;
  readonly clock: Clock;
  readonly scheduler: Scheduler;
  readonly random: Random;
  /** Lease tokens remembered, a power of two. Default 32,768: one process does not load more at a time. */
  readonly leaseCapacity?: number;
}

const LEASE_CAPACITY = 32_768;
const GENERATION_CAPACITY = 16_384;
const TICK_BUDGET = 1_000;
const LONGEST_TICK_MS = 1_000;
const SHORTEST_TICK_MS = 5;
const MAX_TAGS = 255;

const encoder = new TextEncoder();

export class EmbeddedStore implements CacheStore {
  readonly kind = 'embedded';
  readonly inProcess = true;
  readonly takesLeasedWrites = true;
  /** The engine's default. */
  readonly maxValueBytes = 8 * 1024 ** 2;
  readonly #lockTable = new LockTable();
  readonly #tallies = new TallyTable();
  readonly counters: StoreCounters = {
    add: (key, by, ttlMs, call) =>
      this.#do('count', call, () => {
        const sum = this.#tallies.add(key, by, ttlMs, this.#clock.now());
        if (typeof sum === 'number') return sum;
        const why = sum === 'full' ? 'there are too many counters' : 'the sum would be no safe integer';
        throw new BreakwaterError('STORE_REFUSED', `cannot count in ${show(key)}: ${why}`);
      }),
    draw: (key, by, call) => this.counters.add(key, by, null, call),
    sum: (keys, call) =>
      this.#do('read a counter', call, () => {
        const nowMs = this.#clock.now();
        return keys.reduce((sum, key) => sum + this.#tallies.value(key, nowMs), 0);
      }),
  };
  readonly locks: StoreLocks = {
    acquire: (name, owner, ttlMs, call) =>
      this.#do('acquire a lock', call, () => {
        const got = this.#lockTable.acquire(name, owner, ttlMs, this.#clock.now());
        if (got === LOCKS_FULL)
          throw new BreakwaterError('STORE_NO_ROOM', `cannot acquire ${show(name)}: too many locks are held`);
        return got > 0 ? { kind: 'granted', token: got } : { kind: 'held', waitMs: -got };
      }),
    renew: (name, owner, ttlMs, call) =>
      this.#do('renew a lock', call, () => this.#lockTable.renew(name, owner, ttlMs, this.#clock.now())),
    release: (name, owner, call) =>
      this.#do('release a lock', call, () => this.#lockTable.release(name, owner, this.#clock.now())),
    listen: (onReleased) => {
      this.#lockTable.listener = onReleased;
    },
  };
  readonly #engine: StoreFace;
  readonly #freshness: Freshness;
  readonly #clock: Clock;
  readonly #scheduler: Scheduler;
  readonly #tags = { count: 0, hashes: new Float64Array(MAX_TAGS) };
  #key = new Uint8Array(1024);
  #keyLength = 0;
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: EmbeddedStoreOptions) {
    const { memoryBytes, eviction, random } = options;
    this.#engine = options.engine ?? new Store({ memoryBytes, eviction, seed: random.nextUint32() });
    this.#clock = options.clock;
    this.#scheduler = options.scheduler;
    this.#freshness = new Freshness(this.#engine, {
      epoch: random.nextUint32(),
      seed: random.nextUint32(),
      capacity: options.leaseCapacity ?? LEASE_CAPACITY,
      generationCapacity: GENERATION_CAPACITY,
    });
    this.#arm(LONGEST_TICK_MS);
  }

  read(keys: readonly string[], call: ReadCall): Promise<ReadResult[]> {
    return this.#do('read', call, () => keys.map((key) => this.#readOne(key, call)));
  }

  lease(keys: readonly string[], call: LeaseCall): Promise<(string | null)[]> {
    return this.#do('lease', call, () =>
      keys.map((key) => {
        this.#encodeKey(key);
        return this.#grant(this.#clock.now(), call.leaseMs);
      }),
    );
  }

  fill(entries: readonly FillEntry[], call: StoreCall): Promise<boolean[]> {
    return this.#do('fill', call, () => entries.map((entry) => this.#fillOne(entry)));
  }

  release(leases: readonly HeldLease[], call: StoreCall): Promise<void> {
    return this.#do('release a lease', call, () => {
      for (const { key, lease } of leases) {
        const token = parseToken(lease);
        this.#encodeKey(key);
        this.#freshness.release(this.#key, 0, this.#keyLength, token.epoch, token.counter);
      }
    });
  }

  set(key: string, value: Uint8Array, entry: WriteEntry, call: StoreCall): Promise<SetOutcome> {
    return this.#do('set', call, () => {
      this.#encodeKey(key);
      this.#encodeTags(entry.tags);
      const nowMs = this.#clock.now();
      const source = entry.version === undefined ? null : halves(entry.version);
      if (source !== null) {
        const verdict = this.#freshness.judgeSource(this.#key, 0, this.#keyLength, source.high, source.low, nowMs);
        if (verdict === SAME) return 'same';
        if (verdict === OLDER) return 'older';
        if (verdict !== STORE) {
          this.#freshness.voidKey(this.#key, 0, this.#keyLength);
          this.#engine.delete(this.#key, 0, this.#keyLength, nowMs);
          return 'unsure';
        }
      }
      this.#freshness.voidKey(this.#key, 0, this.#keyLength, source !== null);
      const stored = this.#store(value, entry.ttlMs, nowMs, source);
      if (stored === STORED) return 'stored';
      if (source !== null) {
        this.#freshness.sourceLost(this.#key, 0, this.#keyLength, source.high, source.low, nowMs);
      }
      // What the key had was replaced, as far as the caller is concerned: it must not come back from here.
      this.#engine.delete(this.#key, 0, this.#keyLength, nowMs);
      throw stored === NO_ROOM
        ? new BreakwaterError('STORE_NO_ROOM', `cannot set ${show(key)}: the store's memory has no room for it`)
        : new BreakwaterError(
            'STORE_TOO_LARGE',
            `cannot set ${show(key)}: the key (${this.#keyLength} bytes) or the value (${value.length} bytes) is above the store's limit`,
          );
    });
  }

  delete(keys: readonly string[], call: StoreCall): Promise<number> {
    return this.#do('delete', call, () => this.#deleteAll(keys));
  }

  invalidate(request: InvalidateRequest, call: StoreCall): Promise<void> {
    return this.#do('invalidate', call, () => {
      this.#deleteAll(request.keys ?? []);
      for (const tag of request.tags ?? []) {
        const name = encoder.encode(tag);
        this.#freshness.invalidateTag(name, 0, name.length);
      }
      for (const namespace of request.namespaces ?? []) {
        const name = encoder.encode(namespace);
        this.#freshness.invalidateNamespace(name, 0, name.length);
      }
    });
  }

  stats(call: StoreCall): Promise<Readonly<Record<string, number>>> {
    return this.#do('read stats', call, () => {
      const { hits, misses, evictions, expirations, invalidations, entries, usedBytes, memoryBytes } =
        this.#engine.stats;
      const { granted, held, filled, refused, voided } = this.#freshness.leases.stats;
      return {
        hits,
        misses,
        evictions,
        expirations,
        invalidations,
        entries,
        usedBytes,
        memoryBytes,
        leasesGranted: granted,
        leasesHeld: held,
        leasesFilled: filled,
        leasesRefused: refused,
        leasesVoided: voided,
      };
    });
  }

  close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#timer?.cancel();
      this.#timer = null;
      this.#engine.clear(this.#clock.now());
    }
    return Promise.resolve();
  }

  /** Runs `work` at once. What it throws becomes the rejection: a caller of the port never sees a synchronous throw. */
  #do<T>(what: string, call: StoreCall, work: () => T): Promise<T> {
    if (this.#closed) {
      return Promise.reject(new BreakwaterError('STORE_CLOSED', `cannot ${what}: the embedded store is closed`));
    }
    if (call.signal?.aborted === true) return Promise.reject(call.signal.reason);
    try {
      return Promise.resolve(work());
    } catch (error) {
      return Promise.reject(error);
    }
  }

  #readOne(key: string, call: ReadCall): ReadResult {
    this.#encodeKey(key);
    const nowMs = this.#clock.now();
    const engine = this.#engine;
    const ref = engine.find(this.#key, 0, this.#keyLength, nowMs);
    if (ref !== 0) {
      const value = new Uint8Array(engine.valueLength(ref));
      engine.copyValue(ref, value, 0);
      const expiresAtMs = engine.expiresAtMs(ref);
      return {
        kind: 'hit',
        value,
        ttlMs: expiresAtMs === 0 ? null : Math.max(0, expiresAtMs - nowMs),
        version: engine.version(ref),
      };
    }
    if (!call.lease) return { kind: 'miss', lease: null, waitMs: 0 };
    const lease = this.#grant(nowMs, call.leaseMs);
    if (lease !== null) return { kind: 'miss', lease, waitMs: 0 };
    const waitMs = this.#freshness.leases.waitMs(this.#key, 0, this.#keyLength, nowMs);
    return { kind: 'miss', lease: null, waitMs: Math.max(1, waitMs) };
  }

  /** For the encoded key. */
  #grant(nowMs: number, leaseMs: number | undefined): string | null {
    const counter = this.#freshness.grant(this.#key, 0, this.#keyLength, nowMs, leaseMs);
    return counter === HELD ? null : `${this.#freshness.leases.epoch}-${counter}`;
  }

  #fillOne(entry: FillEntry): boolean {
    const { epoch, counter } = parseToken(entry.lease);
    this.#encodeKey(entry.key);
    this.#encodeTags(entry.tags);
    const { count, hashes } = this.#tags;
    if (!this.#freshness.mayFill(this.#key, 0, this.#keyLength, epoch, counter, hashes, count)) return false;
    if (this.#store(entry.value, entry.ttlMs, this.#clock.now(), null) !== STORED) {
      this.#freshness.voidKey(this.#key, 0, this.#keyLength);
      return false;
    }
    this.#freshness.filled(this.#key, 0, this.#keyLength);
    return true;
  }

  /** Stores under the encoded key and tags. */
  #store(value: Uint8Array, ttlMs: number | null, nowMs: number, source: SourceVersion | null): number {
    const expiresAtMs = ttlMs === null ? 0 : Math.floor(nowMs + ttlMs);
    const tags: TagList = this.#tags;
    return this.#engine.set(
      this.#key,
      0,
      this.#keyLength,
      value,
      0,
      value.length,
      expiresAtMs,
      nowMs,
      0,
      tags.count === 0 ? null : tags,
      source,
    );
  }

  #deleteAll(keys: readonly string[]): number {
    let deleted = 0;
    const nowMs = this.#clock.now();
    for (const key of keys) {
      this.#encodeKey(key);
      this.#freshness.voidKey(this.#key, 0, this.#keyLength);
      if (this.#engine.delete(this.#key, 0, this.#keyLength, nowMs)) deleted += 1;
    }
    return deleted;
  }

  #encodeKey(key: string): void {
    if (key.length * 3 > this.#key.length) {
      const needed = utf8Length(key);
      if (needed > this.#key.length) this.#key = new Uint8Array(needed * 2);
    }
    this.#keyLength = encoder.encodeInto(key, this.#key).written;
  }

  #encodeTags(tags: readonly string[]): void {
    if (tags.length > MAX_TAGS) {
      throw new BreakwaterError(
        'STORE_TOO_MANY_TAGS',
        `cannot store the entry: at most ${MAX_TAGS} tags, received ${tags.length}`,
      );
    }
    this.#tags.count = tags.length;
    for (let i = 0; i < tags.length; i += 1) {
      const name = encoder.encode(tags[i]);
      this.#tags.hashes[i] = tagHash(name, 0, name.length);
    }
  }

  #arm(delayMs: number): void {
    this.#timer = this.#scheduler.setTimer(
      delayMs,
      () => {
        if (this.#closed) return;
        const wantedMs = this.#engine.tick(this.#clock.now(), TICK_BUDGET);
        this.#arm(Math.min(Math.max(wantedMs, SHORTEST_TICK_MS), LONGEST_TICK_MS));
      },
      { keepAlive: false },
    );
  }
}

/** `<epoch>-<counter>`; anything else is a token that was never granted. */
function parseToken(token: string): { readonly epoch: number; readonly counter: number } {
  const match = /^(\d{1,10})-(\d{1,16})$/.exec(token);
  return match === null ? { epoch: -1, counter: -1 } : { epoch: Number(match[1]), counter: Number(match[2]) };
}

/** A version in [0, 2^64) as the engine keeps it. */
function halves(version: bigint): SourceVersion {
  return { high: Number(BigInt.asUintN(32, version >> 32n)), low: Number(BigInt.asUintN(32, version)) };
}

function show(key: string): string {
  return JSON.stringify(key.length > 64 ? `${key.slice(0, 61)}...` : key);
}
