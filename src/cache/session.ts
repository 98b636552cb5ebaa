/**
 * Session tokens: what a writer hands on (in a cookie, in a message) so that whoever reads next, in any process, sees the write.
 *
 * What a token covers: everything that its Breakwater had acknowledged when it was made, whatever was named, since a get with it does not compare
 * anything with the token. It goes where nothing older can be:
 *
 *   in another process   past L1 to the store, which keeps nothing that an acknowledged invalidation named; a load under way there is joined only
 *                        with a lease, which such an invalidation has voided, so that its verdict is "ask again" (flights.ts)
 *   in the same process  as any get: L1 and the loads under way were voided here before the acknowledgement was told to anybody
 *   another process, embedded store   to the source: that store heard nothing of the write
 *
 * Not covered: what was still under way when the token was made, what was not acknowledged, and other stores.
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
