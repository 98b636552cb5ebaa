/**
 * What an answer may be known by later, as one text that lives with the value: `E` and the ETag, or `L` and Last-Modified, behind a mark of the URL.
 *
 * The mark is there because an ETag means something for its URL alone: after a deployment that asks for `?fields=all` where it asked for
 * `?fields=name`, "unchanged" would be said of the other representation.
 */
import { crc32 } from 'node:zlib';
import type { HttpAnswer } from './answer.ts';

/** Two changes within one second have one Last-Modified. RFC 9110, 8.8.2.2 asks for a distance to Date; clocks of servers behind one name differ. */
const SETTLED_MS = 60_000;

/** Empty: there is nothing to ask by. */
export function validatorOf({ headers }: HttpAnswer, url: string): string {
  const etag = headers.get('etag');
  if (etag !== null && /^(?:W\/)?"[\x21\x23-\x7e]*"$/.test(etag)) return `${mark(url)}E${etag}`;
  const modified = headers.get('last-modified');
  if (modified === null) return '';
  const agoMs = Date.parse(headers.get('date') ?? '') - Date.parse(modified);
  return agoMs >= SETTLED_MS ? `${mark(url)}L${modified}` : '';
}

/** The header that asks whether it is still that; null when the validator was another URL's. */
export function conditional(validator: string, url: string): readonly [name: string, value: string] | null {
  if (!validator.startsWith(mark(url))) return null;
  const value = validator.slice(9);
  if (validator[8] === 'E') return ['if-none-match', value];
  return validator[8] === 'L' ? ['if-modified-since', value] : null;
}

function mark(url: string): string {
  return crc32(url).toString(16).padStart(8, '0');
}
