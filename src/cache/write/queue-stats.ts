/** What a write-behind queue counts. */
export interface QueueCounts {
  /** Writes that are on disk; of them, those that a later one of their row replaced before they were sent. */
  acknowledged: number;
  coalesced: number;
  /** Batches sent; rows that the database took; rows of which it had a later write already. */
  flushes: number;
  written: number;
  superseded: number;
  /** Batches that failed and are tried again, whole or row by row. */
  failures: number;
  /** Writers that had to wait for room, and those of them for whom none came. */
  blocked: number;
  refused: number;
  /** Rows that the database refused and that went to the dead letters. */
  died: number;
  /** Found on disk at the start. */
  replayed: number;
  /** Rows of the batch that was written last. */
  lastBatch: number;
  lastError: string | null;
}

export interface QueueStats extends Readonly<QueueCounts> {
  /** Rows that are not in the database yet; how long the oldest has waited, milliseconds. */
  readonly length: number;
  readonly oldestAgeMs: number | null;
  /** Writers that wait for room, or for their group. */
  readonly waiting: number;
  /** Of the log on disk. */
  readonly bytes: number;
  readonly deadLetters: number;
  /** False: the directory could not be opened yet. */
  readonly isOpen: boolean;
}

export function newQueueCounts(): QueueCounts {
  return {
    acknowledged: 0,
    coalesced: 0,
    flushes: 0,
    written: 0,
    superseded: 0,
    failures: 0,
    blocked: 0,
    refused: 0,
    died: 0,
    replayed: 0,
    lastBatch: 0,
    lastError: null,
  };
}
