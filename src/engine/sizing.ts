/**
 * From a memory bound to segments: how large, how many, and when to refuse.
 *
 * A segment is about a 512th of memory, 4 KiB to 256 KiB: small enough that partly filled ones are a small loss, large enough
 * that headers and directories (37 bytes a segment, counted) are one too. It holds at least two of the largest
 * records, because a record may take half a segment.
 */
import { BreakwaterError } from '../base/errors.ts';
import { HEADER_BYTES_PER_SEGMENT } from './arena.ts';
import type { StoreOptions } from './face.ts';

/** Below this a store is refused, with keys of up to 512 bytes; longer keys need more. */
export const MIN_MEMORY_BYTES = 256 * 1024;
export const DEFAULT_MAX_KEY_BYTES = 512;
export const DEFAULT_MAX_VALUE_BYTES = 8 * 1024 * 1024;
const MAX_MEMORY_BYTES = 16 * 1024 ** 3;
const MIN_SEGMENTS = 48;
const MIN_SEGMENT_BYTES = 4096;
const MAX_SEGMENT_BYTES = 256 * 1024;
/** Objects, counters, list ends: JavaScript's own, the same for every store, taken as one round figure. */
const CONSTANT_BYTES = 8 * 1024;

export interface Sizing {
  readonly segmentCount: number;
  readonly segmentWordsLog2: number;
  readonly maxKeyBytes: number;
  readonly maxValueBytes: number;
  /** What is held besides segments. */
  readonly fixedBytes: number;
}

/** Checks the options and cuts memory into segments. Throws BreakwaterError ENGINE_OPTIONS_INVALID. */
export function sizingFor(options: StoreOptions): Sizing {
  const { memoryBytes } = options;
  const maxKeyBytes = options.maxKeyBytes ?? DEFAULT_MAX_KEY_BYTES;
  const maxValueBytes = options.maxValueBytes ?? DEFAULT_MAX_VALUE_BYTES;
  refuseUnless(
    Number.isInteger(maxKeyBytes) && maxKeyBytes >= 1 && maxKeyBytes <= 65_535,
    `maxKeyBytes must be an integer from 1 to 65535, received ${maxKeyBytes}`,
  );
  refuseUnless(
    Number.isInteger(maxValueBytes) && maxValueBytes >= 0 && maxValueBytes < 1 << 28,
    `maxValueBytes must be an integer from 0 to 268435455, received ${maxValueBytes}`,
  );
  refuseUnless(
    memoryBytes >= MIN_MEMORY_BYTES && memoryBytes <= MAX_MEMORY_BYTES,
    `memoryBytes must be from ${MIN_MEMORY_BYTES} (256 KiB) to ${MAX_MEMORY_BYTES} (16 GiB), received ${memoryBytes}`,
  );
  let segmentBytes = MIN_SEGMENT_BYTES;
  while (segmentBytes < MAX_SEGMENT_BYTES && segmentBytes * 1024 <= memoryBytes) segmentBytes *= 2;
  while (segmentBytes < 2 * (maxKeyBytes + 512)) segmentBytes *= 2;
  const segmentCount = Math.floor((memoryBytes - CONSTANT_BYTES) / (segmentBytes + HEADER_BYTES_PER_SEGMENT));
  refuseUnless(
    segmentCount >= MIN_SEGMENTS,
    `memoryBytes must be at least ${MIN_SEGMENTS} segments of ${segmentBytes} bytes when keys may have ${maxKeyBytes} bytes, received ${memoryBytes}`,
  );
  return {
    segmentCount,
    segmentWordsLog2: 29 - Math.clz32(segmentBytes),
    maxKeyBytes,
    maxValueBytes,
    fixedBytes: CONSTANT_BYTES + segmentCount * HEADER_BYTES_PER_SEGMENT,
  };
}

function refuseUnless(condition: boolean, reason: string): void {
  if (!condition) throw new BreakwaterError('ENGINE_OPTIONS_INVALID', `cannot make a store: ${reason}`);
}
