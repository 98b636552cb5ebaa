/**
 * Members that find each other: nobody is listed, names are resolved by a resolver that the test answers for. One cluster is formed when as many are there as are expected, and not before; it is found again when every one of its members
 * has another address; and a member that comes back with another weight and zone has them.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import type { Log } from '../../../src/base/log.ts';
import { freePorts } from '../../../src/cli/children/ports.ts';
import { STANDING_RULES } from '../../../src/cluster/standing.ts';
import type { Resolver } from '../../../src/server/cluster/resolver.ts';
import { type ClusterStatus, statusOf } from '../../../src/server/cluster/status.ts';
import { resolveConfig } from '../../../src/server/config.ts';
import { type RunningServer, startServer } from '../../../src/server/serve.ts';
import { eventually } from '../support.ts';

const TIMEOUT = { timeout: 300_000 };
const PATIENCE_MS = 120_000;
const BALANCE = { ...STANDING_RULES, stableMs: 400, flapLosses: 1_000_000 };

let ports: number[] = [];
let data = '';
/** Link ports that the name has records for; null: it does not resolve. */
let records: readonly number[] | null = null;
const running = new Map<number, RunningServer>();
const said: string[] = [];

const resolver: Resolver = {
  addresses: () => Promise.reject(new Error('no such name')),
  services: (name) => {
    assert.equal(name, '_link._tcp.cache.test');
    if (records === null) return Promise.reject(new Error('queryySrv ENOTFOUND _link._tcp.cache.test'));
    return Promise.resolve(records.map((port) => ({ host: '127.0.0.1', port })));
  },
  file: () => Promise.reject(new Error('no such file')),
};
const note = (message: string, fields: object = {}): void => {
  said.push(`${message} ${JSON.stringify(fields)}`);
};
const log: Log = { info: note, warn: note, error: note };

before(async () => {
  ports = await freePorts(36);
  data = mkdtempSync(join(tmpdir(), 'bw-discovery-'));
});
after(async () => {
  await Promise.all([...running.values()].map((server) => server.close({ isLeaving: false })));
  rmSync(data, { recursive: true, force: true });
}, TIMEOUT);

/** Ports of the member with this number when it is at its nth place. */
function portsOf(n: number, place = 0): readonly [port: number, http: number, link: number] {
  return ports.slice(3 * (n + 4 * place), 3 * (n + 4 * place) + 3) as [number, number, number];
}

async function start(n: number, place = 0, flags: Readonly<Record<string, string>> = {}): Promise<RunningServer> {
  const [port, http, link] = portsOf(n, place).map(String) as [string, string, string];
  const where = { port, 'http-port': http, 'link-port': link, data: join(data, `${n}`) };
  const facts = { expect: '3', ranges: '16', takeover: '3s', memory: '16mb', zone: `z${n}` };
  const { config } = resolveConfig({
    flags: { ...where, ...facts, join: 'srv:_link._tcp.cache.test', ...flags },
    env: { BREAKWATER_CLUSTER_SECRET: 'a secret of the test' },
    file: null,
  });
  const server = await startServer(config, { version: '0.0.0', balance: BALANCE, resolver, log });
  running.set(n, server);
  return server;
}

async function stop(n: number): Promise<void> {
  const server = running.get(n)!;
  running.delete(n);
  await server.close({ isLeaving: false });
}

const statuses = (): ClusterStatus[] => [...running.values()].map(({ member }) => statusOf(member!.parts));

async function isWhole(members: number): Promise<void> {
  await eventually(
    () => {
      const all = statuses();
      return (
        all.length === members &&
        all.every((one) => one.isOk && one.unowned === 0 && one.short === 0 && one.members.length === members) &&
        all.every((one) => one.members.every(({ link, isSelf }) => isSelf || link?.state === 'open'))
      );
    },
    () =>
      `${members} members, all linked, every range with its copies: ${JSON.stringify(statuses().map((s) => [s.isOk, s.unowned, s.short, s.members.map((m) => m.link?.state)]))}\n${said.slice(-30).join('\n')}`,
    PATIENCE_MS,
  );
}

async function readiness(n: number): Promise<string> {
  const url = `http://127.0.0.1:${portsOf(n)[1]}`;
  try {
    const alive = await fetch(`${url}/healthz`);
    assert.equal(alive.status, 200);
    await alive.body?.cancel();
    return await (await fetch(`${url}/readyz`)).text();
  } catch (error) {
    if (error instanceof TypeError) return '';
    throw error;
  }
}

test(
  'a cluster is formed when all that are expected are there, and says until then what it waits for',
  TIMEOUT,
  async () => {
    const starts = [start(0), start(1)];
    const waits = (n: number, why: RegExp): Promise<void> =>
      eventually(
        async () => why.test(await readiness(n)),
        () => `member ${n} says ${why}`,
        PATIENCE_MS,
      );
    await waits(0, /NOT_READY.*srv:_link\._tcp\.cache\.test: .*ENOTFOUND/);
    records = [portsOf(0)[2], portsOf(1)[2]];
    await waits(0, /2 of 3 members are there/);
    await waits(1, /2 of 3 members are there/);
    // A third is named that nobody is: then it is there.
    records = [...records, portsOf(2)[2]];
    starts.push(start(2));
    await Promise.all(starts);
    await isWhole(3);
    const all = statuses();
    assert.equal(new Set(all.map(({ cluster }) => cluster)).size, 1);
    assert.deepEqual(all[0]!.members.map(({ zone }) => zone).sort(), ['z0', 'z1', 'z2']);
    assert.deepEqual(all[0]!.discovery!.problems, []);
    assert.match(said.join('\n'), /cannot look members up.*ENOTFOUND.*\n[\s\S]*members are looked up again/);
  },
);

test('who comes later joins; who comes back elsewhere, with another weight, is the same member', TIMEOUT, async () => {
  const { cluster } = statuses()[0]!;
  records = [...records!, portsOf(3)[2]];
  const { member } = await start(3);
  await isWhole(4);
  const { self } = statusOf(member!.parts);
  await stop(3);
  records = [...records!.slice(0, 3), portsOf(3, 1)[2]];
  await start(3, 1, { weight: '0', zone: 'z9', machine: 'rack' });
  await isWhole(4);
  await eventually(
    () =>
      statuses().every((one) => {
        const found = one.members.find(({ id }) => id === self)!;
        const isTold = found.weight === 0 && found.zone === 'z9' && found.machine === 'rack';
        return isTold && found.linkPort === portsOf(3, 1)[2] && found.owned === 0 && found.copied === 0;
      }),
    () => `it owns and copies nothing, and everybody knows where it is: ${JSON.stringify(statuses()[0]!.members)}`,
    PATIENCE_MS,
  );
  assert.deepEqual([...new Set(statuses().map((one) => one.cluster))], [cluster]);
});

test('when all come back elsewhere at once, it is the same cluster', TIMEOUT, async () => {
  const { cluster, members } = statuses()[0]!;
  await Promise.all([0, 1, 2, 3].map(stop));
  records = [0, 1, 2, 3].map((n) => portsOf(n, 2)[2]);
  await Promise.all([0, 1, 2, 3].map((n) => start(n, 2)));
  await isWhole(4);
  for (const one of statuses()) {
    assert.equal(one.cluster, cluster);
    assert.deepEqual(
      one.members.map(({ id }) => id),
      members.map(({ id }) => id),
    );
  }
});
