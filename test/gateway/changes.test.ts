/** A gateway that follows its database: what is changed in SQL behind its back is not served any more. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Client } from 'pg';
import { checkGateway } from '../../src/gateway/check.ts';
import { readConfig } from '../../src/gateway/config/read.ts';
import { LiveServer } from '../clients/live-server.ts';
import { LOGICAL, type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';
import { Gate, openGateway, type TestGateway, until } from './support.ts';

const needs = requiresPostgres();
let server: PostgresServer;
let sql: Client;
let node: LiveServer;
/** Over the gate, which can be cut. */
let gate: Gate;
let url: string;

before(async () => {
  if (needs.skip !== false) return;
  node = await LiveServer.start();
  server = await startPostgres(LOGICAL);
  const { host, port, user, database } = server.connection;
  sql = new server.pg.Client(server.connection);
  await sql.connect();
  await sql.query(`CREATE TABLE product (id bigint PRIMARY KEY, name text NOT NULL, org bigint NOT NULL)`);
  await sql.query(`CREATE TABLE purchase (id bigint PRIMARY KEY, product bigint NOT NULL, quantity integer NOT NULL)`);
  await sql.query(`ALTER TABLE purchase REPLICA IDENTITY FULL; ALTER TABLE product REPLICA IDENTITY FULL`);
  await sql.query(`CREATE TABLE nameless (id bigint, name text); CREATE UNIQUE INDEX ON nameless (id)`);
  await sql.query(`INSERT INTO product SELECT i, 'old', i % 10 FROM generate_series(1, 1000) AS i`);
  await sql.query(`INSERT INTO purchase SELECT i, i, 1 FROM generate_series(1, 100) AS i`);
  await sql.query(`CREATE ROLE plain LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain`);
  gate = await Gate.start(host.startsWith('/') ? { path: `${host}/.s.PGSQL.${port}` } : { host, port });
  url = `postgres://${user}@127.0.0.1:${gate.port}/${database}`;
});
after(async () => {
  await sql?.end();
  await server?.close();
  await node?.close();
});

const yamlOf = (changes: string, more = ''): string => `${more}
sources:
  shop:
    postgres: { url: "\${DATABASE_URL}", connectTimeout: 60s, changes: ${changes} }
    guard: { breaker: false, backoff: false }
defaults: { loadTimeout: 60s, ttl: 1h }
namespaces:
  product: { source: shop, table: product, key: id, columns: [id, name, org] }
  brief: { source: shop, table: product, key: id, columns: [id, name] }
  summary:
    source: shop
    sql: "SELECT product AS id, sum(quantity)::integer AS quantity FROM purchase WHERE product = ANY($1::bigint[]) GROUP BY product"
    key: id
    keyType: bigint
  list: { source: none, tags: ["org:{org}"] }
`;
const MAPPED =
  '{ slot: one, tables: { purchase: { keys: ["summary:{product}"] }, product: { tags: ["org:{org}"], namespaces: [list] } } }';

const isReady = (gateway: TestGateway): Promise<void> =>
  until(async () => (await gateway.get('/readyz?strict')).status === 200, 'the changes to be followed');
const shows = (gateway: TestGateway, key: string, value: unknown): Promise<void> =>
  until(
    async () => {
      const [got] = await gateway.read(key);
      return JSON.stringify(got) === JSON.stringify(value);
    },
    `${key} to be ${JSON.stringify(value)}`,
  );

describe('changes in SQL', needs, () => {
  test('the embedded store: rows, what is made of them, tags; updates, inserts, deletions, another key', async () => {
    const gateway = await openGateway(yamlOf(MAPPED), { DATABASE_URL: url });
    await isReady(gateway);
    for (const key of ['product:1', 'brief:1', 'product:2', 'product:5000', 'summary:7', 'summary:8'])
      await gateway.read(key);
    await gateway.call('PUT', '/cache/list:a', { value: { org: '1', ids: ['1'] } });
    await gateway.call('PUT', '/cache/list:b', { value: { org: '2', ids: ['2'] } });
    await sql.query(`UPDATE product SET name = 'new' WHERE id = 1`);
    await shows(gateway, 'product:1', { id: '1', name: 'new', org: '1' });
    await shows(gateway, 'brief:1', { id: '1', name: 'new' });
    await shows(gateway, 'list:a', 'KEY_KNOWN_ABSENT');
    assert.equal((await gateway.read('list:b'))[0] === 'KEY_KNOWN_ABSENT', false, 'of another org');
    await sql.query(`DELETE FROM product WHERE id = 2`);
    await shows(gateway, 'product:2', 'KEY_KNOWN_ABSENT');
    await sql.query(`INSERT INTO product VALUES (5000, 'inserted', 3)`);
    await shows(gateway, 'product:5000', { id: '5000', name: 'inserted', org: '3' });
    // Missing from one summary and new in the other.
    await sql.query(`UPDATE purchase SET product = 8 WHERE id = 7`);
    await shows(gateway, 'summary:7', 'KEY_KNOWN_ABSENT');
    await shows(gateway, 'summary:8', { id: '8', quantity: 2 });
    await gateway.read('product:9');
    await sql.query(
      `BEGIN; TRUNCATE product; INSERT INTO product SELECT i, 'again', 0 FROM generate_series(1, 1000) AS i; COMMIT`,
    );
    await shows(gateway, 'product:9', { id: '9', name: 'again', org: '0' });
    assert.match((await gateway.get('/metrics')).text, /breakwater_changes_covered\{[^}]*"one"[^}]*\} 1\n/);
  });

  test('a stream that is cut off: degraded, and what was changed meanwhile is seen once it is back', async () => {
    const gateway = await openGateway(yamlOf('{ slot: two }'), { DATABASE_URL: url });
    await isReady(gateway);
    const [before] = await gateway.read('product:20');
    gate.cut();
    await until(
      async () => (await gateway.get('/readyz')).body.away?.includes('changes of source "shop"'),
      'it to be noticed',
    );
    assert.equal((await gateway.get('/readyz')).body.status, 'degraded');
    await sql.query(`UPDATE product SET name = 'meanwhile' WHERE id = 20`);
    assert.deepEqual((await gateway.read('product:20'))[0], before);
    gate.heal();
    await shows(gateway, 'product:20', { ...(before as object), name: 'meanwhile' });
    assert.ok(gateway.log.all.some((line) => line.startsWith('changes "two": some may have been missed')));
  });

  test('two gateways over a node: one reads, the other takes over when it ends, and nothing between is missed', async () => {
    const open = () =>
      openGateway(yamlOf('{ slot: shared }', `store: "breakwater://127.0.0.1:${node.port}"\n`), { DATABASE_URL: url });
    const first = await open();
    await isReady(first);
    const second = await open();
    await isReady(second);
    const slots = async (): Promise<number> =>
      (await sql.query(`SELECT 1 FROM pg_replication_slots WHERE slot_name = 'shared'`)).rowCount ?? 0;
    assert.equal(await slots(), 1);
    await second.read('product:30');
    await second.read('product:31');
    await sql.query(`UPDATE product SET name = 'both' WHERE id = 30`);
    await shows(second, 'product:30', { id: '30', name: 'both', org: '0' });
    await first.running.close(true);
    await sql.query(`UPDATE product SET name = 'taken over' WHERE id = 31`);
    await shows(second, 'product:31', { id: '31', name: 'taken over', org: '0' });
    await until(
      () => second.log.all.some((line) => line.includes('"shared": followed by this gateway')),
      'the takeover',
    );
  });
});

/** What --check says of the stream. */
async function saidOf(yaml: string, database = url): Promise<string[]> {
  const found = await checkGateway(readConfig('b.yaml', yaml, { DATABASE_URL: database }), false);
  return found
    .filter(({ what }) => what.startsWith('changes'))
    .map(({ kind, message, at }) => `${kind} ${at.line}: ${message}`);
}

describe('--check of changes', needs, () => {
  test('it says whether the stream could begin, and makes nothing', async () => {
    assert.deepEqual(await saidOf(yamlOf('{ slot: looked }')), ['fine 4: replication of "product"']);
    const { rows } = await sql.query(
      `SELECT slot_name::text FROM pg_replication_slots WHERE slot_name LIKE 'looked%' UNION ALL SELECT pubname::text FROM pg_publication WHERE pubname = 'looked'`,
    );
    assert.deepEqual(rows, []);
    const [unknown = ''] = await saidOf(yamlOf('{ tables: { purchase: { keys: ["summary:{produkt}"] } } }'));
    assert.match(
      unknown,
      /^wrong 4: cannot follow table purchase: it has no column "produkt"; it has id, product, quantity \[SOURCE_COLUMN_UNKNOWN\]$/,
    );
    const [missing = ''] = await saidOf(yamlOf('{ tables: { order: { namespaces: [summary] } } }'));
    assert.match(missing, /cannot follow table order: there is no such table \[SOURCE_TABLE_UNKNOWN\]$/);
    await sql.query(`CREATE TABLE IF NOT EXISTS partial (id bigint PRIMARY KEY, product bigint)`);
    const [whole = ''] = await saidOf(yamlOf('{ tables: { partial: { keys: ["summary:{product}"] } } }'));
    assert.match(
      whole,
      /^fine .*; an update or deletion in partial does not tell product, so that it invalidates summary whole/,
    );
    const [nameless = ''] = await saidOf(yamlOf('{ tables: { nameless: { namespaces: [summary] } } }'));
    assert.match(nameless, /has no primary key and no other replica identity.*\[CHANGES_NO_IDENTITY\]$/);
    const twice = await saidOf(yamlOf('{ tables: { public.product: { tags: ["org:{org}"], namespaces: [list] } } }'));
    assert.match(twice[0] ?? '', /is that of product too; declare it once \[CHANGES_TABLE_TWICE\]$/);
    const made = await saidOf(yamlOf('{ slot: nowhere, create: false }', 'store: "redis://127.0.0.1:1"\n'));
    assert.deepEqual(
      made.map((line) => /\[(\w+)\]$/.exec(line)?.[1]),
      ['CHANGES_PUBLICATION_MISSING', 'CHANGES_SLOT_MISSING'],
    );
    const plain = await saidOf(yamlOf('{ slot: looked }'), url.replace(/\/\/[^@]+@/, '//plain@'));
    assert.deepEqual(
      plain.map((line) => /the role "plain" may not [a-z]+|\[\w+\]$/.exec(line)?.[0]),
      ['the role "plain" may not replicate', 'the role "plain" may not make', 'the role "plain" may not publish'],
    );
  });
});
