/**
 * What the simulation needs of a member on a simulated computer: somebody to ask, to stop and start again, and a memory that the judge may look into. Two kinds: `member-host.ts` has the protocol's core over a
 * model of a memory, `node-host.ts` the whole production node.
 */
import type { ClusterCore } from '../../src/cluster/core.ts';
import type { NodeId } from '../../src/cluster/member.ts';
import type { Message } from '../../src/cluster/messages.ts';
import type { Roster } from '../../src/cluster/roster.ts';
import type { Machine } from '../world/machine.ts';
import type { Reply, Request, Scene } from './member-host.ts';

/** A memory as the judge sees it: versions of keys. */
export interface JudgedMemory {
  /** The version that a reader would be given now; null: none. */
  get(range: number, key: number): number | null;
  /** Every key of the range that a reader could be given, with its version. */
  entries(range: number): Iterable<readonly [key: number, version: number]>;
  /** Its TTL is about to end: by another member's clock it may have ended. */
  isEnding(key: number): boolean;
}

export interface Host {
  readonly index: number;
  readonly name: string;
  readonly id: NodeId;
  readonly machine: Machine;
  /** null: it is down. */
  readonly core: ClusterCore | null;
  readonly memory: JudgedMemory | null;
  /** A voter that would come back without memory. */
  readonly forgets: boolean;
  readonly isUp: boolean;
  attach(scene: Scene): void;
  /** It was let in, and this is the roster. */
  enter(roster: Roster): void;
  start(): void;
  crash(): void;
  /** Its links say that this member's process is gone; that it is there. */
  gone(id: NodeId): void;
  back(id: NodeId): void;
  /** It is about to close its port. */
  retire(): void;
  /** Could it answer as the owner of the range at this moment? */
  isLeased(range: number): boolean;
  receive(from: NodeId, message: Message): void;
  /** `connection`: replies of one are given in the order of its requests. */
  serve(request: Request, connection: string, reply: (reply: Reply) => void): void;
  /** Throws unless everything within is whole. */
  invariants(): void;
}
