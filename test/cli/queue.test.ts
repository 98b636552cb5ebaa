/** `breakwater queue` on a directory, while the application has it open and when it has not. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { createBreakwater } from '../../src/cache/index.ts';
import { runCli } from '../server/support.ts';
import { isAway, OrderedTable, until } from '../support/ordered-table.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

const directory = mkdtempSync(join(tmpdir(), 'breakwater-queue-cli-'));
const endings = [directory];
after(() => {
  for (const folder of endings) rmSync(folder, { recursive: true, force: true });
});

test('queue list, retry, drop', { timeout: 120_000 }, async () => {
  const table = new OrderedTable();
  const start = () => {
    const behind = { directory, flushInterval: 0, attempts: 1, drainTimeout: 0, writeTimeout: '30s' } as const;
    const bw = createBreakwater({ behind });
    return { bw, rows: bw.cache('row', { source: table.source, policy: 'behind', guard: { breaker: false } }) };
  };
  table.isGood = (_, row) => row === null || row.n < 100;
  const first = start();
  await first.rows.writeMany(
    new Map([
      ['a', { n: 100 }],
      ['b', { n: 200 }],
      ['c', { n: 300 }],
    ]),
  );
  await first.bw.drain();
  table.failure = isAway();
  await first.rows.write('d', { n: 1 });

  const list = async () => JSON.parse((await runCli(['queue', 'list', directory, '--json'])).stdout);
  const [view] = await list();
  assert.deepEqual([view.cache, view.pending], ['row', 1]);
  assert.deepEqual(view.deadLetters.map(({ id, value, code }: Record<string, unknown>) => [id, value, code]).sort(), [
    ['a', { n: 100 }, 'SOURCE_REFUSED'],
    ['b', { n: 200 }, 'SOURCE_REFUSED'],
    ['c', { n: 300 }, 'SOURCE_REFUSED'],
  ]);
  const busy = await runCli(['queue', 'retry', directory, 'a']);
  assert.equal(busy.code, 1);
  assert.match(busy.stderr, /process \d+ has it.*deadLetters\.retry\(\).*\[QUEUE_IN_USE\]\n$/);

  await first.bw.close();
  const people = await runCli(['queue', 'list', directory, '--cache', 'row']);
  assert.match(people.stdout, /^row: 1 rows wait, the oldest for \d+ s; 3 dead letters\n/);
  assert.equal(
    (await runCli(['queue', 'retry', directory, 'a', '--cache', 'row'])).stdout,
    'queued again: 1 (row:a)\n',
  );
  const dropped = await runCli(['queue', 'drop', directory, 'b', 'nobody']);
  assert.deepEqual([dropped.code, dropped.stdout], [1, 'dropped: 1 (row:b)\n']);
  assert.match(dropped.stderr, /"nobody" \[QUEUE_NO_LETTER\]/);
  assert.deepEqual([(await list())[0].pending, (await list())[0].deadLetters.length], [2, 1]);

  const bad = mkdtempSync(join(tmpdir(), 'breakwater-queue-cli-'));
  endings.push(bad);
  cpSync(directory, bad, { recursive: true });
  const [log = ''] = readdirSync(join(bad, 'row', 'dead')).filter((name) => name.endsWith('.log'));
  const bytes = readFileSync(join(bad, 'row', 'dead', log));
  bytes[40]! ^= 0xff;
  writeFileSync(join(bad, 'row', 'dead', log), bytes);
  const damaged = await runCli(['queue', 'list', bad, '--json']);
  assert.equal(damaged.code, 1, 'what cannot be read is no "0"');
  assert.match(damaged.stderr, /records 1 to 1 of the log, which were acknowledged.*\[DISK_LOG_CORRUPT\]\n$/);
  assert.match(JSON.parse(damaged.stdout)[0].damaged[0], /dead/);

  table.failure = null;
  table.isGood = () => true;
  const second = start();
  await second.bw.drain();
  await second.bw.close();
  assert.deepEqual([table.rows.get('a'), table.rows.get('d'), table.rows.has('b')], [{ n: 100 }, { n: 1 }, false]);

  for (const [args, sentence] of [
    [['list', join(directory, 'none')], /QUEUE_UNKNOWN/],
    [['list', directory, '--cache', 'other'], /it has row \[QUEUE_UNKNOWN\]/],
    [['retry', directory], /--all \[USAGE_INVALID\]/],
    [['drop', directory, 'c', '--all'], /--all \[USAGE_INVALID\]/],
    [['list'], /USAGE_INVALID/],
  ] as const) {
    assert.match((await runCli(['queue', ...args])).stderr, sentence);
  }
});

test('queue list, retry, drop of streams, while the application runs', {
  ...requires('redis-server'),
  timeout: 120_000,
}, async () => {
  const redis = await RedisServer.start();
  const store = `redis://127.0.0.1:${redis.port}` as const;
  const table = new OrderedTable();
  table.isGood = (_, row) => row === null || row.n < 100;
  const behind = {
    queue: 'streams',
    flushInterval: 0,
    attempts: 1,
    drainTimeout: 0,
    writeTimeout: '30s',
    takeover: '1s',
  } as const;
  const bw = createBreakwater({ store, readTimeout: '10s', writeTimeout: '10s', behind, advice: false });
  try {
    const rows = bw.cache('row', { source: table.source, policy: 'behind', guard: { breaker: false } });
    for (const id of ['a', 'b']) await rows.write(id, { n: 100 });
    await bw.drain();
    table.failure = isAway();
    await rows.write('d', { n: 1 });
    const [view] = JSON.parse((await runCli(['queue', 'list', store, '--json'])).stdout);
    assert.deepEqual([view.cache, view.pending, view.deadLetters.length], ['row', 1, 2]);
    table.isGood = () => true;
    table.failure = null;
    assert.equal((await runCli(['queue', 'retry', store, 'a'])).stdout, 'queued again: 1 (row:a)\n');
    await until(() => table.rows.get('a')?.n === 100);
    assert.equal((await runCli(['queue', 'drop', store, '--all', '--cache', 'row'])).stdout, 'dropped: 1 (row:b)\n');
    await until(() => rows.deadLetters.list().length === 0);
    assert.match((await runCli(['queue', 'list', store, '--cache', 'other'])).stderr, /it has row \[QUEUE_UNKNOWN\]/);
    assert.ok(!table.rows.has('b'));
  } finally {
    await bw.close();
    await redis.close();
  }
});
