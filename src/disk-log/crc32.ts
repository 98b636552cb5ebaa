/**
 * CRC-32 of the log's records: `zlib.crc32` where the runtime has it (Node.js 20.15, 22.2 and later; gigabytes a second), else the tables of base/crc32.ts.
 */
import * as zlib from 'node:zlib';
import { tableCrc32 } from '../base/crc32.ts';

const native = (zlib as { crc32?: (bytes: Uint8Array, before?: number) => number }).crc32;

/** An integer in [0, 2^32). `before`: the sum of what stands in front of `bytes`. */
export const crc32: (bytes: Uint8Array, before?: number) => number =
  native ?? ((bytes, before) => tableCrc32(bytes, 0, bytes.length, before));
