/**
 * Members that a real etcd coordinates, over TCP, all in this process: how a cluster is formed in it, who may be of it and who not, and what becomes of everybody when etcd is emptied. Faults of processes: `test/fault/etcd.test.ts`.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Redis } from 'ioredis';
import { BreakwaterError } from '../../../src/base/errors.ts';
import { freePorts } from '../../../src/cli/children/ports.ts';
import type { EtcdStatus } from '../../../src/server/cluster/etcd-coordination.ts';
import type { ClusterStatus } from '../../../src/server/cluster/status.ts';
import { resolveConfig } from '../../../src/server/config.ts';
import { type RunningServer, startServer } from '../../../src/server/serve.ts';
import { EtcdServer } from '../../support/etcd-server.ts';
import { requires } from '../../support/requirements.ts';
import { eventually } from '../support.ts';

const NEEDS = requires('etcd', 'etcdctl');
const TIMEOUT = { timeout: 300_000, ...NEEDS };
const PATIENCE_MS = 120_000;

let etcd: EtcdServer | null = null;
let ports: number[] = [];
let data = '';
const running = new Map<number, RunningServer>();

before(async () => {
  if (NEEDS.skip !== false) return;
  etcd = await EtcdServer.start();
  ports = await freePorts(16);
  data = mkdtempSync(join(tmpdir(), 'breakwater-etcd-members-'));
}, TIMEOUT);
after(async () => {
  await stopAll();
  await etcd?.close();
  if (data !== '') rmSync(data, { recursive: true, force: true });
}, TIMEOUT);

async function stopAll(): Promise<void> {
  const all = [...running.values()];
  running.clear();
  await Promise.all(all.map((server) => server.close({ isLeaving: false })));
}

/** Of three that form the cluster (0 to 2), or the one that joins (3). */
async function start(n: number, flags: Readonly<Record<string, string>> = {}): Promise<RunningServer> {
  const [port, http, link, proxy] = ports.slice(4 * n, 4 * n + 4).map(String) as [string, string, string, string];
  const links = [0, 1, 2].map((each) => `127.0.0.1:${ports[4 * each + 2]}`);
  const given: Record<string, string> = {
    port,
    'http-port': http,
    'link-port': link,
    'proxy-port': proxy,
    join: (n < 3 ? links : links.slice(0, 1)).join(','),
    memory: '16mb',
    'write-mode': '*=all',
    coordination: etcd!.url,
    ...(n < 3 ? { takeover: '4s', ranges: '16', data: join(data, String(n)) } : {}),
    ...flags,
  };
  // Taken back: '-'.
  for (const [name, text] of Object.entries(given)) if (text === '-') delete given[name];
  const { config } = resolveConfig({ flags: given, env: {}, file: null });
  const server = await startServer(config, { version: '0.0.0' });
  running.set(n, server);
  return server;
}

async function statusOf(n: number): Promise<ClusterStatus> {
  const response = await fetch(`http://127.0.0.1:${ports[4 * n + 1]}/cluster.json`);
  return (await response.json()) as ClusterStatus;
}

const etcdOf = (status: ClusterStatus): EtcdStatus => {
  assert.ok(typeof status.coordination === 'object');
  return status.coordination;
};

/** Every range has an owner, and all of its copies. */
async function whole(): Promise<void> {
  let last = '';
  await eventually(
    async () => {
      const all = await Promise.all([...running.keys()].map((n) => statusOf(n)));
      last = JSON.stringify(all.map(({ isOk, unowned, short }) => [isOk, unowned, short]));
      return all.every(({ isOk, unowned, short }) => isOk && unowned === 0 && short === 0);
    },
    () => `the cluster is whole: ${last}`,
    PATIENCE_MS,
  );
}

/** Over the proxy port of a member: whoever owns the key. */
async function ask(n: number, ...command: readonly [string, ...string[]]): Promise<unknown> {
  const redis = new Redis(ports[4 * n + 3]!, '127.0.0.1', { lazyConnect: true, maxRetriesPerRequest: 0 });
  redis.on('error', () => {});
  try {
    const [name, ...args] = command;
    let reply: unknown;
    await eventually(
      async () => {
        try {
          reply = await redis.call(name, args);
          return true;
        } catch {
          // Ranges change hands: asked again.
          return false;
        }
      },
      () => `${command.join(' ')} is answered`,
      PATIENCE_MS,
    );
    return reply;
  } finally {
    redis.disconnect();
  }
}

const refused = (code: string, why: RegExp) => (error: Error) => {
  assert.ok(error instanceof BreakwaterError, error.stack);
  assert.deepEqual([error.code, why.test(error.message)], [code, true], error.message);
  return true;
};

test('a cluster is formed in etcd by whoever comes; who is of another, or none, is refused', TIMEOUT, async () => {
  await Promise.all([0, 1].map((n) => start(n)));
  // The third is not there yet, and was given something else.
  await assert.rejects(
    start(2, { takeover: '5s', data: '-' }),
    refused('MEMBER_REFUSED', /another cluster name, list/),
  );
  await start(2);
  await whole();
  assert.equal(await ask(0, 'SET', 'a', '1'), 'OK');
  assert.equal(await ask(2, 'GET', 'a'), '1');
  const all = await Promise.all([0, 1, 2].map((n) => statusOf(n)));
  assert.equal(new Set(all.map(({ cluster }) => cluster)).size, 1);
  assert.deepEqual(
    all.map(({ vote, members }) => [vote, members.some(({ isVoter }) => isVoter)]),
    all.map(() => [null, false]),
  );
  assert.deepEqual([etcdOf(all[0]!).prefix, etcdOf(all[0]!).isLost], ['/breakwater/breakwater', false]);
});

test('one joins, if it is told of etcd; and one comes back with its directory', TIMEOUT, async () => {
  await assert.rejects(start(3, { coordination: '-' }), refused('MEMBER_REFUSED', /give --coordination/));
  await start(3);
  const joined = await statusOf(3);
  assert.equal(joined.members.length, 4);
  assert.equal(await ask(3, 'GET', 'a'), '1');
  // It would be of a cluster that is not there.
  const other = await EtcdServer.start();
  try {
    await running.get(3)!.close({ isLeaving: false });
    running.delete(3);
    await assert.rejects(
      start(3, { coordination: other.url }),
      refused('CLUSTER_DATA_FOREIGN', /it was emptied, or is another/),
    );
  } finally {
    await other.close();
  }
  await running.get(1)!.close({ isLeaving: false });
  running.delete(1);
  await start(1);
  // The places of who joined and went are kept for it; what it owned is others' after T.
  assert.equal(await ask(1, 'SET', 'b', '2'), 'OK');
  assert.equal(await ask(0, 'GET', 'b'), '2');
});

test('etcd is emptied: nobody serves until it is started anew, and then a new cluster is formed', TIMEOUT, async () => {
  const before = (await statusOf(0)).cluster;
  etcd!.control('del', '/breakwater/', '--prefix');
  await eventually(
    async () => (await Promise.all([0, 1, 2].map((n) => statusOf(n)))).every((one) => etcdOf(one).isLost && !one.isOk),
    () => 'everybody sees it',
    PATIENCE_MS,
  );
  await stopAll();
  await assert.rejects(start(0), refused('CLUSTER_DATA_FOREIGN', /it was emptied/));
  await Promise.all([0, 1, 2].map((n) => start(n, { data: '-' })));
  await whole();
  assert.notEqual((await statusOf(0)).cluster, before);
  assert.equal(await ask(0, 'GET', 'a'), null);
});
