/**
 * Reading a log that another process may have open: no lock, nothing changed, nothing cut. What is being written at the moment is seen or not; records that were written and cannot be
 * read any more are told of and passed over. For tools that show what is there; whoever acts on what a log says opens it (log.ts).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { firstOf, segmentPath } from './files.ts';
import { RECORD_HEADER_BYTES, recordEnd, SEGMENT_HEADER_BYTES, scan } from './format.ts';
import { corrupt } from './options.ts';

/**
 * The payloads of all whole records, in order. Segments that go away meanwhile are left out.
 * @param onDamage told of records that were acknowledged and cannot be read, in words
 * @throws the system's own errors about the directory
 */
export function* peek(directory: string, onDamage: (sentence: string) => void): Generator<Uint8Array, void, void> {
  const firsts = readdirSync(directory)
    .map(firstOf)
    .filter((first) => first !== null)
    .sort((a, b) => a - b);
  for (const [index, first] of firsts.entries()) {
    const path = segmentPath(directory, first);
    let bytes: Buffer;
    try {
      bytes = readFileSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    // One that has a following one was whole when they were listed.
    const { holes } = scan(bytes, first, firsts[index + 1] ?? null);
    for (const hole of holes) {
      onDamage(corrupt(path, hole, `what stands at byte ${hole.startByte} is not what was written there`).message);
    }
    let at = SEGMENT_HEADER_BYTES;
    let position = first;
    while (at < bytes.length) {
      const end = recordEnd(bytes, at, position);
      if (end >= 0) {
        yield new Uint8Array(bytes.subarray(at + RECORD_HEADER_BYTES, end));
        position += 1;
        at = end;
        continue;
      }
      const hole = holes.find(({ startByte }) => startByte === at);
      if (hole === undefined) break;
      position = hole.to;
      at = hole.endByte;
    }
  }
}
