/**
 * `breakwater/opentelemetry`: spans and metrics through `@opentelemetry/api` alone, so that the application chooses the SDK, or none. A module of its own,
 * because the library's import path loads no package: who does not import this one does not load the API.
 *
 *     import { observeWithOpenTelemetry } from 'breakwater/opentelemetry';
 *     const stop = observeWithOpenTelemetry(bw);
 *
 * Spans: a load (INTERNAL; what the loader does, a query say, is its child, also when it had to wait for its turn at the guard), a read of L2, a fill, a set and
 * an invalidation (CLIENT). The parent is whatever was active when the first caller asked; callers who join a flight have no span of their own. L1 hits have
 * none: they would cost more than the hit.
 *
 * Attributes: the semantic conventions for databases where they have a word (`db.system.name`, `db.operation.name`, `db.operation.batch.size`, `db.namespace`,
 * `error.type`); for caches they have none, so the rest is `breakwater.*`. No ids and no values: they may be personal, and there are too many of them.
 *
 * Metrics: the table of `metrics.ts` under OpenTelemetry's names (`breakwater.cache.hits`), read when the SDK collects; and a histogram of load durations.
 */
import {
  type Attributes,
  type Context,
  context,
  type Meter,
  metrics,
  type Span,
  SpanKind,
  SpanStatusCode,
  type Tracer,
  trace,
} from '@opentelemetry/api';
import { BreakwaterError } from '../../base/errors.ts';
import type { Breakwater } from '../breakwater.ts';
import type { Operation, Traced } from './events.ts';
import { LIBRARY_METRICS, LOAD_BUCKETS_SECONDS, LOAD_DURATION } from './metrics.ts';

export interface OpenTelemetryOptions {
  /** Default: the global one, named `breakwater`. `false`: no spans. */
  readonly tracer?: Tracer | false;
  /** Default: the global one, named `breakwater`. `false`: no metrics. */
  readonly meter?: Meter | false;
}

const NAME = 'breakwater';
const MS_PER_SECOND = 1000;

/** Shows `bw` to OpenTelemetry until what it gives back is called. */
export function observeWithOpenTelemetry(bw: Breakwater, options: OpenTelemetryOptions = {}): () => void {
  const { tracer = trace.getTracer(NAME), meter = metrics.getMeter(NAME) } = options;
  const stops: (() => void)[] = [];
  if (tracer !== false) stops.push(bw.watch.addTracer((operation) => beginSpan(tracer, operation)));
  if (meter !== false) stops.push(observeMetrics(bw, meter));
  return () => {
    for (const stop of stops) stop();
  };
}

/** Prometheus's name in OpenTelemetry's words. */
export function openTelemetryName(name: string): string {
  return name.replace(/_(?:total|seconds)$/, '').replace(/^breakwater_(cache|source|changes|lib)_/, 'breakwater.$1.');
}

function beginSpan(tracer: Tracer, operation: Operation): Traced {
  const span = tracer.startSpan(spanName(operation), {
    kind: operation.kind === 'load' ? SpanKind.INTERNAL : SpanKind.CLIENT,
    attributes: attributesOf(operation),
  });
  const inside: Context = trace.setSpan(context.active(), span);
  return {
    within: (run) => context.with(inside, run),
    end: (error) => endSpan(span, error),
  };
}

function spanName({ kind, context: { cache } }: Operation): string {
  return cache === null ? `breakwater ${kind}` : `breakwater ${kind} ${cache}`;
}

function attributesOf(operation: Operation): Attributes {
  const { cache } = operation.context;
  const attributes: Attributes = { 'db.operation.name': operation.kind };
  if (cache !== null) {
    attributes['db.namespace'] = cache;
    attributes['breakwater.cache'] = cache;
  }
  if (operation.kind === 'load') {
    const { ids, isBackground } = operation.context;
    return { 'breakwater.cache': cache!, 'breakwater.keys': ids.length, 'breakwater.background': isBackground };
  }
  const { store, keys } = operation.context;
  attributes['db.system.name'] = store === 'embedded' ? 'breakwater' : store;
  attributes['breakwater.store'] = store;
  attributes['breakwater.keys'] = keys;
  if (keys > 1) attributes['db.operation.batch.size'] = keys;
  if (operation.kind === 'invalidate') {
    attributes['breakwater.tags'] = operation.context.tags;
    attributes['breakwater.namespaces'] = operation.context.namespaces;
  }
  return attributes;
}

function endSpan(span: Span, error: unknown): void {
  if (error !== undefined) {
    const thrown = error instanceof Error ? error : new Error(String(error));
    span.recordException(thrown);
    span.setAttribute('error.type', error instanceof BreakwaterError ? error.code : thrown.name);
    span.setStatus({ code: SpanStatusCode.ERROR, message: thrown.message });
  }
  span.end();
}

function observeMetrics(bw: Breakwater, meter: Meter): () => void {
  const rows = LIBRARY_METRICS.map(({ name, type, help, read }) => {
    const unit = name.endsWith('_seconds') ? 's' : name.endsWith('_bytes') ? 'By' : '1';
    const options = { description: help, unit };
    const instrument =
      type === 'counter'
        ? meter.createObservableCounter(openTelemetryName(name), options)
        : meter.createObservableGauge(openTelemetryName(name), options);
    return { instrument, read };
  });
  const instruments = rows.map(({ instrument }) => instrument);
  const collect: Parameters<Meter['addBatchObservableCallback']>[0] = (result) => {
    const readings = bw.readings();
    for (const { instrument, read } of rows) {
      for (const { labels, value } of read(readings)) result.observe(instrument, value, labels);
    }
  };
  meter.addBatchObservableCallback(collect, instruments);
  const durations = meter.createHistogram(openTelemetryName(LOAD_DURATION.name), {
    description: LOAD_DURATION.help,
    unit: 's',
    advice: { explicitBucketBoundaries: [...LOAD_BUCKETS_SECONDS] },
  });
  const off = bw.on('load', ({ cache, durationMs }) => durations.record(durationMs / MS_PER_SECOND, { cache }));
  return () => {
    meter.removeBatchObservableCallback(collect, instruments);
    off();
  };
}
