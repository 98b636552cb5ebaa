/**
 * Values to bytes and back, through every combination of codec, compression, encryption and chunks: what goes in comes out; and what was changed, cut,
 * copied, or written by somebody else is a miss with its cause, never a value and never a crash.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { crc32, deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { decodeEnvelope, encodeEnvelope } from '../../src/base/envelope.ts';
import { chunkKey } from '../../src/cache/codec/chunks.ts';
import { algorithmsOf } from '../../src/cache/codec/compression.ts';
import { type PackingOptions, packingSettings } from '../../src/cache/codec/options.ts';
import { type ChunkReader, Packing, type Parcel, type Unreadable } from '../../src/cache/codec/packing.ts';
import type { Codec } from '../../src/cache/codec/value-codec.ts';
import type { Entry } from '../../src/cache/entry.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { decodeOldEnvelope } from '../model/old-envelope.ts';

const KEY = 'user:42';
const LIFETIME = { ttlMs: 600_000, graceMs: 60_000, loadMs: 3 };
const TAGS = ['org:7'];
const k1 = { id: 'k1', key: randomBytes(32) };
const k2 = { id: 'k2', key: randomBytes(32).toString('base64') };

/** Text backwards, as a codec of a user's might be. */
const mirror: Codec<unknown> = {
  id: 'mirror-1',
  encode: (value) => Buffer.from([...JSON.stringify(value)].reverse().join('')),
  decode: (bytes) => JSON.parse([...Buffer.from(bytes).toString()].reverse().join('')) as unknown,
};

function packing(options: PackingOptions, maxValueBytes = 8 * 1024 ** 2): Packing {
  return new Packing(packingSettings(options, {}, 'test'), maxValueBytes);
}

function readerOf(chunks: Parcel['chunks']): ChunkReader {
  const byKey = new Map(chunks.map(({ key, bytes }) => [key, bytes]));
  return (keys) =>
    Promise.resolve(
      keys.map((key) => {
        const value = byKey.get(key);
        return value === undefined
          ? { kind: 'miss', lease: null, waitMs: 0 }
          : { kind: 'hit', value, ttlMs: 1000, version: 1 };
      }),
    );
}

async function write(by: Packing, value: unknown, key = KEY): Promise<Parcel> {
  return by.pack(key, by.codec.encode(value, key).plain, LIFETIME, TAGS, 1_700_000_000_000);
}

async function read(
  by: Packing,
  value: Uint8Array,
  chunks: Parcel['chunks'] = [],
  key = KEY,
): Promise<Entry<unknown> | Unreadable> {
  return by.open(key, { kind: 'hit', value, ttlMs: 650_000, version: 7 }, 60_000, readerOf(chunks));
}

const VARIANTS: readonly (readonly [string, PackingOptions, number?])[] = [
  ['json', {}],
  ['msgpack', { codec: 'msgpack' }],
  ['a codec of one’s own', { codec: mirror }],
  ['json, compressed', { compression: { threshold: 0, algorithm: 'deflate' } }],
  ['json, encrypted', { encryption: { keys: [k1] } }],
  [
    'msgpack, compressed, encrypted, in chunks',
    { codec: 'msgpack', compression: { threshold: 64 }, encryption: { keys: [k1, k2] } },
    1024,
  ],
  ['json in chunks', {}, 600],
];

for (const [name, options, most] of VARIANTS) {
  test(`${name}: what is written is read, with all that stands beside it`, async () => {
    const by = packing(options, most);
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ maxDepth: 4 }), fc.nat(3), async (drawn, times) => {
        const value = { drawn, filler: 'breakwater '.repeat(times * 200) };
        // As JSON has it (-0 is 0, __proto__ a member like others): each codec has its own words about the rest.
        const plain = JSON.parse(JSON.stringify(value).replaceAll('__proto__', 'proto')) as unknown;
        let parcel: Parcel;
        try {
          parcel = await write(by, plain);
        } catch (error) {
          assert.match(String(error), /lone surrogate/);
          return;
        }
        const entry = await read(by, parcel.bytes, parcel.chunks);
        assert.ok(!('unreadable' in entry), JSON.stringify(entry));
        assert.deepEqual(entry.value, by.codec.encode(plain, KEY).value);
        if (options.codec !== mirror) assert.deepEqual(entry.value, plain);
        assert.deepEqual(
          { ...entry, value: null, encodedBytes: 0 },
          { value: null, tags: TAGS, ageMs: 10_000, ...LIFETIME, version: 7, encodedBytes: 0 },
        );
      }),
      { numRuns: 60 },
    );
  });

  test(`${name}: any byte changed, anything cut off: a miss`, async () => {
    const by = packing(options, most);
    const value = {
      name: 'Ada',
      n: 12_345,
      text: most === undefined ? 'ab '.repeat(12) : randomBytes(1600).toString('base64'),
    };
    const parcel = await write(by, value);
    const whole = (await read(by, parcel.bytes, parcel.chunks)) as Entry<unknown>;
    assert.deepEqual(whole.value, value);
    const isMiss = async (bytes: Uint8Array, chunks: Parcel['chunks'], what: string): Promise<void> => {
      const entry = await read(by, bytes, chunks);
      assert.ok('unreadable' in entry, `${what}: ${JSON.stringify(entry)}`);
    };
    const spoil = async (bytes: Uint8Array, check: (spoilt: Uint8Array, what: string) => Promise<void>) => {
      for (let at = 0; at < bytes.length; at += 1) {
        for (const bit of [1, 0x20, 0x80, 0xff]) {
          const copy = Uint8Array.from(bytes);
          copy[at]! ^= bit;
          await check(copy, `byte ${at} xor ${bit}`);
        }
        await check(bytes.subarray(0, at), `cut at ${at}`);
      }
      await check(Buffer.concat([bytes, Buffer.from([0x20])]), 'one byte more');
    };
    await spoil(parcel.bytes, (bytes, what) => isMiss(bytes, parcel.chunks, what));
    if (parcel.chunks.length === 0) return;
    const [, second] = parcel.chunks;
    assert.ok(second !== undefined, 'several chunks');
    const others = parcel.chunks.filter((chunk) => chunk !== second);
    await isMiss(parcel.bytes, others, 'a chunk missing');
    await spoil(second.bytes, (bytes, what) => isMiss(parcel.bytes, [...others, { key: second.key, bytes }], what));
    const other = await write(by, value);
    const foreign = other.chunks[1]!.bytes;
    await isMiss(parcel.bytes, [...others, { key: second.key, bytes: foreign }], 'a chunk of another write');
    const shifted = parcel.chunks[0]!.bytes;
    await isMiss(parcel.bytes, [...others, { key: second.key, bytes: shifted }], 'another chunk of this write');
    await isMiss(second.bytes, [], 'a chunk is no entry');
  });
}

test('an entry of the version before is read; what this one writes plainly, that one reads, and the rest it takes for a miss', async () => {
  // Written by the last version without a seal; not to be changed.
  const present =
    'c10101001e007b68e5cf8b01c02709000000401640000000393000000e0005006f72673a37050070c3a467657b226e616d65223a22416461222c226e223a31323334357d';
  const absent = 'c10100011e007b68e5cf8b01c02709000000401640000000393000000000';
  const by = packing({});
  const entry = await by.open(
    KEY,
    { kind: 'hit', value: Buffer.from(present, 'hex'), ttlMs: 4_100_000, version: 1 },
    Number.POSITIVE_INFINITY,
    readerOf([]),
  );
  assert.deepEqual(entry, {
    value: { name: 'Ada', n: 12_345 },
    tags: ['org:7', 'päge'],
    ageMs: 100_000,
    ttlMs: 600_000,
    graceMs: 3_600_000,
    loadMs: 12.345,
    version: 1,
    encodedBytes: 24,
  });
  const none = await read(by, Buffer.from(absent, 'hex'));
  assert.ok(!('unreadable' in none) && none.value === null);

  const value = { name: 'Ada', n: 12_345, text: 'x'.repeat(2000) };
  const { bytes } = await write(by, value);
  const old = decodeOldEnvelope(bytes);
  assert.ok(old.kind === 'envelope' && old.codec === 'json' && !old.absent && old.freshMs === 600_000);
  assert.deepEqual(JSON.parse(Buffer.from(old.payload).toString()), value);
  const nobody = await by.pack(KEY, null, LIFETIME, [], 0);
  const oldNobody = decodeOldEnvelope(nobody.bytes);
  assert.ok(oldNobody.kind === 'envelope' && oldNobody.absent);
  for (const [name, options, most] of VARIANTS.slice(1)) {
    const parcel = await write(packing(options, most), value);
    assert.equal(decodeOldEnvelope(parcel.bytes).kind, 'unreadable', name);
  }
});

test('the present format, byte for byte', async () => {
  const golden: [PackingOptions, string][] = [
    [
      {},
      'c101010026010068e5cf8b01c0270900000020120a000000b80b0000070018000000f6fc9d9b05006f72673a377b226e616d65223a22416461222c226e223a31323334357d',
    ],
    [
      { codec: 'msgpack' },
      'c101020026010068e5cf8b01c0270900000020120a000000b80b000007001200000073f54dbc05006f72673a37d4724092a46e616d65a16ea3416461cd3039',
    ],
  ];
  for (const [options, hex] of golden) {
    const by = packing(options);
    const { bytes } = await write(by, { name: 'Ada', n: 12_345 });
    assert.equal(Buffer.from(bytes).toString('hex'), hex);
    const entry = await read(by, Buffer.from(hex, 'hex'));
    assert.ok(!('unreadable' in entry));
    assert.deepEqual(entry.value, { name: 'Ada', n: 12_345 });
  }
});

test('another codec is a miss, never a conversion', async () => {
  const codecs: PackingOptions[] = [
    {},
    { codec: 'msgpack' },
    { codec: mirror },
    { codec: { ...mirror, id: 'mirror-2' } },
  ];
  for (const writer of codecs) {
    const { bytes } = await write(packing(writer), { a: 1 });
    for (const reader of codecs) {
      const entry = await read(packing(reader), bytes);
      if (reader === writer) assert.ok(!('unreadable' in entry));
      else assert.ok('unreadable' in entry && entry.cause === 'format');
    }
  }
  const text = Buffer.from('{"a":1}');
  assert.ok(!('unreadable' in (await read(packing({}), text))), 'JSON that another client put there');
  assert.ok('unreadable' in (await read(packing({ codec: 'msgpack' }), text)));
});

test('msgpack keeps what JSON bends, and refuses by path what it would bend itself', async () => {
  const by = packing({ codec: 'msgpack' });
  const value = {
    at: new Date(1_700_000_000_123),
    early: new Date(-1),
    big: 2n ** 70n,
    small: -5n,
    bytes: Uint8Array.of(1, 2, 3),
    floats: Float64Array.of(1.5),
    map: new Map<unknown, unknown>([[{ a: 1 }, new Set([1, 'x'])]]),
    nan: Number.NaN,
    none: undefined,
    far: 2 ** 53,
  };
  const { bytes } = await write(by, value);
  const entry = await read(by, bytes);
  assert.ok(!('unreadable' in entry));
  assert.deepEqual(entry.value, value);
  assert.equal((entry.value as typeof value).bytes.constructor, Uint8Array);

  const loop: Record<string, unknown> = {};
  loop['self'] = loop;
  for (const [bad, path] of [
    [{ a: [() => 1] }, /value\.a\[0\] is a function/],
    [{ a: Symbol('x') }, /value\.a is a symbol/],
    [{ a: '\ud800' }, /value\.a has a lone surrogate/],
    [{ '\udfff': 1 }, /a name in value has a lone surrogate/],
    [{ a: new Date(Number.NaN) }, /value\.a is an invalid Date/],
    [{ a: new URL('http://x') }, /value\.a is an instance of URL/],
    [new Map([['k', new Error('x')]]), /value\.get\(\.\.\.\) is an instance of Error/],
    [JSON.parse('{"__proto__":1}'), /__proto__/],
    [Promise.resolve(1), /Promise/],
    [undefined, /it is undefined/],
    [loop, /refers to itself/],
  ] as const) {
    assert.throws(() => by.codec.encode(bad, KEY), { code: 'CACHE_VALUE_UNSERIALISABLE', message: path });
  }
});

test('msgpack: a draw of everything comes back', async () => {
  const by = packing({ codec: 'msgpack' });
  await fc.assert(
    fc.asyncProperty(
      fc.anything({
        withBigInt: true,
        withDate: true,
        withMap: true,
        withSet: true,
        withTypedArray: true,
        withSparseArray: false,
        withNullPrototype: false,
      }),
      async (value) => {
        let parcel: Parcel;
        try {
          parcel = await write(by, value);
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'CACHE_VALUE_UNSERIALISABLE');
          return;
        }
        const entry = await read(by, parcel.bytes);
        assert.ok(!('unreadable' in entry));
        assert.deepEqual(withoutMinusZero(entry.value), withoutMinusZero(value));
      },
    ),
    { numRuns: 500 },
  );
});

/** -0 comes back as 0, which is documented and which deepEqual (strict) tells apart. */
function withoutMinusZero(value: unknown): unknown {
  if (Object.is(value, -0)) return 0;
  if (value instanceof Map) return new Map([...value].map(([k, v]) => [withoutMinusZero(k), withoutMinusZero(v)]));
  if (value instanceof Set) return new Set([...value].map(withoutMinusZero));
  if (Array.isArray(value)) return value.map(withoutMinusZero);
  if (typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype) {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, withoutMinusZero(one)]));
  }
  return value;
}

test('compression: above the threshold and only where it saves something; async above 32 kB', async () => {
  const by = packing({ compression: { threshold: '1kb', algorithm: 'deflate' } });
  const wrappingOf = async (value: unknown) => {
    const { bytes } = await write(by, value);
    const decoded = decodeEnvelope(bytes, crc32);
    assert.ok(decoded.kind === 'envelope');
    return { wrapping: decoded.wrapping, length: bytes.length };
  };
  assert.equal((await wrappingOf('a'.repeat(1000))).wrapping, null);
  assert.equal(
    (await wrappingOf(randomBytes(3000).toString('base64').slice(0, 3000))).wrapping?.compression,
    'deflate',
  );
  assert.equal((await wrappingOf('a'.repeat(1022))).wrapping?.plainBytes, 1024);
  assert.equal((await wrappingOf('ä'.repeat(511))).wrapping?.plainBytes, 1024, 'bytes, not characters');
  assert.equal((await wrappingOf('ä'.repeat(510))).wrapping, null);
  const random = packing({ codec: 'msgpack', compression: { threshold: 0, algorithm: 'deflate' } });
  const { bytes } = await write(random, randomBytes(5000));
  const decoded = decodeEnvelope(bytes, crc32);
  assert.ok(decoded.kind === 'envelope' && decoded.wrapping === null, 'random bytes stay as they are');
  const small = by.pack(KEY, 'a'.repeat(2000), LIFETIME, [], 0);
  assert.ok(!(small instanceof Promise));
  const large = by.pack(KEY, 'a'.repeat(40_000), LIFETIME, [], 0);
  assert.ok(large instanceof Promise);
  const opened = by.open(KEY, { kind: 'hit', value: small.bytes, ttlMs: 1, version: 1 }, 0, readerOf([]));
  assert.ok(!(opened instanceof Promise));
});

test('a bomb is a miss, and so is what becomes another length than it says', async () => {
  const by = packing({ compression: {} });
  const zeros = deflateRawSync(Buffer.alloc(1024 ** 2));
  const wrapping = { codecId: '', compression: 'deflate', keyId: '', nonce: new Uint8Array(0), role: 'entry' } as const;
  const header = {
    codec: 'json',
    absent: false,
    storedAtMs: 0,
    freshMs: 1,
    keptMs: 1,
    loadMicros: 0,
    tags: [],
  } as const;
  for (const plainBytes of [1, 1000, 200_000, 1024 ** 2 - 1, 1024 ** 2 + 1, 2 ** 31, 2 ** 32 - 1]) {
    const entry = await read(by, encodeEnvelope({ ...header, wrapping: { ...wrapping, plainBytes } }, zeros, crc32));
    assert.ok('unreadable' in entry && entry.cause === 'damaged', `${plainBytes}`);
  }
});

test('zstd: written and read where the runtime has it, a counted miss where it has not', async (t) => {
  const without = { ...algorithmsOf(), zstd: null };
  const settings = packingSettings({ compression: { threshold: 0, algorithm: 'deflate' } }, {}, 'test');
  const real = algorithmsOf().zstd;
  t.diagnostic(real === null ? 'this runtime has no zstd: deflate stands in' : 'with the runtime’s own zstd');
  const withIt = { ...algorithmsOf(), zstd: real ?? algorithmsOf().deflate };
  const zstd = { ...settings, compression: { thresholdBytes: 0, algorithm: 'zstd' as const } };
  for (const length of [500, 300_000]) {
    const value = 'wave '.repeat(length / 5);
    const { bytes } = await write(new Packing(zstd, 8 * 1024 ** 2, withIt), value);
    const decoded = decodeEnvelope(bytes, crc32);
    assert.ok(decoded.kind === 'envelope' && decoded.wrapping?.compression === 'zstd');
    const there = await read(new Packing(settings, 8 * 1024 ** 2, withIt), bytes);
    assert.ok(!('unreadable' in there) && there.value === value);
    const lacking = await read(new Packing(settings, 8 * 1024 ** 2, without), bytes);
    assert.deepEqual(lacking, { unreadable: 'zstd, which this runtime does not have', cause: 'format' });
    const half = bytes.slice(0, -20);
    assert.ok('unreadable' in (await read(new Packing(settings, 8 * 1024 ** 2, withIt), half)));
  }
  if (real === null) {
    assert.throws(() => packingSettings({ compression: { algorithm: 'zstd' } }, {}, 'test'), {
      code: 'CACHE_OPTION_INVALID',
    });
  }
});

test('encryption: keys rotate; another key, another place, no encryption and other headers are misses', async () => {
  const old = packing({ encryption: { keys: [k1] } });
  const both = packing({ encryption: { keys: [k2, k1] } });
  const fresh = packing({ encryption: { keys: [k2] } });
  const plain = packing({});
  const secret = { secret: 'the plain text that nobody may see' };
  const byOld = await write(old, secret);
  const byBoth = await write(both, secret);
  for (const { bytes } of [byOld, byBoth]) {
    assert.equal(Buffer.from(bytes).includes('plain text'), false);
    assert.equal(Buffer.from(bytes).includes('secret'), false);
  }
  const seenBy = async (by: Packing, bytes: Uint8Array, key = KEY): Promise<unknown> => {
    const entry = await read(by, bytes, [], key);
    return 'unreadable' in entry ? entry.cause : entry.value;
  };
  assert.deepEqual(await seenBy(old, byOld.bytes), secret);
  assert.deepEqual(await seenBy(both, byOld.bytes), secret);
  assert.deepEqual(await seenBy(both, byBoth.bytes), secret);
  assert.deepEqual(await seenBy(fresh, byBoth.bytes), secret);
  assert.equal(await seenBy(fresh, byOld.bytes), 'key');
  assert.equal(await seenBy(old, byBoth.bytes), 'key');
  assert.equal(await seenBy(plain, byOld.bytes), 'key');
  assert.equal(await seenBy(both, byBoth.bytes, 'user:43'), 'damaged', 'copied to another key');
  assert.equal(await seenBy(both, (await write(plain, secret)).bytes), 'key', 'not encrypted');
  assert.equal(await seenBy(both, Buffer.from('{"secret":"made up"}')), 'key', 'made up');
  const sameId = packing({ encryption: { keys: [{ id: 'k1', key: randomBytes(32) }] } });
  assert.equal(await seenBy(sameId, byOld.bytes), 'damaged', 'another key under the same id');
  // Somebody who can compute a checksum: every byte of the header is authenticated.
  for (let at = 2; at < 60; at += 1) {
    const copy = Uint8Array.from(byOld.bytes);
    copy[at]! ^= 1;
    const sum = crc32(copy.subarray(38), crc32(copy.subarray(0, 34)));
    new DataView(copy.buffer).setUint32(34, sum, true);
    const entry = await read(old, copy);
    assert.ok('unreadable' in entry || (at >= 34 && at < 38), `byte ${at}`);
  }
  const absent = await both.pack(KEY, null, LIFETIME, [], 0);
  assert.equal(await seenBy(both, absent.bytes), null);
  assert.equal(await seenBy(both, (await plain.pack(KEY, null, LIFETIME, [], 0)).bytes), 'key', 'an absence made up');
  const twice = await write(old, secret);
  assert.notDeepEqual(twice.bytes, byOld.bytes, 'a nonce of its own');
});

test('encryption of large payloads goes through the thread pool and makes the same format', async () => {
  const by = packing({ encryption: { keys: [k1] } });
  const text = randomBytes(2 * 1024 ** 2).toString('base64');
  const parcel = by.pack(KEY, JSON.stringify(text), LIFETIME, TAGS, 0);
  assert.ok(parcel instanceof Promise);
  const { bytes } = await parcel;
  const entry = await read(by, bytes);
  assert.ok(!('unreadable' in entry) && entry.value === text);
  const copy = Uint8Array.from(bytes);
  copy[copy.length - 1]! ^= 1;
  new DataView(copy.buffer).setUint32(34, crc32(copy.subarray(38), crc32(copy.subarray(0, 34))), true);
  const spoilt = await read(by, copy);
  assert.ok('unreadable' in spoilt && spoilt.cause === 'damaged');
});

test('options that make no sense are refused, and no message shows a key', () => {
  const refuse = (options: unknown, code = 'CACHE_OPTION_INVALID'): void => {
    assert.throws(
      () => packing(options as PackingOptions),
      (error: Error & { code: string }) => {
        assert.equal(error.code, code, error.message);
        assert.ok(!error.message.includes('sssssss'));
        return true;
      },
    );
  };
  refuse({ codec: 'xml' });
  refuse({ codec: { id: '', encode: () => 1, decode: () => 1 } });
  refuse({ codec: { id: 'ok', encode: 1, decode: () => 1 } });
  refuse({ compression: { level: 3 } }, 'CACHE_OPTION_UNKNOWN');
  refuse({ compression: { threshold: true } });
  refuse({ compression: { threshold: 'much' } }, 'SIZE_INVALID');
  refuse({ compression: { algorithm: 'brotli' } });
  refuse({ encryption: { keys: [] } });
  refuse({ encryption: { key: 'sssssss' } }, 'CACHE_OPTION_UNKNOWN');
  refuse({ encryption: { keys: [{ id: 'a', key: 'sssssss' }] } });
  refuse({ encryption: { keys: [{ id: 'a', key: 's'.repeat(40) }] } });
  refuse({ encryption: { keys: [{ id: 'a:b', key: k1.key }] } });
  refuse({ encryption: { keys: [k1, k1] } });
  packing({ encryption: { keys: [{ id: 'hex', key: randomBytes(32).toString('hex') }] } });
});

test('a codec that throws, or gives back nothing, is told so; reading, it is a miss', async () => {
  const broken = packing({
    codec: {
      id: 'broken',
      encode: () => {
        throw new Error('no schema');
      },
      decode: () => {
        throw new Error('no schema');
      },
    },
  });
  assert.throws(() => broken.codec.encode(1, KEY), /codec "broken" says: no schema/);
  const text = packing({ codec: { id: 'text', encode: (() => 'x') as never, decode: () => 1 } });
  assert.throws(() => text.codec.encode(1, KEY), /made no Uint8Array/);
  const { bytes } = await write(packing({ codec: { ...mirror, id: 'broken' } }), { a: 1 });
  const entry = await read(broken, bytes);
  assert.ok('unreadable' in entry && entry.cause === 'damaged');
});

test('chunks stand in their key’s namespace, and in its slot wherever that can be said', () => {
  const slot = (key: string): number => slotOf(Buffer.from(key), 0, Buffer.byteLength(key));
  for (const id of ['42', 'a:b', '{x}', 'a{tag}b', '{}', '{', 'a{b', 'große 🗝', '{a}{b}', 'x'.repeat(300)]) {
    const key = `user:${id}`;
    const derived = chunkKey(key, 'w'.repeat(22), 3);
    assert.ok(derived.startsWith('user:'), id);
    if (id !== '{}') assert.equal(slot(derived), slot(key), id);
  }
  for (const id of ['a}b', '{}', 'x'.repeat(490), '}{']) {
    const derived = chunkKey(`user:${id}`, 'w'.repeat(22), 127);
    assert.ok(derived.startsWith('user:') && Buffer.byteLength(derived) <= 512, id);
  }
});
