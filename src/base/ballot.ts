/**
 * A ballot names one reign over a range of slots: who owns it, and the how-many-eth time that ownership changed. The feed's
 * numbers count within a ballot and mean nothing outside it.
 *
 * Ballots are compared whole. Two members that both claim epoch 7 hold different ballots, (7, a) and (7, b), and one of them is
 * higher; compared as bare epochs they would look the same, and a follower would go on counting where another member
 * began (a bug that the first toy of our cluster had).
 *
 * It lies in base/ because everything that speaks of ownership needs it: the feed (freshness/), the records of a cluster (cluster/) and the frames
 * between members (wire/).
 */
import { BreakwaterError } from './errors.ts';

export interface Ballot {
  /** Grows with each change of owner. A lone node without memory of its past takes the time of its start. */
  readonly epoch: number;
  /** Id of the owning node's run: another one after a restart that forgot everything. Any text without a space. */
  readonly node: string;
}

/** Less than, equal to or greater than 0, as `a` is lower than, the same as or higher than `b`. */
export function compareBallots(a: Ballot, b: Ballot): number {
  if (a.epoch !== b.epoch) return a.epoch - b.epoch;
  return a.node < b.node ? -1 : a.node > b.node ? 1 : 0;
}

export function sameBallot(a: Ballot | null, b: Ballot | null): boolean {
  return a === b || (a !== null && b !== null && a.epoch === b.epoch && a.node === b.node);
}

/** The lowest ballot of `node` that is higher than `ballot`. */
export function above(ballot: Ballot, node: string): Ballot {
  return { epoch: ballot.epoch + 1, node };
}

/** `17:5f3c`, as on the wire and in logs. */
export function formatBallot(ballot: Ballot): string {
  return `${ballot.epoch}:${ballot.node}`;
}

/** @throws BreakwaterError `BALLOT_INVALID` */
export function parseBallot(text: string): Ballot {
  const match = /^(\d{1,15}):(\S{1,128})$/.exec(text);
  if (match === null) {
    throw new BreakwaterError(
      'BALLOT_INVALID',
      `cannot read a ballot: expected "epoch:node", received ${JSON.stringify(text.slice(0, 200))}`,
    );
  }
  return { epoch: Number(match[1]), node: match[2]! };
}
