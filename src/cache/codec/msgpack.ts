/**
 * MessagePack, by msgpackr: smaller than JSON, and `Date`, `bigint`, `Uint8Array`, `Map`, `Set`, `NaN` and `undefined` members come back as they were.
 *
 * The package is loaded when the first cache says `codec: 'msgpack'`, and not with the library.
 *
 * What msgpackr would bend in silence is refused with its path, when it is written: functions (they become undefined), instances of classes (plain
 * objects), lone surrogates in text (U+FFFD), a member named `__proto__` (renamed), Errors and regular expressions. `-0` becomes 0 and a hole in an
 * array `undefined`, as in JSON or better. Each entry is self-contained: no structures are shared between entries, so that any reader reads any of them.
 */

import { createRequire } from 'node:module';
import { isUntouchable } from '../../base/errors.ts';
import { heapBytes as jsonHeapBytes, stringBytes } from '../heap-bytes.ts';
import { unserialisable, type ValueCodec } from './value-codec.ts';

/** The part of msgpackr that is used. */
interface Packr {
  pack(value: unknown): Uint8Array;
  unpack(bytes: Uint8Array): unknown;
}

/** As for JSON: what is passed on by recursion stays far from the end of the stack. It also finds cycles. */
const MAX_DEPTH = 1_000;

const LONE_SURROGATE = /\p{Surrogate}/u;

let codec: ValueCodec | null = null;

export function msgpackCodec(): ValueCodec {
  codec ??= newCodec();
  return codec;
}

function newCodec(): ValueCodec {
  const { Packr } = createRequire(import.meta.url)('msgpackr') as {
    readonly Packr: new (options: Readonly<Record<string, boolean>>) => Packr;
  };
  const packr = new Packr({
    // Objects as records, so that a Map stays a Map.
    useRecords: true,
    mapsAsObjects: false,
    // Set, typed arrays.
    moreTypes: true,
    useBigIntExtension: true,
    // Views into an entry would keep all of it alive.
    copyBuffers: true,
  });
  const decode = (bytes: Uint8Array, start: number): unknown => {
    try {
      return packr.unpack(bytes.subarray(start));
    } catch {
      return undefined;
    }
  };
  return {
    kind: 'msgpack',
    id: '',
    encode: (value, what) => {
      if (value === undefined) throw unserialisable(what, 'it is undefined');
      const loss = findLoss(value, 'value', 0);
      if (loss !== null) throw unserialisable(what, loss);
      // Copied: what it returns is a view into a buffer that it goes on filling.
      const plain = packr.pack(value).slice();
      return { plain, value: packr.unpack(plain) };
    },
    decode,
    freeze,
    heapBytes: (value) => heapBytes(value),
  };
}

/** What msgpackr would lose: a sentence with the path, or null. */
function findLoss(value: unknown, path: string, depth: number): string | null {
  switch (typeof value) {
    case 'string':
      return LONE_SURROGATE.test(value) ? `${path} has a lone surrogate, which no UTF-8 can carry` : null;
    case 'function':
    case 'symbol':
      return `${path} is a ${typeof value}, which msgpack drops`;
    case 'object':
      break;
    default:
      return null;
  }
  if (value === null) return null;
  if (depth >= MAX_DEPTH) return `it is nested more than ${MAX_DEPTH} levels deep, or refers to itself`;
  if (isUntouchable(value)) return `${path} is a Proxy that was revoked`;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i += 1) {
      const loss = findLoss(value[i], `${path}[${i}]`, depth + 1);
      if (loss !== null) return loss;
    }
    return null;
  }
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? `${path} is an invalid Date` : null;
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return null;
  if (value instanceof Map) {
    for (const [key, member] of value) {
      const loss = findLoss(key, `a key of ${path}`, depth + 1) ?? findLoss(member, `${path}.get(...)`, depth + 1);
      if (loss !== null) return loss;
    }
    return null;
  }
  if (value instanceof Set) {
    for (const member of value) {
      const loss = findLoss(member, `a member of ${path}`, depth + 1);
      if (loss !== null) return loss;
    }
    return null;
  }
  if (value instanceof Promise) return `${path} is a Promise: await it`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== Object.prototype) {
    return `${path} is an instance of ${value.constructor?.name || 'a class'}, of which msgpack keeps a plain object only`;
  }
  for (const name of Object.keys(value)) {
    if (name === '__proto__') return `${path} has a member named __proto__`;
    if (LONE_SURROGATE.test(name)) return `a name in ${path} has a lone surrogate`;
    const loss = findLoss((value as Record<string, unknown>)[name], `${path}.${name}`, depth + 1);
    if (loss !== null) return loss;
  }
  return null;
}

/** Plain objects and arrays. The contents of a Date, Map, Set or typed array cannot be frozen. */
function freeze(value: unknown): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  if (value instanceof Map) for (const [key, member] of value) [key, member].forEach(freeze);
  else if (value instanceof Set) value.forEach(freeze);
  else if (!(value instanceof Date || value instanceof ArrayBuffer)) Object.values(value).forEach(freeze);
  Object.freeze(value);
}

/** As in heap-bytes.ts, and an estimate for the types that msgpack has beyond JSON's. */
function heapBytes(value: unknown): number {
  if (typeof value === 'bigint') return 32;
  if (typeof value === 'string') return stringBytes(value);
  if (typeof value !== 'object' || value === null) return jsonHeapBytes(value);
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return 200 + value.byteLength;
  if (value instanceof Date) return 96;
  let bytes = 24;
  if (value instanceof Map) {
    bytes += 200;
    for (const [key, member] of value) bytes += 40 + heapBytes(key) + heapBytes(member);
  } else if (value instanceof Set) {
    bytes += 200;
    for (const member of value) bytes += 32 + heapBytes(member);
  } else if (Array.isArray(value)) {
    bytes += 24;
    for (const member of value) bytes += 8 + heapBytes(member);
  } else {
    for (const member of Object.values(value)) bytes += 8 + heapBytes(member);
  }
  return bytes;
}
