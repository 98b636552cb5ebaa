/**
 * Rings whose servers are cut off from some clients and not from others, which is where client-side rings go wrong: two redis-servers
 * and more, a proxy between each client and each server.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { SeededRandom } from '../../src/base/random.ts';
import { createBreakwater } from '../../src/cache/create.ts';
import type { Breakwater, Cache } from '../../src/cache/index.ts';
import type { RingFace } from '../../src/cache/ring.ts';
import { RespClient } from '../../src/client/client.ts';
import { placement } from '../../src/stores/ring/placement.ts';
import { FaultProxy } from '../support/fault-proxy.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

const MIX_MS = 4_000;

/** Of a fleet: how long its clients wait. Short ones cost little where servers are cut off; long ones are not mistaken for that on a slow machine. */
interface Patience {
  readonly readTimeout: `${number}ms`;
  readonly writeTimeout: `${number}ms`;
  /** Also of a server that is silent. */
  readonly connectTimeout: `${number}ms`;
}
/** Where servers refuse, and nothing is waited for. */
const PATIENT: Patience = { readTimeout: '20000ms', writeTimeout: '20000ms', connectTimeout: '20000ms' };
/** Where servers are silent, which costs the time: half a second of it each time. */
const SHORT: Patience = { readTimeout: '500ms', writeTimeout: '500ms', connectTimeout: '500ms' };
/** Where what is cut off is waited for many times over, and no single call has to succeed. */
const HASTY: Patience = { readTimeout: '100ms', writeTimeout: '300ms', connectTimeout: '300ms' };

interface Client {
  readonly bw: Breakwater;
  readonly rows: Cache<string, { n: number }>;
  /** Between this client and each server. */
  readonly links: readonly FaultProxy[];
}

/** Servers by name `s0`, `s1`, ..., clients with links of their own, one truth. */
class Fleet {
  readonly servers: RedisServer[] = [];
  readonly clients: Client[] = [];
  readonly truth = new Map<string, number>();
  readonly #patience: Patience;

  private constructor(patience: Patience) {
    this.#patience = patience;
  }

  static async start(servers: number, patience = PATIENT): Promise<Fleet> {
    const fleet = new Fleet(patience);
    for (let i = 0; i < servers; i += 1) fleet.servers.push(await RedisServer.start());
    return fleet;
  }

  async join(
    face: Omit<RingFace, 'ring' | 'also'> & { ring?: readonly number[]; also?: readonly number[] } = {},
  ): Promise<Client> {
    const links = await Promise.all(this.servers.map(({ port }) => FaultProxy.start({ host: '127.0.0.1', port })));
    const { ring, also, ...rest } = face;
    const { readTimeout, writeTimeout, connectTimeout } = this.#patience;
    const named = (list: readonly number[]) =>
      list.map((index) => ({ url: urlOf(links[index]!, connectTimeout), name: `s${index}` }));
    const listed = named(ring ?? links.map((_, index) => index));
    const bw = createBreakwater({
      store: { ...rest, ring: listed, ...(also !== undefined && { also: named(also) }) },
      readTimeout,
      writeTimeout,
      defaults: { jitter: 0 },
      advice: false,
    } as Parameters<typeof createBreakwater>[0]);
    const rows = bw.cache<{ n: number }>('row', {
      load: async (ids) => ids.map((id) => ({ n: this.truth.get(id) ?? 0 })),
      ttl: '10m',
      l1: false,
      leaseWait: '200ms',
    });
    const client = { bw, rows, links };
    this.clients.push(client);
    return client;
  }

  async close(): Promise<void> {
    for (const { links } of this.clients) for (const link of links) link.heal();
    await Promise.all(this.clients.map(({ bw }) => bw.close()));
    await Promise.all(this.clients.flatMap(({ links }) => links.map((link) => link.close())));
    await Promise.all(this.servers.map((server) => server.close()));
  }
}

/** An id whose home is server `home` and whose gutter is server `gutter`, in a ring of so many. */
function idAt(home: number, gutter: number, servers: number, list?: readonly number[]): string {
  const indices = list ?? Array.from({ length: servers }, (_, index) => index);
  const place = placement(
    indices.map((index) => ({ name: `s${index}`, weight: 1 })),
    indices,
    'ketama',
    true,
  );
  for (let n = 0; ; n += 1) {
    const places = place(`row:${n}`);
    if (places.home === home && places.gutter === gutter) return `${n}`;
  }
}

function urlOf(link: FaultProxy, patience: string): `redis://${string}` {
  return `redis://127.0.0.1:${link.port}?hangTimeout=${patience}&connectTimeout=${patience}`;
}

const cutOff = (link: FaultProxy): void => {
  link.refuse();
  link.reset();
};

/** Polls what only real servers can bring about. */
async function until(isTrue: () => Promise<boolean> | boolean, what: string): Promise<void> {
  const endMs = performance.now() + 60_000;
  while (!(await isTrue())) {
    if (performance.now() > endMs) assert.fail(`did not come about: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

async function number(client: Client, name: string): Promise<number> {
  return (await client.bw.stats()).store.numbers?.[name] ?? 0;
}

async function isDown(client: Client, id: string): Promise<void> {
  await until(async () => {
    await client.rows.get(id);
    return (await number(client, 'ringServersDown')) === 1;
  }, 'the client takes the server for down');
}

describe('a ring under faults', { ...requires('redis-server'), concurrency: false, timeout: 480_000 }, () => {
  test('a server that one client cannot reach: its gutter serves, an invalidation by the other client reaches both', async () => {
    const fleet = await Fleet.start(3);
    try {
      const [a, b] = [await fleet.join(), await fleet.join()];
      const id = idAt(0, 1, 3);
      fleet.truth.set(id, 1);
      assert.equal((await b.rows.get(id))?.n, 1);
      cutOff(a.links[0]!);
      await isDown(a, id);
      await until(async () => (await a.rows.getDetailed(id)).from === 'l2', 'the gutter has it');
      assert.ok((await number(a, 'ringGutterReads')) > 0);
      fleet.truth.set(id, 2);
      await b.rows.delete(id);
      assert.equal((await a.rows.get(id))?.n, 2, 'the gutter was told too');
      assert.equal((await b.rows.get(id))?.n, 2);
    } finally {
      await fleet.close();
    }
  });

  test('an invalidation that the home did not hear is rejected, kept, and the server readmitted when it was told', async () => {
    const fleet = await Fleet.start(3);
    try {
      const [a, b] = [await fleet.join(), await fleet.join()];
      const id = idAt(0, 1, 3);
      fleet.truth.set(id, 1);
      await until(async () => (await b.rows.getDetailed(id)).from === 'l2', 'stored at home');
      cutOff(a.links[0]!);
      await isDown(a, id);
      fleet.truth.set(id, 2);
      await assert.rejects(a.rows.delete(id), { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED', queued: true });
      assert.equal((await a.bw.stats()).outbox?.keys, 1, 'for the home alone');
      assert.equal((await a.rows.get(id))?.n, 2);
      assert.equal((await b.rows.get(id))?.n, 1, 'b was promised nothing yet');
      a.links[0]!.heal();
      await until(async () => {
        await a.rows.get(id);
        return (await number(a, 'ringServersReadmitted')) === 1;
      }, 'readmitted');
      assert.equal((await a.bw.stats()).outbox?.length, 0);
      assert.equal((await b.rows.get(id))?.n, 2, 'told');
      assert.equal((await a.rows.get(id))?.n, 2);
    } finally {
      await fleet.close();
    }
  });

  test('tags and namespaces go to every server; one that does not answer makes them unacknowledged', async () => {
    const fleet = await Fleet.start(2, SHORT);
    try {
      const a = await fleet.join();
      await until(
        () =>
          a.bw.invalidate({ tags: ['t'], namespaces: ['row'] }).then(
            () => true,
            () => false,
          ),
        'both acknowledge',
      );
      await until(async () => (await a.bw.stats()).outbox?.length === 0, 'nothing is left over');
      a.links[1]!.blackhole();
      await assert.rejects(a.bw.invalidate({ tags: ['t'] }), { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED' });
      a.links[1]!.heal();
      await until(async () => (await a.bw.stats()).outbox?.length === 0, 'retried');
    } finally {
      await fleet.close();
    }
  });

  test('what is loaded into a gutter lives gutterTtl at most; without a gutter nothing is stored', async () => {
    const fleet = await Fleet.start(2);
    try {
      const [a, none] = [await fleet.join({ gutterTtl: '5m' }), await fleet.join({ gutterTtl: 0 })];
      const id = idAt(0, 1, 2);
      for (const client of [a, none]) {
        cutOff(client.links[0]!);
        await isDown(client, id);
      }
      const raw = new RespClient({ port: fleet.servers[1]!.port, commandTimeoutMs: 60_000 });
      await until(async () => (await a.rows.getDetailed(id)).from === 'l2', 'stored at the gutter');
      const left = Number(await raw.command(['PTTL', `row:${id}`]));
      assert.ok(left > 0 && left <= 300_000, `lives ${left} ms`);
      await a.rows.delete(id).catch(() => undefined);
      await none.rows.get(id);
      await none.rows.get(id);
      assert.equal(await raw.command(['EXISTS', `row:${id}`]), 0);
      assert.equal((await none.rows.getDetailed(id)).from, 'loader');
      await raw.close({ drain: false });
    } finally {
      await fleet.close();
    }
  });

  test('a server that hangs costs three calls their deadline, be they reads or deletes; then the gutter is read', async () => {
    const fleet = await Fleet.start(2, SHORT);
    try {
      const [reads, writes] = [await fleet.join(), await fleet.join()];
      const id = idAt(0, 1, 2);
      for (const { rows } of [reads, writes]) {
        await until(async () => (await rows.getDetailed(id)).from === 'l2', 'the home answers');
      }
      /** Of a slow machine; the last call succeeded, so none of them counts towards "down". */
      const before = { reads: await number(reads, 'ringReadErrors'), writes: await number(writes, 'ringReadErrors') };
      for (const { links } of [reads, writes]) links[0]!.blackhole();
      for (let n = 0; n < 3; n += 1) {
        assert.equal(await number(reads, 'ringServersDown'), 0, `after ${n} reads`);
        await reads.rows.get(id);
      }
      assert.equal((await number(reads, 'ringReadErrors')) - before.reads, 3);
      assert.equal(await number(reads, 'ringServersDown'), 1);
      assert.equal(await number(reads, 'ringGutterReads'), 0);
      await reads.rows.get(id);
      assert.equal(await number(reads, 'ringGutterReads'), 1);
      for (let n = 0; n < 3; n += 1) await assert.rejects(writes.rows.delete(id), { queued: true });
      assert.equal(await number(writes, 'ringServersDown'), 1, 'deletes tell as well');
      assert.equal(await number(writes, 'ringReadErrors'), before.writes);
    } finally {
      await fleet.close();
    }
  });

  test('no error shows a password', () => {
    const url = 'redis://user:secret@127.0.0.1:1';
    const rings: unknown[] = [
      url,
      [url],
      [url, url],
      [url, { url, weight: 0 }],
      [url, `${url},b:2`],
      [url, `${url}/7`],
    ];
    for (const store of [...rings.map((ring) => ({ ring })), { ring: [url, 'redis://b:2'], also: url }]) {
      assert.throws(
        () => createBreakwater({ store } as Parameters<typeof createBreakwater>[0]),
        (error: Error) => /^cannot /.test(error.message) && !error.message.includes('secret'),
      );
    }
  });

  test('an outbox on disk: a directory in it for each server', async () => {
    const directory = await mkdtemp(join(tmpdir(), 'breakwater-ring-'));
    const store: RingFace = { ring: [{ url: 'redis://127.0.0.1:1', name: 'a/b' }, 'redis://127.0.0.1:2'] };
    const first = createBreakwater({ store, outbox: { directory }, writeTimeout: '100ms', advice: false });
    try {
      const rows = first.cache<number>('row', { load: async (ids) => ids.map(() => 1), ttl: '1m', l1: false });
      await assert.rejects(rows.delete('1'), { queued: true });
      assert.deepEqual((await first.close()).unacknowledged.keys, ['row:1']);
      assert.deepEqual((await readdir(directory)).sort(), ['127.0.0.1%3A2', 'a%2Fb']);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test('a set while the home is away: an invalidation, not acknowledged until the home has it', async () => {
    const fleet = await Fleet.start(2);
    try {
      const a = await fleet.join();
      const id = idAt(0, 1, 2);
      cutOff(a.links[0]!);
      await isDown(a, id);
      fleet.truth.set(id, 7);
      await assert.rejects(a.rows.set(id, { n: 7 }), { code: 'CACHE_WRITE_UNACKNOWLEDGED', queued: true });
      assert.equal((await a.rows.get(id))?.n, 7);
    } finally {
      await fleet.close();
    }
  });

  test('readmit: flush throws away what the returning server kept through other clients’ changes', async () => {
    const fleet = await Fleet.start(2, SHORT);
    try {
      const [a, b] = [await fleet.join({ readmit: 'flush' }), await fleet.join({ readmit: 'flush' })];
      const id = idAt(0, 1, 2);
      fleet.truth.set(id, 1);
      await until(async () => (await a.rows.getDetailed(id)).from === 'l2', 'stored at home');
      for (const { links } of [a, b]) cutOff(links[0]!);
      await isDown(a, id);
      fleet.truth.set(id, 2);
      await assert.rejects(b.rows.delete(id), { queued: true });
      // The one that knew of it is gone for ever, its outbox with it.
      await b.bw.close();
      a.links[0]!.heal();
      await until(async () => {
        await a.rows.get(id);
        return (await number(a, 'ringServersReadmitted')) === 1;
      }, 'readmitted');
      assert.equal((await a.rows.get(id))?.n, 2);
    } finally {
      await fleet.close();
    }
  });

  test('while the list grows, `also` keeps both halves of the fleet right', async () => {
    const fleet = await Fleet.start(3);
    try {
      const old = await fleet.join({ ring: [0, 1], also: [0, 1, 2] });
      const grown = await fleet.join({ ring: [0, 1, 2], also: [0, 1] });
      // A key that moves to the new server.
      let id = '';
      for (let n = 0; id === ''; n += 1) {
        if (idAtIs(`${n}`, [0, 1]) !== 2 && idAtIs(`${n}`, [0, 1, 2]) === 2) id = `${n}`;
      }
      fleet.truth.set(id, 1);
      assert.equal((await old.rows.get(id))?.n, 1);
      assert.equal((await grown.rows.get(id))?.n, 1);
      fleet.truth.set(id, 2);
      await old.rows.delete(id);
      assert.equal((await grown.rows.get(id))?.n, 2);
      fleet.truth.set(id, 3);
      await grown.rows.delete(id);
      assert.equal((await old.rows.get(id))?.n, 3);
    } finally {
      await fleet.close();
    }
  });

  test('a random mix with links cut and healed: nothing that was acknowledged is undone, nothing stays stale', async () => {
    const fleet = await Fleet.start(3, HASTY);
    try {
      const clients = [await fleet.join(), await fleet.join(), await fleet.join()];
      const random = new SeededRandom(11);
      const ids = Array.from({ length: 24 }, (_, index) => `${index}`);
      /** The newest value whose invalidation was acknowledged. */
      const acknowledged = new Map<string, number>();
      let next = 1;
      let wrong = 0;
      let rejected = 0;
      let reads = 0;
      const act = async (client: Client): Promise<void> => {
        const id = ids[Math.floor(random.nextFloat() * ids.length)]!;
        if (random.nextFloat() < 0.3) {
          const n = next++;
          fleet.truth.set(id, n);
          try {
            await client.rows.delete(id);
            acknowledged.set(id, Math.max(n, acknowledged.get(id) ?? 0));
          } catch {
            rejected += 1;
          }
          return;
        }
        const least = acknowledged.get(id) ?? 0;
        const got = (await client.rows.get(id))?.n ?? 0;
        reads += 1;
        if (got < least) wrong += 1;
      };
      // Long enough to be cut off, judged down, healed and readmitted several times over; not longer, however slow the machine is.
      const endMs = performance.now() + MIX_MS;
      for (let round = 0; round < 8 || (round < 30 && performance.now() < endMs); round += 1) {
        const victim = clients[Math.floor(random.nextFloat() * 3)]!.links[Math.floor(random.nextFloat() * 3)]!;
        if (round % 2 === 1) for (const { links } of clients) for (const link of links) link.heal();
        else if (random.nextFloat() < 0.5) victim.blackhole();
        else cutOff(victim);
        await Promise.all(
          clients
            .flatMap((client) => [client, client, client, client])
            .map(async (client) => {
              for (let i = 0; i < 15; i += 1) await act(client);
            }),
        );
      }
      assert.equal(wrong, 0, `of ${reads} reads`);
      assert.ok(rejected > 0, 'the faults were felt');
      const gutterReads = await Promise.all(clients.map((client) => number(client, 'ringGutterReads')));
      assert.ok(
        gutterReads.some((count) => count > 0),
        'gutters served',
      );
      for (const { links } of clients) for (const link of links) link.heal();
      await until(async () => {
        for (const client of clients) {
          await Promise.all(ids.map((id) => client.rows.get(id)));
          const { outbox, store } = await client.bw.stats();
          if ((outbox?.length ?? 0) > 0 || (store.numbers?.['ringServersDown'] ?? 0) > 0) return false;
        }
        return true;
      }, 'all is told and readmitted');
      for (const client of clients) {
        for (const id of ids) assert.equal((await client.rows.get(id))?.n, fleet.truth.get(id) ?? 0, `row ${id}`);
      }
    } finally {
      await fleet.close();
    }
  });
});

function idAtIs(id: string, list: readonly number[]): number {
  return placement(
    list.map((index) => ({ name: `s${index}`, weight: 1 })),
    list,
    'ketama',
    true,
  )(`row:${id}`).home;
}
