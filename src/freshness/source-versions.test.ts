import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AGAIN, HOLD_MS, OLDER, SourceVersions, STORE, UNSURE } from './source-versions.ts';

const NS = 7;
const keyOf = (name: number): number => 2 ** 40 + name * 8191;

describe('the memory of source versions', () => {
  test('nothing left: nothing is kept, everything may be stored', () => {
    const sources = new SourceVersions(4);
    assert.equal(sources.judge(keyOf(1), NS, 0, 0, false, 0), STORE);
    assert.equal(sources.sizeBytes, 0);
  });

  test('what left is compared; the same version comes back only when nothing changed and nothing else is there', () => {
    const sources = new SourceVersions(4);
    sources.note(keyOf(1), NS, 1, 5, false, false, 0, 0);
    assert.equal(sources.judge(keyOf(1), NS, 1, 4, false, 0), OLDER);
    assert.equal(sources.judge(keyOf(1), NS, 0, 0xffff_ffff, false, 0), OLDER, 'the high half counts first');
    assert.equal(sources.judge(keyOf(1), NS, 1, 5, false, 0), AGAIN);
    assert.equal(sources.judge(keyOf(1), NS, 1, 5, true, 0), UNSURE, 'a value without a version came in between');
    sources.note(keyOf(1), NS, 1, 5, true, false, 0, 0);
    sources.note(keyOf(1), NS, 1, 5, false, false, 0, 0);
    assert.equal(sources.judge(keyOf(1), NS, 1, 5, false, 0), UNSURE, 'deleted at this version once is deleted');
    sources.note(keyOf(1), NS, 1, 3, false, false, 0, 0);
    assert.equal(sources.judge(keyOf(1), NS, 1, 4, false, 0), OLDER, 'what is known never falls');
    sources.invariants();
  });

  test('forgotten keys leave a floor to their namespace for at least the hold, then it is gone', () => {
    const sources = new SourceVersions(2, HOLD_MS);
    for (let name = 0; name < 5; name += 1) sources.note(keyOf(name), NS, 0, 10 + name, false, false, 0, 1);
    sources.invariants();
    assert.equal(sources.forgotten, 3);
    for (const nowMs of [1, HOLD_MS - 1, HOLD_MS, HOLD_MS + 1]) {
      assert.equal(sources.judge(keyOf(0), NS, 0, 12, false, nowMs), UNSURE, `${nowMs}`);
      assert.equal(sources.judge(keyOf(0), NS, 0, 13, false, nowMs), STORE);
      assert.equal(sources.judge(keyOf(99), NS + 1, 0, 1, false, nowMs), STORE, 'another namespace');
    }
    assert.equal(sources.judge(keyOf(0), NS, 0, 1, false, 2 * HOLD_MS), STORE, 'refused for ever is useless');
  });

  test('a floor of before does not hide one of now, and falls with the window it is of', () => {
    const sources = new SourceVersions(1, 100);
    sources.note(keyOf(1), NS, 0, 50, false, false, 0, 0);
    sources.note(keyOf(2), NS, 0, 5, false, false, 0, 10); //  forgets 50 in window 0
    sources.note(keyOf(3), NS, 0, 5, false, false, 0, 110); // forgets 5 in window 1
    assert.equal(sources.judge(keyOf(1), NS, 0, 49, false, 150), UNSURE);
    sources.note(keyOf(4), NS, 0, 5, false, false, 0, 210); // forgets 5 in window 2
    assert.equal(sources.judge(keyOf(1), NS, 0, 49, false, 220), STORE);
    assert.equal(sources.judge(keyOf(2), NS, 0, 5, false, 220), UNSURE);
  });
});
