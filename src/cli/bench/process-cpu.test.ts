import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import test from 'node:test';
import { parseStat, readCpuTime } from './process-cpu.ts';

test('a program name with spaces and parentheses does not shift the fields', () => {
  const stat = '42 (odd) name (x)) S 1 42 42 0 -1 4194304 100 0 0 0 1234 567 0 0 20 0 11 0 100 1 2 3';
  assert.deepEqual(parseStat(stat, 100), { userMs: 12_340, systemMs: 5670 });
  assert.equal(parseStat('nonsense', 100), null);
});

test('our own processor time grows', { skip: existsSync('/proc/self/stat') ? false : 'no /proc here' }, () => {
  const before = readCpuTime(process.pid);
  assert.ok(before);
  // Processor time of our own, however long the others let us wait for it.
  const began = process.cpuUsage();
  for (let usedMicros = 0; usedMicros < 60_000; ) {
    const { user, system } = process.cpuUsage(began);
    usedMicros = user + system;
  }
  const after = readCpuTime(process.pid);
  assert.ok(after);
  assert.ok(after.userMs + after.systemMs > before.userMs + before.systemMs);
});

test('a process that is not there has no time', () => {
  assert.equal(readCpuTime(2 ** 30), null);
});
