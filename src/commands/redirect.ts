/**
 * Is this member the one to execute a command? If not, the reply that sends the client to the one who is, in the words of Redis 7.0's `getNodeByQuery`, which
 * cluster clients of every language understand:
 *
 *   keys in more than one slot          -CROSSSLOT       the client splits the command, or asks a member that does it for it
 *   somebody else owns the slot         -MOVED           asked there at once, and from then on
 *   being handed over this moment       -TRYAGAIN        asked again here, a little later
 *   no lease, or nobody owns it         -CLUSTERDOWN     asked again later, after a look at the map
 *
 * A session that said READONLY is answered from an in-sync copy where the command reads and hands out no lease: leases are the owner's. ASK is never
 * sent: a range changes its owner whole, and until then the old one has every key.
 *
 * Commands without keys are about this member alone and are always executed.
 */
import { slotOf } from '../hash/slot.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { type ClusterFace, COPIED, ELSEWHERE, FROZEN, OWNED, UNOWNED } from './cluster-face.ts';
import { MANY_SLOTS, NO_KEYS, nextKeyOf, slotOfKeys } from './key-positions.ts';
import type { CommandRow } from './row.ts';
import type { Session } from './session.ts';
import { argIs, word } from './words.ts';

export const CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";
export const TRY_AGAIN = 'TRYAGAIN The slot is being handed over to another member';
export const CLUSTER_DOWN = 'CLUSTERDOWN The cluster is down';
export const SLOT_UNSERVED = 'CLUSTERDOWN Hash slot not served';

const LEASE = word('lease');

/** Writes the reply that sends the client elsewhere, or returns false: the command is to be executed here. */
export type Redirect = (cluster: ClusterFace, session: Session, args: Args, out: ReplyWriter) => boolean;

/** For one row of the table; made once. */
export function redirectOf(row: CommandRow): Redirect {
  const next = nextKeyOf(row);
  if (next === null) return () => false;
  const reads = row.flags.split(' ').includes('readonly');
  const isOurs = row.name.startsWith('bw.');
  const [first, last] = row.keys;
  // Most commands have their one key in front: a GET should not pay for the others.
  const hasOneKey = first === 1 && last === 1;
  return (cluster, session, args, out) => {
    const slot = hasOneKey
      ? slotOf(args.bytes, args.start[1]!, args.start[1]! + args.length[1]!)
      : slotOfKeys(next, args);
    if (slot === NO_KEYS) return false;
    if (slot === MANY_SLOTS) {
      out.error(CROSS_SLOT);
      return true;
    }
    const state = cluster.stateOf(slot);
    if (state === OWNED) return false;
    if (state === COPIED && session.readsCopies && reads && !(isOurs && asksForLease(args))) return false;
    out.error(directionOf(cluster, state, slot));
    return true;
  };
}

function directionOf(cluster: ClusterFace, state: number, slot: number): string {
  if (state === FROZEN) return TRY_AGAIN;
  if (state === UNOWNED) return SLOT_UNSERVED;
  if (state !== ELSEWHERE && state !== COPIED) return CLUSTER_DOWN;
  const owner = cluster.ownerOf(slot);
  // Never to itself: the client would come straight back, and ioredis does that sixteen times without a pause.
  if (owner === null || owner.id === cluster.view.self.id) return SLOT_UNSERVED;
  // It has not said yet where it listens: we started a moment ago.
  if (owner.port === 0) return TRY_AGAIN;
  return `MOVED ${slot} ${owner.host}:${owner.port}`;
}

/** LEASE stands last, or before one or two arguments of its own. Taking a key of that name for it costs a hop. */
function asksForLease(args: Args): boolean {
  for (let at = Math.max(2, args.count - 3); at < args.count; at += 1) if (argIs(args, at, LEASE)) return true;
  return false;
}
