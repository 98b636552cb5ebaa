import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GAP_MS, Refusals } from './refusals.ts';

const A = 'a'.repeat(40);

function closed(): Refusals {
  const refusals = new Refusals();
  refusals.onClosed(A);
  return refusals;
}

test('two refusals in a row behind a closed link, and nothing less', () => {
  const one = closed();
  assert.equal(one.onDialled(A, 'refused'), GAP_MS);
  assert.equal(one.onDialled(A, 'refused'), 'gone');
  assert.equal(new Refusals().onDialled(A, 'refused'), null, 'its link never closed');
});

test('an accepted dial undoes the refusal before it, and the port is dialled again for a while, less and less often', () => {
  const one = closed();
  assert.equal(one.onDialled(A, 'refused'), GAP_MS);
  const pauses: (number | 'gone' | null)[] = [];
  for (let dial = 0; dial < 7; dial += 1) pauses.push(one.onDialled(A, 'accepted'));
  assert.deepEqual(pauses, [10, 20, 40, 80, 160, 320, null]);
  assert.equal(one.onDialled(A, 'refused'), null, 'it was given up');
  const other = closed();
  other.onDialled(A, 'accepted');
  assert.equal(other.onDialled(A, 'refused'), GAP_MS);
  assert.equal(other.onDialled(A, 'refused'), 'gone', 'the first dial came before the port was closed');
});

test('a dial without an answer proves nothing; a link of its own ends it', () => {
  const one = closed();
  one.onDialled(A, 'refused');
  assert.equal(one.onDialled(A, 'nothing'), 10);
  assert.equal(one.onDialled(A, 'refused'), GAP_MS);
  assert.equal(one.onDialled(A, 'refused'), 'gone');
  const other = closed();
  other.onDialled(A, 'refused');
  other.onLinked(A);
  assert.equal(other.onDialled(A, 'refused'), null);
});
