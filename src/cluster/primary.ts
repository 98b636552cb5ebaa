/**
 * One reign: the owner's side of a range, from the record that made it owner until another record ends it.
 *
 * Everything that the owner does to the range becomes an effect with an offset, and every copy applies the effects in that order. Two rules make an acknowledgement mean
 * something (rule 3):
 *
 *   acknowledged   when every *holder* has applied it: the members of the in-sync set, of each set that was proposed and may have been accepted, and
 *                  whoever may still serve reads under a lease that was granted to it
 *   removed        a copy that does not answer for `ackMs` is taken out of the set by a record that a majority accepts; then its read lease is waited out; then
 *                  what waited for it is acknowledged. Without a majority: not acknowledged, and the caller is told
 *
 * What need not wait: a fill (losing it costs a load), and the first SET of a key that no holder can have an older value of. "The owner does not have the key" is not
 * enough for that: a copy may not have applied the removal yet, or may have kept, from the reign before, what this owner never had (`mayHoldMore`).
 *
 * A new reign takes over the copies of the set that it was claimed from, *with what they hold*: it is older than nothing that was acknowledged, since no acknowledgement was
 * given without them. They are told to follow from offset 0 and keep what they have; the entries of the owner then go over in parts, and what the owner does not have goes
 * at the end. A copy that was outside of the set, or missed an effect, begins empty instead: an empty copy is right at any offset.
 *
 * A copy that left the set goes on in its session from where it is, if the backlog still holds what comes next (*partial resync*): it is the same stream, and it enters a set again only when it has said that it has
 * everything that was acknowledged. So does one that was away for up to `replaceMs`. An offset means something within one reign and session alone: who follows another reign, or lost its memory, begins anew.
 * Why an offset of the reign before is no help, though its new owner copied the same stream: a copy drops entries for want of room and tells nobody, so of two at one offset either may have what the other has not.
 *
 *   begin(session, offset)     the copy follows from here
 *   effects(from)              numbered; a gap is answered with the offset it has, and what is missing is sent again out of the backlog
 *   part(number, at)           entries as they were behind effect `at`: a copy that stands elsewhere says so, and the part is cut anew
 *
 * Bounds: the backlog in effects and bytes (a copy that is further behind begins anew, empty), writes that wait, one part on the way a copy; and what all reigns of a member send together (`streams.ts`). What every copy
 * has applied leaves the backlog, so a healthy range keeps what is on its way and no more.
 */
import { assert } from '../base/assert.ts';
import { type Ballot, compareBallots, sameBallot } from '../base/ballot.ts';
import type { NodeId } from './member.ts';
import type { Applied, Message, Part, PartAck, Position } from './messages.ts';
import type { RangeStore } from './range-store.ts';
import type { OwnershipRecord } from './record.ts';
import { MAX_BACKLOG_BYTES, type Resyncs, type Streams } from './streams.ts';
import { DRIFT, type Timing } from './timing.ts';

/** Effects kept for copies that are behind. */
export const MAX_BACKLOG = 512;
/** Writes of one range that wait for their copies. */
export const MAX_PENDING = 4096;
/** While a copy lacks any, those that nobody needs any more leave together, when there are so many of them or so many bytes are kept. */
const TRIM_COUNT = 16;
const TRIM_BYTES = 16 * 1024;
/** In one message; bytes count behind the first effect. */
const MAX_BATCH = 64;
const MAX_BATCH_BYTES = 64 * 1024;
/** More than the sessions of one reign: a number that grows with each session of a range, over all reigns. */
const SESSIONS = 0x10_0000;
/** Single effects are counted against what a copy may be sent in a turn from so many bytes on: smaller ones are bounded by what clients may ask in one. */
const COUNTED_BYTES = 512;
/** Several times within `ackMs`: one loss must not cost a copy its place... */
const RESEND_MS = 60;
const SOON_RESENDS = 3;
/** ...and then each time twice as late: who reads slowly is not helped by being sent everything again and again. */
const MAX_RESEND_MS = 240;

export interface Follower {
  readonly id: NodeId;
  session: number;
  /** The offset that this session began behind. */
  startOffset: number;
  keeps: boolean;
  /** `begin` was answered: it follows. */
  isFollowing: boolean;
  /** It has applied everything up to here; -1 before it follows. */
  applied: number;
  sentUpTo: number;
  /** When something was last sent to it for the first or another time, or it last got on: the clock of sending again. New effects do not turn it back, or a busy range never would. */
  movedMs: number;
  /** How often something was sent again since it last got on. */
  resends: number;
  partMs: number;
  partResends: number;
  /** Effects were not sent, for want of room in its link. */
  isHeldBack: boolean;
  /** It said where it is since it left the set, or was taken up. */
  isHeard: boolean;
  /** It left the set in this session. */
  wasInSync: boolean;
  /** It is to have this before it enters a set: what was done by the time it left the last one, be it acknowledged or not. Else who is cut off in one direction would come and go. */
  neededOffset: number;
  /** Entries are on their way to it. */
  isSyncing: boolean;
  /** It stood elsewhere in the stream when a part came: the next one is cut when it has caught up. */
  isBehind: boolean;
  /** On its way, and the cursor behind it. Every cut has a number of its own, so that an answer to an earlier one is known as such. */
  part: Part | null;
  nextCursor: number;
  parts: number;
  cursor: number;
  /** It may have entries that the owner has not. */
  mayHoldMore: boolean;
  /** Patient time: it may serve reads until then. */
  readUntilMs: number;
  /** No more read leases: it is about to leave the set. */
  isLeaving: boolean;
  /** One more than there are to be: no read leases either, and it is taken out of the set when its last has ended, so that no write has to wait for that. */
  isSurplus: boolean;
  /** Outside of the set, on its way in. */
  isStaged: boolean;
}

/** A copy that was given up, with what is known of it: it may come back. */
interface Absent {
  readonly follower: Follower;
  readonly untilMs: number;
}

interface Pending {
  readonly id: number;
  readonly offset: number;
  readonly sinceMs: number;
}

const NEVER = Number.NEGATIVE_INFINITY;

export interface PrimaryPorts {
  readonly store: RangeStore;
  readonly streams: Streams;
  /** A copy is whole that was not. */
  resynced(to: NodeId, how: keyof Resyncs): void;
  send(to: NodeId, message: Message): void;
  settled(id: number, isAcknowledged: boolean): void;
}

export class Primary {
  readonly range: number;
  readonly reign: Ballot;
  /** The newest record of ours that is chosen. */
  record: OwnershipRecord;
  /** Ownership is being given away: nothing is served. */
  isFrozen = false;
  /** Since when. */
  frozenMs = 0;
  /** When the reign began. */
  beganMs = 0;
  /** An operator wants it here: it is not sent home. */
  isPinned = false;
  /** Offset of the last effect. */
  offset = 0;
  /** Since when a voter has objected to our record; -1: none does. */
  contestedSinceMs = -1;
  readonly followers = new Map<NodeId, Follower>();
  /** Away, and the backlog still holds what they lack. */
  readonly #absent = new Map<NodeId, Absent>();
  readonly #self: NodeId;
  readonly #timing: Timing;
  readonly #ports: PrimaryPorts;
  /** Effects of offsets `#backlogFrom` to `offset`. */
  #backlog: Uint8Array[] = [];
  #backlogFrom = 1;
  #backlogBytes = 0;
  #pending: Pending[] = [];
  /** Sets that were proposed above the record, and may have been accepted. */
  #proposed: { readonly ballot: Ballot; readonly inSync: readonly NodeId[] }[] = [];
  /** Never used twice in a reign, whichever copy comes and goes: a copy that left and was forgotten here may still be in its old session. */
  #sessions = 0;
  /** Patient time: read leases that earlier owners granted to members outside of the set may last until then. */
  readonly #graceUntilMs: number;
  /** The last effect that removed something. */
  #removalOffset = 0;
  /** The last effect of which a caller was told that it holds. */
  #acknowledged = 0;

  constructor(
    self: NodeId,
    record: OwnershipRecord,
    kept: readonly NodeId[],
    graceUntilMs: number,
    timing: Timing,
    ports: PrimaryPorts,
    /** Patient time: a copy of the set may serve reads until then, under a lease of the owner before. It ends when the copy follows us; who leaves the set before is waited for until then. */
    leasedUntilMs = NEVER,
  ) {
    this.#self = self;
    this.range = record.range;
    this.reign = record.ballot;
    this.record = record;
    this.#timing = timing;
    this.#ports = ports;
    this.#graceUntilMs = graceUntilMs;
    for (const id of record.inSync) {
      if (id !== self) this.#follow(id, kept.includes(id), false, leasedUntilMs);
    }
  }

  get pendingCount(): number {
    return this.#pending.length;
  }

  get backlogCount(): number {
    return this.#backlog.length;
  }

  /** May another write wait? */
  get hasRoom(): boolean {
    return this.#pending.length < MAX_PENDING;
  }

  /**
   * Something was done to the range: every copy is to do it too. Returns the effect's offset.
   * @param removes an older value may be gone now: an invalidation, an overwrite, an eviction
   */
  append(body: Uint8Array, removes: boolean, nowMs: number): number {
    this.offset += 1;
    if (removes) this.#removalOffset = this.offset;
    this.#backlog.push(body);
    this.#backlogBytes += body.length;
    const { streams } = this.#ports;
    streams.kept(1, body.length);
    for (const follower of this.followers.values()) {
      if (!follower.isFollowing || follower.sentUpTo !== this.offset - 1) continue;
      if (!streams.hasRoom(follower.id)) {
        follower.isHeldBack = true;
        continue;
      }
      follower.sentUpTo = this.offset;
      if (body.length >= COUNTED_BYTES) streams.sent(follower.id, body.length);
      if (follower.applied === this.offset - 1) follower.movedMs = nowMs;
      this.#ports.send(follower.id, this.#effects(follower, this.offset, [body]));
    }
    this.#trim();
    return this.offset;
  }

  /**
   * As `append`, of something that a caller waits for: `settled(id)` is called, now or later, exactly once.
   * @param isFirst the owner had no value of the key: nobody needs to be waited for, unless a holder may have one
   */
  write(id: number, body: Uint8Array, isFirst: boolean, nowMs: number, patientMs: number): void {
    const waits = !isFirst || this.#mayBeHeldElsewhere(patientMs);
    const offset = this.append(body, !isFirst, nowMs);
    if (waits) {
      this.#pending.push({ id, offset, sinceMs: nowMs });
      this.settle(nowMs, patientMs);
      return;
    }
    this.#acknowledged = offset;
    this.#ports.settled(id, true);
  }

  /** Acknowledges what every holder has applied, and gives up what waited too long. */
  settle(nowMs: number, patientMs: number): void {
    if (this.#pending.length === 0) return;
    const committed = this.committed(patientMs);
    let done = 0;
    for (const { id, offset, sinceMs } of this.#pending) {
      if (offset <= committed) {
        if (offset > this.#acknowledged) this.#acknowledged = offset;
        this.#ports.settled(id, true);
      } else if (nowMs - sinceMs >= this.#timing.writeMs) this.#ports.settled(id, false);
      else break;
      done += 1;
    }
    if (done > 0) this.#pending = this.#pending.slice(done);
  }

  /** Every holder has applied everything up to here. */
  committed(patientMs: number): number {
    if (patientMs < this.#graceUntilMs) return -1;
    let least = this.offset;
    for (const follower of this.followers.values()) {
      if (follower.applied < least && this.#isHolder(follower, patientMs)) least = follower.applied;
    }
    return least;
  }

  /** The reign is over, or nothing can be acknowledged any more: every caller that waits is told. */
  end(): void {
    this.#ports.streams.kept(-this.#backlog.length, -this.#backlogBytes);
    this.#backlog = [];
    this.#backlogFrom = this.offset + 1;
    this.#backlogBytes = 0;
    this.#absent.clear();
    const pending = this.#pending;
    this.#pending = [];
    for (const { id } of pending) this.#ports.settled(id, false);
  }

  // -- the set

  /** A record of ours with this set is on its way: whoever is in it holds from now on. */
  propose(ballot: Ballot, inSync: readonly NodeId[]): void {
    this.#proposed.push({ ballot, inSync });
  }

  /** A record of ours is chosen: it is the set now, whatever was proposed before it. What was proposed above it, in place of it perhaps before it was known to be chosen, may be chosen still. */
  adopt(record: OwnershipRecord): void {
    this.record = record;
    this.#proposed = this.#proposed.filter(({ ballot }) => compareBallots(ballot, record.ballot) > 0);
    for (const follower of this.followers.values()) {
      const isIn = record.inSync.includes(follower.id);
      if (isIn) {
        if (follower.isStaged && follower.wasInSync) this.#ports.resynced(follower.id, 'partial');
        follower.isStaged = false;
        follower.isLeaving = false;
        follower.isSurplus = false;
      } else if (!follower.isStaged) {
        // If it is wanted again it goes on from where it is, or begins anew where the backlog has moved on. Its read lease goes on counting until then.
        follower.isStaged = true;
        follower.isLeaving = false;
        follower.isHeard = false;
        follower.wasInSync = follower.isFollowing;
        follower.neededOffset = this.offset;
      }
    }
  }

  /** A member outside of the set is to become a copy. */
  stage(id: NodeId): void {
    if (this.followers.has(id)) return;
    const absent = this.#absent.get(id);
    if (absent === undefined) {
      this.#follow(id, false, true, NEVER);
      return;
    }
    this.#absent.delete(id);
    const { follower } = absent;
    follower.movedMs = NEVER;
    follower.resends = 0;
    follower.partMs = NEVER;
    follower.partResends = 0;
    follower.isHeard = false;
    follower.neededOffset = this.offset;
    this.followers.set(id, follower);
  }

  /** It is not to become a copy now. `isAway`: because it is silent, so where it is in the stream is remembered for a while. */
  unstage(id: NodeId, patientMs: number, isAway: boolean, nowMs: number): void {
    const follower = this.followers.get(id);
    if (!follower?.isStaged || follower.readUntilMs > patientMs || this.#isProposed(id)) return;
    this.followers.delete(id);
    if (isAway && follower.isFollowing && follower.applied + 1 >= this.#backlogFrom) {
      this.#absent.set(id, { follower, untilMs: nowMs + this.#timing.replaceMs });
    } else this.#trim();
  }

  /** Staged, it has said so, and it has everything that was acknowledged. What is acknowledged from now on waits for it, if it is proposed now. */
  isReady(follower: Follower): boolean {
    const { isStaged, isFollowing, isHeard, isSyncing, neededOffset } = follower;
    const most = Math.max(this.#acknowledged, neededOffset);
    return isStaged && isFollowing && isHeard && !isSyncing && most <= follower.applied;
  }

  /** A copy of the set because of which a write has waited longer than `ackMs`. */
  isLate(follower: Follower, nowMs: number): boolean {
    if (follower.isStaged) return false;
    const [first] = this.#pending;
    return first !== undefined && follower.applied < first.offset && nowMs - first.sinceMs >= this.#timing.ackMs;
  }

  // -- what copies say

  onApplied(from: NodeId, message: Omit<Applied, 'kind'>, nowMs: number, patientMs: number): void {
    const follower = this.followers.get(from);
    if (follower === undefined) return;
    if (!sameBallot(message.reign, this.reign) || message.session !== follower.session) {
      // It follows somebody else, or nobody (it started anew): what it was told of us is lost.
      if (follower.isFollowing && !sameBallot(message.reign, this.reign)) this.#restart(follower, false);
      return;
    }
    if (!follower.isFollowing) {
      follower.isFollowing = true;
      follower.sentUpTo = follower.startOffset;
      follower.applied = follower.startOffset;
      if (!follower.keeps) follower.mayHoldMore = false;
    }
    follower.isHeard = true;
    if (message.offset > follower.applied) {
      follower.applied = Math.min(message.offset, this.offset);
      follower.movedMs = nowMs;
      follower.resends = 0;
      this.#trim();
    }
    this.#feed(follower, nowMs, false);
    this.#feedPart(follower, nowMs);
    this.settle(nowMs, patientMs);
  }

  onPartAck(from: NodeId, message: PartAck, nowMs: number): void {
    const follower = this.followers.get(from);
    if (follower === undefined || follower.part === null) return;
    if (!sameBallot(message.reign, this.reign) || message.session !== follower.session) return;
    if (message.number !== follower.part.number) return;
    const { isLast } = follower.part;
    follower.part = null;
    follower.isBehind = !message.isTaken;
    if (message.isTaken) {
      follower.cursor = follower.nextCursor;
      if (isLast) {
        follower.isSyncing = false;
        follower.mayHoldMore = false;
        this.#ports.resynced(from, follower.keeps ? 'compared' : 'full');
        return;
      }
    }
    this.#feedPart(follower, nowMs);
  }

  /** May this copy serve reads for a while? If so, that is noted. The caller has looked whether we are leased. */
  grantRead(from: NodeId, { reign, session }: Position, patientMs: number): boolean {
    const follower = this.followers.get(from);
    if (follower === undefined || !sameBallot(reign, this.reign) || session !== follower.session) return false;
    if (follower.isStaged || follower.isLeaving || follower.isSurplus || !follower.isFollowing) return false;
    if (this.isFrozen || !this.record.inSync.includes(from)) return false;
    follower.readUntilMs = Math.max(follower.readUntilMs, patientMs + this.#timing.readLeaseMs * DRIFT);
    return true;
  }

  /** May it serve reads still? */
  mayRead(id: NodeId, patientMs: number): boolean {
    return (this.followers.get(id)?.readUntilMs ?? NEVER) > patientMs;
  }

  /** For how long read leases may last still that we granted, or owners before us, to members outside of the set. Those of its members end when they follow the next owner, whose set they are in. */
  outsideLeasesMs(patientMs: number): number {
    let untilMs = Math.max(patientMs, this.#graceUntilMs);
    for (const { id, readUntilMs } of this.followers.values()) {
      if (!this.record.inSync.includes(id) && readUntilMs > untilMs) untilMs = readUntilMs;
    }
    return untilMs - patientMs;
  }

  onTick(nowMs: number, patientMs: number): void {
    if (this.#absent.size > 0) {
      for (const [id, { untilMs }] of this.#absent) if (nowMs >= untilMs) this.#absent.delete(id);
      this.#trim();
    }
    for (const follower of this.followers.values()) {
      if (!this.#ports.streams.hasRoom(follower.id)) continue;
      if (nowMs - follower.movedMs >= resendMs(follower.resends)) this.#feed(follower, nowMs, true);
      else if (follower.isHeldBack) this.#feed(follower, nowMs, false);
      if (follower.part === null) this.#feedPart(follower, nowMs);
      else if (nowMs - follower.partMs >= resendMs(follower.partResends)) {
        follower.partMs = nowMs;
        follower.partResends += 1;
        this.#sendPart(follower, follower.part);
      }
    }
    this.settle(nowMs, patientMs);
  }

  /** Throws unless the structure is whole. O(followers + pending). */
  invariants(): void {
    assert(this.#backlogFrom + this.#backlog.length === this.offset + 1, 'primary: the backlog ends at the offset');
    assert(this.#backlog.length <= 2 * MAX_BACKLOG, 'primary: the backlog is bounded');
    const bytes = this.#backlog.reduce((sum, body) => sum + body.length, 0);
    assert(bytes === this.#backlogBytes, 'primary: the bytes of the backlog are counted');
    assert(this.#backlog.length <= 1 || bytes <= MAX_BACKLOG_BYTES, 'primary: the bytes of the backlog are bounded');
    assert(this.#pending.length <= MAX_PENDING, 'primary: the writes that wait are bounded');
    let last = 0;
    for (const { offset } of this.#pending) {
      assert(offset >= last && offset <= this.offset, 'primary: writes wait in the order of their effects');
      last = offset;
    }
    for (const id of this.record.inSync) {
      assert(id === this.#self || this.followers.has(id), 'primary: every member of the set is fed');
    }
    for (const { inSync } of this.#proposed) {
      for (const id of inSync) {
        assert(id === this.#self || this.followers.has(id), 'primary: every member of a set that may be chosen is fed');
      }
    }
    for (const [id, { follower }] of this.#absent) {
      assert(!this.followers.has(id), 'primary: who is fed is not away');
      assert(
        follower.applied + 1 >= this.#backlogFrom,
        'primary: nobody is remembered whom the backlog has left behind',
      );
    }
    for (const { applied, sentUpTo } of this.followers.values()) {
      assert(applied <= this.offset && sentUpTo <= this.offset, 'primary: nobody is ahead of the owner');
    }
  }

  // -- within

  /** Can a holder have an older value of a key that the owner does not have? Then even a first SET waits. */
  #mayBeHeldElsewhere(patientMs: number): boolean {
    if (patientMs < this.#graceUntilMs) return true;
    for (const follower of this.followers.values()) {
      if (!this.#isHolder(follower, patientMs)) continue;
      if (follower.mayHoldMore || follower.applied < this.#removalOffset) return true;
    }
    return false;
  }

  /** Takes effects out of the backlog that everybody has, and the oldest of those that do not fit. */
  #trim(): void {
    const { length } = this.#backlog;
    let had = this.offset;
    for (const { isFollowing, applied, startOffset } of this.followers.values()) {
      const has = isFollowing ? applied : startOffset;
      if (has < had) had = has;
    }
    for (const { follower } of this.#absent.values()) if (follower.applied < had) had = follower.applied;
    // At once when everybody has everything: what is kept for longer than it takes to be garbage soon grows old, and is collected late (a hundred bytes an entry).
    if (had < this.offset && length < TRIM_COUNT && this.#backlogBytes < TRIM_BYTES) return;
    const isOver = length > 2 * MAX_BACKLOG;
    let drop = Math.max(0, had + 1 - this.#backlogFrom, isOver ? length - MAX_BACKLOG : 0);
    let rest = this.#backlogBytes;
    for (let at = 0; at < drop; at += 1) rest -= this.#backlog[at]!.length;
    const most = this.#ports.streams.mostBacklogBytes;
    if (rest > most) {
      while (drop < length - 1 && rest > most / 2) {
        rest -= this.#backlog[drop]!.length;
        drop += 1;
      }
    }
    // Few and light: they go with the next ones.
    if (drop === 0 || (drop < TRIM_COUNT && drop < length && this.#backlogBytes <= most)) return;
    this.#ports.streams.kept(-drop, rest - this.#backlogBytes);
    this.#backlog = drop === length ? [] : this.#backlog.slice(drop);
    this.#backlogFrom += drop;
    this.#backlogBytes = rest;
    for (const [id, { follower }] of this.#absent) {
      if (follower.applied + 1 < this.#backlogFrom) this.#absent.delete(id);
    }
  }

  #isProposed(id: NodeId): boolean {
    return this.#proposed.some(({ inSync }) => inSync.includes(id));
  }

  #isHolder(follower: Follower, patientMs: number): boolean {
    return !follower.isStaged || follower.readUntilMs > patientMs || this.#isProposed(follower.id);
  }

  #follow(id: NodeId, keeps: boolean, isStaged: boolean, readUntilMs: number): void {
    this.#sessions += 1;
    this.followers.set(id, {
      id,
      session: this.#sessions,
      startOffset: this.offset,
      keeps,
      isFollowing: false,
      applied: -1,
      sentUpTo: this.offset,
      movedMs: NEVER,
      resends: 0,
      partMs: NEVER,
      partResends: 0,
      isHeldBack: false,
      isHeard: false,
      wasInSync: false,
      neededOffset: 0,
      isBehind: false,
      isSyncing: true,
      part: null,
      nextCursor: 0,
      parts: 0,
      cursor: 0,
      mayHoldMore: true,
      readUntilMs,
      isLeaving: false,
      isSurplus: false,
      isStaged,
    });
  }

  #restart(follower: Follower, keeps: boolean): void {
    this.#sessions += 1;
    follower.session = this.#sessions;
    follower.startOffset = this.offset;
    follower.keeps = keeps;
    follower.isFollowing = false;
    follower.applied = -1;
    follower.sentUpTo = this.offset;
    follower.movedMs = NEVER;
    follower.resends = 0;
    follower.partResends = 0;
    follower.isHeldBack = false;
    follower.isHeard = false;
    follower.wasInSync = false;
    follower.neededOffset = 0;
    follower.isBehind = false;
    follower.isSyncing = true;
    follower.part = null;
    follower.nextCursor = 0;
    follower.parts = 0;
    follower.cursor = 0;
    follower.mayHoldMore = true;
  }

  /** Sends what it lacks: `begin`, or the next effects. `again`: from what it has acknowledged. */
  #feed(follower: Follower, nowMs: number, again: boolean): void {
    const { streams } = this.#ports;
    if (!follower.isFollowing) {
      if (!again) return;
      if (follower.startOffset + 1 < this.#backlogFrom) this.#restart(follower, false);
      follower.movedMs = nowMs;
      follower.resends += 1;
      const { session, startOffset, keeps } = follower;
      const { range, reign } = this;
      const record = this.record.ballot;
      this.#ports.send(follower.id, { kind: 'begin', range, reign, session, offset: startOffset, keeps, record });
      return;
    }
    if (again) follower.sentUpTo = follower.applied;
    follower.isHeldBack = false;
    while (follower.sentUpTo < this.offset) {
      const from = follower.sentUpTo + 1;
      if (from < this.#backlogFrom) {
        this.#restart(follower, false);
        return;
      }
      if (!streams.hasRoom(follower.id)) {
        follower.isHeldBack = true;
        return;
      }
      const bodies = this.#batch(from - this.#backlogFrom);
      for (const { length } of bodies) streams.sent(follower.id, length);
      follower.sentUpTo = from + bodies.length - 1;
      if (again) {
        follower.movedMs = nowMs;
        follower.resends += 1;
      }
      this.#ports.send(follower.id, this.#effects(follower, from, bodies));
      if (again) return;
    }
  }

  #batch(at: number): readonly Uint8Array[] {
    let end = at + 1;
    let bytes = this.#backlog[at]!.length;
    while (end < this.#backlog.length && end - at < MAX_BATCH) {
      bytes += this.#backlog[end]!.length;
      if (bytes > MAX_BATCH_BYTES) break;
      end += 1;
    }
    return this.#backlog.slice(at, end);
  }

  #effects(follower: Follower, from: number, bodies: readonly Uint8Array[]): Message {
    const { range, reign } = this;
    return { kind: 'effects', range, reign, session: follower.session, from, bodies };
  }

  #feedPart(follower: Follower, nowMs: number): void {
    if (!follower.isSyncing || !follower.isFollowing || follower.part !== null) return;
    if (follower.isBehind ? follower.applied < this.offset : follower.sentUpTo < this.offset) return;
    const { range, reign } = this;
    const { session } = follower;
    const { store, streams } = this.#ports;
    const since = reign.epoch * SESSIONS + session;
    if (follower.cursor === 0) store.prepare(range, since);
    if (!streams.hasRoom(follower.id) || !streams.takeCut()) return;
    const cut = store.cut(range, follower.cursor, since);
    if (cut === null) return;
    const { entries, cursor } = cut;
    let bytes = 0;
    for (const { length } of entries) bytes += length;
    streams.cut(bytes);
    follower.parts += 1;
    follower.part = {
      kind: 'part',
      range,
      reign,
      session,
      number: follower.parts,
      at: this.offset,
      entries,
      isLast: cursor === -1,
    };
    follower.nextCursor = cursor;
    follower.partMs = nowMs;
    follower.partResends = 0;
    this.#sendPart(follower, follower.part);
  }

  #sendPart({ id }: Follower, part: Part): void {
    for (const { length } of part.entries) this.#ports.streams.sent(id, length);
    this.#ports.send(id, part);
  }
}

function resendMs(resends: number): number {
  return resends < SOON_RESENDS ? RESEND_MS : Math.min(MAX_RESEND_MS, RESEND_MS << (resends - SOON_RESENDS + 1));
}
