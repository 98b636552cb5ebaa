/** The sinks of `postgres()` against the contract, on a real Postgres. */
import type { Pool } from 'pg';
import type { PostgresPool } from '../../src/sources/postgres/connection.ts';
import { postgres } from '../../src/sources/postgres.ts';
import { type Item, sinkContract } from '../contract/sink-contract.ts';
import { requiresPostgres, startPostgres } from '../support/postgres-server.ts';

sinkContract(
  'postgres',
  async () => {
    const server = await startPostgres();
    const admin: Pool = new server.pg.Pool({ ...server.connection, max: 6 });
    admin.on('error', () => {});
    for (const table of ['item', 'neighbour']) {
      await admin.query(`CREATE TABLE ${table} (id text PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'))`);
    }
    const state = { isAway: false };
    // A pool whose server cannot be reached gives no connection.
    const pool: PostgresPool = {
      connect: async () => {
        if (state.isAway) throw Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' });
        return (await admin.connect()) as unknown as Awaited<ReturnType<PostgresPool['connect']>>;
      },
    };
    const sinkOf = (table: string) => postgres<Item>({ pool, table, key: 'id', columns: ['id', 'name'] }).sink;
    return {
      sink: sinkOf('item'),
      other: sinkOf('item'),
      neighbour: sinkOf('neighbour'),
      rows: async () => {
        const { rows } = await admin.query('SELECT id, name FROM item');
        return Object.fromEntries((rows as Item[]).map(({ id, name }) => [id, name]));
      },
      away: async () => {
        state.isAway = true;
        return async () => {
          state.isAway = false;
        };
      },
      close: async () => {
        await admin.end();
        await server.close();
      },
    };
  },
  { skip: requiresPostgres().skip, numRuns: 25 },
);
