/** What a source presets of its stream of changes, and what it refuses. That the stream works is proved with a server, in test/sources/changes.test.ts. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type PostgresPool, postgres } from '../postgres.ts';
import { connectionOf } from './own-changes.ts';

/** As `pg` makes it: the password is there and is not enumerated. */
function poolWith(options: object): PostgresPool {
  const hidden = Object.defineProperty({ ...options }, 'password', { value: 'secret', enumerable: false });
  return { options: hidden, connect: () => Promise.reject(new Error('nobody connects')) };
}

const product = (pool: PostgresPool) =>
  postgres({ pool, table: ['shop', 'pro"duct'], key: 'id', columns: ['id', 'name'] });

describe('changes() of a source', () => {
  test('connects when it is followed and not before; its name is that of the slot', () => {
    const source = product(poolWith({ host: 'db', max: 3 }));
    assert.equal(source.changes({ caches: 'product' }).name, 'breakwater');
    assert.equal(source.changes({ caches: ['product', 'card'], name: 'shop' }).name, 'shop');
  });

  test('refuses what it cannot use, by name', () => {
    const source = product(poolWith({ connectionString: 'postgres://db/shop' }));
    const changes = source.changes as (options: unknown) => unknown;
    const refused: [unknown, string, RegExp][] = [
      [undefined, 'CACHE_OPTION_INVALID', /changes\(\)/],
      [{}, 'CACHE_OPTION_INVALID', /caches of changes\(\)/],
      [{ caches: [] }, 'CACHE_OPTION_INVALID', /caches/],
      [{ caches: 'a b' }, 'CACHE_NAME_INVALID', /a b/],
      [{ caches: 'p', cache: 'q' }, 'CACHE_OPTION_UNKNOWN', /caches/],
      [{ caches: 'p', columns: 'id' }, 'CACHE_OPTION_INVALID', /columns/],
      [{ caches: 'p', keys: ['id'] }, 'CACHE_OPTION_INVALID', /keys/],
      [{ caches: 'p', tags: 'id' }, 'CACHE_OPTION_INVALID', /tags/],
      [{ caches: 'p', namespaces: 'q' }, 'CACHE_OPTION_INVALID', /namespaces/],
      [{ caches: 'p', tables: [] }, 'CACHE_OPTION_INVALID', /tables/],
      [{ caches: 'p', via: 'magic' }, 'CACHE_OPTION_INVALID', /via/],
      [{ caches: 'p', name: 'No' }, 'CACHE_OPTION_INVALID', /name/],
    ];
    for (const [options, code, message] of refused) {
      assert.throws(() => changes(options), { code, message }, JSON.stringify(options));
    }
  });

  test('goes where the pool goes, with its password, and without its bounds and deadlines', () => {
    const ssl = { rejectUnauthorized: true };
    const pool = poolWith({ host: 'db', port: 5433, ssl, max: 3, query_timeout: 1, statement_timeout: 1 });
    assert.deepEqual(connectionOf(pool, {}), { host: 'db', port: 5433, ssl, password: 'secret' });
    assert.equal(connectionOf(pool, { connection: 'postgres://db' }), 'postgres://db');
  });

  test('a source of SQL names its tables', () => {
    const source = postgres({ pool: poolWith({}), sql: 'SELECT id WHERE id = ANY($1)', key: 'id' });
    assert.equal(source.changes({ tables: { product: { namespaces: ['product'] } } }).name, 'breakwater');
    const changes = source.changes as (options: unknown) => unknown;
    assert.throws(() => changes({ caches: 'product' }), { code: 'CACHE_OPTION_UNKNOWN' });
    assert.throws(() => changes({ tables: {} }), { code: 'CACHE_OPTION_INVALID' });
  });

  test('a pool that does not say where it connects to needs a connection beside it', () => {
    const connect = () => Promise.reject(new Error('nobody connects'));
    const source = product({ connect });
    assert.throws(() => source.changes({ caches: 'p' }), { code: 'CACHE_OPTION_INVALID', message: /connection/ });
    assert.equal(source.changes({ caches: 'p', connection: 'postgres://db/shop' }).name, 'breakwater');
    assert.throws(() => source.changes({ caches: 'p', connection: 'mysql://db' }), /postgres:\/\//);
  });
});
