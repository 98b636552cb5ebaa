/** The feed through the whole machine: BW.FEED in, push frames out. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../base/random.ts';
import { REPLY, ReplyParser } from '../resp/reply-parser.ts';
import { type Command, RequestWriter } from '../resp/request-writer.ts';
import { ReplyWriter } from '../resp/writer.ts';
import { Node } from './node.ts';
import type { NodeSession } from './node-session.ts';

const START = 1_700_000_000_000;
const decoder = new TextDecoder();

class Machine {
  nowMs = START + 2000; // longer than any bound after the start
  readonly node = new Node({
    memoryBytes: 4 * 1024 * 1024,
    eviction: 'tinylfu',
    random: new SeededRandom(1),
    startMs: START,
    version: '0.0.0',
    nodeId: 'abcdef01'.repeat(5),
  });
  readonly #out = new ReplyWriter();

  open(protocol = 3): NodeSession {
    const session = this.node.openSession(this.nowMs, { address: 'test:1', kind: 'resp' });
    if (protocol === 3) this.call(session, 'HELLO', 3);
    return session;
  }

  call(session: NodeSession, ...command: (string | number | Uint8Array)[]): unknown {
    const request = new RequestWriter();
    request.command(command as Command);
    this.#out.reset();
    // As a socket's: a Buffer, whose `slice` copies nothing, and gone with the next request.
    const bytes = Buffer.from(request.bytes.subarray(0, request.length));
    this.node.onRequest(session, bytes, 0, bytes.length, this.nowMs, this.#out);
    bytes.fill(42);
    const replies = repliesIn(this.#out);
    assert.equal(replies.length, 1, 'one reply a request');
    return replies[0];
  }

  /** What the node says unasked, in the order of takePushed. */
  pushes(): { readonly session: NodeSession; readonly items: unknown[] }[] {
    const all: { session: NodeSession; items: unknown[] }[] = [];
    for (const session of this.node.takePushed()) {
      let hasMore = true;
      while (hasMore) {
        this.#out.reset();
        hasMore = this.node.onPush(session, this.#out);
        for (const items of repliesIn(this.#out)) all.push({ session, items: items as unknown[] });
      }
    }
    return all;
  }
}

function repliesIn(out: ReplyWriter): unknown[] {
  const found: unknown[] = [];
  const parser = new ReplyParser((kind, items) => found.push([kind, ...items.map(plain)]));
  parser.begin(out.bytes, 0, out.length);
  while (parser.next() === REPLY) found.push(plain(parser.value));
  parser.finish();
  return found;
}

/** Bulks as text, maps as objects, errors as their message. */
function plain(reply: unknown): unknown {
  if (reply instanceof Uint8Array) return decoder.decode(reply);
  if (reply instanceof Error) return `-${reply.message}`;
  if (Array.isArray(reply)) return reply.map(plain);
  if (typeof reply === 'object' && reply !== null) {
    if ('flat' in reply) {
      const flat = (reply as { flat: unknown[] }).flat.map(plain);
      return Object.fromEntries(flat.flatMap((key, i) => (i % 2 === 0 ? [[String(key), flat[i + 1]]] : [])));
    }
  }
  return reply;
}

const RUN = `${START}:abcdef01`;

test('a fill that is a write is told, and voids other leases; one whose lease is void is neither stored nor told', () => {
  const machine = new Machine();
  const [follower, writer] = [machine.open(), machine.open(2)];
  machine.call(follower, 'BW.FEED', 'SUBSCRIBE', 1, 250, 0);
  machine.pushes();
  const lease = (): string => (machine.call(writer, 'BW.LEASE', 1, 'user:1', 1) as [[string]])[0][0];
  const first = lease();
  machine.nowMs += 1_000;
  const second = lease();
  const fill = (token: string, ...more: readonly unknown[]): unknown =>
    machine.call(writer, 'BW.SET', 'user:1', 'v', 'LEASE', token, 'TELL', ...(more as string[]));
  assert.equal(fill(second, 'TAGS', 1, 'org:7'), 'created');
  assert.equal(machine.node.hasPushes, true);
  assert.match(JSON.stringify(machine.pushes()), /user:1/);
  assert.match(fill(first) as string, /^-LEASEVOID/);
  assert.match(fill(second) as string, /^-LEASEVOID/, 'used');
  assert.equal(machine.node.hasPushes, false);
  const third = lease();
  machine.call(writer, 'BW.INVALIDATE', 'TAGS', 1, 'org:7');
  machine.pushes();
  assert.match(fill(third, 'TAGS', 1, 'org:7') as string, /^-LEASEVOID/);
  assert.match(machine.call(writer, 'BW.SET', 'user:1', 'v', 'TELL') as string, /^-ERR syntax/);
  assert.equal(machine.node.hasPushes, false);
});

test('every write and invalidation is told to a follower, in order, with names; reads and leased fills are not', () => {
  const machine = new Machine();
  const [follower, writer] = [machine.open(), machine.open(2)];
  assert.equal(machine.node.hasPushes, false);
  assert.deepEqual(machine.call(follower, 'BW.FEED', 'SUBSCRIBE', 1, 250, 0), {
    seq: 1,
    streams: [
      [-1, RUN, 0, false],
      [0, RUN, 0, false],
    ],
  });
  machine.pushes();
  const [token] = machine.call(writer, 'BW.GET', 'user:1', 'LEASE') as [string];
  machine.call(writer, 'BW.SET', 'user:1', 'v', 'LEASE', token);
  machine.call(writer, 'GET', 'user:1');
  assert.equal(machine.node.hasPushes, false, 'a leased fill replaces nothing');
  machine.call(writer, 'SET', 'user:1', 'w');
  machine.call(writer, 'EXPIRE', 'user:1', 100);
  machine.call(writer, 'EXPIRE', 'user:1', 200);
  machine.call(writer, 'GETEX', 'user:1', 'EX', 10);
  machine.call(writer, 'DEL', 'user:1', 'nobody');
  machine.call(writer, 'BW.INVALIDATE', 'KEYS', 1, 'k', 'TAGS', 1, 'org:7', 'NAMESPACES', 1, 'user');
  machine.call(writer, 'BW.INVALIDATE', 'TAGS', 1, 'x'.repeat(70_000));
  machine.call(writer, 'FLUSHALL');
  assert.equal(machine.node.hasPushes, true);
  const told = machine.pushes();
  assert.ok(told.every(({ session }) => session === follower));
  assert.deepEqual(
    told.map(({ items }) => [items[1], items[2], items[4], items[5], items[6]]),
    [
      [2, 0, 1, 'key', 'user:1'],
      [3, 0, 2, 'key', 'user:1'],
      [4, 0, 3, 'key', 'user:1'],
      [5, 0, 4, 'key', 'user:1'],
      [6, 0, 5, 'key', 'nobody'],
      [7, 0, 6, 'key', 'k'],
      [8, -1, 1, 'tag', 'org:7'],
      [9, -1, 2, 'namespace', 'user'],
      [10, -1, 3, 'clear', ''],
      [11, -1, 4, 'clear', ''],
    ],
  );
  assert.deepEqual(told[0]!.items, ['bw.feed', 2, 0, RUN, 1, 'key', 'user:1', null]);
  assert.deepEqual(machine.call(follower, 'BW.FEED', 'PING', 9, 11), [9, 11]);
  assert.equal(machine.node.hasPushes, false);
});

test('a new connection goes on at its positions; what is not held any more is a gap', () => {
  const machine = new Machine();
  const writer = machine.open();
  const first = machine.open();
  machine.call(first, 'BW.FEED', 'SUBSCRIBE', 1, 250, 0);
  machine.call(writer, 'DEL', 'a');
  machine.pushes();
  machine.node.closeSession(first);
  machine.call(writer, 'DEL', 'b');
  const second = machine.open();
  const position = [-1, RUN, 0, 0, RUN, 1];
  const answer = machine.call(second, 'BW.FEED', 'SUBSCRIBE', 1, 250, 2, ...position) as { streams: unknown[] };
  assert.deepEqual(answer.streams, [
    [-1, RUN, 0, true],
    [0, RUN, 1, true],
  ]);
  assert.deepEqual(
    machine.pushes().map(({ items }) => items[6]),
    ['b'],
  );
  const other = machine.open();
  const lost = machine.call(other, 'BW.FEED', 'SUBSCRIBE', 1, 250, 1, 0, '5:other', 1) as { streams: unknown[][] };
  assert.deepEqual(lost.streams[1], [0, RUN, 2, false]);
  // A follower that knows a higher reign: our clock was set back between two starts. There is no other owner.
  const higher = machine.call(other, 'BW.FEED', 'SUBSCRIBE', 1, 250, 1, 0, `${START + 9}:old`, 1);
  assert.deepEqual((higher as { streams: unknown[][] }).streams[1], [0, `${START + 10}:abcdef01`, 0, false]);
});

test('everywhere: when all have acknowledged, or when those who have not cannot trust what they have', () => {
  const machine = new Machine();
  const [writer, one, two] = [machine.open(), machine.open(), machine.open()];
  const everywhere = (): unknown => machine.call(writer, 'BW.FEED', 'EVERYWHERE', 5);
  assert.equal(everywhere(), 'done', 'nobody follows');
  for (const follower of [one, two]) {
    const { seq } = machine.call(follower, 'BW.FEED', 'SUBSCRIBE', 1, 250, 0) as { seq: number };
    machine.call(follower, 'BW.FEED', 'PING', 1, seq);
  }
  machine.call(writer, 'DEL', 'a');
  assert.equal(everywhere(), 'waiting');
  const told = machine.pushes();
  const barrier = told.find(({ session, items }) => session === one && items[5] === 'barrier')!.items[1] as number;
  assert.equal(machine.call(one, 'BW.FEED', 'ACK', barrier), 'OK');
  assert.deepEqual(machine.pushes(), [], 'one of two');
  assert.equal(machine.call(two, 'BW.FEED', 'ACK', barrier), 'OK');
  assert.deepEqual(machine.pushes(), [{ session: writer, items: ['bw.everywhere', 5] }]);

  // The second one vanishes: its trust, 250 ms and a little, has to run out.
  machine.call(two, 'BW.FEED', 'PING', 2, barrier);
  machine.node.closeSession(two);
  assert.equal(everywhere(), 'waiting');
  const later = machine.pushes().find(({ session }) => session === one)!.items[1] as number;
  machine.call(one, 'BW.FEED', 'ACK', later);
  machine.nowMs += 250;
  assert.ok(machine.node.onTick(machine.nowMs) <= 10);
  assert.deepEqual(machine.pushes(), []);
  machine.nowMs += 10;
  machine.node.onTick(machine.nowMs);
  assert.deepEqual(machine.pushes(), [{ session: writer, items: ['bw.everywhere', 5] }]);
});

test('a follower that does not read is cut to a gap, and starts anew', () => {
  const machine = new Machine();
  const [writer, follower] = [machine.open(), machine.open()];
  machine.call(follower, 'BW.FEED', 'SUBSCRIBE', 1, 250, 0);
  machine.pushes();
  for (let i = 0; i < 70_000; i += 1) machine.call(writer, 'DEL', 'k');
  assert.deepEqual(
    machine.pushes().map(({ items }) => items),
    [['bw.feed', 'gap']],
  );
  assert.match(machine.call(follower, 'BW.FEED', 'PING', 1, 1) as string, /^-FEEDGAP/);
  const again = machine.call(follower, 'BW.FEED', 'SUBSCRIBE', 2, 250, 1, 0, RUN, 0) as { streams: unknown[][] };
  assert.deepEqual(again.streams[1], [0, RUN, 70_000, false]);
});

test('what is refused, and what it says', () => {
  const machine = new Machine();
  const old = machine.open(2);
  assert.match(machine.call(old, 'BW.FEED', 'SUBSCRIBE', 1, 250, 0) as string, /^-ERR BW\.FEED needs RESP3/);
  const session = machine.open();
  assert.match(machine.call(session, 'BW.FEED', 'SUBSCRIBE', 1, 5000, 0) as string, /^-ERR bound must be/);
  assert.match(machine.call(session, 'BW.FEED', 'SUBSCRIBE', 1, 250, 1, 0) as string, /^-ERR syntax/);
  assert.match(machine.call(session, 'BW.FEED', 'SUBSCRIBE', 1, 250, 1, 0, 'x', 1) as string, /^-ERR invalid ballot/);
  assert.match(machine.call(session, 'BW.FEED', 'PING', 1, 0) as string, /^-FEEDGAP/);
  machine.call(session, 'BW.FEED', 'SUBSCRIBE', 1, 250, 0);
  machine.call(session, 'HELLO', 2);
  machine.call(old, 'DEL', 'a');
  assert.deepEqual(machine.pushes(), [], 'RESP2 has no pushes');
  assert.equal(machine.node.context.pushes.stats.subscribers, 0);
});

test('who waits for another load is told when it ends, once; who did not ask is not', () => {
  const machine = new Machine();
  const [holder, one, two, quiet] = [machine.open(), machine.open(), machine.open(), machine.open()];
  const wait = (session: NodeSession): unknown =>
    machine.call(session, 'BW.MGET', 1, 'user:1', 'LEASE', 1000, 'NOTIFY');
  const [token] = (wait(holder) as [[string]])[0];
  for (const session of [one, two, one]) assert.deepEqual(wait(session), [[null, 1000]]);
  machine.call(quiet, 'BW.GET', 'user:1', 'LEASE');
  assert.equal(machine.node.hasPushes, false);
  machine.call(holder, 'BW.FILL', 1, 'user:1', 'v', 0, token, 0);
  const told = machine.pushes();
  assert.deepEqual(
    told.map(({ session }) => session),
    [one, two],
  );
  assert.deepEqual(told[0]!.items, ['bw.lease', 'user:1', 'filled']);

  machine.call(holder, 'DEL', 'user:1');
  assert.deepEqual(machine.pushes(), [], 'nobody waits any more');
  wait(holder);
  wait(one);
  machine.call(two, 'DEL', 'user:1');
  assert.deepEqual(
    machine.pushes().map(({ items }) => items),
    [['bw.lease', 'user:1', 'voided']],
  );
});

test('a holder whose connection closes holds nobody up, and its late fill is still judged by what happened', () => {
  const machine = new Machine();
  const [holder, waiter, again] = [machine.open(), machine.open(), machine.open()];
  const wait = (session: NodeSession): unknown => machine.call(session, 'BW.GET', 'k', 'LEASE', 60_000, 'NOTIFY');
  const [token] = wait(holder) as [string];
  wait(waiter);
  machine.node.closeSession(holder);
  assert.deepEqual(
    machine.pushes().map(({ items }) => items),
    [['bw.lease', 'k', 'abandoned']],
  );
  const [granted] = wait(waiter) as [string];
  assert.notEqual(granted, null, 'the next one is granted at once');
  assert.equal(machine.call(again, 'BW.SET', 'k', 'v', 'LEASE', token), 'created', 'nothing was invalidated');
  machine.call(again, 'DEL', 'k');
  assert.match(machine.call(again, 'BW.SET', 'k', 'v', 'LEASE', granted) as string, /^-LEASEVOID/);
  machine.node.context.freshness.invariants();
});
