/**
 * What a log is opened with, checked; and the errors that it answers with.
 */
import { BreakwaterError } from '../base/errors.ts';
import { syncData, writeAll } from './files.ts';
import type { Hole } from './format.ts';

export interface DiskLogOptions {
  /**
   * Bytes after which a segment file is followed by the next, 4 KiB to 256 MiB. Default 16 MiB. Smaller: `trim` gives room back sooner, more files.
   * One segment at a time is read into memory.
   */
  readonly segmentBytes?: number;
  /** Bound of all files together, at least two segments. Default 1 GiB. Beyond it `append` rejects with `DISK_LOG_FULL` until `trim` made room. */
  readonly maxBytes?: number;
  /** Bound of what waits to be written. Default 16 MiB. Beyond it `append` rejects with `DISK_LOG_BUSY`. */
  readonly maxPendingBytes?: number;
  /**
   * `'group'` (default): an append is acknowledged when it is on disk (fdatasync, one for all that wait). `'none'`: when the system has taken it, which survives the end
   * of the process and not that of the machine.
   */
  readonly sync?: 'group' | 'none';
  /** What to do about acknowledged records that the disk has lost: `'refuse'` (default) to open, or open without them and say which, in `damage`. */
  readonly damaged?: 'refuse' | 'skip';
  /** @internal Instead of the real ones, for tests of what a disk may do. */
  readonly files?: LogFiles;
}

/** @internal */
export interface LogFiles {
  writeAll(fd: number, bytes: Buffer, at: number): Promise<void>;
  syncData(fd: number): Promise<void>;
}

/** Acknowledged records that can no longer be read: positions `from` up to and without `to`. */
export interface Damage {
  readonly file: string;
  readonly from: number;
  readonly to: number;
}

const NAMES = ['segmentBytes', 'maxBytes', 'maxPendingBytes', 'sync', 'damaged', 'files'] as const;
const MIB = 1024 ** 2;
const LEAST_SEGMENT = 4096;
const MOST_SEGMENT = 256 * MIB;

export type LogSettings = Required<DiskLogOptions>;

/** @throws BreakwaterError `DISK_LOG_OPTION_INVALID` */
export function logSettings(options: DiskLogOptions): LogSettings {
  for (const name of Object.keys(options)) {
    if (!(NAMES as readonly string[]).includes(name)) throw invalid(name, `one of ${NAMES.join(', ')}`, name);
  }
  const segmentBytes = whole('segmentBytes', options.segmentBytes ?? 16 * MIB, LEAST_SEGMENT, MOST_SEGMENT);
  const { sync = 'group', damaged = 'refuse' } = options;
  if (sync !== 'group' && sync !== 'none') throw invalid('sync', "'group' or 'none'", sync);
  if (damaged !== 'refuse' && damaged !== 'skip') throw invalid('damaged', "'refuse' or 'skip'", damaged);
  return {
    segmentBytes,
    maxBytes: whole('maxBytes', options.maxBytes ?? Math.max(1024 * MIB, 2 * segmentBytes), 2 * segmentBytes),
    maxPendingBytes: whole('maxPendingBytes', options.maxPendingBytes ?? 16 * MIB, 64),
    sync,
    damaged,
    files: options.files ?? { writeAll, syncData },
  };
}

function whole(name: string, value: unknown, least: number, most = Number.MAX_SAFE_INTEGER): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most) return value;
  throw invalid(
    name,
    `an integer of at least ${least}${most < Number.MAX_SAFE_INTEGER ? `, at most ${most}` : ''}`,
    value,
  );
}

function invalid(name: string, expected: string, received: unknown): BreakwaterError {
  return new BreakwaterError(
    'DISK_LOG_OPTION_INVALID',
    `cannot open the log: ${name} must be ${expected}, received ${String(received)}`,
  );
}

export function corrupt(file: string, { from, to }: Pick<Hole, 'from' | 'to'>, why: string): BreakwaterError {
  return new BreakwaterError(
    'DISK_LOG_CORRUPT',
    `cannot read records ${from} to ${to - 1} of the log, which were acknowledged: ${file}: ${why}; restore the file, or open with damaged: 'skip' to go on without them`,
  );
}
