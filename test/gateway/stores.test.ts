/** A gateway on every kind of store: two gateways share what they have, invalidations reach both, and a store that goes away costs loads and no answers. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { LiveServer } from '../clients/live-server.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { FakeApi, Gate, openGateway, type TestGateway, until } from './support.ts';

let api: FakeApi;
let node: LiveServer;
let redis: RedisServer | null = null;
let spare: RedisServer | null = null;
const redisNeeded = requires('redis-server');

before(async () => {
  api = await FakeApi.start();
  for (let id = 0; id < 50; id += 1) api.items.set(`i${id}`, { id, org: 7, text: 'x'.repeat(100) });
  node = await LiveServer.start();
  if (redisNeeded.skip === false) [redis, spare] = await Promise.all([RedisServer.start(), RedisServer.start()]);
});
after(async () => {
  await node?.close();
  await redis?.close();
  await spare?.close();
});

function open(store: string, more = ''): Promise<TestGateway> {
  return openGateway(
    `store: ${store}
readTimeout: 30s
writeTimeout: 30s
sources: { api: { http: { base: "${api.url}", timeout: 20s } } }
defaults: { loadTimeout: 20s, compression: { threshold: 1 } }
namespaces:
  item: { source: api, path: "/items/{id}", tags: ["org:{org}"]${more} }
  session: { source: none }
`,
  );
}

const STORES: readonly [name: string, needs: { skip: string | false }, store: () => string][] = [
  ['a node', { skip: false }, () => `breakwater://127.0.0.1:${node.port}`],
  ['redis', redisNeeded, () => `redis://127.0.0.1:${redis!.port}`],
  ['valkey', redisNeeded, () => `valkey://127.0.0.1:${redis!.port}`],
  ['a ring', redisNeeded, () => `{ ring: ["redis://127.0.0.1:${redis!.port}", "redis://127.0.0.1:${spare!.port}"] }`],
];

for (const [name, needs, store] of STORES) {
  describe(`on ${name}`, needs, () => {
    test('what one gateway loaded the other has; what one invalidates is gone in both', async () => {
      const [a, b] = await Promise.all([open(store()), open(store())]);
      await a.call('POST', '/cache/invalidate', { namespaces: ['item'] });
      const asked = api.requests.length;
      assert.equal((await a.read('item:i1'))[1], 'loader');
      await until(async () => (await b.read('item:i1'))[1] === 'l2', 'the other to find it');
      const loads = api.requests.length - asked;
      for (const what of [{ keys: ['item:i1'] }, { tags: ['org:7'] }, { namespaces: ['item'] }]) {
        api.items.set('i1', { id: 1, org: 7, what });
        const { status, text } = await a.call('POST', '/cache/invalidate', what);
        assert.equal(status, 200, text);
        assert.deepEqual((await b.read('item:i1'))[0], { id: 1, org: 7, what });
      }
      assert.ok(loads >= 1);
      const put = await a.call('PUT', '/cache/session:s', { value: { n: 1 }, ttlSeconds: 60 });
      assert.equal(put.status, 200, put.text);
      assert.deepEqual((await b.get('/cache/session:s')).body.value, { n: 1 });
      assert.equal((await b.call('DELETE', '/cache/session:s')).status, 204);
      assert.equal((await a.get('/cache/session:s')).status, 404);
    });
  });
}

describe('with an L1 in front of a node', () => {
  test('an invalidation in one gateway reaches the L1 of the other, and "everywhere" waits for it', async () => {
    const [a, b] = await Promise.all([
      open(`breakwater://127.0.0.1:${node.port}`, ', l1: {}'),
      open(`breakwater://127.0.0.1:${node.port}`, ', l1: {}'),
    ]);
    await until(async () => (await b.read('item:i2'))[1] === 'l1', 'the L1 to have it');
    api.items.set('i2', { id: 2, changed: true });
    const { status, text } = await a.call('POST', '/cache/invalidate', { keys: ['item:i2'], wait: 'everywhere' });
    assert.equal(status, 200, text);
    assert.deepEqual((await b.read('item:i2'))[0], { id: 2, changed: true });
  });
});

describe('when the store goes away', () => {
  test('reads go to the source, invalidations say so and are made up for when it is back', async () => {
    const gate = await Gate.start({ host: '127.0.0.1', port: node.port });
    const store = `breakwater://127.0.0.1:${gate.port}`;
    const gateway = await openGateway(
      `store: ${store}
writeTimeout: 300ms
sources: { api: { http: { base: "${api.url}", timeout: 20s } } }
defaults: { loadTimeout: 20s }
namespaces: { item: { source: api, path: "/items/{id}" } }
`,
    );
    await until(async () => (await gateway.get('/readyz')).body?.status === 'ready', 'it to be ready');
    await until(async () => (await gateway.read('item:i3'))[1] === 'l2', 'the node to have it');
    gate.cut();
    assert.equal((await gateway.read('item:i3'))[1], 'loader');
    api.items.set('i3', { id: 3, changed: true });
    const refused = await gateway.call('POST', '/cache/invalidate', { keys: ['item:i3'] });
    assert.deepEqual([refused.status, refused.body.error.code], [503, 'CACHE_INVALIDATION_UNACKNOWLEDGED']);
    assert.match(refused.body.error.message, /queued and will be retried/);
    assert.equal(refused.headers.get('retry-after'), '1');
    assert.doesNotMatch(refused.text, /127\.0\.0\.1/);
    await until(async () => (await gateway.get('/readyz')).body.away.includes('store'), 'readiness to notice');
    gate.heal();
    await until(async () => {
      const [value, from] = await gateway.read('item:i3');
      assert.deepEqual(value, { id: 3, changed: true }, 'the old value is served by nobody');
      return from === 'l2';
    }, 'the store to be used again');
  });
});
