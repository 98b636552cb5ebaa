/** `breakwater gateway` as people run it: the example as it is shipped, and `--check`, against a real Postgres. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Client } from 'pg';
import { runCli, startCli } from '../server/support.ts';
import { LOGICAL, type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';
import { openGateway, until } from './support.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const EXAMPLE = join(root, 'examples/gateway/breakwater.yaml');
const needs = requiresPostgres();
const run = promisify(execFile);

let server: PostgresServer;
let sql: Client;
let url: string;
const folder = mkdtempSync(join(tmpdir(), 'bw-gateway-'));

before(async () => {
  if (needs.skip !== false) return;
  server = await startPostgres(LOGICAL);
  const { host, port, user, database } = server.connection;
  sql = new server.pg.Client(server.connection);
  await sql.connect();
  await sql.query(readFileSync(join(root, 'examples/gateway/schema.sql'), 'utf8'));
  url = `postgres://${user}@${encodeURIComponent(host)}:${port}/${database}`;
});
after(async () => {
  rmSync(folder, { recursive: true });
  await sql?.end();
  await server?.close();
});

describe('the example', needs, () => {
  const env = (): Record<string, string> => ({
    DATABASE_URL: url,
    SHOP_TOKEN: 'shop-token-0123456789',
    PORT: '0',
    QUEUE_DIRECTORY: join(folder, 'queue'),
  });

  test('--check finds all of it', async () => {
    const { code, stdout, stderr } = await runCli(['gateway', '--config', EXAMPLE, '--check'], env());
    assert.equal(code, 0, stderr);
    assert.match(stdout, /ok +source shop +postgres\n/);
    assert.match(stdout, /ok +namespace product +postgres "product", policy through\n/);
    assert.match(stdout, /ok +namespace page-views +postgres "page_views", policy behind\n/);
    assert.match(stdout, /ok +changes shop +replication of "product", "page_views", "purchase"\n/);
    assert.match(stdout, /ok +queue +.*: 0 rows wait, 0 dead letters\n/);
    assert.match(stdout, /4 namespaces, 1 source: all is well/);
  });

  test('runs as it is, answers curl, and stops cleanly', async () => {
    const child = startCli(['gateway', '--config', EXAMPLE], env());
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        output += String(chunk);
      });
    }
    try {
      await until(() => /^ready$/m.test(output), 'the gateway to start');
      const at = /HTTP +(http:\S+)\//.exec(output)?.[1] ?? '';
      const curl = async (...args: string[]): Promise<string> => (await run('curl', ['-sS', ...args])).stdout;
      const header = ['-H', 'authorization: Bearer shop-token-0123456789'];
      const row = { id: '42', name: 'product 42', price: '42.99', org: '2', version: '42' };
      assert.deepEqual(JSON.parse(await curl(...header, `${at}/cache/product:42`)).value, row);
      const put = [
        '-X',
        'PUT',
        '-H',
        'content-type: application/json',
        '-d',
        '{"value":{"name":"Tea","price":"4.20","org":7}}',
      ];
      assert.equal(JSON.parse(await curl(...header, ...put, `${at}/cache/product:42`)).result, 'written');
      const { name, price } = JSON.parse(await curl(...header, `${at}/cache/product:42`)).value;
      assert.deepEqual([name, price], ['Tea', '4.20']);
      const counted = [...put.slice(0, -1), '{"value":{"views":"7"}}'];
      assert.equal(JSON.parse(await curl(...header, ...counted, `${at}/cache/page-views:home`)).result, 'queued');
      assert.deepEqual(JSON.parse(await curl(...header, `${at}/cache/page-views:home`)).value, {
        page: 'home',
        views: '7',
      });
      const summary = { product: '3', purchases: 1, quantity: 1 };
      const reports = ['-H', 'authorization: Bearer reports-token-of-the-example'];
      assert.deepEqual(JSON.parse(await curl(...reports, `${at}/cache/purchase-summary:3`)).value, summary);
      assert.equal(JSON.parse(await curl(...reports, `${at}/cache/product:42`)).error.code, 'RIGHT_MISSING');
      assert.equal(JSON.parse(await curl(`${at}/cache/product:42`)).error.code, 'TOKEN_MISSING');
      assert.match(await curl(...reports, `${at}/metrics`), /breakwater_gateway_requests_total/);
      await until(async () => (await curl(`${at}/readyz`)).includes('"ready"'), 'it to be ready');
      await sql.query(
        `UPDATE purchase SET quantity = 5 WHERE product = 3; UPDATE product SET name = 'by SQL' WHERE id = 42`,
      );
      const shows = (args: string[], key: string, text: string): Promise<void> =>
        until(async () => (await curl(...args, `${at}/cache/${key}`)).includes(text), `${key} to follow`);
      await shows(reports, 'purchase-summary:3', '"quantity":5');
      await shows(header, 'product:42', '"by SQL"');
      await until(() => /"product\\?" is warm/.test(output), 'it to be warm');
      child.kill('SIGTERM');
      const [code] = await once(child, 'exit');
      assert.equal(code, 0, output);
      const { rows } = await sql.query(`SELECT page, views FROM page_views`);
      assert.deepEqual(rows, [{ page: 'home', views: '7' }], 'drained at the end');
      assert.doesNotMatch(output, /shop-token|reports-token/);
    } finally {
      child.kill('SIGKILL');
    }
  });
});

const SOURCE = `
sources:
  shop:
    postgres: { url: "\${DATABASE_URL}", connectTimeout: 30s }
`;

describe('--check', needs, () => {
  const check = async (namespaces: string, database = url, flags: string[] = []) => {
    const file = join(folder, 'check.yaml');
    writeFileSync(file, `${SOURCE}namespaces:\n${namespaces}`);
    const { code, stdout, stderr } = await runCli(['gateway', '--config', file, '--check', ...flags], {
      DATABASE_URL: database,
    });
    return { code, text: `${stdout}${stderr}`.replaceAll(file, 'check.yaml') };
  };

  test('tables, columns, keys, versions and SQL that do not fit, each with its line', async () => {
    const { code, text } = await check(`  fine: { source: shop, table: product, key: id, columns: [id] }
  a: { source: shop, table: prodct, key: id, columns: [id] }
  b: { source: shop, table: product, key: id, columns: [id, nam, prize] }
  c: { source: shop, table: product, key: price, columns: [id, price] }
  d: { source: shop, table: product, key: id, columns: [id, name], version: name }
  e: { source: shop, sql: "SELEC id FROM product WHERE id = ANY($1::bigint[])", key: id }
  f:
    source: shop
    sql: "SELECT id FROM product WHERE id = ANY($1::bigint[])"
    key: id
    policy: aside
    write:
      upsert: "INSERT INTO product SELECT * FROM json_populate_recordset(NULL::product, $1::json); DROP TABLE product"
      delete: "DELETE FROM produkt WHERE id = ANY($1::bigint[])"
`);
    assert.equal(code, 1);
    const lines = text.split('\n').filter((line) => line.includes('WRONG'));
    const found = lines.map((line) =>
      /namespace (\w).*check\.yaml:(\d+):\d+: .*\[(\w+)\]/.exec(line)?.slice(1).join(' '),
    );
    assert.deepEqual(found, [
      'a 7 SOURCE_TABLE_UNKNOWN',
      'b 8 SOURCE_COLUMN_UNKNOWN',
      'c 9 SOURCE_KEY_TYPE',
      'd 10 SOURCE_VERSION_TYPE',
      'e 11 SOURCE_REFUSED',
      'f 18 SOURCE_REFUSED',
      'f 19 SOURCE_TABLE_UNKNOWN',
    ]);
    assert.match(text, /nam.*prize/);
    assert.match(text, /ok +namespace fine/);
    const { rows } = await sql.query('SELECT count(*)::integer AS n FROM product');
    assert.ok(rows[0].n > 900, 'nothing was run');
  });

  test('a database that is not there: 1, and with --offline 0', async () => {
    const row = '  p: { source: shop, table: product, key: id, columns: [id] }\n';
    const away = 'postgres://somebody:hush@127.0.0.1:1/x';
    const { code, text } = await check(row, away);
    assert.equal(code, 1);
    assert.match(text, /WRONG +source shop +check\.yaml:4:22: .*ECONNREFUSED.*\[SOURCE_FAILED\]/);
    assert.match(text, /skipped +namespace p +its source "shop" is away/);
    assert.doesNotMatch(text, /hush/);
    assert.equal((await check(row, away, ['--offline'])).code, 0);
  });

  test('a file that is wrong: 2, each problem on a line of its own', async () => {
    const { code, text } = await check('  p: { source: shop, tabel: product }\n');
    assert.equal(code, 2);
    assert.match(text, /^check\.yaml:6:22: namespaces\.p: there is no option "tabel": did you mean "table"\?$/m);
    assert.match(text, /1 problem \[CONFIG_INVALID\]/);
  });
});

describe('the guide', needs, () => {
  const page = readFileSync(join(root, 'docs/guide/22-a-gateway.md'), 'utf8');
  /** What differs from run to run. */
  const steady = (text: string): string =>
    text
      .trimEnd()
      .replaceAll(/"ttlSeconds":[\d.]+/g, '"ttlSeconds":600')
      .replaceAll('\r', '');

  test('chapter 22: the file as it stands there, and what every curl prints', async () => {
    await sql.query(`UPDATE product SET name = 'product 42', price = 42.99, org = 2 WHERE id = 42`);
    await sql.query(`ALTER TABLE product DISABLE TRIGGER product_version`);
    await sql.query(`UPDATE product SET version = 42 WHERE id = 42`);
    await sql.query(`ALTER TABLE product ENABLE TRIGGER product_version`);
    await sql.query(`SELECT setval('product_version', 1000)`);
    const yaml = /```yaml\n(.*?)```/s.exec(page)?.[1] ?? '';
    const gateway = await openGateway(yaml, { DATABASE_URL: url, QUEUE_DIRECTORY: join(folder, 'guide') });
    // The namespaces are invalidated once when the stream begins.
    await until(async () => (await gateway.get('/readyz?strict')).status === 200, 'the changes to be followed');
    const samples = [...page.matchAll(/```sh\n(.*?)```\n\n```text\n(.*?)```/gs)];
    assert.ok(samples.length >= 6);
    assert.equal(page.match(/```sh\n/g)?.length, samples.length, 'every sample is followed by what it prints');
    for (const [, code = '', expected = ''] of samples) {
      const lines = code
        .trimEnd()
        .split('\n')
        .map((line) => `${line}; echo`);
      const script = lines.join('\n').replaceAll('localhost:8380', gateway.url.slice('http://'.length));
      const { stdout } = await run('bash', ['-c', script]);
      assert.equal(steady(stdout.replaceAll(/\n+/g, '\n')), steady(expected), code);
    }
  });
});
