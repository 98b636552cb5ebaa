/**
 * Compression of payloads above a threshold: zstd where the runtime has it (Node.js 22.15 and later), else deflate. Readers read both, where their
 * runtime can; where it cannot, the entry is a miss and counted.
 *
 * Small payloads are done at once, large ones in the thread pool: a hop there and back is about 0.2 ms on the machine this was measured on, in which the
 * event loop deflates 30 kB of JSON or inflates 130 kB (Node.js 20, zlib's default level), so below that a hop costs more than it frees.
 *
 * A reader knows how large the payload must become (the envelope says) and stops there: a kilobyte that would grow to gigabytes is a miss. What
 * does not become exactly so large is a miss too.
 */
import * as zlib from 'node:zlib';
import type { Compression } from '../../base/envelope.ts';

export interface CompressionSettings {
  readonly thresholdBytes: number;
  readonly algorithm: Exclude<Compression, 'none'>;
}

/** Most bytes that a payload may become. */
export const MOST_PLAIN_BYTES = 256 * 1024 ** 2;
/** Deflate cannot do better than 1:1032. */
const MOST_RATIO = 1_100;
export const ASYNC_COMPRESS_BYTES = 32 * 1024;
export const ASYNC_EXPAND_BYTES = 128 * 1024;

type Sync = (bytes: Uint8Array, options?: { readonly maxOutputLength?: number }) => Uint8Array;
type Async = (
  bytes: Uint8Array,
  options: { readonly maxOutputLength?: number },
  done: (error: Error | null, result: Uint8Array) => void,
) => void;

/** One algorithm of the runtime. */
export interface Algorithm {
  readonly compressSync: Sync;
  readonly expandSync: Sync;
  readonly compress: Async;
  readonly expand: Async;
}

export type Algorithms = Readonly<Record<Exclude<Compression, 'none'>, Algorithm | null>>;

/** What `node:zlib` has. @param from for tests */
export function algorithmsOf(from: object = zlib): Algorithms {
  const { zstdCompressSync, zstdDecompressSync, zstdCompress, zstdDecompress } = from as Record<string, unknown>;
  const hasZstd = typeof zstdCompressSync === 'function' && typeof zstdDecompressSync === 'function';
  return {
    deflate: {
      compressSync: zlib.deflateRawSync,
      expandSync: zlib.inflateRawSync,
      compress: zlib.deflateRaw as Async,
      expand: zlib.inflateRaw as Async,
    },
    zstd: hasZstd
      ? {
          compressSync: zstdCompressSync as Sync,
          expandSync: zstdDecompressSync as Sync,
          compress: zstdCompress as Async,
          expand: zstdDecompress as Async,
        }
      : null,
  };
}

/** A smaller payload, or null where compression saves less than an eighth. */
export function compress(bytes: Uint8Array, algorithm: Algorithm): Uint8Array | null | Promise<Uint8Array | null> {
  const enough = (result: Uint8Array): Uint8Array | null =>
    result.length <= bytes.length - bytes.length / 8 ? result : null;
  if (bytes.length < ASYNC_COMPRESS_BYTES) return enough(algorithm.compressSync(bytes));
  return new Promise((resolve, reject) => {
    algorithm.compress(bytes, {}, (error, result) => (error === null ? resolve(enough(result)) : reject(error)));
  });
}

/** The payload of exactly `plainBytes`, or null: damaged, or a bomb. Never throws or rejects. */
export function expand(
  bytes: Uint8Array,
  plainBytes: number,
  algorithm: Algorithm,
): Uint8Array | null | Promise<Uint8Array | null> {
  if (plainBytes < 1 || plainBytes > MOST_PLAIN_BYTES) return null;
  // zstd has no such bound; its frame is cut off at maxOutputLength like the other's.
  if (algorithm.expandSync === zlib.inflateRawSync && plainBytes > bytes.length * MOST_RATIO) return null;
  const options = { maxOutputLength: plainBytes };
  const exact = (result: Uint8Array): Uint8Array | null => (result.length === plainBytes ? result : null);
  if (plainBytes < ASYNC_EXPAND_BYTES) {
    try {
      return exact(algorithm.expandSync(bytes, options));
    } catch {
      return null;
    }
  }
  return new Promise((resolve) => {
    algorithm.expand(bytes, options, (error, result) => resolve(error === null ? exact(result) : null));
  });
}
