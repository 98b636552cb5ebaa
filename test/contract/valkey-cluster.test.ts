/**
 * The contract on a real Redis Cluster of six nodes: three primaries, a replica each, so that every write waits for its replica.
 */

import { passTime } from '../support/pass-time.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';
import { storeContract } from './store-contract.ts';

storeContract(
  'redis:// on a cluster of six',
  async () => {
    const cluster = await RedisCluster.start();
    const store = openValkey(cluster.url);
    const other = openValkey(cluster.url);
    return {
      store,
      other,
      advance: (ms) =>
        passTime(
          cluster.primaries.map(({ client }) => client),
          ms,
        ),
      fresh: async () => openValkey(cluster.url),
      close: async () => {
        await Promise.all([store.close(), other.close()]);
        await cluster.close();
      },
    };
  },
  requires('redis-server'),
);
