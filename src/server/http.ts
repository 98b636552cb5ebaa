/**
 * The HTTP server of a node: hono over node:http. Routes of the cache are in http-cache.ts; here are health, metrics, the status page, the
 * OpenAPI document and what every answer has in common.
 */
import { createServer, type Server } from 'node:http';
import { createAdaptorServer } from '@hono/node-server';
import { OpenAPIHono } from '@hono/zod-openapi';
import { dashboardFiles } from './dashboard-files.ts';
import { ByteBudget } from './http-body.ts';
import { type HttpBindings, pathOf, registerCacheRoutes } from './http-cache.ts';
import { answerFailure, answerUnparsed, HttpFailure } from './http-errors.ts';
import { methodsOf, openApiDocument } from './http-schemas.ts';
import type { LocalSession } from './local-session.ts';

export interface HttpOptions {
  readonly session: LocalSession;
  readonly version: string;
  readonly runId: string;
  readonly maxValueBytes: number;
  /** Bound of all bodies streaming in, and again of all large answers not yet read. */
  readonly clientMemoryBytes: number;
  /** Answers not read for this long are given up. */
  readonly stallTimeoutMs: number;
  readonly maxClients: number;
  /** Is a request with this `Host` header served? */
  readonly isHostAllowed: (host: string | undefined) => boolean;
  readonly isReady: () => boolean;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly stats: () => object;
  /** A handler failed in a way that is our bug. */
  readonly onError: (error: unknown) => void;
}

/** A request's headers must arrive within this, its body within the next. */
const HEADERS_TIMEOUT_MS = 20_000;
const REQUEST_TIMEOUT_MS = 120_000;
const KEEP_ALIVE_MS = 65_000; // above the 60 s of usual load balancers, so that they close first

/** The app, without a socket. */
export function createHttpApp(options: HttpOptions): OpenAPIHono<HttpBindings> {
  // Routing goes by the path as sent: URL normalisation would make keys such as ".." unreachable.
  const app = new OpenAPIHono<HttpBindings>({ getPath: (_request, context) => pathOf(targetOf(context?.env)) });

  app.use(async (c, next) => {
    const { host } = c.env.incoming.headers;
    if (!options.isHostAllowed(host)) {
      throw new HttpFailure(
        'HOST_REFUSED',
        `this node does not answer to the name ${JSON.stringify(host?.slice(0, 100))}: allow it with --http-hosts`,
      );
    }
    await next();
  });

  registerCacheRoutes(app, {
    session: options.session,
    maxValueBytes: options.maxValueBytes,
    bodies: new ByteBudget(options.clientMemoryBytes),
    answers: new ByteBudget(options.clientMemoryBytes),
    runId: options.runId,
  });

  app.get('/healthz', (c) => c.json({ status: 'ok' }));
  app.get('/readyz', (c) => {
    if (!options.isReady()) throw new HttpFailure('NOT_READY', 'the node is shutting down');
    return c.json({ status: 'ready' });
  });
  app.get('/metrics', async (c) => {
    const { contentType, text } = await options.metrics();
    return c.body(text, 200, { 'content-type': contentType });
  });
  app.get('/stats.json', (c) => c.json(options.stats(), 200, { 'cache-control': 'no-store' }));
  let document: object | null = null;
  app.get('/openapi.json', (c) => {
    document ??= openApiDocument(app as unknown as OpenAPIHono, options.version);
    return c.json(document);
  });
  for (const file of dashboardFiles()) {
    app.get(file.path, (c) => c.body(file.text, 200, file.headers));
  }

  app.notFound((c) => {
    const methods = methodsOf(pathOf(c.env.incoming.url ?? '/'));
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
    options.onError(error);
    return answerFailure(c, new HttpFailure('INTERNAL', 'the node failed to answer; its log says why'));
  });
  return app;
}

function targetOf(env: unknown): string {
  const { incoming } = env as HttpBindings['Bindings'];
  return incoming.url ?? '/';
}

/** A server that answers with the app; not listening yet. */
export function createHttpServer(options: HttpOptions): Server {
  const app = createHttpApp(options);
  const server = createAdaptorServer({ fetch: app.fetch, createServer }) as Server;
  server.on('clientError', answerUnparsed);
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.keepAliveTimeout = KEEP_ALIVE_MS;
  server.maxConnections = options.maxClients;
  server.timeout = Math.max(options.stallTimeoutMs, KEEP_ALIVE_MS + 1000);
  return server;
}
