/**
 * The library's metrics: one table, read when somebody asks. Nothing is counted for them; a scrape reads the numbers that caches, guards, feed and sampler
 * keep anyway. Prometheus (`prometheus.ts`) and OpenTelemetry (`opentelemetry.ts`) are two views of this table, and docs/metrics.md is generated from it.
 *
 * Names begin with `breakwater_cache_`, `breakwater_source_`, `breakwater_changes_` or `breakwater_lib_`: a node's own begin otherwise, so one registry can hold both.
 */
import type { Histogram } from '../../base/histogram.ts';
import type { OutboxStats } from '../../stores/store.ts';
import type { ChangeStats } from '../changes/port.ts';
import type { BreakerState } from '../guard/breaker.ts';
import type { GuardStats } from '../guard/stats.ts';
import type { CacheStats } from '../types.ts';

/** What is known without asking anybody else. */
export interface Readings {
  readonly store: { readonly kind: string; readonly isDown: boolean };
  readonly feed: {
    readonly isInTime: boolean;
    readonly boundMs: number;
    readonly lagMs: number | null;
    readonly records: number;
    readonly suspects: number;
  } | null;
  readonly caches: Readonly<Record<string, CacheStats>>;
  readonly sources: Readonly<Record<string, GuardStats>>;
  readonly changes: Readonly<Record<string, ChangeStats>>;
  readonly invalidations: number;
  readonly unacknowledged: number;
  readonly listenerFailures: number;
  /** null = there is none: the store acknowledges everything at once. */
  readonly outbox: OutboxStats | null;
  /** Of the loader's calls, microseconds, by cache. */
  readonly loadMicros: Readonly<Record<string, Histogram>>;
}

export type Labels = Readonly<Record<string, string>>;

export interface Point {
  readonly labels: Labels;
  readonly value: number;
}

export interface MetricRow {
  readonly name: string;
  readonly type: 'counter' | 'gauge';
  readonly help: string;
  readonly labels: readonly string[];
  readonly read: (readings: Readings) => readonly Point[];
}

/** Sampled, so `0` is as much of an answer as any. */
const BREAKER_NUMBERS: Readonly<Record<BreakerState | 'none', number>> = {
  none: 0,
  closed: 0,
  'half-open': 1,
  open: 2,
};

type OfCache = (stats: CacheStats) => number | null;

const perCache =
  (read: OfCache) =>
  ({ caches }: Readings): Point[] =>
    Object.entries(caches).flatMap(([cache, stats]) => {
      const value = read(stats);
      return value === null ? [] : [{ labels: { cache }, value }];
    });

const cacheCounter = (name: string, help: string, read: OfCache): MetricRow => ({
  name: `breakwater_cache_${name}_total`,
  type: 'counter',
  help,
  labels: ['cache'],
  read: perCache(read),
});

const cacheGauge = (name: string, help: string, read: OfCache): MetricRow => ({
  name: `breakwater_cache_${name}`,
  type: 'gauge',
  help,
  labels: ['cache'],
  read: perCache(read),
});

const sourceRow = (
  name: string,
  type: MetricRow['type'],
  help: string,
  read: (stats: GuardStats) => number | readonly (readonly [label: string, value: number])[],
  label?: string,
): MetricRow => ({
  name: `breakwater_source_${name}`,
  type,
  help,
  labels: label === undefined ? ['source'] : ['source', label],
  read: ({ sources }) =>
    Object.entries(sources).flatMap(([source, stats]) => {
      const value = read(stats);
      if (typeof value === 'number') return [{ labels: { source }, value }];
      return value.map(([of, one]) => ({ labels: { source, [label!]: of }, value: one }));
    }),
});

const changesRow = (
  name: string,
  type: MetricRow['type'],
  help: string,
  read: (stats: ChangeStats) => number | null,
): MetricRow => ({
  name: `breakwater_changes_${name}`,
  type,
  help,
  labels: ['stream'],
  read: ({ changes }) =>
    Object.entries(changes).flatMap(([stream, stats]) => {
      const value = read(stats);
      return value === null ? [] : [{ labels: { stream }, value }];
    }),
});

const whole = (
  name: string,
  type: MetricRow['type'],
  help: string,
  read: (readings: Readings) => number | null,
): MetricRow => ({
  name: `breakwater_lib_${name}`,
  type,
  help,
  labels: [],
  read: (readings) => {
    const value = read(readings);
    return value === null ? [] : [{ labels: {}, value }];
  },
});

export const LIBRARY_METRICS: readonly MetricRow[] = [
  {
    name: 'breakwater_cache_hits_total',
    type: 'counter',
    help: 'Gets answered within the TTL, by tier; negative hits included.',
    labels: ['cache', 'tier'],
    read: ({ caches }) =>
      Object.entries(caches).flatMap(([cache, { l1Hits, l2Hits }]) => [
        { labels: { cache, tier: 'l1' }, value: l1Hits },
        { labels: { cache, tier: 'l2' }, value: l2Hits },
      ]),
  },
  cacheCounter('negative_hits', 'Of the hits, those that said "known absent".', (s) => s.negativeHits),
  cacheCounter('stale_served', 'Answers past their TTL, within the grace.', (s) => s.staleHits),
  cacheCounter('misses', 'Keys that neither tier had.', (s) => s.misses),
  cacheCounter('joined', 'Callers that joined a flight instead of starting one.', (s) => s.joined),
  cacheCounter('loads', 'Calls of the loader.', (s) => s.loads),
  cacheCounter('loaded_ids', 'Ids that the loader was asked for.', (s) => s.loadedIds),
  cacheCounter(
    'load_errors',
    'Calls of the loader that failed, and ids for which one brought an error.',
    (s) => s.loadErrors,
  ),
  cacheCounter('load_timeouts', 'Of them, those that ran out of time.', (s) => s.loadTimeouts),
  cacheCounter('reloads', 'Reloads in the background, early or of a stale value.', (s) => s.reloads),
  cacheCounter('shed', 'Ids that the guard did not let through to the source.', (s) => s.shed),
  cacheCounter('backed_off', 'Ids answered by the remembered error of their last load.', (s) => s.backedOff),
  cacheCounter(
    'fills_refused',
    'Loaded values that L2 did not take: something was invalidated meanwhile.',
    (s) => s.fillsRefused,
  ),
  cacheCounter('fill_errors', 'Fills of L2 that failed.', (s) => s.fillErrors),
  cacheCounter('l2_read_errors', 'Reads of L2 that failed; these gets went to the loader.', (s) => s.l2ReadErrors),
  cacheCounter('l2_reads_skipped', 'Reads of L2 that were skipped because it is down.', (s) => s.l2ReadsSkipped),
  cacheCounter(
    'lease_give_ups',
    "Loads begun because waiting for another process's took too long.",
    (s) => s.leaseGiveUps,
  ),
  cacheCounter('unreadable', 'Entries of L2 that could not be read: misses.', (s) => s.unreadable),
  cacheCounter('abandoned_waits', 'Callers whose own signal or timeout ended their waiting.', (s) => s.abandonedWaits),
  cacheCounter(
    'unreadable_format',
    'Of them, those of another format version, codec or compression.',
    (s) => s.unreadableFormat,
  ),
  cacheCounter(
    'unreadable_key',
    'Of them, those under a key of encryption that this process does not have, or not encrypted.',
    (s) => s.unreadableKey,
  ),
  cacheCounter(
    'unreadable_chunks',
    'Of them, large values of which a chunk was gone or of another write.',
    (s) => s.unreadableChunks,
  ),
  cacheCounter('unreadable_damaged', 'Of them, those that are not what was written.', (s) => s.unreadableDamaged),
  cacheCounter('schema_misses', 'Entries of L2 that the schema refused: misses.', (s) => s.schemaMisses),
  cacheCounter('filtered', 'Gets that the filter of known keys answered.', (s) => s.filtered),
  cacheGauge('known_ready', '1 once the filter of known keys has been built.', (s) =>
    s.known === null ? null : s.known.ready ? 1 : 0,
  ),
  cacheGauge('known_keys', 'Keys that the filter knows, about.', (s) => s.known?.keys ?? null),
  cacheGauge('known_bytes', 'Memory of the filter.', (s) => s.known?.sizeBytes ?? null),
  cacheGauge('known_saturated', '1 while the filter has more keys than memory for them.', (s) =>
    s.known === null ? null : s.known.saturated ? 1 : 0,
  ),
  cacheGauge(
    'known_false_positive_ratio',
    'Of absent keys, the share that the filter lets pass, by its bits.',
    (s) => s.known?.falsePositiveRate ?? null,
  ),
  cacheCounter(
    'known_passed_but_absent',
    'Ids that the filter let pass and the source did not have.',
    (s) => s.known?.passedButAbsent ?? null,
  ),
  cacheCounter(
    'revalidated',
    'Hits of L2 of the very version that L1 had, kept and trusted again.',
    (s) => s.revalidated,
  ),
  cacheCounter(
    'not_modified',
    'Ids of which the loader said that the old value is still the truth.',
    (s) => s.notModified,
  ),
  cacheCounter('loader_extras', 'Keys in results of the loader that nobody had asked for.', (s) => s.loaderExtras),
  cacheCounter('lease_polls', "Questions whether another process's load is over.", (s) => s.leasePolls),
  cacheCounter('sets_outdated', 'Sets that were not stored because of their version.', (s) => s.setsOutdated),
  cacheCounter('sets', 'Calls of set.', (s) => s.sets),
  cacheCounter('deletes', 'Calls of delete.', (s) => s.deletes),
  cacheCounter('writes', 'Calls of write.', (s) => s.writes),
  cacheGauge('flights', 'Keys on their way through L2 and loader.', (s) => s.flights),
  cacheGauge('l1_entries', 'Entries of L1.', (s) => s.l1?.entries ?? null),
  cacheGauge('l1_bytes', 'Bytes of L1, as it accounts for them.', (s) => s.l1?.bytes ?? null),
  cacheCounter('l1_evictions', 'Entries that L1 removed to make room.', (s) => s.l1?.evictions ?? null),
  cacheCounter(
    'l1_bypassed',
    'Gets that L1 had and did not answer: what others invalidated was not known recently enough.',
    (s) => s.l1?.bypassed ?? null,
  ),
  cacheCounter('sampled_hits', 'Hits that the sampler compared with the source.', (s) => s.sample?.checked ?? null),
  cacheCounter(
    'suspected_stale',
    'Of them, those that differed at the first look; most are changes in flight.',
    (s) => s.sample?.suspectedStale ?? null,
  ),
  cacheCounter(
    'wrong_hits',
    'Of them, those that differed still at the second look. The target is 0.',
    (s) => s.sample?.wrongHits ?? null,
  ),
  cacheGauge('wrong_hit_oldest_seconds', 'Age of the oldest entry of a wrong hit.', (s) =>
    s.sample?.oldestWrongMs == null ? null : s.sample.oldestWrongMs / 1000,
  ),
  cacheGauge(
    'queue_length',
    'Rows that were written behind and that the database does not have yet.',
    (s) => s.queue?.length ?? null,
  ),
  cacheGauge('queue_oldest_seconds', 'How long the oldest of them has waited.', (s) =>
    s.queue == null ? null : (s.queue.oldestAgeMs ?? 0) / 1000,
  ),
  cacheGauge('queue_bytes', 'Size of the queue on disk.', (s) => s.queue?.bytes ?? null),
  cacheGauge('queue_open', '1 while the queue has its directory.', (s) =>
    s.queue == null ? null : s.queue.isOpen ? 1 : 0,
  ),
  cacheGauge(
    'queue_waiting',
    'Writers that wait for room in the queue or for their group.',
    (s) => s.queue?.waiting ?? null,
  ),
  cacheGauge(
    'queue_dead_letters',
    'Queued writes that the database refused for good.',
    (s) => s.queue?.deadLetters ?? null,
  ),
  cacheGauge('queue_last_batch_rows', 'Rows of the batch that was written last.', (s) => s.queue?.lastBatch ?? null),
  cacheCounter('queue_acknowledged', 'Writes that the queue has acknowledged.', (s) => s.queue?.acknowledged ?? null),
  cacheCounter(
    'queue_coalesced',
    'Of them, those that a later write of their row made needless.',
    (s) => s.queue?.coalesced ?? null,
  ),
  cacheCounter('queue_written', 'Rows that the database took.', (s) => s.queue?.written ?? null),
  cacheCounter(
    'queue_superseded',
    'Rows of which the database had a later write already.',
    (s) => s.queue?.superseded ?? null,
  ),
  cacheCounter('queue_flushes', 'Batches that were sent to the database.', (s) => s.queue?.flushes ?? null),
  cacheCounter(
    'queue_flush_failures',
    'Of them, those that failed and are tried again.',
    (s) => s.queue?.failures ?? null,
  ),
  cacheCounter('queue_refused', 'Writers that were refused because no room came.', (s) => s.queue?.refused ?? null),
  sourceRow(
    'breaker_state',
    'gauge',
    'Circuit breaker: 0 closed (or none), 1 half-open, 2 open.',
    (s) => BREAKER_NUMBERS[s.breaker],
  ),
  sourceRow('breaker_openings_total', 'counter', 'How often the breaker opened.', (s) => s.breakerOpenings),
  sourceRow('running', 'gauge', 'Calls that hold a slot.', (s) => s.running),
  sourceRow('lingering', 'gauge', 'Of them, those that were cut off and have not settled.', (s) => s.lingering),
  sourceRow(
    'queued',
    'gauge',
    'Calls that wait for their turn.',
    (s) => [
      ['foreground', s.queuedForeground],
      ['background', s.queuedBackground],
    ],
    'priority',
  ),
  sourceRow(
    'calls_total',
    'counter',
    'Calls of the source that are over.',
    (s) => [
      ['succeeded', s.succeeded],
      ['failed', s.failed],
      ['timed_out', s.timedOut],
    ],
    'result',
  ),
  sourceRow(
    'shed_total',
    'counter',
    'Calls that were not let through, by reason.',
    (s) => Object.entries(s.shed),
    'code',
  ),
  changesRow('active', 'gauge', '1 while this process reads the changes.', (s) => (s.state === 'active' ? 1 : 0)),
  changesRow(
    'covered',
    'gauge',
    '1 while this process or another one reads the changes and invalidates all that is declared here.',
    (s) => (s.isCovered ? 1 : 0),
  ),
  changesRow('lag_seconds', 'gauge', 'For how long changes have been committed that are not invalidated yet.', (s) =>
    s.lagMs === null ? null : s.lagMs / 1000,
  ),
  changesRow('lag_bytes', 'gauge', "The database's log beyond the acknowledged position.", (s) => s.lagBytes),
  changesRow('retained_bytes', 'gauge', 'Log that the database keeps for the stream.', (s) => s.retainedBytes),
  changesRow(
    'safe_bytes',
    'gauge',
    'Log that it may still keep before it gives the stream up; absent without a bound.',
    (s) => s.safeBytes,
  ),
  changesRow('rows_total', 'counter', 'Changed rows of mapped tables.', (s) => s.rows),
  changesRow('transactions_total', 'counter', 'Transactions that were read.', (s) => s.transactions),
  changesRow('unmapped_rows_total', 'counter', 'Changed rows of tables that nobody mapped.', (s) => s.unmappedRows),
  changesRow('keys_total', 'counter', 'Keys that were invalidated.', (s) => s.keys),
  changesRow('tags_total', 'counter', 'Tags that were invalidated.', (s) => s.tags),
  changesRow('namespaces_total', 'counter', 'Namespaces that were invalidated.', (s) => s.namespaces),
  changesRow(
    'mapping_failures_total',
    'counter',
    'Rows whose mapping failed; their namespaces were invalidated.',
    (s) => s.mappingFailures,
  ),
  changesRow(
    'unknown_values_total',
    'counter',
    'Rows that lacked a value that their mapping needs; their namespaces were invalidated.',
    (s) => s.unknownValues,
  ),
  changesRow(
    'folded_total',
    'counter',
    'Transactions with so many rows of a table that its namespaces were invalidated.',
    (s) => s.folded,
  ),
  changesRow('gaps_total', 'counter', 'Times that changes may have been missed.', (s) => s.gaps),
  changesRow('activations_total', 'counter', 'Times that this process began to read.', (s) => s.activations),
  changesRow('failures_total', 'counter', 'Times that it was cut off or refused.', (s) => s.failures),
  changesRow(
    'delay_seconds',
    'gauge',
    'From commit to acknowledged invalidation, 99th percentile since the start.',
    (s) => (s.delayMs === null ? null : s.delayMs.p99 / 1000),
  ),
  whole('store_down', 'gauge', '1 while reads of L2 are skipped because they kept failing.', (r) =>
    r.store.isDown ? 1 : 0,
  ),
  whole(
    'invalidations_total',
    'counter',
    'Invalidations and deletes that the store acknowledged.',
    (r) => r.invalidations,
  ),
  whole(
    'unacknowledged_total',
    'counter',
    'Writes and invalidations that the store did not acknowledge.',
    (r) => r.unacknowledged,
  ),
  whole(
    'outbox_length',
    'gauge',
    'Invalidations that wait in the outbox until the store acknowledges them.',
    (r) => r.outbox?.length ?? null,
  ),
  whole('outbox_oldest_seconds', 'gauge', 'For how long the oldest of them has waited; 0 = none waits.', (r) =>
    r.outbox === null ? null : (r.outbox.oldestAgeMs ?? 0) / 1000,
  ),
  whole(
    'outbox_retried_total',
    'counter',
    'Invalidations that a retry has had acknowledged.',
    (r) => r.outbox?.retried ?? null,
  ),
  whole(
    'outbox_folded_total',
    'counter',
    'Invalidations that were made part of a wider one for want of room.',
    (r) => r.outbox?.folded ?? null,
  ),
  whole(
    'outbox_refused_total',
    'counter',
    'Invalidations that the outbox had no room for: their callers were told to call again.',
    (r) => r.outbox?.refused ?? null,
  ),
  whole('outbox_failures_total', 'counter', 'Retries that failed.', (r) => r.outbox?.failures ?? null),
  whole(
    'outbox_withheld_total',
    'counter',
    'Reads answered as misses because of what waits in the outbox.',
    (r) => r.outbox?.withheld ?? null,
  ),
  whole(
    'feed_in_time',
    'gauge',
    '1 while L1s are served from: what others invalidated is known within the bound.',
    (r) => (r.feed === null ? null : r.feed.isInTime ? 1 : 0),
  ),
  whole('feed_lag_seconds', 'gauge', 'How old the knowledge of what others invalidated is.', (r) =>
    r.feed?.lagMs == null ? null : r.feed.lagMs / 1000,
  ),
  whole('feed_bound_seconds', 'gauge', 'The staleness bound of L1s.', (r) =>
    r.feed === null ? null : r.feed.boundMs / 1000,
  ),
  whole(
    'feed_records_total',
    'counter',
    'Invalidations by other processes that were heard.',
    (r) => r.feed?.records ?? null,
  ),
  whole(
    'feed_suspects_total',
    'counter',
    'Times that something may have been missed: L1s were emptied, or their entries compared with the store before they were served.',
    (r) => r.feed?.suspects ?? null,
  ),
  whole('listener_failures_total', 'counter', 'Exceptions of listeners.', (r) => r.listenerFailures),
];

export const LOAD_DURATION = {
  name: 'breakwater_cache_load_duration_seconds',
  help: 'Time that calls of the loader took, waiting for the guard not included.',
} as const;

export const LOAD_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;
export const MICROS_PER_SECOND = 1e6;
