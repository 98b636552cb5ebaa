/**
 * Values above the store's limit, in pieces.
 *
 *   user:42                       the manifest: an envelope that names a write, how many chunks it has, how long it is
 *   user:{user:42}#<write>/0      a chunk: the write again, its number, a piece of the value's own envelope
 *   user:{user:42}#<write>/1      ...
 *
 * Order is all there is to it. Chunks are written first, under names that no other write has; then the manifest, as any entry: with the lease of the
 * load, judged like any fill. So what may be served is decided by one key: a delete, an overwrite or an invalidation takes the manifest, and with it
 * the value, at once. A reader fetches the manifest, then the chunks, and puts together what all name the same write; one that is missing (evicted,
 * expired, invalidated), is of another write or damaged makes it a miss. The whole has its own checksum, and its encryption, inside.
 *
 * What the chunks of a replaced or refused write cost is memory until their TTL is over, a little longer than the manifest's; nobody reads them. Why not
 * one set of names a key, which the next write would reuse: while it writes, readers of the old manifest would find halves.
 *
 * A chunk has its key's namespace, so that clearing the namespace clears it, its tags for the same reason, and, where a hash tag can say so, its
 * key's slot: one shard has all of it or none. It cannot when the key holds a `}` that ends no hash tag, or is too long to be repeated.
 */
import {
  type Checksum,
  decodeEnvelope,
  type EnvelopeHeader,
  encodeEnvelope,
  payloadOf,
  utf8Length,
  type Wrapping,
} from '../../base/envelope.ts';
import { MAX_KEY_BYTES } from '../key.ts';

/** Data of one chunk, where the store takes as much: its reply goes out between those of other callers. */
export const CHUNK_BYTES = 1024 ** 2;
/** Longest value, in chunks: a larger one is not stored. */
export const MOST_CHUNKS = 64;
/** Chunks asked for at once. */
export const CHUNKS_A_READ = 8;
/** So much longer than the manifest, that this ends first. */
export const CHUNK_EXTRA_MS = 10_000;
/** Envelope, write and number in front of a chunk's data; rounded up. */
const CHUNK_OVERHEAD = 256;
const WRITE_BYTES = 16;

export interface Chunk {
  readonly key: string;
  readonly bytes: Uint8Array;
}

export interface Manifest {
  /** 16 bytes, base64url. */
  readonly write: string;
  readonly count: number;
  readonly totalBytes: number;
}

const NO_NONCE = new Uint8Array(0);

function wrappingAs(role: 'manifest' | 'chunk'): Wrapping {
  return { codecId: '', compression: 'none', plainBytes: 0, keyId: '', nonce: NO_NONCE, role };
}

/**
 * `whole` (an envelope) in pieces, and the manifest that names them; null when the store takes too little or the value is too long.
 *
 * @param write 16 random bytes
 * @param header of `whole`
 */
export function split(
  key: string,
  whole: Uint8Array,
  header: EnvelopeHeader,
  maxValueBytes: number,
  write: Uint8Array,
  checksum: Checksum,
): { readonly manifest: Uint8Array; readonly chunks: readonly Chunk[] } | null {
  const dataBytes = Math.min(CHUNK_BYTES, maxValueBytes - CHUNK_OVERHEAD);
  if (dataBytes < CHUNK_OVERHEAD) return null;
  const count = Math.ceil(whole.length / dataBytes);
  if (count > MOST_CHUNKS) return null;
  const name = Buffer.from(write).toString('base64url');
  const about: EnvelopeHeader = { ...header, codec: 'none', tags: [], wrapping: wrappingAs('chunk') };
  const chunks: Chunk[] = [];
  for (let index = 0; index < count; index += 1) {
    const data = whole.subarray(index * dataBytes, (index + 1) * dataBytes);
    const payload = new Uint8Array(WRITE_BYTES + 4 + data.length);
    payload.set(write);
    new DataView(payload.buffer).setUint32(WRITE_BYTES, index, true);
    payload.set(data, WRITE_BYTES + 4);
    chunks.push({ key: chunkKey(key, name, index), bytes: encodeEnvelope(about, payload, checksum) });
  }
  const payload = new Uint8Array(WRITE_BYTES + 8);
  payload.set(write);
  const view = new DataView(payload.buffer);
  view.setUint32(WRITE_BYTES, count, true);
  view.setUint32(WRITE_BYTES + 4, whole.length, true);
  const manifest = encodeEnvelope({ ...header, codec: 'none', wrapping: wrappingAs('manifest') }, payload, checksum);
  return manifest.length > maxValueBytes ? null : { manifest, chunks };
}

/** Null: none that this version writes. */
export function readManifest(payload: Uint8Array): Manifest | null {
  if (payload.length !== WRITE_BYTES + 8) return null;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const count = view.getUint32(WRITE_BYTES, true);
  const totalBytes = view.getUint32(WRITE_BYTES + 4, true);
  if (count < 1 || count > MOST_CHUNKS || totalBytes > MOST_CHUNKS * CHUNK_BYTES) return null;
  return { write: Buffer.from(payload.subarray(0, WRITE_BYTES)).toString('base64url'), count, totalBytes };
}

/** The data of chunk `index` of `manifest`'s write, or null when `bytes` is none of it. */
export function chunkData(bytes: Uint8Array, manifest: Manifest, index: number, checksum: Checksum): Uint8Array | null {
  const decoded = decodeEnvelope(bytes, checksum);
  if (decoded.kind !== 'envelope' || decoded.wrapping?.role !== 'chunk') return null;
  const payload = payloadOf(bytes, decoded);
  if (payload.length < WRITE_BYTES + 4) return null;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  if (view.getUint32(WRITE_BYTES, true) !== index) return null;
  if (Buffer.from(payload.subarray(0, WRITE_BYTES)).toString('base64url') !== manifest.write) return null;
  return payload.subarray(WRITE_BYTES + 4);
}

/** The value's envelope, or null when the pieces are not as long together as the manifest says. */
export function join(parts: readonly Uint8Array[], { totalBytes }: Manifest): Uint8Array | null {
  if (parts.reduce((sum, part) => sum + part.length, 0) !== totalBytes) return null;
  const whole = new Uint8Array(totalBytes);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Where chunk `index` of `write` of `key` stands: in the key's namespace, and in its slot where that can be said. */
export function chunkKey(key: string, write: string, index: number): string {
  const namespace = key.slice(0, key.indexOf(':') + 1);
  const suffix = `#${write}/${index}`;
  const tag = hashedPart(key);
  const together = tag === null ? null : `${namespace}{${tag}}${suffix}`;
  return together === null || utf8Length(together) > MAX_KEY_BYTES ? namespace + suffix : together;
}

/** What of `key` its slot is computed from, if it may stand between braces; else null. */
function hashedPart(key: string): string | null {
  const open = key.indexOf('{');
  const close = open === -1 ? -1 : key.indexOf('}', open + 1);
  if (close > open + 1) return key.slice(open + 1, close);
  return key.includes('}') ? null : key;
}
