/** cache-manager with Keyv: memory first, Redis second, `wrap`. It has no bus: another process's L1 is not told. */
import { type Instance, NAMESPACE, type Place, type Row, type Subject } from '../subject.ts';
import { versionOf } from './connection.ts';

export async function cacheManager(): Promise<Subject> {
  const { createCache } = await import('cache-manager');
  const { default: KeyvRedis } = await import('@keyv/redis');
  const { Keyv } = await import('keyv');
  const open = async (place: Place): Promise<Instance> => {
    const adapter = new KeyvRedis({
      url: `redis://127.0.0.1:${place.l2Port}`,
      socket: { reconnectStrategy: 20, keepAlive: true },
    });
    adapter.on('error', () => {});
    const redis = new Keyv({ store: adapter });
    redis.on('error', () => {});
    const cache = createCache({ stores: [new Keyv(), redis], ttl: place.ttlMs });
    const keyOf = (id: string): string => `${NAMESPACE}:${id}`;
    return {
      get: (id) => cache.wrap<Row>(keyOf(id), () => place.load(id)),
      invalidateKey: (id) => cache.del(keyOf(id)),
      invalidateNamespace: () => cache.clear(),
      close: () => cache.disconnect(),
    };
  };
  return {
    name: 'cache-manager',
    version: `${await versionOf('cache-manager')}, keyv ${await versionOf('keyv')}`,
    configuration:
      'Keyv in memory first, Keyv on Redis second, wrap(); it has neither bus nor tags; clear() for the namespace',
    server: 'redis',
    news: 'none',
    open,
  };
}
