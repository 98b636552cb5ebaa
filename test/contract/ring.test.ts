/**
 * The contract on rings: three redis-servers by ketama, three nodes by rendezvous. Every server is another one's gutter.
 */
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { openRing, type RingFace } from '../../src/cache/ring.ts';
import { RespClient } from '../../src/client/client.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import { OutboxStore } from '../../src/stores/outbox.ts';
import type { RingStore } from '../../src/stores/ring.ts';
import { ValkeyStore } from '../../src/stores/valkey.ts';
import { passTime } from '../support/pass-time.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { startLiveNode } from './live-node.ts';
import { storeContract } from './store-contract.ts';

const three = <T>(start: () => Promise<T>): Promise<[T, T, T]> => Promise.all([start(), start(), start()]);

function ringOver(face: RingFace): RingStore {
  const ports = { clock: systemClock(), scheduler: systemScheduler(), random: new SeededRandom(7) };
  return openRing(
    face,
    (url) => {
      const inner = url.startsWith('redis')
        ? new ValkeyStore({ url, ...ports })
        : new BreakwaterStore({ url, ...ports });
      return new OutboxStore(inner, { maxEntries: 1_000, directory: null, timeoutMs: 1_000, ...ports });
    },
    ports.clock,
  );
}

storeContract(
  'a ring of three redis-servers, by ketama',
  async () => {
    const servers = await three(() => RedisServer.start());
    const face: RingFace = { ring: servers.map(({ port }) => `redis://127.0.0.1:${port}` as const) };
    const raw = servers.map(({ port }) => new RespClient({ port, commandTimeoutMs: 60_000 }));
    const [store, other] = [ringOver(face), ringOver({ ring: face.ring.toReversed() })];
    return {
      store,
      other,
      advance: (ms) => passTime(raw, ms),
      fresh: async () => ringOver(face),
      close: async () => {
        await Promise.all([store.close(), other.close(), ...raw.map((one) => one.close({ drain: false }))]);
        await Promise.all(servers.map((server) => server.close()));
      },
    };
  },
  requires('redis-server'),
);

storeContract('a ring of three nodes, by rendezvous', async () => {
  const nodes = await three(() => startLiveNode());
  const face: RingFace = { ring: nodes.map(({ url }) => url), placement: 'rendezvous' };
  const [store, other] = [ringOver(face), ringOver(face)];
  return {
    store,
    other,
    advance: (ms) => {
      for (const { clock } of nodes) clock.advance(ms);
    },
    fresh: async () => ringOver(face),
    close: async () => {
      await Promise.all([store.close(), other.close()]);
      await Promise.all(nodes.map((node) => node.close()));
    },
  };
});
