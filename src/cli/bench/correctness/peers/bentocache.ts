/** bentocache: memory L1, Redis L2, Redis bus, tags set by the factory, a namespace of its own. */
import { type Instance, NAMESPACE, type Place, type Row, type Subject, tagOf } from '../subject.ts';
import { openRedis, versionOf } from './connection.ts';

export async function bentocache(): Promise<Subject> {
  const { BentoCache, bentostore } = await import('bentocache');
  const { memoryDriver } = await import('bentocache/drivers/memory');
  const { redisBusDriver, redisDriver } = await import('bentocache/drivers/redis');
  const open = async (place: Place): Promise<Instance> => {
    const l2 = await openRedis(place.l2Port);
    const bus = await openRedis(place.busPort);
    const bento = new BentoCache({
      default: 'tiers',
      ttl: place.ttlMs,
      hardTimeout: place.loadTimeoutMs,
      stores: {
        tiers: bentostore()
          .useL1Layer(memoryDriver({ maxItems: 10_000 }))
          .useL2Layer(redisDriver({ connection: l2 }))
          .useBus(redisBusDriver({ connection: bus })),
      },
      onFactoryError: () => {},
    });
    const users = bento.namespace(NAMESPACE);
    return {
      get: (id) =>
        users.getOrSet({
          key: id,
          factory: async (context: { setTags: (tags: string[]) => void }): Promise<Row> => {
            const row = await place.load(id);
            context.setTags([tagOf(id)]);
            return row;
          },
        }),
      invalidateKey: (id) => users.delete({ key: id }),
      invalidateTag: (tag) => users.deleteByTag({ tags: [tag] }),
      invalidateNamespace: () => users.clear(),
      async close() {
        await bento.disconnectAll();
        l2.disconnect();
        bus.disconnect();
      },
    };
  };
  return {
    name: 'bentocache',
    version: await versionOf('bentocache'),
    configuration: 'memory L1, Redis L2, Redis bus; tags by the factory; hardTimeout; on ioredis 6 (it asks for 5)',
    server: 'redis',
    news: 'bus',
    open,
  };
}
