/**
 * Codecs: a value to bytes and back. Which one a cache uses is part of what its answers *are*: JSON turns a `Date` into text, msgpack keeps it.
 *
 * Every answer of a cache has been through its codec, the one that was just loaded too: a value that is a Date on the first call and text on the
 * second is a bug that shows on the second day. So encoding gives two things: the bytes for L2, and the value that those bytes decode to.
 *
 * An entry that another codec wrote is a miss, never converted: what it decodes to would be another value than the declaration's type says.
 */
import { type EnvelopeCodec, MAX_ID_BYTES } from '../../base/envelope.ts';
import { BreakwaterError } from '../../base/errors.ts';

/**
 * A codec of your own: protobuf, Avro, MessagePack with extensions ... Answers are what `decode` makes of `encode`'s bytes; both must give the same
 * for the same argument, and share nothing with it.
 *
 * @typeParam V what loaders bring
 * @typeParam A what callers get
 */
export interface Codec<V = unknown, A = V> {
  /**
   * Written into every entry; what carries another id is a miss. Change it with the encoding (`user-proto-2`). 1 to 32 characters of
   * `A-Z a-z 0-9 . _ -`.
   */
  readonly id: string;
  /** What it throws becomes `CACHE_VALUE_UNSERIALISABLE`. */
  encode(value: V): Uint8Array;
  /** What it throws makes the entry a miss. */
  decode(bytes: Uint8Array): A;
}

/** A value as bytes (or, for JSON, as text that becomes bytes in its envelope), and what those bytes decode to. */
export interface Encoded {
  readonly plain: string | Uint8Array;
  readonly value: unknown;
}

/** A codec as the cache uses it. */
export interface ValueCodec {
  readonly kind: EnvelopeCodec;
  /** Of the user's own codec; otherwise empty. */
  readonly id: string;
  /** @param what names the value in the error @throws BreakwaterError `CACHE_VALUE_UNSERIALISABLE` */
  encode(value: unknown, what: string): Encoded;
  /** What is encoded in `bytes` from `start` on. `undefined`: cannot be read. Never throws. */
  decode(bytes: Uint8Array, start: number): unknown;
  /** In development, what L1 shares between callers. */
  freeze(value: unknown): void;
  /** An estimate of what `value` takes on the heap, from itself or from its encoded length. */
  heapBytes(value: unknown, encodedBytes: number): number;
}

export const ID_PATTERN = new RegExp(`^[A-Za-z0-9._-]{1,${MAX_ID_BYTES}}$`);

export function unserialisable(what: string, why: string, cause?: unknown): BreakwaterError {
  const message = `cannot cache ${what}: ${why}`;
  return new BreakwaterError('CACHE_VALUE_UNSERIALISABLE', message, cause === undefined ? undefined : { cause });
}
