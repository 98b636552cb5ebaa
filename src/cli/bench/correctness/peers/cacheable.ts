/**
 * cacheable: memory first, Keyv on Redis second, tags on, `sync` between instances. Its message provider for Redis is a package of its own; the
 * one here is the same publish and subscribe over ioredis.
 */
import { type Instance, NAMESPACE, type Place, type Row, type Subject, tagOf } from '../subject.ts';
import { openRedis, versionOf } from './connection.ts';

interface TopicHandler {
  readonly id?: string;
  readonly handler: (message: never) => Promise<void>;
}

async function redisMessages(port: number) {
  const publisher = await openRedis(port);
  const subscriber = await openRedis(port);
  const subscriptions = new Map<string, TopicHandler[]>();
  subscriber.on('message', (topic: string, text: string) => {
    for (const { handler } of subscriptions.get(topic) ?? []) {
      handler({ ...JSON.parse(text), providerId: 'redis' } as never).catch(() => {});
    }
  });
  return {
    id: 'redis',
    subscriptions,
    async publish(topic: string, message: object) {
      await publisher.publish(topic, JSON.stringify(message));
    },
    async subscribe(topic: string, handler: TopicHandler) {
      subscriptions.set(topic, [...(subscriptions.get(topic) ?? []), handler]);
      await subscriber.subscribe(topic);
    },
    async unsubscribe(topic: string) {
      subscriptions.delete(topic);
      await subscriber.unsubscribe(topic);
    },
    async disconnect() {
      publisher.disconnect();
      subscriber.disconnect();
    },
  };
}

export async function cacheable(): Promise<Subject> {
  const { Cacheable } = await import('cacheable');
  const { default: KeyvRedis } = await import('@keyv/redis');
  const { Keyv } = await import('keyv');
  const open = async (place: Place): Promise<Instance> => {
    const messages = await redisMessages(place.busPort);
    const adapter = new KeyvRedis({
      url: `redis://127.0.0.1:${place.l2Port}`,
      socket: { reconnectStrategy: 20, keepAlive: true },
    });
    adapter.on('error', () => {});
    const secondary = new Keyv({ store: adapter });
    secondary.on('error', () => {});
    const cache = new Cacheable({
      secondary,
      ttl: place.ttlMs,
      tags: true,
      sync: { qified: messages as never },
    });
    cache.on('error', () => {});
    const keyOf = (id: string): string => `${NAMESPACE}:${id}`;
    return {
      get: (id) =>
        cache.getOrSet<Row>(keyOf(id), () => place.load(id), {
          ttl: place.ttlMs,
          tags: [tagOf(id)],
          throwErrors: true,
        } as never),
      invalidateKey: (id) => cache.delete(keyOf(id)),
      invalidateTag: async (tag) => cache.tags.invalidateTag(tag),
      invalidateNamespace: () => cache.clear(),
      async close() {
        await messages.disconnect();
        await cache.disconnect();
      },
    };
  };
  return {
    name: 'cacheable',
    version: await versionOf('cacheable'),
    configuration:
      'memory first, Keyv on Redis second, tags on, sync over Redis publish/subscribe; clear() for the namespace',
    server: 'redis',
    news: 'bus',
    open,
  };
}
