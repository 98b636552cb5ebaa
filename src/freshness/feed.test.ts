import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { above, compareBallots, formatBallot, parseBallot } from '../base/ballot.ts';
import { Applied } from './applied.ts';
import { CUT, type FeedOptions, InvalidationFeed, PAUSED, type Subscriber, type Subscription } from './feed.ts';
import { BARRIER, BEGIN, DRIFT, KEY, TAG, WIDE } from './feed-kinds.ts';
import { type FeedRecord, FeedRing } from './feed-ring.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const RUN = { epoch: 1, node: 'n1' };
const REIGN = { epoch: 5, node: 'n1' };
/** Long enough ago that nobody of before can trust anything. */
const START = -10_000;

function feedOf(options: Partial<FeedOptions> = {}): InvalidationFeed {
  const feed = new InvalidationFeed({ run: RUN, nowMs: START, ...options });
  feed.begin(0, REIGN, START);
  return feed;
}

function following(answer: Subscription): Subscription & { kind: 'following' } {
  assert.equal(answer.kind, 'following');
  return answer as Subscription & { kind: 'following' };
}

function newRecord(): FeedRecord {
  return { seq: 0, range: 0, ballot: RUN, number: 0, kind: 0, bytes: bytes(''), start: 0, length: 0 };
}

function takeAll(feed: InvalidationFeed, subscriber: Subscriber): string[] {
  const record = newRecord();
  const taken: string[] = [];
  while (feed.take(subscriber, record)) {
    const name = new TextDecoder().decode(record.bytes.slice(record.start, record.start + record.length));
    taken.push(
      `${record.seq} ${record.range} ${formatBallot(record.ballot)} ${record.number} ${record.kind} ${name}`.trim(),
    );
  }
  return taken;
}

function key(feed: InvalidationFeed, name: string): number {
  const encoded = bytes(name);
  return feed.publishKey(0, encoded, 0, encoded.length);
}

describe('ballots', () => {
  test('are ordered by epoch, then by node, and travel as text', () => {
    assert.ok(compareBallots({ epoch: 7, node: 'a' }, { epoch: 7, node: 'b' }) < 0);
    assert.ok(compareBallots({ epoch: 8, node: 'a' }, { epoch: 7, node: 'b' }) > 0);
    assert.ok(compareBallots(above(REIGN, 'a'), REIGN) > 0);
    assert.deepEqual(parseBallot(formatBallot({ epoch: 17, node: '5f:3c' })), { epoch: 17, node: '5f:3c' });
    for (const bad of ['', '7', ':a', '7:', '-1:a', '7:a b', '1e3:a']) {
      assert.throws(() => parseBallot(bad), { code: 'BALLOT_INVALID' });
    }
  });
});

describe('the ring', () => {
  test('holds the newest records within both bounds, whole and in order, whatever comes', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 9 }),
        fc.integer({ min: 8, max: 40 }),
        fc.array(
          fc.string({ maxLength: 8 }).filter((text) => bytes(text).length <= 8),
          { maxLength: 60 },
        ),
        (capacity, maxBytes, names) => {
          const ring = new FeedRing(capacity, maxBytes);
          const record = newRecord();
          names.forEach((name, index) => {
            const encoded = bytes(`..${name}`);
            assert.equal(ring.append(index % 3, RUN, index, KEY, encoded, 2, encoded.length - 2), index + 1);
            ring.invariants();
            for (let seq = ring.tail; seq <= ring.head; seq += 1) {
              ring.read(seq, record);
              assert.equal(record.number, seq - 1);
              const held = record.bytes.slice(record.start, record.start + record.length);
              assert.deepEqual(held, bytes(names[seq - 1]!));
            }
          });
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('the feed', () => {
  test('sends what is published, numbered by range and ballot, in one order', () => {
    const feed = feedOf();
    const { subscriber, seq } = following(feed.subscribe([], 250, 0, null));
    key(feed, 'user:1');
    feed.publishTag(bytes('org:7'), 0, 5);
    key(feed, 'user:2');
    assert.deepEqual(takeAll(feed, subscriber), [
      `${seq + 1} 0 5:n1 1 ${KEY} user:1`,
      `${seq + 2} ${WIDE} 1:n1 1 ${TAG} org:7`,
      `${seq + 3} 0 5:n1 2 ${KEY} user:2`,
    ]);
    assert.deepEqual(takeAll(feed, subscriber), []);
  });

  test('who comes back gets what follows its numbers; too old, from another reign, from the future: a gap', () => {
    const feed = feedOf({ maxRecords: 4 });
    following(feed.subscribe([], 250, 0, null));
    for (let i = 1; i <= 6; i += 1) key(feed, `k${i}`);
    const outcome = (number: number, ballot = REIGN): [boolean, number] => {
      const answer = following(feed.subscribe([{ range: 0, ballot, number }], 250, 0, null));
      const stream = answer.streams.find(({ range }) => range === 0)!;
      return [stream.replay, takeAll(feed, answer.subscriber).length];
    };
    assert.deepEqual(outcome(6), [true, 0]);
    assert.deepEqual(outcome(5), [true, 1]);
    assert.deepEqual(outcome(2), [true, 4]);
    assert.deepEqual(outcome(1), [false, 0], 'number 2 is forgotten');
    assert.deepEqual(outcome(7), [false, 0], 'number 7 was never given');
    assert.deepEqual(outcome(4, { epoch: 5, node: 'n0' }), [false, 0], 'the numbers of another reign');
  });

  test('a follower that has seen a higher ballot is told so, not served', () => {
    const feed = feedOf();
    const ballot = { epoch: 9, node: 'n1' };
    const positions = [{ range: 0, ballot, number: 3 }];
    assert.deepEqual(feed.subscribe(positions, 250, 0, null), { kind: 'surpassed', range: 0, ballot });
    feed.begin(0, above(ballot, 'n1'), 0);
    assert.equal(following(feed.subscribe(positions, 250, 0, null)).streams[1]!.replay, false);
  });

  test('a new reign and the end of one are records of their own', () => {
    const feed = feedOf();
    const { subscriber } = following(feed.subscribe([], 250, 0, null));
    feed.begin(1, REIGN, 0);
    assert.match(takeAll(feed, subscriber)[0]!, new RegExp(` 1 5:n1 0 ${BEGIN}$`));
    feed.end(1);
    assert.equal(
      following(feed.subscribe([], 250, 0, null)).streams.some(({ range }) => range === 1),
      false,
    );
    assert.throws(() => feed.begin(0, REIGN, 0), /a ballot must grow/);
  });

  test('who is too slow is cut off and the feed keeps no more than its bounds', () => {
    const feed = feedOf({ maxRecords: 4, maxNameBytes: 64 });
    const { subscriber } = following(feed.subscribe([], 250, 0, null));
    for (let i = 0; i < 100; i += 1) key(feed, `k${i}`);
    assert.deepEqual(takeAll(feed, subscriber), []);
    assert.equal(subscriber.state, 'cut');
    assert.equal(feed.ping(subscriber, 0, 10), CUT);
    following(feed.subscribe([], 250, 20, subscriber));
    assert.equal(feed.ping(subscriber, 0, 30), feed.head);
    assert.equal(feed.subscribers, 1);
    feed.invariants();
  });

  test('subscribers and bounds have limits, and a paused node vouches for nothing', () => {
    const feed = feedOf({ maxSubscribers: 1, maxBoundMs: 500 });
    assert.deepEqual(feed.subscribe([], 501, 0, null), { kind: 'refused', reason: 'bound' });
    const { subscriber } = following(feed.subscribe([], 500, 0, null));
    assert.deepEqual(feed.subscribe([], 500, 0, null), { kind: 'refused', reason: 'full' });
    feed.pause();
    assert.equal(feed.ping(subscriber, 0, 1), PAUSED);
    assert.deepEqual(feed.subscribe([], 250, 0, subscriber), { kind: 'refused', reason: 'paused' });
    feed.resume();
    assert.equal(feed.ping(subscriber, 0, 2), feed.head);
    const gone: Subscriber[] = [];
    feed.tick(2 + 500 * 20, gone);
    assert.equal(gone.length, 0);
    feed.tick(3 + 500 * 20, gone);
    assert.deepEqual(gone, [subscriber]);
  });
});

describe('wait: everywhere', () => {
  const settled = (feed: InvalidationFeed, nowMs: number): number[] => {
    const out: number[] = [];
    feed.settled(nowMs, out);
    return out;
  };

  test('nobody follows: at once; nobody trusts anything yet: at once', () => {
    const feed = feedOf();
    key(feed, 'a');
    assert.equal(feed.awaitEverywhere(1, 0), 'done');
    following(feed.subscribe([], 250, 0, null));
    assert.equal(feed.awaitEverywhere(2, 0), 'done');
  });

  test('ends when all have acknowledged', () => {
    const feed = feedOf();
    const subscribers = [1, 2].map(() => following(feed.subscribe([], 250, 0, null)).subscriber);
    for (const subscriber of subscribers) feed.ping(subscriber, 0, 100);
    key(feed, 'a');
    assert.equal(feed.awaitEverywhere(7, 101), 'waiting');
    for (const subscriber of subscribers) assert.match(takeAll(feed, subscriber).at(-1)!, new RegExp(` ${BARRIER}$`));
    feed.acknowledge(subscribers[0]!, feed.head);
    assert.deepEqual(settled(feed, 110), []);
    feed.ping(subscribers[1]!, feed.head, 120);
    assert.deepEqual(settled(feed, 120), [7]);
    assert.equal(feed.waiters, 0);
  });

  test('ends when the trust of who is silent has run out; its later pings do not prolong it', () => {
    const feed = feedOf();
    const { subscriber } = following(feed.subscribe([], 250, 0, null));
    feed.ping(subscriber, 0, 100);
    key(feed, 'a');
    feed.awaitEverywhere(7, 150);
    feed.ping(subscriber, 0, 200);
    assert.deepEqual(settled(feed, 100 + 250), []);
    assert.deepEqual(settled(feed, 100 + 250 * DRIFT), [7]);
  });

  test('who vanished counts until its trust runs out, also when it vanishes during the wait; who said good-bye does not', () => {
    for (const when of ['before', 'during'] as const) {
      const feed = feedOf();
      const other = following(feed.subscribe([], 250, 0, null)).subscriber;
      const { subscriber } = following(feed.subscribe([], 250, 0, null));
      feed.ping(subscriber, 0, 100);
      if (when === 'before') feed.lost(subscriber);
      key(feed, 'a');
      assert.equal(feed.awaitEverywhere(7, 110), 'waiting');
      if (when === 'during') feed.lost(subscriber);
      takeAll(feed, other);
      feed.acknowledge(other, feed.head);
      assert.deepEqual(settled(feed, 350), []);
      assert.deepEqual(settled(feed, 358), [7]);
    }
    const feed = feedOf();
    const { subscriber } = following(feed.subscribe([], 250, 0, null));
    feed.ping(subscriber, 0, 100);
    feed.unsubscribe(subscriber);
    assert.equal(feed.awaitEverywhere(8, 110), 'done');
  });

  test('after a start or a takeover: one full bound for the followers of the one before', () => {
    const feed = new InvalidationFeed({ run: RUN, nowMs: 0, maxBoundMs: 400 });
    feed.begin(0, REIGN, 300);
    assert.equal(feed.awaitEverywhere(1, 350), 'waiting');
    assert.deepEqual(settled(feed, 300 + 400), []);
    assert.deepEqual(settled(feed, 300 + 400 * DRIFT), [1]);
  });

  test('what was not sent cannot be acknowledged, and waiters are bounded', () => {
    const feed = feedOf({ maxWaiters: 1 });
    const { subscriber } = following(feed.subscribe([], 250, 0, null));
    feed.ping(subscriber, 0, 100);
    feed.acknowledge(subscriber, 1_000_000);
    assert.equal(feed.awaitEverywhere(1, 101), 'waiting');
    assert.equal(feed.awaitEverywhere(2, 101), 'full');
    feed.acknowledge(subscriber, 1_000_000);
    assert.deepEqual(settled(feed, 102), []);
  });
});

describe('the memory of applied names', () => {
  test('answers as an unbounded one would, or "invalidated"', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ name: fc.constantFrom('a', 'b', 'c', 'd', 'e'), since: fc.nat(40) }), { maxLength: 40 }),
        fc.integer({ min: 1, max: 4 }),
        (steps, capacity) => {
          const bounded = new Applied(capacity, 1000);
          const all = new Map<string, number>();
          steps.forEach(({ name, since }, index) => {
            bounded.note(name, index + 1);
            all.set(name, index + 1);
            assert.ok(bounded.size <= capacity);
            for (const asked of all.keys()) {
              const truth = all.get(asked)! > since;
              const answer = bounded.since(asked, since);
              assert.ok(answer || !truth, 'a forgotten invalidation');
              if (since >= bounded.floor) assert.equal(answer, truth, 'a needless miss');
            }
          });
        },
      ),
      { numRuns: 200 },
    );
    const long = new Applied(100, 10);
    long.note('0123456', 1);
    long.note('89ab', 2);
    assert.deepEqual([long.size, long.characters, long.floor], [1, 4, 1]);
  });
});
