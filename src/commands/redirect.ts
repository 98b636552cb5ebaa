/**
 * Is this member the one to execute a command? If not, the reply that sends the client to the one who is, in the words of Redis 7.0's `getNodeByQuery`, which
 * cluster clients of every language understand:
 *
 *   keys in more than one slot          -CROSSSLOT       the client splits the command, or asks a member that does it for it
 *   somebody else owns the slot         -MOVED           asked there at once, and from then on
 *   being handed over this moment       (held)           until it is known whose it is; after F/2 -TRYAGAIN: asked again here, a little later
 *   no lease, or nobody owns it         -CLUSTERDOWN     asked again later, after a look at the map
 *   ours, but no majority               (a miss)         or what the key's namespace wants: --on-minority. Reads alone; writes get -CLUSTERDOWN
 *
 * A session that said READONLY is answered from an in-sync copy where the command reads and hands out no lease: leases are the owner's. ASK is never
 * sent: a range changes its owner whole, and until then the old one has every key.
 *
 * So is a BW.GET or BW.MGET that says STALE ms, from any session; and from a copy whose lease has ended too, when it can be behind by no more than that: while an owner is dead or cut off its copies go on answering those.
 *
 * A session of a client that knows nothing of clusters is sent nowhere: what others own is asked of them (`forward.ts`). Where nobody could be asked it is told the same errors, MOVED and
 * CROSSSLOT excepted.
 *
 * Commands without keys are about this member alone and are always executed.
 */
import { slotOf } from '../hash/slot.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { type ClusterFace, COPIED, CUT_OFF, ELSEWHERE, FROZEN, OWNED, UNOWNED } from './cluster-face.ts';
import { forwardedInParts, forwardedWhole, isDivisible } from './forward.ts';
import { MANY_SLOTS, NO_KEYS, nextKeyOf, slotOfKeys } from './key-positions.ts';
import { staleAllowed } from './leased-reads.ts';
import type { CommandRow } from './row.ts';
import type { Session } from './session.ts';
import { argIs, word } from './words.ts';

export const CROSS_SLOT = "CROSSSLOT Keys in request don't hash to the same slot";
export const TRY_AGAIN = 'TRYAGAIN The slot is being handed over to another member';
export const CLUSTER_DOWN = 'CLUSTERDOWN The cluster is down';
export const SLOT_UNSERVED = 'CLUSTERDOWN Hash slot not served';

const LEASE = word('lease');

/** The command is to be executed here. */
export const HERE = 0;
/** The reply that sends the client elsewhere is written. */
export const REFUSED = 1;
/** Others execute it; no reply is written. */
export const FORWARDED = 2;

/** It waits until the slot has its owner; no reply is written, and the same command comes again. */
export const HELD = 3;

/** The reply is written, and it is not out of the slot's memory. */
export const ASIDE = 4;

/** {@link HERE}, {@link REFUSED}, {@link FORWARDED}, {@link HELD} or {@link ASIDE}. */
export type Redirect = (cluster: ClusterFace, session: Session, args: Args, out: ReplyWriter) => number;

/** For one row of the table; made once. */
export function redirectOf(row: CommandRow): Redirect {
  const next = nextKeyOf(row);
  if (next === null) return () => HERE;
  const reads = row.flags.split(' ').includes('readonly');
  const isOurs = row.name.startsWith('bw.');
  const [first, last] = row.keys;
  const divides = isDivisible(row);
  // Most commands have their one key in front: a GET should not pay for the others.
  const hasOneKey = first === 1 && last === 1;
  return (cluster, session, args, out) => {
    const slot = hasOneKey
      ? slotOf(args.bytes, args.start[1]!, args.start[1]! + args.length[1]!)
      : slotOfKeys(next, args);
    if (slot === NO_KEYS) return HERE;
    if (slot === MANY_SLOTS) {
      if (!session.isProxied || !divides) {
        out.error(CROSS_SLOT);
        return REFUSED;
      }
      const command = forwardedInParts(row, args, session.protocol);
      // Before a part of it is done.
      if (command === null) return HERE;
      for (const part of command.parts) {
        const why = whyNotAsked(cluster, part.slot);
        if (why === null) continue;
        if (cluster.hold(session, part.slot)) return HELD;
        out.error(why);
        return REFUSED;
      }
      cluster.forward(command);
      return FORWARDED;
    }
    const state = cluster.stateOf(slot);
    if (state === OWNED) return HERE;
    if (state === CUT_OFF && cluster.answerAside(row.name, session, args, out)) return ASIDE;
    if (state === COPIED && session.readsCopies && reads && !(isOurs && asksForLease(args))) return HERE;
    const staleMs = reads && isOurs ? staleAllowed(row, args) : NaN;
    if (staleMs >= 0 && (state === COPIED || cluster.copyLagMs(slot) <= staleMs)) return HERE;
    // Who takes an old answer has asked for one now, and asks the owner when there is none.
    if (!(staleMs >= 0) && cluster.hold(session, slot)) return HELD;
    if (session.isProxied && whyNotAsked(cluster, slot) === null) {
      cluster.forward(forwardedWhole(row, args, slot, session.protocol));
      return FORWARDED;
    }
    out.error(directionOf(cluster, state, slot));
    return REFUSED;
  };
}

/** What to say when the slot's owner cannot be asked, this member being one that may be; null: it can. */
function whyNotAsked(cluster: ClusterFace, slot: number): string | null {
  const state = cluster.stateOf(slot);
  if (state === OWNED) return null;
  const why = directionOf(cluster, state, slot);
  return why.startsWith('MOVED') ? null : why;
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
