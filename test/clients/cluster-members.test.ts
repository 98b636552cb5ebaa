/**
 * Redis Cluster clients as published against real members, links and takeover included: they find everybody from one address, route by themselves, and go on when a member ends. All three
 * members run in this process, each with its own ports.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { GlideClient, GlideClusterClient, Logger } from '@valkey/valkey-glide';
import { Cluster, Redis } from 'ioredis';
import { createClient, createCluster } from 'redis';
import { freePorts } from '../../src/cli/children/ports.ts';
import { resolveConfig } from '../../src/server/config.ts';
import { type RunningServer, startServer } from '../../src/server/serve.ts';
import { eventually } from '../server/support.ts';

Logger.setLoggerConfig('off');
const TIMEOUT = { timeout: 300_000 };
const PATIENCE_MS = 120_000;
const keys = Array.from({ length: 200 }, (_, n) => `user:${n}`);

let members: RunningServer[] = [];
before(async () => {
  const ports = await freePorts(12);
  const join = [0, 1, 2].map((n) => `127.0.0.1:${ports[4 * n + 2]}`).join(',');
  members = await Promise.all(
    [0, 1, 2].map((n) => {
      const [port, http, link, proxy] = ports.slice(4 * n, 4 * n + 4).map(String) as [string, string, string, string];
      const flags = { port, 'http-port': http, 'link-port': link, 'proxy-port': proxy, join, memory: '16mb' };
      return startServer(resolveConfig({ flags, env: {}, file: null }).config, { version: '0.0.0' });
    }),
  );
  await isWhole(members, 2);
}, TIMEOUT);
after(() => Promise.all(members.map((member) => member.close({ isLeaving: false }))));

/** Every range has an owner among these, and so many members that hold it. */
async function isWhole(among: readonly RunningServer[], holders: number): Promise<void> {
  await eventually(
    () =>
      among.every(({ member }) => {
        const { core } = member!.machine;
        const ids = among.map((one) => one.member!.config.setup.self);
        return (
          member!.isOk &&
          core.views.chosen.every(
            ({ owner, inSync }) => owner !== null && ids.includes(owner) && inSync.length >= holders,
          )
        );
      }),
    () => 'every range has an owner',
    PATIENCE_MS,
  );
}

interface AnyClient {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<string | null>;
  del(key: string): Promise<unknown>;
}

/** Tried again while the cluster says that it is busy with itself; nothing else may fail. */
async function patiently<T>(call: () => Promise<T>): Promise<T> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    try {
      return await call();
    } catch (error) {
      const isPassing = /TRYAGAIN|CLUSTERDOWN|NOREPLICAS|ECONN|closed|refresh|Failed/i.test(String(error));
      if (!isPassing || performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** What was set may be missed (a cache, and a machine that pauses loses ranges), and is never another value. */
async function useIt(client: AnyClient, mark: string): Promise<void> {
  for (const key of keys) await patiently(() => client.set(key, `${key} ${mark}`));
  assert.ok((await hitsOf(client, keys, mark)) > 0);
  for (const key of keys.slice(0, 20)) await patiently(() => client.del(key));
  assert.equal(await hitsOf(client, keys.slice(0, 20), mark), 0);
}

async function hitsOf(client: AnyClient, some: readonly string[], mark: string): Promise<number> {
  let hits = 0;
  for (const key of some) {
    const value = await patiently(() => client.get(key));
    assert.ok(value === null || value === `${key} ${mark}`, `${key}: ${value}`);
    if (value !== null) hits += 1;
  }
  return hits;
}

async function nodeRedis(port: number): Promise<AnyClient & { destroy(): void }> {
  const redis = createCluster({ rootNodes: [{ url: `redis://127.0.0.1:${port}` }] });
  redis.on('error', () => {});
  await redis.connect();
  return {
    set: (key, value) => redis.set(key, value),
    get: async (key) => (await redis.get(key)) as string | null,
    del: (key) => redis.del(key),
    destroy: () => redis.destroy(),
  };
}

test(
  'clients that know nothing of clusters: one member is enough for everything, commands over many slots too',
  TIMEOUT,
  async () => {
    const ioredis = new Redis(members[0]!.proxyPort!, '127.0.0.1');
    const redis = createClient({ url: `redis://127.0.0.1:${members[1]!.proxyPort}` });
    await redis.connect();
    try {
      await useIt(ioredis, 'plain ioredis');
      const plain: AnyClient = {
        set: (key, value) => redis.set(key, value),
        get: async (key) => (await redis.get(key)) as string | null,
        del: (key) => redis.del(key),
      };
      await useIt(plain, 'plain node-redis');
      await patiently(() => ioredis.mset(...keys.flatMap((key) => [key, `${key} all`])));
      const values = await patiently(() => redis.mGet(keys));
      assert.ok(values.some((value) => value !== null));
      for (const [n, value] of values.entries()) assert.ok(value === null || value === `${keys[n]} all`, String(value));
      await patiently(() => ioredis.incr('counter'));
      assert.ok(Number(await patiently(() => redis.exists(keys))) > 0);
      await patiently(() => redis.del(keys));
      assert.equal(await patiently(() => ioredis.exists(...keys)), 0);
      assert.deepEqual(
        (await patiently(() => ioredis.mget(keys))).filter((value) => value !== null),
        [],
      );
      // A pipeline to all owners: the replies come in the order of the commands.
      const replies = (await ioredis
        .pipeline(
          keys.flatMap((key) => [
            ['set', key, key],
            ['get', key],
          ]),
        )
        .exec())!;
      assert.equal(replies.length, 2 * keys.length);
      let hits = 0;
      for (const [n, [error, reply]] of replies.entries()) {
        if (error !== null) assert.match(error.message, /TRYAGAIN|CLUSTERDOWN|NOREPLICAS/);
        else if (n % 2 === 0) assert.equal(reply, 'OK');
        else {
          assert.ok(reply === null || reply === keys[(n - 1) / 2], String(reply));
          hits += 1;
        }
      }
      assert.ok(hits > 0);
    } finally {
      ioredis.disconnect();
      redis.destroy();
    }
  },
);

test('HTTP: any member answers for every key, and says so when a value is the same', TIMEOUT, async () => {
  const url = (n: number, path: string): string => `http://127.0.0.1:${members[n % 3]!.httpPort}${path}`;
  const ask = (n: number, path: string, init: RequestInit = {}): Promise<Response> =>
    patiently(async () => {
      const response = await fetch(url(n, path), {
        ...init,
        headers: { 'content-type': 'application/json', ...init.headers },
      });
      if (response.status === 503) throw new Error(`TRYAGAIN ${await response.text()}`);
      return response;
    });
  const some = Array.from({ length: 24 }, (_, n) => `page:${n}`);
  for (const [n, key] of some.entries()) {
    const stored = await ask(n, `/cache/${key}`, {
      method: 'PUT',
      body: JSON.stringify({ value: { n }, tags: ['pages'] }),
    });
    assert.ok(stored.ok, await stored.text());
  }
  let hits = 0;
  for (const [n, key] of some.entries()) {
    const [first, second] = [await ask(n + 1, `/cache/${key}`), await ask(n + 2, `/cache/${key}`)];
    if (first.status !== 200 || second.status !== 200) continue;
    hits += 1;
    assert.deepEqual(((await first.json()) as { value: unknown }).value, { n });
    assert.equal(first.headers.get('etag'), second.headers.get('etag'));
    const etag = first.headers.get('etag')!;
    const again = await ask(n, `/cache/${key}`, { headers: { 'if-none-match': etag } });
    assert.ok(again.status === 304 || again.status === 404);
  }
  assert.ok(hits > 0);
  const batch = await ask(1, '/cache/batch-get', { method: 'POST', body: JSON.stringify({ keys: some }) });
  assert.ok(((await batch.json()) as { results: unknown[] }).results.length > 0);
  const gone = await ask(0, '/cache/page:0', { method: 'DELETE' });
  assert.equal(gone.status, 204);
  assert.equal((await ask(1, '/cache/page:0')).status, 404);
  const two = await ask(2, '/cache/invalidate', {
    method: 'POST',
    body: JSON.stringify({ keys: ['page:1', 'page:2'] }),
  });
  assert.equal(two.status, 200, await two.text());
  assert.equal((await ask(0, '/cache/page:2')).status, 404);
  const tagged = await ask(0, '/cache/invalidate', { method: 'POST', body: JSON.stringify({ tags: ['pages'] }) });
  assert.equal(tagged.status, 200, await tagged.text());
  for (const [n, key] of some.entries()) assert.equal((await ask(n, `/cache/${key}`)).status, 404);
  // A fill under the lease of the miss, granted by one member and presented to another.
  const miss = await ask(0, '/cache/filled');
  const lease = miss.headers.get('breakwater-lease');
  assert.ok(lease !== null);
  const filled = await ask(1, '/cache/filled', {
    method: 'PUT',
    body: JSON.stringify({ value: 1 }),
    headers: { 'breakwater-lease': lease },
  });
  assert.ok(filled.status === 201 || filled.status === 409, String(filled.status));
});

test('metrics: what a member knows of its cluster, as Prometheus reads it', TIMEOUT, async () => {
  const text = await (await fetch(`http://127.0.0.1:${members[0]!.httpPort}/metrics`)).text();
  const value = (name: string): number =>
    Number(new RegExp(`^${name.replaceAll(/[{}]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1]);
  assert.equal(value('breakwater_cluster_ok'), 1);
  const healths = ['online', 'suspected', 'failed'].map((health) =>
    value(`breakwater_cluster_members{health="${health}"}`),
  );
  assert.equal(healths[0]! + healths[1]! + healths[2]!, 3, text);
  assert.ok(value('breakwater_cluster_ranges_owned') > 0);
  assert.ok(value('breakwater_cluster_sent_bytes_total') > 0);
  assert.match(text, /^breakwater_cluster_copy_lag_effects\{member="[0-9a-f]{40}"\} \d+$/m);
  assert.match(text, /^breakwater_cluster_link_waiting_bytes\{member="127\.0\.0\.1:\d+"\} \d+$/m);
});

async function glide(port: number): Promise<AnyClient & { close(): void }> {
  const client = await GlideClusterClient.createClient({
    addresses: [{ host: '127.0.0.1', port }],
    requestTimeout: 10_000,
  });
  return {
    set: (key, value) => client.set(key, value),
    get: async (key) => (await client.get(key)) as string | null,
    del: (key) => client.del([key]),
    close: () => client.close(),
  };
}

test('glide that knows nothing of clusters, by one member', TIMEOUT, async () => {
  const client = await GlideClient.createClient({
    addresses: [{ host: '127.0.0.1', port: members[0]!.proxyPort! }],
    requestTimeout: 10_000,
  });
  try {
    await patiently(() => client.mset(Object.fromEntries(keys.map((key) => [key, `${key} plain glide`]))));
    const values = (await patiently(() => client.mget(keys))) as (string | null)[];
    assert.ok(values.some((value) => value !== null));
    for (const [n, value] of values.entries()) assert.ok(value === null || value === `${keys[n]} plain glide`);
    await patiently(() => client.del(keys));
    assert.equal(await patiently(() => client.exists(keys)), 0);
  } finally {
    client.close();
  }
});

test('ioredis, node-redis and glide: from one address to all members, and on when one leaves', TIMEOUT, async () => {
  const cluster = new Cluster([{ host: '127.0.0.1', port: members[0]!.respPort }], { clusterRetryStrategy: () => 100 });
  cluster.on('error', () => {});
  const ioredis: AnyClient = {
    set: (key, value) => cluster.set(key, value),
    get: (key) => cluster.get(key),
    del: (key) => cluster.del(key),
  };
  let redis = await nodeRedis(members[0]!.respPort);
  const valkey = await glide(members[0]!.respPort);
  try {
    await useIt(redis, 'node-redis');
    await useIt(valkey, 'glide');
    await useIt(ioredis, 'ioredis');
    await eventually(
      () => members.every(({ node }) => node.store.size > 0),
      () => 'everybody owns and copies some',
      PATIENCE_MS,
    );
    // This one waits up to 5 s for each command to a member that is gone before it asks where its slots are: it connects anew.
    redis.destroy();

    // It gives its ranges away first: what it held is read from those that copied it.
    const [gone] = members.splice(2, 1);
    await gone!.close();
    // The place of its copies is kept for it for half a minute.
    await isWhole(members, 1);
    assert.ok((await hitsOf(ioredis, keys.slice(20), 'ioredis')) > 0, 'what was copied is there');
    await useIt(ioredis, 'ioredis again');
    await useIt(valkey, 'glide again');
    redis = await nodeRedis(members[1]!.respPort);
    await useIt(redis, 'node-redis again');
  } finally {
    cluster.disconnect();
    redis.destroy();
    valkey.close();
  }
});
