/**
 * The load on a real Postgres when the cache is of no use at once, counted by the server itself (`pg_stat_activity`), about every millisecond:
 *
 *     npx tsx bench/database/load.ts [--gets 20000] [--cap 8]
 *
 * 1. everything cached expires at once
 * 2. the whole of L2 disappears (the node is killed) under two Breakwaters
 * 3. the same reads without a cache, over the same pool, for comparison
 *
 * The pool would let 40 through; the guard's cap is what holds.
 */
import { parseArgs } from 'node:util';
import type { Pool } from 'pg';
import { createBreakwater } from '../../src/cache/index.ts';
import { withChildren } from '../../src/cli/children/children.ts';
import { startBreakwater } from '../../src/cli/children/servers.ts';
import { importPg, Postgres } from '../../src/cli/demo/postgres.ts';
import { postgres } from '../../src/sources/postgres.ts';

const { values } = parseArgs({
  options: { gets: { type: 'string', default: '20000' }, cap: { type: 'string', default: '8' } },
});
const gets = Number(values.gets);
const cap = Number(values.cap);
const POOL = 40;

await withChildren(async (children) => {
  const server = await Postgres.start(children, () => {});
  await server.fill(gets, () => {});
  const { Pool: PoolClass } = await importPg();
  const open = (name: string, max: number): Pool => {
    const pool = new PoolClass({ ...server.connection, application_name: name, max });
    pool.on('error', () => {});
    return pool;
  };
  const watcher = open('watcher', 1);
  const pools: Pool[] = [];
  const shop = () => {
    const pool = open('shop', POOL);
    pools.push(pool);
    const sql = 'SELECT p.id, p.name FROM product p, pg_sleep(0.002) WHERE p.id = ANY($1::int[])';
    return postgres<{ id: string; name: string }>({ pool, sql, key: 'id', keyType: 'int' });
  };
  const ids = Array.from({ length: gets }, (_, i) => String(i + 1));
  const declared = {
    maxBatch: 1,
    loadTimeout: '10m',
    jitter: 0,
    guard: { concurrency: cap, queue: gets, queueTimeout: '10m' },
  } as const;

  const watch = async (what: string, allowed: number, work: Promise<unknown>): Promise<void> => {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    const seen = new Map<number, number>();
    const startedAt = performance.now();
    while (!isOver) {
      const { rows } = await watcher.query<{ n: number }>(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = 'shop' AND state = 'active'",
      );
      const n = rows[0]!.n;
      seen.set(n, (seen.get(n) ?? 0) + 1);
    }
    await work;
    const looks = [...seen.values()].reduce((sum, n) => sum + n, 0);
    const most = Math.max(0, ...seen.keys());
    const seconds = (performance.now() - startedAt) / 1000;
    const mean = [...seen].reduce((sum, [n, times]) => sum + n * times, 0) / Math.max(1, looks);
    console.log(`| ${what} | ${allowed} | ${most} | ${mean.toFixed(1)} | ${looks} | ${seconds.toFixed(1)} s |`);
  };
  console.log(`${gets.toLocaleString('en-US')} gets at once of as many rows; pool of ${POOL} connections\n`);
  console.log(
    '| | cap | most statements at once | on average | looks | took |\n| --- | ---: | ---: | ---: | ---: | ---: |',
  );

  const alone = createBreakwater();
  const expiring = alone.cache('product', { load: shop().load, ...declared, ttl: '1s', l1: { maxEntries: gets } });
  await expiring.getMany(ids.slice(0, 2_000));
  await new Promise((resolve) => setTimeout(resolve, 1_100));
  await watch('everything expires at once', cap, Promise.all(ids.map((id) => expiring.get(id))));
  await alone.close();

  const node = await startBreakwater(children, ['--memory', '256mb']);
  const two = [0, 1].map(() => {
    const bw = createBreakwater({ store: `breakwater://127.0.0.1:${node.port}`, advice: false });
    return { bw, cache: bw.cache('product', { load: shop().load, ...declared, ttl: '1h' }) };
  });
  await two[0]!.cache.getMany(ids.slice(0, 2_000));
  node.child.process.kill('SIGKILL');
  await node.child.exited;
  const all = two.flatMap(({ cache }) => ids.map((id) => cache.get(id)));
  await watch('L2 is gone, two processes', 2 * cap, Promise.all(all));
  for (const { bw } of two) await bw.close();

  const bare = shop();
  const load = (id: string) => bare.load([id], { signal: new AbortController().signal, stale: new Map() });
  await watch('without a cache', POOL, Promise.all(ids.map(load)));
  for (const pool of [...pools, watcher]) await pool.end();
  await server.close();
  return 0;
});
