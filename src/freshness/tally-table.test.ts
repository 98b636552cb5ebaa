import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TallyTable } from './tally-table.ts';

test('a full table refuses new names and counts on for those that it has', () => {
  const table = new TallyTable(3);
  for (const name of ['a', 'b', 'c']) assert.equal(table.add(name, 2, null, 0), 2);
  assert.equal(table.add('d', 1, null, 1), 'full');
  assert.equal(table.add('a', 5, null, 1), 7);
  assert.equal(table.value('d', 1), 0, 'nothing was begun');
  assert.deepEqual([table.size, table.stats.full], [3, 1]);
});

test('room comes back when a counter expires, at its millisecond, and only then is the table gone through', () => {
  const table = new TallyTable(3);
  table.add('a', 1, 100, 0);
  table.add('b', 1, 300, 0);
  table.add('c', 1, null, 0);
  assert.equal(table.add('d', 1, null, 99), 'full');
  assert.equal(table.add('d', 1, null, 100), 1, 'a is over');
  assert.equal(table.stats.expired, 1);
  // A renewed one lives on: what the table remembers of the next expiry may be early, never late.
  assert.equal(table.add('b', 1, 1_000, 200), 2);
  assert.equal(table.add('e', 1, null, 400), 'full');
  assert.equal(table.add('e', 1, null, 1_200), 1);
  assert.equal(table.value('b', 1_200), 0);
  // One that comes with an expiry before all others.
  const other = new TallyTable(2);
  other.add('long', 1, 1_000, 0);
  other.add('short', 1, 10, 0);
  assert.equal(other.add('x', 1, null, 5), 'full');
  assert.equal(other.add('x', 1, null, 10), 1);
});

test('a sum beyond the safe integers is refused, both ways, and the counter stays as it was', () => {
  const table = new TallyTable(2);
  assert.equal(table.add('n', Number.MAX_SAFE_INTEGER, null, 0), Number.MAX_SAFE_INTEGER);
  assert.equal(table.add('n', 1, null, 0), 'overflow');
  assert.equal(table.value('n', 0), Number.MAX_SAFE_INTEGER);
  assert.equal(table.add('m', Number.MIN_SAFE_INTEGER, null, 0), Number.MIN_SAFE_INTEGER);
  assert.equal(table.add('m', -1, null, 0), 'overflow');
  assert.equal(table.add('m', 1, null, 0), Number.MIN_SAFE_INTEGER + 1);
});
