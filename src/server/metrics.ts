/**
 * `/metrics`: Prometheus, filled when it is asked for. Nothing is counted twice: the node counts in plain numbers on its hot path and
 * each scrape reads them (prom-client's `collect()`). One row a metric; docs/metrics.md is generated from the same table.
 */
import { Counter, Gauge, type Metric, Registry } from 'prom-client';
import { CLUSTER_METRICS } from './cluster/metrics.ts';
import type { ClusterStatus } from './cluster/status.ts';
import { FAMILIES, type Family, type LatencyMeter, UNITS_PER_MS } from './latency.ts';
import { counter, gauge, type MetricRow } from './metric-row.ts';
import type { Snapshot } from './observer.ts';

export const METRICS: readonly MetricRow<Snapshot>[] = [
  counter('breakwater_hits_total', 'Lookups that found a live entry.', (s) => s.node.store.hits),
  counter('breakwater_misses_total', 'Lookups that found none.', (s) => s.node.store.misses),
  counter('breakwater_stores_total', 'Entries written, new or replaced.', (s) => s.node.store.stores),
  counter('breakwater_deletions_total', 'Entries deleted because somebody asked.', (s) => s.node.store.deletions),
  counter('breakwater_evictions_total', 'Entries removed to make room.', (s) => s.node.store.evictions),
  counter(
    'breakwater_expirations_total',
    'Entries removed because their time was over.',
    (s) => s.node.store.expirations,
  ),
  counter(
    'breakwater_invalidations_total',
    'Entries removed because their tag or namespace was invalidated (counted when they are reclaimed).',
    (s) => s.node.store.invalidations,
  ),
  counter('breakwater_refused_writes_total', 'Writes refused for want of memory.', (s) => s.node.store.refusals),
  gauge('breakwater_entries', 'Entries held, those expired but not yet removed included.', (s) => s.node.store.entries),
  gauge('breakwater_memory_used_bytes', 'Bytes of all structures of the store.', (s) => s.node.store.usedBytes),
  gauge('breakwater_memory_limit_bytes', 'The configured bound of it.', (s) => s.node.store.memoryBytes),
  gauge('breakwater_memory_live_bytes', 'Bytes of live entries: headers, keys, values.', (s) => s.node.store.liveBytes),
  counter('breakwater_leases_granted_total', 'Misses that were given a lease.', (s) => s.node.leases.granted),
  counter(
    'breakwater_leases_held_total',
    'Misses told that another caller holds the lease.',
    (s) => s.node.leases.held,
  ),
  counter(
    'breakwater_fills_refused_total',
    'Fills refused because their lease was void: stale values that were not stored.',
    (s) => s.node.leases.refused,
  ),
  counter(
    'breakwater_commands_total',
    'Commands executed.',
    (s) => Object.entries(s.node.commands.byName).map(([label, { calls }]) => ({ label, value: calls })),
    'command',
  ),
  counter('breakwater_error_replies_total', 'Replies that were errors.', (s) => s.node.commands.errorReplies),
  counter(
    'breakwater_protocol_errors_total',
    'Connections that sent what is no RESP.',
    (s) => s.node.commands.protocolErrors,
  ),
  counter(
    'breakwater_plain_sets_held_off_total',
    'Plain SETs not stored soon after an invalidation (plain-set: holdoff).',
    (s) => s.node.plainSets.heldOff,
  ),
  counter(
    'breakwater_plain_sets_refused_total',
    'Plain SETs refused (plain-set: refuse).',
    (s) => s.node.plainSets.refused,
  ),
  counter(
    'breakwater_internal_errors_total',
    'Commands and ticks that failed for a bug of the node; its log says more.',
    (s) => s.node.commands.internalErrors,
  ),
  counter(
    'breakwater_internal_resets_total',
    'Times that all entries were thrown away after such a bug.',
    (s) => s.node.commands.internalResets,
  ),
  gauge(
    'breakwater_tables_bytes',
    'Tables of leases, invalidated names and source versions, and the feed: beside the memory limit.',
    (s) =>
      s.node.leases.sizeBytes +
      s.node.tags.sizeBytes +
      s.node.namespaces.sizeBytes +
      s.node.sources.sizeBytes +
      s.node.feed.sizeBytes,
  ),
  gauge('breakwater_feed_subscribers', 'Followers of the invalidation feed.', (s) => s.node.feed.subscribers),
  gauge('breakwater_feed_head', 'Sequence number of the last record published.', (s) => s.node.feed.head),
  gauge(
    'breakwater_feed_acknowledged',
    'What every follower has acknowledged: the least of them; the head when nobody follows.',
    (s) => s.node.feed.acknowledged,
  ),
  gauge('breakwater_feed_lag_records', 'Records that the slowest follower has not been sent.', (s) => s.node.feed.lag),
  gauge('breakwater_feed_bytes', 'Memory of the feed, its names included.', (s) => s.node.feed.sizeBytes),
  counter('breakwater_feed_gaps_total', 'Followers that had to start anew.', (s) => s.node.feed.gaps),
  counter(
    'breakwater_network_received_bytes_total',
    'Bytes of requests (RESP and HTTP bodies as commands).',
    (s) => s.node.network.inputBytes,
  ),
  counter('breakwater_network_sent_bytes_total', 'Bytes of replies.', (s) => s.node.network.outputBytes),
  gauge('breakwater_connections', 'RESP connections open.', (s) => s.connections),
  counter('breakwater_connections_accepted_total', 'RESP connections accepted.', (s) => s.listener.accepted),
  counter(
    'breakwater_connections_closed_total',
    'RESP connections that the node refused or closed, by reason.',
    ({ listener }) => [
      { label: 'max_clients', value: listener.refusedMaxClients },
      { label: 'idle', value: listener.closedIdle },
      { label: 'stalled', value: listener.closedStalled },
      { label: 'memory', value: listener.closedForMemory },
    ],
    'reason',
  ),
  gauge(
    'breakwater_client_buffers_bytes',
    'Held for RESP clients: requests half arrived, replies not yet read.',
    (s) => s.clientBufferBytes,
  ),
  gauge(
    'breakwater_event_loop_lag_p99_seconds',
    'How late timers fired in the last second, 99th percentile.',
    (s) => s.loopLagP99Ms / 1000,
  ),
  gauge(
    'breakwater_event_loop_lag_max_seconds',
    'How late timers fired in the last second, at most.',
    (s) => s.loopLagMaxMs / 1000,
  ),
  gauge('breakwater_uptime_seconds', 'Since the process started.', (s) => s.uptimeSeconds),
  gauge('process_resident_memory_bytes', 'Resident set size.', (s) => s.rssBytes),
  gauge('breakwater_heap_used_bytes', "JavaScript's heap; it does not grow with the entries.", (s) => s.heapUsedBytes),
  counter('process_cpu_user_seconds_total', 'Processor time in user mode.', (s) => s.cpuUserSeconds),
  counter('process_cpu_system_seconds_total', 'Processor time in the kernel.', (s) => s.cpuSystemSeconds),
];

export const LATENCY_METRIC = {
  name: 'breakwater_request_duration_seconds',
  help: 'Time to serve one chunk of input (parse, execute, write), by family of its last command; a pipeline is one chunk.',
} as const;

const BUCKETS_SECONDS = [
  0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1,
];

/**
 * A registry that reads `snapshot()` once per scrape.
 * @param cluster of a member of a cluster; null: the node is none
 */
export function createMetrics(
  snapshot: () => Snapshot,
  latency: LatencyMeter,
  cluster: (() => ClusterStatus) | null,
): Registry {
  const registry = new Registry();
  const take = oncePerTurn(snapshot);
  for (const row of METRICS) registry.registerMetric(makeMetric(row, take));
  registry.registerMetric(latencyHistogram(latency));
  if (cluster !== null) {
    const status = oncePerTurn(cluster);
    for (const row of CLUSTER_METRICS) registry.registerMetric(makeMetric(row, status));
  }
  return registry;
}

/** All collect() of one scrape run in the same turn: they share what was read. */
function oncePerTurn<S>(read: () => S): () => S {
  let current: S | null = null;
  return () => {
    if (current === null) {
      current = read();
      queueMicrotask(() => {
        current = null;
      });
    }
    return current;
  };
}

function makeMetric<S>({ name, type, help, label, read }: MetricRow<S>, take: () => S): Metric {
  const labelNames = label === undefined ? [] : [label];
  const fill = (set: (labels: Record<string, string>, value: number) => void): void => {
    const reading = read(take());
    if (typeof reading === 'number') set({}, reading);
    else for (const each of reading) set({ [label!]: each.label }, each.value);
  };
  if (type === 'gauge') {
    return new Gauge({
      name,
      help,
      labelNames,
      registers: [],
      collect() {
        // A label value may be gone: a member that left.
        this.reset();
        fill((labels, value) => this.set(labels, value));
      },
    });
  }
  return new Counter({
    name,
    help,
    labelNames,
    registers: [],
    collect() {
      this.reset();
      fill((labels, value) => this.inc(labels, value));
    },
  });
}

/** prom-client's own Histogram must be told every observation; ours has them already, so only its text form is made here. */
function latencyHistogram(latency: LatencyMeter): Metric {
  const { name, help } = LATENCY_METRIC;
  const values = (family: Family): object[] => {
    const histogram = latency.total(family);
    const labels = { family: FAMILIES[family] };
    const scale = UNITS_PER_MS * 1000;
    return [
      ...BUCKETS_SECONDS.map((le) => ({
        metricName: `${name}_bucket`,
        labels: { ...labels, le },
        value: histogram.countAtMost(le * scale),
      })),
      { metricName: `${name}_bucket`, labels: { ...labels, le: '+Inf' }, value: histogram.count },
      { metricName: `${name}_sum`, labels, value: histogram.sum / scale },
      { metricName: `${name}_count`, labels, value: histogram.count },
    ];
  };
  const metric = {
    name,
    help,
    type: 'histogram',
    aggregator: 'sum',
    get: async () => ({
      name,
      help,
      type: 'histogram',
      aggregator: 'sum',
      values: [values(0), values(1), values(2)].flat(),
    }),
    reset: () => {},
  };
  return metric as unknown as Metric;
}
