/**
 * Cluster clients as published, against members whose map the test makes: they build their table of slots from CLUSTER SLOTS, route by themselves, and follow MOVED and
 * TRYAGAIN when the map changes.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { after, before, beforeEach, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { Cluster } from 'ioredis';
import { createCluster } from 'redis';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { ClusterClient } from '../../src/client/cluster.ts';
import { Ranges } from '../../src/cluster/ranges.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { NodesInACluster } from '../support/nodes-in-a-cluster.ts';
import { findExecutable, requires } from '../support/requirements.ts';

const clusterKeySlot = createRequire(import.meta.url)('cluster-key-slot') as (key: string) => number;
const run = promisify(execFile);
const KEYS = 300;
const keys = Array.from({ length: KEYS }, (_, n) => `user:${n}`);
const slotOfText = (key: string): number => slotOf(Buffer.from(key), 0, Buffer.byteLength(key));

let cluster: NodesInACluster;
before(async () => {
  cluster = await NodesInACluster.start(4);
});
after(() => cluster.close());
beforeEach(() => {
  cluster.frozen.clear();
  cluster.unsure.clear();
  for (const { node } of cluster.members) node.store.clear(Date.now());
});

/** Every key is where the map says, and only there. */
function checkPlaces(): void {
  const wanted = new Map<string, number>();
  for (const key of keys) {
    const { id } = cluster.ownerOf(clusterKeySlot(key)).member;
    wanted.set(id, (wanted.get(id) ?? 0) + 1);
  }
  for (const { node, member } of cluster.members)
    assert.equal(node.store.size, wanted.get(member.id) ?? 0, member.host);
  assert.ok(wanted.size === 4 && [...wanted.values()].every((count) => count > KEYS / 10));
}

/** Redirections that all members answered. */
const refusals = (): number =>
  cluster.members.reduce((sum, { node }) => sum + node.context.rejections.reduce((all, one) => all + one, 0), 0);

/** Moves the slot of `key` to a member that does not own it. */
function moveAway(key: string): void {
  const slot = slotOfText(key);
  const owner = cluster.ownerOf(slot);
  cluster.move(slot, cluster.members.find((each) => each !== owner)!);
}

interface AnyClient {
  set(key: string, value: string): Promise<unknown>;
  get(key: string): Promise<unknown>;
  mgetTagged(tag: string): Promise<unknown>;
}

/** What every cluster client must manage. */
async function useIt(client: AnyClient): Promise<void> {
  for (const key of keys) await client.set(key, key);
  checkPlaces();
  const before = refusals();
  for (const key of keys) assert.equal(await client.get(key), key);
  assert.equal(refusals(), before, 'with a right map nothing is redirected');
  assert.deepEqual(await client.mgetTagged('x'), [null, null]);
  // A range moves: the client is told once, and the key is a miss at its new owner.
  moveAway(keys[0]!);
  assert.equal(await client.get(keys[0]!), null);
  assert.equal(refusals(), before + 1);
  await client.set(keys[0]!, 'again');
  assert.equal(await client.get(keys[0]!), 'again');
  // Handed over this moment: it comes back a little later.
  cluster.frozen.add(slotOfText(keys[1]!));
  const waiting = client.get(keys[1]!);
  while (refusals() < before + 2) await new Promise((resolve) => setImmediate(resolve));
  cluster.frozen.clear();
  assert.equal(await waiting, keys[1]);
}

describe('cluster clients', { timeout: 300_000 }, () => {
  for (const protocol of [2, 3] as const) {
    test(`ioredis, RESP${protocol}`, async () => {
      const client = new Cluster([{ host: '127.0.0.1', port: cluster.members[0]!.port }], {
        redisOptions: { protocol } as never,
        slotsRefreshInterval: 0,
      });
      try {
        await useIt({
          set: (key, value) => client.set(key, value),
          get: (key) => client.get(key),
          mgetTagged: (tag) => client.mget(`{${tag}}1`, `{${tag}}2`),
        });
        await assert.rejects(client.mget('a', 'b'), /slot/i);
        assert.equal(client.nodes('master').length, 4);
      } finally {
        client.disconnect();
      }
    });

    test(`node-redis, RESP${protocol}`, async () => {
      const client = createCluster({
        rootNodes: [{ url: `redis://127.0.0.1:${cluster.members[1]!.port}` }],
        RESP: protocol,
      });
      client.on('error', () => {});
      await client.connect();
      try {
        await useIt({
          set: (key, value) => client.set(key, value),
          // It does not know TRYAGAIN as a matter of waiting: whoever uses it asks again.
          get: async (key) => {
            for (;;) {
              try {
                return await client.get(key);
              } catch (error) {
                if (!/^TRYAGAIN/.test(String((error as Error).message))) throw error;
                await new Promise((resolve) => setImmediate(resolve));
              }
            }
          },
          mgetTagged: (tag) => client.mGet([`{${tag}}1`, `{${tag}}2`]),
        });
        assert.equal(client.masters.length, 4);
      } finally {
        client.destroy();
      }
    });
  }

  test('our own client, by CLUSTER SHARDS', async () => {
    const client = new ClusterClient({
      seeds: [{ host: '127.0.0.1', port: cluster.members[2]!.port }],
      client: {},
      clock: systemClock(),
      scheduler: systemScheduler(),
      random: new SeededRandom(1),
    });
    const ask = async (...command: string[]): Promise<unknown> => {
      const [outcome] = await client.execute([{ slot: slotOfText(command[1]!), build: () => command }], {
        timeoutMs: 30_000,
        idempotent: true,
      });
      if (outcome instanceof Error) throw outcome;
      return outcome instanceof Uint8Array ? Buffer.from(outcome).toString() : outcome;
    };
    try {
      await useIt({
        set: (key, value) => ask('SET', key, value),
        get: (key) => ask('GET', key),
        mgetTagged: (tag) => ask('MGET', `{${tag}}1`, `{${tag}}2`),
      });
      assert.equal(client.primaries().length, 4);
      const topology = await client.topology({ timeoutMs: 30_000 });
      for (let slot = 0; slot < 16_384; slot += 251) {
        const { primary, replicas } = topology.ownerOf(slot)!;
        assert.equal(primary.port, cluster.ownerOf(slot).port);
        assert.ok(replicas >= 1);
      }
    } finally {
      await client.close();
    }
  });

  test('redis-cli -c follows, and --cluster check finds every slot covered', requires('redis-cli'), async () => {
    const cli = findExecutable('redis-cli')!;
    const port = String(cluster.members[3]!.port);
    for (const key of keys.slice(0, 10)) {
      assert.match((await run(cli, ['-c', '-p', port, 'SET', key, 'v'])).stdout, /OK/);
    }
    const check = (await run(cli, ['--cluster', 'check', `127.0.0.1:${port}`])).stdout;
    assert.match(check, /All nodes agree about slots configuration/);
    assert.match(check, /All 16384 slots covered/);
    assert.equal([...check.matchAll(/M: [0-9a-f]{40} /g)].length, 4);
  });

  test('clients that ask to read from replicas ask the owner where every member is one', async () => {
    const client = new Cluster([{ host: '127.0.0.1', port: cluster.members[0]!.port }], { scaleReads: 'slave' });
    try {
      for (const key of keys.slice(0, 40)) assert.equal(await client.get(key), null);
    } finally {
      client.disconnect();
    }
  });

  test('without a lease nothing is executed', async () => {
    for (const { member } of cluster.members) cluster.unsure.add(member.id);
    const client = new Cluster([{ host: '127.0.0.1', port: cluster.members[0]!.port }], {
      enableReadyCheck: false,
      retryDelayOnClusterDown: 1,
      maxRedirections: 2,
    });
    try {
      await assert.rejects(client.get('k'), /CLUSTERDOWN|Too many Cluster redirections/);
    } finally {
      client.disconnect();
    }
  });
});

describe('one primary with two replicas', { timeout: 300_000 }, () => {
  let small: NodesInACluster;
  before(async () => {
    small = await NodesInACluster.start(3, new Ranges(4), { weights: [1, 1e-6, 1e-6], copies: 3 });
  });
  after(() => small.close());

  test('clients read from replicas when they ask to, and write to the primary', async () => {
    const [primary, ...replicas] = small.members;
    const client = new Cluster([{ host: '127.0.0.1', port: primary!.port }], { scaleReads: 'slave' });
    try {
      for (const { node } of replicas) {
        const value = Buffer.from('copied');
        node.store.set(Buffer.from('k'), 0, 1, value, 0, value.length, 0, Date.now());
      }
      assert.equal(await client.get('k'), 'copied');
      assert.equal(await client.set('k', 'written'), 'OK');
      assert.equal(primary!.node.store.size, 1);
      const reads = replicas.reduce((sum, { node }) => sum + node.context.store.stats.hits, 0);
      assert.equal(reads, 1);
    } finally {
      client.disconnect();
    }
  });
});
