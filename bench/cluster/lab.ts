/**
 * Machines for benches of clusters: each server runs in a network namespace of its own, with an address of its own, on one bridge. Pulling a machine's cable (the bridge's end of its wire) is what
 * the loss of a machine looks like to everybody else: packets end nowhere, nobody is told, connections stay open. What runs in the namespace still reaches its own server.
 *
 * Needs Linux, root, and `ip`, `unshare` and `nsenter`. The bench itself runs in a namespace too, so nothing of it touches the network of the machine, and all of it is gone with its processes.
 */
import { execFile, spawnSync } from 'node:child_process';
import { promisify } from 'node:util';
import { BreakwaterError } from '../../src/base/errors.ts';
import type { Child, Children } from '../../src/cli/children/children.ts';

const run = promisify(execFile);
const NETWORK = '10.77.0';
const INSIDE = 'BREAKWATER_LAB_INSIDE';

/** Runs this very command once more in a network namespace of its own; the exit status, or null when we are that one. */
export function enterLab(): number | null {
  if (process.env[INSIDE] !== undefined) return null;
  if (process.platform !== 'linux' || process.getuid?.() !== 0) {
    throw new BreakwaterError('BENCH_UNAVAILABLE', 'cannot lay wires between machines: that needs Linux and root');
  }
  const { status, error } = spawnSync(
    'unshare',
    ['-n', process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    {
      stdio: 'inherit',
      env: { ...process.env, [INSIDE]: '1' },
    },
  );
  if (error !== undefined) throw error;
  return status ?? 1;
}

export interface Machine {
  readonly host: string;
  /** What stands before a command line that is to run on it. */
  readonly launcher: readonly string[];
  /** Starts a program on it. */
  start(command: string, args: readonly string[], label: string): Child;
  /** What a program on it prints. */
  output(command: string, args: readonly string[]): Promise<string>;
  pull(): Promise<void>;
  plug(): Promise<void>;
}

/** `count` machines with addresses 10.77.0.1 and up; we are 10.77.0.254. */
export async function machines(children: Children, count: number): Promise<Machine[]> {
  const ip = (...args: string[]): Promise<unknown> => run('ip', args);
  await ip('link', 'set', 'lo', 'up');
  await ip('link', 'add', 'br0', 'type', 'bridge');
  await ip('addr', 'add', `${NETWORK}.254/24`, 'dev', 'br0');
  await ip('link', 'set', 'br0', 'up');
  const made: Machine[] = [];
  for (let index = 1; index <= count; index += 1) {
    const holder = children.start('unshare', ['-n', 'sh', '-c', 'echo here; exec sleep infinity'], {
      label: `machine ${index}`,
    });
    await holder.waitForOutput(/here/, 10_000);
    const within = ['-t', String(holder.pid), '-n'];
    const wire = `wire${index}`;
    const host = `${NETWORK}.${index}`;
    await ip('link', 'add', wire, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', String(holder.pid));
    await ip('link', 'set', wire, 'master', 'br0');
    await ip('link', 'set', wire, 'up');
    for (const args of [
      ['addr', 'add', `${host}/24`, 'dev', 'eth0'],
      ['link', 'set', 'eth0', 'up'],
      ['link', 'set', 'lo', 'up'],
    ]) {
      await run('nsenter', [...within, 'ip', ...args]);
    }
    made.push({
      host,
      launcher: ['nsenter', ...within],
      start: (command, args, label) => children.start('nsenter', [...within, command, ...args], { label }),
      output: async (command, args) =>
        (await run('nsenter', [...within, command, ...args], { timeout: 20_000 })).stdout,
      pull: async () => void (await ip('link', 'set', wire, 'down')),
      plug: async () => void (await ip('link', 'set', wire, 'up')),
    });
  }
  return made;
}
