/**
 * `bench library`: what a call of the library costs in the application's process. An L1 hit is a matter of nanoseconds and
 * is measured in a loop over keys that are all there; an L2 hit is a round trip to a node in another process, one at a
 * time on an otherwise idle machine, which is what a single caller sees.
 *
 * lru-cache is the yardstick where it is installed: it is a bare map in the same process and promises none of what L1 does
 * (bounds in bytes, TTL with jitter, invalidation), so its figure is the floor and not a rival.
 */
import { type Cache, createBreakwater } from '../../cache/index.ts';
import type { Children } from '../children/children.ts';
import { startBreakwater } from '../children/servers.ts';
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
  await run(order, plan.l1Operations);
  const results: number[] = [];
  for (let round = 0; round < plan.rounds; round += 1) {
    const before = process.cpuUsage();
    const found = await run(order, plan.l1Operations);
    const { user, system } = process.cpuUsage(before);
    results.push(((user + system) * 1000) / plan.l1Operations);
    if (found !== plan.l1Operations) throw new Error(`${plan.l1Operations - found} of the calls missed`);
  }
  return median(results);
}

/** Loads all ids, 1,000 at a time: one call for all would hold more leases at once than a store remembers. */
async function warm(cache: Cache<string, Value>, ids: readonly string[]): Promise<void> {
  for (let at = 0; at < ids.length; at += 1000) await cache.getMany(ids.slice(at, at + 1000));
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
      { what: 'L1 hit, peek', unit: 'ns', mean: peek, p50: null, p99: null, bar: 'at most 150 ns' },
      { what: 'L1 hit, await get', unit: 'ns', mean: get, p50: null, p99: null, bar: 'at most 500 ns' },
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

async function l2Rows(plan: LibraryPlan, children: Children): Promise<LibraryRow[]> {
  const { port, child } = await startBreakwater(children, []);
  const bw = createBreakwater({ store: `breakwater://127.0.0.1:${port}` });
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
    const rounds: { mean: number; p50: number; p99: number }[] = [];
    // The first round is for the compilers on both sides.
    for (let round = 0; round <= plan.rounds; round += 1) {
      const times = new Float64Array(plan.l2Operations);
      for (let i = 0; i < plan.l2Operations; i += 1) {
        const id = ids[(i * 7919) % ids.length]!;
        const before = performance.now();
        await cache.get(id);
        times[i] = (performance.now() - before) * 1000;
      }
      if (round === 0) continue;
      times.sort();
      rounds.push({
        mean: times.reduce((sum, one) => sum + one, 0) / times.length,
        p50: times[Math.floor(times.length * 0.5)]!,
        p99: times[Math.floor(times.length * 0.99)]!,
      });
    }
    if (loads > 0) throw new Error(`${loads} of the gets went to the loader: they were no hits of L2`);
    return [
      {
        what: 'L2 hit on a node, one get at a time',
        unit: 'us',
        mean: median(rounds.map((one) => one.mean)),
        p50: median(rounds.map((one) => one.p50)),
        p99: median(rounds.map((one) => one.p99)),
        bar: 'p50 under 300 us, p99 under 1,000 us',
      },
    ];
  } finally {
    await bw.close();
    await child.stop();
  }
}

/** Runs all parts. */
export async function runLibraryBench(plan: LibraryPlan, children: Children): Promise<LibraryRow[]> {
  return [...(await l1Rows(plan)), ...(await l2Rows(plan, children))];
}
