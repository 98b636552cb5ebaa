/**
 * A consistent-hash ring, point for point the one of libketama (Richard Jones, last.fm, 2007) and libmemcached, so that a fleet
 * whose other clients are in PHP, Python or C finds every key on the same server.
 *
 * The obvious placement, `hash(key) % servers`, moves (N-1)/N of all keys when the number of servers changes: the cache is empty
 * at the very moment that a server was lost. Here servers and keys are hashed onto the same circle of 2^32 positions, and a
 * key belongs to the first server point at or after its own. A server that leaves gives its arcs to the next points; every other key stays.
 *
 *             point of C
 *        key2 /
 *         v  *---.          key1 -> A, key2 -> C, key3 -> B
 *       .-'       '-* A <-- key1     without A: key1 -> B, the others stay
 *      |             |
 *       '-.       .-' <---- key3
 *          '-* B-'
 *
 * One point a server would cut the circle into arcs of wildly different lengths (the largest of N is about ln N times the mean); with
 * v points a server the spread of load falls with 1/sqrt(v). 160 is libketama's number, with a spread of about 8 %; `breakwater bench
 * placement` measures it.
 *
 * Points come four from one MD5 digest of `name-0`, `name-1`, ..., each four bytes little-endian; a key's position is the first of its
 * digest's. MD5 is no secret here, only a good mixer that every language has. Computing it needs a module that this folder may not
 * import, so the digest function is an argument (`createHash('md5').update(text).digest()` in Node.js).
 *
 * Compatible means: the server's `name` must be the text that the other clients hash. libketama takes the line of its server list
 * (`10.0.1.1:11211`); libmemcached leaves the port away when it is 11211, as {@link libmemcachedName} does.
 *
 * Costs: O(points) memory (8 bytes each), O(log points) a lookup, one MD5 a key (about 1 microsecond).
 * Invariants: points ascend; equal points (about one pair in a ring of 90,000) are ordered by name, so that no two clients that list the
 * servers in another order disagree.
 */
import { BreakwaterError } from '../base/errors.ts';
import { checkServers, type WeightedServer } from './servers.ts';

/** MD5 of the UTF-8 bytes of `text`: 16 bytes. */
export type Md5 = (text: string) => Uint8Array;

/** Points a server of average weight has in libketama and libmemcached. */
export const KETAMA_POINTS = 160;

const POINTS_PER_DIGEST = 4;

export class KetamaRing {
  readonly servers: readonly WeightedServer[];
  /** Positions of all points, ascending. */
  readonly points: Uint32Array;
  /** Index in `servers` of the owner of each point. */
  readonly owners: Uint32Array;

  /**
   * @param pointsPerServer for a server of average weight. Multiples of 4 are counted exactly as libketama does, which leaves a
   *   server of less than about 1/40 of the average weight without any point; other numbers are rounded, and are at least 1.
   * @throws BreakwaterError `RING_INVALID`: no server, a name twice, a weight that is not above 0, no point at all
   */
  constructor(servers: readonly WeightedServer[], md5: Md5, pointsPerServer: number = KETAMA_POINTS) {
    checkServers(servers);
    if (!Number.isInteger(pointsPerServer) || pointsPerServer < 1) {
      throw new BreakwaterError(
        'RING_INVALID',
        `cannot make a ring: points per server must be a whole number of at least 1, received ${pointsPerServer}`,
      );
    }
    this.servers = servers;
    const totalWeight = servers.reduce((sum, server) => sum + server.weight, 0);
    const placed: { readonly point: number; readonly owner: number }[] = [];
    servers.forEach((server, owner) => {
      const count = pointCount(server.weight, totalWeight, servers.length, pointsPerServer);
      for (let index = 0; index < count; index += 1) {
        // One digest for four points: taken apart again below.
        if (index % POINTS_PER_DIGEST !== 0) continue;
        const digest = md5(`${server.name}-${index / POINTS_PER_DIGEST}`);
        const last = Math.min(POINTS_PER_DIGEST, count - index);
        for (let part = 0; part < last; part += 1) placed.push({ point: uint32At(digest, part * 4), owner });
      }
    });
    if (placed.length === 0) {
      throw new BreakwaterError('RING_INVALID', 'cannot make a ring: no server weighs enough to get a point');
    }
    placed.sort((a, b) => a.point - b.point || (servers[a.owner]!.name < servers[b.owner]!.name ? -1 : 1));
    this.points = Uint32Array.from(placed, (each) => each.point);
    this.owners = Uint32Array.from(placed, (each) => each.owner);
  }

  /** Index in `servers` of the owner of the position `hash` (see {@link ketamaHash}). O(log points). */
  ownerOf(hash: number): number {
    return this.owners[this.#pointFor(hash)]!;
  }

  /**
   * The first `count` different servers from the position `hash` on, the owner first: where copies go, and where a key goes while
   * the servers before are dead. Shorter when there are fewer servers with points.
   */
  ownersOf(hash: number, count: number): number[] {
    const found: number[] = [];
    const first = this.#pointFor(hash);
    for (let step = 0; step < this.points.length && found.length < count; step += 1) {
      const owner = this.owners[(first + step) % this.points.length]!;
      if (!found.includes(owner)) found.push(owner);
    }
    return found;
  }

  /** Index of the first point at or after `hash`; after the last comes the first. */
  #pointFor(hash: number): number {
    let low = 0;
    let high = this.points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.points[middle]! < hash) low = middle + 1;
      else high = middle;
    }
    return low === this.points.length ? 0 : low;
  }
}

/** A key's position on the ring, from the MD5 digest of the key. */
export function ketamaHash(digest: Uint8Array): number {
  return uint32At(digest, 0);
}

/** The name under which libmemcached places a server: without its port when that is memcached's own. */
export function libmemcachedName(host: string, port: number): string {
  return port === 11211 ? host : `${host}:${port}`;
}

/** In single precision where the C code computes in single precision: a floor may hang on it. */
function pointCount(weight: number, totalWeight: number, servers: number, pointsPerServer: number): number {
  const share = Math.fround(Math.fround(weight) / Math.fround(totalWeight));
  if (pointsPerServer % POINTS_PER_DIGEST !== 0) return Math.max(1, Math.round(share * pointsPerServer * servers));
  const digests = share * (pointsPerServer / POINTS_PER_DIGEST) * servers;
  return Math.floor(Math.fround(digests)) * POINTS_PER_DIGEST;
}

function uint32At(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}
