/** Commands of clients that know nothing of clusters: any member answers them, as a single node would; and nothing of theirs is done late, or twice. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Client, Cluster, idOf, START } from '../../test/support/members-in-memory.ts';
import { SeededRandom } from '../base/random.ts';
import type { Message, ProxyRequest } from '../cluster/messages.ts';
import { RequestWriter } from '../resp/request-writer.ts';
import { ReplyWriter } from '../resp/writer.ts';
import { Node } from './node.ts';
import { MAX_PARTS, Proxies } from './proxy.ts';

/** Of many slots, so of all owners. */
const KEYS = ['a', 'b', 'c', 'd', 'e', 'f', '{a}2', 'g'];

const plain = (cluster: Cluster, index: number) => new Client(cluster, index, true);

/** A member that does not own the key. */
const otherThan = (cluster: Cluster, key: string): number => (cluster.ownerOf(key) + 1) % cluster.nodes.length;

function bytesOf(commands: readonly (readonly string[])[]): Uint8Array {
  const request = new RequestWriter();
  for (const command of commands) request.command(command);
  return request.bytes.slice(0, request.length);
}

/** What a single node says, byte for byte. */
class Single {
  readonly #node = new Node({
    memoryBytes: 1024 * 1024,
    eviction: 'tinylfu',
    random: new SeededRandom(9),
    startMs: START,
    version: '0.0.0',
  });
  readonly #session = this.#node.openSession(START, { address: 'test:1', kind: 'resp' });

  say(commands: readonly (readonly string[])[], protocol: 2 | 3): string {
    const out = new ReplyWriter();
    this.#session.protocol = protocol;
    const bytes = bytesOf(commands);
    this.#node.onRequest(this.#session, bytes, 0, bytes.length, START, out);
    return textOf(out);
  }
}

const textOf = (out: ReplyWriter): string => new TextDecoder().decode(out.bytes.subarray(0, out.length));

/** The same, of a session at a member: time passes until as many bytes are there. */
function sayTo(cluster: Cluster, index: number, commands: readonly (readonly string[])[], protocol: 2 | 3): string {
  const node = cluster.nodes[index]!;
  const client = plain(cluster, index);
  client.session.protocol = protocol;
  const all = new ReplyWriter();
  client.read = (out) => all.raw(out.bytes.subarray(0, out.length));
  const bytes = bytesOf(commands);
  let from = 0;
  for (let ms = 0; ms < 5000; ms += 5) {
    if (!client.session.halted) {
      const out = new ReplyWriter();
      node.onRequest(client.session, bytes, from, bytes.length, cluster.nowMs, out);
      from = bytes.length;
      client.read(out);
    }
    if (!client.session.halted && (client.session.parked?.count ?? 0) === 0) break;
    cluster.pass(5);
  }
  return textOf(all);
}

const key = fc.constantFrom(...KEYS);
const number = fc.integer({ min: 0, max: 99 }).map(String);
const someKeys = fc.array(key, { minLength: 1, maxLength: 6 });
const command: fc.Arbitrary<string[]> = fc.oneof(
  fc.tuple(fc.constantFrom<string>('GET', 'INCR', 'STRLEN', 'GETDEL', 'TYPE', 'PERSIST'), key),
  fc.tuple(fc.constantFrom<string>('SET', 'SETNX', 'GETSET', 'INCRBY', 'APPEND'), key, number),
  fc
    .tuple(fc.constantFrom('MGET', 'DEL', 'UNLINK', 'EXISTS', 'TOUCH'), someKeys)
    .map(([name, keys]) => [name, ...keys]),
  fc.array(fc.tuple(key, number), { minLength: 1, maxLength: 5 }).map((pairs) => ['MSET', ...pairs.flat()]),
  fc.tuple(someKeys, fc.boolean(), fc.boolean()).map(([keys, withTag, isWrong]) => [
    // Keys first: an entry that went by its tag is counted by a single node as not there.
    ...['BW.INVALIDATE', 'KEYS', String(keys.length), ...keys, ...(withTag ? ['TAGS', '1', 't'] : [])],
    ...(isWrong ? ['KEYS', '9', 'a'] : []),
  ]),
  // What is wrong with them is said as a single node says it, and nothing of them is done.
  fc.tuple(key, number, key).map((odd) => ['MSET', ...odd]),
  fc.constantFrom<string[]>(['GET'], ['NOSUCH', 'a'], ['INCRBY', 'b', 'x'], ['PING'], ['FLUSHALL']),
);

test('whichever members are asked, in whatever pieces, they say together what a single node says', () => {
  const cluster = new Cluster();
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.nat(2),
          fc.constantFrom(2 as const, 3 as const),
          fc.array(command, { minLength: 1, maxLength: 12 }),
          fc.boolean(),
        ),
        { minLength: 1, maxLength: 6 },
      ),
      (turns) => {
        const single = new Single();
        sayTo(cluster, 0, [['FLUSHALL']], 2);
        for (const [index, protocol, commands, isIdle] of turns) {
          // Nobody's clock is known any more: the commands wait for it.
          if (isIdle) cluster.pass(700);
          assert.equal(sayTo(cluster, index, commands, protocol), single.say(commands, protocol));
        }
        for (const { core } of cluster.nodes) core.invariants();
      },
    ),
    { numRuns: 60 },
  );
});

test('what a client asked first is done first, also while an owner is asked for its clock', () => {
  const cluster = new Cluster();
  const client = plain(cluster, otherThan(cluster, 'a'));
  client.send(['SET', 'a', 'old'], ['FLUSHALL'], ['GET', 'a'], ['SET', 'a', 'new'], ['GET', 'a']);
  assert.equal(client.session.halted, true, 'nothing overtakes the first');
  for (let ms = 0; client.replies.length < 5 && ms < 1000; ms += 5) {
    cluster.pass(5);
    if (!client.session.halted) client.send();
  }
  assert.deepEqual(client.replies, ['OK', 'OK', null, 'OK', 'new']);
});

test('sessions that did not ask for it are sent elsewhere as before', () => {
  const cluster = new Cluster();
  const index = otherThan(cluster, 'a');
  assert.match(String(new Client(cluster, index).call('GET', 'a')), /^-MOVED /);
  assert.match(String(plain(cluster, index).call('MSETNX', 'a', '1', 'b', '2')), /^-CROSSSLOT /);
});

test('a write that was given up is not done afterwards, whatever the link still holds', () => {
  const cluster = new Cluster();
  const asker = otherThan(cluster, 'a');
  const client = plain(cluster, asker);
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  cluster.holds = (message, from) => from === asker && message.kind === 'proxy' && message.request.length > 0;
  client.send(['SET', 'a', 'late']);
  cluster.pass(4000);
  assert.match(String(client.replies.pop()), /^-NOREPLICAS not acknowledged/);
  assert.equal(cluster.held.length, 1);
  assert.equal(cluster.at('a').call('SET', 'a', 'newer'), 'OK');
  cluster.release();
  cluster.pass(100);
  assert.equal(cluster.at('a').call('GET', 'a'), 'newer');
  assert.equal(client.call('GET', 'a'), 'newer');
});

test('a DEL of many keys is answered when every owner has done it and its copies too, not when the first member says so', () => {
  const cluster = new Cluster();
  const client = plain(cluster, 0);
  assert.equal(client.call('MSET', ...KEYS.flatMap((each) => [each, '1'])), 'OK');
  cluster.pass(100);
  for (const kind of ['proxy', 'effects']) {
    for (const slow of [1, 2]) {
      assert.ok(KEYS.some((each) => cluster.ownerOf(each) === slow));
      // What one owner is asked, or tells its copies, is on its way for a while.
      cluster.holds = (message, from, to) =>
        message.kind === kind &&
        (kind === 'proxy' ? to === slow && (message as ProxyRequest).request.length > 0 : from === slow);
      client.send(['DEL', ...KEYS]);
      cluster.pass(100);
      assert.ok(cluster.held.length > 0);
      assert.deepEqual(client.replies, [], `${kind} of ${slow} is held`);
      cluster.release();
      cluster.pass(100);
      assert.deepEqual(client.replies.splice(0), [KEYS.length]);
      assert.equal(client.call('EXISTS', ...KEYS), 0);
      assert.equal(client.call('MSET', ...KEYS.flatMap((each) => [each, '1'])), 'OK');
      cluster.pass(100);
    }
  }
  // Whose owner is never heard of is not acknowledged, whatever the others did.
  cluster.holds = (message, _from, to) => message.kind === 'proxy' && to === 1;
  client.send(['DEL', ...KEYS]);
  cluster.pass(5000);
  assert.match(String(client.replies.pop()), /^-NOREPLICAS/);
});

test('a command that comes twice is done once', () => {
  const cluster = new Cluster();
  const asker = otherThan(cluster, 'a');
  const client = plain(cluster, asker);
  assert.equal(client.call('INCR', 'a'), 1);
  const sent: Message[] = [];
  cluster.holds = (message, from) => {
    if (from === asker && message.kind === 'proxy' && message.request.length > 0) sent.push(message);
    return false;
  };
  assert.equal(client.call('INCR', 'a'), 2);
  assert.equal(sent.length, 1);
  cluster.nodes[cluster.ownerOf('a')]!.onMessage(idOf(asker), sent[0]!, cluster.nowMs);
  cluster.settle();
  assert.equal(client.call('GET', 'a'), '2');
});

test('an owner dies: every command is answered by its deadline, with an error that says what is known, and then by the next owner', () => {
  const cluster = new Cluster();
  const owner = cluster.ownerOf('a');
  const client = plain(cluster, otherThan(cluster, 'a'));
  assert.equal(client.call('SET', 'a', '1'), 'OK');
  assert.equal(client.call('SET', 'a', '2'), 'OK');
  cluster.dead.add(owner);
  let refusals = 0;
  for (let turn = 0; turn < 20; turn += 1) {
    const since = cluster.nowMs;
    const reply = client.call(...(turn % 2 === 0 ? ['GET', 'a'] : ['APPEND', 'a', 'x']));
    assert.ok(cluster.nowMs - since < 4500, `${cluster.nowMs - since} ms`);
    if (!/^-/.test(String(reply))) break;
    assert.match(String(reply), /^-(TRYAGAIN|NOREPLICAS|CLUSTERDOWN)/);
    refusals += 1;
  }
  assert.ok(refusals > 0);
  cluster.pass(2000);
  assert.match(String(client.call('GET', 'a')), /^2x*$/);
});

test('a member without a majority asks nobody, and says so', () => {
  const cluster = new Cluster();
  const index = otherThan(cluster, 'a');
  const client = plain(cluster, index);
  cluster.cut(index);
  cluster.pass(1500);
  // What was its own misses.
  for (const each of KEYS) assert.match(String(client.call('GET', each)), /^(null$|-(CLUSTERDOWN|TRYAGAIN))/);
  for (const each of KEYS) assert.match(String(client.call('SET', each, 'x')), /^-(CLUSTERDOWN|TRYAGAIN)/);
  assert.match(String(client.call('MGET', ...KEYS)), /^-(CLUSTERDOWN|TRYAGAIN)/);
});

// -- both sides of a hop by themselves

class Side {
  nowMs = 10_000;
  reign: { readonly epoch: number; readonly node: string } | null = { epoch: 5, node: idOf(0) };
  isChanging = false;
  readonly sent: Message[] = [];
  readonly executed: string[] = [];
  reply = '+OK\r\n';
  readonly proxies = new Proxies(
    {
      self: idOf(0),
      life: 7,
      freshMs: 1000,
      writeMs: 2000,
      ownerOf: () => idOf(1),
      rangeOf: () => 0,
      ballotOf: () => ({ epoch: 5, node: idOf(1) }),
      isChanging: () => this.isChanging,
      reignOf: () => this.reign,
      send: (_to, message) => this.sent.push(message),
      execute: (request, _protocol, done) => {
        this.executed.push(new TextDecoder().decode(request));
        done(new TextEncoder().encode(this.reply), true);
      },
    },
    this.nowMs,
  );

  asked(parts: Partial<ProxyRequest>): string {
    this.proxies.onProxy(
      idOf(1),
      {
        kind: 'proxy',
        id: 1,
        life: 1,
        ownerLife: 7,
        clockMs: this.nowMs,
        settled: 0,
        range: 0,
        ballot: { epoch: 5, node: idOf(0) },
        protocol: 2,
        request: bytesOf([['PING']]),
        ...parts,
      },
      this.nowMs,
    );
    const [answer] = this.sent.splice(0);
    return answer?.kind === 'proxied' ? new TextDecoder().decode(answer.reply) : 'nothing';
  }
}

test('an owner executes what it was asked under its reign and lately, and nothing else', () => {
  const side = new Side();
  assert.match(side.asked({ id: 1 }), /^\+OK/);
  assert.match(side.asked({ id: 2, ballot: { epoch: 6, node: idOf(1) } }), /^\+OK/, 'a newer record of the same reign');
  assert.match(side.asked({ id: 3, clockMs: side.nowMs - 1000 }), /^\+OK/);
  assert.equal(side.executed.length, 3);
  assert.match(side.asked({ id: 4, ballot: { epoch: 4, node: idOf(2) } }), /^-TRYAGAIN/, 'of before its reign');
  assert.match(side.asked({ id: 5, clockMs: side.nowMs - 1001 }), /^-TRYAGAIN/, 'too late');
  assert.match(side.asked({ id: 6, clockMs: side.nowMs + 1 }), /^-TRYAGAIN/, 'no clock of this life said so');
  assert.match(side.asked({ id: 7, ownerLife: 6 }), /^-TRYAGAIN/, 'to a life before');
  side.reign = null;
  assert.match(side.asked({ id: 8 }), /^-TRYAGAIN/, 'not the owner: it is not sent on');
  side.reign = { epoch: 5, node: idOf(0) };
  side.reply = '-MOVED 1 10.0.0.2:7379\r\n';
  assert.match(side.asked({ id: 9 }), /^-TRYAGAIN/, 'a plain client is never sent elsewhere');
  assert.equal(side.executed.length, 4);
  assert.equal(side.asked({ id: 9 }), 'nothing', 'a double');
  assert.equal(side.asked({ id: 100, life: 0 }), 'nothing', 'of an earlier life of the asker');
  assert.match(side.asked({ id: 1, life: 2 }), /^-TRYAGAIN/, 'its next life counts anew');
  assert.equal(side.executed.length, 5);
});

test('what is under way is bounded, and what waits for an owner that never answers ends', () => {
  const side = new Side();
  const request = bytesOf([['GET', 'k']]);
  const parts = Array.from({ length: 1000 }, () => ({ slot: 0, places: [0], request }));
  const replies: string[] = [];
  let held = 0;
  for (let n = 0; n < 100; n += 1) {
    side.proxies.begin(
      { parts, join: 'sum', keyCount: parts.length, isWrite: n % 2 === 0, protocol: 2 },
      side.nowMs,
      new Map(),
      (isHeld) => {
        held += isHeld ? 1 : -1;
      },
      (reply) => replies.push(new TextDecoder().decode(reply)),
    );
  }
  assert.equal(side.proxies.size, Math.floor(MAX_PARTS / 1000) * 1000);
  assert.equal(replies.length, 100 - Math.floor(MAX_PARTS / 1000));
  for (const reply of replies) assert.match(reply, /^-TRYAGAIN Too much/);
  assert.ok(held > 0);
  for (let ms = 0; ms < 1200; ms += 50) {
    side.nowMs += 50;
    side.proxies.onTick(side.nowMs);
  }
  assert.equal(side.proxies.size, 0);
  assert.equal(held, 0);
  assert.equal(replies.length, 100);
});
