/** Of `cost.ts`: redis-benchmark over six members, beside a Redis Cluster of three primaries with a replica each on the same machines: throughput, and processor time of all six servers over the requests. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Fleet } from './fleets.ts';
import { cpuSeconds, median, spread } from './wire.ts';

const run = promisify(execFile);
const CLIENTS = 30;
const KEYS = 100_000;

interface Load {
  readonly depth: number;
  readonly requests: number;
}

const LOADS: readonly Load[] = [
  { depth: 1, requests: 40_000 },
  { depth: 16, requests: 200_000 },
];
/** In this order: what is read was written. The second SET finds most of its keys there. */
const TESTS = ['set', 'set', 'get'] as const;
const NAMES = ['SET, mostly absent keys', 'SET, mostly present keys', 'GET'];

interface Measured {
  readonly perSecond: number;
  readonly p99Ms: number;
  readonly cpuUs: number;
}

async function once(fleet: Fleet, test: string, { depth, requests }: Load): Promise<Measured> {
  const [first] = fleet.servers;
  const cpu = (): number => fleet.servers.reduce((sum, { process: { pid } }) => sum + cpuSeconds(pid), 0);
  const before = cpu();
  const { stdout } = await run(
    'redis-benchmark',
    [
      ...['-h', first!.machine.host, '-p', String(first!.port), '--cluster', '--csv', '-q', '-d', '100'],
      ...['-t', test, '-n', String(requests), '-c', String(CLIENTS), '-P', String(depth), '-r', String(KEYS)],
    ],
    { timeout: 120_000 },
  );
  const used = cpu() - before;
  const line = stdout.split('\n').find((each) => each.startsWith(`"${test.toUpperCase()}"`));
  if (line === undefined) throw new Error(`redis-benchmark says nothing of ${test}: ${stdout}`);
  const [, perSecond, , , , , p99Ms] = line.replaceAll('"', '').split(',').map(Number);
  return { perSecond: perSecond!, p99Ms: p99Ms!, cpuUs: (used / requests) * 1e6 };
}

export async function beside(fleets: readonly Fleet[], rounds: number): Promise<string[]> {
  const lines = [
    '## redis-benchmark --cluster',
    '',
    `\`redis-benchmark --cluster -c ${CLIENTS} -r ${KEYS} -d 100\`, servers and load generator on the same cores; ${rounds} rounds in turns, emptied before each; medians (least to most). Processor time: of all six servers, replication included, over the requests. Redis acknowledges a SET before its replica has it, ours a SET of a present key when its copy has it.`,
    '',
    '| pipeline | | servers | requests/s | p99 of a batch, ms | processor time, us a request |',
    '| ---: | --- | --- | ---: | ---: | ---: |',
  ];
  const losses: string[] = [];
  for (const load of LOADS) {
    const found = fleets.map(() => TESTS.map((): Measured[] => []));
    for (let round = 0; round < rounds; round += 1) {
      const order = [...fleets.entries()];
      for (const [index, fleet] of round % 2 === 0 ? order : order.reverse()) {
        for (const { client } of fleet.servers) {
          // A replica refuses.
          await client.command(['FLUSHALL'], { text: true, timeoutMs: 20_000 }).catch(() => null);
        }
        for (const [which, test] of TESTS.entries()) found[index]![which]!.push(await once(fleet, test, load));
      }
    }
    for (const [which, name] of NAMES.entries()) {
      for (const [index, fleet] of fleets.entries()) {
        const of = found[index]![which]!;
        lines.push(
          `| ${load.depth} | ${name} | ${fleet.name} | ${spread(
            of.map(({ perSecond }) => perSecond),
            0,
          )} | ${spread(
            of.map(({ p99Ms }) => p99Ms),
            1,
          )} | ${spread(
            of.map(({ cpuUs }) => cpuUs),
            1,
          )} |`,
        );
      }
      const [ours, redis] = found.map((of) => median(of[which]!.map(({ cpuUs }) => cpuUs)));
      losses.push(`${name}, pipeline ${load.depth}: ${(ours! / redis!).toFixed(1)}`);
    }
  }
  return [...lines, '', `Processor time of ours over Redis's: ${losses.join('; ')}.`];
}
