import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Client, Cluster } from '../../test/support/members-in-memory.ts';

const MODES = { miss: 'miss', page: 'gutter', strict: 'error' } as const;
const KEYS = ['miss', 'page', 'strict'].map((namespace) => `${namespace}:{x}`);
const [MISS, PAGE, STRICT] = KEYS as [string, string, string];

/** The owner of the keys, cut off for so long that it counts as that; and a client of it. */
function cutOff(): { readonly cluster: Cluster; readonly client: Client; readonly owner: number } {
  const cluster = new Cluster(3, 2, {}, [], 3, MODES);
  const owner = cluster.ownerOf(PAGE);
  const client = cluster.at(PAGE);
  for (const key of KEYS) assert.equal(client.call('SET', key, 'old'), 'OK');
  cluster.pass(100);
  cluster.cut(owner);
  cluster.pass(3000);
  return { cluster, client, owner };
}

/** Asks for a lease and fills it. */
function fill(client: Client, key: string, value: string): unknown {
  const [token] = client.call('BW.GET', key, 'LEASE', '1000') as [string];
  return client.call('BW.SET', key, value, 'LEASE', token);
}

test('an owner without a majority answers reads of its ranges by the namespace: a miss, the gutter, an error', () => {
  const { client } = cutOff();
  assert.equal(client.call('GET', MISS), null);
  assert.equal(client.call('EXISTS', MISS), 0);
  assert.deepEqual(client.call('MGET', MISS, PAGE), [null, null]);
  assert.equal(client.call('GET', PAGE), null);
  assert.match(String(client.call('GET', STRICT)), /^-CLUSTERDOWN/);
  assert.match(String(client.call('MGET', MISS, STRICT)), /^-CLUSTERDOWN/);
});

test('fills are refused in words that callers know, and only the gutter keeps what they brought', () => {
  const { client } = cutOff();
  assert.match(String(fill(client, MISS, 'loaded')), /^-LEASEVOID/);
  assert.equal(client.call('GET', MISS), null);
  assert.match(String(fill(client, PAGE, 'loaded')), /^-LEASEVOID/);
  assert.equal(client.call('GET', PAGE), 'loaded');
  assert.match(String(client.call('SET', PAGE, 'plain')), /^-CLUSTERDOWN/);
  assert.equal(client.call('GET', PAGE), null, 'a plain SET is not acknowledged, and what it names is gone');
});

test('invalidations empty the gutter of what they name, void its tokens, and are not acknowledged', () => {
  const { client } = cutOff();
  fill(client, PAGE, 'loaded');
  assert.match(String(client.call('DEL', PAGE)), /^-CLUSTERDOWN/);
  assert.equal(client.call('GET', PAGE), null);
  const [token] = client.call('BW.GET', PAGE, 'LEASE', '1000') as [string];
  assert.match(String(client.call('DEL', PAGE)), /^-CLUSTERDOWN/);
  client.call('BW.SET', PAGE, 'of before', 'LEASE', token);
  assert.equal(client.call('GET', PAGE), null);
  fill(client, PAGE, 'loaded');
  client.send(['BW.INVALIDATE', 'TAGS', '1', 'any']);
  client.send(['GET', PAGE]);
  assert.deepEqual(client.replies, [], 'it waits behind the invalidation');
});

test('nothing is in the gutter for longer than G, counted from its token', () => {
  const { cluster, client } = cutOff();
  fill(client, PAGE, 'loaded');
  cluster.pass(4900);
  assert.equal(client.call('GET', PAGE), 'loaded');
  cluster.pass(200);
  assert.equal(client.call('GET', PAGE), null);
  const [token] = client.call('BW.GET', PAGE, 'LEASE', '60000') as [string];
  cluster.pass(3800);
  client.call('BW.SET', PAGE, 'late', 'LEASE', token);
  assert.equal(client.call('GET', PAGE), null, 'a load that took 3/8 of G is not kept');
});

test('when the lease is back the gutter is empty, and its tokens mean nothing', () => {
  const cluster = new Cluster(3, 2, {}, [], 3, MODES);
  const owner = cluster.ownerOf(PAGE);
  const client = cluster.at(PAGE);
  for (const key of KEYS) assert.equal(client.call('SET', key, 'old'), 'OK');
  // Nobody hears anybody, so nobody takes over.
  const apart = (): void => {
    for (const index of [0, 1, 2]) cluster.cut(index);
    cluster.pass(3000);
  };
  apart();
  assert.equal(client.call('GET', PAGE), null);
  fill(client, PAGE, 'loaded');
  const [token] = client.call('BW.GET', MISS, 'LEASE', '1000') as [string];
  cluster.cuts.clear();
  cluster.pass(600);
  assert.equal(cluster.ownerOf(PAGE), owner);
  assert.equal(client.call('GET', PAGE), 'old');
  assert.equal(client.call('DEL', MISS), 1);
  assert.match(String(client.call('BW.SET', MISS, 'x', 'LEASE', token)), /^-LEASEVOID/);
  apart();
  assert.equal(client.call('GET', PAGE), null);
});

test('a member that has stood still, or is cut off for a moment, does not miss: who asks is to look elsewhere, or again', () => {
  const cluster = new Cluster(3, 2, {}, [], 3, MODES);
  const owner = cluster.ownerOf(MISS);
  const client = cluster.at(MISS);
  assert.equal(client.call('SET', MISS, 'kept'), 'OK');
  cluster.cut(owner);
  cluster.pass(1300);
  client.send(['GET', MISS]);
  assert.match(String(client.replies.pop()), /^-CLUSTERDOWN/);
});
