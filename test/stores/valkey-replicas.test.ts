/**
 * Replicas: an invalidation that not all of them have is not acknowledged, and a failover revives nothing.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { RespClient } from '../../src/client/client.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';
import { Mix } from './mix.ts';

const CALL = { timeoutMs: 30_000 };
const READ = { ...CALL, lease: false };
const VALUE = new Uint8Array([1]);
const ENTRY = { ttlMs: 60_000, tags: ['red'] };
const NOT_ACKNOWLEDGED = { code: 'INVALIDATION_NOT_ACKNOWLEDGED' };

async function until(isSo: () => Promise<boolean>): Promise<void> {
  for (const endMs = performance.now() + 60_000; !(await isSo()); ) {
    assert.ok(performance.now() < endMs, 'waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test(
  'one server with a replica: acknowledged when the replica has it, else not',
  requires('redis-server'),
  async () => {
    const primary = await RedisServer.start(['--repl-diskless-sync-delay', '0']);
    const replica = await RedisServer.start(['--replicaof', `127.0.0.1 ${primary.port}`]);
    const url = `redis://127.0.0.1:${primary.port}`;
    const store = openValkey(url);
    const counted = openValkey(`${url}?replicas=0`);
    const behind = openValkey(`redis://127.0.0.1:${replica.port}`);
    const raw = new RespClient({ port: replica.port, commandTimeoutMs: 60_000 });
    try {
      await until(async () =>
        String(await raw.command(['INFO', 'replication'], { text: true })).includes('link_status:up'),
      );
      await store.set('k:1', VALUE, ENTRY, CALL);
      await store.set('k:2', VALUE, ENTRY, CALL);
      assert.equal(await raw.command(['EXISTS', 'k:1', 'k:2']), 2, 'acknowledged: the replica has it');
      assert.equal(await store.delete(['k:1'], CALL), 1);
      assert.equal(await raw.command(['EXISTS', 'k:1']), 0);

      // A replica does not answer reads, however much it has.
      await assert.rejects(behind.read(['k:2'], { ...READ, timeoutMs: 3_000 }), { code: 'STORE_UNAVAILABLE' });

      // It goes. The server says that it has no replica any more; it is not believed.
      await raw.close();
      await replica.close();
      await assert.rejects(store.invalidate({ tags: ['red'] }, { timeoutMs: 200 }), NOT_ACKNOWLEDGED);
      await assert.rejects(store.delete(['k:2'], { timeoutMs: 200 }), NOT_ACKNOWLEDGED);
      await assert.rejects(store.set('k:2', VALUE, ENTRY, { timeoutMs: 3_000 }), NOT_ACKNOWLEDGED);
      // Reads and fills do not wait for replicas.
      const [result] = await store.read(['k:3'], { ...CALL, lease: true });
      assert.ok(result?.kind === 'miss' && result.lease !== null);
      const fill = { key: 'k:3', value: VALUE, ...ENTRY, lease: result.lease };
      assert.deepEqual(await store.fill([fill], CALL), [true]);
      // Who says that there are none gets the server's own word.
      await counted.invalidate({ tags: ['red'] }, CALL);

      await replica.restart();
      await store.invalidate({ tags: ['red'] }, CALL);
    } finally {
      await Promise.all([store.close(), counted.close(), behind.close()]);
      await replica.close();
      await primary.close();
    }
  },
);

test('a cluster: cut-off replicas, a failover in the middle of the mix', requires('redis-server'), async () => {
  const cluster = await RedisCluster.start({ nodeTimeoutMs: 500 });
  const stores = [1, 2].map(() => openValkey(cluster.url));
  const [store] = stores;
  const mix = new Mix({ stores, random: new SeededRandom(5), timeoutMs: 300, rows: 24 });
  try {
    await store!.invalidate({ tags: ['red'] }, CALL);
    // A replica is silent, and some of the sixteen tables are its primary's.
    await cluster.replicas[0]!.kill('SIGSTOP');
    await assert.rejects(store!.invalidate({ tags: ['red'] }, { timeoutMs: 200 }), NOT_ACKNOWLEDGED);
    await cluster.replicas[0]!.kill('SIGCONT');
    await until(() =>
      store!.invalidate({ tags: ['red'] }, CALL).then(
        () => true,
        () => false,
      ),
    );

    const running = mix.run(2_500, 12);
    running.catch(() => undefined);
    await until(async () => mix.counts.steps > 500);
    await cluster.primaries[0]!.kill();
    await running;
    // The replica was promoted, and has none itself now.
    const survivor = cluster.servers[1]!;
    await until(async () => (await survivor.text('CLUSTER', 'INFO')).includes('cluster_state:ok'));
    await until(() =>
      store!.invalidate({ namespaces: ['none'] }, { timeoutMs: 3_000 }).then(
        () => true,
        () => false,
      ),
    );
    const before = { ...mix.counts };
    mix.timeoutMs = 30_000;
    await mix.run(1_000, 12);
    await mix.check();
    assert.equal(mix.counts.notAcknowledged, before.notAcknowledged, JSON.stringify(mix.counts));
    assert.ok(mix.counts.hits - before.hits > 100, JSON.stringify(mix.counts));
  } finally {
    await Promise.all(stores.map((each) => each.close()));
    await cluster.close();
  }
});
