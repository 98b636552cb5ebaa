/**
 * Policy `through` over a real redis-server and over a node: the row that was written is in the cache, in every process, unless anything crossed the write; and whatever crosses it, who asks after
 * an acknowledgement never sees an older row.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BreakwaterError } from '../../src/base/errors.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { type Breakwater, type BreakwaterOptions, type Cache, createBreakwater } from '../../src/cache/index.ts';
import { RespClient } from '../../src/client/client.ts';
import { startTestNode } from '../../src/testing/index.ts';
import { OrderedTable, type Row, until } from '../support/ordered-table.ts';
import { RedisServer } from '../support/redis-server.ts';
import { requires } from '../support/requirements.ts';

const PATIENT = { staleness: 1_000, readTimeout: '2m', writeTimeout: '2m' } as const;
const endings: (() => unknown)[] = [];
let names = 0;
after(async () => {
  for (const end of endings.reverse()) await end();
});

interface Server {
  readonly url: string;
  readonly port: number;
  close(): unknown;
}

const SERVERS: readonly [name: string, needs: { skip: string | false }, start: () => Promise<Server>][] = [
  [
    'Redis',
    requires('redis-server'),
    async () => {
      const server = await RedisServer.start();
      return { url: `redis://127.0.0.1:${server.port}`, port: server.port, close: () => server.close() };
    },
  ],
  ['a node', { skip: false }, startTestNode],
];

for (const [kind, needs, start] of SERVERS)
  describe(`write-through over ${kind}`, needs, () => {
    let server: Server;
    let raw: RespClient;
    const open = (): Breakwater => {
      const options = { store: server.url, ...PATIENT, advice: false } as BreakwaterOptions;
      const bw = createBreakwater(options);
      endings.push(() => bw.close());
      return bw;
    };
    before(async () => {
      server = await start();
      raw = new RespClient({ port: server.port, commandTimeoutMs: 60_000 });
      endings.push(
        () => server.close(),
        () => raw.close({ drain: false }),
      );
    });

    test('the row is in the cache, as the database has it, in every process; a deletion is', async () => {
      const table = new OrderedTable();
      const name = newName();
      const [a, b] = [open(), open()];
      const inA = rowsOf(a, name, table);
      const inB = rowsOf(b, name, table, { l1: {} });
      table.rows.set('1', { n: 0 });
      await until(async () => (await inB.getDetailed('1')).from === 'l1');
      table.loaded = [];
      for (let n = 1; n <= 20; n += 1) {
        const { token } = await inA.write('1', { n });
        assert.deepEqual(await inA.get('1'), { n });
        // Its L1 is told; and who has the token does not wait for that.
        if (n % 2 === 0) assert.deepEqual(await inB.get('1', { after: token }), { n });
        await until(async () => (await inB.get('1'))?.n === n && (await inB.getDetailed('1')).from === 'l1');
      }
      assert.deepEqual(table.loaded, [], 'nobody had to load');
      await inA.writeMany(
        new Map([
          ['1', null],
          ['2', { n: 2 }],
          ['3', { n: 3 }],
        ]),
      );
      assert.deepEqual([await inA.get('2'), await inA.get('3'), table.loaded], [{ n: 2 }, { n: 3 }, []]);
      assert.equal(await inA.get('1'), null);
      await until(async () => (await inB.get('1')) === null);
    });

    test('what crosses the write keeps it out: a delete, a tag, a namespace, another client, a server that forgot its scripts or everything', async () => {
      const crossings: readonly [
        string,
        (bw: Breakwater, rows: Cache<string, Row>, key: string) => Promise<unknown>,
      ][] = [
        ['delete', (_, rows) => rows.delete('1')],
        ['tag', (bw) => bw.invalidate({ tags: ['tag-1'] })],
        ['namespace', (bw, rows) => bw.invalidate({ namespaces: [rows.name] })],
        ['DEL', (_bw, _rows, key) => raw.command(['DEL', key])],
        ['SET', (_bw, _rows, key) => raw.command(['SET', key, 'x'])],
        ['FLUSHALL', () => raw.command(['FLUSHALL'])],
      ];
      for (const [what, cross] of crossings) {
        for (const isThere of [false, true]) {
          const table = new OrderedTable();
          const name = newName();
          const [a, b] = [open(), open()];
          const inA = rowsOf(a, name, table);
          const inB = rowsOf(b, name, table);
          if (isThere) await inA.get('1');
          const committed = afterCommit(table);
          const writing = inA.write('1', { n: 1 });
          await until(() => committed.count === 1);
          // In SQL, and told by somebody else.
          table.rows.set('1', { n: 2 });
          await cross(b, inB, `${name}:1`);
          committed.go();
          await writing;
          assert.deepEqual([await inA.get('1'), await inB.get('1')], [{ n: 2 }, { n: 2 }], `${what}, ${isThere}`);
        }
      }
    });

    test('a write whose store is away is told so, and is in the database; refused, nothing is shown', async () => {
      const table = new OrderedTable();
      const own = await start();
      const options = { store: own.url, readTimeout: '1s', writeTimeout: '1s', advice: false };
      const bw = createBreakwater(options as BreakwaterOptions);
      endings.push(() => bw.close());
      const rows = rowsOf(bw, newName(), table);
      await rows.write('1', { n: 1 });
      table.isGood = (_, row) => row === null || row.n < 10;
      await assert.rejects(rows.write('1', { n: 10 }), { code: 'SOURCE_REFUSED' });
      assert.deepEqual(await rows.get('1'), { n: 1 });
      await own.close();
      await assert.rejects(rows.write('1', { n: 2 }), { code: 'CACHE_INVALIDATION_UNACKNOWLEDGED' });
      assert.deepEqual([table.rows.get('1'), await rows.get('1')], [{ n: 2 }, { n: 2 }]);
    });

    test('a random mix of writers through, of SQL that is told later, of readers: nothing older than what was acknowledged', async () => {
      const random = new SeededRandom(20_261_121);
      const below = (bound: number): number => Math.floor(random.nextFloat() * bound);
      const table = new OrderedTable();
      const name = newName();
      const all = [open(), open(), open()];
      const caches = all.map((bw, index) => rowsOf(bw, name, table, index === 2 ? { l1: {} } : {}));
      const ids = ['1', '2', '3'];
      /** What was acknowledged, and a token of then. */
      const bound = new Map(ids.map((id) => [id, { n: 0, token: '' }]));
      const counts = { through: 0, sql: 0, reads: 0, fromStore: 0, failed: 0 };
      let commits = 0;
      const pause = (): Promise<unknown> =>
        below(3) === 0 ? new Promise((resolve) => setTimeout(resolve, below(4))) : Promise.resolve();
      (table.source as { load: unknown }).load = async (asked: readonly string[]) => {
        await pause();
        const found = asked.map((id) => table.rows.get(id) ?? null);
        await pause();
        return found;
      };
      (table.source.sink as { write: unknown }).write = async (changes: ReadonlyMap<string, Row>) => {
        await pause();
        const rows = new Map(Array.from(changes, ([id, { n }]) => [id, commit(id, n)]));
        await pause();
        return rows;
      };
      /** By what was sent, what it was committed as. */
      const committed = new Map<number, number>();
      const commit = (id: string, sent: number): Row => {
        commits += 1;
        committed.set(sent, commits);
        table.rows.set(id, { n: commits });
        return { n: commits };
      };
      const acknowledged = (id: string, n: number, token: string): void => {
        if (bound.get(id)!.n < n) bound.set(id, { n, token });
      };
      /** A call that fails, on a machine that stood still for minutes, promises nothing. */
      const step = (): Promise<void> =>
        tried().catch((error: unknown) => {
          if (!(error instanceof BreakwaterError)) throw error;
          counts.failed += 1;
        });
      const tried = async (): Promise<void> => {
        const id = ids[below(ids.length)]!;
        const at = below(caches.length);
        const cache = caches[at]!;
        const kind = below(10);
        if (kind < 2) {
          counts.through += 1;
          const sent = counts.through;
          const { token } = await cache.write(id, { n: sent });
          acknowledged(id, committed.get(sent)!, token);
        } else if (kind === 2) {
          counts.sql += 1;
          const { n } = commit(id, -1);
          await pause();
          const { result, token } = await cache.write(id, () => n);
          acknowledged(id, result, token);
        } else {
          counts.reads += 1;
          const { n, token } = bound.get(id)!;
          const asked = cache === caches[2] && token !== '' ? { after: token } : {};
          const { value, from } = await cache.getDetailed(id, asked);
          if (from === 'l2') counts.fromStore += 1;
          assert.ok((value?.n ?? 0) >= n, `${id} was ${value?.n} from ${from} when ${n} was acknowledged`);
        }
      };
      for (let round = 0; round < 150; round += 1) await Promise.all(Array.from({ length: 12 }, step));
      for (const id of ids) {
        for (const cache of caches.slice(0, 2)) assert.deepEqual(await cache.get(id), table.rows.get(id), id);
        await until(async () => (await caches[2]!.get(id))?.n === table.rows.get(id)?.n);
      }
      assert.ok(counts.through > 200 && counts.sql > 100 && counts.fromStore > 0, JSON.stringify(counts));
    });
  });

function newName(): string {
  names += 1;
  return `through-${names}`;
}

function rowsOf(bw: Breakwater, name: string, table: OrderedTable, more: { readonly l1?: object } = {}) {
  return bw.cache<Row>(name, {
    source: table.source,
    policy: 'through',
    guard: { breaker: false, queueTimeout: '2m' },
    loadTimeout: '2m',
    tags: (_, id) => [`tag-${id}`],
    ...more,
  }) as unknown as Cache<string, Row>;
}

/** Writes have committed, and hear of it only with `go`. */
function afterCommit(table: OrderedTable): { count: number; go(): void } {
  const { write } = table.source.sink;
  const gate = { count: 0, go: () => {} };
  const opened = new Promise<void>((resolve) => {
    gate.go = resolve;
  });
  (table.source.sink as { write: typeof write }).write = async (changes, call) => {
    const written = await write!(changes, call);
    gate.count += 1;
    await opened;
    return written;
  };
  return gate;
}
