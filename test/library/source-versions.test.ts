/** `set(..., { version })` through the whole library: the tiers above the store must not keep what the store refused. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drainPromises, ManualScheduler } from '../../src/base/scheduler.ts';
import { embeddedTruth, openLibrary, SlowStore } from './support.ts';

interface User {
  readonly name: string;
}

test('sets that arrive the other way round: the older one is false, and is in no tier', async () => {
  const { bw } = openLibrary();
  const users = bw.cache<User>('user', { load: async () => [null] });
  assert.equal(await users.set('42', { name: 'eight' }, { version: 8 }), true);
  assert.equal(await users.set('42', { name: 'seven' }, { version: '7' }), false);
  assert.notEqual(users.peek('42')?.name, 'seven');
  assert.deepEqual(await users.get('42'), { name: 'eight' });
  assert.equal(await users.set('42', { name: 'eight' }, { version: 8n }), true, 'once more is the same');
  assert.deepEqual(await users.get('42'), { name: 'eight' });
  assert.equal(users.stats().setsOutdated, 1);
  assert.equal(await users.set('42', { name: 'huge' }, { version: 2n ** 64n - 1n }), true);
  assert.equal(await users.set('42', { name: 'number' }, { version: Number.MAX_SAFE_INTEGER }), false);
  await bw.close();
});

test('after a delete: the version that was there does not come back, and L1 has nothing', async () => {
  const { bw } = openLibrary();
  let row: User | null = { name: 'nine' };
  const users = bw.cache<User>('user', { load: async () => [row] });
  await users.set('42', { name: 'eight' }, { version: 8 });
  await users.delete('42');
  for (const version of [7, 8]) {
    assert.equal(await users.set('42', { name: 'late' }, { version }), false);
    assert.equal(users.peek('42'), undefined);
  }
  assert.deepEqual(await users.get('42'), { name: 'nine' });
  row = null;
  assert.equal(await users.set('42', { name: 'late' }, { version: 7 }), false);
  assert.deepEqual(await users.get('42'), { name: 'nine' }, 'what was loaded stays');
  await bw.close();
});

test('a versioned set crosses a load: the load’s older row reaches its callers and is stored nowhere', async () => {
  const { bw } = openLibrary();
  const answer: { now: (value: User) => void } = { now: () => {} };
  const users = bw.cache<User>('user', {
    load: () =>
      new Promise((resolve) => {
        answer.now = (value) => resolve([value]);
      }),
  });
  const early = users.get('42'); // 1. a miss; the load reads version 1
  await drainPromises();
  await users.set('42', { name: 'two' }, { version: 2 }); // 2. written through as version 2
  answer.now({ name: 'one' }); // 3. the load returns
  assert.deepEqual(await early, { name: 'one' });
  assert.deepEqual(await users.get('42'), { name: 'two' });
  assert.equal(await users.set('42', { name: 'one' }, { version: 1 }), false);
  assert.deepEqual(await users.get('42'), { name: 'two' });
  await bw.close();
});

test('answers that arrive late do not put the refused value into L1', async () => {
  const scheduler = new ManualScheduler();
  const slow = new SlowStore(embeddedTruth(scheduler), true);
  const { bw } = openLibrary({ store: slow, scheduler });
  const users = bw.cache<User>('user', { load: async () => [null] });
  const newer = users.set('42', { name: 'two' }, { version: 2 });
  const older = users.set('42', { name: 'one' }, { version: 1 });
  await slow.settle();
  assert.deepEqual([await newer, await older], [true, false]);
  assert.notEqual(users.peek('42')?.name, 'one');
  const got = users.get('42');
  await slow.settle();
  assert.deepEqual(await got, { name: 'two' });
  const closed = bw.close();
  await slow.settle();
  await closed;
});

test('what is no version is refused with a code before anything is sent', async () => {
  const { bw } = openLibrary();
  const users = bw.cache<User>('user', { load: async () => [null] });
  for (const version of [-1, 1.5, Number.NaN, 2 ** 53, -1n, 2n ** 64n, '', '01', '1e3', '18446744073709551616', null]) {
    await assert.rejects(users.set('42', { name: 'x' }, { version: version as never }), {
      code: 'CACHE_VERSION_INVALID',
    });
  }
  assert.equal(users.peek('42'), undefined);
  await bw.close();
});
