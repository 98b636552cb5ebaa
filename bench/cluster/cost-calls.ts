/**
 * Of `cost.ts`: how long an acknowledged invalidation takes, and how much processor time a GET. One member of a cluster and two nodes of their own take turns, block by block: what the second node differs from the
 * first is the noise of the machine.
 */
import { pause, type Server } from './fleets.ts';
import { cpuSeconds, quantile, request, Wire } from './wire.ts';

/** Calls of one kind behind each other: a machine that is slow for a moment is slow for all kinds. */
const BLOCK = 20;
const VALUE = 'x'.repeat(100);
const GET_BYTES = 6 + VALUE.length + 2;
const WARM_GETS = 200_000;
/** The kernel counts a thread's time when it sleeps. */
const SLEEP_MS = 3;

const opened = ({ machine, port }: Server): Promise<Wire> => Wire.open(machine.host, port);

// -- latency

interface Call {
  readonly name: string;
  readonly bytes: (key: string) => Buffer;
  readonly replyBytes: number;
}

const CALLS: readonly Call[] = [
  { name: 'first SET', bytes: (key) => request('SET', key, VALUE), replyBytes: 5 },
  { name: 'overwrite', bytes: (key) => request('SET', key, `${VALUE}2`), replyBytes: 5 },
  { name: 'GET', bytes: (key) => request('GET', key), replyBytes: GET_BYTES + 1 },
  { name: 'DEL', bytes: (key) => request('DEL', key), replyBytes: 4 },
];

export async function latency(
  named: readonly (readonly [string, Server])[],
  keys: readonly string[],
  rounds: number,
): Promise<string[]> {
  const wires = await Promise.all(named.map(([, server]) => opened(server)));
  const took = named.map(() => CALLS.map((): number[] => []));
  // The first of them warm everybody up.
  for (let round = -1; round < rounds; round += 1) {
    for (let block = 0; block + BLOCK <= keys.length; block += BLOCK) {
      const some = keys.slice(block, block + BLOCK);
      for (const [index, wire] of wires.entries()) {
        for (const [which, { bytes, replyBytes }] of CALLS.entries()) {
          const requests = some.map(bytes);
          for (const each of requests) {
            const startMs = performance.now();
            await wire.ask(each, replyBytes);
            if (round >= 0) took[index]![which]!.push((performance.now() - startMs) * 1_000);
          }
        }
      }
    }
  }
  for (const wire of wires) wire.close();
  const lines = [
    '## An acknowledged invalidation',
    '',
    `One call at a time over one connection, key of about 10 bytes, value of ${VALUE.length}; blocks of ${BLOCK} calls of each kind in turns, ${took[0]![0]!.length} calls of each. Microseconds.`,
    '',
    '| | call | p50 | p99 | p50 over that of a first SET | p99 over that of a first SET |',
    '| --- | --- | ---: | ---: | ---: | ---: |',
  ];
  const verdicts: string[] = [];
  for (const [index, [name]] of named.entries()) {
    const [first] = took[index]!;
    for (const [which, call] of CALLS.entries()) {
      const these = took[index]![which]!;
      const at = (share: number): string => quantile(these, share).toFixed(0);
      const over = (share: number): number => quantile(these, share) / quantile(first!, share);
      const isWrite = which !== 0 && call.name !== 'GET';
      const ratio = (share: number): string => (isWrite ? over(share).toFixed(2) : '');
      lines.push(`| ${name} | ${call.name} | ${at(0.5)} | ${at(0.99)} | ${ratio(0.5)} | ${ratio(0.99)} |`);
      if (index === 0 && isWrite) verdicts.push(`${call.name} ${over(0.5).toFixed(2)} (p99 ${over(0.99).toFixed(2)})`);
    }
  }
  return [...lines, '', `Bar: at most 2.5 times a first SET. ${verdicts.join(', ')}.`];
}

// -- processor time of a GET

interface Mode {
  readonly name: string;
  /** Requests in one write. */
  readonly depth: number;
  readonly gets: number;
}

interface Used {
  /** Microseconds of a GET, all that the process used counted. */
  readonly us: number;
  /** The same without what it uses when nobody asks. */
  readonly netUs: number;
}

async function getCost(
  server: Server,
  wire: Wire,
  batches: readonly Buffer[],
  mode: Mode,
  idle: number,
): Promise<Used> {
  const { pid } = server.process;
  await pause(SLEEP_MS);
  const startMs = performance.now();
  const before = cpuSeconds(pid);
  const times = mode.gets / mode.depth;
  for (let n = 0; n < times; n += 1) await wire.ask(batches[n % batches.length]!, mode.depth * GET_BYTES);
  await pause(SLEEP_MS);
  const used = cpuSeconds(pid) - before;
  const tookS = (performance.now() - startMs) / 1_000;
  return { us: (used / mode.gets) * 1e6, netUs: ((used - idle * tookS) / mode.gets) * 1e6 };
}

/** @param idle by server: cores that it uses when nobody asks */
export async function gets(
  owner: Server,
  nodes: readonly Server[],
  keys: readonly string[],
  rounds: number,
  idle: readonly number[],
): Promise<string[]> {
  const servers = [owner, ...nodes];
  const wires = await Promise.all(servers.map(opened));
  for (const wire of wires) for (const key of keys) await wire.ask(request('SET', key, VALUE), 5);
  const modes: readonly Mode[] = [
    { name: '16 in one write', depth: 16, gets: 6_400 },
    { name: 'one at a time', depth: 1, gets: 400 },
  ];
  const lines = [
    '## Processor time of a GET',
    '',
    `Of the server's process, all threads (\`/proc/PID/task/*/schedstat\`), over the GETs that it answered: ${keys.length} keys of one member, value of ${VALUE.length} bytes, one connection; ${rounds} rounds in turns (A B C, then C B A), ${modes.map(({ gets: count, name }) => `${count} GETs a block ${name}`).join(', ')}. Microseconds, lower quartile and median of the blocks: a busy machine makes some blocks dearer, none cheaper. "Without idle": less what the process uses in the same time when nobody asks.`,
    '',
    '| | member | first node | second node | member over first | second over first | member over first, without idle |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: |',
  ];
  const verdicts: string[] = [];
  for (const mode of modes) {
    const batches = Array.from({ length: 64 }, (_, n) =>
      Buffer.concat(
        Array.from({ length: mode.depth }, (__, at) => request('GET', keys[(n * 37 + at * 101) % keys.length]!)),
      ),
    );
    for (const [index, server] of servers.entries()) {
      const warm = { ...mode, gets: mode.depth === 1 ? 4_000 : WARM_GETS };
      await getCost(server, wires[index]!, batches, warm, 0);
    }
    const found = servers.map((): Used[] => []);
    for (let round = 0; round < rounds; round += 1) {
      const order = [...servers.keys()];
      for (const index of round % 2 === 0 ? order : order.reverse()) {
        found[index]!.push(await getCost(servers[index]!, wires[index]!, batches, mode, idle[index]!));
      }
    }
    const at = (index: number, which: keyof Used, share: number): number =>
      quantile(
        found[index]!.map((used) => used[which]),
        share,
      );
    const ratios = (index: number, which: keyof Used): string =>
      [0.25, 0.5].map((share) => (at(index, which, share) / at(1, which, share)).toFixed(3)).join(', ');
    const us = servers.map((_, index) => `${at(index, 'us', 0.25).toFixed(2)}, ${at(index, 'us', 0.5).toFixed(2)}`);
    lines.push(
      `| ${mode.name} | ${us.join(' | ')} | ${ratios(0, 'us')} | ${ratios(2, 'us')} | ${ratios(0, 'netUs')} |`,
    );
    verdicts.push(`${mode.name} ${ratios(0, 'us')} (the second node ${ratios(2, 'us')})`);
  }
  for (const wire of wires) wire.close();
  return [...lines, '', `Bar: at most 1.05 times a node's. ${verdicts.join('; ')}.`];
}
