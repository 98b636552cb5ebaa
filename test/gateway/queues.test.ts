/** Policy behind in a gateway: what it has acknowledged survives its death and its database's, and what nobody would write is not passed over. */
import assert from 'node:assert/strict';
import type { ChildProcessWithoutNullStreams } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Client } from 'pg';
import { checkGateway } from '../../src/gateway/check.ts';
import { readConfig } from '../../src/gateway/config/read.ts';
import { runCli, startCli } from '../server/support.ts';
import { type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { Gate, openGateway, type TestGateway, until } from './support.ts';

const needs = requiresPostgres();
const folder = mkdtempSync(join(tmpdir(), 'bw-queues-'));
const children = new Set<ChildProcessWithoutNullStreams>();
let server: PostgresServer;
let sql: Client;
/** Over the gate, which can be cut. */
let gate: Gate;
let env: { readonly DATABASE_URL: string };

before(async () => {
  if (needs.skip !== false) return;
  server = await startPostgres();
  const { host, port, user, database } = server.connection;
  sql = new server.pg.Client(server.connection);
  await sql.connect();
  await sql.query(`CREATE TABLE product (id bigint PRIMARY KEY, name text NOT NULL CHECK (name <> ''))`);
  await sql.query(`INSERT INTO product SELECT i, 'old' FROM generate_series(1, 1000) AS i`);
  await sql.query(
    `CREATE TABLE loose (id bigint, name text); CREATE ROLE reader LOGIN; GRANT SELECT ON product TO reader`,
  );
  gate = await Gate.start(host.startsWith('/') ? { path: join(host, `.s.PGSQL.${port}`) } : { host, port });
  env = { DATABASE_URL: `postgres://${user}@127.0.0.1:${gate.port}/${database}` };
});
after(async () => {
  for (const child of children) child.kill('SIGKILL');
  await sql?.end();
  await server?.close();
  rmSync(folder, { recursive: true, force: true });
});

const yamlOf = (directory: string, more = '', name = 'product', table = 'product'): string => `
sources:
  shop:
    postgres: { url: "\${DATABASE_URL}", connectTimeout: 60s }
    guard: { breaker: false, backoff: false }
defaults: { loadTimeout: 60s }
behind: { directory: "${directory}", flushInterval: 10m, drainTimeout: 60s, writeTimeout: 60s${more} }
namespaces:
  ${name}: { source: shop, table: ${table}, key: id, columns: [id, name], policy: behind }
`;
const nameOf = async (id: number): Promise<unknown> =>
  (await sql.query('SELECT name FROM product WHERE id = $1', [id])).rows[0]?.name;

/** A gateway in a process of its own. */
async function startProcess(file: string): Promise<{ child: ChildProcessWithoutNullStreams; url: string }> {
  const child = startCli(['gateway', '--config', file], env);
  children.add(child);
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += String(chunk);
    });
  }
  await until(() => {
    assert.equal(child.exitCode, null, output);
    return /^ready$/m.test(output);
  }, 'the gateway to start');
  return { child, url: /HTTP +(http:\S+)\//.exec(output)?.[1] ?? '' };
}

describe('a queue', needs, () => {
  test('kill -9 between the acknowledgement and the database: the next start shows all of it and writes it', async () => {
    const file = join(folder, 'killed.yaml');
    writeFileSync(file, `listen: { port: 0 }\n${yamlOf('killed')}`);
    const first = await startProcess(file);
    const put = async (id: number): Promise<number> => {
      const response = await fetch(`${first.url}/cache/product:${id}`, {
        method: id % 10 === 0 ? 'DELETE' : 'PUT',
        headers: { 'content-type': 'application/json' },
        ...(id % 10 !== 0 && { body: JSON.stringify({ value: { name: `new ${id}` } }) }),
      });
      await response.arrayBuffer();
      return response.status;
    };
    const ids = Array.from({ length: 200 }, (_, index) => index + 1);
    assert.deepEqual(new Set(await Promise.all(ids.map(put))), new Set([202]));
    first.child.kill('SIGKILL');
    await once(first.child, 'close');
    assert.equal(await nameOf(1), 'old', 'nothing was flushed');

    const second = await startProcess(file);
    const shown = await Promise.all(
      ids.map(async (id) => {
        const response = await fetch(`${second.url}/cache/product:${id}`);
        const body = (await response.json()) as { readonly value?: { readonly name: string } };
        return response.status === 404 ? null : body.value?.name;
      }),
    );
    const wanted = ids.map((id) => (id % 10 === 0 ? null : `new ${id}`));
    assert.deepEqual(shown, wanted);
    second.child.kill('SIGTERM');
    const [code] = await once(second.child, 'close');
    assert.equal(code, 0);
    const { rows } = await sql.query('SELECT id::integer, name FROM product WHERE id <= 200');
    const names = new Map(rows.map(({ id, name }) => [id, name as string]));
    assert.deepEqual(
      ids.map((id) => names.get(id) ?? null),
      wanted,
    );
  });

  test('acknowledged and seen while the database is away, and written when it is back', async () => {
    const gateway = await openGateway(yamlOf(join(folder, 'away')), env);
    const put = (id: number, name: string) =>
      gateway.call('PUT', `/cache/product:${id}`, { value: { id: String(id), name } });
    assert.equal((await put(301, 'before')).status, 202);
    gate.cut();
    assert.equal((await put(301, 'during')).status, 202);
    assert.deepEqual((await gateway.read('product:301'))[0], { id: '301', name: 'during' });
    gate.heal();
    assert.equal((await gateway.running.close(true)).queued, 0);
    assert.equal(await nameOf(301), 'during');
  });

  test('a gateway that has not reached its database yet queues nothing: 503, and nothing is lost by it', async () => {
    gate.cut();
    const gateway = await openGateway(yamlOf(join(folder, 'never')), env);
    const put = await gateway.call('PUT', '/cache/product:302', { value: { name: 'x' } });
    assert.deepEqual([put.status, put.body.error.code], [503, 'WRITE_BEHIND_UNAVAILABLE']);
    assert.ok(put.headers.has('retry-after'));
    gate.heal();
    await until(
      async () => (await gateway.call('PUT', '/cache/product:302', { value: { name: 'y' } })).status === 202,
      'the database to be back',
    );
  });

  test('full: 503, and the writes that were acknowledged are written', async () => {
    const gateway = await openGateway(
      yamlOf(join(folder, 'full'), ', maxEntries: 2').replace('writeTimeout: 60s', 'writeTimeout: 200ms'),
      env,
    );
    const put = (id: number) => gateway.call('PUT', `/cache/product:${id}`, { value: { name: 'filled' } });
    await sql.query('BEGIN; LOCK TABLE product IN ACCESS EXCLUSIVE MODE');
    try {
      // The catalogue is asked before the first of them, which the lock does not hold up.
      // On a slow machine one may not be acknowledged in time; to call again is harmless.
      for (const id of [311, 312]) await until(async () => (await put(id)).status === 202, `${id} to be acknowledged`);
      const { status, body } = await put(313);
      assert.deepEqual([status, body.error.code], [503, 'WRITE_BEHIND_FULL']);
    } finally {
      await sql.query('COMMIT');
    }
    assert.equal((await gateway.running.close(true)).queued, 0);
    assert.deepEqual([await nameOf(311), await nameOf(312), await nameOf(313)], ['filled', 'filled', 'old']);
  });

  test('a row that the database refuses becomes a dead letter: logged, counted, and the database’s row is shown', async () => {
    const gateway = await openGateway(
      yamlOf(join(folder, 'dead'), ', attempts: 1').replace('flushInterval: 10m', 'flushInterval: 0'),
      env,
    );
    const put = await gateway.call('PUT', '/cache/product:321', { value: { name: '' } });
    assert.equal(put.status, 202, 'it is asked later');
    await until(() => gateway.log.all.some((line) => line.includes('product:321')), 'the log to tell');
    await until(
      async () => (await gateway.get('/metrics')).text.includes('queue_dead_letters{cache="product"} 1'),
      'it',
    );
    await until(
      async () => ((await gateway.read('product:321'))[0] as { name?: string }).name === 'old',
      'the old row to be shown again',
    );
  });

  test('breakwater queue retry and drop while it runs: the gateway does it', async () => {
    const directory = join(folder, 'asked');
    const gateway = await openGateway(
      yamlOf(directory, ', attempts: 1').replace('flushInterval: 10m', 'flushInterval: 0'),
      env,
    );
    for (const id of [322, 323]) {
      const put = await gateway.call('PUT', `/cache/product:${id}`, { value: { name: '' } });
      assert.equal(put.status, 202);
    }
    const { deadLetters } = gateway.running.namespaces.get('product')!.cache;
    await until(() => deadLetters.list().length === 2, 'both to be refused');
    const queue = (...args: string[]) => runCli(['queue', ...args]);
    assert.equal((await queue('drop', directory, '322')).stdout, 'dropped: 1 (product:322)\n');
    assert.equal(deadLetters.list().length, 1);
    const other = await queue('retry', directory, '322', '--cache', 'product');
    assert.deepEqual([other.code, other.stdout], [1, 'queued again: 0\n']);
    assert.match(other.stderr, /no dead letter of "322"/);
    await sql.query('ALTER TABLE product DROP CONSTRAINT product_name_check');
    try {
      assert.equal((await queue('retry', directory, '--all', '--json')).stdout, '{"retry":["product:323"]}\n');
      await until(async () => (await nameOf(323)) === '', 'the row to be written');
    } finally {
      await sql.query(`UPDATE product SET name = 'old' WHERE name = '';
        ALTER TABLE product ADD CONSTRAINT product_name_check CHECK (name <> '')`);
    }
    assert.equal(await nameOf(322), 'old');
    const left = (): string[] => readdirSync(directory).filter((name) => name.startsWith('.'));
    assert.deepEqual(left(), ['.takes-requests']);
    await gateway.running.close(true);
    assert.deepEqual(left(), []);
  });

  test('a directory that another process has, and one with writes of a namespace that is no more: no start', async () => {
    const gateway = await openGateway(
      yamlOf(join(folder, 'left')).replace('drainTimeout: 60s', 'drainTimeout: 0'),
      env,
    );
    assert.equal((await gateway.call('PUT', '/cache/product:331', { value: { name: 'left' } })).status, 202);
    const [finding] = await findingsOf(yamlOf(join(folder, 'left')));
    assert.deepEqual(finding, ['queue', 'fine', `${join(folder, 'left')}: 1 rows wait, 0 dead letters`]);
    gate.cut();
    assert.equal((await gateway.running.close(true)).queued, 1);
    gate.heal();
    const renamed = yamlOf(join(folder, 'left'), '', 'products');
    const refusal = /acknowledged writes of 1 rows of "product", which is no namespace with policy: behind now/;
    await assert.rejects(openGateway(renamed, env), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'GATEWAY_QUEUE_UNAVAILABLE');
      assert.match(error.message, refusal);
      return true;
    });
    const [, kind, message] = (await findingsOf(renamed))[0] ?? [];
    assert.equal(kind, 'wrong');
    assert.match(message ?? '', refusal);
    const again = await openGateway(yamlOf(join(folder, 'left')), env);
    assert.equal((await again.running.close(true)).queued, 0);
    assert.equal(await nameOf(331), 'left');
  });
});

/** What --check says of the queue, and of what is wrong. */
async function findingsOf(yaml: string, database = env.DATABASE_URL) {
  const found = await checkGateway(readConfig('test.yaml', yaml, { DATABASE_URL: database }), false);
  return found
    .filter(({ what, kind }) => what === 'queue' || kind === 'wrong')
    .map(({ what, kind, message }) => [what, kind, message] as const)
    .sort(([one], [other]) => (one < other ? 1 : -1));
}

const redisNeeded = requires('redis-server');

describe('a queue in streams', { skip: needs.skip || redisNeeded.skip }, () => {
  test('what a gateway has left another one writes; of a namespace that is no more: no start', async () => {
    const redis = await RedisServer.start();
    try {
      const url = `redis://127.0.0.1:${redis.port}`;
      const yaml = (name = 'product'): string =>
        yamlOf('-', '', name)
          .replace('directory: "-"', 'queue: streams, takeover: 1s')
          .replace('drainTimeout: 60s', 'drainTimeout: 0')
          .concat(`store: "${url}"\nreadTimeout: 30s\nwriteTimeout: 30s\n`);
      const put = (gateway: TestGateway, id: number, name: string) =>
        gateway.call('PUT', `/cache/product:${id}`, { value: { id: String(id), name } });
      const [first, second] = [await openGateway(yaml(), env), await openGateway(yaml(), env)];
      assert.equal((await put(first, 701, 'new')).status, 202);
      assert.deepEqual((await second.read('product:701'))[0], { id: '701', name: 'new' });
      assert.equal(await nameOf(701), 'old');
      assert.equal((await first.running.close(true)).queued, 1);
      await until(async () => (await nameOf(701)) === 'new', 'the second gateway to write it');
      assert.equal((await put(second, 702, 'new')).status, 202);
      assert.equal((await second.running.close(true)).queued, 1);

      await assert.rejects(openGateway(yaml('other'), env), {
        code: 'GATEWAY_QUEUE_UNAVAILABLE',
        message: /acknowledged writes of 1 rows of "product"/,
      });
      const said = async (name: string): Promise<string | undefined> =>
        (await checkGateway(readConfig('q.yaml', yaml(name), env), false)).find(({ what }) => what === 'queue')
          ?.message;
      assert.match((await said('other')) ?? '', /which is no namespace with policy: behind now/);
      assert.equal(await said('product'), 'streams: 1 rows wait, 0 dead letters');
      assert.equal(await nameOf(702), 'old', 'who looks takes nothing over');
      const third = await openGateway(yaml(), env);
      await until(async () => (await nameOf(702)) === 'new', 'the next start to write it');
      await third.running.close(true);
    } finally {
      await redis.close();
    }
  });
});

describe('--check of what is written', needs, () => {
  test('a table without a unique key, a role without rights, an order that cannot be made', async () => {
    const wrongOf = async (yaml: string, database?: string): Promise<string[]> =>
      (await findingsOf(yaml, database)).flatMap(([, kind, message]) => (kind === 'wrong' ? [message] : []));
    const queue = join(folder, 'not-made');
    assert.deepEqual(await wrongOf(yamlOf(queue)), []);
    const [loose = ''] = await wrongOf(yamlOf(queue, '', 'product', 'loose'));
    assert.match(loose, /no unique index has its key alone \[SOURCE_REFUSED\]$/);
    const reader = env.DATABASE_URL.replace(/\/\/[^@]+@/, '//reader@');
    const [rights = ''] = await wrongOf(yamlOf(queue), reader);
    assert.match(rights, /the role "reader" lacks INSERT, UPDATE, DELETE on it \[SOURCE_REFUSED\]$/);
    const [file = ''] = await wrongOf(yamlOf('/dev/null/queue'));
    assert.match(file, /^cannot use \/dev\/null\/queue|\/dev\/null is no directory$/);
  });
});
