/**
 * The random mix on real servers: alone, and a cluster. Everything that an operator or another client may do in the middle is done: scripts
 * flushed, tables of invalidations evicted, keys deleted and overwritten by clients that know nothing of leases.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { RespClient } from '../../src/client/client.ts';
import type { ValkeyStore } from '../../src/stores/valkey.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';
import { Mix, type MixCounts } from './mix.ts';

const SEED = 20_261_121;

/** That the mix was one: every kind of thing happened often. */
function assertMixed(counts: MixCounts): void {
  for (const name of ['hits', 'misses', 'loads', 'filled', 'refused', 'invalidations', 'disturbances'] as const) {
    assert.ok(counts[name] > counts.steps / 200, `${name}: ${JSON.stringify(counts)}`);
  }
  assert.equal(counts.failedReads, 0);
  assert.equal(counts.notAcknowledged, 0);
}

/** That many of the hits took no script. */
async function assertPlain(store: ValkeyStore, { hits }: MixCounts): Promise<void> {
  const { plainHits } = await store.stats({ timeoutMs: 30_000 });
  assert.ok(plainHits! > hits / 20, `${plainHits} plain hits of ${hits}`);
}

test('no wrong hit in a random mix on one server, disturbed', requires('redis-server'), async () => {
  const server = await RedisServer.start();
  const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
  const stores: ValkeyStore[] = (['always', 'always', 'adaptive'] as const).map((plainReads) =>
    openValkey(`redis://127.0.0.1:${server.port}?remembered=16`, plainReads),
  );
  const random = new SeededRandom(SEED);
  const mix = new Mix({
    stores,
    random,
    outsider: (key) => raw.command(['DEL', key]),
    disturbEvery: 40,
    disturb: async (keys) => {
      const key = keys[random.nextUint32() % keys.length]!;
      const deeds = [
        ['SCRIPT', 'FLUSH'],
        ['DEL', 'bw.invalidations'],
        ['SET', key, '{"not":"ours"}'],
        ['PEXPIRE', key, 1],
        ['PERSIST', key],
        ['INCR', 'some:other:key'],
      ];
      await raw.command(deeds[random.nextUint32() % deeds.length]!);
    },
  });
  try {
    await mix.run(8_000, 24);
    await mix.check();
    assertMixed(mix.counts);
    await assertPlain(stores[0]!, mix.counts);
  } finally {
    await Promise.all([...stores.map((store) => store.close()), raw.close()]);
    await server.close();
  }
});

test('no wrong hit in a random mix on a cluster whose slots move', requires('redis-server'), async () => {
  const cluster = await RedisCluster.start();
  const stores: ValkeyStore[] = [1, 2].map(() => openValkey(cluster.url));
  const random = new SeededRandom(SEED);
  let isMoving = false;
  const mix = new Mix({
    stores,
    random,
    timeoutMs: 30_000,
    disturbEvery: 60,
    // A slot goes to another primary, with an entry or a table of invalidations in it, and its keys one by one.
    disturb: async (keys) => {
      if (isMoving) return;
      isMoving = true;
      const key = random.nextUint32() % 3 === 0 ? '{0}' : keys[random.nextUint32() % keys.length]!;
      const slot = key === '{0}' ? 0 : Number(await cluster.servers[0]!.text('CLUSTER', 'KEYSLOT', key));
      const from = await cluster.currentOwnerOf(slot);
      const to = cluster.primaries.find((server) => server !== from)!;
      await cluster.beginMove(slot, from, to);
      await new Promise((resolve) => setTimeout(resolve, 5));
      await cluster.endMove(slot, from, to);
      isMoving = false;
    },
  });
  try {
    await mix.run(4_000, 16);
    await mix.check();
    assertMixed({ ...mix.counts, disturbances: mix.counts.steps });
    await assertPlain(stores[0]!, mix.counts);
    const stats = await stores[0]!.stats({ timeoutMs: 30_000 });
    assert.ok(stats['moved']! > 0 && stats['asks']! > 0, JSON.stringify(stats));
  } finally {
    await Promise.all(stores.map((store) => store.close()));
    await cluster.close();
  }
});
