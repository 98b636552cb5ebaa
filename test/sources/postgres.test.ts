/** `postgres()` against a real Postgres: the contract, and what only a database can do wrong. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Pool, QueryResult } from 'pg';
import { createBreakwater, NOT_MODIFIED } from '../../src/cache/index.ts';
import { postgres } from '../../src/sources/postgres.ts';
import { type Item, sourceContract } from '../contract/source-contract.ts';
import { type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';

const options = requiresPostgres();
let server: PostgresServer;
/** For the tests themselves. */
let admin: Pool;
const newPool = (max = 3): Pool => {
  const pool = new server.pg.Pool({ ...server.connection, max });
  pool.on('error', () => {});
  return pool;
};
const sql = (text: string, values: unknown[] = []): Promise<QueryResult> => admin.query(text, values);

before(async () => {
  if (options.skip !== false) return;
  server = await startPostgres();
  admin = newPool();
});
after(async () => {
  await admin?.end();
  await server?.close();
});

interface Versioned extends Item {
  readonly version?: string;
}

for (const [what, key, version] of [
  ['bigint key, drawn version', 'bigint', "bigint NOT NULL DEFAULT nextval('contract_version')"],
  ['int key, version counted from 1', 'int', 'int NOT NULL DEFAULT 1'],
  ['text key, no version', 'text', null],
] as const) {
  const revalidates = version?.includes('nextval') ?? false;
  sourceContract(
    `postgres, ${what}`,
    async () => {
      const table = `Contract "${key}"`;
      const name = `"${table.replaceAll('"', '""')}"`;
      await sql('CREATE SEQUENCE IF NOT EXISTS contract_version');
      await sql(
        `CREATE TABLE ${name} (id ${key} PRIMARY KEY, name text NOT NULL${version ? `, version ${version}` : ''})`,
      );
      const pool = newPool();
      const source = postgres<Versioned>({
        pool,
        table,
        key: 'id',
        columns: version ? ['id', 'name', 'version'] : ['id', 'name'],
        ...(version ? { version: 'version' } : {}),
      });
      const raised = version === null ? '' : `, version = ${revalidates ? 'DEFAULT' : 't.version + 1'}`;
      return {
        source,
        put: async ({ id, name: to }) => {
          const insert = `INSERT INTO ${name} AS t (id, name) VALUES ($1, $2)`;
          await sql(`${insert} ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name${raised}`, [id, to]);
        },
        remove: async (id) => {
          await sql(`DELETE FROM ${name} WHERE id = $1`, [id]);
        },
        stall: async () => {
          const client = await admin.connect();
          await client.query('BEGIN');
          await client.query(`LOCK TABLE ${name} IN ACCESS EXCLUSIVE MODE`);
          return async () => {
            await client.query('ROLLBACK');
            client.release();
          };
        },
        busy: async () => {
          const { rows } = await sql("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
          return rows.length;
        },
        close: async () => {
          assert.equal(pool.totalCount, pool.idleCount, 'all connections came back');
          await pool.end();
        },
      };
    },
    { ...options, revalidates },
  );
}

describe('postgres()', options, () => {
  let pool: Pool;
  const NEVER = { signal: new AbortController().signal, stale: new Map<string, unknown>() };
  before(async () => {
    pool = newPool();
    await sql('CREATE SEQUENCE v');
    await sql(`CREATE TABLE product (id bigint PRIMARY KEY, name text NOT NULL CHECK (name <> 'refused'), price numeric,
      made timestamp, day date, tags text[], info jsonb, photo bytea, double text GENERATED ALWAYS AS (name || name) STORED,
      version bigint NOT NULL DEFAULT nextval('v'))`);
    await sql("INSERT INTO product (id, name) SELECT i, 'p' || i FROM generate_series(1, 500) i");
  });
  after(() => pool?.end());
  const columns = ['id', 'name', 'version'];
  const products = (more: object = {}) => postgres({ ...declared(), ...more });
  const declared = () => ({ pool, table: 'product', key: 'id', columns, version: 'version' });
  const get = async (source: { load: ReturnType<typeof products>['load'] }, ...ids: string[]) =>
    (await source.load(ids, NEVER)) as ReadonlyMap<string, { name: string } & Error>;

  test('a batch of 500 ids is one prepared statement', async () => {
    const source = products();
    await get(source, '1');
    const texts: (string | undefined)[] = [];
    const counting = {
      connect: async () => {
        const client = await pool.connect();
        return {
          processID: (client as unknown as { processID: number }).processID,
          query: (query: never) => {
            texts.push((query as { name?: string }).name);
            return client.query(query) as never;
          },
          release: (destroy?: boolean) => client.release(destroy),
        };
      },
    };
    const counted = products({ pool: counting });
    const ids = Array.from({ length: 500 }, (_, i) => String(i + 1));
    assert.equal((await get(counted, ...ids)).size, 500);
    assert.equal(texts.length, 2, 'what the table is, and the rows');
    await get(counted, ...ids.slice(7));
    assert.equal(texts.length, 3);
    assert.equal(texts[2], texts[1]);
    assert.match(texts[1]!, /^breakwater_/);
  });

  test('what is not there is named, by check() and by the first load, and found once it is there', async () => {
    const source = products({ table: 'later' });
    await assert.rejects(source.check(), { code: 'SOURCE_TABLE_UNKNOWN', message: /"later"/ });
    await assert.rejects(get(source, '1'), { code: 'SOURCE_TABLE_UNKNOWN' });
    await sql('CREATE TABLE later (id bigint PRIMARY KEY, name text, version bigint)');
    await source.check();
    const wrong = products({ columns: ['id', 'nmae', 'prize', 'version'] });
    await assert.rejects(wrong.check(), {
      code: 'SOURCE_COLUMN_UNKNOWN',
      message: /"nmae", "prize".*it has id, name, price/,
    });
    await assert.rejects(get(wrong, '1'), { code: 'SOURCE_COLUMN_UNKNOWN' });
    await assert.rejects(products({ key: 'price' }).check(), { code: 'SOURCE_KEY_TYPE', message: /numeric/ });
    await assert.rejects(products({ columns, version: 'name' }).check(), { code: 'SOURCE_VERSION_TYPE' });
    const query = postgres({ pool, sql: 'SELECT id, nmae FROM product WHERE id = ANY($1)', key: 'id' });
    await assert.rejects(query.check(), { code: 'SOURCE_COLUMN_UNKNOWN' });
  });

  test('options: unknown ones and wrong ones are refused', () => {
    const wrong = [
      { colums: [] },
      { table: '' },
      { table: ['a', 'b', 'c'] },
      { columns: [] },
      { columns: ['id', 'id'] },
      { version: 'price' },
      { key: 'x'.repeat(64) },
      { pool: {} },
    ];
    for (const one of wrong) assert.throws(() => products(one), { code: /^CACHE_OPTION_/ }, JSON.stringify(one));
    assert.throws(() => postgres({ pool, sql: 'SELECT 1', key: 'id' }), { code: 'CACHE_OPTION_INVALID' });
  });

  test('an id that cannot be a key fails alone, without a query', async () => {
    const found = await get(products(), '1', 'abc', '9223372036854775808', '2');
    assert.equal(found.get('1')?.name, 'p1');
    assert.equal(found.get('2')?.name, 'p2');
    for (const id of ['abc', '9223372036854775808']) {
      assert.equal((found.get(id) as Error & { code?: string }).code, 'SOURCE_KEY_INVALID');
    }
    await sql('CREATE TABLE keyed (id uuid PRIMARY KEY, name text)');
    const uuid = '0d9f2a4e-6f1b-4c57-9a3e-1f6f0c2b7a11';
    await sql("INSERT INTO keyed VALUES ($1, 'u')", [uuid]);
    const keyed = postgres({ pool, table: ['public', 'keyed'], key: 'id', columns: ['name'] });
    const answers = await get(keyed, uuid, uuid.toUpperCase());
    assert.deepEqual({ ...answers.get(uuid) }, { name: 'u' });
    assert.ok(answers.get(uuid.toUpperCase()) instanceof Error);
  });

  test('rows of a query: matched by key; one that nobody asked for fails the call, a second one its id', async () => {
    const joined = postgres<{ id: string; name: string }>({
      pool,
      sql: 'SELECT p.id, p.name FROM product p WHERE p.id = ANY($1::bigint[]) ORDER BY p.id DESC -- newest first',
      key: 'id',
      keyType: 'bigint',
    });
    await joined.check();
    const found = await get(joined, '3', 'x', '4');
    assert.equal(found.get('3')?.name, 'p3');
    assert.equal(found.get('4')?.name, 'p4');
    assert.ok(found.get('x') instanceof Error);
    const all = postgres({
      pool,
      sql: 'SELECT id, name FROM product WHERE $1::bigint[] IS NOT NULL LIMIT 3',
      key: 'id',
    });
    await assert.rejects(get(all, '1'), { code: 'SOURCE_ROW_UNASKED' });
    const twice = postgres({
      pool,
      sql: 'SELECT id, name FROM product, generate_series(1, id::int) WHERE id = ANY($1::bigint[])',
      key: 'id',
    });
    const some = await get(twice, '1', '2', '3');
    assert.equal(some.get('1')?.name, 'p1');
    for (const id of ['2', '3']) assert.equal((some.get(id) as Error & { code?: string }).code, 'SOURCE_ROW_DUPLICATE');
  });

  test('a column that changes its type in mid-stream is loaded on, on every connection', async () => {
    await sql('CREATE TABLE moving (id int PRIMARY KEY, n int)');
    await sql('INSERT INTO moving VALUES (1, 7)');
    const one = newPool(1);
    try {
      const source = postgres<{ id: number; n: unknown }>({ pool: one, table: 'moving', key: 'id', columns: ['n'] });
      assert.deepEqual((await source.load(['1'], NEVER)) as unknown, new Map([['1', { n: 7 }]]));
      await sql('ALTER TABLE moving ALTER n TYPE text');
      assert.deepEqual((await source.load(['1'], NEVER)) as unknown, new Map([['1', { n: '7' }]]));
      await sql('ALTER TABLE moving DROP n');
      await assert.rejects(async () => source.load(['1'], NEVER), { code: 'SOURCE_COLUMN_UNKNOWN' });
    } finally {
      await one.end();
    }
  });

  test('all kinds of columns go through the sink and come back as they were', async () => {
    const every = ['id', 'name', 'price', 'made', 'day', 'tags', 'info', 'photo', 'double', 'version'];
    const source = products({ columns: every });
    const row = {
      id: '1001',
      name: `it's "q" \\ \u{1f600}`,
      price: '12345678901234567890.120',
      made: new Date(2026, 0, 2, 3, 4, 5, 678),
      day: new Date(2026, 6, 1),
      tags: ['a', 'b,"c"', ''],
      info: { a: [1, null, { b: 'x' }], s: 'text' },
      photo: Buffer.from([0, 255, 92]),
      double: null,
    };
    const written = await source.sink.upsert(new Map([['1001', row]]));
    const loaded = (await source.load(['1001'], NEVER)) as ReadonlyMap<string, Record<string, unknown>>;
    const { double, version, ...found } = loaded.get('1001')!;
    const { double: _, ...expected } = row;
    assert.deepEqual(found, expected);
    assert.equal(double, row.name + row.name);
    assert.equal(version, written.get('1001'));
  });

  test('the sink: what the database refuses is not written, in part neither', async () => {
    const source = postgres({ pool, table: 'product', key: 'id', columns: ['id', 'name'] });
    const rows = new Map([
      ['2001', { id: 2001, name: 'fine' }],
      ['2002', { id: 2002, name: 'refused' }],
    ]);
    await assert.rejects(source.sink.upsert(rows), { code: 'SOURCE_REFUSED', message: /23514/ });
    assert.equal((await get(source, '2001', '2002')).size, 0);
    for (const bad of [{ id: 1 }, { id: 1, name: 'x', nmae: 'y' }, { id: 2, name: 'x' }]) {
      await assert.rejects(source.sink.upsert(new Map([['1', bad as never]])), { code: 'SOURCE_ROW_INVALID' });
    }
    await sql('CREATE TABLE loose (id bigint, name text)');
    const loose = postgres({ pool, table: 'loose', key: 'id', columns: ['id', 'name'] });
    await assert.rejects(loose.sink.upsert(rows), { code: 'SOURCE_REFUSED', message: /unique index/ });
  });

  test('wrong types: nothing of a write is kept; what a load brings is checked by the cache’s schema before it is stored', async () => {
    const source = products({ columns: ['id', 'name', 'price', 'made', 'version'] });
    for (const [column, value] of [
      ['price', 'not a number'],
      ['made', 'no date'],
      ['name', null],
    ] as const) {
      const good = { id: '2101', name: 'good', price: '1', made: null };
      const rows = new Map<string, object>([
        ['2101', good],
        ['2102', { ...good, id: '2102', [column]: value }],
      ]);
      await assert.rejects(source.sink.upsert(rows as never), { code: 'SOURCE_REFUSED' }, column);
      assert.equal((await get(source, '2101', '2102')).size, 0);
    }
    const schema = {
      '~standard': {
        version: 1 as const,
        vendor: 'test',
        validate: (value: unknown) =>
          typeof (value as { price: unknown }).price === 'number'
            ? { value }
            : { issues: [{ message: 'price is no number' }] },
      },
    };
    const bw = createBreakwater();
    try {
      // numeric comes as text, and this declaration says otherwise.
      const cache = bw.cache('product', { load: source.load, schema, loadTimeout: '60s' });
      await assert.rejects(cache.get('7'), { code: 'CACHE_VALUE_INVALID' });
      assert.equal(cache.peek('7'), undefined);
    } finally {
      await bw.close();
    }
  });

  test('versions of a row rise in the order of commits, among writers at once and over a delete', async () => {
    const source = products();
    const write = (name: string) => source.sink.upsert(new Map([['3001', { id: '3001', name, version: 0 }]]));
    const versions = new Map<string, bigint>();
    await Promise.all(
      Array.from({ length: 30 }, async (_, i) => versions.set(`n${i}`, BigInt((await write(`n${i}`)).get('3001')!))),
    );
    assert.equal(new Set(versions.values()).size, 30);
    const last = (await get(source, '3001')).get('3001')!.name;
    assert.equal(versions.get(last), [...versions.values()].sort((a, b) => Number(a - b)).at(-1));
    const gone = await source.sink.delete(['3001']);
    assert.equal(BigInt(gone.get('3001')!), versions.get(last));
    assert.ok(BigInt((await write('again')).get('3001')!) > versions.get(last)!);
  });

  test('behind a cache past its ttl: the row travels only when it has changed', async () => {
    const source = products();
    const bw = createBreakwater();
    try {
      const cache = bw.cache('product', { load: source.load, ttl: 1, jitter: 0, grace: '1h', staleWhileReload: false });
      await cache.get('5');
      await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(((await cache.get('5')) as { name: string }).name, 'p5');
      assert.equal(cache.stats().notModified, 1);
      await source.sink.upsert(new Map([['5', { id: '5', name: 'changed' }]]));
      await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(((await cache.get('5')) as { name: string }).name, 'changed');
    } finally {
      await bw.close();
    }
    const stale = new Map([['6', { ...(await get(source, '6')).get('6') }]]);
    const answers = await source.load(['6', '7'], { ...NEVER, stale });
    assert.equal((answers as ReadonlyMap<string, unknown>).get('6'), NOT_MODIFIED);
  });

  test('a pool of one that is busy: the signal frees the connection, though nobody can cancel', {
    timeout: 120_000,
  }, async () => {
    const one = newPool(1);
    const source = postgres({ pool: one, sql: 'SELECT 1 AS id, pg_sleep(30) WHERE $1::text[] IS NOT NULL', key: 'id' });
    const abort = new AbortController();
    const loading = assert.rejects(async () => source.load(['1'], { ...NEVER, signal: abort.signal }), {
      code: 'SOURCE_ABORTED',
    });
    while ((await sql("SELECT FROM pg_stat_activity WHERE wait_event = 'PgSleep'")).rows.length === 0);
    const waiting = new AbortController();
    const queued = assert.rejects(async () => source.load(['2'], { ...NEVER, signal: waiting.signal }), {
      code: 'SOURCE_ABORTED',
    });
    waiting.abort();
    await queued;
    abort.abort();
    await loading;
    assert.equal((await one.query('SELECT 1 AS n')).rows[0].n, 1);
    while (one.totalCount > one.idleCount) await new Promise(setImmediate);
    await sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    await one.end();
  });

  test('a server that ends the connection, or is not there: a code, and the next load works', async () => {
    const source = postgres({ pool, sql: 'SELECT 1 AS id, pg_sleep(30) WHERE $1::text[] IS NOT NULL', key: 'id' });
    let isLost = false;
    const lost = assert
      .rejects(async () => source.load(['1'], NEVER), { code: 'SOURCE_FAILED' })
      .then(() => {
        isLost = true;
      });
    while (!isLost) await sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
    await lost;
    assert.equal((await get(products(), '1')).get('1')?.name, 'p1');
    const nowhere = new server.pg.Pool({ ...server.connection, host: '127.0.0.1', port: 1 });
    await assert.rejects(postgres({ pool: nowhere, table: 'product', key: 'id', columns: ['id'] }).check(), {
      code: 'SOURCE_FAILED',
    });
    await nowhere.end();
  });

  test('connections that died in the pool: loads go on as if nothing were', { timeout: 120_000 }, async () => {
    const idle = newPool(4);
    try {
      const source = products({ pool: idle });
      for (let round = 0; round < 25; round += 1) {
        const clients = await Promise.all([idle.connect(), idle.connect(), idle.connect(), idle.connect()]);
        const ids = clients.map((client) => (client as unknown as { processID: number }).processID);
        for (const client of clients) client.release();
        await sql('SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid', [ids]);
        // The pool has not heard of it yet, or just now, or of some.
        const found = await Promise.all(['1', '2', '3'].map((id) => get(source, id)));
        assert.deepEqual(
          found.map((rows, index) => rows.get(`${index + 1}`)?.name),
          ['p1', 'p2', 'p3'],
        );
      }
    } finally {
      await idle.end();
    }
  });
});
