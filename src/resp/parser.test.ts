import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, before, describe, test } from 'node:test';
import fc from 'fast-check';
import { RedisServer } from '../../test/support/redis-server.ts';
import { requires } from '../../test/support/requirements.ts';
import { type Args, NEED_MORE, REQUEST, type RequestLimits, RequestParser } from './parser.ts';

const latin1 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'latin1'));

function argsOf(args: Args): string[] {
  const out: string[] = [];
  for (let i = 0; i < args.count; i += 1) {
    out.push(latin1(args.bytes.subarray(args.start[i]!, args.start[i]! + args.length[i]!)));
  }
  return out;
}

/**
 * Feeds `input` cut at `cuts` through one lent buffer that is overwritten after each chunk, as a socket's static read buffer is.
 * `perCall` bounds how many requests are taken per chunk (the rest stays for the next call), as a node that waits for a slow reader does.
 */
function parseAll(
  input: Uint8Array,
  cuts: readonly number[],
  limits: RequestLimits = {},
  perCall = Infinity,
): unknown[] {
  const parser = new RequestParser(limits);
  const lent = new Uint8Array(input.length + 7);
  const out: unknown[] = [];
  const drain = (): boolean => {
    for (let taken = 0; taken < perCall; taken += 1) {
      const result = parser.next();
      if (result === NEED_MORE) return true;
      if (result !== REQUEST) {
        out.push({ error: parser.error });
        return false;
      }
      out.push(argsOf(parser.args));
    }
    return true;
  };
  let at = 0;
  for (const cut of [...cuts, input.length]) {
    const offset = cut % 7;
    lent.fill(0xee);
    lent.set(input.subarray(at, cut), offset);
    parser.begin(lent, offset, offset + cut - at);
    const alive = drain();
    parser.finish();
    if (!alive) return out;
    at = cut;
  }
  lent.fill(0xee);
  for (let before = -1; before !== out.length; ) {
    before = out.length;
    parser.begin(lent, 0, 0);
    const alive = drain();
    parser.finish();
    if (!alive) return out;
  }
  return out;
}

function encode(args: readonly Uint8Array[]): Uint8Array {
  return Buffer.concat([
    Buffer.from(`*${args.length}\r\n`),
    ...args.flatMap((arg) => [Buffer.from(`$${arg.length}\r\n`), arg, Buffer.from('\r\n')]),
  ]);
}

const sortedCuts = (input: Uint8Array, raw: readonly number[]): number[] =>
  [...new Set(raw.map((n) => n % (input.length + 1)))].sort((a, b) => a - b);

test('any split of any requests gives the same requests', () => {
  const request = fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(
      fc.array(request, { maxLength: 12 }),
      fc.array(fc.nat(), { maxLength: 20 }),
      fc.integer({ min: 1, max: 4 }),
      (requests, raw, perCall) => {
        const input = new Uint8Array(Buffer.concat(requests.map(encode)));
        const expected = requests.map((request) => request.map(latin1));
        assert.deepEqual(parseAll(input, []), expected);
        assert.deepEqual(parseAll(input, sortedCuts(input, raw)), expected);
        assert.deepEqual(parseAll(input, sortedCuts(input, raw), {}, perCall), expected);
        assert.deepEqual(parseAll(input, [...input.keys()]), expected);
      },
    ),
    { numRuns: 300 },
  );
});

test('garbage: never throws, ends, and the split makes no difference to results or errors', () => {
  const piece = fc.constantFrom(
    ...[
      '*',
      '$',
      '1',
      '2',
      '\r\n',
      '\r',
      '\n',
      'GET',
      '"',
      "'",
      '\\x41',
      '\\',
      ' ',
      '*2\r\n',
      '$3\r\nabc\r\n',
      '$0\r\n\r\n',
      '-1',
      '0',
    ],
    ...[
      '12345678901',
      'x'.repeat(30),
      `*1\r\n$40\r\n${'y'.repeat(40)}\r\n`,
      '\0',
      '*3\r\n',
      '$-1\r\n',
      '*0\r\n',
      '\xff',
      '*99\r\n',
    ],
  );
  const limits = { maxInlineBytes: 20, maxBulkBytes: 60, maxRequestBytes: 100, maxArgs: 5 };
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 14 }), fc.array(fc.nat(), { maxLength: 8 }), (pieces, raw) => {
      const input = bytesOf(pieces.join(''));
      const whole = parseAll(input, [], limits);
      assert.deepEqual(parseAll(input, sortedCuts(input, raw), limits), whole);
      assert.deepEqual(parseAll(input, [...input.keys()], limits), whole);
      assert.deepEqual(parseAll(input, sortedCuts(input, raw), limits, 1), whole);
    }),
    { numRuns: 800 },
  );
});

test('random bytes never throw', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (input) => {
      assert.deepEqual(parseAll(input, [...input.keys()]), parseAll(input, []));
    }),
    { numRuns: 300 },
  );
});

test('inline commands: blanks, quotes and escapes as sdssplitargs', () => {
  const cases: Record<string, string[] | 'unbalanced'> = {
    'PING\r\n': ['PING'],
    '  SET  a\tb \n': ['SET', 'a', 'b'],
    'ECHO "a\\x41\\n\\q\\"" \'it\\\'s\'\r\n': ['ECHO', 'aA\nq"', "it's"],
    'ECHO foo"bar"\r\n': ['ECHO', 'foobar'],
    'ECHO ""\r\n': ['ECHO', ''],
    'ECHO a\x0bb\r\n': ['ECHO', 'a\x0bb'],
    '\x0bPING\r\n': ['PING'],
    'ECHO "\\x4"\r\n': ['ECHO', 'x4'],
    'SET a "b\r\n': 'unbalanced',
    'SET a "b"c\r\n': 'unbalanced',
    "GET 'a\r\n": 'unbalanced',
    'GET "a\\\r\n': 'unbalanced',
  };
  for (const [line, expected] of Object.entries(cases)) {
    const want = expected === 'unbalanced' ? { error: 'Protocol error: unbalanced quotes in request' } : expected;
    assert.deepEqual(parseAll(bytesOf(line), []), [want], JSON.stringify(line));
  }
  assert.deepEqual(parseAll(bytesOf('\r\n\n  \r\n*0\r\n*-1\r\nPING\n'), []), [['PING']]);
  const many = Array.from({ length: 100 }, (_, i) => `a${i}`);
  assert.deepEqual(parseAll(bytesOf(`${many.join(' ')}\r\n`), []), [many]);
});

test('an announced length allocates nothing; what is kept is bounded by what arrived', () => {
  const parser = new RequestParser({ maxBulkBytes: 2 ** 29, maxRequestBytes: 2 ** 29 + 100 });
  const before = process.memoryUsage().arrayBuffers;
  for (const text of ['*1000000\r\n', '$536870912\r\n', 'abc']) {
    const chunk = bytesOf(text);
    parser.begin(chunk, 0, chunk.length);
    assert.equal(parser.next(), NEED_MORE);
    parser.finish();
  }
  assert.ok(process.memoryUsage().arrayBuffers - before < 1_000_000);
  assert.equal(parser.bufferedBytes, 10 + 12 + 3);
});

test('a large bulk in small chunks costs O(n)', () => {
  const size = 8 * 1024 * 1024;
  const parser = new RequestParser();
  const head = bytesOf(`*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$${size}\r\n`);
  const chunk = new Uint8Array(1000).fill(7);
  const started = performance.now();
  parser.begin(head, 0, head.length);
  assert.equal(parser.next(), NEED_MORE);
  parser.finish();
  let left = size;
  while (left > 0) {
    const n = Math.min(left, chunk.length);
    parser.begin(chunk, 0, n);
    assert.equal(parser.next(), NEED_MORE);
    parser.finish();
    left -= n;
  }
  parser.begin(bytesOf('\r\nPING\r\n'), 0, 8);
  assert.equal(parser.next(), REQUEST);
  assert.equal(parser.args.length[2], size);
  assert.equal(parser.args.bytes[parser.args.start[2]! + size - 1], 7);
  assert.equal(parser.next(), REQUEST);
  assert.deepEqual(argsOf(parser.args), ['PING']);
  parser.finish();
  assert.equal(parser.bufferedBytes, 0);
  assert.ok(performance.now() - started < 60_000, 'quadratic copying would take minutes');
});

test('many arguments and a long line in one-byte chunks cost O(n)', () => {
  const started = performance.now();
  const input = bytesOf(`*50000\r\n${'$1\r\nx\r\n'.repeat(50_000)}${'y'.repeat(60_000)}\r\n`);
  const parser = new RequestParser();
  let requests = 0;
  for (let i = 0; i < input.length; i += 1) {
    parser.begin(input, i, i + 1);
    while (parser.next() === REQUEST) requests += parser.args.count;
    parser.finish();
  }
  assert.equal(requests, 50_001);
  assert.ok(performance.now() - started < 60_000);
});

test('after an error everything further is ignored', () => {
  const parser = new RequestParser();
  for (let round = 0; round < 3; round += 1) {
    const chunk = bytesOf('*x\r\nPING\r\n');
    parser.begin(chunk, 0, chunk.length);
    assert.equal(parser.next(), -1);
    assert.equal(parser.next(), -1);
    parser.finish();
    assert.equal(parser.bufferedBytes, 0);
  }
  assert.equal(parser.error, 'Protocol error: invalid multibulk length');
});

/** What both must answer: `null` for no error. Sent to a real redis-server and to the parser. */
const MALFORMED = [
  ...[
    '*2147483648\r\n',
    '*01\r\n',
    '*+1\r\n',
    '* 1\r\n',
    '*\r\n',
    '*x\r\n',
    '*-0\r\n',
    '*1x\r\n',
    '*12345678901234567890\r\n',
  ],
  ...[
    '*1\r\nfoo\r\n',
    '*1\r\n\r\n',
    '*1\r\n$-1\r\n',
    '*1\r\n$999999999999\r\n',
    '*1\r\n$04\r\nPING\r\n',
    '*1\r\n$\r\n',
    '*1\r\n$4 \r\n',
  ],
  ...['SET a "b\r\n', 'SET a "b"c\r\n', "GET 'a\r\n"],
  ...['x'.repeat(70_000), `*${'1'.repeat(70_000)}`, `*1\r\n$${'1'.repeat(70_000)}`],
  ...[
    '*-1\r\nPING\r\n',
    '*0\r\nPING\r\n',
    '*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n',
    '*1\rx$4\rxPING\r\n',
    '\r\n\n  \r\nPING\n',
  ],
];

describe('against redis-server', requires('redis-server'), () => {
  let redis: RedisServer | undefined;

  before(async () => {
    redis = await RedisServer.start();
  });
  after(() => redis?.close());

  test('the same frames are refused with the same words', async () => {
    for (const frame of MALFORMED) {
      const outcome = parseAll(bytesOf(frame), []);
      const last = outcome.at(-1) as { error?: string } | string[];
      const ours = Array.isArray(last)
        ? '+PONG\r\n'.repeat(outcome.length)
        : `-ERR ${last.error!.replaceAll('\r', ' ')}\r\n`;
      assert.equal(await ask(redis!.port, frame, ours.length), ours, JSON.stringify(frame.slice(0, 60)));
    }
  });
});

function ask(port: number, frame: string, length: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(bytesOf(frame)));
    let text = '';
    const done = (): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(text);
    };
    const timer = setTimeout(done, 3000);
    socket.setEncoding('latin1');
    socket.on('data', (piece: string) => {
      text += piece;
      if (text.length >= length) done();
    });
    socket.on('end', done);
    socket.on('error', reject);
  });
}
