/**
 * What is said on a link before anything of the protocol, and beside it: who speaks, of which cluster, whether the other side is there at all.
 *
 * A link is opened in three frames, all of them `hello`: the dialler names itself, the other side answers with its name and its proof, the dialler
 * gives its own proof. A proof shows that its maker knows the cluster's secret without saying it (server/cluster/handshake.ts).
 */
import type { Member, NodeId } from '../cluster/member.ts';
import type { Roster, RosterMember } from '../cluster/roster.ts';
import type { Topology } from '../cluster/topology.ts';

export interface Hello {
  readonly kind: 'hello';
  /** Identity of the cluster; '' = it belongs to none yet and wants to join. Members of different clusters part at once. */
  readonly cluster: string;
  /** The newest version of frames that it reads. */
  readonly version: number;
  readonly member: Member;
  /** Fingerprint of what must be the same at every member: its list, the voters, the ranges, the times. '' = it was told none, and wants to join. */
  readonly setup: string;
  /** Fresh for each link. */
  readonly nonce: string;
  /** '' in the dialler's first. */
  readonly proof: string;
}

/** The cluster is formed: this is its identity, and these lives of its members have begun with it. */
export interface Form {
  readonly kind: 'form';
  readonly cluster: string;
  readonly lives: readonly FirstLife[];
}

/** A member that comes in another life than this may have voted before, and has no memory of it. */
export interface FirstLife {
  readonly id: NodeId;
  readonly incarnation: number;
}

/** May I be a member? From somebody who has proved the secret and belongs to no cluster; answered over the same link, by `welcome` or `turned-away`. */
export interface Join {
  readonly kind: 'join';
  readonly member: RosterMember;
}

/** One member of the list that a cluster was formed with. */
export interface ListedMember {
  readonly host: string;
  readonly linkPort: number;
  readonly zone: string;
  /** Default: '', by its `host`. */
  readonly machine?: string;
  /** Default 1. */
  readonly weight?: number;
}

/** What must be the same at every member of a cluster, as it was formed. */
export interface Facts {
  readonly name: string;
  /** The list, in its order; the first `voters` of it vote; 0: etcd coordinates. */
  readonly members: readonly ListedMember[];
  readonly voters: number;
  /** Copies beside the owner. */
  readonly replicas: number;
  readonly ranges: number;
  readonly takeoverMs: number;
  /** A closed link and a refused dial count as silence for `takeoverMs`. */
  readonly crashFastPath: boolean;
  /** Default `sharded`. In a frame it stands beside the facts. */
  readonly topology?: Topology;
}

/** These would form a cluster, as everybody who gathers has found them (server/cluster/gathering.ts): do you agree? From who gathers to who gathers, behind the greeting. */
export interface Convene {
  readonly kind: 'convene';
  /** Fingerprint of the list and of what all must have alike. */
  readonly setup: string;
  readonly members: readonly NodeId[];
}

/** Yes, and to no other list for a while; or no, and why. */
export interface Convened {
  readonly kind: 'convened';
  readonly isAgreed: boolean;
  readonly why: string;
}

/** You are a member. */
export interface Welcome {
  readonly kind: 'welcome';
  /** '' = of the list of one that is about to be formed. */
  readonly cluster: string;
  readonly facts: Facts;
  /** Of all that: so that both know that they mean the same by it. */
  readonly setup: string;
  /** null: the founding one, in which the newcomer stands. */
  readonly roster: Roster | null;
  /** That of the facts. */
  readonly topology: Topology;
}

/**
 * You are none, says who knows the roster of this epoch. `later`: it may be so in a moment. The others are for ever: `forgotten`; `full`; `name` (of another cluster); `zone` (it is a member already, in another one).
 */
export interface TurnedAway {
  readonly kind: 'turned-away';
  readonly reason: 'later' | 'forgotten' | 'full' | 'name' | 'zone';
  readonly epoch: number;
}

/** Is anybody reading at the other end? The answer comes back over the same link, with the same number. */
export interface Ping {
  readonly kind: 'ping';
  readonly number: number;
  readonly isAnswer: boolean;
}
