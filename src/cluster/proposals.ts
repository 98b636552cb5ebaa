/**
 * The proposer: records on their way to a majority. A round asks all voters about many ranges at once (the ranges of one dead member are claimed by each
 * candidate in one message), but each range succeeds or fails alone.
 *
 *   asking    prepare sent; a majority of yes: go on. A majority can no longer say yes: failed, and the refusals say above which epoch to try again
 *   telling   accept sent; a majority of yes: the record is chosen. Else its fate is unknown: it may have been accepted by some and be completed by others
 *
 * Each of the two must end within F of its first message, by the clock as it is. A voter that lost its memory waits T > F before it reads the others' tables: so
 * no promise that it has forgotten is ever counted together with one given after its reading (voter.ts).
 *
 * When the set of voters changes, everything under way fails: promises of one set and acceptances of another say nothing together.
 *
 * What is lost is sent again within that time; voters answer the same question the same way. There is one proposal a range at a time, and no timer by chance:
 * who tries again when, is `core.ts`'s to say.
 */
import { assert } from '../base/assert.ts';
import type { Ballot } from '../base/ballot.ts';
import type { NodeId } from './member.ts';
import type { Accepted, Message, Promised, Refusal } from './messages.ts';
import { NO_BALLOT, type OwnershipRecord } from './record.ts';
import type { Timing } from './timing.ts';

/**
 * Why: `takeover` of a silent owner's range, `yielded` by its owner, `first` record of the range, `again` (our own, begun anew without content),
 * `repair` (the same record above a promise that somebody left behind), `in-sync` (another set of copies).
 */
export type ProposalKind = 'takeover' | 'yielded' | 'first' | 'again' | 'repair' | 'in-sync';

export interface Wish {
  readonly range: number;
  readonly kind: ProposalKind;
  readonly basis: OwnershipRecord;
  readonly owner: NodeId;
  readonly inSync: readonly NodeId[];
}

export interface Proposal extends Wish {
  readonly claim: number;
  readonly record: OwnershipRecord;
  phase: 'asking' | 'telling';
  /** Bits of voters. */
  granted: number;
  refused: number;
  accepted: number;
  startedMs: number;
  toldMs: number;
  sentMs: number;
  /** What the refusals said, the most of each. */
  highestEpoch: number;
  waitMs: number;
  newer: OwnershipRecord | null;
  /** A promise that counts was given because the owner's process is gone, and not after T. */
  isHasty: boolean;
}

export interface ProposalListener {
  chosen(proposal: Proposal): void;
  failed(proposal: Proposal, why: string): void;
}

const RETRY_MS = 120;

export class Proposals {
  readonly #self: NodeId;
  #voters: readonly NodeId[];
  #majority: number;
  /** The epoch of the set of voters. */
  #set: Ballot;
  readonly #timing: Timing;
  readonly #listener: ProposalListener;
  readonly #send: (to: NodeId, message: Message) => void;
  readonly #open = new Map<number, Proposal>();
  readonly #lifeBase: number;
  #claims = 0;

  /** @param life grows with each start: claims of different lives differ */
  constructor(
    self: NodeId,
    life: number,
    voters: readonly NodeId[],
    timing: Timing,
    listener: ProposalListener,
    send: (to: NodeId, message: Message) => void,
    set: Ballot = NO_BALLOT,
  ) {
    this.#set = set;
    this.#self = self;
    this.#voters = voters;
    this.#majority = Math.floor(voters.length / 2) + 1;
    this.#timing = timing;
    this.#listener = listener;
    this.#send = send;
    this.#lifeBase = life * 1_000_000;
  }

  /** Others are asked from now on. What was asked of those before is given up: no answer of one set is counted together with those of another. */
  ask(voters: readonly NodeId[], set: Ballot): void {
    this.#voters = voters;
    this.#majority = Math.floor(voters.length / 2) + 1;
    this.#set = set;
    for (const proposal of [...this.#open.values()]) this.#fail(proposal, 'the voters have changed');
  }

  get size(): number {
    return this.#open.size;
  }

  of(range: number): Proposal | null {
    return this.#open.get(range) ?? null;
  }

  /** One round for all these ranges, under ballots of one epoch. */
  start(wishes: readonly Wish[], epoch: number, nowMs: number): void {
    this.#claims += 1;
    const claim = this.#lifeBase + this.#claims;
    const round: Proposal[] = [];
    for (const wish of wishes) {
      const { range, owner, inSync, basis } = wish;
      assert(!this.#open.has(range), 'one proposal a range at a time');
      assert(epoch > basis.ballot.epoch, 'a proposal is above what it replaces');
      const record: OwnershipRecord = { range, ballot: { epoch, node: this.#self }, owner, inSync };
      const proposal: Proposal = {
        ...wish,
        claim,
        record,
        phase: 'asking',
        granted: 0,
        refused: 0,
        accepted: 0,
        startedMs: nowMs,
        toldMs: 0,
        sentMs: nowMs,
        highestEpoch: epoch,
        waitMs: 0,
        newer: null,
        isHasty: false,
      };
      this.#open.set(range, proposal);
      round.push(proposal);
    }
    for (let voter = 0; voter < this.#voters.length; voter += 1) this.#ask(voter, claim, round);
  }

  onPromised(voter: number, message: Promised, nowMs: number): void {
    const ready: Proposal[] = [];
    for (const range of message.granted) {
      const proposal = this.#open.get(range);
      if (proposal === undefined || proposal.claim !== message.claim || proposal.phase !== 'asking') continue;
      if (this.#isLate(proposal, nowMs)) continue;
      proposal.granted |= 1 << voter;
      if (message.isHasty) proposal.isHasty = true;
      if (bits(proposal.granted) >= this.#majority) ready.push(proposal);
    }
    for (const proposal of ready) {
      proposal.phase = 'telling';
      proposal.toldMs = nowMs;
      proposal.sentMs = nowMs;
      proposal.refused = 0;
    }
    if (ready.length > 0) {
      for (let index = 0; index < this.#voters.length; index += 1) this.#tell(index, message.claim, ready);
    }
    for (const refusal of message.refused) this.#refuse(voter, message.claim, refusal, 'asking');
  }

  onAccepted(voter: number, message: Accepted, nowMs: number): void {
    for (const range of message.ranges) {
      const proposal = this.#open.get(range);
      if (proposal === undefined || proposal.claim !== message.claim || proposal.phase !== 'telling') continue;
      if (this.#isLate(proposal, nowMs)) continue;
      proposal.accepted |= 1 << voter;
      if (bits(proposal.accepted) < this.#majority) continue;
      this.#open.delete(range);
      this.#listener.chosen(proposal);
    }
    for (const refusal of message.refused) this.#refuse(voter, message.claim, refusal, 'telling');
  }

  /** Nobody wants it any more: a newer record is chosen. What voters accepted of it stays accepted. */
  withdraw(range: number): void {
    this.#open.delete(range);
  }

  onTick(nowMs: number): void {
    const again = new Map<number, Proposal[]>();
    for (const proposal of this.#open.values()) {
      if (this.#isLate(proposal, nowMs)) {
        this.#fail(proposal, proposal.phase === 'asking' ? 'no majority answered' : 'no majority accepted in time');
        continue;
      }
      if (nowMs - proposal.sentMs < RETRY_MS) continue;
      proposal.sentMs = nowMs;
      const round = again.get(proposal.claim);
      if (round === undefined) again.set(proposal.claim, [proposal]);
      else round.push(proposal);
    }
    for (const [claim, round] of again) {
      for (let voter = 0; voter < this.#voters.length; voter += 1) {
        const bit = 1 << voter;
        const asking = round.filter(
          ({ phase, granted, refused }) => phase === 'asking' && ((granted | refused) & bit) === 0,
        );
        const telling = round.filter(
          ({ phase, accepted, refused }) => phase === 'telling' && ((accepted | refused) & bit) === 0,
        );
        if (asking.length > 0) this.#ask(voter, claim, asking);
        if (telling.length > 0) this.#tell(voter, claim, telling);
      }
    }
  }

  // -- within

  #isLate(proposal: Proposal, nowMs: number): boolean {
    return nowMs - (proposal.phase === 'asking' ? proposal.startedMs : proposal.toldMs) >= this.#timing.leaseMs;
  }

  #refuse(voter: number, claim: number, refusal: Refusal, phase: Proposal['phase']): void {
    const proposal = this.#open.get(refusal.range);
    if (proposal === undefined || proposal.claim !== claim || proposal.phase !== phase) return;
    const bit = 1 << voter;
    if (((phase === 'asking' ? proposal.granted : proposal.accepted) & bit) !== 0) return;
    proposal.refused |= bit;
    proposal.highestEpoch = Math.max(proposal.highestEpoch, refusal.promised.epoch, refusal.accepted.ballot.epoch);
    if (refusal.reason === 'heard') proposal.waitMs = Math.max(proposal.waitMs, refusal.waitMs);
    if (refusal.reason === 'newer' || refusal.reason === 'promised') {
      if (proposal.newer === null || refusal.accepted.ballot.epoch > proposal.newer.ballot.epoch)
        proposal.newer = refusal.accepted;
    }
    if (bits(proposal.refused) > this.#voters.length - this.#majority) this.#fail(proposal, refusal.reason);
  }

  #fail(proposal: Proposal, why: string): void {
    this.#open.delete(proposal.range);
    this.#listener.failed(proposal, why);
  }

  #ask(voter: number, claim: number, round: readonly Proposal[]): void {
    this.#send(this.#voters[voter]!, {
      kind: 'prepare',
      claim,
      epoch: round[0]!.record.ballot.epoch,
      set: this.#set,
      items: round.map(({ range, basis, kind }) => ({
        range,
        basis: basis.ballot,
        owner: basis.owner,
        isYielded: kind === 'yielded',
      })),
    });
  }

  #tell(voter: number, claim: number, round: readonly Proposal[]): void {
    const records = round.map(({ record }) => record);
    this.#send(this.#voters[voter]!, { kind: 'accept', claim, records, set: this.#set });
  }
}

function bits(mask: number): number {
  let count = 0;
  for (let rest = mask; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
