import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { drainPromises } from '../../src/base/scheduler.ts';
import { openLibrary, Source } from './support.ts';

test('50 gets with one signal, and 15 loads of one cache at once, make Node.js warn of no leak, and leave no listener', async () => {
  const warnings: Error[] = [];
  const onWarning = (warning: Error): void => {
    warnings.push(warning);
  };
  process.on('warning', onWarning);
  try {
    const { bw } = openLibrary();
    const source = new Source();
    source.automatic = false;
    const cache = bw.cache('row', { load: source.load });
    const request = new AbortController();
    const gets: Promise<unknown>[] = [];
    for (let load = 0; load < 15; load += 1) {
      for (let i = 0; i < 4; i += 1) gets.push(cache.get(`${load}:${i}`, { signal: request.signal }));
      await drainPromises(); // so that each round is a call of the loader of its own
    }
    assert.equal(source.calls.length, 15);
    assert.equal(getEventListeners(request.signal, 'abort').length, 1);
    const aborted = Promise.allSettled(gets.slice(0));
    for (const call of source.calls) call.finish();
    const results = await aborted;
    assert.ok(results.every(({ status }) => status === 'fulfilled'));
    assert.equal(getEventListeners(request.signal, 'abort').length, 0);

    const again = Array.from({ length: 20 }, (_, i) => cache.get(`new${i}`, { signal: request.signal }));
    const outcome = Promise.allSettled(again);
    request.abort(new Error('gone'));
    assert.ok((await outcome).every((one) => one.status === 'rejected' && one.reason.message === 'gone'));
    await bw.close();
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual(warnings, []);
  } finally {
    process.off('warning', onWarning);
  }
});
