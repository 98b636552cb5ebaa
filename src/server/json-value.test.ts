import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { type EnvelopeHeader, encodeEnvelope as encodeWith } from '../base/envelope.ts';
import { memberText } from '../http/json-member.ts';
import { showValue } from './json-value.ts';

const encodeEnvelope = (of: EnvelopeHeader, payload: string): Uint8Array => encodeWith(of, payload, crc32);

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const shown = (text: string): unknown => {
  const value = showValue(bytes(text));
  return value.kind === 'value' ? [value.json, value.base64] : value;
};

test('text that is JSON shows as it stands, to the last digit', () => {
  assert.deepEqual(shown('12345678901234567890'), ['12345678901234567890', false]);
  assert.deepEqual(shown('{"id":12345678901234567890,"x":1.0}'), ['{"id":12345678901234567890,"x":1.0}', false]);
  assert.deepEqual(shown(' null\n'), ['null', false]);
  assert.deepEqual(shown('"quoted"'), ['"quoted"', false]);
});

test('text that is not JSON shows as a JSON string, other bytes as base64', () => {
  assert.deepEqual(shown('hello'), ['"hello"', false]);
  assert.deepEqual(shown(''), ['""', false]);
  assert.deepEqual(shown('{"a":'), ['"{\\"a\\":"', false]);
  assert.deepEqual(shown('NaN'), ['"NaN"', false]);
  const plain = new Uint8Array([0xff, 0xfe]);
  assert.deepEqual(showValue(plain), { kind: 'value', json: '"//4="', base64: true, plain });
});

test('an entry of the library shows its value, a remembered absence shows as absent', () => {
  const header = {
    codec: 'json',
    absent: false,
    storedAtMs: 1,
    freshMs: null,
    keptMs: null,
    loadMicros: 0,
    tags: ['t'],
  } as const;
  assert.deepEqual(showValue(encodeEnvelope(header, '{"a":1}')), {
    kind: 'value',
    json: '{"a":1}',
    base64: false,
    plain: bytes('{"a":1}'),
  });
  assert.deepEqual(showValue(encodeEnvelope({ ...header, absent: true, codec: 'none' }, '')), { kind: 'absent' });
  assert.equal(showValue(new Uint8Array([0xc1, 99, 0])).kind, 'unreadable');
});

test('memberText finds a member as it was written', () => {
  assert.equal(memberText('{"value":12345678901234567890}', 'value'), '12345678901234567890');
  assert.equal(
    memberText(' { "a" : [1,{"value":2}] , "value" : {"x": "}\\"]"} , "z":true } ', 'value'),
    '{"x": "}\\"]"}',
  );
  assert.equal(memberText('{"v\\u0061lue":1.50}', 'value'), '1.50');
  assert.equal(memberText('{"value":1,"value":2}', 'value'), '2');
  assert.equal(memberText('{}', 'value'), null);
  const deep = '['.repeat(200_000) + ']'.repeat(200_000);
  assert.equal(memberText(`{"value":${deep}}`, 'value'), deep);
});

test('memberText agrees with JSON.parse on any object', () => {
  const blanks = fc.constantFrom('', ' ', '\n\t');
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), blanks, fc.jsonValue(), (others, blank, value) => {
      const members = Object.entries({ ...others, value }).map(
        ([key, each]) => `${blank}${JSON.stringify(key)}${blank}:${blank}${JSON.stringify(each, null, blank)}${blank}`,
      );
      const text = memberText(`${blank}{${members.join(',')}}${blank}`, 'value');
      assert.equal(text, JSON.stringify(value, null, blank));
    }),
    { numRuns: 300 },
  );
});

const header: EnvelopeHeader = {
  codec: 'json',
  absent: false,
  storedAtMs: 0,
  freshMs: 1,
  keptMs: 1,
  loadMicros: 0,
  tags: [],
};

test('what the library compressed shows as its value; another codec, encryption and chunks do not show as something else', () => {
  const base64 = (bytes: Uint8Array): string => `"${Buffer.from(bytes).toString('base64')}"`;
  const plain = {
    codecId: '',
    compression: 'none',
    plainBytes: 0,
    keyId: '',
    nonce: new Uint8Array(0),
    role: 'entry',
  } as const;
  const text = `{"a":"${'x'.repeat(2000)}"}`;
  const deflated = deflateRawSync(text);
  const compressed = { ...header, wrapping: { ...plain, compression: 'deflate', plainBytes: text.length } } as const;
  const shown = showValue(encodeWith(compressed, deflated, crc32));
  assert.ok(shown.kind === 'value' && shown.json === text && !shown.base64);
  const bomb = encodeWith({ ...compressed, wrapping: { ...compressed.wrapping, plainBytes: 100 } }, deflated, crc32);
  const opaque = showValue(bomb);
  assert.ok(opaque.kind === 'value' && opaque.base64 && opaque.json === base64(bomb));
  const encrypted = encodeWith(
    { ...header, wrapping: { ...plain, keyId: 'k', nonce: new Uint8Array(12) } },
    deflated,
    crc32,
  );
  const sealed = showValue(encrypted);
  assert.ok(sealed.kind === 'value' && sealed.base64 && sealed.json === base64(encrypted));
  // msgpack's 5 is valid UTF-8.
  const packed = showValue(encodeWith({ ...header, codec: 'msgpack' }, Uint8Array.of(5), crc32));
  assert.ok(packed.kind === 'value' && packed.base64 && packed.json === base64(Uint8Array.of(5)));
  for (const role of ['manifest', 'chunk'] as const) {
    const one = encodeWith({ ...header, codec: 'none', wrapping: { ...plain, role } }, deflated, crc32);
    assert.equal(showValue(one).kind, 'unreadable');
  }
});
