/**
 * What a table of invalidations says about some names, and the judgement that follows from it.
 *
 * The order of reading does not matter, and this is why. A read asks for the entry and for the table at once, on a cluster of two
 * servers, so one of them answers first:
 *
 *   table first   1. the table is read: org:7 not named after 5.   2. org:7 is invalidated as number 6, acknowledged.
 *                 3. the entry (number 5) is read: served. The read began before 2 was acknowledged, so this is an order of events
 *                 that an observer cannot tell from "read, then invalidated".
 *   entry first   1. the entry (number 5) is read.   2. org:7 is invalidated as 6, acknowledged.   3. the table is read: org:7 is named
 *                 with 6 > 5. A miss.
 *   afterwards    A read that begins after the acknowledgement finds 6 in the table whenever it looks. A miss, for ever: numbers never
 *                 go down within an epoch, and another epoch is a miss anyway.
 *
 * And filling needs no order at all:
 *
 *   1. A misses; its token carries (epoch, 5), read before the load.   2. The load reads the old row; nobody knows yet that it will have tag org:7.
 *   3. The row is changed, org:7 invalidated as 6.   4. A fills. Whatever the table said or says, the entry is stored under 5, and dead with it.
 *
 * The fill looks at the table too, only to be able to say that it was in vain.
 */
import { BreakwaterError } from '../../base/errors.ts';
import type { Outcome } from '../../client/cluster-outcome.ts';
import type { Head } from './format.ts';

export interface Survey extends Head {
  /** Numbers below it were forgotten. */
  readonly floor: number;
  /** The score of each name that was asked about, 0 where the table does not have it. */
  readonly scores: ReadonlyMap<string, number>;
}

/** A key's namespace as it is named in the table: what stands before the first `:`. */
export function namespaceName(key: string): string {
  return `n${key.slice(0, Math.max(0, key.indexOf(':')))}`;
}

export function tagName(tag: string): string {
  return `t${tag}`;
}

/** @param names those that were asked about, in order */
export function surveyOf(reply: Outcome, names: readonly string[]): Survey {
  if (!Array.isArray(reply) || reply.length !== names.length + 3) {
    if (reply instanceof Error) throw reply;
    throw new BreakwaterError(
      'STORE_REPLY_INVALID',
      'cannot read the table of invalidations: its reply has another shape',
    );
  }
  const texts = reply.map(textOf);
  const scores = new Map<string, number>();
  names.forEach((name, i) => {
    scores.set(name, Number(texts[i + 3]));
  });
  return { epoch: texts[0]!, number: Number(texts[1]), floor: Number(texts[2]), scores };
}

/**
 * Whether what was loaded under `head` is out of date. Null when that cannot be said because a tag was not asked about.
 */
export function isDead(head: Head, key: string, tags: readonly string[], survey: Survey): boolean | null {
  if (head.epoch !== survey.epoch) return true;
  const namespace = survey.scores.get(namespaceName(key));
  // Written so that a number that is none is dead.
  if (namespace !== undefined && !(namespace <= head.number)) return true;
  if (tags.length > 0 && !(head.number >= survey.floor)) return true;
  let unknown = namespace === undefined;
  for (const tag of tags) {
    const score = survey.scores.get(tagName(tag));
    if (score === undefined) unknown = true;
    else if (!(score <= head.number)) return true;
  }
  return unknown ? null : false;
}

const decoder = new TextDecoder();

function textOf(reply: Outcome): string {
  return reply instanceof Uint8Array ? decoder.decode(reply) : String(reply);
}
