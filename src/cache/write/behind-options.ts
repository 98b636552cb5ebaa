/** Options of policy `behind`, checked. */
import { type Duration, parseSizeBytes } from '../../base/units.ts';
import { checkNames, count, duration, invalid } from '../checks.ts';

export interface BehindOptions {
  /**
   * Where acknowledged writes are kept until the database has them. `'disk'` (default): in `directory`. `'streams'`: in streams of the store's own servers, Redis or Valkey, where another process
   * goes on with what a dead one has left; what they promise is what those servers' persistence promises (docs/guide/17-write-behind.md).
   */
  readonly queue?: 'disk' | 'streams';
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
  /** Bound of the log, at least 32 MiB. Default 1 GiB on disk, 256 MiB in streams. */
  readonly maxBytes?: number | string;
  /** Longest that `write` waits for room, and for its acknowledgement. Default `"5s"`. */
  readonly writeTimeout?: Duration;
  /** Longest that `close` tries to write what waits. What is left stays on disk. Default `"5s"`. */
  readonly drainTimeout?: Duration;
  /** How often a row that the database refuses is tried before it becomes a dead letter. Default 3. */
  readonly attempts?: number;
  /** Streams only: how long a process may be silent before another one goes on with what it has queued, 1 s to 10 min. Default `"10s"`. */
  readonly takeover?: Duration;
  /** How long other processes still see what this process has queued, should it die and not come back. Default `"1h"`. */
  readonly hold?: Duration;
}

export interface BehindSettings {
  readonly queue: 'disk' | 'streams';
  /** '' with streams. */
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
  readonly takeoverMs: number;
  readonly holdMs: number;
}

const NAMES = [
  'queue',
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
  'takeover',
  'hold',
] as const;
const MOST_DEFAULT_DELAY_MS = 10_000;
const LEAST_BYTES = 32 * 1024 ** 2;

/** @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `DURATION_INVALID`, `SIZE_INVALID` */
export function checkBehind(options: BehindOptions, where: string): void {
  checkNames(options, NAMES, where);
  settingsOf(options.queue === 'streams' ? options : { directory: '.', ...options }, where);
}

/** A cache's own over those of `createBreakwater`. */
export function behindSettings(own: BehindOptions, shared: BehindOptions, where: string): BehindSettings {
  checkNames(own, NAMES, where);
  const options = { ...shared, ...own };
  if (own.queue === 'streams' && own.directory === undefined && shared.queue !== 'streams') {
    // Said for other caches.
    const { directory: _, ...rest } = options;
    return settingsOf(rest, where);
  }
  return settingsOf(options, where);
}

function settingsOf(options: BehindOptions, where: string): BehindSettings {
  const { queue = 'disk', directory = '' } = options;
  if (queue !== 'disk' && queue !== 'streams') throw invalid(`queue of ${where}`, "'disk' or 'streams'", queue);
  if (queue === 'disk' && (typeof directory !== 'string' || directory === '')) {
    throw invalid(
      `directory of ${where}`,
      'a path, where writes are kept until the database has them',
      options.directory,
    );
  }
  if (queue === 'streams' && directory !== '') {
    throw invalid(`directory of ${where}`, "none with queue: 'streams', which keeps nothing on this disk", directory);
  }
  if (queue === 'disk' && options.takeover !== undefined) {
    throw invalid(
      `takeover of ${where}`,
      "none with queue: 'disk', whose directory is one process's",
      options.takeover,
    );
  }
  const takeoverMs = duration(options.takeover ?? '10s', 'takeover', where, 1);
  if (takeoverMs < 1_000 || takeoverMs > 600_000)
    throw invalid(`takeover of ${where}`, '1 s to 10 min', options.takeover);
  const maxBytes = options.maxBytes ?? (queue === 'disk' ? '1gb' : '256mb');
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
    queue,
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
    takeoverMs,
    holdMs: duration(options.hold ?? '1h', 'hold', where, 1_000),
  };
}
