/**
 * The HTTP server of a node: hono over node:http. Routes of the cache are in http-cache.ts; here are health, metrics, the status page, the
 * OpenAPI document and what every answer has in common.
 */
import type { Server } from 'node:http';
import type { OpenAPIHono } from '@hono/zod-openapi';
import { ByteBudget } from '../http/body.ts';
import { HttpFailure } from '../http/errors.ts';
import { createFace, createFaceServer } from '../http/face.ts';
import type { HttpBindings } from '../http/request.ts';
import { dashboardFiles } from './dashboard-files.ts';
import { registerCacheRoutes } from './http-cache.ts';
import { openApiDocument, ROUTES } from './http-schemas.ts';
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
  /** What a member of a cluster knows of it; null: a node of its own. */
  readonly cluster: (() => object) | null;
  readonly metrics: () => Promise<{ readonly contentType: string; readonly text: string }>;
  readonly stats: () => object;
  /** A handler failed in a way that is our bug. */
  readonly onError: (error: unknown) => void;
}

/** The app, without a socket. */
export function createHttpApp(options: HttpOptions): OpenAPIHono<HttpBindings> {
  const app = createFace({
    noun: 'node',
    hostHint: 'allow it with --http-hosts',
    isHostAllowed: options.isHostAllowed,
    routes: ROUTES,
    onError: options.onError,
  });

  const { cluster } = options;
  if (cluster !== null) {
    app.get('/cluster.json', (c) => c.json(cluster(), 200, { 'cache-control': 'no-store' }));
  }
  registerCacheRoutes(app, {
    session: options.session,
    maxValueBytes: options.maxValueBytes,
    bodies: new ByteBudget(options.clientMemoryBytes),
    answers: new ByteBudget(options.clientMemoryBytes),
    runId: options.runId,
    isMember: cluster !== null,
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
  return app;
}

/** A server that answers with the app; not listening yet. */
export function createHttpServer(options: HttpOptions): Server {
  return createFaceServer(createHttpApp(options), options);
}
