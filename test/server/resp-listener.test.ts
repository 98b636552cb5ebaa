import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Clock, ManualClock, systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { Node } from '../../src/node/node.ts';
import type { NodeSession } from '../../src/node/node-session.ts';
import { LatencyMeter } from '../../src/server/latency.ts';
import { RespListener, type RespListenerOptions } from '../../src/server/resp-listener.ts';
import { eventually, RawClient } from './support.ts';

const MIB = 1024 ** 2;
const clock = systemClock();

interface Live {
  readonly node: Node;
  readonly listener: RespListener<NodeSession>;
  readonly latency: LatencyMeter;
  readonly port: number;
}

const open: RespListener<NodeSession>[] = [];

async function start(options: Partial<RespListenerOptions> = {}, time: Clock = clock): Promise<Live> {
  const node = new Node({
    memoryBytes: 64 * MIB,
    eviction: 'tinylfu',
    random: new SeededRandom(1),
    startMs: time.now(),
    version: 'test',
  });
  const latency = new LatencyMeter();
  const listener = new RespListener<NodeSession>(node, time, latency, {
    maxClients: 100,
    stallTimeoutMs: 60_000,
    idleTimeoutMs: 0,
    clientMemoryBytes: 256 * MIB,
    ...options,
  });
  open.push(listener);
  return { node, listener, latency, port: await listener.listen(0, '127.0.0.1') };
}

let shared: Live;
before(async () => {
  shared = await start();
});
after(async () => {
  await Promise.all(open.map((listener) => listener.close(0)));
});

test('a pipeline is answered in order, with one write', async () => {
  const client = await RawClient.connect(shared.port);
  const count = 1000;
  client.send('PING\r\n'.repeat(count));
  await client.until(() => client.received.length === count * 7, 'pongs');
  assert.equal(client.received, '+PONG\r\n'.repeat(count));
  client.destroy();
});

test('a request in pieces of one byte is answered once', async () => {
  const client = await RawClient.connect(shared.port);
  for (const byte of '*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n') {
    client.send(byte);
    await new Promise((resolve) => setImmediate(resolve));
  }
  await client.until(() => client.received === '+OK\r\n', 'OK');
  client.destroy();
});

test('a client that closes its sending side gets all its answers, then the end', async () => {
  const client = await RawClient.connect(shared.port);
  client.socket.end('PING\r\nPING\r\n');
  await client.until(() => client.ended, 'the end');
  assert.equal(client.received, '+PONG\r\n+PONG\r\n');
  client.destroy();
});

test('a half-closed client that asked for more than fits at once still gets everything', async () => {
  const client = await RawClient.connect(shared.port);
  const value = 'x'.repeat(100_000);
  await client.expect(`*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$100000\r\n${value}\r\n`, '+OK\r\n');
  client.received = '';
  client.socket.pause();
  client.socket.end('GET big\r\n'.repeat(200));
  await eventually(
    () => shared.listener.heldBytes > 0,
    () => 'the replies to pile up',
  );
  client.socket.resume();
  await client.until(() => client.ended, 'the end', 20_000);
  assert.equal(client.received.length, 200 * (100_000 + '$100000\r\n\r\n'.length));
  client.destroy();
});

test('QUIT is answered, then the connection ends', async () => {
  const client = await RawClient.connect(shared.port);
  client.send('QUIT\r\nPING\r\n');
  await client.until(() => client.closed || client.ended, 'the end');
  assert.equal(client.received, '+OK\r\n');
  client.destroy();
});

test('what is no RESP is answered with a protocol error and closed; the node goes on', async () => {
  for (const bytes of [
    '*1\r\n$-5\r\n',
    '*1\r\n$999999999999\r\n',
    '*9999999999\r\n',
    '*1\r\n:1\r\n',
    `${'a'.repeat(70_000)}`,
  ]) {
    const client = await RawClient.connect(shared.port);
    client.send(bytes);
    await client.until(() => client.ended || client.closed, `the end after ${bytes.slice(0, 20)}`);
    assert.match(client.received, /^-ERR Protocol error/);
    client.destroy();
  }
  const client = await RawClient.connect(shared.port);
  await client.expect('PING\r\n', '+PONG\r\n');
  client.destroy();
});

test('one client more than allowed is refused as Redis does, and there is room again when one leaves', async () => {
  const { port, listener } = await start({ maxClients: 2 });
  const first = await RawClient.connect(port);
  const second = await RawClient.connect(port);
  await first.expect('PING\r\n', '+PONG\r\n');
  await second.expect('PING\r\n', '+PONG\r\n');
  const third = await RawClient.connect(port);
  await third.until(() => third.ended, 'the refusal');
  assert.equal(third.received, '-ERR max number of clients reached\r\n');
  assert.equal(listener.counters.refusedMaxClients, 1);
  first.destroy();
  await eventually(
    () => listener.connectionCount === 1,
    () => 'the first to be gone',
  );
  const fourth = await RawClient.connect(port);
  await fourth.expect('PING\r\n', '+PONG\r\n');
  for (const client of [second, third, fourth]) client.destroy();
});

test('a client that never reads costs a bounded amount, others are served, and its time runs out', async () => {
  const { port, listener, node } = await start({ stallTimeoutMs: 300 });
  const other = await RawClient.connect(port);
  await other.expect(`*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$1000000\r\n${'x'.repeat(1_000_000)}\r\n`, '+OK\r\n');
  const greedy = await RawClient.connect(port);
  greedy.socket.pause();
  greedy.send('GET big\r\n'.repeat(10_000)); // 10 GB of answers
  await eventually(
    () => listener.heldBytes > 0,
    () => 'the replies to pile up',
  );
  assert.ok(listener.heldBytes < 4 * MIB, `held ${listener.heldBytes}`);
  await other.expect('PING\r\n', '+PONG\r\n');
  await eventually(
    () => {
      listener.tick(clock.now());
      return listener.counters.closedStalled === 1;
    },
    () => 'the stalled client to be closed',
  );
  await eventually(
    () => node.stats().sessions.open === 1,
    () => 'its session to be closed',
  );
  assert.equal(listener.heldBytes, 0);
  other.destroy();
  greedy.destroy();
});

test('a slow client that reads is not taken for stalled', async () => {
  const time = new ManualClock();
  const { port, listener } = await start({ stallTimeoutMs: 250 }, time);
  const client = await RawClient.connect(port);
  const size = 8 * MIB;
  await client.expect(`*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$${size}\r\n${'x'.repeat(size)}\r\n`, '+OK\r\n');
  client.received = '';
  client.socket.pause();
  client.send('GET big\r\n'.repeat(4));
  const expected = 4 * (size + `$${size}\r\n\r\n`.length);
  await eventually(
    () => listener.heldBytes > 0,
    () => 'the replies to pile up',
  );
  const startMs = time.now();
  while (client.received.length < expected) {
    time.advance(200);
    listener.tick(time.now());
    const enough = Math.min(expected, client.received.length + 4 * MIB);
    client.socket.resume();
    await client.until(() => client.received.length >= enough || client.closed, 'a part');
    client.socket.pause();
    assert.equal(client.closed, false);
  }
  // However large the pieces were that it read: it took longer than a stalled one is given.
  assert.ok(time.now() - startMs > 250);
  assert.equal(listener.counters.closedStalled, 0);
  client.destroy();
});

test('all clients together hold no more than client-memory: the greediest goes first', async () => {
  const { port, listener } = await start({ clientMemoryBytes: 4 * MIB });
  const small = await RawClient.connect(port);
  small.send(`*2\r\n$3\r\nGET\r\n$1000000\r\n${'k'.repeat(100_000)}`);
  const clients: RawClient[] = [];
  for (let i = 0; i < 3; i += 1) {
    const client = await RawClient.connect(port);
    client.send(`*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$4000000\r\n${'v'.repeat(1_500_000)}`);
    clients.push(client);
  }
  await eventually(
    () => listener.counters.closedForMemory >= 1,
    () => `one to be closed; held ${listener.heldBytes}`,
  );
  assert.ok(listener.heldBytes <= 4 * MIB);
  assert.equal(small.closed, false);
  for (const client of [small, ...clients]) client.destroy();
  await eventually(
    () => listener.heldBytes === 0,
    () => 'everything to be given back',
  );
});

test('a silent client is closed after idle-timeout, a talking one is not', async () => {
  const time = new ManualClock();
  const { port, listener } = await start({ idleTimeoutMs: 200 }, time);
  const silent = await RawClient.connect(port);
  const talking = await RawClient.connect(port);
  for (let i = 0; i < 4; i += 1) {
    assert.equal(listener.counters.closedIdle, 0, `after ${i * 60} ms`);
    await talking.expect('PING\r\n', '+PONG\r\n');
    time.advance(60);
    listener.tick(time.now());
  }
  await silent.until(() => silent.closed || silent.ended, 'the silent client to be closed');
  assert.equal(listener.counters.closedIdle, 1);
  assert.equal(talking.closed, false);
  talking.destroy();
  silent.destroy();
});

test('sockets that reset in every state leave nothing behind', async () => {
  const { port, listener, node } = await start();
  for (let i = 0; i < 60; i += 1) {
    const client = await RawClient.connect(port);
    if (i % 3 === 1) client.send('PING\r\nGET a');
    if (i % 3 === 2) client.send('PING\r\n'.repeat(5000));
    client.socket.resetAndDestroy();
  }
  await eventually(
    () => listener.connectionCount === 0 && node.stats().sessions.open === 0,
    () => `${listener.connectionCount} connections, ${node.stats().sessions.open} sessions`,
  );
  assert.equal(listener.heldBytes, 0);
});

test('close() lets answers under way leave, and ends although clients stay', async () => {
  const { port, listener, node } = await start();
  const client = await RawClient.connect(port);
  await client.expect('PING\r\n', '+PONG\r\n');
  const deaf = await RawClient.connect(port);
  deaf.socket.pause();
  await listener.close(500);
  assert.equal(node.stats().sessions.open, 0);
  await client.until(() => client.ended, 'the end');
  await assert.rejects(RawClient.connect(port));
  client.destroy();
  deaf.destroy();
});

test('1,000 connections are served, and the latency of every chunk is recorded by family', async () => {
  const { port, listener, latency, node } = await start({ maxClients: 1000 });
  const clients = await Promise.all(Array.from({ length: 1000 }, () => RawClient.connect(port)));
  await Promise.all(clients.map((client, i) => client.expect(`SET key:${i} ${i}\r\n`, '+OK\r\n')));
  await Promise.all(clients.map((client, i) => client.expect(`GET key:${i}\r\n`, `$${String(i).length}\r\n${i}\r\n`)));
  assert.equal(listener.connectionCount, 1000);
  assert.equal(node.stats().sessions.open, 1000);
  assert.equal(latency.total(0).count, 1000);
  assert.equal(latency.total(1).count, 1000);
  for (const client of clients) client.destroy();
  await eventually(
    () => listener.connectionCount === 0,
    () => 'all to be gone',
  );
});
