/**
 * The random mix of L1s over real servers: no answer out of an L1 beyond the bound, none stale for ever, whatever happens to the server, the network and
 * the cluster meanwhile.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { createBreakwater } from '../../src/cache/index.ts';
import { RespClient } from '../../src/client/client.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';
import { L1Mix } from './l1-mix.ts';

const BOUND_MS = 250;
const clock = systemClock();
const withServers = { ...requires('redis-server'), timeout: 480_000 };
const seed = Number(process.env['BREAKWATER_SEED'] ?? 20_261_121);

function open(port: number) {
  return createBreakwater({ store: `redis://127.0.0.1:${port}`, staleness: BOUND_MS, writeTimeout: '20s' });
}

test('100,000 operations on one server, disturbed', withServers, async () => {
  const server = await RedisServer.start();
  const raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
  const random = new SeededRandom(seed);
  const all = [1, 2, 3, 4].map(() => open(server.port));
  const mix = new L1Mix({
    readers: all.slice(0, 3),
    writers: all.slice(2),
    rows: 96, // so many that a row is seldom invalidated twice within a bound
    boundMs: BOUND_MS,
    clock,
    random,
    disturbEveryMs: 1_200, // rarely: each of the grave ones drops all of L1, and would hide what it missed
    disturb: async () => {
      const key = `mix:${random.nextUint32() % 12}`;
      const deeds = [
        ['SCRIPT', 'FLUSH'],
        ['DEL', 'bw.invalidations'],
        ['FLUSHALL'],
        ['SET', key, 'a stranger'],
        ['PEXPIRE', key, 5],
        ['DEL', key],
        ['CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'],
        ['CONFIG', 'SET', 'tracking-table-max-keys', 3],
        ['CONFIG', 'SET', 'tracking-table-max-keys', 1000],
      ];
      await raw.command(deeds[random.nextUint32() % deeds.length]!);
    },
  });
  try {
    await mix.run(100_000);
    await mix.check();
    const { counts } = mix;
    assert.ok(counts.invalidations > 100 && counts.disturbances > 2, JSON.stringify(counts));
  } finally {
    await Promise.all([...all.map((bw) => bw.close()), raw.close({ drain: false })]);
    await server.close();
  }
});

test('behind a network that delays, cuts and swallows', withServers, async () => {
  const server = await RedisServer.start();
  const random = new SeededRandom(seed);
  const proxies = await Promise.all([1, 2].map(() => FaultProxy.start({ host: '127.0.0.1', port: server.port })));
  const readers = proxies.map(({ port }) => open(port));
  const writer = open(server.port);
  const mix = new L1Mix({
    readers,
    writers: [writer],
    boundMs: BOUND_MS,
    clock,
    random,
    disturb: async () => {
      const proxy = proxies[random.nextUint32() % proxies.length]!;
      const kind = random.nextUint32() % 4;
      if (kind === 0) proxy.reset();
      else if (kind === 1) proxy.delay(random.nextFloat() * 300, random.nextFloat() < 0.5 ? 'down' : 'up');
      else if (kind === 2) proxy.blackhole('down');
      else proxy.cut();
      await pause(50 + random.nextFloat() * 300);
      if (kind === 2) proxy.reset();
      proxy.delay(0);
      proxy.heal();
    },
  });
  try {
    await mix.run(30_000);
    await mix.check();
  } finally {
    await Promise.all([...readers, writer].map((bw) => bw.close()));
    await Promise.all(proxies.map((proxy) => proxy.close()));
    await server.close();
  }
});

test('a cluster whose slots move', withServers, async () => {
  const cluster = await RedisCluster.start();
  const random = new SeededRandom(seed);
  const all = [1, 2, 3].map(() => open(cluster.servers[0]!.port));
  const slots: number[] = [0];
  for (let i = 0; i < 12; i += 1) slots.push(Number(await cluster.servers[0]!.text('CLUSTER', 'KEYSLOT', `mix:${i}`)));
  const mix = new L1Mix({
    readers: all.slice(0, 2),
    writers: all.slice(1),
    boundMs: BOUND_MS,
    clock,
    random,
    disturbEveryMs: 300,
    // A slot goes to another primary, with a row or a table of invalidations in it.
    disturb: async () => {
      const slot = slots[random.nextUint32() % slots.length]!;
      const from = await cluster.currentOwnerOf(slot);
      const to = cluster.primaries.find((server) => server !== from)!;
      await cluster.beginMove(slot, from, to);
      await pause(random.nextUint32() % 60);
      await cluster.endMove(slot, from, to);
    },
  });
  try {
    await mix.run(40_000);
    await mix.check();
    assert.ok(mix.counts.disturbances >= 3, JSON.stringify(mix.counts));
  } finally {
    await Promise.all(all.map((bw) => bw.close()));
    await cluster.close();
  }
});

test('a primary dies and its replica takes over: nothing of before is served', withServers, async () => {
  const cluster = await RedisCluster.start({ nodeTimeoutMs: 1_000 });
  const [a, b] = [open(cluster.servers[0]!.port), open(cluster.servers[0]!.port)];
  let n = 1;
  const load = (ids: readonly string[]) => ids.map(() => ({ n }));
  const inA = a.cache('fail', { load, l1: {}, ttl: '10m' });
  const inB = b.cache('fail', { load });
  try {
    const ids = Array.from({ length: 30 }, (_, i) => String(i));
    const areKept = async (): Promise<boolean> => {
      for (const id of ids) await inA.get(id).catch(() => undefined);
      return ids.every((id) => inA.peek(id)?.n === n);
    };
    await cluster.until('all are kept', areKept);
    const { suspects } = (await a.stats()).feed!;
    await cluster.primaries[1]!.kill();
    await cluster.until('the L1 is bypassed or dropped', async () => ids.every((id) => inA.peek(id) === undefined));
    n = 2;
    // Acknowledged by who is left: the shard has no replica any more, and the map says so only when its node is forgotten.
    const dead = cluster.primaries[1]!;
    await cluster.until('a replica has taken over', async () => {
      const slot = Number(await cluster.servers[0]!.text('CLUSTER', 'KEYSLOT', 'fail:1'));
      const nodes = await cluster.servers[0]!.text('CLUSTER', 'NODES');
      return slot >= 0 && !nodes.split('\n').some((line) => line.startsWith(dead.id) && /\d+-\d+/.test(line));
    });
    const living = cluster.servers.filter((server) => server !== dead);
    await Promise.all(living.map((server) => server.text('CLUSTER', 'FORGET', dead.id)));
    for (const id of ids) {
      await cluster.until(`${id} is deleted`, () =>
        inB.delete(id).then(
          () => true,
          () => false,
        ),
      );
    }
    const deletedMs = clock.now();
    await cluster.until('all are kept anew', areKept);
    assert.ok((await a.stats()).feed!.suspects > suspects, `${clock.now() - deletedMs}`);
  } finally {
    await Promise.all([a.close(), b.close()]);
    await cluster.close();
  }
});

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
