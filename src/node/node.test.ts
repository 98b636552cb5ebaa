import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../base/random.ts';
import { ReplyWriter } from '../resp/writer.ts';
import { Node, type NodeOptions } from './node.ts';
import type { NodeSession } from './node-session.ts';

const START = 1_700_000_000_000;
const encoder = new TextEncoder();

function makeNode(options: Partial<NodeOptions> = {}): Node {
  return new Node({
    memoryBytes: 8 * 1024 * 1024,
    eviction: 'tinylfu',
    random: new SeededRandom(5),
    startMs: START,
    version: '0.0.0',
    leaseCapacity: 256,
    generationCapacity: 256,
    ...options,
  });
}

/** A client with its own session and reply buffer. */
class Client {
  readonly node: Node;
  readonly session: NodeSession;
  readonly out = new ReplyWriter();
  constructor(node: Node) {
    this.node = node;
    this.session = node.openSession(START, { address: 'test:1', kind: 'resp' });
  }
  send(bytes: Uint8Array, nowMs = START): string {
    this.out.reset();
    this.node.onRequest(this.session, bytes, 0, bytes.length, nowMs, this.out);
    return Buffer.from(this.out.bytes.subarray(0, this.out.length)).toString('latin1');
  }
  line(text: string, nowMs = START): string {
    return this.send(encoder.encode(`${text}\r\n`), nowMs);
  }
}

const commandLine = fc.oneof(
  fc
    .tuple(fc.constantFrom('SET', 'APPEND', 'GETSET'), fc.constantFrom('a', 'b', 'n:c'), fc.nat(99))
    .map((w) => w.join(' ')),
  fc
    .tuple(fc.constantFrom('GET', 'DEL', 'INCR', 'TTL', 'GETDEL'), fc.constantFrom('a', 'b', 'n:c'))
    .map((w) => w.join(' ')),
  fc.constantFrom(
    'BW.GET n:c LEASE',
    'BW.GET a LEASE 50',
    'BW.SET a 1 PX 40 TAGS 1 t',
    'BW.INVALIDATE TAGS 1 t NAMESPACES 1 n',
  ),
  fc.constantFrom(
    'RANDOMKEY',
    'SCAN 0',
    'INFO all',
    'CLIENT LIST',
    'EXPIRE a 1',
    'HELLO 3',
    'HELLO 2',
    'BW.STATS',
    'FLUSHALL',
    'nosuch',
  ),
);

test('the same bytes, times and seed give the same replies', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(commandLine, fc.nat(60)), { maxLength: 80 }), (steps) => {
      const run = (): string => {
        const node = makeNode();
        const clients = [new Client(node), new Client(node)];
        let now = START;
        let replies = '';
        steps.forEach(([line, after], index) => {
          now += after;
          replies += clients[index & 1]!.line(line, now);
          if (index % 7 === 0) replies += `tick ${node.onTick(now)}\n`;
        });
        return replies + JSON.stringify(node.stats());
      };
      assert.equal(run(), run());
    }),
    { numRuns: 60 },
  );
});

test('replies do not depend on how the bytes were split', () => {
  const script = ['HELLO 3', 'SET a "x y"', 'GET a', 'BW.GET n:c LEASE', 'INCR k', 'nosuch', 'PING'].join('\r\n');
  const whole = new Client(makeNode()).line(script);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 40 }), (sizes) => {
      const client = new Client(makeNode());
      const bytes = encoder.encode(`${script}\r\n`);
      let at = 0;
      let replies = '';
      for (let i = 0; at < bytes.length; i += 1) {
        const size = sizes[i % sizes.length]!;
        replies += client.send(bytes.subarray(at, at + size));
        at += size;
      }
      assert.equal(replies, whole);
    }),
    { numRuns: 100 },
  );
});

const garbage = fc.oneof(
  { weight: 2, arbitrary: fc.uint8Array({ maxLength: 200 }) },
  {
    weight: 3,
    arbitrary: fc
      .array(
        fc.constantFrom(
          '*1\r\n',
          '*3\r\n',
          '$3\r\n',
          '$-1\r\n',
          '*-5\r\n',
          'SET',
          'GET',
          'x',
          '\r\n',
          '$99999999999\r\n',
          '*1048577\r\n',
          '\0',
          '"',
          'BW.FILL 2 k v 5 ',
          '*',
          '$',
          'BW.MGET 3 a b',
          ' LEASE',
        ),
        { maxLength: 30 },
      )
      .map((parts) => encoder.encode(parts.join(''))),
  },
  {
    weight: 4,
    arbitrary: fc
      .tuple(
        fc.constantFrom(
          'SET',
          'GETEX',
          'BW.SET',
          'BW.GET',
          'BW.MGET',
          'BW.FILL',
          'BW.INVALIDATE',
          'SCAN',
          'CLIENT',
          'CONFIG',
          'COMMAND',
          'HELLO',
          'INFO',
          'EXPIRE',
          'SETRANGE',
          'GETRANGE',
          'INCRBYFLOAT',
          'MSET',
          'KEYS',
        ),
        fc.array(
          fc.oneof(
            fc.constantFrom(
              'a',
              '0',
              '1',
              '2',
              '-1',
              '9223372036854775807',
              'PX',
              'EX',
              'TAGS',
              'LEASE',
              '1-1',
              'KEYS',
              'NAMESPACES',
              'NX',
              'GET',
              'LIST',
              'ID',
              'INFO',
              'MATCH',
              'COUNT',
              '[',
              '*',
              '',
            ),
            fc.string({ maxLength: 5, unit: 'binary' }),
          ),
          { maxLength: 9 },
        ),
      )
      .map(([name, args]) => {
        const words = [name, ...args].map((word) => Buffer.from(word, 'latin1'));
        return Buffer.concat([
          Buffer.from(`*${words.length}\r\n`),
          ...words.flatMap((word) => [Buffer.from(`$${word.length}\r\n`), word, Buffer.from('\r\n')]),
        ]);
      }),
  },
);

test('fuzz: whatever bytes come, nothing throws and what is kept stays bounded', () => {
  const node = makeNode();
  fc.assert(
    fc.property(fc.array(garbage, { maxLength: 12 }), (chunks) => {
      const client = new Client(node);
      let sent = 0;
      for (const chunk of chunks) {
        client.send(chunk);
        sent += chunk.length;
        assert.ok(client.session.inputBytes <= sent);
        if (client.session.closing) {
          assert.equal(client.line('PING'), '', 'nothing is executed after the end');
          break;
        }
      }
      node.closeSession(client.session);
      node.store.invariants();
      node.context.freshness.invariants();
    }),
    { numRuns: 400 },
  );
  const stats = node.stats();
  assert.equal(stats.sessions.open, 0);
  assert.ok(stats.store.usedBytes <= stats.store.memoryBytes);
});

test('a pipeline gets the replies of its commands sent one by one', () => {
  // What INFO counts (bytes read so far) depends on how the bytes came, and on nothing else.
  const steady = commandLine.filter((line) => !/^(?:INFO|CLIENT)/.test(line));
  fc.assert(
    fc.property(fc.array(steady, { minLength: 1, maxLength: 20 }), (lines) => {
      const alone = new Client(makeNode());
      const replies = lines.map((line) => alone.line(line));
      assert.ok(replies.every((reply) => reply.length > 0));
      assert.equal(new Client(makeNode()).line(lines.join('\r\n')), replies.join(''));
    }),
    { numRuns: 50 },
  );
});

test('a protocol error is answered and ends the session', () => {
  const node = makeNode();
  const client = new Client(node);
  assert.equal(
    client.send(encoder.encode('*1\r\n$4\r\nPING\r\n*1\r\n+oops\r\n')),
    "+PONG\r\n-ERR Protocol error: expected '$', got '+'\r\n",
  );
  assert.equal(client.session.closing, true);
  assert.equal(client.line('PING'), '');
  assert.equal(node.stats().commands.protocolErrors, 1);
});

test('HTTP on the RESP port ends the session before the body is executed', () => {
  for (const request of [
    'POST / HTTP/1.1\r\nContent-Type: text/plain\r\n\r\nSET a 1',
    'PUT / HTTP/1.1\r\nhost: x\r\n\r\nSET a 1',
  ]) {
    const client = new Client(makeNode());
    assert.match(client.line(request), /-ERR Protocol error: this is an HTTP request[^\r]*\r\n$/);
    assert.equal(client.session.closing, true);
    assert.equal(client.node.stats().commands.protocolErrors, 1);
  }
});

test('QUIT answers, ends the session and executes nothing behind it', () => {
  const client = new Client(makeNode());
  assert.equal(client.line('SET a 1\r\nQUIT\r\nSET a 2'), '+OK\r\n+OK\r\n');
  assert.equal(client.session.closing, true);
});

test('a client that does not read is stopped at its output bound and goes on where it stopped', () => {
  const client = new Client(makeNode());
  client.line(`SET big ${'x'.repeat(10_000)}`);
  client.session.outputLimitBytes = 50_000;
  let replies = client.line(Array(100).fill('GET big').join('\r\n'));
  assert.ok(replies.length >= 50_000 && replies.length < 61_000, 'stopped within one reply of the bound');
  assert.ok(client.session.inputBytes > 0);
  while (client.session.inputBytes > 0) replies += client.send(new Uint8Array(0));
  assert.equal(replies.length, 100 * (10_000 + '$10000\r\n\r\n'.length));
});

test('MGET of a large value under many names is refused instead of ending the process', () => {
  const client = new Client(makeNode({ memoryBytes: 32 * 1024 * 1024 }));
  client.session.outputLimitBytes = Number.MAX_SAFE_INTEGER;
  assert.equal(client.line('SETRANGE big 6000000 x'), ':6000001\r\n');
  assert.match(client.line(`MGET ${'big '.repeat(60)}`), /^-ERR reply is too large/);
  assert.equal(client.line('PING'), '+PONG\r\n');
});

test('time never goes back', () => {
  const node = makeNode();
  const client = new Client(node);
  client.line('SET a 1 PX 100', START);
  assert.equal(client.line('PTTL a', START + 60), ':40\r\n');
  assert.equal(client.line('PTTL a', START - 3_600_000), ':40\r\n');
  assert.equal(client.line('GET a', START + 100), '$-1\r\n');
});

test('ticks remove what has expired', () => {
  const node = makeNode();
  const client = new Client(node);
  for (let i = 0; i < 100; i += 1) client.line(`SET k${i} v PX ${i + 1}`);
  let now = START;
  for (let i = 0; i < 200 && node.store.size > 0; i += 1) {
    now += Math.max(1, node.onTick(now));
  }
  assert.equal(node.store.size, 0);
  assert.equal(node.stats().store.expirations, 100);
});

test('a single node refuses frames and counts them', () => {
  const node = makeNode();
  node.onFrame('peer', new Uint8Array([1]), START, null);
  assert.equal(node.stats().frames.refused, 1);
});

test('statistics name the commands; RESETSTAT changes INFO and not the counters', () => {
  const node = makeNode();
  const client = new Client(node);
  for (const line of ['GET a', 'GET', 'INCR a', 'SET s x', 'INCR s', 'nosuch']) client.line(line);
  assert.deepEqual(node.stats().commands.byName['get'], { calls: 1, failures: 0, rejections: 1 });
  assert.deepEqual(node.stats().commands.byName['incr'], { calls: 2, failures: 1, rejections: 0 });
  assert.equal(node.stats().commands.errorReplies, 3);
  assert.match(client.line('INFO commandstats'), /cmdstat_get:calls=1,rejected_calls=1,failed_calls=0/);
  client.line('CONFIG RESETSTAT');
  assert.doesNotMatch(client.line('INFO commandstats'), /cmdstat_get/);
  assert.match(client.line('INFO stats'), /keyspace_misses:0\r\n/);
  assert.equal(node.stats().commands.byName['get']!.calls, 1);
});

test('CLIENT LIST shows every session with its names', () => {
  const node = makeNode();
  const first = new Client(node);
  const second = new Client(node);
  first.line('CLIENT SETNAME one');
  second.line('CLIENT SETINFO LIB-NAME tester');
  const list = first.line('CLIENT LIST');
  assert.match(list, /id=1 addr=test:1 .*name=one .*cmd=client .*\n/);
  assert.match(list, /id=2 .*lib-name=tester lib-ver=\n/);
  node.closeSession(second.session);
  assert.doesNotMatch(first.line('CLIENT LIST'), /id=2/);
  assert.equal(first.line('CLIENT LIST ID 2'), '$0\r\n\r\n');
});
