/**
 * What members say to each other about each other: membership news, none of which decides anything. All but `swim-sync` fit into a datagram.
 *
 *   swim-ping      "are you there?"                      swim-ack    <-  "I am"
 *   swim-ping-req  "is *he* there? I cannot reach him"   swim-ack    <-  "he is"     swim-nack <- "I am here, and cannot reach him either"
 *   swim-gossip    rumors alone, while there are new ones
 *   swim-sync      everything I know, now and then: what the rumors missed
 */
import type { Member, NodeId } from '../member.ts';

export type SwimState = 'alive' | 'suspect' | 'dead' | 'left';

/** What somebody says of a member. */
export interface Rumor {
  readonly id: NodeId;
  readonly state: SwimState;
  /** The life of the member that it is about. */
  readonly incarnation: number;
  /** How often that life has said that it is well: only the member itself raises it. */
  readonly refutation: number;
  /** Who suspects it, or has found it dead; null for `alive`. */
  readonly by: NodeId | null;
  /** `alive`: how to reach it. */
  readonly member: Member | null;
}

interface WithRumors {
  readonly number: number;
  readonly rumors: readonly Rumor[];
}

export interface SwimPing extends WithRumors {
  readonly kind: 'swim-ping';
}

export interface SwimPingReq extends WithRumors {
  readonly kind: 'swim-ping-req';
  readonly target: NodeId;
}

export interface SwimAck extends WithRumors {
  readonly kind: 'swim-ack';
}

export interface SwimNack {
  readonly kind: 'swim-nack';
  readonly number: number;
}

export interface SwimGossip {
  readonly kind: 'swim-gossip';
  readonly rumors: readonly Rumor[];
}

export interface SwimSync {
  readonly kind: 'swim-sync';
  readonly rumors: readonly Rumor[];
  /** The answer to one: it is not answered again. */
  readonly isAnswer: boolean;
}

export type SwimMessage = SwimPing | SwimPingReq | SwimAck | SwimNack | SwimGossip | SwimSync;

/** Which of two statements about one member is of the later life, or the later word of the same life: above 0 when `a`. */
export function compareLives(
  a: Pick<Rumor, 'incarnation' | 'refutation'>,
  b: Pick<Rumor, 'incarnation' | 'refutation'>,
): number {
  return a.incarnation - b.incarnation || a.refutation - b.refutation;
}
