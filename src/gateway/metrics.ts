/**
 * What a gateway counts beside its Breakwater: requests and answers. Numbers in plain maps, read when somebody scrapes; one row a metric, from which docs/metrics.md
 * is generated. Labels have few values by construction: routes, namespaces and sources of the file, statuses. Nothing that a client sends becomes a label.
 */
import type { Registry } from 'prom-client';
import { Histogram } from '../base/histogram.ts';
import type { Tier } from '../cache/types.ts';
import type { Namespace } from './namespaces.ts';
import type { OpenSource } from './sources.ts';
import { OUTCOMES, type Warming } from './warming.ts';

/** What a request was, in a word that clients cannot choose. */
export type Route = 'get' | 'put' | 'delete' | 'batch-get' | 'invalidate' | 'other';

export const GATEWAY_METRICS = [
  {
    name: 'breakwater_gateway_requests_total',
    type: 'counter',
    labels: ['route', 'status'],
    help: 'Requests answered.',
  },
  { name: 'breakwater_gateway_requests_in_flight', type: 'gauge', labels: [], help: 'Requests being answered.' },
  {
    name: 'breakwater_gateway_answers_total',
    type: 'counter',
    labels: ['namespace', 'from'],
    help: 'Keys answered, by the tier that did: l1, l2, loader, stale, filter.',
  },
  {
    name: 'breakwater_gateway_failures_total',
    type: 'counter',
    labels: ['namespace', 'code'],
    help: 'Keys and writes that failed, by code.',
  },
  {
    name: 'breakwater_gateway_pool_connections',
    type: 'gauge',
    labels: ['source', 'state'],
    help: 'Connections of a pool that are busy or idle, and calls that wait for one.',
  },
  {
    name: 'breakwater_gateway_source_up',
    type: 'gauge',
    labels: ['source'],
    help: 'Whether the source answered when it was last asked (every 2 s): 1 or 0.',
  },
  { name: 'breakwater_gateway_writes_in_flight', type: 'gauge', labels: ['source'], help: 'Writes under way.' },
  {
    name: 'breakwater_gateway_replica_ids_total',
    type: 'counter',
    labels: ['namespace', 'from'],
    help: 'Ids loaded where there are replicas, by who was asked: replica, primary.',
  },
  {
    name: 'breakwater_gateway_replica_failures_total',
    type: 'counter',
    labels: ['namespace'],
    help: 'Times that a replica could not be used, and the primary was.',
  },
  {
    name: 'breakwater_gateway_warmed_total',
    type: 'counter',
    labels: ['namespace', 'outcome'],
    help: 'Ids that warming at the start has done: loaded, present, absent, refused, elsewhere, failed.',
  },
  {
    name: 'breakwater_gateway_warming',
    type: 'gauge',
    labels: ['namespace'],
    help: '1 while the namespace is being warmed.',
  },
] as const;

export const REQUEST_DURATION = {
  name: 'breakwater_gateway_request_duration_seconds',
  type: 'histogram',
  labels: ['route'],
  help: 'From the headers of a request to its answer.',
} as const;

const BUCKETS_SECONDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const MICROS_PER_SECOND = 1_000_000;

interface Value {
  readonly metricName?: string;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly value: number;
}

/** Sums by a few labels. */
class Tally {
  readonly #sums = new Map<string, { readonly labels: readonly string[]; value: number }>();

  add(...labels: readonly string[]): void {
    const key = labels.join('\n');
    const found = this.#sums.get(key);
    if (found === undefined) this.#sums.set(key, { labels, value: 1 });
    else found.value += 1;
  }

  values(names: readonly string[]): Value[] {
    return [...this.#sums.values()].map(({ labels, value }) => ({
      labels: Object.fromEntries(names.map((name, index) => [name, labels[index]!])),
      value,
    }));
  }
}

export class GatewayMetrics {
  readonly #requests = new Tally();
  readonly #answers = new Tally();
  readonly #failures = new Tally();
  readonly #durations = new Map<Route, Histogram>();
  inFlight = 0;

  request(route: Route, status: number, micros: number): void {
    this.#requests.add(route, String(status));
    let histogram = this.#durations.get(route);
    if (histogram === undefined) {
      histogram = new Histogram();
      this.#durations.set(route, histogram);
    }
    histogram.record(micros);
  }

  answer(namespace: string, from: Tier): void {
    this.#answers.add(namespace, from);
  }

  failure(namespace: string, code: string): void {
    this.#failures.add(namespace, code);
  }

  /** Makes them known to a registry, which reads them at each scrape. */
  register(
    registry: Registry,
    sources: ReadonlyMap<string, OpenSource>,
    isUp: (source: string) => boolean,
    writes: ReadonlyMap<string, number>,
    namespaces: ReadonlyMap<string, Namespace>,
    warming: Warming,
  ): void {
    const replicated = [...namespaces.values()].flatMap(({ name, rows }) =>
      rows?.replicas == null ? [] : [{ namespace: name, stats: rows.replicas }],
    );
    const warmed = [...namespaces.values()].filter(({ values }) => values.warm !== undefined);
    const readers: Readonly<Record<(typeof GATEWAY_METRICS)[number]['name'], () => Value[]>> = {
      breakwater_gateway_requests_total: () => this.#requests.values(['route', 'status']),
      breakwater_gateway_requests_in_flight: () => [{ labels: {}, value: this.inFlight }],
      breakwater_gateway_answers_total: () => this.#answers.values(['namespace', 'from']),
      breakwater_gateway_failures_total: () => this.#failures.values(['namespace', 'code']),
      breakwater_gateway_pool_connections: () => [...sources.values()].flatMap(poolValues),
      breakwater_gateway_source_up: () =>
        [...sources.keys()].map((source) => ({ labels: { source }, value: isUp(source) ? 1 : 0 })),
      breakwater_gateway_writes_in_flight: () => [...writes].map(([source, value]) => ({ labels: { source }, value })),
      breakwater_gateway_replica_ids_total: () =>
        replicated.flatMap(({ namespace, stats }) => {
          const { replicaIds, primaryIds } = stats();
          return [
            { labels: { namespace, from: 'replica' }, value: replicaIds },
            { labels: { namespace, from: 'primary' }, value: primaryIds },
          ];
        }),
      breakwater_gateway_replica_failures_total: () =>
        replicated.map(({ namespace, stats }) => ({ labels: { namespace }, value: stats().failures })),
      breakwater_gateway_warmed_total: () =>
        warmed.flatMap(({ name: namespace }) =>
          OUTCOMES.map((outcome) => ({
            labels: { namespace, outcome },
            value: warming.progress.get(namespace)?.[outcome] ?? 0,
          })),
        ),
      breakwater_gateway_warming: () =>
        warmed.map(({ name: namespace }) => ({ labels: { namespace }, value: warming.now === namespace ? 1 : 0 })),
    };
    for (const { name, type, help } of GATEWAY_METRICS)
      registry.registerMetric(metric(name, type, help, readers[name]));
    const { name, type, help } = REQUEST_DURATION;
    registry.registerMetric(metric(name, type, help, () => this.#durationValues()));
  }

  #durationValues(): Value[] {
    const { name } = REQUEST_DURATION;
    return [...this.#durations].flatMap(([route, histogram]) => [
      ...BUCKETS_SECONDS.map((le) => ({
        metricName: `${name}_bucket`,
        labels: { route, le },
        value: histogram.countAtMost(le * MICROS_PER_SECOND),
      })),
      { metricName: `${name}_bucket`, labels: { route, le: '+Inf' }, value: histogram.count },
      { metricName: `${name}_sum`, labels: { route }, value: histogram.sum / MICROS_PER_SECOND },
      { metricName: `${name}_count`, labels: { route }, value: histogram.count },
    ]);
  }
}

function poolValues(source: OpenSource): Value[] {
  const pool = source.pool();
  if (pool === null) return [];
  const states = { busy: pool.total - pool.idle, idle: pool.idle, waiting: pool.waiting };
  return Object.entries(states).map(([state, value]) => ({ labels: { source: source.name, state }, value }));
}

/** prom-client asks a metric for `get()` and takes what it is given: no second count is kept for it. */
function metric(name: string, type: string, help: string, read: () => Value[]): never {
  return {
    name,
    type,
    help,
    aggregator: 'sum',
    get: async () => ({ name, type, help, aggregator: 'sum', values: read() }),
    reset: () => undefined,
  } as never;
}
