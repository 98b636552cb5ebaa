/**
 * The options `codec`, `compression` and `encryption`, checked.
 */
import { parseSizeBytes } from '../../base/units.ts';
import { checkNames, invalid } from '../checks.ts';
import { codecOf } from './codecs.ts';
import { algorithmsOf } from './compression.ts';
import { type EncryptionOptions, Keyring } from './encryption.ts';
import type { PackingSettings } from './packing.ts';
import type { Codec } from './value-codec.ts';

export interface CompressionOptions {
  /** Payloads of at least so many bytes are compressed, and stored so when that saves an eighth. Default `"1kb"`. */
  readonly threshold?: number | string;
  /**
   * Default `'auto'`: zstd where the runtime has it (Node.js 22.15 and later), else deflate. Both are read wherever they can be; say `'deflate'`
   * while some processes run on an older Node.js, to which zstd entries are misses.
   */
  readonly algorithm?: 'auto' | 'zstd' | 'deflate';
}

/** The part of a cache's options that says how its values become bytes. */
export interface PackingOptions {
  /**
   * `'json'` (default); `'msgpack'`, which keeps `Date`, `bigint`, `Uint8Array`, `Map` and `Set`; or one of your own. All processes must say the
   * same: what another codec wrote is a miss.
   */
  // biome-ignore lint/suspicious/noExplicitAny: codecs of any type; the declaration's overloads hold them to the cache's
  readonly codec?: 'json' | 'msgpack' | Codec<any, any>;
  /** Default false: none. `{}` for the defaults. */
  readonly compression?: CompressionOptions | false;
  /**
   * AES-256-GCM under the first of the keys; all of them decrypt. What is not encrypted, or under another key, is a miss. Keys and tags of entries
   * are not encrypted. Default false: none.
   */
  readonly encryption?: EncryptionOptions | false;
}

export const PACKING = ['codec', 'compression', 'encryption'] as const;
const DEFAULT_THRESHOLD = '1kb';
const ALGORITHMS = ['auto', 'zstd', 'deflate'] as const;

/** @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `SIZE_INVALID` */
export function packingSettings(own: PackingOptions, defaults: PackingOptions, where: string): PackingSettings {
  const encryption = own.encryption ?? defaults.encryption ?? false;
  return {
    codec: codecOf(own.codec ?? defaults.codec, where),
    compression: compressionSettings(own.compression ?? defaults.compression ?? false, where),
    keyring: encryption === false ? null : new Keyring(encryption, where),
  };
}

function compressionSettings(options: CompressionOptions | false, where: string): PackingSettings['compression'] {
  if (options === false) return null;
  checkNames(options, ['threshold', 'algorithm'], `compression of ${where}`);
  const { threshold = DEFAULT_THRESHOLD, algorithm = 'auto' } = options;
  if (typeof threshold !== 'number' && typeof threshold !== 'string') {
    throw invalid(`compression.threshold of ${where}`, 'a size', threshold);
  }
  if (!ALGORITHMS.includes(algorithm)) {
    throw invalid(`compression.algorithm of ${where}`, `one of ${ALGORITHMS.join(', ')}`, algorithm);
  }
  const hasZstd = algorithmsOf().zstd !== null;
  if (algorithm === 'zstd' && !hasZstd) {
    throw invalid(
      `compression.algorithm of ${where}`,
      `deflate on this runtime (zstd needs Node.js 22.15, this is ${process.versions.node})`,
      algorithm,
    );
  }
  return {
    thresholdBytes: parseSizeBytes(threshold, `compression.threshold of ${where}`),
    algorithm: algorithm === 'auto' ? (hasZstd ? 'zstd' : 'deflate') : algorithm,
  };
}
