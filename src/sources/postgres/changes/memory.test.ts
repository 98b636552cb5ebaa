import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { covers, doubts, type Memory, readMemory, writeMemory } from './memory.ts';
import { isVisible, parseSnapshot } from './snapshot.ts';

const memory: Memory = { system: '7', timeline: 1, lsn: 100n, tables: { a: 'x', b: 'y' } };
const now = { system: '7', timeline: 1, confirmed: 100n, tables: { a: 'x', b: 'y' } };

describe('what may have been missed', () => {
  test('nothing, when the slot is where the store knows it, or behind', () => {
    assert.equal(doubts(memory, now), null);
    assert.equal(doubts(memory, { ...now, confirmed: 99n }), null);
    assert.equal(doubts(memory, { ...now, tables: { a: 'x' } }), null);
  });

  for (const [what, known, present, tables] of [
    ['the store remembers nothing', null, now, ['a', 'b']],
    ['the slot was made just now', memory, { ...now, confirmed: null }, ['a', 'b']],
    ['the slot was moved by somebody else', memory, { ...now, confirmed: 101n }, ['a', 'b']],
    ['another database', memory, { ...now, system: '8' }, ['a', 'b']],
    ['a promoted replica', memory, { ...now, timeline: 2 }, ['a', 'b']],
    ['a table that was changed', memory, { ...now, tables: { a: 'x', b: 'z' } }, ['b']],
    ['a table that nobody mapped before', memory, { ...now, tables: { ...now.tables, c: 'z' } }, ['c']],
    [
      'a table that was in doubt',
      { ...memory, tables: { a: '', b: 'y' } },
      { ...now, tables: { a: '', b: 'y' } },
      ['a'],
    ],
    ['a table of a treacherous name', memory, { ...now, tables: { constructor: 'x' } }, ['constructor']],
  ] as const) {
    test(what, () => {
      const doubt = doubts(known, present as typeof now);
      assert.deepEqual(doubt?.tables, tables);
      assert.ok(doubt!.reason.length > 10);
    });
  }

  test('who covers whom', () => {
    assert.ok(covers(memory, { a: 'x' }));
    assert.ok(!covers(memory, { a: 'x', c: 'x' }));
    assert.ok(!covers(null, { a: 'x' }));
  });

  test('comes back as it was written; anything else is nothing', () => {
    assert.deepEqual(readMemory(writeMemory(memory)), memory);
    for (const text of [
      null,
      '',
      '1',
      'null',
      '{}',
      '{"v":2}',
      '{"v":1,"system":"7","timeline":1,"lsn":"x","tables":{}}',
      '{"v":1,"system":"7","timeline":1,"lsn":"0/1","tables":{"a":1}}',
    ]) {
      assert.equal(readMemory(text), null, String(text));
    }
  });
});

describe('who can be seen', () => {
  for (const [snapshot, seen, unseen] of [
    ['100:100:', [99, 1], [100, 101]],
    ['100:105:100,103', [99, 101, 104], [100, 103, 105]],
    // Numbers beyond 32 bits: the stream tells the low ones.
    ['4294967290:4294967300:4294967295,4294967297', [4294967289, 4294967294, 0, 3], [4294967295, 1, 4, 5]],
  ] as const) {
    test(snapshot, () => {
      const parsed = parseSnapshot(snapshot);
      for (const xid of seen) assert.ok(isVisible(xid, parsed), String(xid));
      for (const xid of unseen) assert.ok(!isVisible(xid, parsed), String(xid));
    });
  }

  test('what is no snapshot', () => {
    for (const text of ['', '1:2', 'a:b:', null])
      assert.throws(() => parseSnapshot(text), { code: 'CHANGES_PROTOCOL' });
  });
});
