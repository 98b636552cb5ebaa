/**
 * The clients of the cost benches: a connection that sends bytes made beforehand and counts the bytes that come back, so that its own share of the machine is small and the same whoever answers;
 * and what the kernel says that a server used.
 */
import { readdirSync, readFileSync } from 'node:fs';
import net from 'node:net';

const MINUS = 45;
const INPUT_BYTES = 256 * 1024;
const LONGEST_MS = 30_000;

/** One request as RESP. */
export const request = (...args: readonly string[]): Buffer =>
  Buffer.from(`*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join('')}`);

export class Wire {
  readonly #socket: net.Socket;
  readonly #input: Buffer;
  #wanted = 0;
  #done: (error: Error | null) => void = () => {};

  static open(host: string, port: number): Promise<Wire> {
    return new Promise((resolve, reject) => {
      const input = Buffer.allocUnsafeSlow(INPUT_BYTES);
      let wire: Wire | null = null;
      const callback = (length: number): boolean => {
        wire!.#onData(length);
        return true;
      };
      const socket = net.connect({ host, port, noDelay: true, onread: { buffer: input, callback } });
      socket.on('error', reject);
      socket.on('connect', () => {
        wire = new Wire(socket, input);
        resolve(wire);
      });
    });
  }

  private constructor(socket: net.Socket, input: Buffer) {
    this.#socket = socket;
    this.#input = input;
    socket.on('error', (error) => this.#done(error));
    socket.on('close', () => this.#done(new Error('the server closed the connection')));
  }

  /** Resolves when so many bytes have come. @throws Error if the first reply is an error, or nothing comes for half a minute */
  ask(bytes: Uint8Array, replyBytes: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#wanted = replyBytes;
      const deadline = setTimeout(() => this.#done(new Error('no answer for half a minute')), LONGEST_MS);
      this.#done = (error) => {
        clearTimeout(deadline);
        this.#done = () => {};
        if (error === null) resolve();
        else reject(error);
      };
      this.#socket.write(bytes);
    });
  }

  close(): void {
    this.#socket.destroy();
  }

  #onData(length: number): void {
    if (this.#input[0] === MINUS) {
      this.#done(new Error(`a request was answered ${this.#input.toString('latin1', 0, Math.min(length, 200))}`));
      return;
    }
    this.#wanted -= length;
    if (this.#wanted === 0) this.#done(null);
    else if (this.#wanted < 0) this.#done(new Error('more was answered than was asked for'));
  }
}

/** Processor time of all its threads, as far as the kernel has counted: until a thread last slept, or its last tick. */
export function cpuSeconds(pid: number): number {
  let ns = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    ns += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
  }
  return ns / 1e9;
}

export const rssBytes = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) * 1024;

export const sorted = (of: readonly number[]): number[] => [...of].sort((a, b) => a - b);

export function quantile(of: readonly number[], share: number): number {
  const all = sorted(of);
  return all[Math.min(all.length - 1, Math.floor(all.length * share))]!;
}

export const median = (of: readonly number[]): number => quantile(of, 0.5);

/** "median (least to most)" */
export const spread = (of: readonly number[], digits: number): string =>
  `${median(of).toFixed(digits)} (${Math.min(...of).toFixed(digits)} to ${Math.max(...of).toFixed(digits)})`;
