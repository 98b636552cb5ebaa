/**
 * L1s of several processes over a real redis-server, kept right by CLIENT TRACKING: what another process or another client changes, what crosses a read
 * on its way, and every way in which the server or the connection can leave us in doubt.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { type Breakwater, type BreakwaterOptions, createBreakwater } from '../../src/cache/index.ts';
import { RespClient } from '../../src/client/client.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

/** Of an L1 that is to be bypassed. */
const SHORT_BOUND_MS = 250;
/** Of all others: a machine that is slow for a while must not look like a server that is away. */
const PATIENT = { staleness: 1_000, readTimeout: '20s', writeTimeout: '20s' } as const;
const clock = systemClock();
const endings: (() => unknown)[] = [];

let server: RedisServer;
let raw: RespClient;

describe('L1 over one server', requires('redis-server'), () => {
  before(async () => {
    server = await RedisServer.start();
    raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
    endings.push(
      () => server.close(),
      () => raw.close({ drain: false }),
    );
  });
  after(async () => {
    for (const end of endings.reverse()) await end();
  });

  test('what others delete, tag, clear, overwrite or flush leaves it', async () => {
    const [a, b] = [open(), open()];
    let n = 1;
    const load = (ids: readonly string[]) => ids.map(() => ({ n }));
    const inA = a.cache('told', { load, l1: {}, ttl: '10m', tags: (_v, id) => [`tag-${id}`] });
    const inB = b.cache('told', { load, ttl: '10m', tags: (_v, id) => [`tag-${id}`] });
    const isKept = async (id: string): Promise<boolean> => (await inA.getDetailed(id)).from === 'l1';
    for (const [what, tell] of [
      ['delete', () => inB.delete('1')],
      ['set', () => inB.set('1', { n })],
      ['tag', () => b.invalidate({ tags: ['tag-1'] })],
      ['namespace', () => b.invalidate({ namespaces: ['told'] })],
      ['DEL by a stranger', () => raw.command(['DEL', 'told:1'])],
      ['SET by a stranger', () => raw.command(['SET', 'told:1', 'x'])],
      ['expiry', () => raw.command(['PEXPIRE', 'told:1', 1]).then(() => pause(5))],
      ['FLUSHALL', () => raw.command(['FLUSHALL'])],
      ['the table of invalidations lost', () => raw.command(['DEL', 'bw.invalidations'])],
    ] as const) {
      await waitUntil(async () => (await isKept('1')) && inA.peek('1')?.n === n, what);
      n += 1;
      await tell();
      const toldMs = clock.now();
      await waitUntil(async () => inA.peek('1')?.n !== n - 1, what);
      assert.equal((await inA.get('1'))?.n, n, what);
      assert.ok((await a.stats()).feed!.isInTime || clock.now() > toldMs);
    }
    const { numbers } = (await a.stats()).store;
    assert.ok(numbers!['trackingPushes']! > 0 && numbers!['trackingFlushes']! > 0);
  });

  test('what this process loads or sets is kept with its next read, and told of from then on', async () => {
    const [a, b] = [open(), open()];
    let n = 1;
    const load = (ids: readonly string[]) => ids.map(() => ({ n }));
    const inA = a.cache('own', { load, l1: {}, ttl: '10m' });
    const inB = b.cache('own', { load });
    const kept = (id: string) => waitUntil(async () => (await inA.getDetailed(id)).from === 'l1', `${id} is kept`);
    await kept('warm');
    for (const [id, make] of [
      ['loaded', () => inA.get('loaded')],
      ['loaded anew', () => inA.get('loaded anew', { fresh: true })],
      ['set', () => inA.set('set', { n })],
    ] as const) {
      await make();
      assert.equal(inA.peek(id), undefined, 'nobody would tell of it');
      await kept(id);
      await inA.get(id, { fresh: true });
      await kept(id);
      n += 1;
      await inB.delete(id);
      await waitUntil(async () => inA.peek(id) === undefined, `${id} is told of`);
      assert.equal((await inA.get(id))?.n, n);
    }
  });

  test('a value that an invalidation crosses on its way is not kept', async () => {
    const { bw, proxy } = await behindProxy();
    const other = open();
    let n = 1;
    const load = (ids: readonly string[]) => ids.map(() => ({ n }));
    const cache = bw.cache('crossed', { load, l1: {}, ttl: '10m' });
    const outside = other.cache('crossed', { load });
    await waitUntil(async () => (await cache.getDetailed('warm')).from === 'l1', 'followed');
    // A machine that is so slow that the client gives the held connection up reads the new value: once more, then.
    await waitUntil(async () => {
      const old = n;
      await waitUntil(async () => (await outside.getDetailed('1')).from === 'l2', 'stored');
      await settled(proxy);
      proxy.hold('down');
      const before = proxy.bytes.down;
      const read = cache.get('1');
      await waitUntil(async () => proxy.bytes.down > before, 'the server has answered');
      await settled(proxy);
      const answered = proxy.bytes.down;
      n += 1;
      await outside.delete('1');
      await waitUntil(async () => proxy.bytes.down > answered, 'its push travels right behind the answer');
      proxy.release();
      const wasRead = (await read)?.n;
      await waitUntil(async () => cache.peek('1')?.n !== old, 'not kept');
      assert.equal((await cache.get('1'))?.n, n);
      return wasRead === old;
    }, 'read before the delete');
  });

  test('half-open: beyond the bound it is bypassed and says so; when it is back, nothing of before is served', async () => {
    const { bw, proxy } = await behindProxy({ staleness: SHORT_BOUND_MS });
    const other = open();
    let n = 1;
    const load = (ids: readonly string[]) => ids.map(() => ({ n }));
    const cache = bw.cache('cut', { load, l1: {}, ttl: '10m' });
    const outside = other.cache('cut', { load });
    await waitUntil(async () => (await cache.getDetailed('1')).from === 'l1', 'kept');
    proxy.blackhole('down');
    n = 2;
    await outside.delete('1');
    await waitUntil(async () => cache.peek('1') === undefined, 'bypassed');
    assert.equal((await bw.stats()).feed!.isInTime, false);
    assert.equal((await cache.get('1', { timeout: '30s' }))?.n, 2, 'from the loader: the store does not answer');
    assert.ok(cache.stats().l1!.bypassed > 0);
    const { suspects } = (await bw.stats()).feed!;
    proxy.reset();
    proxy.heal();
    await waitUntil(async () => (await bw.stats()).feed!.isInTime, 'back');
    assert.ok((await bw.stats()).feed!.suspects > suspects, 'everything of before is dropped');
    await waitUntil(async () => (await cache.getDetailed('1')).from === 'l1', 'kept again');
    assert.equal((await cache.get('1'))?.n, 2);
  });

  test('the server remembers fewer keys than were read: each one that it forgets leaves L1', async () => {
    await raw.command(['CONFIG', 'SET', 'tracking-table-max-keys', 20]);
    try {
      const [a, b] = [open(), open()];
      let n = 1;
      const load = (ids: readonly string[]) => ids.map(() => ({ n }));
      const inA = a.cache('many', { load, l1: {}, ttl: '10m' });
      const inB = b.cache('many', { load });
      const ids = Array.from({ length: 400 }, (_, i) => String(i));
      await waitUntil(async () => (await inA.getDetailed('warm')).from === 'l1', 'followed');
      await inA.getMany(ids);
      n = 2;
      await Promise.all(ids.map((id) => inB.delete(id)));
      await waitUntil(async () => ids.every((id) => inA.peek(id) === undefined), 'none is left');
    } finally {
      await raw.command(['CONFIG', 'SET', 'tracking-table-max-keys', 1_000_000]);
    }
  });

  test('everywhere is refused before anything is done; without permission or RESP3 the ttl is the bound, with a warning', async () => {
    const bw = open();
    const cache = bw.cache('refused', { load: (ids: readonly string[]) => ids.map(() => 1), l1: {} });
    await assert.rejects(bw.invalidate({ keys: ['refused:1'], wait: 'everywhere' }), { code: 'CACHE_OPTION_INVALID' });
    assert.equal(await cache.get('1'), 1);
    await raw.command(['ACL', 'SETUSER', 'plain', 'on', '>secret', '~*', '+@all', '-client|tracking']);
    for (const url of [
      `redis://plain:secret@127.0.0.1:${server.port}`,
      `redis://127.0.0.1:${server.port}?protocol=2`,
    ] as const) {
      const weak = createBreakwater({ store: url, ...PATIENT });
      endings.push(() => weak.close());
      const load = (ids: readonly string[]) => ids.map(() => 1);
      const bounded = weak.cache('bounded', { load, l1: { ttl: '10s' } });
      const unbounded = weak.cache('unbounded', { load, l1: {} });
      await bounded.get('1');
      await waitUntil(async () => (await weak.stats()).feed!.isUnsupported, 'told');
      assert.match((await weak.stats()).feed!.warning!, /tracking/i);
      await waitUntil(async () => (await bounded.getDetailed('1')).from === 'l1', 'bounded by its ttl');
      await unbounded.get('1');
      await unbounded.get('1');
      assert.equal(unbounded.peek('1'), undefined, 'nothing bounds it');
    }
  });

  test('who waits for the load of another process is told by the push, and does not poll', async () => {
    const processes = Array.from({ length: 10 }, () => open());
    let loads = 0;
    /** Ends when all others wait for it. */
    const load = async (ids: readonly string[]) => {
      loads += 1;
      if (ids[0] === 'cold') await waitUntil(async () => waiting() - before >= 9, 'nine wait');
      return ids.map(() => ({ n: 1 }));
    };
    const caches = processes.map((bw) => bw.cache('stampede', { load, l1: {}, leaseWait: '30s', loadTimeout: '30s' }));
    const waiting = (): number => caches.reduce((sum, cache) => sum + cache.stats().leasePolls, 0);
    let before = 0;
    for (const [i, bw] of processes.entries()) {
      await caches[i]!.get('warm-up');
      await waitUntil(async () => (await bw.stats()).feed!.isInTime, 'followed');
    }
    loads = 0;
    before = waiting();
    await Promise.all(caches.map((cache) => cache.get('cold')));
    assert.equal(loads, 1);
    const polls = waiting() - before;
    assert.ok(polls <= 2 * 9, `told, not polling: ${polls} waits`);
  });

  test('without an L1 he is told as well; an L1 that is declared later on the same connections is told of everything', async () => {
    const [a, b] = [open(), open()];
    let n = 1;
    let go = (): void => {};
    const load = async (ids: readonly string[]) => {
      if (ids[0] === 'cold') await new Promise<void>((resolve) => (go = resolve));
      return ids.map(() => ({ n }));
    };
    const options = { load, leaseWait: '30s', loadTimeout: '30s' } as const;
    const [inA, inB] = [a.cache('later', options), b.cache('later', options)];
    const first = inA.get('cold');
    await waitUntil(async () => inA.stats().loads === 1, 'A loads');
    const second = inB.get('cold');
    const pushes = async (): Promise<number> => (await b.stats()).store.numbers?.['trackingPushes'] ?? 0;
    await waitUntil(async () => inB.stats().leasePolls >= 1, 'B waits');
    go();
    assert.deepEqual([(await first)?.n, (await second)?.n], [1, 1]);
    await waitUntil(async () => (await pushes()) >= 1, 'the push came');
    assert.equal(inB.stats().loads, 0);
    const pushed = await pushes();
    for (let i = 0; i < 20; i += 1) {
      await inB.get(`other${i}`);
      await inA.delete(`other${i}`);
    }
    await b.stats();
    assert.equal(await pushes(), pushed, 'of what nobody waits for nothing is told');

    const kept = b.cache('kept', { load, l1: {}, ttl: '10m' });
    await waitUntil(async () => (await kept.get('1')) !== null && kept.peek('1')?.n === n, 'kept in L1');
    assert.equal((await b.stats()).feed!.isUnsupported, false);
    n += 1;
    await raw.command(['DEL', 'kept:1']);
    await waitUntil(async () => kept.peek('1') === undefined, 'told');
    assert.equal((await kept.get('1'))?.n, n);
  });
});

function open(at = server.port, options: Omit<BreakwaterOptions, 'store'> = PATIENT): Breakwater {
  const bw = createBreakwater({ store: `redis://127.0.0.1:${at}`, ...options });
  endings.push(() => bw.close());
  return bw;
}

async function behindProxy(options?: Omit<BreakwaterOptions, 'store'>): Promise<{ bw: Breakwater; proxy: FaultProxy }> {
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: server.port });
  endings.push(() => proxy.close());
  return { bw: open(proxy.port, options), proxy };
}

/** Nothing more comes from the server by itself. */
async function settled(proxy: FaultProxy): Promise<void> {
  for (let seen = -1, rounds = 0; seen !== proxy.bytes.down && rounds < 20; rounds += 1) {
    seen = proxy.bytes.down;
    await pause(20);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function waitUntil(isTrue: () => Promise<boolean>, what: string, withinMs = 60_000): Promise<void> {
  const deadlineMs = clock.now() + withinMs;
  while (!(await isTrue())) {
    assert.ok(clock.now() < deadlineMs, `in vain: ${what}`);
    await pause(5);
  }
}
