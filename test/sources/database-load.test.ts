/**
 * What the database sees on the worst day, counted by itself (`pg_stat_activity`): everything expires at once, and the whole of L2 disappears. Never more than the
 * cap of the guard; and how rows are warmed from it.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Pool } from 'pg';
import { createBreakwater } from '../../src/cache/index.ts';
import { postgres } from '../../src/sources/postgres.ts';
import { runCli, serveNode } from '../server/support.ts';
import { type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';

const CAP = 3;
const SHOP = 'shop';

describe('the load on the database', { ...requiresPostgres(), timeout: 480_000 }, () => {
  let server: PostgresServer;
  let admin: Pool;
  const pools: Pool[] = [];
  before(async () => {
    server = await startPostgres();
    admin = new server.pg.Pool({ ...server.connection, application_name: 'watcher', max: 2 });
    admin.on('error', () => {});
    await admin.query('CREATE TABLE product (id bigint PRIMARY KEY, name text NOT NULL)');
    await admin.query("INSERT INTO product SELECT i, 'p' || i FROM generate_series(1, 1000) i");
  });
  after(async () => {
    for (const pool of pools) await pool.end();
    await admin?.end();
    await server?.close();
  });

  /** A pool that would let far more through than the guard does. */
  const shop = (): Pool => {
    const pool = new server.pg.Pool({ ...server.connection, application_name: SHOP, max: 20 });
    pool.on('error', () => {});
    pools.push(pool);
    return pool;
  };
  /** Rows that take their time, so that a look at the server meets them. */
  const slow = () =>
    postgres<{ id: string; name: string }>({
      pool: shop(),
      sql: 'SELECT p.id, p.name FROM product p, pg_sleep(0.01) WHERE p.id = ANY($1::bigint[])',
      key: 'id',
      keyType: 'bigint',
    });

  /** Most statements of the shop at once while `work` runs, as the server tells; looks as often as it can. */
  const mostActive = async (work: Promise<unknown>): Promise<{ most: number; looks: number }> => {
    let isOver = false;
    const over = (): void => {
      isOver = true;
    };
    work.then(over, over);
    let most = 0;
    let looks = 0;
    while (!isOver) {
      const { rows } = await admin.query(
        "SELECT count(*)::int AS n FROM pg_stat_activity WHERE application_name = $1 AND state = 'active'",
        [SHOP],
      );
      most = Math.max(most, (rows[0] as { n: number }).n);
      looks += 1;
    }
    await work;
    return { most, looks };
  };
  const ids = Array.from({ length: 200 }, (_, i) => String(i + 1));
  const guard = { concurrency: CAP, queue: 10_000, queueTimeout: '60s' } as const;
  const declared = { guard, maxBatch: 1, loadTimeout: '60s', jitter: 0 } as const;

  test('everything cached expires at once: never above the cap', async () => {
    const bw = createBreakwater();
    try {
      const cache = bw.cache<{ name: string }>('product', { load: slow().load, ...declared, ttl: '100ms' });
      await cache.getMany(ids);
      await new Promise((resolve) => setTimeout(resolve, 120));
      const before = cache.stats().loads;
      const { most } = await mostActive(Promise.all(ids.map((id) => cache.get(id))));
      assert.equal(cache.stats().loads - before, ids.length, 'all of it was loaded anew');
      assert.ok(most >= 1 && most <= CAP, `${most} statements at once, allowed are ${CAP}`);
      assert.equal((await bw.stats()).sources['cache:product']?.peakAtSource, CAP);
    } finally {
      await bw.close();
    }
  });

  test('the whole of L2 disappears under two processes: never above the cap of each', async () => {
    const node = await serveNode();
    const open = () => {
      const bw = createBreakwater({ store: `breakwater://127.0.0.1:${node.port}`, advice: false });
      return { bw, cache: bw.cache<{ name: string }>('product', { load: slow().load, ...declared, ttl: '1h' }) };
    };
    const all = [open(), open()];
    try {
      await all[0]!.cache.getMany(ids);
      await node.stop('SIGKILL');
      const gets = all.map(({ cache }) => Promise.all(ids.map((id) => cache.get(id))));
      const { most } = await mostActive(Promise.all(gets));
      assert.ok(most >= 1 && most <= 2 * CAP, `${most} statements at once, allowed are ${2 * CAP}`);
      for (const { cache } of all) assert.ok(cache.stats().loads >= ids.length / 2);
    } finally {
      await Promise.all(all.map(({ bw }) => bw.close()));
    }
  });

  test('warm: all keys of a table, a list of one’s own by SQL, page by page and on from a place; never above the background’s share', async () => {
    const bw = createBreakwater();
    try {
      const source = postgres<{ id: string; name: string }>({
        pool: shop(),
        table: 'product',
        key: 'id',
        columns: ['id', 'name'],
      });
      const cache = bw.cache('product', { source, guard: { concurrency: CAP, backgroundConcurrency: 2 } });
      const top = await cache.warm({ sql: 'SELECT id FROM product ORDER BY id DESC LIMIT 150' });
      assert.deepEqual([top.done, top.loaded, top.lastId], [150, 150, '851']);
      const paged = 'SELECT id FROM product WHERE $1::bigint IS NULL OR id > $1::bigint ORDER BY id LIMIT $2';
      assert.equal((await cache.warm({ sql: paged, after: '900', page: 7 })).present, 100);
      const warming = cache.warm({ page: 300 }, { batch: 50, concurrency: 8 });
      const { most } = await mostActive(warming);
      const all = await warming;
      assert.deepEqual([all.done, all.loaded, all.present, all.lastId], [1000, 850, 150, '1000']);
      // Two that load, and one that asks for the next page of ids.
      assert.ok(most <= 3, `${most} statements at once`);
      assert.equal((await cache.warm({ after: '990' })).done, 10);
      for (const query of [{ sql: 'SELECT 1', after: '5' }, { sql: 'SELECT $1::text' }, { page: 0 }, { nothing: 1 }]) {
        await assert.rejects(cache.warm(query as object), { code: /^CACHE_OPTION_/ }, JSON.stringify(query));
      }
      const stuck = 'SELECT id FROM product WHERE $1::text IS NULL OR true ORDER BY id LIMIT $2';
      await assert.rejects(cache.warm({ sql: stuck, page: 5 }), {
        code: 'CACHE_OPTION_INVALID',
        message: /behind \$1/,
      });
      await assert.rejects(cache.warm({ sql: 'SELECT now(), $1::text LIMIT $2' }), { code: 'SOURCE_KEY_INVALID' });
      await assert.rejects(cache.warm({ sql: 'SELECT nmae FROM product' }), { code: 'SOURCE_COLUMN_UNKNOWN' });
    } finally {
      await bw.close();
    }
  });

  test('breakwater warm: a gateway’s file, a list, a state that is gone on from, and what is wrong', async () => {
    const node = await serveNode();
    const directory = mkdtempSync(join(tmpdir(), 'breakwater-warm-'));
    try {
      const { host, port, user, database } = server.connection;
      const file = (store: string): string => {
        const path = join(directory, `${store.slice(0, 4)}.yaml`);
        const url = `postgres://${user}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
        const namespaces =
          'namespaces:\n  product:\n    source: shop\n    table: product\n    key: id\n    columns: [id, name]\n';
        writeFileSync(path, `store: ${store}\nsources:\n  shop:\n    postgres:\n      url: ${url}\n${namespaces}`);
        return path;
      };
      const config = file(`breakwater://127.0.0.1:${node.port}`);
      const all = await runCli(['warm', '--config', config, 'product']);
      assert.deepEqual([all.code, all.stdout], [0, 'product: 1,000 ids: 1,000 loaded\n'], all.stderr);
      const list = join(directory, 'ids.txt');
      writeFileSync(list, '1\n2\n\n5000\n');
      const state = join(directory, 'state.json');
      const warm = (...args: string[]) => runCli(['warm', '--config', config, 'product', '--ids', list, ...args]);
      const some = await warm('--json', '--state', state);
      assert.equal(some.code, 0, some.stderr);
      const counted = JSON.parse(some.stdout) as Record<string, unknown>;
      assert.deepEqual([counted['present'], counted['absent'], counted['cursor']], [2, 1, 3]);
      writeFileSync(state, JSON.stringify({ namespace: 'product', ids: `ids ${list}`, cursor: 2, lastId: '2' }));
      assert.match((await warm('--state', state)).stdout, /^product: 1 ids: 1 were there/);
      writeFileSync(state, JSON.stringify({ namespace: 'other', ids: 'all', cursor: 2, lastId: '2' }));
      const other = await warm('--state', state);
      assert.deepEqual([other.code, /another warming/.test(other.stderr)], [2, true]);
      for (const [args, sentence] of [
        [['--config', file('embedded'), 'product'], /embedded in its gateway/],
        [['--config', config, 'nothing'], /no namespace "nothing"; it has product/],
        [['--config', config, 'product', '--ids', join(directory, 'none.txt')], /cannot read --ids/],
      ] as const) {
        const refused = await runCli(['warm', ...args]);
        assert.equal(refused.code, 2, refused.stderr);
        assert.match(refused.stderr, sentence);
      }
    } finally {
      await node.stop('SIGKILL');
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
