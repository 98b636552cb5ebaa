/**
 * Reads that may be answered by a copy, on a cluster in memory whose clock the test turns: who is asked when, what is never served, and what is not kept. Nothing here depends on how fast anything is.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { openBreakwater } from '../../src/cache/create.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import type { ReadResult } from '../../src/stores/store.ts';
import { DialledMembers } from '../support/dialled-members.ts';
import { Cluster } from '../support/members-in-memory.ts';

const ENTRY = { ttlMs: null, tags: [] };
const CALL = { timeoutMs: 2000 };
const READ = { lease: true, timeoutMs: 2000 };
const bytesOf = (n: number): Uint8Array => new TextEncoder().encode(String(n));
const numberOf = (result: ReadResult | undefined): number | null =>
  result?.kind === 'hit' ? Number(new TextDecoder().decode(result.value)) : null;

interface Fleet {
  readonly cluster: Cluster;
  readonly members: DialledMembers;
  open(query?: string): BreakwaterStore;
}

function fleet(zones: readonly string[] = [], size = 3, copies = 2): Fleet {
  const cluster = new Cluster(size, copies, {}, zones);
  const members = new DialledMembers(cluster);
  let opened = 0;
  return {
    cluster,
    members,
    open: (query = '') => {
      opened += 1;
      return new BreakwaterStore({
        url: `${members.url}${query}`,
        dial: members.dial,
        clock: members.scheduler.clock,
        scheduler: members.scheduler,
        random: new SeededRandom(opened),
      });
    },
  };
}

const copyHits = async ({ members }: Fleet, store: BreakwaterStore): Promise<number> =>
  (await members.until(store.stats(CALL)))['copyHits'] ?? 0;

/** A key whose owner is in `zone`, and its copy in the other. */
function keyOwnedIn(cluster: Cluster, zones: readonly string[], zone: string, copyZone: string): string {
  for (let i = 0; ; i += 1) {
    const key = `k${i}`;
    if (zones[cluster.ownerOf(key)] === zone && zones[cluster.copyOf(key)] === copyZone) return key;
  }
}

test('options: reads is owner or nearest, a zone says nothing without it, and nothing changes by default', async () => {
  const all = fleet();
  assert.throws(() => all.open('?reads=any'), { code: 'STORE_URL_INVALID' });
  assert.throws(() => all.open('?zone=a'), { code: 'STORE_URL_INVALID' });
  assert.throws(() => all.open('?reads=owner&zone=a'), { code: 'STORE_URL_INVALID' });
  const plain = all.open();
  assert.equal(plain.readsCopies, false);
  await all.members.until(plain.set('a', bytesOf(1), ENTRY, CALL));
  const [hit] = await all.members.until(plain.read(['a'], { ...READ, maxStaleMs: 10_000 }));
  assert.equal(numberOf(hit), 1);
  assert.equal(await copyHits(all, plain), 0);
  await plain.close();
});

test('a copy in the own zone is asked where the call allows it, and never else; what it has not the owner is asked for', async () => {
  const zones = ['a', 'b', 'a', 'b'];
  const all = fleet(zones, 4);
  const { cluster, members } = all;
  const writer = all.open();
  const near = all.open('?reads=nearest&zone=b');
  const far = keyOwnedIn(cluster, zones, 'a', 'b');
  const home = keyOwnedIn(cluster, zones, 'b', 'a');
  for (const key of [far, home]) await members.until(writer.set(key, bytesOf(7), ENTRY, CALL));
  await members.pass(500);
  const [plain] = await members.until(near.read([far], READ));
  assert.ok(plain?.kind === 'hit' && plain.isCopied === undefined);
  assert.equal(await copyHits(all, near), 0, 'who says nothing gets the owner’s word');
  const found = await members.until(near.read([far, home, `{${far}}none`], { ...READ, maxStaleMs: 1000 }));
  assert.deepEqual(found.map(numberOf), [7, 7, null]);
  const [ofCopy, ofOwner, none] = found;
  assert.ok(ofCopy?.kind === 'hit' && ofCopy.isCopied === true);
  assert.ok(ofOwner?.kind === 'hit' && ofOwner.isCopied === undefined, 'its owner is as near');
  assert.ok(none?.kind === 'miss' && none.lease !== null && none.lease !== 'none', 'a lease of the owner’s');
  const fill = { key: `{${far}}none`, value: bytesOf(8), ...ENTRY, lease: none.lease };
  assert.deepEqual(await members.until(near.fill([fill], CALL)), [true]);
  assert.equal(await copyHits(all, near), 1);
  await Promise.all([writer.close(), near.close()]);
});

test('an owner that died: the copy answers at once, until somebody has taken over and answers himself', async () => {
  const all = fleet();
  const { cluster, members } = all;
  const store = all.open('?reads=nearest');
  await members.until(store.set('a', bytesOf(1), ENTRY, CALL));
  // Nothing of it may be younger than what was done here.
  await members.pass(3000);
  members.kill(cluster.ownerOf('a'));
  const beganMs = cluster.nowMs;
  while (cluster.ownerOf('a') < 0) {
    const askedMs = cluster.nowMs;
    const [found] = await members.until(store.read(['a'], { ...READ, maxStaleMs: 2500 }));
    assert.equal(numberOf(found), 1);
    assert.ok(cluster.nowMs - askedMs < 250, `answered after ${cluster.nowMs - askedMs} ms`);
    await members.pass(50);
  }
  assert.ok(cluster.nowMs - beganMs > 1000, 'there was a takeover to wait for');
  await members.pass(1000);
  let found: ReadResult | undefined;
  // The first of them has the map asked for.
  for (let turn = 0; turn < 20 && (found?.kind !== 'hit' || found.isCopied === true); turn += 1) {
    [found] = await members.until(store.read(['a'], { ...READ, maxStaleMs: 2500 }));
    assert.equal(numberOf(found), 1);
    await members.pass(100);
  }
  assert.ok(found?.kind === 'hit' && found.isCopied === undefined, 'the new owner answers as one');
  await store.close();
});

test('an owner that hangs: the copy is asked when the owner is late, and leases that come too late are given back', async () => {
  const all = fleet();
  const { cluster, members } = all;
  const store = all.open('?reads=nearest&hangTimeout=60s');
  const other = all.open();
  await members.until(store.set('a', bytesOf(1), ENTRY, CALL));
  await members.pass(3000);
  await members.until(store.read(['a'], READ));
  const owner = cluster.ownerOf('a');
  members.hung.add(owner);
  const askedMs = cluster.nowMs;
  const [found] = await members.until(store.read(['a'], { ...READ, maxStaleMs: 2500 }));
  assert.equal(numberOf(found), 1);
  assert.ok(cluster.nowMs - askedMs < 250);
  members.resume();
  // It answers, but slowly: the key went meanwhile, and what it grants nobody waits for.
  await members.until(other.delete(['a'], CALL));
  const [after] = await members.until(other.read(['a'], READ));
  assert.ok(after?.kind === 'miss' && after.lease !== null, 'nobody holds the lease');
  await Promise.all([store.close(), other.close()]);
});

test('a copy that is behind by more than the call allows is not served, nor one from before what was done here', async () => {
  const all = fleet();
  const { cluster, members } = all;
  const store = all.open('?reads=nearest');
  const [writer, near] = [all.open(), all.open('?reads=nearest')];
  await members.until(writer.set('a', bytesOf(1), ENTRY, CALL));
  for (const one of [store, near]) await members.until(one.read(['a'], READ));
  await members.pass(3000);
  const [owner, copy] = [cluster.ownerOf('a'), cluster.copyOf('a')];
  // The copy is told nothing more, neither of the deletion nor that it is removed; then the owner hangs for its clients.
  cluster.holds = (_message, _from, to) => to === copy;
  await members.until(writer.delete(['a'], { timeoutMs: 10_000 }));
  const deletedMs = cluster.nowMs;
  members.hung.add(owner);
  await members.pass(300);
  for (const maxStaleMs of [1, 50, 250]) {
    const [found] = await members.until(store.read(['a'], { ...READ, maxStaleMs }).catch(() => []));
    assert.equal(numberOf(found), null, `deleted ${cluster.nowMs - deletedMs} ms ago`);
  }
  const [old] = await members.until(store.read(['a'], { ...READ, maxStaleMs: 60_000 }));
  assert.equal(numberOf(old), 1, 'this caller takes it');
  // He has deleted it himself, and knows of the copy still.
  members.resume();
  await members.until(near.delete(['a'], { timeoutMs: 10_000 }));
  members.hung.add(owner);
  const [gone] = await members.until(near.read(['a'], { ...READ, maxStaleMs: 60_000 }).catch(() => []));
  assert.equal(numberOf(gone), null, 'nobody reads what he has deleted');
  await Promise.all([store.close(), writer.close(), near.close()]);
});

test('in the library: a value out of a copy is in no L1, and after, fresh and plain gets never come from one', async () => {
  const zones = ['a', 'b'];
  const all = fleet(zones, 2);
  const { cluster, members } = all;
  const ports = { clock: members.scheduler.clock, scheduler: members.scheduler, random: new SeededRandom(9) };
  const open = (query: string) =>
    openBreakwater({ store: `${members.url}${query}` as `breakwater://${string}`, readTimeout: '2s' }, ports, {
      dial: members.dial,
    });
  const [writer, reader] = [open(''), open('?reads=nearest&zone=b')];
  const cacheOf = (bw: typeof writer) =>
    bw.cache<number>('n', { load: async (ids) => ids.map(() => 1), l1: {}, ttl: '10m' });
  const [written, read] = [cacheOf(writer), cacheOf(reader)];
  let id = 0;
  while (zones[cluster.ownerOf(`n:${id}`)] !== 'a') id += 1;
  await members.until(written.set(String(id), 100));
  // Its L1 is in use by then.
  await members.until(read.get('another'));
  await members.pass(2000);
  await members.until(read.get('another'));
  assert.equal(read.peek('another'), 1);
  assert.equal(await members.until(read.get(String(id), { maxStale: '1s' })), 100);
  assert.equal(read.peek(String(id)), undefined, 'it is not kept');
  const hits = async (): Promise<unknown> => (await members.until(reader.stats())).store.numbers?.['copyHits'];
  assert.equal(await hits(), 1);
  await members.until(read.get(String(id), { maxStale: '1s', after: writer.token() }));
  await members.until(read.get(String(id), { maxStale: '0s' }));
  assert.equal(await hits(), 1);
  assert.equal(await members.until(read.get(String(id))), 100);
  assert.equal(await hits(), 1);
  assert.equal(read.peek(String(id)), 100, 'what the owner says is kept');
  await members.until(Promise.all([writer.close(), reader.close()]));
});

async function randomMix(seed: number): Promise<{ served: number; copied: number }> {
  const zones = ['a', 'b', 'c', 'a'];
  const all = fleet(zones, 4, 3);
  const { cluster, members } = all;
  const random = new SeededRandom(seed);
  const pick = (count: number): number => random.nextUint32() % count;
  const keys = Array.from({ length: 8 }, (_, i) => `k${i}`);
  const stores = ['?reads=nearest&zone=b', '?reads=nearest', '?reads=nearest&zone=a'].map(all.open);
  const versions = keys.map(() => 0);
  /** By key: what was acknowledged when, and by whom. */
  const acknowledged = keys.map((): { readonly n: number; readonly atMs: number; readonly by: number }[] => []);
  const busy = new Set<number>();
  const wrong: string[] = [];
  let served = 0;
  let copied = 0;
  const write = async (by: number, key: number): Promise<void> => {
    if (busy.has(key)) return;
    busy.add(key);
    versions[key]! += 1;
    const n = versions[key]!;
    const store = stores[by]!;
    try {
      // What is older must be gone, or be this.
      if (n % 3 === 0) await store.delete([keys[key]!], { timeoutMs: 4000 });
      else await store.set(keys[key]!, bytesOf(n), ENTRY, { timeoutMs: 4000 });
      acknowledged[key]!.push({ n, atMs: cluster.nowMs, by });
    } catch {
      // Nobody's promise.
    } finally {
      busy.delete(key);
    }
  };
  const read = async (by: number, key: number): Promise<void> => {
    const maxStaleMs = [100, 700, 3000][pick(3)]!;
    const askedMs = cluster.nowMs;
    const known = [...acknowledged[key]!];
    const [result] = await stores[by]!.read([keys[key]!], { lease: false, timeoutMs: 1000, maxStaleMs }).catch(
      () => [],
    );
    const n = numberOf(result);
    if (result?.kind !== 'hit' || n === null) return;
    served += 1;
    const isCopied = result.isCopied === true;
    if (isCopied) copied += 1;
    for (const one of known) {
      if (one.n <= n) continue;
      const mayBeMissing = isCopied && one.by !== by && one.atMs > askedMs - maxStaleMs;
      if (!mayBeMissing)
        wrong.push(
          `${isCopied ? 'a copy' : 'an owner'}: ${keys[key]} = ${n} to ${by} at ${askedMs}, ${maxStaleMs} allowed: ${JSON.stringify(one)}`,
        );
    }
  };
  const running = new Set<Promise<void>>();
  const begin = (work: Promise<void>): void => {
    const done = work.finally(() => running.delete(done));
    running.add(done);
  };
  for (let turn = 0; turn < 600; turn += 1) {
    if (pick(5) === 0) begin(write(pick(3), pick(keys.length)));
    else begin(read(pick(3), pick(keys.length)));
    if (turn % 200 === 100) {
      const member = pick(4);
      const kind = pick(3);
      if (kind === 0) members.hung.add(member);
      else if (kind === 1) cluster.cut(member);
      else cluster.holds = (message, _from, to) => to === member && message.kind !== 'heartbeat-ack';
    }
    if (turn % 200 === 199) {
      members.resume();
      cluster.cuts.clear();
      cluster.release();
    }
    await members.pass(10);
  }
  await members.until(Promise.all(running));
  assert.deepEqual(wrong, [], `seed ${seed}`);
  await Promise.all(stores.map((store) => store.close()));
  return { served, copied };
}

test('a random mix with members hung, cut off and deaf: nothing older than was allowed', async () => {
  let [served, copied] = [0, 0];
  for (const seed of [1, 2]) {
    const counts = await randomMix(seed);
    served += counts.served;
    copied += counts.copied;
  }
  assert.ok(served > 150 && copied > 15, `${served} served, ${copied} by copies`);
});
