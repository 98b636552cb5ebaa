/**
 * What an error reply of a cluster's node asks its client to do. Most "errors" of a Redis Cluster are directions.
 *
 *   MOVED slot host:port   the slot lives there now, for good: remember it, ask there
 *   ASK slot host:port     the slot is on its way there and this key has gone already: ask there once, with ASKING before it
 *   TRYAGAIN               some keys of this command have gone and some have not: a little later all will have
 *   CLUSTERDOWN            nobody serves the slot, or the node is cut off from the majority: look at the map again, a little later
 *   LOADING                the node has just started and is reading its data
 *   READONLY, MASTERDOWN   this is a replica (now): somebody else is the primary
 */
import type { ReplyError } from '../resp/reply.ts';
import { parseAddress } from './cluster-topology.ts';
import type { HostPort } from './url.ts';

export type Direction =
  | { readonly kind: 'moved'; readonly slot: number; readonly to: HostPort }
  | { readonly kind: 'ask'; readonly to: HostPort }
  /** Look at the topology again where `refresh`, wait, and ask again. */
  | { readonly kind: 'later'; readonly refresh: boolean }
  /** An error that is one. */
  | { readonly kind: 'none' };

const NONE: Direction = { kind: 'none' };

/** @param asked the node that replied */
export function directionOf(error: ReplyError, asked: HostPort): Direction {
  switch (error.code) {
    case 'MOVED':
    case 'ASK': {
      const [, slot = '', address = ''] = error.message.split(' ');
      const to = parseAddress(address, asked);
      if (to === null || !/^\d+$/.test(slot)) return NONE;
      return error.code === 'ASK' ? { kind: 'ask', to } : { kind: 'moved', slot: Number(slot), to };
    }
    case 'TRYAGAIN':
    case 'LOADING':
      return { kind: 'later', refresh: false };
    case 'CLUSTERDOWN':
    case 'MASTERDOWN':
    case 'READONLY':
      return { kind: 'later', refresh: true };
    default:
      return NONE;
  }
}
