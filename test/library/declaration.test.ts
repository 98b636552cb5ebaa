import assert from 'node:assert/strict';
import { test } from 'node:test';
import { runInNewContext } from 'node:vm';
import { BreakwaterError } from '../../src/base/errors.ts';
import { type BreakwaterOptions, type Cached, createBreakwater } from '../../src/cache/index.ts';
import { openLibrary, Source } from './support.ts';

const coded =
  (code: string, ...words: string[]) =>
  (error: unknown): boolean =>
    error instanceof BreakwaterError && error.code === code && words.every((word) => error.message.includes(word));

test('an option that is not known is refused, with the one that was meant', () => {
  const { bw } = openLibrary();
  const declare = (options: object) => () => bw.cache('x', { load: async () => [], ...options });
  assert.throws(declare({ tll: '1m' }), coded('CACHE_OPTION_UNKNOWN', '"tll"', '"ttl"'));
  assert.throws(declare({ negativeTTL: '1m' }), coded('CACHE_OPTION_UNKNOWN', '"negativeTtl"'));
  for (const planned of ['plainSet']) {
    assert.throws(declare({ [planned]: '1h' }), coded('CACHE_OPTION_UNKNOWN', planned, 'does not have it yet'));
  }
  assert.throws(declare({ l1: { maxEntires: 3 } }), coded('CACHE_OPTION_UNKNOWN', '"maxEntries"'));
  const create = (options: object) => () => createBreakwater(options as BreakwaterOptions);
  assert.throws(create({ stroe: 'embedded' }), coded('CACHE_OPTION_UNKNOWN', '"store"'));
  assert.throws(create({ defaults: { loader: 1 } }), coded('CACHE_OPTION_UNKNOWN', 'loader'));
});

test('a bad value is refused when it is declared, with what was received', () => {
  const { bw } = openLibrary();
  const declare = (options: object) => () => bw.cache('x', { load: async () => [], ...options });
  assert.throws(declare({ ttl: 'soon' }), coded('DURATION_INVALID', 'ttl', 'soon'));
  assert.throws(declare({ ttl: 0 }), coded('CACHE_OPTION_INVALID', 'ttl'));
  assert.throws(declare({ jitter: 1 }), coded('JITTER_INVALID'));
  assert.throws(declare({ jitter: '10%' }), coded('CACHE_OPTION_INVALID', 'jitter'));
  assert.throws(declare({ maxBatch: 0 }), coded('CACHE_OPTION_INVALID', 'maxBatch'));
  assert.throws(declare({ load: 'SELECT 1' }), coded('CACHE_OPTION_INVALID', 'load'));
  assert.throws(declare({ tags: ['a'] }), coded('CACHE_OPTION_INVALID', 'tags'));
  assert.throws(declare({ l1: true }), coded('CACHE_OPTION_INVALID', 'l1'));
  assert.throws(declare({ l1: { maxBytes: 'lots' } }), coded('SIZE_INVALID', 'lots'));
  assert.throws(() => createBreakwater({ memory: 'none' }), coded('SIZE_INVALID'));
  assert.throws(() => createBreakwater({ eviction: 'arc' as 'lru' }), coded('CACHE_OPTION_INVALID', 'eviction', 'arc'));
  assert.throws(() => createBreakwater({ store: 'redis' as 'embedded' }), coded('CACHE_OPTION_INVALID', 'store'));
  assert.throws(() => createBreakwater({ store: 'http://h:1' as 'embedded' }), coded('STORE_URL_INVALID', 'http'));
  assert.throws(
    () => createBreakwater({ store: 'breakwater://h:1', memory: '1mb' }),
    coded('CACHE_OPTION_INVALID', 'memory', 'breakwater://'),
  );
});

test('where rows come from is said once, and a policy that writes needs somewhere to write to', () => {
  const { bw } = openLibrary();
  const source = { name: 'rows', load: async () => [], check: async () => undefined };
  const sink = { upsert: async () => new Map(), delete: async () => new Map() };
  const declare = (options: object) => () => bw.cache('x', options);
  assert.throws(declare({}), coded('CACHE_OPTION_INVALID', 'load'));
  assert.throws(declare({ source, load: async () => [] }), coded('CACHE_OPTION_INVALID', 'load and source'));
  for (const bad of [null, {}, 'product'])
    assert.throws(declare({ source: bad }), coded('CACHE_OPTION_INVALID', 'source'));
  assert.throws(declare({ source, policy: 'back' }), coded('CACHE_OPTION_INVALID', 'policy', '"back"'));
  assert.throws(declare({ source, policy: 'through' }), coded('CACHE_OPTION_INVALID', 'without a sink'));
  assert.throws(declare({ source, sink: { upsert: 1 }, policy: 'behind' }), coded('CACHE_OPTION_INVALID', 'sink'));
  assert.throws(declare({ source, sink }), coded('CACHE_OPTION_INVALID', 'sink', 'aside'));
  assert.ok(bw.cache('x', { source: { ...source, sink } }), 'a source that can be written to may be only read');
});

test('options given as undefined are not given; own options go over the defaults', async () => {
  const { bw, scheduler } = openLibrary({ defaults: { ttl: '10s', l1: false } });
  const source = new Source();
  source.rows.set('1', 1);
  const cache = bw.cache('x', { load: source.load, ...({ ttl: undefined } as object) });
  await cache.get('1');
  assert.equal(cache.stats().l1, null);
  await scheduler.run(9_000);
  assert.equal((await cache.getDetailed('1')).from, 'l2');
  await scheduler.run(1_000);
  assert.equal((await cache.getDetailed('1')).from, 'loader');
});

test('names: once per Breakwater, and no ":" in them', () => {
  const { bw } = openLibrary();
  bw.cache('user', { load: async () => [] });
  assert.throws(() => bw.cache('user', { load: async () => [] }), coded('CACHE_NAME_TAKEN'));
  for (const name of ['', 'a:b', 'a b', 'ü', 'x'.repeat(65)]) {
    assert.throws(() => bw.cache(name, { load: async () => [] }), coded('CACHE_NAME_INVALID'), name);
  }
});

test('ids: text, well-formed, at most 512 bytes with the name', async () => {
  const { bw } = openLibrary();
  const cache = bw.cache('k', { load: async (ids) => ids.map((id) => id.length) });
  const bad: [unknown, string][] = [
    ['', 'empty'],
    [42, 'String(id)'],
    [null, 'string'],
    ['\ud800', 'surrogate'],
    ['a\udc00b', 'surrogate'],
    ['x'.repeat(511), '512'],
    ['é'.repeat(256), '512'],
  ];
  for (const [id, word] of bad) {
    for (const call of [
      cache.get(id as string),
      cache.getMany([id as string]),
      cache.getDetailed(id as string),
      cache.set(id as string, 1),
      cache.delete(id as string),
    ]) {
      await assert.rejects(call, coded('CACHE_KEY_INVALID', word));
    }
    assert.equal(cache.peek(id as string), undefined);
  }
  assert.equal(await cache.get('x'.repeat(510)), 510);
  assert.equal(await cache.get('🌊'.repeat(127)), 254);
  assert.equal(await cache.get('a:b\r\n\u0000'), 6);
});

function* generate(): Generator<number> {
  yield 1;
}

class Hidden {
  readonly #value = 1;
  get value(): number {
    return this.#value;
  }
}

test('a value that JSON would bend is refused with the path to it, on set and on load', async () => {
  const { bw } = openLibrary();
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;
  const bad: [unknown, string][] = [
    [undefined, 'undefined'],
    [null, 'null'],
    [() => 1, 'function'],
    [Symbol('s'), 'symbol'],
    [1n, 'bigint'],
    [{ a: { b: [1, Number.NaN] } }, 'value.a.b[1]'],
    [{ when: new Date(Number.NaN) }, 'value.when'],
    [{ f: () => 1 }, 'value.f'],
    [[undefined], 'value[0]'],
    [{ m: new Map() }, 'value.m'],
    [{ s: [new Set()] }, 'value.s[0]'],
    [new Uint8Array(2), 'binary'],
    [Buffer.from('x'), 'binary'],
    [{ p: Promise.resolve(1) }, 'value.p'],
    [{ w: new WeakMap() }, 'a WeakMap'],
    [{ w: new WeakSet() }, 'a WeakSet'],
    [{ i: [1, 2].values() }, 'an Array Iterator'.slice(3)],
    [{ i: new Map().keys() }, 'Map Iterator'],
    [[[1].map(() => generate())], 'Generator'],
    [{ [Symbol('secret')]: 1, shown: 2 }, 'Symbol(secret)'],
    [{ n: new Number(Number.NaN) }, 'value.n'],
    [new Hidden(), 'a Hidden'],
    [{ m: runInNewContext('new Map([[1, 2]])') }, 'a Map'],
    [cycle, 'circular'],
    [{ deep: 1n }, 'BigInt'],
  ];
  const cache = bw.cache<unknown>('v', { load: async (ids) => ids.map((id) => bad[Number(id)]![0]) });
  for (const [index, [value, word]] of bad.entries()) {
    await assert.rejects(cache.set('x', value), coded('CACHE_VALUE_UNSERIALISABLE', 'v:x', word), word);
    if (value === undefined || value === null) continue; // from a loader these mean "known absent"
    await assert.rejects(cache.get(`${index}`), coded('CACHE_VALUE_UNSERIALISABLE', `v:${index}`, word), word);
  }
});

test('what is plain, boxed or empty is kept: of another realm, without a prototype, with methods and inherited symbols', async () => {
  const { bw } = openLibrary();
  const cache = bw.cache<unknown>('kept', { load: async () => [] });
  class Point {
    readonly x = 1;
    get [Symbol.toStringTag](): string {
      return 'Point';
    }
    norm(): number {
      return this.x;
    }
  }
  for (const [value, kept] of [
    [new Point(), { x: 1 }],
    [{}, {}],
    [Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    [runInNewContext('({ a: { b: [] }, c: {} })'), { a: { b: [] }, c: {} }],
    [
      { n: new Number(5), s: new String('s'), valueOf: 7 },
      { n: 5, s: 's', valueOf: 7 },
    ],
    [Object.defineProperty({ a: 1 }, Symbol('meta'), { value: 2 }), { a: 1 }],
    [new Date(0), new Date(0).toJSON()],
  ] as [unknown, unknown][]) {
    await cache.set('1', value);
    assert.deepEqual(await cache.get('1'), kept);
  }
});

test('what JSON keeps is the same from every tier, the loader included', async () => {
  class User {
    readonly id: string;
    readonly born = new Date(0);
    readonly note?: string = undefined as unknown as string;
    constructor(id: string) {
      this.id = id;
    }
    greet(): string {
      return `hello ${this.id}`;
    }
  }
  const { bw } = openLibrary();
  const cache = bw.cache('user', { load: async (ids) => ids.map((id) => new User(id)), l1: false });
  const loaded = await cache.getDetailed('1');
  const stored = await cache.getDetailed('1');
  assert.deepEqual([loaded.from, stored.from], ['loader', 'l2']);
  assert.deepEqual(loaded.value, stored.value);
  assert.deepEqual(loaded.value, { id: '1', born: '1970-01-01T00:00:00.000Z' });
  // The type says so too: a Date has become text, the method is gone.
  const born: string | undefined = loaded.value?.born;
  assert.equal(born, '1970-01-01T00:00:00.000Z');
  const keys: (keyof Cached<User>)[] = ['id', 'born', 'note'];
  assert.equal(keys.length, 3);
});

test('answers are shared and frozen, and the loader keeps its own object', async () => {
  const { bw } = openLibrary();
  const mine = { id: '1', list: [{ n: 1 }] };
  const cache = bw.cache('x', { load: async (ids) => ids.map(() => mine) });
  const first = await cache.get('1');
  assert.equal(await cache.get('1'), first, 'no copy per caller');
  assert.throws(() => {
    first!.list[0]!.n = 2;
  }, TypeError);
  mine.list[0]!.n = 3;
  assert.equal((await cache.get('1'))?.list[0]?.n, 1);
});

test('bw.invalidate checks what it is given', async () => {
  const { bw } = openLibrary();
  await assert.rejects(bw.invalidate({}), coded('CACHE_OPTION_INVALID'));
  await assert.rejects(bw.invalidate({ keys: 'user:1' as unknown as string[] }), coded('CACHE_OPTION_INVALID', 'keys'));
  await assert.rejects(bw.invalidate({ tag: ['x'] } as object), coded('CACHE_OPTION_UNKNOWN', '"tags"'));
  await assert.rejects(bw.invalidate({ tags: [''] }), coded('CACHE_TAGS_INVALID'));
  const cache = bw.cache('x', { load: async (ids) => ids, tags: () => [''] });
  await assert.rejects(cache.get('1'), coded('CACHE_TAGS_INVALID', 'x:1'));
});

test('two sets of one key under way at once: L1 keeps neither, L2 has the last', async () => {
  const { bw } = openLibrary();
  const cache = bw.cache('x', { load: async (ids) => ids.map(() => 0) });
  await Promise.all([cache.set('1', 1), cache.set('1', 2)]);
  assert.deepEqual(await cache.get('1'), 2);
  await cache.set('1', 3);
  assert.equal(cache.peek('1'), 3);
  assert.equal(await cache.delete('1'), true);
  assert.equal(await cache.delete('1'), false);
  assert.equal(cache.peek('1'), undefined);
});

test('options of any type are refused with a code, and so are names that nothing can have', async () => {
  const { bw } = openLibrary();
  const strange: unknown[] = [10n, Symbol('x'), Object.create(null), ['5s'], () => '5s', true];
  for (const value of strange) {
    const coded = (error: unknown): boolean => error instanceof BreakwaterError;
    for (const option of ['ttl', 'grace', 'loadTimeout', 'maxBatch', 'early']) {
      assert.throws(() => bw.cache('x', { load: async () => [], [option]: value }), coded, option);
    }
    for (const option of ['concurrency', 'rate', 'burst', 'queue', 'queueTimeout', 'maxAbandoned']) {
      assert.throws(() => bw.source('s', { [option]: value }), coded, option);
    }
    assert.throws(() => createBreakwater({ memory: value as string }), coded);
    if (value !== true) assert.throws(() => createBreakwater({ allowInWorkers: value as boolean }), coded);
  }
  assert.throws(() => bw.source('s', null as unknown as object), coded('CACHE_OPTION_INVALID'));
  const cache = bw.cache<string>('x', { load: async (ids) => [...ids] });
  for (const ids of ['42', null, 42, {}]) {
    await assert.rejects(cache.getMany(ids as unknown as string[]), coded('CACHE_OPTION_INVALID', 'getMany'));
  }
  for (const signal of [null, {}, 'now']) {
    await assert.rejects(cache.get('1', { signal: signal as AbortSignal }), coded('CACHE_OPTION_INVALID', 'signal'));
  }
  await assert.rejects(bw.invalidate({ namespaces: ['x:'] }), coded('CACHE_OPTION_INVALID', 'namespaces', '"x:"'));
  await bw.close();
});
