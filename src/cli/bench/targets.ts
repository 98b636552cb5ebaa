/**
 * The servers that are compared, each started fresh on a free loopback port with its own default settings, except what the
 * comparison needs: no files written, and the same memory. What was set is part of the report.
 */
import { execFileSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { BreakwaterError } from '../../base/errors.ts';
import type { Child, Children } from '../children/children.ts';
import { startBreakwater, startOnFreePorts } from '../children/servers.ts';
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

export function findProgram(name: string): string | null {
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

function breakwater(): Target {
  const memory = (memoryMb: number): string[] => ['--memory', `${memoryMb}mb`];
  return {
    name: 'breakwater',
    protocol: 'resp',
    version: packageVersion(),
    settings: (_, memoryMb) => `breakwater serve ${memory(memoryMb).join(' ')}`,
    async start(children, _, memoryMb) {
      const flags = process.env['BREAKWATER_BENCH_NODE_FLAGS']?.split(' ') ?? [];
      const { port, child } = await startBreakwater(children, memory(memoryMb), flags);
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
      const directory = children.directory('breakwater-bench-');
      const { ports, child } = await startOnFreePorts(
        1,
        ([port]) => {
          const where = ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory];
          return children.start(program, [...where, ...settings(fullness, memoryMb)], { label: 'redis-server' });
        },
        'PING\r\n',
        /^\+PONG/,
      );
      return { target: this, port: ports[0]!, child };
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
      const { ports, child } = await startOnFreePorts(
        1,
        ([port]) => {
          const args = ['-l', '127.0.0.1', '-p', String(port), '-U', '0', '-m', String(memoryMb), ...account];
          return children.start(program, args, { label: 'memcached' });
        },
        'version\r\n',
        /^VERSION/,
      );
      return { target: this, port: ports[0]!, child };
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
