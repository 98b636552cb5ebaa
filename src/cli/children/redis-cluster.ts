/**
 * A Redis Cluster of six on free loopback ports: three primaries with a replica each, in memory. Put together by CLUSTER commands instead
 * of `redis-cli --cluster create`, which waits in whole seconds.
 */
import { connect } from 'node:net';
import { BreakwaterError } from '../../base/errors.ts';
import type { Child, Children } from './children.ts';
import { startOnFreePorts, untilAnswers } from './servers.ts';

const PRIMARIES = 3;
const SLOTS = 16_384;
const READY_TIMEOUT_MS = 20_000;

export interface RedisCluster {
  /** Of all six. */
  readonly ports: readonly number[];
  /** Ports of those that are primaries now. */
  primaries(): Promise<readonly number[]>;
  /** SIGKILL; resolves when its replica has taken over and it is back as a replica. One at a time: a second one waits for the first. */
  killAndRestart(port: number): Promise<void>;
}

/** Starts it and resolves when all slots are served and every primary has its replica. */
export async function startRedisCluster(children: Children): Promise<RedisCluster> {
  // `nodes.conf` of each: a cluster's server insists on one.
  const folder = children.directory('breakwater-redis-cluster-');
  const ports: number[] = [];
  const busPorts: number[] = [];
  const servers = new Map<number, { child: Child; readonly start: () => Child }>();
  for (let index = 0; index < 2 * PRIMARIES; index += 1) {
    // The second port is the cluster's own; the default, ten thousand above, may not exist.
    let start: (() => Child) | undefined;
    const { ports: both, child } = await startOnFreePorts(
      2,
      ([port, busPort]) => {
        const settings = {
          port,
          'cluster-port': busPort,
          bind: '127.0.0.1',
          dir: folder,
          save: '',
          appendonly: 'no',
          'cluster-enabled': 'yes',
          'cluster-config-file': `nodes-${port}.conf`,
          'cluster-node-timeout': 2000,
          'repl-diskless-sync-delay': 0,
        };
        const words = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, String(value)]);
        start = () => children.start('redis-server', words, { label: `redis-server ${port}` });
        return start();
      },
      'PING\r\n',
      /^\+PONG/,
    );
    ports.push(both[0]!);
    servers.set(both[0]!, { child, start: start! });
    await ask(both[0]!, `CLUSTER SET-CONFIG-EPOCH ${index + 1}`);
    if (index > 0) await ask(both[0]!, `CLUSTER MEET 127.0.0.1 ${ports[0]} ${busPorts[0]}`);
    busPorts.push(both[1]!);
  }
  const primaries = ports.slice(0, PRIMARIES);
  const share = Math.ceil(SLOTS / PRIMARIES);
  for (const [index, port] of primaries.entries()) {
    await ask(port, `CLUSTER ADDSLOTSRANGE ${index * share} ${Math.min(SLOTS, (index + 1) * share) - 1}`);
  }
  for (const [index, port] of ports.slice(PRIMARIES).entries()) {
    const id = /[0-9a-f]{40}/.exec(await ask(primaries[index]!, 'CLUSTER MYID'))![0];
    await untilSaid(port, 'CLUSTER NODES', (nodes) => nodes.includes(id));
    await ask(port, `CLUSTER REPLICATE ${id}`);
  }
  const isWhole = async (): Promise<void> => {
    for (const port of ports) await untilSaid(port, 'CLUSTER INFO', (info) => info.includes('cluster_state:ok'));
    for (const port of await primariesOf(ports)) {
      await untilSaid(port, 'INFO replication', (info) => /state=online/.test(info));
    }
  };
  await isWhole();
  let last: Promise<void> = Promise.resolve();
  return {
    ports,
    primaries: () => primariesOf(ports),
    killAndRestart: (port) => {
      const kill = async (): Promise<void> => {
        const server = servers.get(port)!;
        // Not the only one that has its slots.
        await isWhole();
        server.child.process.kill('SIGKILL');
        await server.child.exited;
        const others = ports.filter((other) => other !== port);
        const deadline = performance.now() + READY_TIMEOUT_MS;
        while ((await primariesOf(others)).length < PRIMARIES) {
          if (performance.now() > deadline) throw unready('has no replacement for a killed primary');
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        server.child = server.start();
        await untilAnswers(port, server.child, 'PING\r\n', /^\+PONG/);
        await untilSaid(port, 'ROLE', (role) => role.includes('slave'));
        await isWhole();
      };
      const done = last.then(kill, kill);
      last = done;
      return done;
    },
  };
}

async function primariesOf(ports: readonly number[]): Promise<number[]> {
  // One that has just been killed is none.
  const roles = await Promise.all(ports.map((port) => ask(port, 'ROLE').catch(() => '')));
  return ports.filter((_, index) => roles[index]!.includes('master'));
}

function unready(what: string): BreakwaterError {
  return new BreakwaterError('CHILD_FAILED', `the Redis Cluster ${what} within ${READY_TIMEOUT_MS / 1000} s`);
}

async function untilSaid(port: number, line: string, holds: (reply: string) => boolean): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  while (!holds(await ask(port, line))) {
    if (performance.now() > deadline) throw unready('did not come up');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The reply to one inline command, with the `+OK` of the goodbye behind it. */
export function ask(port: number, line: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let reply = '';
    const socket = connect({ host: '127.0.0.1', port }, () => socket.write(`${line}\r\nQUIT\r\n`));
    socket.on('data', (chunk) => {
      reply += chunk.toString('latin1');
    });
    socket.once('error', reject);
    socket.once('close', () => resolve(reply));
  });
}
