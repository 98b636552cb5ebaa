/**
 * Several statements as one: a pool whose connections run a whole transaction where `runStatement` believes to run a statement. So a deadline, a cancel request and a
 * lost connection mean for a transaction what they mean for a statement, and are written once (connection.ts).
 *
 * READ COMMITTED is said and not assumed: each statement must see what others had committed when *it* began. Under REPEATABLE READ (a database's own default may
 * be that) one that has waited for a row's lock would go on with the rows of before the wait.
 */
import type { PostgresClient, PostgresPool, PostgresQuery, Result } from './connection.ts';

export type Run = (query: PostgresQuery) => Promise<Result>;
export type Steps = (run: Run) => Promise<Result>;

/** @param steps given to the statement without text */
export function inTransaction(pool: PostgresPool, steps: Steps): PostgresPool {
  return {
    ...(pool.idleCount !== undefined && { idleCount: pool.idleCount }),
    connect: (done?: Done) => connect(pool, (client) => around(client, steps), done),
  };
}

type Done = (error: unknown, client: PostgresClient | undefined) => void;

/** By the callback where there is one and the pool knows it, and within it: see `checkOut`. */
function connect(
  pool: PostgresPool,
  made: (client: PostgresClient) => PostgresClient,
  done: Done | undefined,
): Promise<PostgresClient> {
  const take: Done = (error, client) => done?.(error, client === undefined ? undefined : made(client));
  const returned = (pool.connect as (take?: Done) => Promise<PostgresClient> | undefined).call(
    pool,
    ...(done === undefined ? [] : [take]),
  );
  return returned?.then(made) as Promise<PostgresClient>;
}

function around(client: PostgresClient, steps: Steps): PostgresClient {
  return {
    get processID() {
      return client.processID;
    },
    on: (event, listener) => client.on?.(event, listener),
    off: (event, listener) => client.off?.(event, listener),
    release: (destroy) => client.release(destroy),
    query: async (query) => {
      if (query.text !== '') return await client.query(query);
      await client.query({ text: 'BEGIN ISOLATION LEVEL READ COMMITTED', values: [] });
      let result: Result;
      try {
        result = await steps(async (step) => (await client.query({ ...step, rowMode: 'array' })) as Result);
      } catch (error) {
        await client.query({ text: 'ROLLBACK', values: [] }).catch(() => {
          // Nobody knows what this connection is in the middle of: said by an error that is not the server's, it is closed.
          throw new Error('the transaction could not be rolled back', { cause: error });
        });
        throw error;
      }
      await client.query({ text: 'COMMIT', values: [] });
      return result as { rows: unknown[]; fields: Result['fields'] };
    },
  };
}
