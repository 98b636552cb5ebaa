/**
 * What being a member costs, beside one node on its own, on machines of the lab: latency of an acknowledged invalidation, processor time of a GET, bytes on the wire of an idle cluster, memory of an entry.
 *
 *     npm run build && sudo node --import tsx bench/cluster/cost.ts [--only idle,latency,get,memory] [--seconds 2] [--rounds 9] [--steps 5] [--step-entries 200000]
 *
 * Six members with one copy of each range (R = 2), and two nodes of their own on machines beside them: what the second differs from the first is the noise of the machine. Members and nodes take turns (A B A B), block by
 * block, and medians of the rounds are told, the least and the most behind them.
 *
 *   idle      ten seconds in which nobody asks: processor time, and bytes and packets at each member's wire, both ways together
 *   latency   one call at a time: 100 first SETs of absent keys, 100 overwrites, 100 DELs, and again
 *   get       processor time of the server's process, all threads (`/proc/PID/task/*` `/schedstat`, nanoseconds), over the GETs that it answered, what it uses idle included
 *   memory    three members and a node of their own, filled step by step until each holds so many entries, owned and copied ones alike; the process's resident memory behind each step. The slope of the line through
 *             the steps is what an entry takes, where the line begins is what does not grow. The first step is left out: what is made once (tables, compiled code) comes with it
 */
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type Children, withChildren } from '../../src/cli/children/children.ts';
import { RespClient } from '../../src/client/client.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { breakwaterFleet, type Fleet, pause, type Server } from './fleets.ts';
import { enterLab, type Machine, machines } from './lab.ts';

const PARTS = ['idle', 'latency', 'get', 'memory'] as const;
type Part = (typeof PARTS)[number];

const { values } = parseArgs({
  options: {
    only: { type: 'string', default: PARTS.join(',') },
    seconds: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '9' },
    steps: { type: 'string', default: '5' },
    'step-entries': { type: 'string', default: '200000' },
  },
});
const parts = values.only.split(',') as Part[];
for (const part of parts)
  if (!PARTS.includes(part)) throw new Error(`--only takes ${PARTS.join(', ')}, received ${part}`);
const [seconds, rounds, steps, stepEntries] = [values.seconds, values.rounds, values.steps, values['step-entries']].map(
  Number,
) as [number, number, number, number];
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const PORT = 7379;
const AT_ONCE = 16;
const BLOCK = 100;
const MEMORY = ['--memory', '512mb'];
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const sorted = (of: readonly number[]): number[] => [...of].sort((a, b) => a - b);
const median = (of: readonly number[]): number => sorted(of)[Math.floor(of.length / 2)]!;
/** "median (least to most)" */
const spread = (of: readonly number[], digits: number): string =>
  `${median(of).toFixed(digits)} (${Math.min(...of).toFixed(digits)} to ${Math.max(...of).toFixed(digits)})`;

/** Of all its threads, as far as the kernel has counted. */
function cpuSeconds(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  }
  return ns / 1e9;
}

const rssBytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

async function alone(machine: Machine): Promise<Server> {
  const process = machine.start(
    globalThis.process.execPath,
    [MAIN, 'serve', '--bind', machine.host, '--port', String(PORT), '--log-format', 'text', ...MEMORY],
    'node',
  );
  await process.waitForOutput(/^ready$/m, 60_000);
  return { machine, port: PORT, process, client: new RespClient({ host: machine.host, port: PORT }) };
}

async function metricsOf({ machine }: Server): Promise<(name: string) => number> {
  const answer = await fetch(`http://${machine.host}:${PORT + 1000}/metrics`);
  const text = await answer.text();
  return (name) => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)![1]);
}

// -- idle

async function idle(fleet: Fleet, nodes: readonly Server[]): Promise<void> {
  const onWire = async (): Promise<{ bytes: number; packets: number }[]> =>
    Promise.all(
      fleet.servers.map(async ({ machine }) => {
        const text = await machine.output('ip', ['-s', '-j', 'link', 'show', 'eth0']);
        type Counted = { readonly bytes: number; readonly packets: number };
        const [{ stats64 }] = JSON.parse(text) as [{ stats64: { rx: Counted; tx: Counted } }];
        return {
          bytes: stats64.rx.bytes + stats64.tx.bytes,
          packets: stats64.rx.packets + stats64.tx.packets,
        };
      }),
    );
  const all = [...fleet.servers, ...nodes];
  const startMs = performance.now();
  const used = all.map(({ process: { pid } }) => -cpuSeconds(pid));
  const before = await onWire();
  await pause(10_000);
  const after = await onWire();
  const tookS = (performance.now() - startMs) / 1_000;
  const share = all.map(({ process: { pid } }, index) => (100 * (used[index]! + cpuSeconds(pid))) / tookS);
  const kb = after.map(({ bytes }, index) => (bytes - before[index]!.bytes) / tookS / 1_000);
  const packets = after.map((now, index) => (now.packets - before[index]!.packets) / tookS);
  say(`idle, % of a core: a member ${spread(share.slice(0, 6), 2)}, a node of its own ${spread(share.slice(6), 2)}`);
  say(`idle, on a member's wire: ${spread(kb, 1)} KB/s (bar: 50), ${spread(packets, 0)} packets/s`);
}

// -- latency

/** Median microseconds of a call, one at a time. */
async function latency(calls: readonly (() => Promise<unknown>)[]): Promise<number> {
  const took: number[] = [];
  for (const call of calls) {
    const startMs = performance.now();
    await call();
    took.push((performance.now() - startMs) * 1_000);
  }
  return median(took);
}

async function latencies(named: readonly (readonly [string, Server])[], keys: readonly string[]): Promise<void> {
  const value = 'x'.repeat(100);
  const found = named.map(() => ({ set: [] as number[], over: [] as number[], del: [] as number[] }));
  for (let round = 0; round < rounds; round += 1) {
    for (let block = 0; block + BLOCK <= keys.length; block += BLOCK) {
      const some = keys.slice(block, block + BLOCK);
      for (const [index, [, { client }]] of named.entries()) {
        const ask =
          (...args: string[]) =>
          (): Promise<unknown> =>
            client.command(args, { text: true });
        const { set, over, del } = found[index]!;
        set.push(await latency(some.map((key) => ask('SET', key, value))));
        over.push(await latency(some.map((key) => ask('SET', key, `${value}2`))));
        del.push(await latency(some.map((key) => ask('DEL', key))));
      }
    }
  }
  named.forEach(([name], index) => {
    const { set, over, del } = found[index]!;
    const ratio = (of: readonly number[]): string =>
      spread(
        of.map((us, at) => us / set[at]!),
        2,
      );
    say(
      `${name}: first SET ${spread(set, 0)} us, DEL ${spread(del, 0)} us, overwrite ${spread(over, 0)} us; DEL ${ratio(del)} x first SET (bar: 2.5), overwrite ${ratio(over)} x; blocks of ${BLOCK}, ${set.length} of each`,
    );
  });
}

// -- processor time of a GET

/** Microseconds of processor time of a GET, `AT_ONCE` under way. */
async function getCost({ client, process }: Server, keys: readonly string[]): Promise<number> {
  const before = cpuSeconds(process.pid);
  const endMs = performance.now() + 1_000 * seconds;
  let done = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async (_, lane) => {
      for (let n = lane; performance.now() < endMs; n += AT_ONCE) {
        await client.command(['GET', keys[n % keys.length]!]);
        done += 1;
      }
    }),
  );
  return ((cpuSeconds(process.pid) - before) / done) * 1e6;
}

async function gets(owner: Server, nodes: readonly Server[], keys: readonly string[]): Promise<void> {
  const servers = [owner, ...nodes];
  for (const { client } of servers) for (const key of keys) await client.command(['SET', key, 'x'.repeat(100)]);
  for (const server of servers) await getCost(server, keys);
  const found = servers.map((): number[] => []);
  for (let round = 0; round < rounds; round += 1) {
    const order = [...servers.keys()];
    for (const index of round % 2 === 0 ? order : order.reverse()) {
      found[index]!.push(await getCost(servers[index]!, keys));
    }
  }
  const [member, first, second] = found as [number[], number[], number[]];
  const ratio = (of: readonly number[]): string =>
    spread(
      of.map((us, round) => us / first[round]!),
      3,
    );
  say(
    `processor time of a GET, ${AT_ONCE} under way: member ${spread(member, 2)} us, nodes ${spread(first, 2)} and ${spread(second, 2)} us; member ${ratio(member)} x (bar: 1.05), the second node ${ratio(second)} x the first`,
  );
}

// -- memory

const OK = Buffer.from('+OK\r\n');
const VALUE = 'y'.repeat(32);
const BATCH = 2_000;

/** SETs keys of these numbers at whom they belong to, pipelined; resolves when all have been answered. */
async function fill(servers: readonly Server[], ownerOf: Int8Array | null, from: number, to: number): Promise<void> {
  const sockets = await Promise.all(
    servers.map(
      ({ machine }) =>
        new Promise<net.Socket>((resolve, reject) => {
          const socket = net.connect({ host: machine.host, port: PORT, noDelay: true }, () => resolve(socket));
          socket.on('error', reject);
        }),
    ),
  );
  for (let at = from; at < to; at += BATCH * servers.length) {
    const requests = servers.map((): string[] => []);
    for (let n = at; n < Math.min(to, at + BATCH * servers.length); n += 1) {
      const key = `entry:${n}`;
      const owner = ownerOf === null ? 0 : ownerOf[slotOf(Buffer.from(key), 0, key.length)]!;
      requests[owner]!.push(`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n$${VALUE.length}\r\n${VALUE}\r\n`);
    }
    await Promise.all(
      sockets.map(
        (socket, index) =>
          new Promise<void>((resolve, reject) => {
            const wanted = requests[index]!.length * OK.length;
            let got = '';
            if (wanted === 0) resolve();
            const onData = (chunk: Buffer): void => {
              got += chunk.toString('latin1');
              if (got.length < wanted && !got.includes('-')) return;
              socket.off('data', onData);
              if (got === '+OK\r\n'.repeat(requests[index]!.length)) resolve();
              else reject(new Error(`a SET was answered ${/-[^\r]*/.exec(got)?.[0] ?? 'too much'}`));
            };
            socket.on('data', onData);
            socket.write(requests[index]!.join(''));
          }),
      ),
    );
  }
  for (const socket of sockets) socket.destroy();
}

/** Least squares: [slope, where it begins]. */
function line(points: readonly (readonly [number, number])[]): [number, number] {
  const mean = (of: readonly number[]): number => of.reduce((sum, one) => sum + one, 0) / of.length;
  const [x, y] = [mean(points.map(([at]) => at)), mean(points.map(([, is]) => is))];
  const slope =
    points.reduce((sum, [at, is]) => sum + (at - x) * (is - y), 0) /
    points.reduce((sum, [at]) => sum + (at - x) ** 2, 0);
  return [slope, y - slope * x];
}

async function memory(children: Children, places: readonly Machine[]): Promise<void> {
  const members = await breakwaterFleet(children, places.slice(0, 3), MEMORY);
  const node = await alone(places[3]!);
  await members.whole();
  const ownerOf = new Int8Array(16_384);
  const runs = (await members.servers[0]!.client.command(['CLUSTER', 'SLOTS'], { text: true })) as [
    number,
    number,
    [string],
  ][];
  for (const [first, last, [host]] of runs) {
    const index = members.servers.findIndex(({ machine }) => machine.host === host);
    ownerOf.fill(index, first, last + 1);
  }
  const all = [...members.servers, node];
  type Step = { entries: number; rss: number; heap: number; used: number };
  const seen = all.map((): Step[] => []);
  for (let step = 0; step <= steps; step += 1) {
    if (step > 0) {
      const times = (servers: number): [number, number] => [
        ((step - 1) * stepEntries * servers) / 2,
        (step * stepEntries * servers) / 2,
      ];
      await fill(members.servers, ownerOf, ...times(3));
      await fill([node], null, ...times(2));
      await pause(3_000);
    }
    for (const [index, server] of all.entries()) {
      const metric = await metricsOf(server);
      seen[index]!.push({
        entries: metric('breakwater_entries'),
        rss: rssBytes(server.process.pid),
        heap: metric('breakwater_heap_used_bytes'),
        used: metric('breakwater_memory_used_bytes'),
      });
    }
    const mb = (bytes: number): string => (bytes / 1e6).toFixed(1);
    say(
      `memory, step ${step}: ${seen.map((of) => `${of.at(-1)!.entries} entries ${mb(of.at(-1)!.rss)} MB (heap ${mb(of.at(-1)!.heap)}, engine ${mb(of.at(-1)!.used)})`).join('; ')}`,
    );
  }
  const lines = seen.map((of) => line(of.slice(1).map(({ entries, rss }) => [entries, rss] as const)));
  const engine = seen.map((of) => line(of.slice(1).map(({ entries, used }) => [entries, used] as const)));
  const slopes = lines.map(([slope]) => slope);
  const starts = lines.map(([, start]) => start / 1e6);
  say(
    `memory of an entry (key 7 to 13 bytes, value 32) by resident memory: members ${slopes
      .slice(0, 3)
      .map((slope) => slope.toFixed(1))
      .join(
        ', ',
      )} B, node ${slopes[3]!.toFixed(1)} B: ${(median(slopes.slice(0, 3)) - slopes[3]!).toFixed(1)} B more (bar: 16); by the engine's own accounting ${engine
      .map(([slope]) => slope.toFixed(1))
      .join(', ')} B; what does not grow: members ${starts
      .slice(0, 3)
      .map((start) => start.toFixed(1))
      .join(', ')} MB, node ${starts[3]!.toFixed(1)} MB`,
  );
  await node.client.close({ drain: false });
  node.process.process.kill('SIGKILL');
  await node.process.exited;
  await members.close();
}

process.exitCode =
  enterLab() ??
  (await withChildren(async (children) => {
    const places = await machines(children, 8);
    if (parts.some((part) => part !== 'memory')) {
      const fleet = await breakwaterFleet(children, places.slice(0, 6), MEMORY);
      const nodes = [await alone(places[6]!), await alone(places[7]!)];
      await fleet.whole();
      await pause(3_000);
      if (parts.includes('idle')) await idle(fleet, nodes);
      const { server: owner, keys } = await fleet.victim(400);
      if (parts.includes('latency')) {
        await latencies(
          [
            ['six members, R = 2', owner],
            ['one node', nodes[0]!],
          ],
          keys,
        );
      }
      if (parts.includes('get')) await gets(owner, nodes, keys);
      for (const { client, process } of nodes) {
        await client.close({ drain: false });
        process.process.kill('SIGKILL');
        await process.exited;
      }
      await fleet.close();
    }
    if (parts.includes('memory')) await memory(children, places);
    return 0;
  }));
