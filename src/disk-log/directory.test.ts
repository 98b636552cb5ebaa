import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { platform, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { makeDirectory } from './directory.ts';

const root = mkdtempSync(join(tmpdir(), 'bw-directory-'));
after(() => rmSync(root, { recursive: true }));

test('made with those above it, each for the owner alone; what is there is left as it is', () => {
  const deep = join(root, 'a', 'b', 'c');
  makeDirectory(deep, 0o700);
  for (const path of [deep, join(root, 'a', 'b'), join(root, 'a')]) assert.equal(statSync(path).mode & 0o777, 0o700);
  mkdirSync(join(root, 'open'), { mode: 0o755 });
  const { mode } = statSync(join(root, 'open'));
  makeDirectory(join(root, 'open'), 0o700);
  assert.equal(statSync(join(root, 'open')).mode, mode);
  symlinkSync(join(root, 'a'), join(root, 'link'));
  makeDirectory(join(root, 'link', 'below'), 0o700);
  assert.ok(statSync(join(root, 'a', 'below')).isDirectory());
});

test('a file in its way', () => {
  writeFileSync(join(root, 'file'), '');
  assert.throws(() => makeDirectory(join(root, 'file'), 0o700), { code: 'EEXIST' });
  assert.throws(() => makeDirectory(join(root, 'file', 'x', 'y'), 0o700), { code: 'ENOTDIR' });
});

// In a process of its own: what is tested against is that it never returns.
test('where nothing can be made it says so', { timeout: 60_000 }, async (t) => {
  symlinkSync(join(root, 'nowhere'), join(root, 'dangling'));
  const paths = [join(root, 'dangling', 'x'), join(root, 'dangling')];
  if (platform() === 'linux') paths.push('/proc/breakwater', '/proc/breakwater/x');
  const script = `
    const { makeDirectory } = await import(${JSON.stringify(new URL('directory.ts', import.meta.url).href)});
    for (const path of ${JSON.stringify(paths)}) {
      try { makeDirectory(path, 0o700); console.log('made'); } catch (error) { console.log(error.code); }
    }`;
  const args = ['--import', 'tsx', '--input-type=module', '-e', script];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  let printed = '';
  child.stdout.on('data', (piece: Buffer) => {
    printed += piece.toString();
  });
  await once(child, 'close');
  assert.equal(printed, 'ENOENT\n'.repeat(paths.length));
});
