/**
 * Codecs, compression, encryption and chunks through the whole library on real servers: what one process writes another reads, also what is larger than
 * the store takes; an invalidation kills it at once; no plain text travels; keys rotate while everybody serves.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect, createServer } from 'node:net';
import { describe, test } from 'node:test';
import { type Breakwater, type BreakwaterOptions, createBreakwater } from '../../src/cache/index.ts';
import { RespClient } from '../../src/client/client.ts';
import { startLiveNode } from '../contract/live-node.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

interface Place {
  readonly port: number;
  readonly store: Extract<BreakwaterOptions['store'], string>;
  close(): Promise<void>;
}

const PLACES: readonly { name: string; options: { skip: string | false }; start: () => Promise<Place> }[] = [
  {
    name: 'a node',
    options: { skip: false },
    start: async () => {
      const node = await startLiveNode({ memoryBytes: 256 * 1024 ** 2 });
      return { port: node.port, store: node.url, close: () => node.close() };
    },
  },
  {
    name: 'redis-server',
    options: requires('redis-server'),
    start: async () => {
      const server = await RedisServer.start();
      return { port: server.port, store: `redis://127.0.0.1:${server.port}`, close: () => server.close() };
    },
  },
  {
    name: 'a Redis Cluster of six',
    options: requires('redis-server'),
    start: async () => {
      const cluster = await RedisCluster.start();
      const { port } = cluster.primaries[0]!;
      return { port, store: `redis://127.0.0.1:${port}`, close: () => cluster.close() };
    },
  },
];

const PATIENT = { readTimeout: '10s', writeTimeout: '10s', staleness: false } as const;

for (const { name, options, start } of PLACES) {
  describe(`values as bytes on ${name}`, options, () => {
    const within = async (work: (place: Place, open: (more?: BreakwaterOptions) => Breakwater) => Promise<void>) => {
      const place = await start();
      const opened: Breakwater[] = [];
      try {
        await work(place, (more = {}) => {
          // A small limit, so that chunks need no large values.
          const bw = createBreakwater({ store: `${place.store}?maxValue=64kb` as Place['store'], ...PATIENT, ...more });
          opened.push(bw);
          return bw as Breakwater;
        });
      } finally {
        await Promise.all(opened.map((bw) => bw.close()));
        await place.close();
      }
    };

    test('each way is read by another process, and chunks die with their key', async () => {
      await within(async (place, open) => {
        const [a, b] = [open(), open()];
        const key = { id: 'k', key: randomBytes(32) };
        // 1 MB that does not compress: sixteen times what the store takes.
        const large = randomBytes(750_000).toString('base64');
        let big = large;
        let loads = 0;
        const both = (cache: string, own: object) =>
          [a, b].map((bw) =>
            bw.cache<string>(cache, {
              load: async (ids) => {
                loads += 1;
                return ids.map((id) => (id === 'big' ? big : `value ${id} `.repeat(200)));
              },
              tags: () => [`tag-${cache}`],
              ttl: '10m',
              ...own,
            }),
          ) as [ReturnType<typeof a.cache<string>>, ReturnType<typeof a.cache<string>>];
        const ways: [string, object][] = [
          ['plain', {}],
          ['packed', { codec: 'msgpack' }],
          ['all', { codec: 'msgpack', compression: {}, encryption: { keys: [key] } }],
        ];
        for (const [way, own] of ways) {
          const [mine, theirs] = both(way, own);
          for (const id of ['small', 'big']) {
            loads = 0;
            const value = await mine.get(id);
            await untilStored(async () => (await theirs.getDetailed(id)).from === 'l2');
            const got = await theirs.getDetailed(id);
            assert.equal(got.from, 'l2', `${way} ${id}`);
            assert.ok(got.value === value && value !== null && value.length > 1000, `${way} ${id}`);
            assert.ok(loads <= 2);
          }
          const many = await theirs.getMany(['small', 'big']);
          assert.ok(many.get('big') === large && many.get('small')?.startsWith('value small'), `${way}: a batch`);
          assert.equal(theirs.stats().unreadable, 0);
          // The manifest is gone, and with it the value, whatever of its chunks is left.
          big = `${large.slice(0, -1)}!`;
          assert.equal(await theirs.delete('big'), true);
          assert.ok((await mine.getDetailed('big')).value === big, `${way}: after a delete`);
          big = `${large.slice(0, -1)}?`;
          await a.invalidate({ tags: [`tag-${way}`] });
          assert.ok((await theirs.getDetailed('big')).value === big, `${way}: after its tag`);
          await mine.set('big', large);
          const set = await theirs.getDetailed('big');
          assert.ok(set.from === 'l2' && set.value === large, `${way}: after a set`);
          big = large;
        }
        if (name === 'a Redis Cluster of six') return;
        // A chunk that is lost makes the value a miss, which its load repairs.
        const [mine, theirs] = both('plain-2', {});
        await mine.set('big', large);
        const raw = new RespClient({ port: place.port, commandTimeoutMs: 60_000 });
        const pattern = 'plain-2:{plain-2:big}#*/7';
        const [, found] = (await raw.command(['SCAN', '0', 'MATCH', pattern, 'COUNT', '100000'])) as [
          unknown,
          Uint8Array[],
        ];
        assert.equal(found.length, 1);
        await raw.command(['DEL', found[0]!]);
        assert.equal((await theirs.getDetailed('big')).from, 'loader');
        assert.equal(theirs.stats().unreadableChunks, 1);
        await untilStored(async () => (await mine.getDetailed('big')).from === 'l2');
        await raw.close();
      });
    });

    test('with encryption no plain text is on the wire; without, the same test finds it', async () => {
      await within(async (place, open) => {
        const key = { id: 'k', key: randomBytes(32) };
        const tap = await Tap.start(place.port);
        const scheme = place.store.slice(0, place.store.indexOf(':'));
        const through = { store: `${scheme}://127.0.0.1:${tap.port}?maxValue=64kb` as Place['store'] };
        const secret = 'correct horse battery staple';
        const writeAndRead = async (cache: string, own: object) => {
          tap.bytes = [];
          const bw = open(through);
          const notes = bw.cache<{ text: string }>(cache, {
            load: async (ids) => ids.map(() => ({ text: secret })),
            ...own,
          });
          await notes.get('1').catch(() => undefined);
          await notes.set('2', { text: secret });
          assert.equal((await notes.get('2'))?.text, secret);
          await notes.set('big', { text: secret.repeat(10_000) });
          assert.equal((await notes.get('big'))?.text.length, secret.length * 10_000);
          await bw.close();
          return Buffer.concat(tap.bytes);
        };
        // In a cluster the client finds the nodes by itself, around the tap, unless it has what it asks for there.
        if (name !== 'a Redis Cluster of six') {
          assert.ok((await writeAndRead('open', {})).includes('horse battery'));
          const seen = await writeAndRead('shut', { encryption: { keys: [key] } });
          assert.ok(seen.length > 2 * secret.length * 10_000 && seen.includes('shut:2'));
          assert.equal(seen.includes('horse'), false);
          assert.equal(seen.includes('battery'), false);
          assert.equal(seen.includes(Buffer.from(key.key)), false);
        }
        await tap.close();
      });
    });

    test('keys rotate while everybody serves: nobody loads anew, and who lacks the key has a counted miss', async () => {
      await within(async (_place, open) => {
        const k1 = { id: 'k1', key: randomBytes(32) };
        const k2 = { id: 'k2', key: randomBytes(32) };
        let loads = 0;
        const service = (keys: { id: string; key: Uint8Array }[]) =>
          open().cache<string>('note', {
            encryption: { keys },
            load: async (ids) => {
              loads += 1;
              return ids.map((id) => `note ${id}`);
            },
          });
        const before = service([k1]);
        for (const id of ['1', '2']) {
          await before.get(id);
          await untilStored(async () => (await before.getDetailed(id)).from === 'l2');
        }
        assert.ok(loads <= 4);
        loads = 0;
        const appended = service([k1, k2]); // 1. everybody can read the new key
        const switched = service([k2, k1]); // 2. one after another writes it
        assert.equal((await appended.getDetailed('1')).from, 'l2');
        assert.equal((await switched.getDetailed('1')).from, 'l2');
        await switched.set('3', 'note 3');
        assert.equal((await appended.getDetailed('3')).from, 'l2');
        await appended.set('4', 'note 4');
        assert.equal((await switched.getDetailed('4')).from, 'l2');
        assert.equal(loads, 0);
        const after = service([k2]); // 3. the old key is dropped
        assert.equal((await after.getDetailed('3')).from, 'l2');
        const late = await after.getDetailed('2'); // nobody rewrote it: a miss
        assert.deepEqual([late.from, late.value, loads], ['loader', 'note 2', 1]);
        assert.equal(after.stats().unreadableKey, 1);
        assert.equal(after.stats().unreadable, 1);
      });
    });
  });
}

test('embedded: a value above the engine’s limit is in chunks too, and a delete kills it', async () => {
  const bw = createBreakwater({ memory: '64mb' });
  const text = randomBytes(8 * 1024 ** 2).toString('base64');
  let loads = 0;
  const cache = bw.cache<string>('doc', {
    l1: false,
    load: async (ids) => {
      loads += 1;
      return ids.map(() => text);
    },
  });
  await cache.get('1');
  const again = await cache.getDetailed('1');
  assert.ok(again.from === 'l2' && again.value === text);
  assert.equal(loads, 1);
  await cache.delete('1');
  assert.equal((await cache.getDetailed('1')).from, 'loader');
  // Not awaited one after the other: a delete that comes while a large set is on its way wins.
  const setting = cache.set('2', text);
  const deleting = cache.delete('2');
  await Promise.all([setting, deleting]);
  assert.equal((await cache.getDetailed('2')).from, 'loader');
  await bw.close();
});

test('the codec of the defaults is the caches’, unless they say another; its package is loaded for it', async () => {
  const bw = createBreakwater({ defaults: { codec: 'msgpack', compression: {} } });
  const at = new Date(1_700_000_000_000);
  const dates = bw.cache('date', { load: async (ids) => ids.map((id) => ({ id, at })) });
  const found = await dates.get('1');
  const time: number | undefined = found?.at.getTime(); // a Date by its type, too
  assert.equal(time, at.getTime());
  const texts = bw.cache('text', { codec: 'json', load: async (ids) => ids.map((id) => ({ id, at })) });
  assert.equal(((await texts.get('1')) as unknown as { at: string }).at, at.toISOString());
  const plain = createBreakwater();
  const json = plain.cache('text', { load: async (ids) => ids.map((id) => ({ id, at })) });
  const text: string | undefined = (await json.get('1'))?.at;
  assert.equal(text, at.toISOString());
  await Promise.all([bw.close(), plain.close()]);
});

/** Waits until a fill that nobody waits for has arrived. */
async function untilStored(isThere: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 6_000; i += 1) {
    if (await isThere()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  assert.fail('not stored in time');
}

/** Passes everything on and keeps a copy. */
class Tap {
  bytes: Buffer[] = [];
  readonly port: number;
  readonly close: () => Promise<void>;

  private constructor(port: number, close: () => Promise<void>) {
    this.port = port;
    this.close = close;
  }

  static async start(target: number): Promise<Tap> {
    const server = createServer((client) => {
      const upstream = connect(target, '127.0.0.1');
      for (const [from, to] of [
        [client, upstream],
        [upstream, client],
      ] as const) {
        from.on('data', (piece: Buffer) => tap.bytes.push(piece));
        from.on('error', () => to.destroy());
        from.pipe(to);
      }
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const tap = new Tap(port, () => new Promise((resolve) => server.close(() => resolve())));
    return tap;
  }
}
