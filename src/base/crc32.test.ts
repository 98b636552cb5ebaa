import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { tableCrc32 } from './crc32.ts';

test('it is CRC-32, of any part of the bytes, in one piece or in several', () => {
  assert.equal(tableCrc32(new TextEncoder().encode('123456789'), 0, 9), 0xcbf4_3926);
  const bytesAndBorders = fc
    .uint8Array({ maxLength: 100 })
    .chain((bytes) => fc.tuple(fc.constant(bytes), fc.array(fc.nat(bytes.length), { minLength: 3, maxLength: 3 })));
  fc.assert(
    fc.property(bytesAndBorders, fc.integer({ min: 0, max: 2 ** 32 - 1 }), (drawn, before) => {
      const [bytes, borders] = drawn;
      const [start, middle, end] = borders.sort((a, b) => a - b) as [number, number, number];
      // Of no bytes at no address zlib says 0.
      const expected = start === end ? before : crc32(bytes.subarray(start, end), before);
      assert.equal(tableCrc32(bytes, start, end, before), expected);
      assert.equal(tableCrc32(bytes, middle, end, tableCrc32(bytes, start, middle, before)), expected);
    }),
    { numRuns: 500 },
  );
});
