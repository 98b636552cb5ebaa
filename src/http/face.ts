/**
 * What every HTTP face has in common around its routes: routing by the path as it was sent, the check of the `Host` header, one shape for all errors, 404 told
 * from 405, and a server whose timeouts suit slow and hostile clients. Hono over node:http.
 */
import { createServer, type Server } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import { createAdaptorServer } from '@hono/node-server';
import { OpenAPIHono } from '@hono/zod-openapi';
import { answerFailure, answerUnparsed, HttpFailure } from './errors.ts';
import { type HttpBindings, pathOf } from './request.ts';
import { methodsOf } from './shapes.ts';

export interface FaceOptions {
  /** Is a request with this `Host` header served? */
  readonly isHostAllowed: (host: string | undefined) => boolean;
  /** What to do about a refused name, e.g. `allow it with --http-hosts`. */
  readonly hostHint: string;
  /** What it is the face of, for sentences: `node`. */
  readonly noun: string;
  /** Every route, to tell 405 from 404. */
  readonly routes: readonly { readonly method: string; readonly path: string }[];
  /** A handler failed in a way that is our bug. */
  readonly onError: (error: unknown) => void;
  /** What else may be thrown by a handler, as an answer; null = it is a bug. */
  readonly failureOf?: (error: unknown) => HttpFailure | null;
}

export interface ListenerOptions {
  /** Answers not read for this long are given up. */
  readonly stallTimeoutMs: number;
  readonly maxClients: number;
  /** HTTPS: certificate chain and key, PEM. */
  readonly tls?: { readonly cert: string; readonly key: string } | null;
}

/** A request's headers must arrive within this, its body within the next. */
const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 120_000;
const KEEP_ALIVE_MS = 65_000; // above the 60 s of usual load balancers, so that they close first

/** An app without routes yet, and without a socket. */
export function createFace(options: FaceOptions): OpenAPIHono<HttpBindings> {
  const { noun } = options;
  // Routing goes by the path as sent: URL normalisation would make keys such as ".." unreachable.
  const app = new OpenAPIHono<HttpBindings>({ getPath: (_request, context) => pathOf(targetOf(context?.env)) });

  app.use(async (c, next) => {
    const { host } = c.env.incoming.headers;
    if (!options.isHostAllowed(host)) {
      throw new HttpFailure(
        'HOST_REFUSED',
        `this ${noun} does not answer to the name ${JSON.stringify(host?.slice(0, 100))}: ${options.hostHint}`,
      );
    }
    await next();
  });

  app.notFound((c) => {
    const methods = methodsOf(options.routes, pathOf(c.env.incoming.url ?? '/'));
    if (methods !== null && !methods.includes(c.req.method)) {
      const allow = methods.join(', ');
      return answerFailure(
        c,
        new HttpFailure('METHOD_NOT_ALLOWED', `${c.req.method} is not offered here, only ${allow}`, { allow }),
      );
    }
    return answerFailure(
      c,
      new HttpFailure('ROUTE_NOT_FOUND', 'there is nothing here; GET /openapi.json lists what there is'),
    );
  });
  app.onError((error, c) => {
    if (error instanceof HttpFailure) return answerFailure(c, error);
    const failure = options.failureOf?.(error) ?? null;
    if (failure !== null) return answerFailure(c, failure);
    options.onError(error);
    return answerFailure(c, new HttpFailure('INTERNAL', `the ${noun} failed to answer; its log says why`));
  });
  return app;
}

function targetOf(env: unknown): string {
  const { incoming } = env as HttpBindings['Bindings'];
  return incoming.url ?? '/';
}

/** A server that answers with the app; not listening yet. */
export function createFaceServer(app: OpenAPIHono<HttpBindings>, options: ListenerOptions): Server {
  const { tls } = options;
  const server = createAdaptorServer(
    tls
      ? { fetch: app.fetch, createServer: createSecureServer, serverOptions: tls }
      : { fetch: app.fetch, createServer },
  ) as Server;
  server.on('clientError', answerUnparsed);
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.maxConnections = options.maxClients;
  server.timeout = Math.max(options.stallTimeoutMs, KEEP_ALIVE_MS + 1000);
  return server;
}

/** Stops listening. Idle connections go at once, those with a request under way when it is answered, the rest after `drainMs`. */
export function closeFaceServer(server: Server, drainMs: number): Promise<void> {
  return new Promise((resolve) => {
    const deadline = setTimeout(() => server.closeAllConnections(), drainMs);
    server.close(() => {
      clearTimeout(deadline);
      resolve();
    });
    server.closeIdleConnections();
  });
}
