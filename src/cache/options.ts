/**
 * Options, checked when a cache is declared and not when its first miss happens. An option that is not known is refused: one
 * that is parsed and ignored is a promise that nobody keeps: it would look like protection until the day it is needed.
 */
import { BreakwaterError } from '../base/errors.ts';
import { parseDurationMs, parseSizeBytes } from '../base/units.ts';
import { checkJitter } from '../freshness/jitter.ts';
import type { FreshnessPolicy } from '../freshness/judge.ts';
import { checkNames, count, duration, invalid } from './checks.ts';
import { PACKING, packingSettings } from './codec/options.ts';
import type { PackingSettings } from './codec/packing.ts';
import { type SamplerSettings, sameJson } from './observe/sampler.ts';
import { guardOptions, Source, type SourceOptions } from './source.ts';
import type { L1Options, SampleOptions, SharedCacheOptions } from './types.ts';

/**
 * How an invalidation by another process reaches an L1: nobody else can make one; by the store's feed, within the bound of `staleness`; or not
 * at all, so that the L1's own ttl is the bound.
 */
export type Reach = 'process' | 'feed' | 'ttl';

/** A cache's options as numbers. */
export interface Settings {
  readonly ttlMs: number;
  readonly negativeTtlMs: number;
  /** As it was given, before it was cut to the ttl. */
  readonly negativeTtlGivenMs: number;
  readonly jitter: number;
  readonly loadTimeoutMs: number;
  readonly leaseWaitMs: number;
  readonly maxBatch: number;
  readonly graceMs: number;
  readonly policy: FreshnessPolicy;
  /** `Infinity`: none. */
  readonly softTimeoutMs: number;
  readonly guard: SourceOptions | Source;
  /** null: hits are not sampled. */
  readonly sample: SamplerSettings | null;
  readonly packing: PackingSettings;
  readonly l1: { readonly maxEntries: number; readonly maxBytes: number; readonly ttlMs: number } | null;
}

const SHARED = [
  'ttl',
  'negativeTtl',
  'jitter',
  'grace',
  'staleWhileReload',
  'softTimeout',
  'early',
  'guard',
  'loadTimeout',
  'leaseWait',
  'maxBatch',
  'l1',
  'sample',
  ...PACKING,
] as const;
const OWN = [...SHARED, 'load', 'source', 'sink', 'policy', 'behind', 'tags', 'schema', 'known', 'ids'] as const;
const SAMPLE = ['rate', 'confirmAfter', 'compare'] as const;
const L1 = ['maxEntries', 'maxBytes', 'ttl'] as const;

const DEFAULTS = {
  ttl: '5m',
  negativeTtl: '30s',
  jitter: 0.1,
  loadTimeout: '5s',
  leaseWait: '2s',
  maxBatch: 1_000,
} as const;
const DEFAULT_L1_ENTRIES = 10_000;
const DEFAULT_L1_BYTES = 32 * 1024 ** 2;
/** Longer waits cannot be told to a node. */
const LONGEST_LOAD_MS = 3_500_000;
/** What one command may carry. */
const LARGEST_BATCH = 65_536;
const MOST_L1_ENTRIES = 10_000_000;

/** Checks `defaults` by itself, so that a mistake in it shows at once. */
export function checkDefaults(defaults: SharedCacheOptions, reach: Reach): void {
  checkNames(defaults, SHARED, 'defaults');
  settingsOf(defaults, {}, 'defaults', reach);
  const { guard } = defaults;
  if (guard !== undefined && !(guard instanceof Source)) guardOptions('guard of defaults', guard);
}

/**
 * A cache's settings: its own options over the shared defaults over the built-in ones. An option given as `undefined` is
 * not given.
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`
 */
export function cacheSettings(
  own: SharedCacheOptions,
  defaults: SharedCacheOptions,
  name: string,
  reach: Reach,
): Settings {
  const where = `cache "${name}"`;
  checkNames(own, OWN, where);
  return settingsOf(own, defaults, where, reach);
}

function settingsOf(own: SharedCacheOptions, defaults: SharedCacheOptions, where: string, reach: Reach): Settings {
  const ttlMs = duration(own.ttl ?? defaults.ttl ?? DEFAULTS.ttl, 'ttl', where, 1);
  const negativeTtl = own.negativeTtl ?? defaults.negativeTtl;
  const negativeTtlGivenMs =
    negativeTtl === undefined ? parseDurationMs(DEFAULTS.negativeTtl) : duration(negativeTtl, 'negativeTtl', where, 0);
  const negativeTtlMs = Math.min(negativeTtlGivenMs, ttlMs);
  return {
    ttlMs,
    negativeTtlMs,
    negativeTtlGivenMs,
    ...graceSettings(own, defaults, where),
    jitter: jitter(own.jitter ?? defaults.jitter ?? DEFAULTS.jitter, where),
    loadTimeoutMs: duration(
      own.loadTimeout ?? defaults.loadTimeout ?? DEFAULTS.loadTimeout,
      'loadTimeout',
      where,
      1,
      LONGEST_LOAD_MS,
    ),
    leaseWaitMs: duration(own.leaseWait ?? defaults.leaseWait ?? DEFAULTS.leaseWait, 'leaseWait', where, 0),
    maxBatch: count(own.maxBatch ?? defaults.maxBatch ?? DEFAULTS.maxBatch, 'maxBatch', where, LARGEST_BATCH),
    guard: own.guard ?? defaults.guard ?? {},
    l1: l1Settings(own.l1 ?? defaults.l1, where, reach),
    sample: sampleSettings(own.sample ?? defaults.sample ?? false, where),
    packing: packingSettings(own, defaults, where),
  };
}

function graceSettings(
  own: SharedCacheOptions,
  defaults: SharedCacheOptions,
  where: string,
): Pick<Settings, 'graceMs' | 'policy' | 'softTimeoutMs'> {
  const graceMs = duration(own.grace ?? defaults.grace ?? 0, 'grace', where, 0);
  const staleWhileReload: unknown = own.staleWhileReload ?? defaults.staleWhileReload ?? true;
  if (typeof staleWhileReload !== 'boolean')
    throw invalid(`staleWhileReload of ${where}`, 'a boolean', staleWhileReload);
  const softTimeout = own.softTimeout ?? defaults.softTimeout;
  if (own.softTimeout !== undefined && (graceMs === 0 || staleWhileReload)) {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use softTimeout of ${where}: it says how long to wait before a stale value is served, which needs grace and staleWhileReload: false`,
    );
  }
  return {
    graceMs,
    policy: { beta: beta(own.early ?? defaults.early ?? false, where), staleWhileReload },
    softTimeoutMs:
      softTimeout === undefined ? Number.POSITIVE_INFINITY : duration(softTimeout, 'softTimeout', where, 0),
  };
}

function beta(early: unknown, where: string): number {
  if (early === false) return 0;
  if (early === 'xfetch') return 1;
  if (typeof early === 'number' && early > 0 && early <= 100) return early;
  throw invalid(`early of ${where}`, `"xfetch", an eagerness above 0 up to 100, or false`, early);
}

function l1Settings(l1: false | L1Options | undefined, where: string, reach: Reach): Settings['l1'] {
  if (l1 === false) return null;
  if (l1 === undefined && reach !== 'process') return null;
  const given: L1Options = l1 ?? {};
  checkNames(given, L1, `l1 of ${where}`);
  if (reach === 'ttl' && given.ttl === undefined) {
    throw new BreakwaterError(
      'CACHE_OPTION_INVALID',
      `cannot use l1 of ${where} without its ttl: an invalidation by another process does not reach this L1, so l1.ttl is the longest that a stale value may be served here, received none`,
    );
  }
  const maxBytes = given.maxBytes ?? DEFAULT_L1_BYTES;
  if (typeof maxBytes !== 'number' && typeof maxBytes !== 'string')
    throw invalid(`l1.maxBytes of ${where}`, 'a size', maxBytes);
  return {
    maxEntries: count(given.maxEntries ?? DEFAULT_L1_ENTRIES, 'l1.maxEntries', where, MOST_L1_ENTRIES),
    maxBytes: parseSizeBytes(maxBytes, `l1.maxBytes of ${where}`),
    ttlMs: given.ttl === undefined ? Number.POSITIVE_INFINITY : duration(given.ttl, 'l1.ttl', where, 1),
  };
}

function sampleSettings(sample: false | SampleOptions, where: string): SamplerSettings | null {
  if (sample === false) return null;
  checkNames(sample, SAMPLE, `sample of ${where}`);
  const rate: unknown = sample.rate;
  if (typeof rate !== 'number' || !(rate > 0 && rate <= 1)) {
    throw invalid(`sample.rate of ${where}`, 'a share above 0 up to 1', rate);
  }
  const compare: unknown = sample.compare ?? sameJson;
  if (typeof compare !== 'function') throw invalid(`sample.compare of ${where}`, 'a function', compare);
  return {
    rate,
    confirmAfterMs: duration(sample.confirmAfter ?? '1s', 'sample.confirmAfter', where, 1),
    compare: (cached, loaded) =>
      sample.compare === undefined ? sameJson(cached, loaded) : sample.compare(cached, loaded) === true,
  };
}

function jitter(value: unknown, where: string): number {
  if (typeof value === 'number') return checkJitter(value);
  throw invalid(`jitter of ${where}`, 'a fraction from 0 up to below 1', value);
}
