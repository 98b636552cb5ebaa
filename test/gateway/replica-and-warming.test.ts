/** A gateway whose loads read a replica that lags, and one that is filled before it is asked. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Client } from 'pg';
import { checkGateway } from '../../src/gateway/check.ts';
import { readConfig } from '../../src/gateway/config/read.ts';
import { type PostgresReplica, startReplica } from '../support/postgres-replica.ts';
import { type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';
import { openGateway, type TestGateway, until } from './support.ts';

const options = { ...requiresPostgres(), timeout: 300_000 };
let server: PostgresServer;
let replica: PostgresReplica;
let sql: Client;
let env: { readonly DATABASE_URL: string; readonly REPLICA_URL: string };

const urlOf = ({ host, port, user, database }: PostgresServer['connection']): string =>
  `postgres://${user}@${encodeURIComponent(host)}:${port}/${database}`;

before(async () => {
  if (options.skip !== false) return;
  server = await startPostgres();
  sql = new server.pg.Client(server.connection);
  await sql.connect();
  await sql.query(`CREATE TABLE product (id bigint PRIMARY KEY, name text NOT NULL)`);
  await sql.query(`INSERT INTO product SELECT i, 'first' FROM generate_series(1, 500) AS i`);
  replica = await startReplica(server);
  env = { DATABASE_URL: urlOf(server.connection), REPLICA_URL: urlOf(replica.connection) };
});
after(async () => {
  await sql?.end();
  await replica?.close();
  await server?.close();
});

const yamlOf = (postgres: string, product: string): string => `
sources:
  shop:
    postgres: { url: "\${DATABASE_URL}", connectTimeout: 60s, ${postgres} }
    guard: { breaker: false, backoff: false }
defaults: { loadTimeout: 60s, ttl: 1h }
namespaces:
  product: { source: shop, table: product, key: id, columns: [id, name], ${product} }
`;

/** A number of /metrics. */
async function numberOf(gateway: TestGateway, name: string, ...labels: string[]): Promise<number> {
  const { text } = await gateway.get('/metrics');
  const line = text
    .split('\n')
    .find((one) => one.startsWith(`${name}{`) && labels.every((label) => one.includes(label)));
  return Number(line?.split(' ').at(-1));
}

describe('replicas', options, () => {
  test('loads go to the replica, and to the primary for what it does not show yet: a PUT is never undone by one', async () => {
    await replica.caughtUp();
    const gateway = await openGateway(yamlOf('replica: { urls: ["${REPLICA_URL}"] }', 'policy: aside'), env);
    const from = (who: string): Promise<number> =>
      numberOf(gateway, 'breakwater_gateway_replica_ids_total', `from="${who}"`);
    /** The database writes into its log by itself too, which a replica may be behind with for a moment. */
    const fromReplica = async (name: string): Promise<void> => {
      const before = await from('replica');
      await until(async () => {
        await gateway.call('POST', '/cache/invalidate', { keys: ['product:1'] });
        assert.deepEqual((await gateway.read('product:1'))[0], { id: '1', name });
        return (await from('replica')) > before;
      }, 'the replica to be read');
    };
    await fromReplica('first');
    await replica.pause();
    try {
      const put = await gateway.call('PUT', '/cache/product:1', { value: { name: 'second' } });
      assert.equal(put.status, 200);
      assert.deepEqual((await gateway.read('product:1'))[0], { id: '1', name: 'second' });
      assert.ok((await from('primary')) >= 1);
    } finally {
      await replica.resume();
    }
    await replica.caughtUp();
    await fromReplica('second');
  });

  test('--check: what is no replica is told at its line', async () => {
    const check = async (replicaUrl: string) =>
      (
        await checkGateway(
          readConfig('b.yaml', yamlOf('\n      replica: { urls: ["${REPLICA_URL}"] }', 'policy: aside'), {
            ...env,
            REPLICA_URL: replicaUrl,
          }),
          false,
        )
      ).filter(({ kind }) => kind === 'wrong');
    assert.deepEqual(await check(env.REPLICA_URL), []);
    const [wrong] = await check(env.DATABASE_URL);
    assert.match(wrong?.message ?? '', /it is not a replica, or not one any more \[SOURCE_REPLICA\]$/);
    assert.equal(wrong?.at.line, 5);
  });
});

describe('warming', options, () => {
  const isWarm = (gateway: TestGateway): Promise<void> =>
    until(() => gateway.log.all.some((line) => line.startsWith('"product" is warm')), 'it to be warm');

  test('every row of the table is there before it is asked for', async () => {
    const gateway = await openGateway(yamlOf('pool: 30', 'warm: {}'), env);
    await isWarm(gateway);
    assert.equal(await numberOf(gateway, 'breakwater_gateway_warmed_total', 'outcome="loaded"'), 500);
    for (const id of [1, 250, 500]) assert.notEqual((await gateway.read(`product:${id}`))[1], 'loader');
    assert.equal((await gateway.read('product:501'))[0], 'KEY_KNOWN_ABSENT');
    assert.equal(await numberOf(gateway, 'breakwater_gateway_warming', '"product"'), 0);
  });

  test('a query for the ids, and one that fails: it is told and tried again, requests are answered', async () => {
    const some = await openGateway(
      yamlOf('pool: 30', 'warm: { sql: "SELECT id FROM product WHERE id <= 10", rate: 1000, batch: 4 }'),
      env,
    );
    await isWarm(some);
    assert.equal(await numberOf(some, 'breakwater_gateway_warmed_total', 'outcome="loaded"'), 10);
    assert.notEqual((await some.read('product:10'))[1], 'loader');
    assert.equal((await some.read('product:11'))[1], 'loader');
    const wrong = yamlOf('pool: 30', 'warm: { sql: "SELECT id FROM produkt" }');
    const broken = await openGateway(wrong, env);
    await until(() => broken.log.all.some((line) => line.startsWith('cannot warm "product" now')), 'it to be told');
    assert.equal((await broken.get('/cache/product:11')).status, 200);
    const found = await checkGateway(readConfig('b.yaml', wrong, env), false);
    const [told] = found.filter(({ kind }) => kind === 'wrong');
    assert.match(told?.message ?? '', /^warm\.sql: .*produkt/);
  });
});
