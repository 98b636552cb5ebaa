/** Every example and every sample of the guide and of the migration pages runs and prints what it says. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { type LiveNode, startLiveNode } from './contract/live-node.ts';
import { RedisServer } from './support/redis-server.ts';
import { requires } from './support/requirements.ts';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const run = promisify(execFile);

/** Inside the repository, where `breakwater` is found by its name as in an application. */
const folder = mkdtempSync(join(root, 'examples', '.samples-'));
let node: LiveNode;
let redis: RedisServer | null = null;
before(async () => {
  node = await startLiveNode();
  if (requires('redis-server').skip === false) redis = await RedisServer.start();
});
after(async () => {
  rmSync(folder, { recursive: true });
  await node.close();
  await redis?.close();
});

/**
 * What it prints; where that is not what it says, of the last of three runs: samples have the library's own deadlines, and on a machine that is very slow at the moment
 * a read of L2 may miss its own, which is allowed and prints another line.
 */
async function printed(file: string, expected: string): Promise<string> {
  for (let more = 2; ; more -= 1) {
    const text = await runOnce(file).catch((error: unknown) => {
      if (more === 0) throw error;
      return null;
    });
    if (text !== null && (text === expected || more === 0)) return text;
  }
}

async function runOnce(file: string): Promise<string> {
  const REDIS_URL = `redis://127.0.0.1:${redis?.port}`;
  const env = { ...process.env, BREAKWATER_URL: node.url, REDIS_URL, NODE_ENV: 'test' };
  const { stdout } = await run(process.execPath, ['--import', 'tsx', file], { cwd: root, timeout: 300_000, env });
  return stdout.trimEnd();
}

for (const name of readdirSync(join(root, 'examples')).filter((file) => file.endsWith('.ts'))) {
  test(`examples/${name}`, async () => {
    const file = join(root, 'examples', name);
    const [, expected] = readFileSync(file, 'utf8').split('// prints:\n');
    assert.ok(expected !== undefined, 'an example says what it prints');
    const says = expected.trimEnd().replaceAll(/^\/\/ ?/gm, '');
    assert.equal(await printed(file, says), says);
  });
}

const pages = ['docs/guide', 'docs/migrate'].flatMap((place) =>
  readdirSync(join(root, place)).map((name) => `${place}/${name}`),
);
pages.push('docs/observing.md');
for (const page of pages) {
  const text = readFileSync(join(root, page), 'utf8');
  const samples = [...text.matchAll(/```ts\n(.*?)```\n\n```text\n(.*?)```/gs)];
  const needs = text.includes('REDIS_URL') ? requires('redis-server') : {};
  test(`${page}: every sample`, needs, async () => {
    assert.equal(text.match(/```ts\n/g)?.length ?? 0, samples.length, 'every ts sample is followed by what it prints');
    await Promise.all(
      samples.map(async ([, code, expected], index) => {
        const file = join(folder, `${basename(page, '.md')}-${index}.ts`);
        writeFileSync(file, code!);
        const says = expected!.trimEnd();
        assert.equal(await printed(file, says), says, `sample ${index + 1}`);
      }),
    );
  });
}
