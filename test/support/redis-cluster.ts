/**
 * A real Redis Cluster on free loopback ports, its files in a temporary folder: by default three primaries with a replica each. Put together
 * by CLUSTER commands instead of `redis-cli --cluster create`, which waits in whole seconds. Needs `requires('redis-server')`.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePorts } from '../../src/cli/children/ports.ts';
import { RespClient } from '../../src/client/client.ts';
import { findExecutable } from './requirements.ts';

const PRIMARIES = 3;
const SLOTS = 16_384;
/** Of the node timeout, and so of a handshake: a machine that stands still for seconds ends none. */
const PATIENT_MS = 30_000;
/** While it comes up: for as long as the node timeout, up to five seconds, a new member says that the cluster is down. */
const EAGER_MS = 1_000;

export class ClusterServer {
  readonly port: number;
  readonly busPort: number;
  /** For the test's own commands. */
  readonly client: RespClient;
  readonly child: ChildProcess;
  id = '';

  constructor(port: number, busPort: number, child: ChildProcess) {
    this.port = port;
    this.busPort = busPort;
    this.child = child;
    this.client = new RespClient({ port, backOff: { baseMs: 5, capMs: 50 } });
  }

  /** The reply as text. */
  async text(...command: (string | number)[]): Promise<string> {
    return String(await this.client.command(command, { text: true, timeoutMs: 60_000 }));
  }

  async kill(signal: 'SIGKILL' | 'SIGSTOP' | 'SIGCONT' = 'SIGKILL'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill(signal);
    if (signal === 'SIGKILL') await ended;
  }
}

export class RedisCluster {
  /** The primaries first, then their replicas in the same order, round after round. */
  readonly servers: readonly ClusterServer[];
  readonly #folder: string;
  readonly #onExit: () => void;

  private constructor(servers: readonly ClusterServer[], folder: string, onExit: () => void) {
    this.servers = servers;
    this.#folder = folder;
    this.#onExit = onExit;
  }

  /** @param options `replicas` of each primary; `nodeTimeoutMs` after which a silent node counts as failed, long for tests that are not about that */
  static async start(
    options: { readonly replicas?: number; readonly nodeTimeoutMs?: number } = {},
  ): Promise<RedisCluster> {
    const { replicas = 1, nodeTimeoutMs = PATIENT_MS } = options;
    const folder = await mkdtemp(join(tmpdir(), 'breakwater-cluster-'));
    const servers: ClusterServer[] = [];
    const onExit = (): void => {
      for (const { child } of servers) child.kill('SIGKILL');
    };
    process.once('exit', onExit);
    const cluster = new RedisCluster(servers, folder, onExit);
    try {
      const ports = await freePorts(2 * PRIMARIES * (1 + replicas));
      while (ports.length > 0) servers.push(launch(ports.pop()!, ports.pop()!, folder));
      await cluster.#join();
      await cluster.#setNodeTimeout(nodeTimeoutMs);
      return cluster;
    } catch (error) {
      await cluster.close();
      throw error;
    }
  }

  get primaries(): readonly ClusterServer[] {
    return this.servers.slice(0, PRIMARIES);
  }

  get replicas(): readonly ClusterServer[] {
    return this.servers.slice(PRIMARIES);
  }

  /** Who owns the slot now, as the first server that answers sees it. */
  async currentOwnerOf(slot: number): Promise<ClusterServer> {
    for (const line of (await this.servers[0]!.text('CLUSTER', 'NODES')).split('\n')) {
      const [id, , , , , , , , ...ranges] = line.split(' ');
      const owns = ranges.some((range) => {
        const [first, last = first] = range.split('-').map(Number);
        return slot >= first! && slot <= last!;
      });
      const server = owns ? this.servers.find((server) => server.id === id) : undefined;
      if (server !== undefined) return server;
    }
    throw new Error(`nobody owns slot ${slot}`);
  }

  /** `redis://` with one of the primaries. */
  get url(): string {
    return `redis://127.0.0.1:${this.servers[0]!.port}`;
  }

  /** From here on `from` answers ASK for keys of the slot that it does not have. */
  async beginMove(slot: number, from: ClusterServer, to: ClusterServer): Promise<void> {
    await to.text('CLUSTER', 'SETSLOT', slot, 'IMPORTING', from.id);
    await from.text('CLUSTER', 'SETSLOT', slot, 'MIGRATING', to.id);
  }

  async moveKey(key: string, from: ClusterServer, to: ClusterServer): Promise<void> {
    await from.text('MIGRATE', '127.0.0.1', to.port, key, 0, 30_000, 'REPLACE');
  }

  /** Moves what keys there still are, and the slot. */
  async endMove(slot: number, from: ClusterServer, to: ClusterServer): Promise<void> {
    for (;;) {
      const keys = await from.client.command(['CLUSTER', 'GETKEYSINSLOT', slot, 100], { text: true });
      if (!Array.isArray(keys) || keys.length === 0) break;
      for (const key of keys) await this.moveKey(String(key), from, to);
    }
    await to.text('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
    await from.text('CLUSTER', 'SETSLOT', slot, 'NODE', to.id);
  }

  async close(): Promise<void> {
    process.removeListener('exit', this.#onExit);
    await Promise.all(
      this.servers.map(async (server) => {
        await server.client.close({ drain: false });
        await server.kill();
      }),
    );
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #join(): Promise<void> {
    await Promise.all(
      this.servers.map(async (server, i) => {
        await server.client.connect({ timeoutMs: 60_000 });
        server.id = await server.text('CLUSTER', 'MYID');
        await server.text('CLUSTER', 'SET-CONFIG-EPOCH', i + 1);
      }),
    );
    const share = Math.ceil(SLOTS / PRIMARIES);
    await Promise.all(
      this.primaries.map((server, i) =>
        server.text('CLUSTER', 'ADDSLOTSRANGE', i * share, Math.min(SLOTS, (i + 1) * share) - 1),
      ),
    );
    // Each is introduced to each, instead of waiting for the gossip; and again, if a handshake was given up.
    let introduceMs = 0;
    await this.until('all have met', async () => {
      if (performance.now() >= introduceMs) {
        for (const [i, server] of this.servers.entries()) {
          const known = await server.text('CLUSTER', 'NODES');
          for (const { id, port, busPort } of this.servers.slice(i + 1)) {
            if (!known.includes(id)) await server.text('CLUSTER', 'MEET', '127.0.0.1', port, busPort);
          }
        }
        introduceMs = performance.now() + PATIENT_MS;
      }
      const views = await Promise.all(this.servers.map((server) => server.text('CLUSTER', 'NODES')));
      return views.every((view) => this.servers.every(({ id }) => view.includes(id)) && !view.includes('handshake'));
    });
    await this.#setNodeTimeout(EAGER_MS);
    await Promise.all(
      this.replicas.map((server, i) => server.text('CLUSTER', 'REPLICATE', this.servers[i % PRIMARIES]!.id)),
    );
    await this.until('the cluster is up', async () => {
      const states = await Promise.all(this.servers.map((server) => server.text('CLUSTER', 'INFO')));
      if (!states.every((state) => state.includes('cluster_state:ok'))) return false;
      const links = await Promise.all(this.replicas.map((server) => server.text('INFO', 'replication')));
      if (!links.every((link) => link.includes('master_link_status:up'))) return false;
      const views = await Promise.all(this.servers.map((server) => server.text('CLUSTER', 'NODES')));
      return views.every((view) => (view.match(/\bslave\b/g) ?? []).length === this.replicas.length);
    });
  }

  async #setNodeTimeout(ms: number): Promise<void> {
    await Promise.all(this.servers.map((server) => server.text('CONFIG', 'SET', 'cluster-node-timeout', ms)));
  }

  /** Waits for a state of the cluster. @throws Error when it has not come in two minutes */
  async until(what: string, isSo: () => Promise<boolean>): Promise<void> {
    const endMs = performance.now() + 120_000;
    while (!(await isSo())) {
      if (performance.now() > endMs) throw new Error(`waited in vain until ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

function launch(port: number, busPort: number, folder: string): ClusterServer {
  const flags: Record<string, string | number> = {
    port,
    bind: '127.0.0.1',
    dir: folder,
    save: '',
    appendonly: 'no',
    'cluster-enabled': 'yes',
    'cluster-port': busPort,
    'cluster-config-file': `nodes-${port}.conf`,
    'cluster-node-timeout': PATIENT_MS,
    'repl-diskless-sync-delay': 0,
    'enable-debug-command': 'yes',
  };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const child = spawn(findExecutable('redis-server')!, args, { stdio: 'ignore' });
  child.on('error', () => undefined); // the connection that is never made says it
  return new ClusterServer(port, busPort, child);
}
