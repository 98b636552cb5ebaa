/** A Postgres of its own that is killed with -9 and started again on the same data, with everything on that keeps committed rows. */
import { chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Child, Children } from '../../src/cli/children/children.ts';
import type { Connection } from '../../src/cli/demo/postgres.ts';
import {
  findNativeFolder,
  prepareBinaries,
  serverAccount,
  temporaryFolder,
} from '../../src/cli/demo/postgres-binaries.ts';

const READY_MS = 120_000;

export class KillablePostgres {
  readonly connection: Connection;
  readonly #start: () => Child;
  #child: Child;

  private constructor(connection: Connection, start: () => Child) {
    this.connection = connection;
    this.#start = start;
    this.#child = start();
  }

  static async start(children: Children): Promise<KillablePostgres> {
    const account = serverAccount();
    const directory = children.directory('breakwater-kill-', temporaryFolder(account));
    if (account) chownSync(directory, account.uid, account.gid);
    const { initdb, postgres } = prepareBinaries(findNativeFolder(), account, directory);
    const [data, sockets] = [join(directory, 'data'), join(directory, 's')];
    for (const folder of [data, sockets]) {
      mkdirSync(folder, { mode: 0o700 });
      if (account) chownSync(folder, account.uid, account.gid);
    }
    const spawn = {
      cwd: directory,
      env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C', TZ: 'UTC' },
      ...(account ? { uid: account.uid, gid: account.gid } : {}),
    };
    const init = children.start(
      initdb,
      ['--pgdata', data, '--username=bench', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'],
      { label: 'initdb', spawn },
    );
    await init.exited;
    if (init.process.exitCode !== 0) throw init.failure('failed');
    const settings = [
      'listen_addresses=',
      `unix_socket_directories=${sockets}`,
      'max_connections=64',
      'autovacuum=off',
    ];
    const args = ['-D', data, ...settings.flatMap((setting) => ['-c', setting])];
    const start = (): Child =>
      children.start(postgres, args, { label: 'postgres', stopSignal: 'SIGINT', abandonSignal: 'SIGQUIT', spawn });
    const server = new KillablePostgres({ host: sockets, port: 5432, user: 'bench', database: 'postgres' }, start);
    await server.#ready();
    return server;
  }

  /** As a power cut does to it, except that the machine's own memory stays; up again when it resolves. */
  async kill(): Promise<void> {
    this.#child.process.kill('SIGKILL');
    await this.#child.exited;
    const deadline = Date.now() + READY_MS;
    for (;;) {
      // Its sessions end a little after it; until then the data directory is in use.
      this.#child = this.#start();
      try {
        await this.#ready();
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }
  }

  async #ready(): Promise<void> {
    await this.#child.waitForOutput(/database system is ready to accept connections/, READY_MS);
  }
}
