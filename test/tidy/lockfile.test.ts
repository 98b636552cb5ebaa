/**
 * `npm ci` refuses a lock that leaves out an optional dependency, even one of another platform. `npm install` writes such a lock where
 * its registry lacks that platform's package, and the next clean clone cannot be installed.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';

interface Locked {
  readonly optionalDependencies?: Readonly<Record<string, string>>;
}

test('the lock names the optional dependencies of every platform', () => {
  const text = readFileSync(new URL('../../package-lock.json', import.meta.url), 'utf8');
  const { packages } = JSON.parse(text) as { packages: Readonly<Record<string, Locked>> };
  const missing: string[] = [];
  for (const [path, { optionalDependencies = {} }] of Object.entries(packages)) {
    for (const name of Object.keys(optionalDependencies)) {
      if (!foldersAbove(path).some((folder) => `${folder}node_modules/${name}` in packages)) missing.push(name);
    }
  }
  assert.deepEqual(missing, [], 'npm ci would refuse this package-lock.json');
});

/** Where node looks for what `path` imports, nearest first. */
function foldersAbove(path: string): string[] {
  const folders = [''];
  for (let end = path.indexOf('/node_modules/'); end !== -1; end = path.indexOf('/node_modules/', end + 1)) {
    folders.push(`${path.slice(0, end)}/`);
  }
  if (path !== '') folders.push(`${path}/`);
  return folders.reverse();
}
