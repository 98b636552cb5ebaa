import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { startLiveNode } from './live-node.ts';
import { storeContract } from './store-contract.ts';

const connect = (url: string): BreakwaterStore =>
  new BreakwaterStore({ url, clock: systemClock(), scheduler: systemScheduler(), random: new SeededRandom(7) });

for (const protocol of [3, 2]) {
  storeContract(`breakwater:// over RESP${protocol}`, async () => {
    const node = await startLiveNode();
    const url = `${node.url}?protocol=${protocol}`;
    const store = connect(url);
    const other = connect(url);
    return {
      store,
      isTold: protocol === 3,
      other,
      advance: (ms) => node.clock.advance(ms),
      fresh: async () => connect(url),
      close: async () => {
        await Promise.all([store.close(), other.close()]);
        await node.close();
      },
    };
  });
}

test('a node that does not answer: every call ends by its deadline, with a code', async () => {
  const node = await startLiveNode();
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: node.port });
  const store = connect(`breakwater://127.0.0.1:${proxy.port}`);
  try {
    await store.delete(['k'], { timeoutMs: 30_000 });
    proxy.blackhole();
    await assert.rejects(store.read(['k'], { lease: true, timeoutMs: 50 }), { code: 'STORE_TIMEOUT' });
    await assert.rejects(store.invalidate({ tags: ['t'] }, { timeoutMs: 50 }), { code: 'STORE_TIMEOUT' });
  } finally {
    await store.close();
    await proxy.close();
    await node.close();
  }
});

test('a delete survives a lost connection; a set in flight does not pretend to have', async () => {
  const node = await startLiveNode();
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: node.port });
  const store = connect(`breakwater://127.0.0.1:${proxy.port}`);
  try {
    await store.set('k:1', new Uint8Array([1]), { ttlMs: null, tags: [] }, { timeoutMs: 30_000 });
    const deleted = store.delete(['k:1'], { timeoutMs: 30_000 });
    const set = store.set('k:2', new Uint8Array([1]), { ttlMs: null, tags: [] }, { timeoutMs: 30_000 });
    const outcome = assert.rejects(set, { code: 'STORE_UNAVAILABLE' });
    // In the write of this tick, and the connection dies before an answer.
    process.nextTick(() => proxy.reset());
    await outcome;
    await deleted;
    const [result] = await store.read(['k:1'], { lease: false, timeoutMs: 30_000 });
    assert.equal(result?.kind, 'miss');
  } finally {
    await store.close();
    await proxy.close();
    await node.close();
  }
});

test('stores that this version does not have are refused, and no password is shown', () => {
  for (const url of [
    'redis://u:secret@h:1',
    'breakwater://u:secret@a:1,a:1',
    'http://u:secret@h',
    'breakwater://u:secret@h:1?pool=3',
  ]) {
    assert.throws(
      () => connect(url),
      (error: unknown) =>
        error instanceof Error &&
        'code' in error &&
        error.code === 'STORE_URL_INVALID' &&
        !error.message.includes('secret'),
      url,
    );
  }
});
