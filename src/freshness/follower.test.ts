import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BARRIER, BEGIN, CLEAR, END, KEY, NAMESPACE, TAG, WIDE } from './feed-kinds.ts';
import { FeedFollower, type FollowerEffect } from './follower.ts';

const RUN = { epoch: 1, node: 'n1' };
const REIGN = { epoch: 5, node: 'n1' };

/** A follower of two ranges on one link, attached at seq 10, everything fresh as of 1000. */
function attached(): FeedFollower {
  const follower = new FeedFollower({ ranges: 2, boundMs: 250 });
  follower.open(1, 'n1', 990);
  subscribe(follower, 10, false, 1000);
  const ping = take(follower, 'ping');
  follower.pong(1, ping.id, 10);
  return follower;
}

function subscribe(
  follower: FeedFollower,
  seq: number,
  replay: boolean,
  nowMs: number,
  ranges = [0, 1],
  link = 1,
): void {
  const asked = take(follower, 'subscribe');
  const streams = [WIDE, ...ranges].map((range) => ({ range, ballot: range < 0 ? RUN : REIGN, number: 3, replay }));
  follower.subscribed(link, asked.id, seq, streams, nowMs);
}

function take<K extends FollowerEffect['kind']>(follower: FeedFollower, kind: K): FollowerEffect & { kind: K } {
  const found = follower.takeEffects().find((effect) => effect.kind === kind);
  assert.ok(found !== undefined, `no ${kind}`);
  return found as FollowerEffect & { kind: K };
}

const hears = (follower: FeedFollower, seq: number, kind: number, name = '', range = WIDE, number = 4): boolean =>
  follower.record(1, seq, range, range === WIDE ? RUN : REIGN, number, kind, name, 1010);

describe('reads in flight', () => {
  test('a value whose key, tag or namespace was invalidated before it arrived is not kept', () => {
    for (const [kind, name, range] of [
      [KEY, 'user:42', 0],
      [TAG, 'org:7', WIDE],
      [NAMESPACE, 'user', WIDE],
      [CLEAR, '', WIDE],
    ] as const) {
      const follower = attached();
      const stamp = follower.stamp();
      assert.equal(follower.mayFill(0, stamp, 'user:42', 'user', ['org:7']), true);
      assert.equal(hears(follower, 11, kind, name, range), kind === KEY, 'only a key names an entry to drop');
      assert.equal(follower.mayFill(0, stamp, 'user:42', 'user', ['org:7']), false);
      assert.equal(follower.mayFill(0, follower.stamp(), 'user:42', 'user', ['org:7']), true, 'a read that begins now');
      if (kind !== CLEAR) assert.equal(follower.mayFill(1, stamp, 'item:1', 'item', ['org:8']), true, 'other names');
    }
  });

  test('a read from before the first subscription, or from before a gap was closed, is not kept', () => {
    const follower = new FeedFollower();
    assert.equal(follower.mayFill(0, follower.stamp(), 'a', '', []), false);
    const other = attached();
    const stamp = other.stamp();
    hears(other, 13, BARRIER);
    subscribe(other, 20, false, 1020);
    assert.equal(other.mayFill(0, stamp, 'a', '', []), false);
  });
});

describe('gaps', () => {
  test('a skipped seq asks anew; what is replayed goes on as before, what is not is suspect', () => {
    for (const replay of [true, false]) {
      const follower = attached();
      const stamp = follower.stamp();
      assert.equal(hears(follower, 12, KEY, 'a', 0, 5), false);
      assert.equal(
        follower.isTrusted(0, stamp),
        true,
        'not yet: the answer may replay it, the bound protects meanwhile',
      );
      subscribe(follower, 10, replay, 1020);
      assert.equal(follower.isTrusted(0, stamp), replay);
      assert.equal(follower.counts.gaps, 1);
    }
  });

  test('repeated records are applied once', () => {
    const follower = attached();
    assert.equal(hears(follower, 11, KEY, 'a', 0), true);
    const stamp = follower.stamp();
    assert.equal(hears(follower, 11, KEY, 'a', 0), false);
    assert.equal(follower.mayFill(0, stamp, 'a', '', []), true);
  });

  test('a record of a kind from the future makes everything suspect', () => {
    const follower = attached();
    const stamp = follower.stamp();
    hears(follower, 11, 99);
    assert.equal(follower.isTrusted(0, stamp), false);
  });

  test('simulated once: a range that is not in a new answer is suspect, its last records were passed over', () => {
    const follower = attached();
    const stamp = follower.stamp();
    hears(follower, 12, KEY, 'a', 0, 5);
    subscribe(follower, 14, true, 1020, [1]);
    assert.equal(follower.isTrusted(0, stamp), false);
    assert.equal(follower.isTrusted(1, stamp), true);
  });

  test('simulated once: a range whose reign ended is suspect, a flush would not reach it', () => {
    const follower = attached();
    const stamp = follower.stamp();
    hears(follower, 11, END, '', 0, 3);
    assert.equal(follower.isTrusted(0, stamp), false);
  });

  test('an owner that was deposed is not listened to', () => {
    const follower = attached();
    follower.open(2, 'n2', 1000);
    const asked = take(follower, 'subscribe');
    const newer = { epoch: 6, node: 'n2' };
    follower.subscribed(2, asked.id, 1, [{ range: 0, ballot: newer, number: 0, replay: false }], 1010);
    const stamp = follower.stamp();
    hears(follower, 11, BEGIN, '', 0, 0);
    assert.equal(follower.isTrusted(0, stamp), true);
    assert.equal(follower.counts.superseded, 1);
    follower.invariants();
  });
});

describe('the bound', () => {
  test('counts from the sending of the ping, and waits for the records that its answer names', () => {
    const follower = attached();
    assert.equal(follower.isInTime(0, 1250), true);
    assert.equal(follower.isInTime(0, 1251), false);
    assert.equal(follower.isInTime(0, 1050, 40), false, 'a caller may be stricter');
    follower.tick(1100);
    const ping = take(follower, 'ping');
    follower.pong(1, ping.id, 12);
    assert.equal(follower.freshAsOf(0), 1000);
    hears(follower, 11, KEY, 'a', 0);
    assert.equal(follower.freshAsOf(0), 1000);
    hears(follower, 12, KEY, 'b', 0, 5);
    assert.equal(follower.freshAsOf(0), 1100);
    assert.equal(follower.standing(0, follower.stamp(), '', [], 1200), 'good');
    assert.equal(follower.standing(0, follower.stamp(), '', [], 1400), 'suspect');
    hears(follower, 13, NAMESPACE, 'user');
    assert.equal(follower.standing(0, follower.stamp() - 1, 'user', [], 1200), 'voided');
  });

  test('a lost link is served within the bound, and no answer of it counts any more', () => {
    const follower = attached();
    follower.tick(1100);
    const ping = take(follower, 'ping');
    follower.closed(1);
    follower.pong(1, ping.id, 10);
    assert.equal(follower.isInTime(0, 1250), true);
    assert.equal(follower.isInTime(0, 1251), false);
    assert.equal(follower.unfollowedRanges, 2);
  });

  test('a link that answers nothing is given up; a subscription that is refused is tried again', () => {
    const follower = attached();
    for (let nowMs = 1050; nowMs <= 2050; nowMs += 50) follower.tick(nowMs);
    assert.equal(
      follower.takeEffects().some(({ kind }) => kind === 'reconnect'),
      false,
    );
    follower.tick(2100);
    assert.ok(take(follower, 'reconnect'));
    follower.closed(1);
    follower.open(2, 'n1', 2200);
    const asked = take(follower, 'subscribe');
    assert.deepEqual(
      asked.positions.map(({ range, number }) => [range, number]),
      [
        [WIDE, 3],
        [0, 3],
        [1, 3],
      ],
    );
    follower.refused(2, asked.id, 2210);
    follower.tick(2230);
    assert.deepEqual(follower.takeEffects(), []);
    follower.tick(2260);
    assert.ok(take(follower, 'subscribe').id > asked.id);
  });

  test('a barrier is acknowledged at once', () => {
    const follower = attached();
    hears(follower, 11, BARRIER);
    assert.equal(take(follower, 'acknowledge').applied, 11);
  });
});

test('names survive the wire: a byte order mark stays, a lone surrogate is what toWellFormed() makes of it', () => {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  const sent = (name: string): string => decoder.decode(new TextEncoder().encode(name));
  assert.equal(sent('\ufeffuser:1'), '\ufeffuser:1');
  const wellFormed = (name: string): string => (name as unknown as { toWellFormed(): string }).toWellFormed();
  assert.equal(sent('user:\ud800'), wellFormed('user:\ud800'));
});
