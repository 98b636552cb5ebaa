import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type Reply, ReplyError, ReplyMap, replyMap, replyText } from './reply.ts';
import { NEED_MORE, PROTOCOL_ERROR, REPLY, type ReplyLimits, ReplyParser } from './reply-parser.ts';
import { ReplyWriter } from './writer.ts';

/** A reply as a tree, so that the same one can be written and expected. */
type Node =
  | { t: 'simple' | 'error' | 'text' | 'verbatim'; v: string }
  | { t: 'bulk'; v: Uint8Array }
  | { t: 'int' | 'double'; v: number }
  | { t: 'int64' | 'big'; v: bigint }
  | { t: 'bool'; v: boolean }
  | { t: 'null' }
  | { t: 'nullArray' }
  | { t: 'array' | 'set'; v: Node[] }
  | { t: 'map'; v: [Node, Node][] };

function write(writer: ReplyWriter, node: Node): void {
  if (node.t === 'simple') writer.simple(node.v);
  else if (node.t === 'error') writer.error(node.v);
  else if (node.t === 'text') writer.bulkText(node.v);
  else if (node.t === 'verbatim') writer.verbatim(node.v);
  else if (node.t === 'int') writer.integer(node.v);
  else if (node.t === 'int64') writer.integer64(node.v);
  else if (node.t === 'double') writer.double(node.v);
  else if (node.t === 'big') writer.bigInteger(node.v);
  else if (node.t === 'bool') writer.boolean(node.v);
  else if (node.t === 'null') writer.nullBulk();
  else if (node.t === 'nullArray') writer.nullArray();
  else if (node.t === 'bulk') {
    const at = writer.beginBulk(node.v.length);
    writer.bytes.set(node.v, at);
    writer.endBulk(node.v.length);
  } else if (node.t === 'map') {
    writer.map(node.v.length);
    for (const pair of node.v) for (const member of pair) write(writer, member);
  } else if (node.t === 'array' || node.t === 'set') {
    if (node.t === 'array') writer.array(node.v.length);
    else writer.set(node.v.length);
    for (const member of node.v) write(writer, member);
  }
}

/** What the client must see of it, as plain text that can be compared. */
function expected(node: Node, protocol: 2 | 3): unknown {
  switch (node.t) {
    case 'simple':
      return `s:${node.v}`;
    case 'error':
      return `e:${node.v.replace(/[\r\n]/g, ' ')}`;
    case 'text':
    case 'verbatim':
      return `b:${Buffer.from(node.v).toString('hex')}`;
    case 'bulk':
      return `b:${Buffer.from(node.v).toString('hex')}`;
    case 'int':
      return node.v;
    case 'int64':
      return Number.isSafeInteger(Number(node.v)) ? Number(node.v) : node.v;
    case 'double':
      return protocol === 3 ? node.v : `b:${Buffer.from(doubleText(node.v)).toString('hex')}`;
    case 'big':
      return protocol === 3 ? node.v : `b:${Buffer.from(String(node.v)).toString('hex')}`;
    case 'bool':
      return protocol === 3 ? node.v : node.v ? 1 : 0;
    case 'null':
    case 'nullArray':
      return null;
    case 'array':
    case 'set':
      return node.v.map((member) => expected(member, protocol));
    case 'map': {
      const flat = node.v.flatMap(([key, value]) => [expected(key, protocol), expected(value, protocol)]);
      return protocol === 3 ? { map: flat } : flat;
    }
  }
}

const doubleText = (x: number): string => (Number.isFinite(x) ? String(x) : x > 0 ? 'inf' : '-inf');

function seen(reply: Reply): unknown {
  if (typeof reply === 'string') return `s:${reply}`;
  if (reply instanceof ReplyError) return `e:${reply.message}`;
  if (reply instanceof Uint8Array) return `b:${Buffer.from(reply).toString('hex')}`;
  if (reply instanceof ReplyMap) return { map: reply.flat.map(seen) };
  return Array.isArray(reply) ? reply.map(seen) : reply;
}

function parseAll(
  input: Uint8Array,
  cuts: readonly number[],
  limits: ReplyLimits = {},
): { replies: unknown[]; pushes: unknown[]; error: string } {
  const pushes: unknown[] = [];
  const parser = new ReplyParser((kind, items) => pushes.push([kind, ...items.map(seen)]), limits);
  const lent = new Uint8Array(input.length + 1);
  const kept: Reply[] = [];
  let at = 0;
  for (const cut of [...cuts, input.length]) {
    lent.fill(0xee);
    lent.set(input.subarray(at, cut), 1);
    parser.begin(lent, 1, 1 + cut - at);
    let result = parser.next();
    for (; result === REPLY; result = parser.next()) kept.push(parser.value);
    parser.finish();
    if (result === PROTOCOL_ERROR) break;
    assert.equal(result, NEED_MORE);
    at = cut;
  }
  lent.fill(0xee); // values must not live in the lent buffer
  return { replies: kept.map(seen), pushes, error: parser.error };
}

const line = fc.string({ maxLength: 12 }).map((text) => text.replace(/[\r\n]/g, ''));
const node: fc.Arbitrary<Node> = fc.letrec<{ node: Node }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    fc.record({ t: fc.constant('bulk' as const), v: fc.uint8Array({ maxLength: 150 }) }),
    fc.record({ t: fc.constant('simple' as const), v: line }),
    fc.record({ t: fc.constant('error' as const), v: fc.string({ unit: 'grapheme', maxLength: 12 }) }),
    fc.record({ t: fc.constant('error' as const), v: fc.constant('ERR received a\r\nb\u00e9\n\u{1F600}') }),
    fc.record({
      t: fc.constantFrom('text' as const, 'verbatim' as const),
      v: fc.string({ unit: 'grapheme', maxLength: 20 }),
    }),
    fc.record({ t: fc.constant('int' as const), v: fc.maxSafeInteger() }),
    fc.record({ t: fc.constant('int' as const), v: fc.integer({ min: -1000, max: 1000 }) }),
    fc.record({ t: fc.constant('int64' as const), v: fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }) }),
    fc.record({ t: fc.constant('big' as const), v: fc.bigInt() }),
    fc.record({ t: fc.constant('double' as const), v: fc.double({ noNaN: true }).map((x) => (x === 0 ? 0 : x)) }),
    fc.record({ t: fc.constant('bool' as const), v: fc.boolean() }),
    fc.record({ t: fc.constantFrom('null' as const, 'nullArray' as const) }),
    fc.record({ t: fc.constantFrom('array' as const, 'set' as const), v: fc.array(tie('node'), { maxLength: 4 }) }),
    fc.record({ t: fc.constant('map' as const), v: fc.array(fc.tuple(tie('node'), tie('node')), { maxLength: 3 }) }),
  ),
})).node;

test('what the writer writes the parser reads, in both protocols and any split', () => {
  fc.assert(
    fc.property(
      fc.array(node, { minLength: 1, maxLength: 6 }),
      fc.constantFrom(2 as const, 3 as const),
      fc.array(fc.nat(), { maxLength: 12 }),
      (nodes, protocol, raw) => {
        const writer = new ReplyWriter(16);
        writer.protocol = protocol;
        for (const item of nodes) write(writer, item);
        const input = writer.take();
        const want = nodes.map((item) => expected(item, protocol));
        const cuts = [...new Set(raw.map((n) => n % (input.length + 1)))].sort((a, b) => a - b);
        for (const split of [[], cuts, [...input.keys()]]) {
          const got = parseAll(input, split);
          assert.equal(got.error, '');
          assert.deepEqual(got.replies, want);
        }
      },
    ),
    { numRuns: 300 },
  );
});

test('garbage: never throws, and the split makes no difference', () => {
  const piece = fc.constantFrom(
    ...[
      '*2\r\n',
      '$3\r\nabc\r\n',
      '$-1\r\n',
      '*-1\r\n',
      ':12\r\n',
      '%1\r\n',
      '>2\r\n',
      '|1\r\n',
      '_\r\n',
      '#t\r\n',
      ',1.5\r\n',
      '+OK\r\n',
      '-ERR x\r\n',
    ],
    ...[
      '$?\r\n',
      '*?\r\n',
      '$5\r\nab',
      '=7\r\ntxt:abc\r\n',
      '!5\r\nERR x\r\n',
      '\r',
      '\n',
      '(123\r\n',
      '$99999999999\r\n',
      '~1\r\n',
      'x',
      '*0\r\n',
      '%0\r\n',
      '>0\r\n',
      ',nan\r\n',
    ],
  );
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), fc.array(fc.nat(), { maxLength: 8 }), (pieces, raw) => {
      const input = new Uint8Array(Buffer.from(pieces.join(''), 'latin1'));
      const whole = parseAll(input, [], { maxDepth: 3 });
      const cuts = [...new Set(raw.map((n) => n % (input.length + 1)))].sort((a, b) => a - b);
      assert.deepEqual(parseAll(input, cuts, { maxDepth: 3 }), whole);
      assert.deepEqual(parseAll(input, [...input.keys()], { maxDepth: 3 }), whole);
    }),
    { numRuns: 600 },
  );
});

const parseText = (text: string, limits?: ReplyLimits) =>
  parseAll(new Uint8Array(Buffer.from(text, 'latin1')), [], limits);

test('pushes between and before replies are set apart; attributes are skipped', () => {
  const got = parseText(
    '>2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n:1\r\n>1\r\n+hello\r\n|1\r\n+ttl\r\n:5\r\n*2\r\n|1\r\n+a\r\n+b\r\n:1\r\n:2\r\n',
  );
  assert.equal(got.error, '');
  assert.deepEqual(got.replies, [1, [1, 2]]);
  assert.deepEqual(got.pushes, [['invalidate', ['b:6b']], ['hello']]);
});

test('streamed types, pushes inside replies and limits are refused', () => {
  for (const text of [
    '$?\r\n',
    '*?\r\n',
    '*1\r\n>1\r\n+x\r\n',
    '*1\r\n*1\r\n*1\r\n:1\r\n',
    '$11\r\n',
    '$-2\r\n',
    '%-1\r\n',
    '$1\r\nabc',
    ':\r\n',
    ':1\n',
    '#x\r\n',
    'HTTP/1.1 200\r\n',
    `+${'x'.repeat(99)}`,
  ]) {
    assert.match(
      parseText(text, { maxDepth: 2, maxBulkBytes: 10, maxLineBytes: 50 }).error,
      /cannot read the reply/,
      text,
    );
  }
});

test('an announced length allocates at most a first step; a slow large bulk costs O(n)', () => {
  const parser = new ReplyParser();
  const before = process.memoryUsage().arrayBuffers;
  const head = Buffer.from(`$${400 * 1024 * 1024}\r\n`);
  parser.begin(head, 0, head.length);
  assert.equal(parser.next(), NEED_MORE);
  parser.finish();
  assert.ok(parser.midReply);
  assert.ok(process.memoryUsage().arrayBuffers - before < 3_000_000);

  const size = 16 * 1024 * 1024;
  const other = new ReplyParser();
  const started = performance.now();
  const chunk = new Uint8Array(1000).fill(9);
  const header = Buffer.from(`$${size}\r\n`);
  other.begin(header, 0, header.length);
  other.next();
  other.finish();
  for (let left = size; left > 0; left -= chunk.length) {
    other.begin(chunk, 0, Math.min(left, chunk.length));
    assert.equal(other.next(), NEED_MORE);
    other.finish();
  }
  other.begin(Buffer.from('\r\n'), 0, 2);
  assert.equal(other.next(), REPLY);
  assert.equal((other.value as Uint8Array).length, size);
  assert.ok(performance.now() - started < 60_000, 'quadratic copying would take minutes');
});

test('text mode, integers at the edges, and reading maps of both protocols', () => {
  const parser = new ReplyParser();
  const input = Buffer.from(
    '$4\r\n\u00e9\u00e8\r\n*1\r\n$1\r\nx\r\n:9007199254740993\r\n:-9223372036854775808\r\n:+5\r\n%1\r\n$1\r\na\r\n:1\r\n*2\r\n+a\r\n:1\r\n',
  );
  parser.begin(input, 0, input.length);
  const got: Reply[] = [];
  parser.text = true;
  while (parser.next() === REPLY) got.push(parser.value);
  assert.deepEqual(got.slice(0, 5), ['\u00e9\u00e8', ['x'], 9007199254740993n, -9223372036854775808n, 5]);
  assert.equal(replyMap(got[5]!)!.get('a'), 1);
  assert.equal(replyMap(got[6]!)!.get('a'), 1);
  assert.equal(replyMap(got[6]!)!.get('b'), undefined);
  assert.equal(replyMap(3), null);
  assert.equal(replyText(7), null);
  assert.equal(new ReplyError('MOVED 1 h:2').code, 'MOVED');
});

test('pushes hold bytes whatever the reply around them is asked for as', () => {
  const pushes: Reply[][] = [];
  const parser = new ReplyParser((_kind, items) => pushes.push(items));
  const input = Buffer.from('>2\r\n+m\r\n$1\r\na\r\n$1\r\nb\r\n');
  parser.text = true;
  parser.begin(input, 0, input.length);
  assert.equal(parser.next(), REPLY);
  assert.equal(parser.value, 'b');
  assert.deepEqual(pushes, [[new Uint8Array([97])]]);
});
