/**
 * What comes back for one request to a cluster.
 */
import type { BreakwaterError } from '../base/errors.ts';
import type { Reply } from '../resp/reply.ts';

/** A reply, an error reply, or a coded error of this side (`CLIENT_TIMEOUT`, `CLIENT_CONNECTION_LOST`, `NOT_ACKNOWLEDGED`). */
export type Outcome = Reply | BreakwaterError;
