/**
 * Which ids there can be: a declared rule, checked before anything is asked. A bot's ids then cost neither a round trip nor a query nor a remembered absence each,
 * which would push real entries out of the store.
 *
 * What the rule refuses is refused aloud (`CACHE_KEY_INVALID`) and not answered "absent": a rule that is too narrow is a mistake in the program, and an
 * answer of null would look like the truth. `delete`, `write(id, update)` and invalidations are not checked: taking away can do no harm, and an entry
 * of before the rule must be able to leave.
 */
import { BreakwaterError } from '../base/errors.ts';
import { invalid } from './checks.ts';
import { fullKey, show } from './key.ts';

/** A pattern that ids match, or a function that says `true` of those that there can be. */
export type IdRule = RegExp | ((id: string) => boolean);

/**
 * The full key of an id that may be asked for or stored; throws of all others.
 *
 * @param prefix `"user:"`
 * @throws BreakwaterError `CACHE_OPTION_INVALID` now, `CACHE_KEY_INVALID` of an id
 */
export function keyMaker(prefix: string, rule: IdRule | undefined): (id: unknown) => string {
  if (rule === undefined) return (id) => fullKey(prefix, id);
  const isAllowed = testOf(rule, `ids of cache "${prefix.slice(0, -1)}"`);
  return (id) => {
    const key = fullKey(prefix, id);
    if (isAllowed(id as string)) return key;
    throw new BreakwaterError(
      'CACHE_KEY_INVALID',
      `cannot use an id of cache "${prefix.slice(0, -1)}": its declaration (ids) allows none like it, received ${show(id)}`,
    );
  };
}

function testOf(rule: unknown, what: string): (id: string) => boolean {
  // Not instanceof: a pattern of another realm is a pattern.
  if (Object.prototype.toString.call(rule) === '[object RegExp]') {
    const pattern = rule as RegExp;
    // These remember where they stopped: every other id would be refused.
    if (pattern.global || pattern.sticky) throw invalid(what, 'a RegExp without the flags g and y', String(pattern));
    return (id) => pattern.test(id);
  }
  if (typeof rule !== 'function') throw invalid(what, 'a RegExp or a function', rule);
  // Strictly: a promise, which an async function returns, is no yes.
  return (id) => rule(id) === true;
}
