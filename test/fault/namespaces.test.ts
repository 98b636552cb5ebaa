/** The machine of an owner loses its cable, in network namespaces: what no proxy can imitate, since not even the operating system of the others is told. See in-namespaces.ts for what is done. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { cleanEnvironment } from '../server/support.ts';
import { findExecutable, requires } from '../support/requirements.ts';

const INSIDE = fileURLToPath(new URL('./in-namespaces.ts', import.meta.url));

function whyNot(): string | false {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return 'needs Linux and root';
  const missing = ['ip', 'unshare', 'nsenter'].filter((name) => findExecutable(name) === null);
  if (missing.length > 0) return `needs ${missing.join(', ')}: apt-get install iproute2 util-linux`;
  const { status, stderr } = spawnSync('unshare', ['-n', 'ip', 'link', 'add', 'br0', 'type', 'bridge']);
  return status === 0 ? false : `network namespaces are not allowed here: ${String(stderr).trim()}`;
}

test('the cable of an owner is pulled: others take over, it acknowledges nothing, and nothing old is read', {
  timeout: 600_000,
  skip: requires('redis-cli').skip || whyNot(),
}, async () => {
  const child = spawn('unshare', ['-n', process.execPath, '--import', 'tsx', INSIDE], {
    env: cleanEnvironment({}),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
    });
  }
  const [code] = (await once(child, 'exit')) as [number | null];
  assert.equal(code, 0, output);
});
