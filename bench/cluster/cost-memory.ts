/**
 * Of `cost.ts`: what an entry takes. Three members with one copy of each range and a node of its own are filled step by step until each holds so many entries, owned and copied ones alike; the process's resident memory is
 * read behind each step. The slope of the line through the steps is what an entry takes, where the line begins is what does not grow. The first step is left out: what is made once (tables, compiled code) comes with it.
 */
import net from 'node:net';
import type { Children } from '../../src/cli/children/children.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { metricsOf } from './cost-idle.ts';
import { breakwaterFleet, breakwaterNode, pause, type Server } from './fleets.ts';
import type { Machine } from './lab.ts';
import { median, rssBytes } from './wire.ts';

const PORT = 7379;

const VALUE = 'y'.repeat(32);
const MEMORY = ['--memory', '512mb'];
const BATCH = 2_000;
const LONGEST_MS = 60_000;

/** Sends all of them, and all of them again while a member says that it cannot now: a busy machine. @throws Error when that takes a minute, or a range has moved */
async function setAll(socket: net.Socket, requests: readonly string[]): Promise<void> {
  const deadline = performance.now() + LONGEST_MS;
  for (;;) {
    const answers = await exchange(socket, requests);
    const wrong = answers.find((answer) => answer !== '+OK');
    if (wrong === undefined) return;
    if (!/^-(CLUSTERDOWN|TRYAGAIN|NOREPLICAS)/.test(wrong) || performance.now() > deadline) {
      throw new Error(`a SET was answered ${wrong}`);
    }
    await pause(100);
  }
}

/** One line an answer. */
function exchange(socket: net.Socket, requests: readonly string[]): Promise<string[]> {
  if (requests.length === 0) return Promise.resolve([]);
  return new Promise((resolve) => {
    let got = '';
    const onData = (chunk: Buffer): void => {
      got += chunk.toString('latin1');
      if (!got.endsWith('\n')) return;
      const lines = got.split('\r\n').slice(0, -1);
      if (lines.length < requests.length) return;
      socket.off('data', onData);
      resolve(lines);
    };
    socket.on('data', onData);
    socket.write(requests.join(''));
  });
}

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
    await Promise.all(sockets.map((socket, index) => setAll(socket, requests[index]!)));
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

export async function memory(
  children: Children,
  places: readonly Machine[],
  steps: number,
  stepEntries: number,
): Promise<string[]> {
  const members = await breakwaterFleet(children, places.slice(0, 3), MEMORY);
  const node = await breakwaterNode(places[3]!, MEMORY);
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
  const rows: string[] = [];
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
    for (const [index, of] of seen.entries()) {
      const { entries, rss, heap, used } = of.at(-1)!;
      const who = index < 3 ? `member ${index + 1}` : 'node';
      rows.push(`| ${step} | ${who} | ${entries} | ${mb(rss)} | ${mb(heap)} | ${mb(used)} |`);
    }
  }
  const lines = seen.map((of) => line(of.slice(1).map(({ entries, rss }) => [entries, rss] as const)));
  const engine = seen.map((of) => line(of.slice(1).map(({ entries, used }) => [entries, used] as const)));
  const slopes = lines.map(([slope]) => slope);
  const starts = lines.map(([, start]) => start / 1e6);
  const list = (of: readonly number[], digits = 1): string => of.map((one) => one.toFixed(digits)).join(', ');
  await node.client.close({ drain: false });
  node.process.process.kill('SIGKILL');
  await node.process.exited;
  await members.close();
  const more = median(slopes.slice(0, 3)) - slopes[3]!;
  const moreByEngine = median(engine.slice(0, 3).map(([slope]) => slope)) - engine[3]![0];
  return [
    '## Memory of an entry',
    '',
    `Three members (R = 2) and a node, filled in ${steps} steps of ${stepEntries} entries each, owned and copied ones alike; key of 7 to 13 bytes, value of ${VALUE.length}; no expiry. MB of 1,000,000 bytes, 3 s behind each step.`,
    '',
    "| step | | entries | resident | JavaScript heap used | by the engine's accounting |",
    '| ---: | --- | ---: | ---: | ---: | ---: |',
    ...rows,
    '',
    `Bytes an entry, the slope of the line through the steps: resident memory, members ${list(slopes.slice(0, 3))}, node ${slopes[3]!.toFixed(1)}; by the engine's own accounting members ${list(engine.slice(0, 3).map(([slope]) => slope))}, node ${engine[3]![0].toFixed(1)}. What does not grow: members ${list(starts.slice(0, 3))} MB, node ${starts[3]!.toFixed(1)} MB.`,
    '',
    `Bar: at most 16 bytes an entry more than a node. ${more.toFixed(1)} by resident memory, ${moreByEngine.toFixed(1)} by the engine's accounting.`,
  ];
}
