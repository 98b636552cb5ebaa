/**
 * `createBreakwater`: options in, a working Breakwater out. The only place of `cache/` that knows which stores there are, and
 * where the real clock, the real timers and real chance come in.
 */
import cluster from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { isMainThread } from 'node:worker_threads';
import { systemClock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import { SeededRandom } from '../base/random.ts';
import { systemScheduler } from '../base/scheduler.ts';
import { type Duration, parseSizeBytes } from '../base/units.ts';
import { BreakwaterStore } from '../stores/breakwater.ts';
import { EmbeddedStore } from '../stores/embedded.ts';
import type { CacheStore } from '../stores/store.ts';
import { ValkeyStore } from '../stores/valkey.ts';
import { Breakwater } from './breakwater.ts';
import { checkNames, duration, invalid } from './checks.ts';
import { show } from './key.ts';
import type { FlightPorts } from './loads.ts';
import type { SharedCacheOptions } from './types.ts';

type Scheme = 'breakwater' | 'breakwaters' | 'redis' | 'rediss' | 'valkey' | 'valkeys';
type StoreUrlText = `${Scheme}://${string}`;

export interface BreakwaterOptions {
  /**
   * Where L2 lives: `'embedded'` (default) inside this process; a node, as in `'breakwater://127.0.0.1:7379'`
   * (`breakwater://user:password@host:port`, `breakwaters://` for TLS); or Redis or Valkey, one server or a cluster, as in
   * `'redis://127.0.0.1:6379'` (`valkey://`, `rediss://` and `valkeys://` for TLS). docs/stores.md says what each promises.
   */
  readonly store?: 'embedded' | StoreUrlText;
  /** Options of all caches that they do not set themselves. */
  readonly defaults?: SharedCacheOptions;
  /** Embedded only: the bound of its memory, all structures counted. Default `"64mb"`. */
  readonly memory?: number | string;
  /** Embedded only: who goes when memory is full. Default `tinylfu`. */
  readonly eviction?: 'tinylfu' | 'lru' | 'lfu' | 'noeviction';
  /**
   * Embedded only: allow it in a cluster worker or worker thread, where each worker has its own copy of the truth and an invalidation in one is
   * not seen by the others. Default false: refused.
   */
  readonly allowInWorkers?: boolean;
  /**
   * With a node: the longest that an L1 may serve what another process has invalidated, while the node can be reached and when it cannot; then
   * L1 is bypassed. 10 ms to 1 s, default `"250ms"`. `false`: no feed; then an L1 needs a `ttl`, which is the bound.
   */
  readonly staleness?: Duration | false;
  /** Longest that a read of L2 may take before the loader is asked instead. Default `"250ms"`. */
  readonly readTimeout?: Duration;
  /** Longest that `set`, `delete`, `invalidate` and fills wait for the store. Default `"2s"`. */
  readonly writeTimeout?: Duration;
}

const OPTIONS = [
  'store',
  'defaults',
  'memory',
  'eviction',
  'allowInWorkers',
  'staleness',
  'readTimeout',
  'writeTimeout',
] as const;
const EMBEDDED_ONLY = ['memory', 'eviction', 'allowInWorkers'] as const;
const EVICTIONS = ['tinylfu', 'lru', 'lfu', 'noeviction'] as const;

/**
 * Opens a Breakwater. A networked store connects with its first use.
 *
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `STORE_URL_INVALID`, `CACHE_EMBEDDED_IN_WORKER`
 */
export function createBreakwater(options: BreakwaterOptions = {}): Breakwater {
  checkNames(options, OPTIONS, 'createBreakwater');
  const ports: FlightPorts = {
    clock: systemClock(),
    scheduler: systemScheduler(),
    random: new SeededRandom(randomBytes(4).readUInt32LE()),
  };
  const readTimeoutMs = duration(options.readTimeout ?? '250ms', 'readTimeout', 'createBreakwater', 1);
  const writeTimeoutMs = duration(options.writeTimeout ?? '2s', 'writeTimeout', 'createBreakwater', 1);
  return new Breakwater({
    store: openStore(options, ports),
    ports,
    defaults: options.defaults ?? {},
    readTimeoutMs,
    writeTimeoutMs,
    stalenessMs: stalenessOf(options),
  });
}

function openStore(options: BreakwaterOptions, ports: FlightPorts): CacheStore {
  // Not `??`: null is a URL that was not configured, and an embedded store instead would be no shared one.
  const store: unknown = options.store === undefined ? 'embedded' : options.store;
  if (store === 'embedded') return openEmbedded(options, ports);
  if (typeof store !== 'string' || !store.includes('://')) {
    throw invalid('store', `'embedded' or a URL as in 'breakwater://127.0.0.1:7379'`, store);
  }
  for (const name of EMBEDDED_ONLY) {
    if (options[name] === undefined) continue;
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use option "${name}": it is for the embedded store, this one is ${schemeOf(store)}`,
    );
  }
  return /^(?:redis|valkey)s?:/i.test(store)
    ? new ValkeyStore({ url: store, ...ports })
    : new BreakwaterStore({ url: store, ...ports });
}

function openEmbedded(options: BreakwaterOptions, ports: FlightPorts): CacheStore {
  const { eviction = 'tinylfu', allowInWorkers = false } = options;
  if (!EVICTIONS.includes(eviction)) throw invalid('eviction', `one of ${EVICTIONS.join(', ')}`, eviction);
  const where = cluster.isWorker ? 'a cluster worker' : isMainThread ? null : 'a worker thread';
  if (where !== null && allowInWorkers !== true) {
    throw new BreakwaterError(
      'CACHE_EMBEDDED_IN_WORKER',
      `cannot open the embedded store in ${where}: each worker would have its own copy, and an invalidation in one would not reach the others; use a node (store: 'breakwater://host:port'), or say allowInWorkers: true, received ${show(allowInWorkers)}`,
    );
  }
  return new EmbeddedStore({ memoryBytes: parseSizeBytes(options.memory ?? '64mb', 'memory'), eviction, ...ports });
}

/** The node's own limits: it is what a restart costs those who wait for everybody. */
function stalenessOf({ staleness = '250ms' }: BreakwaterOptions): number | null {
  if (staleness === false) return null;
  const ms = duration(staleness, 'staleness', 'createBreakwater', 1);
  if (ms < 10 || ms > 1000) throw invalid('staleness of createBreakwater', '10 ms to 1 s', staleness);
  return ms;
}

/** Only the scheme: the rest may hold a password. */
function schemeOf(url: string): string {
  return url.slice(0, url.indexOf('://') + 3);
}
