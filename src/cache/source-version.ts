/**
 * The version that the source gives a row, as callers write it: a number, a bigint, or decimal text as drivers return 64-bit columns and
 * `pg_lsn` arithmetic. One form inside: a bigint in [0, 2^64).
 *
 * A number beyond 2^53 is refused: it has lost its last digits already, and two versions that differ there would compare as equal.
 */
import { BreakwaterError } from '../base/errors.ts';
import { show } from './key.ts';

/** A row version, an LSN, a revision: an integer from 0 to 2^64 - 1 that the source raises with each change of the row. */
export type SourceVersion = number | bigint | string;

const MOST = 2n ** 64n - 1n;

/** @throws BreakwaterError `CACHE_VERSION_INVALID` */
export function parseSourceVersion(version: SourceVersion, what: string): bigint {
  if (typeof version === 'number' && Number.isSafeInteger(version) && version >= 0) return BigInt(version);
  if (typeof version === 'bigint' && version >= 0n && version <= MOST) return version;
  if (typeof version === 'string' && /^(?:0|[1-9]\d{0,19})$/.test(version) && BigInt(version) <= MOST)
    return BigInt(version);
  throw new BreakwaterError(
    'CACHE_VERSION_INVALID',
    `cannot ${what}: a version is an integer from 0 to 2^64 - 1, as a number (up to 2^53 - 1), a bigint or decimal text, received ${show(version)}`,
  );
}
