/**
 * One running gateway: the sources, the Breakwater with its namespaces, and an HTTP face. This file only connects them.
 *
 * How it ends: /readyz says 503 and everything else goes on (`shutdown.delay`), then no connection is accepted and requests under way have `shutdown.drain` to
 * be answered; then the Breakwater is closed, which waits for writes, drains the write-behind queues and says what was left; then the pools.
 */
import type { Server } from 'node:http';
import { Registry } from 'prom-client';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { type Log, SILENT } from '../base/log.ts';
import type { Breakwater, Closed } from '../cache/breakwater.ts';
import { ByteBudget } from '../http/body.ts';
import { HttpFailure } from '../http/errors.ts';
import { closeFaceServer, createFace, createFaceServer } from '../http/face.ts';
import { hostCheck, isLoopback } from '../http/host-check.ts';
import { listenOn } from '../http/listen.ts';
import { pathOf } from '../http/request.ts';
import { Access } from './access.ts';
import { followChanges, tellOfChanges } from './changes.ts';
import type { GatewayConfig } from './config/read.ts';
import { FailureLog } from './failure-log.ts';
import { GatewayMetrics, type Route } from './metrics.ts';
import { type Declared, declareNamespaces } from './namespaces.ts';
import { QueueRequests } from './queue-requests.ts';
import { queuesOpened, Writable } from './queues.ts';
import { Readiness } from './readiness.ts';
import { registerCacheRoutes } from './routes.ts';
import { openApiDocument, ROUTES } from './schemas.ts';
import { type OpenSource, openSources } from './sources.ts';
import { Warming } from './warming.ts';

export interface GatewayExtras {
  readonly version: string;
  /** Default: says nothing. */
  readonly log?: Log;
  /** How `pg` is found. */
  readonly importPg?: () => Promise<unknown>;
}

export interface RunningGateway extends Declared {
  readonly config: GatewayConfig;
  /** The port listened on. */
  readonly port: number;
  readonly url: string;
  readonly sources: ReadonlyMap<string, OpenSource>;
  readonly readiness: Readiness;
  /**
   * Stops serving, then closes everything. Idempotent; `now` passes over `shutdown.delay`, also when that is running already.
   * @returns what the store never acknowledged, and how many rows are left in queues on disk
   */
  close(now?: boolean): Promise<Closed>;
}

const BACKLOG = 1024;
const MOST_WRITES = 1_000;
/** Longest that the pools may take to end. */
const POOLS_MS = 2_000;

/**
 * Starts a gateway and resolves when it answers. Sources and store need not be there yet: /readyz says 503 until they have been reached.
 * @throws BreakwaterError `LISTEN_FAILED`, `GATEWAY_PG_MISSING`, `GATEWAY_QUEUE_UNAVAILABLE`, and {@link GatewayConfigError}
 */
export async function startGateway(config: GatewayConfig, extras: GatewayExtras): Promise<RunningGateway> {
  const log = extras.log ?? SILENT;
  const sources = await openSources(config.sources, extras.importPg);
  const declared = declareNamespaces(config, sources);
  const { bw, namespaces } = declared;
  const failures = new FailureLog(log);
  tellOf(bw, log);
  tellOfChanges(bw, log, failures);
  const probes = [...probesOf(declared, sources), ...followChanges(bw, config)];
  const readiness = new Readiness(probes, (name, { isUp, lastError }) => {
    if (isUp) log.info(`${name} answers`);
    else log.warn(`${name} cannot be reached`, { error: lastError });
  });
  const metrics = new GatewayMetrics();
  const warming = new Warming();
  const writes = new Map<string, number>();
  const registry = new Registry();
  bw.register(registry as never);
  metrics.register(registry, sources, (name) => readiness.isUp(`source "${name}"`), writes, namespaces, warming);
  const access = new Access(config.access);
  const { listen } = config;

  const app = createFace({
    noun: 'gateway',
    hostHint: 'allow it in listen.hosts',
    isHostAllowed: hostCheck(isLoopback(listen.host), listen.hosts),
    routes: ROUTES,
    onError: (error) =>
      log.error('an HTTP request failed', { error: error instanceof Error ? error.stack : String(error) }),
  });
  app.use(async (c, next) => {
    const startedMs = performance.now();
    const route = routeOf(c.req.method, pathOf(c.env.incoming.url ?? '/'));
    metrics.inFlight += 1;
    c.env.outgoing.once('close', () => {
      metrics.inFlight -= 1;
    });
    await next();
    metrics.request(route, c.res.status, (performance.now() - startedMs) * 1000);
  });
  registerCacheRoutes(app, {
    bw,
    namespaces,
    access,
    metrics,
    maxValueBytes: listen.maxValueBytes,
    writable: new Writable(),
    bodies: new ByteBudget(listen.clientMemoryBytes),
    answers: new ByteBudget(listen.clientMemoryBytes),
    beginWrite: (source) => beginWrite(writes, source, config.sources.get(source)?.maxWrites ?? MOST_WRITES),
    onHidden: (what, error) => failures.note(what, error),
  });
  app.get('/healthz', (c) => c.json({ status: 'ok' }));
  app.get('/readyz', (c) => {
    const status = readiness.state(c.req.query('strict') !== undefined);
    const away = readiness.away.map(({ name }) => name);
    if (status === 'ready' || status === 'degraded') return c.json({ status, away });
    const why = status === 'stopping' ? 'the gateway is shutting down' : `not reached: ${away.join(', ')}`;
    throw new HttpFailure('NOT_READY', why, { 'retry-after': '1' });
  });
  app.get('/metrics', async (c) => {
    const caller = access.callerOf(c.req.header('authorization'));
    if (!caller.mayEverywhere('metrics')) throw access.refused(caller, 'metrics', '/metrics');
    return c.body(await registry.metrics(), 200, { 'content-type': registry.contentType });
  });
  let document: object | null = null;
  app.get('/openapi.json', (c) => {
    document ??= openApiDocument(app as never, extras.version, config.access !== 'open');
    return c.json(document);
  });

  const server = createFaceServer(app, listen);
  let requests: QueueRequests | null = null;
  const end = async (): Promise<Closed> => {
    readiness.close();
    await requests?.close();
    await warming.stop();
    const closed = await bw.close();
    await closeSources(sources);
    return closed;
  };
  let port: number;
  try {
    await queuesOpened(config, namespaces.values(), log);
    const directory = config.store.behind?.directory;
    const behind = [...namespaces.values()].filter(({ name }) => config.namespaces.get(name)?.policy === 'behind');
    if (directory !== undefined && behind.length > 0) requests = new QueueRequests(directory, behind, log);
    port = await listenOn(server, listen.port, listen.host, BACKLOG, listen.tls === null ? 'HTTP' : 'HTTPS');
  } catch (error) {
    await end();
    throw error;
  }
  server.on('error', (error) => log.error('the HTTP listener failed', { error: messageOf(error) }));
  void readiness.start();
  warming.start(namespaces.values(), readiness, log);

  let closing: Promise<Closed> | null = null;
  let hurry = (): void => {};
  const isHurried = new Promise<void>((resolve) => {
    hurry = resolve;
  });
  const close = async (): Promise<Closed> => {
    readiness.stopping();
    if (config.shutdown.delayMs > 0) await Promise.race([sleep(config.shutdown.delayMs), isHurried]);
    await closeFaceServer(server as Server, config.shutdown.drainMs);
    return await end();
  };
  return {
    ...declared,
    config,
    port,
    url: urlOf(config, port),
    sources,
    readiness,
    close: (now = false) => {
      if (now) hurry();
      closing ??= close();
      return closing;
    },
  };
}

/** What nobody who asks is told. */
function tellOf(bw: Breakwater, log: Log): void {
  bw.on('dead-letter', ({ cache, id, code, message }) => {
    log.error(`the queued write of ${cache}:${id} was refused for good: a dead letter (breakwater queue)`, {
      code,
      error: message,
    });
  });
}

/** Each source, and a store that is somewhere else. */
function probesOf({ bw }: Declared, sources: ReadonlyMap<string, OpenSource>) {
  const probes = [...sources.values()].map((source) => ({
    name: `source "${source.name}"`,
    ask: (signal: AbortSignal) => source.ping({ signal }),
  }));
  const store = {
    name: 'store',
    ask: async () => {
      const { store } = await bw.stats();
      if (store.numbers === null)
        throw new BreakwaterError('STORE_FAILED', store.lastError ?? 'the store does not answer');
    },
  };
  return [...probes, store];
}

/** @throws HttpFailure `OVERLOADED` */
function beginWrite(writes: Map<string, number>, source: string, most: number): () => void {
  const under = writes.get(source) ?? 0;
  if (under >= most) {
    throw new HttpFailure('OVERLOADED', `${most} writes to "${source}" are under way already`, { 'retry-after': '1' });
  }
  writes.set(source, under + 1);
  return () => writes.set(source, (writes.get(source) ?? 1) - 1);
}

async function closeSources(sources: ReadonlyMap<string, OpenSource>): Promise<void> {
  const all = Promise.allSettled([...sources.values()].map((source) => source.close()));
  await Promise.race([all, sleep(POOLS_MS)]);
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms).unref();
  });
}

function routeOf(method: string, path: string): Route {
  if (path === '/cache/batch-get') return 'batch-get';
  if (path === '/cache/invalidate') return 'invalidate';
  if (!path.startsWith('/cache/')) return 'other';
  const verb = method === 'HEAD' ? 'get' : method.toLowerCase();
  return verb === 'get' || verb === 'put' || verb === 'delete' ? verb : 'other';
}

function urlOf({ listen }: GatewayConfig, port: number): string {
  const host = listen.host === '0.0.0.0' || listen.host === '::' ? '127.0.0.1' : listen.host;
  return `${listen.tls === null ? 'http' : 'https'}://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
