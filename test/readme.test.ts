/**
 * The README's first screen is pasted by people who have known Breakwater for a minute. Every line of it runs here as it
 * stands, but for the ports: a node on ports of its own stands in for 7379 and 8379.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { LiveServer } from './clients/live-server.ts';
import { requires } from './support/requirements.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const readme = readFileSync(join(root, 'README.md'), 'utf8');
const run = promisify(execFile);

/** The fenced blocks of a language, in order. */
function blocks(language: string): string[] {
  const fence = new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm');
  return [...readme.matchAll(fence)].map((match) => match[1]!);
}

const shell = blocks('sh')
  .flatMap((block) => block.split('\n'))
  .filter((line) => /^(?:curl|redis-cli) /.test(line))
  .slice(0, 5);

let node: LiveServer;

before(async () => {
  node = await LiveServer.start();
});
after(() => node.close());

/** Runs one line of the README against our node and gives back what it printed. */
async function paste(line: string): Promise<string> {
  const local = line
    .replaceAll('localhost:8379', `127.0.0.1:${node.server.httpPort}`)
    .replaceAll('-p 7379', `-p ${node.port}`);
  assert.ok(!/[78]379/.test(local), `a port was left in: ${local}`);
  const { stdout } = await run('bash', ['-c', local.replace(/^curl /, 'curl -sS ')]);
  return stdout;
}

test('the first screen has the two commands, four curl lines and a redis-cli line', () => {
  assert.match(readme, /npm ci && npm start/);
  assert.match(readme, /npm ci && npm test/);
  assert.deepEqual(
    shell.map((line) => line.split(' ')[0]),
    ['curl', 'curl', 'curl', 'curl', 'redis-cli'],
  );
});

test('the curl lines store, read, invalidate by tag, and miss', async () => {
  const [put, get, invalidate, again] = shell;
  assert.match(await paste(put!), /created/);
  assert.deepEqual(JSON.parse(await paste(get!)).value, { name: 'Ada' });
  await paste(invalidate!);
  assert.equal(JSON.parse(await paste(again!)).error.code, 'KEY_NOT_FOUND');
});

test('the redis-cli line stores what curl reads', requires('redis-cli'), async () => {
  assert.equal((await paste(shell[4]!)).trim(), 'OK');
  const answer = await paste('curl localhost:8379/cache/user:43');
  assert.deepEqual(JSON.parse(answer).value, { name: 'Grace' });
});

test('the TypeScript runs as pasted and ends by itself', async () => {
  // In the repository, because `breakwater` is found by its own package name; against the built package, as a user has it.
  await run(process.execPath, ['scripts/build.mjs'], { cwd: root });
  const folder = mkdtempSync(join(root, '.readme-'));
  try {
    const file = join(folder, 'try.ts');
    writeFileSync(file, blocks('ts')[0]!.replaceAll('127.0.0.1:7379', `127.0.0.1:${node.port}`));
    const { stdout } = await run(process.execPath, ['--import', 'tsx', file], { cwd: root, timeout: 300_000 });
    assert.match(stdout, /name: 'Ada'/);
    assert.match(stdout, /'44' => null/);
    assert.match(stdout, /from: 'l2'/);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
