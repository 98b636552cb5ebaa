/**
 * The doors of a member of a cluster (`cluster-node.ts`), as the shell around it sees them: which to knock at, and what it wants done. Types only.
 *
 *   client bytes    openSession, onRequest, hasPushes, takePushed, onPush, closeSession: as `Node` has them, so a listener need not know which it drives. Two things are
 *                   more: a reply that waits for copies leaves with `onPush`; and a session that is `halted` has so many of those that nothing more of it is executed: read
 *                   nothing from it, and when it is not halted any more (after an `onPush`) call `onRequest` with an empty chunk to go on
 *   onMessage       another member's message, already known to come from that member
 *   onPersisted     the rows of that `persist` effect, and of all before, are on the disk
 *   onGone, onBack  a member's process is gone (`cluster/refusals.ts`), or there after all
 *   retire          our own is about to be: it serves nothing and says nothing from now on. Before the port closes on which others reach it
 *   onTick          time passes; returns when it wants to be called again, at most 50 ms later
 *   takeEffects     what it wants done, in this order. To be called after *every* door above, `onPush` excepted
 *
 * All `nowMs` are of one clock that never goes back (`base/clock.ts`), read when the door is called: a lease is judged by it, so an older reading is a lie.
 *
 * Messages may be lost, doubled or late, but what one link delivers must be whole. A message to a member that is not connected is dropped: whoever wants an answer asks again.
 */
import type { Member, NodeId } from '../cluster/member.ts';
import type { Message, VoterRow } from '../cluster/messages.ts';
import type { ClusterEvent } from '../cluster/outputs.ts';
import type { Roster, RosterMember, RosterRow } from '../cluster/roster.ts';
import type { StandingRules } from '../cluster/standing.ts';
import type { Timing } from '../cluster/timing.ts';
import type { Topology } from '../cluster/topology.ts';
import type { ClusterView } from '../commands/cluster-face.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import type { MinorityMode } from './gutter.ts';
import type { NodeOptions } from './node.ts';
import type { NodeSession } from './node-session.ts';
import type { WriteMode } from './write-modes.ts';

/** What a member is told of its cluster when it starts. All members must be told the same of voters, range count and copies. */
export interface ClusterOptions {
  /** Among `members`. */
  readonly self: NodeId;
  /** Everybody who is known to be one, this one included; addresses may change later (`onMember`), and so may the set, by another roster. */
  readonly members: readonly Member[];
  /** The list that the cluster was formed with; the same everywhere. Default: `members`. */
  readonly founding?: readonly RosterMember[];
  /** The newest roster that is known to be chosen. Default: none but the founding one. */
  readonly roster?: Roster | null;
  /** One, three or five of them. */
  readonly voters: readonly NodeId[];
  /** A power of two from 1 to 16,384. */
  readonly rangeCount: number;
  /** Members that hold a range, its owner included: 1 to 8. */
  readonly copies: number;
  /** Default `sharded`. */
  readonly topology?: Topology;
  /** Default `DEFAULT_TIMING`. */
  readonly timing?: Partial<Timing>;
  /** When a range goes back to the member that placement wants. Default `STANDING_RULES`; null: never by itself. */
  readonly balance?: StandingRules | null;
  /** When writes are acknowledged, by namespace; `*` = every other. Default: `safe`. */
  readonly writeModes?: Readonly<Record<string, WriteMode>>;
  /** What is answered without a majority, by namespace; `*` = every other. Default: `miss`. */
  readonly minorityModes?: Readonly<Record<string, MinorityMode>>;
  /** G: for how long the gutter may serve what was invalidated elsewhere. Default 10,000 ms. */
  readonly gutterMs?: number;
  /** It proposes the first record of every range: one member, in one life, of a cluster. */
  readonly isFounder: boolean;
  /** `persist` effects are wanted, and `onPersisted` will be called for each. */
  readonly isDurable: boolean;
  /** The rows that were persisted in earlier lives, the newest of each range; null: none were. */
  readonly restored: readonly VoterRow[] | null;
  /** As `restored`, of rosters. */
  readonly restoredRoster?: RosterRow | null;
  /** It has voted in an earlier life and has no rows of it. */
  readonly hasForgotten: boolean;
}

export interface ClusterNodeOptions {
  /** `nodeId` is the member's; its store is the cluster's own. */
  readonly node: Omit<NodeOptions, 'nodeId' | 'makeStore'>;
  readonly cluster: ClusterOptions;
}

export type ClusterEffect =
  /** Never to itself. */
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: Message }
  /** Write these, each in place of the row of its range (`roster`: in place of the one before; null: it stays), and call `onPersisted(number)`. What must not be said before is not said before. */
  | {
      readonly kind: 'persist';
      readonly number: number;
      readonly rows: readonly VoterRow[];
      readonly roster: RosterRow | null;
    }
  /** For the log and for metrics. */
  | { readonly kind: 'event'; readonly event: ClusterEvent };

/** Implemented by `ClusterNode`. */
export interface ClusterDoors {
  openSession(
    nowMs: number,
    info: { address: string; localAddress?: string; kind: 'resp' | 'http' | 'internal'; isProxied?: boolean },
  ): NodeSession;
  closeSession(session: NodeSession): void;
  onRequest(session: NodeSession, chunk: Uint8Array, start: number, end: number, nowMs: number, out: ReplyWriter): void;
  readonly hasPushes: boolean;
  takePushed(): NodeSession[];
  onPush(session: NodeSession, out: ReplyWriter): boolean;

  onMessage(from: NodeId, message: Message, nowMs: number): void;
  onPersisted(number: number, nowMs: number): void;
  onGone(id: NodeId, nowMs: number): void;
  onBack(id: NodeId, nowMs: number): void;
  retire(nowMs: number): void;
  /** Milliseconds until it wants to be called again. */
  onTick(nowMs: number): number;
  takeEffects(): readonly ClusterEffect[];

  /** A member said something new of itself: another address, a new incarnation. Of who is no member: ignored. */
  onMember(member: Member): void;
  /** More waits in the link to this member than should, because nobody reads at its other end; or not any more. What can wait is not sent into a full one. */
  onLinkFull(peer: NodeId, isFull: boolean): void;
  /** It gives its ranges away and claims none, until told otherwise. `ownedCount` says how many are left. */
  leave(isLeaving: boolean): void;
  /** Ranges that it owns now. */
  readonly ownedCount: number;
  /** Who is where, as CLUSTER SLOTS says it. Computed when asked, if something has changed. */
  readonly view: ClusterView;
  /** Heard by a majority of the voters: for `/readyz`. */
  readonly isOk: boolean;
}
