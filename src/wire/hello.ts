/** The first frame on every link, in both directions: who speaks, of which cluster, and which frames it can read. */
import type { Member } from '../cluster/member.ts';

export interface Hello {
  readonly kind: 'hello';
  /** Identity of the cluster; '' = it belongs to none yet and wants to join. Members of different clusters part at once. */
  readonly cluster: string;
  /** The newest version of frames that it reads. */
  readonly version: number;
  readonly member: Member;
}
