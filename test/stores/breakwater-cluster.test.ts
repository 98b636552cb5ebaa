/**
 * What the store says of a cluster of nodes when ranges change their owners and members are away: tokens are void, what is not acknowledged is said to be so, and one member's keys are not the others' trouble.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { createBreakwater } from '../../src/cache/index.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import type { ReadMiss } from '../../src/stores/store.ts';
import { eventually } from '../server/support.ts';
import { LiveCluster, type LiveMember } from '../support/live-cluster.ts';

const CALL = { timeoutMs: 60_000 };
const PATIENCE_MS = 120_000;
const TIMEOUT = { timeout: 300_000 };
const ENTRY = { ttlMs: null, tags: [] };
const ONE = new Uint8Array([1]);

let cluster: LiveCluster;
let store: BreakwaterStore;

before(async () => {
  cluster = await LiveCluster.start(3);
  store = connect(cluster.url);
}, TIMEOUT);
after(async () => {
  await store?.close();
  await cluster?.close();
});

const connect = (url: string): BreakwaterStore =>
  new BreakwaterStore({ url, clock: systemClock(), scheduler: systemScheduler(), random: new SeededRandom(7) });
const others = (member: LiveMember): readonly LiveMember[] => cluster.alive.filter((one) => one !== member);

/** `count` keys whose owner is the member. */
function keysOf(member: LiveMember, count: number): string[] {
  const keys: string[] = [];
  for (let i = 0; keys.length < count; i += 1) if (cluster.ownerOf(`k:${i}`) === member) keys.push(`k:${i}`);
  return keys;
}

async function missed(key: string): Promise<ReadMiss> {
  const [result] = await store.read([key], { ...CALL, lease: true });
  assert.equal(result?.kind, 'miss');
  return result;
}

test('a token is void when its range has another owner, and nobody is waited for on its behalf', TIMEOUT, async () => {
  const member = cluster.members[1]!;
  const [key = ''] = keysOf(member, 1);
  const { lease } = await missed(key);
  assert.ok(lease !== null && lease !== 'none');
  const fill = { key, value: ONE, ...ENTRY, lease };
  member.machine.leave(true);
  await cluster.ownedBy(others(member));
  assert.deepEqual(await store.fill([fill], CALL), [false]);
  const again = await missed(key);
  assert.ok(again.lease !== null && again.lease !== lease);
  assert.deepEqual(await store.fill([{ ...fill, lease: again.lease }], CALL), [true]);
  member.machine.leave(false);
});

test('what no copy acknowledges is not acknowledged: it is kept, and retried until it is', TIMEOUT, async () => {
  await cluster.settled();
  const bw = createBreakwater({ store: cluster.url, writeTimeout: '2s', readTimeout: '10s' });
  try {
    const cache = bw.cache<number>('kept', { load: async (ids) => ids.map(() => 1) });
    assert.equal(await cache.get('1'), 1);
    for (const member of cluster.members) member.isCut = true;
    const isQueued = (error: Error & { queued?: boolean }): boolean => error.queued === true;
    await assert.rejects(cache.delete('1'), isQueued);
    await assert.rejects(bw.invalidate({ tags: ['t'] }), isQueued);
    assert.equal((await bw.stats()).outbox?.length, 2);
    for (const member of cluster.members) member.isCut = false;
    await eventually(
      async () => (await bw.stats()).outbox?.length === 0,
      () => 'it is acknowledged in the end',
      PATIENCE_MS,
    );
  } finally {
    await bw.close();
  }
});

test('locks and counters: a takeover forgets neither, and tokens go on growing', TIMEOUT, async () => {
  await cluster.settled();
  const one = createBreakwater({
    store: `breakwater://127.0.0.1:${cluster.members[0]!.port}`,
    readTimeout: '30s',
    writeTimeout: '30s',
  });
  const all = createBreakwater({
    store: cluster.url as `breakwater://${string}`,
    readTimeout: '30s',
    writeTimeout: '30s',
  });
  try {
    const [first, second] = [await one.lock('job', { ttl: '10m' }), await all.lock('other', { ttl: '10m' })];
    const views = one.counter('views');
    views.increment(5);
    await views.flush();
    // Each member gives its ranges away once: whoever owned them does not any more.
    for (const member of cluster.members) {
      member.machine.leave(true);
      await cluster.ownedBy(others(member));
      member.machine.leave(false);
      await cluster.settled();
    }
    await assert.rejects(all.lock('job', { ttl: '1m' }), { code: 'LOCK_HELD' });
    assert.equal(await first.renew(), true);
    assert.equal(await first.release(), true);
    const next = await all.lock('job', { ttl: '1m' });
    assert.ok(next.token > first.token);
    assert.equal(await next.release(), true);
    await second.release();
    views.increment(2);
    await views.flush();
    assert.equal(await all.counter('views').value(), 7);
  } finally {
    await Promise.all([one.close(), all.close()]);
  }
});

test(
  'a member that is gone takes its own keys along, and no others: they may be loaded, and not filled',
  TIMEOUT,
  async () => {
    await cluster.settled();
    const gone = cluster.ownerOf('k:0')!;
    const [away = ''] = keysOf(gone, 1);
    const there = others(gone).find(({ machine }) => machine.ownedCount > 0)!;
    const [here = ''] = keysOf(there, 1);
    for (const key of [here, away]) await store.set(key, ONE, ENTRY, CALL);
    await gone.kill();
    await eventually(
      async () => {
        const [its, mine] = await store.read([away, here], { lease: true, timeoutMs: 1000 });
        // Taken over already, its copy has it.
        if (its?.kind === 'miss') {
          assert.equal(its.lease, 'none');
          const fill = { key: away, value: ONE, ...ENTRY, lease: its.lease };
          assert.deepEqual(await store.fill([fill], CALL), [false]);
          await store.release([fill], CALL);
        }
        return mine?.kind === 'hit';
      },
      () => 'the other one is there',
      PATIENCE_MS,
    );
    await cluster.ownedBy(cluster.alive);
    const [taken] = await store.read([away], { ...CALL, lease: false });
    assert.ok(taken?.kind === 'hit', 'its copy has it');
  },
);
