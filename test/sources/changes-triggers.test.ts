/** Changes by triggers, from a real Postgres without logical replication. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { requiresPostgres } from '../support/postgres-server.ts';
import { GENEROUS_MS, PRODUCT, Recorder, until, World } from './changes-support.ts';

const options = { ...requiresPostgres(), timeout: GENEROUS_MS * 5 };
let world: World;
const sql: World['sql'] = (text, values) => world.sql(text, values);

before(async () => {
  if (options.skip === false) world = await World.start({ wal_level: 'replica' });
});
after(() => world?.close());

const via = 'triggers' as const;
const left = async (name: string): Promise<number> =>
  Number((await sql(`SELECT count(*)::int AS n FROM ${name}_change`))[0]!['n']);

describe('changes by triggers', options, () => {
  test('replication says that it cannot be had', async () => {
    await sql('CREATE TABLE t0 (id bigint PRIMARY KEY)');
    const { run } = world.follow({ name: world.newName(), tables: { t0: PRODUCT } });
    await assert.rejects(run.ready, { code: 'CHANGES_WAL_LEVEL', message: /via: 'triggers'/ });
    await run.stop();
  });

  test('rows before and after, truncates; what is done is deleted', async () => {
    await sql('CREATE TABLE t1 (id bigint PRIMARY KEY, category text, big text)');
    const mapping = {
      columns: ['id', 'category'],
      keys: (row: Readonly<Record<string, string | null>>) => [`product:${row['id']}`],
      tags: (row: Readonly<Record<string, string | null>>) => [`category:${row['category']}`],
      namespaces: ['product'],
    };
    const name = world.newName();
    const { recorder, stats, run } = await world.followed({ name, via, tables: { t1: mapping } });
    await sql("INSERT INTO t1 VALUES (1, 'a'), (2, NULL)");
    await sql("UPDATE t1 SET category = 'b' WHERE id = 1");
    await sql('UPDATE t1 SET id = 3 WHERE id = 2');
    await sql('DELETE FROM t1 WHERE id = 1');
    await until('all', async () => recorder.has('keys', 'product:3') && (await left(name)) === 0);
    for (const tag of ['category:a', 'category:b', 'category:null']) assert.ok(recorder.has('tags', tag), tag);
    for (const key of ['product:1', 'product:2']) assert.ok(recorder.has('keys', key), key);
    assert.deepEqual(recorder.all('namespaces'), []);
    await sql('TRUNCATE t1');
    await until('the truncate', () => recorder.has('namespaces', 'product'));
    assert.equal(stats().rows, 5);
    assert.equal(stats().state, 'active');
    await run.stop();
  });

  test('a transaction that began first and commits last is not passed over', async () => {
    await sql('CREATE TABLE t2 (id bigint PRIMARY KEY)');
    const { recorder, run } = await world.followed({ name: world.newName(), via, tables: { t2: PRODUCT } });
    const slow = await world.newClient();
    await slow.query('BEGIN');
    await slow.query('INSERT INTO t2 VALUES (1)');
    await sql('INSERT INTO t2 VALUES (2)');
    await until('the later one', () => recorder.has('keys', 'product:2'));
    assert.ok(!recorder.has('keys', 'product:1'));
    await slow.query('COMMIT');
    await until('the earlier one', () => recorder.has('keys', 'product:1'));
    await slow.end();
    await run.stop();
  });

  test('what is not acknowledged is read again by the next one; what is queued waits for the outbox', async () => {
    await sql('CREATE TABLE t3 (id bigint PRIMARY KEY)');
    const name = world.newName();
    const first = await world.followed({ name, via, tables: { t3: PRODUCT } });
    first.recorder.before = (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    await sql('INSERT INTO t3 VALUES (1)');
    await until('it to be read', async () => (await left(name)) === 1);
    await first.run.stop();
    const recorder = new Recorder(first.recorder.memory);
    recorder.outcome = 'queued';
    recorder.isSettled = false;
    const second = world.follow({ name, via, tables: { t3: PRODUCT } }, recorder);
    await sql('INSERT INTO t3 VALUES (2)');
    await until('both', () => recorder.has('keys', 'product:2'));
    assert.ok((await left(name)) >= 1);
    recorder.isSettled = true;
    await until('the end of it', async () => (await left(name)) === 0);
    await second.run.stop();
  });

  test('one reads, the next one takes over; partitions; a trigger that was dropped is made again, and doubted', async () => {
    await sql('CREATE TABLE t4 (id bigint PRIMARY KEY) PARTITION BY RANGE (id)');
    await sql('CREATE TABLE t4_a PARTITION OF t4 FOR VALUES FROM (0) TO (100)');
    const name = world.newName();
    const first = await world.followed({ name, via, tables: { t4: PRODUCT } });
    await until('something to remember', () => first.recorder.memory.has(name));
    const second = world.follow({ name, via, tables: { t4: PRODUCT } }, new Recorder(first.recorder.memory));
    await second.run.ready;
    assert.deepEqual([first.stats().state, second.stats().state], ['active', 'standby']);
    await first.run.stop();
    await until('the takeover', () => second.stats().state === 'active');
    assert.equal(second.stats().gaps, 0);
    await sql('INSERT INTO t4_a VALUES (5)');
    await until('a row straight into a partition', () => second.recorder.has('keys', 'product:5'));
    await sql(`DROP TRIGGER ${name}_row ON t4`);
    await until('the doubt', () => second.recorder.has('namespaces', 'product'));
    await sql('INSERT INTO t4 VALUES (6)');
    await until('a row', () => second.recorder.has('keys', 'product:6'));
    await second.run.stop();
  });
});
