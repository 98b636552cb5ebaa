/**
 * The option `codec` as a codec: JSON, msgpack, or the user's own with its errors made ours.
 */
import { decodeJson, MAX_ID_BYTES } from '../../base/envelope.ts';
import { messageOf } from '../../base/errors.ts';
import { invalid } from '../checks.ts';
import { deepFreeze, toJson } from '../codec.ts';
import { heapBytes } from '../heap-bytes.ts';
import { msgpackCodec } from './msgpack.ts';
import { type Codec, ID_PATTERN, unserialisable, type ValueCodec } from './value-codec.ts';

export const JSON_CODEC: ValueCodec = {
  kind: 'json',
  id: '',
  encode: (value, what) => {
    const plain = toJson(value, what);
    return { plain, value: JSON.parse(plain) as unknown };
  },
  decode: decodeJson,
  freeze: deepFreeze,
  heapBytes: (value) => heapBytes(value),
};

/** @throws BreakwaterError `CACHE_OPTION_INVALID` */
export function codecOf(choice: unknown, where: string): ValueCodec {
  if (choice === undefined || choice === 'json') return JSON_CODEC;
  if (choice === 'msgpack') return msgpackCodec();
  if (!isCodec(choice)) {
    throw invalid(
      `codec of ${where}`,
      `'json', 'msgpack' or an object { id, encode, decode } whose id is 1 to ${MAX_ID_BYTES} of A-Z a-z 0-9 . _ -`,
      choice,
    );
  }
  return customCodec(choice);
}

function isCodec(choice: unknown): choice is Codec {
  if (typeof choice !== 'object' || choice === null) return false;
  const { id, encode, decode } = choice as Record<string, unknown>;
  return typeof id === 'string' && ID_PATTERN.test(id) && typeof encode === 'function' && typeof decode === 'function';
}

function customCodec(codec: Codec): ValueCodec {
  const decode = (bytes: Uint8Array, start: number): unknown => {
    try {
      // A copy: what it makes may keep a view, and these bytes may be those of a whole batch.
      return codec.decode(new Uint8Array(bytes.subarray(start)));
    } catch {
      return undefined;
    }
  };
  return {
    kind: 'custom',
    id: codec.id,
    encode: (value, what) => {
      let plain: unknown;
      try {
        plain = codec.encode(value);
      } catch (error) {
        throw unserialisable(what, `codec "${codec.id}" says: ${messageOf(error)}`, error);
      }
      if (!(plain instanceof Uint8Array)) throw unserialisable(what, `codec "${codec.id}" made no Uint8Array of it`);
      const again = decode(plain.slice(), 0);
      if (again === undefined) throw unserialisable(what, `codec "${codec.id}" cannot read what it wrote`);
      return { plain, value: again };
    },
    decode,
    // What it decodes to is its own affair: class instances, lazily read messages, cycles.
    freeze: () => undefined,
    heapBytes: (_value, encodedBytes) => CUSTOM_OVERHEAD + CUSTOM_FACTOR * encodedBytes,
  };
}

/** The shape of a foreign codec's values is not known: a few objects, and the bytes twice (text takes up to two bytes a character). */
const CUSTOM_OVERHEAD = 128;
const CUSTOM_FACTOR = 2;
