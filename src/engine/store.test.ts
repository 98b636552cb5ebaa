/**
 * The store beside the model (test/model/map-store.ts): the same random calls on both, the whole structure checked after
 * every step. Under eviction a miss is allowed where the model hits; a wrong value, a wrong expiry or version never is.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MapStore } from '../../test/model/map-store.ts';
import { BreakwaterError } from '../base/errors.ts';
import { SeededRandom } from '../base/random.ts';
import { hashBytes } from '../hash/table-hash.ts';
import { type EvictionPolicy, NO_ROOM, STORED, type StoreFace, TOO_LARGE } from './face.ts';
import { Store } from './store.ts';

const POLICIES: readonly EvictionPolicy[] = ['tinylfu', 'lru', 'lfu', 'fifo', 'random', 'ttl', 'noeviction'];
const EVICTING: readonly EvictionPolicy[] = ['tinylfu', 'lru', 'lfu', 'ttl'];
const KIB = 1024;
const START_MS = 1_700_000_000_000;
const DAY_MS = 86_400_000;

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

function valueFor(length: number, salt: number): Uint8Array {
  const value = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) value[i] = (i * 31 + salt * 17 + (i >>> 8)) & 0xff;
  return value;
}

function readValue(store: StoreFace, ref: number): Uint8Array {
  const value = new Uint8Array(store.valueLength(ref));
  store.copyValue(ref, value, 0);
  return value;
}

function readKey(store: StoreFace, ref: number): string {
  const key = new Uint8Array(store.keyLength(ref));
  store.copyKey(ref, key, 0);
  return String.fromCharCode(...key);
}

/** One entry of the store equals the one of the model in everything but its ref. */
function assertSameEntry(store: StoreFace, ref: number, model: StoreFace, modelRef: number): void {
  assert.equal(readKey(store, ref), readKey(model, modelRef));
  assert.deepEqual(readValue(store, ref), readValue(model, modelRef));
  assert.equal(store.expiresAtMs(ref), model.expiresAtMs(modelRef));
  assert.equal(store.version(ref), model.version(modelRef));
  assert.equal(store.flags(ref), model.flags(modelRef));
  assert.equal(store.tagCount(ref), model.tagCount(modelRef));
  for (let i = 0; i < store.tagCount(ref); i += 1) assert.equal(store.tagHash(ref, i), model.tagHash(modelRef, i));
}

interface Walk {
  readonly eviction: EvictionPolicy;
  readonly seed: number;
  readonly memoryBytes: number;
  readonly steps: number;
  readonly keys: number;
  /** Length of the next value. */
  readonly valueLength: (random: SeededRandom) => number;
  readonly checkEvery: number;
  readonly maxTtlMs?: number;
}

/** Random calls on store and model; returns the store for what a test wants to say about it. */
function walk({ eviction, seed, memoryBytes, steps, keys, valueLength, checkEvery, maxTtlMs = 5000 }: Walk): Store {
  const random = new SeededRandom(seed);
  const options = { memoryBytes, eviction, seed };
  const store = new Store(options);
  const model = new MapStore(options);
  let nowMs = START_MS;
  const below = (n: number): number => random.nextUint32() % n;
  for (let step = 0; step < steps; step += 1) {
    const key = bytesOf(below(50) === 0 ? '' : `k${below(keys)}${below(7) === 0 ? 'x'.repeat(below(300)) : ''}`);
    const modelRef = model.peek(key, 0, key.length, nowMs);
    switch (below(16)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
      case 5: {
        const value = valueFor(valueLength(random), step);
        const expiry = below(2) === 0 ? 0 : nowMs + 1 + below(maxTtlMs) * (below(3) === 0 ? 1 : 0.01);
        const flags = below(256);
        const tagCount = below(6) === 0 ? below(5) : 0;
        const tags = {
          count: tagCount,
          hashes: Float64Array.from({ length: 5 }, () => below(2 ** 31) * 2 ** 21 + below(99)),
        };
        const result = store.set(key, 0, key.length, value, 0, value.length, expiry, nowMs, flags, tags);
        if (result === STORED) {
          model.set(key, 0, key.length, value, 0, value.length, expiry, nowMs, flags, tags);
        } else {
          assert.equal(result, NO_ROOM);
          assert.ok(eviction === 'noeviction' || value.length > memoryBytes / 2, 'only what cannot fit is refused');
        }
        break;
      }
      case 6:
      case 7:
      case 8:
      case 9:
      case 10: {
        const ref = store.find(key, 0, key.length, nowMs);
        if (modelRef === 0) assert.equal(ref, 0);
        if (ref !== 0) assertSameEntry(store, ref, model, modelRef);
        else if (modelRef !== 0) {
          assert.ok(store.stats.evictions > 0, 'nothing is lost before the first eviction');
          model.delete(key, 0, key.length, nowMs);
        }
        break;
      }
      case 11: {
        const deleted = store.delete(key, 0, key.length, nowMs);
        const expected = model.delete(key, 0, key.length, nowMs);
        assert.ok(deleted === expected || (!deleted && store.stats.evictions > 0));
        break;
      }
      case 12: {
        const ref = store.peek(key, 0, key.length, nowMs);
        if (modelRef === 0) assert.equal(ref, 0);
        if (ref !== 0) {
          assertSameEntry(store, ref, model, modelRef);
          const expiry = below(3) === 0 ? 0 : nowMs + 1 + below(maxTtlMs);
          if (store.setExpiry(ref, expiry)) model.setExpiry(modelRef, expiry);
          else assert.equal(eviction, 'noeviction');
        }
        break;
      }
      case 13:
        nowMs += below(20) === 0 ? below(maxTtlMs) : below(20);
        store.tick(nowMs, 1 + below(40));
        break;
      case 14: {
        const ref = store.randomRef(random, nowMs);
        if (ref !== 0) {
          const name = bytesOf(readKey(store, ref));
          assertSameEntry(store, ref, model, model.peek(name, 0, name.length, nowMs));
        }
        break;
      }
      default:
        if (below(200) === 0) {
          store.clear(nowMs);
          model.clear(nowMs);
          assert.equal(store.size, 0);
        } else {
          nowMs += below(3);
        }
    }
    if (step % checkEvery === 0) {
      store.invariants();
      assert.ok(store.stats.usedBytes <= memoryBytes);
      if (store.stats.evictions === 0)
        assert.ok(liveCount(store, nowMs) === liveCount(model, nowMs), 'it fits, so it stays');
    }
  }
  store.invariants();
  return store;
}

function liveCount(store: StoreFace, nowMs: number): number {
  const keys = new Set<string>();
  let cursor = 0;
  do {
    cursor = store.scan(cursor, 100, nowMs, (ref) => keys.add(readKey(store, ref)));
  } while (cursor !== 0);
  return keys.size;
}

/** Runs `body` with `count` seeds, the same ones every time; a failure names its seed. */
function forSeeds(count: number, body: (seed: number) => void): void {
  for (let seed = 1; seed <= count; seed += 1) {
    try {
      body(seed);
    } catch (error) {
      throw new Error(`with seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
    }
  }
}

for (const eviction of POLICIES) {
  test(`${eviction}: agrees with the model step by step, small values`, () => {
    forSeeds(25, (seed) => {
      const valueLength = (random: SeededRandom): number => random.nextUint32() % 200;
      walk({ eviction, seed, memoryBytes: 256 * KIB, steps: 250, keys: 60, valueLength, checkEvery: 1 });
    });
  });

  test(`${eviction}: agrees with the model with memory full, drifting sizes and jumbo values`, () => {
    forSeeds(10, (seed) => {
      const valueLength = (random: SeededRandom): number => {
        const pick = random.nextUint32() % 40;
        if (pick === 0) return random.nextUint32() % 60_000;
        return random.nextUint32() % (pick < 6 ? 5000 : 600);
      };
      walk({ eviction, seed, memoryBytes: 256 * KIB, steps: 3000, keys: 400, valueLength, checkEvery: 17 });
    });
  });
}

test('no eviction while it fits, and eviction when it does not', () => {
  for (const eviction of EVICTING) {
    const store = new Store({ memoryBytes: 1024 * KIB, eviction, seed: 1 });
    const value = valueFor(100, 1);
    let stored = 0;
    while (store.stats.evictions === 0) {
      const key = bytesOf(`key:${stored}`);
      assert.equal(store.set(key, 0, key.length, value, 0, value.length, 0, START_MS), STORED);
      stored += 1;
      assert.ok(stored < 20_000);
    }
    // Headers, index and sketch for 8-byte keys: about 150 bytes an entry, and a reserve.
    assert.ok(
      store.stats.liveBytes > 0.8 * 1024 * KIB,
      `${eviction}: ${store.stats.liveBytes} live bytes at the first eviction`,
    );
    for (let i = 0; i < 30_000; i += 1) {
      const key = bytesOf(`more:${i}`);
      assert.equal(store.set(key, 0, key.length, value, 0, value.length, 0, START_MS), STORED);
    }
    store.invariants();
    assert.ok(store.size > 5000);
  }
});

test('noeviction refuses when full, keeps what is there, and takes again what a delete frees', () => {
  const store = new Store({ memoryBytes: 512 * KIB, eviction: 'noeviction', seed: 5 });
  const value = valueFor(300, 3);
  let stored = 0;
  for (;;) {
    const key = bytesOf(`key:${stored}`);
    if (store.set(key, 0, key.length, value, 0, value.length, 0, START_MS) === NO_ROOM) break;
    stored += 1;
  }
  assert.ok(stored * 300 > 0.7 * 512 * KIB, `${stored} entries`);
  assert.equal(store.stats.evictions, 0);
  for (let i = 0; i < stored; i += 1) {
    const key = bytesOf(`key:${i}`);
    assert.notEqual(store.peek(key, 0, key.length, START_MS), 0);
  }
  // An overwrite of the same shape needs no room.
  const first = bytesOf('key:0');
  assert.equal(store.set(first, 0, first.length, valueFor(300, 9), 0, 300, 0, START_MS), STORED);
  for (let i = 0; i < stored; i += 2) {
    const key = bytesOf(`key:${i}`);
    assert.ok(store.delete(key, 0, key.length, START_MS));
  }
  let again = 0;
  for (;;) {
    const key = bytesOf(`again:${again}`);
    if (store.set(key, 0, key.length, value, 0, value.length, 0, START_MS) === NO_ROOM) break;
    again += 1;
  }
  store.invariants();
  assert.ok(again > 0.8 * (stored / 2), `${again} of ${stored / 2} holes filled again`);
});

test('expiry is exact to the millisecond on find, and the wheel reclaims over cascades up to 200 years', () => {
  const store = new Store({ memoryBytes: 1024 * KIB, eviction: 'lru', seed: 2 });
  const spans = [
    1,
    33,
    80,
    1023,
    1100,
    65_536,
    4_194_304,
    DAY_MS,
    49.8 * DAY_MS,
    60 * DAY_MS,
    400 * DAY_MS,
    14_000 * DAY_MS,
    73_000 * DAY_MS,
  ];
  const value = bytesOf('v');
  for (const span of spans) {
    const key = bytesOf(`in ${span}`);
    store.set(key, 0, key.length, value, 0, 1, START_MS + span, START_MS);
  }
  store.invariants();
  let before = START_MS;
  for (const span of spans) {
    const key = bytesOf(`in ${span}`);
    assert.notEqual(store.peek(key, 0, key.length, START_MS + span - 1), 0, `alive until ${span}`);
    assert.equal(store.peek(key, 0, key.length, START_MS + span), 0, `expired at ${span}`);
    // Walk there as a server would, in the steps that tick asks for, within reason.
    for (let i = 0; i < 50 && before < START_MS + span; i += 1)
      before = Math.min(START_MS + span, before + Math.max(1, store.tick(before, 3)) * 50);
    while (store.tick(START_MS + span + 16, 3) === 0);
    before = START_MS + span + 16;
    store.invariants();
    const tick = Math.floor(before / 16);
    assert.equal(
      store.size,
      spans.filter((other) => Math.ceil((START_MS + other) / 16) > tick).length,
      `after ${span}`,
    );
  }
});

test('tick says when it is next wanted and keeps to its budget', () => {
  const store = new Store({ memoryBytes: 1024 * KIB, eviction: 'tinylfu', seed: 2 });
  for (let i = 0; i < 1000; i += 1) {
    const key = bytesOf(`key:${i}`);
    store.set(key, 0, key.length, key, 0, key.length, START_MS + 500, START_MS);
  }
  const wait = store.tick(START_MS, 100);
  assert.ok(wait > 0 && wait <= 516, `${wait} ms`);
  let now = START_MS + 516;
  let calls = 0;
  while (store.tick(now, 100) === 0) {
    calls += 1;
    assert.equal(store.size, 1000 - 100 * calls);
  }
  assert.equal(calls, 10);
  assert.equal(store.stats.expirations, 1000);
  now += 1;
  assert.equal(store.tick(now, 100), 1000);
});

test('a scan returns everything present throughout, while the table grows and entries move', () => {
  const store = new Store({ memoryBytes: 4096 * KIB, eviction: 'noeviction', seed: 11 });
  const put = (name: string, length: number): void => {
    const key = bytesOf(name);
    assert.equal(store.set(key, 0, key.length, valueFor(length, 1), 0, length, 0, START_MS), STORED);
  };
  for (let i = 0; i < 500; i += 1) put(`stays:${i}`, 10);
  const seen = new Set<string>();
  let cursor = 0;
  let step = 0;
  do {
    cursor = store.scan(cursor, 3, START_MS, (ref) => seen.add(readKey(store, ref)));
    for (let i = 0; i < 40; i += 1) put(`new:${step}:${i}`, 20);
    put(`stays:${step % 500}`, 10 + (step % 90));
    step += 1;
  } while (cursor !== 0 && step < 400);
  while (cursor !== 0) cursor = store.scan(cursor, 1000, START_MS, (ref) => seen.add(readKey(store, ref)));
  for (let i = 0; i < 500; i += 1) assert.ok(seen.has(`stays:${i}`), `stays:${i}`);
});

test('the liveness check is asked only below the floor, hides the dead, and tick sweeps them out', () => {
  const removals: string[] = [];
  const store = new Store({
    memoryBytes: 1024 * KIB,
    eviction: 'tinylfu',
    seed: 3,
    onRemove: (cause) => removals.push(cause),
  });
  for (let i = 0; i < 300; i += 1) {
    const key = bytesOf(`key:${i}`);
    const tags = { count: 1, hashes: Float64Array.of(i % 3 === 0 ? 2 ** 52 + 7 : 5) };
    store.set(key, 0, key.length, key, 0, key.length, 0, START_MS, 0, tags);
  }
  let asked = 0;
  store.setLiveness((ref) => {
    asked += 1;
    return store.tagHash(ref, 0) === 2 ** 52 + 7;
  });
  const key = bytesOf('key:3');
  assert.notEqual(store.find(key, 0, key.length, START_MS), 0);
  assert.equal(asked, 0);
  store.invalidationFloor = store.nextVersion();
  assert.equal(store.find(key, 0, key.length, START_MS), 0);
  assert.equal(store.stats.invalidations, 1);
  assert.equal(liveCount(store, START_MS), 200);
  while (store.tick(START_MS, 50) === 0);
  assert.equal(store.size, 200);
  assert.deepEqual(new Set(removals), new Set(['invalidate']));
  store.set(key, 0, key.length, key, 0, key.length, 0, START_MS, 0, { count: 1, hashes: Float64Array.of(2 ** 52 + 7) });
  assert.notEqual(store.find(key, 0, key.length, START_MS), 0, 'what is stored after the invalidation is alive');
  store.invariants();
});

test('versions grow with every write and are shared with nextVersion', () => {
  const store = new Store({ memoryBytes: 256 * KIB, eviction: 'lru', seed: 3 });
  let last = 0;
  for (let i = 0; i < 200; i += 1) {
    const key = bytesOf(`key:${i % 5}`);
    store.set(key, 0, key.length, key, 0, i % 4, 0, START_MS);
    const version = store.version(store.peek(key, 0, key.length, START_MS));
    assert.ok(version > last);
    last = store.nextVersion();
    assert.ok(last > version);
  }
});

test('jumbo values come back whole and in ranges, and their segments are given back', () => {
  const store = new Store({ memoryBytes: 4096 * KIB, eviction: 'tinylfu', seed: 4, maxValueBytes: 2_000_000 });
  const key = bytesOf('jumbo');
  for (const length of [0, 1, 4096, 8191, 8192, 8193, 100_000, 1_000_000, 2_000_000]) {
    const value = valueFor(length, length);
    assert.equal(store.set(key, 0, key.length, value, 0, length, START_MS + 9, START_MS), STORED, `${length}`);
    const ref = store.find(key, 0, key.length, START_MS);
    assert.deepEqual(readValue(store, ref), value);
    for (const [from, to] of [
      [0, 0],
      [0, 1],
      [Math.floor(length / 3), Math.floor(length / 2)],
      [Math.max(0, length - 5), length],
    ] as const) {
      if (to > length) continue;
      const part = new Uint8Array(to - from + 2);
      store.copyValueRange(ref, from, to, part, 1);
      assert.deepEqual(part.subarray(1, to - from + 1), value.subarray(from, to));
    }
    store.invariants();
  }
  assert.equal(store.set(key, 0, key.length, valueFor(2_000_001, 0), 0, 2_000_001, 0, START_MS), TOO_LARGE);
  const ref = store.peek(key, 0, key.length, START_MS);
  assert.ok(store.setExpiry(ref, 0));
  assert.ok(store.delete(key, 0, key.length, START_MS));
  assert.equal(store.stats.jumboBytes, 0);
  store.invariants();
});

test('a value larger than memory is refused and nothing is lost; one that nearly fills it is stored', () => {
  for (const eviction of EVICTING) {
    const store = new Store({ memoryBytes: 1024 * KIB, eviction, seed: 4, maxValueBytes: 8_000_000 });
    for (let i = 0; i < 4000; i += 1) {
      const key = bytesOf(`key:${i}`);
      store.set(key, 0, key.length, key, 0, key.length, 0, START_MS);
    }
    const before = store.size;
    const key = bytesOf('huge');
    assert.equal(store.set(key, 0, key.length, valueFor(1_100_000, 1), 0, 1_100_000, 0, START_MS), NO_ROOM);
    assert.equal(store.size, before);
    assert.equal(store.set(key, 0, key.length, valueFor(700_000, 1), 0, 700_000, 0, START_MS), STORED);
    for (let i = 0; i < 200; i += 1)
      store.set(key, 0, key.length, valueFor(700_000 + i, i), 0, 700_000 + i, 0, START_MS);
    store.invariants();
  }
});

test('keys up to the limit, empty keys and values, and keys that differ in one byte', () => {
  const store = new Store({ memoryBytes: 32 * 1024 * KIB, eviction: 'lru', seed: 4, maxKeyBytes: 65_535 });
  const long = valueFor(65_535, 2);
  assert.equal(store.set(long, 0, 65_535, long, 0, 65_535, 0, START_MS), STORED);
  const other = long.slice();
  other[65_534] = other[65_534]! ^ 1;
  assert.equal(store.find(other, 0, 65_535, START_MS), 0);
  assert.notEqual(store.find(long, 0, 65_535, START_MS), 0);
  assert.equal(store.set(long, 0, 0, long, 0, 0, 0, START_MS), STORED);
  assert.equal(store.valueLength(store.find(long, 7, 0, START_MS)), 0);
  assert.equal(store.size, 2);
  const small = new Store({ memoryBytes: 256 * KIB, eviction: 'lru', seed: 4 });
  assert.equal(small.set(long, 0, 513, long, 0, 1, 0, START_MS), TOO_LARGE);
  small.invariants();
  store.invariants();
});

test('options out of range and too little memory are refused with a code', () => {
  for (const options of [
    { memoryBytes: 1000 },
    { memoryBytes: Number.NaN },
    { memoryBytes: 2 ** 40 },
    { memoryBytes: 1024 * KIB, maxKeyBytes: 70_000 },
    { memoryBytes: 1024 * KIB, maxKeyBytes: 65_535 },
    { memoryBytes: 1024 * KIB, maxValueBytes: -1 },
  ]) {
    assert.throws(
      () => new Store({ eviction: 'lru', seed: 1, ...options }),
      (error: unknown) => error instanceof BreakwaterError && error.code === 'ENGINE_OPTIONS_INVALID',
    );
  }
});

test('keys with one and the same 32-bit hash are kept apart', () => {
  const seed = 77;
  const seen = new Map<number, string>();
  const pairs: [string, string][] = [];
  for (let i = 0; pairs.length < 2; i += 1) {
    const name = `collide:${i}`;
    const key = bytesOf(name);
    const hash = hashBytes(key, 0, key.length, seed);
    const other = seen.get(hash);
    if (other !== undefined) pairs.push([other, name]);
    seen.set(hash, name);
  }
  const store = new Store({ memoryBytes: 1024 * KIB, eviction: 'lru', seed });
  for (const names of pairs) {
    for (const name of names)
      store.set(bytesOf(name), 0, name.length, bytesOf(`v${name}`), 0, name.length + 1, 0, START_MS);
    for (const name of names) {
      const ref = store.find(bytesOf(name), 0, name.length, START_MS);
      assert.equal(String.fromCharCode(...readValue(store, ref)), `v${name}`);
    }
    assert.ok(store.delete(bytesOf(names[0]), 0, names[0].length, START_MS));
    assert.notEqual(store.find(bytesOf(names[1]), 0, names[1].length, START_MS), 0);
    store.invariants();
  }
});

test('no single write, at full memory and with the table growing, moves or evicts more than a bounded number of entries', () => {
  for (const eviction of EVICTING) {
    const store = new Store({ memoryBytes: 2048 * KIB, eviction, seed: 9 });
    let most = 0;
    for (let i = 0; i < 60_000; i += 1) {
      // Values become smaller, so that more and more entries fit and the table takes segments from the log.
      const length = 400 - Math.floor(i / 150);
      const key = bytesOf(`key:${i % 40_000}`);
      const { evictions, moves } = store.stats;
      assert.equal(
        store.set(key, 0, key.length, key, 0, Math.min(key.length, Math.max(0, length)), 0, START_MS),
        STORED,
      );
      if (i % 3 === 0) store.find(bytesOf(`key:${i % 977}`), 0, bytesOf(`key:${i % 977}`).length, START_MS);
      const after = store.stats;
      most = Math.max(most, after.evictions - evictions + after.moves - moves);
    }
    assert.ok(most < 400, `${eviction}: ${most} entries touched by one write`);
    store.invariants();
  }
});

test('fifo: the oldest goes, however often it is used; random: neither the newest nor the oldest alone', () => {
  const survivors = (eviction: EvictionPolicy): number[] => {
    const store = new Store({ memoryBytes: 512 * KIB, eviction, seed: 9 });
    const value = new Uint8Array(200);
    const key = (i: number): Uint8Array => Buffer.from(`k:${i}`);
    const COUNT = 4000;
    for (let i = 0; i < COUNT; i += 1) {
      assert.equal(store.set(key(i), 0, key(i).length, value, 0, value.length, 0, 1), STORED);
      store.find(key(0), 0, 3, 1);
    }
    store.invariants();
    return Array.from({ length: COUNT }, (_, i) => i).filter((i) => store.peek(key(i), 0, key(i).length, 1) !== 0);
  };
  const first = survivors('fifo');
  assert.deepEqual(
    first,
    Array.from({ length: first.length }, (_, i) => 4000 - first.length + i),
    'the newest, without a hole',
  );
  const random = survivors('random');
  assert.ok(random.length > first.length * 0.8, 'as many fit');
  assert.ok(random[0]! < first[0]! - 200, 'some that are older than any under fifo');
  assert.deepEqual(survivors('random'), random, 'by the seed');
});

test('ttl: what would expire soonest goes first, whenever it came and however often it is used; what has no TTL goes last', () => {
  const COUNT = 6000;
  /** Entries in turn with 10 s to an hour, a day, and for ever; the short ones are read all the time. */
  const lives = [(i: number) => 10_000 + (i % 3600) * 1000, () => DAY_MS, () => Number.POSITIVE_INFINITY];
  const survivors = (eviction: EvictionPolicy): number[] => {
    const store = new Store({ memoryBytes: 1024 * KIB, eviction, seed: 4 });
    const value = new Uint8Array(200);
    const key = (i: number): Uint8Array => Buffer.from(`k:${i}`);
    for (let i = 0; i < COUNT; i += 1) {
      const life = lives[i % 3]!(i);
      const expiry = life === Number.POSITIVE_INFINITY ? 0 : START_MS + life;
      assert.equal(store.set(key(i), 0, key(i).length, value, 0, value.length, expiry, START_MS), STORED);
      const short = key(i - (i % 3));
      store.find(short, 0, short.length, START_MS);
    }
    store.invariants();
    const counts = [0, 0, 0];
    for (let i = 0; i < COUNT; i += 1) {
      if (store.peek(key(i), 0, key(i).length, START_MS) !== 0) counts[i % 3]! += 1;
    }
    return counts;
  };
  const [short, day, forever] = survivors('ttl') as [number, number, number];
  const room = survivors('fifo').reduce((sum, count) => sum + count, 0);
  assert.ok(short + day + forever > room * 0.9, `${short} + ${day} + ${forever} of ${room} that fit`);
  // A third of all are short: of the survivors hardly one is, though these were read most.
  assert.ok(short < (short + day + forever) * 0.1, `${short} short ones among ${short + day + forever}`);
  assert.ok(forever > day, `${forever} without a TTL, ${day} with a day`);
});

test('ttl: nothing has a TTL: the oldest goes, and no write is refused', () => {
  const store = new Store({ memoryBytes: 512 * KIB, eviction: 'ttl', seed: 4 });
  const value = new Uint8Array(200);
  const key = (i: number): Uint8Array => Buffer.from(`k:${i}`);
  for (let i = 0; i < 4000; i += 1) {
    assert.equal(store.set(key(i), 0, key(i).length, value, 0, value.length, 0, START_MS), STORED);
  }
  store.invariants();
  const kept = Array.from({ length: 4000 }, (_, i) => i).filter(
    (i) => store.peek(key(i), 0, key(i).length, START_MS) !== 0,
  );
  assert.deepEqual(
    kept,
    Array.from({ length: kept.length }, (_, i) => 4000 - kept.length + i),
  );
});
