/** When a server that was away is read again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../base/clock.ts';
import type { CacheStore } from '../store.ts';
import { RingMember } from './member.ts';

/** A member that has gone down, and a server whose answers the test decides. */
function lost(readmit: 'replay' | 'flush') {
  const clock = new ManualClock();
  const server = { answers: false, pending: 1, flushed: [] as string[] };
  const answer = async (): Promise<void> => {
    if (!server.answers) throw new Error('away');
  };
  const store = {
    stats: () => answer().then(() => ({})),
    invalidate: async ({ namespaces = [] }: { namespaces?: string[] }) => {
      await answer();
      server.flushed.push(...namespaces);
    },
    outbox: { stats: () => ({ length: server.pending }) },
  } as unknown as CacheStore;
  const member = new RingMember('s', store, clock, readmit);
  for (let n = 0; n < 3; n += 1) {
    assert.equal(member.isUp, true, 'fewer than three failures in a row');
    member.failed();
  }
  /** Asks whether it is up, lets the probe that this may set off end, asks again. */
  const isUpAfter = async (ms: number): Promise<boolean> => {
    clock.advance(ms);
    void member.isUp;
    await new Promise((resolve) => setImmediate(resolve));
    return member.isUp;
  };
  return { member, server, isUpAfter };
}

test('a server that answers again is read when the outbox has told it everything, not before', async () => {
  const { member, server, isUpAfter } = lost('replay');
  assert.equal(await isUpAfter(1_000), false, 'away');
  server.answers = true;
  assert.equal(await isUpAfter(10), false, 'not asked yet');
  assert.equal(await isUpAfter(1_000), false, 'there, and not told');
  assert.equal(await isUpAfter(1_000), false);
  server.pending = 0;
  assert.equal(await isUpAfter(100), true);
  assert.deepEqual(server.flushed, []);
  assert.deepEqual(member.counts, { losses: 1, readmissions: 1 });
});

test('with flush, not before what is read of it was thrown away', async () => {
  const { member, server, isUpAfter } = lost('flush');
  server.pending = 0;
  member.declare('row');
  assert.equal(await isUpAfter(1_000), false);
  server.answers = true;
  assert.equal(await isUpAfter(1_000), true);
  assert.deepEqual(server.flushed, ['row']);
});

test('a call that succeeds in between starts the count of failures anew', () => {
  const member = new RingMember('s', {} as CacheStore, new ManualClock(), 'replay');
  for (const _ of [1, 2, 3]) {
    member.failed();
    member.failed();
    member.succeeded();
  }
  assert.equal(member.isUp, true);
});
