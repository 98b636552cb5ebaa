/**
 * Reading a log that another process may have open: no lock, nothing changed, nothing cut. What is being written at the moment is seen or not; a record that is
 * not whole ends its segment. For tools that show what is there; whoever acts on what a log says opens it (log.ts).
 */
import { readdirSync, readFileSync } from 'node:fs';
import { firstOf, segmentPath } from './files.ts';
import { RECORD_HEADER_BYTES, recordEnd, SEGMENT_HEADER_BYTES } from './format.ts';

/** The payloads of all whole records, in order. Segments that go away meanwhile are left out. @throws the system's own errors about the directory */
export function* peek(directory: string): Generator<Uint8Array, void, void> {
  const firsts = readdirSync(directory)
    .map(firstOf)
    .filter((first) => first !== null)
    .sort((a, b) => a - b);
  for (const first of firsts) {
    let bytes: Buffer;
    try {
      bytes = readFileSync(segmentPath(directory, first));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') continue;
      throw error;
    }
    let at = SEGMENT_HEADER_BYTES;
    for (let position = first; at < bytes.length; position += 1) {
      const end = recordEnd(bytes, at, position);
      if (end < 0) break;
      yield new Uint8Array(bytes.subarray(at + RECORD_HEADER_BYTES, end));
      at = end;
    }
  }
}
