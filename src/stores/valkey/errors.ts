/**
 * What went wrong, in the words of the port.
 */
import { BreakwaterError, messageOf } from '../../base/errors.ts';

const CODES: Readonly<Record<string, string>> = {
  CLIENT_TIMEOUT: 'STORE_TIMEOUT',
  CLIENT_QUEUE_FULL: 'STORE_OVERLOADED',
  CLIENT_CONNECTION_LOST: 'STORE_UNAVAILABLE',
  CLIENT_CONNECT_FAILED: 'STORE_UNAVAILABLE',
  CLIENT_DISCONNECTED: 'STORE_UNAVAILABLE',
  CLIENT_AUTH_FAILED: 'STORE_AUTH_FAILED',
  CLIENT_CLOSED: 'STORE_CLOSED',
  CLUSTER_SLOT_UNSERVED: 'STORE_UNAVAILABLE',
  CLUSTER_REPLY_INVALID: 'STORE_REPLY_INVALID',
  CLUSTER_EXPECTED: 'STORE_URL_INVALID',
  // What the server replied, to the last.
  CLUSTERDOWN: 'STORE_UNAVAILABLE',
  LOADING: 'STORE_UNAVAILABLE',
  MASTERDOWN: 'STORE_UNAVAILABLE',
  MISCONF: 'STORE_UNAVAILABLE',
  NOREPLICAS: 'STORE_UNAVAILABLE',
  READONLY: 'STORE_UNAVAILABLE',
  TRYAGAIN: 'STORE_UNAVAILABLE',
  MOVED: 'STORE_UNAVAILABLE',
  ASK: 'STORE_UNAVAILABLE',
  NOSCRIPT: 'STORE_UNAVAILABLE',
  OOM: 'STORE_NO_ROOM',
  NOT_ACKNOWLEDGED: 'INVALIDATION_NOT_ACKNOWLEDGED',
};

/** The error to throw for `error`, which came from the client: the signal's reason when that was it. */
export function storeError(error: unknown, signal: AbortSignal | undefined): unknown {
  if (signal?.aborted === true) return signal.reason;
  if (!(error instanceof BreakwaterError)) return error;
  const code = CODES[error.code];
  return code === undefined ? error : new BreakwaterError(code, error.message, { cause: error });
}

/** For an invalidation: whatever the reason, it is not known to be in force everywhere. Closed and aborted stay what they are. */
export function notAcknowledged(error: unknown, signal: AbortSignal | undefined): unknown {
  const known = storeError(error, signal);
  if (signal?.aborted === true || !(known instanceof BreakwaterError)) return known;
  if (known.code === 'STORE_CLOSED' || known.code === 'STORE_KEY_RESERVED') return known;
  if (known.code === 'INVALIDATION_NOT_ACKNOWLEDGED') return known;
  return new BreakwaterError(
    'INVALIDATION_NOT_ACKNOWLEDGED',
    `the invalidation is not known to be in force everywhere: ${messageOf(known)}`,
    { cause: known },
  );
}
