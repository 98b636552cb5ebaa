/**
 * The contract on a real redis-server, alone.
 */
import { RespClient } from '../../src/client/client.ts';
import { passTime } from '../support/pass-time.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';
import { storeContract } from './store-contract.ts';

for (const protocol of [3, 2]) {
  storeContract(
    `redis:// over RESP${protocol}`,
    async () => {
      const server = await RedisServer.start();
      const url = `redis://127.0.0.1:${server.port}?protocol=${protocol}`;
      const store = openValkey(url);
      const other = openValkey(url);
      const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
      return {
        store,
        isTold: protocol === 3,
        other,
        advance: (ms) => passTime([raw], ms),
        fresh: async () => openValkey(url),
        close: async () => {
          await Promise.all([store.close(), other.close(), raw.close({ drain: false })]);
          await server.close();
        },
      };
    },
    requires('redis-server'),
  );
}
