import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { drop, placeOf, put } from './sorted.ts';

test('as a set, in order', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.boolean(), fc.nat(20))), (steps) => {
      const sorted: number[] = [];
      const set = new Set<number>();
      for (const [isPut, number] of steps) {
        if (isPut) {
          put(sorted, number);
          set.add(number);
        } else {
          drop(sorted, number);
          set.delete(number);
        }
        assert.deepEqual(
          sorted,
          [...set].sort((a, b) => a - b),
        );
        assert.equal(placeOf(sorted, number), [...set].filter((one) => one < number).length);
      }
    }),
  );
});
