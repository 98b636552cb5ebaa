/**
 * One transaction of many rows, and what it costs: by replication and by triggers. Postgres, and a library over the embedded store that follows.
 *
 *     node --expose-gc --import tsx bench/changes/million.ts [--rows 1000000] [--via replication]
 *
 * Memory is the follower's resident set over its lowest before, sampled every 20 ms; names are what it invalidated; time is from the return of COMMIT until the namespace is invalidated
 * and the position (or the table of changes) is behind it.
 */
import { parseArgs } from 'node:util';
import { createBreakwater } from '../../src/cache/index.ts';
import { withChildren } from '../../src/cli/children/children.ts';
import { importPg, Postgres } from '../../src/cli/demo/postgres.ts';
import { postgresChanges } from '../../src/sources/postgres.ts';

const { values } = parseArgs({
  options: { rows: { type: 'string', default: '1000000' }, via: { type: 'string', default: 'replication' } },
});
const rows = Number(values.rows);
const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const mib = (bytes: number): string => (bytes / 1024 / 1024).toFixed(0);

process.exitCode = await withChildren(async (children) => {
  const postgres = await Postgres.start(children, () => {}, { wal_level: 'logical', synchronous_commit: 'on' });
  const pg = await importPg();
  const sql = new pg.Client({ ...postgres.connection });
  sql.on('error', () => {});
  await sql.connect();
  console.log(`Postgres ${postgres.version}, one transaction of ${rows.toLocaleString('en-US')} inserted rows\n`);
  console.log(
    '| by | writer | after COMMIT | keys | namespaces | folded | memory over idle |\n|---|---|---|---|---|---|---|',
  );
  for (const via of ['none', values.via === 'triggers' ? 'triggers' : 'replication'] as const) {
    const table = `product_${via}`;
    await sql.query(`CREATE TABLE ${table} (id bigint PRIMARY KEY, name text)`);
    const insert = (): Promise<unknown> =>
      sql.query(`INSERT INTO ${table} SELECT i, 'name ' || i FROM generate_series(1, ${rows}) i`);
    if (via === 'none') {
      const beganMs = performance.now();
      await insert();
      console.log(`| nobody follows | ${((performance.now() - beganMs) / 1000).toFixed(1)} s | - | - | - | - | - |`);
      continue;
    }
    const bw = createBreakwater({ advice: false });
    bw.cache('product', { load: async (ids) => ids.map(() => null) });
    const following = bw.follow(
      postgresChanges({
        connection: { ...postgres.connection },
        name: `million_${via}`,
        via,
        tables: { [table]: { columns: ['id'], keys: (row) => [`product:${row['id']}`], namespaces: ['product'] } },
      }),
    );
    await following.ready;
    await sleep(2_000);
    globalThis.gc?.();
    const before = following.stats();
    const idle = process.memoryUsage.rss();
    let most = idle;
    const sampling = setInterval(() => {
      most = Math.max(most, process.memoryUsage.rss());
    }, 20);
    const beganMs = performance.now();
    await insert();
    const committedMs = performance.now();
    const isDone = async (): Promise<boolean> => {
      if (via === 'replication')
        return following.stats().rows - before.rows >= rows && following.stats().lagBytes === 0;
      const { rows: left } = await sql.query(`SELECT EXISTS (SELECT FROM million_${via}_change) AS is_left`);
      return (left[0] as { is_left: boolean }).is_left === false && following.stats().folded > before.folded;
    };
    while (!(await isDone())) await sleep(10);
    const doneMs = performance.now();
    clearInterval(sampling);
    const after = following.stats();
    const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
    console.log(
      `| ${via} | ${seconds(committedMs - beganMs)} | ${seconds(doneMs - committedMs)} | ${after.keys - before.keys} | ${after.namespaces - before.namespaces} | ${after.folded - before.folded} | ${mib(most - idle)} MiB |`,
    );
    await bw.close();
  }
  await sql.end();
  await postgres.close();
  return 0;
});
