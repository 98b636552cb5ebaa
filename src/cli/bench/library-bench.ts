/**
 * `bench library`: what a call of the library costs in the application's process. An L1 hit is a matter of nanoseconds and
 * is measured in a loop over keys that are all there; an L2 hit is a round trip to a node in another process, one at a
 * time on an otherwise idle machine, which is what a single caller sees.
 *
 * lru-cache is the yardstick where it is installed: it is a bare map in the same process and promises none of what L1 does
 * (bounds in bytes, TTL with jitter, invalidation), so its figure is the floor and not a rival.
 */
import { type Breakwater, type Cache, createBreakwater } from '../../cache/index.ts';
import { RespClient } from '../../client/client.ts';
import type { Children } from '../children/children.ts';
import { startBreakwater, startOnFreePorts } from '../children/servers.ts';
import { findProgram } from './targets.ts';
import { median } from './wire.ts';

export interface LibraryPlan {
  readonly rounds: number;
  /** Hits of L1 a round. */
  readonly l1Operations: number;
  /** Sequential hits of L2 a round. */
  readonly l2Operations: number;
  readonly keys: number;
}

export interface LibraryRow {
  readonly what: string;
  readonly unit: 'ns' | 'us';
  /** Medians over the rounds. `mean` for loops, `p50` and `p99` for single calls. */
  readonly mean: number | null;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly bar: string;
}

/** Operations between two turns of the event loop. */
const SLICE = 50_000;

interface Value {
  readonly id: string;
  readonly text: string;
}

/** A value as an application has it: an object of about 100 bytes as JSON. */
const valueFor = (id: string): Value => ({ id, text: `product ${id} `.padEnd(80, '.') });

/**
 * CPU nanoseconds a call, the median of the rounds; each visits the keys in the same scattered order. CPU time of the process and
 * not elapsed time: what else runs on the machine disturbs it less.
 */
async function loop(
  plan: LibraryPlan,
  ids: readonly string[],
  run: (order: readonly string[], operations: number) => number | Promise<number>,
): Promise<number> {
  const order = ids.map((_, i) => ids[(i * 7919) % ids.length]!);
  for (let left = plan.l1Operations; left > 0; left -= SLICE) {
    await run(order, Math.min(left, SLICE));
    await new Promise((resolve) => setImmediate(resolve));
  }
  const results: number[] = [];
  for (let again = 0; results.length < plan.rounds; ) {
    const before = process.cpuUsage();
    let found = 0;
    for (let left = plan.l1Operations; left > 0; left -= SLICE) {
      found += await run(order, Math.min(left, SLICE));
      // What else the process has to do: the pings of the feed, without which L1 is bypassed.
      await new Promise((resolve) => setImmediate(resolve));
    }
    const { user, system } = process.cpuUsage(before);
    if (found === plan.l1Operations) {
      results.push(((user + system) * 1000) / plan.l1Operations);
      continue;
    }
    // A process that was held up for longer than the bound bypasses its L1: that round is no measurement.
    again += 1;
    if (again === 20) throw new Error(`${plan.l1Operations - found} of the calls missed`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return median(results);
}

/** Loads all ids, 1,000 at a time: one call for all would hold more leases at once than a store remembers. */
/** Until a whole round is hits: fills are not waited for, and one that is late is dropped. */
async function warm(cache: Cache<string, Value>, ids: readonly string[]): Promise<void> {
  for (let round = 0; round < 20; round += 1) {
    const { loads } = cache.stats();
    for (let at = 0; at < ids.length; at += 1000) await cache.getMany(ids.slice(at, at + 1000));
    if (cache.stats().loads === loads) return;
  }
}

async function l1Rows(plan: LibraryPlan): Promise<LibraryRow[]> {
  const bw = createBreakwater();
  const ids = Array.from({ length: plan.keys }, (_, i) => String(i));
  try {
    const cache: Cache<string, Value> = bw.cache('bench', {
      load: (wanted: readonly string[]) => wanted.map(valueFor),
      ttl: '1h',
      l1: { maxEntries: plan.keys * 4, maxBytes: '256mb' },
    });
    await warm(cache, ids);
    const peek = await loop(plan, ids, (order, operations) => {
      let found = 0;
      for (let i = 0, at = 0; i < operations; i += 1) {
        if (cache.peek(order[at]!) !== undefined) found += 1;
        at = at + 1 === order.length ? 0 : at + 1;
      }
      return found;
    });
    const get = await loop(plan, ids, async (order, operations) => {
      let found = 0;
      for (let i = 0, at = 0; i < operations; i += 1) {
        if ((await cache.get(order[at]!)) !== null) found += 1;
        at = at + 1 === order.length ? 0 : at + 1;
      }
      return found;
    });
    return [
      { what: 'L1 hit, peek', unit: 'ns', mean: peek, p50: null, p99: null, bar: 'at most 100 ns' },
      { what: 'L1 hit, await get', unit: 'ns', mean: get, p50: null, p99: null, bar: 'at most 300 ns' },
      ...(await lruRows(plan, ids)),
    ];
  } finally {
    await bw.close();
  }
}

/** lru-cache in the same loops, or nothing where it is not installed. */
async function lruRows(plan: LibraryPlan, ids: readonly string[]): Promise<LibraryRow[]> {
  let lru: { get(key: string): Value | undefined; set(key: string, value: Value): unknown };
  try {
    const { LRUCache } = await import('lru-cache');
    lru = new LRUCache<string, Value>({ max: plan.keys * 4, ttl: 3_600_000 });
  } catch {
    return [];
  }
  for (const id of ids) lru.set(id, valueFor(id));
  const plain = await loop(plan, ids, (order, operations) => {
    let found = 0;
    for (let i = 0, at = 0; i < operations; i += 1) {
      if (lru.get(order[at]!) !== undefined) found += 1;
      at = at + 1 === order.length ? 0 : at + 1;
    }
    return found;
  });
  const awaited = await loop(plan, ids, async (order, operations) => {
    let found = 0;
    for (let i = 0, at = 0; i < operations; i += 1) {
      if ((await lru.get(order[at]!)) !== undefined) found += 1;
      at = at + 1 === order.length ? 0 : at + 1;
    }
    return found;
  });
  return [
    { what: 'lru-cache with ttl, get', unit: 'ns', mean: plain, p50: null, p99: null, bar: '' },
    { what: 'lru-cache with ttl, await get', unit: 'ns', mean: awaited, p50: null, p99: null, bar: '' },
  ];
}

interface Timed {
  readonly name: string;
  readonly calls: number;
  readonly act: (i: number) => Promise<unknown>;
}

/** Microseconds of single calls: the acts take turns, `calls` of each a round, so that a slow minute of the machine is slow for all. */
async function timed(
  rounds: number,
  acts: readonly Timed[],
): Promise<Map<string, { readonly mean: number; readonly p50: number; readonly p99: number }>> {
  const all = new Map<string, number[]>(acts.map(({ name }) => [name, []]));
  // The first two rounds are for the compilers on both sides.
  for (let round = -2; round < rounds; round += 1) {
    for (const { name, calls, act } of acts) {
      for (let i = 0; i < calls; i += 1) {
        const before = performance.now();
        await act(i);
        if (round >= 0) all.get(name)!.push((performance.now() - before) * 1000);
      }
    }
  }
  return new Map(
    [...all].map(([name, times]) => {
      times.sort((a, b) => a - b);
      const mean = times.reduce((sum, one) => sum + one, 0) / times.length;
      const at = (share: number): number => times[Math.floor(times.length * share)]!;
      return [name, { mean, p50: at(0.5), p99: at(0.99) }];
    }),
  );
}

async function parsed(client: RespClient, key: string): Promise<unknown> {
  return JSON.parse((await client.command(['GET', key], { text: true })) as string);
}

async function parsedAll(client: RespClient, keys: readonly string[]): Promise<unknown[]> {
  const texts = (await client.command(['MGET', ...keys], { text: true })) as string[];
  return texts.map((one) => JSON.parse(one) as unknown);
}

/** Hits of an L1 in front of the node, kept right by its feed, with three tags each. */
async function feedRows(plan: LibraryPlan, bw: Breakwater, ids: readonly string[]): Promise<LibraryRow[]> {
  const cache: Cache<string, Value> = bw.cache('fed', {
    load: (wanted: readonly string[]) => wanted.map(valueFor),
    ttl: '1h',
    tags: ({ id }) => [`org:${id}`, 'plan:free', 'region:eu'],
    l1: { maxEntries: plan.keys * 4, maxBytes: '256mb' },
  });
  await warm(cache, ids);
  const askedBefore = cache.stats();
  const peek = await loop(plan, ids, (order, operations) => {
    let found = 0;
    for (let i = 0, at = 0; i < operations; i += 1) {
      if (cache.peek(order[at]!) !== undefined) found += 1;
      at = at + 1 === order.length ? 0 : at + 1;
    }
    return found;
  });
  const get = await loop(plan, ids, async (order, operations) => {
    let found = 0;
    for (let i = 0, at = 0; i < operations; i += 1) {
      if ((await cache.get(order[at]!)) !== null) found += 1;
      at = at + 1 === order.length ? 0 : at + 1;
    }
    return found;
  });
  const { l2Hits, misses } = cache.stats();
  const asked = l2Hits + misses - askedBefore.l2Hits - askedBefore.misses;
  const row = (what: string, mean: number, bar: string): LibraryRow => ({
    what,
    unit: 'ns',
    mean,
    p50: null,
    p99: null,
    bar,
  });
  return [
    row('L1 hit with the feed on, three tags, peek', peek, `at most 100 ns; ${asked} went to the node`),
    row('L1 hit with the feed on, three tags, await get', get, 'at most 300 ns'),
  ];
}

/** bentocache's memory tier with three tags in the same loop, or nothing where it is not installed. */
async function bentoRows(plan: LibraryPlan, ids: readonly string[]): Promise<LibraryRow[]> {
  try {
    const { BentoCache, bentostore } = await import('bentocache');
    const { memoryDriver } = await import('bentocache/drivers/memory');
    const tier = bentostore().useL1Layer(memoryDriver({ maxItems: plan.keys * 4 }));
    const bento = new BentoCache({ default: 'tier', ttl: '1h', stores: { tier } });
    const tags = (id: string): string[] => [`org:${id}`, 'plan:free', 'region:eu'];
    const ask = (id: string): Promise<Value> =>
      bento.getOrSet({ key: id, tags: tags(id), factory: () => valueFor(id) });
    for (const id of ids) await ask(id);
    const few = { ...plan, l1Operations: Math.ceil(plan.l1Operations / 20) };
    const mean = await loop(few, ids, async (order, operations) => {
      let found = 0;
      for (let i = 0, at = 0; i < operations; i += 1) {
        if ((await ask(order[at]!)) !== null) found += 1;
        at = at + 1 === order.length ? 0 : at + 1;
      }
      return found;
    });
    await bento.disconnectAll();
    const what = 'bentocache, memory tier alone, three tags, await getOrSet';
    return [{ what, unit: 'ns', mean, p50: null, p99: null, bar: '' }];
  } catch {
    return [];
  }
}

async function l2Rows(plan: LibraryPlan, children: Children): Promise<LibraryRow[]> {
  const { port, child } = await startBreakwater(children, []);
  // On a busy machine a loop may hold this process up for longer than the default bound, which would bypass L1.
  const bw = createBreakwater({
    store: `breakwater://127.0.0.1:${port}`,
    staleness: '1s',
    readTimeout: '30s',
    writeTimeout: '30s',
  });
  const client = new RespClient({ port, commandTimeoutMs: 30_000 });
  const ids = Array.from({ length: plan.keys }, (_, i) => String(i));
  let loads = 0;
  try {
    const cache: Cache<string, Value> = bw.cache('bench', {
      load: (wanted: readonly string[]) => {
        loads += wanted.length;
        return wanted.map(valueFor);
      },
      ttl: '1h',
    });
    await warm(cache, ids);
    loads = 0;
    const hundred = ids.slice(0, 100);
    const keys = hundred.map((id) => `bench:${id}`);
    const text = JSON.stringify(valueFor('0'));
    await client.command(['SET', 'bare', text]);
    for (const id of hundred) await client.command(['SET', `bare:${id}`, JSON.stringify(valueFor(id))]);
    const bareKeys = hundred.map((id) => `bare:${id}`);
    const sixteen = (one: (i: number) => Promise<unknown>, i: number): Promise<unknown> =>
      Promise.all(Array.from({ length: 16 }, (_, j) => one(i + j)));
    const bare = (): Promise<unknown> => client.command(['GET', 'bare']);
    const get = (i: number): Promise<unknown> => cache.get(ids[(i * 7919) % ids.length]!);
    const seconds = plan.l2Operations;
    const figures = await timed(plan.rounds, [
      { name: 'bare', calls: seconds, act: bare },
      { name: 'bareParsed', calls: seconds, act: () => parsed(client, 'bare') },
      { name: 'get', calls: seconds, act: get },
      { name: 'bare16', calls: seconds / 8, act: (i) => sixteen(bare, i) },
      { name: 'get16', calls: seconds / 8, act: (i) => sixteen(get, i * 16) },
      {
        name: 'mget',
        calls: seconds / 8,
        act: () => parsedAll(client, bareKeys),
      },
      { name: 'bwMget', calls: seconds / 8, act: () => client.command(['BW.MGET', 100, ...keys, 'PACKED']) },
      { name: 'many', calls: seconds / 8, act: () => cache.getMany(hundred) },
    ]);
    if (loads > 0) throw new Error(`${loads} of the gets went to the loader: they were no hits of L2`);
    const times = (name: string, than: string): string => (figures.get(name)!.p50 / figures.get(than)!.p50).toFixed(2);
    const row = (what: string, name: string, than: string, bar: string): LibraryRow => {
      const { mean, p50, p99 } = figures.get(name)!;
      const ratio = than === '' ? '' : `${times(name, than)} x`;
      return { what, unit: 'us', mean, p50, p99, bar: [ratio, bar].filter((one) => one !== '').join('; ') };
    };
    return [
      row('bare GET of the same bytes, same client', 'bare', '', ''),
      row('L2 hit on a node, one get at a time', 'get', 'bare', 'at most 1.3 x the bare GET'),
      row('16 bare GETs at once', 'bare16', '', ''),
      row('16 gets at once, hits of L2', 'get16', 'bare16', 'at most 1.3 x'),
      row('bare GET, JSON.parse', 'bareParsed', 'bare', ''),
      row(
        'bare MGET of 100, JSON.parse of each',
        'mget',
        'bareParsed',
        'one such GET: the floor of the next ratio but one',
      ),
      row('bare BW.MGET of 100, packed, not decoded', 'bwMget', 'get', 'one get'),
      row('getMany(100), hits of L2', 'many', 'get', `at most 2 x one get; ${times('many', 'mget')} x that MGET`),
      ...(await feedRows(plan, bw, ids)),
    ];
  } finally {
    await bw.close();
    await client.close();
    await child.stop();
  }
}

/** The same over a redis-server, with three tags and without, or nothing where there is none. */
async function redisRows(plan: LibraryPlan, children: Children): Promise<LibraryRow[]> {
  const program = findProgram('redis-server');
  if (program === null) return [];
  const { ports, child } = await startOnFreePorts(
    1,
    ([at]) => {
      const settings = ['--port', String(at), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
      return children.start(program, settings, { label: 'redis-server' });
    },
    'PING\r\n',
    /^\+PONG/,
  );
  const port = ports[0]!;
  const bw = createBreakwater({ store: `redis://127.0.0.1:${port}`, readTimeout: '30s', writeTimeout: '30s' });
  const client = new RespClient({ port, commandTimeoutMs: 30_000 });
  const ids = Array.from({ length: plan.keys }, (_, i) => String(i));
  let loads = 0;
  const load = (wanted: readonly string[]): Value[] => {
    loads += wanted.length;
    return wanted.map(valueFor);
  };
  try {
    const plain: Cache<string, Value> = bw.cache('plain', { load, ttl: '1h' });
    const tagged: Cache<string, Value> = bw.cache('tagged', {
      load,
      ttl: '1h',
      tags: ({ id }) => [`org:${id}`, 'plan:free', 'region:eu'],
    });
    for (const cache of [plain, tagged]) {
      await warm(cache, ids);
      for (const id of ids.slice(0, 100)) await cache.get(id);
    }
    loads = 0;
    const hundred = ids.slice(0, 100);
    for (const id of hundred) await client.command(['SET', `bare:${id}`, JSON.stringify(valueFor(id))]);
    const bareKeys = hundred.map((id) => `bare:${id}`);
    const sixteen = (one: (i: number) => Promise<unknown>, i: number): Promise<unknown> =>
      Promise.all(Array.from({ length: 16 }, (_, j) => one(i + j)));
    const bare = (): Promise<unknown> => client.command(['GET', 'bare:0']);
    const at = (i: number): string => ids[(i * 7919) % ids.length]!;
    const calls = plan.l2Operations;
    const few = calls / 8;
    const figures = await timed(plan.rounds, [
      { name: 'bare', calls, act: bare },
      { name: 'bareParsed', calls, act: () => parsed(client, 'bare:0') },
      { name: 'get', calls, act: (i) => plain.get(at(i)) },
      { name: 'tagged', calls, act: (i) => tagged.get(at(i)) },
      { name: 'bare16', calls: few, act: (i) => sixteen(bare, i) },
      { name: 'get16', calls: few, act: (i) => sixteen((j) => plain.get(at(j)), i * 16) },
      {
        name: 'mget',
        calls: few,
        act: () => parsedAll(client, bareKeys),
      },
      { name: 'many', calls: few, act: () => plain.getMany(hundred) },
    ]);
    if (loads > 0) throw new Error(`${loads} of the gets went to the loader: they were no hits of L2`);
    const times = (name: string, than: string): string => (figures.get(name)!.p50 / figures.get(than)!.p50).toFixed(2);
    const row = (what: string, name: string, than: string, bar: string): LibraryRow => {
      const { mean, p50, p99 } = figures.get(name)!;
      const ratio = than === '' ? '' : `${times(name, than)} x`;
      return { what: `redis: ${what}`, unit: 'us', mean, p50, p99, bar: [ratio, bar].filter(Boolean).join('; ') };
    };
    return [
      row('bare GET, same client', 'bare', '', ''),
      row('L2 hit, one get at a time', 'get', 'bare', 'at most 1.3 x the bare GET'),
      row('L2 hit with three tags', 'tagged', 'bare', 'at most 1.3 x the bare GET'),
      row('16 bare GETs at once', 'bare16', '', ''),
      row('16 gets at once, hits of L2', 'get16', 'bare16', 'at most 1.3 x'),
      row('bare GET, JSON.parse', 'bareParsed', 'bare', ''),
      row('bare MGET of 100, JSON.parse of each', 'mget', 'bareParsed', 'one such GET: the floor of the next ratio'),
      row('getMany(100), hits of L2', 'many', 'get', `at most 2 x one get; ${times('many', 'mget')} x that MGET`),
    ];
  } finally {
    await bw.close();
    await client.close();
    await child.stop();
  }
}

/** Runs all parts. */
export async function runLibraryBench(plan: LibraryPlan, children: Children): Promise<LibraryRow[]> {
  const l1 = await l1Rows(plan);
  const l2 = await l2Rows(plan, children);
  const ids = Array.from({ length: plan.keys }, (_, i) => String(i));
  return [...l1, ...l2, ...(await redisRows(plan, children)), ...(await bentoRows(plan, ids))];
}
