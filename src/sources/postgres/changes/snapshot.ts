/**
 * Which transactions can be seen: `pg_current_snapshot()`, read. Pure.
 *
 * Why a stream of *committed* changes needs it. Postgres writes the commit to its log, waits for synchronous replicas if there are any, and only then shows the transaction to
 * others. The stream is read from the log:
 *
 *   1. T commits: its end is in the log. The stream sends T's rows. Nobody can see them yet; with a synchronous replica that is away, not for minutes.
 *   2. The key is invalidated. A reader misses, asks the database, and gets the row as it was before T.
 *   3. T can be seen. No further change comes: the old row stays in the cache until its TTL.
 *
 * So before anything is invalidated for T, the database is asked whether T can be seen. Without synchronous replicas the window is a few microseconds wide, which on a busy machine
 * is enough for it to happen.
 */
import { BreakwaterError } from '../../../base/errors.ts';

export interface Snapshot {
  /** All before it are over. */
  readonly xmin: bigint;
  /** None from here on has ended. */
  readonly xmax: bigint;
  /** Those between that are under way. */
  readonly running: ReadonlySet<number>;
}

/** `xmin:xmax:running,running,...` */
export function parseSnapshot(text: unknown): Snapshot {
  const match = typeof text === 'string' ? /^(\d+):(\d+):([\d,]*)$/.exec(text) : null;
  if (match === null) {
    throw new BreakwaterError('CHANGES_PROTOCOL', `cannot read a snapshot: received ${String(text)}`);
  }
  const running = match[3] === '' ? [] : match[3]!.split(',').map((xid) => low(BigInt(xid)));
  return { xmin: BigInt(match[1]!), xmax: BigInt(match[2]!), running: new Set(running) };
}

/**
 * Can everybody see the transaction, of which the low 32 bits are known, as a stream tells them? It has been committed, so that it was assigned within the last 2^31; that
 * is what makes the comparison of so few bits right.
 */
export function isVisible(xid: number, { xmax, running }: Snapshot): boolean {
  return ((xid - low(xmax)) | 0) < 0 && !running.has(xid);
}

function low(xid: bigint): number {
  return Number(xid & 0xffff_ffffn);
}
