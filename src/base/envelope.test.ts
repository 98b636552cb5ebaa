import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import {
  type Decoded,
  decodeJson,
  decodeEnvelope as decodeWith,
  type EnvelopeHeader,
  encodeEnvelope as encodeWith,
  isEnvelope,
  MAX_ID_BYTES,
  MAX_VALIDATOR_BYTES,
  NONCE_BYTES,
  payloadOf,
  sealEnvelope,
  utf8Length,
} from './envelope.ts';

const encodeEnvelope = (of: EnvelopeHeader, payload: Uint8Array | string): Uint8Array => encodeWith(of, payload, crc32);
const decodeEnvelope = (bytes: Uint8Array): Decoded => decodeWith(bytes, crc32);

const header: EnvelopeHeader = {
  codec: 'json',
  absent: false,
  storedAtMs: 1_700_000_000_123,
  freshMs: 600_000,
  keptMs: 4_200_000,
  loadMicros: 12_345,
  tags: [],
};

test('an envelope reads back as it was written', () => {
  const durations = fc.option(fc.nat(2 ** 31), { nil: null });
  fc.assert(
    fc.property(
      fc.record({
        absent: fc.boolean(),
        storedAtMs: fc.integer({ min: 0, max: 2 ** 47 }),
        freshMs: durations,
        keptMs: durations,
        loadMicros: fc.nat(2 ** 31),
        tags: fc.array(fc.string({ unit: 'grapheme', maxLength: 20 }), { maxLength: 6 }),
        validator: fc.string({ maxLength: MAX_VALIDATOR_BYTES, unit: 'grapheme-ascii' }),
      }),
      fc.jsonValue(),
      (fields, value) => {
        const text = JSON.stringify(value);
        const bytes = encodeEnvelope({ codec: 'json', ...fields }, text);
        const decoded = decodeEnvelope(bytes);
        assert.equal(decoded.kind, 'envelope');
        if (decoded.kind !== 'envelope') return;
        const { kind: _kind, payloadAt: _at, wrapping, ...rest } = decoded;
        const payload = payloadOf(bytes, decoded);
        assert.equal(wrapping, null);
        assert.deepEqual(rest, { codec: 'json', ...fields });
        assert.deepEqual(decodeJson(payload), JSON.parse(text));
        assert.deepEqual(encodeEnvelope(rest, payload), bytes, 'text and its bytes make the same envelope');
      },
    ),
  );
});

test('utf8Length is what TextEncoder writes, lone surrogates included', () => {
  const encoder = new TextEncoder();
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.array(fc.integer({ min: 0, max: 0xffff })), (text, units) => {
      const odd = text + String.fromCharCode(...units);
      assert.equal(utf8Length(odd), encoder.encode(odd).length);
    }),
  );
});

test('no text, JSON or empty value is taken for an envelope', () => {
  const encoder = new TextEncoder();
  assert.equal(decodeEnvelope(new Uint8Array(0)).kind, 'foreign');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.equal(isEnvelope(encoder.encode(text)), false);
    }),
  );
});

test('another version, an unknown flag or codec, and any cut are unreadable, never a value', () => {
  const bytes = encodeEnvelope({ ...header, tags: ['org:7', 'päge'] }, '"x"');
  const changed = (index: number, value: number): Uint8Array => {
    const copy = bytes.slice();
    copy[index] = value;
    return copy;
  };
  for (const [index, value, cause, reason] of [
    [1, 2, 'format', 'format version 2'],
    [2, 9, 'format', 'codec 9'],
    [3, 64, 'format', 'flags 0x40'],
    [5, 2, 'format', 'seal 2'],
    [4, 3, 'damaged', 'cut short'],
    [38, 200, 'damaged', 'tags'],
  ] as const) {
    const copy = changed(index, value);
    sealEnvelope(copy, crc32);
    assert.deepEqual(decodeEnvelope(copy), { kind: 'unreadable', cause, reason });
  }
  for (let length = 1; length < bytes.length; length += 1) {
    assert.equal(decodeEnvelope(bytes.subarray(0, length)).kind, 'unreadable', `cut at ${length}`);
  }
});

test('any byte changed to anything: unreadable, or foreign and no JSON', () => {
  const bytes = encodeEnvelope({ ...header, tags: ['org:7'] }, '12345');
  for (let index = 0; index < bytes.length; index += 1) {
    for (let value = 0; value < 256; value += 1) {
      if (value === bytes[index]) continue;
      const copy = bytes.slice();
      copy[index] = value;
      const { kind } = decodeEnvelope(copy);
      assert.notEqual(kind, 'envelope', `byte ${index} as ${value}`);
      if (kind === 'foreign') assert.equal(decodeJson(copy), undefined);
    }
  }
});

test('a validator stands behind whatever was done to the payload, at its longest', () => {
  const wrapping = {
    codecId: 'c'.repeat(MAX_ID_BYTES),
    compression: 'deflate',
    plainBytes: 9,
    keyId: 'k'.repeat(MAX_ID_BYTES),
    nonce: new Uint8Array(NONCE_BYTES).fill(7),
    role: 'entry',
  } as const;
  for (const validator of ['', 'x', 'v'.repeat(MAX_VALIDATOR_BYTES)]) {
    const bytes = encodeEnvelope({ ...header, codec: 'custom', tags: ['t'], wrapping, validator }, '12');
    const decoded = decodeEnvelope(bytes);
    assert.ok(decoded.kind === 'envelope');
    assert.deepEqual(
      [decoded.validator, decoded.wrapping, decoded.tags, decodeJson(bytes, decoded.payloadAt)],
      [validator, wrapping, ['t'], 12],
    );
  }
});

test('a reader skips header fields that a later writer appended', () => {
  const bytes = encodeEnvelope(header, '[1]');
  const longer = new Uint8Array(bytes.length + 4);
  longer.set(bytes.subarray(0, 38));
  longer[4] = 42;
  longer.set(bytes.subarray(38), 42);
  sealEnvelope(longer, crc32);
  const decoded = decodeEnvelope(longer);
  assert.equal(decoded.kind, 'envelope');
  if (decoded.kind === 'envelope') assert.deepEqual(decodeJson(longer, decoded.payloadAt), [1]);
});

test('bytes that are not JSON decode to undefined', () => {
  assert.equal(decodeJson(new Uint8Array([0xff, 0xfe])), undefined);
  assert.equal(decodeJson(new TextEncoder().encode('plain text')), undefined);
  assert.equal(decodeJson(new Uint8Array(0)), undefined);
  assert.equal(decodeJson(new TextEncoder().encode('null')), null);
});

test('text that is not UTF-8 is no value, text with a replacement character in it is', () => {
  const encoder = new TextEncoder();
  assert.equal(decodeJson(encoder.encode('"a\uFFFDb"')), 'a\uFFFDb');
  assert.equal(decodeJson(encoder.encode('  "\u{1F600}é"'), 2), '\u{1F600}é');
  for (const wrong of [[0xff], [0xc3], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xf4, 0x90, 0x80, 0x80]]) {
    assert.equal(decodeJson(Uint8Array.from([0x22, 0x61, ...wrong, 0x22])), undefined);
  }
});

test('a long envelope has the seal of the checksum that it is given, a short one the same', () => {
  for (const size of [0, 1, 500, 601, 602, 603, 5_000]) {
    const bytes = encodeEnvelope(header, new Uint8Array(size).fill(55));
    const sum = crc32(bytes.subarray(38), crc32(bytes.subarray(0, 34)));
    assert.equal(new DataView(bytes.buffer).getUint32(34, true), sum);
    assert.equal(decodeEnvelope(bytes).kind, 'envelope');
    bytes[bytes.length - 1]! ^= 1;
    assert.equal(decodeEnvelope(bytes).kind, 'unreadable');
  }
});
