import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { selfSigned } from '../../test/support/certificate.ts';
import { FaultProxy } from '../../test/support/fault-proxy.ts';
import { RedisServer } from '../../test/support/redis-server.ts';
import { requires } from '../../test/support/requirements.ts';
import { SeededRandom } from '../base/random.ts';
import { type Reply, replyMap, replyText } from '../resp/reply.ts';
import { type ClientOptions, RespClient } from './client.ts';

describe('against redis-server', requires('redis-server'), () => {
  let redis: RedisServer;
  const clients: RespClient[] = [];
  const client = (options: Partial<ClientOptions> = {}): RespClient => {
    const made = new RespClient({ port: redis.port, commandTimeoutMs: 40_000, connectTimeoutMs: 40_000, ...options });
    clients.push(made);
    return made;
  };

  before(async () => {
    redis = await RedisServer.start(['--enable-debug-command', 'yes']);
  });
  after(async () => {
    await Promise.all(clients.map((each) => each.close({ drain: false })));
    await redis?.close();
  });

  for (const protocol of [2, 3] as const) {
    test(`RESP${protocol}: values of every size and kind come back as they went`, async () => {
      const c = client({ protocol, name: 'test-client' });
      const random = new SeededRandom(1);
      for (const size of [0, 1, 100, 65_535, 65_536, 1_000_000, 8 * 1024 * 1024]) {
        const value = new Uint8Array(size);
        for (let i = 0; i < size; i += 997) value[i] = random.nextUint32();
        assert.equal(await c.command(['SET', 'v', value]), 'OK');
        assert.ok(Buffer.from(value).equals((await c.command(['GET', 'v'])) as Uint8Array), `${size} bytes`);
      }
      const key = '\u043a\u043b\u044e\u0447 \u{1F511} \r\n';
      await c.command(['SET', key, 'v\u00e4l']);
      assert.equal(await c.command(['GET', key], { text: true }), 'v\u00e4l');
      assert.deepEqual(await c.command(['KEYS', '*\u{1F511}*'], { text: true }), [key]);
      assert.equal(await c.command(['GET', 'absent']), null);
      assert.equal(await c.command(['INCRBY', 'n', 9007199254740993n]), 9007199254740993n);
      await c.command(['DEL', 'n']);
      await c.command(['HSET', 'h', 'a', 1, 'b', 2]);
      assert.equal(replyText(replyMap(await c.command(['HGETALL', 'h']))!.get('b')), '2');
      assert.equal(replyText(await c.command(['CLIENT', 'GETNAME'])), 'test-client');
      assert.equal(c.state.kind === 'ready' && c.state.protocol, protocol);
    });
  }

  test('every RESP3 type that Redis can be made to send', async () => {
    const c = client();
    const seen: Reply[] = await c.pipeline(
      [
        'string',
        'integer',
        'double',
        'null',
        'array',
        'set',
        'map',
        'attrib',
        'true',
        'false',
        'verbatim',
        'bignum',
      ].map((type) => ['DEBUG', 'PROTOCOL', type]),
      { text: true },
    );
    assert.deepEqual(seen.slice(0, 6), ['Hello World', 12345, Number('3.141'), null, [0, 1, 2], [0, 1, 2]]);
    assert.deepEqual(replyMap(seen[6]!)!.flat, [0, false, 1, true, 2, false]);
    assert.deepEqual(seen.slice(7), [
      'Some real reply following the attribute',
      true,
      false,
      'This is a verbatim\nstring',
      1234567999999999999999999999999999999n,
    ]);
  });

  test('10,000 pipelined commands through a proxy', async () => {
    const proxy = await FaultProxy.start({ host: '127.0.0.1', port: redis.port });
    const c = client({ port: proxy.port });
    const sets = Array.from({ length: 10_000 }, (_, i) => c.command(['SET', `p:${i}`, `value ${i}`]));
    await Promise.all(sets);
    const keys = Array.from({ length: 10_000 }, (_, i) => i);
    const replies = await Promise.all(keys.map((i) => c.command(['GET', `p:${i}`], { text: true })));
    keys.forEach((i) => {
      assert.equal(replies[i], `value ${i}`);
    });
    const many = (await c.command(['MGET', ...keys.map((i) => `p:${i}`)], { text: true })) as string[];
    assert.equal(many[9999], 'value 9999');
    await c.close();
    await proxy.close();
  });

  test('invalidations of CLIENT TRACKING arrive as pushes', async () => {
    const pushed: string[] = [];
    let arrived = (): void => {};
    const push = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const c = client({
      onPush: (kind, items) => {
        pushed.push(kind, replyText((items[0] as Reply[])[0])!);
        arrived();
      },
    });
    await c.command(['CLIENT', 'TRACKING', 'ON']);
    await c.command(['GET', 'tracked']);
    await client().command(['SET', 'tracked', 'x']);
    await push;
    assert.deepEqual(pushed, ['invalidate', 'tracked']);
  });

  test('a killed connection and a restarted server: the client is back by itself', async () => {
    const c = client({ backOff: { baseMs: 1, capMs: 20 } });
    await c.connect();
    const id = await c.command(['CLIENT', 'ID']);
    await client().command(['CLIENT', 'KILL', 'ID', String(id)]);
    assert.notEqual(await c.command(['CLIENT', 'ID'], { idempotent: true }), id);
    await redis.restart();
    assert.equal(await c.command(['PING'], { idempotent: true }), 'PONG');
    assert.ok(c.stats.connectionsLost >= 2);
  });

  test('a paused server: deadlines hold, and afterwards no reply is shifted', async () => {
    const c = client({ hangTimeoutMs: 40_000 });
    await c.connect();
    const sleeping = c
      .command(['DEBUG', 'SLEEP', '2'], { timeoutMs: 50 })
      .catch((error: unknown) => (error as { code: string }).code);
    const behind = c.command(['ECHO', 'behind'], { text: true });
    assert.equal(await sleeping, 'CLIENT_TIMEOUT');
    assert.equal(await behind, 'behind');
    assert.equal(c.stats.lateReplies, 1);
  });

  test('a password is asked for and given', async () => {
    const guarded = await RedisServer.start(['--requirepass', 'sesame']);
    const code = async (options: Partial<ClientOptions>): Promise<string> => {
      const c = client({ port: guarded.port, ...options });
      return c.connect().then(
        () => 'in',
        (error: { code: string }) => error.code,
      );
    };
    for (const protocol of [2, 3] as const) {
      assert.equal(await code({ protocol, password: 'sesame' }), 'in');
      assert.equal(await code({ protocol, username: 'default', password: 'sesame' }), 'in');
      assert.equal(await code({ protocol, password: 'wrong' }), 'CLIENT_AUTH_FAILED');
      assert.equal(await code({ protocol }), 'CLIENT_AUTH_FAILED');
    }
    await guarded.close();
  });
});

test('TLS, with the certificate checked', async () => {
  const { key, cert } = selfSigned();
  const big = 'x'.repeat(300_000);
  const server = createTlsServer({ key, cert }, (socket) => {
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      for (const name of chunk.toString('latin1').match(/HELLO|SETINFO|PING|GET/g) ?? []) {
        socket.write(name === 'GET' ? `$${big.length}\r\n${big}\r\n` : name === 'PING' ? '+PONG\r\n' : '+OK\r\n');
      }
    });
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };

  const patient = { commandTimeoutMs: 40_000, connectTimeoutMs: 40_000 };
  const trusting = new RespClient({ host: 'localhost', port, tls: { ca: cert }, ...patient });
  assert.equal(await trusting.command(['PING']), 'PONG');
  assert.equal(await trusting.command(['GET', 'k'], { text: true }), big);
  await trusting.close();
  const wary = new RespClient({ host: '127.0.0.1', port, tls: true, whenDown: 'reject', ...patient });
  await assert.rejects(
    wary.command(['PING']),
    (error: { code: string; message: string }) =>
      error.code === 'CLIENT_DISCONNECTED' && /certificate/.test(error.message),
  );
  await wary.close();
  await new Promise((resolve) => server.close(resolve));
});
