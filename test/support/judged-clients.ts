/** Clients as published, and the library, beside our own small ones: they write, delete and read while faults happen, and what each of them is told is judged in the same way. */
import assert from 'node:assert/strict';
import { Cluster } from 'ioredis';
import { createCluster } from 'redis';
import { createBreakwater } from '../../src/cache/index.ts';
import { eventually } from '../server/support.ts';
import {
  type Answer,
  type AskingClient,
  type ClusterProcesses,
  JudgedWorker,
  type MemberProcess,
  PATIENCE_MS,
  PlainClient,
  RoutingClient,
} from './cluster-processes.ts';

const answerOf = async (ask: () => Promise<string | number | null>): Promise<Answer> => {
  try {
    const reply = await ask();
    return { kind: 'value', reply };
  } catch (error) {
    return { kind: 'error', text: String(error) };
  }
};

/** ioredis: tries each command again itself. */
export function ioredisClient(members: readonly MemberProcess[]): AskingClient {
  const cluster = new Cluster(
    members.map(({ host, port }) => ({ host, port })),
    { clusterRetryStrategy: () => 200, slotsRefreshInterval: 2000, redisOptions: { maxRetriesPerRequest: 1 } },
  );
  cluster.on('error', () => {});
  return {
    ask: (_key, [name, ...args]) =>
      answerOf(async () => (await cluster.call(name!, args)) as Awaited<string | number | null>),
    close: async () => cluster.disconnect(),
  };
}

/** node-redis: waits up to 5 s for a member that is gone, then asks others for the map. */
export async function nodeRedisClient(members: readonly MemberProcess[]): Promise<AskingClient> {
  const cluster = createCluster({
    rootNodes: members.map(({ host, port }) => ({ url: `redis://${host}:${port}` })),
  });
  cluster.on('error', () => {});
  await cluster.connect();
  return {
    ask: (key, args) =>
      answerOf(() => cluster.sendCommand(key, args[0] === 'GET', [...args]) as Promise<string | number | null>),
    close: async () => cluster.destroy(),
  };
}

/** The library: SET, GET and DEL are `set`, `get` and `delete` of a cache whose source has nothing. */
export function libraryClient(members: readonly MemberProcess[], name: string): AskingClient {
  const bw = createBreakwater({
    store: `breakwater://${members.map(({ host, port }) => `${host}:${port}`).join(',')}`,
  });
  const cache = bw.cache<string>(name, { ttl: '10m', load: async (ids) => ids.map(() => null) });
  return {
    ask: (_key, [name, key, value]) =>
      answerOf(async () => {
        if (name === 'GET') return (await cache.get(key!)) ?? null;
        if (name === 'SET') await cache.set(key!, value!);
        else await cache.delete(key!);
        return 'OK';
      }),
    close: async () => void (await bw.close()),
  };
}

/**
 * Runs clients of all kinds over all slots while `fault` happens, and until it is over: four that follow MOVED, ioredis, node-redis and the library, and one that knows nothing of clusters at each of the members `plain`,
 * which must live longer than the faults do, or their member does.
 */
export async function whileJudged(
  cluster: ClusterProcesses,
  name: string,
  plain: readonly MemberProcess[],
  fault: (workers: readonly JudgedWorker[]) => Promise<void>,
): Promise<void> {
  const { members } = cluster;
  const clients: AskingClient[] = Array.from({ length: 4 }, () => new RoutingClient(members));
  clients.push(...plain.map((member) => new PlainClient(member)));
  clients.push(ioredisClient(members), await nodeRedisClient(members), libraryClient(members, `${name}-library`));
  const workers = clients.map(
    (client, n) =>
      new JudgedWorker(
        client,
        Array.from({ length: 40 }, (_, key) => `${name}-${n}:${key}`),
      ),
  );
  try {
    for (const worker of workers) worker.run();
    await moreFrom(workers, 80, 'before the fault');
    await fault(workers);
    for (const worker of workers) await worker.stop();
    for (const worker of workers) await worker.readAll();
    assert.deepEqual(
      workers.flatMap(({ wrong }) => wrong),
      [],
    );
    for (const { hits } of workers) assert.ok(hits > 0, 'a cache that always misses proves nothing');
  } finally {
    for (const worker of workers) void worker.stop();
    await Promise.all(clients.map((client) => client.close()));
  }
}

/** Each of them gets so many more acknowledgements. */
export async function moreFrom(workers: readonly JudgedWorker[], count: number, when: string): Promise<void> {
  const had = workers.map(({ acknowledged }) => acknowledged);
  await eventually(
    () => workers.every(({ acknowledged }, n) => acknowledged >= had[n]! + count),
    () =>
      `${count} acknowledgements ${when}: ${JSON.stringify(workers.map(({ acknowledged, refused }) => [acknowledged, refused]))}`,
    PATIENCE_MS,
  );
}
