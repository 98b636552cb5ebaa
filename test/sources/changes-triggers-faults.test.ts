/** Changes by triggers when there are too many of them, and when things are killed. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { requiresPostgres } from '../support/postgres-server.ts';
import { killReaders, killServer } from './changes-kills.ts';
import { GENEROUS_MS, PRODUCT, Recorder, until, World } from './changes-support.ts';

const options = { ...requiresPostgres(), timeout: GENEROUS_MS * 6 };
let world: World;
const sql: World['sql'] = (text, values) => world.sql(text, values);

before(async () => {
  if (options.skip === false) world = await World.start({ wal_level: 'replica', synchronous_commit: 'on' });
});
afterEach(() => world?.reset());
after(() => world?.close());

const via = 'triggers' as const;
const left = async (name: string): Promise<number> =>
  Number((await sql(`SELECT count(*)::int AS n FROM ${name}_change`))[0]!['n']);
let tables = 0;
async function table(): Promise<string> {
  tables += 1;
  await sql(`CREATE TABLE g${tables} (id bigint PRIMARY KEY)`);
  return `g${tables}`;
}

describe('changes by triggers: too many, and kills', options, () => {
  test('a transaction of more rows than are told apart is folded, and deleted unread; others are told apart', async () => {
    const [p, q] = [await table(), await table()];
    const name = world.newName();
    const other = {
      ...PRODUCT,
      keys: (row: { readonly id: string | null }) => [`other:${row.id}`],
      namespaces: ['other'],
    };
    const what = { name, via, foldAbove: 2_500, tables: { [p]: PRODUCT, [q]: other } };
    const { recorder, stats } = await world.followed(what);
    await sql(
      `BEGIN; INSERT INTO ${q} VALUES (1), (2); INSERT INTO ${p} SELECT i FROM generate_series(1, 6000) i; COMMIT`,
    );
    await until('the fold', async () => recorder.has('namespaces', 'product') && (await left(name)) === 0);
    await until('the others', () => recorder.has('keys', 'other:1') && recorder.has('keys', 'other:2'));
    assert.deepEqual(
      recorder.all('keys').filter((key) => key.startsWith('product:')),
      [],
    );
    assert.ok(!recorder.has('namespaces', 'other'));
    assert.deepEqual([stats().folded, stats().rows], [1, 6_002]);
    await sql(`INSERT INTO ${p} VALUES (100001)`);
    await until('the next', () => recorder.has('keys', 'product:100001'));
  });

  test('what comes while a fold is acknowledged is not deleted with it; one that is only queued is kept, and passes nobody', async () => {
    const [p, q] = [await table(), await table()];
    const name = world.newName();
    const other = {
      ...PRODUCT,
      keys: (row: { readonly id: string | null }) => [`other:${row.id}`],
      namespaces: ['other'],
    };
    const what = { name, via, foldAbove: 2_500, tables: { [p]: PRODUCT, [q]: other } };
    const { recorder } = await world.followed(what);
    recorder.outcome = 'queued';
    recorder.isSettled = false;
    let isLate = false;
    recorder.before = async ({ namespaces }) => {
      if (!namespaces.includes('product') || isLate) return;
      isLate = true;
      await sql(`INSERT INTO ${p} VALUES (100001)`);
    };
    await sql(`INSERT INTO ${p} SELECT i FROM generate_series(1, 3000) i`);
    await until('the late row', () => recorder.has('keys', 'product:100001'));
    await sql(`INSERT INTO ${q} VALUES (1)`);
    await until('the row of another table', () => recorder.has('keys', 'other:1'));
    assert.equal(await left(name), 3_002);
    assert.equal(recorder.batches.filter(({ namespaces }) => namespaces.includes('product')).length, 1);
    recorder.isSettled = true;
    await until('the end of it', async () => (await left(name)) === 0);
  });

  test('a long value left alone by an update is told; a schema that changes in mid-stream stops no writer, and is doubted', async () => {
    const p = await table();
    await sql(`ALTER TABLE ${p} ADD slug text, ADD n int; ALTER TABLE ${p} ALTER slug SET STORAGE EXTERNAL`);
    const name = world.newName();
    const mapping = {
      columns: ['slug'],
      keys: (row: Readonly<Record<string, string | null>>) => [`page:${row['slug']!.slice(0, 5)}`],
      namespaces: ['page'],
    };
    const { recorder } = await world.followed({ name, via, tables: { [p]: mapping } });
    await sql(`INSERT INTO ${p} VALUES (1, 'first' || repeat('x', 10000), 1)`);
    await until('the insert', () => recorder.has('keys', 'page:first'));
    recorder.clear();
    await sql(`UPDATE ${p} SET n = 2`);
    await until('the update', () => recorder.has('keys', 'page:first'));
    assert.deepEqual(recorder.all('namespaces'), []);
    await sql(`ALTER TABLE ${p} DROP slug`);
    await until('the doubt', () => recorder.has('namespaces', 'page'));
    await until('told', () =>
      recorder.events.some(({ error }) => (error as { code?: string })?.code === 'SOURCE_COLUMN_UNKNOWN'),
    );
    recorder.clear();
    await sql(`INSERT INTO ${p} VALUES (2, 1)`);
    await until('the row', () => recorder.has('namespaces', 'page'));
    assert.equal((await sql(`SELECT FROM ${p}`)).length, 2);
  });

  test('a role that may not make anything follows what is there', async () => {
    const p = await table();
    const name = world.newName();
    const first = await world.followed({ name, via, tables: { [p]: PRODUCT } });
    await first.run.stop();
    await sql(`CREATE ROLE modest LOGIN`);
    const what = { name, via, create: false, tables: { [p]: PRODUCT } };
    const connection = { ...world.server.connection, user: 'modest' };
    const refused = world.follow({ ...what, connection });
    await assert.rejects(refused.run.ready, { code: 'CHANGES_NOT_ALLOWED' });
    await refused.run.stop();
    const sequences = ['id_seq', 'done', 'over'].map((one) => `${name}_change_${one}`).join(', ');
    await sql(
      `GRANT SELECT, DELETE ON ${name}_change TO modest; GRANT SELECT, UPDATE ON SEQUENCE ${sequences} TO modest`,
    );
    const { recorder } = await world.followed({ ...what, connection });
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await until('the row, read and deleted', async () => recorder.has('keys', 'product:1') && (await left(name)) === 0);
  });

  test('a table of changes that is full: nothing more is noted, and all is doubted, again when who changed it has committed', async () => {
    const p = await table();
    const name = world.newName();
    const first = await world.followed({ name, via, tables: { [p]: PRODUCT } });
    await until('something to remember', () => first.recorder.memory.has(name));
    await first.run.stop();
    // As after a million of changes that nobody has read.
    await sql(`SELECT setval(pg_get_serial_sequence('${name}_change', 'id'), 2000000)`);
    const writer = await world.newClient();
    try {
      await sql(`INSERT INTO ${p} VALUES (1)`);
      await writer.query('BEGIN');
      await writer.query(`INSERT INTO ${p} VALUES (2)`);
      assert.equal(await left(name), 0);
      const recorder = new Recorder(first.recorder.memory);
      const second = world.follow({ name, via, tables: { [p]: PRODUCT } }, recorder);
      await second.run.ready;
      assert.ok(recorder.has('namespaces', 'product'));
      assert.ok(second.stats().gaps >= 1);
      recorder.clear();
      await writer.query('COMMIT');
      await until('the doubt after the commit', () => recorder.has('namespaces', 'product'));
      recorder.clear();
      await sql(`INSERT INTO ${p} VALUES (3)`);
      await until('room again', () => recorder.has('keys', 'product:3'));
      assert.deepEqual(recorder.all('namespaces'), []);
      // And it is known that all that was answered.
      await until('it to be remembered', () => /"lsn":"0\/2"/.test(recorder.memory.get(name) ?? ''));
      await second.run.stop();
      const third = world.follow({ name, via, tables: { [p]: PRODUCT } }, new Recorder(recorder.memory));
      await third.run.ready;
      assert.equal(third.stats().gaps, 0);
    } finally {
      await writer.end();
    }
  });

  test('the process that reads is killed (SIGKILL) with rows in its hands, three times: the next one reads them again', async () => {
    const last = await killReaders(world, { name: world.newName(), via, tables: { [await table()]: PRODUCT } }, 3);
    assert.equal(last.stats().gaps, 0);
  });

  test('Postgres is killed under writers, and stopped in good order: nothing is missed', async () => {
    const name = world.newName();
    const { recorder } = await killServer(world, { name, via, tables: { [await table()]: PRODUCT } });
    assert.deepEqual(recorder.all('namespaces'), []);
  });
});
