import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { fillerValue, KEY_BYTES, type Protocol, replyCounter, requestOf, writeKey } from './codec.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);

test('a request holds the key it was given', () => {
  for (const protocol of ['resp', 'memcached'] as const) {
    const { bytes: request, digitsAt } = requestOf(protocol, 'get', 100);
    writeKey(request, digitsAt, 12_345_678);
    assert.ok(text(request).includes('key:0000000012345678'), text(request));
    assert.equal('key:0000000012345678'.length, KEY_BYTES);
    writeKey(request, digitsAt, 7);
    assert.ok(text(request).includes('key:0000000000000007'));
  }
  const { bytes: set } = requestOf('resp', 'set', 3);
  assert.match(text(set), /^\*3\r\n\$3\r\nSET\r\n\$20\r\nkey:0{16}\r\n\$3\r\n...\r\n$/);
  const { bytes: store } = requestOf('memcached', 'set', 3);
  assert.match(text(store), /^set key:0{16} 0 0 3\r\n...\r\n$/);
});

const REPLIES: Record<Protocol, { hit: string; miss: string; stored: string; error: string; wrong: string }> = {
  resp: {
    hit: `$9\r\n${'5\r\n-ERR x'}\r\n`,
    miss: '$-1\r\n',
    stored: '+OK\r\n',
    error: '-ERR no such thing\r\n',
    wrong: '$4\r\nabcd\r\n',
  },
  memcached: {
    hit: `VALUE key:0000000012345678 0 9\r\n${'5\r\nEND\r\nx'}\r\nEND\r\n`,
    miss: 'END\r\n',
    stored: 'STORED\r\n',
    error: 'SERVER_ERROR out of memory\r\n',
    wrong: '',
  },
};

for (const protocol of ['resp', 'memcached'] as const) {
  test(`${protocol} replies are counted alike however the stream is cut`, () => {
    const kinds = ['hit', 'miss', 'stored', 'error', ...(protocol === 'resp' ? ['wrong'] : [])] as const;
    fc.assert(
      fc.property(
        fc.array(fc.constantFrom(...(kinds as readonly (keyof (typeof REPLIES)['resp'])[])), { maxLength: 30 }),
        fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 20 }),
        (sequence, cuts) => {
          const stream = bytes(sequence.map((kind) => REPLIES[protocol][kind]).join(''));
          const counter = replyCounter(protocol, 9);
          let replies = 0;
          for (let at = 0, i = 0; at < stream.length; i += 1) {
            const next = Math.min(stream.length, at + cuts[i % cuts.length]!);
            replies += counter.feed(stream.subarray(at, next), next - at);
            at = next;
          }
          const count = (kind: string): number => sequence.filter((one) => one === kind).length;
          assert.equal(replies, sequence.length);
          assert.equal(counter.hits, count('hit'));
          assert.equal(counter.misses, count('miss'));
          assert.equal(counter.stored, count('stored'));
          assert.equal(counter.errors, count('error') + count('wrong'));
        },
      ),
      { numRuns: 300 },
    );
  });
}

test('the first error is kept as text', () => {
  const resp = replyCounter('resp', 9);
  const reply = bytes('-OOM command not allowed\r\n');
  resp.feed(reply, reply.length);
  assert.equal(resp.firstError, '-OOM command not allowed');
});

test('values are printable and have the asked length', () => {
  assert.equal(fillerValue(1024).length, 1024);
  assert.ok(fillerValue(1024).every((byte) => byte >= 0x30 && byte < 0x7f));
});
