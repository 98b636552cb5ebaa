import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import * as made from '../../../../test/sources/pgoutput-bytes.ts';
import { type Doubt, Intake } from './intake.ts';
import type { Mapping } from './mapping.ts';

const product: Mapping = {
  table: 'product',
  columns: ['id', 'category'],
  namespaces: ['product', 'listing'],
  keys: (row) => [`product:${row['id']}`],
  tags: (row) => [`category:${row['category']}`],
};
const byIdOnly: Mapping = { ...product, columns: ['id'], tags: null };

const COLUMNS = ['id*', 'category', 'text'];
const FULL = COLUMNS.map((column) => `${column.replace('*', '')}*`);

function intake(
  mapping: Mapping | null | undefined,
  foldAbove = 100,
): { intake: Intake; told: Doubt[]; apply: (...messages: Uint8Array[]) => void; names: () => string[] } {
  const told: Doubt[] = [];
  const made = new Intake(
    () => mapping,
    ['product', 'listing', 'other'],
    foldAbove,
    (doubt) => told.push(doubt),
  );
  return {
    intake: made,
    told,
    apply: (...messages) => {
      for (const message of messages) made.apply(message);
    },
    names: () => {
      const { keys, tags, namespaces } = made.take();
      return [...keys, ...tags, ...[...namespaces].map((name) => `all of ${name}`)].sort();
    },
  };
}

const WHOLE = ['all of listing', 'all of product'];

describe('what a change invalidates', () => {
  for (const [what, mapping, columns, identity, messages, expected] of [
    [
      'insert: the row',
      product,
      COLUMNS,
      'd',
      [made.insert(7, made.tuple('1', 'a', 't'))],
      ['category:a', 'product:1'],
    ],
    [
      'update that only asks for the key: the key',
      byIdOnly,
      COLUMNS,
      'd',
      [made.update(7, made.tuple('1', 'b', 't'))],
      ['product:1'],
    ],
    [
      'update, of which the mapping asks for a column that was perhaps another before: all',
      product,
      COLUMNS,
      'd',
      [made.update(7, made.tuple('1', 'b', 't'))],
      ['category:b', 'product:1', ...WHOLE],
    ],
    [
      'the same with the whole row before: both',
      product,
      FULL,
      'f',
      [made.update(7, made.tuple('1', 'b', 't'), 'O', made.tuple('1', 'a', 't'))],
      ['category:a', 'category:b', 'product:1'],
    ],
    [
      'a key that changes: both keys',
      byIdOnly,
      COLUMNS,
      'd',
      [made.update(7, made.tuple('2', 'b', 't'), 'K', made.tuple('1', null, null))],
      ['product:1', 'product:2'],
    ],
    [
      'a null in the row before that stands for "not told" is not taken for a null',
      product,
      COLUMNS,
      'd',
      [made.remove(7, 'K', made.tuple('1', null, null))],
      ['product:1', ...WHOLE],
    ],
    ['delete: the key', byIdOnly, COLUMNS, 'd', [made.remove(7, 'K', made.tuple('1', null, null))], ['product:1']],
    [
      'delete, FULL: the row',
      product,
      FULL,
      'f',
      [made.remove(7, 'O', made.tuple('1', 'a', 't'))],
      ['category:a', 'product:1'],
    ],
    [
      'a long value left alone, that the mapping asks for: all',
      product,
      COLUMNS,
      'd',
      [made.update(7, made.tuple('1', undefined, 't'))],
      ['product:1', ...WHOLE],
    ],
    [
      'the same with the whole row before: told there',
      product,
      FULL,
      'f',
      [made.update(7, made.tuple('1', undefined, 't'), 'O', made.tuple('1', 'a', 't'))],
      ['category:a', 'product:1'],
    ],
    [
      'a long value left alone, that nobody asks for: nothing special',
      byIdOnly,
      COLUMNS,
      'd',
      [made.update(7, made.tuple('1', 'a', undefined))],
      ['product:1'],
    ],
    ['truncate: all', product, COLUMNS, 'd', [made.truncate(7)], WHOLE],
    [
      'a column that is not there any more: all',
      product,
      ['id*'],
      'd',
      [made.insert(7, made.tuple('1'))],
      ['product:1', ...WHOLE],
    ],
    [
      'neither keys nor tags: all, by any change',
      { ...product, keys: null, tags: null, columns: [] },
      COLUMNS,
      'n',
      [made.insert(7, made.tuple('1', 'a', 't'))],
      WHOLE,
    ],
  ] as const) {
    test(what, () => {
      const { apply, names, intake: one } = intake(mapping);
      apply(made.begin(5), made.relation(7, 'product', columns, identity), ...messages, made.commit(200n));
      assert.deepEqual(names(), [...expected].sort());
      assert.ok(one.isEmpty);
    });
  }

  for (const [what, mapping, code] of [
    [
      'throws',
      {
        keys: () => {
          throw new Error('mapping');
        },
      },
      undefined,
    ],
    ['gives no array', { keys: () => 'product:1' }, 'CHANGES_MAPPING_INVALID'],
    ['gives a number', { keys: () => [1] }, 'CACHE_KEY_INVALID'],
    [
      'gives an id instead of a key',
      { keys: (row: Record<string, string | null>) => [row['id']] },
      'CHANGES_MAPPING_INVALID',
    ],
    ['gives a key of another namespace', { keys: () => ['user:1'] }, 'CHANGES_MAPPING_INVALID'],
    ['gives a key that is too long', { keys: () => [`product:${'x'.repeat(600)}`] }, 'CACHE_KEY_INVALID'],
    ['gives an empty tag', { keys: null, tags: () => [''] }, 'CACHE_TAGS_INVALID'],
    [
      'reads what was not declared',
      { keys: (row: Record<string, string | null>) => [`product:${row['idd']}`] },
      'CHANGES_MAPPING_INVALID',
    ],
    [
      'writes to the row',
      {
        keys: (row: Record<string, string | null>) => {
          row['id'] = '2';
          return [];
        },
      },
      undefined,
    ],
  ] as const) {
    test(`a mapping that ${what}: all, counted, told; what comes next is mapped`, () => {
      const {
        apply,
        names,
        told,
        intake: one,
      } = intake({ ...product, ...(mapping as object), ...('tags' in mapping ? {} : { tags: null }) } as Mapping);
      apply(
        made.begin(5),
        made.relation(7, 'product', COLUMNS),
        made.insert(7, made.tuple('1', 'a', 't')),
        made.commit(200n),
      );
      const found = names();
      for (const name of WHOLE) assert.ok(found.includes(name), found.join());
      if (what.includes('another namespace')) assert.ok(found.includes('user:1'));
      assert.equal(one.counts.mappingFailures, 1);
      assert.equal(told[0]!.what, 'mapping');
      if (code !== undefined) assert.equal((told[0]!.error as { code: string }).code, code);
    });
  }

  test('a mapping that catches what an unknown value throws is not believed', () => {
    const mapping: Mapping = {
      ...product,
      tags: (row) => {
        try {
          return [`category:${row['category']}`];
        } catch {
          return [];
        }
      },
    };
    const { apply, names, intake: one } = intake(mapping);
    apply(made.relation(7, 'product', COLUMNS), made.begin(5), made.remove(7, 'K', made.tuple('1', null, null)));
    assert.deepEqual(names(), ['product:1', ...WHOLE].sort());
    assert.equal(one.counts.unknownValues, 1);
  });

  test('a row can be spread, listed and made JSON of', () => {
    const seen: unknown[] = [];
    const mapping: Mapping = {
      ...product,
      keys: (row) => {
        seen.push({ ...row }, Object.keys(row), JSON.stringify(row), 'id' in row, 'text' in row);
        return [];
      },
      tags: null,
    };
    const { apply } = intake(mapping);
    apply(made.relation(7, 'product', COLUMNS), made.begin(5), made.insert(7, made.tuple('1', null, 't')));
    assert.deepEqual(seen, [
      { id: '1', category: null },
      ['id', 'category'],
      '{"id":"1","category":null}',
      true,
      false,
    ]);
  });
});

describe('batches', () => {
  test('a position belongs to the end of its transaction; a batch may end before', () => {
    const { intake: one, apply } = intake(byIdOnly);
    apply(made.begin(5), made.relation(7, 'product', COLUMNS), made.insert(7, made.tuple('1', 'a', 't')));
    const first = one.take();
    assert.deepEqual([[...first.keys], [...first.xids], first.endLsn, first.commitsMs], [['product:1'], [5], null, []]);
    assert.ok(one.isWithin);
    apply(made.insert(7, made.tuple('2', 'a', 't')), made.commit(200n));
    const second = one.take();
    assert.deepEqual(
      [[...second.keys], [...second.xids], second.endLsn, second.commitsMs.length],
      [['product:2'], [5], 200n, 1],
    );
    assert.ok(!one.isWithin);
  });

  test('a transaction of tables that nobody mapped has a position and no names', () => {
    const { intake: one, apply } = intake(null);
    apply(
      made.begin(5),
      made.relation(7, 'x', COLUMNS),
      made.insert(7, made.tuple('1', 'a', 't')),
      made.truncate(7),
      made.commit(200n),
    );
    const { xids, endLsn, keys, firstCommitMs } = one.take();
    assert.deepEqual([xids.size, endLsn, keys.size, firstCommitMs], [0, 200n, 0, null]);
    assert.equal(one.counts.unmappedRows, 2);
  });

  test('a table that is not known is a stranger until it was looked up', () => {
    let mapping: Mapping | null | undefined;
    const one = new Intake(
      () => mapping,
      ['product'],
      10,
      () => undefined,
    );
    for (const message of [
      made.begin(5),
      made.relation(7, 'p_2027', COLUMNS),
      made.insert(7, made.tuple('1', 'a', 't')),
    ])
      one.apply(message);
    assert.deepEqual([...one.take().strangers], [7]);
    mapping = byIdOnly;
    one.learn();
    one.apply(made.insert(7, made.tuple('2', 'a', 't')));
    const { strangers, keys } = one.take();
    assert.deepEqual([strangers.size, [...keys]], [0, ['product:2']]);
  });

  test('too many rows of one table in one transaction become its namespaces; the next transaction is told apart again', () => {
    const { intake: one, apply, names, told } = intake(byIdOnly, 3);
    apply(made.begin(5), made.relation(7, 'product', COLUMNS));
    for (let i = 0; i < 1000; i += 1) apply(made.insert(7, made.tuple(String(i), 'a', 't')));
    apply(made.commit(200n));
    assert.deepEqual(names(), ['all of listing', 'all of product', 'product:0', 'product:1', 'product:2']);
    assert.equal(one.counts.folded, 1);
    assert.equal(told.length, 1);
    assert.equal(told[0]!.what, 'folded');
    apply(made.begin(6), made.insert(7, made.tuple('7', 'a', 't')), made.commit(201n));
    assert.deepEqual(names(), ['product:7']);
  });

  test('a batch is full after some thousands of names, or of transactions', () => {
    const { intake: one, apply } = intake(byIdOnly, 1_000_000);
    apply(made.begin(5), made.relation(7, 'product', COLUMNS));
    let rows = 0;
    for (; !one.isFull && rows < 100_000; rows += 1) apply(made.insert(7, made.tuple(String(rows), 'a', 't')));
    assert.ok(rows <= 10_000, `${rows} rows`);
    one.take();
    assert.ok(!one.isFull);
    let transactions = 0;
    for (; !one.isFull && transactions < 100_000; transactions += 1)
      apply(made.begin(transactions), made.insert(7, made.tuple('1', 'a', 't')), made.commit(BigInt(transactions)));
    assert.ok(transactions <= 10_000, `${transactions} transactions`);
  });

  test('a table that changes in mid-stream: all of it, once', () => {
    const { intake: one, apply, names } = intake(byIdOnly);
    apply(
      made.begin(5),
      made.relation(7, 'product', COLUMNS),
      made.insert(7, made.tuple('1', 'a', 't')),
      made.commit(200n),
    );
    names();
    apply(
      made.begin(6),
      made.relation(7, 'product', COLUMNS),
      made.insert(7, made.tuple('2', 'a', 't')),
      made.commit(201n),
    );
    assert.deepEqual(names(), ['product:2']);
    apply(
      made.begin(7),
      made.relation(7, 'product', ['more', 'id*']),
      made.insert(7, made.tuple('x', '3')),
      made.commit(202n),
    );
    assert.deepEqual(names(), ['product:3', ...WHOLE].sort());
    assert.equal(one.counts.schemaChanges, 1);
  });

  test('what cannot be read makes everything doubtful, and is not the end', () => {
    const { intake: one, apply, names } = intake(byIdOnly);
    const everything = ['all of listing', 'all of other', 'all of product'];
    apply(made.begin(5), made.insert(99, made.tuple('1')));
    assert.deepEqual(names(), everything);
    apply(made.truncate(99));
    assert.deepEqual(names(), everything);
    apply(Uint8Array.of(0x5a, 1, 2));
    assert.deepEqual(names(), everything);
    assert.equal(one.counts.unreadable, 2);
    apply(made.relation(7, 'product', COLUMNS), made.insert(7, made.tuple('1', 'a', 't')), made.commit(7n));
    assert.deepEqual(names(), ['product:1']);
    assert.throws(() => apply(made.begin(5).subarray(0, 4)), { code: 'CHANGES_PROTOCOL' });
  });

  test('whatever comes, no row goes without a name: each changed key is named, or its namespace is', () => {
    const id = fc.integer({ min: 0, max: 5 }).map(String);
    const change = fc.oneof(
      fc.tuple(fc.constant('insert' as const), id),
      fc.tuple(fc.constant('update' as const), id),
      fc.tuple(fc.constant('rename' as const), id, id),
      fc.tuple(fc.constant('delete' as const), id),
      fc.tuple(fc.constant('alter' as const)),
    );
    fc.assert(
      fc.property(
        fc.array(fc.array(change, { maxLength: 12 }), { maxLength: 6 }),
        fc.integer({ min: 1, max: 8 }),
        fc.func(fc.boolean()),
        (transactions, foldAbove, isTaken) => {
          const { intake: one, apply } = intake(byIdOnly, foldAbove);
          apply(made.relation(7, 'product', COLUMNS));
          let lsn = 1n;
          for (const [xid, changes] of transactions.entries()) {
            const changed = new Set<string>();
            const named = new Set<string>();
            const collect = (): void => {
              const { keys, namespaces } = one.take();
              for (const name of [...keys, ...namespaces]) named.add(name);
            };
            apply(made.begin(xid));
            for (const [index, [kind, a, b]] of changes.entries()) {
              if (kind === 'alter') apply(made.relation(7, 'product', [...COLUMNS, `c${xid}_${index}`]));
              else if (kind === 'insert') apply(made.insert(7, made.tuple(a, 'x', 't')));
              else if (kind === 'update') apply(made.update(7, made.tuple(a, undefined, 't')));
              else if (kind === 'rename')
                apply(made.update(7, made.tuple(b, 'x', 't'), 'K', made.tuple(a, null, null)));
              else apply(made.remove(7, 'K', made.tuple(a, null, null)));
              for (const key of [a, b]) if (key !== undefined) changed.add(`product:${key}`);
              if (isTaken([xid, index])) collect();
            }
            lsn += 1n;
            apply(made.commit(lsn));
            collect();
            if (!named.has('product'))
              for (const key of changed) assert.ok(named.has(key), `${key} of ${[...named].join()}`);
          }
        },
      ),
    );
  });
});
