/** What every store's counters promise (src/stores/counters.ts), on real servers. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createBreakwater } from '../../src/cache/index.ts';
import type { StoreCounters } from '../../src/stores/counters.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { startLiveNode } from './live-node.ts';
import { inTime, MAKERS, type Opened } from './makers.ts';

const CALL = { timeoutMs: 30_000 };

for (const { name, options, open } of MAKERS) {
  describe(`counters: ${name}`, options, () => {
    let t: Opened;
    let [mine, theirs]: StoreCounters[] = [];
    before(async () => {
      t = await open();
      [mine, theirs] = [t.store.counters!, t.other.counters!];
    });
    after(() => t.close());

    test('what anybody adds is counted once, and summed over keys', async () => {
      assert.equal(await mine!.sum(['c:1', 'c:2'], CALL), 0);
      assert.equal(await mine!.add('c:1', 5, null, CALL), 5);
      assert.equal(await theirs!.add('c:1', -7, null, CALL), -2);
      await theirs!.add('c:2', 10, null, CALL);
      assert.equal(await mine!.sum(['c:1', 'c:2', 'c:3'], CALL), 8);
      await Promise.all(
        Array.from({ length: 200 }, (_, i) => (i % 2 === 0 ? mine! : theirs!).add('c:hot', i, null, CALL)),
      );
      assert.equal(await theirs!.sum(['c:hot'], CALL), 19_900);
    });

    test('with a ttl it ends so long after the last addition; without, it stays', async () => {
      await inTime(400, async (attempt, mark) => {
        const [ttl, kept] = [`ttl-${attempt}`, `kept-${attempt}`];
        await mine!.add(kept, 1, null, CALL);
        mark();
        await mine!.add(ttl, 1, 400, CALL);
        await t.advance(250);
        await mine!.add(ttl, 1, 400, CALL);
        mark();
        await t.advance(250);
        const sum = await mine!.sum([ttl], CALL);
        mark();
        assert.equal(sum, 2);
        await t.advance(401);
        assert.equal(await mine!.sum([ttl, kept], CALL), 1);
      });
    });

    test('a counter is no entry: invalidations do not touch it', async () => {
      await mine!.add('bw.counter:views#0', 3, null, CALL);
      await t.other.invalidate({ namespaces: ['bw.counter', ''], tags: ['x'] }, CALL);
      assert.equal(await theirs!.sum(['bw.counter:views#0'], CALL), 3);
    });
  });
}

test('a reply that is lost: in doubt, never sent again; the true sum lies between', async () => {
  const node = await startLiveNode();
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: node.port });
  const far = createBreakwater({ store: `breakwater://127.0.0.1:${proxy.port}`, writeTimeout: '2s' });
  const near = createBreakwater({
    store: `breakwater://127.0.0.1:${node.port}`,
    readTimeout: '30s',
    writeTimeout: '30s',
  });
  try {
    const views = far.counter('views', { flush: '1h' });
    views.increment(5);
    await views.flush();
    proxy.blackhole();
    views.increment(7);
    await assert.rejects(views.flush(), { code: 'COUNTER_IN_DOUBT' });
    assert.deepEqual(
      { ...views.stats(), lastError: null },
      {
        pending: 0,
        sending: 0,
        acknowledged: 5,
        inDoubt: 7,
        failures: 1,
        lastError: null,
      },
    );
    const sum = await near.counter('views').value();
    assert.ok(sum === 5 || sum === 12, `${sum}`);
  } finally {
    await Promise.all([far.close(), near.close()]);
    await proxy.close();
    await node.close();
  }
});
