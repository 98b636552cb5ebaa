/**
 * BW.MEMBER: what an operator asks of one running member of a cluster. Each answers at once, when the member has taken it up; what comes of it is seen in the map (`breakwater drain`, `move`, `rebalance` and `forget` wait for that).
 * Nothing of it outlives the member's process, but who was forgotten.
 */
import { SLOT_COUNT } from '../hash/slot.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { MemberFace, MoveRefused, RosterRefused } from './cluster-face.ts';
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

const FORGET_REFUSALS: { readonly [R in RosterRefused]: string } = {
  minority: 'NOTREADY cannot change who the members are: no majority of the voters answers this member',
  busy: 'NOTREADY cannot change who the members are: another change is under way at this member; one at a time',
  self: 'NOTREADY cannot forget this member itself: ask another one',
  held: 'NOTDRAINED cannot forget the member: it is alive, and owns or copies ranges; drain it first',
  holds: 'NOTREADY cannot forget the member yet: ranges that it owned or copied are on their way to others',
  done: 'DONE it is so already',
  forgotten: 'ERR it was forgotten',
  full: 'ERR there are too many members',
  'not-member': 'NOMEMBER the id is of no member of this cluster, nor of one that was forgotten',
  voter: 'ISVOTER cannot do so with a voter: give its vote to another member first (BW.MEMBER VOTERS)',
  'not-voter': 'NOVOTER the member that is to vote no more does not vote',
  'voters-full': 'ERR there are five voters already: the most that a cluster can have',
  'voters-few': 'ERR cannot take the last vote away: add another voter first',
  'voters-away':
    'NOTREADY cannot change the voters now: too few of those that are to stay are heard, and the cluster would stand still with the new ones',
  etcd: 'ERR no member votes: etcd coordinates this cluster',
  absent: 'NOTREADY cannot let that member vote: it is silent',
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

function changing(change: (member: MemberFace, id: string) => RosterRefused | null): CommandFunction {
  return ofMember((member, args, out) => {
    const refused = change(
      member,
      decoder.decode(args.bytes.subarray(args.start[2]!, args.start[2]! + args.length[2]!)),
    );
    // Said twice it is no error.
    if (refused === null || refused === 'done') out.ok();
    else out.error(FORGET_REFUSALS[refused]);
  });
}

/** BW.MEMBER VOTERS id-or-hyphen id-or-hyphen: who is to vote, and who no more. */
export const memberVoters = ofMember((member, args, out) => {
  const [add, remove] = [2, 3].map((at) => {
    const id = decoder.decode(args.bytes.subarray(args.start[at]!, args.start[at]! + args.length[at]!));
    return id === '-' ? null : id;
  }) as [string | null, string | null];
  const refused = member.voters(add, remove);
  if (refused === null || refused === 'done') out.ok();
  else out.error(FORGET_REFUSALS[refused]);
});

/** BW.MEMBER FORGET id */
export const memberForget = changing((member, id) => member.forget(id));

/** BW.MEMBER PARDON id */
export const memberPardon = changing((member, id) => member.pardon(id));
