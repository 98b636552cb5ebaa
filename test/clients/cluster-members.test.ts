/**
 * Redis Cluster clients as published against real members, links and takeover included: they find everybody from one address, route by themselves, and go on when a member ends. All three
 * members run in this process, each with its own ports.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Cluster } from 'ioredis';
import { createCluster } from 'redis';
import { freePorts } from '../../src/cli/children/ports.ts';
import { resolveConfig } from '../../src/server/config.ts';
import { type RunningServer, startServer } from '../../src/server/serve.ts';
import { eventually } from '../server/support.ts';

const TIMEOUT = { timeout: 300_000 };
const PATIENCE_MS = 120_000;
const keys = Array.from({ length: 200 }, (_, n) => `user:${n}`);

let members: RunningServer[] = [];
before(async () => {
  const ports = await freePorts(9);
  const join = [0, 1, 2].map((n) => `127.0.0.1:${ports[3 * n + 2]}`).join(',');
  members = await Promise.all(
    [0, 1, 2].map((n) => {
      const [port, httpPort, linkPort] = ports.slice(3 * n, 3 * n + 3).map(String) as [string, string, string];
      const flags = { port, 'http-port': httpPort, 'link-port': linkPort, join, memory: '16mb' };
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

test('ioredis and node-redis: from one address to all members, and on when one leaves', TIMEOUT, async () => {
  const cluster = new Cluster([{ host: '127.0.0.1', port: members[0]!.respPort }], { clusterRetryStrategy: () => 100 });
  cluster.on('error', () => {});
  const ioredis: AnyClient = {
    set: (key, value) => cluster.set(key, value),
    get: (key) => cluster.get(key),
    del: (key) => cluster.del(key),
  };
  let redis = await nodeRedis(members[0]!.respPort);
  try {
    await useIt(redis, 'node-redis');
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
    redis = await nodeRedis(members[1]!.respPort);
    await useIt(redis, 'node-redis again');
  } finally {
    cluster.disconnect();
    redis.destroy();
  }
});
