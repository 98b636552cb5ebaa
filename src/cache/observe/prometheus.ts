/**
 * The library's metrics in Prometheus's words: as text (`bw.metrics()`), and as metrics of a prom-client registry that the application has (`bw.register`).
 *
 * prom-client is not loaded: a registry asks a metric for `get()` and takes what it is given (it is what its own metrics answer), so an object with the right
 * members is a metric. Who does not use prom-client loads none of it, who does has one registry for everything.
 *
 * Format: https://prometheus.io/docs/instrumenting/exposition_formats (version 0.0.4).
 */
import { invalid } from '../checks.ts';
import {
  type Labels,
  LIBRARY_METRICS,
  LOAD_BUCKETS_SECONDS,
  LOAD_DURATION,
  MICROS_PER_SECOND,
  type Point,
  type Readings,
} from './metrics.ts';

/** As much of a prom-client `Registry` as is used. */
export interface MetricRegistry {
  registerMetric(metric: never): void;
}

interface Sample {
  readonly metricName: string;
  readonly labels: Labels;
  readonly value: number;
}

interface Family {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly read: (readings: Readings) => readonly Sample[];
}

const FAMILIES: readonly Family[] = [
  ...LIBRARY_METRICS.map(({ name, help, type, read }): Family => {
    const sample = ({ labels, value }: Point): Sample => ({ metricName: name, labels, value });
    return { name, help, type, read: (readings) => read(readings).map(sample) };
  }),
  { ...LOAD_DURATION, type: 'histogram', read: readLoadDurations },
];

/** The text of all metrics. */
export function exposition(readings: Readings): string {
  const lines: string[] = [];
  for (const { name, help, type, read } of FAMILIES) {
    const samples = read(readings);
    if (samples.length === 0) continue;
    lines.push(`# HELP ${name} ${help.replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}`, `# TYPE ${name} ${type}`);
    for (const { metricName, labels, value } of samples) lines.push(`${metricName}${labelText(labels)} ${value}`);
  }
  return `${lines.join('\n')}\n`;
}

/** Makes the metrics known to a prom-client registry, which reads them at each scrape. Throws its own error when it has them already. @throws BreakwaterError `CACHE_OPTION_INVALID` */
export function registerWith(registry: MetricRegistry, readings: () => Readings): void {
  if (typeof (registry as Partial<MetricRegistry> | null)?.registerMetric !== 'function') {
    throw invalid('the registry of register', 'one of prom-client', registry);
  }
  for (const { name, help, type, read } of FAMILIES) {
    const metric = {
      name,
      help,
      type,
      aggregator: 'sum',
      get: async () => ({ name, help, type, aggregator: 'sum', values: read(readings()) }),
      reset: () => undefined,
    };
    registry.registerMetric(metric as never);
  }
}

function readLoadDurations({ loadMicros }: Readings): Sample[] {
  const { name } = LOAD_DURATION;
  return Object.entries(loadMicros).flatMap(([cache, histogram]) => [
    ...LOAD_BUCKETS_SECONDS.map((le) => ({
      metricName: `${name}_bucket`,
      labels: { cache, le: String(le) },
      value: histogram.countAtMost(le * MICROS_PER_SECOND),
    })),
    { metricName: `${name}_bucket`, labels: { cache, le: '+Inf' }, value: histogram.count },
    { metricName: `${name}_sum`, labels: { cache }, value: histogram.sum / MICROS_PER_SECOND },
    { metricName: `${name}_count`, labels: { cache }, value: histogram.count },
  ]);
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(
    ([name, value]) => `${name}="${value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`,
  );
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}
