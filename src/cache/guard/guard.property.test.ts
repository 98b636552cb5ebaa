/**
 * The guard's promises under random weather: arrivals of both priorities with all kinds of deadlines, sources that answer,
 * fail, hang, heed the signal or do not, callers who give up, a breaker that opens and closes, a rate.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../../base/random.ts';
import { drainPromises, ManualScheduler } from '../../base/scheduler.ts';
import { GuardShedError, GuardTimeoutError } from './errors.ts';
import { Guard } from './guard.ts';

const arrival = fc.record({
  laterMs: fc.oneof(fc.constant(0), fc.nat(30)),
  priority: fc.constantFrom('foreground' as const, 'background' as const),
  key: fc.nat(5),
  deadlineMs: fc.integer({ min: 0, max: 200 }),
  /** How long the source takes; null: it never settles of itself. */
  tookMs: fc.option(fc.nat(120), { freq: 6 }),
  fails: fc.boolean(),
  /** How long after the abort the source lets go; null: it does not heed the signal. */
  heedsMs: fc.option(fc.nat(60)),
  givesUpMs: fc.option(fc.nat(150)),
});

const weather = fc.record({
  arrivals: fc.array(arrival, { minLength: 1, maxLength: 60, size: 'max' }),
  concurrency: fc.integer({ min: 1, max: 4 }),
  maxQueue: fc.nat(10),
  maxAbandoned: fc.nat(2),
  ratePerSecond: fc.option(fc.integer({ min: 5, max: 500 }), { nil: undefined }),
  breaker: fc.boolean(),
  backoff: fc.boolean(),
});

test('never more than the cap, nobody lost, everybody answered once and by the deadline, no slot or timer left', async () => {
  await fc.assert(
    fc.asyncProperty(weather, async (given) => {
      const scheduler = new ManualScheduler();
      const { clock } = scheduler;
      const guard = new Guard(
        {
          concurrency: given.concurrency,
          backgroundConcurrency: Math.max(1, given.concurrency - 1),
          maxQueue: given.maxQueue,
          maxAbandoned: given.maxAbandoned,
          abandonAfterMs: 100,
          hardTimeoutMs: 60,
          ...(given.ratePerSecond === undefined ? {} : { ratePerSecond: given.ratePerSecond }),
          breaker: given.breaker && { consecutiveFailures: 3, minimumCalls: 5, openMs: 50, maxOpenMs: 100, probes: 1 },
          backoff: given.backoff && { after: 1, baseMs: 40, maxMs: 80, maxKeys: 4 },
        },
        { clock, scheduler, random: new SeededRandom(4) },
      );
      const letGo: (() => void)[] = [];
      let atSource = 0;
      let answered = 0;
      let started = 0;

      for (const [index, plan] of given.arrivals.entries()) {
        await scheduler.run(plan.laterMs);
        const arrivedMs = clock.now();
        const caller = new AbortController();
        if (plan.givesUpMs !== null) scheduler.setTimer(plan.givesUpMs, () => caller.abort('gave up'));
        let asked = false;
        let times = 0;
        const source = ({ signal }: { signal: AbortSignal }): Promise<number> => {
          asked = true;
          started += 1;
          atSource += 1;
          assert.ok(clock.now() < arrivedMs + plan.deadlineMs, 'nobody starts past the deadline');
          assert.ok(atSource <= given.concurrency + given.maxAbandoned, `${atSource} at the source`);
          assert.ok(guard.stats().running <= given.concurrency);
          return new Promise((resolve, reject) => {
            let ended = false;
            const end = (): void => {
              if (ended) return;
              ended = true;
              atSource -= 1;
              if (plan.fails) reject(new Error(`source ${index}`));
              else resolve(index);
            };
            letGo.push(end);
            if (plan.tookMs !== null) scheduler.setTimer(plan.tookMs, end);
            const { heedsMs } = plan;
            if (heedsMs !== null) signal.addEventListener('abort', () => scheduler.setTimer(heedsMs, end));
          });
        };
        const onEnd = (error: unknown): void => {
          times += 1;
          answered += 1;
          assert.equal(times, 1);
          assert.ok(clock.now() <= arrivedMs + plan.deadlineMs, 'settled by the deadline');
          if (error === null) assert.ok(asked && !plan.fails);
          else if (error instanceof GuardShedError) assert.equal(asked, false, error.code);
          else if (error instanceof GuardTimeoutError && asked) assert.ok(clock.now() > arrivedMs);
        };
        const request = {
          priority: plan.priority,
          keys: [`key:${plan.key}`],
          deadlineMs: plan.deadlineMs,
          signal: caller.signal,
        };
        guard.run(source, request).then(
          (value) => {
            assert.equal(value, index);
            onEnd(null);
          },
          (error: unknown) => onEnd(error),
        );
      }

      await scheduler.run(1000);
      await drainPromises();
      assert.equal(answered, given.arrivals.length);
      const stats = guard.stats();
      assert.equal(stats.queuedForeground + stats.queuedBackground, 0);
      assert.equal(stats.started, started);
      assert.equal(stats.running + stats.abandoned, atSource, 'a slot is held exactly as long as the source works');

      for (const end of letGo) end();
      await drainPromises();
      const after = guard.stats();
      assert.deepEqual([after.running, after.lingering, after.abandoned, atSource], [0, 0, 0, 0]);
      const shed = Object.values(after.shed).reduce((sum, count) => sum + count, 0);
      const { succeeded, failed, timedOut, cancelled, backedOff } = after;
      assert.equal(succeeded + failed + timedOut + cancelled + backedOff + shed, given.arrivals.length);
      assert.equal(scheduler.pending, 0, 'no timer is left');
    }),
    { numRuns: 300 },
  );
});

test('first come, first served within a priority, foreground before background, while slots are free nobody waits', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.constantFrom('foreground' as const, 'background' as const), { maxLength: 40, size: 'max' }),
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: 5 }),
      async (priorities, concurrency, backgroundEvery) => {
        const scheduler = new ManualScheduler();
        const guard = new Guard(
          { concurrency, backgroundConcurrency: concurrency, backgroundEvery, breaker: false, backoff: false },
          { clock: scheduler.clock, scheduler, random: new SeededRandom(4) },
        );
        const began: number[] = [];
        let free: () => void = () => undefined;
        const blocked = new Promise<void>((resolve) => {
          free = resolve;
        });
        const all = priorities.map((priority, index) =>
          guard.run(
            () => {
              began.push(index);
              return blocked;
            },
            { priority },
          ),
        );
        assert.equal(began.length, Math.min(concurrency, priorities.length));
        free();
        await Promise.all(all);
        assert.equal(began.length, priorities.length);
        const waited = began.slice(concurrency);
        for (const priority of ['foreground', 'background'] as const) {
          const order = waited.filter((index) => priorities[index] === priority);
          assert.deepEqual(
            order,
            [...order].sort((a, b) => a - b),
            `${priority} in order`,
          );
        }
        // While both wait, every run of foreground is at most `backgroundEvery` long, and background comes only after one.
        let run = 0;
        waited.forEach((index, at) => {
          const later = waited.slice(at);
          const bothWait = ['foreground', 'background'].every((each) => later.some((i) => priorities[i] === each));
          if (!bothWait) return;
          if (priorities[index] === 'foreground') run += 1;
          else {
            assert.equal(run, backgroundEvery);
            run = 0;
          }
          assert.ok(run <= backgroundEvery);
        });
      },
    ),
    { numRuns: 200 },
  );
});
