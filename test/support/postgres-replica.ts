/** A streaming replica of a test's Postgres, whose replay can be stopped: lag of any length, without waiting for it. */
import { chownSync, cpSync, lstatSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, sep } from 'node:path';
import type { Pool } from 'pg';
import { Children } from '../../src/cli/children/children.ts';
import type { Connection } from '../../src/cli/demo/postgres.ts';
import { findNativeFolder, prepareBinaries, serverAccount } from '../../src/cli/demo/postgres-binaries.ts';
import type { PostgresServer } from './postgres-server.ts';

export interface PostgresReplica {
  readonly connection: Connection;
  /** From now on nothing more shows here. */
  pause(): Promise<void>;
  resume(): Promise<void>;
  /** Until all that is committed at the primary shows here. */
  caughtUp(): Promise<void>;
  close(): Promise<void>;
}

const PORT = 5433;
const LEFT_OUT = ['postmaster.pid', 'postmaster.opts', 'backup_label'];
/** Whose contents belong to the running server. */
const EMPTIED = ['pg_wal', 'pg_replslot', 'pg_stat_tmp', 'pg_dynshmem', 'pg_notify', 'pg_snapshots', 'pg_subtrans'];

export async function startReplica(server: PostgresServer): Promise<PostgresReplica> {
  const children = new Children();
  const { Client, Pool: PoolClass } = server.pg;
  const primary = new Client(server.connection);
  let pool: Pool | null = null;
  const close = async (): Promise<void> => {
    await pool?.end();
    await primary.end();
    await children.close();
  };
  try {
    await primary.connect();
    const { rows } = await primary.query('SHOW data_directory');
    const source = (rows[0] as { data_directory: string }).data_directory;
    const account = serverAccount();
    const directory = children.directory('breakwater-replica-', dirname(dirname(source)));
    const data = join(directory, 'data');
    // The protocol of a base backup, by hand: npm's binaries come without pg_basebackup.
    await primary.query("SELECT pg_backup_start('replica', true)");
    cpSync(source, data, {
      recursive: true,
      verbatimSymlinks: true,
      filter: (path) => {
        const [top = '', below] = path.slice(source.length + 1).split(sep);
        return !LEFT_OUT.includes(basename(path)) && !(EMPTIED.includes(top) && below !== undefined);
      },
    });
    const { rows: stopped } = await primary.query('SELECT labelfile FROM pg_backup_stop(false)');
    writeFileSync(join(data, 'backup_label'), (stopped[0] as { labelfile: string }).labelfile);
    writeFileSync(join(data, 'standby.signal'), '');
    mkdirSync(join(data, 'pg_wal', 'archive_status'), { recursive: true });
    if (account) give(directory, account.uid, account.gid);

    const { host, port, user } = server.connection;
    const { postgres } = prepareBinaries(findNativeFolder(), account, directory);
    const isTcp = host === '127.0.0.1';
    const settings = {
      listen_addresses: isTcp ? '127.0.0.1' : '',
      port: String(isTcp ? port + 1 : PORT),
      unix_socket_directories: isTcp ? '' : host,
      hot_standby: 'on',
      max_connections: '64',
      shared_buffers: '16MB',
      fsync: 'off',
      wal_receiver_status_interval: '1s',
      primary_conninfo: `host=${host} port=${port} user=${user}`,
    };
    const child = children.start(
      postgres,
      ['-D', data, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])],
      {
        label: 'replica',
        stopSignal: 'SIGINT',
        abandonSignal: 'SIGQUIT',
        spawn: {
          cwd: directory,
          env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC' },
          ...(account ? { uid: account.uid, gid: account.gid } : {}),
        },
      },
    );
    await child.waitForOutput(/ready to accept read-only connections/, 60_000);
    const connection = { ...server.connection, port: Number(settings.port) };
    pool = new PoolClass({ ...connection, max: 1 });
    pool.on('error', () => {});
    const ask = async (sql: string): Promise<unknown> => Object.values((await pool!.query(sql)).rows[0] as object)[0];
    const until = async (holds: () => Promise<boolean>): Promise<void> => {
      const deadline = Date.now() + 30_000;
      while (!(await holds())) {
        if (Date.now() > deadline) throw new Error('the replica did not come so far within 30 s');
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    };
    return {
      connection,
      pause: async () => {
        await ask('SELECT pg_wal_replay_pause()');
        await until(async () => (await ask('SELECT pg_get_wal_replay_pause_state()')) === 'paused');
      },
      resume: async () => {
        await ask('SELECT pg_wal_replay_resume()');
      },
      caughtUp: async () => {
        const { rows: at } = await primary.query('SELECT pg_current_wal_insert_lsn()::text AS at');
        const target = (at[0] as { at: string }).at;
        // Something behind it, so that it is flushed and sent.
        await primary.query("SELECT pg_logical_emit_message(true, 'test', 'x')");
        await until(async () => (await ask(`SELECT pg_last_wal_replay_lsn() >= '${target}'`)) === true);
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** `chown -R`. */
function give(path: string, uid: number, gid: number): void {
  const isDirectory = lstatSync(path).isDirectory();
  if (!lstatSync(path).isSymbolicLink()) chownSync(path, uid, gid);
  if (isDirectory) for (const name of readdirSync(path)) give(join(path, name), uid, gid);
}
