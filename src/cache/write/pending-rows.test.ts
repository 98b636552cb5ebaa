import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Pending, PendingRows } from './pending-rows.ts';

const SETTINGS = { flushIntervalMs: 1_000, maxDelayMs: 10_000, maxRemembered: 1_000 };

function open(settings = SETTINGS) {
  const rows = new PendingRows(settings);
  let version = 0;
  const put = (id: string, nowMs: number, isOurs = true): Pending => {
    version += 1;
    return rows.put({ id, version, bytes: new Uint8Array(0), queuedAtMs: 0 }, null, isOurs, nowMs).pending;
  };
  const due = (nowMs: number, all = false): string[] => Array.from(rows.due(nowMs, all), ({ id }) => id);
  const send = (nowMs: number): string[] => {
    const sent = [...rows.due(nowMs, false)];
    for (const pending of sent) rows.remove(pending, nowMs);
    return sent.map(({ id }) => id);
  };
  return { rows, put, due, send };
}

test('a row that came once goes after the interval, one that came again after the longest delay', () => {
  const { rows, put, due, send } = open();
  put('once', 0);
  put('again', 100);
  put('again', 900);
  assert.deepEqual([due(999), rows.nextDueMs(999, false)], [[], 1_000]);
  assert.deepEqual(send(1_100), ['once']);
  assert.equal(rows.nextDueMs(1_100, false), 10_100);
  for (let nowMs = 1_200; nowMs < 10_100; nowMs += 100) put('again', nowMs);
  assert.deepEqual([due(10_099), send(10_100)], [[], ['again']]);
  assert.deepEqual([rows.size, rows.nextDueMs(10_100, false)], [0, Number.POSITIVE_INFINITY]);
});

test('a row that comes again soon after it was sent waits from the start, and later not', () => {
  const { put, send } = open();
  put('a', 0);
  assert.deepEqual(send(1_000), ['a']);
  put('a', 5_000);
  assert.deepEqual([send(6_000), send(14_999), send(15_000)], [[], [], ['a']]);
  put('a', 50_000);
  put('b', 50_000);
  assert.deepEqual(send(51_000), ['a', 'b'], 'sent 35 s ago: forgotten');
});

test('all that waits is due when it is hurried; what is on its way or has to wait is not', () => {
  const { rows, put, due } = open();
  const [a, b] = [put('a', 0), put('b', 0)];
  put('c', 0);
  a.isFlying = true;
  b.notBeforeMs = 500;
  assert.deepEqual([due(10, true), rows.nextDueMs(10, true)], [['c'], 10]);
  rows.urge('b');
  assert.deepEqual([due(10), due(500)], [[], ['b']]);
  const later = put('a', 20);
  assert.equal(later.isAgain, false, 'the one on its way is not replaced');
  rows.remove(a, 30);
  assert.equal(rows.get('a'), later);
  assert.equal(put('a', 40).sinceMs, 20);
});

test('what was found is due at once, and a write that is older than what is there changes nothing', () => {
  const { rows, put, due } = open();
  put('mine', 0);
  put('found', 0, false);
  assert.deepEqual(due(0), ['found']);
  const known = rows.get('mine')!;
  const late = rows.put({ ...known, version: 0 }, null, false, 10);
  assert.deepEqual([late.isCoalesced, rows.get('mine')], [false, known]);
  assert.equal(rows.oldestMs(), 0);
  rows.disown();
  assert.equal(rows.get('mine')!.isOurs, false);
});

test('one delay for all when the longest is no longer than the interval', () => {
  const { put, send } = open({ ...SETTINGS, maxDelayMs: 1_000 });
  put('a', 0);
  put('a', 10);
  assert.deepEqual(send(1_000), ['a']);
  put('a', 1_010);
  assert.deepEqual([send(2_009), send(2_010)], [[], ['a']]);
});

test('a row that was due, was not sent and is written again goes at once, and not behind younger ones', () => {
  const { put, send, rows } = open();
  put('late', 0);
  put('hot', 1_600);
  put('hot', 1_700);
  assert.deepEqual(
    [...rows.due(2_600, false)].map(({ id }) => id),
    ['late'],
    'and hot is, from now on',
  );
  put('late', 2_700);
  assert.deepEqual([send(2_700), send(11_599), send(11_600)], [['late'], [], ['hot']]);
});

test('whatever comes: nothing waits longer than the longest delay, nothing is lost, order within a lane', () => {
  const id = fc.integer({ min: 0, max: 5 }).map(String);
  const step = fc.record({ id, afterMs: fc.integer({ min: 0, max: 2_500 }), fails: fc.boolean(), ours: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const { rows, put } = open();
      const newest = new Map<string, number>();
      let nowMs = 0;
      for (const one of steps) {
        nowMs += one.afterMs;
        newest.set(one.id, put(one.id, nowMs, one.ours).version);
        const wasDueMs = rows.nextDueMs(nowMs, false);
        const due = [...rows.due(nowMs, false)];
        if (wasDueMs > nowMs) assert.equal(due.length, 0);
        if (one.fails) continue;
        for (const pending of due) {
          rows.remove(pending, nowMs);
          assert.equal(pending.version, newest.get(pending.id));
          newest.delete(pending.id);
        }
        for (const pending of rows.values()) assert.ok(nowMs - pending.sinceMs < SETTINGS.maxDelayMs);
        assert.equal(rows.nextDueMs(nowMs, false) > nowMs, true);
      }
      assert.deepEqual(
        new Map(Array.from(rows.due(nowMs, true), ({ id: one, version }) => [one, version])),
        newest,
        'everything is still there',
      );
    }),
  );
});
