import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { findLossIn } from './exact-json.ts';

test('numbers that JSON.parse would round are found, wherever they are', () => {
  for (const number of [
    '12345678901234567890',
    '9007199254740993',
    '-9007199254740993',
    '0.1234567890123456789',
    '1e999',
    '1.00000000000000000001',
  ]) {
    for (const json of [number, `{"a":[1,${number}]}`, `["x\\"${'y'.repeat(20)}",${number} ]`]) {
      assert.deepEqual(findLossIn(json), { number }, json);
    }
  }
});

test('numbers that are kept are not', () => {
  for (const number of [
    '0',
    '-0',
    '1',
    '9007199254740992',
    '0.1',
    '1.50',
    '1e3',
    '1E+3',
    '1.7976931348623157e308',
    '123456789012345678e-3',
    '100000000000000000000000',
  ]) {
    const kept = findLossIn(number) === null;
    assert.equal(kept, !['123456789012345678e-3'].includes(number), number);
  }
  assert.equal(findLossIn('"12345678901234567890"'), null);
  assert.equal(findLossIn('{"12345678901234567890\\\\":"\\"9007199254740993"}'), null);
});

test('what JSON.stringify writes is kept', () => {
  fc.assert(fc.property(fc.jsonValue(), (value) => assert.equal(findLossIn(JSON.stringify(value)), null)));
  fc.assert(
    fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (n) =>
      assert.equal(findLossIn(JSON.stringify(n)), null),
    ),
  );
});

test('integers: kept when they are written again as they were sent', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: -(10n ** 20n), max: 10n ** 20n }), (n) => {
      assert.equal(findLossIn(String(n)) === null, JSON.stringify(Number(n)) === String(n));
    }),
    { numRuns: 2000 },
  );
});

test('levels: 500, in whatever mixture', () => {
  const nested = (levels: number): string => `${'[{"a":'.repeat(levels / 2)}1${'}]'.repeat(levels / 2)}`;
  assert.equal(findLossIn(nested(500)), null);
  assert.deepEqual(findLossIn(nested(502)), { depth: 501 });
  assert.equal(findLossIn(`[${'[],'.repeat(5000)}1]`), null);
});
