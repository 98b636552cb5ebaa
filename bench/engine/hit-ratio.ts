/**
 * Hit ratios of the store's eviction policies.
 *
 *     npx tsx bench/engine/hit-ratio.ts [--traces DIR] [--only WORD,WORD] [--policies tinylfu,lru,lfu] [--json]
 *
 * The real Store is measured, not a simulation of it. So that its numbers compare with simulators, which count objects,
 * it is sized by entries: memory is ample and the store's test-only `entryLimit` makes it evict above C entries. Every
 * request is a find, and a set when that misses, from a cold store.
 *
 * The harness computes exact LRU itself; where the directory's limits.json states one, the two must agree to the last digit
 * given there, which shows that traces are read right and hits are counted right.
 */
import { pathToFileURL } from 'node:url';
import { parseArgs } from 'node:util';
import type { EvictionPolicy } from '../../src/engine/face.ts';
import { Store } from '../../src/engine/store.ts';
import { generatedWorkloads, tracesIn, type Workload } from './workloads.ts';

export interface HitRatioRow {
  readonly workload: string;
  readonly capacity: number;
  readonly ratios: Record<string, number>;
}

/** Exact LRU's hit ratio, by a doubly linked list over dense ids. */
export function exactLru(requests: Uint32Array, capacity: number): number {
  let keys = 0;
  for (const key of requests) if (key >= keys) keys = key + 1;
  const next = new Int32Array(keys + 1).fill(-1);
  const previous = new Int32Array(keys + 1).fill(-1);
  const head = keys;
  next[head] = head;
  previous[head] = head;
  let size = 0;
  let hits = 0;
  for (const key of requests) {
    if (next[key]! >= 0) {
      hits += 1;
      next[previous[key]!] = next[key]!;
      previous[next[key]!] = previous[key]!;
    } else if (size === capacity) {
      const victim: number = previous[head]!;
      next[previous[victim]!] = head;
      previous[head] = previous[victim]!;
      next[victim] = -1;
    } else {
      size += 1;
    }
    next[key] = next[head]!;
    previous[key] = head;
    previous[next[head]!] = key;
    next[head] = key;
  }
  return hits / requests.length;
}

/** The store's hit ratio under `policy`, sized to `capacity` entries. */
export function storeHitRatio(requests: Uint32Array, capacity: number, policy: EvictionPolicy): number {
  const memoryBytes = Math.max(4, Math.ceil((capacity * 160) / 2 ** 20) * 2) * 2 ** 20;
  const store = new Store({ memoryBytes, eviction: policy, seed: 0x5eed, entryLimit: capacity });
  const key = new Uint8Array(4);
  let hits = 0;
  for (const id of requests) {
    key[0] = id;
    key[1] = id >>> 8;
    key[2] = id >>> 16;
    key[3] = id >>> 24;
    if (store.find(key, 0, 4, 1) !== 0) hits += 1;
    else store.set(key, 0, 4, key, 0, 0, 0, 1);
  }
  if (store.size > capacity) throw new Error(`the store holds ${store.size} entries, more than ${capacity}`);
  return hits / requests.length;
}

function measure({ name, requests, capacities }: Workload, policies: readonly EvictionPolicy[]): HitRatioRow[] {
  return capacities.map((capacity) => {
    const ratios: Record<string, number> = { 'exact lru': exactLru(requests, capacity) };
    for (const policy of policies) ratios[policy] = storeHitRatio(requests, capacity, policy);
    return { workload: name, capacity, ratios };
  });
}

function main(): void {
  const { values } = parseArgs({
    options: {
      traces: { type: 'string' },
      only: { type: 'string', default: '' },
      policies: { type: 'string', default: 'tinylfu,lru,lfu' },
      json: { type: 'boolean', default: false },
    },
  });
  const policies = values.policies.split(',') as EvictionPolicy[];
  const only = values.only === '' ? [] : values.only.split(',');
  const rows: HitRatioRow[] = [];
  const published: Record<string, number>[] = [];
  if (values.traces !== undefined) {
    for (const { workload, limits } of tracesIn(values.traces, only)) {
      for (const row of measure(workload, policies)) {
        const limit = limits[String(row.capacity)]!;
        const lru = row.ratios['exact lru']!;
        if (Math.abs(lru - limit['lru']!) > 0.000_006) {
          throw new Error(`${row.workload} at ${row.capacity}: exact LRU ${lru} here, ${limit['lru']} in limits.json`);
        }
        rows.push(row);
        published.push(limit);
        if (!values.json) print(row, limit);
      }
    }
  } else {
    for (const workload of generatedWorkloads()) {
      if (only.length > 0 && !only.some((word) => workload.name.includes(word))) continue;
      for (const row of measure(workload, policies)) {
        rows.push(row);
        if (!values.json) print(row, {});
      }
    }
  }
  const means: Record<string, number> = {};
  for (const name of Object.keys(rows[0]?.ratios ?? {})) {
    means[name] = rows.reduce((sum, row) => sum + row.ratios[name]!, 0) / rows.length;
  }
  for (const name of published.length === 0 ? [] : Object.keys(published[0]!)) {
    const known = published.filter((limit) => limit[name] !== undefined);
    if (known.length === rows.length)
      means[`published ${name}`] = known.reduce((sum, limit) => sum + limit[name]!, 0) / rows.length;
  }
  if (values.json) {
    process.stdout.write(`${JSON.stringify({ rows, means }, null, 2)}\n`);
    return;
  }
  process.stdout.write(`\nmean over ${rows.length}\n`);
  for (const [name, mean] of Object.entries(means).sort(([, a], [, b]) => b - a)) {
    process.stdout.write(`  ${name.padEnd(26)} ${(100 * mean).toFixed(2)}\n`);
  }
}

const COMPARED = ['opt', 'wtlfu-density', 'lazy-wtlfu-fifo', 's3fifo'];

function print(row: HitRatioRow, limit: Record<string, number>): void {
  const own = Object.entries(row.ratios).map(([name, ratio]) => `${name} ${(100 * ratio).toFixed(2).padStart(6)}`);
  const others = COMPARED.filter((name) => limit[name] !== undefined).map(
    (name) => `${name} ${(100 * limit[name]!).toFixed(2)}`,
  );
  process.stdout.write(
    `${row.workload.padEnd(16)} ${String(row.capacity).padStart(7)}  ${own.join('  ')}   ${others.join('  ')}\n`,
  );
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) main();
