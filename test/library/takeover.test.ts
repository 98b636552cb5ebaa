/** The library over a takeover, on a cluster in memory whose clock the test turns: what becomes of lease tokens, and of invalidations that nobody acknowledged. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { openBreakwater } from '../../src/cache/create.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import { DialledMembers } from '../support/dialled-members.ts';
import { Cluster } from '../support/members-in-memory.ts';

const CALL = { timeoutMs: 10_000 };
const ENTRY = { ttlMs: null, tags: [] };
const ONE = new Uint8Array([1]);

function fleet(): { readonly cluster: Cluster; readonly members: DialledMembers } {
  const cluster = new Cluster();
  return { cluster, members: new DialledMembers(cluster) };
}

function portsOf({ scheduler }: DialledMembers, seed: number) {
  return { clock: scheduler.clock, scheduler, random: new SeededRandom(seed) };
}

test('a token of an owner that died fills nothing at the next, and who asks there is granted one that does', async () => {
  const { cluster, members } = fleet();
  const store = new BreakwaterStore({ url: members.url, dial: members.dial, ...portsOf(members, 1) });
  const [missed] = await members.until(store.read(['a'], { ...CALL, lease: true }));
  assert.ok(missed?.kind === 'miss' && missed.lease !== null && missed.lease !== 'none');
  const dead = cluster.ownerOf('a');
  members.kill(dead);
  await members.pass(3000);
  assert.ok(cluster.ownerOf('a') >= 0 && cluster.ownerOf('a') !== dead, 'it was taken over');
  const fill = { key: 'a', value: ONE, ...ENTRY, lease: missed.lease };
  assert.deepEqual(await members.until(store.fill([fill], CALL)), [false]);
  const [again] = await members.until(store.read(['a'], { ...CALL, lease: true }));
  assert.ok(again?.kind === 'miss' && again.lease !== null && again.lease !== missed.lease, 'nothing was stored');
  assert.deepEqual(await members.until(store.fill([{ ...fill, lease: again.lease }], CALL)), [true]);
  await store.close();
});

/** Of the error and what it came of. */
function codesOf(error: unknown): string[] {
  const codes: string[] = [];
  for (let one = error; one instanceof Error; one = one.cause) codes.push(String((one as { code?: string }).code));
  return codes;
}

for (const how of ['-NOREPLICAS', 'no answer'] as const) {
  test(`an invalidation that ends with ${how} is kept, hidden from this process, and retried until it is acknowledged`, async () => {
    const { cluster, members } = fleet();
    let row = 1;
    const open = (seed: number) => {
      const bw = openBreakwater(
        { store: members.url as `breakwater://${string}`, writeTimeout: '5s' },
        portsOf(members, seed),
        {
          dial: members.dial,
        },
      );
      return { bw, cache: bw.cache<number>('n', { load: async (ids) => ids.map(() => row), ttl: '10m' }) };
    };
    const [one, other] = [open(1), open(2)];
    assert.equal(await members.until(one.cache.get('7')), 1);
    await members.pass(500);
    assert.equal(await members.until(other.cache.get('7')), 1);
    row = 2;
    const owner = cluster.ownerOf('n:7');
    // Nobody hears the owner's words to its copy, nor its wish to go on without; or the owner does nothing at all.
    if (how === '-NOREPLICAS') {
      cluster.holds = ({ kind }) => kind === 'effects' || kind === 'prepare' || kind === 'accept';
    } else members.hung.add(owner);
    const rejected = members.until(one.cache.delete('7'));
    await assert.rejects(rejected, (error: Error & { code?: string; queued?: boolean }) => {
      assert.equal(error.code, 'CACHE_INVALIDATION_UNACKNOWLEDGED');
      assert.equal(error.queued, true);
      assert.ok(codesOf(error).includes(how === '-NOREPLICAS' ? 'NOREPLICAS' : 'CLIENT_TIMEOUT'), `${codesOf(error)}`);
      return true;
    });
    assert.equal((await members.until(one.bw.stats())).outbox?.length, 1);
    assert.equal(await members.until(one.cache.get('7')), 2, 'it knows what the store may not');
    cluster.release();
    members.resume();
    await members.pass(10_000);
    const { outbox } = await members.until(one.bw.stats());
    assert.equal(outbox?.length, 0);
    assert.ok((outbox?.retried ?? 0) >= 1);
    assert.equal(await members.until(other.cache.get('7')), 2);
    await members.until(Promise.all([one.bw.close(), other.bw.close()]));
  });
}
