import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Truth } from './truth.ts';

const open = () => new Truth((id) => id, 1_000);

test('an answer is right until the change that it lacks is covered, and for the bound of other processes’ L1', () => {
  const truth = open();
  const edition = truth.begin(7, 1)!;
  assert.deepEqual(truth.judge(7, 7, 5, 0), { kind: 'right', staleMs: 0 }, 'on its way');
  assert.deepEqual(truth.judge(7, edition, 5, 0), { kind: 'right', staleMs: 0 }, 'or there already');
  truth.committed(7, edition, 100, true);
  assert.deepEqual(truth.judge(7, 7, 90, 0), { kind: 'right', staleMs: 0 });
  assert.deepEqual(truth.judge(7, 7, 350, 0), { kind: 'right', staleMs: 250 });
  assert.equal(truth.judge(7, 7, 351, 0).kind, 'wrong');
  assert.equal(truth.judge(7, 7, 101, 1).kind, 'wrong', 'the process that wrote it itself');
  assert.equal(truth.judge(7, edition, 1e9, 0).kind, 'right');
  assert.equal(truth.judge(7, 5_000, 1e9, 0).kind, 'wrong', 'of no edition that there was');
});

test('a change in SQL is covered by its place in the log; one that nobody acknowledged never makes an answer wrong', () => {
  const truth = open();
  const inSql = truth.begin(1, null)!;
  truth.committedInSql(1, inSql, 100, 50n);
  truth.coveredUpTo(49n, 120);
  assert.deepEqual(truth.judge(1, 1, 5_000, 0), { kind: 'right', staleMs: 4_900 });
  truth.coveredUpTo(50n, 5_000);
  assert.equal(truth.judge(1, 1, 5_251, 0).kind, 'wrong');
  const queued = truth.begin(2, 0)!;
  truth.committed(2, queued, 100, false);
  assert.deepEqual(truth.judge(2, 2, 9_000, 0), { kind: 'right', staleMs: 8_900 });
});

test('one change of a row at a time; a row whose change failed is left alone', () => {
  const truth = open();
  const edition = truth.begin(3, 0)!;
  assert.equal(truth.begin(3, 1), null);
  truth.committed(3, edition, 1, true);
  assert.ok(truth.begin(3, 1)! > edition);
  assert.equal(truth.begin(3, 1), null);
});
