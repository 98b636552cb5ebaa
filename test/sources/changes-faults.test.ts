/** Changes by replication when things break: nothing is missed, whatever is killed, cut, dropped or exchanged. */
import assert from 'node:assert/strict';
import { after, afterEach, before, describe, test } from 'node:test';
import { FaultProxy } from '../support/fault-proxy.ts';
import { LOGICAL, requiresPostgres } from '../support/postgres-server.ts';
import { killReaders, killServer } from './changes-kills.ts';
import { type Followed, GENEROUS_MS, PRODUCT, Recorder, until, World } from './changes-support.ts';

const options = { ...requiresPostgres(), timeout: GENEROUS_MS * 6 };
let world: World;
const sql: World['sql'] = (text, values) => world.sql(text, values);

before(async () => {
  if (options.skip !== false) return;
  // Over TCP, so that a proxy can stand between.
  world = await World.start({
    ...LOGICAL,
    listen_addresses: '127.0.0.1',
    max_slot_wal_keep_size: '1MB',
    min_wal_size: '32MB',
    max_wal_size: '48MB',
  });
});
afterEach(() => world?.reset());
after(() => world?.close());

let tables = 0;
async function table(): Promise<string> {
  tables += 1;
  await sql(`CREATE TABLE f${tables} (id bigint PRIMARY KEY, n int DEFAULT 0)`);
  return `f${tables}`;
}

/** Everything that was changed is named, or its namespace was after it. */
async function allOf(recorder: Recorder, keys: readonly string[]): Promise<void> {
  await until(
    'every change',
    () => recorder.has('namespaces', 'product') || keys.every((key) => recorder.has('keys', key)),
  );
}

describe('changes by replication: faults', options, () => {
  test('one reads, others stand by; when it dies, another one goes on where it was', async () => {
    const p = await table();
    const name = world.newName();
    const what = { name, tables: { [p]: PRODUCT } };
    const first = await world.followed(what);
    await until('something to remember', () => first.recorder.memory.has(name));
    const others = [0, 1].map(() => world.follow(what, new Recorder(first.recorder.memory)));
    await Promise.all(others.map(({ run }) => run.ready));
    assert.deepEqual(
      others.map(({ stats }) => [stats().state, stats().isCovered]),
      [
        ['standby', true],
        ['standby', true],
      ],
    );
    // As a process that is killed: its connection ends, and it says nothing more.
    const [{ pid } = { pid: 0 }] = (await sql(
      'SELECT active_pid AS pid FROM pg_replication_slots WHERE slot_name = $1',
      [name],
    )) as { pid: number }[];
    await first.run.stop();
    assert.ok(pid > 0);
    await sql(`INSERT INTO ${p} VALUES (1)`);
    const next = await until('a takeover', () => others.find(({ stats }) => stats().state === 'active'));
    await until('the row', () => next.recorder.has('keys', 'product:1'));
    assert.equal(next.stats().gaps, 0);
    assert.deepEqual(next.recorder.all('namespaces'), []);
  });

  test('who declares more than the one who reads is not covered, and doubts it when its turn comes', async () => {
    const [p, q] = [await table(), await table()];
    const name = world.newName();
    const first = await world.followed({ name, tables: { [p]: PRODUCT } });
    await until('something to remember', () => first.recorder.memory.has(name));
    const more = { [p]: PRODUCT, [q]: { ...PRODUCT, keys: () => [], namespaces: ['other'] } };
    const second = world.follow({ name, tables: more }, new Recorder(first.recorder.memory));
    await until('standby', () => second.stats().state === 'standby');
    assert.equal(second.stats().isCovered, false);
    await first.run.stop();
    await second.run.ready;
    assert.ok(second.recorder.has('namespaces', 'other'));
  });

  test('its connection is cut, again and again: nothing is missed', async () => {
    const p = await table();
    const proxy = await FaultProxy.start({ host: '127.0.0.1', port: world.server.connection.port });
    try {
      const connection = { ...world.server.connection, host: '127.0.0.1', port: proxy.port };
      const name = world.newName();
      const { recorder, stats } = await world.followed({ name, connection, tables: { [p]: PRODUCT } });
      await until('something to remember', () => recorder.memory.has(name));
      const keys: string[] = [];
      for (let cut = 0; cut < 5; cut += 1) {
        for (let i = 0; i < 20; i += 1) {
          const id = cut * 100 + i;
          await sql(`INSERT INTO ${p} VALUES ($1)`, [id]);
          keys.push(`product:${id}`);
          if (i === 10) {
            if (cut % 2 === 0) proxy.reset();
            else proxy.cutAfter('down', 50);
          }
        }
        await allOf(recorder, keys);
      }
      assert.ok(stats().activations >= 2, `${stats().activations} activations`);
      assert.equal(stats().gaps, 1, 'only the slot was new');
      assert.deepEqual(recorder.all('namespaces'), []);
    } finally {
      await proxy.close();
    }
  });

  test('Postgres is killed under writers, and stopped in good order: nothing is missed', async () => {
    const { recorder } = await killServer(world, { name: world.newName(), tables: { [await table()]: PRODUCT } });
    assert.deepEqual(recorder.all('namespaces'), []);
  });

  test('not acknowledged, not passed: what hung at the store comes again to the next reader; queued holds the position', async () => {
    const p = await table();
    const name = world.newName();
    const first = await world.followed({ name, tables: { [p]: PRODUCT } });
    await until('a position', () => first.recorder.memory.has(name));
    first.recorder.before = (_, signal) =>
      new Promise((_resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      });
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await until('the lag', () => (first.stats().lagMs ?? 0) > 0);
    await first.run.stop();
    assert.ok(!first.recorder.has('keys', 'product:1'));
    const recorder = new Recorder(first.recorder.memory);
    recorder.outcome = 'queued';
    recorder.isSettled = false;
    const second = world.follow({ name, tables: { [p]: PRODUCT } }, recorder);
    await until('the row', () => recorder.has('keys', 'product:1'));
    const held = recorder.memory.get(name);
    await sql(`INSERT INTO ${p} VALUES (2)`);
    await until('the next row', () => recorder.has('keys', 'product:2'));
    await second.run.stop();
    assert.equal(recorder.memory.get(name), held, 'the position was held');
    const third = world.follow({ name, tables: { [p]: PRODUCT } }, new Recorder(recorder.memory));
    await allOf(third.recorder, ['product:1', 'product:2']);
  });

  test('the process that reads is killed (SIGKILL) with rows in its hands, five times: the next one is sent them again', async () => {
    const last = await killReaders(world, { name: world.newName(), tables: { [await table()]: PRODUCT } });
    assert.equal(last.stats().gaps, 0);
  });

  const doubted = async (
    what: string,
    meanwhile: (name: string, p: string, recorder: Recorder) => Promise<void>,
  ): Promise<void> => {
    const p = await table();
    const name = world.newName();
    const first = await world.followed({ name, tables: { [p]: PRODUCT } });
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await until(
      'a position',
      () => first.recorder.has('keys', 'product:1') && first.recorder.memory.has(name) && first.stats().lagBytes === 0,
    );
    await first.run.stop();
    await until(
      'the slot to be free',
      async () => (await sql('SELECT FROM pg_replication_slots WHERE active')).length === 0,
    );
    await meanwhile(name, p, first.recorder);
    const recorder = new Recorder(first.recorder.memory);
    const second: Followed = world.follow({ name, tables: { [p]: PRODUCT } }, recorder);
    await second.run.ready;
    await until(`the doubt: ${what}`, () => recorder.has('namespaces', 'product'));
    recorder.clear();
    await sql(`INSERT INTO ${p} VALUES (3)`);
    await allOf(recorder, ['product:3']);
    await second.run.stop();
  };

  test('a slot that was dropped, or dropped and made again by somebody else', async () => {
    await doubted('dropped', async (name, p) => {
      await sql('SELECT pg_drop_replication_slot($1)', [name]);
      await sql(`INSERT INTO ${p} VALUES (2)`);
    });
    await doubted('made again', async (name, p) => {
      await sql('SELECT pg_drop_replication_slot($1)', [name]);
      await sql(`INSERT INTO ${p} VALUES (2)`);
      await sql("SELECT pg_create_logical_replication_slot($1, 'pgoutput')", [name]);
    });
    await doubted('moved on', async (name, p) => {
      await sql(`INSERT INTO ${p} VALUES (2)`);
      await sql('SELECT pg_replication_slot_advance($1, pg_current_wal_lsn())', [name]);
    });
  });

  test('a slot that the server gave up because it kept too much log', async () => {
    await doubted('lost', async (name, p) => {
      await until('wal_status lost', async () => {
        await sql(
          `INSERT INTO ${p} SELECT i, i FROM generate_series(100, 30000) i ON CONFLICT (id) DO UPDATE SET n = ${p}.n + 1`,
        );
        await sql('SELECT pg_switch_wal()');
        await sql('CHECKPOINT');
        return (
          (await sql("SELECT FROM pg_replication_slots WHERE slot_name = $1 AND wal_status = 'lost'", [name]))
            .length === 1
        );
      });
      await sql(`DELETE FROM ${p}`);
    });
  });

  test('another database, a promoted replica, a store that was emptied, a table changed while nobody looked, a publication made anew', async () => {
    const remembers =
      (change: (memory: Record<string, unknown>) => void) =>
      async (name: string, _: string, { memory }: Recorder) => {
        const known = JSON.parse(memory.get(name)!) as Record<string, unknown>;
        change(known);
        memory.set(name, JSON.stringify(known));
      };
    await doubted(
      'another system',
      remembers((memory) => {
        memory['system'] = '1';
      }),
    );
    await doubted(
      'another timeline',
      remembers((memory) => {
        memory['timeline'] = 99;
      }),
    );
    await doubted('an emptied store', async (name, _, { memory }) => {
      memory.delete(name);
    });
    await doubted('a changed table', async (_, p) => {
      await sql(`ALTER TABLE ${p} ADD more int DEFAULT 5`);
    });
    await doubted('another publication', async (name, p) => {
      await sql(`DROP PUBLICATION ${name}`);
      await sql(`INSERT INTO ${p} VALUES (2)`);
    });
  });

  test('a store that is slow holds the stream back: many small transactions, no fold, bounded batches', async () => {
    const p = await table();
    const { recorder, stats } = await world.followed({ name: world.newName(), tables: { [p]: PRODUCT } });
    let release: () => void = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    recorder.before = () => held;
    await sql(`DO $$ BEGIN FOR i IN 1..20000 LOOP INSERT INTO ${p} VALUES (i); COMMIT; END LOOP; END $$`);
    release();
    await until('all', () => stats().rows >= 20_000 && recorder.has('keys', 'product:20000'));
    const named = new Set(recorder.all('keys'));
    for (let i = 1; i <= 20_000; i += 1) assert.ok(named.has(`product:${i}`), String(i));
    assert.deepEqual(recorder.all('namespaces'), []);
    // A chunk of the socket may come on top of a full batch.
    assert.ok(Math.max(...recorder.batches.map(({ keys }) => keys.length)) <= 6_000);
  });

  test('a slot of its own: nothing is left behind, each connection doubts', async () => {
    const p = await table();
    const name = world.newName();
    const what = { name, temporary: true, tables: { [p]: PRODUCT } };
    const [first, second] = [await world.followed(what), await world.followed(what)];
    await sql(`INSERT INTO ${p} VALUES (1)`);
    await until('both', () => [first, second].every(({ recorder }) => recorder.has('keys', 'product:1')));
    assert.deepEqual([first.stats().state, second.stats().state], ['active', 'active']);
    await sql('SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE active');
    await until('both again', () =>
      [first, second].every(
        ({ recorder, stats }) => recorder.has('namespaces', 'product') && stats().state === 'active',
      ),
    );
    await Promise.all([first.run.stop(), second.run.stop()]);
    await until('no slot', async () => (await sql('SELECT FROM pg_replication_slots')).length === 0);
  });
});
