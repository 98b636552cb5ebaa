/**
 * What a member's machine wants done: the only way out of the pure core. The shell does it, the simulator pretends to.
 */
import type { Ballot } from '../base/ballot.ts';
import type { NodeId } from './member.ts';
import type { ChangeFate } from './membership.ts';
import type { Message, VoterRow } from './messages.ts';
import type { OwnershipRecord } from './record.ts';
import type { Roster, RosterChange, RosterRow } from './roster.ts';
import type { Resyncs } from './streams.ts';

export type Output =
  /**
   * `afterWrite`: not before that many writes are durable (0: at once). A promise that is forgotten after it was given is a promise broken, so
   * this order is part of the protocol.
   */
  | { readonly kind: 'send'; readonly to: NodeId; readonly message: Message; readonly afterWrite: number }
  /** The `number`-th write: these rows of the voter's table, each replacing the one of its range. Only where there is a data directory. */
  | {
      readonly kind: 'write';
      readonly number: number;
      readonly rows: readonly VoterRow[];
      /** What it promised and accepted of rosters, if that is new. */
      readonly roster: RosterRow | null;
    }
  /** The fate of a write that had to wait. */
  | { readonly kind: 'settled'; readonly id: number; readonly isAcknowledged: boolean }
  | { readonly kind: 'event'; readonly event: ClusterEvent };

/** For logs, metrics and the simulator's judge. Nothing depends on them. */
export type ClusterEvent =
  | {
      readonly kind: 'reign-began';
      readonly range: number;
      readonly record: OwnershipRecord;
      readonly basis: OwnershipRecord;
      readonly isEmpty: boolean;
      readonly how: string;
    }
  | { readonly kind: 'reign-ended'; readonly range: number; readonly reign: Ballot; readonly why: string }
  /** Somebody reigns over a range that we handed over; nobody was answered here for so long. */
  | { readonly kind: 'handed-over'; readonly range: number; readonly to: NodeId; readonly pausedMs: number }
  | { readonly kind: 'in-sync-changed'; readonly range: number; readonly record: OwnershipRecord }
  | { readonly kind: 'claim'; readonly how: string; readonly epoch: number; readonly ranges: readonly number[] }
  | { readonly kind: 'claim-failed'; readonly how: string; readonly range: number; readonly why: string }
  | { readonly kind: 'copy-began'; readonly range: number; readonly reign: Ballot; readonly keeps: boolean }
  /** A copy of ours is whole (`streams.ts`). */
  | { readonly kind: 'copy-resynced'; readonly range: number; readonly to: NodeId; readonly how: keyof Resyncs }
  | { readonly kind: 'voter-recovered'; readonly life: number }
  /** Another roster is known to be chosen. */
  | { readonly kind: 'roster'; readonly roster: Roster }
  /** What became of a change that was asked of this member. */
  | { readonly kind: 'roster-change'; readonly change: RosterChange; readonly fate: ChangeFate }
  | { readonly kind: 'stalled'; readonly lagMs: number };
