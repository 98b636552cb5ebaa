/**
 * The clients that people have, as published, against a real server: they connect, name themselves, pipeline, understand errors,
 * and come back after a restart.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { Redis } from 'ioredis';
import { createClient } from 'redis';
import { findExecutable, requires } from '../support/requirements.ts';
import { LiveServer } from './live-server.ts';

let live: LiveServer;
before(async () => {
  live = await LiveServer.start();
});
after(() => live.close());

const binary = Buffer.from([0, 255, 13, 10, 128, 1]);

// -- ioredis

function ioredis(options: object = {}): Redis {
  return new Redis({ host: '127.0.0.1', port: live.port, retryStrategy: () => 20, ...options });
}

for (const protocol of [2, 3]) {
  test(`ioredis, RESP${protocol}: values, pipelines, errors, expiry, scan`, async () => {
    const client = ioredis({ protocol, connectionName: 'tester' });
    try {
      await client.flushall();
      assert.equal(await client.set('k', 'v', 'EX', 100), 'OK');
      assert.equal(await client.get('k'), 'v');
      assert.equal(await client.ttl('k'), 100);
      await client.set('b', binary);
      assert.deepEqual(await client.getBuffer('b'), binary);
      assert.equal(await client.set('k', 'w', 'NX'), null);
      assert.deepEqual(await client.mget('k', 'nope'), ['v', null]);
      const pipeline = client.pipeline();
      for (let i = 0; i < 500; i += 1) pipeline.set(`p:${i}`, String(i)).get(`p:${i}`);
      pipeline.incr('k');
      const results = (await pipeline.exec())!;
      assert.equal(results.length, 1001);
      assert.equal(results[999]![1], '499');
      assert.match(String(results[1000]![0]), /value is not an integer/);
      await assert.rejects(client.call('nosuch', 'a'), /ERR unknown command 'nosuch', with args beginning with: 'a'/);
      const keys = new Set<string>();
      for await (const page of client.scanStream({ match: 'p:*', count: 50 })) for (const key of page) keys.add(key);
      assert.equal(keys.size, 500);
      assert.equal(await client.client('GETNAME'), 'tester');
      assert.match(String(await client.info()), /redis_version:7\.0\.15/);
      assert.deepEqual(await client.call('BW.GET', 'u:1', 'LEASE').then((r) => (r as unknown[]).length), 2);
      assert.equal(await client.quit(), 'OK');
    } finally {
      client.disconnect();
    }
  });
}

test('ioredis comes back after a restart on the same port', async () => {
  const client = ioredis();
  client.on('error', () => {});
  try {
    await client.set('k', 'before');
    await live.restart();
    assert.equal(await client.get('k'), null, 'the restarted server is empty');
    assert.equal(await client.set('k', 'after'), 'OK');
  } finally {
    client.disconnect();
  }
});

// -- node-redis

function nodeRedis(options: object = {}): ReturnType<typeof createClient> {
  const client = createClient({
    socket: { host: '127.0.0.1', port: live.port, reconnectStrategy: () => 20 },
    ...options,
  }) as ReturnType<typeof createClient>;
  client.on('error', () => {});
  return client;
}

for (const RESP of [2, 3] as const) {
  test(`node-redis, RESP${RESP}: values, pipelines, errors, expiry, scan`, async () => {
    const client = nodeRedis({ RESP, name: 'tester' });
    await client.connect();
    try {
      await client.flushAll();
      assert.equal(await client.set('k', 'v', { expiration: { type: 'PX', value: 100_000 } }), 'OK');
      assert.equal(await client.get('k'), 'v');
      const left = await client.pTTL('k');
      assert.ok(left > 90_000 && left <= 100_000);
      assert.deepEqual(await client.mGet(['k', 'nope']), ['v', null]);
      const replies = await Promise.all(
        Array.from({ length: 500 }, async (_, i) => {
          await client.set(`p:${i}`, `${i}`);
          return client.get(`p:${i}`);
        }),
      );
      assert.equal(replies[499], '499');
      await assert.rejects(client.incr('k'), /value is not an integer/);
      await assert.rejects(client.sendCommand(['nosuch']), /unknown command/);
      assert.equal(await client.incrBy('n', 41), 41);
      const keys = new Set<string>();
      for await (const page of client.scanIterator({ MATCH: 'p:*', COUNT: 50 })) for (const key of page) keys.add(key);
      assert.equal(keys.size, 500);
      assert.equal(await client.clientGetName(), 'tester');
      const info = await client.clientInfo();
      assert.equal(info.name, 'tester');
      assert.ok((await client.clientList()).length >= 1);
      assert.deepEqual({ ...(await client.configGet('databases')) }, { databases: '1' });
      assert.ok((await client.commandCount()) > 50);
      assert.equal((await client.commandInfo(['get']))[0]!.arity, 2);
      assert.equal(await client.dbSize(), 502);
      await client.close();
    } finally {
      if (client.isOpen) client.destroy();
    }
  });
}

test('node-redis comes back after a restart on the same port', async () => {
  const client = nodeRedis();
  await client.connect();
  try {
    await client.set('k', 'before');
    const back = new Promise((resolve) => client.once('ready', resolve));
    await live.restart();
    await back;
    assert.equal(await client.get('k'), null, 'the restarted server is empty');
    assert.equal(await client.set('k', 'after'), 'OK');
  } finally {
    client.destroy();
  }
});

// -- redis-cli

function redisCli(args: readonly string[], input = ''): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(findExecutable('redis-cli')!, ['-h', '127.0.0.1', '-p', String(live.port), ...args]);
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString('latin1');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      output += chunk.toString('latin1');
    });
    child.on('error', reject);
    child.on('close', () => resolve(output));
    child.stdin.end(input);
  });
}

const needsCli = requires('redis-cli');

test('redis-cli: one command, RESP3, errors', needsCli, async () => {
  await redisCli(['FLUSHALL']);
  assert.equal(await redisCli(['SET', 'user:1', 'Ada', 'EX', '6000']), 'OK\n');
  assert.equal(await redisCli(['GET', 'user:1']), 'Ada\n');
  assert.match(await redisCli(['-3', 'TTL', 'user:1']), /^(?:6000|59\d\d)\n$/);
  assert.equal((await redisCli(['INCR', 'user:1'])).trim(), 'ERR value is not an integer or out of range');
  assert.match(await redisCli(['-3', 'BW.STATS']), /hits/);
  assert.match(await redisCli(['INFO', 'server']), /redis_version:7\.0\.15/);
  assert.match(await redisCli(['CONFIG', 'GET', 'maxmemory']), /33554432/);
});

test('redis-cli: a script on standard input, the prompt and its help', needsCli, async () => {
  const output = await redisCli([], 'SET a 1\nINCR a\nGET a\nnosuch\nhelp get\n');
  assert.match(output, /OK\n2\n2\nERR unknown command 'nosuch'/);
  assert.match(await redisCli(['help', 'get']), /Get the value of a key/i);
  assert.match(await redisCli(['help', 'bw.get']), /BW.GET.*key.*LEASE/i);
});

test('redis-cli --pipe loads a thousand entries, --scan finds them', needsCli, async () => {
  await redisCli(['FLUSHALL']);
  let protocol = '';
  for (let i = 0; i < 1000; i += 1) {
    const key = `key:${i}`;
    protocol += `*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$5\r\nvalue\r\n`;
  }
  assert.match(await redisCli(['--pipe'], protocol), /errors: 0, replies: 1000/);
  const found = (await redisCli(['--scan', '--pattern', 'key:*'])).trim().split('\n');
  assert.equal(new Set(found).size, 1000);
});
