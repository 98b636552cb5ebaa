import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FakeRespServer, type Script } from '../../test/support/fake-resp-server.ts';
import { FaultProxy } from '../../test/support/fault-proxy.ts';
import { BreakwaterError } from '../base/errors.ts';
import { ManualScheduler } from '../base/scheduler.ts';
import { type Reply, ReplyError, replyMap } from '../resp/reply.ts';
import { type ClientOptions, RespClient } from './client.ts';

const open: { close(): Promise<void> }[] = [];
after(async () => {
  await Promise.all(open.map((item) => item.close()));
});

async function fake(script?: Script): Promise<FakeRespServer> {
  const server = await FakeRespServer.start(script);
  open.push(server);
  return server;
}

async function proxyTo(port: number): Promise<FaultProxy> {
  const proxy = await FaultProxy.start({ host: '127.0.0.1', port });
  open.push(proxy);
  return proxy;
}

/** Patient where a test does not say otherwise: a machine may stand still for seconds. */
function client(port: number, options: Partial<ClientOptions> = {}): RespClient {
  const made = new RespClient({
    port,
    commandTimeoutMs: 40_000,
    hangTimeoutMs: 40_000,
    connectTimeoutMs: 40_000,
    ...options,
  });
  open.push({ close: () => made.close({ drain: false }) });
  return made;
}

const coded = (code: string) => (error: unknown) => error instanceof BreakwaterError && error.code === code;
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => 'resolved',
    (error: unknown) => (error instanceof BreakwaterError ? error.code : String(error)),
  );

async function until(condition: () => boolean, what: string): Promise<void> {
  const end = performance.now() + 60_000;
  while (!condition()) {
    if (performance.now() > end) assert.fail(`never happened: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

describe('commands and replies', () => {
  test('text, bytes, unicode and numbers go and come', async () => {
    const server = await fake();
    const c = client(server.port);
    assert.equal(await c.command(['PING']), 'PONG');
    assert.deepEqual(
      await c.command(['ECHO', 'h\u00e9llo \u{1F600}']),
      new Uint8Array(Buffer.from('h\u00e9llo \u{1F600}')),
    );
    assert.equal(await c.command(['ECHO', '\u4e16\u754c'.repeat(100)], { text: true }), '\u4e16\u754c'.repeat(100));
    assert.equal(await c.command(['ECHO', 12.5], { text: true }), '12.5');
    assert.equal(c.state.kind, 'ready');
  });

  test('commands of one tick, promise continuations included, go out in one write', async () => {
    const server = await fake();
    const c = client(server.port);
    await c.connect();
    const before = c.stats.writes;
    const later = async (): Promise<Reply> => {
      await null;
      await null;
      return c.command(['PING']);
    };
    await Promise.all([...Array.from({ length: 100 }, () => c.command(['PING'])), later(), later()]);
    assert.equal(c.stats.writes - before, 1);
  });

  test('an error reply rejects a command and stands in its place in a pipeline', async () => {
    const server = await fake((args) => (args[0] === 'BAD' ? '-WRONGTYPE no\r\n' : null));
    const c = client(server.port);
    await assert.rejects(
      c.command(['BAD']),
      (error: unknown) => error instanceof ReplyError && error.code === 'WRONGTYPE',
    );
    const replies = await c.pipeline([['PING'], ['BAD'], ['PING']]);
    assert.equal(replies[0], 'PONG');
    assert.ok(replies[1] instanceof ReplyError);
    assert.equal(replies[2], 'PONG');
    assert.deepEqual(await c.pipeline([]), []);
    assert.equal(await codeOf(c.command([])), 'CLIENT_COMMAND_INVALID');
    assert.equal(await codeOf(c.command(['PING'], { timeoutMs: -1 })), 'CLIENT_OPTION_INVALID');
    assert.throws(() => new RespClient({ port: 0, commandTimeoutMs: 60_000 }), coded('CLIENT_OPTION_INVALID'));
  });

  test('10,000 pipelined commands keep their order', async () => {
    const server = await fake();
    const c = client(server.port, { commandTimeoutMs: 40_000 });
    const replies = await Promise.all(Array.from({ length: 10_000 }, (_, i) => c.command(['ECHO', i], { text: true })));
    replies.forEach((reply, i) => {
      assert.equal(reply, String(i));
    });
  });

  test('pushes go to onPush and shift no reply', async () => {
    const pushes: unknown[] = [];
    const server = await fake((args) =>
      args[0] === 'GET' ? '>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n$1\r\nv\r\n>1\r\n+bye\r\n' : null,
    );
    const c = client(server.port, { onPush: (kind, items) => pushes.push([kind, items.length]) });
    assert.equal(await c.command(['GET', 'k'], { text: true }), 'v');
    assert.equal(await c.command(['PING']), 'PONG');
    assert.deepEqual(pushes, [
      ['invalidate', 1],
      ['bye', 0],
    ]);
  });
});

describe('the handshake', () => {
  test('credentials, name and library name are sent in one round trip', async () => {
    const server = await fake();
    const c = client(server.port, { username: 'u', password: 'p', name: 'worker' });
    await c.connect();
    assert.deepEqual(server.requests[0], ['HELLO', '3', 'AUTH', 'u', 'p']);
    assert.deepEqual(
      server.requests.slice(1, 3).map((args) => args[1]),
      ['SETINFO', 'SETNAME'],
    );
  });

  test('a server without RESP3 is spoken to in RESP2', async () => {
    const server = await fake((args) => (args[0] === 'HELLO' ? "-ERR unknown command 'HELLO'\r\n" : null));
    const c = client(server.port, { password: 'p' });
    await c.connect();
    assert.equal(c.state.kind === 'ready' && c.state.protocol, 2);
    assert.ok(server.requests.some((args) => args.join(' ') === 'AUTH p'));
  });

  test('wrong credentials fail every waiting command at once and hide the password', async () => {
    const server = await fake((args) =>
      args[0] === 'HELLO' ? '-WRONGPASS invalid username-password pair or user is disabled.\r\n' : null,
    );
    const c = client(server.port, { password: 'sesame' });
    const error = await c.command(['PING']).catch((e: unknown) => e);
    assert.ok(coded('CLIENT_AUTH_FAILED')(error));
    assert.ok(!String(error).includes('sesame'));
  });
});

describe('deadlines', () => {
  test('a command that times out keeps its place: later replies are not shifted', async () => {
    let held: (() => void) | undefined;
    const server = await fake((args, socket) => {
      if (args[0] !== 'SLOW') return null;
      held = () => socket.write('$4\r\nslow\r\n');
      return '';
    });
    const c = client(server.port, { commandTimeoutMs: 40_000, hangTimeoutMs: 40_000 });
    await c.connect();
    const slow = c.command(['SLOW'], { timeoutMs: 20 });
    assert.equal(await codeOf(slow), 'CLIENT_TIMEOUT');
    const next = c.command(['SLOW'], { text: true });
    await until(() => server.requests.filter((args) => args[0] === 'SLOW').length === 2, 'both arrived');
    held!();
    held!();
    assert.equal(await next, 'slow');
    assert.equal(c.stats.lateReplies, 1);
    assert.equal(c.stats.timeouts, 1);
    assert.equal(c.stats.connectionsLost, 0);
  });

  test('a pipeline that times out keeps all its places', async () => {
    let socketOf: Socket | undefined;
    const server = await fake((args, socket) => {
      socketOf = socket;
      return args[0] === 'HOLD' ? '' : null;
    });
    const c = client(server.port, { commandTimeoutMs: 40_000 });
    await c.connect();
    const held = c.pipeline([['HOLD'], ['HOLD'], ['HOLD']], { timeoutMs: 20 });
    assert.equal(await codeOf(held), 'CLIENT_TIMEOUT');
    const next = c.command(['HOLD', 'mine']);
    await until(() => server.requests.at(-1)?.[1] === 'mine', 'the next arrived');
    socketOf!.write(':1\r\n:2\r\n');
    await until(() => c.stats.lateReplies === 2, 'two came late');
    socketOf!.write(':3\r\n:4\r\n');
    assert.equal(await next, 4);
  });

  test('a server that accepts and never answers: the deadline holds from the first moment', async () => {
    const proxy = await proxyTo(1);
    proxy.acceptSilently();
    const c = client(proxy.port, { commandTimeoutMs: 60, connectTimeoutMs: 30 });
    assert.equal(await codeOf(c.command(['PING'])), 'CLIENT_TIMEOUT');
    await until(() => c.stats.connectFailures >= 1, 'the attempt to connect ends too');
  });

  test('deadlines by a clock turned by hand, each command its own', async () => {
    const server = await fake((args) => (args[0] === 'NEVER' ? '' : null));
    const scheduler = new ManualScheduler();
    const c = client(server.port, {
      clock: scheduler.clock,
      scheduler,
      commandTimeoutMs: 1000,
      hangTimeoutMs: 100_000,
    });
    await c.connect();
    const codes: string[] = [];
    const track = (name: string, promise: Promise<unknown>): void =>
      void codeOf(promise).then((code) => codes.push(`${name} ${code}`));
    track('a', c.command(['NEVER'], { timeoutMs: 3000 }));
    track('b', c.command(['NEVER'], { timeoutMs: 50 }));
    track('c', c.command(['NEVER']));
    await scheduler.run(49);
    assert.deepEqual(codes, []);
    await scheduler.run(10);
    assert.deepEqual(codes, ['b CLIENT_TIMEOUT']);
    await scheduler.run(950);
    assert.deepEqual(codes, ['b CLIENT_TIMEOUT', 'c CLIENT_TIMEOUT']);
    await scheduler.run(2000);
    assert.deepEqual(codes, ['b CLIENT_TIMEOUT', 'c CLIENT_TIMEOUT', 'a CLIENT_TIMEOUT']);
    assert.ok(scheduler.pending <= 1, 'one timer for all deadlines');
  });
});

describe('lost connections', () => {
  test('half-open: the hanging connection is torn down and the next one works', async () => {
    const server = await fake();
    const proxy = await proxyTo(server.port);
    const timeouts = { commandTimeoutMs: 60, hangTimeoutMs: 100, connectTimeoutMs: 1000 };
    const c = client(proxy.port, { ...timeouts, backOff: { baseMs: 1, capMs: 10 } });
    await c.connect({ timeoutMs: 40_000 });
    proxy.blackhole();
    assert.equal(await codeOf(c.command(['PING'])), 'CLIENT_TIMEOUT');
    await until(() => c.stats.connectionsLost >= 1, 'the peer counts as dead');
    proxy.heal();
    await until(() => c.state.kind === 'ready', 'reconnected');
    assert.equal(await c.command(['PING'], { timeoutMs: 40_000, idempotent: true }), 'PONG');
  });

  test('RST in the middle of a reply: in flight rejects, waiting is served by the next connection', async () => {
    const server = await fake((args) => (args[0] === 'BIG' ? `$100000\r\n${'x'.repeat(100_000)}\r\n` : null));
    const proxy = await proxyTo(server.port);
    const states: string[] = [];
    const c = client(proxy.port, { backOff: { baseMs: 1, capMs: 10 }, onState: (state) => states.push(state.kind) });
    await c.connect();
    proxy.cutAfter('down', 5000, 'rst');
    const first = codeOf(c.command(['BIG']));
    const second = codeOf(c.command(['PING']));
    assert.equal(await first, 'CLIENT_CONNECTION_LOST');
    assert.equal(await second, 'CLIENT_CONNECTION_LOST');
    assert.equal(await c.command(['PING']), 'PONG');
    assert.deepEqual(states, ['connecting', 'ready', 'backing-off', 'connecting', 'ready']);
  });

  test('only commands declared idempotent are sent again', async () => {
    let broken = 0;
    const server = await fake((args, socket) => {
      if (args[0] !== 'GET' || broken > 0) return null;
      broken += 1;
      socket.resetAndDestroy();
      return '';
    });
    const c = client(server.port, { backOff: { baseMs: 1, capMs: 10 } });
    await c.connect();
    const again = c.command(['GET', 'a'], { idempotent: true });
    const once = codeOf(c.command(['GET', 'b']));
    const pipeline = c.pipeline([['GET', 'c'], ['PING']], { idempotent: true });
    assert.equal(await once, 'CLIENT_CONNECTION_LOST');
    assert.equal(await again, 'OK');
    assert.deepEqual(await pipeline, ['OK', 'PONG']);
    const gets = server.requests.filter((args) => args[0] === 'GET').map((args) => args[1]);
    assert.deepEqual(gets.slice(-2), ['a', 'c']);
    assert.equal(c.stats.retries, 3);
  });

  test('nobody listens: commands wait to their deadline, or are refused at once where so chosen', async () => {
    const c = client(1, { commandTimeoutMs: 2_000, backOff: { baseMs: 1, capMs: 10 } });
    const error = await c.command(['PING']).catch((e: unknown) => e);
    assert.ok(coded('CLIENT_TIMEOUT')(error));
    assert.match(String(error), /ECONNREFUSED/);

    const d = client(1, { whenDown: 'reject', backOff: { baseMs: 60_000, capMs: 60_000 } });
    assert.equal(await codeOf(d.command(['PING'])), 'CLIENT_DISCONNECTED');
    assert.equal(await codeOf(d.command(['PING'])), 'CLIENT_DISCONNECTED');

    const server = await fake();
    const proxy = await proxyTo(server.port);
    proxy.refuse();
    const e = client(proxy.port, { commandTimeoutMs: 40_000, backOff: { baseMs: 1, capMs: 10 } });
    const waiting = e.command(['PING']);
    await until(() => e.stats.connectFailures > 1, 'refused twice');
    proxy.heal();
    assert.equal(await waiting, 'PONG');
  });

  test('a peer that does not speak RESP, or answers too much, is dropped', async () => {
    for (const nonsense of ['HTTP/1.1 400 Bad Request\r\n\r\n', '+OK\r\n+OK\r\n', '$3\r\nabcdef\r\n']) {
      const server = await fake((args) => (args[0] === 'GET' ? nonsense : null));
      const c = client(server.port, { backOff: { baseMs: 1, capMs: 2 } });
      await c.connect();
      await codeOf(c.command(['GET', 'k']));
      await until(() => c.stats.protocolErrors >= 1, nonsense);
      assert.equal(await c.command(['PING']), 'PONG');
    }
  });

  test('a slow link: values come through throttled and delayed', async () => {
    const value = 'v'.repeat(50_000);
    const server = await fake((args) => (args[0] === 'GET' ? `$50000\r\n${value}\r\n` : null));
    const proxy = await proxyTo(server.port);
    proxy.delay(5);
    proxy.throttle(20_000);
    const c = client(proxy.port, { hangTimeoutMs: 1_500 });
    assert.equal(await c.command(['GET', 'k'], { text: true }), value);
    // Its caller has given up, but its reply is on the way: the commands behind it are served on the same connection.
    const given = codeOf(c.command(['GET', 'k'], { timeoutMs: 10 }));
    const behind = c.command(['PING']);
    assert.equal(await given, 'CLIENT_TIMEOUT');
    assert.equal(await behind, 'PONG');
    assert.equal(c.stats.connectionsLost, 0, 'progress counts as life');
  });
});

describe('bounds', () => {
  test('a full queue refuses at once, in commands and in bytes', async () => {
    const server = await fake((args) => (args[0] === 'NEVER' ? '' : null));
    const c = client(server.port, { maxQueuedCommands: 10, commandTimeoutMs: 100, hangTimeoutMs: 60_000 });
    await c.connect();
    const codes = await Promise.all(Array.from({ length: 12 }, () => codeOf(c.command(['NEVER']))));
    assert.equal(codes.filter((code) => code === 'CLIENT_QUEUE_FULL').length, 2);
    assert.equal(codes.filter((code) => code === 'CLIENT_TIMEOUT').length, 10);
    assert.equal(await codeOf(c.command(['PING'])), 'CLIENT_QUEUE_FULL', 'places are kept, so they count');
    assert.equal(c.stats.refused, 3);

    const d = client(1, { maxQueuedBytes: 10_000, commandTimeoutMs: 50 });
    const big = new Uint8Array(6000);
    const two = [codeOf(d.command(['SET', 'a', big])), codeOf(d.command(['SET', 'b', big]))];
    assert.deepEqual(await Promise.all(two), ['CLIENT_TIMEOUT', 'CLIENT_QUEUE_FULL']);
    assert.equal(await codeOf(d.command(['SET', 'c', big])), 'CLIENT_TIMEOUT', 'what timed out makes room');
  });

  test('a server that reads nothing: what it does not take is bounded', async () => {
    const server = await fake((args, socket) => {
      if (args[0] === 'STOP') socket.pause();
      return null;
    });
    const c = client(server.port, { maxQueuedBytes: 4_000_000, commandTimeoutMs: 300, hangTimeoutMs: 60_000 });
    await c.command(['STOP']);
    const value = new Uint8Array(1_000_000);
    const codes: Promise<string>[] = [];
    for (let i = 0; i < 30; i += 1) {
      codes.push(codeOf(c.command(['SET', 'k', value])));
      await new Promise((resolve) => setImmediate(resolve));
    }
    assert.ok((await Promise.all(codes)).includes('CLIENT_QUEUE_FULL'));
  });

  test('abort: before, while waiting, and in flight', async () => {
    let release: (() => void) | undefined;
    const server = await fake((args, socket) => {
      if (args[0] === 'HOLD') release = () => socket.write(':1\r\n$4\r\nmine\r\n');
      return args[0] === 'HOLD' || args[0] === 'ECHO' ? '' : null;
    });
    const c = client(server.port);
    assert.equal(await codeOf(c.command(['PING'], { signal: AbortSignal.abort() })), 'CLIENT_ABORTED');
    const early = new AbortController();
    const waiting = Array.from({ length: 200 }, () => codeOf(c.command(['PING'], { signal: early.signal })));
    early.abort(new Error('not wanted'));
    assert.ok((await Promise.all(waiting)).every((code) => code === 'CLIENT_ABORTED'));
    assert.equal(c.queuedCommands, 0);
    await c.connect();
    const late = new AbortController();
    const held = c.command(['HOLD'], { signal: late.signal });
    const behind = c.command(['ECHO', 'mine'], { text: true });
    await until(() => release !== undefined, 'HOLD arrived');
    late.abort(new Error('changed my mind'));
    const error = (await held.catch((e: unknown) => e)) as BreakwaterError;
    assert.equal(error.code, 'CLIENT_ABORTED');
    assert.equal((error.cause as Error).message, 'changed my mind');
    release!();
    assert.equal(await behind, 'mine', 'the aborted command kept its place');
    assert.equal(c.stats.aborts, 201);
  });
});

describe('close', () => {
  test('drains what is in flight, refuses what comes after', async () => {
    const held: (() => void)[] = [];
    const server = await fake((args, socket) => {
      if (args[0] !== 'HOLD') return null;
      held.push(() => socket.write(':1\r\n'));
      return '';
    });
    const c = client(server.port);
    await c.connect();
    const last = c.command(['HOLD']);
    await until(() => held.length === 1, 'HOLD arrived');
    const closed = c.close();
    assert.equal(c.state.kind, 'closing');
    assert.equal(await codeOf(c.command(['PING'])), 'CLIENT_CLOSED');
    held[0]!();
    assert.equal(await last, 1);
    await closed;
    await c.close();
    assert.equal(c.state.kind, 'closed');
  });

  test('without drain everything rejects; closing an idle, connecting or waiting client ends it', async () => {
    const server = await fake((args) => (args[0] === 'NEVER' ? '' : null));
    const c = client(server.port);
    await c.connect();
    const never = codeOf(c.command(['NEVER']));
    await c.close({ drain: false });
    assert.equal(await never, 'CLIENT_CLOSED');

    const idle = client(server.port);
    await idle.close();
    const connecting = client(server.port);
    const ping = codeOf(connecting.command(['PING']));
    await connecting.close();
    assert.equal(await ping, 'CLIENT_CLOSED');
    const down = client(1, { backOff: { baseMs: 60_000, capMs: 60_000 } });
    const waiting = codeOf(down.command(['PING']));
    await until(() => down.state.kind === 'backing-off', 'refused');
    await down.close();
    assert.equal(await waiting, 'CLIENT_CLOSED');
  });

  test('a drain ends at the deadline when the server never answers', async () => {
    const server = await fake((args) => (args[0] === 'NEVER' ? '' : null));
    const c = client(server.port, { commandTimeoutMs: 50 });
    await c.connect();
    const never = codeOf(c.command(['NEVER']));
    await c.close();
    assert.equal(await never, 'CLIENT_TIMEOUT');
    assert.equal(c.state.kind, 'closed');
  });

  test('nothing keeps the process alive after close', async () => {
    const server = await fake();
    const url = new URL('./client.ts', import.meta.url).href;
    const code = `import { RespClient } from ${JSON.stringify(url)};
      const c = new RespClient({ port: ${server.port}, commandTimeoutMs: 60000 });
      await c.connect(); await c.close(); console.log('closed');`;
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', code], {
      cwd: fileURLToPath(new URL('../..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    open.push({ close: async () => void child.kill('SIGKILL') });
    let exited = false;
    child.on('exit', () => {
      exited = true;
    });
    await until(() => exited, 'the process ended by itself');
    assert.equal(child.exitCode, 0);
  });
});

test('a map of either protocol is read alike', async () => {
  const server = await fake((args) =>
    args[0] === 'M3' ? '%1\r\n+a\r\n:1\r\n' : args[0] === 'M2' ? '*2\r\n$1\r\na\r\n:1\r\n' : null,
  );
  const c = client(server.port);
  for (const name of ['M2', 'M3']) assert.equal(replyMap(await c.command([name]))!.get('a'), 1);
});
