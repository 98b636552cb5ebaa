/** Policy `behind` on the embedded store, with a table in memory as the database: what `write` promises, and what becomes of it. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { type BehindOptions, type Breakwater, type Cache, createBreakwater } from '../../src/cache/index.ts';
import { isAway, OrderedTable, type Row, until } from '../support/ordered-table.ts';

const directories: string[] = [];
const open: Breakwater[] = [];
after(async () => {
  await Promise.all(open.map((bw) => bw.close()));
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'breakwater-behind-'));
  directories.push(directory);
  return directory;
}

function start(
  table: OrderedTable,
  { directory = newDirectory(), ...behind }: BehindOptions = {},
): { readonly bw: Breakwater; readonly rows: Cache<string, Row>; readonly directory: string } {
  const bw = createBreakwater({ behind: { directory, flushInterval: 0, drainTimeout: 0, writeTimeout: '30s' } });
  open.push(bw);
  const rows = bw.cache('row', { source: table.source, policy: 'behind', behind, guard: { breaker: false } });
  return { bw, rows, directory };
}

const coded = (code: string) => (error: unknown) => error instanceof BreakwaterError && error.code === code;

test('a write is seen at once, and is in the database later; so is a deletion', { timeout: 60_000 }, async () => {
  const table = new OrderedTable();
  table.rows.set('1', { n: 1 });
  const { bw, rows } = start(table, { flushInterval: '10m' });
  assert.deepEqual(await rows.get('1'), { n: 1 });
  const first = await rows.write('1', { n: 2 });
  assert.deepEqual(await rows.get('1'), { n: 2 });
  assert.equal(rows.peek('1')?.n, 2);
  assert.deepEqual(table.rows.get('1'), { n: 1 }, 'not written yet');
  const second = await rows.write('1', { n: 3 });
  assert.ok(second.result.version! > first.result.version!);
  await rows.write('2', { n: 20 });
  await bw.drain();
  assert.deepEqual([table.rows.get('1'), table.rows.get('2')], [{ n: 3 }, { n: 20 }]);
  assert.deepEqual(table.history.get('1'), [second.result.version], 'the write between was not needed');
  await rows.write('1', null);
  assert.equal(await rows.get('1'), null);
  assert.ok(table.rows.has('1'));
  await bw.drain();
  assert.ok(!table.rows.has('1'));
  assert.equal(await rows.get('1'), null);
  const { queue } = rows.stats();
  assert.deepEqual([queue?.length, queue?.acknowledged, queue?.coalesced, queue?.written], [0, 4, 1, 3]);
});

test('what is queued is the answer also when the entry is gone, and when the database is away', {
  timeout: 60_000,
}, async () => {
  const table = new OrderedTable();
  table.rows.set('1', { n: 1 });
  const { bw, rows } = start(table, { flushInterval: '10m' });
  await rows.write('1', { n: 2 });
  await bw.invalidate({ namespaces: ['row'] });
  assert.deepEqual(await rows.get('1'), { n: 2 });
  table.failure = isAway();
  await rows.delete('1');
  assert.deepEqual(await rows.get('1'), { n: 2 });
  assert.deepEqual(await rows.get('1', { fresh: true }), { n: 2 });
  await assert.rejects(rows.get('9'), coded('SOURCE_FAILED'));
  table.failure = null;
  await bw.drain();
  await rows.delete('1');
  assert.deepEqual(await rows.get('1'), { n: 2 });
});

test('a load that read the old row before a write is over never answers who comes after it', {
  timeout: 60_000,
}, async () => {
  const table = new OrderedTable();
  table.rows.set('1', { n: 1 });
  const { bw, rows } = start(table);
  let go = (): void => {};
  table.gate = new Promise((resolve) => {
    go = resolve;
  });
  const early = rows.get('1');
  await until(() => table.loaded.includes('1'));
  const gate = table.gate;
  table.gate = Promise.resolve();
  await rows.write('1', { n: 2 });
  await bw.drain();
  table.gate = gate;
  go();
  await early;
  assert.deepEqual(await rows.get('1'), { n: 2 });
  assert.deepEqual(table.rows.get('1'), { n: 2 });
});

test('a database that is away for a while loses nothing; writers wait for room and are told when none comes', {
  timeout: 60_000,
}, async () => {
  const table = new OrderedTable();
  const { bw, rows } = start(table, { maxEntries: 3, writeTimeout: '1s' });
  // A machine that sleeps for a second loses acknowledgements, not writes.
  const written = (id: string, n: number) =>
    until(() =>
      rows.write(id, { n }).then(
        () => true,
        () => false,
      ),
    );
  await written('1', 1);
  await bw.drain();
  table.failure = isAway();
  for (const id of ['1', '2', '3']) await written(id, 5);
  await written('2', 6);
  await until(() => rows.write('4', { n: 7 }).then(() => false, coded('WRITE_BEHIND_FULL')));
  await assert.rejects(bw.drain({ timeout: '50ms' }), coded('WRITE_BEHIND_NOT_DRAINED'));
  table.failure = null;
  await written('5', 8);
  await bw.drain();
  assert.deepEqual([...table.rows].sort(), [
    ['1', { n: 5 }],
    ['2', { n: 6 }],
    ['3', { n: 5 }],
    ['5', { n: 8 }],
  ]);
  assert.ok(rows.stats().queue!.refused >= 1);
});

test('a row that the database refuses is a dead letter, the others are written; retried and dropped', {
  timeout: 60_000,
}, async () => {
  const table = new OrderedTable();
  table.rows.set('bad', { n: 0 });
  const { bw, rows, directory } = start(table, { flushInterval: '20ms', attempts: 2 });
  const told: string[] = [];
  bw.on('dead-letter', ({ id, code }) => told.push(`${id} ${code}`));
  table.isGood = (_, row) => row === null || row.n < 100;
  const ids = Array.from({ length: 20 }, (_, i) => `${i}`);
  await rows.writeMany(
    new Map([...ids.map((id) => [id, { n: Number(id) }] as const), ['bad', { n: 100 }], ['worse', { n: 200 }]]),
  );
  assert.deepEqual(await rows.get('bad'), { n: 100 });
  await bw.drain();
  assert.equal(table.rows.size, 21);
  const guard = (await bw.stats()).sources['cache:row']!;
  assert.equal(guard.failed, 0, 'a database that refuses a row is well');
  assert.deepEqual(told.sort(), ['bad SOURCE_REFUSED', 'worse SOURCE_REFUSED']);
  assert.deepEqual(await rows.get('bad'), { n: 0 }, 'what the database refused is not shown any more');
  assert.deepEqual(
    rows.deadLetters
      .list()
      .map(({ id, value, code }) => [id, value, code])
      .sort(),
    [
      ['bad', { n: 100 }, 'SOURCE_REFUSED'],
      ['worse', { n: 200 }, 'SOURCE_REFUSED'],
    ],
  );
  await bw.close();
  const next = start(table, { directory });
  await until(() => next.rows.stats().queue?.deadLetters === 2);
  table.isGood = () => true;
  assert.equal(await next.rows.deadLetters.drop(['worse']), 1);
  assert.equal(await next.rows.deadLetters.retry(), 1);
  await next.bw.drain();
  assert.deepEqual([table.rows.get('bad'), table.rows.has('worse')], [{ n: 100 }, false]);
  assert.equal(next.rows.stats().queue?.deadLetters, 0);
});

test('an older dead letter does not replace what was written since', { timeout: 60_000 }, async () => {
  const table = new OrderedTable();
  const { bw, rows } = start(table, { attempts: 1 });
  table.isGood = (_, row) => row?.n !== 1;
  await rows.write('1', { n: 1 });
  await bw.drain();
  await rows.write('1', { n: 2 });
  await bw.drain();
  table.isGood = () => true;
  await rows.deadLetters.retry();
  await bw.drain();
  assert.deepEqual(table.rows.get('1'), { n: 2 });
  assert.deepEqual(await rows.get('1'), { n: 2 });
});

test('what was left at the end is written after the next start, once', { timeout: 60_000 }, async () => {
  const table = new OrderedTable();
  const { bw, rows, directory } = start(table);
  await rows.write('0', { n: 0 });
  await bw.drain();
  table.failure = isAway();
  const { result } = await rows.writeMany(
    new Map([
      ['1', { n: 1 }],
      ['2', null],
      ['3', { n: 3 }],
    ]),
  );
  const closed = await bw.close();
  assert.equal(closed.queued, 3);
  table.failure = null;
  const next = start(table, { directory });
  await next.bw.drain();
  assert.deepEqual([...table.rows.keys()].sort(), ['0', '1', '3']);
  assert.equal(table.versions.get('2'), result.get('2')?.version);
  const written = await next.rows.write('1', { n: 10 });
  assert.ok(written.result.version! > result.get('3')!.version!, 'a later life gives larger versions');
  await next.bw.drain();
  for (const versions of table.history.values())
    assert.deepEqual(
      versions,
      [...versions].sort((a, b) => a - b),
    );
  assert.deepEqual(table.rows.get('1'), { n: 10 });
});

test('what an earlier life left is no answer once the database has it', { timeout: 60_000 }, async () => {
  const table = new OrderedTable();
  const { bw, rows, directory } = start(table);
  await rows.write('0', { n: 0 });
  await bw.drain();
  table.failure = isAway();
  const { result } = await rows.write('1', { n: 1 });
  await bw.close();
  // Written by the first life after all (its answer was lost), and changed since.
  table.versions.set('1', result.version! + 5);
  table.rows.set('1', { n: 99 });
  table.failure = null;
  const next = start(table, { directory });
  assert.deepEqual(await next.rows.get('1'), { n: 99 });
  await next.bw.drain();
  assert.deepEqual(table.rows.get('1'), { n: 99 });
  assert.equal(next.rows.stats().queue?.superseded, 1);
});

test('a load that read the old row of a write of an earlier life, which was written meanwhile, does not answer with it', {
  timeout: 60_000,
}, async () => {
  const table = new OrderedTable();
  const { bw, rows, directory } = start(table);
  await rows.write('0', { n: 0 });
  await bw.drain();
  for (const id of ['1', '2']) table.rows.set(id, { n: 0 });
  table.failure = isAway();
  await rows.write('1', { n: 1 });
  await rows.write('2', null);
  await bw.close();
  // The next life cannot write until the load has read the old rows, and the load is held up until it has.
  const { load } = table.source;
  let isHeld = true;
  const held: typeof load = async (ids, context) => {
    table.failure = null;
    const found = (await load(ids, context)) as (Row | null)[];
    if (isHeld) await until(() => table.rows.get('1')?.n === 1 && next.rows.stats().queue?.length === 0);
    isHeld = false;
    // As the loaders of databases do: what is absent is not in it.
    return new Map(ids.flatMap((id, index) => (found[index] == null ? [] : [[id, found[index]] as const])));
  };
  const next = start(Object.assign(table, { source: { ...table.source, load: held } }), { directory });
  const got = await next.rows.getMany(['1', '2']);
  assert.deepEqual([got.get('1') ?? null, got.get('2') ?? null], [{ n: 1 }, null]);
  assert.ok(!isHeld);
});

test('write(id, fn) is the later change than what was queued before it', { timeout: 60_000 }, async () => {
  const table = new OrderedTable();
  const { bw, rows } = start(table, { flushInterval: '10m' });
  await rows.write('1', { n: 1 });
  await rows.write('1', async () => {
    assert.deepEqual(table.rows.get('1'), { n: 1 });
    table.rows.set('1', { n: 2 });
  });
  assert.deepEqual(await rows.get('1'), { n: 2 });
  await bw.drain();
  assert.deepEqual(table.rows.get('1'), { n: 2 });
});

test('many writers at once: one group, versions in the order of the calls', { timeout: 60_000 }, async () => {
  const table = new OrderedTable();
  const { bw, rows } = start(table, { flushInterval: '10m' });
  const written = await Promise.all(Array.from({ length: 500 }, (_, i) => rows.write(`${i % 7}`, { n: i })));
  const versions = written.map(({ result }) => result.version!);
  assert.deepEqual(
    versions,
    [...versions].sort((a, b) => a - b),
  );
  await bw.drain();
  assert.deepEqual(
    ['0', '1', '2', '3', '4', '5', '6'].map((id) => table.rows.get(id)?.n),
    [497, 498, 499, 493, 494, 495, 496],
  );
  assert.equal(table.written, 7);
});

test('what cannot be queued is refused before anything is written', { timeout: 60_000 }, async () => {
  const table = new OrderedTable();
  const { bw, rows, directory } = start(table);
  const any = rows as unknown as Cache<string, unknown>;
  await assert.rejects(any.write('1', undefined as never), coded('CACHE_OPTION_INVALID'));
  await assert.rejects(any.write('', { n: 1 }), coded('CACHE_KEY_INVALID'));
  await assert.rejects(any.write('1', { n: 1n }), coded('CACHE_VALUE_UNSERIALISABLE'));
  await assert.rejects(any.writeMany([] as never), coded('CACHE_OPTION_INVALID'));
  await assert.rejects(any.writeMany(new Map([['1', (() => 1) as unknown]])), coded('CACHE_OPTION_INVALID'));
  await assert.rejects(rows.set('1', { n: 1 }), coded('CACHE_OPTION_INVALID'));
  assert.equal(rows.stats().queue?.length, 0);
  const second = createBreakwater({ behind: { directory, writeTimeout: '200ms' } });
  open.push(second);
  const other = second.cache('row', { source: table.source, policy: 'behind' });
  await assert.rejects(other.write('1', { n: 1 }), (error: unknown) => {
    assert.ok(error instanceof BreakwaterError);
    assert.equal(error.code, 'WRITE_BEHIND_UNAVAILABLE');
    assert.match(error.message, /process \d+ has it/);
    return true;
  });
  table.failure = isAway();
  await bw.close();
  await assert.rejects(rows.write('1', { n: 1 }), coded('CACHE_CLOSED'));
  const { rows: third } = start(table);
  await assert.rejects(
    third.write('1', { n: 1 }),
    coded('WRITE_BEHIND_UNAVAILABLE'),
    'the first version needs the database',
  );
});

test('declarations', () => {
  const table = new OrderedTable();
  const bw = createBreakwater();
  open.push(bw);
  const declare = (options: object) => () => bw.cache('x', { source: table.source, ...options } as never);
  const directory = newDirectory();
  assert.throws(declare({ policy: 'behind' }), coded('CACHE_OPTION_INVALID'), 'no directory');
  assert.throws(declare({ policy: 'behind', behind: { directory, flush: 1 } }), coded('CACHE_OPTION_UNKNOWN'));
  assert.throws(declare({ policy: 'behind', behind: { directory, maxBatch: 0 } }), coded('CACHE_OPTION_INVALID'));
  assert.throws(declare({ policy: 'behind', behind: { directory, maxBytes: '1mb' } }), coded('CACHE_OPTION_INVALID'));
  assert.throws(declare({ policy: 'behind', behind: { directory, maxDelay: -1 } }), /maxDelay/);
  assert.throws(declare({ policy: 'behind', behind: { directory, queue: 'tape' } }), coded('CACHE_OPTION_INVALID'));
  assert.throws(declare({ policy: 'behind', behind: { directory, queue: 'streams' } }), /none with queue: 'streams'/);
  assert.throws(declare({ policy: 'behind', behind: { queue: 'streams' } }), /keeps nothing on disk/);
  assert.throws(declare({ policy: 'behind', behind: { directory, takeover: '5s' } }), /takeover/);
  assert.throws(declare({ behind: { directory } }), coded('CACHE_OPTION_INVALID'), 'under aside');
  for (const name of ['bw-pending', 'bw-order', 'bw.queue', 'bw.lock']) {
    assert.throws(() => bw.cache(name, { load: async () => [] }), coded('CACHE_NAME_RESERVED'));
  }
  const sink = { upsert: async () => new Map(), delete: async () => new Map() };
  assert.throws(declare({ policy: 'behind', behind: { directory }, sink }), coded('CACHE_OPTION_INVALID'), 'no order');
  assert.throws(() => createBreakwater({ behind: { directori: 'x' } as never }), coded('CACHE_OPTION_UNKNOWN'));
});
