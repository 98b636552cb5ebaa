/**
 * Real processes killed with -9 in the middle of writing behind; bench/write-behind/kill.ts does the same for as long as one likes, and says what is looked for.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { killRounds } from '../../bench/write-behind/kill.ts';
import { requiresPostgres } from '../support/postgres-server.ts';

for (const [what, withNode, rounds] of [
  ['two applications, a node between them, and Postgres', true, 3],
  ['one application on the embedded store, and Postgres', false, 2],
] as const) {
  test(`kill -9 of ${what}: nothing acknowledged is lost, written twice or out of order`, {
    ...requiresPostgres(),
    timeout: 240_000,
  }, async () => {
    const { acknowledged, rowsWritten, lost, twice, reordered } = await killRounds(rounds, { withNode });
    assert.deepEqual({ lost, twice, reordered }, { lost: [], twice: [], reordered: [] });
    assert.ok(acknowledged > 0 && rowsWritten > 0, 'something was written');
  });
}
