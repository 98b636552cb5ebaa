/**
 * Cuts a byte stream into frames, whatever its chunks.
 *
 *   push(chunk)           lends a chunk until `next()` has said NEED_MORE
 *   next() -> FRAME       `kind`, `version` and `body`: views of the chunk where the frame lies in it whole, else of a buffer of its own. Valid until
 *                         the next call: who keeps bytes copies them
 *   next() -> NEED_MORE   nothing whole is left; the head of a cut frame was copied, the chunk may be reused
 *   next() -> BROKEN      the stream is no stream of frames (any more); `error` says why. For good: close the link
 *
 * Memory is bounded by what has arrived: a length in a header allocates nothing, the buffer of a cut frame grows with its bytes (it at most
 * doubles), and a length above the limit breaks the link before a byte of the body has come.
 */
import { assert } from '../base/assert.ts';
import { HEADER_BYTES, KIND_AT, LENGTH_AT, MAGIC, MAX_BODY_BYTES, SUM_AT, VERSION_AT } from './frame.ts';
import { sumOf } from './frame-writer.ts';

export const FRAME = 1;
export const NEED_MORE = 0;
export const BROKEN = -1;

/** An idle link keeps at most this much. */
const RETAINED_BYTES = 16 * 1024;
const NOTHING = new Uint8Array(0);

export class FrameParser {
  kind = 0;
  version = 0;
  bytes: Uint8Array = NOTHING;
  bodyStart = 0;
  bodyEnd = 0;
  /** Why the stream is broken; '' before. */
  error = '';

  readonly #maxBodyBytes: number;
  #chunk: Uint8Array = NOTHING;
  #at = 0;
  #end = 0;
  /** The head of a frame that was cut by the end of a chunk. */
  #own: Uint8Array = NOTHING;
  #ownLength = 0;
  /** The frame in `own` was given out: it is to be forgotten. */
  #isGiven = false;

  constructor(maxBodyBytes: number = MAX_BODY_BYTES) {
    this.#maxBodyBytes = maxBodyBytes;
  }

  /** Bytes kept of a frame that is not whole yet. */
  get bufferedBytes(): number {
    return this.#isGiven ? 0 : this.#ownLength;
  }

  push(chunk: Uint8Array, start = 0, end: number = chunk.length): void {
    if (this.error !== '') return;
    assert(this.#at === this.#end, 'the chunk before was read to its end');
    this.#chunk = chunk;
    this.#at = start;
    this.#end = end;
  }

  next(): number {
    if (this.error !== '') return BROKEN;
    if (this.#isGiven) {
      this.#isGiven = false;
      this.#ownLength = 0;
      if (this.#own.length > RETAINED_BYTES) this.#own = NOTHING;
    }
    return this.#ownLength > 0 ? this.#nextOfOwn() : this.#nextOfChunk();
  }

  #nextOfChunk(): number {
    const left = this.#end - this.#at;
    if (left >= HEADER_BYTES) {
      const length = this.#lengthAt(this.#chunk, this.#at);
      if (length < 0) return BROKEN;
      if (left >= HEADER_BYTES + length) {
        const start = this.#at;
        this.#at += HEADER_BYTES + length;
        return this.#give(this.#chunk, start, length);
      }
    }
    this.#pull(left);
    return NEED_MORE;
  }

  #nextOfOwn(): number {
    if (this.#ownLength < HEADER_BYTES) {
      this.#pull(HEADER_BYTES - this.#ownLength);
      if (this.#ownLength < HEADER_BYTES) return NEED_MORE;
    }
    const length = this.#lengthAt(this.#own, 0);
    if (length < 0) return BROKEN;
    this.#pull(HEADER_BYTES + length - this.#ownLength);
    if (this.#ownLength < HEADER_BYTES + length) return NEED_MORE;
    this.#isGiven = true;
    return this.#give(this.#own, 0, length);
  }

  /** The length of the body whose header is at `at`, or -1: that is no header. */
  #lengthAt(bytes: Uint8Array, at: number): number {
    if (((bytes[at]! << 8) | bytes[at + 1]!) !== MAGIC) {
      this.#break('what came is no frame');
      return -1;
    }
    const length = uint32At(bytes, at + LENGTH_AT);
    if (length > this.#maxBodyBytes) {
      this.#break(`a body of ${length} bytes is announced, at most ${this.#maxBodyBytes} are allowed`);
      return -1;
    }
    return length;
  }

  #give(bytes: Uint8Array, start: number, length: number): number {
    if (sumOf(bytes, start, length) !== uint32At(bytes, start + SUM_AT)) {
      this.#break('its sum is not that of its bytes');
      return BROKEN;
    }
    this.version = bytes[start + VERSION_AT]!;
    this.kind = bytes[start + KIND_AT]!;
    this.bytes = bytes;
    this.bodyStart = start + HEADER_BYTES;
    this.bodyEnd = this.bodyStart + length;
    return FRAME;
  }

  #break(why: string): void {
    this.error = why;
    this.#own = NOTHING;
    this.#ownLength = 0;
    this.#at = this.#end;
  }

  /** Copies up to `size` bytes of the chunk to the end of `own`. */
  #pull(size: number): void {
    const taken = Math.min(size, this.#end - this.#at);
    if (taken === 0) return;
    const needed = this.#ownLength + taken;
    if (this.#own.length < needed) {
      const grown = new Uint8Array(Math.max(needed, 2 * this.#own.length, 256));
      grown.set(this.#own.subarray(0, this.#ownLength));
      this.#own = grown;
    }
    this.#own.set(this.#chunk.subarray(this.#at, this.#at + taken), this.#ownLength);
    this.#ownLength = needed;
    this.#at += taken;
  }
}

function uint32At(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0;
}
