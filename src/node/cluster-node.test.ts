/** Three members in one process over a network that is a queue: what clients are told, and when. (What may break is `sim/`'s: `npm run sim -- --memory node`.) */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, Cluster, idOf } from '../../test/support/members-in-memory.ts';
import { slotOf } from '../hash/slot.ts';
import type { Command } from '../resp/request-writer.ts';
import type { ClusterNode } from './cluster-node.ts';

test('entries live at the owner of their slot, and everybody else says who that is', () => {
  const cluster = new Cluster();
  const owner = cluster.ownerOf('a');
  const client = cluster.at('a');
  assert.equal(client.call('SET', 'a', '1', 'PX', '60000'), 'OK');
  assert.equal(client.call('GET', 'a'), '1');
  assert.equal(client.call('EXPIRE', 'a', '100'), 1);
  assert.equal(client.call('TTL', 'a'), 100);
  assert.equal(client.call('INCRBY', 'a', '41'), 42);
  assert.deepEqual(client.call('MGET', 'a', '{a}2'), ['42', null]);
  assert.equal(client.call('DEL', 'a'), 1);
  assert.equal(client.call('GET', 'a'), null);
  for (let other = 0; other < 3; other += 1) {
    if (other === owner) continue;
    const told = new Client(cluster, other).call('GET', 'a');
    assert.equal(told, `-MOVED 15495 10.0.0.${owner + 1}:7379`);
  }
  const slots = client.call('CLUSTER', 'SLOTS') as unknown[][];
  assert.equal(slots.at(0)![0], 0);
  assert.equal(slots.at(-1)![1], 16_383);
  assert.match(String(client.call('CLUSTER', 'INFO')), /cluster_state:ok/);
});

test('keys of several slots in one command are refused as Redis Cluster refuses them', () => {
  const cluster = new Cluster();
  const answer = String(cluster.at('a').call('MGET', 'a', 'b'));
  assert.match(answer, /^-CROSSSLOT /);
});

test('a first SET is answered at once, a DEL when its copies have it, and what is asked behind it is answered behind it', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  client.send(['SET', 'a', '1']);
  assert.deepEqual(client.replies.splice(0), ['OK']);
  cluster.settle();
  client.send(['DEL', 'a'], ['GET', 'a'], ['SET', '{a}x', '1'], ['SET', 'a', '2'], ['PING']);
  assert.deepEqual(client.replies, [], 'all of them wait behind the first');
  cluster.settle();
  assert.deepEqual(client.replies.splice(0), [1, null, 'OK', 'OK', 'PONG']);
  client.send(['GET', 'a']);
  assert.deepEqual(client.replies, ['2']);
});

test('a pipeline of many writes is executed piece by piece, and nothing of it is lost or out of order', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  const commands = Array.from({ length: 3000 }, (): Command => ['INCR', 'a']);
  client.send(...commands);
  assert.equal(client.session.halted, true);
  for (let turn = 0; turn < 20 && client.replies.length < 3000; turn += 1) {
    cluster.settle();
    if (!client.session.halted) client.send();
  }
  assert.deepEqual(
    client.replies,
    Array.from({ length: 3000 }, (_, index) => index + 1),
  );
});

test('an owner that is cut off says so of what it cannot acknowledge, serves nothing, and what it was told is not there afterwards', () => {
  const cluster = new Cluster();
  const owner = cluster.ownerOf('a');
  const client = cluster.at('a');
  assert.equal(client.call('SET', 'a', 'old'), 'OK');
  cluster.pass(100);
  cluster.cut(owner);
  client.send(['DEL', 'a']);
  assert.deepEqual(client.replies, []);
  cluster.pass(2100);
  assert.match(String(client.replies.pop()), /^-NOREPLICAS not acknowledged/);
  assert.match(String(client.call('GET', 'a')), /^(null$|-(CLUSTERDOWN|MOVED|TRYAGAIN))/);
  // Another one took over, with what it had: the delete was not acknowledged, so the entry may be there.
  const heir = cluster.ownerOf('a');
  assert.notEqual(heir, owner);
  const other = cluster.at('a');
  assert.equal(other.call('GET', 'a'), 'old');
  assert.equal(other.call('DEL', 'a'), 1);
  cluster.cuts.clear();
  cluster.pass(3000);
  assert.match(String(client.call('GET', 'a')), /^-MOVED/);
  assert.equal(cluster.at('a').call('GET', 'a'), null);
});

test('a takeover keeps the content, its TTLs and tags, and voids every lease', () => {
  const cluster = new Cluster();
  const owner = cluster.ownerOf('a');
  const client = cluster.at('a');
  assert.equal(client.call('BW.SET', 'a', '1', 'PX', '60000', 'TAGS', '1', 't'), 'created');
  const [token] = client.call('BW.GET', '{a}miss', 'LEASE') as [string, number];
  assert.match(token, /^\d+-\d+$/);
  cluster.pass(100);
  cluster.dead.add(owner);
  cluster.pass(3000);
  const heir = cluster.at('a');
  assert.notEqual(heir.node, client.node);
  assert.equal(heir.call('GET', 'a'), '1');
  const left = Number(heir.call('PTTL', 'a'));
  assert.ok(left > 55_000 && left <= 57_000, `${left} ms are left`);
  assert.match(String(heir.call('BW.SET', '{a}miss', 'x', 'LEASE', token)), /^-LEASEVOID/);
  assert.equal(heir.node.node.store.tagCount(refOf(heir.node, 'a', cluster.nowMs)), 1);
});

function refOf(node: ClusterNode, key: string, nowMs: number): number {
  const bytes = new TextEncoder().encode(key);
  return node.node.store.peek(bytes, 0, bytes.length, nowMs);
}

test('a lease of an earlier reign of the same member fills nothing', () => {
  const cluster = new Cluster();
  const owner = cluster.ownerOf('a');
  const client = cluster.at('a');
  const [token] = client.call('BW.GET', 'a', 'LEASE') as [string, number];
  cluster.cut(owner);
  cluster.pass(3000);
  const heir = cluster.ownerOf('a');
  assert.notEqual(heir, owner);
  cluster.cuts.clear();
  cluster.pass(3000);
  cluster.nodes[heir]!.leave(true);
  cluster.pass(3000);
  const third = cluster.ownerOf('a');
  if (third !== owner) {
    cluster.nodes[third]!.leave(true);
    cluster.pass(3000);
  }
  assert.equal(cluster.ownerOf('a'), owner, 'it owns the range again');
  assert.match(String(cluster.at('a').call('BW.SET', 'a', 'stale', 'LEASE', token)), /^-LEASEVOID/);
});

test('a member is drained, a range is moved, everything is sent home: by what operators say to members', () => {
  const cluster = new Cluster();
  const owner = cluster.ownerOf('a');
  const client = cluster.at('a');
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  const slot = String(slotOf(new TextEncoder().encode('a'), 0, 1));
  const to = (owner + 1) % 3;
  assert.equal(
    client.call('BW.MEMBER', 'MOVE', slot, 'nobody'),
    '-NOMEMBER cannot move the slot: the id is of no member of this cluster',
  );
  assert.match(String(client.call('BW.MEMBER', 'MOVE', '16384', idOf(to))), /^-ERR Invalid slot/);
  assert.match(String(client.call('BW.MEMBER', 'MOVE', 'x', idOf(to))), /^-ERR value is not an integer/);
  const other = new Client(cluster, to);
  assert.match(String(other.call('BW.MEMBER', 'MOVE', slot, idOf(owner))), /^-NOTOWNER /);
  assert.equal(client.call('BW.MEMBER', 'MOVE', slot, idOf(to)), 'OK');
  cluster.pass(2000);
  assert.equal(cluster.ownerOf('a'), to);
  assert.equal(cluster.at('a').call('GET', 'a'), '1');
  assert.match(String(client.call('GET', 'a')), /^-MOVED/);
  // Long enough that it would have gone home by itself.
  cluster.pass(20_000);
  assert.equal(cluster.ownerOf('a'), to);
  assert.equal(other.call('BW.MEMBER', 'REBALANCE'), 1);
  cluster.pass(2000);
  assert.equal(cluster.ownerOf('a'), owner);
  assert.equal(other.call('BW.MEMBER', 'REBALANCE'), 0);

  assert.equal(client.call('BW.MEMBER', 'DRAIN'), 'OK');
  cluster.pass(3000);
  assert.equal(cluster.nodes[owner]!.ownedCount, 0);
  assert.equal(cluster.nodes[owner]!.core.copiedCount, 0);
  assert.match(
    String(client.call('BW.MEMBER', 'MOVE', slot, idOf(to))),
    /^-NOTREADY .* this member is leaving or drained/,
  );
  const heir = cluster.at('a');
  assert.equal(heir.call('GET', 'a'), '1');
  assert.match(String(heir.call('BW.MEMBER', 'MOVE', slot, idOf(owner))), /^-NOTREADY .* leaving or drained/);
  assert.equal(client.call('BW.MEMBER', 'RETURN'), 'OK');
  cluster.pass(20_000);
  assert.equal(cluster.ownerOf('a'), owner, 'it has everything back');
  assert.equal(client.call('GET', 'a'), '1');
});

test('a session that said READONLY reads copies; expiry and deletion reach them', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  cluster.pass(600);
  const reader = new Client(cluster, cluster.copyOf('a'));
  assert.match(String(reader.call('GET', 'a')), /^-MOVED/);
  assert.equal(reader.call('READONLY'), 'OK');
  assert.equal(reader.call('GET', 'a'), '1');
  assert.match(String(reader.call('BW.GET', 'a', 'LEASE')), /^-MOVED/, 'leases are the owner’s to give');
  assert.match(String(reader.call('SET', 'a', '2')), /^-MOVED/);
  assert.equal(client.call('PEXPIRE', 'a', '500'), 1);
  const left = Number(reader.call('PTTL', 'a'));
  assert.ok(left > 400 && left <= 500);
  cluster.pass(600);
  assert.equal(reader.call('GET', 'a'), null);
  assert.equal(client.call('SET', 'a', '3'), 'OK');
  assert.equal(client.call('DEL', 'a'), 1);
  assert.equal(reader.call('GET', 'a'), null);
  assert.equal(reader.call('READWRITE'), 'OK');
  assert.match(String(reader.call('GET', 'a')), /^-MOVED/);
});

test('STALE: a copy answers while it can be behind by no more than that, also when its lease has ended', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  cluster.pass(600);
  const reader = new Client(cluster, cluster.copyOf('a'));
  const read = (ms: number): unknown => reader.call('BW.GET', 'a', 'STALE', ms);
  const isHit = (reply: unknown): boolean => Array.isArray(reply) && reply[0] === '1';
  assert.match(String(reader.call('BW.GET', 'a')), /^-MOVED/, 'who does not say how old does not read copies');
  assert.ok(isHit(read(0)), 'under its lease it misses nothing');
  const both = reader.call('BW.MGET', 2, 'a', '{a}b', 'STALE', 0) as unknown[];
  assert.ok(isHit(both[0]) && both[1] === null);
  // Keys of that name are keys.
  assert.match(String(reader.call('BW.MGET', 2, '{a}stale', '{a}100')), /^-MOVED/);
  assert.match(String(reader.call('BW.GET', 'a', 'LEASE', '5', 'STALE', '5')), /^-(MOVED|ERR syntax)/);
  assert.match(String(reader.call('BW.GET', 'a', 'STALE', '-1')), /^-(MOVED|ERR value is not an integer)/);
  // The owner is gone. Nobody may take over for 1.5 s, and the lease ends after 0.4 s.
  cluster.dead.add(cluster.ownerOf('a'));
  cluster.pass(1000);
  assert.match(String(read(0)), /^-/);
  assert.match(String(read(400)), /^-/, 'it is further behind than that');
  assert.ok(isHit(read(1000)), 'nothing that was acknowledged a second ago is missing');
  assert.match(String(reader.call('BW.GET', 'a', 'LEASE')), /^-/);
});

test('STALE: an acknowledged deletion is missing in no answer that may be younger than it', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  const [owner, copy] = [cluster.ownerOf('a'), cluster.copyOf('a')];
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  cluster.pass(600);
  const reader = new Client(cluster, copy);
  // It hears nothing any more: neither what is done nor that it is removed.
  cluster.holds = (_message, _from, to) => to === copy;
  const beganMs = cluster.nowMs;
  client.send(['DEL', 'a']);
  let servedMs = 0;
  while (client.replies.length === 0 && cluster.nowMs - beganMs < 4000) {
    cluster.pass(5);
    reader.send(['BW.GET', 'a', 'STALE', '100000']);
    assert.equal((reader.replies.pop() as unknown[])[0], '1', 'it knows of nothing');
    servedMs = cluster.nowMs;
  }
  assert.deepEqual(client.replies.splice(0), [1], 'acknowledged without the copy');
  const acknowledgedMs = servedMs;
  assert.equal(cluster.ownerOf('a'), owner);
  for (let ms = 0; ms < 3000; ms += 100) {
    const sinceMs = cluster.nowMs - acknowledgedMs;
    // Younger than the deletion: refused, always.
    reader.send(['BW.GET', 'a', 'STALE', String(Math.max(0, sinceMs - 1))]);
    assert.match(String(reader.replies.pop()), /^-/);
    // Older than the lease by far: the caller said that it may be.
    reader.send(['BW.GET', 'a', 'STALE', '100000']);
    assert.equal((reader.replies.pop() as unknown[])[0], '1');
    cluster.pass(100);
  }
  // It learns that it is no copy any more: now there is nothing that could be said.
  cluster.release();
  cluster.pass(50);
  reader.send(['BW.GET', 'a', 'STALE', '100000']);
  assert.doesNotMatch(String(reader.replies.pop()), /^1/);
});

test('what an owner evicts its copies drop: they never hold more than it does', () => {
  const cluster = new Cluster();
  const value = 'x'.repeat(4000);
  for (let i = 0; i < 600; i += 1) {
    const key = `k${i}`;
    assert.equal(cluster.at(key).call('SET', key, value), 'OK');
  }
  cluster.pass(500);
  let dropped = 0;
  for (let i = 0; i < 600; i += 1) {
    const key = `k${i}`;
    const [owner, copy] = [cluster.nodes[cluster.ownerOf(key)]!, cluster.nodes[cluster.copyOf(key)]!];
    if (refOf(owner, key, cluster.nowMs) !== 0) continue;
    dropped += 1;
    assert.equal(refOf(copy, key, cluster.nowMs), 0, `${key} went at its owner and stayed at its copy`);
  }
  assert.ok(dropped > 50, `${dropped} entries were evicted`);
});

test('a member that comes back is filled in parts, and large values too', () => {
  const cluster = new Cluster();
  const size = 300;
  for (let i = 0; i < size; i += 1) {
    const key = `k${i}`;
    const value = i % 50 === 0 ? 'y'.repeat(20_000) : `v${i}`;
    assert.equal(cluster.at(key).call('SET', key, value), 'OK');
  }
  cluster.pass(500);
  cluster.cut(2);
  cluster.pass(4000);
  cluster.cuts.clear();
  cluster.pass(8000);
  for (const node of cluster.nodes) node.invariants();
  for (let i = 0; i < size; i += 1) {
    const key = `k${i}`;
    const copy = cluster.nodes[cluster.copyOf(key)]!;
    assert.notEqual(refOf(copy, key, cluster.nowMs), 0, `${key} is at its copy`);
  }
});

test('a tag, a namespace and everything are invalidated on every member, and leases that were granted before', () => {
  const cluster = new Cluster();
  const keys = Array.from({ length: 40 }, (_, index) => `user:${index}`);
  const fill = (): void => {
    for (const key of keys) {
      const tag = key.endsWith('1') ? 'odd' : 'other';
      assert.match(String(cluster.at(key).call('BW.SET', key, 'v', 'TAGS', '1', tag)), /^(created|replaced)$/);
    }
    assert.match(String(cluster.at('plain').call('SET', 'plain', '1')), /^OK$/);
    cluster.pass(100);
  };
  const left = (): number =>
    keys.reduce((sum, key) => sum + (cluster.at(key).call('GET', key) === null ? 0 : 1), 0) +
    (cluster.at('plain').call('GET', 'plain') === null ? 0 : 1);
  fill();
  assert.equal(left(), 41);
  const [token] = cluster.at('user:x').call('BW.GET', 'user:x', 'LEASE') as [string, number];
  const anyone = new Client(cluster, 1);
  assert.equal(anyone.call('BW.INVALIDATE', 'TAGS', '1', 'odd'), 0);
  assert.equal(left(), 37);
  const late = cluster.at('user:x').call('BW.SET', 'user:x', 'v', 'LEASE', token, 'TAGS', '1', 'odd');
  assert.match(String(late), /^-LEASEVOID/);
  assert.equal(anyone.call('BW.INVALIDATE', 'NAMESPACES', '1', 'user'), 0);
  assert.equal(left(), 1);
  fill();
  assert.equal(anyone.call('FLUSHALL'), 'OK');
  assert.equal(left(), 0);
  fill();
  assert.equal(left(), 41);
  assert.equal(anyone.call('BW.INVALIDATE', 'TAGS', '2', 'odd', 'other'), 0);
  for (const index of [0, 1, 2]) {
    cluster.dead.add(index);
    cluster.pass(4000);
    assert.equal(left(), 1, 'copies have applied it too');
    cluster.dead.delete(index);
    cluster.pass(8000);
  }
});

test('a tag is acknowledged when every range has done it: by who takes over if need be, and not by a member that reaches nobody', () => {
  const cluster = new Cluster();
  const client = new Client(cluster, 0);
  cluster.cut(1);
  client.send(['BW.INVALIDATE', 'TAGS', '1', 't'], ['PING']);
  cluster.pass(1000);
  assert.deepEqual(client.replies, [], 'the ranges of who is cut off have no owner yet');
  cluster.pass(1200);
  assert.deepEqual(client.replies.splice(0), [0, 'PONG']);
  cluster.cuts.clear();
  cluster.pass(4000);
  cluster.cut(0);
  client.send(['BW.INVALIDATE', 'TAGS', '1', 't']);
  cluster.pass(2200);
  assert.match(String(client.replies.pop()), /^-NOREPLICAS/);
});

test('a lock and a sum are answered when their copies have them, and a takeover forgets neither', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  client.send(['BW.LOCK', 'a', 'me', '60000'], ['BW.COUNT', 'a', '5'], ['BW.COUNT', '{a}ttl', '1', '2000']);
  assert.deepEqual(client.replies, [], 'nothing before the copies have it');
  cluster.settle();
  const [[token]] = client.replies.splice(0) as unknown as [[number, number]];
  assert.equal(client.call('FLUSHALL'), 'OK');
  // What nobody acknowledged may be there or not; this was.
  cluster.dead.add(cluster.ownerOf('a'));
  cluster.pass(2500);
  const heir = cluster.at('a');
  const [held, waitMs] = heir.call('BW.LOCK', 'a', 'you', '1000') as [null, number];
  assert.equal(held, null);
  assert.ok(waitMs > 50_000 && waitMs <= 60_000, `${waitMs}`);
  assert.equal(heir.call('BW.RENEW', 'a', 'me', '60000'), 1);
  assert.deepEqual(heir.call('BW.LOCK', 'a', 'me', '60000'), [token, 60_000], 'its owner asks again');
  assert.equal(heir.call('BW.COUNT', 'a', '2'), 7);
  assert.equal(heir.call('BW.COUNT', '{a}ttl'), 0);
  assert.equal(heir.call('BW.UNLOCK', 'a', 'me'), 1);
  const [next] = heir.call('BW.LOCK', 'a', 'you', '1000') as [number, number];
  assert.ok(next > token, `${next} is above ${token}`);
});

test('a copy that begins anew is filled with locks and sums, and keeps none that its owner has not', () => {
  const cluster = new Cluster();
  const copy = cluster.copyOf('a');
  const client = cluster.at('a');
  const [token] = client.call('BW.LOCK', 'a', 'me', '600000') as [number];
  client.call('BW.LOCK', '{a}gone', 'me', '600000');
  cluster.cut(copy);
  cluster.pass(1000);
  // Alone by now: the copy is out of the set.
  for (let n = 0; n < 300; n += 1) assert.equal(client.call('BW.COUNT', `{a}${'long'.repeat(80)}${n}`, '1'), 1);
  assert.equal(client.call('BW.UNLOCK', '{a}gone', 'me'), 1);
  cluster.cuts.clear();
  cluster.pass(6000);
  assert.equal(cluster.copyOf('a') >= 0, true);
  cluster.dead.add(cluster.nodes.indexOf(client.node));
  cluster.pass(3000);
  const heir = cluster.at('a');
  assert.notEqual(heir.node, client.node);
  for (let n = 0; n < 300; n += 1) assert.equal(heir.call('BW.COUNT', `{a}${'long'.repeat(80)}${n}`), 1);
  const [held] = heir.call('BW.LOCK', 'a', 'you', '1000') as [null];
  assert.equal(held, null);
  const [free] = heir.call('BW.LOCK', '{a}gone', 'you', '1000') as [number];
  assert.ok(free > token);
});

test('a range that lost all its copies forgets locks, and its tokens grow all the same', () => {
  const cluster = new Cluster(5, 1);
  const client = cluster.at('a');
  let last = 0;
  for (let n = 0; n < 20; n += 1) {
    const [token] = client.call('BW.LOCK', `{a}${n}`, 'me', '600000') as [number];
    assert.ok(token > last);
    last = token;
  }
  cluster.dead.add(cluster.ownerOf('a'));
  cluster.pass(6000);
  const heir = cluster.at('a');
  const [token] = heir.call('BW.LOCK', '{a}0', 'you', '1000') as [number];
  assert.ok(token > last, `${token} is above ${last}`);
});

test('an owner that is cut off grants no lock and counts nothing that it could answer for', () => {
  const cluster = new Cluster();
  const client = cluster.at('a');
  assert.equal(client.call('BW.COUNT', 'a', '5'), 5);
  cluster.cut(cluster.ownerOf('a'));
  client.send(['BW.LOCK', 'a', 'me', '60000'], ['BW.COUNT', 'a', '1']);
  cluster.pass(2100);
  assert.match(String(client.replies.shift()), /^-NOREPLICAS/);
  assert.match(String(client.replies.shift()), /^-NOREPLICAS/);
  cluster.pass(1000);
  const heir = cluster.at('a');
  assert.equal(heir.call('BW.COUNT', 'a'), 5);
  assert.equal((heir.call('BW.LOCK', 'a', 'you', '1000') as [number, number])[1], 1000);
  cluster.cuts.clear();
  cluster.pass(4000);
  assert.match(String(client.call('BW.LOCK', 'a', 'me', '60000')), /^-MOVED/);
});

test('everywhere: each member speaks for the slots that it owns, and for no others', () => {
  const cluster = new Cluster();
  const slots: number[] = [];
  for (let index = 0; index < 3; index += 1) {
    const client = new Client(cluster, index);
    client.call('HELLO', '3');
    const [status, ...runs] = client.call('BW.FEED', 'EVERYWHERE', '1') as [string, ...number[]];
    assert.equal(status, 'done', 'nobody follows, and the first owners reign for longer than a bound');
    for (let at = 0; at < runs.length; at += 2) for (let s = runs[at]!; s <= runs[at + 1]!; s += 1) slots.push(s);
  }
  assert.deepEqual(
    slots.sort((a, b) => a - b),
    Array.from({ length: 16_384 }, (_, slot) => slot),
  );
  cluster.cut(0);
  const cut = new Client(cluster, 0);
  cut.call('HELLO', '3');
  cluster.pass(1100);
  assert.deepEqual(cut.call('BW.FEED', 'EVERYWHERE', '2'), ['done'], 'without a lease it speaks for nothing');
});

test('everywhere: a new owner does not know who follows the one before, and waits until they trust nothing of it', () => {
  for (const how of ['it dies', 'it gives its ranges away'] as const) {
    const cluster = new Cluster();
    const owner = cluster.ownerOf('a');
    const follower = cluster.at('a');
    follower.call('HELLO', '3');
    follower.call('BW.FEED', 'SUBSCRIBE', '1', '1000', '0');
    // As late as can be: it is proven good until a bound after this.
    const [, head] = follower.call('BW.FEED', 'PING', '2', '0') as [number, number];
    assert.ok(head >= 0);
    if (how === 'it dies') cluster.dead.add(owner);
    else cluster.nodes[owner]!.leave(true);
    const isTaken = (): boolean => cluster.ownerOf('a') !== owner && cluster.ownerOf('a') >= 0;
    for (let ms = 0; ms < 5000 && !isTaken(); ms += 5) cluster.pass(5);
    const began = cluster.nowMs;
    const writer = cluster.at('a');
    writer.call('HELLO', '3');
    assert.equal(writer.call('DEL', 'a'), 0);
    const [status] = writer.call('BW.FEED', 'EVERYWHERE', '7') as [string];
    assert.equal(status, 'waiting', how);
    while (cluster.nowMs < began + 1000) {
      cluster.pass(5);
      assert.deepEqual(writer.pushes, [], `${how}: ${cluster.nowMs - began} ms after it began to reign`);
    }
    cluster.pass(200);
    assert.deepEqual(writer.pushes, [['bw.everywhere', 7]], how);
  }
});

test('everybody knows of a new owner at once, and sends clients there; the record comes with heartbeats', () => {
  const cluster = new Cluster(4);
  cluster.pass(3000);
  const slot = slotOf(new TextEncoder().encode('a'), 0, 1);
  const range = cluster.nodes[0]!.core.primaries.length * (slot / 16_384);
  const owner = cluster.ownerOf('a');
  const [to, third] = [0, 1, 2, 3].filter((index) => index !== owner && index !== cluster.copyOf('a')) as [
    number,
    number,
  ];
  assert.equal(cluster.at('a').call('BW.MEMBER', 'MOVE', String(slot), idOf(to)), 'OK');
  const reigns = (): boolean => cluster.nodes[to]!.core.primaries[Math.floor(range)] !== null;
  for (let ms = 0; ms < 5000 && !reigns(); ms += 1) cluster.pass(1);
  assert.ok(reigns());
  cluster.pass(2);
  const node = cluster.nodes[third]!;
  const run = node.view.runs.find(({ first, last }) => first <= slot && slot <= last);
  assert.equal(run?.owner.id, idOf(to), 'CLUSTER SLOTS');
  assert.match(String(new Client(cluster, third).call('GET', 'a')), /^-MOVED/);
  assert.equal(node.core.ownerOf(Math.floor(range)), idOf(to));
  assert.notEqual(node.core.views.chosen[Math.floor(range)]!.owner, idOf(to), 'no voter has told it');
  cluster.pass(1000);
  assert.equal(node.core.views.chosen[Math.floor(range)]!.owner, idOf(to));
});
