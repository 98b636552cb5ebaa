/**
 * How many writes a second are acknowledged behind, and how many rows of them the database gets.
 *
 *     node --import tsx bench/write-behind/throughput.ts [seconds]
 *
 * 64 writers, each of which writes the next value of a counter, chosen by a Zipf law over 10,000 counters, and waits for the acknowledgement: on disk (fdatasync) and seen
 * by all who read. Beside it, in the same run: the same writers through the sink (`policy: 'through'`, a transaction each), and what the disk alone does
 * (64 appenders on the log). The Postgres is a real one of this run, with fsync.
 */
import { rmSync } from 'node:fs';
import { createBreakwater } from '../../src/cache/index.ts';
import { Children } from '../../src/cli/children/children.ts';
import { importPg } from '../../src/cli/demo/postgres.ts';
import { DiskLog } from '../../src/disk-log/log.ts';
import { postgres } from '../../src/sources/postgres.ts';
import { KillablePostgres } from './database.ts';
import { COUNTERS, zipf } from './zipf.ts';

const WRITERS = 64;
const seconds = Number(process.argv[2] ?? '10');
const children = new Children();

async function run(
  write: (id: string, n: number) => Promise<unknown>,
): Promise<{ done: number; perSecond: number; cpuMicrosPerWrite: number; p50: number; p99: number }> {
  const next = zipf(Math.random);
  const values = new Float64Array(COUNTERS);
  const tookMs: number[] = [];
  const beganMs = performance.now();
  const cpu = process.cpuUsage();
  const endMs = beganMs + seconds * 1000;
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      while (performance.now() < endMs) {
        const at = next();
        values[at]! += 1;
        const sentMs = performance.now();
        await write(String(at), values[at]!);
        tookMs.push(performance.now() - sentMs);
      }
    }),
  );
  const tookSeconds = (performance.now() - beganMs) / 1000;
  // Of all threads of this process: what a busy machine changes least.
  const { user, system } = process.cpuUsage(cpu);
  const cpuMicrosPerWrite = Math.round((user + system) / tookMs.length);
  tookMs.sort((a, b) => a - b);
  const at = (share: number): number => Math.round(tookMs[Math.floor(tookMs.length * share)]! * 100) / 100;
  const perSecond = Math.round(tookMs.length / tookSeconds);
  return { done: tookMs.length, perSecond, cpuMicrosPerWrite, p50: at(0.5), p99: at(0.99) };
}

try {
  const database = await KillablePostgres.start(children);
  const pg = await importPg();
  const pool = new pg.Pool({ ...database.connection, max: 20 });
  pool.on('error', () => {});
  const source = postgres<{ id: string; n: number }>({ pool, table: 'counter', key: 'id', columns: ['id', 'n'] });
  const fresh = async (): Promise<void> => {
    await pool.query('DROP TABLE IF EXISTS counter; CREATE TABLE counter (id text PRIMARY KEY, n bigint NOT NULL)');
  };
  const rowsOf = async (): Promise<number> => {
    const { rows } = await pool.query(
      "SELECT n_tup_ins + n_tup_upd + n_tup_del AS n FROM pg_stat_user_tables WHERE relname = 'counter'",
    );
    return Number((rows[0] as { n: string }).n);
  };
  const out: Record<string, unknown> = { seconds, writers: WRITERS, counters: COUNTERS };
  for (const flushInterval of ['1s', '5s'] as const) {
    await fresh();
    const directory = children.directory('breakwater-behind-bench-', process.cwd());
    const bw = createBreakwater({ behind: { directory, flushInterval, drainTimeout: '60s' } });
    const counters = bw.cache('counter', { source, policy: 'behind' });
    const result = await run((id, n) => counters.write(id, { id, n }));
    const { queue } = counters.stats();
    await bw.drain({ timeout: '120s' });
    const after = counters.stats().queue!;
    await bw.close();
    await pool.query('SELECT pg_stat_force_next_flush()').catch(() => undefined);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    const counted = await rowsOf();
    out[`behind, flushInterval ${flushInterval}`] = {
      ...result,
      rowsWritten: after.written,
      rowsCountedByPostgres: counted,
      writesPerRow: Math.round((result.done / after.written) * 10) / 10,
      batches: after.flushes,
      leftAtTheEnd: queue!.length,
    };
    rmSync(directory, { recursive: true, force: true });
  }
  await fresh();
  const bw = createBreakwater();
  const counters = bw.cache('counter', { source, policy: 'through' });
  out['through'] = await run((id, n) => counters.write(id, { id, n }));
  await bw.close();
  const directory = children.directory('breakwater-log-bench-', process.cwd());
  const log = await DiskLog.open(directory);
  const bytes = new Uint8Array(120);
  out['the log alone'] = await run(() => log.append(bytes));
  await log.close();
  await pool.end();
  process.stdout.write(`${JSON.stringify(out, null, 2)}\n`);
} finally {
  await children.close();
}
