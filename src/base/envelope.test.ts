import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeEnvelope, decodeJson, type EnvelopeHeader, encodeEnvelope, isEnvelope, utf8Length } from './envelope.ts';

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
      }),
      fc.jsonValue(),
      (fields, value) => {
        const text = JSON.stringify(value);
        const bytes = encodeEnvelope({ codec: 'json', ...fields }, text);
        const decoded = decodeEnvelope(bytes);
        assert.equal(decoded.kind, 'envelope');
        if (decoded.kind !== 'envelope') return;
        const { kind: _kind, payload, ...rest } = decoded;
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
  for (const [index, value, reason] of [
    [1, 2, 'format version 2'],
    [2, 9, 'codec 9'],
    [3, 2, 'flags 0x2'],
    [4, 3, 'cut short'],
    [30, 200, 'damaged tags'],
  ] as const) {
    assert.deepEqual(decodeEnvelope(changed(index, value)), { kind: 'unreadable', reason });
  }
  for (let length = 1; length < bytes.length - 3; length += 1) {
    assert.equal(decodeEnvelope(bytes.subarray(0, length)).kind, 'unreadable', `cut at ${length}`);
  }
});

test('a reader skips header fields that a later writer appended', () => {
  const bytes = encodeEnvelope(header, '[1]');
  const longer = new Uint8Array(bytes.length + 4);
  longer.set(bytes.subarray(0, 30));
  longer[4] = 34;
  longer.set(bytes.subarray(30), 34);
  const decoded = decodeEnvelope(longer);
  assert.equal(decoded.kind, 'envelope');
  if (decoded.kind === 'envelope') assert.deepEqual(decodeJson(decoded.payload), [1]);
});

test('bytes that are not JSON decode to undefined', () => {
  assert.equal(decodeJson(new Uint8Array([0xff, 0xfe])), undefined);
  assert.equal(decodeJson(new TextEncoder().encode('plain text')), undefined);
  assert.equal(decodeJson(new Uint8Array(0)), undefined);
  assert.equal(decodeJson(new TextEncoder().encode('null')), null);
});
