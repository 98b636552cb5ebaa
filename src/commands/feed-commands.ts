/**
 * BW.FEED: what an L1 asks of the invalidation feed. The wire is told in docs/feed.md, the reasons in freshness/feed.ts.
 */

import { type Ballot, formatBallot, parseBallot } from '../base/ballot.ts';
import { BreakwaterError } from '../base/errors.ts';
import { CUT, PAUSED } from '../freshness/feed.ts';
import type { Position } from '../freshness/feed-kinds.ts';
import { SLOT_COUNT } from '../hash/slot.ts';
import type { Args } from '../resp/parser.ts';
import type { ReplyWriter } from '../resp/writer.ts';
import { type ClusterFace, OWNED } from './cluster-face.ts';
import type { Context } from './context.ts';
import { NOT_INTEGER, SYNTAX } from './errors.ts';
import { integerAt } from './numbers.ts';
import type { Session } from './session.ts';
import { textOf } from './words.ts';

const NEEDS_RESP3 = 'ERR BW.FEED needs RESP3: send HELLO 3 first';
const GAP = 'FEEDGAP not following: subscribe anew, with your positions';
const NO_MAJORITY = 'FEEDPAUSED no majority';
/** Positions of one subscription. */
const MAX_POSITIONS = 16_384;
const MAX_BOUND_MS = 1000;

/** BW.FEED SUBSCRIBE id bound-ms n [range ballot number] x n */
export function feedSubscribe(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  if (!speaksResp3(session, out)) return;
  const id = number(args, 2);
  const boundMs = number(args, 3);
  const count = number(args, 4);
  if (Number.isNaN(id) || Number.isNaN(boundMs) || Number.isNaN(count)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (count < 0 || count > MAX_POSITIONS || args.count !== 5 + 3 * count) {
    out.error(SYNTAX);
    return;
  }
  const positions: Position[] = [];
  for (let i = 5; i < args.count; i += 3) {
    const range = number(args, i);
    const at = number(args, i + 2);
    const ballot = ballotAt(args, i + 1);
    if (Number.isNaN(range) || Number.isNaN(at)) {
      out.error(NOT_INTEGER);
      return;
    }
    if (ballot === null) {
      out.error('ERR invalid ballot: expected epoch:node');
      return;
    }
    positions.push({ range, ballot, number: at });
  }
  const answer = context.pushes.subscribe(session, positions, boundMs, context.nowMs);
  switch (answer.kind) {
    case 'following':
      out.map(2);
      out.bulkText('seq');
      out.integer(answer.seq);
      out.bulkText('streams');
      out.array(answer.streams.length);
      for (const stream of answer.streams) {
        out.array(4);
        out.integer(stream.range);
        out.bulkText(formatBallot(stream.ballot));
        out.integer(stream.number);
        out.boolean(stream.replay);
      }
      return;
    case 'surpassed':
      out.error(`FEEDSURPASSED ${answer.range} ${formatBallot(answer.ballot)}`);
      return;
    case 'refused':
      if (answer.reason === 'bound') out.error(`ERR bound must be between 1 and ${MAX_BOUND_MS} ms`);
      else out.error(answer.reason === 'full' ? 'FEEDFULL too many subscribers' : NO_MAJORITY);
  }
}

/** BW.FEED PING id applied-seq */
export function feedPing(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  if (!speaksResp3(session, out)) return;
  const id = number(args, 2);
  const applied = number(args, 3);
  if (Number.isNaN(id) || Number.isNaN(applied)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (context.cluster !== null && !context.cluster.isVouching) {
    out.error(NO_MAJORITY);
    return;
  }
  const head = session.follower === null ? CUT : context.pushes.ping(session.follower, applied, context.nowMs);
  if (head === CUT) out.error(GAP);
  else if (head === PAUSED) out.error(NO_MAJORITY);
  else {
    out.array(2);
    out.integer(id);
    out.integer(head);
  }
}

/** BW.FEED ACK applied-seq */
export function feedAck(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  const applied = number(args, 2);
  if (Number.isNaN(applied)) {
    out.error(NOT_INTEGER);
    return;
  }
  if (session.follower !== null) context.pushes.acknowledge(session.follower, applied);
  out.ok();
}

/** BW.FEED UNSUBSCRIBE */
export function feedUnsubscribe(context: Context, session: Session, _args: Args, out: ReplyWriter): void {
  context.pushes.unsubscribe(session);
  out.ok();
}

/**
 * BW.FEED EVERYWHERE id: is all that was invalidated so far everywhere? `done`, or `waiting` and a push when it is. A member of a cluster speaks for the slots that it owns under a lease at this moment, and
 * names them: who wants all has to have asked an owner of each.
 */
export function feedEverywhere(context: Context, session: Session, args: Args, out: ReplyWriter): void {
  if (!speaksResp3(session, out)) return;
  const id = number(args, 2);
  if (Number.isNaN(id)) {
    out.error(NOT_INTEGER);
    return;
  }
  const answer = context.pushes.everywhere(session, id, context.nowMs);
  if (answer === 'full') out.error('FEEDBUSY too many invalidations wait to be everywhere');
  else if (context.cluster === null) out.simple(answer);
  else {
    const runs = ownedRuns(context.cluster);
    out.array(1 + runs.length);
    out.simple(answer);
    for (const slot of runs) out.integer(slot);
  }
}

/** First and last slot of each run of slots that this member owns, and holds the lease of. O(slots). */
function ownedRuns(cluster: ClusterFace): number[] {
  const runs: number[] = [];
  for (let slot = 0, isIn = false; slot <= SLOT_COUNT; slot += 1) {
    const isOwned = slot < SLOT_COUNT && cluster.stateOf(slot) === OWNED;
    if (isOwned !== isIn) runs.push(isOwned ? slot : slot - 1);
    isIn = isOwned;
  }
  return runs;
}

function speaksResp3(session: Session, out: ReplyWriter): boolean {
  if (session.protocol === 3 && session.kind === 'resp') return true;
  out.error(NEEDS_RESP3);
  return false;
}

function number(args: Args, index: number): number {
  return integerAt(args.bytes, args.start[index]!, args.length[index]!);
}

function ballotAt(args: Args, index: number): Ballot | null {
  try {
    return parseBallot(textOf(args, index));
  } catch (error) {
    if (error instanceof BreakwaterError) return null;
    throw error;
  }
}
