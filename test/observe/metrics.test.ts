/** The table of metrics through prom-client's eyes, and spans and metrics through OpenTelemetry's SDK. */
import assert from 'node:assert/strict';
import { AsyncLocalStorage } from 'node:async_hooks';
import { after, before, describe, test } from 'node:test';
import { type Context, type ContextManager, context, ROOT_CONTEXT, trace } from '@opentelemetry/api';
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { Registry } from 'prom-client';
import { BreakwaterError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { KnownKeys } from '../../src/cache/index.ts';
import { LIBRARY_METRICS } from '../../src/cache/observe/metrics.ts';
import { observeWithOpenTelemetry, openTelemetryName } from '../../src/cache/observe/opentelemetry.ts';
import { OutboxStore } from '../../src/stores/outbox.ts';
import { embeddedTruth, openLibrary, SlowStore, Source } from '../library/support.ts';

/** A cache that has seen a miss and three hits, one of which was compared with the source. */
async function used() {
  const { bw, scheduler } = openLibrary();
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache('row_x_', { load: source.load, sample: { rate: 1 } });
  return { bw, scheduler, source, cache };
}

describe('Prometheus', () => {
  test('the text has the numbers, and prom-client gives the same', async () => {
    const { bw, cache } = await used();
    for (let i = 0; i < 4; i += 1) await cache.get('1');
    await cache.get('none');
    await cache.delete('1');
    await drainPromises();
    const lines = bw.metrics().split('\n');
    for (const line of [
      'breakwater_cache_hits_total{cache="row_x_",tier="l1"} 3',
      'breakwater_cache_misses_total{cache="row_x_"} 2',
      'breakwater_cache_load_duration_seconds_count{cache="row_x_"} 2',
      'breakwater_cache_load_duration_seconds_bucket{cache="row_x_",le="+Inf"} 2',
      'breakwater_cache_sampled_hits_total{cache="row_x_"} 3',
      'breakwater_cache_wrong_hits_total{cache="row_x_"} 0',
      'breakwater_source_breaker_state{source="cache:row_x_"} 0',
      'breakwater_source_queued{source="cache:row_x_",priority="background"} 0',
      'breakwater_lib_invalidations_total 1',
      'breakwater_lib_store_down 0',
      '# TYPE breakwater_cache_load_duration_seconds histogram',
    ]) {
      assert.ok(lines.includes(line), `${line}\n in:\n${lines.join('\n')}`);
    }
    assert.ok(!lines.some((line) => line.includes('feed_')), 'what is not there has no metric');
    const registry = new Registry();
    bw.register(registry);
    const theirs = (await registry.metrics()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    assert.deepEqual(theirs.sort(), lines.filter((line) => line !== '' && !line.startsWith('#')).sort());
    assert.throws(() => bw.register(registry), /already been registered/);
    await bw.close();
  });

  test('the filter of known keys: its rate of false positives as its bits say it, and as it was met', async () => {
    const { bw } = openLibrary();
    const known = new KnownKeys({ seed: 3, expectedKeys: 100, falsePositiveRate: 0.5 });
    const source = new Source();
    source.rows.set('1', 1);
    const cache = bw.cache('row', { load: source.load, known, negativeTtl: 0, l1: false });
    await known.build(['1']);
    const ids = Array.from({ length: 2_000 }, (_, i) => `none:${i}`);
    for (const id of ids) known.add(`added:${id}`);
    await cache.getMany([...ids, '1']);
    const metric = (name: string): number =>
      Number(new RegExp(`^breakwater_cache_${name}\\{cache="row"\\} (\\S+)$`, 'm').exec(bw.metrics())?.[1]);
    const passed = metric('known_passed_but_absent_total');
    assert.equal(passed + metric('filtered_total'), ids.length);
    assert.ok(passed > 0 && metric('filtered_total') > 0);
    assert.ok(Math.abs(metric('known_false_positive_ratio') - passed / ids.length) < 0.1);
    assert.equal(metric('known_ready'), 1);
    assert.equal(metric('known_bytes'), known.stats().sizeBytes);
    await bw.close();
  });

  test('the outbox: how many wait, and for how long', async () => {
    const clock = new ManualScheduler();
    const slow = new SlowStore(embeddedTruth(clock));
    slow.direct = true;
    slow.failing = { what: ['delete', 'invalidate'], error: new BreakwaterError('STORE_UNAVAILABLE', 'gone') };
    const ports = { clock: clock.clock, scheduler: clock, random: new SeededRandom(1) };
    const store = new OutboxStore(slow, { maxEntries: 100, directory: null, timeoutMs: 1_000, ...ports });
    const { bw } = openLibrary({ scheduler: clock, store });
    const cache = bw.cache('row', { load: async (ids) => ids.map((id) => id) });
    await assert.rejects(cache.delete('1'), { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED' });
    await clock.run(7_000);
    const value = (name: string): number =>
      Number(new RegExp(`^breakwater_lib_outbox_${name} (\\S+)$`, 'm').exec(bw.metrics())?.[1]);
    assert.deepEqual([value('length'), value('oldest_seconds'), value('retried_total')], [1, 7, 0]);
    assert.ok(value('failures_total') > 0);
    slow.failing = null;
    await clock.run(6_000);
    assert.deepEqual([value('length'), value('oldest_seconds'), value('retried_total')], [0, 0, 1]);
    await bw.close();
  });

  test('every name is well formed and stands once', () => {
    const names = LIBRARY_METRICS.map(({ name }) => name);
    assert.equal(new Set(names).size, names.length);
    for (const { name, type, help } of LIBRARY_METRICS) {
      assert.match(name, /^breakwater_(?:cache|source|changes|lib)_[a-z0-9_]+$/);
      assert.equal(name.endsWith('_total'), type === 'counter', name);
      assert.match(help, /\.$/);
    }
    assert.equal(openTelemetryName('breakwater_cache_hits_total'), 'breakwater.cache.hits');
    for (const { name } of LIBRARY_METRICS) assert.match(openTelemetryName(name), /^breakwater\.[a-z]+\.[a-z0-9_]+$/);
  });
});

/** What the SDK's own manager does, in the least that a test needs. */
class LocalContexts implements ContextManager {
  readonly #storage = new AsyncLocalStorage<Context>();
  active = (): Context => this.#storage.getStore() ?? ROOT_CONTEXT;
  with = (<F extends (...args: unknown[]) => unknown>(inside: Context, run: F, self: unknown, ...args: unknown[]) =>
    this.#storage.run(inside, () => run.apply(self, args))) as ContextManager['with'];
  bind = <T>(_: Context, target: T): T => target;
  enable = (): this => this;
  disable = (): this => this;
}

describe('OpenTelemetry', () => {
  const spans = new InMemorySpanExporter();
  const provider = new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] });
  const tracer = provider.getTracer('test');
  before(() => {
    context.setGlobalContextManager(new LocalContexts());
  });
  after(() => context.disable());

  test('a load is a span under its first caller, and what the loader does is its child, behind the queue too', async () => {
    const { bw } = openLibrary();
    const stop = observeWithOpenTelemetry(bw, { tracer, meter: false });
    const guard = { concurrency: 1 };
    const load = async (ids: readonly string[]): Promise<readonly string[]> => {
      const query = tracer.startSpan(`query ${ids.join()}`);
      await drainPromises();
      query.end();
      return ids;
    };
    const cache = bw.cache('row', { load, guard, maxBatch: 1 });
    const ask = (id: string): Promise<unknown> => {
      const request = tracer.startSpan(`request ${id}`);
      return context.with(trace.setSpan(context.active(), request), () => cache.get(id)).finally(() => request.end());
    };
    await Promise.all([ask('1'), ask('2')]);
    await cache.delete('1');
    await drainPromises();
    const finished = spans.getFinishedSpans();
    const byName = (name: string) => finished.filter((span) => span.name === name);
    const loads = byName('breakwater load row');
    assert.equal(loads.length, 2);
    for (const id of ['1', '2']) {
      const query = byName(`query ${id}`)[0]!;
      const above = loads.find((span) => span.spanContext().spanId === query.parentSpanContext?.spanId);
      assert.ok(above, `the query of ${id} is within a load`);
    }
    assert.equal(loads[0]?.parentSpanContext?.spanId, byName('request 1')[0]?.spanContext().spanId);
    assert.deepEqual(loads[0]?.attributes, {
      'breakwater.cache': 'row',
      'breakwater.keys': 1,
      'breakwater.background': false,
    });
    assert.deepEqual(byName('breakwater invalidate row')[0]?.attributes, {
      'db.operation.name': 'invalidate',
      'db.namespace': 'row',
      'db.system.name': 'breakwater',
      'breakwater.cache': 'row',
      'breakwater.store': 'embedded',
      'breakwater.keys': 1,
      'breakwater.tags': 0,
      'breakwater.namespaces': 0,
    });
    assert.ok(byName('breakwater read row').length >= 1 && byName('breakwater fill row').length >= 1);
    stop();
    spans.reset();
    await cache.get('3');
    assert.deepEqual(
      spans.getFinishedSpans().map(({ name }) => name),
      ['query 3'],
    );
    await bw.close();
  });

  test('a failed load has the error and its type', async () => {
    spans.reset();
    const { bw } = openLibrary();
    observeWithOpenTelemetry(bw, { tracer, meter: false });
    const cache = bw.cache<string>('row', { load: () => Promise.reject(new TypeError('down')) });
    await assert.rejects(cache.get('1'));
    await drainPromises();
    const span = spans.getFinishedSpans().find(({ name }) => name === 'breakwater load row');
    assert.equal(span?.attributes['error.type'], 'TypeError');
    assert.equal(span?.status.message, 'down');
    await bw.close();
  });

  test('metrics: the same numbers under their names, and a histogram of loads', async () => {
    const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
    const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 });
    const meters = new MeterProvider({ readers: [reader] });
    const { bw, cache } = await used();
    const stop = observeWithOpenTelemetry(bw, { tracer: false, meter: meters.getMeter('test') });
    for (let i = 0; i < 4; i += 1) await cache.get('1');
    await reader.forceFlush();
    const found = new Map(
      exporter.getMetrics()[0]!.scopeMetrics[0]!.metrics.map((metric) => [metric.descriptor.name, metric]),
    );
    const hits = found.get('breakwater.cache.hits')?.dataPoints.find(({ attributes }) => attributes['tier'] === 'l1');
    assert.equal(hits?.value, 3);
    const durations = found.get('breakwater.cache.load_duration')?.dataPoints[0]?.value as { count: number };
    assert.equal(durations.count, 1);
    stop();
    await meters.shutdown();
    await bw.close();
  });
});
