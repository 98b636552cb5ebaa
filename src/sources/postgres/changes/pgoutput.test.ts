import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import * as made from '../../../../test/sources/pgoutput-bytes.ts';
import { formatLsn, parseLsn } from './lsn.ts';
import { decode, statusUpdate, type Tuple, UNCHANGED, unframe } from './pgoutput.ts';

const values = (tuple: Tuple | null): unknown[] | null =>
  tuple === null ? null : Array.from({ length: tuple.length }, (_, i) => tuple.text(i));

describe('pgoutput', () => {
  test('begin and commit', () => {
    assert.deepEqual(decode(made.begin(4_000_000_000, 0x1_0000_0002n, 1_700_000_000_123)), {
      kind: 'begin',
      lsn: 0x1_0000_0002n,
      commitMs: 1_700_000_000_123,
      xid: 4_000_000_000,
    });
    assert.deepEqual(decode(made.commit(0x1_0000_0007n, 1_700_000_000_123)), {
      kind: 'commit',
      endLsn: 0x1_0000_0007n,
      commitMs: 1_700_000_000_123,
    });
  });

  test('a relation, with what identifies its rows', () => {
    assert.deepEqual(decode(made.relation(4_000_000_001, 'Sonder"bar', ['id*', 'größe'], 'f', '')), {
      kind: 'relation',
      oid: 4_000_000_001,
      schema: 'pg_catalog',
      table: 'Sonder"bar',
      identity: 'f',
      columns: [
        { name: 'id', isIdentity: true, type: 25 },
        { name: 'größe', isIdentity: false, type: 25 },
      ],
    });
  });

  for (const [what, bytes, expected] of [
    ['insert', made.insert(7, made.tuple('1', null, 'grün')), ['insert', null, null, ['1', null, 'grün']]],
    [
      'update without the row before',
      made.update(7, made.tuple('1', undefined)),
      ['update', null, null, ['1', UNCHANGED]],
    ],
    [
      'update of its key',
      made.update(7, made.tuple('2', 'x'), 'K', made.tuple('1', null)),
      ['update', 'key', ['1', null], ['2', 'x']],
    ],
    [
      'update, FULL',
      made.update(7, made.tuple('1', undefined), 'O', made.tuple('1', '')),
      ['update', 'full', ['1', ''], ['1', UNCHANGED]],
    ],
    ['delete, key', made.remove(7, 'K', made.tuple('1', null)), ['delete', 'key', ['1', null], null]],
    ['delete, FULL', made.remove(7, 'O', made.tuple('1', 'x')), ['delete', 'full', ['1', 'x'], null]],
    ['a row without columns', made.insert(7, made.tuple()), ['insert', null, null, []]],
  ] as const) {
    test(what, () => {
      const row = decode(bytes);
      assert.ok('after' in row);
      assert.equal(row.relation, 7);
      assert.deepEqual([row.kind, row.beforeIs, values(row.before), values(row.after)], expected);
    });
  }

  test('a column that the row does not have is not told', () => {
    const row = decode(made.insert(7, made.tuple('1')));
    assert.ok('after' in row);
    assert.equal(row.after!.text(1), UNCHANGED);
  });

  test('truncate, and what is not about rows', () => {
    assert.deepEqual(decode(made.truncate(7, 8)), { kind: 'truncate', relations: [7, 8] });
    for (const bytes of [made.type(9), made.origin()]) assert.deepEqual(decode(bytes), { kind: 'other' });
  });

  test('a message within a larger buffer is read from where it begins', () => {
    const message = made.insert(7, made.tuple('abc'));
    const buffer = new Uint8Array(message.length + 20).fill(0x74);
    buffer.set(message, 11);
    const row = decode(buffer.subarray(11, 11 + message.length));
    assert.ok('after' in row);
    assert.deepEqual(values(row.after), ['abc']);
  });

  const all = [
    made.begin(1),
    made.commit(9n),
    made.relation(7, 'product', ['id*', 'name']),
    made.insert(7, made.tuple('1', null, 'x')),
    made.update(7, made.tuple('1', undefined), 'K', made.tuple('1', null)),
    made.remove(7, 'O', made.tuple('1', 'x')),
    made.truncate(7, 8),
  ];

  test('cut off anywhere it is refused, with a code', () => {
    for (const bytes of all) {
      for (let length = 0; length < bytes.length; length += 1) {
        assert.throws(
          () => decode(bytes.subarray(0, length)),
          { code: 'CHANGES_PROTOCOL' },
          `${bytes[0]} of ${length}`,
        );
      }
    }
  });

  test('any bytes: a message or the code, never anything else, and no text from beyond the end', () => {
    const look = (bytes: Uint8Array): void => {
      try {
        const message = decode(bytes);
        if ('after' in message) for (const tuple of [message.before, message.after]) values(tuple);
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'CHANGES_PROTOCOL', String(error));
      }
    };
    fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), look));
    const damaged = fc
      .tuple(fc.constantFrom(...all), fc.array(fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 })), { maxLength: 4 }))
      .map(([bytes, changes]) => {
        const copy = Uint8Array.from(bytes);
        for (const [at, value] of changes) copy[at % copy.length] = value;
        return copy;
      });
    fc.assert(fc.property(damaged, look), { numRuns: 2_000 });
  });

  test('any row comes back as it was written', () => {
    const value = fc.option(fc.option(fc.string({ unit: 'grapheme' }), { nil: null }), { nil: undefined });
    fc.assert(
      fc.property(fc.array(value, { maxLength: 20 }), (row) => {
        const message = decode(made.insert(7, made.tuple(...row)));
        assert.ok('after' in message);
        assert.deepEqual(
          values(message.after),
          row.map((one) => (one === undefined ? UNCHANGED : one)),
        );
      }),
    );
  });
});

test('frames: data, keepalive, and what is neither', () => {
  const data = Uint8Array.from([0x77, ...new Array(24).fill(0), 1, 2, 3]);
  assert.deepEqual(unframe(data), { kind: 'data', message: Uint8Array.of(1, 2, 3) });
  const keepalive = Uint8Array.from([0x6b, 0, 0, 0, 1, 0, 0, 0, 2, ...new Array(8).fill(0), 1]);
  assert.deepEqual(unframe(keepalive), { kind: 'keepalive', endLsn: 0x1_0000_0002n, wantsReply: true });
  assert.throws(() => unframe(Uint8Array.of(0x78)), { code: 'CHANGES_PROTOCOL' });
  assert.throws(() => unframe(keepalive.subarray(0, 17)), { code: 'CHANGES_PROTOCOL' });
});

test('a status says what is done as flushed and applied', () => {
  const view = new DataView(statusUpdate(9n, 5n, 946_684_800_000 + 1.5, true).buffer);
  assert.equal(view.byteLength, 34);
  assert.deepEqual(
    [
      view.getUint8(0),
      view.getBigUint64(1),
      view.getBigUint64(9),
      view.getBigUint64(17),
      view.getBigInt64(25),
      view.getUint8(33),
    ],
    [0x72, 9n, 5n, 5n, 1500n, 1],
  );
});

test('positions of the log as Postgres writes them', () => {
  for (const text of ['0/0', '16/B374D848', 'FFFFFFFF/FFFFFFFF']) assert.equal(formatLsn(parseLsn(text)), text);
  assert.equal(parseLsn('1/00000002'), 0x1_0000_0002n);
  for (const text of ['', '1', '1/2/3', 'x/1', '123456789/1', null, 5]) {
    assert.throws(() => parseLsn(text), { code: 'CHANGES_PROTOCOL' });
  }
});
