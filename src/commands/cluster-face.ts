/**
 * The cluster as commands see it: what CLUSTER tells clients, and what this member may do with a slot. A port: the node implements it over the
 * slot map and its lease; a single node has none, and every CLUSTER command says so.
 */

import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { Session } from './session.ts';

/** `failed`: not heard for so long that others take over; `suspected`: on the way there. */
export type MemberHealth = 'online' | 'suspected' | 'failed';

export interface MemberView {
  readonly id: string;
  readonly host: string;
  readonly port: number;
  /** The port of the link between members, shown where Redis shows its bus port. */
  readonly linkPort: number;
  /** '' = it says none. */
  readonly zone: string;
  readonly health: MemberHealth;
  /** The highest epoch under which it owns a range; 0 = none. */
  readonly epoch: number;
  /** When the last heartbeat to it was sent that is not answered yet (0 = none) and the last answer came; milliseconds since the epoch. */
  readonly pingSentMs: number;
  readonly pongReceivedMs: number;
}

/** Contiguous slots with the same owner and copies. */
export interface SlotRunView {
  readonly first: number;
  /** Inclusive. */
  readonly last: number;
  readonly owner: MemberView;
  readonly copies: readonly MemberView[];
}

export interface ClusterView {
  readonly self: MemberView;
  /** This member is heard by a majority of the voters. */
  readonly isOk: boolean;
  readonly epoch: number;
  /** All, this one included, in the order of their ids. */
  readonly members: readonly MemberView[];
  /** Those that somebody owns, ascending. */
  readonly runs: readonly SlotRunView[];
  readonly framesSent: number;
  readonly framesReceived: number;
}

/** It owns the slot and holds its lease: everything is executed here. */
export const OWNED = 0;
/** It has an in-sync copy and may answer reads of sessions that said READONLY. */
export const COPIED = 1;
/** Somebody else owns it. */
export const ELSEWHERE = 2;
/** It owns the slot and is handing it over: a few milliseconds from now somebody else does. */
export const FROZEN = 3;
/** It may own the slot, or somebody else may: it has no lease. */
export const UNSURE = 4;
/** Nobody owns it. */
export const UNOWNED = 5;

/** It owned the slot when it last knew, and has no majority: somebody else may own it, and what it holds may have been deleted there (rule 5 of docs/cluster.md). */
export const CUT_OFF = 6;

/** How the replies to the parts of a command become its own: `forward.ts`. */
export type Join = 'only' | 'values' | 'sum' | 'ok';

export interface ForwardedPart {
  /** Of all its keys. */
  readonly slot: number;
  /** As a client would send it. */
  readonly request: Uint8Array;
  /** Of its keys among those of the whole command. */
  readonly places: readonly number[];
}

export interface Forwarded {
  readonly parts: readonly ForwardedPart[];
  readonly join: Join;
  /** Keys of the whole command. */
  readonly keyCount: number;
  /** It may change something: where no answer comes, nobody knows whether it did. */
  readonly isWrite: boolean;
  readonly protocol: 2 | 3;
}

/** Why a range is not moved. */
export type MoveRefused = 'not-owner' | 'not-member' | 'silent' | 'away' | 'leaving';

/** Why a change of the list of members is not tried (`cluster/core.ts`). */
export type RosterRefused =
  | 'minority'
  | 'busy'
  | 'self'
  | 'held'
  | 'holds'
  | 'done'
  | 'forgotten'
  | 'full'
  | 'not-member'
  | 'voter'
  | 'not-voter'
  | 'voters-full'
  | 'voters-few'
  | 'voters-away'
  | 'etcd'
  | 'absent';

/** What an operator may ask of this member. */
export interface MemberFace {
  /** It gives away what it owns and copies, and takes nothing until told otherwise. */
  drain(isDrained: boolean): void;
  /** The range of the slot goes to that member. null: it is under way. */
  move(slot: number, to: string): MoveRefused | null;
  /** Its ranges go where placement wants them. Returns how many are to go. */
  rebalance(): number;
  /** Another one is to be no member any more. null: it is under way. */
  forget(id: string): RosterRefused | null;
  /** Who was forgotten may come back. null: it is under way. */
  pardon(id: string): RosterRefused | null;
  /** One voter comes, one goes, or one takes another's place. null: it is under way. */
  voters(add: string | null, remove: string | null): RosterRefused | null;
}

/** Another member as a copy of ranges of this one. */
export interface CopyView {
  readonly host: string;
  readonly port: number;
  /** Ranges of this member that it copies in sync, and that it is to copy and is not in sync with yet. */
  readonly ranges: number;
  readonly staged: number;
  /** Effects that it has applied, over its ranges; and how many it has not, in the range where that is most. */
  readonly applied: number;
  readonly behind: number;
  /** For how long it has not got on while it was behind; 0 when it is not. */
  readonly behindMs: number;
}

export interface ReplicationView {
  /** Effects of all ranges of this member, in their present reigns. */
  readonly offset: number;
  readonly copies: readonly CopyView[];
}

export interface ClusterFace {
  readonly member: MemberFace;
  /** Computed when asked: O(ranges x copies). */
  readonly replication: ReplicationView;
  /** The reply of the command at hand waits until so many copies have what this connection wrote, or the time is over (0: ten minutes, and never more than that). */
  wait(count: number, timeoutMs: number): void;
  /** Swapped whole when anything changes. */
  readonly view: ClusterView;
  /** {@link OWNED} ... {@link CUT_OFF}. Asked for every command with a key: O(1), allocates nothing. */
  stateOf(slot: number): number;
  /**
   * How far an answer out of this member's copy of the slot may be behind, milliseconds: nothing that was acknowledged longer ago is missing in it. `Infinity`: it has none, or owns the slot. Asked when
   * {@link stateOf} was neither {@link OWNED} nor {@link COPIED}.
   */
  copyLagMs(slot: number): number;
  /**
   * Does this member hold the lease of everything that it owns? Then nobody else has acknowledged an invalidation of what it has served, unless its followers have been told that it owns it no more; so it may
   * answer their pings. Usually one comparison.
   */
  readonly isVouching: boolean;
  /**
   * The slot is not this member's to answer for this moment, and it expects to know whose it is in another. True: the session is held, its command with it, which is to be asked for again then; nothing of it
   * was done and nothing is replied. False: it has waited long enough, or too many do, or this is no such moment.
   */
  hold(session: Session, slot: number): boolean;
  /**
   * All slots of this command are {@link CUT_OFF}: its namespace may want it answered all the same, by a miss or out of a memory for that. True: the reply is written. False: it is to be refused.
   * @param command its name in the table
   */
  answerAside(command: string, session: Session, args: Args, out: ReplyWriter): boolean;
  /** Where MOVED points to; null: nobody. */
  ownerOf(slot: number): MemberView | null;
  /** Has the owners of its slots execute it; their reply stands where the reply of the command at hand would. */
  forward(command: Forwarded): void;
  /** Invalidates on every member: a tag, a namespace, or everything (of no name). The reply of the command at hand waits until it is done. */
  spread(kind: 'tag' | 'namespace' | 'everything', name: Uint8Array, start: number, length: number): void;
}
