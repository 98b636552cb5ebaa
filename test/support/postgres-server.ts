/** A real Postgres for tests, from npm; gone with its data when the test file ends. */
import { Children } from '../../src/cli/children/children.ts';
import { type Connection, importPg, Postgres } from '../../src/cli/demo/postgres.ts';
import { findNativeFolder } from '../../src/cli/demo/postgres-binaries.ts';

type Pg = Awaited<ReturnType<typeof importPg>>;

export interface PostgresServer {
  readonly pg: Pg;
  readonly connection: Connection;
  /** SIGKILL or a stop in good order, and the start after it. */
  halt(signal: 'SIGKILL' | 'SIGINT'): Promise<void>;
  resume(): Promise<void>;
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

/** What logical replication needs. Commits wait for the disk's cache: a server that is killed has them all. */
export const LOGICAL = {
  wal_level: 'logical',
  synchronous_commit: 'on',
  max_wal_senders: '8',
  max_replication_slots: '8',
};

export async function startPostgres(settings: Readonly<Record<string, string>> = {}): Promise<PostgresServer> {
  const children = new Children();
  try {
    const server = await Postgres.start(children, () => {}, settings);
    return {
      pg: await importPg(),
      connection: server.connection,
      halt: (signal) => server.halt(signal),
      resume: () => server.resume(),
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
