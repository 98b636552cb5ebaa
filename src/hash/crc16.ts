/**
 * CRC-16/XMODEM (polynomial 0x1021, initial value 0, no reflection): the checksum that Redis Cluster takes a key's slot
 * from. It is used here for nothing else; the table has its own seeded hash, because a CRC is linear and anybody can
 * write a million keys of one value.
 *
 * One table of 256 precomputed remainders, one look-up a byte.
 */
const TABLE = new Uint16Array(256);
for (let byte = 0; byte < 256; byte += 1) {
  let remainder = byte << 8;
  for (let bit = 0; bit < 8; bit += 1) {
    remainder = remainder & 0x8000 ? (remainder << 1) ^ 0x1021 : remainder << 1;
  }
  TABLE[byte] = remainder;
}

/** CRC-16/XMODEM of `bytes[start, end)`: an integer in [0, 65,536). O(length). */
export function crc16(bytes: Uint8Array, start: number, end: number): number {
  let crc = 0;
  for (let at = start; at < end; at += 1) {
    crc = ((crc << 8) & 0xffff) ^ TABLE[((crc >>> 8) ^ bytes[at]!) & 0xff]!;
  }
  return crc;
}
