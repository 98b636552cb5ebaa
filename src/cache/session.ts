/**
 * Session tokens: what a writer hands on (in a cookie, in a message) so that whoever reads next, in any process, sees the write.
 *
 * A write's invalidation is acknowledged by the store before its token exists, so what the *store* has from then on is not older. What may be
 * older is an L1 in another process, and a load there that began before. A get with another process's token passes both by. The process that
 * wrote has voided both itself, so its own tokens cost nothing.
 */
import { BreakwaterError } from '../base/errors.ts';
import { show } from './key.ts';

/** Opaque text. */
export type SessionToken = string;

export function newToken(sessionId: string, stamp: number): SessionToken {
  return `${sessionId}-${stamp.toString(36)}`;
}

/**
 * Whether `token` was given by this Breakwater itself.
 * @throws BreakwaterError `CACHE_TOKEN_INVALID`
 */
export function isOwnToken(token: unknown, sessionId: string): boolean {
  if (typeof token === 'string' && /^[0-9a-f]{16}-[0-9a-z]{1,11}$/.test(token)) return token.startsWith(sessionId);
  throw new BreakwaterError(
    'CACHE_TOKEN_INVALID',
    `cannot get after a write: expected the token that write() gave, received ${show(token)}`,
  );
}
