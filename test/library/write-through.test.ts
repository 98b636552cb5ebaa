/** Policy `through`, with a table in memory as the database. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { type Breakwater, type Cache, createBreakwater } from '../../src/cache/index.ts';
import { isAway, OrderedTable, type Row, until } from '../support/ordered-table.ts';

const open: Breakwater[] = [];
after(() => Promise.all(open.map((bw) => bw.close())));

function start(table: OrderedTable): Cache<string, Row> {
  const bw = createBreakwater();
  open.push(bw);
  return bw.cache('row', { source: table.source, policy: 'through', guard: { breaker: false } });
}

test('database and cache in one call; a deletion too', async () => {
  const table = new OrderedTable();
  const rows = start(table);
  const { result } = await rows.write('1', { n: 1 });
  assert.equal(result.version, null);
  assert.deepEqual(table.rows.get('1'), { n: 1 });
  assert.deepEqual(await rows.get('1'), { n: 1 });
  assert.deepEqual(table.loaded, [], 'it was there without a load');
  await rows.writeMany(
    new Map([
      ['1', null],
      ['2', { n: 2 }],
    ]),
  );
  assert.deepEqual([await rows.get('1'), await rows.get('2')], [null, { n: 2 }]);
  assert.deepEqual([...table.rows.keys()], ['2']);
});

test('what the database refused is not shown, and what it made of a value is', async () => {
  const table = new OrderedTable();
  const rows = start(table);
  await rows.write('1', { n: 1 });
  table.isGood = (_, row) => row === null || row.n < 10;
  await assert.rejects(rows.write('1', { n: 10 }), { code: 'SOURCE_REFUSED' });
  assert.deepEqual(await rows.get('1'), { n: 1 });
  await assert.rejects(
    rows.writeMany(
      new Map([
        ['1', { n: 2 }],
        ['2', { n: 20 }],
      ]),
    ),
    { code: 'SOURCE_REFUSED' },
  );
  assert.deepEqual([await rows.get('1'), await rows.get('2')], [{ n: 1 }, null]);
  table.failure = isAway();
  await assert.rejects(rows.write('1', { n: 3 }), { code: 'SOURCE_FAILED' });
  table.failure = null;
  const { write } = table.source.sink;
  (table.source.sink as { write: typeof write }).write = async (changes) => {
    await write!(new Map(Array.from(changes, ([id, row]) => [id, row === null ? null : { n: row.n * 2 }])));
    return new Map(Array.from(changes.keys(), (id) => [id, table.rows.get(id) ?? null]));
  };
  await rows.write('1', { n: 4 });
  assert.deepEqual(await rows.get('1'), { n: 8 });
});

test('writers at once: whatever their order in the database, no older value stays', { timeout: 60_000 }, async () => {
  const table = new OrderedTable();
  const rows = start(table);
  for (let round = 0; round < 50; round += 1) {
    await Promise.all(
      [1, 2, 3, 4].map(async (n) => {
        await rows.write('1', { n: round * 10 + n });
        await rows.get('1');
      }),
    );
    assert.deepEqual(await rows.get('1'), table.rows.get('1'));
  }
});

test('an update behind its back that is invalidated while the write is on its way is not replaced', async () => {
  const table = new OrderedTable();
  const rows = start(table);
  let go = (): void => {};
  const { write } = table.source.sink;
  let isCommitted = false;
  (table.source.sink as { write: typeof write }).write = async (changes, call) => {
    const written = await write!(changes, call);
    isCommitted = true;
    await new Promise<void>((resolve) => {
      go = resolve;
    });
    return written;
  };
  const writing = rows.write('1', { n: 1 });
  await until(() => isCommitted);
  table.rows.set('1', { n: 2 });
  await rows.delete('1');
  go();
  await writing;
  assert.deepEqual(await rows.get('1'), { n: 2 });
});

test('a sink that does not say what it has written: the next get loads', async () => {
  const table = new OrderedTable();
  const { upsert, delete: remove } = table.source.sink;
  const bw = createBreakwater();
  open.push(bw);
  const rows = bw.cache<Row>('row', { load: table.source.load, sink: { upsert, delete: remove }, policy: 'through' });
  await rows.write('1', { n: 1 });
  assert.deepEqual(await rows.get('1'), { n: 1 });
  assert.deepEqual(table.loaded, ['1']);
  await assert.rejects(rows.write('1', undefined as never), { code: 'CACHE_OPTION_INVALID' });
});

test('under aside a value is refused', async () => {
  const table = new OrderedTable();
  const bw = createBreakwater();
  open.push(bw);
  const rows = bw.cache('row', { source: table.source });
  await assert.rejects(rows.write('1', { n: 1 } as never), { code: 'CACHE_OPTION_INVALID' });
  await assert.rejects(rows.writeMany(new Map([['1', { n: 1 }]])), { code: 'CACHE_OPTION_INVALID' });
  assert.throws(() => rows.deadLetters, { code: 'CACHE_OPTION_INVALID' });
});
