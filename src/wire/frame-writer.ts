/** Appends frames to one growable buffer: a tick's frames to a member leave in one write. */
import { assert } from '../base/assert.ts';
import { tableCrc32 } from '../base/crc32.ts';
import { BodyWriter } from './body.ts';
import { HEADER_BYTES, KIND_AT, LENGTH_AT, MAGIC, MAX_BODY_BYTES, SUM_AT, VERSION_AT, WIRE_VERSION } from './frame.ts';

/** `take()` gives the buffer away; a new one begins small again. */
const INITIAL_BYTES = 4096;
/** `reset()` keeps a buffer of at most so many bytes: one burst is not remembered by every link. */
const RETAINED_BYTES = 64 * 1024;

export class FrameWriter {
  #body = new BodyWriter(INITIAL_BYTES);

  /** Bytes written and not taken yet. */
  get length(): number {
    return this.#body.length;
  }

  /** One frame; `write` appends its body. A body above the largest size is a bug of ours: whoever makes messages cuts them. */
  frame(kind: number, write: (out: BodyWriter) => void, version: number = WIRE_VERSION): void {
    const out = this.#body;
    const start = out.length;
    out.reserve(HEADER_BYTES);
    out.length += HEADER_BYTES;
    out.beginBody();
    write(out);
    const length = out.length - start - HEADER_BYTES;
    assert(length <= MAX_BODY_BYTES, 'a frame is not larger than its reader takes');
    const { bytes } = out;
    bytes[start] = MAGIC >>> 8;
    bytes[start + 1] = MAGIC & 0xff;
    bytes[start + VERSION_AT] = version;
    bytes[start + KIND_AT] = kind;
    putUint32(bytes, start + LENGTH_AT, length);
    putUint32(bytes, start + SUM_AT, sumOf(bytes, start, length));
  }

  /** What was written and not taken, still the writer's: written over after `reset`. */
  get bytes(): Uint8Array {
    return this.#body.bytes.subarray(0, this.#body.length);
  }

  /** Begins again in the same buffer: what was written is where it had to go. */
  reset(): void {
    if (this.#body.bytes.length > RETAINED_BYTES) this.#body = new BodyWriter(INITIAL_BYTES);
    else this.#body.length = 0;
  }

  /** What was written, given away. */
  take(): Uint8Array {
    const taken = this.#body.bytes.subarray(0, this.#body.length);
    this.#body = new BodyWriter(INITIAL_BYTES);
    return taken;
  }
}

/** The sum of the frame at `start`: of its header without magic and sum, and of its body. */
export function sumOf(bytes: Uint8Array, start: number, length: number): number {
  const head = tableCrc32(bytes, start + VERSION_AT, start + SUM_AT);
  return tableCrc32(bytes, start + HEADER_BYTES, start + HEADER_BYTES + length, head);
}

function putUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
