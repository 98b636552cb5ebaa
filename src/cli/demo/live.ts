/**
 * The scenes in which rows change: three processes of one application, users who read from all of them, changes through the application and behind its back, and a checker that
 * judges every answer. In the second scene things are broken on purpose, one at a time, and what users saw meanwhile is counted.
 */
import type { Pool } from 'pg';
import { BreakwaterError } from '../../base/errors.ts';
import { Histogram } from '../../base/histogram.ts';
import { type Child, type Children, modulePath } from '../children/children.ts';
import { startBreakwater, startNodeAgain } from '../children/servers.ts';
import { Link } from './link.ts';
import type { LiveCounts } from './live-service.ts';
import { importPg, type Postgres } from './postgres.ts';
import { type Product, productOf } from './product.ts';
import type { Progress } from './progress.ts';
import { replay, Tally } from './replay.ts';
import { startService } from './service-process.ts';
import type { RequestStream } from './stream.ts';
import { L1_BOUND_MS, Truth } from './truth.ts';
import { newWriteCounts, Writers } from './writers.ts';

export interface LivePlan {
  /** In the table. */
  readonly rows: number;
  /** Length of the first scene, of each thing that is broken, and of the time after it. */
  readonly calmMs: number;
  readonly outageMs: number;
  readonly afterMs: number;
  readonly memory: string;
  readonly poolSize: number;
  readonly stream: () => RequestStream;
}

/** One stretch of time, and what users saw. */
export interface Phase {
  readonly name: string;
  readonly seconds: number;
  readonly reads: number;
  readonly readsPerSecond: number;
  readonly p99Ms: number;
  readonly failedReads: number;
  readonly wrong: number;
  readonly firstWrong: string;
  readonly firstFailed: string;
  /** Time since the commit that the oldest of the answers lacked. */
  readonly longestStalenessMs: number;
  /** Null: the server could not be asked. */
  readonly databaseQueriesPerSecond: number | null;
  /** Changes through the application: acknowledged; made, their invalidation still to be acknowledged; failed. And in SQL. */
  readonly written: number;
  readonly queued: number;
  readonly refused: number;
  readonly inSql: number;
  /** Invalidations that were acknowledged: of changes through the application, and of rows that the change stream told of. */
  readonly writeRows: number;
  readonly streamRows: number;
}

/** Rows that one process loads for all before the scene begins. */
const MOST_WARMED = 100_000;
const PROCESSES = 3;
/** Users of each process. */
const USERS = 2;
/** Higher than any stock that a row begins with. */
const FIRST_EDITION = 1_000;
const SQL_CONNECTIONS = 4;

export async function runLive(
  plan: LivePlan,
  children: Children,
  postgres: Postgres,
  signal: AbortSignal,
  progress: Progress,
): Promise<{ readonly calm: Phase; readonly broken: readonly Phase[] }> {
  const memory = ['--memory', plan.memory];
  let node = await startBreakwater(children, memory);
  const link = await Link.open(node.port);
  const { Pool: PoolClass } = await importPg();
  const sql: Pool = new PoolClass({ ...postgres.connection, max: SQL_CONNECTIONS, connectionTimeoutMillis: 20_000 });
  sql.on('error', () => {});
  const services: { child: Child; port: number }[] = [];
  let writers: Writers | null = null;
  try {
    progress.update('starting three processes of the application', null);
    for (let i = 0; i < PROCESSES; i += 1) {
      // The first one's way to the node can be frozen.
      const store = `breakwater://127.0.0.1:${i === 0 ? link.port : node.port}` as const;
      const warmRows = i === 0 ? Math.min(plan.rows, MOST_WARMED) : 0;
      const options = { database: postgres.connection, poolSize: plan.poolSize, store, warmRows };
      services.push(await startService(children, options, modulePath('./live-service', import.meta.url)));
    }
    const ports = services.map(({ port }) => port);
    const truth = new Truth((id) => productOf(id).stock, FIRST_EDITION);
    writers = new Writers(truth, ports, sql, plan.stream());
    writers.start();
    const scene: Scene = { ports, truth, writers, postgres, signal, progress, stream: plan.stream() };
    await phase(scene, 'settling', Math.min(1_000, plan.calmMs), async () => {});

    const calm = await phase(scene, 'rows change', plan.calmMs, async () => {});
    const broken: Phase[] = [];
    const breaking = async (name: string, work: () => Promise<void>): Promise<void> => {
      broken.push(await phase(scene, name, plan.outageMs + plan.afterMs, work));
    };
    const away = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, plan.outageMs));
    const seconds = plan.outageMs / 1_000;
    await breaking(`Postgres is killed, back after ${seconds} s`, async () => {
      await postgres.halt('SIGKILL');
      await away();
      await postgres.resume();
    });
    await breaking(`the node is killed, back after ${seconds} s`, async () => {
      const { port, httpPort, child } = node;
      child.process.kill('SIGKILL');
      await child.exited;
      await away();
      node = { port, httpPort, child: await startNodeAgain(children, { port, httpPort }, memory) };
    });
    await breaking(`one process is cut off from the node for ${seconds} s`, async () => {
      link.freeze();
      await away();
      link.thaw();
    });
    return { calm, broken };
  } finally {
    await writers?.stop();
    for (const { child } of services) await child.stop();
    link.close();
    await sql.end();
    await node.child.stop();
  }
}

interface Scene {
  readonly ports: readonly number[];
  readonly truth: Truth;
  readonly writers: Writers;
  readonly postgres: Postgres;
  readonly signal: AbortSignal;
  readonly progress: Progress;
  readonly stream: RequestStream;
}

/** Reads for so long, and for as long as `work` takes. */
async function phase(scene: Scene, name: string, ms: number, work: () => Promise<void>): Promise<Phase> {
  const { ports, truth, writers, postgres, signal, progress, stream } = scene;
  const counted = { longestMs: 0, wrong: 0, firstWrong: '' };
  const tallies = ports.map(() => new Tally());
  writers.counts = newWriteCounts();
  const queriesBefore = await countOf(postgres);
  const invalidatedBefore = await invalidations(ports);
  const startedAt = performance.now();
  const ending = new AbortController();
  const live = setInterval(() => {
    const reads = tallies.reduce((sum, { requests }) => sum + requests, 0);
    const failed = tallies.reduce((sum, tally) => sum + tally.failed, 0);
    const seconds = (performance.now() - startedAt) / 1000;
    const per = Math.round(reads / seconds).toLocaleString('en-US');
    const trouble = `${failed > 0 ? ` · ${failed.toLocaleString('en-US')} failed` : ''} · ${counted.wrong} wrong`;
    progress.update(name, Math.min(1, (seconds * 1000) / ms), `${per} reads/s${trouble}`);
  }, 100);
  try {
    const breaking = work();
    const reading = ports.map((port, through) =>
      replay({
        port,
        stream,
        concurrency: USERS,
        requests: null,
        ms: null,
        until: ending.signal,
        batch: 1,
        tally: tallies[through]!,
        signal,
        check: (id, body, sentAtMs) => {
          const product = JSON.parse(body) as Product;
          const verdict = truth.judge(id, product.stock, sentAtMs, through);
          const expected = JSON.stringify({ ...productOf(id), stock: product.stock });
          if (verdict.kind === 'right' && body === expected) {
            counted.longestMs = Math.max(counted.longestMs, verdict.staleMs);
            return;
          }
          counted.wrong += 1;
          if (counted.firstWrong === '') {
            counted.firstWrong =
              verdict.kind === 'wrong'
                ? verdict.why
                : `expected ${expected.slice(0, 200)}, received ${body.slice(0, 200)}`;
          }
        },
      }),
    );
    const time = new Promise<void>((resolve) => setTimeout(resolve, ms));
    const over = Promise.all([time, breaking]).finally(() => ending.abort());
    await Promise.all([over, ...reading]);
  } finally {
    ending.abort();
    clearInterval(live);
  }
  const seconds = (performance.now() - startedAt) / 1000;
  const queriesAfter = await countOf(postgres);
  const latency = new Histogram();
  for (const tally of tallies) latency.merge(tally.latency);
  const reads = tallies.reduce((sum, { requests }) => sum + requests, 0);
  const hasCounted = queriesBefore !== null && queriesAfter !== null && queriesAfter >= queriesBefore;
  const { written, queued, refused, inSql } = writers.counts;
  const invalidated = await invalidations(ports);
  const result: Phase = {
    name,
    seconds,
    reads,
    readsPerSecond: reads / seconds,
    p99Ms: latency.quantile(0.99) / 1000,
    failedReads: tallies.reduce((sum, { failed }) => sum + failed, 0),
    wrong: counted.wrong,
    firstWrong: counted.firstWrong,
    firstFailed: tallies.find(({ firstWrong }) => firstWrong !== '')?.firstWrong ?? '',
    longestStalenessMs: counted.longestMs,
    databaseQueriesPerSecond: hasCounted ? (queriesAfter - queriesBefore) / seconds : null,
    ...{ written, queued, refused, inSql },
    writeRows: invalidated.writes - invalidatedBefore.writes,
    streamRows: invalidated.streamRows - invalidatedBefore.streamRows,
  };
  progress.done(
    `${name}: ${Math.round(result.readsPerSecond).toLocaleString('en-US')} reads/s, ${result.failedReads.toLocaleString('en-US')} failed, ${result.wrong} wrong`,
  );
  return result;
}

async function countOf(postgres: Postgres): Promise<number | null> {
  try {
    return (await postgres.queryCount()).queries;
  } catch {
    return null;
  }
}

async function invalidations(ports: readonly number[]): Promise<Pick<LiveCounts, 'writes' | 'streamRows'>> {
  const all = await Promise.all(
    ports.map(async (port) => {
      const response = await fetch(`http://127.0.0.1:${port}/counts`);
      if (!response.ok)
        throw new BreakwaterError('DEMO_SERVICE', `the service answered ${response.status} for its counts`);
      return (await response.json()) as LiveCounts;
    }),
  );
  const sum = (of: (one: LiveCounts) => number): number => all.reduce((total, one) => total + of(one), 0);
  return { writes: sum(({ writes }) => writes), streamRows: sum(({ streamRows }) => streamRows) };
}

/** For the words under the table. */
export const BOUND_MS = L1_BOUND_MS;
