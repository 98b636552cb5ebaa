import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { FeedWorld, type WorldOptions } from '../../test/model/feed-world.ts';
import type { Ballot } from '../base/ballot.ts';
import type { Applied } from './applied.ts';
import { InvalidationFeed, type Subscriber } from './feed.ts';
import { FeedFollower, type FollowerOptions } from './follower.ts';

const SEEDS = Number(process.env['BREAKWATER_FEED_SEEDS'] ?? 120);

test('no L1 ever serves what is older than its bound, or was invalidated everywhere; and all heals', () => {
  let served = 0;
  let everywhere = 0;
  const counts: Record<string, number> = {};
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const report = new FeedWorld({ seed }).run();
    assert.deepEqual(report.violations, [], `seed ${seed}`);
    served += report.served;
    everywhere += report.everywhere;
    for (const [name, count] of Object.entries(report.counts)) counts[name] = (counts[name] ?? 0) + count;
  }
  assert.ok(served > SEEDS * 100, `the L1s were used: ${served}`);
  assert.ok(everywhere > SEEDS * 20, `waits ended: ${everywhere}`);
  for (const [name, count] of Object.entries(counts)) assert.ok(count > 0, `the worlds never met: ${name}`);
});

test('one seed, one run', () => {
  for (const seed of [3, 4, 5]) {
    assert.equal(new FeedWorld({ seed }).run().trace, new FeedWorld({ seed }).run().trace);
  }
});

/** Runs worlds until the checker complains; fails when it never does. */
function mustBeCaught(options: Omit<WorldOptions, 'seed'>, complaint: RegExp): void {
  for (let seed = 1; seed <= 150; seed += 1) {
    const { violations } = new FeedWorld({ ...options, seed }).run();
    if (violations.some((violation) => complaint.test(violation))) return;
  }
  assert.fail('the planted bug was never caught');
}

const STALE = /older than the bound|invalidated everywhere/;
const follower =
  (made: new (options: FollowerOptions, clock: () => number) => FeedFollower) =>
  (options: FollowerOptions, clock: () => number): FeedFollower =>
    new made(options, clock);

describe('with one rule switched off the checker complains', () => {
  test('reads in flight: a fill is allowed whatever was applied meanwhile', () => {
    class NoPlaceholders extends FeedFollower {
      override mayFill(range: number, stamp: number): boolean {
        return this.isTrusted(range, stamp);
      }
      override isAlive(): boolean {
        return true;
      }
    }
    mustBeCaught({ makeFollower: follower(NoPlaceholders) }, STALE);
  });

  test('reads in flight: keys are remembered, tags known only with the value are not looked up', () => {
    class KeysOnly extends FeedFollower {
      override isAlive(stamp: number, namespace: string): boolean {
        return super.isAlive(stamp, namespace, []);
      }
    }
    mustBeCaught({ makeFollower: follower(KeysOnly) }, STALE);
  });

  test('the floor: a name that was forgotten counts as never invalidated', () => {
    class NoFloor extends FeedFollower {
      override isAlive(stamp: number, namespace: string, tags: readonly string[]): boolean {
        for (const table of [this.tags, this.namespaces] as Applied[]) table.floor = 0;
        return super.isAlive(stamp, namespace, tags);
      }
    }
    mustBeCaught({ makeFollower: follower(NoFloor) }, STALE);
  });

  test('the floor of keys', () => {
    class NoFloor extends FeedFollower {
      override mayFill(range: number, stamp: number, key: string, ns: string, tags: readonly string[]): boolean {
        this.keys.floor = 0;
        return super.mayFill(range, stamp, key, ns, tags);
      }
    }
    mustBeCaught({ makeFollower: follower(NoFloor) }, STALE);
  });

  test('suspicion: after a gap, a new ballot or a flush entries are trusted as before', () => {
    class NeverSuspects extends FeedFollower {
      override isTrusted(): boolean {
        return true;
      }
    }
    mustBeCaught({ makeFollower: follower(NeverSuspects) }, STALE);
  });

  test('gaps: a missing record is passed over', () => {
    class PassesOver extends FeedFollower {
      readonly #next = new Map<number, number>();
      override subscribed(...args: Parameters<FeedFollower['subscribed']>): void {
        this.#next.set(args[0], args[2] + 1);
        super.subscribed(...args);
      }
      override record(...args: Parameters<FeedFollower['record']>): boolean {
        const [link, seq, ...rest] = args;
        const expected = this.#next.get(link) ?? seq;
        if (seq < expected) return super.record(...args);
        for (let missing = expected; missing < seq; missing += 1) {
          super.record(link, missing, -1, { epoch: 0, node: '' }, 0, 3, 'nobody', 0);
        }
        this.#next.set(link, seq + 1);
        return super.record(link, seq, ...rest);
      }
      override isTrusted(): boolean {
        return true;
      }
    }
    mustBeCaught({ makeFollower: follower(PassesOver), lossy: true }, STALE);
  });

  test('the bound: L1 serves although nothing was heard', () => {
    class Unbounded extends FeedFollower {
      override isInTime(range: number): boolean {
        return this.freshAsOf(range) > Number.NEGATIVE_INFINITY;
      }
    }
    mustBeCaught({ makeFollower: follower(Unbounded) }, STALE);
  });

  test('pings: counted from the arrival of the answer', () => {
    class CountsFromArrival extends FeedFollower {
      readonly #clock: () => number;
      constructor(options: FollowerOptions, clock: () => number) {
        super(options);
        this.#clock = clock;
      }
      protected override provenAsOf(): number {
        return this.#clock();
      }
    }
    mustBeCaught({ makeFollower: follower(CountsFromArrival) }, STALE);
  });

  test('pings: an answer that overtook its records counts at once', () => {
    class Hasty extends FeedFollower {
      override pong(link: number, id: number): void {
        super.pong(link, id, 0);
      }
    }
    mustBeCaught({ makeFollower: follower(Hasty), lossy: true }, STALE);
  });

  test('everywhere: the node does not wait for the trust of who does not acknowledge', () => {
    class Impatient extends InvalidationFeed {
      protected override trustedUntil(): number {
        return Number.NEGATIVE_INFINITY;
      }
    }
    mustBeCaught({ makeFeed: (options) => new Impatient(options) }, /everywhere/);
  });

  test('everywhere: who vanished is not waited for', () => {
    class Forgetful extends InvalidationFeed {
      override lost(subscriber: Subscriber): void {
        this.unsubscribe(subscriber);
      }
    }
    mustBeCaught({ makeFeed: (options) => new Forgetful(options) }, /everywhere/);
  });

  test('everywhere: sent counts as acknowledged', () => {
    class Optimist extends InvalidationFeed {
      override take(...args: Parameters<InvalidationFeed['take']>): boolean {
        const taken = super.take(...args);
        this.acknowledge(args[0], args[0].cursor);
        return taken;
      }
    }
    mustBeCaught({ makeFeed: (options) => new Optimist(options) }, /everywhere/);
  });

  test('takeover: the followers of the owner before are not waited for', () => {
    mustBeCaught({ takeoverForgetsOldFollowers: true }, /everywhere/);
  });

  test('restart: the run that forgot everything goes on under the ballot of the one before', () => {
    mustBeCaught({ restartedRunKeepsItsBallot: true }, STALE);
  });

  test('ballots: the numbers of another reign are counted on', () => {
    class BareEpochs extends FeedFollower {
      override subscribed(...args: Parameters<FeedFollower['subscribed']>): void {
        const [link, id, seq, streams, nowMs] = args;
        super.subscribed(
          link,
          id,
          seq,
          streams.map((stream) => ({ ...stream, replay: true, ballot: ONE })),
          nowMs,
        );
      }
      override record(...args: Parameters<FeedFollower['record']>): boolean {
        const [link, seq, range, , number, kind, name, nowMs] = args;
        return super.record(link, seq, range, ONE, number, kind === 5 ? 7 : kind, name, nowMs);
      }
    }
    const ONE: Ballot = { epoch: 1, node: 'n' };
    mustBeCaught({ makeFollower: follower(BareEpochs) }, STALE);
  });
});
