/** What a caller may invalidate at once, checked whole before anything of it is done. */
import { isUntouchable } from '../base/errors.ts';
import type { InvalidateRequest } from '../stores/store.ts';
import { checkNames, invalid } from './checks.ts';
import { checkTags, show } from './key.ts';

/** What to invalidate; at least one name in all. */
export interface Invalidation {
  /** Full keys, with the cache's name: `user:42`. */
  readonly keys?: readonly string[];
  /** Everything that carries one of these tags. O(1) each, whatever it covers. */
  readonly tags?: readonly string[];
  /** Everything in the caches of these names. O(1) each. */
  readonly namespaces?: readonly string[];
  /**
   * When it is done: `'store'` (default) when the store has acknowledged; `'everywhere'` when besides no L1 of any process can serve what was
   * invalidated: each has acknowledged, or its staleness bound has run out. So within about a second whoever is dead. Embedded: the same thing at once.
   */
  readonly wait?: 'store' | 'everywhere';
}

const INVALIDATION = ['keys', 'tags', 'namespaces', 'wait'] as const;

/** The names of it, copied. @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `CACHE_TAGS_INVALID` */
export function checkInvalidation(what: Invalidation): Required<InvalidateRequest> {
  checkNames(what, INVALIDATION, 'invalidate');
  const keys = checkList(what.keys, 'keys');
  const tags = checkTags(checkList(what.tags, 'tags'), 'to invalidate', Number.POSITIVE_INFINITY);
  const namespaces = checkNamespaces(checkList(what.namespaces, 'namespaces'));
  if (keys.length + tags.length + namespaces.length === 0) {
    throw invalid('invalidate', 'at least one of keys, tags, namespaces', 'none');
  }
  return { keys, tags, namespaces };
}

/** A copy: a store may connect before it reads the list, the outbox keeps it, and meanwhile the caller may use his array for the next round. */
function checkList(given: unknown, name: string): readonly string[] {
  if (given === undefined) return [];
  if (isUntouchable(given) || !Array.isArray(given))
    throw invalid(`${name} of invalidate`, 'an array of strings', given);
  const list: readonly unknown[] = Array.from(given);
  for (const one of list) {
    if (typeof one !== 'string') throw invalid(`${name} of invalidate`, 'an array of strings', one);
  }
  return list as readonly string[];
}

/** A name that no key can have would be acknowledged, and nothing invalidated. */
function checkNamespaces(names: readonly string[]): readonly string[] {
  for (const name of names) {
    if (name.includes(':')) {
      throw invalid('namespaces of invalidate', 'what stands before the first ":" of keys (the name of a cache)', name);
    }
  }
  return names;
}

/** For people: how many of each, and the first. */
export function describe({ keys, tags, namespaces }: Required<InvalidateRequest>): string {
  const parts: string[] = [];
  if (keys.length > 0) parts.push(`${keys.length} key(s) (${show(keys[0])})`);
  if (tags.length > 0) parts.push(`${tags.length} tag(s) (${show(tags[0])})`);
  if (namespaces.length > 0) parts.push(`${namespaces.length} namespace(s) (${show(namespaces[0])})`);
  return parts.join(', ');
}
