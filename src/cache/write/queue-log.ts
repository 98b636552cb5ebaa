/**
 * Where acknowledged writes are until the database has them: the port that the queue (queue.ts) stands on. Two makers, one suite for both
 * (test/contract/queue-log-contract.ts):
 *
 *   disk-queue.ts     an append log in a directory of this process. Read again by whoever opens the directory next
 *   stream-queue.ts   streams in Redis or Valkey, the store's own servers. What a dead process leaves is taken over by another one
 *
 * What a maker promises:
 *
 *   append    resolves when the write is kept: from then on it comes out of `pending` of a later `open`, or is adopted, whatever ends this process. Of an id the newest alone
 *             counts (by version). One that rejects with a code of {@link NO_ROOM} is not kept; with any other it may be
 *   settle    need not be kept: what was settled may come once more after a crash, and has no effect then
 *   adopt     writes of a process that is gone, at any time. They are kept as if they had been appended here
 *   isSole    nobody else can have sent what is pending here to the database
 *   failure   not null: it keeps nothing any more, until it is opened anew. What is pending stays in memory, and goes to the database from there
 *
 * Values are structured clones (`node:v8`): dates, bigints, binary data, maps and sets come back as they were, as the sink wants them; functions are refused.
 */
import { deserialize, serialize } from 'node:v8';
import { BreakwaterError, messageOf } from '../../base/errors.ts';

/** A write as a log has it. */
export interface Queued {
  readonly id: string;
  readonly version: number;
  /** The value as {@link cloneOf} made it. */
  readonly bytes: Uint8Array;
  /** Wall clock, for people. */
  readonly queuedAtMs: number;
}

/** A write that the database will not have, whoever asks. */
export interface DeadLetter extends Queued {
  readonly diedAtMs: number;
  readonly code: string;
  readonly message: string;
}

export interface QueueLog {
  /** What it takes at present. */
  readonly bytes: number;
  readonly isSole: boolean;
  readonly failure: BreakwaterError | null;
  /** What was not kept, or not given up, in the background; null = all is well. */
  readonly lastError: string | null;
  /** The oldest first. */
  pending(): Iterable<Queued>;
  /** Kept in the order of the calls. @throws BreakwaterError */
  append(write: Queued): Promise<void>;
  /** Nothing of these ids up to these versions is pending any more. */
  settle(writes: readonly Queued[]): void;
  close(): Promise<void>;
}

/** Dead letters, kept for people to decide: to the queue again, when the reason is mended, or away. */
export interface DeadLetterLog {
  readonly size: number;
  /** The oldest first. */
  list(): DeadLetter[];
  /** Resolves when it is kept. @throws BreakwaterError */
  add(letter: DeadLetter): Promise<void>;
  /** @throws BreakwaterError */
  remove(letter: DeadLetter): Promise<void>;
  close(): Promise<void>;
}

export interface OpenQueue {
  readonly log: QueueLog;
  readonly dead: DeadLetterLog;
}

/** Where a queue is to be kept. */
export interface QueueStorage {
  /** Bytes beyond which writers wait. */
  readonly maxBytes: number;
  /** @throws BreakwaterError; the system's own errors */
  open(events: QueueLogEvents): Promise<OpenQueue>;
}

export interface QueueLogEvents {
  /** Writes of a process that is gone: they are kept here now, and to be sent. */
  adopt(writes: readonly Queued[]): void;
  /** Another process has taken what was kept here, and may have sent it. */
  disown(): void;
}

/** Codes of `append` that say for certain: not kept, and no room at present, or never. */
export const NO_ROOM: ReadonlySet<string> = new Set([
  'DISK_LOG_FULL',
  'DISK_LOG_BUSY',
  'DISK_LOG_RECORD_TOO_LARGE',
  'STORE_NO_ROOM',
  'STORE_OVERLOADED',
  'STORE_TOO_LARGE',
]);

/** @throws BreakwaterError `CACHE_VALUE_UNSERIALISABLE` */
export function cloneOf(value: unknown, key: string): Uint8Array {
  try {
    return serialize(value);
  } catch (error) {
    throw new BreakwaterError(
      'CACHE_VALUE_UNSERIALISABLE',
      `cannot queue the write of ${key}: the log takes plain data, dates, bigints, binary data, maps and sets: ${messageOf(error)}`,
      { cause: error },
    );
  }
}

export function unclone(bytes: Uint8Array): unknown {
  return deserialize(bytes);
}
