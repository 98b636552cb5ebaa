/**
 * Frames: what travels between members.
 *
 *   0        2         3      4          8                12
 *   | 'B' 'W' | version | kind | length   | CRC-32          | body, `length` bytes ...
 *   |  2      |    1    |  1   |    4     |   4             |        big-endian, as all fixed numbers are
 *
 * The sum is over version, kind, length and body. TCP's own 16-bit sum lets one damaged packet in some ten thousand pass (Stone and Partridge, SIGCOMM 2000), and here a flipped
 * bit in a key is an invalidation that never came. A frame whose sum is wrong breaks the link; what it carried is asked for again over the next.
 *
 * Rolling upgrades. `version` is the oldest version that can read the frame, not the newest that its sender knows, so:
 *
 *   - a new kind of frame, and a new field at the end of a body, keep the version: who does not know the kind skips the frame and counts it, who does
 *     not know the field does not look at the rest of the body;
 *   - anything else raises the version of that kind. It is sent only to members that said in their `hello` that they read it; to others the old form.
 *     A frame of a version that a member cannot read is skipped and counted, never guessed at.
 *
 * Nothing is ever skipped that must not be lost: whoever sends a frame that changes what is true waits for its acknowledgement.
 */

export const MAGIC = 0x4257;
/** What this code writes and reads. */
export const WIRE_VERSION = 1;
export const HEADER_BYTES = 12;

/** Largest body: a value of the largest size with its key and what goes with it, or some thousand records. */
export const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** Offsets in the header. */
export const VERSION_AT = 2;
export const KIND_AT = 3;
export const LENGTH_AT = 4;
export const SUM_AT = 8;
