/**
 * Real processes killed with -9 in the middle of writing behind; bench/write-behind/kill.ts does the same for as long as one likes, and says what is looked for.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { killRounds } from '../../bench/write-behind/kill.ts';
import { requiresPostgres } from '../support/postgres-server.ts';
import { requires } from '../support/requirements.ts';

for (const [what, store, rounds] of [
  ['two applications, a node between them, and Postgres', 'node', 3],
  ['one application on the embedded store, and Postgres', 'none', 2],
  ['two applications, a Redis that has their queues in streams, and Postgres', 'redis', 4],
] as const) {
  test(`kill -9 of ${what}: nothing acknowledged is lost, written twice or out of order`, {
    ...(store === 'redis' && requires('redis-server').skip !== false ? requires('redis-server') : requiresPostgres()),
    timeout: 240_000,
  }, async () => {
    const { acknowledged, rowsWritten, lost, twice, reordered } = await killRounds(rounds, { store });
    assert.deepEqual({ lost, twice, reordered }, { lost: [], twice: [], reordered: [] });
    assert.ok(acknowledged > 0 && rowsWritten > 0, 'something was written');
  });
}
