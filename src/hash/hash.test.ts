import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { test } from 'node:test';
import fc from 'fast-check';
import { crc16 } from './crc16.ts';
import { slotOf } from './slot.ts';
import { hashBytes, hashBytesSigned } from './table-hash.ts';

const clusterKeySlot = createRequire(import.meta.url)('cluster-key-slot') as (key: Buffer) => number;
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

test('crc16 gives the published check value', () => {
  assert.equal(crc16(bytesOf('123456789'), 0, 9), 0x31c3);
});

/**
 * cluster-key-slot, except where it errs: at an empty first tag ("{}") it goes on to look for a second one. Redis
 * (keyHashSlot, and the cluster specification's own example foo{}{bar}) hashes the whole key.
 */
function expectedSlot(key: Uint8Array): number {
  const open = key.indexOf(0x7b);
  const empty = open >= 0 && key[open + 1] === 0x7d;
  return empty ? crc16(key, 0, key.length) & 0x3fff : clusterKeySlot(Buffer.from(key));
}

test('slotOf agrees with cluster-key-slot, hash tags included', () => {
  assert.equal(slotOf(bytesOf('foo{}{bar}'), 0, 10), 8363);
  for (const key of [
    '',
    '{}',
    '{a}',
    '{}a',
    'a{b}c',
    'a{b',
    'a}b{c}',
    '{{a}}',
    '{a}{b}',
    '{user1000}.following',
    'foo{}{bar}',
  ]) {
    const bytes = bytesOf(key);
    assert.equal(slotOf(bytes, 0, bytes.length), expectedSlot(bytes), key);
  }
  const byte = fc.oneof(fc.constantFrom(0x7b, 0x7d, 0x61), fc.integer({ min: 0, max: 255 }));
  fc.assert(
    fc.property(fc.array(byte, { maxLength: 24 }), fc.nat(5), (key, pad) => {
      const bytes = Uint8Array.from([...new Array<number>(pad).fill(0x7b), ...key, 0x7d]);
      assert.equal(slotOf(bytes, pad, pad + key.length), expectedSlot(Uint8Array.from(key)));
    }),
    { numRuns: 500 },
  );
});

test('the table hash depends on the bytes in range, their length and the seed, and nothing else', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), fc.nat(7), fc.integer(), (key, pad, seed) => {
      const padded = new Uint8Array(key.length + pad + 3).fill(0xaa);
      padded.set(key, pad);
      const hash = hashBytes(key, 0, key.length, seed);
      assert.equal(hashBytes(padded, pad, pad + key.length, seed), hash);
      assert.equal(hashBytesSigned(key, 0, key.length, seed) >>> 0, hash);
      assert.notEqual(hashBytes(key, 0, key.length, seed ^ 1), hash);
      const longer = new Uint8Array(key.length + 1);
      longer.set(key);
      assert.notEqual(hashBytes(longer, 0, longer.length, seed), hash);
    }),
    { numRuns: 300 },
  );
});

test('sequential keys fill every part of the hash evenly', () => {
  for (const shift of [0, 8, 16, 22]) {
    const counts = new Uint32Array(1024);
    const keys = 102_400;
    for (let i = 0; i < keys; i += 1) {
      const key = bytesOf(`user:${i}`);
      const part = (hashBytes(key, 0, key.length, 7) >>> shift) & 1023;
      counts[part] = counts[part]! + 1;
    }
    let chiSquare = 0;
    for (const count of counts) chiSquare += (count - 100) ** 2 / 100;
    // 1,023 degrees of freedom: mean 1,023, standard deviation 45; five of them are allowed.
    assert.ok(chiSquare > 797 && chiSquare < 1249, `chi square ${chiSquare} at shift ${shift}`);
  }
});

test('flipping one bit of the key or the seed flips about half of the hash', () => {
  const key = bytesOf('product:0123456789ab');
  for (let bit = 0; bit < key.length * 8; bit += 1) {
    let flips = 0;
    for (let seed = 0; seed < 200; seed += 1) {
      const before = hashBytes(key, 0, key.length, Math.imul(seed, 0x9e3779b1));
      key[bit >> 3] = key[bit >> 3]! ^ (1 << (bit & 7));
      let difference = before ^ hashBytes(key, 0, key.length, Math.imul(seed, 0x9e3779b1));
      key[bit >> 3] = key[bit >> 3]! ^ (1 << (bit & 7));
      for (; difference !== 0; difference &= difference - 1) flips += 1;
    }
    assert.ok(flips > 200 * 14 && flips < 200 * 18, `bit ${bit}: ${flips / 200} of 32`);
  }
});
