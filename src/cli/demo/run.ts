/**
 * The demo from beginning to end: a database, the service without the cache, a node, the service with the cache.
 *
 * Fair by construction: the same service, the same statement, the same pool, the same stream from its beginning, the same
 * users. Before the counting starts each run gets an uncounted second, so that neither pays for Node.js compiling the
 * service. A cache that has just been started is empty, which is not how one works for the rest of its life: with the
 * generated stream it first receives the traffic that came before (`warmRequests`, in batches), and the report shows
 * what that took from the database. A recorded trace is replayed from a cold cache.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { Children } from '../children/children.ts';
import { startBreakwater } from '../children/servers.ts';
import type { LivePlan, Phase } from './live.ts';
import { Postgres } from './postgres.ts';
import type { Progress } from './progress.ts';
import { replay, Tally } from './replay.ts';
import { startService } from './service-process.ts';
import type { RequestStream } from './stream.ts';

export interface DemoPlan {
  readonly rows: number;
  readonly concurrency: number;
  /** Requests of each run; null: as many as fit into `seconds`. */
  readonly requests: number | null;
  readonly seconds: number | null;
  /** Requests of the same stream that the cache has seen before it is measured. */
  readonly warmRequests: number;
  /** Uncounted, at the start of each run; 0 for a trace, which is to be replayed from its first request. */
  readonly settleMs: number;
  readonly poolSize: number;
  readonly memory: string;
  /** Null: rows do not change. */
  readonly live: LivePlan | null;
  /** A new one each time, from its beginning. */
  readonly stream: () => RequestStream;
}

export interface RunResult {
  readonly requests: number;
  readonly seconds: number;
  readonly requestsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** SELECTs on the table, counted by Postgres. */
  readonly databaseQueries: number;
  readonly databaseQueriesPerSecond: number;
  /** Share of requests by the tier that answered: l1, l2, loader, stale; or database. */
  readonly tiers: Readonly<Record<string, number>>;
  readonly wrong: number;
  readonly failed: number;
  readonly firstWrong: string;
}

export interface DemoResult {
  readonly stream: string;
  readonly rows: number;
  readonly postgres: string;
  readonly without: RunResult;
  readonly warm: { readonly requests: number; readonly seconds: number; readonly databaseQueries: number } | null;
  readonly with: RunResult;
  /** The scenes in which rows change; null: not played. */
  readonly live: { readonly calm: Phase; readonly broken: readonly Phase[] } | null;
}

/** The change stream needs it. Commits are in the server's files before they are answered, so that one that is killed has them. */
const LOGICAL = { wal_level: 'logical', synchronous_commit: 'on' };

/** Ids in a request of the warm-up. */
const WARM_BATCH = 200;
const WARM_CONCURRENCY = 4;
/** How often the live line asks Postgres for its count. */
const COUNT_INTERVAL_MS = 500;

export async function runDemo(
  plan: DemoPlan,
  children: Children,
  signal: AbortSignal,
  progress: Progress,
): Promise<DemoResult> {
  const postgres = await Postgres.start(children, (step) => progress.update(step, null), LOGICAL);
  await postgres.fill(plan.rows, (rows) =>
    progress.update('filling the table', rows / plan.rows, `${rows.toLocaleString('en-US')} rows`),
  );
  progress.done(`Postgres ${postgres.version} with ${plan.rows.toLocaleString('en-US')} products is ready`);

  const { database, poolSize } = { database: postgres.connection, poolSize: plan.poolSize };
  const bare = await startService(children, { database, poolSize, store: null });
  const without = await measure(plan, bare.port, postgres, signal, progress, 'without cache', null);
  await bare.child.stop();

  const node = await startBreakwater(children, ['--memory', plan.memory]);
  const store = `breakwater://127.0.0.1:${node.port}` as const;
  const service = await startService(children, { database, poolSize, store });
  const stream = plan.stream();
  const warm = plan.warmRequests > 0 ? await warmUp(plan, service.port, postgres, signal, progress, stream) : null;
  const withCache = await measure(plan, service.port, postgres, signal, progress, 'with cache', stream);
  await service.child.stop();
  await node.child.stop();
  const live =
    plan.live === null
      ? null
      : await (await import('./live.ts')).runLive(plan.live, children, postgres, signal, progress);
  await postgres.close();
  return {
    stream: plan.stream().description,
    rows: plan.rows,
    postgres: postgres.version,
    without,
    warm,
    with: withCache,
    live,
  };
}

async function warmUp(
  plan: DemoPlan,
  port: number,
  postgres: Postgres,
  signal: AbortSignal,
  progress: Progress,
  stream: RequestStream,
): Promise<NonNullable<DemoResult['warm']>> {
  const tally = new Tally();
  const before = await postgres.queryCount();
  const label = 'earlier traffic ';
  const timer = setInterval(
    () =>
      progress.update(label, tally.requests / plan.warmRequests, `${tally.requests.toLocaleString('en-US')} requests`),
    50,
  );
  let ms: number;
  try {
    ms = await replay({
      port,
      stream,
      concurrency: WARM_CONCURRENCY,
      requests: plan.warmRequests,
      ms: null,
      batch: WARM_BATCH,
      tally,
      signal,
    });
  } finally {
    clearInterval(timer);
  }
  const after = await postgres.queryCount();
  if (tally.wrong + tally.failed > 0) {
    throw new BreakwaterError('DEMO_WRONG', `the service gave a wrong answer: ${tally.firstWrong}`);
  }
  const result = { requests: tally.requests, seconds: ms / 1000, databaseQueries: after.queries - before.queries };
  progress.done(
    `earlier traffic: ${result.requests.toLocaleString('en-US')} requests in batches took ${result.databaseQueries.toLocaleString('en-US')} database queries`,
  );
  return result;
}

async function measure(
  plan: DemoPlan,
  port: number,
  postgres: Postgres,
  signal: AbortSignal,
  progress: Progress,
  label: string,
  given: RequestStream | null,
): Promise<RunResult> {
  const stream = given ?? plan.stream();
  const replayOnce = (tally: Tally, requests: number | null, ms: number | null): Promise<number> =>
    replay({ port, stream, concurrency: plan.concurrency, requests, ms, batch: 1, tally, signal });
  if (plan.settleMs > 0) {
    progress.update(label, 0, 'settling');
    await replayOnce(new Tally(), null, plan.settleMs);
  }

  const tally = new Tally();
  const before = await postgres.queryCount();
  const live = liveLine(plan, tally, postgres, before.queries, progress, label);
  let ms: number;
  try {
    ms = await replayOnce(tally, plan.requests, plan.seconds === null ? null : plan.seconds * 1000);
  } finally {
    await live.stop();
  }
  const { queries } = await postgres.queryCount();
  const seconds = ms / 1000;
  const databaseQueries = queries - before.queries;
  const result: RunResult = {
    requests: tally.requests,
    seconds,
    requestsPerSecond: tally.requests / seconds,
    p50Ms: tally.latency.quantile(0.5) / 1000,
    p99Ms: tally.latency.quantile(0.99) / 1000,
    databaseQueries,
    databaseQueriesPerSecond: databaseQueries / seconds,
    tiers: Object.fromEntries(
      [...tally.tiers].map(([tier, requests]) => [tier, requests / Math.max(1, tally.requests)]),
    ),
    wrong: tally.wrong,
    failed: tally.failed,
    firstWrong: tally.firstWrong,
  };
  progress.done(
    `${label}: ${Math.round(result.requestsPerSecond).toLocaleString('en-US')} requests/s, ${Math.round(result.databaseQueriesPerSecond).toLocaleString('en-US')} database queries/s`,
  );
  return result;
}

/** Redraws what happened in the last interval: requests/s, database queries/s; and so far: hit ratio, p99. */
function liveLine(
  plan: DemoPlan,
  tally: Tally,
  postgres: Postgres,
  queriesBefore: number,
  progress: Progress,
  label: string,
): { stop(): Promise<void> } {
  const startedAt = performance.now();
  let [seenAt, seenRequests, seenQueries] = [startedAt, 0, queriesBefore];
  let detail = '';
  let asking: Promise<void> = Promise.resolve();
  const fraction = (): number =>
    plan.requests !== null
      ? tally.requests / plan.requests
      : (performance.now() - startedAt) / ((plan.seconds ?? 1) * 1000);
  const look = async (): Promise<void> => {
    const { queries } = await postgres.queryCount();
    const now = performance.now();
    const seconds = (now - seenAt) / 1000;
    const perSecond = (count: number): string => Math.round(count / seconds).toLocaleString('en-US');
    const loads = (tally.tiers.get('loader') ?? 0) + (tally.tiers.get('database') ?? 0);
    const hits = tally.requests === 0 ? 0 : 1 - loads / tally.requests;
    const p99Ms = tally.latency.quantile(0.99) / 1000;
    detail =
      `${perSecond(tally.requests - seenRequests)} req/s · ${perSecond(queries - seenQueries)} queries/s · ` +
      `hits ${(hits * 100).toFixed(0)} % · p99 ${p99Ms.toFixed(p99Ms < 10 ? 1 : 0)} ms`;
    [seenAt, seenRequests, seenQueries] = [now, tally.requests, queries];
  };
  const counting = setInterval(() => {
    asking = look().catch(() => {});
  }, COUNT_INTERVAL_MS);
  const drawing = setInterval(() => {
    if (detail !== '') progress.update(label, Math.min(1, fraction()), detail);
  }, 100);
  return {
    async stop() {
      clearInterval(counting);
      clearInterval(drawing);
      await asking;
    },
  };
}
