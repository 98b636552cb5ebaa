/**
 * How evenly a cluster's members are loaded: ranges by count, and bytes, since ranges are not of one size. Bytes are those of some millions of keys, each in a slot by chance, with sizes as caches have them: log-normal, half of them
 * below 300 bytes, the mean 616.
 */
import { SeededRandom } from '../../src/base/random.ts';
import type { NodeId } from '../../src/cluster/member.ts';
import type { ScaleFleet } from './fleet.ts';

/** Times the mean. */
export interface Shares {
  readonly ownedMost: number;
  readonly ownedFewest: number;
  /** Owned and copied. */
  readonly heldMost: number;
  readonly ownedBytesMost: number;
  readonly heldBytesMost: number;
}

const KEYS = 2_000_000;
const MEDIAN_BYTES = 300;
const SIGMA = 1.2;

export function sharesOf(fleet: ScaleFleet): Shares {
  const { rangeCount, live } = fleet;
  const bytes = bytesByRange(rangeCount, fleet.random.nextUint32());
  const owned = new Map<NodeId, [ranges: number, bytes: number]>(live.map(({ id }) => [id, [0, 0]]));
  const held = new Map<NodeId, [ranges: number, bytes: number]>(live.map(({ id }) => [id, [0, 0]]));
  const add = (to: Map<NodeId, [number, number]>, id: NodeId, range: number): void => {
    const sums = to.get(id);
    if (sums === undefined) return;
    sums[0] += 1;
    sums[1] += bytes[range]!;
  };
  for (const { range, owner, inSync } of live[0]!.core!.views.chosen) {
    if (owner !== null) add(owned, owner, range);
    for (const id of inSync) add(held, id, range);
  }
  const most = (of: Map<NodeId, [number, number]>, column: 0 | 1): number =>
    overMean([...of.values()], column, Math.max);
  return {
    ownedMost: most(owned, 0),
    ownedFewest: overMean([...owned.values()], 0, Math.min),
    heldMost: most(held, 0),
    ownedBytesMost: most(owned, 1),
    heldBytesMost: most(held, 1),
  };
}

function overMean(rows: readonly [number, number][], column: 0 | 1, pick: (...of: number[]) => number): number {
  const values = rows.map((row) => row[column]);
  return pick(...values) / (values.reduce((sum, value) => sum + value, 0) / values.length);
}

function bytesByRange(rangeCount: number, seed: number): Float64Array {
  const random = new SeededRandom(seed);
  const bytes = new Float64Array(rangeCount);
  for (let key = 0; key < KEYS; key += 1) {
    // Box and Muller.
    const normal = Math.sqrt(-2 * Math.log(1 - random.nextFloat())) * Math.cos(2 * Math.PI * random.nextFloat());
    bytes[random.nextUint32() % rangeCount]! += MEDIAN_BYTES * Math.exp(SIGMA * normal);
  }
  return bytes;
}
