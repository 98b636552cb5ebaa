/** layered-loader: memory, Redis, notifications between instances. */
import { type Instance, NAMESPACE, type Place, type Row, type Subject } from '../subject.ts';
import { openRedis, versionOf } from './connection.ts';

export async function layeredLoader(): Promise<Subject> {
  const { Loader, RedisCache, createNotificationPair } = await import('layered-loader');
  const open = async (place: Place): Promise<Instance> => {
    const l2 = await openRedis(place.l2Port);
    const [publisherRedis, consumerRedis] = [await openRedis(place.busPort), await openRedis(place.busPort)];
    const { publisher, consumer } = createNotificationPair<Row>({
      channel: 'news',
      consumerRedis: consumerRedis as never,
      publisherRedis: publisherRedis as never,
    });
    const loader = new Loader<Row>({
      inMemoryCache: { ttlInMsecs: place.ttlMs, maxItems: 10_000 },
      asyncCache: new RedisCache<Row>(l2 as never, { json: true, prefix: NAMESPACE, ttlInMsecs: place.ttlMs }),
      dataSourceGetOneFn: (id: string) => place.load(id),
      notificationConsumer: consumer,
      notificationPublisher: publisher,
      throwIfLoadError: true,
      logger: { error: () => {} },
    });
    await loader.init();
    return {
      get: (id) => loader.get(id),
      invalidateKey: (id) => loader.invalidateCacheFor(id),
      invalidateNamespace: () => loader.invalidateCache(),
      async close() {
        await loader.close();
        for (const redis of [l2, publisherRedis, consumerRedis]) redis.disconnect();
      },
    };
  };
  return {
    name: 'layered-loader',
    version: await versionOf('layered-loader'),
    configuration: 'memory, Redis, notification pair; no tags; the newest version that runs on Node.js 20',
    server: 'redis',
    news: 'bus',
    open,
  };
}
