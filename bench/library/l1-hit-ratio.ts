/**
 * Hit ratios of L1, beside the engine's default policy and the lru-cache package, on the same requests.
 *
 *     npx tsx bench/library/l1-hit-ratio.ts [--traces DIR] [--only WORD,WORD] [--output FILE]
 *
 * The L1 class of the library is measured, not a model of it: every request is a `find`, and a `put` when that misses, from an empty L1 with
 * room for C entries and ample bytes. Without a directory of traces the generated workloads of the engine's bench are used.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { LRUCache } from 'lru-cache';
import { L1 } from '../../src/cache/l1.ts';
import { hashNamespace, Voids } from '../../src/cache/voids.ts';
import { environment, environmentLine } from '../../src/cli/bench/environment.ts';
import { storeHitRatio } from '../engine/hit-ratio.ts';
import { generatedWorkloads, tracesIn, type Workload } from '../engine/workloads.ts';

interface Row {
  readonly workload: string;
  readonly capacity: number;
  readonly l1: number;
  readonly engine: number;
  readonly lruCache: number;
}

function l1HitRatio(ids: readonly string[], requests: Uint32Array, capacity: number): number {
  const l1 = new L1<number>({ maxEntries: capacity, maxBytes: 1e12 }, new Voids(), hashNamespace('x'));
  const life = { storedAtMs: 0, sureUntilMs: 1e15, goneAtMs: 1e15, ttlMs: 1e15, graceMs: 0, loadMs: 0 };
  const facts = { value: 1, version: null, stamp: 0, tags: [], bytes: 1, ...life };
  let hits = 0;
  for (const key of requests) {
    const id = ids[key]!;
    if (l1.find(id, 0) !== null) hits += 1;
    else l1.put(id, facts);
  }
  if (l1.size > capacity) throw new Error(`L1 holds ${l1.size} entries, more than ${capacity}`);
  return hits / requests.length;
}

function lruHitRatio(requests: Uint32Array, capacity: number): number {
  const lru = new LRUCache<number, number>({ max: capacity });
  let hits = 0;
  for (const key of requests) {
    if (lru.get(key) !== undefined) hits += 1;
    else lru.set(key, 1);
  }
  return hits / requests.length;
}

function measure({ name, requests, capacities }: Workload): Row[] {
  let keys = 0;
  for (const key of requests) if (key >= keys) keys = key + 1;
  const ids = Array.from({ length: keys }, (_, key) => `${key}`);
  return capacities.map((capacity) => {
    const row = {
      workload: name,
      capacity,
      l1: l1HitRatio(ids, requests, capacity),
      engine: storeHitRatio(requests, capacity, 'tinylfu'),
      lruCache: lruHitRatio(requests, capacity),
    };
    process.stdout.write(`${line(row)}\n`);
    return row;
  });
}

const percent = (ratio: number): string => (100 * ratio).toFixed(2);

function line({ workload, capacity, l1, engine, lruCache }: Row): string {
  return `| ${workload} | ${capacity} | ${percent(l1)} | ${percent(engine)} | ${percent(lruCache)} | ${(100 * (l1 - engine)).toFixed(2)} |`;
}

const { values } = parseArgs({
  options: { traces: { type: 'string' }, only: { type: 'string', default: '' }, output: { type: 'string' } },
});
const only = values.only === '' ? [] : values.only.split(',');
const workloads =
  values.traces === undefined
    ? generatedWorkloads().filter(({ name }) => only.length === 0 || only.some((word) => name.includes(word)))
    : tracesIn(values.traces, only).map(({ workload }) => workload);
const rows = workloads.flatMap(measure);
const mean = (of: 'l1' | 'engine' | 'lruCache'): number => rows.reduce((sum, row) => sum + row[of], 0) / rows.length;
const summary = line({
  workload: '**mean**',
  capacity: rows.length,
  l1: mean('l1'),
  engine: mean('engine'),
  lruCache: mean('lruCache'),
});
const below = rows.filter(({ l1, engine }) => l1 < engine - 0.01).length;
const text = [
  '# Hit ratio of L1',
  '',
  environmentLine(environment()),
  '',
  'Percent of requests, from empty; the capacity is in entries. `bench/library/l1-hit-ratio.ts` says how.',
  '',
  '| workload | capacity | L1 | engine (tinylfu) | lru-cache | L1 less engine |',
  '| --- | ---: | ---: | ---: | ---: | ---: |',
  ...rows.map(line),
  summary,
  '',
  `L1 is more than 1 point below the engine on ${below} of ${rows.length}, and below lru-cache on ${rows.filter(({ l1, lruCache }) => l1 < lruCache).length}.`,
  '',
].join('\n');
process.stdout.write(`${summary}\n${text.split('\n').at(-2)}\n`);
if (values.output !== undefined) writeFileSync(values.output, text);
