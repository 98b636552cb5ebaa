/** Loads that read a replica: a streaming replica of a real Postgres, its replay stopped by hand, so that it lags for as long as a test wants. */
import assert from 'node:assert/strict';
import { after, before, beforeEach, describe, test } from 'node:test';
import type { Pool } from 'pg';
import { createBreakwater, type LoadContext } from '../../src/cache/index.ts';
import { type PostgresReplicaOptions, postgres } from '../../src/sources/postgres.ts';
import { createTestBreakwater, TestNode } from '../../src/testing/index.ts';
import { type PostgresReplica, startReplica } from '../support/postgres-replica.ts';
import { type PostgresServer, requiresPostgres, startPostgres } from '../support/postgres-server.ts';

interface Row {
  readonly id: string;
  readonly name: string;
}

describe('postgres() with a replica', { ...requiresPostgres(), timeout: 120_000 }, () => {
  let server: PostgresServer;
  let replica: PostgresReplica;
  let primary: Pool;
  let behind: Pool;
  const names = new Map<string, string>();
  before(async () => {
    server = await startPostgres();
    const pool = (connection: object): Pool => {
      const made = new server.pg.Pool({ ...connection, max: 4 });
      made.on('error', () => {});
      return made;
    };
    primary = pool(server.connection);
    await primary.query('CREATE SEQUENCE v');
    await primary.query(
      "CREATE TABLE item (id bigint PRIMARY KEY, name text NOT NULL, version bigint NOT NULL DEFAULT nextval('v'))",
    );
    await primary.query("INSERT INTO item SELECT i, 'first' FROM generate_series(1, 200) i");
    replica = await startReplica(server);
    behind = pool(replica.connection);
  });
  after(async () => {
    await behind?.end();
    await primary?.end();
    await replica?.close();
    await server?.close();
  });
  beforeEach(async () => {
    await replica.resume();
    await replica.caughtUp();
  });

  const update = async (id: string, name: string): Promise<void> => {
    await primary.query('UPDATE item SET name = $2, version = DEFAULT WHERE id = $1', [id, name]);
    names.set(id, name);
  };
  const source = (more: Partial<PostgresReplicaOptions> = {}) =>
    postgres<Row>({
      pool: primary,
      replica: { pool: behind, ...more },
      table: 'item',
      key: 'id',
      columns: ['id', 'name'],
    });
  const open = (from = source()) => {
    const bw = createBreakwater();
    const load = (ids: readonly string[], context: LoadContext) => from.load(ids, context);
    return { bw, from, items: bw.cache<Row>('item', { load, loadTimeout: '60s', tags: ({ id }) => [`tag:${id}`] }) };
  };
  /** Until `load` was answered by the replica: the server writes its log for reasons of its own, too, and then a load in between finds the replica behind. */
  const untilReplica = async (from: ReturnType<typeof source>, load: () => Promise<unknown>): Promise<void> => {
    const before = from.replicas!().replicaIds;
    const deadline = Date.now() + 30_000;
    while (from.replicas!().replicaIds === before) {
      assert.ok(Date.now() < deadline, 'answered by the replica within 30 s');
      await replica.caughtUp();
      await load();
    }
  };
  const NEVER = { signal: new AbortController().signal, stale: new Map<string, unknown>() };

  test('check() passes, and fails where the replica is none', async () => {
    await source().check();
    const wrong = postgres<Row>({
      pool: primary,
      replica: { pool: primary },
      table: 'item',
      key: 'id',
      columns: ['id'],
    });
    await assert.rejects(wrong.check(), { code: 'SOURCE_REPLICA' });
    // And is not read.
    assert.equal(((await wrong.load(['1'], NEVER)) as Map<string, Row>).size, 1);
    assert.equal(wrong.replicas?.().failures, 1);
    assert.equal(wrong.replicas?.().primaryIds, 1);
  });

  test('a replica that has caught up is read; one that has not is not, and the naive loader beside it is stale', async () => {
    const { bw, from, items } = open();
    const naive = bw.cache<Row>('naive', {
      load: postgres<Row>({ pool: behind, table: 'item', key: 'id', columns: ['id', 'name'] }).load,
    });
    try {
      await untilReplica(from, async () => {
        await items.delete('1');
        assert.equal((await items.get('1'))?.name, 'first');
      });
      await naive.get('1');
      const before = from.replicas!();
      await replica.pause();
      await items.write('1', () => update('1', 'second'));
      await naive.delete('1');
      assert.equal((await naive.get('1'))?.name, 'first', 'what this is about: loaded after the invalidation, and old');
      assert.equal((await items.get('1'))?.name, 'second');
      assert.equal(from.replicas!().primaryIds, before.primaryIds + 1);
      assert.equal(from.replicas!().behind, before.behind + 1);
      await replica.resume();
      await untilReplica(from, async () => {
        await items.delete('1');
        assert.equal((await items.get('1'))?.name, 'second');
      });
    } finally {
      await bw.close();
    }
  });

  test('whatever invalidates: a key, a tag, a namespace; and a get that wants the truth', async () => {
    const { bw, items } = open();
    try {
      for (const [id, invalidate] of [
        ['11', () => bw.invalidate({ keys: ['item:11'] })],
        ['12', () => bw.invalidate({ tags: ['tag:12'] })],
        ['13', () => bw.invalidate({ namespaces: ['item'] })],
        ['14', async () => {}],
      ] as const) {
        await replica.resume();
        await replica.caughtUp();
        await items.get(id);
        await replica.pause();
        await update(id, `second ${id}`);
        await invalidate();
        assert.equal((await items.get(id, id === '14' ? { fresh: true } : {}))?.name, `second ${id}`, `id ${id}`);
      }
    } finally {
      await bw.close();
    }
  });

  test('in one batch: what is quiet comes from the replica, what was just invalidated from the primary', async () => {
    const { bw, from, items } = open();
    try {
      // A position of the primary from after all of this began.
      await items.get('30');
      await replica.pause();
      await items.write('31', () => update('31', 'second'));
      const ids = Array.from({ length: 20 }, (_, i) => String(31 + i));
      const before = from.replicas!();
      const all = await items.getMany(ids);
      for (const id of ids) assert.equal(all.get(id)?.name, names.get(id) ?? 'first');
      const now = from.replicas!();
      assert.equal(now.primaryIds - before.primaryIds + now.replicaIds - before.replicaIds, 20);
      assert.ok(now.primaryIds > before.primaryIds, 'the primary was asked for what is behind');
    } finally {
      await bw.close();
    }
  });

  test('another process invalidates: nothing is known here, and nothing old is loaded', async () => {
    const node = new TestNode();
    const [a, b] = [createTestBreakwater({ store: node }), createTestBreakwater({ store: node })];
    const from = source();
    const declared = { load: from.load, l1: {} };
    const [here, there] = [a.bw.cache<Row>('item', declared), b.bw.cache<Row>('item', declared)];
    try {
      assert.equal((await here.get('60'))?.name, 'first');
      await node.clock.settle();
      await replica.pause();
      await there.write('60', () => update('60', 'second'));
      await node.clock.settle();
      assert.equal((await here.get('60'))?.name, 'second');
      assert.equal((await there.get('60'))?.name, 'second');
    } finally {
      await Promise.all([a.bw.close(), b.bw.close(), node.clock.advance('5s')]);
    }
  });

  test('wait: a load waits for the replica instead of asking the primary', async () => {
    const from = source({ wait: '60s' });
    await replica.pause();
    await update('70', 'second');
    const loading = from.load(['70'], NEVER) as Promise<Map<string, Row>>;
    await new Promise((resolve) => setTimeout(resolve, 50));
    await replica.resume();
    // A position may be one that only the next record passes.
    await replica.caughtUp();
    assert.equal((await loading).get('70')?.name, 'second');
    assert.deepEqual(from.replicas?.(), { ...from.replicas?.(), replicaIds: 1, primaryIds: 0 });
  });

  test('a signal ends the waiting for a replica', async () => {
    const from = source({ wait: '60s' });
    await replica.pause();
    await update('71', 'second');
    const abort = new AbortController();
    const loading = assert.rejects(async () => from.load(['71'], { ...NEVER, signal: abort.signal }), {
      code: 'SOURCE_ABORTED',
    });
    setTimeout(() => abort.abort(), 20);
    await loading;
    // One may still be asking the server to cancel.
    while (behind.idleCount < behind.totalCount) await new Promise(setImmediate);
  });

  test('versions: an old row of a lagging replica is never "not modified"', async () => {
    const from = postgres<Row & { version: string }>({
      pool: primary,
      replica: { pool: behind },
      table: 'item',
      key: 'id',
      columns: ['id', 'name', 'version'],
      version: 'version',
    });
    const load = async (stale: ReadonlyMap<string, unknown>) =>
      ((await from.load(['80'], { ...NEVER, stale })) as Map<string, unknown>).get('80');
    const old = (await load(new Map())) as Row;
    await untilReplica(from, async () => load(new Map([['80', old]])));
    assert.equal(typeof (await load(new Map([['80', old]]))), 'symbol');
    await replica.pause();
    await update('80', 'second');
    assert.equal(((await load(new Map([['80', old]]))) as Row).name, 'second');
  });

  test('many loads at once ask the primary for its position one after the other, and share the answers', async () => {
    const from = source();
    await from.check();
    const before = from.replicas!().positions;
    await Promise.all(Array.from({ length: 100 }, (_, i) => from.load([String(i + 1)], NEVER)));
    const asked = from.replicas!().positions - before;
    assert.ok(asked <= 10, `${asked} questions for 100 loads`);
    assert.equal(from.replicas!().replicaIds + from.replicas!().primaryIds, 100);
  });

  test('a replica that was promoted is one no more', async () => {
    const from = source();
    await untilReplica(from, async () => from.load(['1'], NEVER));
    await behind.query('SELECT pg_promote()');
    await update('90', 'second');
    assert.equal(((await from.load(['90'], NEVER)) as Map<string, Row>).get('90')?.name, 'second');
    assert.equal(from.replicas?.().failures, 1);
    await assert.rejects(from.check(), { code: 'SOURCE_REPLICA' });
  });
});
