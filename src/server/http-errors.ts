/**
 * How the HTTP face says no: `{"error":{"code","message"}}`, a stable code and a sentence. Programs branch on the code.
 */
import type { Context } from 'hono';

/** Every code of the HTTP face and its status. */
export const HTTP_CODES = {
  KEY_NOT_FOUND: 404,
  KEY_KNOWN_ABSENT: 404,
  ROUTE_NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  KEY_INVALID: 400,
  JSON_INVALID: 400,
  BODY_INVALID: 400,
  LEASE_INVALID: 400,
  LEASE_VOID: 409,
  BODY_TOO_LARGE: 413,
  VALUE_TOO_LARGE: 413,
  BATCH_TOO_LARGE: 413,
  CONTENT_TYPE_UNSUPPORTED: 415,
  INTERNAL: 500,
  OVERLOADED: 503,
  NOT_READY: 503,
  MEMORY_FULL: 507,
} as const;

export type HttpCode = keyof typeof HTTP_CODES;

/** Thrown by a handler to answer with an error; caught by the app's one error handler. */
export class HttpFailure extends Error {
  readonly code: HttpCode;
  readonly headers: Readonly<Record<string, string>>;

  constructor(code: HttpCode, message: string, headers: Readonly<Record<string, string>> = {}) {
    super(message);
    this.name = 'HttpFailure';
    this.code = code;
    this.headers = headers;
  }
}

/**
 * The answer of a failure. When the body was not read to its end, @hono/node-server reads and drops the rest for half a second, then closes
 * the connection: closed at once, the client would see a reset instead of the answer.
 */
export function answerFailure(c: Context, failure: HttpFailure): Response {
  const { code, message, headers } = failure;
  const status = HTTP_CODES[code];
  return c.body(JSON.stringify({ error: { code, message } }), status, {
    'content-type': 'application/json',
    ...headers,
  });
}
