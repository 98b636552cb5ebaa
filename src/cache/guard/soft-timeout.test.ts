import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualScheduler } from '../../base/scheduler.ts';
import { SOFT_TIMEOUT, withSoftTimeout } from './soft-timeout.ts';

test('the load when it is quick, the symbol when it is not, its error when it fails; no timer is left', async () => {
  const scheduler = new ManualScheduler();
  const after = (ms: number, fail = false): Promise<string> =>
    new Promise((resolve, reject) => {
      scheduler.setTimer(ms, () => (fail ? reject(new Error('no')) : resolve('value')));
    });
  const quick = withSoftTimeout(after(10), 50, scheduler);
  const slow = withSoftTimeout(after(60), 50, scheduler);
  const failing = withSoftTimeout(after(20, true), 50, scheduler).catch((error: Error) => error.message);
  // Fails after the caller has gone: must not become an unhandled rejection.
  const late = withSoftTimeout(after(70, true), 50, scheduler);
  const endless = withSoftTimeout(after(80), Number.POSITIVE_INFINITY, scheduler);
  await scheduler.run(100);
  assert.equal(await quick, 'value');
  assert.equal(await slow, SOFT_TIMEOUT);
  assert.equal(await failing, 'no');
  assert.equal(await late, SOFT_TIMEOUT);
  assert.equal(await endless, 'value');
  assert.equal(scheduler.pending, 0);
});

test('when the load is done first, the timer goes with it', async () => {
  const scheduler = new ManualScheduler();
  await withSoftTimeout(Promise.resolve(1), 1e6, scheduler);
  await withSoftTimeout(Promise.reject(new Error('no')), 1e6, scheduler).catch(() => undefined);
  assert.equal(scheduler.pending, 0);
});
