import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { namespaceHash } from './names.ts';
import { HELD_OFF, HOLDOFF_MS, PlainSets, REFUSED, WRITE } from './plain-set.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

test('by namespace, `*` for the others; all write costs nothing', () => {
  const sets = new PlainSets({ user: 'refuse', '': 'refuse', '*': 'holdoff' }, 4);
  const judge = (key: string, nowMs = 0): number => sets.judge(bytes(key), 0, key.length, nowMs);
  assert.deepEqual([judge('user:1'), judge('plain'), judge('other:1')], [REFUSED, REFUSED, WRITE]);
  sets.noteKey(bytes('other:1'), 0, 7, 10);
  assert.deepEqual([judge('other:1', 11), judge('other:2', 11)], [HELD_OFF, WRITE]);
  assert.equal(judge('other:1', 10 + HOLDOFF_MS), WRITE);
  const name = bytes('third');
  sets.noteNamespace(namespaceHash(name, 0, name.length), 3000);
  assert.equal(judge('third:9', 3001), HELD_OFF);
  sets.noteAll(9000);
  assert.deepEqual([judge('other:5', 9001), judge('other:5', 9000 + HOLDOFF_MS)], [HELD_OFF, WRITE]);
  const none = new PlainSets({ a: 'write' });
  none.noteKey(bytes('a:1'), 0, 3, 0);
  assert.deepEqual([none.isActive, none.sizeBytes, none.judge(bytes('a:1'), 0, 3, 0)], [false, 0, WRITE]);
});

test('whatever was invalidated within the hold-off is held off, also when the table is full; nothing is for longer', () => {
  const step = fc.record({ key: fc.nat(9), afterMs: fc.nat(700) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
      const sets = new PlainSets({ '*': 'holdoff' }, 4);
      const last = new Map<number, number>();
      let newest = Number.NEGATIVE_INFINITY;
      let nowMs = 1;
      for (const { key, afterMs } of steps) {
        nowMs += afterMs;
        sets.noteKey(bytes(`k:${key}`), 0, 3, nowMs);
        last.set(key, nowMs);
        newest = nowMs;
        sets.invariants();
        for (let other = 0; other < 10; other += 1) {
          const since = nowMs - (last.get(other) ?? Number.NEGATIVE_INFINITY);
          const verdict = sets.judge(bytes(`k:${other}`), 0, 3, nowMs);
          if (since < HOLDOFF_MS) assert.equal(verdict, HELD_OFF);
          assert.equal(sets.judge(bytes(`k:${other}`), 0, 3, newest + HOLDOFF_MS), WRITE);
        }
      }
    }),
    { numRuns: 200 },
  );
});
