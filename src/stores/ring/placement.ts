/**
 * Where a key lives on a ring of independent servers: at its *home*, and while that is dead at its *gutter*, the next server in its own order
 * (Nishtala et al., Scaling Memcache at Facebook, NSDI 2013, keep spare machines for it; here every server is somebody's spare, so that
 * none idles, and by rendezvous a dead server's keys spread over all others).
 *
 * Two servers a key, not the whole order: an invalidation has to reach every server that may hold the key, so each more is one more that must
 * acknowledge it.
 */
import { createHash } from 'node:crypto';
import { KETAMA_POINTS, KetamaRing, ketamaHash } from '../../hash/ketama.ts';
import { Rendezvous } from '../../hash/rendezvous.ts';
import type { WeightedServer } from '../../hash/servers.ts';
import { hashBytes } from '../../hash/table-hash.ts';

export type PlacementKind = 'ketama' | 'rendezvous';

/** Indices of a key's servers; `gutter` is -1 where there is none. */
export interface Places {
  readonly home: number;
  readonly gutter: number;
}

/** Any two clients of a ring must agree on it, so it is no secret and never changes. */
const RENDEZVOUS_SEED = 0x7269_6e67;

const encoder = new TextEncoder();

/**
 * @param indices of `servers` in the caller's own list, which is what the answers name
 * @param points of a server of average weight; of `ketama` only
 * @throws BreakwaterError `RING_INVALID`
 */
export function placement(
  servers: readonly WeightedServer[],
  indices: readonly number[],
  kind: PlacementKind,
  hasGutter: boolean,
  points: number = KETAMA_POINTS,
): (key: string) => Places {
  const count = hasGutter ? 2 : 1;
  const order = kind === 'ketama' ? byKetama(servers, count, points) : byRendezvous(servers, count);
  return (key) => {
    const [home, gutter] = order(key);
    return { home: indices[home!]!, gutter: gutter === undefined ? -1 : indices[gutter]! };
  };
}

function byKetama(servers: readonly WeightedServer[], count: number, points: number): (key: string) => number[] {
  const md5 = (text: string): Uint8Array => createHash('md5').update(text).digest();
  const ring = new KetamaRing(servers, md5, points);
  return (key) => ring.ownersOf(ketamaHash(md5(key)), count);
}

function byRendezvous(servers: readonly WeightedServer[], count: number): (key: string) => number[] {
  const rendezvous = new Rendezvous(servers);
  return (key) => {
    const bytes = encoder.encode(key);
    return rendezvous.ownersOf(hashBytes(bytes, 0, bytes.length, RENDEZVOUS_SEED), count);
  };
}
