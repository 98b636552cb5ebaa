/** What postgres() refuses before it has asked any server. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { postgres } from './postgres.ts';

test('what is no declaration is refused with a code', () => {
  const pool = { connect: () => Promise.reject(new Error('nobody connects')) };
  const query = { pool, sql: 'SELECT $1', key: 'id' };
  for (const bad of [undefined, null, 7, 'table', Symbol('s'), 10n, [], { ...query, sql: 7 }]) {
    assert.throws(() => postgres(bad as never), { code: 'CACHE_OPTION_INVALID' });
  }
  for (const keyType of [Object.create(null), ['text'], 'toString', 7]) {
    assert.throws(() => postgres({ ...query, keyType }), { code: 'CACHE_OPTION_INVALID', message: /keyType/ });
  }
  assert.throws(() => postgres({ ...query, table: 't' } as never), { code: 'CACHE_OPTION_UNKNOWN' });
});
