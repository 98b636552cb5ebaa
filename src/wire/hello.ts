/**
 * What is said on a link before anything of the protocol, and beside it: who speaks, of which cluster, whether the other side is there at all.
 *
 * A link is opened in three frames, all of them `hello`: the dialler names itself, the other side answers with its name and its proof, the dialler
 * gives its own proof. A proof shows that its maker knows the cluster's secret without saying it (server/cluster/handshake.ts).
 */
import type { Member, NodeId } from '../cluster/member.ts';

export interface Hello {
  readonly kind: 'hello';
  /** Identity of the cluster; '' = it belongs to none yet and wants to join. Members of different clusters part at once. */
  readonly cluster: string;
  /** The newest version of frames that it reads. */
  readonly version: number;
  readonly member: Member;
  /** Fingerprint of what must be the same at every member: its list, the voters, the ranges, the times. */
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

/** Is anybody reading at the other end? The answer comes back over the same link, with the same number. */
export interface Ping {
  readonly kind: 'ping';
  readonly number: number;
  readonly isAnswer: boolean;
}
