/**
 * Policy `behind` of two processes (two Breakwaters, each with its queue) on one real node, on a cluster of three, on Redis: they see each other's writes before the database has them, and the later write
 * wins whoever flushes first.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type BehindOptions, type Breakwater, type Cache, createBreakwater } from '../../src/cache/index.ts';
import { type LiveNode, startLiveNode } from '../contract/live-node.ts';
import { LiveCluster } from '../support/live-cluster.ts';
import { isAway, OrderedTable, type Row, until } from '../support/ordered-table.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

const root = mkdtempSync(join(tmpdir(), 'breakwater-behind-node-'));
const open: (Breakwater | LiveNode | LiveCluster | RedisServer)[] = [];
after(async () => {
  for (const one of open.reverse()) await one.close();
  rmSync(root, { recursive: true, force: true });
});

let count = 0;
function start(
  url: string,
  table: OrderedTable,
  options: BehindOptions = {},
): { bw: Breakwater; rows: Cache<string, Row> } {
  count += 1;
  const directory = join(root, String(count));
  const bw = createBreakwater({
    store: url as 'redis://',
    readTimeout: '10s',
    writeTimeout: '10s',
    behind: {
      ...(options.queue === 'streams' ? {} : { directory }),
      ...{ flushInterval: '10m', drainTimeout: 0, writeTimeout: '30s' },
      ...options,
    },
  });
  open.push(bw);
  return { bw, rows: bw.cache('row', { source: table.source, policy: 'behind', guard: { breaker: false } }) };
}

async function startStore(kind: string): Promise<{ url: string; forget(): Promise<void> }> {
  if (kind === 'node') {
    const live = await startLiveNode();
    open.push(live);
    return { url: live.url, forget: async () => void live.node };
  }
  if (kind === 'cluster') {
    const cluster = await LiveCluster.start(3);
    open.push(cluster);
    return { url: cluster.url, forget: () => Promise.resolve() };
  }
  const redis = await RedisServer.start();
  open.push(redis);
  return { url: `redis://127.0.0.1:${redis.port}`, forget: () => redis.restart() };
}

for (const kind of ['node', 'cluster', 'redis'] as const) {
  const options = { ...(kind === 'redis' ? requires('redis-server') : {}), timeout: 300_000 };

  test(`${kind}: another process sees a queued write, also when the entry is gone`, options, async () => {
    const { url } = await startStore(kind);
    const table = new OrderedTable();
    table.rows.set('1', { n: 1 });
    const [a, b] = [start(url, table), start(url, table)];
    assert.deepEqual(await b.rows.get('1'), { n: 1 });
    await a.rows.write('1', { n: 2 });
    assert.deepEqual(await b.rows.get('1'), { n: 2 });
    await b.bw.invalidate({ namespaces: ['row'] });
    assert.deepEqual(await b.rows.get('1'), { n: 2 }, 'from the note');
    await a.rows.write('1', null);
    assert.equal(await b.rows.get('1'), null);
    await b.rows.delete('1');
    assert.equal(await b.rows.get('1'), null);
    assert.ok(table.rows.has('1'));
    await a.bw.drain();
    assert.equal(await b.rows.get('1'), null);
    table.rows.set('1', { n: 3 });
    await b.rows.delete('1');
    assert.deepEqual([await a.rows.get('1'), await b.rows.get('1')], [{ n: 3 }, { n: 3 }], 'no note is left');
  });

  test(`${kind}: the later write wins, whoever flushes first`, options, async () => {
    const { url } = await startStore(kind);
    const table = new OrderedTable();
    const [a, b] = [start(url, table), start(url, table)];
    for (const [first, second] of [
      [a, b],
      [b, a],
    ] as const) {
      const before = await first.rows.write('1', { n: 1 });
      const behind = await second.rows.write('1', { n: 2 });
      assert.ok(behind.result.version! > before.result.version!);
      await second.bw.drain();
      await first.bw.drain();
      assert.deepEqual(table.rows.get('1'), { n: 2 });
      assert.deepEqual([await a.rows.get('1'), await b.rows.get('1')], [{ n: 2 }, { n: 2 }]);
      const again = await first.rows.write('1', { n: 3 });
      assert.ok(again.result.version! > behind.result.version!);
      await second.rows.write('1', { n: 4 });
      await first.bw.drain();
      assert.deepEqual(
        [await a.rows.get('1'), await b.rows.get('1')],
        [{ n: 4 }, { n: 4 }],
        'the other one waits still',
      );
      await second.bw.drain();
    }
    const versions = table.history.get('1')!;
    assert.deepEqual(
      versions,
      [...versions].sort((x, y) => x - y),
    );
  });

  test(`${kind}: write(id, fn) waits for what another process has queued`, options, async () => {
    const { url } = await startStore(kind);
    const table = new OrderedTable();
    const [a, b] = [start(url, table), start(url, table)];
    await a.rows.write('1', { n: 1 });
    const writing = b.rows.write('1', () => {
      assert.deepEqual(table.rows.get('1'), { n: 1 });
      table.rows.set('1', { n: 2 });
    });
    await a.bw.drain();
    await writing;
    assert.deepEqual([await a.rows.get('1'), await b.rows.get('1')], [{ n: 2 }, { n: 2 }]);
  });
}

test('redis, streams: seen at once, written later; what a process has left another one writes, and dead letters go along', {
  ...requires('redis-server'),
  timeout: 120_000,
}, async () => {
  const { url } = await startStore('redis');
  const table = new OrderedTable();
  const open = (more: BehindOptions = {}) => start(url, table, { queue: 'streams', takeover: '1s', ...more });
  const a = open({ flushInterval: 0, attempts: 1 });
  table.isGood = (_, row) => row === null || row.n < 100;
  await a.rows.write('bad', { n: 100 });
  await a.bw.drain();
  table.failure = isAway();
  await a.rows.write('1', { n: 2 });
  const b = open();
  assert.deepEqual(await b.rows.get('1'), { n: 2 });
  await b.bw.close();
  const mine = a.rows.stats().queue!;
  assert.deepEqual([mine.length, mine.deadLetters], [1, 1]);
  assert.equal((await a.bw.close()).queued, 1);
  table.failure = null;
  table.isGood = () => true;
  const c = open();
  await c.bw.drain();
  assert.deepEqual(table.rows.get('1'), { n: 2 });
  assert.deepEqual(
    c.rows.deadLetters.list().map(({ id }) => id),
    ['bad'],
  );
  await c.rows.deadLetters.retry();
  await c.bw.drain();
  assert.deepEqual(table.rows.get('bad'), { n: 100 });
  assert.deepEqual(await c.rows.get('bad'), { n: 100 });
  assert.equal(c.rows.stats().queue!.deadLetters, 0);
});

test('redis: after a restart with nothing versions go on above, and what is queued is seen again', {
  ...requires('redis-server'),
  timeout: 60_000,
}, async () => {
  const { url, forget } = await startStore('redis');
  const table = new OrderedTable();
  table.rows.set('1', { n: 1 });
  const [a, b] = [start(url, table), start(url, table)];
  const before = await a.rows.write('1', { n: 2 });
  await forget();
  await until(async () => (await b.rows.get('1'))?.n === 2);
  const behind = await b.rows.write('1', { n: 3 });
  assert.ok(behind.result.version! > before.result.version!);
  await b.bw.drain();
  await a.bw.drain();
  assert.deepEqual(table.rows.get('1'), { n: 3 });
  await forget();
  table.failure = isAway();
  await assert.rejects(b.rows.write('1', { n: 4 }), { code: 'WRITE_BEHIND_UNAVAILABLE' });
});

test('redis: a value that the store does not take is refused and not queued, whatever is missing to it', {
  ...requires('redis-server'),
  timeout: 60_000,
}, async () => {
  const { url } = await startStore('redis');
  const table = new OrderedTable();
  const { bw, rows } = start(`${url}?maxValue=64kb`, table);
  await rows.write('1', { n: 1 });
  const codes = new Set<string>();
  let last = 0;
  for (let length = 65_400; length < 65_540; length += 1) {
    const value = { n: 2, text: 'x'.repeat(length) };
    const code = await rows.write('1', value).then(
      () => 'queued',
      (error: { code: string }) => error.code,
    );
    codes.add(code);
    const read: unknown = await rows.get('1');
    if (code === 'queued') last = length;
    assert.equal((read as typeof value).text.length, last, 'what was refused replaces nothing');
  }
  assert.deepEqual([...codes].sort(), ['STORE_TOO_LARGE', 'queued']);
  await bw.drain();
  assert.equal(rows.stats().queue?.died, 0);
});
