/**
 * Encryption of payloads: AES-256-GCM, so that whoever reads the store, its disk or the wire sees keys, tags, sizes and times, and no value.
 *
 * Authenticated with it: the full key and the header. An entry that somebody copied to another key, whose lifetime was changed, that was made up or has one
 * wrong bit, is a miss. An *older* entry of the same key put back by somebody who can write to the store is not noticed: no cipher can, the
 * generations of the store can.
 *
 * Keys rotate: the first of the list encrypts, all decrypt. So a new key is first appended in every process, then moved to the front, and the old one
 * is dropped when its last entries have expired. An entry under a key that a process does not have is a miss, counted.
 *
 * Nonces are 96 random bits: rotate a key before it has encrypted 2^32 entries (NIST SP 800-38D, 8.3), which is 49 days at 1,000 a second.
 * Large payloads are encrypted in the thread pool (Web Crypto makes the same bytes).
 */
import {
  createCipheriv,
  createDecipheriv,
  createSecretKey,
  type KeyObject,
  randomFillSync,
  webcrypto,
} from 'node:crypto';
import { NONCE_BYTES } from '../../base/envelope.ts';
import { checkNames, invalid } from '../checks.ts';
import { ID_PATTERN } from './value-codec.ts';

export interface EncryptionKey {
  /** Written into entries. 1 to 32 characters of `A-Z a-z 0-9 . _ -`; it must never name another key. */
  readonly id: string;
  /** 32 random bytes: as they are, or as base64 (44 characters) or hex (64). */
  readonly key: Uint8Array | string;
}

export interface EncryptionOptions {
  /** The first encrypts, all decrypt. At least one. */
  readonly keys: readonly EncryptionKey[];
}

export const TAG_BYTES = 16;
const KEY_BYTES = 32;
/** About a millisecond of AES on one core; above, the thread pool does it. */
const ASYNC_BYTES = 1024 ** 2;
const MOST_KEYS = 64;
const NONCES_AT_ONCE = 256;

interface RingKey {
  readonly id: string;
  readonly key: KeyObject;
  subtle: Promise<webcrypto.CryptoKey> | null;
}

/** The keys of one cache. */
export class Keyring {
  readonly #keys: ReadonlyMap<string, RingKey>;
  readonly #first: RingKey;
  readonly #nonces = new Uint8Array(NONCE_BYTES * NONCES_AT_ONCE);
  #nonceAt = NONCE_BYTES * NONCES_AT_ONCE;

  /** @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`; no message shows a key */
  constructor(options: EncryptionOptions, where: string) {
    checkNames(options, ['keys'], `encryption of ${where}`);
    const list: unknown = options.keys;
    if (!Array.isArray(list) || list.length === 0 || list.length > MOST_KEYS) {
      throw invalid(`encryption.keys of ${where}`, `1 to ${MOST_KEYS} of { id, key }`, describeList(list));
    }
    const keys = new Map<string, RingKey>();
    for (const one of list as readonly unknown[]) {
      checkNames(one, ['id', 'key'], `a key of encryption of ${where}`);
      const { id, key } = one as Record<string, unknown>;
      if (typeof id !== 'string' || !ID_PATTERN.test(id)) {
        throw invalid(`an encryption key's id of ${where}`, '1 to 32 of A-Z a-z 0-9 . _ -', id);
      }
      if (keys.has(id)) throw invalid(`encryption.keys of ${where}`, 'each id once', id);
      const bytes = keyBytesOf(key);
      if (bytes === null) {
        throw invalid(`encryption key "${id}" of ${where}`, '32 bytes, as such or as base64 or hex', 'something else');
      }
      keys.set(id, { id, key: createSecretKey(bytes), subtle: null });
    }
    this.#keys = keys;
    this.#first = keys.values().next().value!;
  }

  /** The id of the key that encrypts. */
  get keyId(): string {
    return this.#first.id;
  }

  has(keyId: string): boolean {
    return this.#keys.has(keyId);
  }

  /** Twelve random bytes that nobody has had. */
  nonce(): Uint8Array {
    if (this.#nonceAt === this.#nonces.length) {
      randomFillSync(this.#nonces);
      this.#nonceAt = 0;
    }
    this.#nonceAt += NONCE_BYTES;
    return this.#nonces.slice(this.#nonceAt - NONCE_BYTES, this.#nonceAt);
  }

  /** Writes ciphertext and tag ({@link TAG_BYTES} more than the plain text) into `into`. A promise for large ones. */
  encrypt(plain: Uint8Array, nonce: Uint8Array, header: Uint8Array, into: Uint8Array): undefined | Promise<void> {
    const { key } = this.#first;
    if (plain.length >= ASYNC_BYTES) {
      return subtleKey(this.#first)
        .then((subtle) => webcrypto.subtle.encrypt(algorithm(nonce, header), subtle, plain))
        .then((sealed) => into.set(new Uint8Array(sealed)));
    }
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    cipher.setAAD(header);
    into.set(cipher.update(plain));
    cipher.final();
    into.set(cipher.getAuthTag(), plain.length);
    return undefined;
  }

  /** The plain text, or null: not what this key encrypted for this header. Never throws or rejects. */
  decrypt(
    keyId: string,
    sealed: Uint8Array,
    nonce: Uint8Array,
    header: Uint8Array,
  ): Uint8Array | null | Promise<Uint8Array | null> {
    const ringKey = this.#keys.get(keyId);
    if (ringKey === undefined || sealed.length < TAG_BYTES) return null;
    if (sealed.length >= ASYNC_BYTES) {
      return subtleKey(ringKey)
        .then((subtle) => webcrypto.subtle.decrypt(algorithm(nonce, header), subtle, sealed))
        .then(
          (plain) => new Uint8Array(plain),
          () => null,
        );
    }
    try {
      const decipher = createDecipheriv('aes-256-gcm', ringKey.key, nonce, { authTagLength: TAG_BYTES });
      decipher.setAAD(header);
      decipher.setAuthTag(sealed.subarray(sealed.length - TAG_BYTES));
      const plain = decipher.update(sealed.subarray(0, sealed.length - TAG_BYTES));
      // Throws when the tag is wrong; what update gave is not looked at before.
      decipher.final();
      return plain;
    } catch {
      return null;
    }
  }
}

function algorithm(iv: Uint8Array, additionalData: Uint8Array): webcrypto.AesGcmParams {
  return { name: 'AES-GCM', iv, additionalData, tagLength: TAG_BYTES * 8 };
}

function subtleKey(ringKey: RingKey): Promise<webcrypto.CryptoKey> {
  ringKey.subtle ??= webcrypto.subtle.importKey('raw', ringKey.key.export(), 'AES-GCM', false, ['encrypt', 'decrypt']);
  return ringKey.subtle;
}

function keyBytesOf(key: unknown): Buffer | null {
  if (key instanceof Uint8Array) return key.length === KEY_BYTES ? Buffer.from(key) : null;
  if (typeof key !== 'string') return null;
  if (/^[0-9a-f]{64}$/i.test(key)) return Buffer.from(key, 'hex');
  return /^[A-Za-z0-9+/_-]{43}=?$/.test(key) ? Buffer.from(key, 'base64') : null;
}

function describeList(list: unknown): unknown {
  return Array.isArray(list) ? `${list.length} keys` : list;
}
