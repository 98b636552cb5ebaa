import assert from 'node:assert/strict';
import fs, { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { DirectoryLock } from './lock.ts';

const directory = mkdtempSync(join(tmpdir(), 'bw-lock-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const LOCKED = { code: 'DISK_LOG_LOCKED' };
const names = (): string[] => readdirSync(directory).sort();
const put = (name: string, holder: object | string): void => {
  writeFileSync(join(directory, name), typeof holder === 'string' ? holder : JSON.stringify(holder));
};

test('one at a time; a released lock, a dead holder and a damaged file are followed by the next number', () => {
  const first = DirectoryLock.take(directory);
  assert.deepEqual(names(), ['lock.1']);
  const ours = JSON.parse(readFileSync(join(directory, 'lock.1'), 'utf8')) as Record<string, unknown>;
  assert.throws(() => DirectoryLock.take(directory), LOCKED);
  first.release();
  first.release();
  DirectoryLock.take(directory);
  assert.deepEqual(names(), ['lock.2']);

  for (const dead of [
    { ...ours, began: '1' }, // our process id, another process
    { ...ours, boot: 'another' },
    { ...ours, pid: 2 ** 30 },
    'not a holde',
  ]) {
    const highest = Number(names()[0]!.slice(5));
    put(`lock.${highest}`, dead);
    DirectoryLock.take(directory);
    assert.deepEqual(names(), [`lock.${highest + 1}`]);
  }

  // Whoever came later has it, whatever lies below.
  put('lock.90', { ...ours, pid: 2 ** 30 });
  put('lock.91', ours);
  assert.throws(() => DirectoryLock.take(directory), LOCKED);
  put('lock.91', { ...ours, host: `not-${hostname()}`, pid: 2 ** 30 });
  assert.throws(() => DirectoryLock.take(directory), /remove .*lock\.91/, 'nobody knows about another machine');
});

test('a full disk leaves nothing behind, however often it is tried', (t) => {
  const full = mkdtempSync(join(tmpdir(), 'bw-lock-'));
  t.after(() => rmSync(full, { recursive: true, force: true }));
  t.mock.method(fs, 'writeFileSync', (path: string) => {
    fs.closeSync(fs.openSync(path, 'wx'));
    throw Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
  });
  syncBuiltinESMExports();
  try {
    for (let i = 0; i < 3; i += 1) assert.throws(() => DirectoryLock.take(full), { code: 'ENOSPC' });
  } finally {
    t.mock.reset();
    syncBuiltinESMExports();
  }
  assert.deepEqual(readdirSync(full), []);
  DirectoryLock.take(full).release();
  assert.deepEqual(readdirSync(full), ['lock.1']);
});
