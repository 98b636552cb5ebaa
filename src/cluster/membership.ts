/**
 * A member's part in the roster (`roster.ts`): what it knows of it by the voters' tables, and the change that it is bringing about. The voter's part is in `voter.ts`, beside its rows.
 *
 *   known     the newest roster that a majority of voters is known to have accepted, of views no older than F; else the founding one
 *   newest    the newest that any voter has accepted: what stands unchosen for long is finished by a voter (`core.ts`)
 *   change    prepare to all voters; a majority promised: the change is applied to the newest that they have accepted; accept; a majority accepted: it is the roster. Each step ends within F,
 *             for the same reason as in `proposals.ts`
 *
 * A change whose second step found no majority may still have happened: some voters have it. The caller is told that it is not known, and looks again.
 */
import { type Ballot, compareBallots, sameBallot } from '../base/ballot.ts';
import type { NodeId } from './member.ts';
import type { Message, RosterAccepted, RosterPromised } from './messages.ts';
import { NO_BALLOT } from './record.ts';
import {
  asMember,
  type ChangeRefused,
  changedRoster,
  foundingRoster,
  orderIn,
  type Roster,
  type RosterChange,
  type RosterMember,
  type RosterRow,
  type Seats,
  setOf,
} from './roster.ts';
import type { Timing } from './timing.ts';
import { nearness, primaryOrder, type Topology } from './topology.ts';

/** What became of a change. `unknown`: it may have happened, or may yet. `named`: voters know records that name who is to be forgotten. `settling`: the voters changed a moment ago. */
export type ChangeFate = 'chosen' | 'no-majority' | 'outdone' | 'named' | 'settling' | 'unknown' | ChangeRefused;

export interface MembershipOptions {
  readonly self: NodeId;
  /** Grows with each start. */
  readonly life: number;
  readonly founding: readonly RosterMember[];
  /** Who voted when the cluster was formed. */
  readonly voters: readonly NodeId[];
  readonly order: (range: number) => readonly NodeId[];
  readonly rangeCount: number;
  readonly copies: number;
  /** Default `sharded`. With `primary`, `order` is not asked. */
  readonly topology?: Topology;
  readonly timing: Timing;
  /** One that was chosen, known from an earlier life or told to a newcomer. */
  readonly known: Roster | null;
  readonly send: (to: NodeId, message: Message) => void;
  /** Another roster is known to be chosen. */
  readonly changed: (before: Roster) => void;
  readonly ended: (change: RosterChange, fate: ChangeFate) => void;
}

interface Proposal {
  readonly change: RosterChange;
  readonly claim: number;
  readonly epoch: number;
  roster: Roster | null;
  /** Bits of voters. */
  granted: number;
  refused: number;
  accepted: number;
  newest: Roster | null;
  isNamed: boolean;
  isSettling: boolean;
  /** It finishes another change instead. */
  isOutdone: boolean;
  startedMs: number;
  sentMs: number;
}

const RETRY_MS = 120;

export class Membership {
  readonly founding: Roster;
  known: Roster;
  /** Accepted by some voter, and not known to be chosen; null: there is none. */
  open: Roster | null = null;
  /** Since when; meaningless without. */
  openSinceMs = 0;
  readonly #options: MembershipOptions;
  #seats: Seats;
  #majority: number;
  #ids: ReadonlySet<NodeId>;
  #list: readonly NodeId[];
  #byId: ReadonlyMap<NodeId, RosterMember> = new Map();
  /** Members of weight 0. */
  #idle: ReadonlySet<NodeId> = new Set();
  readonly #founded: (range: number) => readonly NodeId[];
  #order: readonly (readonly NodeId[])[] | null = null;
  #epoch = 0;
  #claims = 0;
  #proposal: Proposal | null = null;

  constructor(options: MembershipOptions) {
    const { founding, rangeCount, copies, voters, known, topology = 'sharded' } = options;
    const first = topology === 'primary' ? primaryOrder(founding.map(asMember)) : null;
    const order = first === null ? options.order : () => first;
    this.#founded = order;
    this.#options = options;
    this.founding = foundingRoster(founding, order, rangeCount, copies);
    this.known = known ?? this.founding;
    this.#seats = this.known.seats ?? { since: NO_BALLOT, voters, before: voters, behind: NO_BALLOT };
    this.#majority = Math.floor(this.#seats.voters.length / 2) + 1;
    this.#list = this.known.members.map(({ id }) => id);
    this.#ids = new Set(this.#list);
    this.#index();
    if (known !== null) this.#order = orderIn(known, topology);
  }

  /** Who votes, by the newest roster that is known to be chosen. */
  get seats(): Seats {
    return this.#seats;
  }

  has(id: NodeId): boolean {
    return this.#ids.has(id);
  }

  /** Ids of all members, in the order of the roster. */
  get ids(): readonly NodeId[] {
    return this.#list;
  }

  /** Who should hold the range, best first. */
  order(range: number): readonly NodeId[] {
    return this.#order === null ? this.#founded(range) : this.#order[range]!;
  }

  /** It is to own and copy nothing: its weight is 0. */
  isIdle(id: NodeId): boolean {
    return this.#idle.has(id);
  }

  get isAnybodyIdle(): boolean {
    return this.#idle.size > 0;
  }

  /**
   * Who should hold the range beside these: its homes first, in their order; of all others those first that share neither zone nor machine with any of `holders`, then those that share no machine.
   * O(members log members).
   */
  orderBeside(range: number, holders: readonly NodeId[]): readonly NodeId[] {
    const order = this.order(range);
    const homes = this.known.homes[range]!.length;
    const near = new Map(order.slice(homes).map((id) => [id, this.#nearness(id, holders)]));
    if (new Set(near.values()).size < 2) return order;
    return [...order.slice(0, homes), ...order.slice(homes).sort((a, b) => near.get(a)! - near.get(b)!)];
  }

  /** A change is on its way. */
  get isBusy(): boolean {
    return this.#proposal !== null;
  }

  /** Voters have been heard: `rows` of those heard within F, `null` for the others. */
  settle(rows: readonly (RosterRow | null)[], nowMs: number): void {
    const chosen = this.known.ballot;
    let newest: Roster | null = null;
    let next: Roster | null = null;
    for (const row of rows) {
      const accepted = row?.accepted ?? null;
      if (accepted === null || compareBallots(accepted.ballot, chosen) <= 0) continue;
      if (newest === null || compareBallots(accepted.ballot, newest.ballot) > 0) newest = accepted;
      const count = rows.filter((other) => holds(other, accepted.ballot)).length;
      if (count >= this.#majority && (next === null || compareBallots(accepted.ballot, next.ballot) > 0)) {
        next = accepted;
      }
    }
    if (next !== null) this.learn(next);
    const isOpen = newest !== null && compareBallots(newest.ballot, this.known.ballot) > 0;
    if (!isOpen) this.open = null;
    else if (this.open === null || !sameBallot(this.open.ballot, newest!.ballot)) {
      this.open = newest;
      this.openSinceMs = nowMs;
    }
  }

  /** It is chosen. */
  learn(roster: Roster): void {
    if (compareBallots(roster.ballot, this.known.ballot) <= 0) return;
    const before = this.known;
    this.known = roster;
    if (this.open !== null && !isNewer(this.open, roster)) this.open = null;
    this.#list = roster.members.map(({ id }) => id);
    this.#ids = new Set(this.#list);
    this.#index();
    this.#order = orderIn(roster, this.#options.topology);
    if (roster.seats !== null && !sameBallot(roster.seats.since, this.#seats.since)) {
      this.#seats = roster.seats;
      this.#majority = Math.floor(roster.seats.voters.length / 2) + 1;
      // Answers of one set are not counted with those of another.
      const proposal = this.#proposal;
      if (proposal !== null) {
        const { roster: own, isOutdone } = proposal;
        const isOurs = own !== null && sameBallot(own.ballot, roster.ballot);
        this.#end(own === null || isOutdone ? 'outdone' : isOurs ? 'chosen' : 'unknown');
      }
    }
    this.#options.changed(before);
  }

  /**
   * Begins to bring a change about; `ended` says what became of it. Nothing may be on its way.
   * @param epoch the highest that any of a majority of the voters has promised: what we proposed in an earlier life is among them
   */
  begin(change: RosterChange, epoch: number, nowMs: number): void {
    this.#claims += 1;
    this.#epoch = Math.max(this.#epoch, epoch, this.known.ballot.epoch) + 1;
    this.#proposal = {
      change,
      claim: this.#options.life * 1_000_000 + this.#claims,
      epoch: this.#epoch,
      roster: null,
      granted: 0,
      refused: 0,
      accepted: 0,
      newest: null,
      isNamed: false,
      isSettling: false,
      isOutdone: false,
      startedMs: nowMs,
      sentMs: nowMs,
    };
    this.#say(this.#proposal);
  }

  onPromised(voter: number, message: RosterPromised, nowMs: number): void {
    const proposal = this.#proposal;
    if (proposal === null || proposal.claim !== message.claim || proposal.roster !== null) return;
    if (this.#isLate(proposal, nowMs)) return;
    this.#epoch = Math.max(this.#epoch, message.promised.epoch);
    if (!message.isGranted) {
      this.#refused(proposal, voter, 'outdone');
      return;
    }
    proposal.granted |= 1 << voter;
    const { accepted } = message;
    if (accepted !== null && (proposal.newest === null || isNewer(accepted, proposal.newest))) {
      proposal.newest = accepted;
    }
    if (bits(proposal.granted) < this.#majority) return;
    const { voters, copies, self, topology } = this.#options;
    const ballot = { epoch: proposal.epoch, node: self };
    // What is known to be chosen is among them, unless its voters are these very ones and have it: then it is no newer.
    const basis = proposal.newest ?? this.founding;
    // Another change of the voters was accepted by some: that one is brought to its end, and ours is not made.
    proposal.isOutdone = proposal.change.kind === 'voters' && !sameBallot(setOf(basis), this.#seats.since);
    const change: RosterChange = proposal.isOutdone ? { kind: 'finish' } : proposal.change;
    const next = changedRoster(basis, change, voters, copies, ballot, topology);
    if (typeof next === 'string') {
      this.#end(next);
      return;
    }
    proposal.roster = next;
    proposal.startedMs = nowMs;
    proposal.sentMs = nowMs;
    proposal.refused = 0;
    this.#say(proposal);
  }

  onAccepted(voter: number, message: RosterAccepted, nowMs: number): void {
    const proposal = this.#proposal;
    if (proposal === null || proposal.claim !== message.claim || proposal.roster === null) return;
    if (this.#isLate(proposal, nowMs)) return;
    this.#epoch = Math.max(this.#epoch, message.promised.epoch);
    if (message.answer === 'accepted') {
      proposal.accepted |= 1 << voter;
      if (bits(proposal.accepted) < this.#majority) return;
      const { roster } = proposal;
      this.#proposal = null;
      this.learn(roster);
      this.#options.ended(proposal.change, proposal.isOutdone ? 'outdone' : 'chosen');
      return;
    }
    if (message.answer === 'named') proposal.isNamed = true;
    if (message.answer === 'settling') proposal.isSettling = true;
    this.#refused(proposal, voter, whyRefused(proposal));
  }

  onTick(nowMs: number): void {
    const proposal = this.#proposal;
    if (proposal === null) return;
    if (this.#isLate(proposal, nowMs)) {
      this.#end(proposal.roster === null ? 'no-majority' : whyRefused(proposal));
    } else if (nowMs - proposal.sentMs >= RETRY_MS) {
      proposal.sentMs = nowMs;
      this.#say(proposal);
    }
  }

  // -- within

  #index(): void {
    const { members } = this.known;
    this.#byId = new Map(members.map((member) => [member.id, member]));
    this.#idle = new Set(members.filter(({ weight }) => weight === 0).map(({ id }) => id));
  }

  #nearness(id: NodeId, holders: readonly NodeId[]): number {
    const member = this.#byId.get(id);
    let most = 0;
    for (const holder of holders) {
      const other = this.#byId.get(holder);
      if (member !== undefined && other !== undefined)
        most = Math.max(most, nearness(asMember(member), asMember(other)));
    }
    return most;
  }

  #say({ claim, epoch, roster, granted, accepted, refused }: Proposal): void {
    const done = refused | (roster === null ? granted : accepted);
    const { voters, since: set } = this.#seats;
    voters.forEach((id, voter) => {
      if ((done & (1 << voter)) !== 0) return;
      if (roster === null) this.#options.send(id, { kind: 'roster-prepare', claim, epoch, set });
      else this.#options.send(id, { kind: 'roster-accept', claim, roster, set });
    });
  }

  #refused(proposal: Proposal, voter: number, why: ChangeFate): void {
    proposal.refused |= 1 << voter;
    if (bits(proposal.refused) > this.#seats.voters.length - this.#majority) this.#end(why);
  }

  #end(fate: ChangeFate): void {
    const { change } = this.#proposal!;
    this.#proposal = null;
    this.#options.ended(change, fate);
  }

  #isLate(proposal: Proposal, nowMs: number): boolean {
    return nowMs - proposal.startedMs >= this.#options.timing.leaseMs;
  }
}

/** Did it accept this one? What it only took over from others when it recovered stands below what it knows to be promised. */
function holds(row: RosterRow | null, ballot: Ballot): boolean {
  return row !== null && sameBallot(row.accepted?.ballot ?? NO_BALLOT, ballot) && sameBallot(row.promised, ballot);
}

function whyRefused({ isNamed, isSettling }: Proposal): ChangeFate {
  return isNamed ? 'named' : isSettling ? 'settling' : 'unknown';
}

function isNewer(a: Roster, b: Roster): boolean {
  return compareBallots(a.ballot, b.ballot) > 0;
}

function bits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
