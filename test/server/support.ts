/**
 * Real nodes in real processes for the tests of the server and the CLI, and a plain socket to talk to them: what these tests are about is
 * what happens between processes.
 */
import { type ChildProcess, type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/cli/main.ts', import.meta.url));
const START_TIMEOUT_MS = 120_000;
const CLI_DEADLINE_MS = 300_000;

/** The environment without settings of a node that happen to be set where the tests run. */
export function cleanEnvironment(extra: Record<string, string> = {}): Record<string, string> {
  const kept = Object.entries(process.env).filter(
    ([name]) => !name.startsWith('BREAKWATER_') && !name.startsWith('NODE_TEST'),
  );
  return { ...(Object.fromEntries(kept) as Record<string, string>), ...extra };
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the CLI. The caller ends it. */
export function startCli(args: readonly string[], extra: Record<string, string> = {}): ChildProcessWithoutNullStreams {
  return spawn(process.execPath, ['--import', 'tsx', MAIN, ...args], { env: cleanEnvironment(extra) });
}

/** Runs the CLI to its end; killed, with `code` null, when it has none within {@link CLI_DEADLINE_MS}. */
export async function runCli(
  args: readonly string[],
  extra: Record<string, string> = {},
  input = '',
): Promise<Finished> {
  const child = startCli(args, extra);
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  child.stdin.end(input);
  const deadline = setTimeout(() => child.kill('SIGKILL'), CLI_DEADLINE_MS); // such as a `serve` that should have been refused
  const [code] = (await once(child, 'close')) as [number | null];
  clearTimeout(deadline);
  return { code, stdout, stderr };
}

/** A node in its own process. */
export class ServedNode {
  readonly child: ChildProcess;
  readonly port: number;
  readonly httpPort: number;
  readonly output: () => string;

  constructor(child: ChildProcess, port: number, httpPort: number, output: () => string) {
    this.child = child;
    this.port = port;
    this.httpPort = httpPort;
    this.output = output;
  }

  get url(): string {
    return `http://127.0.0.1:${this.httpPort}`;
  }

  /** Resident memory; 0 where there is no /proc, which passes every upper bound. */
  rssBytes(): number {
    if (process.platform !== 'linux') return 0;
    const pages = Number(readFileSync(`/proc/${this.child.pid}/statm`, 'utf8').split(' ')[1]);
    return pages * 4096;
  }

  /** Sends `signal` and resolves with the exit code. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | null> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return this.child.exitCode;
    const closed = once(this.child, 'close');
    this.child.kill(signal);
    const [code] = (await closed) as [number | null];
    return code;
  }
}

/** `breakwater serve` with ports picked by the system; resolves when it says that it is ready. */
export async function serveNode(args: readonly string[] = [], extra: Record<string, string> = {}): Promise<ServedNode> {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', MAIN, 'serve', '--port', '0', '--memory', '64mb', ...args],
    {
      env: cleanEnvironment(extra),
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  );
  let output = '';
  const ready = new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`the node did not start: ${output}`)), START_TIMEOUT_MS);
    const look = (chunk: Buffer): void => {
      output += chunk.toString();
      if (!/^ready$/m.test(output)) return;
      clearTimeout(timer);
      resolve();
    };
    child.stdout.on('data', look);
    child.stderr.on('data', look);
    child.on('exit', () => {
      clearTimeout(timer);
      reject(new Error(`the node ended: ${output}`));
    });
  });
  ready.catch(() => child.kill('SIGKILL'));
  await ready;
  const port = Number(/RESP +\S*:(\d+)/.exec(output)?.[1]);
  const httpPort = Number(/HTTP +http:\/\/\S*:(\d+)/.exec(output)?.[1]);
  return new ServedNode(child, port, httpPort, () => output);
}

/** A socket that speaks bytes: writes what the test says, keeps what came back. */
export class RawClient {
  readonly socket: net.Socket;
  received = '';
  ended = false;
  closed = false;

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.received += chunk.toString('latin1');
    });
    socket.on('end', () => {
      this.ended = true;
    });
    socket.on('close', () => {
      this.closed = true;
    });
    socket.on('error', () => {});
  }

  static async connect(port: number): Promise<RawClient> {
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true });
    const client = new RawClient(socket);
    await once(socket, 'connect');
    return client;
  }

  send(bytes: string | Uint8Array): void {
    this.socket.write(bytes);
  }

  /** Waits for `condition`, checked whenever something arrives. */
  async until(condition: () => boolean, what: string, timeoutMs = 120_000): Promise<void> {
    await eventually(condition, () => `${what}; received ${JSON.stringify(this.received.slice(0, 300))}`, timeoutMs);
  }

  /** Sends and waits until the answer is `reply`. */
  async expect(bytes: string, reply: string): Promise<void> {
    const before = this.received.length;
    this.send(bytes);
    await this.until(() => this.received.length >= before + reply.length, `waiting for ${JSON.stringify(reply)}`);
    const got = this.received.slice(before);
    if (got !== reply) throw new Error(`expected ${JSON.stringify(reply)}, received ${JSON.stringify(got)}`);
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** Resolves when `condition` holds; polls, because what is waited for happens in another process. */
export async function eventually(
  condition: () => boolean | Promise<boolean>,
  what: () => string,
  timeoutMs = 120_000,
): Promise<void> {
  const deadline = performance.now() + timeoutMs;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`timed out: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
