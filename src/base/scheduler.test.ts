import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { ManualScheduler, systemScheduler } from './scheduler.ts';

describe('manual timers', () => {
  test('fire in order of due time, then of setting, with the clock at their due time', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(50), { maxLength: 30, size: 'max' }), (delays) => {
        const scheduler = new ManualScheduler();
        const startMs = scheduler.clock.now();
        const fired: { delay: number; index: number }[] = [];
        delays.forEach((delay, index) => {
          scheduler.setTimer(delay, () => {
            assert.equal(scheduler.clock.now(), startMs + delay);
            fired.push({ delay, index });
          });
        });
        assert.equal(fired.length, 0);
        scheduler.advance(50);
        const expected = delays
          .map((delay, index) => ({ delay, index }))
          .sort((a, b) => a.delay - b.delay || a.index - b.index);
        assert.deepEqual(fired, expected);
        assert.equal(scheduler.pending, 0);
        assert.equal(scheduler.clock.now(), startMs + 50);
      }),
    );
  });

  test('a cancelled timer never fires, and one set from a timer fires in the same advance when due', () => {
    const scheduler = new ManualScheduler();
    const seen: string[] = [];
    const b = scheduler.setTimer(2, () => seen.push('b'));
    scheduler.setTimer(1, () => {
      seen.push('a');
      b.cancel();
      b.cancel();
      scheduler.setTimer(3, () => seen.push('c'));
      scheduler.setTimer(30, () => seen.push('late'));
    });
    assert.equal(scheduler.nextInMs, 1);
    scheduler.advance(10);
    assert.deepEqual(seen, ['a', 'c']);
    assert.equal(scheduler.nextInMs, 21);
    scheduler.setTimer(Number.POSITIVE_INFINITY, () => seen.push('never')).cancel();
    assert.equal(scheduler.pending, 1);
  });

  test('run lets promises work between two timers', async () => {
    const scheduler = new ManualScheduler();
    const startMs = scheduler.clock.now();
    const seen: string[] = [];
    const sleep = (ms: number): Promise<void> => new Promise((resolve) => void scheduler.setTimer(ms, resolve));
    const worker = (async () => {
      for (let i = 0; i < 3; i += 1) {
        await sleep(10);
        seen.push(`step ${i} at ${scheduler.clock.now() - startMs}`);
      }
    })();
    scheduler.setTimer(15, () => seen.push('between'));
    await scheduler.run(30);
    assert.deepEqual(seen, ['step 0 at 10', 'between', 'step 1 at 20', 'step 2 at 30']);
    await worker;
  });
});

describe('system timers', () => {
  test('fire after at least the delay, not within the call, and not when cancelled', async () => {
    const scheduler = systemScheduler();
    const startMs = performance.now();
    let cancelledFired = false;
    scheduler.setTimer(0.5, () => (cancelledFired = true)).cancel();
    scheduler.setTimer(Number.POSITIVE_INFINITY, () => (cancelledFired = true));
    scheduler.setTimer(60_000, () => (cancelledFired = true), { keepAlive: false });
    let inside = true;
    await new Promise<void>((resolve) => {
      scheduler.setTimer(2.5, () => {
        assert.equal(inside, false);
        resolve();
      });
      inside = false;
    });
    assert.ok(performance.now() - startMs >= 2, 'too early');
    assert.equal(cancelledFired, false);
  });
});
