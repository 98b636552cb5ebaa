/**
 * The servers that are compared, each started fresh on a free loopback port with its own default settings, except what the
 * comparison needs: no files written, and the same memory. What was set is part of the report.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { connect, createServer } from 'node:net';
import { delimiter, join } from 'node:path';
import { BreakwaterError } from '../../base/errors.ts';
import { type Child, type Children, modulePath, nodeFlags } from '../children/children.ts';
import { packageVersion } from '../version.ts';
import type { Protocol } from './codec.ts';

export const TARGET_NAMES = ['breakwater', 'redis', 'memcached'] as const;
export type TargetName = (typeof TARGET_NAMES)[number];

/** `half`: the keys fill half of the memory. `full`: they do not fit, and every SET of a new key evicts. */
export type Fullness = 'half' | 'full';

export interface Target {
  readonly name: TargetName;
  readonly protocol: Protocol;
  readonly version: string;
  /** The command line, for the report; a port stands as PORT. */
  settings(fullness: Fullness, memoryMb: number): string;
  start(children: Children, fullness: Fullness, memoryMb: number): Promise<RunningTarget>;
}

export interface RunningTarget {
  readonly target: Target;
  readonly port: number;
  readonly child: Child;
}

const READY_TIMEOUT_MS = 20_000;

function findProgram(name: string): string | null {
  for (const folder of [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/local/bin']) {
    try {
      const path = join(folder, name);
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not in this folder
    }
  }
  return null;
}

function versionOf(program: string, flag: string): string {
  try {
    const text = execFileSync(program, [flag], { encoding: 'utf8' });
    return /\d+\.\d+(\.\d+)?/.exec(text)?.[0] ?? 'unknown';
  } catch {
    return 'unknown';
  }
}

/** Ports that were free a moment ago, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const probes = await Promise.all(
    Array.from({ length: count }, async () => {
      const probe = createServer();
      await new Promise<void>((resolve, reject) => {
        probe.once('error', reject);
        probe.listen(0, '127.0.0.1', resolve);
      });
      return probe;
    }),
  );
  const ports = probes.map((probe) => {
    const address = probe.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  });
  await Promise.all(probes.map((probe) => new Promise<void>((resolve) => probe.close(() => resolve()))));
  return ports;
}

/** Resolves when the server answers `ask` with something that matches. */
async function untilAnswers(port: number, child: Child, ask: string, expected: RegExp): Promise<void> {
  const deadline = performance.now() + READY_TIMEOUT_MS;
  for (;;) {
    if (!child.running) throw child.failure('ended before it was ready');
    if (await answers(port, ask, expected)) return;
    if (performance.now() > deadline) throw child.failure(`did not answer within ${READY_TIMEOUT_MS / 1000} s`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function answers(port: number, ask: string, expected: RegExp): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port });
    socket.setTimeout(1000, () => socket.destroy());
    socket.once('connect', () => socket.write(ask));
    socket.once('data', (chunk) => {
      resolve(expected.test(chunk.toString('latin1')));
      socket.destroy();
    });
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
  });
}

function breakwater(): Target {
  const memory = (memoryMb: number): string[] => ['--memory', `${memoryMb}mb`];
  return {
    name: 'breakwater',
    protocol: 'resp',
    version: packageVersion(),
    settings: (_, memoryMb) => `breakwater serve ${memory(memoryMb).join(' ')}`,
    async start(children, _, memoryMb) {
      const [port = 0, httpPort = 0] = await freePorts(2);
      const main = modulePath('../main', import.meta.url);
      const flags = process.env['BREAKWATER_BENCH_NODE_FLAGS']?.split(' ') ?? [];
      const args = ['serve', '--port', String(port), '--http-port', String(httpPort), ...memory(memoryMb)];
      const child = children.start(process.execPath, [...nodeFlags(), ...flags, main, ...args], {
        label: 'breakwater serve',
      });
      await untilAnswers(port, child, 'PING\r\n', /^\+PONG/);
      return { target: this, port, child };
    },
  };
}

function redis(program: string): Target {
  const settings = (fullness: Fullness, memoryMb: number): string[] => [
    '--save',
    '',
    '--appendonly',
    'no',
    ...(fullness === 'full' ? ['--maxmemory', `${memoryMb}mb`, '--maxmemory-policy', 'allkeys-lfu'] : []),
  ];
  return {
    name: 'redis',
    protocol: 'resp',
    version: versionOf(program, '--version'),
    settings: (fullness, memoryMb) =>
      `redis-server ${settings(fullness, memoryMb)
        .map((word) => word || '""')
        .join(' ')}`,
    async start(children, fullness, memoryMb) {
      const [port = 0] = await freePorts(1);
      const where = ['--bind', '127.0.0.1', '--port', String(port), '--dir', children.directory('breakwater-bench-')];
      const child = children.start(program, [...where, ...settings(fullness, memoryMb)], { label: 'redis-server' });
      await untilAnswers(port, child, 'PING\r\n', /^\+PONG/);
      return { target: this, port, child };
    },
  };
}

function memcached(program: string): Target {
  // Refuses to run as root unless told which account; it opens no file, so the account matters little.
  const account = process.getuid?.() === 0 ? ['-u', 'nobody'] : [];
  return {
    name: 'memcached',
    protocol: 'memcached',
    version: versionOf(program, '-V'),
    settings: (_, memoryMb) => `memcached -m ${memoryMb} (4 threads, its default)`,
    async start(children, _, memoryMb) {
      const [port = 0] = await freePorts(1);
      const args = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', String(memoryMb), ...account];
      const child = children.start(program, args, { label: 'memcached' });
      await untilAnswers(port, child, 'version\r\n', /^VERSION/);
      return { target: this, port, child };
    },
  };
}

/** The targets of these names that this machine has, and a sentence for each that it lacks. */
export function findTargets(names: readonly TargetName[]): { targets: Target[]; missing: string[] } {
  const targets: Target[] = [];
  const missing: string[] = [];
  for (const name of names) {
    if (name === 'breakwater') {
      targets.push(breakwater());
      continue;
    }
    const program = findProgram(name === 'redis' ? 'redis-server' : 'memcached');
    if (program) targets.push(name === 'redis' ? redis(program) : memcached(program));
    else {
      const debian = name === 'redis' ? 'redis-server' : 'memcached';
      missing.push(`${debian} is not installed: measured without it (Debian: apt-get install ${debian})`);
    }
  }
  return { targets, missing };
}

/** @throws BreakwaterError `USAGE_INVALID` */
export function parseTargets(text: string): TargetName[] {
  return text.split(',').map((word) => {
    const name = TARGET_NAMES.find((one) => one === word.trim());
    if (!name) {
      throw new BreakwaterError(
        'USAGE_INVALID',
        `cannot read --targets: expected some of ${TARGET_NAMES.join(', ')}, received "${word}"`,
      );
    }
    return name;
  });
}
