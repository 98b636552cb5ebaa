import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Freshness, type VersionedStore } from './freshness.ts';
import { Generations } from './generations.ts';
import { HELD, Leases } from './leases.ts';
import { namespaceHash, namespaceOfKey, tagHash } from './names.ts';

const utf8 = new TextEncoder();
const bytesOf = (text: string): Uint8Array => utf8.encode(text);

class LeaseCase {
  readonly leases: Leases;
  constructor(capacity: number) {
    this.leases = new Leases({ epoch: 7, seed: 1, capacity });
  }
  grant(key: string, nowMs: number, durationMs = 100, version = 0): number {
    const k = bytesOf(key);
    return this.leases.grant(k, 0, k.length, version, nowMs, durationMs);
  }
  knows(key: string, counter: number, epoch = 7): boolean {
    const k = bytesOf(key);
    return this.leases.versionOf(k, 0, k.length, epoch, counter) >= 0;
  }
  void(key: string): void {
    const k = bytesOf(key);
    this.leases.voidKey(k, 0, k.length);
  }
  wait(key: string, nowMs: number): number {
    const k = bytesOf(key);
    return this.leases.waitMs(k, 0, k.length, nowMs);
  }
}

test('one caller is granted, the others wait for what is left of its time', () => {
  const t = new LeaseCase(16);
  const token = t.grant('a', 0);
  assert.ok(token > 0);
  assert.equal(t.grant('a', 40), HELD);
  assert.equal(t.wait('a', 40), 60);
  assert.ok(t.grant('b', 40) > 0, 'another key is another lease');
  assert.ok(t.grant('a', 100) > token, 'when its time is over the next caller is granted');
  assert.equal(t.wait('nobody', 0), 0);
});

test('a delete between miss and fill voids the token', () => {
  const t = new LeaseCase(16);
  const token = t.grant('a', 0);
  t.void('a');
  assert.equal(t.knows('a', token), false);
  assert.ok(t.grant('a', 1) > 0, 'the next miss is granted at once');
});

test('a token whose time is over still fills, until a write voids it', () => {
  const t = new LeaseCase(16);
  const slow = t.grant('a', 0);
  const second = t.grant('a', 100);
  assert.ok(t.knows('a', slow) && t.knows('a', second));
  t.void('a');
  assert.ok(!t.knows('a', slow) && !t.knows('a', second));
  t.leases.invariants();
});

test('a token of another epoch, another key, never granted or malformed is unknown', () => {
  const t = new LeaseCase(16);
  const token = t.grant('a', 0);
  assert.equal(t.knows('a', token, 8), false);
  assert.equal(t.knows('b', token), false);
  for (const counter of [0, -1, token + 1, Number.NaN, 1.5, 2 ** 53]) assert.equal(t.knows('a', counter), false);
});

test('property: leases behave as a plain list of the last `capacity` grants', () => {
  const key = fc.constantFrom('a', 'b', 'c', 'd', 'e:1', 'e:2');
  const step = fc.oneof(
    fc.record({
      do: fc.constant('grant' as const),
      key,
      after: fc.nat(80),
      duration: fc.integer({ min: 1, max: 120 }),
    }),
    fc.record({ do: fc.constant('void' as const), key }),
    fc.record({ do: fc.constant('fill' as const), key, back: fc.nat(12) }),
    fc.record({ do: fc.constant('release' as const), key, back: fc.nat(12) }),
    fc.record({ do: fc.constant('voidAll' as const) }),
  );
  fc.assert(
    fc.property(fc.constantFrom(1, 2, 8, 64), fc.array(step, { maxLength: 120 }), (capacity, steps) => {
      const t = new LeaseCase(capacity);
      let model: { key: string; counter: number; until: number }[] = [];
      let granted = 0;
      let now = 0;
      for (const s of steps) {
        if (s.do === 'grant') {
          now += s.after;
          const newest = model.findLast((lease) => lease.key === s.key);
          const got = t.grant(s.key, now, s.duration);
          if (newest !== undefined && now < newest.until) {
            assert.equal(got, HELD);
            assert.equal(t.wait(s.key, now), newest.until - now);
          } else {
            granted += 1;
            assert.equal(got, granted);
            model = model.filter((lease) => lease.counter !== granted - capacity);
            model.push({ key: s.key, counter: granted, until: now + s.duration });
          }
        } else if (s.do === 'void') {
          t.void(s.key);
          model = model.filter((lease) => lease.key !== s.key);
        } else if (s.do === 'release') {
          const counter = granted - s.back;
          const known = model.some((lease) => lease.key === s.key && lease.counter === counter);
          const k = bytesOf(s.key);
          assert.equal(t.leases.release(k, 0, k.length, 7, counter), known);
          model = model.filter((lease) => lease.counter !== counter || lease.key !== s.key);
        } else if (s.do === 'fill') {
          const counter = granted - s.back;
          const known = model.some((lease) => lease.key === s.key && lease.counter === counter);
          assert.equal(t.knows(s.key, counter), known);
          if (known) {
            const k = bytesOf(s.key);
            t.leases.filled(k, 0, k.length);
            model = model.filter((lease) => lease.key !== s.key);
          }
        } else {
          t.leases.voidAll();
          model = [];
        }
        assert.equal(t.leases.live, model.length);
        t.leases.invariants();
      }
    }),
    { numRuns: 200 },
  );
});

test('property: generations err only toward "invalidated", and not at all while the table has room', () => {
  const name = fc.integer({ min: 1, max: 12 });
  const step = fc.oneof(
    fc.record({ do: fc.constant('bump' as const), name }),
    fc.record({ do: fc.constant('ask' as const), name, back: fc.nat(20) }),
    fc.record({ do: fc.constant('all' as const) }),
  );
  fc.assert(
    fc.property(fc.constantFrom(1, 2, 4, 16), fc.array(step, { maxLength: 120 }), (capacity, steps) => {
      const generations = new Generations(capacity);
      const last = new Map<number, number>();
      let everything = 0;
      let clock = 0;
      for (const s of steps) {
        if (s.do === 'bump') {
          clock += 1 + (s.name % 3);
          generations.invalidate(s.name * 0x1_0000_0001, clock);
          last.set(s.name, clock);
        } else if (s.do === 'all') {
          clock += 1;
          generations.invalidateAll(clock);
          everything = clock;
        } else {
          const version = Math.max(0, clock - s.back);
          const truth = Math.max(last.get(s.name) ?? 0, everything) > version;
          const answer = generations.invalidatedAfter(s.name * 0x1_0000_0001, version);
          if (truth) assert.ok(answer, 'an invalidation is never forgotten');
          else if (answer) assert.ok(version < generations.floor, 'a false "invalidated" only below the floor');
          if (capacity === 16) assert.equal(answer, truth);
        }
        generations.invariants();
      }
    }),
    { numRuns: 200 },
  );
});

test('the namespace of a key stands before its first colon', () => {
  const hashOf = (key: string): number => namespaceOfKey(bytesOf(key), 0, bytesOf(key).length);
  const named = (name: string): number => namespaceHash(bytesOf(name), 0, bytesOf(name).length);
  assert.equal(hashOf('user:42:x'), named('user'));
  assert.equal(hashOf('plain'), named(''));
  assert.equal(hashOf(':odd'), named(''));
  assert.notEqual(named('org:7'), tagHash(bytesOf('org:7'), 0, 5));
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), (name) => {
      const hash = tagHash(name, 0, name.length);
      assert.ok(Number.isSafeInteger(hash) && hash >= 0);
    }),
    { numRuns: 200 },
  );
});

/** The least that Freshness needs of a store: entries by ref. */
class TinyStore implements VersionedStore {
  readonly entries: { key: Uint8Array; version: number; tags: number[] }[] = [];
  invalidationFloor = 0;
  #version = 0;
  isDead: (ref: number) => boolean = () => false;
  keyLength(ref: number): number {
    return this.entries[ref]!.key.length;
  }
  copyKey(ref: number, target: Uint8Array, targetStart: number): void {
    target.set(this.entries[ref]!.key, targetStart);
  }
  version(ref: number): number {
    return this.entries[ref]!.version;
  }
  tagCount(ref: number): number {
    return this.entries[ref]!.tags.length;
  }
  tagHash(ref: number, index: number): number {
    return this.entries[ref]!.tags[index]!;
  }
  nextVersion(): number {
    this.#version += 1;
    return this.#version;
  }
  setLiveness(isDead: (ref: number) => boolean): void {
    this.isDead = isDead;
  }
  peek(): number {
    return 0;
  }
  reap(): boolean {
    return false;
  }
  readSource(): boolean {
    return false;
  }
  onSourceGone(): void {}
  add(key: string, ...tags: string[]): number {
    const hashes = tags.map((tag) => tagHash(bytesOf(tag), 0, bytesOf(tag).length));
    return this.entries.push({ key: bytesOf(key), version: this.nextVersion(), tags: hashes }) - 1;
  }
  dead(ref: number): boolean {
    return this.version(ref) < this.invalidationFloor && this.isDead(ref);
  }
}

test('a tag known only after the load: the fill that carries it is refused', () => {
  const store = new TinyStore();
  const freshness = new Freshness(store, { epoch: 3, seed: 9, capacity: 64 });
  const key = bytesOf('user:42');
  const tag = bytesOf('org:7');
  const tags = new Float64Array([tagHash(tag, 0, tag.length)]);
  const token = freshness.grant(key, 0, key.length, 0); // 1. a miss
  freshness.invalidateTag(tag, 0, tag.length); //          2. the tag is invalidated; no entry carries it
  assert.equal(freshness.mayFill(key, 0, key.length, 3, token, tags, 1), false); // 3. the load's tags say so
  assert.equal(freshness.mayFill(key, 0, key.length, 3, token, tags, 0), false, 'a refusal ends the token');
  const other = freshness.grant(key, 0, key.length, 1);
  assert.ok(other > token, 'so the next reader is granted at once');
  freshness.invalidateTag(tag, 0, tag.length);
  assert.equal(freshness.mayFill(key, 0, key.length, 3, other, tags, 0), true, 'under other tags it may');
  const late = freshness.grant(bytesOf('user:43'), 0, 7, 0);
  assert.equal(freshness.mayFill(bytesOf('user:43'), 0, 7, 3, late, tags, 1), true, 'granted after the invalidation');
  freshness.invalidateNamespace(bytesOf('user'), 0, 4);
  assert.equal(freshness.mayFill(key, 0, key.length, 3, other, tags, 0), false);
  assert.ok(freshness.grant(key, 0, key.length, 2) > other);
  freshness.invariants();
});

test('nobody waits for a lease whose namespace was invalidated', () => {
  const store = new TinyStore();
  const freshness = new Freshness(store, { epoch: 3, seed: 9, capacity: 64 });
  const key = bytesOf('user:42');
  const first = freshness.grant(key, 0, key.length, 0);
  assert.equal(freshness.grant(key, 0, key.length, 1), HELD);
  freshness.invalidateNamespace(bytesOf('user'), 0, 4);
  const second = freshness.grant(key, 0, key.length, 2);
  assert.ok(second > first);
  assert.equal(freshness.grant(key, 0, key.length, 3), HELD);
  assert.equal(freshness.mayFill(key, 0, key.length, 3, first, new Float64Array(0), 0), false);
  assert.equal(freshness.mayFill(key, 0, key.length, 3, second, new Float64Array(0), 0), true);
});

test('entries die with their tag or namespace, later ones live', () => {
  const store = new TinyStore();
  const freshness = new Freshness(store, { epoch: 3, seed: 9, capacity: 64 });
  const user = store.add('user:1', 'org:7');
  const other = store.add('item:1');
  const bare = store.add('x');
  freshness.invalidateTag(bytesOf('org:7'), 0, 5);
  assert.deepEqual(
    [user, other, bare].map((ref) => store.dead(ref)),
    [true, false, false],
  );
  freshness.invalidateNamespace(bytesOf('item'), 0, 4);
  assert.deepEqual(
    [user, other, bare].map((ref) => store.dead(ref)),
    [true, true, false],
  );
  freshness.invalidateNamespace(bytesOf(''), 0, 0);
  assert.equal(store.dead(bare), true);
  assert.equal(store.dead(store.add('user:1', 'org:7')), false);
});

test('more namespaces cleared than are remembered: entries from before the forgotten one are misses, later ones live, fills from before are refused', () => {
  const CAPACITY = 4_096;
  const store = new TinyStore();
  const freshness = new Freshness(store, { epoch: 3, seed: 9, capacity: 64 });
  const key = bytesOf('kept:1');
  const clear = (name: string): void => {
    const bytes = bytesOf(name);
    freshness.invalidateNamespace(bytes, 0, bytes.length);
  };
  const early = store.add('kept:1');
  const tagged = store.add('kept:2', 'org:7');
  const token = freshness.grant(key, 0, key.length, 0, 1_000);
  const { sizeBytes } = freshness.namespaces;
  clear('first');
  const later = store.add('kept:3');
  for (let i = 1; i < CAPACITY; i += 1) clear(`ns${i}`);
  assert.equal(freshness.namespaces.size, CAPACITY);
  assert.deepEqual(
    [early, tagged, later].map((ref) => store.dead(ref)),
    [false, false, false],
    'as long as all are remembered, only what was cleared is gone',
  );
  assert.equal(freshness.mayFill(key, 0, key.length, 3, token, new Float64Array(0), 0), true);
  const second = freshness.grant(bytesOf('kept:5'), 0, 6, 0, 1_000);
  // One more: what stood under "first" is no longer known, so everything from before it must go.
  clear('one more');
  assert.deepEqual([freshness.namespaces.size, freshness.namespaces.forgotten], [CAPACITY, 1]);
  assert.deepEqual(
    [early, tagged, later].map((ref) => store.dead(ref)),
    [true, true, false],
  );
  assert.equal(
    freshness.mayFill(bytesOf('kept:5'), 0, 6, 3, second, new Float64Array(0), 0),
    true,
    'granted after the floor',
  );
  // Clearing what is remembered forgets nobody, however often.
  for (let round = 0; round < 3; round += 1) clear('one more');
  assert.equal(freshness.namespaces.forgotten, 1);
  // A whole round of other names: nothing of what was stored or granted before is left, and the table is as large as it was.
  const third = freshness.grant(bytesOf('kept:9'), 0, 6, 0, 1_000);
  for (let i = 0; i <= CAPACITY; i += 1) clear(`other${i}`);
  assert.equal(store.dead(later), true);
  assert.equal(freshness.mayFill(bytesOf('kept:9'), 0, 6, 3, third, new Float64Array(0), 0), false);
  assert.equal(store.dead(store.add('kept:1')), false);
  assert.equal(freshness.namespaces.sizeBytes, sizeBytes);
  freshness.namespaces.invariants();
});
