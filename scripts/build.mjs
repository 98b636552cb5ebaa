// Builds dist/ from src/: one tsc run and a copy of the files that are not TypeScript. Skips the work when nothing in
// src/ is newer than the last build, so that `npm start` answers at once the second time.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
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

const isBuilt = () => !process.argv.includes('--force') && existsSync(stamp) && statSync(stamp).mtimeMs >= newest;
if (isBuilt()) process.exit(0);

// One build at a time: a second one would swap dist/ under those who began to read it when the first had ended (`npm pack`, a program that imports
// it). Who has waited finds the work done.
const lock = join(root, '.build-lock');
const WAIT_MS = 300_000;
takeLock(Date.now() + WAIT_MS);
process.on('exit', () => rmSync(lock, { force: true }));
if (isBuilt()) process.exit(0);

// Built beside dist/ and swapped in whole: a node that is running from dist/ never meets a half-written tree.
const fresh = `${dist}.new-${process.pid}`;
const old = `${dist}.old-${process.pid}`;
// The stamp first: a file saved while tsc runs is newer than it, and the next build does it again.
mkdirSync(fresh, { recursive: true });
writeFileSync(join(fresh, '.built'), '');
const tsc = spawnSync(
  process.execPath,
  [join(root, 'node_modules/@typescript/native/bin/tsc'), '-p', 'tsconfig.build.json', '--outDir', fresh],
  { cwd: root, stdio: 'inherit' },
);
if (tsc.status !== 0) {
  rmSync(fresh, { recursive: true, force: true });
  process.exit(tsc.status ?? 1);
}

for (const file of files) {
  if (/\.(ts|md)$/.test(file)) continue;
  const target = join(fresh, relative(src, file));
  mkdirSync(dirname(target), { recursive: true });
  cpSync(file, target);
}
chmodSync(join(fresh, 'cli/main.js'), 0o755);
if (existsSync(dist)) renameSync(dist, old);
renameSync(fresh, dist);
rmSync(old, { recursive: true, force: true });

/** Its file holds the process that has it; what a killed build left is taken over. */
function takeLock(deadlineMs) {
  for (;;) {
    try {
      writeFileSync(lock, String(process.pid), { flag: 'wx' });
      return;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
    }
    const holder = holderOfLock();
    if (holder !== null && !isAlive(holder)) rmSync(lock, { force: true });
    else if (Date.now() > deadlineMs) {
      console.error(`cannot build: ${lock} is held by process ${holder ?? '?'}; remove it if that is no build`);
      process.exit(1);
    } else Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
  }
}

/** Null while it is being written, or gone again. */
function holderOfLock() {
  try {
    return Number(readFileSync(lock, 'utf8')) || null;
  } catch {
    return null;
  }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}
