/**
 * Who owns which slot, as one immutable value that is swapped whole: a request that is being routed never sees half of an
 * old map and half of a new one.
 *
 * Read from CLUSTER SHARDS (Redis 7, Valkey), which also names the replicas that have failed, or from CLUSTER SLOTS (older), which leaves
 * those out. The number of replicas matters: an invalidation counts as acknowledged when *all* of a shard's replicas have it, and
 * a replica that is cut off right now is the one that may be promoted without it.
 *
 * A server that is no cluster is a topology of one shard with all slots.
 */
import { assert } from '../base/assert.ts';
import { SLOT_COUNT } from '../hash/slot.ts';
import { type Reply, replyMap, replyText } from '../resp/reply.ts';
import type { HostPort } from './url.ts';

/** A server and its zone; null: it says none. */
export interface Place extends HostPort {
  readonly zone: string | null;
}

export interface Shard {
  readonly primary: Place;
  /** Replicas that the cluster knows of, failed ones included where it tells. */
  readonly replicas: number;
  /** Those of them that have not failed. */
  readonly copies: readonly Place[];
}

const NOBODY = -1;

export class Topology {
  readonly mode: 'standalone' | 'cluster';
  readonly shards: readonly Shard[];
  readonly #owner: Int16Array;

  private constructor(mode: 'standalone' | 'cluster', shards: readonly Shard[], owner: Int16Array) {
    this.mode = mode;
    this.shards = shards;
    this.#owner = owner;
  }

  /** One server with all slots. */
  static standalone(server: HostPort): Topology {
    const primary = { ...server, zone: null };
    return new Topology('standalone', [{ primary, replicas: 0, copies: [] }], new Int16Array(SLOT_COUNT));
  }

  /** @param ranges inclusive `[first, last]` of each shard */
  static cluster(shards: readonly (Shard & { readonly ranges: readonly (readonly [number, number])[] })[]): Topology {
    const owner = new Int16Array(SLOT_COUNT).fill(NOBODY);
    shards.forEach(({ ranges }, index) => {
      for (const [first, last] of ranges) {
        assert(first >= 0 && first <= last && last < SLOT_COUNT, 'a range of slots lies within the slots');
        owner.fill(index, first, last + 1);
      }
    });
    return new Topology(
      'cluster',
      shards.map(({ primary, replicas, copies }) => ({ primary, replicas, copies })),
      owner,
    );
  }

  /** Null when nobody serves the slot. */
  ownerOf(slot: number): Shard | null {
    const index = this.#owner[slot]!;
    return index === NOBODY ? null : this.shards[index]!;
  }

  /** Does every slot have the same owner in both? O(slots), for when a map was asked for. */
  hasOwnersOf(other: Topology): boolean {
    if (this.mode !== other.mode) return false;
    for (let slot = 0; slot < SLOT_COUNT; slot += 1) {
      const ours = this.ownerOf(slot);
      const theirs = other.ownerOf(slot);
      if (ours === null || theirs === null ? ours !== theirs : !isSame(ours.primary, theirs.primary)) return false;
    }
    return true;
  }

  /** The same with `slot` at `primary`: what a MOVED says. O(slots), which a rare event may cost. */
  withMoved(slot: number, primary: HostPort): Topology {
    const owner = this.#owner.slice();
    let index = this.shards.findIndex((shard) => isSame(shard.primary, primary));
    const shards =
      index >= 0 ? this.shards : [...this.shards, { primary: { ...primary, zone: null }, replicas: 0, copies: [] }];
    if (index < 0) index = shards.length - 1;
    owner[slot] = index;
    return new Topology(this.mode, shards, owner);
  }
}

export function isSame(a: HostPort, b: HostPort): boolean {
  return a.host === b.host && a.port === b.port;
}

/**
 * Reads the reply to CLUSTER SHARDS. `asked` stands in where a node does not know its own name ("", "?" or null).
 * @returns null when the reply has another shape
 */
export function topologyOfShards(reply: Reply, asked: HostPort, tls: boolean): Topology | null {
  if (!Array.isArray(reply)) return null;
  const shards = [];
  for (const each of reply) {
    const shard = replyMap(each);
    const slots = shard?.get('slots');
    const nodes = shard?.get('nodes');
    if (!Array.isArray(slots) || !Array.isArray(nodes)) return null;
    const ranges: [number, number][] = [];
    for (let i = 0; i + 1 < slots.length; i += 2) ranges.push([Number(slots[i]), Number(slots[i + 1])]);
    let primary: Place | null = null;
    let replicas = 0;
    const copies: Place[] = [];
    for (const each of nodes) {
      const node = replyMap(each);
      if (node === null) return null;
      const port = Number((tls ? node.get('tls-port') : undefined) ?? node.get('port'));
      const address = hostPort(replyText(node.get('endpoint')) ?? replyText(node.get('ip')), port, asked);
      const place = address && { ...address, zone: replyText(node.get('availability-zone') ?? null) };
      const health = replyText(node.get('health'));
      if (replyText(node.get('role')) !== 'master') {
        replicas += 1;
        if (place !== null && health !== 'fail') copies.push(place);
        continue;
      }
      // A former primary that has failed may stand beside the one that took over, before or after it.
      if (primary === null || health !== 'fail') primary = place;
    }
    if (primary !== null && ranges.length > 0) shards.push({ primary, replicas, copies, ranges });
  }
  return Topology.cluster(shards);
}

/** The same for CLUSTER SLOTS: `[first, last, [host, port, id, ...], replica, ...]` each. */
export function topologyOfSlots(reply: Reply, asked: HostPort): Topology | null {
  if (!Array.isArray(reply)) return null;
  const byAddress = new Map<string, Shard & { ranges: [number, number][] }>();
  for (const each of reply) {
    if (!Array.isArray(each) || !Array.isArray(each[2])) return null;
    const primary = hostPort(replyText(each[2][0]), Number(each[2][1]), asked);
    if (primary === null) return null;
    const name = addressOf(primary);
    const place = { ...primary, zone: null };
    const shard = byAddress.get(name) ?? { primary: place, replicas: each.length - 3, copies: [], ranges: [] };
    shard.ranges.push([Number(each[0]), Number(each[1])]);
    byAddress.set(name, shard);
  }
  return Topology.cluster([...byAddress.values()]);
}

export function addressOf({ host, port }: HostPort): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** `host:port` as in a MOVED; the host may be empty (the one that was asked) or an IPv6 address without brackets. */
export function parseAddress(text: string, asked: HostPort): HostPort | null {
  const colon = text.lastIndexOf(':');
  return colon < 0 ? null : hostPort(text.slice(0, colon), Number(text.slice(colon + 1)), asked);
}

function hostPort(host: string | null, port: number, asked: HostPort): HostPort | null {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) return null;
  return { host: host === null || host === '' || host === '?' ? asked.host : host.replace(/^\[|\]$/g, ''), port };
}
