import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../base/random.ts';
import { type BreakerState, CircuitBreaker } from './breaker.ts';
import { RollingWindow } from './rolling-window.ts';

const OPTIONS = {
  windowMs: 1000,
  failureRatio: 0.5,
  minimumCalls: 4,
  consecutiveFailures: 6,
  openMs: 100,
  maxOpenMs: 350,
  probes: 2,
};
/** A draw in the middle: no jitter. */
const EVEN = { nextFloat: () => 0.5, nextUint32: () => 2 ** 31 };

function breaker(options: Partial<typeof OPTIONS> = {}): CircuitBreaker {
  return new CircuitBreaker({ ...OPTIONS, ...options }, EVEN);
}

/** Makes calls, one letter each: s(uccess), f(ailure), n(eutral), . (refused). */
function play(subject: CircuitBreaker, letters: string, nowMs: number): void {
  for (const letter of letters) {
    const permit = subject.acquire(nowMs);
    assert.equal(permit === 0, letter === '.', `expected ${letter} at ${nowMs}`);
    if (permit > 0) subject.settle(permit, letter === 's' ? 'success' : letter === 'f' ? 'failure' : 'neutral', nowMs);
  }
}

describe('what opens a closed circuit', () => {
  const rows: readonly (readonly [string, string, BreakerState])[] = [
    ['too few calls to speak of a share', 'fff', 'closed'],
    ['half of four', 'sffs' + 'f', 'open'],
    ['below half', 'sssff', 'closed'],
    ['exactly half at the minimum', 'ssff', 'open'],
    ['neutral ones count for nothing', 'nnnnfnfnnn', 'closed'],
  ];
  for (const [what, letters, state] of rows) {
    test(`${what}: ${letters} -> ${state}`, () => {
      const subject = breaker();
      play(subject, letters, 0);
      assert.equal(subject.state(0), state);
    });
  }

  test('many in a row, however good the share was', () => {
    const subject = breaker({ failureRatio: 1, minimumCalls: 1000 });
    play(subject, 's'.repeat(100), 0);
    play(subject, 'fffffsffffff', 10);
    assert.equal(subject.state(10), 'open');
  });

  test('failures that have left the window are forgotten', () => {
    const subject = breaker();
    play(subject, 'fff', 0);
    play(subject, 's', 1100);
    play(subject, 'f', 1101);
    assert.equal(subject.state(1101), 'closed');
  });
});

describe('open, half-open, closed', () => {
  test('nothing passes while open; then as many probes as must succeed; then all', () => {
    const subject = breaker();
    play(subject, 'ffff', 0);
    play(subject, '....', 99.9);
    assert.equal(subject.retryAfterMs(40), 60);
    assert.equal(subject.state(100), 'half-open');
    const first = subject.acquire(100);
    const second = subject.acquire(100);
    assert.ok(first > 0 && second > 0);
    assert.equal(subject.acquire(100), 0);
    subject.settle(first, 'success', 110);
    assert.equal(subject.acquire(110), 0, 'one success and one under way: enough');
    assert.equal(subject.state(110), 'half-open');
    subject.settle(second, 'success', 120);
    assert.equal(subject.state(120), 'closed');
    play(subject, 'sssss', 120);
    assert.equal(subject.openings, 1);
  });

  test('a neutral probe gives its place to another', () => {
    const subject = breaker({ probes: 1 });
    play(subject, 'ffff', 0);
    play(subject, 'nnns', 100);
    assert.equal(subject.state(100), 'closed');
  });

  test('each failed probe doubles the pause up to the limit; closing starts afresh', () => {
    const subject = breaker({ probes: 1 });
    play(subject, 'ffff', 0);
    let nowMs = 0;
    for (const pauseMs of [100, 200, 350, 350]) {
      assert.equal(subject.retryAfterMs(nowMs), pauseMs);
      nowMs += pauseMs;
      play(subject, 'f.', nowMs);
    }
    nowMs += 350;
    play(subject, 's', nowMs);
    play(subject, 'ffff', nowMs);
    assert.equal(subject.retryAfterMs(nowMs), 100);
  });

  test('results of calls from before the opening say nothing', () => {
    const subject = breaker({ probes: 1 });
    const old = [1, 2, 3, 4, 5, 6, 7].map(() => subject.acquire(0));
    for (const permit of old.slice(0, 4)) subject.settle(permit, 'failure', 10);
    assert.equal(subject.state(10), 'open');
    subject.settle(old[4]!, 'success', 20);
    assert.equal(subject.state(20), 'open');
    const probe = subject.acquire(110);
    assert.ok(probe > 0);
    subject.settle(old[5]!, 'failure', 120);
    subject.settle(old[6]!, 'success', 120);
    assert.equal(subject.state(120), 'half-open');
    subject.settle(probe, 'success', 130);
    assert.equal(subject.state(130), 'closed');
  });

  test('jitter: the pause is within a fifth of its length', () => {
    const random = new SeededRandom(5);
    const pauses = new Set<number>();
    for (let i = 0; i < 100; i += 1) {
      const subject = new CircuitBreaker(OPTIONS, random);
      play(subject, 'ffff', 0);
      const pauseMs = subject.retryAfterMs(0);
      assert.ok(pauseMs >= 80 && pauseMs <= 120, `${pauseMs}`);
      pauses.add(pauseMs);
    }
    assert.ok(pauses.size > 90);
  });
});

test('whatever happens: open admits nobody before its time, half-open never more than its probes, and it can always close', () => {
  const step = fc.record({
    what: fc.constantFrom('acquire', 'acquire', 'success', 'failure', 'neutral'),
    which: fc.nat(100),
    laterMs: fc.nat(60),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 150, size: 'max' }), (steps) => {
      const subject = breaker();
      const underWay: { permit: number; probe: boolean }[] = [];
      let nowMs = 0;
      let openings = 0;
      for (const { what, which, laterMs } of steps) {
        nowMs += laterMs;
        const before = subject.state(nowMs);
        if (what === 'acquire') {
          const admits = subject.admits(nowMs);
          const permit = subject.acquire(nowMs);
          assert.equal(permit > 0, admits);
          if (before === 'closed') assert.ok(permit > 0);
          if (before === 'open') assert.equal(permit, 0);
          if (permit > 0) underWay.push({ permit, probe: before === 'half-open' });
        } else if (underWay.length > 0) {
          const [call] = underWay.splice(which % underWay.length, 1);
          subject.settle(call!.permit, what as 'success' | 'failure' | 'neutral', nowMs);
        }
        const newest = Math.max(0, ...underWay.map((call) => call.permit));
        if (subject.state(nowMs) === 'half-open') {
          assert.ok(underWay.filter((call) => call.probe && call.permit === newest).length <= OPTIONS.probes);
        }
        assert.ok(subject.openings >= openings);
        openings = subject.openings;
      }
      // Recovery: everything under way ends, then good calls close it.
      for (const { permit } of underWay) subject.settle(permit, 'neutral', nowMs);
      nowMs += OPTIONS.maxOpenMs * 2;
      for (let i = 0; i < OPTIONS.probes; i += 1) play(subject, 's', nowMs);
      assert.equal(subject.state(nowMs), 'closed');
    }),
    { numRuns: 300 },
  );
});

test('a rolling window counts what happened within its parts', () => {
  fc.assert(
    fc.property(
      fc.array(fc.record({ laterMs: fc.nat(400), success: fc.boolean() }), {
        minLength: 1,
        maxLength: 100,
        size: 'max',
      }),
      (steps) => {
        const window = new RollingWindow(1000, 10);
        const seen: { part: number; success: boolean }[] = [];
        let nowMs = 1_700_000_000_000;
        for (const { laterMs, success } of steps) {
          nowMs += laterMs;
          window.record(success, nowMs);
          const newest = Math.floor(nowMs / 100);
          seen.push({ part: newest, success });
          const within = seen.filter((call) => call.part > newest - 10);
          assert.equal(window.successes, within.filter((call) => call.success).length);
          assert.equal(window.total, within.length);
        }
        window.advance(nowMs + 1000);
        assert.equal(window.total, 0);
      },
    ),
    { numRuns: 200 },
  );
});
