/** Six servers as one cluster, on machines of the lab: ours, and Redis Cluster with three primaries and a replica each. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { Child, Children } from '../../src/cli/children/children.ts';
import { RespClient } from '../../src/client/client.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { ReplyError } from '../../src/resp/reply.ts';
import type { ClusterStatus } from '../../src/server/cluster/status.ts';
import type { Machine } from './lab.ts';

const run = promisify(execFile);
const PORT = 7379;
const LINK_PORT = 17379;
const COUNT = 6;
const SLOTS = 16_384;
const WHOLE_MS = 120_000;
const QUIET_MS = 2_000;
/** Of Node.js itself, for profiles: `--cpu-prof --cpu-prof-dir=/tmp/profiles`. */
const NODE_FLAGS = (process.env['BREAKWATER_BENCH_NODE_FLAGS'] ?? '').split(' ').filter((flag) => flag !== '');
const MAIN = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

export interface Server {
  readonly machine: Machine;
  readonly client: RespClient;
  readonly port: number;
  process: Child;
}

export interface Fleet {
  readonly name: string;
  readonly servers: readonly Server[];
  /** Resolves when every slot has its owner and its copies, and all servers say so. */
  whole(): Promise<void>;
  /** Resolves when it is whole, and nothing of who owns and copies what has changed for two seconds. */
  quiet(): Promise<void>;
  /** Who owns most, and a key for each of up to `most` runs of its slots. */
  victim(most: number): Promise<{ readonly server: Server; readonly keys: readonly string[] }>;
  restart(server: Server): Promise<void>;
  close(): Promise<void>;
}

export interface BreakwaterFleet extends Fleet {
  /** As the first server says. */
  members(): Promise<ClusterStatus['members']>;
  /** Resolves when every range is where placement wants it. */
  home(): Promise<void>;
  /** One more, on a machine beside them; `leave` ends it in good order and has it forgotten. Its address may not come back. */
  join(machine: Machine): Promise<{ readonly server: Server; readonly leave: () => Promise<void> }>;
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** @throws Error with what is still missing, when that takes two minutes */
async function until(what: () => string, isSo: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + WHOLE_MS;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`after ${WHOLE_MS / 1000} s still: ${what()}`);
    await pause(50);
  }
}

/** One key for each slot, made when asked for. */
const keys = new Map<number, string>();
let tried = 0;
export function keyOf(slot: number): string {
  for (; !keys.has(slot); tried += 1) {
    const key = `key:${tried}`;
    const found = slotOf(Buffer.from(key), 0, key.length);
    if (!keys.has(found)) keys.set(found, key);
  }
  return keys.get(slot)!;
}

/** `most` slots, evenly out of these runs. */
function spread(runs: readonly (readonly [number, number])[], most: number): number[] {
  const slots = runs.flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, n) => first + n));
  const step = Math.max(1, slots.length / most);
  return Array.from({ length: Math.min(most, slots.length) }, (_, n) => slots[Math.floor(n * step)]!);
}

export function clientOf({ host }: Machine, port: number): RespClient {
  return new RespClient({
    host,
    port,
    whenDown: 'reject',
    commandTimeoutMs: 1_000,
    hangTimeoutMs: 2_000,
    connectTimeoutMs: 1_000,
    backOff: { baseMs: 20, capMs: 100 },
  });
}

export async function closeAll(servers: readonly Server[]): Promise<void> {
  await Promise.all(servers.map(({ client }) => client.close({ drain: false })));
  for (const { process } of servers) {
    // A profile is written by who may end by itself.
    process.process.kill(NODE_FLAGS.length === 0 ? 'SIGKILL' : 'SIGINT');
    await process.exited;
  }
}

/** What a member of ours says; null: it does not. */
export async function statusOf({ machine }: Server): Promise<ClusterStatus | null> {
  try {
    const answer = await fetch(`http://${machine.host}:${PORT + 1000}/cluster.json`, {
      signal: AbortSignal.timeout(2_000),
    });
    return (await answer.json()) as ClusterStatus;
  } catch {
    return null;
  }
}

/** One server that is no member of anything. */
export async function breakwaterNode(machine: Machine, flags: readonly string[] = []): Promise<Server> {
  const child = machine.start(
    process.execPath,
    [
      ...NODE_FLAGS,
      MAIN,
      'serve',
      '--bind',
      machine.host,
      '--port',
      String(PORT),
      '--memory',
      '64mb',
      '--log-format',
      'text',
      ...flags,
    ],
    'node',
  );
  await child.waitForOutput(/^ready$/m, 60_000);
  return { machine, port: PORT, process: child, client: clientOf(machine, PORT) };
}

export async function breakwaterFleet(
  children: Children,
  machines: readonly Machine[],
  flags: readonly string[] = [],
): Promise<BreakwaterFleet> {
  const directory = children.directory('breakwater-lab-');
  const list = machines
    .slice(0, COUNT)
    .map(({ host }) => `${host}:${LINK_PORT}`)
    .join(',');
  const launch = async (machine: Machine, index: number): Promise<Child> => {
    const own = [
      '--bind',
      machine.host,
      '--port',
      String(PORT),
      '--join',
      list,
      '--data',
      join(directory, String(index)),
    ];
    const child = machine.start(
      process.execPath,
      [...NODE_FLAGS, MAIN, 'serve', ...own, '--memory', '64mb', '--log-format', 'text', ...flags],
      `member ${index}`,
    );
    await child.waitForOutput(/^ready$/m, 60_000);
    return child;
  };
  const servers: Server[] = await Promise.all(
    machines.slice(0, COUNT).map(async (machine, index) => ({
      machine,
      port: PORT,
      process: await launch(machine, index),
      client: clientOf(machine, PORT),
    })),
  );
  const changes = async (): Promise<number> => {
    const all = await Promise.all(servers.map(statusOf));
    return all.reduce((sum, status) => sum + (status?.events.reignsBegan ?? 0) + (status?.events.setsChanged ?? 0), 0);
  };
  const whole = async (): Promise<void> => {
    let last = '';
    await until(
      () => last,
      async () => {
        const all = await Promise.all(servers.map(statusOf));
        const owners = new Set(
          all.map((status) => JSON.stringify(status?.members.map(({ id, slots }) => [id, slots]))),
        );
        last = JSON.stringify(
          all.map(
            (status) => status && { ok: status.isOk, vote: status.vote, unowned: status.unowned, short: status.short },
          ),
        );
        return (
          owners.size === 1 &&
          all.every(
            (status) =>
              status?.isOk === true && status.vote !== 'recovering' && status.unowned === 0 && status.short === 0,
          )
        );
      },
    );
  };
  return {
    name: ['Breakwater', ...flags].join(' '),
    servers,
    whole,
    quiet: async () => {
      for (let before = -1; ; ) {
        await whole();
        const now = await changes();
        if (now === before) return;
        before = now;
        await pause(QUIET_MS);
      }
    },
    victim: async (most) => {
      const { members } = (await statusOf(servers[0]!))!;
      const first = members.reduce((a, b) => (b.owned > a.owned ? b : a));
      const runs = first.slots
        .map((run) => run.split('-').map(Number))
        .map(([from, to = from]) => [from!, to!] as const);
      return {
        server: servers.find(({ machine }) => machine.host === first.host)!,
        keys: spread(runs, most).map(keyOf),
      };
    },
    restart: async (server) => {
      await server.process.exited;
      server.process = await launch(server.machine, servers.indexOf(server));
    },
    members: async () => (await statusOf(servers[0]!))!.members,
    home: async () => {
      let astray: number | undefined;
      await until(
        () => `${astray} ranges are not where they belong`,
        async () => {
          astray = (await statusOf(servers[0]!))?.astray;
          return astray === 0;
        },
      );
    },
    join: async (machine) => {
      const child = await launch(machine, machines.indexOf(machine));
      const server = { machine, port: PORT, process: child, client: clientOf(machine, PORT) };
      const operate = (command: string): Promise<unknown> =>
        run(
          process.execPath,
          [MAIN, command, `${machine.host}:${PORT}`]
            .concat(['--host', servers[0]!.machine.host, '--http-port', String(PORT + 1000)])
            .concat(['--timeout', '120s']),
        );
      return {
        server,
        leave: async () => {
          await operate('drain');
          await server.client.close({ drain: false });
          await child.stop();
          await operate('forget');
        },
      };
    },
    close: () => closeAll(servers),
  };
}

export async function redisFleet(
  children: Children,
  machines: readonly Machine[],
  nodeTimeoutMs: number,
): Promise<Fleet> {
  const directory = children.directory('redis-lab-');
  const port = 6379;
  const launch = async (machine: Machine, index: number): Promise<Child> => {
    const own = [
      '--bind',
      machine.host,
      '127.0.0.1',
      '--port',
      String(port),
      '--protected-mode',
      'no',
      '--cluster-enabled',
      'yes',
      '--cluster-node-timeout',
      String(nodeTimeoutMs),
    ];
    const child = machine.start(
      'redis-server',
      [
        ...own,
        '--cluster-config-file',
        join(directory, `${index}.conf`),
        '--dir',
        directory,
        '--save',
        '',
        '--appendonly',
        'no',
        '--repl-diskless-sync-delay',
        '0',
      ],
      `redis ${index}`,
    );
    await child.waitForOutput(/Ready to accept connections/, 20_000);
    return child;
  };
  const servers: Server[] = await Promise.all(
    machines.slice(0, COUNT).map(async (machine, index) => ({
      machine,
      port,
      process: await launch(machine, index),
      client: clientOf(machine, port),
    })),
  );
  const text = async ({ client }: Server, ...args: string[]): Promise<string> =>
    String(await client.command(args, { text: true, timeoutMs: 5_000 }));
  const primaries = COUNT / 2;
  const ids = await Promise.all(servers.map((server) => text(server, 'CLUSTER', 'MYID')));
  for (const [index, server] of servers.entries()) {
    await text(server, 'CLUSTER', 'SET-CONFIG-EPOCH', String(index + 1));
    if (index > 0) await text(server, 'CLUSTER', 'MEET', servers[0]!.machine.host, String(port));
    if (index < primaries) {
      const [first, last] = [Math.ceil((SLOTS * index) / primaries), Math.ceil((SLOTS * (index + 1)) / primaries) - 1];
      await text(server, 'CLUSTER', 'ADDSLOTSRANGE', String(first), String(last));
    }
  }
  for (const [index, server] of servers.entries()) {
    if (index < primaries) continue;
    await until(
      () => `redis ${index} does not know its primary`,
      () =>
        text(server, 'CLUSTER', 'REPLICATE', ids[index - primaries]!).then(
          () => true,
          () => false,
        ),
    );
  }
  const nodesOf = async (server: Server): Promise<string[][]> =>
    (await text(server, 'CLUSTER', 'NODES'))
      .trim()
      .split('\n')
      .map((line) => line.split(' '));
  return {
    name: `Redis Cluster, cluster-node-timeout ${nodeTimeoutMs / 1000} s`,
    servers,
    whole: async () => {
      let last = '';
      await until(
        () => last,
        async () => {
          const all = await Promise.all(
            servers.map(async (server) => {
              const [info, nodes, replication] = await Promise.all([
                text(server, 'CLUSTER', 'INFO'),
                nodesOf(server),
                text(server, 'INFO', 'replication'),
              ]).catch(() => ['', [], ''] as const);
              const owners = nodes.filter(([, , flags]) => flags!.includes('master')).length;
              const isCopying = replication.includes('role:master')
                ? replication.includes('connected_slaves:1')
                : replication.includes('master_link_status:up');
              const isWell =
                info.includes('cluster_state:ok') &&
                nodes.length === COUNT &&
                !nodes.some(
                  ([, , flags, , , , , link]) =>
                    flags!.includes('fail') || flags!.includes('noaddr') || link !== 'connected',
                );
              return isWell && isCopying && owners === primaries
                ? ''
                : `${server.machine.host} ${info.slice(0, 18)} ${owners} primaries`;
            }),
          );
          last = all.join('; ');
          return all.every((wrong) => wrong === '');
        },
      );
    },
    quiet: async () => {},
    victim: async (most) => {
      const nodes = await nodesOf(servers[0]!);
      const owners = nodes.filter((node) => node[2]!.includes('master') && node.length > 8);
      // Another one each time: the one that took over last is the end of the list of epochs.
      const [first] = owners.sort((a, b) => Number(a[6]) - Number(b[6]));
      const runs = first!
        .slice(8)
        .map((run) => run.split('-').map(Number))
        .map(([from, to = from]) => [from!, to!] as const);
      return {
        server: servers.find(({ machine }) => first![1]!.startsWith(`${machine.host}:`))!,
        keys: spread(runs, most).map(keyOf),
      };
    },
    restart: async (server) => {
      await server.process.exited;
      server.process = await launch(server.machine, servers.indexOf(server));
    },
    close: () => closeAll(servers),
  };
}

/** One command on whoever owns the key as these servers say; null: nobody does it now. */
export async function askOne(
  among: readonly Server[],
  start: number,
  args: readonly string[],
): Promise<{ readonly reply: unknown } | null> {
  let server = among[start % among.length]!;
  for (let hops = 0; hops < 3; hops += 1) {
    try {
      return { reply: await server.client.command(args, { text: true }) };
    } catch (error) {
      const host = error instanceof ReplyError ? /^MOVED \d+ (\S+):\d+$/.exec(error.message)?.[1] : undefined;
      const next = among.find(({ machine }) => machine.host === host);
      if (next === undefined) return null;
      server = next;
    }
  }
  return null;
}
