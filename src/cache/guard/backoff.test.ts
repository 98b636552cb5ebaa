import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../base/random.ts';
import { BackoffTable } from './backoff.ts';

const EVEN = { nextFloat: () => 0.5, nextUint32: () => 2 ** 31 };
const OPTIONS = { after: 1, baseMs: 100, maxMs: 350, maxKeys: 100 };

test('within the window the remembered error stands, whatever it is; each failure in a row doubles the window', () => {
  const table = new BackoffTable(OPTIONS, EVEN);
  assert.equal(table.check('a', 0), null);
  let nowMs = 0;
  for (const [index, windowMs] of [100, 200, 350, 350].entries()) {
    const thrown = index === 1 ? undefined : new Error(`failure ${index}`);
    table.failed('a', thrown, nowMs);
    const standing = table.check('a', nowMs + windowMs - 0.1);
    assert.equal(standing?.error, thrown);
    assert.equal(standing?.failures, index + 1);
    assert.equal(table.check('a', nowMs + windowMs), null);
    assert.equal(table.check('b', nowMs), null);
    nowMs += windowMs;
  }
});

test('one failure alone opens no window; from the second in a row on they do', () => {
  const table = new BackoffTable({ ...OPTIONS, after: 2 }, EVEN);
  table.failed('a', 'x', 0);
  assert.equal(table.check('a', 0), null);
  table.failed('a', 'x', 1);
  assert.equal(table.check('a', 100)?.failures, 2);
  assert.equal(table.check('a', 101), null);
  table.failed('a', 'x', 101);
  assert.equal(table.check('a', 300)?.failures, 3);
  table.succeeded('a');
  table.failed('a', 'x', 301);
  assert.equal(table.check('a', 301), null);
});

test('a success wipes the slate; so does a long quiet time', () => {
  const table = new BackoffTable(OPTIONS, EVEN);
  table.failed('a', 'x', 0);
  table.failed('a', 'x', 100);
  table.succeeded('a');
  assert.equal(table.check('a', 101), null);
  assert.equal(table.size, 0);
  table.failed('a', 'x', 200);
  assert.equal(table.check('a', 299)?.failures, 1);
  table.failed('a', 'x', 300 + 350);
  assert.equal(table.check('a', 660)?.failures, 1);
});

test('bounded: never more than maxKeys, and the last half of them is always known', () => {
  fc.assert(
    fc.property(fc.array(fc.nat(60), { maxLength: 300, size: 'max' }), (keys) => {
      const table = new BackoffTable({ ...OPTIONS, maxKeys: 20 }, new SeededRandom(1));
      const recent: string[] = [];
      for (const key of keys) {
        const name = `key:${key}`;
        table.failed(name, name, 0);
        const at = recent.indexOf(name);
        if (at >= 0) recent.splice(at, 1);
        recent.push(name);
        assert.ok(table.size <= 20, `${table.size}`);
        for (const known of recent.slice(-10)) assert.equal(table.check(known, 1)?.error, known);
      }
    }),
    { numRuns: 200 },
  );
});
