/**
 * What most services write by hand: GET, on a miss load and SET; after an update DEL. Tags are sets of keys, a namespace is a
 * SCAN. With `lock`, one loader at a time by `SET NX`, as many articles recommend against stampedes (and, wrongly, against
 * staleness).
 */
import type { Redis } from 'ioredis';
import { type Instance, NAMESPACE, type Place, type Row, type Subject, tagOf } from '../subject.ts';
import { openRedis, versionOf } from './connection.ts';

const LOCK_MS = 5000;
const POLL_MS = 10;

const keyOf = (id: string): string => `${NAMESPACE}:${id}`;

export async function cacheAside(): Promise<Subject> {
  return {
    name: 'cache-aside',
    version: `ioredis ${await versionOf('ioredis')}`,
    configuration: 'GET / load / SET PX, DEL after an update; tags as sets of keys, a namespace by SCAN; no L1',
    server: 'redis',
    news: 'none',
    open: async (place) => new CacheAside(await openRedis(place.l2Port), place),
  };
}

export async function lockedCacheAside(): Promise<Subject> {
  return {
    ...(await cacheAside()),
    name: 'SET NX lock',
    configuration: `cache-aside with one loader at a time: SET NX PX ${LOCK_MS}, the others poll`,
    open: async (place) => new LockedCacheAside(await openRedis(place.l2Port), place),
  };
}

class CacheAside implements Instance {
  protected readonly redis: Redis;
  protected readonly place: Place;

  constructor(redis: Redis, place: Place) {
    this.redis = redis;
    this.place = place;
  }

  async get(id: string): Promise<Row> {
    return (await this.cached(id)) ?? (await this.loadAndFill(id));
  }

  async invalidateKey(id: string): Promise<void> {
    await this.redis.del(keyOf(id));
  }

  async invalidateTag(tag: string): Promise<void> {
    const keys = await this.redis.smembers(`tag:${tag}`);
    await this.redis.del(`tag:${tag}`, ...keys);
  }

  async invalidateNamespace(): Promise<void> {
    for await (const keys of this.redis.scanStream({ match: `${NAMESPACE}:*`, count: 1000 })) {
      if (Array.isArray(keys) && keys.length > 0) await this.redis.unlink(...keys.map(String));
    }
  }

  async close(): Promise<void> {
    this.redis.disconnect();
  }

  protected async cached(id: string): Promise<Row | null> {
    const text = await this.redis.get(keyOf(id));
    return text === null ? null : (JSON.parse(text) as Row);
  }

  protected async loadAndFill(id: string): Promise<Row> {
    const row = await this.place.load(id);
    await this.redis
      .multi()
      .set(keyOf(id), JSON.stringify(row), 'PX', this.place.ttlMs)
      .sadd(`tag:${tagOf(id)}`, keyOf(id))
      .exec();
    return row;
  }
}

class LockedCacheAside extends CacheAside {
  override async get(id: string): Promise<Row> {
    for (;;) {
      const row = await this.cached(id);
      if (row !== null) return row;
      const token = `${Math.random()}`;
      if ((await this.redis.set(`lock:${id}`, token, 'PX', LOCK_MS, 'NX')) === 'OK') {
        try {
          return (await this.cached(id)) ?? (await this.loadAndFill(id));
        } finally {
          const release = `if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end`;
          await this.redis.eval(release, 1, `lock:${id}`, token);
        }
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}
