/** A real Postgres for tests, from npm; gone with its data when the test file ends. */
import { Children } from '../../src/cli/children/children.ts';
import { type Connection, importPg, Postgres } from '../../src/cli/demo/postgres.ts';
import { findNativeFolder } from '../../src/cli/demo/postgres-binaries.ts';

type Pg = Awaited<ReturnType<typeof importPg>>;

export interface PostgresServer {
  readonly pg: Pg;
  readonly connection: Connection;
  close(): Promise<void>;
}

/** Test options: skipped where npm has no Postgres for the platform. */
export function requiresPostgres(): { skip: string | false } {
  try {
    findNativeFolder();
    return { skip: false };
  } catch (error) {
    return { skip: process.env['BREAKWATER_NO_SKIP'] === '1' ? false : String(error) };
  }
}

export async function startPostgres(): Promise<PostgresServer> {
  const children = new Children();
  try {
    const server = await Postgres.start(children, () => {});
    return {
      pg: await importPg(),
      connection: server.connection,
      close: async () => {
        await server.close();
        await children.close();
      },
    };
  } catch (error) {
    await children.close();
    throw error;
  }
}
