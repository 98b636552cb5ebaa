/**
 * What every store's locks promise (src/stores/locks.ts), on real servers; and what the library makes of them when a holder dies, is paused past its time or
 * cut off.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Duration } from '../../src/base/units.ts';
import { type Breakwater, createBreakwater } from '../../src/cache/index.ts';
import type { StoreLocks } from '../../src/stores/locks.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { startLiveNode } from './live-node.ts';
import { inTime, MAKERS, type Opened, sleep } from './makers.ts';

const CALL = { timeoutMs: 30_000 };

for (const { name, options, open } of MAKERS) {
  describe(`locks: ${name}`, options, () => {
    let t: Opened;
    let [mine, theirs]: StoreLocks[] = [];
    before(async () => {
      t = await open();
      [mine, theirs] = [t.store.locks!, t.other.locks!];
    });
    after(() => t.close());

    test('one owner at a time; the others are told for how long; the owner may ask again', async () => {
      const first = await mine!.acquire('job:7', 'a', 5_000, CALL);
      assert.equal(first.kind, 'granted');
      const second = await theirs!.acquire('job:7', 'b', 5_000, CALL);
      assert.ok(second.kind === 'held' && second.waitMs > 0 && second.waitMs <= 5_000);
      assert.deepEqual(await mine!.acquire('job:7', 'a', 5_000, CALL), first, 'a lost reply is asked for again');
      assert.equal((await theirs!.acquire('job:8', 'b', 5_000, CALL)).kind, 'granted');
    });

    test('only the owner renews and releases', async () => {
      const first = await mine!.acquire('owner', 'a', 5_000, CALL);
      assert.equal(await theirs!.renew('owner', 'b', 60_000, CALL), false);
      assert.equal(await theirs!.release('owner', 'b', CALL), false);
      assert.equal(await mine!.renew('owner', 'a', 5_000, CALL), true);
      assert.equal(await mine!.release('owner', 'a', CALL), true);
      assert.equal(await mine!.release('owner', 'a', CALL), false);
      assert.equal(await mine!.renew('owner', 'a', 5_000, CALL), false);
      const next = await theirs!.acquire('owner', 'b', 5_000, CALL);
      assert.ok(first.kind === 'granted' && next.kind === 'granted' && next.token > first.token);
    });

    test('it ends by itself, later when it was renewed, and the next token is larger', async () => {
      await inTime(400, async (attempt, mark) => {
        const name = `ends-${attempt}`;
        mark();
        const first = await mine!.acquire(name, 'a', 400, CALL);
        await t.advance(250);
        const isRenewed = await mine!.renew(name, 'a', 400, CALL);
        mark();
        await t.advance(250);
        const meanwhile = await theirs!.acquire(name, 'b', 400, CALL);
        mark();
        assert.equal(isRenewed, true);
        assert.equal(meanwhile.kind, 'held');
        await t.advance(401);
        assert.equal(await mine!.renew(name, 'a', 400, CALL), false);
        const next = await theirs!.acquire(name, 'b', 400, CALL);
        assert.ok(first.kind === 'granted' && next.kind === 'granted' && next.token > first.token);
      });
    });

    test('a lock is no entry: invalidating everything does not take it; any name will do', async () => {
      for (const odd of ['}', '{}', '{a}b', 'große 🗝', ' ', 'a|b']) {
        assert.equal((await mine!.acquire(odd, 'a', 5_000, CALL)).kind, 'granted');
        assert.equal((await theirs!.acquire(odd, 'b', 5_000, CALL)).kind, 'held');
      }
      await t.other.invalidate({ namespaces: ['', 'job', 'bw.lock'], tags: ['x'], keys: ['job:9'] }, CALL);
      assert.equal((await theirs!.acquire('}', 'b', 5_000, CALL)).kind, 'held');
    });

    test('fifty who want it at once: one at a time, each with a larger token', async () => {
      const tokens: number[] = [];
      let inside = 0;
      const ten = Array.from({ length: 10 }, (_, i) => async () => {
        for (let round = 0; round < 5; ) {
          const locks = i % 2 === 0 ? mine! : theirs!;
          const got = await locks.acquire('turns', `owner-${i}-${round}`, 10_000, CALL);
          if (got.kind === 'held') {
            await sleep(1);
            continue;
          }
          inside += 1;
          assert.equal(inside, 1);
          tokens.push(got.token);
          await Promise.resolve();
          inside -= 1;
          assert.equal(await locks.release('turns', `owner-${i}-${round}`, CALL), true);
          round += 1;
        }
      });
      await Promise.all(ten.map((turn) => turn()));
      assert.equal(tokens.length, 50);
      assert.deepEqual(
        tokens,
        tokens.toSorted((a, b) => a - b),
      );
    });
  });
}

test('a holder that is cut off loses its lock by its own clock, before anybody else can have it', async () => {
  const node = await startLiveNode();
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: node.port });
  const opened: Breakwater[] = [];
  const open = (port: number, writeTimeout: Duration): Breakwater => {
    const bw = createBreakwater({ store: `breakwater://127.0.0.1:${port}`, writeTimeout });
    opened.push(bw);
    return bw;
  };
  try {
    const [cut, other] = [open(proxy.port, '1s'), open(node.port, '30s')];
    const lock = await cut.lock('job:1', { ttl: '3s', renew: true });
    assert.equal(lock.isHeld, true);
    await assert.rejects(other.lock('job:1', { ttl: '1m' }), { code: 'LOCK_HELD' });
    proxy.blackhole();
    await new Promise((resolve) => lock.signal.addEventListener('abort', resolve));
    assert.equal(lock.isHeld, false);
    assert.equal((lock.signal.reason as { code: string }).code, 'LOCK_LOST');
    // The node's clock stands: for it the lock still holds. Its own judged earlier, never later.
    await assert.rejects(other.lock('job:1', { ttl: '1m' }), { code: 'LOCK_HELD' });
    node.clock.advance(3_100);
    await using next = await other.lock('job:1', { ttl: '1m' });
    assert.ok(next.token > lock.token);
    assert.equal(await lock.renew(), false);
    assert.equal(next.isHeld, true);
  } finally {
    await Promise.all(opened.map((bw) => bw.close()));
    await proxy.close();
    await node.close();
  }
});
