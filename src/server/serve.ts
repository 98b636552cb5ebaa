/**
 * One running node: the deterministic machine of `node/`, a RESP listener and an HTTP server in front of it, one ticker behind it. This
 * file only connects them.
 */
import { randomInt } from 'node:crypto';
import { release, totalmem, type } from 'node:os';
import { systemClock } from '../base/clock.ts';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { type Log, SILENT } from '../base/log.ts';
import { SeededRandom } from '../base/random.ts';
import { closeFaceServer } from '../http/face.ts';
import { hostCheck, isLoopback } from '../http/host-check.ts';
import { listenOn } from '../http/listen.ts';
import { Node } from '../node/node.ts';
import type { NodeSession } from '../node/node-session.ts';
import { createHttpServer } from './http.ts';
import { LatencyMeter } from './latency.ts';
import { LocalSession } from './local-session.ts';
import { createMetrics } from './metrics.ts';
import { Observer } from './observer.ts';
import { RespListener } from './resp-listener.ts';
import type { ServerConfig } from './settings.ts';
import { Ticker } from './ticker.ts';

export interface ServerExtras {
  /** Breakwater's version, for INFO, the OpenAPI document and the page. */
  readonly version: string;
  /** Default: says nothing. */
  readonly log?: Log;
}

export interface RunningServer {
  readonly config: ServerConfig;
  readonly node: Node;
  /** The ports listened on: those of the config, or what the operating system picked for 0. */
  readonly respPort: number;
  readonly httpPort: number;
  /** Stops accepting, lets answers under way leave (at most `DRAIN_MS`), closes everything. Idempotent. */
  close(): Promise<void>;
}

/** How long answers under way may take to leave when the node stops. */
export const DRAIN_MS = 2000;
const HTTP_BACKLOG = 1024;

/**
 * Starts a node and resolves when both ports answer.
 * @throws BreakwaterError `LISTEN_FAILED`, `MEMORY_UNAVAILABLE`
 */
export async function startServer(config: ServerConfig, extras: ServerExtras): Promise<RunningServer> {
  const log = extras.log ?? SILENT;
  const clock = systemClock();
  const node = makeNode(config, extras.version, clock.now(), log);
  const latency = new LatencyMeter();
  const listener = new RespListener<NodeSession>(node, clock, latency, config);
  const observer = new Observer(node, listener, latency, config);
  const metrics = createMetrics(() => observer.snapshot(), latency);
  const local = LocalSession.open(node, clock, 'http', 'http', () => {
    if (node.hasPushes) listener.schedulePushes();
  });
  let ready = false;
  const http = createHttpServer({
    session: local,
    version: extras.version,
    runId: node.id,
    maxValueBytes: config.maxValueBytes,
    clientMemoryBytes: config.clientMemoryBytes,
    stallTimeoutMs: config.stallTimeoutMs,
    maxClients: config.maxClients,
    isHostAllowed: hostCheck(isLoopback(config.bind), config.httpHosts),
    isReady: () => ready && node.isServing,
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.metrics() }),
    stats: () => observer.page(),
    onError: (error) =>
      log.error('an HTTP request failed', { error: error instanceof Error ? error.stack : String(error) }),
  });

  let respPort: number;
  let httpPort: number;
  try {
    respPort = await listener.listen(config.port, config.bind);
    httpPort = await listenOn(http, config.httpPort, config.bind, HTTP_BACKLOG, 'HTTP');
  } catch (error) {
    await listener.close(0);
    observer.stop();
    throw error;
  }
  node.host.port = respPort;
  http.on('error', (error) => log.error('the HTTP listener failed', { error: messageOf(error) }));

  const ticker = new Ticker(
    () => performance.now(),
    () => {
      const wantedMs = node.onTick(clock.now());
      if (node.hasPushes) listener.schedulePushes();
      return wantedMs;
    },
    () => {
      listener.tick(Math.floor(clock.now()));
      observer.onSecond();
    },
  );
  ticker.start();
  ready = true;

  let closing: Promise<void> | null = null;
  const close = async (): Promise<void> => {
    ready = false;
    await Promise.all([listener.close(DRAIN_MS), closeFaceServer(http, DRAIN_MS)]);
    ticker.stop();
    observer.stop();
    local.close();
  };
  return {
    config,
    node,
    respPort,
    httpPort,
    close: () => {
      closing ??= close();
      return closing;
    },
  };
}

function makeNode(config: ServerConfig, version: string, startMs: number, log: Log): Node {
  let node: Node;
  try {
    node = new Node({
      memoryBytes: config.memoryBytes,
      eviction: config.eviction,
      random: new SeededRandom(randomInt(2 ** 32)),
      hashSeed: randomInt(2 ** 32),
      startMs,
      version,
      onInternalError: (error, where) =>
        log.error('a bug: everything was thrown away unless memory was wanting', {
          where,
          error: error instanceof Error ? error.stack : String(error),
        }),
      maxValueBytes: config.maxValueBytes,
      maxClients: config.maxClients,
      plainSet: config.plainSet,
      parameters: {
        bind: config.bind,
        port: String(config.port),
        timeout: String(Math.ceil(config.idleTimeoutMs / 1000)),
      },
    });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new BreakwaterError(
      'MEMORY_UNAVAILABLE',
      `cannot take ${config.memoryBytes} bytes of memory: ${error.message}`,
      { cause: error },
    );
  }
  Object.assign(node.host, {
    processId: process.pid,
    os: `${type()} ${release()} ${process.arch}`,
    runtime: process.version,
    totalMemoryBytes: totalmem(),
    rssBytes: process.memoryUsage.rss(),
  });
  return node;
}
