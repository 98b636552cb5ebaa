// Builds dist/ from src/: one tsc run and a copy of the files that are not TypeScript. Skips the work when nothing in
// src/ is newer than the last build, so that `npm start` answers at once the second time.
import { spawnSync } from 'node:child_process';
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const src = join(root, 'src');
const dist = join(root, 'dist');
const stamp = join(dist, '.built');

const files = readdirSync(src, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => join(entry.parentPath, entry.name));
const inputs = [...files, ...['package.json', 'tsconfig.json', 'tsconfig.build.json'].map((name) => join(root, name))];
const newest = Math.max(...inputs.map((file) => statSync(file).mtimeMs));

if (!process.argv.includes('--force') && existsSync(stamp) && statSync(stamp).mtimeMs >= newest) process.exit(0);

rmSync(dist, { recursive: true, force: true });
const tsc = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
});
if (tsc.status !== 0) process.exit(tsc.status ?? 1);

for (const file of files) {
  if (/\.(ts|md)$/.test(file)) continue;
  const target = join(dist, relative(src, file));
  mkdirSync(dirname(target), { recursive: true });
  cpSync(file, target);
}
const cli = join(dist, 'cli/main.js');
if (existsSync(cli)) chmodSync(cli, 0o755);
writeFileSync(stamp, '');
