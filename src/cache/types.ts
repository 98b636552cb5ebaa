/**
 * The words of the public face: what a declaration says, what a loader is, what comes back.
 */
import type { Duration } from '../base/units.ts';
import type { PackingOptions } from './codec/options.ts';
import type { Codec } from './codec/value-codec.ts';
import type { DataSource, Loader, Sink, WritableSource } from './data-source.ts';
import type { KnownKeys, KnownKeysStats } from './filter/known-keys.ts';
import type { IdRule } from './id-rule.ts';
import type { SamplerStats } from './observe/sampler.ts';
import type { StandardSchema } from './schema.ts';
import type { SessionToken } from './session.ts';
import type { Source, SourceOptions } from './source.ts';
import type { SourceVersion } from './source-version.ts';
import type { BehindOptions } from './write/behind-options.ts';
import type { QueueStats } from './write/queue-stats.ts';

export type { LoadContext, LoadedOne, Loader, LoadResult } from './data-source.ts';
export { NOT_MODIFIED, Validated } from './data-source.ts';

/**
 * What JSON makes of a `V`: a `Date` comes back as text, methods and functions do not come back. The cache gives every caller the same
 * thing wherever the value came from, loader included, so this is the type of all its answers. For a `V` that is plain
 * data it is `V` itself.
 */
export type Cached<V> = V extends string | number | boolean | null | undefined
  ? V
  : V extends { toJSON(key?: string): infer Json }
    ? Cached<Json>
    : V extends bigint | symbol | ((...args: never[]) => unknown)
      ? never
      : V extends readonly unknown[]
        ? { [K in keyof V]: Cached<V[K]> }
        : V extends object
          ? { [K in keyof V as V[K] extends symbol | ((...args: never[]) => unknown) ? never : K]: Cached<V[K]> }
          : V;

/**
 * What `codec: 'msgpack'` makes of a `V`: dates, bigints, binary data, maps and sets come back as they were; functions are refused when they are
 * written, and so are instances of classes, which types cannot tell from plain objects.
 */
export type Packed<V> = V extends
  | string
  | number
  | boolean
  | bigint
  | null
  | undefined
  | Date
  | ArrayBuffer
  | ArrayBufferView
  ? V
  : V extends symbol | ((...args: never[]) => unknown)
    ? never
    : V extends ReadonlyMap<infer Key, infer Member>
      ? Map<Packed<Key>, Packed<Member>>
      : V extends ReadonlySet<infer Member>
        ? Set<Packed<Member>>
        : V extends readonly unknown[] | object
          ? { [K in keyof V]: Packed<V[K]> }
          : V;

/** What callers get of a `V`, by codec: the JSON of it, what msgpack makes of it, or what a codec of one's own decodes to. */
export type AnswerOf<V, C> = C extends 'msgpack'
  ? Packed<V>
  : C extends { readonly decode: (bytes: Uint8Array) => infer A }
    ? A
    : Cached<V>;

/** What may be said as `codec`. */
// biome-ignore lint/suspicious/noExplicitAny: of any types
export type CodecChoice = 'json' | 'msgpack' | Codec<any, any>;

/** Bounds of one cache's L1. */
export interface L1Options {
  /** Most entries. Default 10,000. */
  readonly maxEntries?: number;
  /** Most bytes, by an estimate of what the live objects take on the heap. Default 32 MiB. Number, or text such as `"64mb"`. */
  readonly maxBytes?: number | string;
  /**
   * Longest that an entry is served from L1; never longer than its own TTL. On a networked store without a feed this is the bound on how
   * long another process's invalidation can go unseen here, and it must be given there.
   */
  readonly ttl?: Duration;
}

/** What `createBreakwater({ defaults })` may set for all caches, and each cache for itself. */
export interface SharedCacheOptions extends PackingOptions {
  /** How long a loaded value is fresh. Default `"5m"`. */
  readonly ttl?: Duration;
  /** How long "there is no such row" is remembered; 0 = not at all. Default `"30s"`, never longer than `ttl`. */
  readonly negativeTtl?: Duration;
  /** Spreads every TTL by this fraction to both sides: 0.1 = uniform in 0.9 to 1.1 times. 0 up to below 1. Default 0.1. */
  readonly jitter?: number;
  /**
   * For how long after its TTL a value may still be served: at once while one caller (of the whole fleet) reloads it, and when the reload fails,
   * is shed or takes too long. Never a value that was invalidated. Default 0: not at all.
   */
  readonly grace?: Duration;
  /** False: a value within `grace` is served only when its reload fails, is shed, or outlasts `softTimeout`. Default true: at once. */
  readonly staleWhileReload?: boolean;
  /** With `staleWhileReload: false`: how long a caller waits for the reload before it takes the stale value. Default: as long as the load takes. */
  readonly softTimeout?: Duration;
  /**
   * `'xfetch'`: a value is reloaded a little before its TTL ends, the sooner the longer its load takes and the more readers it has, so that nobody
   * meets the end of it (Vattani et al., 2015). A number is the eagerness, 1 = the paper's. Default false.
   */
  readonly early?: 'xfetch' | number | false;
  /** What stands in front of the loader: a source shared with other caches (`bw.source`), or options of a guard of this cache alone. */
  readonly guard?: SourceOptions | Source;
  /** Longest that one call of the loader may take; then its signal is aborted and callers get `CACHE_LOAD_TIMEOUT`. Default `"5s"`. */
  readonly loadTimeout?: Duration;
  /**
   * How long other processes wait for one process's load of a key before the next of them may load it too. Default `"2s"`. A caller waits for
   * others at most twice as long, then loads without filling L2.
   */
  readonly leaseWait?: Duration;
  /** Most ids of one L2 read and one call of the loader. Default 1,000; above 4,096 it is 4,096, so that the leases of one `getMany` fit into the store. */
  readonly maxBatch?: number;
  /**
   * Live objects in this process. Default: on for the embedded store; off for networked ones, where an object switches it on: `{}` in front of a node,
   * whose feed bounds the staleness (`staleness` of `createBreakwater`), `{ ttl }` where there is no feed and the ttl is the bound.
   */
  readonly l1?: false | L1Options;
  /**
   * Compares a fraction of the hits with the source, in the background, and counts those that are wrong (`stats().sample`, the events `suspected-stale` and
   * `wrong-hit`, the metrics). Each check is a load of one id behind the guard. Default false.
   */
  readonly sample?: false | SampleOptions;
}

/** How hits are sampled. */
export interface SampleOptions {
  /** Share of the hits of L1 and L2 that is compared, above 0 up to 1. At most 16 at a time. */
  readonly rate: number;
  /** When to look a second time at what differs: longer than your updates take from the database's commit to `delete` or `write` resolving. Default `"1s"`. */
  readonly confirmAfter?: Duration;
  /** Whether the cached value and the loaded one, both as the cache gives them, mean the same. Default: they are deeply equal. */
  compare?(cached: unknown, loaded: unknown): boolean;
}

/**
 * How the source's rows are changed by way of the cache:
 *
 *   aside     `write(id, fn)`: `fn` changes the database, then the key is invalidated
 *   through   `write(id, value)`: the database, then the cache, in one call
 *   behind    `write(id, value)`: acknowledged when it is in a log on disk; the database gets it later
 */
export type WritePolicy = 'aside' | 'through' | 'behind';

export interface CacheOptions<K extends string, V, A = Cached<V>> extends SharedCacheOptions {
  /** Asks the database. Either this or `source`. */
  readonly load?: Loader<K, V>;
  /** A database with a loader, and perhaps a sink: short for `load: source.load` and `sink: source.sink`. */
  readonly source?: DataSource<V> | WritableSource<V>;
  /** How values are written. Default `'aside'`; the others need a sink. */
  readonly policy?: WritePolicy;
  /** Where values are written to, by a policy that writes them. Default: that of `source`. */
  readonly sink?: Sink<V>;
  /** Of policy `'behind'`: the queue, over what `createBreakwater({ behind })` says. */
  readonly behind?: BehindOptions;
  /** Tags of a value, for `bw.invalidate({ tags })`. Called with what callers get (see {@link Cached}). */
  readonly tags?: (value: A, id: K) => readonly string[];
  /** Checks values before they are written and after they are read from L2, where what it refuses is a miss. Any Standard Schema v1 that answers at once. */
  readonly schema?: StandardSchema;
  /**
   * Which ids exist: one that certainly does not is answered null before anything is asked. Ids are added by `set`, `write`, `delete` and invalidated keys
   * of this process; rows that others insert are unknown until its next build. Embedded store only.
   */
  readonly known?: KnownKeys;
  /**
   * Which ids there can be: a pattern that they match, as `/^\d{1,12}$/`, or a function that says `true` of them. Others are refused (`CACHE_KEY_INVALID`) by gets, `set`, `warm` and writes
   * of values before anything is asked; `delete`, `write(id, update)` and invalidations take them. Default: all.
   */
  readonly ids?: IdRule;
}

/** Of one call. */
export interface GetOptions {
  /** Ends this caller's waiting, nobody else's. */
  readonly signal?: AbortSignal | undefined;
  /** Longest that this caller waits (`CACHE_TIMEOUT`). Default: as long as the load may take. */
  readonly timeout?: Duration | undefined;
  /**
   * How long past its TTL a value may be for this caller; 0 = not at all. Narrows the declared `grace`, never widens it. Where the store is a cluster opened with `reads=nearest`, a copy may answer,
   * and may lack what other processes invalidated within that time (docs/stores.md).
   */
  readonly maxStale?: Duration | undefined;
  /** The source's answer, from a load that begins after this call. It is stored for the others. */
  readonly fresh?: boolean | undefined;
  /**
   * Nothing older than what the Breakwater that made this token ({@link Written}, `bw.token()`) had acknowledged by then: every `set`, `delete`, `write` and
   * `invalidate` of it, whatever keys, tags and namespaces they named. In another process the get passes L1 by, and every load that asked the source before
   * it without a lease; where the store is embedded, and heard nothing of that process, it asks the source.
   */
  readonly after?: SessionToken | undefined;
}

/** What `write` resolves to. */
export interface Written<T> {
  /** What the update returned. */
  readonly result: T;
  /** For `get(id, { after: token })`, here or in another process. */
  readonly token: SessionToken;
}

export interface SetOptions {
  /** Instead of the declared `ttl`. */
  readonly ttl?: Duration | undefined;
  /**
   * The version that the source gave this value (a row version, an LSN): an older one never replaces a newer one in any tier, whatever the order in
   * which the sets arrive; after the newer one was deleted, evicted or has expired as long as the store remembers it (docs/stores.md).
   * Versions are compared within one cache.
   */
  readonly version?: SourceVersion | undefined;
}

/** Which tier answered; `stale`: either, with a value past its TTL; `filter`: the option `known` said that there is no such id. */
export type Tier = 'l1' | 'l2' | 'loader' | 'stale' | 'filter';

export interface Detailed<T> {
  /** null = known absent. */
  readonly value: T | null;
  readonly from: Tier;
  /** How long ago it was stored, milliseconds. */
  readonly ageMs: number;
  /** For how long from its storing it is fresh, milliseconds, jitter included; `Infinity` = no end. What is left is `ttlMs - ageMs`. */
  readonly ttlMs: number;
  /** The store's number of the write that stored it; null when it is not known (just loaded). */
  readonly version: number | null;
}

export interface CacheStats {
  /** Answered from L1, from L2. Both include negative hits. */
  readonly l1Hits: number;
  readonly l2Hits: number;
  /** Of the hits of L2, those of the very version that L1 had: kept there and trusted again. */
  readonly revalidated: number;
  /** Of those, answers that were "known absent". */
  readonly negativeHits: number;
  /** Answers past their TTL, at once or after a reload failed. Not in `l1Hits` and `l2Hits`. */
  readonly staleHits: number;
  /** Reloads in the background, begun early or of a stale value, and those that another process was already busy with. */
  readonly reloads: number;
  readonly reloadsElsewhere: number;
  /** Ids that the guard did not let through to the source, and ids answered by the remembered error of their last load. */
  readonly shed: number;
  readonly backedOff: number;
  /** Ids for which the loader said "not modified". */
  readonly notModified: number;
  /** Keys that neither tier had. */
  readonly misses: number;
  /** Callers that joined a flight of their key instead of starting one. */
  readonly joined: number;
  /** Calls of the loader; ids that it was asked for. */
  readonly loads: number;
  readonly loadedIds: number;
  /** Calls of the loader that failed, and of those the ones that ran out of time. */
  readonly loadErrors: number;
  readonly loadTimeouts: number;
  /** Keys in loader results that nobody had asked for. */
  readonly loaderExtras: number;
  /** Callers whose own signal or `timeout` ended their waiting. */
  readonly abandonedWaits: number;
  /** Loaded values that L2 did not take because something was invalidated meanwhile (or they are too large). */
  readonly fillsRefused: number;
  /** Fills that failed, reads of L2 that failed or were skipped because L2 is down: these gets went to the loader. */
  readonly fillErrors: number;
  readonly l2ReadErrors: number;
  readonly l2ReadsSkipped: number;
  /** Polls for another process's load, and loads begun because waiting for it took too long. */
  readonly leasePolls: number;
  readonly leaseGiveUps: number;
  /** L2 entries that could not be used: misses. The next five say why, and add up to it. */
  readonly unreadable: number;
  /** Of another format version or codec, or compressed in a way that this runtime cannot read. */
  readonly unreadableFormat: number;
  /** Encrypted under a key that this process does not have; or not encrypted, where `encryption` is on. */
  readonly unreadableKey: number;
  /** Large values of which a chunk was gone or of another write. */
  readonly unreadableChunks: number;
  /** Not what was written: wrong checksum or authentication, or bytes that decode to nothing. */
  readonly unreadableDamaged: number;
  /** Refused by the schema. */
  readonly schemaMisses: number;
  /** Gets that the filter of known keys answered. */
  readonly filtered: number;
  /** The filter itself, its rate of false positives measured; null = there is none. */
  readonly known: KnownKeysStats | null;
  readonly writes: number;
  /** Sets; of those, the ones that were not stored because of their `version`. */
  readonly sets: number;
  readonly setsOutdated: number;
  readonly deletes: number;
  /** `bypassed`: gets that L1 had and did not answer, because it was not known recently enough what other processes invalidated. */
  readonly l1: {
    readonly entries: number;
    readonly bytes: number;
    readonly evictions: number;
    readonly bypassed: number;
  } | null;
  /** Loads under way. */
  readonly flights: number;
  /** What the sampler of wrong hits has found; null = hits are not sampled. */
  readonly sample: SamplerStats | null;
  /** The write-behind queue; null = another policy. */
  readonly queue: QueueStats | null;
}
