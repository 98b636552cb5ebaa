import assert from 'node:assert/strict';
import { createServer, type Server, type Socket } from 'node:net';
import test, { afterEach } from 'node:test';
import { type Load, runFill, runLoad } from './load.ts';
import { keySpace, median, type WireRow, withRatios } from './wire.ts';

const servers: Server[] = [];
const sockets: Socket[] = [];
afterEach(() => {
  for (const socket of sockets.splice(0)) socket.destroy();
  for (const server of servers.splice(0)) server.close();
});

/** A server that answers each request (they begin with `*`) by `answer(its number)`. */
async function serverThat(answer: (request: number, key: string) => string): Promise<number> {
  let requests = 0;
  const server = createServer((socket) => {
    sockets.push(socket);
    let rest = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      const parts = (rest + text).split('*');
      // The last one may be cut; a request ends with a line end and holds its key in full.
      rest = parts.at(-1)!.endsWith('\r\n') && /key:\d{16}\r\n/.test(parts.at(-1)!) ? '' : `*${parts.pop()}`;
      let out = '';
      for (const part of parts) {
        if (part === '') continue;
        out += answer(requests, /key:\d{16}/.exec(part)![0]);
        requests += 1;
      }
      socket.write(out);
    });
    socket.on('error', () => {});
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  return typeof address === 'object' && address !== null ? address.port : 0;
}

const load = (port: number, more: Partial<Load> = {}): Load => ({
  port,
  protocol: 'resp',
  operation: 'get',
  valueBytes: 3,
  keys: 1000,
  connections: 5,
  pipeline: 4,
  warmupMs: 10,
  measureMs: 100,
  serverPid: process.pid,
  seed: 1,
  ...more,
});

test('hits, misses and errors are what the server said', async () => {
  const port = await serverThat((n) => ['$3\r\nabc\r\n', '$-1\r\n', '-ERR no\r\n', '$2\r\nab\r\n'][n % 4]!);
  const result = await runLoad(load(port));
  assert.ok(result.operations > 0);
  const counted = result.hits + result.misses + result.errors;
  assert.ok(Math.abs(counted - result.operations) <= 5 * 4, `${counted} of ${result.operations}`);
  assert.ok(result.hits > 0 && result.misses > 0 && result.errors > result.hits);
  assert.ok(result.p50Us > 0 && result.p99Us >= result.p50Us);
});

test('a server that hangs up in the middle is an error, not a figure', async () => {
  const port = await serverThat((n) => {
    if (n > 100) for (const socket of sockets) socket.destroy();
    return '$3\r\nabc\r\n';
  });
  await assert.rejects(runLoad(load(port, { measureMs: 5000 })), { code: 'BENCH_CONNECTION' });
});

test('no server is an error that names the port', async () => {
  await assert.rejects(runLoad(load(1)), { code: 'BENCH_CONNECT' });
});

test('filling stores every key once', async () => {
  const keys = new Map<string, number>();
  const port = await serverThat((_, key) => {
    keys.set(key, (keys.get(key) ?? 0) + 1);
    return '+OK\r\n';
  });
  const { errors } = await runFill({ port, protocol: 'resp', valueBytes: 3, keys: 3001 });
  assert.equal(errors, 0);
  assert.equal(keys.size, 3001);
  assert.ok([...keys.values()].every((times) => times === 1));
});

test('a full key space does not fit and a half one does', () => {
  for (const size of [100, 1024]) {
    assert.ok(keySpace('half', 64, size) * (size + 20) < 64 * 1024 ** 2 * 0.6);
    assert.ok(keySpace('full', 64, size) * (size + 20) > 64 * 1024 ** 2);
  }
});

test('the median of an even number of values lies between the two in the middle', () => {
  assert.equal(median([]), 0);
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
});

test('the ratio to redis pairs the rounds: a slow minute that both went through does not show', () => {
  const row = (target: string, cpuUsRounds: number[]): WireRow => ({ target, cpuUsRounds }) as unknown as WireRow;
  const rows = withRatios([row('breakwater', [4.4, 8.8, 4.4]), row('redis', [4, 8, 4])]);
  assert.deepEqual(
    rows.map((one) => one.cpuToRedis?.toFixed(2)),
    ['1.10', '1.00'],
  );
  assert.equal(withRatios([row('breakwater', [1])])[0]!.cpuToRedis, null);
});
