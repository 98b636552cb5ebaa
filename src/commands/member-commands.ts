/**
 * BW.MEMBER: what an operator asks of one running member of a cluster. Each answers at once, when the member has taken it up; what comes of it is seen in the map (`breakwater drain`, `move` and `rebalance` wait for that).
 * Nothing of it outlives the member's process.
 */
import { SLOT_COUNT } from '../hash/slot.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { MemberFace, MoveRefused } from './cluster-face.ts';
import type { CommandFunction } from './context.ts';
import { NOT_INTEGER } from './errors.ts';
import { integerAt } from './numbers.ts';

const NO_CLUSTER = 'ERR This instance has cluster support disabled';
const decoder = new TextDecoder('latin1');

const REFUSALS: { readonly [R in MoveRefused]: string } = {
  'not-owner': 'NOTOWNER cannot move the slot: this member does not own it',
  'not-member': 'NOMEMBER cannot move the slot: the id is of no member of this cluster',
  silent: 'NOTREADY cannot move the slot: the member that is to have it is silent',
  away: 'NOTREADY cannot move the slot: the member that is to have it is leaving or drained',
  leaving: 'NOTREADY cannot move the slot: this member is leaving or drained, and gives its ranges away already',
};

type OfMember = (member: MemberFace, args: Args, out: ReplyWriter) => void;

function ofMember(run: OfMember): CommandFunction {
  return (context, _session, args, out) => {
    if (context.cluster === null) out.error(NO_CLUSTER);
    else run(context.cluster.member, args, out);
  };
}

/** BW.MEMBER DRAIN */
export const memberDrain = ofMember((member, _args, out) => {
  member.drain(true);
  out.ok();
});

/** BW.MEMBER RETURN */
export const memberReturn = ofMember((member, _args, out) => {
  member.drain(false);
  out.ok();
});

/** BW.MEMBER REBALANCE */
export const memberRebalance = ofMember((member, _args, out) => out.integer(member.rebalance()));

/** BW.MEMBER MOVE slot id */
export const memberMove = ofMember((member, args, out) => {
  const slot = integerAt(args.bytes, args.start[2]!, args.length[2]!);
  if (Number.isNaN(slot)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (slot < 0 || slot >= SLOT_COUNT) {
    out.error('ERR Invalid slot');
    return;
  }
  const id = decoder.decode(args.bytes.subarray(args.start[3]!, args.start[3]! + args.length[3]!));
  const refused = member.move(slot, id);
  if (refused === null) out.ok();
  else out.error(REFUSALS[refused]);
});
