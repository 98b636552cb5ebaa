/** `bw.lock` on a clock turned by hand: who waits how long, when a lock is lost, and that nothing is left behind. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import type { Lock } from '../../src/cache/lock.ts';
import type { LockAnswer, StoreLocks } from '../../src/stores/locks.ts';
import type { CacheStore } from '../../src/stores/store.ts';
import { embeddedTruth, openLibrary } from './support.ts';

/** The locks of an embedded store as a networked one has them: answers are held back, lost or refused on demand, and nobody is told. */
function far(scheduler: ManualScheduler) {
  const truth = embeddedTruth(scheduler);
  const inner = truth.locks;
  const state = { failing: null as Error | null, hold: null as Promise<void> | null, asked: 0, renewals: 0 };
  const through = async <T>(act: () => Promise<T>): Promise<T> => {
    if (state.failing !== null) throw state.failing;
    const answer = await act();
    await state.hold;
    return answer;
  };
  const locks: StoreLocks = {
    acquire: (name, owner, ttlMs, call): Promise<LockAnswer> => {
      state.asked += 1;
      return through(() => inner.acquire(name, owner, ttlMs, call));
    },
    renew: (name, owner, ttlMs, call) => {
      state.renewals += 1;
      return through(() => inner.renew(name, owner, ttlMs, call));
    },
    release: (name, owner, call) => through(() => inner.release(name, owner, call)),
  };
  const store: CacheStore = Object.create(truth, { locks: { value: locks }, kind: { value: 'far' } });
  for (const name of ['read', 'stats', 'close'] as const) {
    Object.defineProperty(store, name, { value: (truth[name] as () => unknown).bind(truth) });
  }
  return { store, state };
}

test('held by another: refused at once without wait, with it when the lock is given back, or not within the deadline', async () => {
  const scheduler = new ManualScheduler();
  const { bw } = openLibrary({ scheduler });
  const first = await bw.lock('job', { ttl: '10s' });
  await assert.rejects(bw.lock('job', { ttl: '10s' }), { code: 'LOCK_HELD' });
  let second: Lock | null = null;
  const waiting = bw.lock('job', { ttl: '10s', wait: '5s' }).then((lock) => {
    second = lock;
  });
  await scheduler.run(1_000);
  assert.equal(second, null);
  assert.equal(await first.release(), true);
  assert.equal(first.signal.aborted, true);
  await drainPromises();
  await waiting;
  assert.ok(second !== null && (second as Lock).token > first.token, 'woken, no time has passed');
  const late = assert.rejects(bw.lock('job', { ttl: '10s', wait: '3s' }), {
    code: 'LOCK_HELD',
    message: /within 3000 ms/,
  });
  await scheduler.run(3_000);
  await late;
  await bw.close();
});

test('a holder that dies delays the next one by its ttl', async () => {
  const scheduler = new ManualScheduler();
  const { store, state } = far(scheduler);
  const [dead, alive] = [openLibrary({ scheduler, store }), openLibrary({ scheduler, store })];
  await dead.bw.lock('job', { ttl: '10s' }); // and nothing more is heard of it
  const begun = scheduler.clock.now();
  let got: Lock | null = null;
  const waiting = alive.bw.lock('job', { ttl: '10s', wait: '1m' }).then((lock) => {
    got = lock;
  });
  await scheduler.run(9_999);
  assert.equal(got, null);
  await scheduler.run(300);
  await waiting;
  assert.ok(got !== null);
  assert.ok(scheduler.clock.now() - begun < 10_400);
  assert.ok(state.asked > 10 && state.asked < 100, `asks with back-off: ${state.asked}`);
});

test('the time counts from the sending: an answer that takes longer than the ttl is no lock', async () => {
  const scheduler = new ManualScheduler();
  const { store, state } = far(scheduler);
  const { bw } = openLibrary({ scheduler, store });
  let answer = (): void => undefined;
  state.hold = new Promise((resolve) => {
    answer = resolve;
  });
  const slow = bw.lock('job', { ttl: '10s' });
  await scheduler.run(4_000);
  state.hold = null;
  answer();
  const lock = await slow;
  await scheduler.run(5_999);
  assert.equal(lock.isHeld, true);
  await scheduler.run(1);
  assert.equal(lock.isHeld, false, '10 s after it was asked for, not after it was granted');
  state.hold = new Promise((resolve) => {
    answer = resolve;
  });
  const tooSlow = assert.rejects(bw.lock('late', { ttl: '1s' }), {
    code: 'LOCK_HELD',
    message: /before the answer came/,
  });
  await scheduler.run(1_000);
  state.hold = null;
  answer();
  await tooSlow;
  await drainPromises();
  assert.equal((await bw.lock('late', { ttl: '1s' })).isHeld, true, 'it was given back');
});

test('paused past its ttl: isHeld says so before any timer runs', async () => {
  const scheduler = new ManualScheduler();
  const { bw } = openLibrary({ scheduler });
  const lock = await bw.lock('job', { ttl: '10s', renew: true });
  scheduler.clock.advance(10_000); // the process was stopped: no timer ran
  assert.equal(lock.signal.aborted, false);
  assert.equal(lock.isHeld, false);
  assert.equal((lock.signal.reason as { code: string }).code, 'LOCK_LOST');
  assert.equal(await lock.renew(), false);
  assert.equal(await lock.release(), false);
});

test('renewed every third of its ttl for as long as it is held; a store that is away for less costs nothing', async () => {
  const scheduler = new ManualScheduler();
  const { store, state } = far(scheduler);
  const { bw } = openLibrary({ scheduler, store });
  const lock = await bw.lock('job', { ttl: '9s', renew: true });
  await scheduler.run(60_000);
  assert.equal(lock.isHeld, true);
  assert.equal(state.renewals, 20);
  state.failing = new Error('away');
  await scheduler.run(5_000);
  assert.equal(lock.isHeld, true);
  state.failing = null;
  await scheduler.run(20_000);
  assert.equal(lock.isHeld, true);
  state.failing = new Error('away');
  await scheduler.run(9_000);
  assert.equal(lock.isHeld, false);
  assert.equal(lock.signal.aborted, true);
  state.failing = null;
  const { renewals } = state;
  await scheduler.run(60_000);
  assert.equal(state.renewals, renewals, 'nobody renews what is lost');
});

test('taken by another after the store forgot it: the next renewal tells', async () => {
  const scheduler = new ManualScheduler();
  const { store } = far(scheduler);
  const { bw } = openLibrary({ scheduler, store });
  const lock = await bw.lock('job', { ttl: '9s', renew: true });
  // Behind its back, as a restart of the store would.
  const owners: string[] = [];
  const { locks } = store as CacheStore & { locks: StoreLocks };
  const renew = locks.renew.bind(locks);
  locks.renew = (name, owner, ttlMs, call) => {
    owners.push(owner);
    return renew(name, 'somebody else', ttlMs, call);
  };
  await scheduler.run(3_000);
  assert.equal(owners.length, 1);
  assert.equal(lock.isHeld, false);
});

test('await using gives it back; a signal ends the waiting; closing ends both', async () => {
  const scheduler = new ManualScheduler();
  const { bw } = openLibrary({ scheduler });
  {
    await using lock = await bw.lock('job', { ttl: '10s', renew: true });
    assert.equal(lock.isHeld, true);
  }
  const held = await bw.lock('job', { ttl: '10s', renew: true });
  const stop = new AbortController();
  const waiting = assert.rejects(bw.lock('job', { ttl: '10s', wait: '1m', signal: stop.signal }), /enough/);
  await drainPromises();
  stop.abort(new Error('enough'));
  await waiting;
  const other = assert.rejects(bw.lock('job', { ttl: '10s', wait: '1m' }), { code: 'CACHE_CLOSED' });
  await drainPromises();
  await bw.close();
  await other;
  assert.equal(held.isHeld, false);
  await assert.rejects(bw.lock('x', { ttl: '1s' }), { code: 'CACHE_CLOSED' });
});

test('a store that does not answer: not acknowledged; options that make no sense: refused', async () => {
  const scheduler = new ManualScheduler();
  const { store, state } = far(scheduler);
  const { bw } = openLibrary({ scheduler, store });
  state.failing = new Error('away');
  await assert.rejects(bw.lock('job', { ttl: '1s' }), { code: 'LOCK_UNACKNOWLEDGED', message: /away/ });
  state.failing = null;
  for (const [name, options] of [
    ['', { ttl: '1s' }],
    ['x'.repeat(129), { ttl: '1s' }],
    ['\ud800', { ttl: '1s' }],
    ['job', { ttl: '1ms' }],
    ['job', { ttl: '2d' }],
    ['job', { ttl: '1s', renew: 'yes' }],
    ['job', { ttl: '1s', signal: { aborted: false } }],
  ] as const) {
    await assert.rejects(bw.lock(name, options as never), { code: 'CACHE_OPTION_INVALID' });
  }
  await assert.rejects(bw.lock('job', { ttl: '1s', retries: 3 } as never), { code: 'CACHE_OPTION_UNKNOWN' });
});
