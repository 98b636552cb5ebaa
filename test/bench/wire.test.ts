/** `bench wire` as a program calls it: structure and honesty of what it prints, not speed. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { requires } from '../support/requirements.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const TINY = ['--quick', '--seconds', '0.1', '--connections', '4', '--memory', '8mb', '--json'];

interface Row {
  readonly target: string;
  readonly operation: string;
  readonly state: string;
  readonly errors: number;
  readonly firstError: string;
  readonly operationsPerSecond: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly hitRatio: number | null;
  readonly cpuToRedis: number | null;
}

async function bench(
  args: readonly string[],
  path = process.env['PATH'],
): Promise<{ code: number; out: string; err: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'src/cli/main.ts'), 'bench', ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, PATH: path },
    timeout: 480_000,
  });
  let [out, err] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    err += text;
  });
  const code = await new Promise<number>((resolve) => child.once('close', (value) => resolve(value ?? -1)));
  return { code, out, err };
}

test('a node alone: every cell is there, every reply was right', async () => {
  let [rows, environment]: [Row[], { readonly node: string }] = [[], { node: '' }];
  // On a machine that slept through one of the sixteen windows there is nothing to say of it: once more, and longer.
  for (const seconds of ['0.1', '1', '4']) {
    const { code, out, err } = await bench(['wire', ...TINY, '--seconds', seconds, '--targets', 'breakwater']);
    assert.equal(code, 0, err);
    ({ rows, environment } = JSON.parse(out));
    if (rows.every(({ operationsPerSecond }) => operationsPerSecond > 0)) break;
  }
  assert.equal(rows.length, 2 * 2 * 2 * 2);
  assert.match(environment.node, /^v\d/);
  assert.ok(rows.some((row: { operationsPerSecond: number }) => row.operationsPerSecond > 0));
  for (const row of rows) {
    assert.equal(row.target, 'breakwater');
    assert.equal(row.errors, 0, row.firstError);
    assert.equal(row.cpuToRedis, null);
    // On a machine with much else to do a cell of a tenth of a second may pass without a turn.
    if (row.operationsPerSecond === 0) continue;
    assert.ok(row.p99Us >= row.p50Us);
    if (row.operation === 'get' && row.state === 'half') assert.equal(row.hitRatio, 1);
  }
});

test('three servers side by side', requires('redis-server', 'memcached'), async () => {
  const { code, out, err } = await bench(['wire', ...TINY, '--sizes', '100', '--states', 'half', '--pipeline', '1']);
  assert.equal(code, 0, err);
  const { rows, settings } = JSON.parse(out);
  assert.deepEqual(
    settings.targets.map((target: { name: string }) => target.name),
    ['breakwater', 'redis', 'memcached'],
  );
  assert.equal(rows.length, 3 * 2);
  for (const row of rows) assert.equal(row.errors, 0, `${row.target}: ${row.firstError}`);
});

test('a flag that cannot be read is one line and exit code 2', async () => {
  for (const args of [
    ['--targets', 'redis,oracle'],
    ['--pipeline', '0'],
    ['--sizes', 'big'],
    ['--memory', 'much'],
  ]) {
    const { code, out, err } = await bench(['wire', ...args]);
    assert.equal(code, 2, args.join(' '));
    assert.match(err, /^breakwater: cannot read .*\n$/);
    assert.equal(out, '');
  }
});
