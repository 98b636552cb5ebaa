/**
 * What an L1 hit costs: `peek`, and `get` awaited, one after the other over 10,000 hot keys. Compared with lru-cache awaited, which
 * promises nothing but the lookup.
 *
 *   node --import tsx bench/library/l1.ts
 */
import { LRUCache } from 'lru-cache';
import { createBreakwater } from '../../src/cache/index.ts';

const KEYS = 10_000;
const ROUNDS = 2_000_000;
const REPEATS = 7;

const ids = Array.from({ length: KEYS }, (_, i) => `${i}`);
const bw = createBreakwater();
const plain = bw.cache('plain', {
  load: async (wanted) => wanted.map((id) => ({ id, name: `name of ${id}` })),
  ttl: '1h',
  l1: { maxEntries: 20_000 },
});
const tagged = bw.cache('tagged', {
  load: async (wanted) => wanted.map((id) => ({ id, name: `name of ${id}` })),
  ttl: '1h',
  tags: (row) => [`a:${row.id}`, 'b', 'c'],
  l1: { maxEntries: 20_000 },
});
await plain.getMany(ids);
await tagged.getMany(ids);
const lru = new LRUCache<string, { id: string }>({ max: 20_000, ttl: 3_600_000 });
for (const id of ids) lru.set(id, { id });

let sink = 0;
const cases: [string, () => Promise<void> | void][] = [
  [
    'peek',
    () => {
      for (let i = 0; i < ROUNDS; i += 1) sink += plain.peek(ids[i % KEYS]!) === undefined ? 1 : 0;
    },
  ],
  [
    'get',
    async () => {
      for (let i = 0; i < ROUNDS; i += 1) sink += (await plain.get(ids[i % KEYS]!)) === null ? 1 : 0;
    },
  ],
  [
    'get, three tags',
    async () => {
      for (let i = 0; i < ROUNDS; i += 1) sink += (await tagged.get(ids[i % KEYS]!)) === null ? 1 : 0;
    },
  ],
  [
    'lru-cache get',
    () => {
      for (let i = 0; i < ROUNDS; i += 1) sink += lru.get(ids[i % KEYS]!) === undefined ? 1 : 0;
    },
  ],
  [
    'lru-cache get awaited',
    async () => {
      for (let i = 0; i < ROUNDS; i += 1) sink += (await lru.get(ids[i % KEYS]!)) === undefined ? 1 : 0;
    },
  ],
];

for (const [name, run] of cases) {
  const nanos: number[] = [];
  for (let repeat = 0; repeat < REPEATS; repeat += 1) {
    const start = process.hrtime.bigint();
    await run();
    nanos.push(Number(process.hrtime.bigint() - start) / ROUNDS);
  }
  nanos.sort((a, b) => a - b);
  console.log(
    `${name.padEnd(24)} median ${nanos[REPEATS >> 1]!.toFixed(0).padStart(5)} ns   best ${nanos[0]!.toFixed(0).padStart(5)} ns`,
  );
}
if (sink !== 0) throw new Error(`${sink} misses: the bench measured something else`);
await bw.close();
