/**
 * The voter that etcd is. A cluster that etcd coordinates has one voter, `ETCD`; each member has one of these beside its core, which takes what the core says to that voter and answers as a voter would
 * (`voter.ts`). The truth is in etcd and nowhere else: this only knows what it saw there, and at which revision.
 *
 *   heartbeat   one transaction: put my heartbeat, and show me every record, heartbeat and roster that changed since I looked last. Its answer is the acknowledgement, with the table of that very moment
 *   prepare     judged by what is known, and nothing is written: there are no promises. Who replaces a record does so by comparing it
 *   accept      one transaction: for each record, if it is still the one that was to be replaced, and its owner has not been heard meanwhile: put it
 *
 * Why an owner that is replaced does not serve (docs/decisions/0022). Its lease rests on a put that was sent at t0 and that etcd did at revision r; a claim was done at revision c.
 *   r > c   the acknowledgement shows the table at r, so the claim too: the lease does not count for that range
 *   r < c   the claimant's transaction found the owner's heartbeat as the claimant had seen it for T: so what it had seen was this put or a later one. Seen at t2 >= t0, asked at t3 >= t2 + T, done later: t0 + F is over
 * Nothing here rests on an answer that arrives, in time or at all. What was done and not answered for is found done when it is asked for again.
 *
 * *Silence is counted by looks.* A member whose heartbeat stays the same is silent only for as long as we were looking: while etcd was away nobody was heard, and that says nothing about anybody. So a pause between two
 * looks counts as two heartbeats at most.
 *
 * *A member's lives are told apart by etcd* (`PREFIX/life/ID`, compared by everything that writes). Nothing is promised, so a later life cannot know which ballots an earlier one has asked for; what of that was not done before
 * the later life began is never done, or two records would have one ballot (found by the simulator). And a process that goes on beside a later one of the same member is told that it is no more.
 *
 * *Whether it is still the same etcd* is asked with each heartbeat: it must have our cluster's mark, and what we wrote last. One that was emptied, or restored from a backup, forgot records on which leases and copies rest:
 * then nothing is acknowledged any more in this life of the member, and `lost` says so.
 *
 * Invariants: a row's record is one that etcd had, at its mod_revision; everything up to `revision` is known; mod_revisions only grow.
 */
import { assert } from '../base/assert.ts';
import { compareBallots, sameBallot } from '../base/ballot.ts';
import {
  type Beat,
  type EtcdAnswer,
  type EtcdCompare,
  type EtcdEntry,
  EtcdKeys,
  type EtcdOp,
  type EtcdResult,
  type EtcdTxn,
  lookAt,
  readBeat,
  readRecord,
  readRoster,
  writeBeat,
  writeLife,
  writeRecord,
  writeRoster,
} from './etcd.ts';
import type { NodeId } from './member.ts';
import type {
  Accept,
  Heartbeat,
  Message,
  Note,
  Prepare,
  PrepareItem,
  Refusal,
  RefusalReason,
  RosterAccept,
  RosterAnswer,
  RosterPrepare,
  Silence,
  VoterRow,
} from './messages.ts';
import { NO_BALLOT, type OwnershipRecord, unowned } from './record.ts';
import type { Roster, RosterRow } from './roster.ts';
import { PatientClock, type Timing } from './timing.ts';

export interface EtcdVoterOptions {
  readonly self: NodeId;
  /** Of this member; grows with each start. */
  readonly life: number;
  readonly rangeCount: number;
  /** Ids of the founding roster. */
  readonly founding: readonly NodeId[];
  readonly timing: Timing;
  readonly prefix: string;
  /** What stands at `PREFIX/cluster`. */
  readonly mark: string;
  /** As etcd called itself when that was read. */
  readonly clusterId: string;
  readonly nowMs: number;
}

export type EtcdWish =
  /** `onAnswer` or `onFailure` with this number, at the latest after `timeoutMs`; what comes later is not wanted. */
  | { readonly kind: 'ask'; readonly number: number; readonly txn: EtcdTxn; readonly timeoutMs: number }
  /** To the core, from `ETCD`. */
  | { readonly kind: 'say'; readonly message: Message }
  /** It is not the etcd that it was: nothing is acknowledged any more. Once. */
  | { readonly kind: 'lost'; readonly why: string };

interface Row {
  record: OwnershipRecord;
  /** 0: etcd has none. */
  mod: number;
  told: VoterRow | null;
}

interface Heard {
  beat: Beat;
  mod: number;
  /** When it was first seen at this revision, less the time in which nobody looked. */
  atMs: number;
  /** When this life was first seen. */
  sinceMs: number;
  /** The revision at which the life, or the stance, was first seen. */
  changed: number;
}

/** A claim that may be written: what it replaces must stand where it stood. */
interface Grant {
  readonly claim: number;
  readonly mod: number;
  readonly item: PrepareItem;
  isUnderWay: boolean;
}

interface RosterGrant {
  readonly claim: number;
  readonly mod: number;
  isUnderWay: boolean;
}

interface Asked {
  readonly untilMs: number;
  /** What was known when it was asked: an answer of an earlier moment comes from an etcd that went back. */
  readonly floor: number;
  readonly take: (answer: EtcdAnswer) => void;
  readonly failed: () => void;
}

/** Silence is reported from so many heartbeats on, as voters do. */
const SILENT_HEARTBEATS = 2.5;
/** Between two looks as much counts as silence. */
const LOOK_HEARTBEATS = 2;
/** A life that is older is like every other. */
const YOUNG_MS = 60_000;
/** Heartbeats on their way at once; behind them the newest one waits. */
const MOST_BEATS = 3;
/** Records in one transaction: etcd allows 128 operations, those of transactions within it included. */
const MOST_RECORDS = 50;
/** Questions under way at once: all the ranges that there can be, and more. */
const MOST_ASKED = 512;
/** Of F: who has not answered by then is asked again, or another etcd is. */
const PATIENCE = 0.4;

const NOTHING: readonly EtcdWish[] = [];

export class EtcdVoter {
  readonly #options: EtcdVoterOptions;
  readonly #timing: Timing;
  readonly #keys: EtcdKeys;
  readonly #clock: PatientClock;
  readonly #rows: Row[];
  readonly #heard = new Map<NodeId, Heard>();
  #members: ReadonlySet<NodeId>;
  #roster: Roster | null = null;
  #rosterMod = 0;
  /** Everything up to this one is known; 0: nothing is. */
  #revision = 0;
  /** Of our last heartbeat that was answered for. */
  #ownMod = 0;
  #startedMs = 0;
  #lookedMs = 0;
  readonly #asked = new Map<number, Asked>();
  #numbers = 0;
  #beats = 0;
  #nextBeat: Heartbeat | null = null;
  readonly #grants = new Map<number, Grant>();
  /** Claims that wait for a look. */
  readonly #looking = new Set<number>();
  #rosterGrant: RosterGrant | null = null;
  #isLost = false;
  /** etcd knows of this life. */
  #isBegun = false;
  readonly #life: string;
  #out: EtcdWish[] = [];

  constructor(options: EtcdVoterOptions) {
    this.#options = options;
    this.#timing = options.timing;
    this.#keys = new EtcdKeys(options.prefix);
    this.#life = writeLife(options.life);
    this.#clock = new PatientClock(options.timing, options.nowMs);
    this.#rows = Array.from({ length: options.rangeCount }, (_, range) => ({
      record: unowned(range),
      mod: 0,
      told: null,
    }));
    this.#members = new Set(options.founding);
  }

  /** Everything that it wants done since the last call, in this order. */
  take(): readonly EtcdWish[] {
    if (this.#out.length === 0) return NOTHING;
    const out = this.#out;
    this.#out = [];
    return out;
  }

  /** Does it still acknowledge anything? */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Of etcd, as of the newest answer. */
  get revision(): number {
    return this.#revision;
  }

  /** The core said this to `ETCD`. */
  onMessage(message: Message, nowMs: number): void {
    this.#clock.advance(nowMs);
    if (this.#isLost) return;
    switch (message.kind) {
      case 'heartbeat':
        if (this.#beats < MOST_BEATS) this.#beat(message);
        else this.#nextBeat = message;
        break;
      case 'prepare':
        this.#onPrepare(message);
        break;
      case 'accept':
        this.#onAccept(message);
        break;
      case 'roster-prepare':
        this.#onRosterPrepare(message);
        break;
      case 'roster-accept':
        this.#onRosterAccept(message);
        break;
      default:
        // Said to members.
        break;
    }
  }

  onAnswer(number: number, answer: EtcdAnswer, nowMs: number): void {
    this.#clock.advance(nowMs);
    const asked = this.#asked.get(number);
    if (asked === undefined || this.#isLost) return;
    this.#asked.delete(number);
    if (answer.clusterId !== this.#options.clusterId) {
      this.#lose('it is another etcd, or was restored from a backup');
    } else if (answer.revision < asked.floor) {
      this.#lose(`it is at revision ${answer.revision} and was at ${asked.floor} before`);
    } else asked.take(answer);
  }

  /** It was not answered: it may have been done, or may be yet. */
  onFailure(number: number, nowMs: number): void {
    this.#clock.advance(nowMs);
    const asked = this.#asked.get(number);
    if (asked === undefined || this.#isLost) return;
    this.#asked.delete(number);
    asked.failed();
  }

  onTick(nowMs: number): void {
    this.#clock.advance(nowMs);
    for (const [number, { untilMs }] of this.#asked) if (nowMs >= untilMs) this.onFailure(number, nowMs);
  }

  /** Throws unless everything within is whole. */
  invariants(): void {
    this.#rows.forEach(({ record, mod }, range) => {
      assert(record.range === range, 'etcd: a record stands at its range');
      assert((mod === 0) === sameBallot(record.ballot, NO_BALLOT), 'etcd: what etcd has none of is unowned');
    });
    assert(this.#asked.size <= MOST_ASKED, 'etcd: so much is asked at once');
  }

  // -- heartbeats

  #beat(message: Heartbeat): void {
    const { incarnation, stance } = message;
    const known = this.#revision;
    // Who was forgotten says nothing any more; it may have to be told.
    const isMember = known === 0 || this.#members.has(this.#options.self);
    const own = this.#keys.heartbeat(this.#options.self);
    const life = this.#keys.life(this.#options.self);
    const compare: EtcdCompare[] = this.#isBegun ? [...this.#isOurs] : [this.#isMarked];
    if (this.#ownMod > 0) compare.push({ key: own, mod: 'greater', revision: this.#ownMod - 1 });
    const put: EtcdOp[] = isMember ? [{ kind: 'put', key: own, value: writeBeat({ incarnation, stance }) }] : [];
    const isBeginning = !this.#isBegun;
    if (isBeginning) put.push(this.#beginning, lookAt(life));
    this.#beats += 1;
    const next = (): void => {
      this.#beats -= 1;
      const waiting = this.#nextBeat;
      this.#nextBeat = null;
      if (waiting !== null && !this.#isLost) this.#beat(waiting);
    };
    this.#ask(
      { compare, success: [...put, ...this.#news()], failure: [lookAt(this.#keys.cluster), lookAt(life)] },
      (answer) => {
        const [mark, lives] = answer.isSuccess ? [null, put.length - 1] : [0, 1];
        if (mark !== null && entriesIn(answer.results[mark]!)[0]?.value !== this.#options.mark) {
          this.#lose('the mark of this cluster is gone from it');
          return;
        }
        if ((isBeginning || mark !== null) && entriesIn(answer.results[lives]!)[0]?.value !== this.#life) {
          this.#lose(
            'a later life of this member is written there: another process is it by now, or its clock was set back',
          );
          return;
        }
        if (mark !== null) {
          this.#lose('what this member wrote there last is gone from it: it went back');
          return;
        }
        this.#isBegun = true;
        if (!this.#takeNews(answer, answer.results.slice(put.length))) return;
        if (isMember) this.#ownMod = Math.max(this.#ownMod, answer.revision);
        this.#acknowledge(message, isMember);
        next();
      },
      next,
    );
  }

  /** Writes which life this is, unless a later one did. */
  get #beginning(): EtcdOp {
    const key = this.#keys.life(this.#options.self);
    const put: EtcdOp = { kind: 'put', key, value: this.#life };
    const ifEarlier: EtcdTxn = { compare: [{ key, value: this.#life, is: 'less' }], success: [put], failure: [] };
    return {
      kind: 'txn',
      txn: {
        compare: [{ key, mod: 'equal', revision: 0 }],
        success: [put],
        failure: [{ kind: 'txn', txn: ifEarlier }],
      },
    };
  }

  #acknowledge(message: Heartbeat, isVoting: boolean): void {
    const { incarnation, sentMs } = message;
    const after = message.life === this.#options.life && message.counter <= this.#revision ? message.counter : 0;
    const rows: VoterRow[] = [];
    this.#rows.forEach((row, range) => {
      if (row.mod <= after) return;
      row.told ??= { range, promised: row.record.ballot, accepted: row.record };
      rows.push(row.told);
    });
    this.#say({
      kind: 'heartbeat-ack',
      incarnation,
      sentMs,
      isVoting: isVoting && this.#members.has(this.#options.self),
      life: this.#options.life,
      after,
      counter: this.#revision,
      rows,
      roster: this.#rosterMod > after ? this.#rosterRow : null,
      silent: this.#silent(),
      notes: this.#notes(after),
      set: NO_BALLOT,
      isWhole: true,
      taken: [],
    });
  }

  /** What changed since everything was known up to `#revision`. */
  #news(): EtcdOp[] {
    const known = this.#revision;
    const { changed, roster } = this.#keys;
    const ifNewer = (key: string, success: EtcdOp): EtcdOp => ({
      kind: 'txn',
      txn: { compare: [{ key, mod: 'greater', revision: known }], success: [success], failure: [] },
    });
    return [
      ifNewer(changed, this.#keys.records(known + 1)),
      ifNewer(roster, lookAt(roster)),
      this.#keys.heartbeats(known + 1),
    ];
  }

  /** The answer to `#news`, asked when no more was known than is now. False: nobody of us wrote that. */
  #takeNews({ revision }: EtcdAnswer, results: readonly EtcdResult[]): boolean {
    const patientMs = this.#clock.patientMs;
    const pauseMs = patientMs - this.#lookedMs - LOOK_HEARTBEATS * this.#timing.heartbeatMs;
    if (pauseMs > 0) {
      this.#startedMs += pauseMs;
      for (const heard of this.#heard.values()) heard.atMs += pauseMs;
    }
    this.#lookedMs = patientMs;
    try {
      const [records, roster, heartbeats] = results.map(entriesIn);
      for (const entry of records!) this.#takeRecord(entry);
      for (const entry of roster!) this.#takeRoster(entry);
      for (const entry of heartbeats!) this.#takeBeat(entry);
    } catch (error) {
      this.#lose(error instanceof Error ? error.message : String(error));
      return false;
    }
    this.#revision = Math.max(this.#revision, revision);
    return true;
  }

  #takeRecord(entry: EtcdEntry): void {
    const record = readRecord(entry, this.#options.rangeCount);
    this.#setRow(record, entry.modRevision);
  }

  #setRow(record: OwnershipRecord, mod: number): void {
    const row = this.#rows[record.range]!;
    if (mod <= row.mod) return;
    assert(compareBallots(record.ballot, row.record.ballot) > 0, 'etcd: a record is followed by a higher one');
    row.record = record;
    row.mod = mod;
    row.told = null;
  }

  #takeRoster(entry: EtcdEntry): void {
    if (entry.modRevision <= this.#rosterMod) return;
    this.#setRoster(readRoster(entry, this.#options.rangeCount), entry.modRevision);
  }

  #setRoster(roster: Roster, mod: number): void {
    this.#roster = roster;
    this.#rosterMod = mod;
    this.#members = new Set(roster.members.map(({ id }) => id));
  }

  #takeBeat(entry: EtcdEntry): void {
    const id = entry.key.slice(-this.#options.self.length);
    const heard = this.#heard.get(id);
    const { modRevision: mod } = entry;
    if (heard !== undefined && mod <= heard.mod) return;
    const beat = readBeat(entry);
    const atMs = this.#clock.patientMs;
    if (heard === undefined) {
      // Also of who is no member any more: it may own a range still, and then its heartbeat is what is compared.
      this.#heard.set(id, { beat, mod, atMs, sinceMs: atMs, changed: mod });
      return;
    }
    // A word of an earlier life that was long on its way is no news of that life; it is written all the same, and what is compared is what is written.
    heard.mod = mod;
    heard.atMs = atMs;
    if (beat.incarnation < heard.beat.incarnation) return;
    if (beat.incarnation > heard.beat.incarnation) heard.sinceMs = atMs;
    if (beat.incarnation > heard.beat.incarnation || beat.stance !== heard.beat.stance) heard.changed = mod;
    heard.beat = beat;
  }

  /** For how long its heartbeat has been the same, as far as we looked. */
  #silenceOf(id: NodeId): number {
    const patientMs = this.#clock.patientMs;
    const sinceLookMs = Math.min(patientMs - this.#lookedMs, LOOK_HEARTBEATS * this.#timing.heartbeatMs);
    return this.#lookedMs - (this.#heard.get(id)?.atMs ?? this.#startedMs) + sinceLookMs;
  }

  #silent(): readonly Silence[] {
    const found: Silence[] = [];
    for (const id of this.#members) {
      const ms = this.#silenceOf(id);
      if (ms >= SILENT_HEARTBEATS * this.#timing.heartbeatMs) found.push({ id, ms });
    }
    return found;
  }

  #notes(after: number): readonly Note[] {
    const found: Note[] = [];
    for (const [id, { beat, sinceMs, changed }] of this.#heard) {
      const lifeMs = this.#clock.patientMs - sinceMs;
      const { stance } = beat;
      if (changed > after && (after > 0 || stance !== 'here' || lifeMs < YOUNG_MS)) found.push({ id, stance, lifeMs });
    }
    return found;
  }

  // -- records

  #onPrepare(message: Prepare): void {
    const { claim, items } = message;
    if (this.#looking.has(claim)) return;
    // Whoever hands a range over may have changed its record a moment ago.
    const isKnown = items.every(({ range, basis }) => compareBallots(this.#rows[range]!.record.ballot, basis) >= 0);
    if (isKnown && this.#revision > 0) {
      this.#judge(message);
      return;
    }
    this.#looking.add(claim);
    const done = (): void => {
      this.#looking.delete(claim);
    };
    this.#look(() => {
      done();
      this.#judge(message);
    }, done);
  }

  #judge({ claim, epoch, items }: Prepare): void {
    const granted: number[] = [];
    const refused: Refusal[] = [];
    const { self } = this.#options;
    const ballot = { epoch, node: self };
    for (const item of items) {
      const { range, basis } = item;
      const row = this.#rows[range]!;
      const order = compareBallots(row.record.ballot, basis);
      const waitMs = this.#waitFor(item);
      if (!this.#members.has(self)) refused.push(this.#refusal(range, 'stranger', 0));
      else if (order > 0) refused.push(this.#refusal(range, 'newer', 0));
      // Nobody ever wrote what is to be replaced.
      else if (order < 0) refused.push(this.#refusal(range, 'recovering', 0));
      else if (compareBallots(ballot, row.record.ballot) <= 0) refused.push(this.#refusal(range, 'promised', 0));
      else if (waitMs > 0) refused.push(this.#refusal(range, 'heard', waitMs));
      else {
        const before = this.#grants.get(range);
        if (before?.claim !== claim) this.#grants.set(range, { claim, mod: row.mod, item, isUnderWay: false });
        granted.push(range);
      }
    }
    this.#say({ kind: 'promised', claim, granted, refused, isHasty: false });
  }

  #onAccept({ claim, records }: Accept): void {
    const ranges: number[] = [];
    const refused: Refusal[] = [];
    const wanted: OwnershipRecord[] = [];
    for (const record of records) {
      const { range } = record;
      const row = this.#rows[range]!;
      const grant = this.#grants.get(range);
      if (sameBallot(row.record.ballot, record.ballot)) ranges.push(range);
      else if (grant === undefined || grant.claim !== claim || grant.isUnderWay) continue;
      else if (row.mod !== grant.mod) refused.push(this.#refusal(range, 'promised', 0));
      else if (this.#namesStranger(record)) refused.push(this.#refusal(range, 'stranger', 0));
      else {
        const waitMs = this.#waitFor(grant.item);
        if (waitMs > 0) refused.push(this.#refusal(range, 'heard', waitMs));
        else {
          grant.isUnderWay = true;
          wanted.push(record);
        }
      }
    }
    this.#sayAccepted(claim, ranges, refused);
    for (let at = 0; at < wanted.length; at += MOST_RECORDS) this.#write(claim, wanted.slice(at, at + MOST_RECORDS));
  }

  #write(claim: number, records: readonly OwnershipRecord[]): void {
    const grants = records.map(({ range }) => this.#grants.get(range)!);
    const done = (): void => {
      for (const grant of grants) grant.isUnderWay = false;
    };
    const each = records.map((record, index): EtcdOp => {
      const { mod, item } = grants[index]!;
      const key = this.#keys.record(record.range);
      const compare: EtcdCompare[] = [{ key, mod: 'equal', revision: mod }];
      const failure: EtcdOp[] = [lookAt(key)];
      if (this.#isJudged(item)) {
        const heartbeat = this.#keys.heartbeat(item.owner!);
        compare.push({ key: heartbeat, mod: 'equal', revision: this.#heard.get(item.owner!)?.mod ?? 0 });
        failure.push(lookAt(heartbeat));
      }
      return {
        kind: 'txn',
        txn: { compare, success: [{ kind: 'put', key, value: writeRecord(record) }], failure },
      };
    });
    this.#ask(
      {
        compare: [...this.#isOurs, this.#isRoster],
        success: [{ kind: 'put', key: this.#keys.changed, value: '' }, ...each],
        failure: [],
      },
      (answer) => {
        done();
        // Another roster, or another cluster: the next heartbeat tells which, and the core asks again.
        if (answer.isSuccess) this.#written(claim, records, grants, answer);
      },
      done,
    );
  }

  #written(
    claim: number,
    records: readonly OwnershipRecord[],
    grants: readonly Grant[],
    { revision, results }: EtcdAnswer,
  ): void {
    const ranges: number[] = [];
    const refused: Refusal[] = [];
    for (const [index, record] of records.entries()) {
      const { range, ballot } = record;
      const result = results[index + 1]!;
      const row = this.#rows[range]!;
      if (result.kind === 'txn' && result.isSuccess) {
        this.#setRow(record, revision);
        ranges.push(range);
        continue;
      }
      try {
        const [found = [], heartbeats = []] = result.kind === 'txn' ? result.results.map(entriesIn) : [];
        for (const entry of found) this.#takeRecord(entry);
        for (const entry of heartbeats) this.#takeBeat(entry);
      } catch (error) {
        this.#lose(error instanceof Error ? error.message : String(error));
        return;
      }
      // Done before, and not answered for.
      if (sameBallot(row.record.ballot, ballot)) ranges.push(range);
      else {
        const { item, mod } = grants[index]!;
        const isHeard = row.mod === mod;
        refused.push(this.#refusal(range, isHeard ? 'heard' : 'promised', isHeard ? this.#waitFor(item) : 0));
      }
    }
    this.#sayAccepted(claim, ranges, refused);
  }

  #sayAccepted(claim: number, ranges: readonly number[], refused: readonly Refusal[]): void {
    if (ranges.length + refused.length > 0) this.#say({ kind: 'accepted', claim, ranges, refused });
  }

  /** Does the claim rest on its owner's silence? */
  #isJudged({ owner, isYielded }: PrepareItem): boolean {
    return owner !== null && owner !== this.#options.self && !isYielded;
  }

  #waitFor(item: PrepareItem): number {
    return this.#isJudged(item) ? Math.max(0, this.#timing.takeoverMs - this.#silenceOf(item.owner!)) : 0;
  }

  #refusal(range: number, reason: RefusalReason, waitMs: number): Refusal {
    const { record } = this.#rows[range]!;
    return { range, reason, promised: record.ballot, accepted: record, waitMs };
  }

  #namesStranger({ owner, inSync }: OwnershipRecord): boolean {
    const isStranger = (id: NodeId): boolean => !this.#members.has(id);
    return isStranger(this.#options.self) || (owner !== null && isStranger(owner)) || inSync.some(isStranger);
  }

  // -- the roster

  #onRosterPrepare({ claim, epoch }: RosterPrepare): void {
    if (this.#looking.has(claim)) return;
    this.#looking.add(claim);
    const done = (): void => {
      this.#looking.delete(claim);
    };
    this.#look(() => {
      done();
      const { promised, accepted } = this.#rosterRow;
      const { self } = this.#options;
      const isGranted = compareBallots({ epoch, node: self }, promised) > 0 && this.#members.has(self);
      if (isGranted && this.#rosterGrant?.claim !== claim) {
        this.#rosterGrant = { claim, mod: this.#rosterMod, isUnderWay: false };
      }
      this.#say({ kind: 'roster-promised', claim, isGranted, promised, accepted });
    }, done);
  }

  #onRosterAccept({ claim, roster }: RosterAccept): void {
    const grant = this.#rosterGrant;
    const answer = this.#answerTo(claim, roster);
    if (answer !== null) {
      this.#say({ kind: 'roster-accepted', claim, answer, promised: this.#rosterRow.promised });
      return;
    }
    if (grant === null || grant.claim !== claim || grant.isUnderWay) return;
    grant.isUnderWay = true;
    const { roster: key, changed } = this.#keys;
    const done = (): void => {
      grant.isUnderWay = false;
    };
    this.#ask(
      {
        // No record may have come to name whom it leaves out.
        compare: [
          ...this.#isOurs,
          { key, mod: 'equal', revision: grant.mod },
          { key: changed, mod: 'less', revision: this.#revision + 1 },
        ],
        success: [{ kind: 'put', key, value: writeRoster(roster) }],
        failure: this.#news(),
      },
      (found) => {
        done();
        if (found.isSuccess) this.#setRoster(roster, found.revision);
        else if (!this.#takeNews(found, found.results)) return;
        // Records have changed: the core asks again, and they are looked at again.
        const now = this.#answerTo(claim, roster);
        if (now !== null) {
          this.#say({ kind: 'roster-accepted', claim, answer: now, promised: this.#rosterRow.promised });
        }
      },
      done,
    );
  }

  /** null: it may be written, or was and is not known. */
  #answerTo(claim: number, roster: Roster): RosterAnswer | null {
    const grant = this.#rosterGrant;
    if (this.#roster !== null && sameBallot(this.#roster.ballot, roster.ballot)) return 'accepted';
    if (grant === null || grant.claim !== claim || grant.mod !== this.#rosterMod) return 'promised';
    // Nobody votes but this one.
    if (roster.seats !== null) return 'voters';
    const members = new Set(roster.members.map(({ id }) => id));
    const isNamed = this.#rows.some(({ record: { owner, inSync } }) => {
      return (owner !== null && !members.has(owner)) || inSync.some((id) => !members.has(id));
    });
    return isNamed ? 'named' : null;
  }

  get #rosterRow(): RosterRow {
    return { promised: this.#roster?.ballot ?? NO_BALLOT, accepted: this.#roster, votedIn: NO_BALLOT };
  }

  // -- within

  /** The cluster is the one that this member belongs to. */
  get #isMarked(): EtcdCompare {
    return { key: this.#keys.cluster, value: this.#options.mark, is: 'equal' };
  }

  /** And this life is the member's last one. */
  get #isOurs(): readonly EtcdCompare[] {
    return [this.#isMarked, { key: this.#keys.life(this.#options.self), value: this.#life, is: 'equal' }];
  }

  get #isRoster(): EtcdCompare {
    return { key: this.#keys.roster, mod: 'equal', revision: this.#rosterMod };
  }

  #look(seen: () => void, failed: () => void): void {
    this.#ask(
      { compare: [this.#isMarked], success: this.#news(), failure: [] },
      (answer) => {
        if (!answer.isSuccess) this.#lose('the mark of this cluster is gone from it');
        else if (this.#takeNews(answer, answer.results)) seen();
      },
      failed,
    );
  }

  #ask(txn: EtcdTxn, take: (answer: EtcdAnswer) => void, failed: () => void): void {
    if (this.#asked.size >= MOST_ASKED) {
      failed();
      return;
    }
    this.#numbers += 1;
    const number = this.#numbers;
    const timeoutMs = PATIENCE * this.#timing.leaseMs;
    this.#asked.set(number, { untilMs: this.#clock.nowMs + timeoutMs, floor: this.#revision, take, failed });
    this.#out.push({ kind: 'ask', number, txn, timeoutMs });
  }

  #say(message: Message): void {
    this.#out.push({ kind: 'say', message });
  }

  #lose(why: string): void {
    if (this.#isLost) return;
    this.#isLost = true;
    this.#asked.clear();
    this.#out.push({ kind: 'lost', why });
  }
}

/** Of a look, or of a transaction that has one look or none in it. */
function entriesIn(result: EtcdResult): readonly EtcdEntry[] {
  switch (result.kind) {
    case 'put':
      return [];
    case 'range':
      return result.entries;
    case 'txn':
      return result.results.flatMap(entriesIn);
  }
}
