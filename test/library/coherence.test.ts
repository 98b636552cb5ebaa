/**
 * L1s of several processes over one node, kept right by its feed: over real sockets, through proxies that delay, cut and swallow.
 *
 * The checker of the random mix, at each answer out of an L1 with a version that the source has replaced:
 *   1. the delete that announced a later version was acknowledged at most one bound before the question
 *   2. none that was acknowledged *everywhere* before the question announced a later version
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import type { Duration } from '../../src/base/units.ts';
import { type Breakwater, createBreakwater } from '../../src/cache/index.ts';
import { freePorts } from '../../src/cli/children/ports.ts';
import { RespClient } from '../../src/client/client.ts';
import { Node } from '../../src/node/node.ts';
import { LatencyMeter } from '../../src/server/latency.ts';
import { RespListener } from '../../src/server/resp-listener.ts';
import { FaultProxy } from '../support/fault-proxy.ts';

const BOUND_MS = 250;
const clock = systemClock();

let port = 0;
const endings: (() => unknown)[] = [];

before(async () => {
  // Followers of an earlier run have nothing to trust any more.
  const started = await start(0, clock.now() - 5000);
  port = started.port;
  endings.push(started.close);
});
after(async () => {
  for (const end of endings.reverse()) await end();
});

async function start(
  at: number,
  startMs: number,
  feedRecords?: number,
): Promise<{ port: number; close: () => Promise<void> }> {
  const node = new Node({
    ...(feedRecords === undefined ? {} : { feedRecords }),
    memoryBytes: 32 * 1024 ** 2,
    eviction: 'tinylfu',
    random: new SeededRandom(Math.floor(startMs)),
    startMs,
    version: 'test',
  });
  const listener = new RespListener(node, clock, new LatencyMeter(), {
    maxClients: 100,
    stallTimeoutMs: 60_000,
    idleTimeoutMs: 0,
    clientMemoryBytes: 256 * 1024 ** 2,
  });
  let bound = 0;
  // A port that was ours may for a moment be the near end of somebody's connection.
  await waitUntil(async () => {
    bound = await listener.listen(at, '127.0.0.1').catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EADDRINUSE') throw error;
      return 0;
    });
    return bound !== 0;
  });
  const ticks = setInterval(() => {
    node.onTick(clock.now());
    if (node.hasPushes) listener.schedulePushes();
  }, 5);
  const close = (): Promise<void> => {
    clearInterval(ticks);
    return listener.close(0);
  };
  return { port: bound, close };
}

/** A bound or a deadline is made long where a busy machine would decide the outcome. */
function open(
  at = port,
  options: { staleness?: number; readTimeout?: Duration; writeTimeout?: Duration } = {},
): Breakwater {
  const bw = createBreakwater({
    store: `breakwater://127.0.0.1:${at}`,
    staleness: BOUND_MS,
    writeTimeout: '30s',
    ...options,
  });
  endings.push(() => bw.close());
  return bw;
}

async function behindProxy(): Promise<{ bw: Breakwater; proxy: FaultProxy }> {
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port });
  endings.push(() => proxy.close());
  return { bw: open(proxy.port), proxy };
}

const isInTime = async (bw: Breakwater): Promise<boolean> => (await bw.stats()).feed?.isInTime === true;

test('what another process deletes, tags and clears leaves it', async () => {
  const [a, b] = [open(), open()];
  const client = new RespClient({ port, commandTimeoutMs: 60_000 });
  endings.push(() => client.close());
  const rows = new Map([['1', 1]]);
  const load = (ids: readonly string[]) => ids.map((id) => ({ n: rows.get(id) ?? 0 }));
  const inA = a.cache('plain', { load, l1: {}, tags: () => ['t'] });
  const inB = b.cache('plain', { load, tags: () => ['t'] });
  const invalidations = [
    () => inB.delete('1'),
    () => b.invalidate({ tags: ['t'] }),
    () => b.invalidate({ namespaces: ['plain'] }),
    () => inB.set('1', { n: rows.get('1') ?? 0 }),
    () => client.command(['FLUSHALL']),
    () => client.command(['DEL', 'plain:1']),
  ];
  await inA.get('1');
  await waitUntil(() => isInTime(a));
  for (const invalidate of invalidations) {
    await waitUntil(async () => (await inA.getDetailed('1')).from === 'l1');
    const n = rows.get('1')! + 1;
    rows.set('1', n);
    await invalidate();
    await waitUntil(() => inA.peek('1')?.n !== n - 1);
    assert.equal((await inA.get('1'))?.n, n);
  }
  const { feed } = await a.stats();
  assert.ok(feed !== null && feed.records > 0 && feed.boundMs === BOUND_MS && !feed.isUnsupported);
});

test('everywhere: when it resolves no L1 serves the old value; a process that hangs costs one bound', async () => {
  const { bw: a, proxy } = await behindProxy();
  const b = open();
  let n = 1;
  const load = (ids: readonly string[]) => ids.map(() => ({ n }));
  const inA = a.cache('everywhere', { load, l1: {} });
  b.cache('everywhere', { load });
  const settle = async (): Promise<void> => {
    await waitUntil(async () => (await inA.getDetailed('1').catch(() => null))?.from === 'l1');
  };
  for (let round = 0; round < 5; round += 1) {
    await settle();
    n += 1;
    await b.invalidate({ keys: ['everywhere:1'], wait: 'everywhere' });
    assert.notEqual(inA.peek('1')?.n, n - 1);
  }
  await settle();
  proxy.delay(60_000, 'down');
  n += 1;
  await b.invalidate({ keys: ['everywhere:1'], wait: 'everywhere' });
  assert.equal(inA.peek('1'), undefined, 'its bound has run out, and that was waited for');
  assert.equal((await a.stats()).feed?.isInTime, false);
  await assert.rejects(b.invalidate({ keys: ['x:1'], wait: 'always' as never }), { code: 'CACHE_OPTION_INVALID' });
});

test('a break in the connection is replayed: nothing else leaves L1', async () => {
  const { bw: a, proxy } = await behindProxy();
  const b = open();
  const versions = new Map<string, number>();
  const load = (ids: readonly string[]) => ids.map((id) => ({ n: versions.get(id) ?? 0 }));
  const inA = a.cache('replay', { load, l1: {} });
  const inB = b.cache('replay', { load });
  await waitUntil(async () => {
    await inA.getMany(['kept', 'gone']);
    return inA.peek('kept') !== undefined && inA.peek('gone') !== undefined;
  });
  const before = (await a.stats()).feed!;
  proxy.reset();
  versions.set('gone', 1);
  await inB.delete('gone');
  await waitUntil(async () => (await a.stats()).feed!.replays > before.replays && (await isInTime(a)));
  await waitUntil(() => inA.peek('kept') !== undefined);
  assert.equal(inA.peek('gone'), undefined);
  assert.equal((await inA.get('gone'))?.n, 1);
  assert.equal((await a.stats()).feed!.suspects, before.suspects);
});

test('a gap: what is unchanged is kept without a load, what was changed meanwhile is never served', async () => {
  const node = await start(0, clock.now() - 5000, 16);
  endings.push(node.close);
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port: node.port });
  endings.push(() => proxy.close());
  const patient = { staleness: 1000, readTimeout: '30s' } as const;
  const [a, b] = [open(proxy.port, patient), open(node.port, patient)];
  const versions = new Map<string, number>();
  let loadsOfA = 0;
  const load = async (ids: readonly string[]) => ids.map((id) => ({ id, n: versions.get(id) ?? 0 }));
  const inA = a.cache('gap', {
    l1: {},
    load: (ids) => {
      loadsOfA += ids.length;
      return load(ids);
    },
  });
  const inB = b.cache('gap', { load });
  const ids = Array.from({ length: 20 }, (_, i) => `${i}`);
  const changed = ids.slice(0, 5);
  await inB.getMany(ids);
  // A has them from L2, so it knows their versions.
  await waitUntil(async () => {
    for (const id of ids) if ((await inA.getDetailed(id)).version === null) await inB.delete(id);
    await inB.getMany(ids);
    return ids.every((id) => inA.peek(id) !== undefined);
  });
  const had = await inA.getMany(ids);
  const { suspects } = (await a.stats()).feed!;
  loadsOfA = 0;
  proxy.refuse();
  proxy.reset();
  for (const id of changed) {
    versions.set(id, 1);
    await inB.delete(id);
  }
  for (let i = 0; i < 40; i += 1) await inB.delete(`none-${i}`); // more than the node remembers
  proxy.heal();
  await waitUntil(async () => (await a.stats()).feed!.suspects > suspects && (await isInTime(a)));
  for (const id of ids) assert.equal(inA.peek(id), undefined);
  await inB.getMany(ids);
  const has = await inA.getMany(ids);
  for (const id of ids) {
    if (changed.includes(id)) assert.equal(has.get(id)?.n, 1);
    else assert.deepEqual(has.get(id), had.get(id));
  }
  assert.equal(loadsOfA, 0);
  assert.ok(inA.stats().revalidated > 0, 'by version alone');
});

test('a node that was started anew has forgotten: all of L1 is dropped, and everywhere waits for followers that it does not know', async () => {
  const [own = 0] = await freePorts(1); // which nobody else is given while it is closed
  const first = await start(own, clock.now() - 5000);
  const bw = open(first.port);
  let n = 1;
  const cache = bw.cache('restart', { load: (ids: readonly string[]) => ids.map(() => ({ n })), l1: {} });
  await waitUntil(async () => (await cache.getDetailed('1')).from === 'l1');
  const { suspects } = (await bw.stats()).feed!;
  n = 2;
  await first.close();
  // Taken as the node takes it: what counts is when it began, not when it had opened its port.
  const startedMs = clock.now();
  const second = await start(first.port, startedMs);
  endings.push(second.close);
  await waitUntil(async () => (await bw.stats()).feed!.suspects > suspects && (await isInTime(bw)));
  assert.equal(cache.peek('1'), undefined, JSON.stringify({ was: suspects, ...(await bw.stats()).feed }));
  await bw.invalidate({ keys: ['restart:1'], wait: 'everywhere' });
  assert.ok(clock.now() - Math.floor(startedMs) >= 1000, 'one largest bound after the start');
  await waitUntil(async () => (await cache.getDetailed('1')).from === 'l1');
  assert.ok(cache.stats().l1!.bypassed >= 0);
});

test('without a feed it is refused, or bounded by a ttl', async () => {
  const embedded = createBreakwater();
  endings.push(() => embedded.close());
  await embedded.invalidate({ tags: ['x'], wait: 'everywhere' });
  assert.equal((await embedded.stats()).feed, null);
  const bare = createBreakwater({ store: `breakwater://127.0.0.1:${port}`, staleness: false });
  endings.push(() => bare.close());
  assert.throws(() => bare.cache('c', { load: () => [], l1: {} }), { code: 'CACHE_OPTION_INVALID' });
  assert.throws(() => createBreakwater({ store: 'breakwater://h', staleness: '2s' }), { code: 'CACHE_OPTION_INVALID' });
});

test('who waits for another process is told, and does not poll: 20 processes, one load', async () => {
  const processes = Array.from({ length: 20 }, () => open(port, { readTimeout: '30s' }));
  let loads = 0;
  let waitedBefore = 0;
  const waits = (): number => caches.reduce((sum, cache) => sum + cache.stats().leasePolls, 0);
  /** Ends when all others wait for it. */
  const load = async (ids: readonly string[]) => {
    loads += 1;
    await waitUntil(() => waits() - waitedBefore >= 19);
    return ids.map(() => ({ n: 1 }));
  };
  const caches = processes.map((bw) => bw.cache('stampede', { load, leaseWait: '30s', loadTimeout: '30s' }));
  await Promise.all(caches.map((cache) => cache.get('warm-up')));
  loads = 0;
  waitedBefore = waits();
  await Promise.all(caches.map((cache) => cache.get('cold')));
  assert.equal(loads, 1);
  const polls = waits() - waitedBefore;
  assert.ok(polls <= 2 * 19, `told, not polling: ${polls} waits`);
});

test('a random mix of readers, writers and faults: no hit beyond the bound, none after everywhere', async () => {
  const { BREAKWATER_SEED } = process.env;
  const seed = Number(BREAKWATER_SEED ?? 20_261_121);
  const random = new SeededRandom(seed);
  const readers = await Promise.all([behindProxy(), behindProxy()]);
  const writer = open();
  const KEYS = 6;
  const versions = new Array<number>(KEYS).fill(0);
  /** Per key: version and when its delete was acknowledged, by the store and everywhere. */
  const facts: { readonly key: number; readonly version: number; storeMs: number; everywhereMs: number }[] = [];
  const load = async (ids: readonly string[]) => {
    const read = ids.map((id) => ({ n: versions[Number(id)]! }));
    await pause(random.nextFloat() * 10);
    return read;
  };
  const caches = readers.map(({ bw }) =>
    bw.cache('mix', { load, l1: {}, tags: (_v, id) => [`odd-${Number(id) % 2}`] }),
  );
  writer.cache('mix', { load });
  let hits = 0;
  const violations: string[] = [];
  const untilMs = clock.now() + 4000;
  // On a machine too busy for L1s to be in time, longer.
  const running = (): boolean => clock.now() < untilMs + (hits < 50 ? 60_000 : 0);
  const check = (key: number, n: number, askedMs: number): void => {
    for (const fact of facts) {
      if (fact.key !== key || fact.version <= n) continue;
      const late = askedMs - fact.storeMs;
      if (late > BOUND_MS) violations.push(`key ${key}: ${n} served, ${fact.version} acknowledged ${late} ms before`);
      if (askedMs > fact.everywhereMs) violations.push(`key ${key}: ${n} served, ${fact.version} was everywhere`);
    }
  };
  const read = async (cache: (typeof caches)[number]): Promise<void> => {
    while (running()) {
      const key = random.nextUint32() % KEYS;
      const askedMs = clock.now();
      const seen = cache.peek(String(key));
      if (seen !== undefined && seen !== null) {
        hits += 1;
        check(key, seen.n, askedMs);
      } else cache.get(String(key), { timeout: 1000 }).catch(() => undefined);
      await pause(random.nextFloat() * 2);
    }
  };
  const write = async (): Promise<void> => {
    while (running()) {
      const key = random.nextUint32() % KEYS;
      const isTag = random.nextFloat() < 0.3;
      const covered = isTag ? [...versions.keys()].filter((each) => each % 2 === key % 2) : [key];
      const made = covered.map((each) => {
        versions[each]! += 1;
        const [storeMs, everywhereMs] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
        return { key: each, version: versions[each]!, storeMs, everywhereMs };
      });
      facts.push(...made);
      const names = isTag ? { tags: [`odd-${key % 2}`] } : { keys: [`mix:${key}`] };
      if (random.nextFloat() < 0.5) {
        await writer.invalidate(names);
        for (const fact of made) fact.storeMs = clock.now();
      } else {
        await writer.invalidate({ ...names, wait: 'everywhere' });
        for (const fact of made) fact.everywhereMs = clock.now();
      }
      await pause(random.nextFloat() * 40);
    }
  };
  const fault = async (): Promise<void> => {
    while (running()) {
      const { proxy } = readers[random.nextUint32() % readers.length]!;
      const kind = random.nextUint32() % 4;
      if (kind === 0) proxy.reset();
      else if (kind === 1) proxy.delay(random.nextFloat() * 300, random.nextFloat() < 0.5 ? 'down' : 'up');
      else if (kind === 2) proxy.blackhole('down');
      else proxy.cut();
      await pause(100 + random.nextFloat() * 400);
      if (kind === 2) proxy.reset();
      proxy.delay(0);
      proxy.heal();
      await pause(random.nextFloat() * 300);
    }
  };
  await Promise.all([...caches.map(read), write(), write(), fault()]);
  assert.deepEqual(violations, [], `seed ${seed}`);
  assert.ok(hits > 0, 'L1 was of use');
  assert.ok(facts.some(({ everywhereMs }) => everywhereMs < Number.POSITIVE_INFINITY));
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function waitUntil(isTrue: () => boolean | Promise<boolean>, withinMs = 60_000): Promise<void> {
  const deadlineMs = clock.now() + withinMs;
  while (!(await isTrue())) {
    assert.ok(clock.now() < deadlineMs, 'it did not come true in time');
    await pause(5);
  }
}
