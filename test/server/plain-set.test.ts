/** `plain-set` on a running node, with the clients that people use. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { createClient } from 'redis';
import { resolveConfig } from '../../src/server/config.ts';
import { type RunningServer, startServer } from '../../src/server/serve.ts';

let node: RunningServer;
const client = (): ReturnType<typeof createClient> =>
  createClient({ url: `redis://127.0.0.1:${node.respPort}` }) as ReturnType<typeof createClient>;
let redis: ReturnType<typeof createClient>;

before(async () => {
  const flags = { port: '0', memory: '16mb', 'plain-set': 'user=holdoff, session=refuse' };
  const { config } = resolveConfig({ flags, env: {}, file: null });
  node = await startServer(config, { version: '0.0.0' });
  redis = await client().connect();
});
after(async () => {
  redis.destroy();
  await node.close();
});

test('write, the default: a plain SET puts back what was deleted', async () => {
  await redis.set('other:1', 'old');
  await redis.del('other:1');
  assert.equal(await redis.set('other:1', 'old'), 'OK');
  assert.equal(await redis.get('other:1'), 'old');
});

test('holdoff: after a delete of the key or its namespace a plain SET stores nothing, in any of its forms', async () => {
  assert.equal(await redis.set('user:1', 'new'), 'OK');
  await redis.del('user:1');
  assert.equal(await redis.set('user:1', 'old'), null);
  assert.equal(await redis.set('user:1', 'old', { EX: 10 }), null);
  assert.equal(await redis.set('user:1', 'old', { GET: true }), null);
  assert.equal(await redis.setNX('user:1', 'old'), 0);
  assert.equal(await redis.sendCommand(['SETEX', 'user:1', '10', 'old']), null);
  assert.equal(await redis.sendCommand(['GETSET', 'user:1', 'old']), null);
  assert.equal(await redis.sendCommand(['MSET', 'other:2', 'x', 'user:1', 'old']), null);
  assert.equal(await redis.sendCommand(['MSETNX', 'other:2', 'x', 'user:1', 'old']), 0);
  assert.equal(await redis.exists(['user:1', 'other:2']), 0, 'nothing was stored');
  assert.equal(await redis.set('user:2', 'x'), 'OK', 'another key is free');
  await redis.sendCommand(['BW.INVALIDATE', 'NAMESPACES', '1', 'user']);
  assert.equal(await redis.set('user:3', 'x'), null);
  const [token] = (await redis.sendCommand(['BW.GET', 'user:1', 'LEASE'])) as unknown as [string];
  assert.equal(await redis.sendCommand(['BW.SET', 'user:1', 'loaded', 'LEASE', String(token)]), 'created');
  assert.equal(await redis.get('user:1'), 'loaded', 'a lease is proof');
  const put = await fetch(`http://127.0.0.1:${node.httpPort}/cache/user:4`, {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: '{"value":1}',
  });
  assert.deepEqual(
    [put.status, ((await put.json()) as { error: { code: string } }).error.code],
    [409, 'PLAIN_SET_HELD_OFF'],
  );
});

test('refuse: an error that says what to do; leased fills are stored', async () => {
  await assert.rejects(redis.set('session:1', 'x'), /^Error: PLAINSET .*LEASE/);
  await assert.rejects(redis.set('session:1', 'x', { GET: true }), /PLAINSET/);
  const [token] = (await redis.sendCommand(['BW.GET', 'session:1', 'LEASE'])) as unknown as [string];
  assert.equal(await redis.sendCommand(['BW.SET', 'session:1', 'x', 'LEASE', String(token)]), 'created');
  const text = await (await fetch(`http://127.0.0.1:${node.httpPort}/metrics`)).text();
  assert.match(text, /breakwater_plain_sets_refused_total 2\n/);
});

test('what is no mode is refused with a sentence', () => {
  for (const text of ['user', 'user=never', '=', 'a=write,b']) {
    const flags = { 'plain-set': text };
    assert.throws(() => resolveConfig({ flags, env: {}, file: null }), { code: 'CONFIG_INVALID' }, text);
  }
});
