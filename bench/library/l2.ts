/**
 * What an L2 hit costs through the library, against a bare GET of the same bytes with the same client, and `getMany(100)`; the node is a
 * process of its own, one request at a time (an idle machine's latency, not throughput).
 *
 *   node --import tsx bench/library/l2.ts
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { createBreakwater } from '../../src/cache/index.ts';
import { RespClient } from '../../src/client/client.ts';
import { startLiveNode } from '../../test/contract/live-node.ts';

const ROUNDS = 4_000;

if (process.send !== undefined) {
  const node = await startLiveNode();
  process.send(node.port);
  process.once('disconnect', () => process.exit());
} else {
  const child = fork(fileURLToPath(import.meta.url), { execArgv: ['--import', 'tsx'] });
  const [port] = (await once(child, 'message')) as [number];
  const bw = createBreakwater({ store: `breakwater://127.0.0.1:${port}` });
  const cache = bw.cache('row', {
    load: async (ids) => ids.map((id) => ({ id, name: `name of ${id}`, price: 12.5 })),
    ttl: '1h',
  });
  const ids = Array.from({ length: 100 }, (_, i) => `${i}`);
  await cache.getMany(ids);
  const client = new RespClient({ port });
  await client.command(['SET', 'bare', JSON.stringify(await cache.get('1'))]);

  const cases: [string, (i: number) => Promise<unknown>][] = [
    ['bare GET', () => client.command(['GET', 'bare'])],
    ['get', (i) => cache.get(ids[i % 100]!)],
    ['getMany(100)', () => cache.getMany(ids)],
  ];
  const times = new Map(cases.map(([name]) => [name, [] as number[]]));
  for (let i = 0; i < ROUNDS; i += 1) {
    for (const [name, act] of cases) {
      if (name === 'getMany(100)' && i % 8 !== 0) continue;
      const start = performance.now();
      await act(i);
      if (i > ROUNDS / 4) times.get(name)!.push(performance.now() - start);
    }
  }
  const stats = cache.stats();
  if (stats.loads !== 1) throw new Error(`${stats.loads} loads: the bench measured something else`);
  for (const [name, values] of times) {
    values.sort((a, b) => a - b);
    const at = (q: number): string => (values[Math.floor(values.length * q)]! * 1000).toFixed(0).padStart(6);
    console.log(`${name.padEnd(14)} p50 ${at(0.5)} us   p99 ${at(0.99)} us`);
  }
  await bw.close();
  await client.close();
  child.disconnect();
}
