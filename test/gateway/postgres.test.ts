/** A gateway in front of a real Postgres: many callers, writes, types, and a database that goes away. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Client } from 'pg';
import { type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';
import { type Answer, Gate, openGateway, until } from './support.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const needs = requiresPostgres();
const run = promisify(execFile);

let server: PostgresServer;
let sql: Client;
/** Over the gate, which can be cut. */
let gate: Gate;
let url: string;

before(async () => {
  if (needs.skip !== false) return;
  server = await startPostgres();
  const { host, port, user, database } = server.connection;
  sql = new server.pg.Client(server.connection);
  await sql.connect();
  await sql.query('CREATE EXTENSION IF NOT EXISTS pg_stat_statements');
  await sql.query(readFileSync(join(root, 'examples/gateway/schema.sql'), 'utf8'));
  gate = await Gate.start(host.startsWith('/') ? { path: join(host, `.s.PGSQL.${port}`) } : { host, port });
  url = `postgres://${user}@127.0.0.1:${gate.port}/${database}`;
});
after(async () => {
  await sql?.end();
  await server?.close();
});

const isFailure = (answer: Answer, status: number, code: string): void => {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.body.error.code, code);
};

/** How often rows of products were asked for. */
async function productQueries(): Promise<number> {
  const text = `SELECT coalesce(sum(calls), 0)::integer AS calls FROM pg_stat_statements WHERE query LIKE '%FROM "product" t WHERE%'`;
  const { rows } = await sql.query(text);
  return rows[0].calls as number;
}

const SOURCE = `
sources:
  shop:
    postgres: { url: "\${DATABASE_URL}", connectTimeout: 30s, statementTimeout: 0 }
    guard: { breaker: false, backoff: false }
defaults: { loadTimeout: 60s, leaseWait: 60s, negativeTtl: 1h }
`;

describe('rows', needs, () => {
  const open = (namespaces: string) => openGateway(`${SOURCE}namespaces:\n${namespaces}`, { DATABASE_URL: url });
  const PRODUCT =
    '  product: { source: shop, table: product, key: id, columns: [id, name, price, org, version], version: version, policy: aside, tags: ["org:{org}"] }\n';

  test('a thousand curls at once are one query', async () => {
    const gateway = await open(PRODUCT);
    await gateway.read('product:1'); // the catalogue is asked once
    const before = await productQueries();
    await sql.query('BEGIN; LOCK TABLE product IN ACCESS EXCLUSIVE MODE');
    const curls = run('curl', [
      '-sS',
      '-Z',
      '--parallel-immediate',
      '--parallel-max',
      '300',
      '-w',
      '%{http_code}\n',
      '-o',
      '/dev/null',
      `${gateway.url}/cache/product:77?[1-1000]`,
    ]);
    const waiting = async (): Promise<number> =>
      Number(/requests_in_flight (\d+)/.exec((await gateway.get('/metrics')).text)?.[1]);
    await until(async () => (await waiting()) >= 200, 'hundreds of them to wait');
    await sql.query('COMMIT');
    const { stdout } = await curls;
    assert.deepEqual(stdout.match(/^200$/gm)?.length, 1000);
    assert.equal((await productQueries()) - before, 1);
  });

  test('a batch is one query', async () => {
    const gateway = await open(PRODUCT);
    await gateway.read('product:1');
    const before = await productQueries();
    const keys = Array.from({ length: 500 }, (_, n) => `product:${n + 101}`);
    const { body } = await gateway.call('POST', '/cache/batch-get', { keys: [...keys, 'product:0', 'product:x'] });
    assert.deepEqual(
      [body.results.length, body.missing, body.failed[0].error.code],
      [500, ['product:0'], 'SOURCE_KEY_INVALID'],
    );
    assert.equal((await productQueries()) - before, 1);
  });

  test('PUT and DELETE change the row and leave no old copy; a token is good in another gateway', async () => {
    const [gateway, other] = [await open(PRODUCT), await open(PRODUCT)];
    await gateway.read('product:200');
    await other.read('product:200');
    const put = await gateway.call('PUT', '/cache/product:200', { value: { name: 'New', price: '1.50', org: '3' } });
    assert.deepEqual([put.status, put.body], [200, { key: 'product:200', result: 'written' }]);
    const row = { id: '200', name: 'New', price: '1.50', org: '3' };
    const { version, ...got } = (await gateway.get('/cache/product:200')).body.value;
    assert.deepEqual(got, row);
    assert.ok(Number(version) > 1000, 'drawn by the database');
    // Embedded stores do not know of each other: the token makes the other ask the source.
    const after = { 'breakwater-after': put.headers.get('breakwater-token') ?? '' };
    assert.equal(((await other.read('product:200', after))[0] as { name: string }).name, 'New');

    const deleted = await gateway.call('DELETE', '/cache/product:200');
    assert.deepEqual([deleted.status, deleted.text], [204, '']);
    assert.deepEqual(await gateway.read('product:200'), ['KEY_KNOWN_ABSENT', 'loader']);
    assert.equal((await gateway.call('DELETE', '/cache/product:200')).status, 204, 'again is no error');
    const created = await gateway.call('PUT', '/cache/product:5000', {
      value: { id: '5000', name: 'n', price: 1, org: 1 },
    });
    assert.equal(created.status, 200);
    assert.equal(((await gateway.read('product:5000'))[0] as { price: string }).price, '1.00');
  });

  test('a row that the database refuses: its words, and nothing has changed', async () => {
    const gateway = await open(PRODUCT);
    const [row] = await gateway.read('product:201');
    const put = (value: unknown): Promise<Answer> => gateway.call('PUT', '/cache/product:201', { value });
    const refused = await put({ name: '', price: '1', org: 1 });
    isFailure(refused, 409, 'SOURCE_REFUSED');
    assert.match(refused.body.error.message, /^cannot write product:201: .*product_name_check/);
    isFailure(await put({ name: 'x', price: 'much', org: 1 }), 422, 'SOURCE_REFUSED');
    isFailure(await put({ name: 'x', price: '1' }), 422, 'SOURCE_ROW_INVALID');
    isFailure(await put({ name: 'x', price: '1', org: 1, colour: 'red' }), 422, 'SOURCE_ROW_INVALID');
    isFailure(await put({ id: '202', name: 'x', price: '1', org: 1 }), 422, 'SOURCE_ROW_INVALID');
    isFailure(await put([]), 422, 'SOURCE_ROW_INVALID');
    isFailure(await put('text'), 422, 'SOURCE_ROW_INVALID');
    isFailure(await gateway.call('PUT', '/cache/product:201', { value: {}, ttlSeconds: 5 }), 400, 'BODY_INVALID');
    isFailure(
      await gateway.call('PUT', '/cache/product:x', { value: { name: 'x', price: 1, org: 1 } }),
      400,
      'SOURCE_KEY_INVALID',
    );
    await sql.query('INSERT INTO purchase (id, product, quantity) VALUES (9000, 201, 1)');
    isFailure(await gateway.call('DELETE', '/cache/product:201'), 409, 'SOURCE_REFUSED');
    assert.deepEqual((await gateway.read('product:201'))[0], row);
  });

  test('every type: read as it is, and written back as it was read', async () => {
    await sql.query(`CREATE TABLE kinds (id text PRIMARY KEY, b boolean, i integer, l bigint, n numeric, d double precision, j jsonb, dt date, ts timestamp,
      tz timestamptz, u uuid, by bytea, iv interval, la bigint[], na numeric[], ta text[], ja jsonb[], tza timestamptz[], e text)`);
    await sql.query(`INSERT INTO kinds VALUES ('x', true, -7, 9007199254740993, 123456789012345678.90, 0.1, '{"a":[1,null]}', '2026-03-29', '2026-03-29 02:30:00.123456',
      '2026-03-29 02:30:00.123456+00', '0190b4f0-0000-7000-8000-000000000000', '\\xdeadbeef', '1 day 02:03', '{9007199254740993,NULL}', '{1.10,2}', '{a,"b c","NULL",NULL}',
      ARRAY['{"a":1}'::jsonb], '{"2026-01-01 00:00:00+00"}', NULL), ('odd', false, 0, 0, 'NaN', 'Infinity', '{"n":null}', 'infinity', '0044-03-15 00:00 BC', '-infinity',
      NULL, '', '0', '{}', '{}', '{}', '{}', '{}', '')`);
    const columns = 'id, b, i, l, n, d, j, dt, ts, tz, u, by, iv, la, na, ta, ja, tza, e';
    const gateway = await open(
      `  kinds: { source: shop, table: kinds, key: id, columns: [${columns}], policy: aside }\n`,
    );
    const [row] = await gateway.read('kinds:x');
    assert.deepEqual(row, {
      id: 'x',
      b: true,
      i: -7,
      l: '9007199254740993',
      n: '123456789012345678.90',
      d: 0.1,
      j: { a: [1, null] },
      dt: '2026-03-29',
      ts: '2026-03-29T02:30:00.123456',
      tz: '2026-03-29T02:30:00.123456Z',
      u: '0190b4f0-0000-7000-8000-000000000000',
      by: '\\xdeadbeef',
      iv: '1 day 02:03:00',
      la: ['9007199254740993', null],
      na: ['1.10', '2'],
      ta: ['a', 'b c', 'NULL', null],
      ja: [{ a: 1 }],
      tza: ['2026-01-01T00:00:00Z'],
      e: null,
    });
    const text = async (id: string): Promise<unknown> =>
      (await sql.query('SELECT kinds::text AS t FROM kinds WHERE id = $1', [id])).rows[0].t;
    for (const id of ['x', 'odd']) {
      const before = await text(id);
      const [value] = await gateway.read(`kinds:${id}`);
      const put = await gateway.call('PUT', `/cache/kinds:${id}`, { value });
      assert.equal(put.status, 200, put.text);
      assert.equal(await text(id), before);
    }
  });

  test('SQL of the operator’s, to read and to write', async () => {
    const gateway = await open(`  p:
    source: shop
    sql: "SELECT id, name, org FROM product WHERE id = ANY($1::bigint[])"
    key: id
    keyType: bigint
    policy: aside
    write:
      upsert: "UPDATE product p SET name = r.name FROM json_populate_recordset(NULL::product, $1::json) r WHERE p.id = r.id RETURNING p.id, p.version"
      delete: "UPDATE product SET name = 'gone' WHERE id = ANY($1::bigint[]) RETURNING id, version"
  half:
    source: shop
    sql: "SELECT id, name FROM product WHERE id = ANY($1::bigint[])"
    key: id
    policy: aside
    write: { delete: "DELETE FROM product WHERE id = ANY($1::bigint[]) RETURNING id" }
`);
    await gateway.read('p:301');
    assert.equal((await gateway.call('PUT', '/cache/p:301', { value: { name: 'by SQL' } })).status, 200);
    assert.deepEqual((await gateway.read('p:301'))[0], { id: '301', name: 'by SQL', org: '1' });
    assert.equal((await gateway.call('DELETE', '/cache/p:301')).status, 204);
    assert.deepEqual((await gateway.read('p:301'))[0], { id: '301', name: 'gone', org: '1' });
    const put = await gateway.call('PUT', '/cache/half:302', { value: { name: 'x' } });
    isFailure(put, 405, 'NAMESPACE_READ_ONLY');
    assert.equal(put.headers.get('allow'), 'GET, HEAD, DELETE');
    assert.equal((await gateway.call('DELETE', '/cache/half:302')).status, 204);
    assert.deepEqual((await gateway.read('half:302'))[0], 'KEY_KNOWN_ABSENT');
  });
});

describe('policies', needs, () => {
  const folder = mkdtempSync(join(tmpdir(), 'bw-gateway-'));
  after(() => rmSync(folder, { recursive: true, force: true }));
  const open = (policy: string, more = '') =>
    openGateway(
      `${more}${SOURCE}namespaces:
  product: { source: shop, table: product, key: id, columns: [id, name, price, org, version], version: version, policy: ${policy}, tags: ["org:{org}"] }
`,
      { DATABASE_URL: url },
    );
  const nameOf = async (id: number): Promise<unknown> =>
    (await sql.query('SELECT name FROM product WHERE id = $1', [id])).rows[0]?.name;

  test('through: the database has it, and the next GET asks nobody', async () => {
    const gateway = await open('through');
    await gateway.read('product:401');
    const value = { name: 'Through', price: '1.00', org: 1 };
    const put = await gateway.call('PUT', '/cache/product:401', { value });
    assert.deepEqual([put.status, put.body], [200, { key: 'product:401', result: 'written' }]);
    assert.equal(await nameOf(401), 'Through');
    const before = await productQueries();
    const [row] = await gateway.read('product:401');
    assert.equal(await productQueries(), before);
    const { version, ...others } = row as { readonly version: string };
    assert.deepEqual(others, { ...value, id: '401', org: '1' });
    assert.ok(Number(version) > 1000, 'as the database has it');
    const refused = await gateway.call('PUT', '/cache/product:401', { value: { ...value, name: '' } });
    isFailure(refused, 409, 'SOURCE_REFUSED');
    assert.match(refused.body.error.message, /product_name_check/);
    assert.deepEqual((await gateway.read('product:401'))[0], row);
    const wrong = await gateway.call('PUT', '/cache/product:401', { value: { ...value, price: 'much' } });
    isFailure(wrong, 422, 'SOURCE_REFUSED');
    assert.equal((await gateway.call('DELETE', '/cache/product:401')).status, 204);
    assert.equal((await gateway.read('product:401'))[0], 'KEY_KNOWN_ABSENT');
    assert.equal(await nameOf(401), undefined);
  });

  test('behind: acknowledged when it is on disk, seen at once, written later, and before the end', async () => {
    const gateway = await open(
      'behind',
      `behind: { directory: "${folder}/queue", flushInterval: 10m, drainTimeout: 60s }\n`,
    );
    const value = { price: '1.00', org: 1 };
    for (const name of ['one', 'two', 'three']) {
      const put = await gateway.call('PUT', '/cache/product:402', { value: { name, ...value } });
      assert.deepEqual([put.status, put.body], [202, { key: 'product:402', result: 'queued' }]);
      assert.equal(((await gateway.read('product:402'))[0] as { name: string }).name, name);
    }
    assert.equal((await gateway.call('DELETE', '/cache/product:403')).status, 202);
    assert.equal((await gateway.read('product:403'))[0], 'KEY_KNOWN_ABSENT');
    assert.deepEqual([await nameOf(402), await nameOf(403)], ['product 402', 'product 403']);
    isFailure(await gateway.call('PUT', '/cache/product:402', { value: { nam: 'x' } }), 422, 'SOURCE_ROW_INVALID');
    isFailure(
      await gateway.call('PUT', '/cache/product:x', { value: { name: 'x', ...value } }),
      400,
      'SOURCE_KEY_INVALID',
    );
    assert.match((await gateway.get('/metrics')).text, /breakwater_cache_queue_length\{[^}]*"product"[^}]*\} 2\n/);
    const { queued } = await gateway.running.close(true);
    assert.equal(queued, 0);
    assert.deepEqual([await nameOf(402), await nameOf(403)], ['three', undefined]);
  });
});

describe('when the database goes away', needs, () => {
  test('what is cached is served, stale within grace and marked, the rest is 502; it comes back by itself', async () => {
    const gateway = await openGateway(
      `sources:
  shop:
    postgres: { url: "\${DATABASE_URL}", connectTimeout: 30s }
    guard: { breaker: { open: 100ms, maxOpen: 100ms }, backoff: false }
defaults: { loadTimeout: 60s }
namespaces:
  kept: { source: shop, table: product, key: id, columns: [id, name], ttl: 1h, policy: aside }
  old: { source: shop, table: product, key: id, columns: [id, name], ttl: 1ms, jitter: 0, grace: 1h }
`,
      { DATABASE_URL: url },
    );
    await until(async () => (await gateway.get('/readyz')).status === 200, 'it to be ready');
    await gateway.read('kept:1');
    await gateway.read('old:1');
    gate.cut();
    assert.deepEqual(await gateway.read('kept:1'), [{ id: '1', name: 'product 1' }, 'l1']);
    assert.deepEqual(await gateway.read('old:1'), [{ id: '1', name: 'product 1' }, 'stale']);
    const failed = await gateway.get('/cache/kept:2');
    isFailure(failed, 502, 'SOURCE_FAILED');
    assert.doesNotMatch(failed.text, /127\.0\.0\.1|demo|ECONN/);
    const put = await gateway.call('PUT', '/cache/kept:1', { value: { name: 'x' } });
    isFailure(put, 502, 'SOURCE_FAILED');
    // The write may have been committed before the connection was lost, so the copy is gone.
    assert.equal((await gateway.get('/cache/kept:1')).status >= 500, true);
    let status = 0;
    for (let n = 3; n < 100 && status !== 503; n += 1) ({ status } = await gateway.get(`/cache/kept:${n}`));
    assert.equal(status, 503, 'the breaker opens');
    await until(async () => (await gateway.get('/readyz')).body.status === 'degraded', 'readiness to notice');
    assert.deepEqual((await gateway.get('/readyz')).body, { status: 'degraded', away: ['source "shop"'] });
    assert.equal((await gateway.get('/readyz?strict')).status, 503);
    gate.heal();
    await until(async () => (await gateway.get('/cache/kept:1')).status === 200, 'it to come back');
    await until(async () => (await gateway.get('/readyz?strict')).status === 200, 'readiness to notice');
    assert.ok(gateway.log.all.some((line) => line.startsWith('source "shop" cannot be reached')));
    assert.ok(gateway.log.all.includes('source "shop" answers {}'));
  });

  test('a gateway that starts without it is not ready, and is when it has come', async () => {
    gate.cut();
    const gateway = await openGateway(
      `${SOURCE}namespaces:\n  p: { source: shop, table: product, key: id, columns: [id] }\n`,
      { DATABASE_URL: url },
    );
    isFailure(await gateway.get('/readyz'), 503, 'NOT_READY');
    assert.equal((await gateway.get('/healthz')).status, 200);
    gate.heal();
    await until(async () => (await gateway.get('/readyz')).status === 200, 'it to be ready');
  });
});
