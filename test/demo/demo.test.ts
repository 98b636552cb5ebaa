/**
 * The demo as its users run it: a process that ends by itself, says what it found, and leaves nothing behind, whatever way
 * it ends. Needs only what `npm ci` installs.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test, { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { findNativeFolder } from '../../src/cli/demo/postgres-binaries.ts';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const LIMIT_MS = 480_000;

/** Postgres comes from npm for the common platforms; elsewhere the demo cannot run and says so itself. */
function postgres(): { skip: string | false; timeout: number } {
  try {
    findNativeFolder();
    return { skip: false, timeout: LIMIT_MS };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { skip: process.env['BREAKWATER_NO_SKIP'] === '1' ? false : reason, timeout: LIMIT_MS };
  }
}

interface Run {
  readonly process: ChildProcess;
  readonly temporary: string;
  readonly mark: string;
  stdout: string;
  stderr: string;
  readonly ended: Promise<{ code: number | null; signal: string | null }>;
}

const runs: Run[] = [];
after(() => {
  for (const run of runs) {
    run.process.kill('SIGKILL');
    rmSync(run.temporary, { recursive: true, force: true, maxRetries: 50, retryDelay: 100 });
  }
});

/** Starts the demo with a temporary folder and an environment variable of its own, by which what it leaves is found. */
function start(args: readonly string[]): Run {
  const temporary = mkdtempSync(join(tmpdir(), 'bw-test-'));
  chmodSync(temporary, 0o755);
  const mark = `demo-${process.pid}-${runs.length}`;
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'src/cli/main.ts'), 'demo', ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, TMPDIR: temporary, BREAKWATER_TEST_MARK: mark },
  });
  const run: Run = {
    process: child,
    temporary,
    mark,
    stdout: '',
    stderr: '',
    ended: new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal }))),
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    run.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    run.stderr += text;
  });
  runs.push(run);
  return run;
}

/** Processes that carry the run's mark in their environment or its folder in their command line (Linux only; elsewhere none are seen). */
function survivors(run: Run): string[] {
  const found: string[] = [];
  let entries: string[] = [];
  try {
    entries = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  } catch {
    return found;
  }
  for (const pid of entries) {
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
      if (command.includes(run.temporary) || environment.includes(`BREAKWATER_TEST_MARK=${run.mark}`)) {
        found.push(`${pid} ${command}`);
      }
    } catch {
      // ended between the two looks, or somebody else's
    }
  }
  return found;
}

/** Waits until the text has come, without a fixed pause. */
async function said(run: Run, pattern: RegExp): Promise<void> {
  const stderr = run.process.stderr;
  assert.ok(stderr);
  for (;;) {
    if (pattern.test(run.stderr)) return;
    const more = await Promise.race([
      new Promise<boolean>((resolve) => stderr.once('data', () => resolve(true))),
      run.ended.then(() => false),
    ]);
    if (!more) assert.fail(`the demo ended before it said ${pattern}: ${run.stderr}`);
  }
}

/** Nothing may be left; a janitor that is still at work gets a few seconds. */
async function nothingLeft(run: Run): Promise<void> {
  const deadline = performance.now() + 60_000;
  for (;;) {
    const left = [...survivors(run), ...readdirSync(run.temporary).filter((name) => !name.startsWith('tsx-'))];
    if (left.length === 0) return;
    if (performance.now() > deadline) assert.fail(`left behind: ${left.join(', ')}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test(
  'the short demo ends by itself: at least ten times fewer database queries, no wrong answer',
  postgres(),
  async () => {
    const run = start(['--short', '--json']);
    const { code } = await run.ended;
    assert.equal(code, 0, run.stderr);
    const result = JSON.parse(run.stdout);
    assert.ok(result.queryReduction === null || result.queryReduction >= 10, run.stdout);
    for (const part of [result.without, result.with]) {
      assert.equal(part.wrong, 0);
      assert.equal(part.failed, 0);
      assert.ok(part.requests > 0);
    }
    assert.equal(result.without.databaseQueries, result.without.requests);
    assert.ok(result.with.databaseQueries < result.with.requests);
    const { calm, broken } = result.live;
    assert.equal(broken.length, 3);
    assert.equal(calm.failedReads, 0, calm.firstFailed);
    for (const phase of [calm, ...broken]) {
      assert.equal(phase.wrong, 0, phase.firstWrong);
      assert.ok(phase.reads > 0);
    }
    assert.ok([calm, ...broken].some(({ written }) => written > 0));
    assert.ok([calm, ...broken].some(({ inSql }) => inSql > 0));
    await nothingLeft(run);
  },
);

for (const [moment, pattern] of [
  ['while Postgres is initialised', /initialising Postgres/],
  ['while the table is filled', /filling the table/],
  ['in the middle of a run', /without cache/],
] as const) {
  test(`Ctrl-C ${moment} leaves nothing behind`, postgres(), async () => {
    const run = start(['--seconds', '60', '--rows', '50000']);
    await said(run, pattern);
    run.process.kill('SIGINT');
    const { code } = await run.ended;
    assert.equal(code, 130, run.stderr);
    await nothingLeft(run);
  });
}

test('killed without a chance to clean up, the janitor does it', postgres(), async () => {
  const run = start(['--seconds', '60', '--rows', '1000']);
  await said(run, /without cache/);
  run.process.kill('SIGKILL');
  await run.ended;
  await nothingLeft(run);
});

test('a trace that cannot be read is one line and a usage error', { timeout: LIMIT_MS }, async () => {
  const run = start(['--trace', join(root, 'package.json')]);
  const { code } = await run.ended;
  assert.equal(code, 2);
  assert.match(run.stderr, /^breakwater: cannot read the trace .*\[USAGE_TRACE\]\n$/);
  assert.equal(run.stdout, '');
});
