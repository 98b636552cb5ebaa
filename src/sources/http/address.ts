/**
 * The URL of a source: where ids go into it, which ids cannot, and what of it may be shown in an error.
 *
 * An id is one path segment or one part of the query, percent-encoded, and nothing else: it must not choose another host, another path or another
 * parameter. Encoding sees to all of that but two: `.` and `..` as a path segment mean another path however they are encoded (the URL standard takes `%2e` for
 * a dot), and a comma between ids that are separated by commas is two ids. Those are refused.
 */
import { invalid } from '../../cache/checks.ts';

/** What servers and proxies take for granted that a URL is not longer than. */
const LONGEST_URL = 8_000;

export class Address {
  /** `one`: of one value; `many`: of several, in the URL; `posted`: of several, in the body. */
  readonly kind: 'one' | 'many' | 'posted';
  /** For error sentences: method and URL without query, which may hold a key of the API. */
  readonly name: string;
  readonly #before: string;
  readonly #after: string;
  readonly #origin: string;
  readonly #isInPath: boolean;

  /** @throws BreakwaterError `CACHE_OPTION_INVALID` */
  constructor(template: unknown, isPosted: boolean, where: string) {
    const expected = `an http or https URL with ${isPosted ? 'no placeholder (the ids are in the body)' : '{id} or {ids} once, in its path or query'}`;
    // What was received is not shown: it may hold a password.
    const refuse = (why: string) => invalid(`url of ${where}`, expected, why);
    if (typeof template !== 'string') throw refuse('no text');
    const placeholders = template.match(/\{[^{}]*\}/g) ?? [];
    if (isPosted ? placeholders.length > 0 : placeholders.length !== 1 || !/^\{ids?\}$/.test(placeholders[0]!)) {
      throw refuse(placeholders.length === 0 ? 'one without placeholder' : `one with ${placeholders.join(', ')}`);
    }
    const placeholder = placeholders[0] ?? '';
    this.kind = isPosted ? 'posted' : placeholder === '{id}' ? 'one' : 'many';
    const at = isPosted ? template.length : template.indexOf(placeholder);
    this.#before = template.slice(0, at);
    this.#after = template.slice(at + placeholder.length);
    const url = parsed(this.#before + (isPosted ? '' : 'a') + this.#after);
    const other = parsed(this.#before + (isPosted ? '' : 'b') + this.#after);
    if (url === null || other === null || !/^https?:$/.test(url.protocol)) throw refuse('something else');
    if (url.username !== '' || url.password !== '') {
      throw refuse('one with a user or password in it: use headers');
    }
    if (url.hash !== '' || url.origin !== other.origin)
      throw refuse('one with its placeholder elsewhere, or a fragment');
    this.#origin = url.origin;
    this.#isInPath = url.pathname !== other.pathname;
    const path = (this.#before + placeholder + this.#after).slice(0).replace(/[?#].*$/s, '');
    this.name = `${isPosted ? 'POST' : 'GET'} ${path}`;
  }

  /** Why `id` cannot be asked for, or null. */
  refusal(id: string): string | null {
    if (id === '') return 'an empty id names the whole collection';
    if (/\p{Surrogate}/u.test(id)) return 'it is not well-formed Unicode';
    if (this.#isInPath && this.kind === 'one' && (id === '.' || id === '..')) return 'as a path it means another one';
    if (this.kind === 'many' && id.includes(',')) return 'ids are separated by commas';
    return null;
  }

  of(ids: readonly string[]): string {
    if (this.kind === 'posted') return this.#before;
    return this.#before + ids.map(encodeURIComponent).join(',') + this.#after;
  }

  /** In batches of at most `maxIds`, none of which makes the URL too long. */
  batches(ids: readonly string[], maxIds: number): string[][] {
    const room =
      this.kind === 'posted' ? Number.POSITIVE_INFINITY : LONGEST_URL - this.#before.length - this.#after.length;
    const all: string[][] = [];
    let length = 0;
    for (const id of ids) {
      const more = encodeURIComponent(id).length + 1;
      const last = all.at(-1);
      if (last === undefined || last.length >= maxIds || length + more > room) {
        all.push([id]);
        length = more;
      } else {
        last.push(id);
        length += more;
      }
    }
    return all;
  }

  /** @throws BreakwaterError `CACHE_OPTION_INVALID` */
  checkUrl(given: unknown): string {
    if (given === undefined) return `${this.#origin}/`;
    const url = typeof given === 'string' ? parsed(given) : null;
    if (url?.origin === this.#origin && url.username === '' && url.password === '') return url.href;
    throw invalid('checkUrl of httpSource()', 'a URL of the same host', 'something else');
  }
}

function parsed(text: string): URL | null {
  try {
    return new URL(text);
  } catch {
    return null;
  }
}
