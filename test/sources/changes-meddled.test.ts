/** Changes by replication while somebody works on the database: publications, slots, rights and passwords that change under the stream. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, afterEach, before, describe, test } from 'node:test';
import { LOGICAL, requiresPostgres } from '../support/postgres-server.ts';
import { type Followed, GENEROUS_MS, PRODUCT, until, World } from './changes-support.ts';

const options = { ...requiresPostgres(), timeout: GENEROUS_MS * 5 };
let world: World;
const sql: World['sql'] = (text, values) => world.sql(text, values);

before(async () => {
  if (options.skip === false) world = await World.start(LOGICAL);
});
afterEach(() => world?.reset());
after(() => world?.close());

let tables = 0;
async function table(): Promise<string> {
  tables += 1;
  await sql(`CREATE TABLE m${tables} (id bigint PRIMARY KEY, n int DEFAULT 0)`);
  return `m${tables}`;
}

/** A row of it is named by its key. */
async function isHeard({ recorder }: Followed, p: string, id: number): Promise<void> {
  await until(`row ${id}`, async () => {
    await sql(`INSERT INTO ${p} VALUES ($1) ON CONFLICT (id) DO UPDATE SET n = ${p}.n + 1`, [id]);
    return recorder.has('keys', `product:${id}`);
  });
}

describe('changes by replication: somebody works on the database', options, () => {
  test('a publication that sends less: not covered, told, doubted; and once more when it sends all again', async () => {
    const p = await table();
    const name = world.newName();
    const followed = await world.followed({ name, tables: { [p]: PRODUCT } });
    const { recorder, stats } = followed;
    const [version] = await sql("SELECT current_setting('server_version_num')::int AS n");
    const ways: [string, string][] = [
      [`SET (publish = 'insert')`, `SET (publish = 'insert, update, delete, truncate')`],
    ];
    // Filters came with Postgres 15.
    if (Number(version!['n']) >= 150_000) ways.push([`SET TABLE ${p} WHERE (id > 5)`, `SET TABLE ${p}`]);
    for (const [less, all] of ways) {
      recorder.clear();
      await sql(`ALTER PUBLICATION ${name} ${less}`);
      await until('the doubt', () => recorder.has('namespaces', 'product') && !stats().isCovered);
      await until('told', () =>
        recorder.events.some(({ error }) => (error as { code?: string })?.code === 'CHANGES_PUBLICATION_INCOMPLETE'),
      );
      await sql(`UPDATE ${p} SET n = n + 1`);
      recorder.clear();
      await sql(`ALTER PUBLICATION ${name} ${all}`);
      await until('the doubt', () => recorder.has('namespaces', 'product') && stats().isCovered);
      await isHeard(followed, p, 1);
    }
  });

  test('a table taken out of the publication is put back; a publication that was dropped is made again; doubted', async () => {
    const p = await table();
    const name = world.newName();
    const followed = await world.followed({ name, tables: { [p]: PRODUCT } });
    const { recorder, stats } = followed;
    await sql(`ALTER PUBLICATION ${name} DROP TABLE ${p}`);
    await until('the doubt', () => recorder.has('namespaces', 'product'));
    await until('it to be covered', () => stats().isCovered && stats().schemaChanges >= 2);
    await isHeard(followed, p, 1);
    recorder.clear();
    await sql(`DROP PUBLICATION ${name}`);
    await sql(`INSERT INTO ${p} VALUES (2)`);
    await until('the doubt', () => recorder.has('namespaces', 'product'));
    await until('it to be covered', () => stats().isCovered && stats().state === 'active');
    await isHeard(followed, p, 3);
  });

  test('a slot dropped under its reader is made again, and all is doubted', async () => {
    const p = await table();
    const name = world.newName();
    const followed = await world.followed({ name, tables: { [p]: PRODUCT } });
    const { recorder, stats } = followed;
    await until('something to remember', () => recorder.memory.has(name));
    const { gaps } = stats();
    await until('the slot to be dropped', async () => {
      await sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE slot_name = $1', [name]);
      return sql('SELECT pg_drop_replication_slot($1)', [name]).then(
        () => true,
        () => false,
      );
    });
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await until('the doubt', () => stats().gaps > gaps && recorder.has('namespaces', 'product'));
    await isHeard(followed, p, 2);
  });

  test('a role that loses its right and has it back: not covered meanwhile, and nothing is missed', async () => {
    const p = await table();
    const name = world.newName();
    const role = `reader_${name}`;
    await sql(`CREATE ROLE ${role} LOGIN REPLICATION`);
    await sql(`CREATE PUBLICATION ${name} FOR TABLE ${p}`);
    const connection = { ...world.server.connection, user: role };
    const { recorder, stats } = await world.followed({ name, connection, tables: { [p]: PRODUCT } });
    await until('something to remember', () => recorder.memory.has(name));
    await sql(`ALTER ROLE ${role} NOREPLICATION`);
    await sql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1', [role]);
    await until('it to be refused', () => /SQLSTATE (42501|28000)/.test(stats().lastError ?? '') && !stats().isCovered);
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await sql(`ALTER ROLE ${role} REPLICATION`);
    await until('the row', () => recorder.has('keys', 'product:1'));
    assert.equal(stats().gaps, 1, 'only the slot was new');
  });

  test('a wrong password, and a database that is not there: said with a code, tried again', async () => {
    const p = await table();
    const [file] = (await sql('SHOW hba_file')) as { hba_file: string }[];
    const hba = readFileSync(file!.hba_file, 'utf8');
    writeFileSync(
      file!.hba_file,
      `local all with_password scram-sha-256\nhost all with_password all scram-sha-256\n${hba}`,
    );
    await sql('SELECT pg_reload_conf()');
    // Not the default before Postgres 14.
    await sql("SET password_encryption = 'scram-sha-256'");
    await sql("CREATE ROLE with_password LOGIN SUPERUSER PASSWORD 'right'");
    const name = world.newName();
    const user = 'with_password';
    // In force when it refuses.
    await until('the passwords to be asked for', async () => {
      const client = new world.server.pg.Client({ ...world.server.connection, user, password: 'wrong' });
      const isRefused = await client.connect().then(
        () => false,
        () => true,
      );
      await client.end().catch(() => undefined);
      return isRefused;
    });
    const wrong = world.follow({
      name,
      connection: { ...world.server.connection, user, password: 'wrong' },
      tables: { [p]: PRODUCT },
    });
    await assert.rejects(wrong.run.ready, (error: { code: string; message: string }) => {
      assert.equal(error.code, 'CHANGES_NOT_ALLOWED');
      assert.match(error.message, /password authentication failed/);
      assert.doesNotMatch(error.message, /wrong/);
      return true;
    });
    await sql("ALTER ROLE with_password PASSWORD 'wrong'");
    await until('it to be let in', () => wrong.stats().state === 'active');
    const nowhere = world.follow({
      name: world.newName(),
      connection: { ...world.server.connection, database: 'nowhere' },
      tables: { [p]: PRODUCT },
    });
    await assert.rejects(nowhere.run.ready, { code: 'CHANGES_DATABASE_UNKNOWN', message: /"nowhere"/ });
  });
});
