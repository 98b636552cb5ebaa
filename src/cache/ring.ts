/**
 * The option `store: { ring: [...] }`: what it may say, checked, and the servers that it names, opened. What a ring is and promises stands in `stores/ring.ts`.
 */
import type { Clock } from '../base/clock.ts';
import { BreakwaterError } from '../base/errors.ts';
import type { Duration } from '../base/units.ts';
import { serverName } from '../stores/ring/name.ts';
import { RingStore } from '../stores/ring.ts';
import type { CacheStore } from '../stores/store.ts';
import { checkNames, count, duration, invalid } from './checks.ts';

type ServerUrl = `${'breakwater' | 'breakwaters' | 'redis' | 'rediss' | 'valkey' | 'valkeys'}://${string}`;

/** One server of a ring: its URL, or more about it. */
export type RingServerFace =
  | ServerUrl
  | {
      readonly url: ServerUrl;
      /** Its share of the keys, relative to the others'. Default 1. */
      readonly weight?: number;
      /** What is hashed: the same in every process, and in clients of other languages. Default: `host:port` of the URL. */
      readonly name?: string;
    };

/** Independent servers under one roof, as memcached fleets have them. The same list in every process, in any order. */
export interface RingFace {
  /** At least two; one where `gutterTtl` is 0. */
  readonly ring: readonly RingServerFace[];
  /** `'ketama'` (default), where other clients find the same keys on the same servers; `'rendezvous'`, which spreads load more evenly. */
  readonly placement?: 'ketama' | 'rendezvous';
  /** Virtual nodes of a server of average weight, of `'ketama'`. Default 160. */
  readonly points?: number;
  /** How long what is loaded while a key's server is down lives at the next one. 0 = it is not stored. Default `"10s"`. */
  readonly gutterTtl?: Duration;
  /** A server that returns is read again when it has been told what it missed (`'replay'`, default), or when what is read of it was flushed too (`'flush'`). */
  readonly readmit?: 'replay' | 'flush';
  /** While the list changes: the whole other list, which is told of every invalidation (docs/stores.md). */
  readonly also?: readonly RingServerFace[];
}

const RING = ['ring', 'placement', 'points', 'gutterTtl', 'readmit', 'also'] as const;
const SERVER = ['url', 'weight', 'name'] as const;
/** In place of a text where an array should be: that is a URL, and may hold a password. */
const HIDDEN = 'a text';
const MOST_SERVERS = 1_000;
const MOST_POINTS = 10_000;

interface Listed {
  readonly url: string;
  readonly name: string;
  readonly weight: number;
}

export function isRing(store: unknown): store is RingFace {
  return typeof store === 'object' && store !== null && 'ring' in store;
}

/**
 * @param open opens one server, outbox included; `name` is unique within the ring
 * @throws BreakwaterError `CACHE_OPTION_UNKNOWN`, `CACHE_OPTION_INVALID`, `STORE_URL_INVALID`, `RING_INVALID`
 */
export function openRing(face: RingFace, open: (url: string, name: string) => CacheStore, clock: Clock): RingStore {
  checkNames(face, RING, 'store');
  const { placement = 'ketama', readmit = 'replay' } = face;
  if (placement !== 'ketama' && placement !== 'rendezvous') {
    throw invalid('placement of store', `'ketama' or 'rendezvous'`, placement);
  }
  if (readmit !== 'replay' && readmit !== 'flush') throw invalid('readmit of store', `'replay' or 'flush'`, readmit);
  const points = face.points === undefined ? undefined : count(face.points, 'points', 'store', MOST_POINTS);
  if (points !== undefined && placement !== 'ketama') {
    throw invalid('points of store', `placement: 'ketama', whose points they are`, placement);
  }
  const gutterTtlMs = duration(face.gutterTtl ?? '10s', 'gutterTtl', 'store', 0);
  const current = listOf(face.ring, 'ring', gutterTtlMs > 0 ? 2 : 1);
  const also = face.also === undefined ? undefined : listOf(face.also, 'also', 1);
  const servers = new Map<string, Listed>();
  for (const server of [...current, ...(also ?? [])]) {
    const known = servers.get(server.name);
    if (known === undefined) servers.set(server.name, server);
    else if (known.url !== server.url) throw twice(server.name);
  }
  // By name, so that a lease names the same server in every process with this list.
  const byName = [...servers.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const names = (list: readonly Listed[]): string[] => list.map(({ name }) => name);
  return new RingStore({
    servers: byName.map(({ name, weight, url }) => ({ name, weight, store: open(url, name) })),
    current: names(current),
    ...(also !== undefined && { also: names(also) }),
    placement,
    ...(points !== undefined && { points }),
    gutterTtlMs,
    readmit,
    clock,
  });
}

function listOf(list: unknown, option: string, least: number): Listed[] {
  if (!Array.isArray(list) || list.length < least || list.length > MOST_SERVERS) {
    throw invalid(
      `${option} of store`,
      `an array of ${least} to ${MOST_SERVERS} servers`,
      typeof list === 'string' ? HIDDEN : list,
    );
  }
  const listed = list.map((server: unknown) => serverOf(server, option));
  const names = new Set<string>();
  for (const { name } of listed) {
    if (names.has(name)) throw twice(name);
    names.add(name);
  }
  return listed;
}

function serverOf(server: unknown, option: string): Listed {
  const face = typeof server === 'string' ? { url: server } : server;
  checkNames(face, SERVER, `a server in ${option}`);
  const { url, weight = 1, name } = face as { url?: unknown; weight?: unknown; name?: unknown };
  if (typeof url !== 'string') throw invalid(`url of a server in ${option}`, 'a URL', url);
  const address = serverName(url);
  if (typeof weight !== 'number' || !(weight > 0) || weight === Number.POSITIVE_INFINITY) {
    throw invalid(`weight of a server in ${option}`, 'a number above 0', weight);
  }
  if (name !== undefined && (typeof name !== 'string' || name === '')) {
    throw invalid(`name of a server in ${option}`, 'a text that is not empty', name);
  }
  return { url, weight, name: name ?? address };
}

function twice(name: string): BreakwaterError {
  return new BreakwaterError('RING_INVALID', `cannot make a ring: the server "${name}" is listed twice`);
}
