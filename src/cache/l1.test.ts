import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../base/random.ts';
import { Zipf } from '../base/zipf.ts';
import { L1, type L1Facts } from './l1.ts';
import { hashId, L1Sketch } from './l1-sketch.ts';
import { hashNamespace, hashTags, Voids } from './voids.ts';

const SPACE = hashNamespace('x');

function facts(value: number, bytes = 10, extra: Partial<L1Facts<number>> = {}): L1Facts<number> {
  const lifetime = { ttlMs: 1e15, graceMs: 0, loadMs: 0, sureUntilMs: 1e15, goneAtMs: 1e15 };
  return { value, bytes, ...lifetime, storedAtMs: 0, version: null, stamp: 0, tags: [], ...extra };
}

test('property: bounds and queues hold whatever comes, and what is found is what was put last', () => {
  const id = fc.integer({ min: 0, max: 40 }).map(String);
  const step = fc.oneof(
    fc.record({ do: fc.constant('put' as const), id, bytes: fc.nat(900) }),
    fc.record({ do: fc.constant('find' as const), id }),
    fc.record({ do: fc.constant('remove' as const), id }),
    fc.record({ do: fc.constant('clear' as const) }),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 25 }),
      fc.integer({ min: 400, max: 6_000 }),
      fc.array(step, { maxLength: 150 }),
      (maxEntries, maxBytes, steps) => {
        const l1 = new L1<number>({ maxEntries, maxBytes }, new Voids(), SPACE);
        const model = new Map<string, number>();
        steps.forEach((s, i) => {
          if (s.do === 'put') {
            l1.put(s.id, facts(i, s.bytes));
            model.set(s.id, i);
          } else if (s.do === 'remove') {
            l1.remove(s.id);
            model.delete(s.id);
          } else if (s.do === 'clear') {
            l1.clear();
            model.clear();
          } else {
            const found = l1.find(s.id, 0);
            if (found !== null) assert.equal(found.value, model.get(s.id));
          }
          l1.invariants();
        });
      },
    ),
    { numRuns: 200 },
  );
});

test('an entry goes when its time comes, when a name of it is voided, and not when another is', () => {
  const voids = new Voids();
  const l1 = new L1<number>({ maxEntries: 10, maxBytes: 1e6 }, voids, SPACE);
  l1.put('a', facts(1, 10, { sureUntilMs: 100, goneAtMs: 200 }));
  assert.equal(l1.find('a', 95)?.value, 1);
  assert.equal(l1.find('a', 100), null, 'not certainly fresh any more');
  assert.equal(l1.findAged('a', 199)?.value, 1, 'but there, for judge to say');
  assert.equal(l1.findAged('a', 200), null);
  assert.equal(l1.size, 0);

  const put = (id: string, ...tags: string[]): void =>
    l1.put(id, facts(1, 10, { stamp: voids.stamp, tags: hashTags(tags) }));
  put('red', 'red');
  put('both', 'blue', 'red');
  put('blue', 'blue');
  voids.voidTag('red');
  voids.voidNamespace('y');
  assert.deepEqual(
    ['red', 'both', 'blue'].map((id) => l1.find(id, 0) !== null),
    [false, false, true],
  );
  put('red', 'red');
  assert.notEqual(l1.find('red', 0), null, 'what comes in after the void lives');
  voids.voidNamespace('x');
  assert.equal(l1.find('red', 0), null);
  assert.equal(l1.find('blue', 0), null);
  l1.invariants();
});

test('what L2 has by the same number is the same entry when it was suspect, and another one when it was void', () => {
  for (const isVoid of [false, true]) {
    const voids = new Voids();
    const l1 = new L1<number>({ maxEntries: 10, maxBytes: 1e6 }, voids, SPACE);
    l1.put('a', facts(1, 10, { version: 38, stamp: voids.stamp }));
    assert.equal(l1.ofVersion('a', 37, 0), null);
    voids.suspectAll();
    // A node that began anew: its numbers begin anew as well.
    if (isVoid) voids.voidAll();
    assert.equal(l1.ofVersion('a', 38, 0)?.value, isVoid ? undefined : 1);
    l1.invariants();
  }
});

test('property: never certain past its time, and certain until 16 ms before it', () => {
  const ms = fc.double({ min: -1e7, max: 4e10, noNaN: true });
  fc.assert(
    fc.property(fc.double({ min: 0, max: 2e12, noNaN: true }), ms, ms, (epochMs, sureMs, atMs) => {
      const l1 = new L1<number>({ maxEntries: 10, maxBytes: 1e6 }, new Voids(), SPACE);
      l1.put('first', facts(1, 10, { storedAtMs: epochMs }));
      l1.put('a', facts(2, 10, { storedAtMs: epochMs, sureUntilMs: epochMs + sureMs }));
      for (const nowMs of [epochMs + atMs, epochMs + sureMs, epochMs + sureMs - 17, epochMs + sureMs - 1]) {
        // A clock does not go back behind the first entry.
        if (nowMs < epochMs) continue;
        const found = l1.find('a', nowMs) !== null;
        if (nowMs >= epochMs + sureMs) assert.equal(found, false, `${nowMs} is past ${epochMs + sureMs}`);
        else if (sureMs > 17 && sureMs < 3e10 && nowMs < epochMs + sureMs - 17) assert.equal(found, true);
      }
    }),
  );
});

test('voids that were forgotten count as crossed', () => {
  const voids = new Voids();
  const { stamp } = voids;
  for (let i = 0; i < 5_000; i += 1) voids.voidKey(`k${i}`);
  assert.equal(voids.crossed(stamp, 'never voided', SPACE, []), true);
  assert.equal(voids.crossed(voids.stamp, 'k1', SPACE, []), false);
});

test('the Map’s share and the promises are in the bytes; replacing and removing give them back', () => {
  const l1 = new L1<number>({ maxEntries: 1_000, maxBytes: 1e6 }, new Voids(), SPACE);
  const empty = l1.bytes;
  l1.put('a', facts(1, 100));
  const bare = l1.bytes;
  const entry = l1.find('a', 0)!;
  assert.equal(l1.promiseOf(entry), l1.promiseOf(entry));
  assert.ok(l1.bytes > bare);
  l1.put('a', facts(2, 100));
  assert.equal(l1.bytes, bare, 'the promise of the old value went with it');
  l1.remove('a');
  assert.equal(l1.bytes, empty);
  for (let i = 0; i < 900; i += 1) l1.put(`${i}`, facts(i));
  assert.ok(l1.bytes > 900 * 290);
  l1.invariants();
  l1.clear();
  assert.ok(l1.bytes < empty + 5_000, 'all but the sketch');
});

test('a scan of keys that are asked for once does not wash out the hot ones', () => {
  const l1 = new L1<number>({ maxEntries: 1_000, maxBytes: 1e9 }, new Voids(), SPACE);
  const hot = Array.from({ length: 500 }, (_, i) => `hot${i}`);
  const ask = (id: string): boolean => {
    if (l1.find(id, 0) !== null) return true;
    l1.put(id, facts(1));
    return false;
  };
  for (let round = 0; round < 4; round += 1) for (const id of hot) ask(id);
  for (let i = 0; i < 20_000; i += 1) {
    ask(`cold${i}`);
    if (i % 10 === 0) ask(hot[(i / 10) % 500]!);
  }
  const left = hot.filter((id) => l1.find(id, 0) !== null).length;
  assert.ok(left > 450, `${left} of 500 hot keys are left (an LRU keeps none: 5,000 cold keys come between two uses)`);
});

test('a loop a little larger than L1 finds what an LRU never would', () => {
  const l1 = new L1<number>({ maxEntries: 400, maxBytes: 1e9 }, new Voids(), SPACE);
  let hits = 0;
  for (let i = 0; i < 50_000; i += 1) {
    if (l1.find(`${i % 500}`, 0) !== null) hits += 1;
    else l1.put(`${i % 500}`, facts(1));
  }
  assert.ok(hits > 25_000, `${hits} of 50,000`);
  l1.invariants();
});

test('the sketch never estimates too low before it ages, and a doubling forgets nothing', () => {
  const sketch = new L1Sketch();
  sketch.growFor(64);
  const ids = Array.from({ length: 64 }, (_, i) => hashId(`id${i}`));
  ids.forEach((hash, i) => {
    for (let use = 0; use < i % 5; use += 1) sketch.count(hash);
  });
  sketch.growFor(10_000);
  ids.forEach((hash, i) => {
    assert.ok(sketch.estimate(hash) >= i % 5);
  });
  assert.equal(sketch.bytes, 4 * 16_384);
});

test('hit ratio on a Zipf stream is above an LRU’s', () => {
  const random = new SeededRandom(3);
  const zipf = new Zipf(20_000, 0.9, random);
  const size = 1_000;
  const l1 = new L1<number>({ maxEntries: size, maxBytes: 1e9 }, new Voids(), SPACE);
  const lru = new Map<string, true>();
  let hits = 0;
  let lruHits = 0;
  const requests = 100_000;
  for (let i = 0; i < requests; i += 1) {
    const id = String(zipf.next());
    if (l1.find(id, 0) !== null) hits += 1;
    else l1.put(id, facts(1));
    if (lru.delete(id)) lruHits += 1;
    lru.set(id, true);
    if (lru.size > size) lru.delete(lru.keys().next().value!);
  }
  assert.ok(hits / requests > lruHits / requests + 0.03, `${hits / requests} against ${lruHits / requests}`);
  l1.invariants();
});
