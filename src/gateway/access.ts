/**
 * Who may do what. Tokens are known by name; a request's token is compared by its SHA-256, so that how long the comparison takes says nothing about it,
 * and the file may hold the hash alone.
 *
 * A token is good for namespaces. A tag has none: it touches every namespace whose declared tags could be it, and the right is needed in all of those; where
 * none could, in all there are. To invalidate more than was meant is harmless to truth and costs loads, which is why it needs a right at all.
 *
 * Whether a namespace exists is not told to who may not use it.
 */
import { createHash } from 'node:crypto';
import { HttpFailure } from '../http/errors.ts';
import type { AccessValues, Right } from './config/options.ts';
import { CODES } from './failures.ts';

/** Who asks. */
export interface Caller {
  /** The token's name; `anonymous` without one. */
  readonly name: string;
  may(right: Right, namespace: string): boolean;
  /** In every namespace, and where there is none: tags, metrics. */
  mayEverywhere(right: Right): boolean;
}

const ANYONE: Caller = { name: 'anonymous', may: () => true, mayEverywhere: () => true };
const REALM = { 'www-authenticate': 'Bearer realm="breakwater"' };

export class Access {
  /** By SHA-256 in hex; null: open. */
  readonly #callers: ReadonlyMap<string, Caller> | null;
  readonly #anonymous: Caller;

  constructor(config: 'open' | AccessValues) {
    if (config === 'open') {
      this.#callers = null;
      this.#anonymous = ANYONE;
      return;
    }
    const anonymous = new Set<Right>(config.anonymous ?? []);
    const may = (right: Right): boolean => anonymous.has(right);
    this.#anonymous = { name: 'anonymous', may, mayEverywhere: may };
    const callers = new Map<string, Caller>();
    for (const [name, { token, rights, namespaces }] of config.tokens ?? []) {
      const has = new Set(rights);
      const where = namespaces === undefined ? null : new Set(namespaces);
      callers.set(hashOf(token), {
        name,
        may: (right, namespace) => may(right) || (has.has(right) && (where === null || where.has(namespace))),
        mayEverywhere: (right) => may(right) || (has.has(right) && (where === null || right === 'metrics')),
      });
    }
    this.#callers = callers;
  }

  /** Whether everybody may read everything, so that answers need not be kept apart. */
  get isPublic(): boolean {
    return this.#anonymous.mayEverywhere('read');
  }

  /**
   * @param authorization the header
   * @throws HttpFailure `TOKEN_INVALID` 401, of a token that is not known: an old one must not silently count as anonymous
   */
  callerOf(authorization: string | undefined): Caller {
    if (this.#callers === null || authorization === undefined) return this.#anonymous;
    const token = /^Bearer +([\x21-\x7e]+) *$/i.exec(authorization)?.[1];
    const caller = token === undefined ? undefined : this.#callers.get(sha256(token));
    if (caller !== undefined) return caller;
    throw refusal(
      'TOKEN_INVALID',
      token === undefined ? 'send Authorization: Bearer <token>' : 'this token is not known',
    );
  }

  /** What to throw where a caller has no right. */
  refused(caller: Caller, right: Right, what: string): HttpFailure {
    if (this.#callers !== null && caller === this.#anonymous) {
      return refusal('TOKEN_MISSING', `${what} needs the right "${right}": send Authorization: Bearer <token>`);
    }
    return refusal('RIGHT_MISSING', `${what} needs the right "${right}", which "${caller.name}" does not have there`);
  }
}

function refusal(code: 'TOKEN_INVALID' | 'TOKEN_MISSING' | 'RIGHT_MISSING', message: string): HttpFailure {
  const status = CODES[code];
  return new HttpFailure(code, message, status === 401 ? REALM : {}, status);
}

function hashOf(token: string): string {
  return token.startsWith('sha256:') ? token.slice('sha256:'.length).toLowerCase() : sha256(token);
}

function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex');
}
