/**
 * What the server knows about itself at a moment: the node's counters, the listener's, the process's. `/metrics`, `/stats.json` and the
 * page are three views of this one snapshot.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Node } from '../node/node.ts';
import type { NodeSession } from '../node/node-session.ts';
import type { NodeStats } from '../node/node-stats.ts';
import { History } from './history.ts';
import type { LatencyMeter } from './latency.ts';
import type { ListenerCounters, RespListener } from './resp-listener.ts';
import type { ServerConfig } from './settings.ts';

/** How often the event loop's delay is sampled; the histogram's values contain it. */
const LAG_RESOLUTION_MS = 20;
const NS_PER_MS = 1e6;

export interface Snapshot {
  readonly node: NodeStats;
  readonly connections: number;
  readonly listener: Readonly<ListenerCounters>;
  readonly clientBufferBytes: number;
  readonly uptimeSeconds: number;
  readonly rssBytes: number;
  readonly heapUsedBytes: number;
  readonly cpuUserSeconds: number;
  readonly cpuSystemSeconds: number;
  /** Of the time since the last second began: how late timers fired. */
  readonly loopLagP99Ms: number;
  readonly loopLagMaxMs: number;
}

export class Observer {
  readonly latency: LatencyMeter;
  readonly #node: Node;
  readonly #listener: RespListener<NodeSession>;
  readonly #config: ServerConfig;
  readonly #history = new History();
  readonly #lag = monitorEventLoopDelay({ resolution: LAG_RESOLUTION_MS });
  #lagP99Ms = 0;
  #lagMaxMs = 0;
  #last = { atMs: performance.now(), operations: 0, hits: 0, misses: 0 };

  constructor(node: Node, listener: RespListener<NodeSession>, latency: LatencyMeter, config: ServerConfig) {
    this.#node = node;
    this.#listener = listener;
    this.latency = latency;
    this.#config = config;
    this.#lag.enable();
  }

  /** Once a second: takes the sample of the page and tells the node the facts that INFO shows. */
  onSecond(): void {
    this.latency.roll();
    const [p50Ms, p99Ms] = this.latency.recentQuantilesMs(0.5, 0.99);
    const { store, commands } = this.#node.stats();
    const { hits, misses, usedBytes, entries } = store;
    const atMs = performance.now();
    const seconds = (atMs - this.#last.atMs) / 1000; // a busy loop fires late
    const lookups = hits + misses - this.#last.hits - this.#last.misses;
    this.#history.push({
      operations: Math.round((commands.processed - this.#last.operations) / seconds),
      hitRatio: lookups <= 0 ? Number.NaN : (hits - this.#last.hits) / lookups,
      usedBytes,
      entries,
      p50Ms: p50Ms!,
      p99Ms: p99Ms!,
    });
    this.#last = { atMs, operations: commands.processed, hits, misses };
    this.#lagP99Ms = Math.max(0, this.#lag.percentile(99) / NS_PER_MS - LAG_RESOLUTION_MS);
    this.#lagMaxMs = Math.max(0, this.#lag.max / NS_PER_MS - LAG_RESOLUTION_MS);
    this.#lag.reset();
    this.#tellHost();
  }

  snapshot(): Snapshot {
    const cpu = process.cpuUsage();
    const memory = process.memoryUsage();
    return {
      node: this.#node.stats(),
      connections: this.#listener.connectionCount,
      listener: this.#listener.counters,
      clientBufferBytes: this.#listener.heldBytes,
      uptimeSeconds: process.uptime(),
      rssBytes: memory.rss,
      heapUsedBytes: memory.heapUsed,
      cpuUserSeconds: cpu.user / 1e6,
      cpuSystemSeconds: cpu.system / 1e6,
      loopLagP99Ms: this.#lagP99Ms,
      loopLagMaxMs: this.#lagMaxMs,
    };
  }

  /** What `GET /stats.json` answers. Documented in docs/metrics.md; may gain fields. */
  page(): object {
    const { node, ...process_ } = this.snapshot();
    const history = this.#history.columns();
    const { store, commands } = node;
    const [p50Ms, p99Ms] = this.latency.recentQuantilesMs(0.5, 0.99);
    const lookups = store.hits + store.misses;
    return {
      node: {
        id: node.id,
        version: node.version,
        uptimeSeconds: process_.uptimeSeconds,
        eviction: this.#config.eviction,
        runtime: `Node.js ${process.versions.node}`,
      },
      now: {
        operationsPerSecond: history.operations.at(-1) ?? 0,
        hitRatio: history.hitRatio.at(-1) ?? null,
        p50Ms,
        p99Ms,
        loopLagP99Ms: process_.loopLagP99Ms,
        connections: process_.connections,
        entries: store.entries,
        usedBytes: store.usedBytes,
        memoryBytes: store.memoryBytes,
        rssBytes: process_.rssBytes,
        clientBufferBytes: process_.clientBufferBytes,
      },
      sinceStart: {
        hits: store.hits,
        misses: store.misses,
        hitRatio: lookups === 0 ? null : store.hits / lookups,
        evictions: store.evictions,
        expirations: store.expirations,
        invalidations: store.invalidations,
        operations: commands.processed,
        errorReplies: commands.errorReplies,
        leasesGranted: node.leases.granted,
        leasesRefused: node.leases.refused,
        connectionsAccepted: process_.listener.accepted,
        connectionsRefused: process_.listener.refusedMaxClients,
        connectionsClosed:
          process_.listener.closedIdle + process_.listener.closedStalled + process_.listener.closedForMemory,
      },
      history: { stepSeconds: 1, ...history },
    };
  }

  stop(): void {
    this.#lag.disable();
  }

  #tellHost(): void {
    const { host } = this.#node;
    const { rssBytes, heapUsedBytes, cpuUserSeconds, cpuSystemSeconds } = this.snapshot();
    Object.assign(host, { rssBytes, heapUsedBytes, cpuUserSeconds, cpuSystemSeconds });
  }
}
