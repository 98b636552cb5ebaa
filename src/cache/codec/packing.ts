/**
 * From a value's encoding to what the store keeps, and back: the order of the wrappings, in one place.
 *
 *   write   codec -> compress, when it is large enough and becomes smaller -> encrypt, when there are keys -> envelope with its seal -> chunks, when
 *           the store takes no value so large
 *   read    the same backwards; at each step that fails the entry is a miss, with its cause
 *
 * With neither compression nor encryption, which is the default, a value is what it ever was: text written once, straight into its envelope; nothing
 * here is a promise then. What takes long (large payloads through zlib or AES) or needs the store (chunks) is a promise, and the flight waits.
 *
 * With encryption on, entries that are not encrypted are misses too, text that others put there included: else whoever can write to the store could
 * have made them up.
 */
import { randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import {
  authenticatedHeader,
  type Compression,
  decodeEnvelope,
  decodeJson,
  type Envelope,
  type EnvelopeHeader,
  encodeEnvelope,
  layOutEnvelope,
  payloadOf,
  sealEnvelope,
  utf8Length,
  type Wrapping,
} from '../../base/envelope.ts';
import type { ReadHit, ReadResult } from '../../stores/store.ts';
import { type Entry, keptMs, type Lifetime } from '../entry.ts';
import { CHUNK_EXTRA_MS, CHUNKS_A_READ, type Chunk, chunkData, chunkKey, join, readManifest, split } from './chunks.ts';
import { type Algorithms, algorithmsOf, type CompressionSettings, compress, expand } from './compression.ts';
import { type Keyring, TAG_BYTES } from './encryption.ts';
import type { ValueCodec } from './value-codec.ts';

export interface PackingSettings {
  readonly codec: ValueCodec;
  /** null: payloads are stored as they are. */
  readonly compression: CompressionSettings | null;
  readonly keyring: Keyring | null;
}

/** What goes to the store: chunks first, then this. */
export interface Parcel {
  readonly bytes: Uint8Array;
  readonly chunks: readonly Chunk[];
}

/**
 * Why an entry of L2 is no answer. `format`: another version or codec, or compressed as this runtime cannot read; `key`: encrypted under a key that is
 * not here, or not encrypted where it must be; `chunks`: one is missing; `damaged`: all the rest.
 */
export interface Unreadable {
  readonly unreadable: string;
  readonly cause: 'format' | 'key' | 'chunks' | 'damaged';
}

/** Reads chunks; rejects when the store cannot say. */
export type ChunkReader = (keys: readonly string[]) => Promise<ReadResult[]>;

const NO_TAGS: readonly string[] = Object.freeze([]);
const NO_CHUNKS: readonly Chunk[] = Object.freeze([]);
const NOTHING = new Uint8Array(0);
const NO_NONCE = new Uint8Array(0);
const ALGORITHMS = algorithmsOf();

/** How long the store keeps the chunks of an entry. */
export function chunkTtlMs(lifetime: Lifetime): number {
  return keptMs(lifetime) + CHUNK_EXTRA_MS;
}

export class Packing {
  readonly codec: ValueCodec;
  /** Whether `PlainEntry` may read what L2 has: that reads JSON, and what is not encrypted. */
  readonly isPlain: boolean;
  readonly #compression: CompressionSettings | null;
  readonly #keyring: Keyring | null;
  readonly #maxValueBytes: number;
  readonly #algorithms: Algorithms;

  /** @param maxValueBytes what the store takes; `Infinity` = not known, nothing is chunked */
  constructor(settings: PackingSettings, maxValueBytes: number, algorithms: Algorithms = ALGORITHMS) {
    this.codec = settings.codec;
    this.#compression = settings.compression;
    this.#keyring = settings.keyring;
    this.#maxValueBytes = maxValueBytes;
    this.isPlain = settings.codec.kind === 'json' && settings.keyring === null;
    this.#algorithms = algorithms;
  }

  /** @param plain what the codec made of the value; null = known absent */
  pack(
    key: string,
    plain: string | Uint8Array | null,
    lifetime: Lifetime,
    tags: readonly string[],
    nowMs: number,
    validator = '',
  ): Parcel | Promise<Parcel> {
    const { codec } = this;
    const header: EnvelopeHeader = {
      codec: plain === null ? 'none' : codec.kind,
      absent: plain === null,
      storedAtMs: nowMs,
      freshMs: lifetime.ttlMs,
      keptMs: keptMs(lifetime),
      loadMicros: Math.round(lifetime.loadMs * 1000),
      tags,
      validator,
    };
    const small = this.#compress(plain);
    if (small instanceof Promise) return small.then((bytes) => this.#wrap(key, header, plain, bytes));
    return this.#wrap(key, header, plain, small);
  }

  /** Whether what L2 had is fresh, by its header: nothing is decoded, and what cannot be read is not. */
  isFresh(hit: ReadHit): boolean {
    const decoded = decodeEnvelope(hit.value, crc32);
    if (decoded.kind === 'unreadable') return false;
    if (decoded.kind === 'foreign') return this.#keyring === null && this.codec.kind === 'json';
    const { keptMs: kept, freshMs } = decoded;
    return kept === null || hit.ttlMs === null || freshMs === null || kept - hit.ttlMs < freshMs;
  }

  /**
   * Reads what L2 had. Bytes without an envelope (HTTP PUT, redis-cli) are read as JSON text by caches of that codec; they have no grace. The type is
   * the declaration's word: whoever writes other things under the cache's keys is checked by `schema`, not here.
   *
   * @param mostGraceMs this declaration's: an entry stored under a longer one is served no longer than this
   * @returns a promise only for what is large; it rejects only when `readChunks` does
   */
  open<T>(
    key: string,
    hit: ReadHit,
    mostGraceMs: number,
    readChunks: ChunkReader,
  ): Entry<T> | Unreadable | Promise<Entry<T> | Unreadable> {
    const decoded = decodeEnvelope(hit.value, crc32);
    if (decoded.kind === 'unreadable') return { unreadable: decoded.reason, cause: decoded.cause };
    if (decoded.kind === 'foreign') return this.#foreign(hit);
    const role = decoded.wrapping?.role ?? 'entry';
    if (role === 'chunk') return { unreadable: 'a chunk', cause: 'format' };
    if (role === 'manifest') {
      return this.#gather(key, payloadOf(hit.value, decoded), readChunks).then((whole) => {
        if ('unreadable' in whole) return whole;
        const inner = decodeEnvelope(whole.bytes, crc32);
        if (inner.kind === 'unreadable') return { unreadable: inner.reason, cause: inner.cause };
        if (inner.kind === 'foreign' || (inner.wrapping?.role ?? 'entry') !== 'entry') {
          return { unreadable: 'chunks of no entry', cause: 'damaged' };
        }
        return this.#unwrap<T>(key, hit, whole.bytes, inner, mostGraceMs);
      });
    }
    return this.#unwrap(key, hit, hit.value, decoded, mostGraceMs);
  }

  // -- writing

  /** The compressed payload, or null when it stays as it is. */
  #compress(plain: string | Uint8Array | null): Uint8Array | null | Promise<Uint8Array | null> {
    const settings = this.#compression;
    if (settings === null || plain === null) return null;
    const isText = typeof plain === 'string';
    // A character has at most three bytes: most short texts need not be measured.
    if (isText && plain.length * 3 < settings.thresholdBytes) return null;
    if ((isText ? utf8Length(plain) : plain.length) < settings.thresholdBytes) return null;
    const algorithm = this.#algorithms[settings.algorithm];
    return algorithm === null ? null : compress(isText ? Buffer.from(plain, 'utf8') : plain, algorithm);
  }

  #wrap(
    key: string,
    header: EnvelopeHeader,
    plain: string | Uint8Array | null,
    small: Uint8Array | null,
  ): Parcel | Promise<Parcel> {
    const payload = small ?? plain ?? NOTHING;
    const keyring = this.#keyring;
    const codecId = header.absent ? '' : this.codec.id;
    if (small === null && keyring === null && codecId === '') {
      return this.#parcel(key, header, encodeEnvelope(header, payload, crc32));
    }
    const compression: Compression = small === null ? 'none' : this.#compression!.algorithm;
    const plainBytes = small === null ? 0 : typeof plain === 'string' ? utf8Length(plain) : plain!.length;
    const nonce = keyring === null ? NO_NONCE : keyring.nonce();
    const wrapping: Wrapping = {
      codecId,
      compression,
      plainBytes,
      keyId: keyring === null ? '' : keyring.keyId,
      nonce,
      role: 'entry',
    };
    const wrapped = { ...header, wrapping };
    if (keyring === null) return this.#parcel(key, wrapped, encodeEnvelope(wrapped, payload, crc32));
    const bytes = typeof payload === 'string' ? Buffer.from(payload, 'utf8') : payload;
    const { bytes: whole, payloadAt } = layOutEnvelope(wrapped, bytes.length + TAG_BYTES);
    const authenticated = authenticatedHeader(key, whole, payloadAt);
    const done = (): Parcel => {
      sealEnvelope(whole, crc32);
      return this.#parcel(key, wrapped, whole);
    };
    const encrypting = keyring.encrypt(bytes, nonce, authenticated, whole.subarray(payloadAt));
    return encrypting === undefined ? done() : encrypting.then(done);
  }

  #parcel(key: string, header: EnvelopeHeader, whole: Uint8Array): Parcel {
    if (whole.length <= this.#maxValueBytes) return { bytes: whole, chunks: NO_CHUNKS };
    const cut = split(key, whole, header, this.#maxValueBytes, randomBytes(16), crc32);
    // Too long even so: the store refuses it, with its own words.
    return cut === null ? { bytes: whole, chunks: NO_CHUNKS } : { bytes: cut.manifest, chunks: cut.chunks };
  }

  // -- reading

  #foreign<T>(hit: ReadHit): Entry<T> | Unreadable {
    if (this.#keyring !== null) return { unreadable: 'not encrypted', cause: 'key' };
    if (this.codec.kind !== 'json') return { unreadable: `not of the codec ${this.codec.kind}`, cause: 'format' };
    const value = decodeJson(hit.value);
    if (value === undefined) return { unreadable: 'not JSON', cause: 'format' };
    const ttlMs = hit.ttlMs ?? Number.POSITIVE_INFINITY;
    return {
      value: value as T | null,
      tags: NO_TAGS,
      ageMs: 0,
      ttlMs,
      graceMs: 0,
      loadMs: 0,
      version: hit.version,
      encodedBytes: hit.value.length,
    };
  }

  async #gather(
    key: string,
    payload: Uint8Array,
    readChunks: ChunkReader,
  ): Promise<{ readonly bytes: Uint8Array } | Unreadable> {
    const manifest = readManifest(payload);
    if (manifest === null) return { unreadable: 'manifest', cause: 'damaged' };
    const parts: Uint8Array[] = [];
    while (parts.length < manifest.count) {
      const keys: string[] = [];
      const most = Math.min(manifest.count - parts.length, CHUNKS_A_READ);
      for (let i = 0; i < most; i += 1) keys.push(chunkKey(key, manifest.write, parts.length + i));
      for (const result of await readChunks(keys)) {
        const data = result.kind === 'hit' ? chunkData(result.value, manifest, parts.length, crc32) : null;
        if (data === null) return { unreadable: `chunk ${parts.length} of ${manifest.count}`, cause: 'chunks' };
        parts.push(data);
      }
    }
    const bytes = join(parts, manifest);
    return bytes === null ? { unreadable: 'chunks of another length', cause: 'chunks' } : { bytes };
  }

  #unwrap<T>(
    key: string,
    hit: ReadHit,
    whole: Uint8Array,
    envelope: Envelope,
    mostGraceMs: number,
  ): Entry<T> | Unreadable | Promise<Entry<T> | Unreadable> {
    const wrapping = envelope.wrapping;
    const keyring = this.#keyring;
    if (wrapping === null && keyring === null)
      return this.#entry(hit, envelope, whole, envelope.payloadAt, mostGraceMs);
    const keyId = wrapping?.keyId ?? '';
    if (keyId === '') {
      if (keyring !== null) return { unreadable: 'not encrypted', cause: 'key' };
      return this.#expand(hit, envelope, whole, envelope.payloadAt, mostGraceMs);
    }
    if (keyring === null || !keyring.has(keyId)) return { unreadable: `key "${keyId}"`, cause: 'key' };
    const authenticated = authenticatedHeader(key, whole, envelope.payloadAt);
    const opened = (plain: Uint8Array | null): Entry<T> | Unreadable | Promise<Entry<T> | Unreadable> =>
      plain === null
        ? { unreadable: 'not what was encrypted for this key', cause: 'damaged' }
        : this.#expand(hit, envelope, plain, 0, mostGraceMs);
    const decrypting = keyring.decrypt(keyId, payloadOf(whole, envelope), wrapping!.nonce, authenticated);
    return decrypting instanceof Promise ? decrypting.then(opened) : opened(decrypting);
  }

  /** @param bytes what was encoded, from `start` on, but for its compression */
  #expand<T>(
    hit: ReadHit,
    envelope: Envelope,
    bytes: Uint8Array,
    start: number,
    mostGraceMs: number,
  ): Entry<T> | Unreadable | Promise<Entry<T> | Unreadable> {
    const compression = envelope.wrapping?.compression ?? 'none';
    if (compression === 'none') return this.#entry(hit, envelope, bytes, start, mostGraceMs);
    const algorithm = this.#algorithms[compression];
    if (algorithm === null) return { unreadable: `${compression}, which this runtime does not have`, cause: 'format' };
    const expanded = (plain: Uint8Array | null): Entry<T> | Unreadable =>
      plain === null
        ? { unreadable: 'not what was compressed', cause: 'damaged' }
        : this.#entry(hit, envelope, plain, 0, mostGraceMs);
    const expanding = expand(start === 0 ? bytes : bytes.subarray(start), envelope.wrapping!.plainBytes, algorithm);
    return expanding instanceof Promise ? expanding.then(expanded) : expanded(expanding);
  }

  #entry<T>(
    hit: ReadHit,
    envelope: Envelope,
    bytes: Uint8Array,
    start: number,
    mostGraceMs: number,
  ): Entry<T> | Unreadable {
    const { codec } = this;
    const { tags, keptMs: kept, absent } = envelope;
    if (!absent && (envelope.codec !== codec.kind || (envelope.wrapping?.codecId ?? '') !== codec.id)) {
      return { unreadable: `codec ${envelope.wrapping?.codecId || envelope.codec}`, cause: 'format' };
    }
    // By the store's clock alone: how long it was given, less what is left.
    const ageMs = kept === null || hit.ttlMs === null ? 0 : Math.max(0, kept - hit.ttlMs);
    const ttlMs = envelope.freshMs ?? Number.POSITIVE_INFINITY;
    const graceMs = absent || kept === null ? 0 : Math.max(0, Math.min(kept - ttlMs, mostGraceMs));
    const loadMs = envelope.loadMicros / 1000;
    const value = absent ? null : codec.decode(bytes, start);
    if (value === undefined) return { unreadable: `the payload is not ${codec.id || codec.kind}`, cause: 'damaged' };
    const encodedBytes = bytes.length - start;
    const entry = { value: value as T | null, tags, ageMs, ttlMs, graceMs, loadMs, version: hit.version, encodedBytes };
    return envelope.validator === '' ? entry : { ...entry, validator: envelope.validator };
  }
}
