/**
 * What test/conformance cannot compare with redis-server: BW.*, the bounds, and the pieces that commands are made of. Each scenario runs on
 * the engine and on the Map model.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { MapStore } from '../../test/model/map-store.ts';
import { SeededRandom } from '../base/random.ts';
import { PackReader } from '../base/read-pack.ts';
import type { EvictionPolicy, StoreFace, StoreOptions } from '../engine/face.ts';
import { Store } from '../engine/store.ts';
import { Freshness } from '../freshness/freshness.ts';
import { REQUEST, RequestParser } from '../resp/parser.ts';
import { type Reply, ReplyError, ReplyMap } from '../resp/reply.ts';
import { REPLY, ReplyParser } from '../resp/reply-parser.ts';
import { type Command, RequestWriter } from '../resp/request-writer.ts';
import { ReplyWriter } from '../resp/writer.ts';
import { Context } from './context.ts';
import { addDecimals, DECIMAL_OVERFLOW, NOT_DECIMAL } from './decimals.ts';
import { COMMAND_COUNT, execute } from './execute.ts';
import { globMatches } from './glob.ts';
import { NameIndex } from './name-index.ts';
import { bigIntegerAt, INT64_MAX, INT64_MIN, integerAt } from './numbers.ts';
import { Session } from './session.ts';
import { COMMANDS } from './table.ts';

const START = 1_700_000_000_000;
const MEMORY = 4 * 1024 * 1024;

class Harness {
  readonly context: Context;
  readonly session: Session;
  nowMs = START;
  readonly #out = new ReplyWriter();
  readonly #request = new RequestWriter();

  constructor(makeStore: (options: StoreOptions) => StoreFace, eviction: EvictionPolicy = 'tinylfu') {
    const store = makeStore({ memoryBytes: MEMORY, eviction, seed: 1 });
    this.context = new Context({
      store,
      freshness: new Freshness(store, { epoch: 77, seed: 2, capacity: 64, generationCapacity: 64 }),
      random: new SeededRandom(3),
      startedMs: START,
      commandCount: COMMAND_COUNT,
      settings: {
        memoryBytes: MEMORY,
        eviction,
        maxKeyBytes: 512,
        maxValueBytes: 8 * 1024 * 1024,
        maxClients: 10,
        version: '0.0.0',
        runId: '0'.repeat(40),
        parameters: { port: '7379' },
      },
    });
    this.session = new Session(1, { address: 'test:1', kind: 'internal' }, START);
  }

  /** Bulk strings come back as latin1 text, errors as their text behind a `-`. */
  call(...words: (string | number | Uint8Array)[]): unknown {
    this.#request.reset();
    this.#request.command(words as Command);
    const parser = new RequestParser({ maxBulkBytes: 32 * 1024 * 1024 });
    parser.begin(this.#request.bytes, 0, this.#request.length);
    assert.equal(parser.next(), REQUEST);
    this.#out.reset();
    this.#out.protocol = this.session.protocol;
    execute(this.context, this.session, parser.args, this.#out, this.nowMs);
    const replies = new ReplyParser();
    replies.begin(this.#out.bytes, 0, this.#out.length);
    assert.equal(replies.next(), REPLY, 'one reply');
    const value = plain(replies.value);
    assert.notEqual(replies.next(), REPLY, 'and no second one');
    this.context.store.invariants();
    this.context.freshness.invariants();
    return value;
  }
}

/** As the elements of a plain reply would be, the misses as null. */
function unpacked(pack: string, count: number): unknown[] {
  const bytes = Uint8Array.from(pack, (character) => character.charCodeAt(0));
  const reader = new PackReader(bytes);
  const elements: unknown[] = [];
  for (let i = 0; i < count; i += 1) {
    const found = reader.next();
    assert.ok(found >= 0);
    elements.push(found === 0 ? null : [pack.slice(reader.start, reader.end), reader.ttlMs, reader.version]);
  }
  assert.equal(reader.isWhole, true);
  return elements;
}

function plain(reply: Reply): unknown {
  if (reply instanceof ReplyError) return `-${reply.message}`;
  if (reply instanceof Uint8Array) return Buffer.from(reply).toString('latin1');
  if (Array.isArray(reply)) return reply.map(plain);
  return reply;
}

const MAKERS: readonly (readonly [string, (options: StoreOptions) => StoreFace])[] = [
  ['engine', (options) => new Store(options)],
  ['model', (options) => new MapStore(options)],
];

const VOID =
  '-LEASEVOID this fill was not stored: the key, its namespace or one of its tags changed after the lease was granted, or the lease is not known';

for (const [name, make] of MAKERS) {
  test(`${name}: a hit has value, remaining time and version; a miss hands out one lease`, () => {
    const h = new Harness(make);
    assert.equal(h.call('BW.GET', 'u:1'), null);
    assert.deepEqual(h.call('BW.GET', 'u:1', 'LEASE'), ['77-1', 10_000]);
    h.nowMs += 300;
    assert.deepEqual(h.call('bw.get', 'u:1', 'lease', 500), [null, 9_700]);
    assert.equal(h.call('BW.SET', 'u:1', 'v', 'PX', 5_000, 'LEASE', '77-1'), 'created');
    h.nowMs += 1_000;
    const hit = h.call('BW.GET', 'u:1', 'LEASE') as unknown[];
    assert.deepEqual(hit.slice(0, 2), ['v', 4_000]);
    assert.ok((hit[2] as number) > 0);
    assert.equal(h.call('BW.SET', 'u:1', 'w'), 'replaced');
    assert.deepEqual((h.call('BW.GET', 'u:1') as unknown[]).slice(0, 2), ['w', -1]);
    assert.ok(((h.call('BW.GET', 'u:1') as unknown[])[2] as number) > (hit[2] as number), 'versions rise');
  });

  test(`${name}: a lease for a key that has an entry; given back, the next caller is granted`, () => {
    const h = new Harness(make);
    h.call('SET', 'k', 'old');
    assert.deepEqual(h.call('BW.LEASE', 2, 'k', 'none', 500), [
      ['77-1', 500],
      ['77-2', 500],
    ]);
    assert.deepEqual(h.call('BW.LEASE', 1, 'k'), [[null, 500]]);
    assert.equal(h.call('GET', 'k'), 'old');
    assert.equal(h.call('BW.RELEASE', 'k', '77-2', 'none', '77-2', 'none', '77-2'), 1, 'each key its own');
    assert.deepEqual(h.call('BW.GET', 'none', 'LEASE', 500), ['77-3', 500]);
    assert.equal(h.call('BW.RELEASE', 'k', '77-1'), 1);
    assert.equal(h.call('GET', 'k'), 'old', 'nothing is invalidated');
    assert.deepEqual(h.call('BW.LEASE', 1, 'k', 500), [['77-4', 500]]);
    assert.equal(h.call('BW.SET', 'k', 'new', 'LEASE', '77-4'), 'replaced');
  });

  test(`${name}: a fill refused for its tag leaves no lease behind`, () => {
    const h = new Harness(make);
    h.call('BW.GET', 'k', 'LEASE');
    h.call('BW.INVALIDATE', 'TAGS', 1, 't');
    assert.deepEqual(h.call('BW.FILL', 1, 'k', 'v', 0, '77-1', 1, 't'), [0]);
    assert.deepEqual(h.call('BW.GET', 'k', 'LEASE', 500), ['77-2', 500]);
  });

  for (const write of [
    ['DEL', 'k'],
    ['UNLINK', 'k'],
    ['SET', 'k', 'new'],
    ['SET', 'k', 'new', 'EX', '5'],
    ['SETEX', 'k', '5', 'new'],
    ['SETNX', 'k', 'new'],
    ['GETSET', 'k', 'new'],
    ['GETDEL', 'k'],
    ['MSET', 'x', '1', 'k', 'new'],
    ['MSETNX', 'x', '1', 'k', 'new'],
    ['APPEND', 'k', 'new'],
    ['SETRANGE', 'k', '0', 'new'],
    ['INCR', 'k'],
    ['INCRBYFLOAT', 'k', '1.5'],
    ['BW.SET', 'k', 'new'],
    ['BW.FILL', '1', 'k', 'new', '0', '', '0'],
    ['BW.INVALIDATE', 'KEYS', '1', 'k'],
    ['BW.INVALIDATE', 'NAMESPACES', '1', ''],
    ['FLUSHALL'],
    ['FLUSHDB', 'ASYNC'],
  ]) {
    test(`${name}: ${write.join(' ')} between miss and fill voids the lease`, () => {
      const h = new Harness(make);
      const [token] = h.call('BW.GET', 'k', 'LEASE') as [string, number];
      h.call(...write);
      const after = h.call('GET', 'k');
      assert.equal(h.call('BW.SET', 'k', 'old', 'LEASE', token), VOID);
      assert.equal(h.call('GET', 'k'), after, 'nothing was stored');
      assert.deepEqual(h.call('BW.FILL', 1, 'k', 'old', 0, token, 0), [0]);
    });
  }

  test(`${name}: a fill is refused for a tag invalidated since its lease, and stored otherwise`, () => {
    const h = new Harness(make);
    const [first] = h.call('BW.GET', 'u:1', 'LEASE') as [string];
    const [second] = h.call('BW.GET', 'u:2', 'LEASE') as [string];
    assert.equal(h.call('BW.INVALIDATE', 'TAGS', 1, 'org:7'), 0);
    assert.equal(h.call('BW.SET', 'u:1', 'v', 'TAGS', 2, 'org:1', 'org:7', 'LEASE', first), VOID);
    assert.equal(h.call('BW.SET', 'u:2', 'v', 'TAGS', 1, 'org:8', 'LEASE', second), 'created');
    assert.equal(h.call('BW.SET', 'u:2', 'v', 'LEASE', second), VOID, 'a token fills once');
  });

  test(`${name}: tags and namespaces die at once, whoever wrote them; later writes live`, () => {
    const h = new Harness(make);
    for (let i = 0; i < 50; i += 1) h.call('BW.SET', `user:${i}`, 'v', 'TAGS', 2, `org:${i % 5}`, 'all');
    h.call('SET', 'user:plain', 'v');
    h.call('SET', 'item:1', 'v');
    assert.equal(h.call('BW.INVALIDATE', 'TAGS', 1, 'org:3'), 0);
    for (let i = 0; i < 50; i += 1) assert.equal(h.call('EXISTS', `user:${i}`), i % 5 === 3 ? 0 : 1);
    assert.equal(h.call('BW.SET', 'user:3', 'new', 'TAGS', 1, 'org:3'), 'created');
    assert.equal(h.call('GET', 'user:3'), 'new');
    h.call('APPEND', 'user:4', '+');
    assert.equal(h.call('BW.INVALIDATE', 'TAGS', 1, 'org:4'), 0);
    assert.equal(h.call('GET', 'user:4'), null, 'an appended value keeps its tags');
    assert.equal(h.call('BW.INVALIDATE', 'NAMESPACES', 1, 'user', 'KEYS', 2, 'item:1', 'nope'), 1);
    assert.deepEqual(h.call('KEYS', '*'), []);
    for (let i = 0; i < 100; i += 1) h.context.store.tick(h.nowMs + i, 1000);
    assert.equal(h.context.store.size, 0, 'what is dead is reclaimed');
  });

  test(`${name}: a batch: BW.MGET and BW.FILL`, () => {
    const h = new Harness(make);
    h.call('SET', 'a', '1');
    const got = h.call('BW.MGET', 3, 'a', 'b', 'c', 'LEASE', 100) as unknown[][];
    assert.equal(got[0]![0], '1');
    assert.deepEqual(got.slice(1), [
      ['77-1', 100],
      ['77-2', 100],
    ]);
    assert.deepEqual(h.call('BW.MGET', 2, 'b', 'd'), [null, null]);
    h.call('DEL', 'b');
    assert.deepEqual(
      h.call('BW.FILL', 3, 'b', 'B', 0, '77-1', 0, 'c', 'C', 5000, '77-2', 2, 't1', 't2', 'e', 'E', 0, '', 0),
      [0, 1, 1],
    );
    assert.deepEqual(h.call('MGET', 'b', 'c', 'e'), [null, 'C', 'E']);
    assert.equal(h.call('PTTL', 'c'), 5000);
    h.call('BW.INVALIDATE', 'TAGS', 1, 't2');
    assert.equal(h.call('GET', 'c'), null);
    assert.deepEqual(h.call('BW.FILL', 1, 'k'.repeat(600), 'v', 0, '', 0), [-1]);
  });

  test(`${name}: a packed batch says what the plain one does`, () => {
    const h = new Harness(make);
    for (let i = 0; i < 40; i += 1) {
      if (i % 3 === 0) continue;
      h.call('BW.SET', `k${i}`, 'v'.repeat(i * 7), ...(i % 2 === 0 ? ['PX', 5000 + i] : []), 'TAGS', 1, `t${i % 5}`);
    }
    h.call('BW.INVALIDATE', 'TAGS', 1, 't1');
    h.call('BW.GET', 'k3', 'LEASE', 7000);
    const keys = Array.from({ length: 40 }, (_, i) => `k${i}`);
    h.nowMs += 1234;
    const expected = h.call('BW.MGET', 40, ...keys) as (unknown[] | null)[];
    const [pack, misses] = h.call('BW.MGET', 40, ...keys, 'PACKED') as [string, unknown[]];
    assert.deepEqual(unpacked(pack, 40), expected);
    assert.deepEqual(
      misses,
      expected.filter((one) => one === null),
    );
    const [, leased] = h.call('bw.mget', 40, ...keys, 'lease', 900, 'notify', 'packed') as [string, unknown[][]];
    const missed = keys.filter((_, i) => expected[i] === null);
    const granted = missed.filter((key) => key !== 'k3');
    assert.deepEqual(
      leased,
      missed.map((key) => (key === 'k3' ? [null, 7000 - 1234] : [`77-${granted.indexOf(key) + 2}`, 900])),
    );
    const [none, one] = h.call('BW.MGET', 1, 'nope', 'LEASE', 'PACKED') as [string, unknown[]];
    assert.deepEqual([unpacked(none, 1), one.length], [[null], 1]);
    assert.deepEqual(h.call('BW.MGET', 1, 'packed'), [null], 'a key of that name is a key');
  });

  test(`${name}: NX and XX of BW.SET`, () => {
    const h = new Harness(make);
    assert.equal(h.call('BW.SET', 'k', '1', 'XX'), null);
    assert.equal(h.call('BW.SET', 'k', '1', 'NX'), 'created');
    assert.equal(h.call('BW.SET', 'k', '2', 'NX'), null);
    assert.equal(h.call('BW.SET', 'k', '3', 'XX'), 'replaced');
    assert.equal(h.call('GET', 'k'), '3');
  });

  test(`${name}: wrong BW.* commands do nothing and say why`, () => {
    const h = new Harness(make);
    h.call('SET', 'k', 'v');
    const SYNTAX = '-ERR syntax error';
    const NUMBER = '-ERR value is not an integer or out of range';
    const cases: [string, ...(string | number)[]][] = [
      [SYNTAX, 'BW.GET', 'k', 'NOLEASE'],
      [SYNTAX, 'BW.GET', 'k', 'LEASE', 5, 'x'],
      [NUMBER, 'BW.GET', 'k', 'LEASE', 0],
      [NUMBER, 'BW.GET', 'k', 'LEASE', 'x'],
      [NUMBER, 'BW.GET', 'k', 'LEASE', 3_600_001],
      [SYNTAX, 'BW.SET', 'k', 'x', 'PX'],
      ["-ERR invalid expire time in 'bw.set' command", 'BW.SET', 'k', 'x', 'PX', 0],
      [NUMBER, 'BW.SET', 'k', 'x', 'PX', 'y'],
      [SYNTAX, 'BW.SET', 'k', 'x', 'TAGS', 2, 'a'],
      [SYNTAX, 'BW.SET', 'k', 'x', 'TAGS', -1],
      [NUMBER, 'BW.SET', 'k', 'x', 'TAGS', 'a'],
      ['-ERR too many tags: at most 255 an entry', 'BW.SET', 'k', 'x', 'TAGS', 256, ...Array<string>(256).fill('t')],
      ['-ERR invalid lease token', 'BW.SET', 'k', 'x', 'LEASE', 'abc'],
      ['-ERR invalid lease token', 'BW.SET', 'k', 'x', 'LEASE', '-5'],
      ['-ERR invalid lease token', 'BW.SET', 'k', 'x', 'LEASE', '5-'],
      ['-ERR invalid lease token', 'BW.SET', 'k', 'x', 'LEASE', '5-0'],
      [SYNTAX, 'BW.SET', 'k', 'x', 'NX', 'XX'],
      [SYNTAX, 'BW.SET', 'k', 'x', 'what'],
      [NUMBER, 'BW.MGET', 'x', 'k'],
      [SYNTAX, 'BW.MGET', 0, 'k'],
      [SYNTAX, 'BW.MGET', 2, 'k'],
      [SYNTAX, 'BW.MGET', 1, 'k', 'k'],
      [SYNTAX, 'BW.MGET', 99_999, 'k'],
      [SYNTAX, 'BW.MGET', 1, 'k', 'PACKED', 'LEASE'],
      [SYNTAX, 'BW.MGET', 1, 'k', 'PACKED', 'PACKED'],
      [SYNTAX, 'BW.FILL', 2, 'k', 'x', 0, '', 0],
      [SYNTAX, 'BW.FILL', 1, 'k', 'x', 0, '', 0, 'more'],
      [SYNTAX, 'BW.FILL', 1, 'k', 'x', 0, '', 1],
      [SYNTAX, 'BW.FILL', 1, 'k', 'x', 0, '', -1],
      [NUMBER, 'BW.FILL', 'n', 'k', 'x', 0, '', 0],
      ["-ERR invalid expire time in 'bw.fill' command", 'BW.FILL', 1, 'k', 'x', -1, '', 0],
      ['-ERR invalid lease token', 'BW.FILL', 1, 'k', 'x', 0, 'token', 0],
      [SYNTAX, 'BW.INVALIDATE', 'KEYS', 2, 'k'],
      [SYNTAX, 'BW.INVALIDATE', 'KEYS', 1, 'k', 'TAGS'],
      [SYNTAX, 'BW.INVALIDATE', 'KEYS', 1, 'k', 'WHAT', 1, 'x'],
      [NUMBER, 'BW.INVALIDATE', 'KEYS', 'x', 'k'],
      [NUMBER, 'BW.LEASE', 'x', 'k'],
      [SYNTAX, 'BW.LEASE', 0, 'k'],
      [SYNTAX, 'BW.LEASE', 2, 'k'],
      [SYNTAX, 'BW.LEASE', 1, 'k', 5, 'x'],
      [NUMBER, 'BW.LEASE', 1, 'k', 0],
      [NUMBER, 'BW.LEASE', 1, 'k', 'x'],
      [NUMBER, 'BW.LEASE', 1, 'k', 3_600_001],
      ["-ERR wrong number of arguments for 'bw.lease' command", 'BW.LEASE', 1],
      [SYNTAX, 'BW.RELEASE', 'k', '77-1', 'k'],
      ['-ERR invalid lease token', 'BW.RELEASE', 'k', 'token'],
      ["-ERR wrong number of arguments for 'bw.release' command", 'BW.RELEASE', 'k'],
      ["-ERR wrong number of arguments for 'bw.get' command", 'BW.GET'],
      ["-ERR wrong number of arguments for 'bw.stats' command", 'BW.STATS', 'x'],
    ];
    for (const [error, ...words] of cases) assert.equal(h.call(...words), error, words.join(' ').slice(0, 80));
    assert.equal(h.call('GET', 'k'), 'v');
  });

  test(`${name}: keys and values above the limits are refused and change nothing`, () => {
    const h = new Harness(make);
    const longKey = 'k'.repeat(513);
    assert.equal(h.call('SET', longKey, 'v'), '-ERR key is too long: 513 bytes, at most 512');
    assert.equal(h.call('MSET', 'a', '1', longKey, 'v'), '-ERR key is too long: 513 bytes, at most 512');
    assert.equal(h.call('GET', 'a'), null, 'MSET looks at sizes before it stores');
    h.call('SET', 'a', 'old');
    const huge = new Uint8Array(8 * 1024 * 1024 + 1);
    assert.equal(h.call('SET', 'a', huge, 'GET'), '-ERR value is too large: 8388609 bytes, at most 8388608');
    assert.equal(h.call('GETSET', 'a', huge), '-ERR value is too large: 8388609 bytes, at most 8388608');
    assert.equal(h.call('GET', 'a'), 'old');
    assert.equal(h.call('BW.SET', 'a', huge), '-ERR value is too large: 8388609 bytes, at most 8388608');
    assert.equal(h.call('GET', 'a'), null, 'BW.SET leaves no value that it was told is old');
    assert.equal(h.call('GET', longKey), null);
  });
}

test('memory full under noeviction: the words of Redis, what was there stays, reads and deletes go on', () => {
  const h = new Harness((options) => new Store(options), 'noeviction');
  const value = new Uint8Array(50_000);
  let stored = 0;
  while (h.call('SET', `k${stored}`, value) === 'OK') stored += 1;
  const full = "-OOM command not allowed when used memory > 'maxmemory'.";
  assert.ok(stored > 10 && stored * 50_000 < MEMORY);
  for (const words of [
    ['SET', 'more', value],
    ['SET', 'k0', new Uint8Array(60_000), 'GET'],
    ['GETSET', 'k0', new Uint8Array(60_000)],
    ['MSET', 'more', value],
    ['APPEND', 'k0', value],
    ['BW.SET', 'more', value],
  ]) {
    assert.equal(h.call(...(words as [string])), full, words[0] as string);
  }
  assert.deepEqual(h.call('BW.FILL', 1, 'more', value, 0, '', 0), [-1]);
  assert.equal(h.call('STRLEN', 'k0'), 50_000);
  assert.equal(h.call('DEL', 'k0', 'k1'), 2);
  assert.equal(h.call('SET', 'more', value), 'OK');
});

test('BW.COUNT: a full table refuses new names and counts on; a sum beyond the safe integers is refused', () => {
  const h = new Harness((options) => new Store(options));
  assert.equal(h.call('BW.COUNT', 'views', 2), 2);
  assert.equal(h.call('BW.COUNT', 'hour', 1, 60_000), 1);
  for (let i = 2; i < 65_536; i += 1) h.context.tallies.add(`n${i}`, 1, null, h.nowMs);
  assert.equal(h.call('BW.COUNT', 'another', 1), '-COUNTERSFULL no room for another counter');
  assert.equal(h.call('BW.COUNT', 'another'), 0, 'nothing was begun');
  assert.equal(h.call('BW.COUNT', 'views', 3), 5);
  h.call('FLUSHALL');
  assert.equal(h.call('BW.COUNT', 'views'), 5, 'FLUSHALL is about entries');
  h.nowMs += 60_000;
  assert.equal(h.call('BW.COUNT', 'another', 7), 7, 'an expired one made room');
  assert.equal(h.call('BW.COUNT', 'views', Number.MAX_SAFE_INTEGER), '-ERR increment or decrement would overflow');
  assert.equal(h.call('BW.COUNT', 'views'), 5);
  for (const by of ['1.5', '9007199254740993', 'x'])
    assert.match(String(h.call('BW.COUNT', 'views', by)), /^-ERR value is not an integer/);
  for (const ms of [0, -1]) assert.match(String(h.call('BW.COUNT', 'views', 1, ms)), /^-ERR value is not an integer/);
  assert.match(String(h.call('BW.COUNT', 'x'.repeat(513), 1)), /^-ERR invalid counter/);
  assert.match(String(h.call('BW.COUNT', '', 1)), /^-ERR invalid counter/);
});

test('BW.STATS is a map of numbers in RESP3 and a flat array in RESP2', () => {
  const h = new Harness((options) => new Store(options));
  const flat = h.call('BW.STATS') as unknown[];
  assert.equal(flat.length % 2, 0);
  flat.forEach((part, index) => {
    assert.equal(typeof part, index % 2 === 0 ? 'string' : 'number');
  });
  h.call('HELLO', 3);
  assert.ok(h.call('BW.STATS') instanceof ReplyMap);
});

test('the table: every row is found in any case, subcommands have their parent, arity fits', () => {
  const names = COMMANDS.map((row) => row.name);
  const index = new NameIndex(names);
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  names.forEach((name, row) => {
    for (const written of [name, name.toUpperCase(), name[0]!.toUpperCase() + name.slice(1)]) {
      assert.equal(index.find(bytes(written), 0, written.length), row);
    }
    assert.equal(index.find(bytes(`${name}x`), 0, name.length + 1), names.indexOf(`${name}x`));
  });
  for (const row of COMMANDS) {
    assert.ok(row.summary !== '' && row.arity !== 0);
    for (const child of row.subcommands ?? []) assert.ok(child.name.startsWith(`${row.name}|`));
  }
  assert.equal(index.find(bytes('bw\x0eget'), 0, 6), -1, 'a control character is no dot');
});

test('integers are read as strictly as by string2ll', () => {
  const read = (text: string): number => integerAt(Buffer.from(text, 'latin1'), 0, text.length);
  for (const bad of [
    '',
    '-',
    '+1',
    ' 1',
    '1 ',
    '01',
    '-0',
    '00',
    '1.0',
    '1e3',
    '0x1',
    '9223372036854775808',
    '-9223372036854775809',
    '123456789012345678901',
    '\xb2',
  ]) {
    assert.ok(Number.isNaN(read(bad)), JSON.stringify(bad));
  }
  assert.equal(read('9223372036854775807'), Number.POSITIVE_INFINITY);
  assert.equal(read('-9223372036854775808'), Number.NEGATIVE_INFINITY);
  fc.assert(
    fc.property(fc.bigInt({ min: INT64_MIN, max: INT64_MAX }), (value) => {
      const text = value.toString();
      assert.equal(bigIntegerAt(Buffer.from(text), 0, text.length), value);
      const number = read(text);
      if (Number.isSafeInteger(Number(value))) assert.equal(number, Number(value));
      else assert.equal(number, value > 0n ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY);
    }),
    { numRuns: 300 },
  );
});

test('a glob that makes a backtracking matcher explode takes no time', () => {
  const pattern = Buffer.from(`${'a*'.repeat(100)}b`);
  const text = Buffer.from('a'.repeat(5000));
  assert.equal(globMatches(pattern, 0, pattern.length, text, 0, text.length), false);
});

test('decimal sums are exact', () => {
  assert.equal(addDecimals('0.1', '0.2'), '0.3');
  assert.equal(addDecimals('1e3', '-.5'), '999.5');
  assert.equal(addDecimals('-1', '1'), '0');
  assert.equal(addDecimals('abc', '1'), NOT_DECIMAL);
  assert.equal(addDecimals('1', '1e400'), NOT_DECIMAL);
  assert.equal(addDecimals('inf', '1'), DECIMAL_OVERFLOW);
  fc.assert(
    fc.property(fc.integer({ min: -1e9, max: 1e9 }), fc.integer({ min: -1e9, max: 1e9 }), (a, b) => {
      assert.equal(
        addDecimals(`${a}e-6`, `${b}e-6`),
        String(Number(((a + b) / 1e6).toFixed(6)))
          .replace(/^-0$/, '0')
          .replace(/(-?)(\d)(?:\.(\d+))?e-7/, '$10.000000$2$3'),
      );
    }),
    { numRuns: 200 },
  );
});

for (const [name, make] of MAKERS) {
  test(`${name}: BW.SET SVERSION is stored, same, older or unsure; a lease beside it`, () => {
    const h = new Harness(make);
    const set = (value: string, version: string | number, ...more: string[]): unknown =>
      h.call('BW.SET', 'v:1', value, 'SVERSION', version, ...more);
    assert.equal(set('five', 5), 'created');
    assert.equal(set('four', 4), 'older');
    assert.equal(set('five', 5), 'same');
    assert.equal(set('big', '4294967296', 'PX', '50', 'TAGS', '1', 't'), 'replaced', 'above 2^32');
    assert.equal(set('small', '4294967295'), 'older');
    h.nowMs += 50;
    assert.equal(set('small', '4294967295'), 'older', 'it has expired, and is remembered');
    assert.equal(set('big', '4294967296'), 'created', 'expired at this version: it may come back');
    h.call('DEL', 'v:1');
    assert.equal(set('big', '4294967296'), 'unsure');
    assert.equal(h.call('GET', 'v:1'), null);
    const [token] = h.call('BW.GET', 'v:1', 'LEASE') as [string];
    assert.equal(set('lagging', 5, 'LEASE', token), 'older', 'loaded from a source that lags');
    const [again] = h.call('BW.GET', 'v:1', 'LEASE') as [string];
    assert.equal(
      set('loaded', '4294967296', 'LEASE', again),
      'created',
      'a good lease is proof enough for the same one',
    );
    assert.equal(h.call('GET', 'v:1'), 'loaded');
    h.call('SET', 'v:1', 'plain');
    assert.equal(set('old', 7), 'older');
    assert.equal(h.call('GET', 'v:1'), 'plain');
    for (const wrong of ['-1', '', '1.0', '01', '18446744073709551616', '99999999999999999999', 'x']) {
      assert.match(String(set('x', wrong)), /invalid source version/);
    }
    assert.equal(set('last', '18446744073709551615', 'XX'), 'replaced');
    assert.equal(set('x', '18446744073709551614', 'NX'), null);
    h.call('EXPIRE', 'v:1', '100');
    assert.equal(set('x', '18446744073709551614'), 'older', 'a changed expiry keeps the version');
    h.context.freshness.invariants();
  });
}
