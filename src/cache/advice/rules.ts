/**
 * The advisor: configurations that are allowed, and unwise. What is *wrong* is refused with an error when it is declared; here stands what works, until the day on
 * which it does not: a TTL of a year that hides a missing invalidation, a grace that is over before it is of use.
 *
 * One row a rule; docs/advice.md is generated from the table. A rule looks at what is declared (and at what the store says of itself once it has been read
 * from) and answers with what it found, or null. `warning`: likely to hurt; given to `process.emitWarning` once. `hint`: worth a thought; in `bw.advice()` and the
 * event alone.
 */
import type { QueueDurability } from '../../stores/queues.ts';
import type { StoreFacts } from '../../stores/store.ts';
import type { Reach, Settings } from '../options.ts';
import type { SharedCacheOptions } from '../types.ts';

/** What is known of the whole when it is opened. */
export interface OpenedFacts {
  readonly readTimeoutMs: number;
  readonly writeTimeoutMs: number;
  readonly inProcess: boolean;
  /** Signs that this service runs as several processes, as in `a cluster worker`; null = none. */
  readonly severalProcesses: string | null;
  /** A password goes over the network in plain text to this host; null = it does not. */
  readonly plaintextHost: string | null;
}

/** What is known of a cache when it is declared. */
export interface DeclaredFacts {
  readonly settings: Settings;
  /** Own options over defaults, as they were given. */
  readonly given: SharedCacheOptions;
  readonly reach: Reach;
  /** The store has a feed, followed or not. */
  readonly hasFeed: boolean;
  readonly hasSchema: boolean;
  readonly inProcess: boolean;
  /** Most calls at once of its guard, and how many caches with guards of their own there are by now, this one included. */
  readonly concurrency: number;
  readonly ownGuards: number;
}

interface Rule<Facts> {
  readonly code: string;
  readonly level: 'warning' | 'hint';
  /** For the docs: when, why, what to do. */
  readonly when: string;
  readonly why: string;
  readonly what: string;
  /** What was found, in a few words that begin the sentence; null = nothing to say. */
  readonly found: (facts: Facts) => string | null;
}

const DAY_MS = 86_400_000;
const LONG_TTL_MS = 7 * DAY_MS;
const LONG_L1_TTL_MS = 60_000;
/** Where all keys expire in step, and how many: a cache without jitter that may be small is left alone. */
const SHORT_TTL_MS = 1_000;
const MANY_GUARDS = 4;
/** PostgreSQL's default is 100 connections for everybody. */
const HIGH_CONCURRENCY = 100;

export const OPENED_RULES: readonly Rule<OpenedFacts>[] = [
  {
    code: 'ADVICE_WRITE_TIMEOUT_SHORT',
    level: 'warning',
    when: '`writeTimeout` is shorter than `readTimeout`',
    why: 'a read that is given up costs a load, a write or invalidation that is given up is an error whose effect nobody knows',
    what: 'give writes at least as long as reads; the default is 2 s against 250 ms',
    found: ({ readTimeoutMs, writeTimeoutMs }) =>
      writeTimeoutMs < readTimeoutMs ? `writeTimeout is ${writeTimeoutMs} ms, readTimeout ${readTimeoutMs} ms` : null,
  },
  {
    code: 'ADVICE_EMBEDDED_IN_SEVERAL_PROCESSES',
    level: 'warning',
    when: 'the embedded store is used and the service seems to run as several processes (a cluster worker or worker thread, `allowInWorkers`, pm2, `WEB_CONCURRENCY`)',
    why: 'each process has its own copy, and an invalidation in one is not seen by the others',
    what: "use a node (`store: 'breakwater://host:port'`) or Redis, or invalidate in every process",
    found: ({ inProcess, severalProcesses }) =>
      inProcess && severalProcesses !== null ? `the store is embedded and this is ${severalProcesses}` : null,
  },
  {
    code: 'ADVICE_PLAINTEXT_PASSWORD',
    level: 'warning',
    when: "the store's URL has a password, no TLS, and a host that is not loopback",
    why: 'password and data go over the network as plain text',
    what: 'use `breakwaters://`, `rediss://` or `valkeys://`',
    found: ({ plaintextHost }) =>
      plaintextHost === null ? null : `the password is sent to ${plaintextHost} without TLS`,
  },
];

export const DECLARED_RULES: readonly Rule<DeclaredFacts>[] = [
  {
    code: 'ADVICE_TTL_LONG',
    level: 'warning',
    when: '`ttl` is longer than a week, or without end',
    why: 'a TTL is the last net: whatever was never invalidated (a row changed by hand, a forgotten code path) stays wrong for that long',
    what: 'take the longest that you could bear such a mistake; where loads are dear, `grace` keeps old values at hand without calling them fresh',
    found: ({ settings: { ttlMs } }) => (ttlMs > LONG_TTL_MS ? `ttl is ${span(ttlMs)}` : null),
  },
  {
    code: 'ADVICE_GRACE_SHORT',
    level: 'warning',
    when: '`grace` is given and shorter than `ttl`',
    why: 'grace bridges an outage of the source, and one that begins at the wrong moment outlasts a grace of less than the ttl',
    what: 'make it as long as an outage that you want to survive, hours rather than seconds; it begins *after* the ttl and never serves what was invalidated',
    found: ({ settings: { graceMs, ttlMs } }) =>
      graceMs > 0 && graceMs < ttlMs ? `grace is ${span(graceMs)}, ttl ${span(ttlMs)}` : null,
  },
  {
    code: 'ADVICE_NEGATIVE_TTL_LONG',
    level: 'warning',
    when: '`negativeTtl` is longer than `ttl`',
    why: 'it is cut to the ttl; "there is no such row" is the answer that a new row makes wrong, and whoever inserts rows invalidates least often',
    what: 'keep it short, as the default of 30 s',
    found: ({ given: { negativeTtl }, settings: { ttlMs, negativeTtlGivenMs } }) =>
      negativeTtl !== undefined && negativeTtlGivenMs > ttlMs
        ? `negativeTtl is ${span(negativeTtlGivenMs)}, ttl ${span(ttlMs)}`
        : null,
  },
  {
    code: 'ADVICE_JITTER_ZERO',
    level: 'hint',
    when: '`jitter` is 0 and `early` is off',
    why: 'keys that were loaded together expire together, and are loaded again in one wave',
    what: 'leave the default of 0.1 where there are many keys, or use `early`',
    found: ({ settings: { jitter, policy, ttlMs } }) =>
      jitter === 0 && policy.beta === 0 && ttlMs > SHORT_TTL_MS ? 'jitter is 0' : null,
  },
  {
    code: 'ADVICE_L1_WITHOUT_FEED',
    level: 'warning',
    when: 'an L1 on a store that tells of no invalidations, with an `l1.ttl` above a minute',
    why: 'what another process invalidates is served from this L1 until its `l1.ttl` is over',
    what: 'make `l1.ttl` the staleness that you can bear, seconds; or use a node, whose feed bounds it to 250 ms',
    found: ({ settings: { l1 }, reach, hasFeed }) =>
      l1 !== null && reach === 'ttl' && !hasFeed && l1.ttlMs > LONG_L1_TTL_MS
        ? `L1 keeps entries for ${span(l1.ttlMs)} and hears of no invalidation by others`
        : null,
  },
  {
    code: 'ADVICE_STALENESS_OFF',
    level: 'warning',
    when: '`staleness: false` and an L1, on a store that has a feed',
    why: 'the store would tell of invalidations by others within 250 ms, and nobody listens',
    what: 'leave `staleness` at its default',
    found: ({ settings: { l1 }, reach, hasFeed }) =>
      l1 !== null && reach === 'ttl' && hasFeed ? 'staleness is false and there is an L1' : null,
  },
  {
    code: 'ADVICE_CONCURRENCY_HIGH',
    level: 'warning',
    when: "a guard's `concurrency` is above 100",
    why: 'it is the number of calls that reach the database at once on its worst day, for *each* process, and connection pools hold 10 to 20',
    what: "set it to the pool's size, or to what the database bears divided by the number of processes",
    found: ({ concurrency }) => (concurrency > HIGH_CONCURRENCY ? `concurrency is ${concurrency}` : null),
  },
  {
    code: 'ADVICE_GUARDS_ADD_UP',
    level: 'hint',
    when: 'four or more caches have each a guard of their own',
    why: 'their caps add up: four times the default of 20 are 80 calls at once, and a breaker of one knows nothing of the others',
    what: "if they load from one database, share one: `guard: bw.source('pg', { concurrency: 20 })`",
    found: ({ ownGuards }) => (ownGuards === MANY_GUARDS ? `${ownGuards} caches have guards of their own` : null),
  },
  {
    code: 'ADVICE_NO_SCHEMA',
    level: 'hint',
    when: 'no `schema`, on a store that others can write to',
    why: 'an entry of last year’s version of the service, or of another program, is handed to callers as if it were today’s type',
    what: 'declare a `schema` (zod, valibot, any Standard Schema): what it refuses is a miss',
    found: ({ hasSchema, inProcess }) => (hasSchema || inProcess ? null : 'values of a shared store are not checked'),
  },
];

export const STORE_RULES: readonly Rule<StoreFacts>[] = [
  {
    code: 'ADVICE_REDIS_NOEVICTION',
    level: 'warning',
    when: "the server's `maxmemory-policy` is `noeviction`, with a `maxmemory`",
    why: 'once it is full it refuses writes: fills fail, and so do invalidations, which write too',
    what: 'set `maxmemory-policy volatile-lru` (or `volatile-lfu`)',
    found: ({ evictionPolicy, memoryBytes }) =>
      evictionPolicy === 'noeviction' && memoryBytes > 0 ? 'maxmemory-policy is noeviction' : null,
  },
  {
    code: 'ADVICE_REDIS_EVICTS_TABLES',
    level: 'warning',
    when: "the server's `maxmemory-policy` is `allkeys-*`",
    why: 'it may evict the table of invalidations, which has no TTL; then every entry that it judges is a miss at once',
    what: 'set `volatile-lru` or `volatile-lfu`: all entries have a TTL, the tables have none',
    found: ({ evictionPolicy }) =>
      evictionPolicy?.startsWith('allkeys-') === true ? `maxmemory-policy is ${evictionPolicy}` : null,
  },
  {
    code: 'ADVICE_REDIS_VOLATILE_SHARED',
    level: 'hint',
    when: "the server's `maxmemory-policy` is `volatile-*` and it has keys without a TTL beside the cache's",
    why: 'those are never evicted, so all room comes out of the cache; when only they are left, writes are refused as with `noeviction`',
    what: 'give the cache a server of its own',
    found: ({ evictionPolicy, keysWithoutTtl }) =>
      evictionPolicy?.startsWith('volatile-') === true && keysWithoutTtl > FEW_KEYS
        ? `${keysWithoutTtl} keys have no TTL under maxmemory-policy ${evictionPolicy}`
        : null,
  },
  {
    code: 'ADVICE_REDIS_NO_MAXMEMORY',
    level: 'hint',
    when: 'the server has no `maxmemory`',
    why: 'it grows until the machine has no memory left, and then it is killed',
    what: 'set `maxmemory` and an eviction policy',
    found: ({ memoryBytes }) => (memoryBytes === 0 ? 'maxmemory is not set' : null),
  },
  {
    code: 'ADVICE_REPLICAS_UNKNOWN',
    level: 'warning',
    when: 'a server alone (no cluster) has replicas, and the URL does not say how many',
    why: 'a primary that is cut off reports none, and a process that starts just then takes its word: it calls acknowledged what a failover will lose',
    what: 'say `?replicas=N` in the URL',
    found: ({ replicas, replicasAreStated }) =>
      replicas > 0 && !replicasAreStated ? `the server has ${replicas} replica(s) and the URL does not say so` : null,
  },
];

export const QUEUE_RULES: readonly Rule<QueueDurability>[] = [
  {
    code: 'ADVICE_QUEUE_NOT_KEPT',
    level: 'warning',
    when: 'a write-behind queue is kept in streams, and its server has `appendonly no`, or tells nobody (`CONFIG` not allowed)',
    why: 'a server that ends loses every acknowledged write that its process does not have in memory any more, because it ended too',
    what: 'set `appendonly yes` (and `appendfsync always` for what must outlive the machine), or keep the queue in a directory',
    found: ({ appendOnly }) =>
      appendOnly === true
        ? null
        : appendOnly === false
          ? 'appendonly is no'
          : 'the server does not tell whether it keeps anything',
  },
  {
    code: 'ADVICE_QUEUE_FSYNC',
    level: 'warning',
    when: 'a write-behind queue is kept in streams, and its server has `appendonly yes` with an `appendfsync` other than `always`',
    why: 'a machine that loses power loses the acknowledged writes of the last second or more, if the process that made them ends with it',
    what: 'set `appendfsync always`, or have replicas on other machines, which every write then waits for',
    found: ({ appendOnly, appendFsync }) =>
      appendOnly === true && appendFsync !== null && appendFsync !== 'always' ? `appendfsync is ${appendFsync}` : null,
  },
];

/** The tables of invalidations and what belongs to them. */
const FEW_KEYS = 64;

/** All rules, for the docs and for those who silence one. */
export const ADVICE_RULES = [...OPENED_RULES, ...DECLARED_RULES, ...STORE_RULES, ...QUEUE_RULES].map(
  ({ code, level, when, why, what }) => ({ code, level, when, why, what }),
);

function span(ms: number): string {
  if (ms >= 2 * DAY_MS) return `${Math.round(ms / DAY_MS)} days`;
  return ms >= 2_000 ? `${Math.round(ms / 1_000)} s` : `${ms} ms`;
}
