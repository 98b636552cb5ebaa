/**
 * A wall clock that jumps changes nothing: a node whose clock is set an hour forwards and back while it runs, and a client process that is an
 * hour off. TTLs, hold-offs and leases run by the monotonic clock; no moment of the wall crosses a wire.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { after, before, test } from 'node:test';
import { createBreakwater } from '../../src/cache/create.ts';
import { RespClient } from '../../src/client/client.ts';
import { resolveConfig } from '../../src/server/config.ts';
import { type RunningServer, startServer } from '../../src/server/serve.ts';

const HOUR_MS = 3_600_000;
const realNow = Date.now;
let node: RunningServer;
let client: RespClient;
let bw: ReturnType<typeof createBreakwater> | undefined;

before(async () => {
  const { config } = resolveConfig({ flags: { port: '0', memory: '16mb' }, env: {}, file: null });
  node = await startServer(config, { version: '0.0.0' });
  client = new RespClient({ port: node.respPort, commandTimeoutMs: 60_000 });
});
after(async () => {
  Date.now = realNow;
  await bw?.close();
  await client.close();
  await node.close();
});

test('the wall clock of a running node jumps an hour both ways: no entry dies early, none lives longer', async () => {
  await client.command(['SET', 'long', 'x', 'PX', '1800000']);
  for (const jumpMs of [HOUR_MS, -HOUR_MS]) {
    Date.now = () => realNow() + jumpMs;
    await client.command(['SET', 'short', 'x', 'PX', '40']);
    const left = Number(await client.command(['PTTL', 'long']));
    assert.ok(left > 1_200_000 && left <= 1_800_000, `${left} ms left after a jump of ${jumpMs}`);
    const beganMs = performance.now();
    while ((await client.command(['EXISTS', 'short'])) === 1) {
      assert.ok(performance.now() - beganMs < 60_000, 'the short one ends in its time, and not an hour later');
    }
    const miss = (await client.command(['BW.GET', `lease:${jumpMs}`, 'LEASE'])) as unknown[];
    assert.equal(Number(miss[1]), 10_000, 'a lease is as long as ever');
  }
  Date.now = realNow;
});

/** Runs a library in a process whose wall clock is `skewMs` off, and returns what it prints. */
function elsewhere(skewMs: number, script: string): Promise<string> {
  const text = `
    const realNow = Date.now; Date.now = () => realNow() + (${skewMs});
    import(${JSON.stringify(new URL('../../src/cache/create.ts', import.meta.url).href)}).then(async ({ createBreakwater }) => {
      const bw = createBreakwater({ store: 'breakwater://127.0.0.1:${node.respPort}', readTimeout: '30s', writeTimeout: '30s' });
      const users = bw.cache('user', { load: async () => ['from the source'], ttl: '10m', grace: '1h', jitter: 0 });
      ${script}
      await bw.close();
    });`;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', text], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let out = '';
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString();
    });
    child.on('error', reject);
    child.on('exit', (code) =>
      code === 0 ? resolve(out.trim()) : reject(new Error(`the process ended with ${code}`)),
    );
  });
}

test('processes that are an hour off: what they write is as fresh here as anything, what they read is fresh there', async () => {
  bw = createBreakwater({
    store: `breakwater://127.0.0.1:${node.respPort}`,
    readTimeout: '30s',
    writeTimeout: '30s',
  });
  const users = bw.cache<string>('user', {
    load: async () => ['from the source here'],
    ttl: '10m',
    grace: '1h',
    jitter: 0,
  });
  for (const skewMs of [HOUR_MS, -HOUR_MS]) {
    await users.set(`mine${skewMs}`, 'written here', { version: 2 });
    const script = `
      await users.set('theirs${skewMs}', 'written there', { version: 5 });
      const late = await users.set('mine${skewMs}', 'older', { version: 1 });
      const got = await users.getDetailed('mine${skewMs}');
      console.log(JSON.stringify([late, got.value, got.from, got.ageMs >= 0 && got.ageMs < 600000]));`;
    assert.deepEqual(JSON.parse(await elsewhere(skewMs, script)), [false, 'written here', 'l2', true]);
    const got = await users.getDetailed(`theirs${skewMs}`);
    assert.deepEqual([got.value, got.from], ['written there', 'l2']);
    assert.ok(got.ageMs >= 0 && got.ageMs < 600_000, `${got.ageMs}`);
  }
});
