/**
 * Key -> slot, as Redis Cluster defines it, so that every cluster client in every language routes to the right node.
 *
 * The slot is CRC-16 of the key modulo 16,384. A *hash tag* lets an application keep keys together: when the key holds a
 * `{`, and a `}` somewhere after it with at least one byte between, only the bytes between the first `{` and the first
 * `}` after it are hashed. `{}` alone tags nothing, and the whole key is hashed.
 */
import { crc16 } from './crc16.ts';

/** How many slots the key space is cut into. */
export const SLOT_COUNT = 16_384;

const OPEN = 0x7b;
const CLOSE = 0x7d;

/** The slot of the key `bytes[start, end)`: an integer in [0, 16,384). O(length). */
export function slotOf(bytes: Uint8Array, start: number, end: number): number {
  for (let open = start; open < end; open += 1) {
    if (bytes[open] !== OPEN) continue;
    for (let close = open + 1; close < end; close += 1) {
      if (bytes[close] !== CLOSE) continue;
      return close === open + 1 ? crc16(bytes, start, end) & 0x3fff : crc16(bytes, open + 1, close) & 0x3fff;
    }
    break;
  }
  return crc16(bytes, start, end) & 0x3fff;
}
