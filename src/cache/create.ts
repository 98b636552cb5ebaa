/**
 * `createBreakwater`: options in, a working Breakwater out. The only place of `cache/` that knows which stores there are, and
 * where the real clock, the real timers and real chance come in.
 */
import cluster from 'node:cluster';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { isMainThread } from 'node:worker_threads';
import { systemClock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import { SeededRandom } from '../base/random.ts';
import { systemScheduler } from '../base/scheduler.ts';
import { type Duration, parseSizeBytes } from '../base/units.ts';
import { BreakwaterStore, type BreakwaterStoreOptions } from '../stores/breakwater.ts';
import { EmbeddedStore } from '../stores/embedded.ts';
import { OutboxStore } from '../stores/outbox.ts';
import type { CacheStore } from '../stores/store.ts';
import { ValkeyStore } from '../stores/valkey.ts';
import { type AdvisorSettings, SILENT } from './advice/advisor.ts';
import { ADVICE_RULES } from './advice/rules.ts';
import { Breakwater } from './breakwater.ts';
import { checkNames, count, duration, invalid } from './checks.ts';
import { show } from './key.ts';
import type { FlightPorts } from './loads.ts';
import { isRing, openRing, type RingFace } from './ring.ts';
import type { CodecChoice, SharedCacheOptions } from './types.ts';
import { type BehindOptions, checkBehind } from './write/behind-options.ts';

type Scheme = 'breakwater' | 'breakwaters' | 'redis' | 'rediss' | 'valkey' | 'valkeys';
type StoreUrlText = `${Scheme}://${string}`;

export interface BreakwaterOptions {
  /**
   * Where L2 lives: `'embedded'` (default) inside this process; a node, as in `'breakwater://127.0.0.1:7379'`
   * (`breakwater://user:password@host:port`, `breakwaters://` for TLS), or a cluster of nodes, `'breakwater://a:7379,b:7379,c:7379'`; or Redis or Valkey, one server or a cluster, as in
   * `'redis://127.0.0.1:6379'` (`valkey://`, `rediss://` and `valkeys://` for TLS); or a ring of independent ones: `{ ring: ['redis://a:6379', 'redis://b:6379'] }`.
   * docs/stores.md says what each promises.
   */
  readonly store?: 'embedded' | StoreUrlText | RingFace;
  /** Options of all caches that they do not set themselves. */
  readonly defaults?: SharedCacheOptions;
  /** Embedded only: the bound of its memory, all structures counted. Default `"64mb"`. */
  readonly memory?: number | string;
  /** Embedded only: who goes when memory is full. Default `tinylfu`. */
  readonly eviction?: 'tinylfu' | 'lru' | 'lfu' | 'fifo' | 'random' | 'ttl' | 'noeviction';
  /**
   * Embedded only: allow it in a cluster worker or worker thread, where each worker has its own copy of the truth and an invalidation in one is
   * not seen by the others. Default false: refused.
   */
  readonly allowInWorkers?: boolean;
  /**
   * With a node, Redis or Valkey: the longest that an L1 may serve what another process has invalidated, while the node can be reached and when it cannot; then
   * L1 is bypassed. 10 ms to 1 s, default `"250ms"`. `false`: no feed; then an L1 needs a `ttl`, which is the bound.
   */
  readonly staleness?: Duration | false;
  /** Networked stores: what the store does not acknowledge is kept here and retried. */
  readonly outbox?: OutboxFace;
  /** Where caches with policy `behind` keep their queues, and how; each may say otherwise for itself. */
  readonly behind?: BehindOptions;
  /**
   * Unwise configurations (docs/advice.md) are told in `bw.advice()`, by the event `advice`, and the graver ones once by `process.emitWarning`. `{ silence: [codes] }`
   * leaves some out; `false`: no warnings, the rest stays. Default `{}`.
   */
  readonly advice?: false | { readonly silence?: readonly string[] };
  /** Longest that a read of L2 may take before the loader is asked instead. Default `"250ms"`. */
  readonly readTimeout?: Duration;
  /** Longest that `set`, `delete`, `invalidate` and fills wait for the store. Default `"2s"`. */
  readonly writeTimeout?: Duration;
}

export interface OutboxFace {
  /**
   * Most keys, tags and namespaces that wait for their acknowledgement. Beyond it keys become invalidations of their namespaces, tags of all
   * declared caches. Default 10,000, at most 1,000,000.
   */
  readonly maxEntries?: number;
  /**
   * Where they are kept on disk, so that they survive this process; `write` then notes its key before it changes the source. A directory of this process alone.
   * Until it is read, or while another process has it, nothing of the store is served. Default: in memory only.
   */
  readonly directory?: string;
}

const OPTIONS = [
  'store',
  'defaults',
  'memory',
  'eviction',
  'allowInWorkers',
  'staleness',
  'outbox',
  'behind',
  'advice',
  'readTimeout',
  'writeTimeout',
] as const;
const OUTBOX = ['maxEntries', 'directory'] as const;
const OUTBOX_ENTRIES = 10_000;
const MOST_OUTBOX_ENTRIES = 1_000_000;
const EMBEDDED_ONLY = ['memory', 'eviction', 'allowInWorkers'] as const;
const EVICTIONS = ['tinylfu', 'lru', 'lfu', 'fifo', 'random', 'ttl', 'noeviction'] as const;

/**
 * Opens a Breakwater. A networked store connects with its first use.
 *
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `STORE_URL_INVALID`, `CACHE_EMBEDDED_IN_WORKER`
 */
export function createBreakwater<D extends CodecChoice = 'json'>(
  options: BreakwaterOptions & { readonly defaults?: { readonly codec?: D } } = {},
): Breakwater<D> {
  return openBreakwater<D>(options, {
    clock: systemClock(),
    scheduler: systemScheduler(),
    random: new SeededRandom(randomBytes(4).readUInt32LE()),
  });
}

/** What the testing kit puts in the place of the world. */
export interface World {
  /** The network of a `breakwater://` store. */
  readonly dial?: BreakwaterStoreOptions['dial'];
  /** Put around the store, beneath the outbox. */
  readonly around?: (store: CacheStore) => CacheStore;
}

/** @internal As {@link createBreakwater}, with time, chance and network of the caller's. */
export function openBreakwater<D extends CodecChoice = 'json'>(
  options: BreakwaterOptions & { readonly defaults?: { readonly codec?: D } },
  ports: FlightPorts,
  world: World = {},
): Breakwater<D> {
  checkNames(options, OPTIONS, 'createBreakwater');
  const readTimeoutMs = duration(options.readTimeout ?? '250ms', 'readTimeout', 'createBreakwater', 1);
  const writeTimeoutMs = duration(options.writeTimeout ?? '2s', 'writeTimeout', 'createBreakwater', 1);
  return new Breakwater<D>({
    store: openStore(options, ports, writeTimeoutMs, world),
    ports,
    defaults: options.defaults ?? {},
    behind: checkedBehind(options.behind),
    readTimeoutMs,
    writeTimeoutMs,
    stalenessMs: stalenessOf(options),
    advisor: advisorOf(options),
    place: {
      severalProcesses: severalProcesses(),
      plaintextHost:
        serverUrls(options.store)
          .map(plaintextHost)
          .find((host) => host !== null) ?? null,
    },
  });
}

function checkedBehind(behind: BehindOptions = {}): BehindOptions {
  checkBehind(behind, 'behind of createBreakwater');
  return behind;
}

function openStore(
  options: BreakwaterOptions,
  ports: FlightPorts,
  writeTimeoutMs: number,
  { dial, around = (store) => store }: World,
): CacheStore {
  // Not `??`: null is a URL that was not configured, and an embedded store instead would be no shared one.
  const store: unknown = options.store === undefined ? 'embedded' : options.store;
  if (store === 'embedded') {
    if (options.outbox === undefined) return around(openEmbedded(options, ports));
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      'cannot use option "outbox" with the embedded store: it acknowledges every invalidation at once, and has nothing to retry',
    );
  }
  if (!isRing(store) && (typeof store !== 'string' || !store.includes('://'))) {
    throw invalid('store', `'embedded', a URL as in 'breakwater://127.0.0.1:7379', or { ring: [...] }`, store);
  }
  for (const name of EMBEDDED_ONLY) {
    if (options[name] === undefined) continue;
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use option "${name}": it is for the embedded store, this one is ${typeof store === 'string' ? schemeOf(store) : 'a ring'}`,
    );
  }
  const outbox = outboxOptions(options.outbox);
  const open = (url: string, directory: string | null): CacheStore =>
    new OutboxStore(around(openUrl(url, ports, dial)), { ...outbox, directory, timeoutMs: writeTimeoutMs, ...ports });
  if (!isRing(store)) return open(store as string, outbox.directory);
  const { directory } = outbox;
  // An outbox a server, in a directory of its own.
  const within = (name: string): string | null =>
    directory === null ? null : join(directory, encodeURIComponent(name));
  return openRing(store, (url, name) => open(url, within(name)), ports.clock);
}

function openUrl(url: string, ports: FlightPorts, dial: World['dial']): CacheStore {
  return /^(?:redis|valkey)s?:/i.test(url)
    ? new ValkeyStore({ url, ...ports })
    : new BreakwaterStore({ url, ...ports, ...(dial !== undefined && { dial }) });
}

function outboxOptions(given: OutboxFace = {}): { readonly maxEntries: number; readonly directory: string | null } {
  checkNames(given, OUTBOX, 'outbox');
  const { maxEntries = OUTBOX_ENTRIES, directory = null } = given;
  if (directory !== null && (typeof directory !== 'string' || directory === '')) {
    throw invalid('directory of outbox', 'a path', directory);
  }
  return { maxEntries: count(maxEntries, 'maxEntries', 'outbox', MOST_OUTBOX_ENTRIES), directory };
}

function openEmbedded(options: BreakwaterOptions, ports: FlightPorts): CacheStore {
  const { eviction = 'tinylfu', allowInWorkers = false } = options;
  if (typeof allowInWorkers !== 'boolean') throw invalid('allowInWorkers', 'a boolean', allowInWorkers);
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

function advisorOf({ advice = {} }: BreakwaterOptions): AdvisorSettings {
  if (advice === false) return SILENT;
  checkNames(advice, ['silence'], 'advice of createBreakwater');
  const { silence = [] } = advice;
  const codes = ADVICE_RULES.map(({ code }) => code);
  if (!Array.isArray(silence)) throw invalid('advice.silence', 'an array of codes', silence);
  for (const code of silence)
    if (!codes.includes(code)) throw invalid('advice.silence', 'codes of docs/advice.md', code);
  return { silenced: new Set(silence), isAloud: true };
}

/** Signs that there are more processes like this one. */
function severalProcesses(): string | null {
  const { env } = process;
  if (cluster.isWorker) return 'a cluster worker';
  if (!isMainThread) return 'a worker thread';
  if (env['pm_id'] !== undefined && Number(env['instances'] ?? 1) > 1)
    return `one of ${env['instances']} processes of pm2`;
  return Number(env['WEB_CONCURRENCY'] ?? 1) > 1
    ? `one of ${env['WEB_CONCURRENCY']} processes (WEB_CONCURRENCY)`
    : null;
}

/** Where a password would go without TLS. */
function plaintextHost(store: string): string | null {
  const match = /^(?:breakwater|redis|valkey):\/\/[^/?#]*:[^/?#]*@([^/?#@]+)/i.exec(store ?? '');
  const hosts = match?.[1]?.split(',') ?? [];
  return hosts.find((host) => !/^(?:localhost|127\.[\d.]+|\[::1\])(?::\d+)?$/i.test(host)) ?? null;
}

function serverUrls(store: BreakwaterOptions['store']): readonly string[] {
  if (!isRing(store)) return store === undefined ? [] : [store];
  return store.ring.map((server) => (typeof server === 'string' ? server : server.url));
}

/** Only the scheme: the rest may hold a password. */
function schemeOf(url: string): string {
  return url.slice(0, url.indexOf('://') + 3);
}
