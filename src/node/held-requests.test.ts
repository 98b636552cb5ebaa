/** Ranges that change hands while clients ask for them: nobody is refused, everything is done once, in order, and by who may. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, Cluster, idOf, RANGES } from '../../test/support/members-in-memory.ts';
import type { Message } from '../cluster/messages.ts';
import { NO_BALLOT } from '../cluster/record.ts';
import { slotOf } from '../hash/slot.ts';
import type { Command } from '../resp/request-writer.ts';
import { MAX_HELD } from './held-requests.ts';

const slot = (key: string): number => slotOf(new TextEncoder().encode(key), 0, key.length);
const rangeOf = (key: string): number => Math.floor(slot(key) / (16_384 / RANGES));

/** The owner of `key`, where it is told to go, and somebody else. */
function places(
  cluster: Cluster,
  key: string,
): { readonly owner: number; readonly to: number; readonly other: number } {
  const owner = cluster.ownerOf(key);
  const to = cluster.copyOf(key);
  return { owner, to, other: [0, 1, 2].find((each) => each !== owner && each !== to)! };
}

/** The range of `key` is frozen, and stays so until `release`: nobody answers who is asked to take it. */
function freeze(cluster: Cluster, key: string, owner: number, to: number): void {
  cluster.holds = (message, from) => from === owner && message.kind === 'yield';
  const { core } = cluster.nodes[owner]!;
  assert.equal(core.move(rangeOf(key), idOf(to), cluster.nowMs), null);
  for (let ms = 0; ms < 5000 && cluster.held.length === 0; ms += 5) cluster.pass(5);
  assert.equal(cluster.held.length, 1, 'the range was offered');
  assert.equal(core.isChanging(rangeOf(key), cluster.nowMs), true);
}

const tell = (cluster: Cluster, client: Client, ...commands: Command[]): unknown[] => {
  client.send(...commands);
  for (let ms = 0; ms < 2000 && client.replies.length < commands.length; ms += 5) cluster.pass(5);
  return client.replies.splice(0);
};

test('a request for a range that is handed over waits, with everything behind it, and is sent to the new owner', () => {
  const cluster = new Cluster();
  const { owner, to } = places(cluster, 'a');
  const client = new Client(cluster, owner);
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  freeze(cluster, 'a', owner, to);
  client.send(['SET', 'a', '2'], ['PING'], ['GET', 'a']);
  cluster.pass(50);
  assert.deepEqual(client.replies, [], 'nothing is answered while nobody owns it');
  assert.equal(client.session.halted, true);
  cluster.release();
  const moved = `-MOVED ${slot('a')} 10.0.0.${to + 1}:7379`;
  assert.deepEqual(client.replies.splice(0), [moved, 'PONG', moved]);
  assert.equal(client.session.halted, false);
  assert.equal(new Client(cluster, to).call('GET', 'a'), '1', 'what was sent elsewhere was not done here');
  const { counts } = cluster.nodes[owner]!.held;
  assert.deepEqual([counts.held, counts.expired, counts.refused], [1, 0, 0]);
  assert.ok(counts.longestMs >= 50);
});

test('a hand-over that takes too long is told as before, and nothing of what waited is done', () => {
  const cluster = new Cluster();
  const { owner, to } = places(cluster, 'a');
  const client = new Client(cluster, owner);
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  freeze(cluster, 'a', owner, to);
  cluster.holds = (message) => message.kind === 'yield';
  const since = cluster.nowMs;
  const told = client.call('SET', 'a', '2');
  assert.match(String(told), /^-TRYAGAIN /);
  assert.ok(cluster.nowMs - since >= 500 && cluster.nowMs - since <= 520, `${cluster.nowMs - since} ms`);
  cluster.held.splice(0);
  cluster.holds = () => false;
  cluster.pass(3000);
  const now = new Client(cluster, cluster.ownerOf('a')).call('GET', 'a');
  assert.ok(now === '1' || now === null, String(now));
});

test('a range that its owner keeps after all is served by it, late but in order', () => {
  const cluster = new Cluster();
  const { owner, to } = places(cluster, 'a');
  const client = new Client(cluster, owner);
  const writer = new Client(cluster, owner);
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  // A write that its copy does not acknowledge keeps the hand-over from ending.
  cluster.holds = (message, from) => from === to && message.kind === 'applied';
  writer.send(['SET', 'a', '2']);
  assert.equal(cluster.nodes[owner]!.core.move(rangeOf('a'), idOf(to), cluster.nowMs), null);
  for (let ms = 0; ms < 1000 && !cluster.nodes[owner]!.core.isChanging(rangeOf('a'), cluster.nowMs); ms += 5)
    cluster.pass(5);
  client.send(['APPEND', 'a', 'x'], ['GET', 'a']);
  assert.deepEqual(client.replies, []);
  const { core } = cluster.nodes[owner]!;
  for (let ms = 0; ms < 1000 && core.isChanging(rangeOf('a'), cluster.nowMs); ms += 5) cluster.pass(5);
  assert.ok(core.primaries[rangeOf('a')] !== null, 'it reigns still');
  cluster.release();
  cluster.pass(100);
  assert.deepEqual(writer.replies, ['OK']);
  assert.deepEqual(client.replies, [2, '2x']);
});

test('who disconnects while waiting has asked for nothing', () => {
  const cluster = new Cluster();
  const { owner, to } = places(cluster, 'a');
  const client = new Client(cluster, owner);
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  freeze(cluster, 'a', owner, to);
  client.send(['SET', 'a', '2']);
  cluster.nodes[owner]!.closeSession(client.session);
  assert.equal(cluster.nodes[owner]!.held.size, 0);
  cluster.release();
  cluster.pass(100);
  assert.equal(new Client(cluster, to).call('GET', 'a'), '1');
});

test('those that wait are bounded: one more is told at once', () => {
  const cluster = new Cluster();
  const { owner, to } = places(cluster, 'a');
  freeze(cluster, 'a', owner, to);
  const clients = Array.from({ length: MAX_HELD + 1 }, () => new Client(cluster, owner));
  for (const client of clients) client.send(['GET', 'a']);
  assert.equal(cluster.nodes[owner]!.held.size, MAX_HELD);
  assert.match(String(clients.at(-1)!.replies[0]), /^-TRYAGAIN /);
  cluster.nodes[owner]!.invariants();
  cluster.release();
  for (const client of clients.slice(0, -1)) assert.match(String(client.replies[0]), /^-MOVED /);
  assert.equal(cluster.nodes[owner]!.held.size, 0);
});

test('a client that knows nothing of clusters is answered through a hand-over, whichever member it asks', () => {
  for (const who of ['owner', 'to', 'other'] as const) {
    const cluster = new Cluster();
    const found = places(cluster, 'a');
    const { owner, to } = found;
    const client = new Client(cluster, found[who], true);
    assert.equal(client.call('SET', 'a', '1'), 'OK');
    freeze(cluster, 'a', owner, to);
    // One way of doing the first is as good as the other: but not both, and not the second before it.
    client.send(['APPEND', 'a', '2'], ['APPEND', 'a', '3'], ['MGET', 'a', 'b', 'c']);
    cluster.pass(50);
    assert.deepEqual(client.replies, [], who);
    cluster.release();
    for (let ms = 0; ms < 1000 && client.replies.length < 3; ms += 5) cluster.pass(5);
    assert.deepEqual(client.replies, [2, 3, ['123', null, null]], who);
    assert.equal(cluster.ownerOf('a'), to);
    assert.equal(new Client(cluster, to).call('GET', 'a'), '123');
    for (const node of cluster.nodes) node.invariants();
  }
});

test('what one connection asked first is done first, also when the first was asked of who had just given the range away', () => {
  const cluster = new Cluster();
  const { owner, to, other } = places(cluster, 'a');
  const client = new Client(cluster, other, true);
  assert.equal(client.call('SET', 'a', '0'), 'OK');
  // The first command is on its way to the owner while that hands the range over, and the asker learns of it.
  const isFirst = (message: Message): boolean => message.kind === 'proxy' && message.request.length > 0;
  cluster.holds = (message, from, at) => from === other && at === owner && isFirst(message);
  client.send(['SET', 'a', 'first']);
  cluster.settle();
  assert.equal(cluster.held.length, 1);
  assert.equal(cluster.nodes[owner]!.core.move(rangeOf('a'), idOf(to), cluster.nowMs), null);
  for (let ms = 0; ms < 500 && cluster.nodes[other]!.core.ownerOf(rangeOf('a')) !== idOf(to); ms += 5) cluster.pass(5);
  assert.equal(cluster.nodes[other]!.core.ownerOf(rangeOf('a')), idOf(to), 'the asker knows the new owner');
  client.send(['SET', 'a', 'second']);
  cluster.settle();
  assert.deepEqual(client.replies, [], 'the second does not overtake the first');
  cluster.release();
  for (let ms = 0; ms < 1000 && client.replies.length < 2; ms += 5) cluster.pass(5);
  assert.deepEqual(client.replies, ['OK', 'OK']);
  assert.equal(new Client(cluster, to).call('GET', 'a'), 'second');
});

test('a member that leaves gives every range away without an error to anybody', () => {
  const cluster = new Cluster();
  const leaving = cluster.ownerOf('a');
  const keys = Array.from({ length: 64 }, (_, n) => `k${n}`);
  const client = new Client(cluster, (leaving + 1) % 3, true);
  for (const key of keys) assert.equal(client.call('SET', key, key), 'OK');
  const direct = new Client(cluster, leaving);
  cluster.nodes[leaving]!.leave(true);
  for (let turn = 0; turn < 10; turn += 1) {
    const replies = tell(cluster, client, ...keys.map((key) => ['GET', key]));
    assert.deepEqual(replies, keys);
    for (const reply of tell(cluster, direct, ...keys.map((key) => ['GET', key]))) {
      assert.match(String(reply), /^(k\d+|-MOVED .*)$/);
    }
  }
  assert.equal(cluster.nodes[leaving]!.ownedCount, 0);
});

test('an owner that voters have promised another ballot for its range lets requests wait until that is decided', () => {
  const cluster = new Cluster();
  const { owner, other } = places(cluster, 'a');
  const client = new Client(cluster, owner);
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  const range = rangeOf('a');
  const { core } = cluster.nodes[owner]!;
  const { ballot } = core.views.chosen[range]!;
  // Somebody asks for the range, is promised it by all, and goes no further.
  for (const node of cluster.nodes) {
    const items = [{ range, basis: ballot, owner: core.self, isYielded: true }];
    node.onMessage(
      idOf(other),
      { kind: 'prepare', claim: 77, epoch: ballot.epoch + 5, items, set: NO_BALLOT },
      cluster.nowMs,
    );
  }
  for (let ms = 0; ms < 1000 && cluster.nodes[owner]!.guard.isOwned(range); ms += 5) cluster.pass(5);
  assert.equal(cluster.nodes[owner]!.guard.isOwned(range), false);
  client.send(['GET', 'a']);
  assert.deepEqual(client.replies, []);
  for (let ms = 0; ms < 1000 && client.replies.length === 0; ms += 5) cluster.pass(5);
  assert.deepEqual(client.replies, ['1'], 'it asked for its own record above that');
});
