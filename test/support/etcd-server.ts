/**
 * A real etcd of one server on ports that were free, its data in a folder of its own. Needs `requires('etcd')`. It can be killed, stopped, and started again with what it had.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../../src/cli/children/ports.ts';
import { findExecutable } from './requirements.ts';

const PATIENCE_MS = 60_000;

export class EtcdServer {
  readonly port: number;
  readonly #peerPort: number;
  readonly #folder: string;
  readonly #flags: readonly string[];
  readonly #scheme: string;
  #child: ChildProcess | null = null;
  #log = '';

  private constructor([port, peerPort]: readonly number[], scheme: string, flags: readonly string[]) {
    this.port = port!;
    this.#peerPort = peerPort!;
    this.#scheme = scheme;
    this.#flags = flags;
    this.#folder = mkdtempSync(join(tmpdir(), 'breakwater-etcd-'));
  }

  /** @param tls files of its certificate: then it speaks TLS alone */
  static async start(
    tls?: { readonly cert: string; readonly key: string },
    flags: readonly string[] = [],
  ): Promise<EtcdServer> {
    const extra = tls === undefined ? [] : ['--cert-file', tls.cert, '--key-file', tls.key];
    for (let attempt = 0; ; attempt += 1) {
      // It takes no port 0; between the look and its start another process may take the port.
      const server = new EtcdServer(await freePorts(2), tls === undefined ? 'http' : 'https', [...extra, ...flags]);
      try {
        await server.start();
        return server;
      } catch (error) {
        await server.close();
        if (attempt === 3) throw error;
      }
    }
  }

  /** What members are given. */
  get url(): string {
    return `${this.#scheme === 'https' ? 'etcds' : 'etcd'}://127.0.0.1:${this.port}`;
  }

  /** Resolves when it can be asked. */
  async start(): Promise<void> {
    const client = `${this.#scheme}://127.0.0.1:${this.port}`;
    const peer = `http://127.0.0.1:${this.#peerPort}`;
    const child = spawn(
      findExecutable('etcd')!,
      [
        ...['--name', 'test', '--data-dir', this.#folder, '--logger', 'zap', '--log-outputs', 'stderr'],
        ...['--listen-client-urls', client, '--advertise-client-urls', client],
        ...['--listen-peer-urls', peer, '--initial-advertise-peer-urls', peer, '--initial-cluster', `test=${peer}`],
        ...this.#flags,
      ],
      // Debian's does not know every processor by itself.
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, ETCD_UNSUPPORTED_ARCH: process.arch } },
    );
    this.#child = child;
    this.#log = '';
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`etcd is not ready: ${this.#log}`)), PATIENCE_MS);
      child.stderr.on('data', (piece: Buffer) => {
        this.#log = (this.#log + piece.toString()).slice(-20_000);
        if (/serving client traffic (in)?securely/.test(this.#log)) {
          clearTimeout(timer);
          resolve();
        }
      });
      child.once('error', reject);
      child.once('exit', (code) => {
        clearTimeout(timer);
        reject(new Error(`etcd ended with ${code}: ${this.#log}`));
      });
    });
  }

  /** As an operator says it. */
  control(...words: readonly string[]): string {
    const where = ['--endpoints', `${this.#scheme}://127.0.0.1:${this.port}`];
    return execFileSync(findExecutable('etcdctl')!, [...where, ...words], {
      env: { ...process.env, ETCDCTL_API: '3' },
      encoding: 'utf8',
    });
  }

  signal(name: NodeJS.Signals): void {
    this.#child!.kill(name);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }

  async close(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
