/** async-cache-dedupe: Redis storage with references (its word for tags), one load per key and process. No L1, no bus. */
import { type Instance, type Place, type Row, type Subject, tagOf } from '../subject.ts';
import { openRedis, versionOf } from './connection.ts';

export async function asyncCacheDedupe(): Promise<Subject> {
  const { createCache } = await import('async-cache-dedupe');
  const open = async (place: Place): Promise<Instance> => {
    const client = await openRedis(place.l2Port);
    const seconds = Math.ceil(place.ttlMs / 1000);
    const cache = createCache({
      ttl: seconds,
      storage: { type: 'redis', options: { client, invalidation: { referencesTTL: seconds } } },
      onError: () => {},
    }).define('user', { references: (id: string) => [tagOf(id)] }, (id: string): Promise<Row> => place.load(id));
    return {
      get: (id) => cache.user(id),
      invalidateKey: (id) => cache.clear('user', id),
      invalidateTag: (tag) => cache.invalidateAll([tag]),
      invalidateNamespace: () => cache.clear('user'),
      async close() {
        client.disconnect();
      },
    };
  };
  return {
    name: 'async-cache-dedupe',
    version: await versionOf('async-cache-dedupe'),
    configuration: 'Redis storage with references as tags; clear(name) for the namespace; no L1',
    server: 'redis',
    news: 'none',
    open,
  };
}
