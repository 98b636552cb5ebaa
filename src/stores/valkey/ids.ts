/**
 * Ids that nobody has had and nobody will have: lease tokens and epochs. 72 bits from the system's generator, as 12 characters.
 *
 * Not the `Random` port: processes that are seeded alike would make the same ids, and a token that two callers have is a token that lets the
 * wrong one fill. A simulator passes its own maker instead.
 */
import { randomBytes } from 'node:crypto';

const BYTES = 9;
const POOL = 256;

/** A maker of ids; draws from the system 256 at a time. */
export function idMaker(): () => string {
  let pool: Buffer = Buffer.alloc(0);
  let at = 0;
  return () => {
    if (at === pool.length) {
      pool = randomBytes(BYTES * POOL);
      at = 0;
    }
    at += BYTES;
    return pool.toString('base64url', at - BYTES, at);
  };
}
