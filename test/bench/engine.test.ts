/** `bench engine` and `bench library` as a program calls them: structure, not speed. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));

async function bench(args: readonly string[]): Promise<string> {
  const command = ['--import', 'tsx', join(root, 'src/cli/main.ts'), 'bench', ...args];
  const { stdout } = await promisify(execFile)(process.execPath, command, { cwd: root, timeout: 480_000 });
  return stdout;
}

test('bench engine reports every policy, the accounted overhead and the growth of the heap', async () => {
  const report = JSON.parse(await bench(['engine', '--entries', '20000', '--json']));
  assert.ok(report.policies.length >= 3);
  for (const policy of report.policies) {
    assert.ok(policy.nsPerOperation.getHit > 0);
    assert.ok(policy.overhead.accountedBytesPerEntry > 0);
  }
  assert.equal(typeof report.heapGrowthBytes, 'number', 'the process runs with --expose-gc');
});

test('bench library reports L1 and L2', async () => {
  const { rows } = JSON.parse(await bench(['library', '--quick', '--json']));
  const names: string[] = rows.map((row: { what: string }) => row.what);
  assert.ok(names.some((name) => name.startsWith('L1 hit, peek')));
  assert.ok(names.some((name) => name.startsWith('L2 hit')));
});
