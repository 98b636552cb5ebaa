/** The ordered sink of `postgres()` on a real Postgres: late, twice, at once, refused; and what `write` brings back. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Pool } from 'pg';
import { SeededRandom } from '../../src/base/random.ts';
import type { OrderedChange } from '../../src/cache/index.ts';
import { postgres } from '../../src/sources/postgres.ts';
import { type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';

interface Item {
  readonly id: string;
  readonly name: string;
  readonly price?: string;
}

describe('ordered sink', requiresPostgres(), () => {
  let server: PostgresServer;
  let pool: Pool;
  before(async () => {
    server = await startPostgres();
    pool = new server.pg.Pool({ ...server.connection, max: 8 });
    pool.on('error', () => {});
  });
  after(async () => {
    await pool?.end();
    await server?.close();
  });

  const open = async (table: string) => {
    await pool.query(`CREATE TABLE ${table} (id bigint PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'))`);
    const source = postgres<Item>({ pool, table, key: 'id', columns: ['id', 'name'] });
    const names = async (): Promise<Record<string, string>> => {
      const { rows } = await pool.query(`SELECT id, name FROM ${table} ORDER BY id`);
      return Object.fromEntries((rows as Item[]).map(({ id, name }) => [id, name]));
    };
    const { ordered } = source.sink;
    const apply = async (...changes: (readonly [id: string, version: number, name: string | null])[]) => {
      const map = new Map<string, OrderedChange<Item>>();
      for (const [id, version, name] of changes) map.set(id, { version, value: name === null ? null : { id, name } });
      return [...(await ordered!.apply(map))].sort();
    };
    return { source, ordered: ordered!, names, apply };
  };

  test('only later versions are applied, of rows and of deletions', async () => {
    const { names, apply, ordered } = await open('late');
    assert.deepEqual(await apply(['1', 5, 'five'], ['2', 6, 'six']), [
      ['1', 5],
      ['2', 6],
    ]);
    assert.deepEqual(await apply(['1', 4, 'four'], ['2', 6, 'six again'], ['3', 7, 'seven']), [
      ['1', 5],
      ['2', 6],
      ['3', 7],
    ]);
    assert.deepEqual(await names(), { 1: 'five', 2: 'six', 3: 'seven' });
    await apply(['1', 9, null]);
    assert.deepEqual(await apply(['1', 8, 'too late']), [['1', 9]]);
    assert.deepEqual(await names(), { 2: 'six', 3: 'seven' });
    await apply(['1', 10, 'back']);
    assert.deepEqual((await names())['1'], 'back');
    assert.deepEqual([...(await ordered.applied(['1', '2', '99']))].sort(), [
      ['1', 10],
      ['2', 6],
    ]);
  });

  test('whatever is sent at once, twice and in any order: the last version stays', { timeout: 60_000 }, async () => {
    const { names, apply } = await open('crowd');
    const random = new SeededRandom(7);
    const sent: Promise<unknown>[] = [];
    const last = new Map<string, string | null>();
    const ids = ['1', '2', '3', '4'];
    const versions = Array.from({ length: 41 }, (_, i) => i + 1);
    for (const version of versions) for (const id of ids) last.set(id, version % 3 === 1 ? null : `v${version}`);
    for (const version of [...versions, ...versions].sort(() => random.nextFloat() - 0.5)) {
      const some = ids.filter(() => random.nextFloat() < 0.9 || version === 41);
      sent.push(apply(...some.map((id) => [id, version, version % 3 === 1 ? null : `v${version}`] as const)));
    }
    await Promise.all(sent);
    assert.deepEqual(await names(), Object.fromEntries([...last].filter(([, name]) => name !== null)));
  });

  test('a row that is refused takes its batch along; rights and syntax are no refusal', async () => {
    const { names, apply, ordered } = await open('poison');
    await assert.rejects(apply(['1', 1, 'good'], ['2', 2, 'bad']), { code: 'SOURCE_REFUSED' });
    assert.deepEqual([await names(), [...(await ordered.applied(['1', '2']))]], [{}, []]);
    await assert.rejects(apply(['x', 1, 'good']), { code: 'SOURCE_KEY_INVALID' });
    const any = ordered.accept as (id: string, value: unknown) => void;
    assert.throws(() => any('1', { id: '1', name: 'a', colour: 'red' }), { code: 'SOURCE_ROW_INVALID' });
    assert.throws(() => any('1', { id: '2', name: 'a' }), { code: 'SOURCE_ROW_INVALID' });
    assert.throws(() => any('1', { id: '1' }), { code: 'SOURCE_ROW_INVALID' });
    await pool.query('ALTER TABLE poison RENAME TO elsewhere');
    await assert.rejects(apply(['1', 3, 'good']), (error: { code?: string }) => error.code !== 'SOURCE_REFUSED');
    await pool.query('ALTER TABLE elsewhere RENAME TO poison');
    await apply(['1', 3, 'good']);
    assert.deepEqual(await names(), { 1: 'good' });
  });

  test('the epoch only rises, also when asked by many at once', async () => {
    const { ordered } = await open('epochs');
    const drawn = await Promise.all(Array.from({ length: 10 }, () => ordered.epoch(1, 1)));
    assert.deepEqual(
      drawn.sort((a, b) => a - b),
      [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
    );
    assert.equal(await ordered.epoch(0, 4), 10);
    assert.equal(await ordered.epoch(0, 15), 15);
    assert.equal(await ordered.epoch(1, 1), 16);
    assert.match(await ordered.target(), /\.public\.epochs$/);
  });

  test('write: one transaction, and the rows as the database has them', async () => {
    await pool.query(`CREATE TABLE made (id bigint PRIMARY KEY, name varchar(5), price numeric(10, 2));
      CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
      CREATE TRIGGER shout BEFORE INSERT OR UPDATE ON made FOR EACH ROW EXECUTE FUNCTION shout()`);
    const source = postgres<Item>({ pool, table: 'made', key: 'id', columns: ['id', 'name', 'price'] });
    const written = await source.sink.write!(
      new Map([
        ['1', { id: '1', name: 'ada', price: '1.005' }],
        ['2', { id: '2', name: 'bob', price: '2' }],
      ]),
    );
    assert.deepEqual(written.get('1'), { id: '1', name: 'ADA', price: '1.01' });
    const next = await source.sink.write!(
      new Map<string, Item | null>([
        ['1', null],
        ['2', { id: '2', name: 'eve', price: '3' }],
      ]),
    );
    assert.deepEqual(
      [...next],
      [
        ['1', null],
        ['2', { id: '2', name: 'EVE', price: '3.00' }],
      ],
    );
    const both = new Map<string, Item | null>([
      ['2', null],
      ['3', { id: '3', name: 'too long', price: '1' }],
    ]);
    await assert.rejects(source.sink.write!(both), { code: 'SOURCE_REFUSED' });
    assert.equal((await pool.query('SELECT count(*) FROM made')).rows[0].count, '1');
  });
});
