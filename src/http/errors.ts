/**
 * How the HTTP face says no: `{"error":{"code","message"}}`, a stable code and a sentence. Programs branch on the code.
 */
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Context } from 'hono';
import type { ContentfulStatusCode } from 'hono/utils/http-status';

/** Every code of the HTTP face and its status. */
export const HTTP_CODES = {
  KEY_NOT_FOUND: 404,
  KEY_KNOWN_ABSENT: 404,
  VALUE_NOT_SHOWN: 404,
  ROUTE_NOT_FOUND: 404,
  METHOD_NOT_ALLOWED: 405,
  REQUEST_INVALID: 400,
  KEY_INVALID: 400,
  JSON_INVALID: 400,
  BODY_INVALID: 400,
  LEASE_INVALID: 400,
  HOST_REFUSED: 403,
  REQUEST_TIMEOUT: 408,
  LEASE_VOID: 409,
  VERSION_OLDER: 409,
  VERSION_UNSURE: 409,
  PLAIN_SET_HELD_OFF: 409,
  PLAIN_SET_REFUSED: 409,
  BODY_TOO_LARGE: 413,
  VALUE_TOO_LARGE: 413,
  BATCH_TOO_LARGE: 413,
  CONTENT_TYPE_UNSUPPORTED: 415,
  HEADERS_TOO_LARGE: 431,
  INTERNAL: 500,
  OVERLOADED: 503,
  NOT_READY: 503,
  OWNER_AWAY: 503,
  NOT_ACKNOWLEDGED: 503,
  MEMORY_FULL: 507,
} as const;

export type HttpCode = keyof typeof HTTP_CODES;

/** Thrown by a handler to answer with an error; caught by the app's one error handler. */
export class HttpFailure extends Error {
  readonly code: string;
  readonly status: ContentfulStatusCode;
  readonly headers: Readonly<Record<string, string>>;

  /** @param code one of {@link HTTP_CODES}; any other goes with its `status` */
  constructor(code: HttpCode, message: string, headers?: Readonly<Record<string, string>>);
  constructor(code: string, message: string, headers: Readonly<Record<string, string>>, status: ContentfulStatusCode);
  constructor(
    code: string,
    message: string,
    headers: Readonly<Record<string, string>> = {},
    status: ContentfulStatusCode = HTTP_CODES[code as HttpCode],
  ) {
    super(message);
    this.name = 'HttpFailure';
    this.code = code;
    this.status = status;
    this.headers = headers;
  }
}

/**
 * The answer of a failure. When the body was not read to its end, @hono/node-server reads and drops the rest for half a second, then closes
 * the connection: closed at once, the client would see a reset instead of the answer.
 */
export function answerFailure(c: Context, failure: HttpFailure): Response {
  const { code, status, message, headers } = failure;
  return c.body(JSON.stringify({ error: { code, message } }), status, {
    'content-type': 'application/json',
    ...headers,
  });
}

/** What node:http refused before there was a request to hand to the app: answered in the same shape, then closed. */
export function answerUnparsed(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy();
    return;
  }
  const [code, message] = unparsed(error.code);
  const status = HTTP_CODES[code];
  const body = JSON.stringify({ error: { code, message } });
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\nConnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

function unparsed(cause: string | undefined): readonly [HttpCode, string] {
  if (cause === 'HPE_HEADER_OVERFLOW') return ['HEADERS_TOO_LARGE', 'the request line and headers are too long'];
  if (cause === 'ERR_HTTP_REQUEST_TIMEOUT') return ['REQUEST_TIMEOUT', 'the request did not arrive in time'];
  return ['REQUEST_INVALID', 'this is not an HTTP request'];
}
