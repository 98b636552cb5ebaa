/**
 * Options, checked when a cache is declared and not when its first miss happens. An option that is not known is refused: one
 * that is parsed and ignored is a promise that nobody keeps. `grace: '1h'` on a version without grace would look like
 * protection until the day it is needed.
 */
import { BreakwaterError } from '../base/errors.ts';
import { type Duration, parseDurationMs, parseSizeBytes } from '../base/units.ts';
import { checkJitter } from '../freshness/jitter.ts';
import { show } from './key.ts';
import type { L1Options, SharedCacheOptions } from './types.ts';

/** A cache's options as numbers. */
export interface Settings {
  readonly ttlMs: number;
  readonly negativeTtlMs: number;
  readonly jitter: number;
  readonly loadTimeoutMs: number;
  readonly leaseWaitMs: number;
  readonly maxBatch: number;
  readonly l1: { readonly maxEntries: number; readonly maxBytes: number; readonly ttlMs: number } | null;
}

const SHARED = ['ttl', 'negativeTtl', 'jitter', 'loadTimeout', 'leaseWait', 'maxBatch', 'l1'] as const;
const OWN = [...SHARED, 'load', 'tags'] as const;
const L1 = ['maxEntries', 'maxBytes', 'ttl'] as const;

/** Announced in the design and not built: the sentence says so instead of guessing at a typing error. */
const PLANNED: ReadonlySet<string> = new Set([
  'grace',
  'early',
  'maxStale',
  'after',
  'fresh',
  'schema',
  'write',
  'guard',
  'filter',
  'codec',
  'compress',
  'encrypt',
  'plainSet',
  'version',
  'wait',
  'ring',
]);

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

/**
 * Refuses names that are not among `known`.
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`
 */
export function checkNames(options: unknown, known: readonly string[], where: string): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw invalid(where, 'an object of options', options);
  }
  for (const name of Object.keys(options)) {
    if (known.includes(name)) continue;
    const near = nearest(name, known);
    const hint = PLANNED.has(name)
      ? 'this version does not have it yet'
      : near === null
        ? `known are ${known.join(', ')}`
        : `did you mean "${near}"?`;
    throw new BreakwaterError('CACHE_OPTION_UNKNOWN', `cannot use option "${name}" of ${where}: ${hint}`);
  }
}

/** Checks `defaults` by itself, so that a mistake in it shows at once. */
export function checkDefaults(defaults: SharedCacheOptions, inProcess: boolean): void {
  checkNames(defaults, SHARED, 'defaults');
  settingsOf(defaults, {}, 'defaults', inProcess);
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
  inProcess: boolean,
): Settings {
  const where = `cache "${name}"`;
  checkNames(own, OWN, where);
  return settingsOf(own, defaults, where, inProcess);
}

function settingsOf(
  own: SharedCacheOptions,
  defaults: SharedCacheOptions,
  where: string,
  inProcess: boolean,
): Settings {
  const ttlMs = duration(own.ttl ?? defaults.ttl ?? DEFAULTS.ttl, 'ttl', where, 1);
  const negativeTtl = own.negativeTtl ?? defaults.negativeTtl;
  const negativeTtlMs =
    negativeTtl === undefined
      ? Math.min(parseDurationMs(DEFAULTS.negativeTtl), ttlMs)
      : Math.min(duration(negativeTtl, 'negativeTtl', where, 0), ttlMs);
  return {
    ttlMs,
    negativeTtlMs,
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
    l1: l1Settings(own.l1 ?? defaults.l1, where, inProcess),
  };
}

function l1Settings(l1: false | L1Options | undefined, where: string, inProcess: boolean): Settings['l1'] {
  if (l1 === false) return null;
  if (l1 === undefined && !inProcess) return null;
  const given: L1Options = l1 ?? {};
  checkNames(given, L1, `l1 of ${where}`);
  if (!inProcess && given.ttl === undefined) {
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

/** @throws BreakwaterError `CACHE_OPTION_INVALID`, `DURATION_INVALID` */
export function duration(
  value: Duration,
  name: string,
  where: string,
  leastMs: number,
  mostMs = Number.MAX_SAFE_INTEGER,
): number {
  const ms = parseDurationMs(value, `${name} of ${where}`);
  if (ms >= leastMs && ms <= mostMs) return ms;
  const bounds = ms < leastMs ? `at least ${leastMs} ms` : `at most ${mostMs} ms`;
  throw invalid(`${name} of ${where}`, bounds, value);
}

function count(value: unknown, name: string, where: string, most: number): number {
  if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= most) return value;
  throw invalid(`${name} of ${where}`, `an integer from 1 to ${most}`, value);
}

function jitter(value: unknown, where: string): number {
  if (typeof value === 'number') return checkJitter(value);
  throw invalid(`jitter of ${where}`, 'a fraction from 0 up to below 1', value);
}

export function invalid(what: string, expected: string, received: unknown): BreakwaterError {
  return new BreakwaterError(
    'CACHE_OPTION_INVALID',
    `cannot use ${what}: expected ${expected}, received ${show(received)}`,
  );
}

/** The known name within two typing errors of `name`, or null. */
function nearest(name: string, known: readonly string[]): string | null {
  let best: string | null = null;
  let bestDistance = 3;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein's, one row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
