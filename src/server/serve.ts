/**
 * One running node: the deterministic machine of `node/`, a RESP listener and an HTTP server in front of it, one ticker behind it. This
 * file only connects them.
 */
import { randomInt } from 'node:crypto';
import { createServer } from 'node:net';
import { release, totalmem, type } from 'node:os';
import { type Clock, systemClock } from '../base/clock.ts';
import { BreakwaterError, messageOf } from '../base/errors.ts';
import { type Log, SILENT } from '../base/log.ts';
import { SeededRandom } from '../base/random.ts';
import type { StandingRules } from '../cluster/standing.ts';
import { closeFaceServer } from '../http/face.ts';
import { hostCheck, isLoopback } from '../http/host-check.ts';
import { listenOn } from '../http/listen.ts';
import { Node, type NodeOptions } from '../node/node.ts';
import type { NodeSession } from '../node/node-session.ts';
import { ClusterMember } from './cluster/member.ts';
import type { Resolver } from './cluster/resolver.ts';
import type { ClusterConfig, JoiningConfig } from './cluster/settings.ts';
import { statusOf } from './cluster/status.ts';
import { createHttpServer } from './http.ts';
import { LatencyMeter } from './latency.ts';
import { LocalSession } from './local-session.ts';
import { createMetrics } from './metrics.ts';
import { Observer } from './observer.ts';
import { type ListenedNode, RespListener } from './resp-listener.ts';
import type { ServerConfig } from './settings.ts';
import { Ticker } from './ticker.ts';
import { WaitingDoor } from './waiting-door.ts';

export interface ServerExtras {
  /** Breakwater's version, for INFO, the OpenAPI document and the page. */
  readonly version: string;
  /** Default: says nothing. */
  readonly log?: Log;
  /** When ranges go home to a member of a cluster: a test cannot wait as long as an operator should. Default `STANDING_RULES`. */
  readonly balance?: StandingRules;
  /** Names and files, where members of a cluster are looked for. Default: the system's. */
  readonly resolver?: Resolver;
}

export interface RunningServer {
  readonly config: ServerConfig;
  readonly node: Node;
  /** null: a node of its own. */
  readonly member: ClusterMember | null;
  /** The ports listened on: those of the config, or what the operating system picked for 0. */
  readonly respPort: number;
  readonly httpPort: number;
  /** For clients that know nothing of clusters; null: there is none. */
  readonly proxyPort: number | null;
  /**
   * Stops accepting, lets answers under way leave (at most `DRAIN_MS`), closes everything. Idempotent. A member of a cluster first gives its ranges to others, unless
   * `isLeaving` is false.
   */
  close(how?: { readonly isLeaving?: boolean }): Promise<void>;
}

/** How long answers under way may take to leave when the node stops. */
export const DRAIN_MS = 2000;
const HTTP_BACKLOG = 1024;
const IDLE_MS = 1000;

/**
 * Starts a node and resolves when both ports answer.
 * @throws BreakwaterError `LISTEN_FAILED`, `MEMORY_UNAVAILABLE`; of a member of a cluster: `MEMBER_REFUSED`, `MEMBER_FORGOTTEN`, `CLUSTER_DATA_...`
 */
export async function startServer(config: ServerConfig, extras: ServerExtras): Promise<RunningServer> {
  const log = extras.log ?? SILENT;
  const clock = systemClock();
  const options = nodeOptions(config, extras.version, clock.now(), log);
  const cluster = config.cluster ?? config.joining;
  const member = cluster === null ? null : await startMember(config, cluster, options, clock, extras);
  const node = member?.machine.node ?? withMemory(config, () => new Node(options));
  tellHost(node);
  const doors: ListenedNode<NodeSession> = member ?? node;
  const latency = new LatencyMeter();
  const listener = new RespListener<NodeSession>(doors, clock, latency, config);
  if (member !== null) member.onPushes = () => listener.schedulePushes();
  const observer = new Observer(node, listener, latency, config);
  const metrics = createMetrics(
    () => observer.snapshot(),
    latency,
    member === null ? null : () => statusOf(member.parts),
  );
  const local = LocalSession.open(doors, clock, 'http', 'http', () => {
    if (doors.hasPushes) listener.schedulePushes();
  });
  listener.onOthers = (session) => local.onPushed(session);
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
    isReady: () => ready && node.isServing && (member === null || member.isOk),
    cluster: member === null ? null : () => statusOf(member.parts),
    metrics: async () => ({ contentType: metrics.contentType, text: await metrics.metrics() }),
    stats: () => observer.page(),
    onError: (error) =>
      log.error('an HTTP request failed', { error: error instanceof Error ? error.stack : String(error) }),
  });

  let respPort: number;
  let httpPort: number;
  let proxyPort: number | null = null;
  try {
    respPort = await listener.listen(config.port, config.bind);
    if (cluster !== null && cluster.proxyPort !== null) {
      proxyPort = await listener.listenForPlain(cluster.proxyPort, config.bind);
    }
    httpPort = await listenOn(http, config.httpPort, config.bind, HTTP_BACKLOG, 'HTTP');
  } catch (error) {
    await listener.close(0);
    observer.stop();
    await member?.close();
    throw error;
  }
  node.host.port = respPort;
  http.on('error', (error) => log.error('the HTTP listener failed', { error: messageOf(error) }));

  const ticker = new Ticker(
    () => performance.now(),
    () => {
      // A member has a ticker of its own: its time goes on before clients are let in, and while they are let go.
      if (member !== null) return IDLE_MS;
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
  const close = async (isLeaving: boolean): Promise<void> => {
    ready = false;
    if (isLeaving) await member?.leave();
    await Promise.all([listener.close(DRAIN_MS), closeFaceServer(http, DRAIN_MS)]);
    ticker.stop();
    observer.stop();
    local.close();
    await member?.close();
  };
  return {
    config,
    node,
    member,
    respPort,
    httpPort,
    proxyPort,
    close: ({ isLeaving = true } = {}) => {
      closing ??= close(isLeaving);
      return closing;
    },
  };
}

/** Its ports are looked at first: a member that cannot serve should not be given ranges. */
async function startMember(
  config: ServerConfig,
  cluster: ClusterConfig | JoiningConfig,
  node: NodeOptions,
  clock: Clock,
  { log = SILENT, balance, resolver }: ServerExtras,
): Promise<ClusterMember> {
  const { port, httpPort, bind } = config;
  for (const [each, what] of [
    [port, 'RESP'],
    ...(cluster.proxyPort === null ? [] : [[cluster.proxyPort, 'RESP (proxy)'] as const]),
  ] as const) {
    const probe = createServer();
    await listenOn(probe, each, bind, 1, what);
    await new Promise((resolve) => probe.close(resolve));
  }
  const mayAsk = hostCheck(isLoopback(bind), config.httpHosts);
  const door = httpPort === 0 ? null : await WaitingDoor.open(httpPort, bind, mayAsk);
  try {
    return await ClusterMember.start({
      onWaiting: (why) => {
        if (door !== null) door.why = why;
      },
      ...(resolver === undefined ? {} : { resolver }),
      config: cluster,
      bind,
      port,
      httpPort,
      node,
      clock,
      log,
      ...(balance === undefined ? {} : { balance }),
    });
  } catch (error) {
    throw outOfMemory(config, error);
  } finally {
    await door?.close();
  }
}

function nodeOptions(config: ServerConfig, version: string, startMs: number, log: Log): NodeOptions {
  return {
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
  };
}

function withMemory(config: ServerConfig, make: () => Node): Node {
  try {
    return make();
  } catch (error) {
    throw outOfMemory(config, error);
  }
}

function outOfMemory(config: ServerConfig, error: unknown): unknown {
  if (!(error instanceof RangeError)) return error;
  return new BreakwaterError(
    'MEMORY_UNAVAILABLE',
    `cannot take ${config.memoryBytes} bytes of memory: ${error.message}`,
    { cause: error },
  );
}

function tellHost(node: Node): void {
  Object.assign(node.host, {
    processId: process.pid,
    os: `${type()} ${release()} ${process.arch}`,
    runtime: process.version,
    totalMemoryBytes: totalmem(),
    rssBytes: process.memoryUsage.rss(),
  });
}
