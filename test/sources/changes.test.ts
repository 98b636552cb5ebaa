/** Changes by logical replication, from a real Postgres: what each kind of change invalidates, and what stands in the way. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { createBreakwater } from '../../src/cache/index.ts';
import { postgres, postgresChanges } from '../../src/sources/postgres.ts';
import { LOGICAL, requiresPostgres } from '../support/postgres-server.ts';
import { GENEROUS_MS, PRODUCT, Recorder, until, World } from './changes-support.ts';

const options = { ...requiresPostgres(), timeout: GENEROUS_MS * 5 };
let world: World;
const sql: World['sql'] = (text, values) => world.sql(text, values);

before(async () => {
  if (options.skip === false) world = await World.start(LOGICAL);
});
afterEach(() => world?.reset());
after(() => world?.close());

/** A table of a test's own; `p` stands for its name. */
let tables = 0;
async function table(columns: string, more = ''): Promise<string> {
  tables += 1;
  const name = `p${tables}`;
  await sql(`CREATE TABLE ${name} (${columns}) ${more}`);
  return name;
}

describe('changes by replication', options, () => {
  test('inserts, updates, deletes and a key that changes name their rows; the position follows', async () => {
    const p = await table('id bigint PRIMARY KEY, name text');
    const { recorder, stats } = await world.followed({ name: world.newName(), tables: { [p]: PRODUCT } });
    await sql(`INSERT INTO ${p} VALUES (1, 'a'), (2, 'b'), (3, 'c')`);
    await sql(`UPDATE ${p} SET name = 'c' WHERE id = 1`);
    await sql(`DELETE FROM ${p} WHERE id = 2`);
    await sql(`UPDATE ${p} SET id = 4 WHERE id = 3`);
    await until('the last', () => recorder.has('keys', 'product:4'));
    const keys = recorder.all('keys');
    for (const key of ['product:1', 'product:2', 'product:3']) {
      assert.ok(keys.filter((one) => one === key).length >= 1, key);
    }
    assert.deepEqual(recorder.all('namespaces'), []);
    await until('the position', () => stats().lagBytes === 0);
    const { state, isCovered, rows, transactions, delayMs, lagMs } = stats();
    assert.deepEqual([state, isCovered, rows, transactions >= 4], ['active', true, 6, true]);
    assert.ok(delayMs !== null && delayMs.p50 >= 0 && lagMs !== null);
  });

  test('a source follows its own table, over connections like its pool, and others beside it', async () => {
    const p = await table('"Id" bigint PRIMARY KEY, name text');
    const other = await table('id bigint PRIMARY KEY');
    const pool = new world.server.pg.Pool({ ...world.server.connection, query_timeout: 1, max: 1 });
    try {
      const source = postgres({ pool, table: ['public', p], key: 'Id', columns: ['Id', 'name'] });
      const stream = source.changes({
        caches: ['product', 'card'],
        columns: ['name'],
        tags: ({ name }) => [`name:${name}`],
        namespaces: ['listing'],
        tables: { [other]: { namespaces: ['other'] } },
        name: world.newName(),
      });
      const { recorder, run } = world.open(stream);
      await run.ready;
      recorder.clear();
      await sql(`INSERT INTO ${p} VALUES (1, 'a')`);
      await sql(`INSERT INTO ${other} VALUES (1)`);
      await until('both tables', () => recorder.has('keys', 'product:1') && recorder.has('namespaces', 'other'));
      assert.deepEqual(recorder.all('keys').sort(), ['card:1', 'product:1']);
      assert.deepEqual([recorder.all('tags'), recorder.all('namespaces')], [['name:a'], ['other']]);
      // The name of the row before is not told: all that is made of the table.
      await sql(`UPDATE ${p} SET name = 'b'`);
      await until('the update', () => recorder.has('tags', 'name:b'));
      for (const namespace of ['product', 'card', 'listing']) assert.ok(recorder.has('namespaces', namespace));

      const query = postgres({ pool, sql: `SELECT "Id" FROM ${p} WHERE "Id" = ANY($1)`, key: 'Id' });
      const second = world.open(query.changes({ tables: { [other]: PRODUCT }, name: world.newName() }));
      await second.run.ready;
      second.recorder.clear();
      await sql(`INSERT INTO ${other} VALUES (2)`);
      await until('the row', () => second.recorder.has('keys', 'product:2'));
    } finally {
      await pool.end();
    }
  });

  test('what is rolled back is no change; what a savepoint keeps is one; tables that nobody mapped are counted', async () => {
    const p = await table('id bigint PRIMARY KEY, name text');
    const other = await table('id bigint PRIMARY KEY');
    const name = world.newName();
    await sql(`CREATE PUBLICATION ${name} FOR TABLE ${p}, ${other}`);
    const { recorder, stats } = await world.followed({ name, tables: { [p]: PRODUCT } });
    await sql(`BEGIN; INSERT INTO ${p} VALUES (1, 'a'); ROLLBACK`);
    await sql(`INSERT INTO ${other} VALUES (1), (2)`);
    await sql(
      `BEGIN; INSERT INTO ${p} VALUES (2, 'b'); SAVEPOINT s; INSERT INTO ${p} VALUES (3, 'c'); ROLLBACK TO s; COMMIT`,
    );
    await until('the kept', () => recorder.has('keys', 'product:2'));
    assert.deepEqual(recorder.all('keys'), ['product:2']);
    await until('the count', () => stats().unmappedRows === 2);
  });

  test('replica identity: what an old row does not tell invalidates the namespaces, FULL tells it', async () => {
    const p = await table('id bigint PRIMARY KEY, category text');
    const mapping = {
      columns: ['id', 'category'],
      tags: (row: Readonly<Record<string, string | null>>) => [`category:${row['category']}`],
      namespaces: ['product', 'listing'],
    };
    const { recorder, stats } = await world.followed({ name: world.newName(), tables: { [p]: mapping } });
    await sql(`INSERT INTO ${p} VALUES (1, 'a')`);
    await until('the insert', () => recorder.has('tags', 'category:a'));
    assert.deepEqual(recorder.all('namespaces'), []);
    await sql(`UPDATE ${p} SET category = 'b'`);
    await until('the update', () => recorder.has('tags', 'category:b'));
    assert.ok(recorder.has('namespaces', 'product') && recorder.has('namespaces', 'listing'));
    assert.equal(stats().unknownValues, 1);
    assert.match(recorder.events.find(({ what }) => what === 'mapping')?.reason ?? '', /REPLICA IDENTITY FULL/);

    await sql(`ALTER TABLE ${p} REPLICA IDENTITY FULL`);
    await until('the new definition', () => stats().schemaChanges >= 1);
    await sql(`INSERT INTO ${p} VALUES (9, 'z')`);
    await until('quiet', () => recorder.has('tags', 'category:z'));
    recorder.clear();
    await sql(`UPDATE ${p} SET category = 'd' WHERE id = 1`);
    await until('both tags', () => recorder.has('tags', 'category:b') && recorder.has('tags', 'category:d'));
    await sql(`DELETE FROM ${p} WHERE id = 1`);
    await until('the delete', () => recorder.all('tags').filter((tag) => tag === 'category:d').length === 2);
    assert.equal(stats().unknownValues, 1);
  });

  test('a long value left alone by an update is not in the stream: unknown, and told by FULL', async () => {
    const p = await table('id bigint PRIMARY KEY, n int, slug text');
    await sql(`ALTER TABLE ${p} ALTER slug SET STORAGE EXTERNAL`);
    const mapping = {
      columns: ['slug'],
      keys: (row: Readonly<Record<string, string | null>>) => [`page:${row['slug']!.slice(0, 5)}`],
      namespaces: ['page'],
    };
    const { recorder, stats } = await world.followed({ name: world.newName(), tables: { [p]: mapping } });
    await sql(`INSERT INTO ${p} VALUES (1, 1, 'first' || repeat('x', 10000))`);
    await until('the insert', () => recorder.has('keys', 'page:first'));
    await sql(`UPDATE ${p} SET n = 2`);
    await until('the namespace', () => recorder.has('namespaces', 'page'));
    assert.equal(stats().unknownValues, 1);
    await sql(`ALTER TABLE ${p} REPLICA IDENTITY FULL`);
    await until('the new definition', () => stats().schemaChanges >= 1);
    recorder.clear();
    await sql(`UPDATE ${p} SET n = 3`);
    await until('the key', () => recorder.has('keys', 'page:first'));
    assert.equal(stats().unknownValues, 1);
  });

  test('a table truncated, with those that go with it: their namespaces', async () => {
    const p = await table('id bigint PRIMARY KEY');
    const child = await table(`id bigint PRIMARY KEY, p bigint REFERENCES ${p}`);
    const { recorder, stats } = await world.followed({
      name: world.newName(),
      tables: { [p]: PRODUCT, [child]: { ...PRODUCT, keys: () => [], namespaces: ['child'] } },
    });
    await sql(`TRUNCATE ${p} CASCADE`);
    await until('both', () => recorder.has('namespaces', 'product') && recorder.has('namespaces', 'child'));
    await until('the count', () => stats().truncated >= 2);
  });

  test('partitions: rows of all of them, moves between them, truncates of one, new ones and detached ones', async () => {
    const p = await table('id bigint, region text, PRIMARY KEY (id, region)', 'PARTITION BY LIST (region)');
    await sql(`CREATE TABLE ${p}_eu PARTITION OF ${p} FOR VALUES IN ('eu')`);
    await sql(`CREATE TABLE ${p}_us PARTITION OF ${p} FOR VALUES IN ('us')`);
    const { recorder, stats } = await world.followed({ name: world.newName(), tables: { [p]: PRODUCT } });
    await sql(`INSERT INTO ${p} VALUES (1, 'eu'), (2, 'us')`);
    await until('rows', () => recorder.has('keys', 'product:1') && recorder.has('keys', 'product:2'));
    recorder.clear();
    await sql(`UPDATE ${p} SET region = 'us' WHERE id = 1`);
    await until('the move', () => recorder.has('keys', 'product:1'));
    assert.deepEqual(recorder.all('namespaces'), []);
    for (const ddl of [
      `TRUNCATE ${p}_eu`,
      `CREATE TABLE ${p}_as PARTITION OF ${p} FOR VALUES IN ('as')`,
      `ALTER TABLE ${p} DETACH PARTITION ${p}_us`,
    ]) {
      recorder.clear();
      const { schemaChanges } = stats();
      await sql(ddl);
      await until(ddl, () => recorder.has('namespaces', 'product') && stats().schemaChanges > schemaChanges);
    }
    recorder.clear();
    await sql(`INSERT INTO ${p} VALUES (3, 'as')`);
    await until(
      'a row of the new one',
      () => recorder.has('keys', 'product:3') || recorder.has('namespaces', 'product'),
    );
  });

  test('partitions under a publication that sends them under their own names, and a table that inherits', async () => {
    const p = await table('id bigint PRIMARY KEY', 'PARTITION BY RANGE (id)');
    await sql(`CREATE TABLE ${p}_a PARTITION OF ${p} FOR VALUES FROM (0) TO (100)`);
    const name = world.newName();
    await sql(`CREATE PUBLICATION ${name} FOR TABLE ${p}`);
    const { recorder } = await world.followed({ name, tables: { [p]: PRODUCT } });
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await until('the row', () => recorder.has('keys', 'product:1'));
    // Its rows may come before we know of it.
    await sql(`CREATE TABLE ${p}_b PARTITION OF ${p} FOR VALUES FROM (100) TO (200); INSERT INTO ${p} VALUES (101)`);
    await until('the new one', () => recorder.has('keys', 'product:101') || recorder.has('namespaces', 'product'));
    const base = await table('id bigint PRIMARY KEY');
    await sql(`CREATE TABLE ${base}_heir (PRIMARY KEY (id)) INHERITS (${base})`);
    const heir = await world.followed({ name: world.newName(), tables: { [base]: PRODUCT } });
    await sql(`INSERT INTO ${base}_heir VALUES (7)`);
    await until('the row of the heir', () => heir.recorder.has('keys', 'product:7'));
  });

  test('a schema that changes in mid-stream: its namespaces, and rows are mapped on; a column that the mapping reads goes', async () => {
    const p = await table('id bigint PRIMARY KEY, name text, price int');
    const mapping = {
      columns: ['id', 'name'],
      keys: (row: Readonly<Record<string, string | null>>) => [`product:${row['id']}`, `product:${row['name']}`],
      namespaces: ['product'],
    };
    await sql(`ALTER TABLE ${p} REPLICA IDENTITY FULL`);
    const { recorder, stats } = await world.followed({ name: world.newName(), tables: { [p]: mapping } });
    await sql(`INSERT INTO ${p} VALUES (1, 'a', 5)`);
    await until('the row', () => recorder.has('keys', 'product:a'));
    // Every price is another one now, and no row is sent.
    recorder.clear();
    await sql(`ALTER TABLE ${p} ALTER price TYPE numeric USING price * 2`);
    await until('the namespace', () => recorder.has('namespaces', 'product'));
    await sql(`ALTER TABLE ${p} ADD extra int DEFAULT 3`);
    await sql(`INSERT INTO ${p} VALUES (2, 'b', 5)`);
    await until('the row', () => recorder.has('keys', 'product:b'));
    recorder.clear();
    await sql(`ALTER TABLE ${p} DROP name`);
    await until('the doubt', () => recorder.has('namespaces', 'product'));
    await until('told', () =>
      recorder.events.some(({ error }) => (error as { code?: string })?.code === 'SOURCE_COLUMN_UNKNOWN'),
    );
    recorder.clear();
    await sql(`INSERT INTO ${p} (id) VALUES (3)`);
    await until('the row', () => recorder.has('namespaces', 'product'));
    assert.ok(stats().unknownValues >= 1);
  });

  test('a table exchanged by renames is published anew, and doubted', async () => {
    const p = await table('id bigint PRIMARY KEY');
    const { recorder, stats } = await world.followed({ name: world.newName(), tables: { [p]: PRODUCT } });
    await sql(`CREATE TABLE ${p}_new (id bigint PRIMARY KEY)`);
    await sql(`BEGIN; ALTER TABLE ${p} RENAME TO ${p}_old; ALTER TABLE ${p}_new RENAME TO ${p}; COMMIT`);
    await until('the doubt', () => recorder.has('namespaces', 'product'));
    await until('published', () => stats().isCovered && stats().schemaChanges >= 2);
    recorder.clear();
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await until('a row of the new one', () => recorder.has('keys', 'product:1'));
  });

  test('a mapping that throws: its namespaces, an event, and the next row is mapped', async () => {
    const p = await table('id bigint PRIMARY KEY');
    const mapping = {
      ...PRODUCT,
      keys: (row: Readonly<Record<string, string | null>>) => {
        if (row['id'] === '13') throw new Error('unlucky');
        return [`product:${row['id']}`];
      },
    };
    const { recorder, stats } = await world.followed({ name: world.newName(), tables: { [p]: mapping } });
    await sql(`INSERT INTO ${p} VALUES (13)`);
    await sql(`INSERT INTO ${p} VALUES (14)`);
    await until('the next row', () => recorder.has('keys', 'product:14'));
    assert.ok(recorder.has('namespaces', 'product'));
    assert.equal(stats().mappingFailures, 1);
    assert.match(recorder.events.find(({ what }) => what === 'mapping')?.reason ?? '', /unlucky/);
  });

  test('a transaction of 300,000 rows is folded; memory stays bounded; what comes next is told apart', async () => {
    const p = await table('id bigint PRIMARY KEY');
    const { recorder, stats } = await world.followed({
      name: world.newName(),
      foldAbove: 5_000,
      tables: { [p]: PRODUCT },
    });
    let most = 0;
    recorder.before = async ({ keys }) => {
      most = Math.max(most, keys.length);
    };
    await sql(`INSERT INTO ${p} SELECT i FROM generate_series(1, 300000) i`);
    await until('the fold', () => recorder.has('namespaces', 'product') && stats().rows === 300_000);
    assert.ok(recorder.all('keys').length <= 5_000, `${recorder.all('keys').length} keys`);
    assert.ok(most <= 5_000);
    assert.equal(stats().folded, 1);
    await sql(`INSERT INTO ${p} VALUES (1000001)`);
    await until('the next', () => recorder.has('keys', 'product:1000001'));
  });

  test('a transaction that others cannot see yet is not invalidated for yet', async () => {
    const p = await table('id bigint PRIMARY KEY');
    const probe = await table('n int');
    const { recorder, run } = await world.followed({ name: world.newName(), tables: { [p]: PRODUCT } });
    // A commit waits for a replica that does not exist: it is in the log, and nobody sees it.
    await sql("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    await sql('SELECT pg_reload_conf()');
    const writer = await world.newClient();
    try {
      await until(
        'the setting',
        async () => (await sql('SHOW synchronous_standby_names'))[0]!['synchronous_standby_names'] === 'nobody',
      );
      const [{ pid } = { pid: 0 }] = (await writer.query('SELECT pg_backend_pid() AS pid')).rows as { pid: number }[];
      // In force when the checkpointer has read it, which no setting shows: when a commit of another table waits.
      await until('the setting to be in force', async () => {
        let isOver = false;
        const probing = writer.query(`INSERT INTO ${probe} VALUES (1)`).then(() => {
          isOver = true;
        });
        let waits = false;
        await until('the probe', async () => {
          waits =
            (await sql("SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'", [pid])).length === 1;
          return waits || isOver;
        });
        if (waits) await sql('SELECT pg_cancel_backend($1)', [pid]);
        await probing;
        return waits;
      });
      const writing = writer.query(`INSERT INTO ${p} VALUES (1)`);
      await until(
        'the wait',
        async () =>
          (await sql("SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'SyncRep'", [pid])).length === 1,
      );
      // Long enough for the stream to have brought it: the slot has sent beyond the commit.
      const [{ lsn } = { lsn: '' }] = (await sql('SELECT pg_current_wal_flush_lsn()::text AS lsn')) as {
        lsn: string;
      }[];
      await until('the stream to pass it', async () => {
        const rows = await sql(
          'SELECT FROM pg_stat_replication WHERE sent_lsn >= $1::pg_lsn AND application_name LIKE $2',
          [lsn, 'breakwater%'],
        );
        return rows.length >= 1;
      });
      assert.equal((await sql(`SELECT * FROM ${p}`)).length, 0);
      assert.deepEqual(recorder.all('keys'), []);
      await sql('SELECT pg_cancel_backend($1)', [pid]);
      await writing;
      await until('the key', () => recorder.has('keys', 'product:1'));
    } finally {
      await sql('ALTER SYSTEM RESET synchronous_standby_names');
      await sql('SELECT pg_reload_conf()');
      await writer.end();
      await run.stop();
    }
  });

  test('through a library: the row behind its back is the row of the next get', async () => {
    const p = await table('id bigint PRIMARY KEY, name text');
    await sql(`INSERT INTO ${p} VALUES (1, 'old')`);
    const bw = createBreakwater();
    try {
      const products = bw.cache('product', {
        load: async (ids) => {
          const rows = await sql(`SELECT id::text, name FROM ${p} WHERE id = ANY($1::bigint[])`, [ids]);
          return new Map(rows.map((row) => [row['id'] as string, row['name'] as string]));
        },
      });
      const name = world.newName();
      const changes = postgresChanges({ connection: { ...world.server.connection }, name, tables: { [p]: PRODUCT } });
      const following = bw.follow(changes);
      assert.throws(() => bw.follow(changes), { code: 'CACHE_NAME_TAKEN' });
      await following.ready;
      assert.equal(await products.get('1'), 'old');
      await sql(`UPDATE ${p} SET name = 'new'`);
      await until('the new one', () => products.peek('1') === undefined);
      assert.equal(await products.get('1'), 'new');
      const stats = await bw.stats();
      assert.equal(stats.changes[name]?.state, 'active');
      assert.match(bw.metrics(), new RegExp(`breakwater_changes_active\\{stream="${name}"\\} 1`));
    } finally {
      await bw.close();
    }
    await until(
      'the slot to be free',
      async () => (await sql("SELECT FROM pg_replication_slots WHERE active AND slot_name = 'x'")).length === 0,
    );
  });
});

describe('what stands in the way is said with a code', options, () => {
  const refused = async (what: Parameters<World['follow']>[0], code: string, message: RegExp): Promise<void> => {
    const { run, stats } = world.follow(what);
    await assert.rejects(run.ready, (error: { code?: string; message: string }) => {
      assert.equal(error.code, code, error.message);
      assert.match(error.message, message);
      return true;
    });
    assert.ok(['waiting', 'starting'].includes(stats().state), stats().state);
    await run.stop();
    assert.equal(stats().state, 'stopped');
  };

  test('tables and columns that are not there, and what is no table', async () => {
    const p = await table('id bigint PRIMARY KEY');
    await sql(`CREATE VIEW ${p}_view AS SELECT * FROM ${p}`);
    await sql(`CREATE UNLOGGED TABLE ${p}_unlogged (id bigint PRIMARY KEY)`);
    const name = world.newName();
    await refused({ name, tables: { nowhere: PRODUCT } }, 'SOURCE_TABLE_UNKNOWN', /nowhere/);
    await refused(
      { name, tables: { [p]: { ...PRODUCT, columns: ['id', 'nmae'] } } },
      'SOURCE_COLUMN_UNKNOWN',
      /"nmae"/,
    );
    await refused({ name, tables: { [`${p}_view`]: PRODUCT } }, 'CHANGES_TABLE_UNSUPPORTED', /view/);
    await refused({ name, tables: { [`${p}_unlogged`]: PRODUCT } }, 'CHANGES_TABLE_UNSUPPORTED', /unlogged/);
  });

  test('a table whose updates publishing would break is not published', async () => {
    const p = await table('id bigint');
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await refused({ name: world.newName(), tables: { [p]: PRODUCT } }, 'CHANGES_NO_IDENTITY', /REPLICA IDENTITY FULL/);
    await sql(`UPDATE ${p} SET id = 2`);
    await sql(`ALTER TABLE ${p} ADD PRIMARY KEY (id), REPLICA IDENTITY NOTHING`);
    await refused({ name: world.newName(), tables: { [p]: PRODUCT } }, 'CHANGES_NO_IDENTITY', /REPLICA IDENTITY FULL/);
  });

  test('create: false makes nothing, and says what to run', async () => {
    const p = await table('id bigint PRIMARY KEY, secret text');
    const other = await table('id bigint PRIMARY KEY');
    const name = world.newName();
    const what = { name, create: false, tables: { [p]: PRODUCT } };
    await refused(what, 'CHANGES_PUBLICATION_MISSING', /CREATE PUBLICATION "changes_\d+" FOR TABLE/);
    await sql(`CREATE PUBLICATION ${name} FOR TABLE ${other}`);
    await refused(what, 'CHANGES_PUBLICATION_INCOMPLETE', /ADD TABLE/);
    const [version] = await sql("SELECT current_setting('server_version_num')::int AS n");
    if (Number(version!['n']) >= 150_000) {
      await sql(`ALTER PUBLICATION ${name} ADD TABLE ${p} WHERE (id > 5)`);
      await refused(what, 'CHANGES_PUBLICATION_INCOMPLETE', /filters/);
      await sql(`ALTER PUBLICATION ${name} SET TABLE ${p} (id)`);
      const reads = { ...what, tables: { [p]: { ...PRODUCT, columns: ['id', 'secret'] } } };
      await refused(reads, 'CHANGES_PUBLICATION_INCOMPLETE', /"secret"/);
    } else await sql(`ALTER PUBLICATION ${name} ADD TABLE ${p}`);
    await sql(`ALTER PUBLICATION ${name} SET (publish = 'insert, update')`);
    await refused(what, 'CHANGES_PUBLICATION_INCOMPLETE', /leaves out/);
    await sql(`ALTER PUBLICATION ${name} SET (publish = 'insert, update, delete, truncate')`);
    await refused(what, 'CHANGES_SLOT_MISSING', /pg_create_logical_replication_slot/);
    await sql('SELECT pg_create_logical_replication_slot($1, $2)', [name, 'test_decoding']).catch(() =>
      sql('SELECT pg_create_physical_replication_slot($1)', [name]),
    );
    await refused(what, 'CHANGES_SLOT_FOREIGN', /another plugin/);
    await sql('SELECT pg_drop_replication_slot($1)', [name]);
    await sql('SELECT pg_create_logical_replication_slot($1, $2)', [name, 'pgoutput']);
    const { run } = world.follow(what);
    await run.ready;
    await run.stop();
  });

  test('rights, slots and the level of the log', async () => {
    const p = await table('id bigint PRIMARY KEY');
    await sql('CREATE ROLE nobody_much LOGIN');
    await sql('CREATE ROLE replicator LOGIN REPLICATION');
    const as = (user: string) => ({ ...world.server.connection, user });
    const name = world.newName();
    await refused(
      { name, connection: as('replicator'), tables: { [p]: PRODUCT } },
      'CHANGES_NOT_ALLOWED',
      /CREATE PUBLICATION/,
    );
    await sql(`CREATE PUBLICATION ${name} FOR TABLE ${p}`);
    await refused(
      { name, connection: as('nobody_much'), tables: { [p]: PRODUCT } },
      'CHANGES_NOT_ALLOWED',
      /replication/i,
    );
    const allowed = world.follow({ name, connection: as('replicator'), tables: { [p]: PRODUCT } });
    await allowed.run.ready;
    await allowed.run.stop();
    const [{ free } = { free: 0 }] = (await sql(
      "SELECT current_setting('max_replication_slots')::int - count(*)::int AS free FROM pg_replication_slots",
    )) as { free: number }[];
    const fillers = Array.from({ length: free }, (_, i) => `filler_${i}`);
    for (const filler of fillers) await sql('SELECT pg_create_physical_replication_slot($1)', [filler]);
    try {
      await refused(
        { name: world.newName(), tables: { [p]: PRODUCT } },
        'CHANGES_SLOTS_EXHAUSTED',
        /max_replication_slots/,
      );
    } finally {
      for (const filler of fillers) await sql('SELECT pg_drop_replication_slot($1)', [filler]);
    }
  });

  test('a server that is not there is tried again, and no reason to give up', async () => {
    const p = await table('id bigint PRIMARY KEY');
    const recorder = new Recorder();
    const { run, stats } = world.follow(
      {
        name: world.newName(),
        connection: { ...world.server.connection, host: '127.0.0.1', port: 1 },
        tables: { [p]: PRODUCT },
      },
      recorder,
    );
    await until('two attempts', () => stats().failures >= 2);
    assert.equal(stats().isCovered, false);
    await run.stop();
    await assert.rejects(run.ready, { code: 'CHANGES_STOPPED' });
  });

  test('options', () => {
    const connection = 'postgres://localhost/x';
    const wrong: [object, RegExp][] = [
      [{ tables: { a: PRODUCT } }, /connection/],
      [{ connection: 'mysql://x', tables: { a: PRODUCT } }, /connection/],
      [{ connection, tables: {} }, /tables/],
      [{ connection, tables: { a: { ...PRODUCT, namespaces: [] } } }, /namespaces/],
      [{ connection, tables: { a: { ...PRODUCT, namespaces: ['a:b'] } } }, /name/],
      [{ connection, tables: { a: { ...PRODUCT, columns: [] } } }, /columns/],
      [{ connection, tables: { a: { ...PRODUCT, key: 'id' } } }, /"key"/],
      [{ connection, tables: { 'a.b.c': PRODUCT } }, /schema\.table/],
      [{ connection, tables: { a: PRODUCT }, name: 'With Capitals' }, /name/],
      [{ connection, tables: { a: PRODUCT }, foldAbove: 0 }, /foldAbove/],
      [{ connection, tables: { a: PRODUCT }, slot: 'x' }, /"slot"/],
      [{ connection, tables: { a: PRODUCT }, via: 'polling' }, /via/],
      [{ connection, tables: { a: PRODUCT }, via: 'triggers', temporary: true }, /temporary/],
    ];
    for (const [given, message] of wrong) {
      assert.throws(
        () => postgresChanges(given as never),
        (error: { code: string; message: string }) => {
          assert.match(error.code, /^CACHE_(?:OPTION|NAME)_/);
          assert.match(error.message, message);
          return true;
        },
      );
    }
    assert.ok(postgresChanges({ connection, tables: { '"my.schema"."T ""x"""': PRODUCT } }));
  });
});
