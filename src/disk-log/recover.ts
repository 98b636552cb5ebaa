/**
 * Opening what a crash may have left: every segment is read once, the torn tail of the last one is cut, and what is missing elsewhere is damage.
 */
import { readdirSync, statSync } from 'node:fs';
import { basename } from 'node:path';
import { closeFile, firstOf, openFile, readInto, segmentPath, syncFile, truncateFile, writeAll } from './files.ts';
import { type Hole, readSegmentHeader, SEGMENT_HEADER_BYTES, scan, segmentHeader } from './format.ts';
import { corrupt, type Damage, type LogSettings } from './options.ts';

/** One file of the log. */
export interface Segment {
  readonly path: string;
  /** Position of its first record. */
  readonly first: number;
  /** Behind its last record. */
  next: number;
  bytes: number;
  readonly holes: readonly Hole[];
}

export interface Recovered {
  /** In order; may be empty. */
  readonly segments: Segment[];
  readonly damage: readonly Damage[];
  /** Bytes cut off the end: what was being written when the process or the machine ended. */
  readonly cutBytes: number;
}

/** @throws BreakwaterError `DISK_LOG_CORRUPT`, unless `damaged: 'skip'` */
export async function recover(directory: string, settings: LogSettings): Promise<Recovered> {
  const firsts = readdirSync(directory)
    .map(firstOf)
    .filter((first) => first !== null)
    .sort((a, b) => a - b);
  const segments: Segment[] = [];
  const damage: Damage[] = [];
  const lost = (path: string, hole: Pick<Hole, 'from' | 'to'>, why: string): void => {
    if (settings.damaged === 'refuse') throw corrupt(path, hole, why);
    damage.push({ file: basename(path), from: hole.from, to: hole.to });
  };
  let cutBytes = 0;
  for (let i = 0; i < firsts.length; i += 1) {
    const first = firsts[i]!;
    const following = firsts[i + 1] ?? null;
    const path = segmentPath(directory, first);
    const before = segments.at(-1);
    if (before !== undefined && before.next < first) {
      lost(path, { from: before.next, to: first }, 'a segment before this one is missing');
    }
    const bytes = Buffer.alloc(statSync(path).size);
    const fd = await openFile(path, 'append');
    try {
      await readInto(fd, bytes, 0);
      const isBare = bytes.length <= SEGMENT_HEADER_BYTES && readSegmentHeader(bytes) !== first;
      if (isBare && following === null) {
        // Made and not yet begun: nothing can have been acknowledged in it. Its name says where it goes on.
        cutBytes += bytes.length;
        await truncateFile(fd, 0);
        await writeAll(fd, segmentHeader(first), 0);
        await syncFile(fd);
        segments.push({ path, first, next: first, bytes: SEGMENT_HEADER_BYTES, holes: [] });
        break;
      }
      const { next, endByte, holes } = scan(bytes, first, following);
      for (const hole of holes) lost(path, hole, `what stands at byte ${hole.startByte} is not what was written there`);
      if (endByte < bytes.length) {
        cutBytes += bytes.length - endByte;
        await truncateFile(fd, endByte);
      }
      // What is served from here on must not vanish with the machine, though nobody was told yet that it is there.
      if (following === null) await syncFile(fd);
      segments.push({ path, first, next, bytes: Math.max(endByte, SEGMENT_HEADER_BYTES), holes });
    } finally {
      await closeFile(fd);
    }
  }
  return { segments, damage, cutBytes };
}
