/**
 * Rendezvous hashing, or highest random weight (Thaler and Ravishankar, IEEE/ACM ToN 6(1), 1998): every server draws a lot for the key, from a hash of
 * both, and the highest lot wins. No ring, no points, no state but the list of servers:
 *
 *   - a server that leaves takes only its own keys along, and they spread evenly over *all* others (a ring gives an arc to one
 *     neighbour); a server that joins wins exactly its share of keys, an equal part from each;
 *   - the second highest lot is the second owner, and so on: the order in which copies are placed, or in which others stand in for a
 *     dead server, is as even as the first place;
 *   - load spreads as evenly as the hash does, with no virtual nodes to trade memory for evenness.
 *
 * Weights by the logarithmic method (Schindelhauer and Schomaker, SPAA 2005): with a lot u uniform in (0, 1), the score
 *
 *     score = weight / -ln(u)
 *
 * makes a server win with the probability of its share of the weight, *and* raising one weight moves keys only towards that server.
 * (Multiplying the lot by the weight does neither.)
 *
 * The price is O(servers) a lookup, about 10 ns each: fine for tens of servers, and for hundreds with few lookups; above that take the ring.
 *
 * With bounded load (after Mirrokni, Thorup and Zadimoghaddam, Consistent Hashing with Bounded Loads, SODA 2018): no server takes more than `factor`
 * times its fair share; a key whose owner is full goes to its next one. For load that is *counted* (connections, requests under way), where a few
 * hot keys would overload one server that by number of keys holds its share.
 *
 * Ties (a score equal to the last bit) go to the lower name, so that the order of the list never matters. `Math.log` is not specified to the
 * last bit; V8's is the same on every platform (fdlibm). A client in another language may differ where two scores agree to 16 digits.
 */
import { AssertionError, assert } from '../base/assert.ts';
import { checkServers, type WeightedServer } from './servers.ts';

export class Rendezvous {
  readonly servers: readonly WeightedServer[];
  /** Two independent hashes of each server's name. */
  readonly #seeds: Uint32Array;
  readonly #weights: Float64Array;
  readonly #totalWeight: number;
  /** Rank of each server's name, for ties. */
  readonly #rank: Uint32Array;
  readonly #scores: Float64Array;

  /** @throws BreakwaterError `RING_INVALID`: no server, a name twice, a weight that is not above 0 */
  constructor(servers: readonly WeightedServer[]) {
    checkServers(servers);
    this.servers = servers;
    this.#seeds = new Uint32Array(servers.length * 2);
    servers.forEach((server, index) => {
      this.#seeds[2 * index] = hashName(server.name, 0x9e3779b9);
      this.#seeds[2 * index + 1] = hashName(server.name, 0x85ebca6b);
    });
    this.#weights = Float64Array.from(servers, (server) => server.weight);
    this.#totalWeight = this.#weights.reduce((sum, weight) => sum + weight, 0);
    this.#rank = new Uint32Array(servers.length);
    servers
      .map((server, index) => ({ name: server.name, index }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .forEach(({ index }, rank) => {
        this.#rank[index] = rank;
      });
    this.#scores = new Float64Array(servers.length);
  }

  /** Index in `servers` of the owner of the key with this hash (any good uint32 hash of it). O(servers), allocates nothing. */
  ownerOf(keyHash: number): number {
    let best = 0;
    let bestScore = this.#score(keyHash, 0);
    for (let index = 1; index < this.#weights.length; index += 1) {
      const score = this.#score(keyHash, index);
      if (score > bestScore || (score === bestScore && this.#rank[index]! < this.#rank[best]!)) {
        best = index;
        bestScore = score;
      }
    }
    return best;
  }

  /** The server's lot for this key, weighed: above 0; the highest wins. For callers with rules of their own about who may win. O(1). */
  scoreOf(keyHash: number, index: number): number {
    return this.#score(keyHash, index);
  }

  /** The `count` servers with the highest scores, best first: owner, then stand-ins. O(servers * count). */
  ownersOf(keyHash: number, count: number): number[] {
    this.#scoreAll(keyHash);
    const found: number[] = [];
    while (found.length < Math.min(count, this.#weights.length)) found.push(this.#takeBest());
    return found;
  }

  /**
   * The first server in the key's order of preference that bears less than `factor` times its fair share of the load, this
   * key's unit included.
   *
   * @param loadOf how much each server bears at present (units: whatever is counted, the same for all)
   * @param factor above 1. Close to 1: even load, more keys away from home. 1.25 is a common choice
   */
  ownerWithin(keyHash: number, loadOf: (index: number) => number, factor: number): number {
    assert(factor > 1, 'a bound of the load must leave room: factor above 1');
    let total = 1;
    for (let index = 0; index < this.#weights.length; index += 1) total += loadOf(index);
    this.#scoreAll(keyHash);
    for (let tried = 0; tried < this.#weights.length; tried += 1) {
      const index = this.#takeBest();
      const capacity = Math.ceil((factor * total * this.#weights[index]!) / this.#totalWeight);
      if (loadOf(index) < capacity) return index;
    }
    throw new AssertionError('the capacities add up to more than the load, so one of them is not reached');
  }

  #scoreAll(keyHash: number): void {
    for (let index = 0; index < this.#weights.length; index += 1) this.#scores[index] = this.#score(keyHash, index);
  }

  /** The best of `#scores`, which is then out of the race. */
  #takeBest(): number {
    let best = -1;
    for (let index = 0; index < this.#scores.length; index += 1) {
      const score = this.#scores[index]!;
      if (score < 0) continue;
      const ahead = best < 0 ? 1 : score - this.#scores[best]!;
      if (ahead > 0 || (ahead === 0 && this.#rank[index]! < this.#rank[best]!)) best = index;
    }
    this.#scores[best] = -1;
    return best;
  }

  /** A score above 0, from a lot of 52 bits: with 32, ties would be met in practice. */
  #score(keyHash: number, index: number): number {
    const high = mix(mix(keyHash ^ this.#seeds[2 * index]!) + this.#seeds[2 * index + 1]!);
    const low = mix(high ^ keyHash);
    // In (0, 1): half a step away from both ends, where the logarithm is endless or 0. 52 bits leave room for the half.
    const lot = ((high >>> 0) * 0x10_0000 + (low >>> 12) + 0.5) / 2 ** 52;
    return this.#weights[index]! / -Math.log(lot);
  }
}

/** MurmurHash3's finalizer: every bit of the input moves every bit of the output with a chance of about one half. */
function mix(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}

/** A hash of a server's name (UTF-16 units), for setting up only. */
function hashName(name: string, seed: number): number {
  let h = seed | 0;
  for (let i = 0; i < name.length; i += 1) h = mix(h ^ name.charCodeAt(i)) + Math.imul(i + 1, 0x9e3779b1);
  return mix(h ^ name.length) >>> 0;
}
