import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { BreakwaterError } from '../base/errors.ts';
import { KetamaRing, ketamaHash, libmemcachedName } from './ketama.ts';
import type { WeightedServer } from './servers.ts';

const md5 = (text: string): Uint8Array => createHash('md5').update(text).digest();
const KEYS = 4000;
const HASHES = Array.from({ length: KEYS }, (_, i) => ketamaHash(md5(`key:${i}`)));

function equal(count: number): WeightedServer[] {
  return Array.from({ length: count }, (_, i) => ({ name: `10.0.0.${i + 1}:7379`, weight: 1 }));
}

/** The owner's name for each of the keys. */
function place(ring: KetamaRing): string[] {
  return HASHES.map((hash) => ring.servers[ring.ownerOf(hash)]!.name);
}

/**
 * Answers of libmemcached 1.1.4 itself (Debian's libmemcached11, `memcached_generate_hash` with
 * MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED): the index of the server that owns user:0, user:1, ...
 */
const LIBMEMCACHED: readonly {
  readonly servers: readonly (readonly [host: string, port: number, weight: number])[];
  readonly owners: string;
}[] = [
  {
    servers: [
      ['10.0.1.1', 11211, 1],
      ['10.0.1.2', 11211, 1],
      ['10.0.1.3', 11211, 1],
      ['10.0.1.4', 11211, 1],
      ['10.0.1.5', 11211, 1],
    ],
    owners:
      '0423333231120434124340302302000211031441004440221143124230204420402324433120332340121402113403214321' +
      '4443023401322243314200032401021232100313241333200214100433443034322200103332440033232130224144021124',
  },
  {
    servers: [
      ['cache-0.local', 7379, 1],
      ['cache-1.local', 7380, 1],
      ['cache-2.local', 7381, 1],
    ],
    owners:
      '2021001222000011210011110121022011011011220212112121200212110011110101000021122022122110010101221220' +
      '0111001022101121012221210102210100120202012212221112010210002222110121220212211220100222010220211121',
  },
  {
    servers: [
      ['10.0.1.1', 11211, 600],
      ['10.0.1.2', 11211, 300],
      ['10.0.1.3', 11211, 200],
      ['10.0.1.4', 11211, 350],
      ['10.0.1.5', 11211, 1000],
      ['10.0.1.6', 11211, 800],
      ['10.0.1.7', 11211, 950],
      ['10.0.1.8', 11211, 100],
    ],
    owners:
      '0623331034166444424640302304640564564445504445531455164565504440442024435555535440621656154463564551' +
      '6566045651342244455000062505021542470356641553606345600466446067442406106366440535060610565164056625' +
      '6226466453646445443542664734005656034544566165651474506436760614466672442616003634664405554547654654',
  },
];

describe('compatible', () => {
  for (const { servers, owners } of LIBMEMCACHED) {
    test(`with libmemcached: ${owners.length} keys on ${servers.length} servers`, () => {
      const ring = new KetamaRing(
        servers.map(([host, port, weight]) => ({ name: libmemcachedName(host, port), weight })),
        md5,
      );
      const got = [...owners].map((_, i) => ring.ownerOf(ketamaHash(md5(`user:${i}`)))).join('');
      assert.equal(got, owners);
    });
  }
});

const someServers = fc.uniqueArray(
  fc.record({ name: fc.stringMatching(/^[a-z]{1,6}$/), weight: fc.integer({ min: 1, max: 5 }) }),
  {
    minLength: 1,
    maxLength: 8,
    selector: (server) => server.name,
    size: 'max',
  },
);

describe('a ring', () => {
  test('has ascending points, and the owner of a key is the first point at or after it, round the corner', () => {
    fc.assert(
      fc.property(
        someServers,
        fc.constantFrom(1, 3, 4, 40, 160),
        fc.array(fc.nat(0xffff_ffff)),
        (servers, v, hashes) => {
          const ring = new KetamaRing(servers, md5, v);
          for (let i = 1; i < ring.points.length; i += 1) assert.ok(ring.points[i]! >= ring.points[i - 1]!);
          for (const hash of [...hashes, 0, 0xffff_ffff, ring.points[0]!, ring.points[ring.points.length - 1]!]) {
            const at = ring.points.findIndex((point) => point >= hash);
            assert.equal(ring.ownerOf(hash), ring.owners[Math.max(at, 0)]);
            const all = ring.ownersOf(hash, servers.length);
            assert.equal(all[0], ring.ownerOf(hash));
            assert.equal(new Set(all).size, all.length);
            assert.deepEqual(ring.ownersOf(hash, 2), all.slice(0, 2));
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  test('the order of the list does not matter', () => {
    fc.assert(
      fc.property(someServers, (servers) => {
        const forth = new KetamaRing(servers, md5, 8);
        const back = new KetamaRing([...servers].reverse(), md5, 8);
        for (const hash of HASHES.slice(0, 200)) {
          assert.equal(forth.servers[forth.ownerOf(hash)]!.name, back.servers[back.ownerOf(hash)]!.name);
        }
      }),
      { numRuns: 50 },
    );
  });

  test('equal points belong to the lower name, whoever comes first in the list', () => {
    // A digest that puts every server on the same four points.
    const same = (): Uint8Array => new Uint8Array(16).fill(7);
    const servers = ['b', 'a', 'c'].map((name) => ({ name, weight: 1 }));
    for (const list of [servers, [...servers].reverse()]) {
      const ring = new KetamaRing(list, same, 4);
      assert.equal(list[ring.ownerOf(1)]!.name, 'a');
      assert.deepEqual(
        ring.ownersOf(1, 3).map((index) => list[index]!.name),
        ['a', 'b', 'c'],
      );
    }
  });

  for (const count of [3, 10]) {
    test(`of ${count}: a server that joins takes about 1/${count + 1} of the keys, and only it takes any`, () => {
      const before = place(new KetamaRing(equal(count), md5));
      const after = place(new KetamaRing(equal(count + 1), md5));
      const joined = `10.0.0.${count + 1}:7379`;
      let moved = 0;
      before.forEach((owner, i) => {
        if (owner === after[i]) return;
        moved += 1;
        assert.equal(after[i], joined);
      });
      const expected = KEYS / (count + 1);
      assert.ok(moved > expected * 0.7 && moved < expected * 1.3, `${moved} of ${KEYS}, expected ${expected}`);
    });
  }

  test('a server that leaves gives its keys to its stand-ins, and no other key moves', () => {
    const ring = new KetamaRing(equal(6), md5);
    const less = new KetamaRing(equal(5), md5);
    HASHES.forEach((hash) => {
      const [home, standIn] = ring.ownersOf(hash, 2);
      assert.equal(less.ownerOf(hash), home === 5 ? standIn : home);
    });
  });

  test('load follows the weights', () => {
    const weights = [1, 2, 3, 4];
    const ring = new KetamaRing(
      weights.map((weight, i) => ({ name: `server-${i}`, weight })),
      md5,
    );
    const load = [0, 0, 0, 0];
    for (const hash of HASHES) load[ring.ownerOf(hash)]! += 1;
    weights.forEach((weight, i) => {
      const expected = (KEYS * weight) / 10;
      assert.ok(Math.abs(load[i]! - expected) < expected * 0.25, `server ${i}: ${load[i]}, expected ${expected}`);
    });
  });

  test('lists that make no ring are refused', () => {
    const bad: readonly (readonly [readonly WeightedServer[], number?])[] = [
      [[]],
      [[{ name: 'a', weight: 0 }]],
      [[{ name: 'a', weight: Number.NaN }]],
      [
        [
          { name: 'a', weight: 1 },
          { name: 'a', weight: 2 },
        ],
      ],
      [equal(2), 0],
      [equal(2), 1.5],
    ];
    for (const [servers, points] of bad) {
      assert.throws(
        () => new KetamaRing(servers, md5, points),
        (error: unknown) => error instanceof BreakwaterError && error.code === 'RING_INVALID',
      );
    }
  });
});
