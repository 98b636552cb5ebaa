/**
 * What a test needs beyond Node.js. On a machine that lacks it the test is skipped with a sentence that says what to
 * install; with `BREAKWATER_NO_SKIP=1` (as in CI) nothing is skipped and the test fails for want of it.
 */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const DEBIAN_PACKAGE = {
  'redis-server': 'redis-server',
  'redis-cli': 'redis-tools',
  memcached: 'memcached',
  chromium: 'chromium',
  etcd: 'etcd-server',
  etcdctl: 'etcd-client',
} as const;

export type Requirement = keyof typeof DEBIAN_PACKAGE;

/** Full path of an executable, or null when it is not on the PATH. */
export function findExecutable(name: string): string | null {
  const folders = [...(process.env['PATH'] ?? '').split(delimiter), '/usr/bin', '/usr/sbin', '/usr/local/bin'];
  for (const folder of folders) {
    try {
      const path = join(folder, name);
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // not here; the next folder may have it
    }
  }
  return null;
}

/** Test options for a test that needs `names`: `test('...', requires('redis-cli'), () => ...)`. */
export function requires(...names: Requirement[]): { skip: string | false } {
  const missing = names.filter((name) => findExecutable(name) === null);
  if (missing.length === 0 || process.env['BREAKWATER_NO_SKIP'] === '1') return { skip: false };
  const packages = missing.map((name) => DEBIAN_PACKAGE[name]).join(' ');
  return { skip: `needs ${missing.join(', ')}: apt-get install ${packages}` };
}
