/** Whom a load asks, with pools that say what they are told to. What a real replica does is in test/sources/replica.test.ts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { postgres } from '../postgres.ts';
import type { PostgresPool } from './connection.ts';

interface Server {
  readonly pool: PostgresPool;
  readonly asked: string[][];
  /** Position of a primary, or of what a replica has replayed; null = it is not in recovery. */
  at: bigint | null;
  isDown: boolean;
}

function serverOf(kind: 'primary' | 'replica'): Server {
  const server: Server = {
    at: 100n,
    isDown: false,
    asked: [],
    pool: {
      connect: async () => ({
        release: () => {},
        query: async ({ text, values }) => {
          if (server.isDown) throw Object.assign(new Error('it is down'), { code: '57P03' });
          if (text.includes('pg_last_wal_replay_lsn'))
            return { fields: [], rows: [[server.at !== null, String(server.at)]] };
          if (text.includes('insert_lsn')) return { fields: [], rows: [[String(server.at)]] };
          server.asked.push(values[0] as string[]);
          return {
            fields: ['key', 'id', 'from'].map((name) => ({ name })),
            rows: (values[0] as string[]).map((id) => [id, id, kind]),
          };
        },
      }),
    },
  };
  return server;
}

const declared = { sql: 'SELECT id FROM item WHERE id = ANY($1)', key: 'id' } as const;
const signal = new AbortController().signal;

function open(more: object = {}) {
  const [primary, replica] = [serverOf('primary'), serverOf('replica')];
  const source = postgres<{ id: string; from: string }>({
    pool: primary.pool,
    replica: { pool: replica.pool, ...more },
    ...declared,
  });
  const load = async (quiet: Readonly<Record<string, number>>) => {
    const quietMs = (id: string): number => quiet[id]!;
    const rows = await source.load(Object.keys(quiet), { signal, stale: new Map(), quietMs });
    return Object.fromEntries([...(rows as ReadonlyMap<string, { from: string }>)].map(([id, { from }]) => [id, from]));
  };
  return { primary, replica, source, load };
}

test('by time: quiet for longer than the bound, or the primary', async () => {
  const { load, source } = open({ lag: { bound: '2s' } });
  assert.deepEqual(await load({ a: 2_001, b: 2_000, c: 0, d: 1e9 }), {
    a: 'replica',
    b: 'primary',
    c: 'primary',
    d: 'replica',
  });
  assert.deepEqual(source.replicas?.(), {
    replicaIds: 2,
    primaryIds: 2,
    behind: 0,
    unknown: 2,
    failures: 0,
    positions: 0,
  });
  const unknown = await source.load(['a'], { signal, stale: new Map() });
  assert.equal((unknown as ReadonlyMap<string, { from: string }>).get('a')?.from, 'primary', 'no word on it is 0');
});

test('by position: each id needs the position of its own moment', async () => {
  const { load, primary, replica, source } = open();
  assert.deepEqual(await load({ a: 0 }), { a: 'replica' }, 'it has come as far as the primary');
  primary.at = 200n;
  assert.deepEqual(await load({ a: 0 }), { a: 'primary' }, 'and now it has not');
  replica.at = 199n;
  assert.deepEqual(await load({ a: 0 }), { a: 'primary' });
  // Quiet since before the first question, whose answer was 100.
  assert.deepEqual(await load({ a: 0, b: 60_000 }), { a: 'primary', b: 'replica' });
  replica.at = 200n;
  assert.deepEqual(await load({ a: 0, b: 60_000 }), { a: 'replica', b: 'replica' });
  assert.equal(source.replicas?.().positions, 5);
});

test('nothing is asked of the primary where all have been quiet since an answer', async () => {
  const { load, primary, source } = open();
  await load({ a: 0 });
  assert.deepEqual(await load({ a: 60_000, b: 60_000 }), { a: 'replica', b: 'replica' });
  assert.equal(source.replicas?.().positions, 1);
  assert.deepEqual(primary.asked, []);
});

test('a replica that fails, or is none, is left alone for a while; the primary answers', async () => {
  for (const breaks of [
    (replica: Server) => {
      replica.isDown = true;
    },
    (replica: Server) => {
      replica.at = null;
    },
  ]) {
    const { load, replica, source } = open();
    breaks(replica);
    for (let round = 0; round < 100; round += 1) assert.deepEqual(await load({ a: 0 }), { a: 'primary' });
    const { failures } = source.replicas!();
    assert.ok(failures >= 1 && failures < 20, `asked ${failures} times in 100 loads`);
  }
});

test('a primary that cannot be asked for its position fails the load in its own words, and no replica is read', async () => {
  const { load, primary, replica } = open();
  primary.isDown = true;
  await assert.rejects(load({ a: 0 }), { code: 'SOURCE_FAILED' });
  assert.deepEqual(replica.asked, []);
});

test('several replicas are asked in turn', async () => {
  const primary = serverOf('primary');
  const replicas = [serverOf('replica'), serverOf('replica'), serverOf('replica')];
  const source = postgres({ pool: primary.pool, replica: { pools: replicas.map(({ pool }) => pool) }, ...declared });
  for (let round = 0; round < 6; round += 1) await source.load(['a'], { signal, stale: new Map() });
  assert.deepEqual(
    replicas.map(({ asked }) => asked.length),
    [2, 2, 2],
  );
});

test('options', () => {
  const { pool } = serverOf('replica');
  for (const replica of [
    {},
    { pool: {} },
    { pool, pools: [pool] },
    { pools: [] },
    { pool, lag: 'time' },
    { pool, lag: { bound: 'soon' } },
    { pool, lag: { bund: 1 } },
    { pool, wait: '2m' },
    { pool, lag: { bound: 1 }, wait: 1 },
    { pool, lags: 1 },
  ]) {
    assert.throws(
      () => postgres({ pool, replica: replica as object, ...declared }),
      { code: /^(CACHE_OPTION|DURATION)_/ },
      JSON.stringify(replica),
    );
  }
});
