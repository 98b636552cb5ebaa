/** `bw.counter` on a clock turned by hand: batching, shards, what is in doubt, what a close does. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { ManualScheduler } from '../../src/base/scheduler.ts';
import { embeddedTruth, openLibrary } from './support.ts';

function open() {
  const scheduler = new ManualScheduler();
  const store = embeddedTruth(scheduler);
  const { add, sum } = store.counters;
  const calls: [string, number][] = [];
  const state = { failing: null as Error | null };
  Object.assign(store.counters, {
    add: (key: string, by: number, ttlMs: number | null, call: { timeoutMs: number }) => {
      calls.push([key, by]);
      return state.failing === null ? add(key, by, ttlMs, call) : Promise.reject(state.failing);
    },
    sum,
  });
  return { scheduler, store, calls, state, bw: openLibrary({ scheduler, store }).bw };
}

test('increments of an interval go as one; value is what the store has and what is pending', async () => {
  const { scheduler, calls, bw } = open();
  const views = bw.counter('views', { flush: '1s' });
  for (let i = 0; i < 1_000; i += 1) views.increment();
  views.increment(-10);
  assert.deepEqual(calls, []);
  assert.equal(await views.value(), 990);
  await scheduler.run(1_000);
  assert.deepEqual(calls, [['bw.counter:views#0', 990]]);
  assert.equal(await views.value(), 990);
  views.increment(1);
  await scheduler.run(1_000);
  assert.deepEqual(views.stats(), {
    pending: 0,
    sending: 0,
    acknowledged: 991,
    inDoubt: 0,
    failures: 0,
    lastError: null,
  });
  await scheduler.run(10_000);
  assert.equal(calls.length, 2, 'nothing to send, nothing is sent');
});

test('a hot counter is spread over its shards and summed', async () => {
  const { scheduler, calls, bw } = open();
  const hot = bw.counter('hot', { flush: '1s', shards: 4 });
  for (let i = 0; i < 100; i += 1) {
    hot.increment(i);
    await scheduler.run(1_000);
  }
  assert.equal(new Set(calls.map(([key]) => key)).size, 4);
  assert.equal(await hot.value(), 4950);
});

test('surely not counted: stays pending and goes with the next; not known: in doubt, and not again', async () => {
  const { scheduler, calls, state, bw } = open();
  const views = bw.counter('views', { flush: '1s' });
  state.failing = new BreakwaterError('STORE_REFUSED', 'full');
  views.increment(3);
  await scheduler.run(1_000);
  assert.deepEqual([views.stats().pending, views.stats().inDoubt], [3, 0]);
  await assert.rejects(views.flush(), { code: 'COUNTER_NOT_COUNTED' });
  state.failing = new BreakwaterError('STORE_TIMEOUT', 'no answer');
  await assert.rejects(views.flush(), { code: 'COUNTER_IN_DOUBT' });
  state.failing = null;
  const sent = calls.length;
  await scheduler.run(10_000);
  assert.equal(calls.length, sent);
  assert.deepEqual([views.stats().pending, views.stats().inDoubt, views.stats().acknowledged], [0, 3, 0]);
  assert.equal(await views.value(), 0);
});

test('close sends what is pending; options and amounts that make no sense are refused', async () => {
  const { calls, bw } = open();
  const views = bw.counter('views', { flush: '1h', ttl: '1d' });
  views.increment(7);
  assert.throws(() => views.increment(1.5), { code: 'COUNTER_AMOUNT_INVALID' });
  assert.throws(() => views.increment(2 ** 53), { code: 'COUNTER_AMOUNT_INVALID' });
  assert.throws(() => bw.counter('views'), { code: 'CACHE_NAME_TAKEN' });
  assert.throws(() => bw.counter('a{b'), { code: 'CACHE_OPTION_INVALID' });
  assert.throws(() => bw.counter(''), { code: 'CACHE_OPTION_INVALID' });
  assert.throws(() => bw.counter('x', { shards: 0 }), { code: 'CACHE_OPTION_INVALID' });
  assert.throws(() => bw.counter('y', { every: 1 } as never), { code: 'CACHE_OPTION_UNKNOWN' });
  await bw.close();
  assert.deepEqual(calls, [['bw.counter:views#0', 7]]);
  assert.throws(() => views.increment(), { code: 'CACHE_CLOSED' });
});
