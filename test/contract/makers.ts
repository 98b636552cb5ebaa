/**
 * Stores of every kind, opened twice over the same truth, for the suites of locks and counters.
 */
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import { EmbeddedStore } from '../../src/stores/embedded.ts';
import type { CacheStore } from '../../src/stores/store.ts';
import { LiveCluster } from '../support/live-cluster.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';
import { startLiveNode } from './live-node.ts';

export interface Opened {
  readonly store: CacheStore;
  /** Another process's view of the same. */
  readonly other: CacheStore;
  /** Lets time pass for the store. */
  advance(ms: number): void | Promise<void>;
  close(): Promise<void>;
}

/**
 * `work` until it was done in less than `mostMs` of real time between the marks that it sets: where a store counts by the real clock, what ended before its time on
 * a slow machine is done once more.
 */
export async function inTime(
  mostMs: number,
  work: (attempt: number, mark: () => void) => Promise<void>,
): Promise<void> {
  for (let attempt = 0; ; attempt += 1) {
    let markedMs = Number.POSITIVE_INFINITY;
    let isSlow = false;
    const mark = (): void => {
      if (performance.now() - markedMs >= mostMs) isSlow = true;
      markedMs = performance.now();
    };
    try {
      await work(attempt, mark);
      return;
    } catch (error) {
      if (!isSlow || attempt === 30) throw error;
    }
  }
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
const ports = () => ({ clock: systemClock(), scheduler: systemScheduler(), random: new SeededRandom(3) });

/** Every maker of a store, on real servers. */
export const MAKERS: readonly { name: string; options: { skip: string | false }; open: () => Promise<Opened> }[] = [
  {
    name: 'embedded',
    options: { skip: false },
    open: async () => {
      const store = new EmbeddedStore({ memoryBytes: 1024 ** 2, eviction: 'tinylfu', ...ports() });
      return { store, other: store, advance: sleep, close: () => store.close() };
    },
  },
  {
    name: 'a node',
    options: { skip: false },
    open: async () => {
      const node = await startLiveNode();
      const open = () => new BreakwaterStore({ url: node.url, ...ports() });
      const [store, other] = [open(), open()];
      return {
        store,
        other,
        advance: (ms) => node.clock.advance(ms),
        close: async () => {
          await Promise.all([store.close(), other.close()]);
          await node.close();
        },
      };
    },
  },
  {
    name: 'a cluster of three nodes',
    options: { skip: false },
    open: async () => {
      // Nobody dies here: a machine that is slow for seconds should cost nobody a range.
      const cluster = await LiveCluster.start(3, {
        leaseMs: 10_000,
        takeoverMs: 15_000,
        ackMs: 3_000,
        writeMs: 20_000,
      });
      const open = (url: string) => new BreakwaterStore({ url, ...ports() });
      // One is told all members, the other finds out that its one is one of many.
      const [store, other] = [open(cluster.url), open(`breakwater://127.0.0.1:${cluster.members[1]!.port}`)];
      return {
        store,
        other,
        advance: (ms) => cluster.advance(ms),
        close: async () => {
          await Promise.all([store.close(), other.close()]);
          await cluster.close();
        },
      };
    },
  },
  {
    name: 'redis-server',
    options: requires('redis-server'),
    open: async () => {
      const server = await RedisServer.start();
      const url = `redis://127.0.0.1:${server.port}`;
      const [store, other] = [openValkey(url), openValkey(url)];
      return {
        store,
        other,
        advance: sleep,
        close: async () => {
          await Promise.all([store.close(), other.close()]);
          await server.close();
        },
      };
    },
  },
  {
    name: 'a Redis Cluster of six',
    options: requires('redis-server'),
    open: async () => {
      const cluster = await RedisCluster.start();
      const [store, other] = [openValkey(cluster.url), openValkey(cluster.url)];
      return {
        store,
        other,
        advance: sleep,
        close: async () => {
          await Promise.all([store.close(), other.close()]);
          await cluster.close();
        },
      };
    },
  },
];
