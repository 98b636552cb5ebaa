/**
 * The processes of the bench of changes, by role; told what to do by messages, and measured by their own clocks, which are one clock on one machine.
 *
 *   consumer   follows the changes, one of several
 *   reader     has every row in its L1, and notes when an older one left it. Follows nothing: it hears of changes only through the node's feed
 *   writer     says `write`, commits, and is killed before it can invalidate
 */
import { createBreakwater } from '../../src/cache/index.ts';
import { importPg } from '../../src/cli/demo/postgres.ts';
import { postgresChanges } from '../../src/sources/postgres.ts';

const [role, store, connection, replication, rows] = process.argv.slice(2) as [
  string,
  `breakwater://${string}`,
  string,
  string,
  string,
];
const now = (): number => performance.timeOrigin + performance.now();
const pg = await importPg();
const pool = new pg.Pool({ ...(JSON.parse(connection) as object), max: 4 });
pool.on('error', () => {});

const bw = createBreakwater({ store, advice: false });
const products = bw.cache<number>('product', {
  l1: { maxEntries: 100_000 },
  ttl: '1h',
  loadTimeout: '10s',
  load: async (ids) => {
    const { rows: found } = await pool.query('SELECT id::text, n FROM product WHERE id = ANY($1::bigint[])', [ids]);
    return new Map(found.map(({ id, n }: { id: string; n: number }) => [id, n]));
  },
});
const send = (message: object): void => {
  process.send?.(message);
};
const say = (name: string, more: object = {}): void => send({ name, ...more });

if (role === 'consumer') {
  const following = bw.follow(
    postgresChanges({
      connection: JSON.parse(replication) as object as Record<string, unknown>,
      tables: { product: { columns: ['id'], keys: (row) => [`product:${row['id']}`], namespaces: ['product'] } },
    }),
  );
  await following.ready;
  say('ready');
  setInterval(() => say('stats', { stats: following.stats() }), 200);
} else if (role === 'reader') {
  const ids = Array.from({ length: Number(rows) }, (_, i) => String(i + 1));
  /** What L1 was last seen with, by id. */
  const has = new Map<string, number>();
  let seen: [id: string, n: number, atMs: number][] = [];
  let isLooking = false;
  const reload = (id: string, goneMs: number): void => {
    has.delete(id);
    products.get(id).then(
      (n) => {
        has.set(id, n ?? -1);
        seen.push([id, n ?? -1, goneMs]);
      },
      () => setTimeout(() => reload(id, goneMs), 20),
    );
  };
  const look = (): void => {
    const atMs = now();
    for (const [id, n] of has) {
      const found = products.peek(id);
      if (found !== n) reload(id, atMs);
    }
    if (isLooking) setTimeout(look, 1);
  };
  process.on('message', async ({ name, id }: { name: string; id?: string }) => {
    if (name === 'begin') {
      const all = await products.getMany(ids);
      for (const [one, n] of all) has.set(one, n ?? -1);
      seen = [];
      isLooking = true;
      look();
      say('begun');
    } else if (name === 'take') {
      const taken = seen;
      seen = [];
      say('seen', { seen: taken });
    } else if (name === 'compare') {
      // What a caller would be given now, from L1 or L2, by id.
      const given = await products.getMany(ids).catch(() => null);
      say('given', { given: given === null ? null : [...given] });
    } else if (name === 'value') say('value', { value: await products.get(id!).catch(() => null) });
  });
  say('ready');
} else {
  process.on('message', ({ id }: { id: string }) => {
    void products.write(id, async () => {
      await pool.query('UPDATE product SET n = n + 1 WHERE id = $1', [id]);
      // Committed, and nobody has been told.
      process.kill(process.pid, 'SIGKILL');
    });
  });
  await pool.query('SELECT 1');
  say('ready');
}
