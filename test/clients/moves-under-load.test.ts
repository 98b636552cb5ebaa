/**
 * A member is drained, taken back and leaves, while clients of all kinds read and write a little: none of them is told an error, and none reads what was overwritten or deleted before. Times of the protocol are
 * eight times the usual ones: on a machine that stands still for seconds, what is tested is still the moving and not the standing still.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { GlideClusterClient, Logger } from '@valkey/valkey-glide';
import { Cluster, Redis } from 'ioredis';
import { createClient, createCluster } from 'redis';
import { createBreakwater } from '../../src/cache/index.ts';
import { freePorts } from '../../src/cli/children/ports.ts';
import { STANDING_RULES } from '../../src/cluster/standing.ts';
import { resolveConfig } from '../../src/server/config.ts';
import { type RunningServer, startServer } from '../../src/server/serve.ts';
import { eventually } from '../server/support.ts';

Logger.setLoggerConfig('off');
const TIMEOUT = { timeout: 300_000 };
const KEYS = 12;
const RANGES = 16;
/** A newcomer may own at once: what is tested is its coming, not the wait before. */
const BALANCE = { ...STANDING_RULES, stableMs: 400, flapLosses: 1_000_000 };

let members: RunningServer[] = [];
let join = '';
const start = (
  [port, http, link, proxy]: readonly number[],
  flags: Readonly<Record<string, string>> = {},
): Promise<RunningServer> => {
  const own = { port, 'http-port': http, 'link-port': link, 'proxy-port': proxy };
  const given = { ...Object.fromEntries(Object.entries(own).map(([name, value]) => [name, String(value)])), ...flags };
  const { config } = resolveConfig({ flags: { ...given, join, memory: '16mb' }, env: {}, file: null });
  return startServer(config, { version: '0.0.0', balance: BALANCE });
};
const closers: (() => unknown)[] = [];
before(async () => {
  const ports = await freePorts(12);
  join = [0, 1, 2].map((n) => `127.0.0.1:${ports[4 * n + 2]}`).join(',');
  members = await Promise.all(
    [0, 1, 2].map((n) => start(ports.slice(4 * n, 4 * n + 4), { takeover: '12s', ranges: String(RANGES) })),
  );
  await eventually(
    () => members.every(({ member }) => wholeAt(member!.machine.core.views.chosen)),
    () => 'every range has an owner and a copy',
  );
}, TIMEOUT);
after(async () => {
  for (const close of closers) await close();
  await Promise.all(members.map((member) => member.close({ isLeaving: false })));
});

const wholeAt = (records: readonly { readonly owner: string | null; readonly inSync: readonly string[] }[]): boolean =>
  records.every(({ owner, inSync }) => owner !== null && inSync.length >= 2);

interface Caller {
  readonly name: string;
  /** The value, or null. */
  get(key: string): Promise<string | null>;
  set(key: string, value: string): Promise<unknown>;
  del(key: string): Promise<unknown>;
}

/** What one caller asks and is told, key by key, one question after the other. Each has keys of its own. */
class Traffic {
  readonly errors: string[] = [];
  readonly wrong: string[] = [];
  hits = 0;
  asked = 0;
  isStopped = false;
  readonly #caller: Caller;
  readonly done: Promise<unknown>;

  constructor(caller: Caller) {
    this.#caller = caller;
    this.done = Promise.all(
      Array.from({ length: KEYS }, (_, n) => this.#run(`${caller.name.replaceAll(' ', '-')}:${n}`)),
    );
  }

  async #run(key: string): Promise<void> {
    for (let n = 1; !this.isStopped; n += 1) {
      const isSet = await this.#told(`SET ${key}`, () => this.#caller.set(key, String(n)));
      const found = await this.#told(`GET ${key}`, () => this.#caller.get(key));
      if (isSet !== FAILED && found !== FAILED) {
        if (found !== null) this.hits += 1;
        if (found !== null && found !== String(n)) this.wrong.push(`${key}: ${found} after ${n} was set`);
      }
      if (n % 5 === 0 && (await this.#told(`DEL ${key}`, () => this.#caller.del(key))) !== FAILED) {
        const gone = await this.#told(`GET ${key}`, () => this.#caller.get(key));
        if (gone !== null && gone !== FAILED) this.wrong.push(`${key}: ${gone} after it was deleted`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  async #told<T>(what: string, ask: () => Promise<T>): Promise<T | typeof FAILED> {
    this.asked += 1;
    try {
      return await ask();
    } catch (error) {
      // node-redis throws away what is under way to a member that is no longer on its map: its own doing.
      if (String(error).includes('Disconnects client')) return FAILED;
      this.errors.push(`${this.#caller.name}: ${what}: ${error}`);
      return FAILED;
    }
  }
}
const FAILED = Symbol('failed');

function plainRedis(port: number, name: string): Caller {
  const redis = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: 0 });
  closers.push(() => redis.disconnect());
  return {
    name,
    get: (key) => redis.get(key),
    set: (key, value) => redis.set(key, value),
    del: (key) => redis.del(key),
  };
}

async function callers(): Promise<Caller[]> {
  const ioredis = new Cluster([{ host: '127.0.0.1', port: members[0]!.respPort }]);
  ioredis.on('error', () => {});
  closers.push(() => ioredis.disconnect());
  // Asked to go elsewhere, it asks some member for the whole map, which may be a heartbeat behind, and begins anew; sixteen times at most unless told otherwise, and heartbeats are eight times as long here.
  const redis = createCluster({
    rootNodes: [{ url: `redis://127.0.0.1:${members[0]!.respPort}` }],
    maxCommandRedirections: 1000,
  });
  redis.on('error', () => {});
  await redis.connect();
  closers.push(() => redis.destroy());
  const glide = await GlideClusterClient.createClient({
    addresses: [{ host: '127.0.0.1', port: members[0]!.respPort }],
    requestTimeout: 60_000,
  });
  closers.push(() => glide.close());
  const plain = createClient({ url: `redis://127.0.0.1:${members[0]!.proxyPort}` });
  await plain.connect();
  closers.push(() => plain.destroy());
  const http = `http://127.0.0.1:${members[0]!.httpPort}/cache/`;
  const ask = async (key: string, method: string, body?: unknown): Promise<Response> => {
    const response = await fetch(http + key, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    if (!response.ok && response.status !== 404) throw new Error(`${response.status} ${await response.text()}`);
    return response;
  };
  const bw = createBreakwater({
    store: `breakwater://127.0.0.1:${members[0]!.respPort}`,
    readTimeout: '30s',
    writeTimeout: '30s',
  });
  closers.push(() => bw.close());
  // What it does not find is nowhere.
  const cache = bw.cache<string>('library', { ttl: '10m', load: async (ids) => ids.map(() => null) });
  return [
    {
      name: 'ioredis cluster',
      get: (key) => ioredis.get(key),
      set: (key, value) => ioredis.set(key, value),
      del: (key) => ioredis.del(key),
    },
    {
      name: 'node-redis cluster',
      get: async (key) => (await redis.get(key)) as string | null,
      set: (key, value) => redis.set(key, value),
      del: (key) => redis.del(key),
    },
    {
      name: 'glide cluster',
      get: async (key) => (await glide.get(key)) as string | null,
      set: (key, value) => glide.set(key, value),
      del: (key) => glide.del([key]),
    },
    {
      name: 'plain node-redis',
      get: async (key) => (await plain.get(key)) as string | null,
      set: (key, value) => plain.set(key, value),
      del: (key) => plain.del(key),
    },
    plainRedis(members[2]!.proxyPort!, 'plain ioredis'),
    {
      name: 'HTTP',
      get: async (key) => {
        const response = await ask(key, 'GET');
        const body = (await response.json()) as { readonly value?: string };
        return response.status === 404 ? null : (body.value ?? null);
      },
      set: (key, value) => ask(key, 'PUT', { value }),
      del: (key) => ask(key, 'DELETE'),
    },
    {
      name: 'library',
      get: async (key) => (await cache.get(key)) ?? null,
      set: (key, value) => cache.set(key, value),
      del: (key) => cache.delete(key),
    },
  ];
}

const ownedBy = (n: number): number => members[n]!.member!.machine.ownedCount;

test(
  'a member is drained and taken back under load, twice: no client is told an error, and none reads what is gone',
  TIMEOUT,
  async () => {
    const traffic = (await callers()).map((caller) => new Traffic(caller));
    // The one that the plain clients are not connected to, and one that they are.
    for (const victim of [1, 2]) {
      const before = ownedBy(victim);
      assert.ok(before > 0);
      members[victim]!.member!.machine.guard.member.drain(true);
      await eventually(
        () => ownedBy(victim) === 0,
        () => `member ${victim} owns ${ownedBy(victim)}`,
      );
      members[victim]!.member!.machine.guard.member.drain(false);
      await eventually(
        () => {
          for (const { member } of members) member!.machine.guard.member.rebalance();
          return ownedBy(victim) === before;
        },
        () => `member ${victim} owns ${ownedBy(victim)} of ${before}`,
      );
    }
    for (const each of traffic) each.isStopped = true;
    await Promise.all(traffic.map(({ done }) => done));
    assert.deepEqual(
      traffic.flatMap(({ errors }) => errors),
      [],
    );
    assert.deepEqual(
      traffic.flatMap(({ wrong }) => wrong),
      [],
    );
    for (const { hits, asked } of traffic) assert.ok(hits > 0 && asked > 0);
    const handOvers = members.map(({ member }) => member!.handOvers);
    assert.ok(handOvers.every(({ count }) => count > 0));
  },
);

test('three members join under load: no client is told an error, and none reads what is gone', TIMEOUT, async () => {
  const traffic = (await callers()).map((caller) => new Traffic(caller));
  await eventually(
    () => traffic.every(({ hits }) => hits > 0),
    () => 'everybody reads what was written',
  );
  const ports = await freePorts(12);
  const joined = await Promise.all([0, 1, 2].map((n) => start(ports.slice(4 * n, 4 * n + 4))));
  closers.push(() => Promise.all(joined.map((member) => member.close({ isLeaving: false }))));
  const all = [...members, ...joined];
  await eventually(
    () => {
      for (const { member } of members) member!.machine.guard.member.rebalance();
      return joined.every(({ member }) => member!.machine.ownedCount >= Math.floor(RANGES / 6));
    },
    () => `they own ${all.map(({ member }) => member!.machine.ownedCount)}`,
    240_000,
  );
  for (const each of traffic) each.isStopped = true;
  await Promise.all(traffic.map(({ done }) => done));
  assert.deepEqual(
    traffic.flatMap(({ errors, wrong }) => [...errors, ...wrong]),
    [],
  );
  for (const { hits, asked } of traffic) assert.ok(hits > 0 && asked > 0);
});

test(
  'a member leaves under load: clients that follow the map, and those of other members, are told no error',
  TIMEOUT,
  async () => {
    const traffic = (await callers()).map((caller) => new Traffic(caller));
    await eventually(
      () => traffic.every(({ hits }) => hits > 0),
      () => 'everybody reads what was written',
    );
    assert.ok(ownedBy(1) > 0);
    await members[1]!.close();
    await eventually(
      () =>
        [0, 2].every((n) =>
          members[n]!.member!.machine.core.views.chosen.every(
            ({ owner }) => owner !== members[1]!.member!.config.setup.self,
          ),
        ),
      () => 'the others own everything',
    );
    for (const each of traffic) each.isStopped = true;
    await Promise.all(traffic.map(({ done }) => done));
    assert.deepEqual(
      traffic.flatMap(({ errors, wrong }) => [...errors, ...wrong]),
      [],
    );
  },
);
