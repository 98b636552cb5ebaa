/**
 * The user's application, as small as it can be: an HTTP service that answers `GET /products/42` (and `/products?ids=1,2,3`)
 * from a database. It runs as a process of its own, once without the cache and once with it. What the cache changes is the
 * function {@link cached} below; nothing else differs.
 *
 * Each answer names the tier that it came from in `X-Cache`, so that the replay can count hits where they are used.
 */
import type { ServerResponse } from 'node:http';
import type { Pool } from 'pg';
import { createBreakwater } from '../../cache/index.ts';
import { listenAsChild, send, tell } from './child-server.ts';
import { type Connection, importPg } from './postgres.ts';
import { type Product, SELECT_PRODUCTS } from './product.ts';

export interface ServiceOptions {
  readonly database: Connection;
  readonly poolSize: number;
  /** `breakwater://host:port`, or null to run without a cache. */
  readonly store: `breakwater://${string}` | null;
}

interface Answer {
  readonly product: Product | null;
  readonly from: string;
}

interface Products {
  one(id: string): Promise<Answer>;
  many(ids: readonly string[]): Promise<Map<string, Product | null>>;
  close(): Promise<void>;
}

/** Straight from the database: one query a request. */
function uncached(pool: Pool): Products {
  const load = async (ids: readonly string[]): Promise<Map<string, Product | null>> => {
    const { rows } = await pool.query<Product>({ name: 'products', text: SELECT_PRODUCTS, values: [ids.map(Number)] });
    return new Map(rows.map((row) => [String(row.id), row]));
  };
  return {
    one: async (id) => ({ product: (await load([id])).get(id) ?? null, from: 'database' }),
    many: load,
    close: () => pool.end(),
  };
}

/** The same through the library: the query moves into `load`, and the library decides when it is asked. */
function cached(pool: Pool, store: `breakwater://${string}`): Products {
  const database = uncached(pool);
  const bw = createBreakwater({ store });
  const products = bw.cache('product', {
    load: (ids) => database.many(ids),
    ttl: '10m',
    // Live objects in this process, 10,000 of them; another process's invalidation may go unseen here for so long.
    l1: { ttl: '1s' },
  });
  return {
    async one(id) {
      const { value, from } = await products.getDetailed(id);
      return { product: value ?? null, from };
    },
    many: (ids) => products.getMany(ids),
    async close() {
      await bw.close();
      await database.close();
    },
  };
}

async function answer(products: Products, url: string, response: ServerResponse): Promise<void> {
  const one = /^\/products\/(\d{1,9})$/.exec(url);
  if (one) {
    const { product, from } = await products.one(one[1]!);
    if (product) send(response, 200, JSON.stringify(product), from);
    else send(response, 404, '{"error":"no such product"}', from);
    return;
  }
  const many = /^\/products\?ids=([\d,]+)$/.exec(url);
  if (many) {
    const ids = many[1]!.split(',');
    const found = await products.many(ids);
    send(response, 200, JSON.stringify(ids.map((id) => found.get(id) ?? null)), 'batch');
    return;
  }
  send(response, 404, '{"error":"no such page"}', 'none');
}

async function run(options: ServiceOptions): Promise<void> {
  const { Pool: PoolClass } = await importPg();
  const pool = new PoolClass({ ...options.database, max: options.poolSize });
  pool.on('error', () => {});
  const products = options.store === null ? uncached(pool) : cached(pool, options.store);
  listenAsChild((request, response) => answer(products, request.url ?? '/', response), 500, products.close);
}

process.once('message', (options: ServiceOptions) => {
  run(options).catch((error: unknown) => tell({ kind: 'failed', message: String(error) }));
});
process.on('disconnect', () => process.exit(0));
