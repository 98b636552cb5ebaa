/**
 * Hits of one read whose values lie in one piece of memory, as a reply brought them. To everybody a {@link PackedHit} is a {@link ReadHit}; who knows what it
 * is reads the value where it lies, and makes no view of it, which costs more than a short value's checksum, nor a text for each.
 */
import type { ReadHit } from './store.ts';

/** Up to here the whole of a pack is made text at once; a longer one would be in memory twice. */
const TEXT_BYTES = 64 * 1024;

const { latin1Slice } = Buffer.prototype as unknown as {
  readonly latin1Slice: (this: Uint8Array, start: number, end: number) => string;
};

export class HitPack {
  readonly bytes: Uint8Array;
  readonly #isShared: boolean;
  #text: string | null = null;

  /** @param isShared several hits lie in it */
  constructor(bytes: Uint8Array, isShared: boolean) {
    this.bytes = bytes;
    this.#isShared = isShared;
  }

  /** `bytes[start .. end)`, which are all ASCII, as text. */
  asciiText(start: number, end: number): string {
    const { bytes } = this;
    if (!this.#isShared || bytes.length > TEXT_BYTES) return latin1Slice.call(bytes, start, end);
    this.#text ??= latin1Slice.call(bytes, 0, bytes.length);
    return this.#text.substring(start, end);
  }
}

export class PackedHit implements ReadHit {
  readonly kind = 'hit';
  readonly pack: HitPack;
  /** Of the value. */
  readonly start: number;
  readonly end: number;
  readonly ttlMs: number | null;
  readonly version: number;

  constructor(pack: HitPack, start: number, end: number, ttlMs: number | null, version: number) {
    this.pack = pack;
    this.start = start;
    this.end = end;
    this.ttlMs = ttlMs;
    this.version = version;
  }

  get value(): Uint8Array {
    return this.pack.bytes.subarray(this.start, this.end);
  }
}
