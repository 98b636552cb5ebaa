/**
 * One of the application's three processes in the scenes in which rows change:
 *
 *   GET /products/42             from the cache
 *   PUT /products/42?stock=1001  changes the row through the cache: the database first, then the invalidation. 200 when that was acknowledged; 202 when the row is changed and the
 *                                invalidation waits in the outbox; 503 when nobody knows whether the row is changed
 *   GET /counts                  what this process has invalidated, and why
 *
 * Each has live objects of its own (L1), kept right by the node's feed within 250 ms. All follow the database's changes, and one of them at a time reads them.
 */
import type { ServerResponse } from 'node:http';
import { BreakwaterError, createBreakwater } from '../../cache/index.ts';
import { postgresChanges } from '../../sources/postgres.ts';
import { listenAsChild, send, tell } from './child-server.ts';
import { importPg } from './postgres.ts';
import { type Product, SELECT_PRODUCTS, SET_STOCK } from './product.ts';
import type { ServiceOptions } from './service.ts';

/** Of the slot and the publication. */
export const STREAM = 'breakwater_demo';
/** One that is gone refuses at once; one that is slow, on a machine that has much to do, is waited for. */
const PATIENCE_MS = 20_000;
/** Connections beyond the guard's cap, for updates. */
const FOR_UPDATES = 4;

export interface LiveCounts {
  /** Acknowledged invalidations of writes through this process. */
  readonly writes: number;
  /** Rows that this process has read from the change stream, and invalidated. */
  readonly streamRows: number;
  /** Times that changes may have been missed, so that all of it was invalidated. */
  readonly gaps: number;
}

/** What the service is told. */
export interface LiveOptions extends ServiceOptions {
  /** Rows that it loads before it listens. */
  readonly warmRows: number;
}

function* idsUpTo(rows: number): Generator<string> {
  for (let id = 1; id <= rows; id += 1) yield String(id);
}

async function run({ database, poolSize, store, warmRows }: LiveOptions): Promise<void> {
  const { Pool: PoolClass } = await importPg();
  const pool = new PoolClass({ ...database, max: poolSize + FOR_UPDATES, connectionTimeoutMillis: PATIENCE_MS });
  pool.on('error', () => {});
  const bw = createBreakwater({ store: store!, advice: false });
  const products = bw.cache<Product>('product', {
    load: async (ids) => {
      const values = [ids.map(Number)];
      const { rows } = await pool.query<Product>({ name: 'products', text: SELECT_PRODUCTS, values });
      return new Map(rows.map((row) => [String(row.id), row]));
    },
    ttl: '10m',
    // Probed a little sooner than by default, so that what is shown afterwards is not still the outage before.
    guard: { concurrency: poolSize, queueTimeout: PATIENCE_MS, breaker: { open: '200ms', maxOpen: '1s' } },
    loadTimeout: PATIENCE_MS,
    l1: {},
  });
  const changes = postgresChanges({
    connection: { ...database },
    name: STREAM,
    tables: { product: { columns: ['id'], keys: (row) => [`product:${row['id']}`], namespaces: ['product'] } },
  });
  const following = bw.follow(changes);
  await following.ready;
  if (warmRows > 0) await products.warm(idsUpTo(warmRows), { batch: 500 });

  let writes = 0;
  const answer = async (method: string, url: string, response: ServerResponse): Promise<void> => {
    const put = method === 'PUT' ? /^\/products\/(\d{1,9})\?stock=(\d{1,9})$/.exec(url) : null;
    if (put !== null) {
      const [, id = '', stock] = put;
      try {
        await products.write(id, () => pool.query(SET_STOCK, [Number(id), Number(stock)]));
        writes += 1;
        return send(response, 200, '{}', 'none');
      } catch (error) {
        const isQueued = error instanceof BreakwaterError && error.code === 'CACHE_INVALIDATION_UNACKNOWLEDGED';
        // With an AggregateError as its cause the update itself had failed.
        const isCommitted = isQueued && !(error.cause instanceof AggregateError);
        return send(response, isCommitted ? 202 : 503, JSON.stringify({ error: String(error) }), 'none');
      }
    }
    if (url === '/counts') {
      const { rows, gaps } = following.stats();
      const counts: LiveCounts = { writes, streamRows: rows, gaps };
      return send(response, 200, JSON.stringify(counts), 'none');
    }
    const id = /^\/products\/(\d{1,9})$/.exec(url)?.[1];
    if (id === undefined) return send(response, 404, '{"error":"no such page"}', 'none');
    const { value, from } = await products.getDetailed(id);
    send(response, value === null ? 404 : 200, JSON.stringify(value), from);
  };
  listenAsChild(
    (request, response) => answer(request.method ?? 'GET', request.url ?? '/', response),
    503,
    () => bw.close().then(() => pool.end()),
  );
}

process.once('message', (options: LiveOptions) => {
  run(options).catch((error: unknown) => tell({ kind: 'failed', message: String(error) }));
});
process.on('disconnect', () => process.exit(0));
