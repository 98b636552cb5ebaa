/** Options of policy `behind`, checked. */
import { type Duration, parseSizeBytes } from '../../base/units.ts';
import { checkNames, count, duration, invalid } from '../checks.ts';

export interface BehindOptions {
  /**
   * Where queues are kept on disk: `<directory>/<cache>`. Of one process alone (each process of a service needs its own), on a disk that keeps what it acknowledges, and the
   * same one at the next start: what was not written yet is read from it.
   */
  readonly directory?: string;
  /** How long a write waits for later ones of its row, with which it becomes one. Default `"1s"`. Longer: fewer rows written, and more that waits. */
  readonly flushInterval?: Duration;
  /**
   * Longest that a row waits that is written again and again: within `flushInterval`, or within this of when it was sent last. Default ten times `flushInterval`, at most 10 s and never
   * less than `flushInterval`. `0` or less than `flushInterval`: all rows wait for `flushInterval` alike.
   */
  readonly maxDelay?: Duration;
  /** Most rows of one batch. Default 500. */
  readonly maxBatch?: number;
  /** Longest that one batch may take at the database. Default `"10s"`. */
  readonly flushTimeout?: Duration;
  /** Most rows that wait. Beyond it writers wait, for `writeTimeout`. Default 100,000. */
  readonly maxEntries?: number;
  /** Bound of the log on disk, at least 32 MiB. Default 1 GiB. */
  readonly maxBytes?: number | string;
  /** Longest that `write` waits for room, and for its acknowledgement. Default `"5s"`. */
  readonly writeTimeout?: Duration;
  /** Longest that `close` tries to write what waits. What is left stays on disk. Default `"5s"`. */
  readonly drainTimeout?: Duration;
  /** How often a row that the database refuses is tried before it becomes a dead letter. Default 3. */
  readonly attempts?: number;
  /** How long other processes still see what this process has queued, should it die and not come back. Default `"1h"`. */
  readonly hold?: Duration;
}

export interface BehindSettings {
  readonly directory: string;
  readonly flushIntervalMs: number;
  readonly maxDelayMs: number;
  readonly maxBatch: number;
  readonly flushTimeoutMs: number;
  readonly maxEntries: number;
  readonly maxBytes: number;
  readonly writeTimeoutMs: number;
  readonly drainTimeoutMs: number;
  readonly attempts: number;
  readonly holdMs: number;
}

const NAMES = [
  'directory',
  'flushInterval',
  'maxDelay',
  'maxBatch',
  'flushTimeout',
  'maxEntries',
  'maxBytes',
  'writeTimeout',
  'drainTimeout',
  'attempts',
  'hold',
] as const;
const MOST_DEFAULT_DELAY_MS = 10_000;
const LEAST_BYTES = 32 * 1024 ** 2;

/** @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `DURATION_INVALID`, `SIZE_INVALID` */
export function checkBehind(options: BehindOptions, where: string): void {
  checkNames(options, NAMES, where);
  settingsOf({ directory: '.', ...options }, where);
}

/** A cache's own over those of `createBreakwater`. */
export function behindSettings(own: BehindOptions, shared: BehindOptions, where: string): BehindSettings {
  checkNames(own, NAMES, where);
  return settingsOf({ ...shared, ...own }, where);
}

function settingsOf(options: BehindOptions, where: string): BehindSettings {
  const { directory } = options;
  if (typeof directory !== 'string' || directory === '') {
    throw invalid(`directory of ${where}`, 'a path, where writes are kept until the database has them', directory);
  }
  const maxBytes = options.maxBytes ?? '1gb';
  if (typeof maxBytes !== 'number' && typeof maxBytes !== 'string')
    throw invalid(`maxBytes of ${where}`, 'a size', maxBytes);
  const bytes = parseSizeBytes(maxBytes, `maxBytes of ${where}`);
  if (bytes < LEAST_BYTES) throw invalid(`maxBytes of ${where}`, 'at least 32 MiB', maxBytes);
  const flushIntervalMs = duration(options.flushInterval ?? '1s', 'flushInterval', where, 0);
  const maxDelayMs =
    options.maxDelay === undefined
      ? Math.min(10 * flushIntervalMs, MOST_DEFAULT_DELAY_MS)
      : duration(options.maxDelay, 'maxDelay', where, 0);
  return {
    directory,
    flushIntervalMs,
    maxDelayMs: Math.max(flushIntervalMs, maxDelayMs),
    maxBatch: count(options.maxBatch ?? 500, 'maxBatch', where, 10_000),
    flushTimeoutMs: duration(options.flushTimeout ?? '10s', 'flushTimeout', where, 1),
    maxEntries: count(options.maxEntries ?? 100_000, 'maxEntries', where, 10_000_000),
    maxBytes: bytes,
    writeTimeoutMs: duration(options.writeTimeout ?? '5s', 'writeTimeout', where, 1),
    drainTimeoutMs: duration(options.drainTimeout ?? '5s', 'drainTimeout', where, 0),
    attempts: count(options.attempts ?? 3, 'attempts', where, 1_000),
    holdMs: duration(options.hold ?? '1h', 'hold', where, 1_000),
  };
}
