/**
 * A real redis-server on a unix socket in a folder of its own, and the raw bytes of its replies.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findExecutable } from '../support/requirements.ts';
import { encodeCommand } from './transcript.ts';

/** Values as large as Breakwater takes, so that both refuse the same lengths. */
const MAX_VALUE = '8mb';

export class RedisProcess {
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly path: string;

  private constructor(child: ChildProcess, folder: string, path: string) {
    this.#child = child;
    this.#folder = folder;
    this.path = path;
  }

  static async start(): Promise<RedisProcess> {
    const folder = mkdtempSync(join(tmpdir(), 'breakwater-redis-'));
    const path = join(folder, 'redis.sock');
    const flags = ['--port', '0', '--unixsocket', path, '--databases', '1', '--save', '', '--dir', folder];
    const child = spawn(findExecutable('redis-server')!, [...flags, '--proto-max-bulk-len', MAX_VALUE], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    await new Promise<void>((resolve, reject) => {
      let log = '';
      child.stdout!.on('data', (chunk: Buffer) => {
        log += chunk.toString();
        if (/ready to accept connections/i.test(log)) resolve();
      });
      child.on('error', reject);
      child.on('exit', (code) => reject(new Error(`redis-server ended with ${code}: ${log}`)));
    });
    return new RedisProcess(child, folder, path);
  }

  connect(): Promise<RedisConnection> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(this.path);
      socket.once('error', reject);
      socket.once('connect', () => resolve(new RedisConnection(socket)));
    });
  }

  async stop(): Promise<void> {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

export class RedisConnection {
  readonly #socket: net.Socket;
  #received: Buffer = Buffer.alloc(0);
  #wake: () => void = () => {};
  #count = 0;

  constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk]);
      this.#wake();
    });
    socket.on('error', () => this.#wake());
  }

  /**
   * The raw reply of each command. Each is followed by an ECHO of a word of its own, which marks where its reply ends, so
   * that this side need not understand replies at all.
   */
  async run(commands: readonly (readonly Uint8Array[])[]): Promise<Buffer[]> {
    const marks: Buffer[] = [];
    const parts: Uint8Array[] = [];
    for (const command of commands) {
      this.#count += 1;
      const word = `mark-${this.#count}-${'x'.repeat(20)}`;
      marks.push(Buffer.from(`$${word.length}\r\n${word}\r\n`));
      parts.push(encodeCommand(command), encodeCommand([Buffer.from('ECHO'), Buffer.from(word)]));
    }
    this.#socket.write(Buffer.concat(parts));
    const replies: Buffer[] = [];
    for (const mark of marks) {
      let at = this.#received.indexOf(mark);
      while (at < 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        if (this.#socket.destroyed) throw new Error('redis-server closed the connection');
        at = this.#received.indexOf(mark);
      }
      replies.push(this.#received.subarray(0, at));
      this.#received = this.#received.subarray(at + mark.length);
    }
    return replies;
  }

  close(): void {
    this.#socket.destroy();
  }
}
