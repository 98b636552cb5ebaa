import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { SeededRandom } from '../base/random.ts';
import { Rendezvous } from './rendezvous.ts';
import type { WeightedServer } from './servers.ts';

const random = new SeededRandom(20);
const KEYS = 20_000;
const HASHES = Array.from({ length: KEYS }, () => random.nextUint32());

function equal(count: number): WeightedServer[] {
  return Array.from({ length: count }, (_, i) => ({ name: `10.0.0.${i + 1}:7379`, weight: 1 }));
}

function weighted(weights: readonly number[]): WeightedServer[] {
  return weights.map((weight, i) => ({ name: `server-${i}`, weight }));
}

function loads(owners: readonly number[], servers: number): number[] {
  const load = new Array<number>(servers).fill(0);
  for (const owner of owners) load[owner]! += 1;
  return load;
}

/** Within five standard deviations of a binomial: a fair placement fails this once in a million tries. */
function assertShare(got: number, share: number, of: number, what: string): void {
  const expected = share * of;
  const bound = 5 * Math.sqrt(expected * (1 - share));
  assert.ok(Math.abs(got - expected) <= bound, `${what}: ${got}, expected ${expected} +- ${bound}`);
}

const someServers = fc.uniqueArray(
  fc.record({ name: fc.string({ maxLength: 12 }), weight: fc.double({ min: 0.1, max: 20, noNaN: true }) }),
  { minLength: 1, maxLength: 10, selector: (server) => server.name, size: 'max' },
);
const someHash = fc.nat(0xffff_ffff);

describe('placement', () => {
  test('is as even as chance, for few and many servers, also with names that differ in one letter', () => {
    for (const count of [2, 3, 10, 50]) {
      const placed = new Rendezvous(equal(count));
      const owners = HASHES.map((hash) => placed.ownerOf(hash));
      for (const [server, load] of loads(owners, count).entries()) {
        assertShare(load, 1 / count, KEYS, `server ${server} of ${count}`);
      }
    }
  });

  test('is even too for key hashes that are plain numbers', () => {
    const placed = new Rendezvous(equal(7));
    const owners = Array.from({ length: KEYS }, (_, i) => placed.ownerOf(i));
    for (const load of loads(owners, 7)) assertShare(load, 1 / 7, KEYS, 'a server');
  });

  test('honours the weights, in the first place and, once the first is gone, in the second', () => {
    const weights = [0.5, 1, 2, 6.5];
    const placed = new Rendezvous(weighted(weights));
    const total = 10;
    const owners = HASHES.map((hash) => placed.ownersOf(hash, 2));
    const first = loads(
      owners.map(([owner]) => owner!),
      4,
    );
    weights.forEach((weight, i) => {
      assertShare(first[i]!, weight / total, KEYS, `weight ${weight}`);
    });
    const orphans = owners.filter(([owner]) => owner === 3);
    const second = loads(
      orphans.map(([, owner]) => owner!),
      4,
    );
    weights.slice(0, 3).forEach((weight, i) => {
      assertShare(second[i]!, weight / 3.5, orphans.length, `stand-in of weight ${weight}`);
    });
  });

  test('does not depend on the order of the list', () => {
    fc.assert(
      fc.property(someServers, someHash, (servers, hash) => {
        const reversed = [...servers].reverse();
        const names = (list: readonly WeightedServer[]): string[] =>
          new Rendezvous(list).ownersOf(hash, list.length).map((index) => list[index]!.name);
        assert.deepEqual(names(servers), names(reversed));
        assert.equal(names(servers)[0], servers[new Rendezvous(servers).ownerOf(hash)]!.name);
        assert.deepEqual([...names(servers)].sort(), servers.map((server) => server.name).sort());
      }),
      { numRuns: 300 },
    );
  });

  test('golden: these owners may never change, or a rolling upgrade of clients would lose the cache', () => {
    const placed = new Rendezvous(weighted([1, 1, 2, 3, 1]));
    const owners = Array.from({ length: 60 }, (_, i) => placed.ownerOf(Math.imul(i, 0x9e3779b1) >>> 0)).join('');
    assert.equal(owners, '142224323200302334032110320302433233234214123324233330233123');
  });
});

describe('change', () => {
  test('a server that leaves: the order of the others is untouched, for every key', () => {
    fc.assert(
      fc.property(someServers, someHash, fc.nat(20), (servers, hash, which) => {
        if (servers.length < 2) return;
        const gone = servers[which % servers.length]!;
        const rest = servers.filter((server) => server !== gone);
        const before = new Rendezvous(servers).ownersOf(hash, servers.length).map((index) => servers[index]!.name);
        const after = new Rendezvous(rest).ownersOf(hash, rest.length).map((index) => rest[index]!.name);
        assert.deepEqual(
          after,
          before.filter((name) => name !== gone.name),
        );
      }),
      { numRuns: 300 },
    );
  });

  test('a server that joins takes its share, an equal part from each, and nothing else moves', () => {
    const before = new Rendezvous(equal(9));
    const after = new Rendezvous(equal(10));
    const taken = new Array<number>(9).fill(0);
    for (const hash of HASHES) {
      const home = before.ownerOf(hash);
      const now = after.ownerOf(hash);
      if (now === home) continue;
      assert.equal(now, 9);
      taken[home]! += 1;
    }
    for (const part of taken) assertShare(part, 1 / 90, KEYS, 'taken from one');
  });

  test('raising a weight moves keys only towards that server; lowering one only away', () => {
    fc.assert(
      fc.property(someServers, fc.nat(20), fc.double({ min: 1.01, max: 5, noNaN: true }), (servers, which, times) => {
        const index = which % servers.length;
        const raised = servers.map((server, i) =>
          i === index ? { ...server, weight: server.weight * times } : server,
        );
        const before = new Rendezvous(servers);
        const after = new Rendezvous(raised);
        for (const hash of HASHES.slice(0, 200)) {
          const home = before.ownerOf(hash);
          const now = after.ownerOf(hash);
          assert.ok(now === home || now === index);
        }
      }),
      { numRuns: 100 },
    );
  });
});

describe('bounded load', () => {
  test('nobody bears more than factor times the fair share, rounded up; keys stay home while home has room', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 8 }),
        fc.array(someHash, { maxLength: 300, size: 'max' }),
        fc.double({ min: 1.01, max: 3, noNaN: true }),
        (count, hashes, factor) => {
          const placed = new Rendezvous(equal(count));
          const load = new Array<number>(count).fill(0);
          // A tenth of the requests are for one hot key.
          hashes.forEach((hash, i) => {
            const key = i % 10 === 0 ? 42 : hash;
            const capacity = Math.ceil((factor * (i + 1)) / count);
            const owner = placed.ownerWithin(key, (index) => load[index]!, factor);
            const preferred = placed.ownersOf(key, count).find((index) => load[index]! < capacity);
            assert.equal(owner, preferred);
            load[owner]! += 1;
            assert.ok(load[owner]! <= capacity);
          });
        },
      ),
      { numRuns: 100 },
    );
  });

  test('by weight: capacity is a share of the weight', () => {
    const placed = new Rendezvous(weighted([1, 3]));
    const load = [0, 0];
    for (const hash of HASHES.slice(0, 4000)) load[placed.ownerWithin(hash, (index) => load[index]!, 1.02)]! += 1;
    assert.ok(load[0]! <= Math.ceil(1.02 * 1000) && load[1]! <= Math.ceil(1.02 * 3000), load.join());
  });
});
