import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type OwnershipRecord, unowned } from './record.ts';
import { Tidings } from './tidings.ts';

const [A, B] = ['a', 'b'].map((letter) => letter.repeat(40)) as [string, string];
const record = (epoch: number, owner: string): OwnershipRecord => ({
  range: 0,
  ballot: { epoch, node: owner },
  owner,
  inSync: [owner],
});

test('the newest counts: what is chosen, or what a new owner says; for a while', () => {
  const tidings = new Tidings(1000);
  const chosen = record(3, A);
  assert.equal(tidings.of(0, chosen), chosen);
  tidings.hear(record(4, B), chosen, 10);
  assert.equal(tidings.of(0, chosen).owner, B);
  tidings.hear(record(2, A), chosen, 20);
  assert.equal(tidings.of(0, chosen).owner, B, 'older than what is known');
  assert.equal(tidings.of(0, record(5, A)).owner, A, 'newer than what was said');
  const { changes } = tidings;
  tidings.settle([chosen], 1009);
  assert.deepEqual([tidings.of(0, chosen).owner, tidings.changes], [B, changes]);
  tidings.settle([chosen], 1010);
  assert.deepEqual([tidings.of(0, chosen).owner, tidings.changes], [A, changes + 1], 'no record came');
  tidings.hear(record(6, B), unowned(0), 2000);
  tidings.settle([record(6, B)], 2001);
  assert.equal(tidings.of(0, unowned(0)).owner, null, 'it is chosen: nothing needs to be remembered');
});

test('what is won goes out at once, all of it together, and not again before everybody had time to read', () => {
  const tidings = new Tidings(1000);
  assert.deepEqual(tidings.take(0, 1000), []);
  tidings.win(7);
  tidings.win(3);
  assert.deepEqual(tidings.take(5, 1000), [3, 7]);
  tidings.win(4);
  assert.deepEqual(tidings.take(254, 1000), []);
  tidings.win(5);
  assert.deepEqual(tidings.take(255, 1000), [4, 5]);
  assert.deepEqual(tidings.take(9999, 1000), []);
});
