/**
 * What a gateway answers when something went wrong: the library's stable codes, with the status that tells a client what to do about it.
 *
 *     4xx        the request is wrong; sending it again is no use
 *     502        the source failed, or answered what cannot be used
 *     503        not now: shed before the source was asked, or something is away; Retry-After says when
 *     504        the source was asked and did not answer in time. A write may have taken effect
 *
 * What a database or its driver says (hosts, users, constraints, SQL) goes to the log and not to clients: they get a sentence that names the namespace. An
 * exception is what a client wrote wrongly (a constraint, a type), which only the database's own words explain.
 */
import type { ContentfulStatusCode } from 'hono/utils/http-status';
import { BreakwaterError } from '../base/errors.ts';
import { UnacknowledgedError } from '../cache/acknowledged.ts';
import { GuardShedError } from '../cache/guard/errors.ts';
import { HttpFailure } from '../http/errors.ts';

/** Codes of the gateway's own, beside those of every HTTP face (`http/errors.ts`) and the library's. */
export const CODES = {
  NAMESPACE_UNKNOWN: 404,
  NAMESPACE_READ_ONLY: 405,
  TOKEN_MISSING: 401,
  TOKEN_INVALID: 401,
  RIGHT_MISSING: 403,
  NUMBER_INEXACT: 422,
  VALUE_TOO_DEEP: 422,
} as const;

export function failure(
  code: keyof typeof CODES,
  message: string,
  headers: Readonly<Record<string, string>> = {},
): HttpFailure {
  return new HttpFailure(code, message, headers, CODES[code]);
}

type Status = 400 | 409 | 413 | 422 | 502 | 503 | 504 | 507;

/** The library's codes; `shown`: its sentence says nothing that a client must not read. */
const STATUS: Readonly<Record<string, readonly [status: Status, isShown: boolean]>> = {
  SOURCE_KEY_INVALID: [400, true],
  CACHE_KEY_INVALID: [400, true],
  CACHE_TOKEN_INVALID: [400, true],
  SOURCE_ROW_INVALID: [422, true],
  CACHE_LOAD_TIMEOUT: [504, false],
  CACHE_TIMEOUT: [504, false],
  GUARD_TIMEOUT: [504, false],
  SOURCE_TIMEOUT: [504, false],
  SOURCE_ABORTED: [504, false],
  SOURCE_BUSY: [503, false],
  CACHE_CLOSED: [503, true],
  GUARD_CLOSED: [503, true],
  CACHE_WRITE_NOT_BEGUN: [503, false],
  STORE_TOO_LARGE: [413, true],
  STORE_NO_ROOM: [507, true],
};
const SERVICE_UNAVAILABLE = 503;
const RETRY_SECONDS = 1;

/** Classes of SQLSTATE in which the server refused the rows, and not the statement. */
const ROW_CLASSES: Readonly<Record<string, 409 | 422>> = { '22': 422, '23': 409, P0: 422, '44': 422 };

/** What an error of the library means to a client. */
export interface Answered {
  readonly failure: HttpFailure;
  /** Whether the log should say what it was: the client was not told. */
  readonly isHidden: boolean;
}

/**
 * @param what e.g. `load product:42`; `write product:42`
 * @returns null: no error that anybody has thought about, so a bug
 */
export function answered(error: unknown, what: string, namespace: string, isWrite: boolean): Answered | null {
  if (error instanceof HttpFailure) return { failure: error, isHidden: false };
  if (error instanceof GuardShedError && error.code !== 'GUARD_CLOSED') {
    const seconds = Math.max(RETRY_SECONDS, Math.ceil((error.retryAfterMs ?? 0) / 1000));
    return said(error.code, 503, error.message, seconds);
  }
  // A constant number of words at the door: anything else that is thrown is no operating error.
  if (!(error instanceof BreakwaterError)) return null;
  const { code } = error;
  if (error instanceof UnacknowledgedError) {
    const after = error.queued ? 'it is queued and will be retried until it is acknowledged' : 'call again';
    const doubt =
      code === 'CACHE_WRITE_UNACKNOWLEDGED'
        ? 'the value may or may not be stored'
        : 'copies of the old value may be left';
    if (code === 'CACHE_NOT_EVERYWHERE') {
      return hidden(
        code,
        503,
        `it is in force in the store, but some process may still have old copies in its L1; ${after}`,
      );
    }
    return hidden(code, 503, `cannot ${what}: the store did not acknowledge it, so ${doubt}; ${after}`);
  }
  const refused = code === 'SOURCE_REFUSED' && isWrite ? ROW_CLASSES[sqlClass(error.cause)] : undefined;
  if (refused !== undefined) return said(code, refused, `cannot ${what}: ${driverSentence(error)}`);
  if (isWrite && /^CACHE_(?:VALUE|TAGS)_/.test(code)) return said(code, 422, error.message);
  const known = STATUS[code];
  if (known !== undefined) {
    const [status, isShown] = known;
    if (isShown) return said(code, status, error.message);
    return hidden(code, status, `cannot ${what}: ${sentenceFor(status, namespace, isWrite)}`);
  }
  if (code.startsWith('WRITE_BEHIND_')) {
    const outcome = OUTCOMES[code] ?? 'it was not queued; call again';
    return hidden(code, 503, `cannot ${what}: ${outcome}`);
  }
  if (/^STORE_|^OUTBOX_|^QUEUE_/.test(code)) {
    return hidden(code, 503, `cannot ${what}: the store failed; the gateway's log says why`);
  }
  if (/^(?:SOURCE|CACHE)_/.test(code)) {
    return hidden(code, 502, `cannot ${what}: ${sentenceFor(502, namespace, isWrite)}`);
  }
  return null;
}

/** What became of a write that is not acknowledged. */
const OUTCOMES: Readonly<Record<string, string>> = {
  WRITE_BEHIND_FULL: 'the queue is full, so it was not queued; call again later',
  WRITE_BEHIND_UNACKNOWLEDGED: 'it may be queued or not; to call again is harmless',
  WRITE_BEHIND_UNSEEN: 'it is queued and will be written, but other processes may not see it until then',
};

function sentenceFor(status: ContentfulStatusCode, namespace: string, isWrite: boolean): string {
  if (status === 504) {
    const outcome = isWrite ? '; the write may have taken effect' : '';
    return `the source of "${namespace}" did not answer in time${outcome}`;
  }
  if (status === 503) return `the source of "${namespace}" cannot be asked now; the gateway's log says why`;
  return `the source of "${namespace}" failed; the gateway's log says why`;
}

function said(code: string, status: Status, message: string, retrySeconds = RETRY_SECONDS): Answered {
  return { failure: new HttpFailure(code, message, retryHeaders(status, retrySeconds), status), isHidden: false };
}

function hidden(code: string, status: Status, message: string): Answered {
  return { failure: new HttpFailure(code, message, retryHeaders(status, RETRY_SECONDS), status), isHidden: true };
}

function retryHeaders(status: number, seconds: number): Record<string, string> {
  return status === SERVICE_UNAVAILABLE ? { 'retry-after': String(seconds) } : {};
}

function sqlClass(cause: unknown): string {
  const state: unknown = typeof cause === 'object' && cause !== null && 'code' in cause ? cause.code : '';
  return typeof state === 'string' ? state.slice(0, 2) : '';
}

/** What the server said, without what of ours is in front of it. */
function driverSentence(error: BreakwaterError): string {
  return error.cause instanceof Error ? error.cause.message : error.message;
}
