/**
 * A log on disk: records are appended, read again in order after a restart, and given up from the front. Under the write-behind queue and the outbox.
 *
 *     0000000000000001.log  [1][2]...[5210]         ---- trim(5210) removes it
 *     0000000000005211.log  [5211]...[9917]
 *     0000000000009918.log  [9918][9919]...         <--- append
 *     lock.7                this process has it (lock.ts)
 *
 * **Group commit.** An fdatasync takes a millisecond or more, whatever it carries. So appends that come while one is under way wait together and leave
 * in one write and one fdatasync: one writer has the latency of the disk, sixty-four have sixty-four times its rate. Nothing waits for others to come.
 *
 * Why not SQLite or an embedded LSM tree: a queue needs neither order nor lookup, only the end and the front, and this is one sequential write for each group.
 *
 * Promises:
 *
 *   append    resolves when the record is on disk (`sync: 'group'`); then `read` gives it after any crash of the process or the machine
 *   order     positions are 1, 2, 3, ... in the order of the calls. A call that rejected has no position and is not there
 *   bounds    of all files, and of what waits to be written: beyond them `append` rejects at once
 *   damage    an acknowledged record that the disk lost is reported, never passed over in silence (format.ts)
 *
 * After an fdatasync that failed nobody knows what is on disk, and asking again may answer well without having written (Rebello et al., "Can Applications Recover
 * from fsync Failures?", ATC '20). So then the log is over: it rejects everything, and is to be opened anew, which reads what there is.
 */
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { makeDirectory } from './directory.ts';
import { closeFile, openFile, readInto, removeFile, segmentPath, syncDirectory, truncateFile } from './files.ts';
import {
  MAX_RECORD_BYTES,
  RECORD_HEADER_BYTES,
  recordEnd,
  SEGMENT_HEADER_BYTES,
  segmentHeader,
  writeRecord,
} from './format.ts';
import { DirectoryLock } from './lock.ts';
import { corrupt, type Damage, type DiskLogOptions, type LogSettings, logSettings } from './options.ts';
import { recover, type Segment } from './recover.ts';

export interface LogRecord {
  readonly position: number;
  readonly bytes: Uint8Array;
}

export interface DiskLogStats {
  /** Of all files, and of what waits to be written. */
  readonly bytes: number;
  readonly segments: number;
  /** Records that `read` can give, whether trimmed or not, as long as their segment is there. */
  readonly records: number;
  /** Appends that were acknowledged, and the groups that they left in (one fdatasync each). */
  readonly appended: number;
  readonly groups: number;
}

interface Waiting {
  readonly payload: Uint8Array;
  readonly resolve: (position: number) => void;
  readonly reject: (error: BreakwaterError) => void;
}

export class DiskLog {
  readonly directory: string;
  /** What the disk had lost when the log was opened; only with `damaged: 'skip'` can there be any. */
  readonly damage: readonly Damage[];
  /** Bytes of unacknowledged writes that were cut off the end. */
  readonly cutBytes: number;
  readonly #settings: LogSettings;
  readonly #lock: DirectoryLock;
  readonly #segments: Segment[];
  #fd = -1;
  /** The position of the next record to be written; all below it are written, and with `sync: 'group'` on disk. */
  #next: number;
  /** All records below it are on disk for sure. */
  #durable: number;
  #waiting: Waiting[] = [];
  /** Of `#waiting` and of the group under way, headers included. */
  #pendingBytes = 0;
  #fileBytes = 0;
  #trimTo = 0;
  /** Who waits for it. */
  #trimming: (() => void)[] = [];
  #running: Promise<void> | null = null;
  #appended = 0;
  #groups = 0;
  #closing: Promise<void> | null = null;
  #isClosed = false;
  #failure: BreakwaterError | null = null;

  private constructor(
    directory: string,
    settings: LogSettings,
    lock: DirectoryLock,
    found: { readonly segments: Segment[]; readonly damage: readonly Damage[]; readonly cutBytes: number },
  ) {
    this.directory = directory;
    this.#settings = settings;
    this.#lock = lock;
    this.#segments = found.segments;
    this.damage = found.damage;
    this.cutBytes = found.cutBytes;
    for (const { bytes } of found.segments) this.#fileBytes += bytes;
    this.#next = found.segments.at(-1)?.next ?? 1;
    this.#durable = this.#next;
  }

  /**
   * Opens the log of `directory`, which is made if it is not there. One process, and one log in it, at a time.
   * @throws BreakwaterError `DISK_LOG_OPTION_INVALID`, `DISK_LOG_LOCKED`, `DISK_LOG_CORRUPT`; the system's own errors
   */
  static async open(directory: string, options: DiskLogOptions = {}): Promise<DiskLog> {
    const settings = logSettings(options);
    makeDirectory(directory, 0o700);
    const lock = DirectoryLock.take(directory);
    try {
      const log = new DiskLog(directory, settings, lock, await recover(directory, settings));
      const last = log.#segments.at(-1);
      if (last === undefined) await log.#addSegment();
      else log.#fd = await openFile(last.path, 'append');
      return log;
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  /** The first position that `read` may give, and the one behind the last. Equal: the log has no records. */
  get first(): number {
    return this.#segments[0]!.first;
  }

  get next(): number {
    return this.#next;
  }

  /** Not null: the log is over, and rejects everything with this. */
  get failure(): BreakwaterError | null {
    return this.#failure;
  }

  get stats(): DiskLogStats {
    let records = 0;
    for (const { first, next, holes } of this.#segments) {
      records += next - first - holes.reduce((sum, { from, to }) => sum + to - from, 0);
    }
    return {
      bytes: this.#fileBytes + this.#pendingBytes,
      segments: this.#segments.length,
      records,
      appended: this.#appended,
      groups: this.#groups,
    };
  }

  /**
   * Adds a record; its position when it is on disk. `bytes` must not be changed until then.
   *
   * Rejects at once with `DISK_LOG_FULL`, `DISK_LOG_BUSY`, `DISK_LOG_RECORD_TOO_LARGE`, `DISK_LOG_CLOSED`; later with `DISK_LOG_FULL` (the disk has no room) and
   * `DISK_LOG_FAILED`. With `DISK_LOG_FAILED` the record may be there when the log is opened again; else it is not.
   */
  append(bytes: Uint8Array): Promise<number> {
    const refusal = this.#refusal(bytes);
    if (refusal !== null) return Promise.reject(refusal);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ payload: bytes, resolve, reject });
      this.#pendingBytes += RECORD_HEADER_BYTES + bytes.length;
      this.#run();
    });
  }

  /** What was acknowledged before the call, from position `from` on (default: all). @throws BreakwaterError `DISK_LOG_CORRUPT` */
  async *read(from = 0): AsyncGenerator<LogRecord, void, void> {
    const end = this.#next;
    for (const segment of [...this.#segments]) {
      if (segment.next <= from || segment.first >= end) continue;
      const bytes = await this.#load(segment);
      if (bytes === null) continue;
      let at = SEGMENT_HEADER_BYTES;
      let hole = 0;
      for (let position = segment.first; position < Math.min(segment.next, end); position += 1) {
        while (segment.holes[hole]?.from === position) {
          at = segment.holes[hole]!.endByte;
          position = segment.holes[hole]!.to;
          hole += 1;
        }
        if (position >= Math.min(segment.next, end)) break;
        const behind = recordEnd(bytes, at, position);
        if (behind < 0)
          throw corrupt(segment.path, { from: position, to: segment.next }, 'it has changed since it was opened');
        if (position >= from) {
          yield { position, bytes: new Uint8Array(bytes.subarray(at + RECORD_HEADER_BYTES, behind)) };
        }
        at = behind;
      }
    }
  }

  /**
   * Nothing up to and with position `upTo` is needed any more: removes the segments that hold nothing else. What is left of a segment that does is read
   * again after a restart. Resolves when that is done.
   */
  async trim(upTo: number): Promise<void> {
    if (this.#isClosed) throw this.#closedError();
    if (upTo <= this.#trimTo) return;
    this.#trimTo = Math.min(upTo, this.#next - 1);
    await new Promise<void>((resolve) => {
      this.#trimming.push(resolve);
      this.#run();
    });
  }

  /** Writes what waits, closes the files and gives the lock back. Later appends reject with `DISK_LOG_CLOSED`. Closing twice is once. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#isClosed = true;
    await this.#running;
    if (this.#fd >= 0) await closeFile(this.#fd);
    this.#fd = -1;
    this.#lock.release();
  }

  #refusal(bytes: Uint8Array): BreakwaterError | null {
    if (this.#isClosed) return this.#closedError();
    if (this.#failure !== null) return this.#failure;
    const { maxBytes, maxPendingBytes } = this.#settings;
    const needed = RECORD_HEADER_BYTES + bytes.length;
    if (bytes.length > MAX_RECORD_BYTES || needed > maxBytes - SEGMENT_HEADER_BYTES || needed > maxPendingBytes) {
      return new BreakwaterError(
        'DISK_LOG_RECORD_TOO_LARGE',
        `cannot append to the log in ${this.directory}: the record has ${bytes.length} bytes, which can never fit its bounds`,
      );
    }
    // The header of a segment that it may begin counts too.
    if (this.#fileBytes + this.#pendingBytes + needed + SEGMENT_HEADER_BYTES > maxBytes) {
      return new BreakwaterError(
        'DISK_LOG_FULL',
        `cannot append to the log in ${this.directory}: it has ${this.#fileBytes + this.#pendingBytes} of ${maxBytes} bytes, received ${bytes.length} more`,
      );
    }
    if (this.#pendingBytes + needed > maxPendingBytes) {
      return new BreakwaterError(
        'DISK_LOG_BUSY',
        `cannot append to the log in ${this.directory}: ${this.#pendingBytes} bytes wait for the disk already`,
      );
    }
    return null;
  }

  /** One loop at a time does all that touches the files. */
  #run(): void {
    this.#running ??= this.#loop();
  }

  async #loop(): Promise<void> {
    for (;;) {
      // All that is appended in this turn of the event loop goes into one group.
      await new Promise((resolve) => setImmediate(resolve));
      const hasGroup = this.#waiting.length > 0;
      if (hasGroup) await this.#writeGroup();
      // Not only when nothing waits: under a steady load something always does.
      if (this.#trimming.length > 0) await this.#trimFiles();
      else if (!hasGroup) {
        // Here and not when the promise has settled: who comes in between must start the loop again.
        this.#running = null;
        return;
      }
    }
  }

  async #writeGroup(): Promise<void> {
    const group = this.#waiting;
    this.#waiting = [];
    let bytes = 0;
    for (const { payload } of group) bytes += RECORD_HEADER_BYTES + payload.length;
    try {
      if (this.#failure !== null) throw this.#failure;
      const { segmentBytes } = this.#settings;
      const last = this.#segments.at(-1)!;
      if (last.next > last.first && last.bytes + bytes > segmentBytes) await this.#addSegment();
      await this.#commit(group, bytes);
    } catch (error) {
      const rejection = error instanceof BreakwaterError ? error : this.#fail(error);
      this.#pendingBytes -= bytes;
      for (const { reject } of group) reject(rejection);
      return;
    }
    this.#groups += 1;
    this.#appended += group.length;
    const first = this.#next - group.length;
    for (let i = 0; i < group.length; i += 1) group[i]!.resolve(first + i);
  }

  async #commit(group: readonly Waiting[], size: number): Promise<void> {
    const { files, sync } = this.#settings;
    const segment = this.#segments.at(-1)!;
    const bytes = Buffer.allocUnsafe(size);
    let at = 0;
    let position = this.#next;
    for (const { payload } of group) {
      at = writeRecord(bytes, at, payload, position, this.#durable);
      position += 1;
    }
    try {
      await files.writeAll(this.#fd, bytes, segment.bytes);
    } catch (error) {
      // What was written of it is taken back, and the log goes on: most often the disk is full, and will have room again.
      await truncateFile(this.#fd, segment.bytes);
      throw this.#notWritten(error);
    }
    if (sync === 'group') await files.syncData(this.#fd);
    segment.bytes += size;
    segment.next = position;
    this.#fileBytes += size;
    this.#pendingBytes -= size;
    this.#next = position;
    if (sync === 'group') this.#durable = position;
  }

  /** The segment before it is on disk: each of its groups was. */
  async #addSegment(): Promise<void> {
    const { files } = this.#settings;
    const path = segmentPath(this.directory, this.#next);
    let fd = -1;
    try {
      fd = await openFile(path, 'append');
      await files.writeAll(fd, segmentHeader(this.#next), 0);
      await files.syncData(fd);
      await syncDirectory(this.directory);
    } catch (error) {
      if (fd >= 0) await closeFile(fd);
      await removeFile(path).catch(() => undefined);
      throw this.#notWritten(error);
    }
    if (this.#fd >= 0) await closeFile(this.#fd);
    this.#fd = fd;
    this.#segments.push({ path, first: this.#next, next: this.#next, bytes: SEGMENT_HEADER_BYTES, holes: [] });
    this.#fileBytes += SEGMENT_HEADER_BYTES;
  }

  async #trimFiles(): Promise<void> {
    const upTo = this.#trimTo;
    const waiting = this.#trimming;
    this.#trimming = [];
    const { segmentBytes } = this.#settings;
    const last = this.#segments.at(-1)!;
    try {
      if (this.#failure !== null) throw this.#failure;
      // Nothing of the last one is needed either: without a new one its room would come back only when it is full.
      if (last.next - 1 <= upTo && last.bytes * 2 > segmentBytes) await this.#addSegment();
      let removed = 0;
      while (this.#segments.length > 1 && this.#segments[0]!.next - 1 <= upTo) {
        const { path, bytes } = this.#segments[0]!;
        await removeFile(path);
        this.#segments.shift();
        this.#fileBytes -= bytes;
        removed += 1;
      }
      if (removed > 0) await syncDirectory(this.directory);
    } catch {
      // The room is not given back now. Nothing is lost by that; the next trim tries again.
    }
    for (const resolve of waiting) resolve();
  }

  /** Null: trimmed meanwhile. */
  async #load(segment: Segment): Promise<Buffer | null> {
    let fd: number;
    try {
      fd = await openFile(segment.path, 'read');
    } catch (error) {
      if (!this.#segments.includes(segment)) return null;
      throw error;
    }
    try {
      const bytes = Buffer.allocUnsafe(segment.bytes);
      return bytes.subarray(0, await readInto(fd, bytes, 0));
    } finally {
      await closeFile(fd);
    }
  }

  #notWritten(error: unknown): BreakwaterError {
    const isFull = ['ENOSPC', 'EDQUOT', 'EFBIG'].includes((error as NodeJS.ErrnoException).code ?? '');
    return new BreakwaterError(
      isFull ? 'DISK_LOG_FULL' : 'DISK_LOG_NOT_WRITTEN',
      `cannot append to the log in ${this.directory}: ${messageOf(error)}`,
      { cause: error },
    );
  }

  #fail(error: unknown): BreakwaterError {
    this.#failure ??= new BreakwaterError(
      'DISK_LOG_FAILED',
      `cannot append to the log in ${this.directory}: what is on disk is not known after ${messageOf(error)}; open it again`,
      { cause: error },
    );
    return this.#failure;
  }

  #closedError(): BreakwaterError {
    return new BreakwaterError('DISK_LOG_CLOSED', `cannot use the log in ${this.directory}: it is closed`);
  }
}
