/**
 * The record of a range: who owns it, under which ballot, and which members hold everything that was acknowledged.
 *
 *   { range: 17, ballot: (42, b…), owner: b…, inSync: [b…, e…] }
 *
 * Records are all that members agree upon. Each is changed alone, only by a majority of the voters, and every change has a ballot of its own
 * that is higher than the last: of two records of a range the one with the higher ballot is the newer, whoever brings it, in whatever order.
 * That is why no log is needed.
 *
 * Invariants (`checkRecord`): the in-sync set names nobody twice; the owner is in it; without an owner it may still name copies, out of which
 * the next owner comes. An empty one says that whoever claims the range starts empty.
 */
import { type Ballot, compareBallots, formatBallot } from '../base/ballot.ts';
import { BreakwaterError } from '../base/errors.ts';
import { isNodeId, type NodeId } from './member.ts';

export interface OwnershipRecord {
  readonly range: number;
  readonly ballot: Ballot;
  /** null: nobody; the range is not served. */
  readonly owner: NodeId | null;
  /** Every member whose copy has all that was acknowledged, the owner included; in the order in which they should take over. */
  readonly inSync: readonly NodeId[];
}

/** Below every ballot that a member makes. */
export const NO_BALLOT: Ballot = { epoch: 0, node: '' };

/** Two zones, three copies with the owner; more are allowed and pay for themselves in nothing but memory. */
export const MAX_COPIES = 8;

/** By range. Every member knows this of every range at first, several times over: one value for all. */
const UNOWNED: OwnershipRecord[] = [];

/** What is known of a range that nobody has ever claimed. */
export function unowned(range: number): OwnershipRecord {
  for (let next = UNOWNED.length; next <= range; next += 1) {
    UNOWNED.push({ range: next, ballot: NO_BALLOT, owner: null, inSync: [] });
  }
  return UNOWNED[range]!;
}

/** Is `a` newer than `b`? Both are of one range. */
export function supersedes(a: OwnershipRecord, b: OwnershipRecord): boolean {
  return compareBallots(a.ballot, b.ballot) > 0;
}

/** Same content, ballot included. */
export function sameRecord(a: OwnershipRecord, b: OwnershipRecord): boolean {
  return (
    a === b ||
    (a.range === b.range &&
      compareBallots(a.ballot, b.ballot) === 0 &&
      a.owner === b.owner &&
      a.inSync.length === b.inSync.length &&
      a.inSync.every((id, index) => id === b.inSync[index]))
  );
}

/** @throws BreakwaterError `RECORD_INVALID` */
export function checkRecord(record: OwnershipRecord, rangeCount: number): void {
  const { range, ballot, owner, inSync } = record;
  if (!(Number.isInteger(range) && range >= 0 && range < rangeCount)) refuse(record, `there are ${rangeCount} ranges`);
  if (!(Number.isSafeInteger(ballot.epoch) && ballot.epoch >= 0)) refuse(record, 'its epoch is no whole number from 0');
  if (ballot.epoch > 0 && !isNodeId(ballot.node)) refuse(record, 'its ballot names no member');
  if (inSync.length > MAX_COPIES) refuse(record, `at most ${MAX_COPIES} members hold a range`);
  if (!inSync.every(isNodeId)) refuse(record, 'its in-sync set names something that is no member');
  if (new Set(inSync).size !== inSync.length) refuse(record, 'its in-sync set names a member twice');
  if (owner !== null && !inSync.includes(owner)) refuse(record, 'its owner is not in its in-sync set');
}

function refuse({ range, ballot }: OwnershipRecord, why: string): never {
  throw new BreakwaterError(
    'RECORD_INVALID',
    `cannot take the record of range ${range} under ballot ${formatBallot(ballot)}: ${why}`,
  );
}
