/**
 * What a member knows of the voters' tables, and the three things that follow from it: which records hold, whether it may serve, and who has gone silent.
 *
 * Every acknowledgement of a heartbeat brings what changed in that voter's table since the last one, so a *view* is exactly the table as it was when the
 * acknowledgement left. Then
 *
 *   a record is chosen      when a majority of views accepted it, each no older than F. (Older ones prove nothing: a voter without a data directory may have forgotten
 *                           meanwhile what its view still shows, and five such memories do not add up to one majority at one time.)
 *   an owner is leased      while a majority of voters acknowledged a heartbeat *sent* within F and none of those had, at its acknowledgement, promised or accepted anything
 *                           above the owner's record. Counted from the sending: the answer may have been under way for seconds, and its voter has begun to count T when it heard, not when we did.
 *   a member is silent      when a majority of recent acknowledgements says so; the claimant then asks at the very moment T ends
 *
 * There is no gossip beside this: voters are few, everybody talks to all of them five times a second, and what nobody's majority holds is not worth spreading.
 *
 * Costs: an acknowledgement without news is O(voters); one with news O(news * voters). `isLeased` is one comparison unless a voter objects to that range.
 */
import { assert } from '../base/assert.ts';
import { type Ballot, compareBallots, sameBallot } from '../base/ballot.ts';
import type { NodeId } from './member.ts';
import type { HeartbeatAck, Note, Silence, Stance, VoterRow } from './messages.ts';
import { NO_BALLOT, type OwnershipRecord, unowned } from './record.ts';
import { NO_ROSTER_ROW, type RosterRow } from './roster.ts';
import type { Timing } from './timing.ts';

/** As a voter said it last. */
interface Noted {
  readonly stance: Stance;
  readonly lifeMs: number;
  /** When it came. */
  readonly asOfMs: number;
}

interface View {
  readonly id: NodeId;
  life: number;
  counter: number;
  /** As the voter told them: rows are replaced, never changed. */
  rows: VoterRow[];
  /** Ranges of which its record is none that it accepted itself. */
  readonly taken: Set<number>;
  roster: RosterRow;
  /** When the newest acknowledged heartbeat was sent, of those that count. */
  sentMs: number;
  /** Of which set that one was. */
  sentIn: Ballot;
  /** The set of voters that it belonged to when it said all this. */
  set: Ballot;
  /** Its rows are of a voter that votes in our set. */
  isIn: boolean;
  /** It has forgotten nothing. */
  isWhole: boolean;
  /** When its newest news of silence were asked for, and when they came: they are counted from their coming, so that nobody claims early in vain. */
  silentSentMs: number;
  silentAsOfMs: number;
  silent: ReadonlyMap<NodeId, number>;
  readonly notes: Map<NodeId, Noted>;
  /** Of those in `notes`: how many are to be given nothing. */
  away: number;
}

/** A voter's rows and what it accepted of rosters. */
export interface WholeTable {
  readonly id: NodeId;
  readonly rows: readonly VoterRow[];
  readonly roster: RosterRow;
}

const NOBODY: ReadonlyMap<NodeId, number> = new Map();
const NEVER = Number.NEGATIVE_INFINITY;
/** By range: what is known of a table of which nothing was heard. One for all views: a thousand ranges of five voters are the same row. */
const BLANK: VoterRow[] = [];

export class Views {
  /** By range: the newest record known to be a majority's. */
  readonly chosen: OwnershipRecord[];
  /** By range: the newest record that any voter has accepted, as far as voters in touch know, or as we were told in the last 2 T. */
  readonly newest: OwnershipRecord[];
  /** By range: the ballot of the newest record that was ever heard of. */
  readonly #highest: Ballot[];
  /** Since when no voter in touch knows the newest record of these ranges. */
  readonly #unknownSinceMs = new Map<number, number>();
  /** By range: the highest epoch that any voter has promised or accepted. */
  readonly epochs: number[];
  majority: number;
  /** Grows whenever another record is known to be chosen. */
  chosenChanges = 0;
  /** Grows whenever a newer record is heard of. */
  newestChanges = 0;
  /** Grows whenever voters report the silence of others than before. */
  silenceChanges = 0;
  readonly #timing: Timing;
  #views: View[];
  /** The epoch of the set of voters. */
  #set: Ballot;
  /** Ranges whose newest record is not known to be chosen. */
  readonly #unsettled = new Set<number>();
  readonly #rangeCount: number;
  #leasedUntilMs = NEVER;
  /** Views that know of anybody's silence: most of the time none. */
  #silentViews = 0;
  /** Views that know of anybody who is to be given nothing. */
  #awayViews = 0;
  #sent: number[];
  /** A majority was heard at least once. */
  #hasHeard = false;

  constructor(voters: readonly NodeId[], rangeCount: number, timing: Timing, set: Ballot = NO_BALLOT) {
    assert(voters.length > 0, 'a cluster has voters');
    this.#set = set;
    this.majority = Math.floor(voters.length / 2) + 1;
    this.#sent = voters.map(() => NEVER);
    this.#timing = timing;
    this.#rangeCount = rangeCount;
    this.chosen = Array.from({ length: rangeCount }, (_, range) => unowned(range));
    this.newest = [...this.chosen];
    this.#highest = this.chosen.map(({ ballot }) => ballot);
    this.epochs = this.chosen.map(() => 0);
    this.#views = voters.map((id) => this.#nothingOf(id));
  }

  /**
   * Others vote from now on. What those of them acknowledged that voted in the set before goes on counting for leases: they had heard us. Nothing of older sets does: with two steps between, majorities need not meet. What they
   * accepted counts again when they say so as voters of this set.
   * @param behind the epoch of the set before
   */
  follow(voters: readonly NodeId[], set: Ballot, behind: Ballot): void {
    const before = this.#views;
    this.#views = voters.map((id) => before.find((view) => view.id === id) ?? this.#nothingOf(id));
    for (const view of this.#views) {
      view.isIn = false;
      if (!sameBallot(view.sentIn, behind)) view.sentMs = NEVER;
    }
    this.#set = set;
    this.majority = Math.floor(voters.length / 2) + 1;
    this.#sent = voters.map(() => NEVER);
    this.#leasedUntilMs = this.#majorityHeardMs() + this.#timing.leaseMs;
    this.silenceChanges += 1;
    this.#silentViews = this.#views.reduce((count, { silent: held }) => count + (held === NOBODY ? 0 : 1), 0);
    this.#countAway();
  }

  /** Voters that were heard within F. */
  heard(nowMs: number): NodeId[] {
    return this.#views.filter(({ sentMs }) => nowMs - sentMs < this.#timing.leaseMs).map(({ id }) => id);
  }

  /** Was a majority heard in this life? */
  get hasHeard(): boolean {
    return this.#hasHeard;
  }

  get voters(): readonly NodeId[] {
    return this.#views.map(({ id }) => id);
  }

  /** The index of a voter, -1 if it is none. */
  indexOf(id: NodeId): number {
    return this.#views.findIndex((view) => view.id === id);
  }

  /** What a heartbeat to this voter says is known of its table. */
  knownOf(index: number): { readonly life: number; readonly counter: number } {
    return this.#views[index]!;
  }

  /** Takes an acknowledgement; adds the ranges to `changed` of which another record is chosen now. */
  onAck(index: number, ack: HeartbeatAck, nowMs: number, changed: Set<number>): void {
    const view = this.#views[index]!;
    if (ack.life < view.life) return;
    if (ack.life > view.life) {
      view.life = ack.life;
      view.counter = 0;
      view.rows = this.#blank();
      view.taken.clear();
      view.roster = NO_ROSTER_ROW;
      view.sentMs = NEVER;
      view.isIn = false;
      view.isWhole = false;
      view.silentSentMs = NEVER;
      this.#takeSilences(view, []);
      view.notes.clear();
      view.away = 0;
      this.#countAway();
      this.#leasedUntilMs = this.#majorityHeardMs() + this.#timing.leaseMs;
    }
    if (ack.after > view.counter) return;
    const isIn = ack.isVoting && sameBallot(ack.set, this.#set);
    if (ack.counter >= view.counter) {
      view.set = ack.set;
      view.isIn = isIn;
      view.isWhole = ack.isWhole;
    }
    if (ack.counter > view.counter) {
      view.counter = ack.counter;
      for (const row of ack.rows) this.#takeRow(view, row);
      for (const range of ack.taken) view.taken.add(range);
      if (ack.notes.length > 0) this.#takeNotes(view, ack.notes, nowMs);
      if (ack.roster !== null) view.roster = ack.roster;
    }
    if (isIn && ack.sentMs > view.sentMs) {
      view.sentMs = ack.sentMs;
      view.sentIn = ack.set;
      this.#leasedUntilMs = this.#majorityHeardMs() + this.#timing.leaseMs;
      if (this.#leasedUntilMs !== NEVER) this.#hasHeard = true;
    }
    if (ack.sentMs > view.silentSentMs) {
      view.silentSentMs = ack.sentMs;
      view.silentAsOfMs = nowMs;
      this.#takeSilences(view, ack.silent);
    }
    for (const range of this.#unsettled) this.#settle(range, nowMs, changed);
  }

  /** A record of our own making was accepted by a majority, in time. True if that is news. */
  learn(record: OwnershipRecord): boolean {
    const { range, ballot } = record;
    if (compareBallots(ballot, this.newest[range]!.ballot) > 0) this.#renew(record);
    if (compareBallots(ballot, this.chosen[range]!.ballot) <= 0) return false;
    this.chosen[range] = record;
    this.chosenChanges += 1;
    if (sameBallot(this.newest[range]!.ballot, ballot)) this.#unsettled.delete(range);
    return true;
  }

  /** What a refusal told: a record that some voter has accepted, and an epoch that the next attempt must be above. */
  note(record: OwnershipRecord | null, range: number, epoch: number): void {
    if (epoch > this.epochs[range]!) this.epochs[range] = epoch;
    if (record === null || compareBallots(record.ballot, this.newest[range]!.ballot) <= 0) return;
    this.#renew(record);
    this.#unsettled.add(range);
  }

  /** The newest ballot of a record that any voter ever accepted, those forgotten since included; null before a majority was heard in this life: then a newer one may be chosen. */
  knownNewest(range: number): Ballot | null {
    return this.#hasHeard ? this.#highest[range]! : null;
  }

  /** Is a majority of the voters in touch: did it acknowledge a heartbeat sent within F? */
  hasMajority(nowMs: number): boolean {
    return nowMs < this.#leasedUntilMs;
  }

  /** May the owner under `ballot` serve the range now? */
  isLeased(range: number, ballot: Ballot, nowMs: number): boolean {
    if (nowMs >= this.#leasedUntilMs) return false;
    let count = 0;
    for (const view of this.#views) {
      if (nowMs - view.sentMs < this.#timing.leaseMs && !objects(view.rows[range]!, ballot)) count += 1;
    }
    return count >= this.majority;
  }

  /** Until when `isLeased` will go on saying so if nothing more is heard; in the past: it does not say so. O(voters). */
  leasedUntilMs(range: number, ballot: Ballot): number {
    if (!this.isContested(range, ballot)) return this.#leasedUntilMs;
    const sent: number[] = [];
    for (const view of this.#views) if (!objects(view.rows[range]!, ballot)) sent.push(view.sentMs);
    if (sent.length < this.majority) return NEVER;
    return Math.min(this.#leasedUntilMs, sent.sort((a, b) => b - a)[this.majority - 1]! + this.#timing.leaseMs);
  }

  /** Does any voter know of a promise or a record above `ballot`? */
  isContested(range: number, ballot: Ballot): boolean {
    for (const { rows } of this.#views) if (objects(rows[range]!, ballot)) return true;
    return false;
  }

  /**
   * For how long the member has been silent to a majority of voters, estimated for now; 0 when a majority does not say so.
   * Only voters heard from within F count.
   */
  silenceOf(id: NodeId, nowMs: number): number {
    const { leaseMs } = this.#timing;
    if (this.#silentViews < this.majority) return 0;
    const found: number[] = [];
    for (const { sentMs, silentAsOfMs, silent } of this.#views) {
      if (nowMs - sentMs >= leaseMs) continue;
      const ms = silent.get(id);
      if (ms !== undefined) found.push(ms + (nowMs - silentAsOfMs));
    }
    if (found.length < this.majority) return 0;
    return found.sort((a, b) => b - a)[this.majority - 1]!;
  }

  /** Members of whose silence any voter reports; `silenceOf` says what follows from that. Some twice. */
  *reportedSilent(): Iterable<NodeId> {
    for (const { silent } of this.#views) yield* silent.keys();
  }

  /** Does any voter report its silence? */
  isReportedSilent(id: NodeId): boolean {
    return this.#silentViews > 0 && this.#views.some(({ silent }) => silent.has(id));
  }

  /** Is any member to be given nothing, as far as any voter knows? */
  get isAnybodyAway(): boolean {
    return this.#awayViews > 0;
  }

  /** What the member said last to a voter: a majority of those heard from within F must have heard so; else it is here. */
  stanceOf(id: NodeId, nowMs: number): Stance {
    if (this.#awayViews < this.majority) return 'here';
    let leaving = 0;
    let drained = 0;
    for (const { sentMs, notes } of this.#views) {
      if (nowMs - sentMs >= this.#timing.leaseMs) continue;
      const found = notes.get(id);
      if (found === undefined || found.stance === 'here') continue;
      leaving += 1;
      if (found.stance === 'drained') drained += 1;
    }
    if (leaving < this.majority) return 'here';
    return drained >= this.majority ? 'drained' : 'leaving';
  }

  /** For how long the member is in its present life, estimated for now; Infinity when not a majority of those heard from within F says that it is young. */
  lifeMsOf(id: NodeId, nowMs: number): number {
    const found: number[] = [];
    for (const { sentMs, notes } of this.#views) {
      if (nowMs - sentMs >= this.#timing.leaseMs) continue;
      const note = notes.get(id);
      if (note !== undefined) found.push(note.lifeMs + (nowMs - note.asOfMs));
    }
    if (found.length < this.majority) return Number.POSITIVE_INFINITY;
    // A majority says that it is no older than this.
    return found.sort((a, b) => a - b)[this.majority - 1]!;
  }

  /** The tables of voters other than `own` whose acknowledged heartbeat was sent at `sinceMs` or later. */
  tablesSince(own: number, sinceMs: number): (readonly VoterRow[])[] {
    return this.#views.filter(({ sentMs }, index) => index !== own && sentMs >= sinceMs).map(({ rows }) => rows);
  }

  /** The tables of voters other than `own` that have gone over to our set and forgot nothing, and vote in it or are of `some`. */
  wholeTables(own: number, some: readonly NodeId[]): WholeTable[] {
    return this.#views.filter(({ id, set, isWhole, isIn }, index) => {
      return index !== own && isWhole && sameBallot(set, this.#set) && (isIn || some.includes(id));
    });
  }

  /** How many voters other than `own` vote in our set, as far as was heard. */
  votingBeside(own: number): number {
    return this.#views.filter(({ isIn }, index) => index !== own && isIn).length;
  }

  /** As `tablesSince`, of rosters. */
  rostersSince(own: number, sinceMs: number): RosterRow[] {
    return this.#views.filter(({ sentMs }, index) => index !== own && sentMs >= sinceMs).map(({ roster }) => roster);
  }

  /** Has any voter accepted a roster above this ballot? */
  hasRosterAbove(ballot: Ballot): boolean {
    return this.#views.some(
      ({ roster }) => roster.accepted !== null && compareBallots(roster.accepted.ballot, ballot) > 0,
    );
  }

  /** The highest epoch under which any voter promised or accepted a roster. */
  get rosterEpoch(): number {
    return this.#views.reduce((highest, { roster }) => Math.max(highest, roster.promised.epoch), 0);
  }

  /** By voter: what it promised and accepted of rosters; null of who was not heard within F. */
  rosters(nowMs: number): (RosterRow | null)[] {
    const { leaseMs } = this.#timing;
    return this.#views.map(({ sentMs, roster, isIn }) => (isIn && nowMs - sentMs < leaseMs ? roster : null));
  }

  // -- within

  #nothingOf(id: NodeId): View {
    return {
      id,
      life: 0,
      counter: 0,
      rows: this.#blank(),
      taken: new Set(),
      roster: NO_ROSTER_ROW,
      sentMs: NEVER,
      sentIn: NO_BALLOT,
      set: NO_BALLOT,
      isIn: false,
      isWhole: false,
      silentSentMs: NEVER,
      silentAsOfMs: NEVER,
      silent: NOBODY,
      notes: new Map(),
      away: 0,
    };
  }

  #blank(): VoterRow[] {
    for (let range = BLANK.length; range < this.#rangeCount; range += 1) {
      BLANK.push({ range, promised: NO_BALLOT, accepted: unowned(range) });
    }
    return BLANK.slice(0, this.#rangeCount);
  }

  #takeRow(view: View, row: VoterRow): void {
    const { range, promised, accepted } = row;
    view.rows[range] = row;
    view.taken.delete(range);
    if (promised.epoch > this.epochs[range]!) this.epochs[range] = promised.epoch;
    const newest = this.newest[range]!;
    const order = compareBallots(accepted.ballot, newest.ballot);
    if (order > 0) this.#renew(accepted);
    if (compareBallots(accepted.ballot, this.chosen[range]!.ballot) > 0) this.#unsettled.add(range);
  }

  #renew(record: OwnershipRecord): void {
    const { range, ballot } = record;
    this.newest[range] = record;
    this.newestChanges += 1;
    this.#unknownSinceMs.delete(range);
    if (compareBallots(ballot, this.#highest[range]!) > 0) this.#highest[range] = ballot;
  }

  /**
   * A record that was accepted by few who have lost their memory since, or are gone, stands nowhere any more: whoever heard of it would wait for its owner, who may not know of it either, and everybody else for
   * the owner before. So it is forgotten when no voter in touch has known it for 2 T. If it was chosen all the same, voters say so to whoever claims.
   */
  #doubt(range: number, nowMs: number): void {
    let known = this.chosen[range]!;
    for (const { rows, sentMs } of this.#views) {
      const { accepted } = rows[range]!;
      if (nowMs - sentMs < this.#timing.leaseMs && compareBallots(accepted.ballot, known.ballot) > 0) known = accepted;
    }
    if (compareBallots(known.ballot, this.newest[range]!.ballot) >= 0) {
      this.#unknownSinceMs.delete(range);
      return;
    }
    const sinceMs = this.#unknownSinceMs.get(range);
    if (sinceMs === undefined) this.#unknownSinceMs.set(range, nowMs);
    else if (nowMs - sinceMs >= 2 * this.#timing.takeoverMs && this.hasMajority(nowMs)) this.#renew(known);
  }

  #takeNotes(view: View, notes: readonly Note[], nowMs: number): void {
    for (const { id, stance, lifeMs } of notes) {
      const before = view.notes.get(id)?.stance ?? 'here';
      view.away += Number(stance !== 'here') - Number(before !== 'here');
      view.notes.set(id, { stance, lifeMs, asOfMs: nowMs });
    }
    this.#countAway();
  }

  #countAway(): void {
    this.#awayViews = this.#views.reduce((count, { away }) => count + (away > 0 ? 1 : 0), 0);
  }

  #takeSilences(view: View, silent: readonly Silence[]): void {
    if (silent.length === 0 && view.silent === NOBODY) return;
    if (silent.length !== view.silent.size || !silent.every(({ id }) => view.silent.has(id))) this.silenceChanges += 1;
    view.silent = silent.length === 0 ? NOBODY : new Map(silent.map(({ id, ms }) => [id, ms]));
    this.#silentViews = this.#views.reduce((count, { silent: held }) => count + (held === NOBODY ? 0 : 1), 0);
  }

  #settle(range: number, nowMs: number, changed: Set<number>): void {
    const { leaseMs } = this.#timing;
    const held = this.chosen[range]!;
    for (const one of this.#views) {
      const record = one.rows[range]!.accepted;
      if (compareBallots(record.ballot, this.chosen[range]!.ballot) <= 0) continue;
      let count = 0;
      for (const { rows, taken, sentMs, isIn } of this.#views) {
        if (!isIn || taken.has(range) || nowMs - sentMs >= leaseMs) continue;
        if (sameBallot(rows[range]!.accepted.ballot, record.ballot)) count += 1;
      }
      if (count >= this.majority) this.chosen[range] = record;
    }
    const chosen = this.chosen[range]!;
    if (chosen !== held) {
      changed.add(range);
      this.chosenChanges += 1;
    }
    this.#doubt(range, nowMs);
    if (sameBallot(chosen.ballot, this.newest[range]!.ballot)) this.#unsettled.delete(range);
  }

  /** The sending of the oldest heartbeat that makes a majority. */
  #majorityHeardMs(): number {
    // Few, and nearly in order: by insertion, newest first.
    const sent = this.#sent;
    for (let i = 0; i < sent.length; i += 1) {
      const { sentMs } = this.#views[i]!;
      let at = i;
      for (; at > 0 && sent[at - 1]! < sentMs; at -= 1) sent[at] = sent[at - 1]!;
      sent[at] = sentMs;
    }
    return sent[this.majority - 1]!;
  }
}

function objects(row: VoterRow, ballot: Ballot): boolean {
  return compareBallots(row.promised, ballot) > 0 || compareBallots(row.accepted.ballot, ballot) > 0;
}
