/**
 * What being a member costs, beside one node on its own, on machines of the lab: latency of an acknowledged invalidation, processor time of a GET, bytes on the wire of an idle cluster, memory of an entry.
 *
 *     npm run build && sudo node --import tsx bench/cluster/cost.ts [--seconds 3] [--rounds 5] [--entries 300000]
 *
 * Six members with one copy of each range (R = 2), and a node of its own on a seventh machine. Processor time is that of the server's process (`/proc/PID/stat`) over the GETs that it answered, in
 * turns, medians of the rounds. Memory is the growth of the process (RSS) over the entries that it got, owned and copied ones alike.
 */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { withChildren } from '../../src/cli/children/children.ts';
import { RespClient } from '../../src/client/client.ts';
import { askOne, breakwaterFleet, pause, type Server } from './fleets.ts';
import { enterLab, machines } from './lab.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
    entries: { type: 'string', default: '300000' },
  },
});
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));
const AT_ONCE = 16;
const TICKS = 100;
const say = (line: string): void => void process.stdout.write(`${line}\n`);
const median = (of: readonly number[]): number => [...of].sort((a, b) => a - b)[Math.floor(of.length / 2)]!;

const cpuSeconds = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
  return (Number(fields[11]) + Number(fields[12])) / TICKS;
};
const rssBytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

/** Microseconds of processor time of a GET, `AT_ONCE` under way; what the process uses when nobody asks, `idle` seconds a second, is not the GETs'. */
async function getCost(server: Server, keys: readonly string[], idle: number): Promise<number> {
  const before = cpuSeconds(server.process.pid);
  const startMs = performance.now();
  const endMs = performance.now() + 1_000 * Number(values.seconds);
  let done = 0;
  await Promise.all(
    Array.from({ length: AT_ONCE }, async (_, lane) => {
      for (let n = lane; performance.now() < endMs; n += AT_ONCE) {
        await server.client.command(['GET', keys[n % keys.length]!]);
        done += 1;
      }
    }),
  );
  const idleSeconds = (idle * (performance.now() - startMs)) / 1_000;
  return ((cpuSeconds(server.process.pid) - before - idleSeconds) / done) * 1e6;
}

/** Median microseconds of a call, one at a time. */
async function latency(call: (n: number) => Promise<unknown>, times: number): Promise<number> {
  const took: number[] = [];
  for (let n = 0; n < times; n += 1) {
    const startMs = performance.now();
    await call(n);
    took.push((performance.now() - startMs) * 1_000);
  }
  return median(took);
}

async function entriesOf(server: Server): Promise<number> {
  const text = await fetch(`http://${server.machine.host}:${server.port + 1000}/metrics`).then((answer) =>
    answer.text(),
  );
  return Number(/^breakwater_entries (\d+)$/m.exec(text)![1]);
}

const inside = enterLab();
process.exitCode =
  inside ??
  (await withChildren(async (children) => {
    const places = await machines(children, 7);
    const memory = ['--memory', '512mb'];
    const fleet = await breakwaterFleet(children, places.slice(0, 6), memory);
    const place = places[6]!;
    const port = 7379;
    const process = place.start(
      globalThis.process.execPath,
      [MAIN, 'serve', '--bind', place.host, '--port', String(port), '--log-format', 'text', ...memory],
      'node',
    );
    await process.waitForOutput(/^ready$/m, 60_000);
    const alone: Server = { machine: place, port, process, client: new RespClient({ host: place.host, port }) };
    await fleet.whole();
    await pause(3_000);

    const bytes = async (): Promise<number[]> =>
      Promise.all(
        fleet.servers.map(async ({ machine }) => {
          const text = await machine.output('ip', ['-s', '-j', 'link', 'show', 'eth0']);
          const [{ stats64 }] = JSON.parse(text) as [{ stats64: { rx: { bytes: number }; tx: { bytes: number } } }];
          return stats64.rx.bytes + stats64.tx.bytes;
        }),
      );
    const startMs = performance.now();
    const everybody = [...fleet.servers, alone];
    const idle = everybody.map(({ process: { pid } }) => -cpuSeconds(pid));
    const first = await bytes();
    await pause(10_000);
    const last = await bytes();
    const seconds = (performance.now() - startMs) / 1_000;
    everybody.forEach(({ process: { pid } }, index) => {
      idle[index] = (idle[index]! + cpuSeconds(pid)) / seconds;
    });
    const ofMembers = median(idle.slice(0, -1));
    say(
      `idle: a member uses ${(100 * ofMembers).toFixed(2)} % of a core (median), a node of its own ${(100 * idle.at(-1)!).toFixed(2)} %`,
    );
    const traffic = last.map((now, index) => (now - first[index]!) / seconds / 1_000);
    say(
      `idle, six members: ${traffic.map((kb) => kb.toFixed(1)).join(', ')} KB/s a member, both ways together (bar: 50)`,
    );

    const { server: owner, keys } = await fleet.victim(400);
    const value = 'x'.repeat(100);
    const ratios: string[] = [];
    for (const [name, servers] of [
      ['six members, R = 2', [owner]],
      ['one node', [alone]],
    ] as const) {
      const [server] = servers;
      const ask = (...args: string[]): Promise<unknown> => server.client.command(args, { text: true });
      const sets: number[] = [];
      const deletions: number[] = [];
      const overwrites: number[] = [];
      for (let round = 0; round < Number(values.rounds); round += 1) {
        sets.push(await latency((n) => ask('SET', keys[n]!, value), keys.length));
        overwrites.push(await latency((n) => ask('SET', keys[n]!, `${value}2`), keys.length));
        deletions.push(await latency((n) => ask('DEL', keys[n]!), keys.length));
        await pause(500);
      }
      const [set, del, over] = [median(sets), median(deletions), median(overwrites)];
      ratios.push(
        `${name}: first SET ${set.toFixed(0)} us, DEL ${del.toFixed(0)} us (${(del / set).toFixed(2)} x; bar 2.5), overwrite ${over.toFixed(0)} us (${(over / set).toFixed(2)} x)`,
      );
    }
    for (const line of ratios) say(line);

    for (const key of keys) {
      await owner.client.command(['SET', key, value]);
      await alone.client.command(['SET', key, value]);
    }
    const member: number[] = [];
    const single: number[] = [];
    for (let round = 0; round < Number(values.rounds); round += 1) {
      member.push(await getCost(owner, keys, idle[fleet.servers.indexOf(owner)]!));
      single.push(await getCost(alone, keys, idle.at(-1)!));
    }
    say(
      `processor time of a GET, ${AT_ONCE} at once: member ${median(member).toFixed(2)} us, one node ${median(single).toFixed(2)} us, without what they use idle: ${(median(member) / median(single)).toFixed(2)} x (bar: 1.05)`,
    );

    const count = Number(values.entries);
    const small = 'y'.repeat(32);
    const grown = async (servers: readonly Server[], total: number): Promise<number> => {
      const [rss, had] = [
        servers.map(({ process: { pid } }) => rssBytes(pid)),
        await Promise.all(servers.map(entriesOf)),
      ];
      let next = 0;
      await Promise.all(
        Array.from({ length: 64 }, async () => {
          while (next < total) {
            const n = next;
            next += 1;
            while ((await askOne(servers, 0, ['SET', `entry:${n}`, small])) === null) await pause(10);
          }
        }),
      );
      await pause(5_000);
      const now = await Promise.all(servers.map(entriesOf));
      const per = servers.map(
        ({ process: { pid } }, index) => (rssBytes(pid) - rss[index]!) / (now[index]! - had[index]!),
      );
      return median(per);
    };
    const memoryOfMembers = await grown(fleet.servers, count * 3);
    const memoryOfNode = await grown([alone], count);
    say(
      `memory of an entry (key 7 to 12 bytes, value 32): member ${memoryOfMembers.toFixed(1)} B, one node ${memoryOfNode.toFixed(1)} B: ${(memoryOfMembers - memoryOfNode).toFixed(1)} B more (bar: 16); ${count} entries in each`,
    );
    await alone.client.close({ drain: false });
    await fleet.close();
    return 0;
  }));
