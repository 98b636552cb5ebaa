import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { freePorts } from '../../src/cli/children/ports.ts';
import {
  eventually,
  type Finished,
  RawClient,
  runCli,
  type ServedNode,
  serveNode,
  startCli,
} from '../server/support.ts';

let node: ServedNode;
before(async () => {
  node = await serveNode();
});
after(async () => {
  await node?.stop('SIGKILL');
});

const cli = (...args: string[]): Promise<Finished> => runCli([...args, '--port', String(node.port)]);

function refused({ code, stdout, stderr }: Finished, exitCode: number, sentence: RegExp): void {
  assert.equal(code, exitCode, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, sentence);
  assert.equal(stderr.trim().split('\n').length, 1, stderr);
  assert.match(stderr, /^breakwater: .* \[[A-Z_]+\]\n$/);
}

test('set, get, del for people and for programs', async () => {
  const created = await cli('set', 'user:42', '{"id":12345678901234567890}', '--ttl', '5m', '--tag', 'org:7');
  assert.deepEqual([created.code, created.stdout], [0, 'created\n']);
  const got = await cli('get', 'user:42');
  assert.deepEqual([got.code, got.stdout], [0, '{"id":12345678901234567890}\n']);
  const json = await cli('get', 'user:42', '--json');
  assert.match(
    json.stdout,
    /^\{"key":"user:42","value":\{"id":12345678901234567890\},"ttlSeconds":\d+(\.\d+)?,"version":\d+\}\n$/,
  );
  refused(await cli('set', 'user:42', 'x', '--if', 'absent'), 1, /user:42.*CONDITION_NOT_MET/);
  assert.equal((await cli('invalidate', '--tag', 'org:7')).code, 0);
  refused(await cli('get', 'user:42'), 1, /no entry for "user:42" \[KEY_NOT_FOUND\]/);
  const missing = await cli('get', 'user:42', '--json');
  assert.deepEqual([missing.code, missing.stdout], [1, 'null\n']);
  const piped = await runCli(['set', 'page', '-', '--json', '--port', String(node.port)], {}, 'from stdin');
  assert.deepEqual(JSON.parse(piped.stdout), { key: 'page', result: 'created' });
  assert.deepEqual(JSON.parse((await cli('del', 'page', 'nobody', '--json')).stdout), { deleted: 1 });
});

test('stats: a table, or every figure as JSON', async () => {
  const table = await cli('stats');
  assert.equal(table.code, 0);
  assert.match(table.stdout, /hit ratio/);
  const figures = JSON.parse((await cli('stats', '--json')).stdout) as Record<string, number>;
  assert.ok(figures['commands']! > 0);
  assert.equal(figures['memory-bytes'], 64 * 1024 ** 2);
});

test('what cannot be done: one line and an exit code', async () => {
  refused(await runCli(['serv']), 2, /unknown command 'serv'.*serve/);
  refused(await runCli(['bench']), 2, /half there; see breakwater --help/);
  refused(await runCli(['serve', '--memroy', '1gb']), 2, /unknown option '--memroy'/);
  refused(await runCli(['serve', '--memory', 'lots']), 2, /--memory.*"lots".*SIZE_INVALID/);
  refused(await runCli(['serve', 'extra']), 2, /too many arguments/);
  refused(await runCli(['serve', '--config', '/nowhere.yaml']), 2, /nowhere\.yaml.*CONFIG_FILE/);
  refused(await runCli(['get']), 2, /missing required argument 'key'/);
  refused(await runCli(['get', 'a', '--port', 'x']), 2, /--port/);
  refused(await cli('set', 'a', 'b', '--ttl', '5 parsecs'), 2, /--ttl.*DURATION_INVALID/);
  refused(await cli('invalidate'), 2, /nothing/);
  refused(
    await runCli(['serve', '--port', String(node.port), '--http-port', '0']),
    1,
    /port is already taken.*LISTEN_FAILED/,
  );
  refused(
    await runCli(['serve', '--port', '0', '--http-port', String(node.httpPort)]),
    1,
    /HTTP.*already taken.*LISTEN_FAILED/,
  );
  const [free] = await freePorts(1);
  refused(
    await runCli(['get', 'a', '--port', String(free)]),
    1,
    /cannot talk to a node at 127\.0\.0\.1.*breakwater serve.*CLIENT_/,
  );
});

test('what the node refused is not taken for a node that is not there', async () => {
  const wrongPort = await runCli(['get', 'a', '--port', String(node.httpPort)]);
  refused(wrongPort, 1, /unknown reply type.*CLIENT_/);
  assert.doesNotMatch(wrongPort.stderr, /starts one/);
  const tooLarge = await runCli(['set', 'a', '-', '--port', String(node.port)], {}, 'x'.repeat(9_000_000));
  assert.equal(tooLarge.code, 1);
  assert.doesNotMatch(tooLarge.stderr, /starts one/);
});

test('a reader that goes away, as head does, is no failure and ends no node', async () => {
  const help = startCli(['--help']);
  help.stdout.destroy();
  let stderr = '';
  help.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const [code] = (await once(help, 'close')) as [number | null];
  assert.deepEqual([code, stderr], [0, '']);

  const [port] = await freePorts(1);
  const serve = startCli(['serve', '--port', String(port), '--http-port', '0', '--log-format', 'text']);
  try {
    serve.stdout.destroy();
    serve.stderr.destroy();
    await eventually(
      async () => (await runCli(['set', 'a', '1', '--port', String(port)])).code === 0,
      () => `the node on port ${port} answers`,
    );
    serve.kill('SIGTERM');
    assert.deepEqual(await once(serve, 'exit'), [0, null]);
  } finally {
    serve.kill('SIGKILL');
  }
});

test('help and version', async () => {
  const version = await runCli(['--version']);
  assert.deepEqual([version.code, version.stderr], [0, '']);
  assert.match(version.stdout, /^\d+\.\d+\.\d+\n$/);
  for (const command of ['serve', 'get', 'set', 'del', 'invalidate', 'stats', 'demo', 'bench']) {
    const { code, stdout } = await runCli([command, '--help']);
    assert.equal(code, 0);
    assert.match(stdout, /Usage: breakwater/);
  }
  assert.equal((await runCli([])).code, 2);
});

test('serve: file, environment and flag reach the node; a warning when others can reach it', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'breakwater-serve-'));
  const path = join(folder, 'breakwater.yaml');
  writeFileSync(path, 'eviction: lru\nmax-clients: 77\n');
  const other = await serveNode(['--config', path, '--bind', '0.0.0.0'], { BREAKWATER_EVICTION: 'lfu' });
  const client = await RawClient.connect(other.port);
  try {
    assert.match(other.output(), /without authentication/);
    assert.match(other.output(), /eviction lfu/);
    client.send('CONFIG GET maxclients\r\n');
    await client.until(() => client.received.includes('77'), 'maxclients');
  } finally {
    client.destroy();
    await other.stop('SIGKILL');
    rmSync(folder, { recursive: true });
  }
});

test('SIGTERM and SIGINT: open connections are ended, exit 0, also with a connection that is kept alive', async () => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const other = await serveNode();
    const client = await RawClient.connect(other.port);
    await client.expect('PING\r\n', '+PONG\r\n');
    const keepAlive = await fetch(`${other.url}/healthz`);
    await keepAlive.text();
    assert.equal(await other.stop(signal), 0);
    await client.until(() => client.ended, 'the end');
    client.destroy();
  }
});

test('a client that never reads: the process stays small, other clients are served', async () => {
  const big = 'x'.repeat(1_000_000);
  const other = await RawClient.connect(node.port);
  await other.expect(`*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$${big.length}\r\n${big}\r\n`, '+OK\r\n');
  const rss = node.rssBytes();
  const greedy = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(node.port)));
  for (const client of greedy) {
    client.socket.pause();
    client.send('GET big\r\n'.repeat(5000));
  }
  for (let i = 0; i < 50; i += 1) await other.expect('PING\r\n', '+PONG\r\n');
  assert.ok(node.rssBytes() - rss < 200 * 1024 ** 2, `grew by ${node.rssBytes() - rss}`);
  for (const client of [other, ...greedy]) client.destroy();
});
