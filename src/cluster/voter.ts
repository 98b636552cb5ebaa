/**
 * A voter: one row a range, and the two questions of Paxos about each. Majorities of voters make records, and nothing else does.
 *
 *   prepare   "may I replace the record of ballot b under my ballot n?"   yes: nothing below n will be accepted here
 *   accept    "this is the record of ballot n"                           yes, unless something above n was promised
 *
 * It is a register and no log: a record is small, replaced whole, and its history interests nobody (CASPaxos, Rystsov 2018). What is added to Paxos is a lease. An owner
 * serves while a majority acknowledges its heartbeats, so a voter that has heard it within T refuses to promise its ranges to another (rule 2). Let m be the majority whose
 * acknowledgements the owner counts, and g the majority that granted the claim; they share a voter, and there the acknowledged heartbeat was sent more than T before the
 * promise, or the acknowledgement came after it and shows the promise: either way the owner does not serve.
 *
 * Four ways to get this wrong, each with a test of its own:
 *   - judging the owner that stands in *this* voter's table. The table may have missed a record; then it judges a member that died long ago while the present owner
 *     serves, and grants. The claimant names the record it replaces, and that record's owner is judged;
 *   - refusing without saying what was promised: the claimant comes back under the same ballot for ever;
 *   - comparing epochs: (7, a) and (7, b) are different ballots;
 *   - forgetting. A voter with a data directory answers only when its row is written. One without starts in `recovering`: it waits T, *then* reads the tables of so many others that
 *     every majority it may have been part of shows in them, then votes. T first, because a promise of its earlier life may still be used for that long (a proposer uses
 *     answers within F of asking) together with promises that are given after a read that came too early.
 *
 * The rows have a counter of changes: a heartbeat says how far its sender knows this table and the acknowledgement brings the rest. So every member knows, as of each
 * acknowledgement, exactly what this voter had promised: records spread by it, and an owner sees whether the acknowledgement counts for a range.
 *
 * The set of voters may change (`Seats`, docs/decisions/0023). A voter belongs to one set at a time and answers nobody who names another. It goes over to the next when it knows that one to be chosen, and votes there when it
 * knows what a majority of the set before had accepted and promised: `syncing`, one round trip, for who was in that too; who was not is `recovering`, as if it had forgotten. Who voted once and does no more is `out`.
 *
 * Invariants: promised >= accepted.ballot in each row; promised never falls within a life; heard never lies ahead of the patient clock.
 */
import { assert } from '../base/assert.ts';
import { type Ballot, compareBallots, sameBallot } from '../base/ballot.ts';
import type { NodeId } from './member.ts';
import type {
  Accept,
  Accepted,
  Heartbeat,
  HeartbeatAck,
  Note,
  Prepare,
  PrepareItem,
  Promised,
  Refusal,
  RefusalReason,
  RosterAccept,
  RosterAccepted,
  RosterAnswer,
  RosterPrepare,
  RosterPromised,
  Silence,
  Stance,
  VoterRow,
} from './messages.ts';
import { NO_BALLOT, type OwnershipRecord, unowned } from './record.ts';
import { NO_ROSTER_ROW, type Roster, type RosterRow, setOf } from './roster.ts';
import type { Timing } from './timing.ts';

export interface VoterOptions {
  readonly rangeCount: number;
  readonly timing: Timing;
  /** Everybody of whom silence is reported; those of the founding roster, while no other is known. */
  readonly members: readonly NodeId[];
  /** As `members`, of the founding roster. Default: `members`. */
  readonly founding?: readonly NodeId[];
  /** Grows with each start of the member. */
  readonly life: number;
  /** What was written before; null where nothing is written, or nothing was. */
  readonly restored: readonly VoterRow[] | null;
  /** Default: none was. */
  readonly restoredRoster?: RosterRow | null;
  /** It may have voted in an earlier life, and has no memory of it. */
  readonly hasForgotten: boolean;
  /** The set that it belongs to. Default: the founding one. */
  readonly set?: Ballot;
  /** It was none of the set before. Default false. */
  readonly isNew?: boolean;
  readonly patientMs: number;
}

interface Row {
  promised: Ballot;
  /** The claim to which `promised` was given, so that a question that is asked again is answered again. 0: of an earlier life. */
  claim: number;
  accepted: OwnershipRecord;
  isTaken: boolean;
  /** The change that wrote this row last. */
  changed: number;
  /** The row as others are told; null: not since it changed. */
  told: VoterRow | null;
}

interface Heard {
  incarnation: number;
  atMs: number;
  /** When this incarnation was first heard. */
  sinceMs: number;
  stance: Stance;
  /** The change by which this life, or this stance, became known. */
  changed: number;
}

/** Silence is reported from so many heartbeats on. */
const SILENT_HEARTBEATS = 2.5;
const NO_ROWS: readonly VoterRow[] = [];
const NO_SILENCE: readonly Silence[] = [];
const NO_NOTES: readonly Note[] = [];
/** A life that is older is like every other. */
const YOUNG_MS = 60_000;
/** Changes that are remembered beside two for each row. */
const MOST_LOGGED = 1024;

export class Voter {
  readonly life: number;
  phase: 'recovering' | 'syncing' | 'voting' | 'out';
  /** The set of voters that it belongs to; `out`: the first without it. */
  set: Ballot;
  readonly #timing: Timing;
  readonly #rows: Row[];
  #members: readonly NodeId[];
  readonly #founding: ReadonlySet<NodeId>;
  #roster: RosterRow;
  /** Who is in the roster that it accepted last. */
  #accepted: ReadonlySet<NodeId>;
  #rosterClaim = 0;
  #rosterChanged = 0;
  #isRosterUnwritten = false;
  readonly #heard = new Map<NodeId, Heard>();
  readonly #startedMs: number;
  /** It has forgotten nothing that it said. */
  #isWhole = true;
  /** Since when T is waited for before it recovers; Infinity: not yet. */
  #waitsFromMs: number;
  /** Since when it votes in this set. */
  #votesFromMs: number;
  /** When each member was heard, who was not for longest first: silence is asked about with every heartbeat of every member. */
  readonly #heardMs: Map<NodeId, number>;
  /** Whose processes are known to be gone, and since when: they count as silent for T from then on. */
  readonly #goneMs = new Map<NodeId, number>();
  #counter = 1;
  /** The last change of what is told in notes. */
  #notedAt = 1;
  /** The ranges of the last changes, the newest last: it has the number `#counter`. -1: a change of something else. */
  #log: number[] = [];
  /** Ranges changed and not yet handed to `takeChanged`. */
  readonly #unwritten = new Set<number>();

  constructor(options: VoterOptions) {
    this.life = options.life;
    this.#timing = options.timing;
    this.#members = options.members;
    this.#startedMs = options.patientMs;
    this.#waitsFromMs = options.patientMs;
    this.#votesFromMs = options.patientMs;
    this.#heardMs = new Map(options.members.map((id) => [id, options.patientMs]));
    this.#rows = Array.from({ length: options.rangeCount }, (_, range) => ({
      promised: NO_BALLOT,
      claim: 0,
      accepted: unowned(range),
      isTaken: false,
      changed: 0,
      told: null,
    }));
    for (const { range, promised, accepted, isTaken } of options.restored ?? []) {
      const row = this.#rows[range]!;
      row.isTaken = isTaken === true;
      row.promised = promised;
      row.accepted = accepted;
      row.changed = 1;
    }
    this.#founding = new Set(options.founding ?? options.members);
    this.#roster = options.restoredRoster ?? NO_ROSTER_ROW;
    this.#accepted = this.#membersOf(this.#roster.accepted);
    if (this.#roster !== NO_ROSTER_ROW) this.#rosterChanged = 1;
    this.set = options.set ?? NO_BALLOT;
    this.phase = options.hasForgotten ? 'recovering' : 'voting';
    this.#isWhole = !options.hasForgotten;
    // It went over to this set, and had not voted in it when it was written last.
    if (this.phase === 'voting' && !sameBallot(this.#roster.votedIn, this.set)) this.#begin(options.isNew === true);
  }

  /** Another roster is chosen: of these silence is reported from now on. */
  watch(members: readonly NodeId[], patientMs: number): void {
    this.#members = members;
    const ids = new Set(members);
    for (const id of this.#heardMs.keys()) if (!ids.has(id)) this.#heardMs.delete(id);
    for (const id of this.#heard.keys()) if (!ids.has(id)) this.#heard.delete(id);
    for (const id of this.#goneMs.keys()) if (!ids.has(id)) this.#goneMs.delete(id);
    // Who came is waited for from now on.
    for (const id of members) if (!this.#heardMs.has(id)) this.#heardMs.set(id, patientMs);
  }

  /** Another set is chosen, with this voter in it. */
  goOver(set: Ballot, isNew: boolean): void {
    this.set = set;
    this.#begin(isNew || this.phase === 'recovering' || this.phase === 'out');
    this.#rosterChanged = this.#change(-1);
  }

  /** Another set is chosen, without it. */
  leave(set: Ballot): void {
    this.set = set;
    this.phase = 'out';
    this.#rosterChanged = this.#change(-1);
  }

  /** Others vote in its set: who was in touch with the set before is no owner by that any more when T has passed. */
  wait(patientMs: number): void {
    if (this.#waitsFromMs === Number.POSITIVE_INFINITY) this.#waitsFromMs = patientMs;
  }

  get isWaiting(): boolean {
    return this.#waitsFromMs !== Number.POSITIVE_INFINITY;
  }

  get roster(): RosterRow {
    return this.#roster;
  }

  /** As `takeChanged`, of rosters; null: nothing changed. */
  takeChangedRoster(): RosterRow | null {
    if (!this.#isRosterUnwritten) return null;
    this.#isRosterUnwritten = false;
    return this.#roster;
  }

  row(range: number): VoterRow {
    const row = this.#rows[range]!;
    const { promised, accepted, isTaken } = row;
    row.told ??= isTaken ? { range, promised, accepted, isTaken } : { range, promised, accepted };
    return row.told;
  }

  /** The rows that changed since the last call, to be written before anything that was answered since is sent. */
  takeChanged(): readonly VoterRow[] {
    if (this.#unwritten.size === 0) return NO_ROWS;
    const rows = [...this.#unwritten].map((range) => this.row(range));
    this.#unwritten.clear();
    return rows;
  }

  /** For how long the member was not heard, as far as this life knows: since its own start at most. */
  silenceOf(id: NodeId, patientMs: number): number {
    return patientMs - (this.#heard.get(id)?.atMs ?? this.#startedMs);
  }

  /** Its process is gone, as `refusals.ts` has it. */
  onGone(id: NodeId, patientMs: number): void {
    if (this.#heardMs.has(id) && !this.#goneMs.has(id)) this.#goneMs.set(id, patientMs);
  }

  /** It is there after all, or again. */
  onBack(id: NodeId): void {
    this.#goneMs.delete(id);
  }

  onHeartbeat(from: NodeId, message: Heartbeat, patientMs: number): HeartbeatAck {
    const heard = this.#heard.get(from);
    const { stance } = message;
    const { incarnation } = message;
    if (heard === undefined) {
      this.#heard.set(from, { incarnation, atMs: patientMs, sinceMs: patientMs, stance, changed: this.#note() });
      this.#hear(from, patientMs);
    } else if (incarnation >= heard.incarnation) {
      if (incarnation > heard.incarnation) heard.sinceMs = patientMs;
      if (incarnation > heard.incarnation || stance !== heard.stance) heard.changed = this.#note();
      heard.incarnation = incarnation;
      heard.atMs = patientMs;
      heard.stance = stance;
      this.#hear(from, patientMs);
    }
    const after = message.life === this.life && message.counter <= this.#counter ? message.counter : 0;
    const rows = after === this.#counter ? NO_ROWS : this.#rowsAfter(after);
    return {
      kind: 'heartbeat-ack',
      incarnation: message.incarnation,
      sentMs: message.sentMs,
      isVoting: this.phase === 'voting',
      life: this.life,
      after,
      counter: this.#counter,
      rows,
      taken: rows.filter(({ isTaken }) => isTaken === true).map(({ range }) => range),
      roster: this.#rosterChanged > after ? this.#roster : null,
      silent: this.#silent(patientMs),
      notes: after >= this.#notedAt ? NO_NOTES : this.#notes(after, patientMs),
      set: this.set,
      isWhole: this.#isWhole,
    };
  }

  onPrepare(from: NodeId, message: Prepare, patientMs: number): Promised {
    const ballot: Ballot = { epoch: message.epoch, node: from };
    let isHasty = false;
    const granted: number[] = [];
    const refused: Refusal[] = [];
    const away = this.#isAway(message.set);
    for (const item of message.items) {
      const row = this.#rows[item.range]!;
      const order = compareBallots(ballot, row.promised);
      if (away !== null) {
        refused.push(this.#refusal(item.range, away, 0));
        continue;
      }
      if (order === 0 && row.claim === message.claim) {
        granted.push(item.range);
        isHasty ||= this.#isHasty(from, item, patientMs);
        continue;
      }
      const waitMs = this.#waitFor(from, item, patientMs);
      if (!this.#accepted.has(from)) refused.push(this.#refusal(item.range, 'stranger', 0));
      else if (order <= 0) refused.push(this.#refusal(item.range, 'promised', 0));
      else if (compareBallots(row.accepted.ballot, item.basis) > 0) refused.push(this.#refusal(item.range, 'newer', 0));
      else if (waitMs > 0) refused.push(this.#refusal(item.range, 'heard', waitMs));
      else {
        row.promised = ballot;
        row.claim = message.claim;
        this.#touch(item.range, row);
        granted.push(item.range);
        isHasty ||= this.#isHasty(from, item, patientMs);
      }
    }
    return { kind: 'promised', claim: message.claim, granted, refused, isHasty };
  }

  onAccept(message: Accept): Accepted {
    const ranges: number[] = [];
    const refused: Refusal[] = [];
    const away = this.#isAway(message.set);
    for (const record of message.records) {
      const row = this.#rows[record.range]!;
      if (away !== null) refused.push(this.#refusal(record.range, away, 0));
      else if (this.#namesStranger(record)) refused.push(this.#refusal(record.range, 'stranger', 0));
      else if (compareBallots(record.ballot, row.promised) < 0)
        refused.push(this.#refusal(record.range, 'promised', 0));
      else {
        if (compareBallots(record.ballot, row.accepted.ballot) > 0) {
          row.promised = record.ballot;
          row.accepted = record;
          row.isTaken = false;
          this.#touch(record.range, row);
        }
        ranges.push(record.range);
      }
    }
    return { kind: 'accepted', claim: message.claim, ranges, refused };
  }

  onRosterPrepare(from: NodeId, { claim, epoch, set }: RosterPrepare): RosterPromised {
    const ballot: Ballot = { epoch, node: from };
    const { promised, accepted } = this.#roster;
    const order = compareBallots(ballot, promised);
    const isAway = this.#isAway(set) !== null;
    let isGranted = !isAway && order === 0 && claim === this.#rosterClaim;
    if (!isAway && order > 0 && this.#accepted.has(from)) {
      isGranted = true;
      this.#rosterClaim = claim;
      this.#setRoster({ ...this.#roster, promised: ballot });
    }
    return { kind: 'roster-promised', claim, isGranted, promised: this.#roster.promised, accepted };
  }

  onRosterAccept({ claim, roster, set }: RosterAccept, patientMs: number): RosterAccepted {
    const answer = this.#isAway(set) ?? this.#answerTo(roster, patientMs);
    const isNew = compareBallots(roster.ballot, this.#roster.accepted?.ballot ?? NO_BALLOT) > 0;
    if (answer === 'accepted' && isNew) this.#setRoster({ ...this.#roster, promised: roster.ballot, accepted: roster });
    return { kind: 'roster-accepted', claim, answer, promised: this.#roster.promised };
  }

  /** A majority is known to have accepted this roster. */
  learnRoster(roster: Roster): void {
    const { promised, accepted } = this.#roster;
    if (this.phase === 'recovering' || this.phase === 'out') return;
    if (compareBallots(roster.ballot, accepted?.ballot ?? NO_BALLOT) <= 0) return;
    const isHigher = compareBallots(roster.ballot, promised) > 0;
    if (isHigher) this.#rosterClaim = 0;
    this.#setRoster({ ...this.#roster, promised: isHigher ? roster.ballot : promised, accepted: roster });
  }

  /** A majority is known to have accepted this record: what this voter missed. */
  learn(record: OwnershipRecord): void {
    const row = this.#rows[record.range]!;
    if (this.phase === 'recovering' || this.phase === 'out') return;
    const order = compareBallots(record.ballot, row.accepted.ballot);
    if (order < 0 || (order === 0 && !row.isTaken)) return;
    row.accepted = record;
    row.isTaken = false;
    if (compareBallots(record.ballot, row.promised) > 0) {
      row.promised = record.ballot;
      row.claim = 0;
    }
    this.#touch(record.range, row);
  }

  /** Has T passed since it started, or since others vote in the set that it came into? Only tables that were read later than that may be recovered from. */
  hasWaited(patientMs: number): boolean {
    return patientMs - this.#waitsFromMs >= this.#timing.takeoverMs;
  }

  /** Takes the most of what `tables` hold; they are so many, and so recent, that nothing is missing (`core.ts` counts). Then it votes. */
  recover(tables: readonly (readonly VoterRow[])[], rosters: readonly RosterRow[], patientMs: number): void {
    assert(this.phase === 'recovering' || this.phase === 'syncing', 'only a voter that does not vote yet recovers');
    const isAll = this.phase === 'recovering';
    let { promised: highest, accepted: newest } = this.#roster;
    for (const { promised, accepted } of rosters) {
      if (compareBallots(promised, highest) > 0) highest = promised;
      if (compareBallots(accepted?.ballot ?? NO_BALLOT, newest?.ballot ?? NO_BALLOT) > 0) newest = accepted;
    }
    if (compareBallots(highest, this.#roster.promised) > 0) this.#rosterClaim = 0;
    if (highest !== NO_BALLOT || !sameBallot(this.#roster.votedIn, this.set)) {
      this.#setRoster({ promised: highest, accepted: newest, votedIn: this.set });
    }
    for (const table of tables) {
      for (const { range, promised, accepted } of table) {
        const row = this.#rows[range]!;
        const isHigher = compareBallots(promised, row.promised) > 0;
        const isNewer = compareBallots(accepted.ballot, row.accepted.ballot) > 0;
        if (isHigher) {
          row.promised = promised;
          row.claim = 0;
        }
        if (isNewer) {
          row.accepted = accepted;
          row.isTaken = true;
        }
        if (!isAll && (isHigher || isNewer)) this.#touch(range, row);
      }
    }
    for (const row of this.#rows) {
      // To take over the highest that was promised is to accept it: nothing of ours stands above.
      if (row.isTaken && sameBallot(row.promised, row.accepted.ballot)) row.isTaken = false;
    }
    this.phase = 'voting';
    this.#isWhole = true;
    this.#votesFromMs = patientMs;
    if (!isAll) return;
    this.#rows.forEach((row, range) => {
      if (row.promised !== NO_BALLOT) this.#touch(range, row);
    });
  }

  /** Throws unless the table is whole. O(ranges). */
  invariants(patientMs: number): void {
    for (const { promised, accepted, changed } of this.#rows) {
      assert(compareBallots(promised, accepted.ballot) >= 0, 'voter: accepted above what was promised');
      assert(changed <= this.#counter, 'voter: a change from the future');
    }
    const { promised, accepted } = this.#roster;
    assert(
      accepted === null || compareBallots(promised, accepted.ballot) >= 0,
      'voter: a roster above what was promised',
    );
    for (const { atMs } of this.#heard.values()) assert(atMs <= patientMs, 'voter: heard in the future');
    assert(this.#heard.size <= this.#members.length, 'voter: heard more than there are');
  }

  // -- within

  #begin(isNew: boolean): void {
    this.phase = isNew ? 'recovering' : 'syncing';
    this.#waitsFromMs = Number.POSITIVE_INFINITY;
  }

  /** Why it answers nobody who names that set; null: it does. */
  #isAway(set: Ballot): 'recovering' | 'voters' | null {
    if (!sameBallot(set, this.set) || this.phase === 'out') return 'voters';
    return this.phase === 'voting' ? null : 'recovering';
  }

  /** How long to wait still before that record's owner may be superseded by `claimant`; 0: not at all. */
  #waitFor(claimant: NodeId, { owner, isYielded }: PrepareItem, patientMs: number): number {
    if (owner === null || owner === claimant || isYielded || this.#goneMs.has(owner)) return 0;
    return Math.max(0, this.#timing.takeoverMs - this.silenceOf(owner, patientMs));
  }

  /** Is it granted for no other reason than that its owner's process is gone? */
  #isHasty(claimant: NodeId, { owner, isYielded }: PrepareItem, patientMs: number): boolean {
    if (owner === null || owner === claimant || isYielded) return false;
    return this.silenceOf(owner, patientMs) < this.#timing.takeoverMs;
  }

  #refusal(range: number, reason: RefusalReason, waitMs: number): Refusal {
    const { promised, accepted } = this.#rows[range]!;
    return { range, reason, promised, accepted, waitMs };
  }

  #membersOf(roster: Roster | null): ReadonlySet<NodeId> {
    return roster === null ? this.#founding : new Set(roster.members.map(({ id }) => id));
  }

  #namesStranger({ ballot, owner, inSync }: OwnershipRecord): boolean {
    const members = this.#accepted;
    if (!members.has(ballot.node) || (owner !== null && !members.has(owner))) return true;
    return inSync.some((id) => !members.has(id));
  }

  #answerTo(roster: Roster, patientMs: number): RosterAnswer {
    if (compareBallots(roster.ballot, this.#roster.promised) < 0) return 'promised';
    // Whoever is two sets behind must not be an owner any more by what it heard of that one.
    const isOtherSet = !sameBallot(setOf(roster), this.set);
    if (isOtherSet && patientMs - this.#votesFromMs < this.#timing.takeoverMs) return 'settling';
    // Whoever is left out must have nothing, by what we know: a record that names it later is refused here.
    const members = this.#membersOf(roster);
    const isNamed = this.#rows.some(({ accepted: { owner, inSync } }) => {
      return (owner !== null && !members.has(owner)) || inSync.some((id) => !members.has(id));
    });
    return isNamed ? 'named' : 'accepted';
  }

  #setRoster(row: RosterRow): void {
    this.#roster = row;
    this.#accepted = this.#membersOf(row.accepted);
    this.#rosterChanged = this.#change(-1);
    this.#isRosterUnwritten = true;
  }

  #touch(range: number, row: Row): void {
    row.changed = this.#change(range);
    row.told = null;
    this.#unwritten.add(range);
  }

  /** Something changed that others are to hear of: the number of the change. */
  #change(range: number): number {
    this.#counter += 1;
    this.#log.push(range);
    if (this.#log.length > 2 * this.#rows.length + MOST_LOGGED) this.#log = this.#log.slice(this.#rows.length);
    return this.#counter;
  }

  #note(): number {
    this.#notedAt = this.#change(-1);
    return this.#notedAt;
  }

  #hear(id: NodeId, patientMs: number): void {
    this.#goneMs.delete(id);
    // Behind all others; who is no member is not watched.
    if (this.#heardMs.delete(id)) this.#heardMs.set(id, patientMs);
  }

  #rowsAfter(counter: number): VoterRow[] {
    const oldest = this.#counter - this.#log.length + 1;
    const rows: VoterRow[] = [];
    if (counter + 1 < oldest) {
      this.#rows.forEach(({ changed }, range) => {
        if (changed > counter) rows.push(this.row(range));
      });
      return rows;
    }
    for (let change = counter + 1; change <= this.#counter; change += 1) {
      const range = this.#log[change - oldest]!;
      if (range >= 0 && this.#rows[range]!.changed === change) rows.push(this.row(range));
    }
    return rows.sort((a, b) => a.range - b.range);
  }

  #silent(patientMs: number): readonly Silence[] {
    let silent: Silence[] | null = null;
    for (const [id, atMs] of this.#heardMs) {
      const ms = patientMs - atMs;
      if (ms < SILENT_HEARTBEATS * this.#timing.heartbeatMs) break;
      if (this.#goneMs.has(id)) continue;
      silent ??= [];
      silent.push({ id, ms });
    }
    for (const [id, goneMs] of this.#goneMs) {
      silent ??= [];
      silent.push({
        id,
        ms: Math.max(patientMs - this.#heardMs.get(id)!, this.#timing.takeoverMs + patientMs - goneMs),
      });
    }
    return silent ?? NO_SILENCE;
  }

  /** What changed after the change `after`. To who knows nothing, what is as it mostly is need not be told. */
  #notes(after: number, patientMs: number): readonly Note[] {
    const notes: Note[] = [];
    for (const [id, { stance, sinceMs, changed }] of this.#heard) {
      const lifeMs = patientMs - sinceMs;
      if (changed > after && (after > 0 || stance !== 'here' || lifeMs < YOUNG_MS)) notes.push({ id, stance, lifeMs });
    }
    return notes;
  }
}
