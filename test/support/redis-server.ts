/**
 * A real redis-server on a TCP port that was free, nothing on disk, for tests of the codec and the client against
 * the original. Needs `requires('redis-server')`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../../src/cli/children/ports.ts';
import { findExecutable } from './requirements.ts';

export class RedisServer {
  readonly port: number;
  #child: ChildProcess;
  readonly #flags: readonly string[];

  private constructor(port: number, child: ChildProcess, flags: readonly string[]) {
    this.port = port;
    this.#child = child;
    this.#flags = flags;
  }

  /** Starts one with further `flags` as on its command line. */
  static async start(flags: readonly string[] = []): Promise<RedisServer> {
    for (let attempt = 0; ; attempt += 1) {
      // redis-server takes no port 0; between the look and its start another process may take the port.
      const [port = 0] = await freePorts(1);
      try {
        return new RedisServer(port, await launch(port, flags), flags);
      } catch (error) {
        if (attempt === 3) throw error;
      }
    }
  }

  /** Kills it and starts it again, empty, on the same port. */
  async restart(): Promise<void> {
    await this.close();
    this.#child = await launch(this.port, this.#flags);
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
  }
}

async function launch(port: number, flags: readonly string[]): Promise<ChildProcess> {
  // A folder of its own: a replica writes the snapshot that it is sent to disk, whatever `save` says.
  const folder = mkdtempSync(join(tmpdir(), 'bw-redis-'));
  const where = ['--port', String(port), '--bind', '127.0.0.1', '--dir', folder];
  const args = [...where, '--save', '', '--appendonly', 'no', ...flags];
  const child = spawn(findExecutable('redis-server')!, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  child.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  await new Promise<void>((resolve, reject) => {
    let log = '';
    child.stdout.on('data', (piece: Buffer) => {
      log += piece.toString();
      if (log.includes('Ready to accept connections')) resolve();
    });
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`redis-server ended with ${code}: ${log}`)));
  });
  return child;
}
