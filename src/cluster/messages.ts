/**
 * What members say to each other, as plain values. `wire/` turns them to bytes and back; the simulator passes them as they are.
 *
 * No message is trusted to arrive, to arrive once, or to arrive in order: each carries what makes it harmless when it is late (a ballot, a reign and an
 * offset, the claim it answers, the time at which the question was *sent*). Links over TCP do better than that, but a link that breaks and is made anew
 * does not, and the proofs should not lean on it.
 *
 *   heartbeat  -> voter      "I live; this far I know your table."            heartbeat-ack  <-  "heard; here is what changed; these are silent"
 *   prepare    -> voter      "may I replace these records?"                  promised       <-  yes, or no and why
 *   accept     -> voter      "these are the records now"                     accepted       <-
 *   begin      -> copy       "follow me from this offset"                    applied        <-  "I have applied everything up to"
 *   effects    -> copy       what the owner did, numbered                    applied        <-
 *   part       -> copy       a piece of the owner's content                  part-ack       <-
 *   following  -> owner      "I copy these; may I serve reads?"              followed       <-  which, as of when you asked
 *   yield      -> copy       "I serve this no more; take it"
 *   reigning   -> everybody  "I own these now"
 *   roster-prepare, roster-accept -> voter   as prepare and accept, of the list of members     roster-promised, roster-accepted <-
 *   roster-known -> member    the list of members as it is now, who votes among it
 *
 * Times in a message are by the clock of the one who asked, and mean nothing to anybody else: they come back to him and say how old the answer is *at most*.
 */
import type { Ballot } from '../base/ballot.ts';
import type { NodeId } from './member.ts';
import type { OwnershipRecord } from './record.ts';
import type { Roster, RosterRow } from './roster.ts';

/** One row of a voter's table: what it promised and what it accepted for a range. */
export interface VoterRow {
  readonly range: number;
  /** It accepts nothing below this. `NO_BALLOT`: nothing was promised. */
  readonly promised: Ballot;
  /** `unowned` at first. */
  readonly accepted: OwnershipRecord;
  /** It did not accept this record itself: it took it over from others when it recovered, below what it knows to be promised. Such a one makes no majority. */
  readonly isTaken?: true;
}

/** To every voter, each `heartbeatMs`. */
export interface Heartbeat {
  readonly kind: 'heartbeat';
  readonly incarnation: number;
  readonly sentMs: number;
  /** Which life of the voter's table the sender knows, and up to which change. 0, 0: nothing. */
  readonly life: number;
  readonly counter: number;
  /** How late the sender's timers ran last: others may want to know. */
  readonly lagMs: number;
  readonly stance: Stance;
  /** The newest roster that the sender knows to be chosen. */
  readonly known: Ballot;
}

/** `here`; `leaving`: it gives its ranges away and takes none; `drained`: and it is to copy none either. */
export type Stance = 'here' | 'leaving' | 'drained';

export interface Note {
  readonly id: NodeId;
  readonly stance: Stance;
  /** Since its present life was first heard. */
  readonly lifeMs: number;
}

export interface HeartbeatAck {
  readonly kind: 'heartbeat-ack';
  /** Both as in the heartbeat. */
  readonly incarnation: number;
  readonly sentMs: number;
  /** False while it recovers its table: then it counts for nothing. */
  readonly isVoting: boolean;
  readonly life: number;
  /** `rows` are all that changed after the change `after`, up to `counter`. */
  readonly after: number;
  readonly counter: number;
  readonly rows: readonly VoterRow[];
  /** Of the ranges of `rows`: those that `isTaken`. */
  readonly taken: readonly number[];
  /** If it changed after `after`. */
  readonly roster: RosterRow | null;
  /** Members not heard for a while, and for how long. */
  readonly silent: readonly Silence[];
  /** Members that said in their last heartbeat that they are not to be given anything, or whose present life is young. */
  readonly notes: readonly Note[];
  /** The set of voters that it belongs to, or has left: to a member of another set it counts for nothing. */
  readonly set: Ballot;
  /** It has forgotten nothing that it promised: its table may be read by others, although it may not vote yet. */
  readonly isWhole: boolean;
}

export interface Silence {
  readonly id: NodeId;
  readonly ms: number;
}

export interface PrepareItem {
  readonly range: number;
  /** The record to be replaced, and its owner: this is whom the voter judges, whatever stands in its own table. */
  readonly basis: Ballot;
  readonly owner: NodeId | null;
  /** That owner told the claimant that it serves no more under that ballot. */
  readonly isYielded: boolean;
}

export interface Prepare {
  readonly kind: 'prepare';
  /** Never used twice by a member, in no life of it. */
  readonly claim: number;
  /** The ballot is (epoch, sender). */
  readonly epoch: number;
  readonly items: readonly PrepareItem[];
  /** The set of voters that the sender knows: those of another one do not answer it. */
  readonly set: Ballot;
}

export type RefusalReason =
  /** It promised a higher ballot. */
  | 'promised'
  /** It accepted a newer record than the one to be replaced. */
  | 'newer'
  /** It has heard the owner within T. */
  | 'heard'
  /** It recovers its table. */
  | 'recovering'
  /** Who asks is no member, or the record names one that is none, by the roster that the voter accepted. */
  | 'stranger'
  /** It belongs to another set of voters than who asks knows. */
  | 'voters';

export interface Refusal {
  readonly range: number;
  readonly reason: RefusalReason;
  /** The highest ballot that it promised: the next attempt must be above it. */
  readonly promised: Ballot;
  readonly accepted: OwnershipRecord;
  /** For `heard`: how long it wants to wait still. */
  readonly waitMs: number;
}

export interface Promised {
  readonly kind: 'promised';
  readonly claim: number;
  readonly granted: readonly number[];
  readonly refused: readonly Refusal[];
  /** Some were granted because their owner's process is gone, less than T after it was heard: its read leases may last still. */
  readonly isHasty: boolean;
}

export interface Accept {
  readonly kind: 'accept';
  readonly claim: number;
  readonly records: readonly OwnershipRecord[];
  /** As in `prepare`. */
  readonly set: Ballot;
}

export interface Accepted {
  readonly kind: 'accepted';
  readonly claim: number;
  readonly ranges: readonly number[];
  readonly refused: readonly Refusal[];
}

/** A copy is to follow: from `offset` of this reign on, the content it has staying until the end of the synchronisation, or gone. */
export interface Begin {
  readonly kind: 'begin';
  readonly range: number;
  readonly reign: Ballot;
  /** Counts the synchronisations of this copy in this reign: an older one is a late message. */
  readonly session: number;
  readonly offset: number;
  readonly keeps: boolean;
  /** The sender's newest record of the range: a copy follows nobody whose record is older than one it knows of. */
  readonly record: Ballot;
}

export interface Effects {
  readonly kind: 'effects';
  readonly range: number;
  readonly reign: Ballot;
  readonly session: number;
  /** Offset of the first of `bodies`. */
  readonly from: number;
  readonly bodies: readonly Uint8Array[];
}

export interface Applied {
  readonly kind: 'applied';
  readonly range: number;
  /** Whom it follows: another reign than the owner's says that it needs a `begin`. `NO_BALLOT`: nobody. */
  readonly reign: Ballot;
  readonly session: number;
  readonly offset: number;
}

export interface Part {
  readonly kind: 'part';
  readonly range: number;
  readonly reign: Ballot;
  readonly session: number;
  readonly number: number;
  /** What stood in the owner's memory behind this effect: a copy that is elsewhere in the stream may not use it. */
  readonly at: number;
  readonly entries: readonly Uint8Array[];
  readonly isLast: boolean;
}

export interface PartAck {
  readonly kind: 'part-ack';
  readonly range: number;
  readonly reign: Ballot;
  readonly session: number;
  readonly number: number;
  /** False: it stood elsewhere in the stream; cut it anew. */
  readonly isTaken: boolean;
}

export interface Position {
  readonly range: number;
  readonly reign: Ballot;
  readonly session: number;
  readonly offset: number;
}

/** To each owner that one copies from, every `heartbeatMs`. */
export interface Following {
  readonly kind: 'following';
  readonly incarnation: number;
  readonly sentMs: number;
  readonly positions: readonly Position[];
}

export interface Lease {
  readonly range: number;
  readonly reign: Ballot;
}

export interface Followed {
  readonly kind: 'followed';
  readonly incarnation: number;
  readonly sentMs: number;
  /** What the copy may serve for `readLeaseMs` from `sentMs` on. */
  readonly leases: readonly Lease[];
}

export interface Yield {
  readonly kind: 'yield';
  /** The sender serves none of these under these ballots any more, in no life of it. */
  readonly items: readonly YieldItem[];
}

export interface YieldItem {
  readonly range: number;
  readonly basis: Ballot;
  /** The set of that record: the receiver may not have heard of it yet. */
  readonly inSync: readonly NodeId[];
  /** For how long read leases may last still that the sender or one before it granted to members outside of this set: who is in it has none since it follows the receiver. */
  readonly leasesMs: number;
  /** The sender goes on as a copy, with what it has: everything that the receiver has. */
  readonly stays: boolean;
  /** An operator chose the receiver: it does not send the range home. */
  readonly isPinned: boolean;
}

/** To everybody, from who has just become owner of these: clients are to be sent there (`tidings.ts`). */
export interface Reigning {
  readonly kind: 'reigning';
  readonly records: readonly OwnershipRecord[];
}

/** May I change the roster? */
export interface RosterPrepare {
  readonly kind: 'roster-prepare';
  readonly claim: number;
  /** The ballot is (epoch, sender). */
  readonly epoch: number;
  /** As in `prepare`. */
  readonly set: Ballot;
}

export interface RosterPromised {
  readonly kind: 'roster-promised';
  readonly claim: number;
  readonly isGranted: boolean;
  /** The highest. */
  readonly promised: Ballot;
  /** The newest that the voter accepted: what the change is applied to. null: the founding one. */
  readonly accepted: Roster | null;
}

export interface RosterAccept {
  readonly kind: 'roster-accept';
  readonly claim: number;
  readonly roster: Roster;
  /** As in `prepare`. */
  readonly set: Ballot;
}

/**
 * `named`: its table has records that name a member whom the roster leaves out. `voters`: it belongs to another set of voters. `settling`: the roster changes the voters, and the voter is in
 * the present set for less than T.
 */
export type RosterAnswer = 'accepted' | 'promised' | 'recovering' | 'named' | 'voters' | 'settling';

export interface RosterAccepted {
  readonly kind: 'roster-accepted';
  readonly claim: number;
  readonly answer: RosterAnswer;
  readonly promised: Ballot;
}

/** This one is chosen: to who knows an older one. */
export interface RosterKnown {
  readonly kind: 'roster-known';
  readonly roster: Roster;
}

export type SpreadKind = 'tag' | 'namespace' | 'everything';

export interface SpreadName {
  readonly kind: SpreadKind;
  /** Of the tag or namespace; empty for everything. */
  readonly name: Uint8Array;
}

/** Invalidate these names in these ranges, as far as they are yours: `node/spreads.ts`. */
export interface Spread {
  readonly kind: 'spread';
  /** Of the asker's, in its present life. */
  readonly id: number;
  readonly names: readonly SpreadName[];
  readonly ranges: readonly number[];
}

/** These ranges are done: every member of their sets has it. */
export interface SpreadDone {
  readonly kind: 'spread-done';
  readonly id: number;
  readonly ranges: readonly number[];
}

/** A client's command on a slot of which the receiver is thought to be the owner: `node/proxy.ts`. */
export interface ProxyRequest {
  readonly kind: 'proxy';
  /** Of the asker's, in its present life; growing. */
  readonly id: number;
  readonly life: number;
  /** What the receiver said last of itself: its life and its clock. It executes nothing that was sent long after that. */
  readonly ownerLife: number;
  readonly clockMs: number;
  /** The replies to everything up to this id have come, or are waited for no more. */
  readonly settled: number;
  readonly range: number;
  /** Of the newest record of the range that the asker knows. */
  readonly ballot: Ballot;
  readonly protocol: number;
  /** Nothing: only the clock is asked for. */
  readonly request: Uint8Array;
}

export interface Proxied {
  readonly kind: 'proxied';
  readonly id: number;
  /** The asker's, as it said. */
  readonly life: number;
  readonly ownerLife: number;
  readonly clockMs: number;
  readonly reply: Uint8Array;
  /** It was not executed and will not be: the range is not the sender's, or not under the ballot that the asker knew. */
  readonly isElsewhere: boolean;
  /** Then: whose it is as far as the sender knows, and under which ballot. */
  readonly owner: NodeId | null;
  readonly ballot: Ballot;
}

export type Message =
  | Heartbeat
  | HeartbeatAck
  | Prepare
  | Promised
  | Accept
  | Accepted
  | Begin
  | Effects
  | Applied
  | Part
  | PartAck
  | Following
  | Followed
  | Yield
  | Spread
  | SpreadDone
  | ProxyRequest
  | Proxied
  | RosterPrepare
  | RosterPromised
  | RosterAccept
  | RosterAccepted
  | RosterKnown
  | Reigning;

export type MessageKind = Message['kind'];
