/**
 * Values over HTTP: what bytes of the cache look like as JSON, and the other way round, without ever changing a digit.
 *
 * The trap: `JSON.parse` turns 12345678901234567890 into 12345678901234567000. A cache that shows, or worse stores, a rounded
 * id has answered wrongly. So values pass through as *text*: PUT stores exactly the characters that stood behind `"value":`, and GET
 * splices the stored text into its answer. `JSON.parse` only judges whether a text is JSON; its result is thrown away.
 *
 * How bytes are shown
 *   written by the library (envelope)  the value inside; a remembered "no such row" shows as absent. In another codec than JSON: its bytes in base64.
 *                                      Encrypted, or compressed as is not undone here: the entry as it is stored, in base64. In chunks: not at all,
 *                                      and the answer says so with a code (VALUE_NOT_SHOWN)
 *   UTF-8 and JSON                     as that JSON
 *   other UTF-8                        as a JSON string
 *   anything else                      base64, marked `"encoding":"base64"`
 */
import { crc32, inflateRawSync } from 'node:zlib';
import { decodeEnvelope, type Envelope, payloadOf } from '../base/envelope.ts';
import { decodeText } from '../http/request.ts';

/** A value ready to be spliced into a JSON text. */
export interface ShownValue {
  readonly kind: 'value';
  /** A complete JSON text. */
  readonly json: string;
  /** True when `json` is a string of base64. */
  readonly base64: boolean;
  /** The value's own bytes, without the library's envelope. */
  readonly plain: Uint8Array;
}

/** What stored bytes say: a value, or that the library stored no value (`absent`) or one that this version cannot read. */
export type Shown = ShownValue | { readonly kind: 'absent' } | { readonly kind: 'unreadable'; readonly reason: string };

/** What the bytes of an entry mean to a reader over HTTP. O(bytes). */
export function showValue(bytes: Uint8Array): Shown {
  const decoded = decodeEnvelope(bytes, crc32);
  if (decoded.kind === 'unreadable') return { kind: 'unreadable', reason: decoded.reason };
  if (decoded.kind === 'foreign') return showPlain(bytes);
  const { wrapping } = decoded;
  if (wrapping !== null && wrapping.role !== 'entry')
    return {
      kind: 'unreadable',
      reason: wrapping.role === 'chunk' ? 'it is one chunk of a value' : 'its value is in chunks under other keys',
    };
  if (decoded.absent) return { kind: 'absent' };
  const payload = plainOf(payloadOf(bytes, decoded), decoded);
  if (payload === null) return showBase64(bytes);
  return decoded.codec === 'json' ? showPlain(payload) : showBase64(payload);
}

/** As it was encoded; null when it is encrypted, damaged, or would take the event loop too long. */
function plainOf(payload: Uint8Array, { wrapping }: Envelope): Uint8Array | null {
  if (wrapping === null) return payload;
  const { keyId, compression, plainBytes } = wrapping;
  if (keyId !== '') return null;
  if (compression === 'none') return payload;
  if (compression !== 'deflate' || plainBytes > MOST_INFLATED_BYTES) return null;
  try {
    const plain = inflateRawSync(payload, { maxOutputLength: plainBytes });
    return plain.length === plainBytes ? plain : null;
  } catch {
    return null;
  }
}

/** About two milliseconds. */
const MOST_INFLATED_BYTES = 1024 ** 2;

function showBase64(bytes: Uint8Array): ShownValue {
  const base64 = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64');
  return { kind: 'value', json: `"${base64}"`, base64: true, plain: bytes };
}

function showPlain(bytes: Uint8Array): ShownValue {
  const text = decodeText(bytes);
  if (text === null) return showBase64(bytes);
  return { kind: 'value', json: isJson(text) ? text.trim() : JSON.stringify(text), base64: false, plain: bytes };
}

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
