/**
 * The queue on disk: what was acknowledged and is not in the database yet, as records of the append log (disk-log/log.ts).
 *
 *     [1, id, version, value, queuedAtMs]     a write; null deletes
 *     [2, id, version, id, version, ...]      the database has these, or they are dead letters: nothing of these ids up to these versions is pending
 *
 * Only the newest record of an id counts: the log is read from the front, and what comes later replaces. So it is cut in front of the oldest record that is the newest
 * of its id. One write that waits for long (the database refuses it for now) would hold all that came behind it: such are written again at the end.
 *
 * That something was settled may be lost in a crash. Then it is sent to the database once more, where it has no effect.
 */
import { deserialize, serialize } from 'node:v8';
import { type BreakwaterError, messageOf } from '../../base/errors.ts';
import { DiskLog } from '../../disk-log/log.ts';
import type { DiskLogOptions } from '../../disk-log/options.ts';
import { DiskDeadLetters } from './dead-letters.ts';
import type { Queued, QueueLog, QueueStorage } from './queue-log.ts';
import { WRITE, writeIn, writeRecord } from './queue-records.ts';

export const SEGMENT_BYTES = 4 * 1024 ** 2;
const SETTLED = 2;
/** Room that is kept for what is under way, and for saying that something was settled. */
const SPARE_BYTES = 8 * 1024 ** 2;

/** `<directory>/queue` and `<directory>/dead`. @param files instead of the real ones, for tests of what a disk may do */
export function diskStorage(directory: string, maxBytes: number, files?: DiskLogOptions['files']): QueueStorage {
  return {
    maxBytes: maxBytes - SPARE_BYTES,
    open: async () => {
      const log = await DiskQueueLog.open(`${directory}/queue`, maxBytes, files);
      try {
        return { log, dead: await DiskDeadLetters.open(`${directory}/dead`) };
      } catch (error) {
        await log.close();
        throw error;
      }
    },
  };
}

export class DiskQueueLog implements QueueLog {
  /** The directory has one process. */
  readonly isSole = true;
  readonly #log: DiskLog;
  /** The newest of each id, in the order of positions. */
  readonly #live = new Map<string, { readonly write: Queued; readonly position: number }>();
  #liveBytes = 0;
  #isRewriting = false;
  lastError: string | null = null;

  private constructor(log: DiskLog) {
    this.#log = log;
  }

  /** @throws BreakwaterError `DISK_LOG_LOCKED`, `DISK_LOG_CORRUPT`; the system's own errors */
  static async open(directory: string, maxBytes: number, files?: DiskLogOptions['files']): Promise<DiskQueueLog> {
    const bounds = { segmentBytes: SEGMENT_BYTES, maxBytes, maxPendingBytes: maxBytes };
    const log = await DiskLog.open(directory, files === undefined ? bounds : { ...bounds, files });
    try {
      const queue = new DiskQueueLog(log);
      for await (const { position, bytes } of log.read()) queue.#replay(position, bytes);
      return queue;
    } catch (error) {
      await log.close();
      throw error;
    }
  }

  /** What is pending, the oldest first. */
  *pending(): Generator<Queued> {
    for (const { write } of this.#live.values()) yield write;
  }

  get bytes(): number {
    return this.#log.stats.bytes;
  }

  get failure(): BreakwaterError | null {
    return this.#log.failure;
  }

  /** Resolves when it is on disk. Records are in the order of the calls. @throws BreakwaterError of the log */
  async append(write: Queued): Promise<void> {
    const position = await this.#log.append(writeRecord(write));
    this.#note(write, position);
    this.#rewriteIfDue();
  }

  /** Nothing of these ids up to these versions is pending any more. */
  settle(writes: readonly Queued[]): void {
    if (writes.length === 0) return;
    const record: unknown[] = [SETTLED];
    for (const { id, version } of writes) {
      record.push(id, version);
      this.#forget(id, version);
    }
    this.#log.append(serialize(record)).then(
      () => {
        this.lastError = null;
        this.#trim();
      },
      (error: unknown) => {
        this.lastError = messageOf(error);
        // A full disk would stay full if what the database has were kept for want of room to say so.
        this.#trim();
      },
    );
  }

  close(): Promise<void> {
    return this.#log.close();
  }

  #replay(position: number, bytes: Uint8Array): void {
    const record = readRecord(bytes);
    if (record.kind === 'write') this.#note(record.write, position);
    else for (const [id, version] of record.upTo) this.#forget(id, version);
  }

  #forget(id: string, version: number): void {
    const known = this.#live.get(id);
    if (known === undefined || known.write.version > version) return;
    this.#live.delete(id);
    this.#liveBytes -= known.write.bytes.length;
  }

  #note(write: Queued, position: number): void {
    const known = this.#live.get(write.id);
    if (known !== undefined) {
      // Written again at the end, it has the same version.
      if (known.write.version > write.version || known.position > position) return;
      this.#live.delete(write.id);
      this.#liveBytes -= known.write.bytes.length;
    }
    this.#live.set(write.id, { write, position });
    this.#liveBytes += write.bytes.length;
  }

  #trim(): void {
    const [oldest] = this.#live.values();
    this.#log.trim((oldest?.position ?? this.#log.next) - 1).catch(() => undefined);
  }

  #rewriteIfDue(): void {
    const { bytes } = this.#log.stats;
    if (this.#isRewriting || bytes < 4 * SEGMENT_BYTES + 4 * this.#liveBytes) return;
    this.#isRewriting = true;
    const before = this.#log.next;
    const old: Queued[] = [];
    for (const { write, position } of this.#live.values()) if (position < before) old.push(write);
    Promise.all(
      old.map(async (write) => {
        const position = await this.#log.append(writeRecord(write));
        // Unless it was settled, or replaced, meanwhile: then the record says nothing that is not known.
        if (this.#live.get(write.id)?.write.version === write.version) this.#note(write, position);
      }),
    ).then(
      () => {
        this.#isRewriting = false;
        this.#trim();
      },
      (error: unknown) => {
        this.#isRewriting = false;
        this.lastError = messageOf(error);
      },
    );
  }
}

/** What a record says, for tools. */
export function readRecord(
  bytes: Uint8Array,
):
  | { readonly kind: 'write'; readonly write: Queued }
  | { readonly kind: 'settled'; readonly upTo: readonly (readonly [id: string, version: number])[] } {
  const record = deserialize(bytes) as readonly unknown[];
  if (record[0] === WRITE) return { kind: 'write', write: writeIn(record) };
  const upTo: [string, number][] = [];
  for (let i = 1; i < record.length; i += 2) upTo.push([record[i] as string, record[i + 1] as number]);
  return { kind: 'settled', upTo };
}
