/**
 * The library over a real redis-server, as two processes would use it.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createBreakwater } from '../../src/cache/create.ts';
import { RespClient } from '../../src/client/client.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

interface User {
  readonly id: string;
  readonly name: string;
}

test(
  'two processes on one Redis: one load for a thousand callers, and nothing stale',
  requires('redis-server'),
  async () => {
    const server = await RedisServer.start();
    const url = `redis://127.0.0.1:${server.port}` as const;
    const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
    const names = new Map(Array.from({ length: 20 }, (_, i) => [String(i), 'first']));
    let loads = 0;
    let hold: Promise<void> | null = null;
    const open = () => {
      const bw = createBreakwater({ store: url, readTimeout: '30s', writeTimeout: '30s' });
      const users = bw.cache('user', {
        load: async (ids: readonly string[]) => {
          loads += ids.length;
          const found = ids.map((id): User => ({ id, name: names.get(id)! }));
          await hold;
          return found;
        },
        ttl: '10m',
        tags: (user: User | null) => (user === null ? [] : [`org:${Number(user.id) % 2}`]),
      });
      return { bw, users };
    };
    const [a, b] = [open(), open()];
    try {
      const callers = Array.from({ length: 1_000 }, (_, i) => (i % 2 === 0 ? a : b).users.get('1'));
      assert.deepEqual(new Set((await Promise.all(callers)).map((user) => user?.name)), new Set(['first']));
      assert.equal(loads, 1);

      // A load that is crossed by an invalidation of a tag nobody knew it would have.
      let release = (): void => {};
      hold = new Promise((resolve) => {
        release = resolve;
      });
      const loadsBefore = loads;
      const crossed = a.users.get('2');
      while (loads === loadsBefore) await new Promise((resolve) => setTimeout(resolve, 1));
      names.set('2', 'second');
      await b.bw.invalidate({ tags: ['org:0'] });
      hold = null;
      release();
      await crossed;
      assert.equal((await b.users.get('2'))?.name, 'second');
      assert.equal((await a.users.get('2'))?.name, 'second');

      // All at once; then each way to say that it changed.
      const ids = [...names.keys()];
      await a.users.getMany(ids);
      for (const [name, tell] of [
        ['third', () => b.users.delete('3')],
        ['fourth', () => b.bw.invalidate({ tags: ['org:1'] })],
        ['fifth', () => b.bw.invalidate({ namespaces: ['user'] })],
        ['sixth', () => raw.command(['DEL', 'user:3'])],
      ] as const) {
        assert.notEqual((await a.users.get('3'))?.name, name);
        names.set('3', name);
        await tell();
        assert.equal((await a.users.get('3'))?.name, name);
        assert.equal((await b.users.get('3'))?.name, name);
      }
      const all = await b.users.getMany(ids);
      assert.equal(all.size, ids.length);
    } finally {
      await Promise.all([a.bw.close(), b.bw.close(), raw.close()]);
      await server.close();
    }
  },
);
