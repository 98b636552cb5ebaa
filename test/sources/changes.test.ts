/** Changes by logical replication, from a real Postgres: what each kind of change invalidates. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LOGICAL, requiresPostgres } from '../support/postgres-server.ts';
import { GENEROUS_MS, PRODUCT, until, World } from './changes-support.ts';

const options = { ...requiresPostgres(), timeout: GENEROUS_MS * 2 };
let world: World;

before(async () => {
  if (options.skip === false) world = await World.start(LOGICAL);
});
after(() => world?.close());

describe('changes by replication', options, () => {
  test('inserts, updates and deletes name their rows; position follows', async () => {
    await world.sql('CREATE TABLE product (id bigint PRIMARY KEY, name text)');
    const { recorder, run, stats } = await world.followed({ name: world.newName(), tables: { product: PRODUCT } });
    await world.sql("INSERT INTO product VALUES (1, 'a'), (2, 'b')");
    await world.sql("UPDATE product SET name = 'c' WHERE id = 1");
    await world.sql('DELETE FROM product WHERE id = 2');
    await until('the delete', () => recorder.all('keys').filter((key) => key === 'product:2').length >= 2);
    assert.ok(recorder.all('keys').filter((key) => key === 'product:1').length >= 1);
    assert.deepEqual(recorder.all('namespaces'), []);
    await until('the position', () => stats().lagBytes === 0);
    console.log(run.stats());
  });
});
