/**
 * Other clients of the same server, who know nothing of us, and servers in a bad state.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RespClient } from '../../src/client/client.ts';
import type { ValkeyStore } from '../../src/stores/valkey.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { openValkey } from '../support/valkey.ts';

const CALL = { timeoutMs: 30_000 };
const READ = { ...CALL, lease: false };
const LEASE = { ...CALL, lease: true };
const VALUE = new TextEncoder().encode('{"name":"Ada"}');
const ENTRY = { ttlMs: 60_000, tags: ['red'] };

async function withServer(
  work: (store: ValkeyStore, raw: RespClient, server: RedisServer) => Promise<void>,
  flags: readonly string[] = [],
): Promise<void> {
  const server = await RedisServer.start(flags);
  const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
  const store = openValkey(`valkey://127.0.0.1:${server.port}`);
  try {
    await work(store, raw, server);
  } finally {
    await Promise.all([store.close(), raw.close()]);
    await server.close();
  }
}

test('any write of the key by anybody voids the lease of a load under way', requires('redis-server'), async () => {
  await withServer(async (store, raw) => {
    const deeds: [string, ...(string | number)[]][] = [
      ['DEL', 'k:1'],
      ['UNLINK', 'k:1'],
      ['SET', 'k:1', 'theirs'],
      ['EXPIRE', 'k:1', 0],
      ['RENAME', 'k:1', 'k:2'],
      ['GETDEL', 'k:1'],
      ['APPEND', 'k:1', 'x'],
      ['FLUSHALL'],
    ];
    for (const deed of deeds) {
      const [result] = await store.read(['k:1'], LEASE);
      assert.ok(result?.kind === 'miss' && result.lease !== null, deed[0]);
      await raw.command(deed);
      const [stored] = await store.fill([{ key: 'k:1', value: VALUE, ...ENTRY, lease: result.lease }], CALL);
      assert.equal(stored, false, deed[0]);
      await raw.command(['DEL', 'k:1', 'k:2']);
    }
    // An entry that is reloaded: DEL of the entry is DEL of the lease.
    await store.set('k:1', VALUE, ENTRY, CALL);
    const [lease] = await store.lease(['k:1'], CALL);
    await raw.command(['DEL', 'k:1']);
    assert.deepEqual(await store.fill([{ key: 'k:1', value: VALUE, ...ENTRY, lease: lease! }], CALL), [false]);
  });
});

test('what another client wrote is not served, and another type is left alone', requires('redis-server'), async () => {
  await withServer(async (store, raw) => {
    await raw.command(['SET', 'k:1', '{"name":"Eve"}']);
    await raw.command(['SET', 'k:2', 'A']);
    await raw.command(['LPUSH', 'k:3', 'a list']);
    const kinds = async (): Promise<string[]> =>
      (await store.read(['k:1', 'k:2', 'k:3'], READ)).map(({ kind }) => kind);
    assert.deepEqual(await kinds(), ['miss', 'miss', 'miss']);
    const results = await store.read(['k:1', 'k:2', 'k:3'], LEASE);
    const entries = results.map((result, i) => {
      assert.ok(result.kind === 'miss' && result.lease !== null);
      return { key: `k:${i + 1}`, value: VALUE, ...ENTRY, lease: result.lease };
    });
    assert.deepEqual(await store.fill(entries, CALL), [true, true, false]);
    assert.deepEqual(await kinds(), ['hit', 'hit', 'miss']);
    assert.equal(await raw.command(['TYPE', 'k:3']), 'list');
    assert.deepEqual((await store.lease(['k:3'], CALL)).length, 1);
    assert.equal(await store.delete(['k:1', 'k:2', 'k:3'], CALL), 3);
  });
});

test(
  'what another client sees: the value at the end of the string, and what was cut off is not served',
  requires('redis-server'),
  async () => {
    await withServer(async (store, raw) => {
      await store.set('k:1', VALUE, ENTRY, CALL);
      const text = String(await raw.command(['GET', 'k:1'], { text: true }));
      assert.ok(text.endsWith('{"name":"Ada"}') && text.length === 87 + 5 + VALUE.length, text);
      const ttlMs = Number(await raw.command(['PTTL', 'k:1']));
      assert.ok(ttlMs > 59_000 && ttlMs <= 60_000);
      // Somebody's SETRANGE, or a bad copy.
      const whole = (await raw.command(['GET', 'k:1'])) as Uint8Array;
      for (const length of [10, 41, 45, 70, 72, 76]) {
        await raw.command(['SET', 'k:1', whole.subarray(0, length)]);
        assert.equal((await store.read(['k:1'], READ))[0]?.kind, 'miss', `${length} bytes`);
        const [result] = await store.read(['k:1'], LEASE);
        assert.ok(result?.kind === 'miss' && result.lease !== null);
        assert.deepEqual(await store.fill([{ key: 'k:1', value: VALUE, ...ENTRY, lease: result.lease }], CALL), [true]);
      }
      for (let at = 0; at < whole.length - VALUE.length; at += 1) {
        await raw.command(['SET', 'k:1', whole]);
        await raw.command(['SETRANGE', 'k:1', at, 'xyz']);
        const [result] = await store.read(['k:1'], LEASE);
        if (result?.kind === 'hit') continue; // the version was changed, or a tag
        assert.ok(result !== undefined && result.lease !== null, `at ${at}`);
      }
    });
  },
);

test('the store’s own keys are refused as entries', requires('redis-server'), async () => {
  await withServer(async (store) => {
    const key = 'bw.invalidations';
    const reserved = { code: 'STORE_KEY_RESERVED' };
    await assert.rejects(store.read([key], READ), reserved);
    await assert.rejects(store.lease([key], CALL), reserved);
    await assert.rejects(store.set(key, VALUE, ENTRY, CALL), reserved);
    await assert.rejects(store.delete([key], CALL), reserved);
    await assert.rejects(store.invalidate({ keys: [key], tags: ['x'] }, CALL), reserved);
  });
});

test(
  'memory full: hits are served, invalidations done, writes refused with a code',
  requires('redis-server'),
  async () => {
    await withServer(async (store, raw) => {
      for (const key of ['k:1', 'k:2', 'k:3']) await store.set(key, VALUE, ENTRY, CALL);
      await raw.command(['CONFIG', 'SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1mb']);
      await assert.rejects(store.set('k:2', VALUE, ENTRY, CALL), { code: 'STORE_NO_ROOM' });
      const results = await store.read(['k:1', 'k:2', 'k:4'], LEASE);
      assert.deepEqual(
        results.map(({ kind }) => kind),
        ['hit', 'miss', 'miss'],
        'what was to be replaced is gone',
      );
      const absent = results[2]!;
      assert.ok(absent.kind === 'miss' && absent.lease !== null, 'whoever misses is to load, not to wait');
      const fill = { key: 'k:4', value: VALUE, ...ENTRY, lease: absent.lease };
      assert.deepEqual(await store.fill([fill], CALL), [false]);
      await store.delete(['k:1'], CALL);
      assert.equal((await store.read(['k:1'], READ))[0]?.kind, 'miss');
    });
  },
);

test('tables and leases evicted under pressure cost misses, never a wrong hit', requires('redis-server'), async () => {
  await withServer(
    async (store, raw) => {
      await store.set('k:1', VALUE, ENTRY, CALL);
      const [result] = await store.read(['k:9'], LEASE);
      assert.ok(result?.kind === 'miss' && result.lease !== null);
      await store.invalidate({ tags: ['blue'] }, CALL);
      await raw.command(['DEL', 'bw.invalidations']);
      assert.equal((await store.read(['k:1'], READ))[0]?.kind, 'miss', 'nothing is known any more');
      const entry = { key: 'k:9', value: VALUE, ttlMs: 60_000, tags: ['blue'], lease: result.lease };
      assert.deepEqual(await store.fill([entry], CALL), [false]);
      assert.equal((await store.read(['k:9'], READ))[0]?.kind, 'miss');
      await store.set('k:1', VALUE, ENTRY, CALL);
      assert.equal((await store.read(['k:1'], READ))[0]?.kind, 'hit');
    },
    ['--maxmemory-policy', 'allkeys-random'],
  );
});
