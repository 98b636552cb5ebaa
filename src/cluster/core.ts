/**
 * One member of the cluster as a deterministic machine: messages and time in, outputs out. It votes (if it is a voter), claims what is its to claim, owns, copies, and says at each
 * operation whether this member may answer it. It has no socket and no clock; the node hands it messages of other members and the effects of commands, and the
 * simulator does the same.
 *
 *   onMessage     another member said something
 *   onTick        time passes: heartbeats, what was lost is sent again, claims, changes of the set of copies
 *   route         may this member answer an operation on this range now? Asked at each operation, the only door to rule 1
 *   write, note   an operation did something to a range that we own: copies are to do it too
 *   onGone        a member's process is gone: its port refuses (`refusals.ts`); `onBack` undoes it
 *   retire        this process is about to be gone in that sense
 *   take          what it wants done
 *
 * The rules that live here, and what they rest on:
 *   rule 1  `route`: a reign, not frozen, and `Views.isLeased` at this very moment
 *   rule 2  `#planClaims`: who claims what after how much silence, in the order of the record's set, without chance. Voters judge (`voter.ts`)
 *   reign   begins when a record *of our own making in this life* is chosen, never by a record that somebody else made or that an earlier life made: so a reign's name is never used
 *           twice, and tokens and offsets that carry it cannot mean two things. An owner that started anew yields to a member of its set, or begins again, empty
 *   content is kept by a claimant that is in the set of the record it replaces, and was not its owner; all others begin empty
 *
 * `nowMs` and `patientMs`: see `timing.ts`.
 */
import { assert, unreachable } from '../base/assert.ts';
import { type Ballot, compareBallots, sameBallot } from '../base/ballot.ts';
import { Copies } from './copies.ts';
import { ETCD } from './etcd.ts';
import { Homing, type Refused } from './homing.ts';
import type { NodeId } from './member.ts';
import { Membership } from './membership.ts';
import type { Following, HeartbeatAck, Message, Position, Stance, VoterRow, YieldItem } from './messages.ts';
import type { ClusterEvent, Output } from './outputs.ts';
import { type Follower, Primary } from './primary.ts';
import { type Proposal, Proposals, type Wish } from './proposals.ts';
import type { RangeStore } from './range-store.ts';
import { NO_BALLOT, type OwnershipRecord } from './record.ts';
import {
  type ChangeRefused,
  NO_ROSTER_ROW,
  type Roster,
  type RosterChange,
  type RosterMember,
  type RosterRow,
  type Seats,
  setOf,
  votersAfter,
} from './roster.ts';
import { drop, placeOf, put } from './sorted.ts';
import type { StandingRules } from './standing.ts';
import { Streams } from './streams.ts';
import { Tidings } from './tidings.ts';
import { checkTiming, DRIFT, type Timing } from './timing.ts';
import type { Topology } from './topology.ts';
import { Views, type WholeTable } from './views.ts';
import { Voter } from './voter.ts';

export interface CoreOptions {
  readonly self: NodeId;
  /** Grows with each start. */
  readonly incarnation: number;
  /** The first record of a range has at least this epoch: one that was formed anew is above what was formed before it. Default 1. */
  readonly firstEpoch?: number;
  /** The founding ones: the list that everybody was started with. */
  readonly members: readonly NodeId[];
  /** How they are reached, in the same order. Default: nobody says. */
  readonly founding?: readonly RosterMember[];
  /** A roster that was chosen: what a newcomer was told, or a member remembers. Default: none is known. */
  readonly roster?: Roster | null;
  readonly voters: readonly NodeId[];
  readonly rangeCount: number;
  /** Members that are to hold a range, its owner included. */
  readonly copies: number;
  /** Default `sharded`. */
  readonly topology?: Topology;
  /** Who should hold a range, best first, by the founding roster: placement. All members that may. */
  readonly order: (range: number) => readonly NodeId[];
  readonly timing: Timing;
  readonly store: RangeStore;
  /** This member proposes the first record of every range. One member, once in a cluster's life. */
  readonly isFounder: boolean;
  /** Promises and records are written (and `restored`) where there is a data directory. */
  readonly isDurable: boolean;
  readonly restored: readonly VoterRow[] | null;
  readonly restoredRoster?: RosterRow | null;
  /** This member has run before and remembers nothing. */
  readonly hasForgotten: boolean;
  readonly nowMs: number;
  /** An owner gives a range to the first member of its `order` when that one has been up for `stableMs`: `homing.ts`. null: ranges move by takeover, leave and operators' orders alone. */
  readonly balance: StandingRules | null;
}

/** Why a change of the roster is not tried. `held`: who is to be forgotten owns or copies ranges still, and is not drained; `holds`: it is drained or dead, and it takes a while still. */
export type NotTried =
  | 'minority'
  | 'busy'
  | 'self'
  | 'held'
  | 'holds'
  /** Who is to vote is silent. */
  | 'absent'
  /** etcd coordinates: no member votes. */
  | 'etcd'
  /** Too few of the voters that are to stay are heard. */
  | 'voters-away'
  | ChangeRefused;

export type Route =
  | { readonly kind: 'serve' }
  /** A read, out of a copy. */
  | { readonly kind: 'serve-copy' }
  | { readonly kind: 'moved'; readonly to: NodeId }
  /** Ownership is changing hands, or the owner has gone silent: ask again in a moment. */
  | { readonly kind: 'try-again' }
  /** Nobody owns it. */
  | { readonly kind: 'down' }
  /** We are without a majority of the voters: the namespace says what to do (rule 5). */
  | { readonly kind: 'minority' };

const SERVE: Route = { kind: 'serve' };
const SERVE_COPY: Route = { kind: 'serve-copy' };
const TRY_AGAIN: Route = { kind: 'try-again' };
const DOWN: Route = { kind: 'down' };
const MINORITY: Route = { kind: 'minority' };

/** An objection to our record is answered with a higher one when it has stood this long: a claim that is under way may end by itself. */
const CONTEST_MS = 250;
/** An owner that started anew offers its ranges this long before it begins again itself. */
const YIELD_MS = 700;
const YIELD_AGAIN_MS = 150;
/** Members outside of the set wait this much longer than those inside, if there are any. */
const OUTSIDER_MS = 3000;
const RETRY_MS = 100;
/** Who claimed in vain tries again at one of so many moments, by its place among the members. */
const RANKS = 32;
/** Why a reign ended, in its event: sent home or moved, and given away by who leaves. */
export const HANDED_OVER = 'handed over';
export const GIVEN_AWAY = 'given away';
/** Between two ranges that a member gives home unasked. */
const HOMING_MS = 500;
/** A range is frozen at most so long for a hand-over: its copy is a few effects behind, or it is not the moment. */
const FROZEN_MS = 200;
/** A roster that some have accepted is brought to an end by the first voter after so long, by the next so much later. */
const FINISH_MS = 1000;
const FINISH_STAGGER_MS = 400;
/** Sets are searched for who was forgotten for so long: they should name nobody, but a record may have been under way. */
const STRANGERS_MS = 10_000;
/** A record that has been chosen for so long is the one by which its owner has granted the read leases that last still: it knew of it after F at most. In F and read leases. */
const SETTLED = 1.05;
/** Ranges of ours that are copied at once to where they are to go. */
const MOVING = 4;
/** Ranges that who leaves gives away at the same time: each is without an owner for as long as all of these take. */
const GIVING = 16;
/** While copies are filled: the next pieces are cut after so long, if no answer comes sooner (`streams.ts`). */
const REFILL_MS = 4;
/** Heartbeats follow each other so closely while news is waited for that requests wait for; and for so long. */
const HURRY_MS = 5;
const HURRY_FOR_MS = 300;

/** Our last claim that keeps its content, and whom the copy followed at the time. */
interface OwnClaim {
  readonly ballot: Ballot;
  readonly followed: Ballot;
}

/** To whom we handed a range over, and what we said. */
interface HandedOver {
  readonly to: NodeId;
  readonly item: YieldItem;
  /** Since when nobody was answered. */
  readonly frozenMs: number;
  /** Somebody is known to reign over it since. */
  isTaken: boolean;
}

interface Yielding {
  readonly ballot: Ballot;
  sinceMs: number;
  sentMs: number;
}

export class ClusterCore {
  readonly self: NodeId;
  readonly views: Views;
  /** null: it never voted in this life. */
  voter: Voter | null;
  readonly copies: Copies;
  /** What our reigns send to their copies together. */
  readonly streams = new Streams();
  readonly primaries: (Primary | null)[];
  /** The ranges of `primaries` that are not null, in their order. */
  readonly #owned: number[] = [];
  /** Ranges of which the chosen record has us as a copy, in their order. */
  readonly #copied: number[] = [];
  /** Ranges that might be claimed, and the changes of what that depends on until they were found: most of the time there are none, and time alone makes none. */
  #restless: readonly number[] = [];
  #restlessAsOf = -1;
  #ownChanges = 0;
  /** It is to leave: it gives its ranges away and claims none. Its copies it keeps: it may be back soon. */
  isLeaving = false;
  /** As `isLeaving`, and others are to copy what it copies: it will not be back, or not soon. */
  isDrained = false;
  readonly homing: Homing;
  readonly membership: Membership;
  readonly #tidings: Tidings;
  readonly #options: CoreOptions;
  readonly #timing: Timing;
  readonly #proposals: Proposals;
  /** An earlier life may have voted in this set. */
  #mayHaveVoted: boolean;
  /** Read from those who voted before and do no more, while we go over to the set behind them. */
  readonly #formerTables = new Map<NodeId, WholeTable>();
  readonly #retryAtMs: number[];
  readonly #claims: (OwnClaim | null)[];
  readonly #yielding: (Yielding | null)[];
  /** By range: what its owner said when it told us to take over. */
  readonly #yielded: (YieldItem | null)[];
  readonly #handed: (HandedOver | null)[];
  #out: Output[] = [];
  #nowMs: number;
  #patientMs = 0;
  #lagMs = 0;
  #heartbeatAtMs: number;
  #recoverFromMs = -1;
  #writes = 0;
  #wakeMs = 0;
  /** What voters were told last of whether we are to be given anything. */
  #saidStance: Stance = 'here';
  /** When the next range may go home unasked. */
  #homingAtMs = 0;
  #strangersUntilMs = 0;
  /** The range that is being handed over, and since when it is frozen; -1: none. */
  #moving = -1;
  #movingSinceMs = 0;
  /** Ranges that are being copied to where they are to go. */
  #copying = 0;
  /** Ranges that are being given away, and that nobody is known to have taken. */
  #giving = 0;
  /** By range: the record that is known to be chosen, and since when by the patient clock. */
  readonly #chosenBallots: Ballot[];
  readonly #chosenAtMs: number[];
  /** By range: our last claim was of a record that had been chosen for long. */
  readonly #isSettled: boolean[];
  /** Members whose processes are gone, and whose ranges we may claim: until voters say so too, or it is too late for haste. */
  readonly #gone = new Set<NodeId>();
  /** It serves nothing any more, and says nothing. */
  #isRetired = false;
  /** Voters are asked for news at every turn until then. */
  #hurryUntilMs = Number.NEGATIVE_INFINITY;

  constructor(options: CoreOptions) {
    const { self, voters, rangeCount, timing, store } = options;
    checkTiming(timing);
    this.#options = options;
    this.#timing = timing;
    this.self = self;
    this.#nowMs = options.nowMs;
    this.#heartbeatAtMs = options.nowMs;
    const membership = new Membership({
      self,
      life: options.incarnation,
      founding: options.founding ?? options.members.map((id) => ({ id, host: '', linkPort: 0, zone: '', weight: 1 })),
      voters,
      order: options.order,
      rangeCount,
      copies: options.copies,
      topology: options.topology ?? 'sharded',
      timing,
      known: options.roster ?? null,
      send: (to, message) => this.#send(to, message),
      changed: (before) => this.#onRoster(before),
      ended: (change, fate) => this.#event({ kind: 'roster-change', change, fate }),
    });
    this.membership = membership;
    const { seats } = membership;
    this.views = new Views(seats.voters, rangeCount, timing, seats.since);
    this.homing = new Homing({
      self,
      get members() {
        return membership.ids;
      },
      order: (range) => membership.order(range),
      views: this.views,
      rangeCount,
      rules: options.balance,
      leastReignMs: timing.leaseMs,
      topology: options.topology ?? 'sharded',
    });
    this.#tidings = new Tidings(timing.leaseMs);
    this.copies = new Copies(rangeCount, store, timing);
    this.primaries = Array.from({ length: rangeCount }, () => null);
    this.#retryAtMs = this.primaries.map(() => 0);
    this.#chosenBallots = this.primaries.map(() => NO_BALLOT);
    this.#chosenAtMs = this.primaries.map(() => 0);
    this.#isSettled = this.primaries.map(() => false);
    this.#claims = this.primaries.map(() => null);
    this.#yielding = this.primaries.map(() => null);
    this.#yielded = this.primaries.map(() => null);
    this.#handed = this.primaries.map(() => null);
    this.#mayHaveVoted = options.hasForgotten;
    const hasVoted = seats.before.includes(self);
    this.voter = this.#ownIndex < 0 ? null : this.#votes(!hasVoted, options.hasForgotten);
    if (this.voter === null && hasVoted && !options.hasForgotten) {
      // Those who vote now may have to read what it has written.
      this.voter = this.#votes(false, false);
      this.voter.leave(seats.since);
    }
    this.#proposals = new Proposals(
      self,
      options.incarnation,
      seats.voters,
      timing,
      { chosen: (proposal) => this.#won(proposal), failed: (proposal, why) => this.#lost(proposal, why) },
      (to, message) => this.#send(to, message),
      seats.since,
    );
  }

  /** Everything that it wants done since the last call, in this order. */
  take(): readonly Output[] {
    if (this.#out.length === 0) return NOTHING;
    const out = this.#out;
    this.#out = [];
    return out;
  }

  // -- operations

  /** May this member answer an operation on `range` now? `readsCopies`: the caller allows an answer out of a copy. */
  route(range: number, readsCopies: boolean, nowMs: number): Route {
    this.#advance(nowMs);
    if (this.#isRetired) return MINORITY;
    const primary = this.primaries[range]!;
    if (primary !== null) {
      if (primary.isFrozen) return TRY_AGAIN;
      return this.views.isLeased(range, primary.record.ballot, this.#nowMs) ? SERVE : MINORITY;
    }
    if (readsCopies && this.copies.mayServe(range, this.#nowMs)) return SERVE_COPY;
    if (!this.views.hasMajority(this.#nowMs)) return MINORITY;
    const owner = this.ownerOf(range);
    if (owner === null) return DOWN;
    // Ours by a record, but we do not reign: nobody else may be sent back to us.
    if (owner === this.self || this.views.silenceOf(owner, this.#nowMs) >= this.#timing.leaseMs) return TRY_AGAIN;
    return { kind: 'moved', to: owner };
  }

  /** How far an answer out of the copy that is here may be behind (`copies.ts`); `Infinity`: there is none. */
  copyLagMs(range: number, nowMs: number): number {
    this.#advance(nowMs);
    return this.primaries[range] === null ? this.copies.lagMs(range, this.#nowMs) : Number.POSITIVE_INFINITY;
  }

  /**
   * Is the range about to be somebody's, so that a request for it may wait here for a moment? It is frozen for a hand-over; or we have handed it over and were not told yet that it was taken; or we have asked the voters
   * for it; or a record says that it is ours and we do not reign yet. What waits asks `route` again before anything is done.
   */
  isChanging(range: number, nowMs: number): boolean {
    this.#advance(nowMs);
    if (!this.views.hasMajority(this.#nowMs)) return false;
    const primary = this.primaries[range]!;
    if (primary !== null) {
      // Or voters have promised a ballot above ours, to another or to ourselves, and it is not decided yet what comes of it.
      return primary.isFrozen || !this.views.isLeased(range, primary.record.ballot, this.#nowMs);
    }
    return this.#proposals.of(range)?.owner === this.self || this.ownerOf(range) === this.self;
  }

  /** Of who owns it as `ownerOf` says: its record, or its reign where that is all we know. */
  ballotOf(range: number): Ballot {
    const { ballot } = this.recordOf(range);
    return this.copies.leaderAbove(range, ballot) === null ? ballot : this.copies.reignOf(range);
  }

  /** The newest record that is known to be chosen, or that a new owner has told us of since: where clients are sent. */
  recordOf(range: number): OwnershipRecord {
    return this.#tidings.of(range, this.views.chosen[range]!);
  }

  /** Grows whenever `recordOf` may say something else. */
  get recordChanges(): number {
    return this.views.chosenChanges + this.#tidings.changes;
  }

  /** Who owns the range, as far as we know: by `recordOf`, or who has told us to follow it. */
  ownerOf(range: number): NodeId | null {
    const { owner, ballot } = this.recordOf(range);
    return this.copies.leaderAbove(range, ballot) ?? owner;
  }

  /** An operator wants a range of ours there. null: it is under way. */
  move(range: number, to: NodeId, nowMs: number): Refused | null {
    this.#advance(nowMs);
    if (this.#isAway) return 'leaving';
    return this.homing.move(this.primaries[range] ?? null, to, this.#nowMs);
  }

  /** An operator wants our ranges where placement wants them. Returns how many are to go. */
  rebalance(nowMs: number): number {
    this.#advance(nowMs);
    return this.#isAway ? 0 : this.homing.rebalance(this.primaries, this.#nowMs);
  }

  /**
   * Somebody wants to be a member, or an operator wants one forgotten. null: it is under way, and an event `roster-change` says what became of it.
   * A member that owns or copies anything is forgotten when it is drained or dead, and has been replaced everywhere: until then this says so.
   */
  changeRoster(change: RosterChange, nowMs: number): NotTried | null {
    this.#advance(nowMs);
    const { membership, views } = this;
    if (!views.hasMajority(this.#nowMs) || !membership.has(this.self)) return 'minority';
    const { known } = membership;
    if (change.kind === 'add') {
      if (membership.has(change.member.id)) return 'done';
      if (known.forgotten.includes(change.member.id)) return 'forgotten';
    } else if (change.kind === 'forget') {
      const { id } = change;
      if (id === this.self) return 'self';
      const { voters, before } = membership.seats;
      if (voters.includes(id)) return 'voter';
      // Those that vote now may have to read what it promised.
      if (before.includes(id) && views.votingBeside(-1) < views.majority) return 'holds';
      if (!membership.has(id)) return known.forgotten.includes(id) ? 'done' : 'not-member';
      if (this.#isNamed(id)) {
        const isDead = views.silenceOf(id, this.#nowMs) >= this.#timing.takeoverMs;
        return isDead || this.#isDrainedOne(id) ? 'holds' : 'held';
      }
    }
    if (change.kind === 'voters') {
      const refused = this.#mayNotVote(change.add, change.remove);
      if (refused !== null) return refused;
    }
    if (membership.isBusy) return 'busy';
    membership.begin(change, views.rosterEpoch, this.#nowMs);
    return null;
  }

  /**
   * Must those who vote not be changed so now? The new set is to go on without the newcomer, and to know what the present one has agreed upon: with voters that were heard within F. A precaution and no more; what makes it safe is in
   * `voter.ts`.
   */
  #mayNotVote(add: NodeId | null, remove: NodeId | null): NotTried | null {
    const { views, membership } = this;
    const { voters } = membership.seats;
    if (voters.includes(ETCD)) return 'etcd';
    const wanted = votersAfter(membership.known, voters, add, remove);
    if (typeof wanted === 'string') return wanted;
    if (add !== null && membership.has(add) && this.views.silenceOf(add, this.#nowMs) > 0) return 'absent';
    const staying = voters.filter((id) => id !== remove);
    const isAdding = add !== null && !voters.includes(add);
    const next = staying.length + Number(isAdding);
    const heard = views.heard(this.#nowMs);
    const least = Math.max(Math.floor(next / 2) + 1, voters.length - views.majority + 1);
    if (isAdding && staying.length < least) return null;
    return staying.filter((id) => heard.includes(id)).length >= least ? null : 'voters-away';
  }

  /** Does any record name it, be it chosen or about to be? O(ranges). */
  #isNamed(id: NodeId): boolean {
    const names = ({ owner, inSync }: OwnershipRecord): boolean => owner === id || inSync.includes(id);
    return this.views.chosen.some(names) || this.views.newest.some(names);
  }

  /** What others are told: whether we are to be given anything. */
  get stance(): Stance {
    return this.isDrained ? 'drained' : this.isLeaving ? 'leaving' : 'here';
  }

  /** Copies of ours among the records: what a drained member has to get rid of still. */
  get copiedCount(): number {
    const { self } = this;
    return this.views.chosen.reduce((n, { owner, inSync }) => n + (owner !== self && inSync.includes(self) ? 1 : 0), 0);
  }

  /** The reign that tokens of this range carry. @throws AssertionError if we do not own it */
  reignOf(range: number): Ballot {
    const primary = this.primaries[range]!;
    assert(primary !== null, 'only an owner has a reign');
    return primary.reign;
  }

  /**
   * A caller's write, which `route` has just allowed, was done to our memory. Its fate comes as an output `settled` with this id.
   * @param isFirst there was no value that it replaced or removed
   */
  write(range: number, id: number, effect: Uint8Array, isFirst: boolean, nowMs: number): void {
    this.#advance(nowMs);
    const primary = this.primaries[range]!;
    assert(primary !== null, 'only an owner writes');
    if (primary.hasRoom) primary.write(id, effect, isFirst, this.#nowMs, this.#patientMs);
    else {
      primary.append(effect, true, this.#nowMs);
      this.#out.push({ kind: 'settled', id, isAcknowledged: false });
    }
  }

  /** Something that nobody waits for was done to a range of ours: a fill, an eviction. */
  note(range: number, effect: Uint8Array, removes: boolean, nowMs: number): void {
    this.#advance(nowMs);
    this.primaries[range]?.append(effect, removes, this.#nowMs);
  }

  /** The link to this member holds more than it should, because nobody reads at its other end; or it does not any more. */
  onLinkFull(to: NodeId, isFull: boolean): void {
    this.streams.linkFull(to, isFull);
  }

  // -- messages and time

  onMessage(from: NodeId, message: Message, nowMs: number): void {
    this.#advance(nowMs);
    if (message.kind === 'roster-known') {
      this.membership.learn(message.roster);
      return;
    }
    // Who was forgotten, or came before we heard of it: as if its words were lost on their way. etcd votes and is no member.
    if (!this.membership.has(from) && from !== ETCD) return;
    if (this.#isRetired) return;
    switch (message.kind) {
      case 'heartbeat':
        this.#tellRoster(from, message.known);
        if (this.voter !== null) this.#answer(from, this.voter.onHeartbeat(from, message, this.#patientMs));
        break;
      case 'heartbeat-ack':
        this.#onAck(from, message);
        break;
      case 'prepare':
        if (this.voter !== null) this.#answer(from, this.voter.onPrepare(from, message, this.#patientMs));
        break;
      case 'promised': {
        const index = this.views.indexOf(from);
        if (index >= 0) this.#proposals.onPromised(index, message, this.#nowMs);
        break;
      }
      case 'accept':
        if (this.voter !== null) this.#answer(from, this.voter.onAccept(message));
        break;
      case 'accepted': {
        const index = this.views.indexOf(from);
        if (index >= 0) this.#proposals.onAccepted(index, message, this.#nowMs);
        break;
      }
      case 'begin':
        this.#deposeBelow(message.range, message.reign);
        if (this.copies.onBegin(from, message, this.views.knownNewest(message.range))) {
          this.#event({ kind: 'copy-began', range: message.range, reign: message.reign, keeps: message.keeps });
          this.#noteTaken(message.range);
        }
        this.#send(from, this.copies.applied(message.range));
        break;
      case 'effects':
        this.copies.onEffects(message);
        this.#send(from, this.copies.applied(message.range));
        break;
      case 'part': {
        const ack = this.copies.onPart(message);
        this.#send(from, ack ?? this.copies.applied(message.range));
        break;
      }
      case 'applied':
        this.primaries[message.range]?.onApplied(from, message, this.#nowMs, this.#patientMs);
        this.#handOverSoon(message.range);
        break;
      case 'part-ack':
        this.primaries[message.range]?.onPartAck(from, message, this.#nowMs);
        break;
      case 'following':
        this.#onFollowing(from, message);
        break;
      case 'followed':
        if (message.incarnation === this.#options.incarnation) this.copies.onFollowed(from, message);
        break;
      case 'yield':
        for (const item of message.items) {
          const { range, basis, inSync } = item;
          if (compareBallots(basis, this.views.newest[range]!.ballot) > 0 && inSync.includes(from)) {
            this.views.note({ range, ballot: basis, owner: from, inSync }, range, basis.epoch);
          }
          if (sameBallot(basis, this.views.newest[range]!.ballot) && this.views.newest[range]!.owner === from) {
            this.#yielded[range] = item;
            this.#ownChanges += 1;
            this.#retryAtMs[range] = 0;
          }
        }
        this.#planClaims();
        break;
      case 'reigning':
        for (const record of message.records) {
          this.#tidings.hear(record, this.views.chosen[record.range]!, this.#nowMs);
          this.#noteTaken(record.range);
        }
        break;
      case 'roster-prepare':
        if (this.voter !== null) this.#answer(from, this.voter.onRosterPrepare(from, message));
        break;
      case 'roster-promised': {
        const index = this.views.indexOf(from);
        if (index >= 0) this.membership.onPromised(index, message, this.#nowMs);
        break;
      }
      case 'roster-accept':
        if (this.voter !== null) this.#answer(from, this.voter.onRosterAccept(message, this.#patientMs));
        break;
      case 'roster-accepted': {
        const index = this.views.indexOf(from);
        if (index >= 0) this.membership.onAccepted(index, message, this.#nowMs);
        break;
      }
      case 'spread':
      case 'spread-done':
      case 'proxy':
      case 'proxied':
        // About entries: the node's own, which hears them first.
        break;
      default:
        unreachable(message);
    }
    this.#tell();
  }

  /** The member's process is gone: nothing listens on its port. It counts as silent for T from now on, and whoever may claim its ranges need not wait for the next heartbeat. */
  onGone(id: NodeId, nowMs: number): void {
    this.#advance(nowMs);
    // Who asks etcd waits for the end of the owner's lease there.
    if (this.#isRetired || id === this.self || !this.membership.has(id) || this.views.voters.includes(ETCD)) return;
    this.voter?.onGone(id, this.#patientMs);
    const isHeir = this.views.newest.some(({ owner, inSync }) => owner === id && inSync.includes(this.self));
    if (!isHeir || this.#isAway) return;
    this.#gone.add(id);
    this.#hurryUntilMs = this.#nowMs + HURRY_FOR_MS;
    this.#beat();
  }

  /** It is there: it has a link to us. */
  onBack(id: NodeId, nowMs: number): void {
    this.#advance(nowMs);
    this.voter?.onBack(id);
    this.#gone.delete(id);
  }

  /**
   * The process is about to close the port on which others reach it, and they will take it for dead: so it serves nothing any more before it does, as owner or out of a copy, and takes part in nothing. There is no way
   * back in this life. Callers that wait are told that their writes are not acknowledged.
   */
  retire(nowMs: number): void {
    this.#advance(nowMs);
    if (this.#isRetired) return;
    this.#isRetired = true;
    for (const range of [...this.#owned]) this.#endReign(range, 'this member ends');
    for (let range = 0; range < this.primaries.length; range += 1) this.copies.doubt(range);
  }

  /** Returns the milliseconds until it wants to be called again, at most `tickMs`. */
  onTick(nowMs: number): number {
    this.#advance(nowMs);
    if (this.#isRetired) return this.#timing.tickMs;
    const now = this.#nowMs;
    this.#wakeMs = this.#timing.tickMs;
    if (now >= this.#heartbeatAtMs || this.stance !== this.#saidStance) this.#beat();
    this.#proposals.onTick(now);
    this.membership.onTick(now);
    this.#finishRoster();
    this.#recover();
    for (const range of this.#owned) this.primaries[range]!.onTick(now, this.#patientMs);
    if (this.streams.takeWanted()) this.#wakeMs = Math.min(this.#wakeMs, REFILL_MS);
    if (this.views.hasMajority(now)) this.#planClaims();
    this.#planOwned();
    this.#tidings.settle(this.views.chosen, now);
    this.#tell();
    return Math.max(1, Math.min(this.#wakeMs, this.#heartbeatAtMs - now));
  }

  /** Throws unless everything within is whole. */
  invariants(): void {
    this.voter?.invariants(this.#patientMs);
    let owned = 0;
    this.primaries.forEach((primary, range) => {
      if (primary === null) return;
      assert(this.#owned[owned] === range, 'core: what is owned is listed in its order');
      owned += 1;
      primary.invariants();
      assert(primary.range === range, 'core: a reign stands at its range');
      assert(primary.record.owner === this.self, 'core: we reign over what we own');
      assert(this.copies.position(range).reign === NO_BALLOT, 'core: an owner follows nobody');
    });
    assert(this.#owned.length === owned, 'core: nothing else is listed as owned');
    this.views.chosen.forEach(({ owner, inSync }, range) => {
      const isCopied = owner !== null && owner !== this.self && inSync.includes(this.self);
      assert(isCopied === (this.#copied[placeOf(this.#copied, range)] === range), 'core: what is copied is listed');
    });
    assert(this.#proposals.size <= this.primaries.length, 'core: one proposal a range');
  }

  // -- heartbeats and records

  #beat(): void {
    const now = this.#nowMs;
    const { heartbeatMs } = this.#timing;
    this.#heartbeatAtMs = now + (now < this.#hurryUntilMs ? HURRY_MS : heartbeatMs);
    const { incarnation } = this.#options;
    const stance = this.stance;
    this.#saidStance = stance;
    const known = this.membership.known.ballot;
    const beat = { kind: 'heartbeat', incarnation, sentMs: now, lagMs: this.#lagMs, stance, known } as const;
    this.views.voters.forEach((id, index) => {
      const { life, counter } = this.views.knownOf(index);
      this.#send(id, { ...beat, life, counter });
    });
    if (this.voter?.phase === 'syncing') {
      const { voters, before } = this.membership.seats;
      for (const id of before) if (!voters.includes(id)) this.#send(id, { ...beat, life: 0, counter: 0 });
    }
    this.#lagMs = 0;
    const asked = new Map<NodeId, Position[]>(this.copies.byOwner());
    for (const range of this.#copied) {
      if (this.primaries[range] !== null) continue;
      const owner = this.views.chosen[range]!.owner!;
      const position = this.copies.position(range);
      if (!sameBallot(position.reign, NO_BALLOT)) continue;
      // It counts on us, and nobody told us to follow since we started.
      asked.set(owner, [...(asked.get(owner) ?? []), position]);
    }
    for (const [owner, positions] of asked) {
      this.#send(owner, { kind: 'following', incarnation, sentMs: now, positions });
    }
  }

  #onAck(from: NodeId, ack: HeartbeatAck): void {
    const index = this.views.indexOf(from);
    if (ack.incarnation !== this.#options.incarnation) return;
    const { since } = this.membership.seats;
    // It has not heard yet who votes.
    if (compareBallots(ack.set, since) < 0) this.#send(from, { kind: 'roster-known', roster: this.membership.known });
    if (index < 0) {
      if (sameBallot(ack.set, since) && ack.isWhole && ack.after === 0) this.#takeFormer(from, ack);
      return;
    }
    const changed = new Set<number>();
    this.views.onAck(index, ack, this.#nowMs, changed);
    for (const range of changed) this.#onChosen(range);
    if (this.#gone.size > 0) this.#planHaste();
    if (this.views.hasRosterAbove(this.membership.known.ballot)) {
      this.membership.settle(this.views.rosters(this.#nowMs), this.#nowMs);
    } else this.membership.open = null;
  }

  #takeFormer(id: NodeId, { rows, roster }: HeartbeatAck): void {
    this.#formerTables.set(id, { id, rows, roster: roster ?? NO_ROSTER_ROW });
    this.#recover();
  }

  /** Whoever knows an older roster is told ours. */
  #tellRoster(to: NodeId, known: Ballot): void {
    const { known: roster } = this.membership;
    if (compareBallots(known, roster.ballot) < 0) this.#send(to, { kind: 'roster-known', roster });
  }

  #onRoster(before: Roster): void {
    const { membership } = this;
    const { known, seats } = membership;
    // First of all: on disk before anything that is said as of this set.
    this.#event({ kind: 'roster', roster: known });
    this.voter?.learnRoster(known);
    if (!sameBallot(setOf(before), seats.since)) this.#onSeats(seats);
    const { voter } = this;
    voter?.watch(membership.ids, this.#patientMs);
    this.#ownChanges += 1;
    for (const { id } of before.members) {
      if (membership.has(id)) continue;
      this.homing.forget(id);
      this.#strangersUntilMs = this.#nowMs + STRANGERS_MS;
    }
    this.#write();
  }

  /**
   * Others vote. Their set is chosen: from now on this member asks them alone, and votes with them alone.
   */
  #onSeats(seats: Seats): void {
    const { self, voter } = this;
    const isNew = !seats.before.includes(self);
    // In touch with a majority of the set before in this life: so nobody had voted in a later one when it began.
    if (this.views.hasHeard) this.#mayHaveVoted = false;
    if (!seats.voters.includes(self)) voter?.leave(seats.since);
    else if (voter !== null) voter.goOver(seats.since, isNew);
    else this.voter = this.#votes(true, false);
    this.#recoverFromMs = -1;
    this.#formerTables.clear();
    this.views.follow(seats.voters, seats.since, seats.behind);
    this.#proposals.ask(seats.voters, seats.since);
    this.#hurry();
    this.#recover();
  }

  #votes(isNew: boolean, hasForgotten: boolean): Voter {
    const { rangeCount, timing, members, incarnation, restored, restoredRoster } = this.#options;
    return new Voter({
      rangeCount,
      timing,
      members: this.membership.ids,
      founding: members,
      life: incarnation,
      restored,
      restoredRoster: restoredRoster ?? null,
      hasForgotten,
      set: this.membership.seats.since,
      isNew,
      patientMs: this.#patientMs,
    });
  }

  get #ownIndex(): number {
    return this.views.indexOf(this.self);
  }

  /** A roster that was accepted by few would have those few refuse what the others allow: voters bring it to an end, one after the other. */
  #finishRoster(): void {
    const { membership } = this;
    if (this.#ownIndex < 0 || membership.open === null || membership.isBusy) return;
    if (this.#nowMs - membership.openSinceMs < FINISH_MS + FINISH_STAGGER_MS * this.#ownIndex) return;
    if (!this.views.hasMajority(this.#nowMs) || !membership.has(this.self)) return;
    membership.openSinceMs = this.#nowMs;
    membership.begin({ kind: 'finish' }, this.views.rosterEpoch, this.#nowMs);
  }

  #onChosen(range: number): void {
    const record = this.views.chosen[range]!;
    this.#listCopy(record);
    this.voter?.learn(record);
    this.homing.onChosen(record, this.#nowMs);
    const open = this.#proposals.of(range);
    if (open !== null) {
      if (sameBallot(open.record.ballot, record.ballot)) {
        this.#proposals.withdraw(range);
        this.#won(open);
        return;
      }
      if (compareBallots(record.ballot, open.basis.ballot) > 0) this.#proposals.withdraw(range);
    }
    const primary = this.primaries[range]!;
    if (primary !== null && compareBallots(record.ballot, primary.record.ballot) > 0) {
      if (record.owner === this.self && record.ballot.node === this.self) {
        primary.adopt(record);
        this.#event({ kind: 'in-sync-changed', range, record });
      } else this.#endReign(range, 'another record is chosen');
    }
    if (!record.inSync.includes(this.self)) this.copies.doubt(range);
    this.#noteTaken(range);
  }

  /** Everybody is told of what we have just won. */
  #tell(): void {
    const { ids } = this.membership;
    const records = this.#tidings.take(this.#nowMs, ids.length).flatMap((range) => this.primaries[range]?.record ?? []);
    if (records.length === 0) return;
    for (const id of ids) if (id !== this.self) this.#send(id, { kind: 'reigning', records });
  }

  #listCopy({ range, owner, inSync, ballot }: OwnershipRecord): void {
    if (!sameBallot(ballot, this.#chosenBallots[range]!)) {
      this.#chosenBallots[range] = ballot;
      this.#chosenAtMs[range] = this.#patientMs;
    }
    if (owner !== null && owner !== this.self && inSync.includes(this.self)) put(this.#copied, range);
    else drop(this.#copied, range);
  }

  #onFollowing(from: NodeId, { incarnation, sentMs, positions }: Following): void {
    const leases = [];
    for (const position of positions) {
      const { range } = position;
      const primary = this.primaries[range] ?? null;
      if (primary === null) continue;
      primary.onApplied(from, position, this.#nowMs, this.#patientMs);
      if (!this.views.isLeased(range, primary.record.ballot, this.#nowMs)) continue;
      if (primary.grantRead(from, position, this.#patientMs)) leases.push({ range, reign: primary.reign });
    }
    if (leases.length > 0) this.#send(from, { kind: 'followed', incarnation, sentMs, leases });
  }

  /**
   * A voter that does not vote yet. Who was in the set before reads what so many of it hold that every majority of it has a member among them, all of them gone over, or what one of this set holds that votes; then it votes.
   * Who forgot, or is new, waits for T, then reads from those who vote: who is new of one, since each of them knows all that was agreed upon before; who forgot of so many that it finds what it said itself.
   */
  #recover(): void {
    const { voter, views } = this;
    if (voter === null) return;
    if (voter.phase === 'syncing') {
      const { before } = this.membership.seats;
      const found = [...views.wholeTables(this.#ownIndex, before), ...this.#formerTables.values()];
      // Its own is one of them. Or one that votes: it knows all of this already.
      const old = found.filter(({ id }) => before.includes(id)).length;
      const isEnough = old + 1 >= before.length - Math.floor(before.length / 2);
      if (!isEnough && views.votingBeside(this.#ownIndex) === 0) return;
      this.#begins(
        found.map(({ rows }) => rows),
        found.map(({ roster }) => roster),
      );
      return;
    }
    if (voter.phase !== 'recovering') return;
    const needed = this.#mayHaveVoted ? views.voters.length - views.majority + 1 : 1;
    if (!voter.isWaiting && views.votingBeside(this.#ownIndex) >= needed) voter.wait(this.#patientMs);
    if (!voter.hasWaited(this.#patientMs)) return;
    if (this.#recoverFromMs < 0) this.#recoverFromMs = this.#nowMs;
    const tables = this.views.tablesSince(this.#ownIndex, this.#recoverFromMs);
    // Every majority that it was part of has another member among so many.
    if (tables.length < needed) return;
    this.#begins(tables, this.views.rostersSince(this.#ownIndex, this.#recoverFromMs));
    this.#mayHaveVoted = false;
    this.#event({ kind: 'voter-recovered', life: this.#options.incarnation });
  }

  #begins(tables: readonly (readonly VoterRow[])[], rosters: readonly RosterRow[]): void {
    this.voter!.recover(tables, rosters, this.#patientMs);
    this.#formerTables.clear();
    this.#write();
  }

  // -- claims

  #planClaims(): void {
    const now = this.#nowMs;
    if (!this.views.hasMajority(now)) return;
    const rounds = new Map<string, Wish[]>();
    const silences = new Map<NodeId, number>();
    for (const range of this.#restlessRanges()) {
      if (this.primaries[range] !== null || this.#proposals.of(range) !== null) continue;
      if (now < this.#retryAtMs[range]!) continue;
      // Who leaves gives away what is still its own, and takes nothing.
      if (this.#isAway && this.views.newest[range]!.owner !== this.self) continue;
      const wish = this.#wishFor(range, silences);
      if (wish === null || this.#isAway) continue;
      const name = `${wish.kind} ${wish.basis.owner}`;
      const round = rounds.get(name);
      if (round === undefined) rounds.set(name, [wish]);
      else round.push(wish);
    }
    for (const wishes of rounds.values()) this.#propose(wishes);
  }

  /** A process is gone whose ranges we may claim: as soon as a majority of the voters says so too. */
  #planHaste(): void {
    for (const id of this.#gone) {
      if (this.views.silenceOf(id, this.#nowMs) < this.#timing.takeoverMs) continue;
      this.#gone.delete(id);
      if (this.#gone.size === 0) this.#hurryUntilMs = Number.NEGATIVE_INFINITY;
      this.#planClaims();
    }
    if (this.#nowMs >= this.#hurryUntilMs) this.#gone.clear();
  }

  /** Ranges that nobody owns (for the founder), that are ours without a reign, that we were told to take, and whose owner some voter reports silent. */
  #restlessRanges(): readonly number[] {
    const { views, self } = this;
    const asOf = views.newestChanges + views.silenceChanges + this.#ownChanges;
    if (asOf === this.#restlessAsOf) return this.#restless;
    this.#restlessAsOf = asOf;
    const found: number[] = [];
    const { isFounder } = this.#options;
    views.newest.forEach(({ owner }, range) => {
      if (this.primaries[range] !== null) return;
      if (
        owner === null
          ? isFounder
          : owner === self ||
            this.#yielded[range] !== null ||
            views.isReportedSilent(owner) ||
            !this.membership.has(owner)
      )
        found.push(range);
    });
    this.#restless = found;
    return found;
  }

  #wishFor(range: number, silences: Map<NodeId, number>): Wish | null {
    const basis = this.views.newest[range]!;
    const { owner, inSync } = basis;
    const { self } = this;
    if (owner === null) {
      if (!this.#options.isFounder) return null;
      const first = this.membership.order(range)[0]!;
      return { range, kind: 'first', basis, owner: first, inSync: [first] };
    }
    if (owner === self) return this.#wishForOwn(range, basis, silences);
    this.#yielding[range] = null;
    const isIn = inSync.includes(self);
    const others = inSync.filter((id) => id !== self && id !== owner);
    const yielded = this.#yielded[range] ?? null;
    if (isIn && yielded !== null && sameBallot(yielded.basis, basis.ballot)) {
      const old = yielded.stays ? [owner] : [];
      return { range, kind: 'yielded', basis, owner: self, inSync: [self, ...old, ...others] };
    }
    const { takeoverMs, staggerMs, tickMs } = this.#timing;
    const silence = this.#silenceOf(owner, silences);
    // Too early for everybody, by more than a tick: a dead member's ranges are many, and so are those who might want them.
    if (silence < takeoverMs - tickMs) return null;
    const alive = inSync.filter((id) => id !== owner && this.#silenceOf(id, silences) < takeoverMs);
    if (this.#options.topology === 'primary') {
      // All ranges to the same one, in whatever order each of them has its set.
      const order = this.membership.order(range);
      const rank = (id: NodeId): number => (order.includes(id) ? order.indexOf(id) : order.length);
      alive.sort((a, b) => rank(a) - rank(b));
    }
    let delayMs = 0;
    if (isIn) delayMs = Math.max(0, alive.indexOf(self)) * staggerMs;
    else {
      const lateMs = alive.length > 0 ? OUTSIDER_MS : 0;
      const mostMs = silence + tickMs - takeoverMs - lateMs;
      const rank = mostMs < 0 ? -1 : this.#rankOutside(range, basis, mostMs / staggerMs, silences);
      if (rank < 0) return null;
      delayMs = rank * staggerMs + lateMs;
    }
    const restMs = takeoverMs + delayMs - silence;
    if (silence <= 0) return null;
    if (restMs > 0) {
      this.#wakeMs = Math.min(this.#wakeMs, restMs);
      return null;
    }
    return {
      range,
      kind: 'takeover',
      basis,
      owner: self,
      inSync: isIn ? [self, ...others.filter((id) => alive.includes(id))] : [self],
    };
  }

  /** How many live members outside of the set come before us in the range's order; -1: more than `most`, or we are no member that may. */
  #rankOutside(range: number, { owner, inSync }: OwnershipRecord, most: number, silences: Map<NodeId, number>): number {
    let rank = 0;
    for (const id of this.membership.order(range)) {
      if (rank > most) return -1;
      if (id === owner || inSync.includes(id) || this.#silenceOf(id, silences) >= this.#timing.takeoverMs) continue;
      if (id === this.self) return rank;
      rank += 1;
    }
    return -1;
  }

  /** A record says that we own the range, and we do not reign: a claim of ours half succeeded, or we started anew. */
  #wishForOwn(range: number, basis: OwnershipRecord, silences: Map<NodeId, number>): Wish | null {
    const { self } = this;
    const now = this.#nowMs;
    const claim = this.#claims[range]!;
    const isAlive = (id: NodeId): boolean => this.#silenceOf(id, silences) < this.#timing.takeoverMs;
    if (
      claim !== null &&
      sameBallot(claim.ballot, basis.ballot) &&
      sameBallot(claim.followed, this.copies.reignOf(range))
    ) {
      const inSync = basis.inSync.filter((id) => id === self || isAlive(id));
      return { range, kind: 'again', basis, owner: self, inSync };
    }
    const heirs = basis.inSync.filter((id) => id !== self && isAlive(id));
    let yielding = this.#yielding[range]!;
    if (yielding === null || !sameBallot(yielding.ballot, basis.ballot)) {
      yielding = { ballot: basis.ballot, sinceMs: now, sentMs: Number.NEGATIVE_INFINITY };
      this.#yielding[range] = yielding;
    }
    if (heirs.length === 0 || now - yielding.sinceMs >= YIELD_MS) {
      return { range, kind: 'again', basis, owner: self, inSync: [self] };
    }
    if (now - yielding.sentMs >= YIELD_AGAIN_MS) {
      // The next one each time: the first may be unreachable for us.
      const attempt = Math.floor((now - yielding.sinceMs) / YIELD_AGAIN_MS);
      yielding.sentMs = now;
      const handed = this.#handed[range] ?? null;
      const { ballot, inSync } = basis;
      if (handed !== null && sameBallot(handed.item.basis, ballot) && attempt < 2 && heirs.includes(handed.to)) {
        this.#send(handed.to, { kind: 'yield', items: [handed.item] });
        return null;
      }
      const item = { range, basis: ballot, inSync, leasesMs: this.#timing.readLeaseMs, stays: false, isPinned: false };
      this.#send(heirs[attempt % heirs.length]!, { kind: 'yield', items: [item] });
    }
    return null;
  }

  #propose(wishes: readonly Wish[]): void {
    let epoch = 0;
    for (const { range, basis } of wishes) {
      epoch = Math.max(epoch, this.views.epochs[range]!, basis.ballot.epoch, this.copies.reignOf(range).epoch);
    }
    epoch += 1;
    if (wishes[0]!.kind === 'first') epoch = Math.max(epoch, this.#options.firstEpoch ?? 1);
    for (const { range, kind, basis, inSync } of wishes) {
      this.views.note(null, range, epoch);
      const ballot = { epoch, node: this.self };
      if (kind === 'in-sync' || kind === 'repair') this.primaries[range]!.propose(ballot, inSync);
      const keeps =
        kind === 'again'
          ? this.#isOwnClaim(range, basis)
          : basis.inSync.includes(this.self) && basis.owner !== this.self;
      this.#isSettled[range] = this.#isLongChosen(range, basis);
      if (kind === 'takeover' || kind === 'yielded' || kind === 'again') {
        this.#claims[range] = keeps ? { ballot, followed: this.copies.reignOf(range) } : null;
      }
    }
    const [first] = wishes;
    this.#event({ kind: 'claim', how: first!.kind, epoch, ranges: wishes.map(({ range }) => range) });
    this.#proposals.start(wishes, epoch, this.#nowMs);
  }

  #isLongChosen(range: number, { ballot }: OwnershipRecord): boolean {
    if (!sameBallot(ballot, this.#chosenBallots[range]!)) return false;
    const { leaseMs, readLeaseMs } = this.#timing;
    return this.#patientMs - this.#chosenAtMs[range]! >= (leaseMs + readLeaseMs) * SETTLED;
  }

  #isOwnClaim(range: number, basis: OwnershipRecord): boolean {
    const claim = this.#claims[range]!;
    return (
      claim !== null && sameBallot(claim.ballot, basis.ballot) && sameBallot(claim.followed, this.copies.reignOf(range))
    );
  }

  #won(proposal: Proposal): void {
    const { range, record, kind } = proposal;
    if (!this.views.learn(record) && !sameBallot(this.views.chosen[range]!.ballot, record.ballot)) return;
    this.#listCopy(record);
    this.voter?.learn(record);
    this.homing.onChosen(record, this.#nowMs);
    this.#write();
    this.#retryAtMs[range] = 0;
    const primary = this.primaries[range]!;
    if (kind === 'first') return;
    if (kind === 'repair' || kind === 'in-sync') {
      if (primary === null) return;
      primary.adopt(record);
      if (kind === 'in-sync') this.#event({ kind: 'in-sync-changed', range, record });
      primary.settle(this.#nowMs, this.#patientMs);
      return;
    }
    assert(primary === null, 'a claim is made by a member that does not reign');
    this.#beginReign(proposal);
  }

  #beginReign(proposal: Proposal): void {
    const { range, record, basis, kind, isHasty } = proposal;
    const claim = this.#claims[range]!;
    const isKept =
      claim !== null &&
      sameBallot(claim.ballot, record.ballot) &&
      sameBallot(claim.followed, this.copies.reignOf(range));
    // Its copy began to follow another reign while the claim was under way: the set of the record may name members with more than we have.
    if (!isKept) this.#options.store.clear(range);
    this.#claims[range] = null;
    this.#yielding[range] = null;
    const yielded = kind === 'yielded' ? this.#yielded[range]! : null;
    this.#yielded[range] = null;
    this.#handed[range] = null;
    this.copies.lead(range, record.ballot);
    const primary = new Primary(
      this.self,
      record,
      isKept ? record.inSync : [],
      this.#patientMs + this.#graceMs(proposal, yielded),
      this.#timing,
      {
        store: this.#options.store,
        streams: this.streams,
        resynced: (to, how) => {
          this.streams.resyncs[how] += 1;
          this.#event({ kind: 'copy-resynced', range, to, how });
        },
        send: (to, message) => this.#send(to, message),
        settled: (id, isAcknowledged) => this.#out.push({ kind: 'settled', id, isAcknowledged }),
      },
      // Whose leases may be running. Who yields says nothing of them: each copy of its set is waited for, until it follows us, or its lease is over.
      isHasty || yielded !== null ? this.#patientMs + this.#timing.readLeaseMs * DRIFT : Number.NEGATIVE_INFINITY,
    );
    primary.beganMs = this.#nowMs;
    primary.isPinned = yielded?.isPinned === true;
    this.primaries[range] = primary;
    put(this.#owned, range);
    this.#ownChanges += 1;
    this.#event({ kind: 'reign-began', range, record, basis, isEmpty: !isKept, how: kind });
    if (basis.owner !== null && basis.owner !== this.self) this.#tidings.win(range);
    primary.onTick(this.#nowMs, this.#patientMs);
  }

  /** How long read leases of the owner before may last still. One that was silent for T granted its last within F of what was heard last. */
  #graceMs(proposal: Proposal, yielded: YieldItem | null): number {
    const { kind, range, basis, record, isHasty } = proposal;
    const { readLeaseMs, takeoverMs, leaseMs } = this.#timing;
    // It has granted none since it said so, and means those outside of its set.
    if (yielded !== null) return Math.min(yielded.leasesMs, readLeaseMs) * DRIFT;
    if (kind !== 'takeover') return readLeaseMs * DRIFT;
    // Its process ended a moment ago. Whom it granted leases to is known if its set has not changed for long: each of those is waited for, until it follows us or its lease is over (`leasedUntilMs`).
    if (isHasty) {
      const isCovered = basis.inSync.every(
        (id) => id === this.self || id === basis.owner || record.inSync.includes(id),
      );
      return isCovered && this.#isSettled[range] ? 0 : readLeaseMs * DRIFT;
    }
    return Math.max(0, readLeaseMs * DRIFT - (takeoverMs - leaseMs) * 0.98);
  }

  #lost(proposal: Proposal, why: string): void {
    const { range, kind, newer, highestEpoch, waitMs } = proposal;
    this.views.note(newer, range, highestEpoch);
    const rank = this.membership.ids.indexOf(this.self) % RANKS;
    this.#retryAtMs[range] = this.#nowMs + Math.max(waitMs, RETRY_MS + 35 * rank);
    this.#event({ kind: 'claim-failed', how: kind, range, why });
  }

  // -- what we own

  #planOwned(): void {
    this.homing.watch(this.#nowMs);
    const wishes: Wish[] = [];
    const silences = new Map<NodeId, number>();
    this.#giving = this.#isAway ? this.#countGiving() : 0;
    let copying = 0;
    // A copy: giving a range away ends its reign.
    for (const range of [...this.#owned]) {
      const primary = this.primaries[range]!;
      const home = this.#isAway ? null : this.homing.homeOf(primary, this.#nowMs);
      // First where it is to be owned, then where it is to be copied.
      const guest = home ?? (this.#isAway ? null : this.homing.copyOf(primary, this.#options.copies, this.#nowMs));
      if (guest !== null && primary.followers.get(guest)?.isStaged === true) copying += 1;
      const wish = this.#wishForReign(primary, home, guest, silences);
      if (wish !== null) wishes.push(wish);
    }
    this.#copying = copying;
    if (wishes.length > 0) this.#propose(wishes);
  }

  /** `home`: who is to own it; `guest`: who is to come into its set, though that is whole. */
  #wishForReign(
    primary: Primary,
    home: NodeId | null,
    guest: NodeId | null,
    silences: Map<NodeId, number>,
  ): Wish | null {
    const now = this.#nowMs;
    const { range, record } = primary;
    const isContested = this.views.isContested(range, record.ballot);
    if (!isContested) primary.contestedSinceMs = -1;
    else if (primary.contestedSinceMs < 0) primary.contestedSinceMs = now;
    if (!this.views.hasMajority(now)) return null;
    if (this.#isAway) this.#giveAway(primary, silences);
    else this.#sendTo(primary, home, isContested);
    if (this.primaries[range] !== primary) return null;
    this.#stage(primary, guest, silences);
    if (this.#proposals.of(range) !== null || now < this.#retryAtMs[range]!) return null;
    const inSync = this.#wantedSet(primary, guest, silences);
    if (inSync !== record.inSync && !sameSet(inSync, record.inSync)) {
      for (const follower of primary.followers.values()) {
        if (!follower.isStaged) follower.isLeaving = !inSync.includes(follower.id);
      }
      return { range, kind: 'in-sync', basis: this.#basisOf(record), owner: this.self, inSync };
    }
    for (const follower of primary.followers.values()) follower.isLeaving = false;
    if (!isContested || now - primary.contestedSinceMs < CONTEST_MS) return null;
    return { range, kind: 'repair', basis: this.#basisOf(record), owner: this.self, inSync: record.inSync };
  }

  /**
   * What our next record replaces: one of ours that some voters have accepted, and that is not known to be chosen, would have them refuse whatever replaces the one before it, for ever where two such make a majority. Whom it
   * names is counted on since it was proposed, and so are those of the next one, also when this one turns out to be chosen (`Primary.adopt`).
   */
  #basisOf(record: OwnershipRecord): OwnershipRecord {
    const newest = this.views.newest[record.range]!;
    const isOurs = newest.owner === this.self && newest.ballot.node === this.self;
    return isOurs && compareBallots(newest.ballot, record.ballot) > 0 ? newest : record;
  }

  /**
   * The present set without those that do not answer, and with those that have caught up. Who is drained, and who stands behind the range's new owner to be, leaves when another has come: never are there
   * fewer on purpose.
   */
  #wantedSet(primary: Primary, guest: NodeId | null, silences: Map<NodeId, number>): readonly NodeId[] {
    const { copies } = this.#options;
    const { replaceMs } = this.#timing;
    const { inSync } = primary.record;
    const isWhole =
      inSync.length === copies &&
      primary.followers.size < copies &&
      !(this.#isAnybodyDrained && inSync.some((id) => this.#isDrainedOne(id))) &&
      this.#nowMs >= this.#strangersUntilMs;
    if (isWhole && primary.pendingCount === 0 && !inSync.some((id) => this.views.isReportedSilent(id))) return inSync;
    const kept = inSync.filter((id) => {
      const follower = primary.followers.get(id);
      if (follower === undefined) return true;
      return !primary.isLate(follower, this.#nowMs) && this.#silenceOf(id, silences) < replaceMs;
    });
    const ready = [...primary.followers.values()].filter(
      (follower: Follower) =>
        primary.isReady(follower) && !kept.includes(follower.id) && !this.#isDrainedOne(follower.id),
    );
    // The new owner to be first.
    ready.sort((a, b) => Number(b.id === guest) - Number(a.id === guest));
    const seats = kept.filter((id) => !this.#isDrainedOne(id)).length;
    const room = Math.max(copies - seats, ready[0]?.id === guest && guest !== null ? 1 : 0);
    const wanted = [...kept, ...ready.slice(0, Math.max(0, room)).map(({ id }) => id)];
    return this.#withoutSurplus(primary, wanted, guest);
  }

  /** Of more than there are to be: first who is drained, then who stands last in the order. Never ourselves, nor who is to come in. */
  #withoutSurplus(primary: Primary, wanted: readonly NodeId[], guest: NodeId | null): readonly NodeId[] {
    const { copies } = this.#options;
    // Our own place is not counted while we are drained: somebody else is to have it.
    const { ids } = this.membership;
    const able = this.#isAnybodyDrained ? ids.filter((id) => !this.#isDrainedOne(id)).length : ids.length;
    const most = Math.min(copies, Math.max(1, able)) + (this.isDrained ? 1 : 0);
    // The new owner to be needs one to hand the range over from, and that is us.
    const least = guest === null ? most : Math.max(most, 2);
    if (wanted.length <= least) {
      for (const follower of primary.followers.values()) follower.isSurplus = false;
      return wanted;
    }
    const places = this.membership.order(primary.range);
    const rank = (id: NodeId): number => {
      const place = places.indexOf(id);
      return (place < 0 ? places.length : place) + (this.#isDrainedOne(id) ? places.length : 0);
    };
    const going = wanted
      .filter((id) => id !== this.self && id !== guest)
      .sort((a, b) => rank(b) - rank(a))
      .slice(0, wanted.length - least);
    for (const follower of primary.followers.values()) follower.isSurplus = going.includes(follower.id);
    // There is no haste: whoever may serve reads still goes when it may not any more, and writes need not wait for that then.
    return wanted.filter((id) => !going.includes(id) || primary.mayRead(id, this.#patientMs));
  }

  /** Chooses who is to become a copy while the set is too small, or somebody in it is drained. */
  #stage(primary: Primary, guest: NodeId | null, silences: Map<NodeId, number>): void {
    const { copies } = this.#options;
    const { takeoverMs, replaceMs } = this.#timing;
    const { inSync } = primary.record;
    const drained = this.#isAnybodyDrained ? inSync.filter((id) => this.#isDrainedOne(id)).length : 0;
    const missing = copies - (inSync.length - drained);
    if (guest !== null && !primary.followers.has(guest) && this.#copying < MOVING) {
      this.#copying += 1;
      primary.stage(guest);
    }
    if (missing <= 0 && primary.followers.size < copies) return;
    let staged = 0;
    for (const { id, isStaged } of primary.followers.values()) {
      if (!isStaged || id === guest) continue;
      const isUnwanted = missing <= 0 || this.#silenceOf(id, silences) >= takeoverMs || this.#isDrainedOne(id);
      if (isUnwanted) primary.unstage(id, this.#patientMs, missing > 0 && !this.#isDrainedOne(id), this.#nowMs);
      else staged += 1;
    }
    if (staged >= missing) return;
    // The places of members that have been silent for less than `replaceMs` are kept for them.
    let places = this.isDrained ? copies : copies - 1;
    const present = inSync.filter((id) => id === this.self || this.#silenceOf(id, silences) < replaceMs);
    for (const id of this.membership.orderBeside(primary.range, present)) {
      if (places <= 0 || staged >= missing) return;
      if (id === this.self || this.#isDrainedOne(id)) continue;
      const silence = this.#silenceOf(id, silences);
      if (silence >= replaceMs) continue;
      places -= 1;
      if (primary.followers.has(id) || silence >= this.#timing.leaseMs) continue;
      primary.stage(id);
      staged += 1;
    }
  }

  /** Freezes the range while it is handed over to a copy that has everything: we leave. The one that is to have it by the order, if it can. */
  #giveAway(primary: Primary, silences: Map<NodeId, number>): void {
    const { range, record } = primary;
    const able = record.inSync.filter((id) => {
      const follower = primary.followers.get(id);
      return (
        follower?.isFollowing === true &&
        follower.applied === primary.offset &&
        this.#silenceOf(id, silences) < this.#timing.leaseMs &&
        this.views.stanceOf(id, this.#nowMs) === 'here'
      );
    });
    const heir = this.membership.order(range).find((id) => able.includes(id));
    // Frozen only while somebody can take it: it was not given away yet, so it may be served again.
    const isGiven = heir !== undefined && this.#proposals.of(range) === null;
    if (!isGiven) primary.isFrozen = false;
    else if (!primary.isFrozen && this.#giving < GIVING) {
      this.#giving += 1;
      this.#freeze(primary);
    }
    if (heir === undefined || !primary.isFrozen || primary.pendingCount > 0) return;
    this.#handOver(primary, heir, GIVEN_AWAY, false);
  }

  /** Hands a range over to who is to have it, one after the other, when that one has everything; it is frozen as long as that takes. */
  #sendTo(primary: Primary, to: NodeId | null, isContested: boolean): void {
    const { range, record } = primary;
    const now = this.#nowMs;
    const follower = to === null ? undefined : primary.followers.get(to);
    const isAble =
      follower !== undefined &&
      record.inSync.includes(follower.id) &&
      follower.isFollowing &&
      !follower.isStaged &&
      !follower.isSyncing &&
      !isContested &&
      // Else the new owner's writes would wait until those that left, or are about to, serve no more reads: better before than behind.
      record.inSync.length <= Math.max(2, this.#options.copies) &&
      primary.outsideLeasesMs(this.#patientMs) === 0 &&
      this.#proposals.of(range) === null;
    if (!isAble || (this.#moving === range && now - this.#movingSinceMs >= FROZEN_MS)) {
      if (this.#moving === range) this.#moving = -1;
      primary.isFrozen = false;
      return;
    }
    if (this.#moving !== range) {
      const mayBegin = this.#moving < 0 && (now >= this.#homingAtMs || this.homing.isOrdered(range));
      primary.isFrozen = false;
      if (!mayBegin) return;
      this.#freeze(primary);
      this.#moving = range;
      this.#movingSinceMs = now;
      this.#homingAtMs = now + HOMING_MS;
    }
    if (follower.applied !== primary.offset || primary.pendingCount > 0) return;
    this.#handOver(primary, follower.id, HANDED_OVER, this.homing.isPinnedBy(range));
  }

  /** A copy got on: a range that is frozen need not wait for the next tick. */
  #handOverSoon(range: number): void {
    const primary = this.primaries[range] ?? null;
    if (primary === null || !primary.isFrozen || !this.views.hasMajority(this.#nowMs)) return;
    if (this.#isAway) this.#giveAway(primary, new Map());
    else {
      const home = this.homing.homeOf(primary, this.#nowMs);
      this.#sendTo(primary, home, this.views.isContested(range, primary.record.ballot));
    }
  }

  /** We serve it no more, in no life of ours. Who is drained copies it on until another does: nothing has fewer copies meanwhile, and clients do not lose sight of a member that they are talking to. */
  #handOver(primary: Primary, to: NodeId, why: string, isPinned: boolean): void {
    const { range, record, frozenMs } = primary;
    const leasesMs = primary.outsideLeasesMs(this.#patientMs);
    this.#endReign(range, why);
    const item = { range, basis: record.ballot, inSync: record.inSync, leasesMs, stays: !this.isLeaving, isPinned };
    this.#handed[range] = { to, item, frozenMs, isTaken: false };
    this.#send(to, { kind: 'yield', items: [item] });
    // Who does not stay as a copy is told by nobody but the voters.
    if (!item.stays) this.#hurry();
  }

  #freeze(primary: Primary): void {
    primary.isFrozen = true;
    primary.frozenMs = this.#nowMs;
  }

  #countGiving(): number {
    let count = 0;
    for (let range = 0; range < this.primaries.length; range += 1) {
      const handed = this.#handed[range] ?? null;
      // Who does not take it for long must not hold up the others.
      const isOffered = handed !== null && !handed.isTaken && this.#nowMs - handed.frozenMs < YIELD_MS;
      if (this.primaries[range]?.isFrozen === true || isOffered) count += 1;
    }
    return count;
  }

  /** Somebody reigns over what we handed over: from now on clients are sent there. */
  #noteTaken(range: number): void {
    const handed = this.#handed[range] ?? null;
    if (handed === null || handed.isTaken || this.ownerOf(range) === this.self) return;
    handed.isTaken = true;
    this.#event({ kind: 'handed-over', range, to: handed.to, pausedMs: this.#nowMs - handed.frozenMs });
    if (this.#isAway && this.#countGiving() === 0) this.#hurryUntilMs = Number.NEGATIVE_INFINITY;
  }

  /** Something is news to the voters, or soon will be, that requests wait for here. */
  #hurry(): void {
    this.#hurryUntilMs = this.#nowMs + HURRY_FOR_MS;
    this.#heartbeatAtMs = Math.min(this.#heartbeatAtMs, this.#nowMs + HURRY_MS);
  }

  /** Somebody follows us no more because it was told of a higher reign, or we were told so ourselves. */
  #deposeBelow(range: number, reign: Ballot): void {
    const primary = this.primaries[range]!;
    if (primary !== null && compareBallots(reign, primary.record.ballot) > 0) this.#endReign(range, 'a higher reign');
  }

  #endReign(range: number, why: string): void {
    const primary = this.primaries[range]!;
    if (primary === null) return;
    this.primaries[range] = null;
    drop(this.#owned, range);
    this.#ownChanges += 1;
    if (this.#moving === range) this.#moving = -1;
    this.homing.done(range);
    this.#proposals.withdraw(range);
    this.#claims[range] = null;
    primary.end();
    this.#event({ kind: 'reign-ended', range, reign: primary.reign, why });
  }

  // -- within

  get #isAway(): boolean {
    return this.isLeaving || this.isDrained;
  }

  get #isAnybodyDrained(): boolean {
    return this.isDrained || this.views.isAnybodyAway || this.membership.isAnybodyIdle;
  }

  /** Its copies are to be elsewhere. */
  #isDrainedOne(id: NodeId): boolean {
    if (id === this.self) return this.isDrained;
    if (this.membership.isIdle(id)) return true;
    return this.views.isAnybodyAway && this.views.stanceOf(id, this.#nowMs) === 'drained';
  }

  #silenceOf(id: NodeId, silences: Map<NodeId, number>): number {
    const known = silences.get(id);
    if (known !== undefined) return known;
    // Nobody listens to who was forgotten.
    if (!this.membership.has(id)) return Number.POSITIVE_INFINITY;
    const silence = this.views.silenceOf(id, this.#nowMs);
    silences.set(id, silence);
    return silence;
  }

  /** Time goes on: ours as it is, the patient one without what was a stall. */
  #advance(nowMs: number): void {
    const gapMs = nowMs - this.#nowMs;
    if (gapMs <= 0) return;
    this.#nowMs = nowMs;
    this.streams.turn(nowMs);
    if (gapMs <= this.#timing.stallMs) {
      this.#patientMs += gapMs;
      return;
    }
    this.#patientMs += this.#timing.tickMs;
    this.#lagMs = Math.max(this.#lagMs, gapMs - this.#timing.tickMs);
    this.#event({ kind: 'stalled', lagMs: gapMs - this.#timing.tickMs });
  }

  #send(to: NodeId, message: Message): void {
    this.#out.push({ kind: 'send', to, message, afterWrite: 0 });
  }

  /** What a voter says goes out when what it changed is written. */
  #answer(to: NodeId, message: Message): void {
    this.#write();
    this.#out.push({ kind: 'send', to, message, afterWrite: this.#writes });
  }

  #write(): void {
    const { voter } = this;
    if (voter === null) return;
    const rows = voter.takeChanged();
    const roster = voter.takeChangedRoster();
    if ((rows.length === 0 && roster === null) || !this.#options.isDurable) return;
    this.#writes += 1;
    this.#out.push({ kind: 'write', number: this.#writes, rows, roster });
  }

  #event(event: ClusterEvent): void {
    this.#out.push({ kind: 'event', event });
  }
}

const NOTHING: readonly Output[] = [];

function sameSet(a: readonly NodeId[], b: readonly NodeId[]): boolean {
  return a.length === b.length && a.every((id) => b.includes(id));
}
