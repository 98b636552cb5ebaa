/**
 * From where ranges are to where they should be: the steps that may be taken now.
 *
 *   stage   the owner copies the range to a member (snapshot and live stream) until it is in the in-sync set
 *   switch  the owner freezes the range for milliseconds and a copy becomes the owner
 *   drop    a member that is not in the target leaves the in-sync set
 *
 * For each range in just this order: first all copies of the target are in sync, then the owner changes, then surplus copies go. So there are never fewer
 * in-sync copies than before or than the target has, whatever step the plan is stopped after, and it can be stopped and computed anew after
 * every step: a plan is not a thing that members agree upon. They agree on records, one at a time.
 *
 * Among ranges: those with too few copies first, then drops and switches (they free memory and cost nothing), then what only balances. Staging costs memory and network on both sides, so each member takes part in at most `parallel` stagings, and in as many
 * switches. Members that may not receive (down, or not up for long enough) are not waited for by the others' ranges: only by their own.
 *
 * A range whose owner is gone but not all its copies is no case for a plan: the first of them takes over by the voters' rules. One of which everybody
 * is gone starts empty, and at once (`claimsNow`): it has nothing that could be stale, and a miss is always safe.
 *
 * Invariants (`rebalance.test.ts`): following the steps in any order that respects them reaches the target; in-sync copies never fall below min(target, before);
 * the owner is always in sync; limits hold.
 */
import type { Member, NodeId } from './member.ts';
import { type Placement, type PlacementRules, place, type RangeHolders } from './placement.ts';
import type { Ranges } from './ranges.ts';

export interface Claim {
  readonly range: number;
  readonly member: NodeId;
}

export type Step =
  | { readonly kind: 'stage'; readonly range: number; readonly member: NodeId; readonly from: NodeId }
  | { readonly kind: 'switch'; readonly range: number; readonly member: NodeId; readonly from: NodeId }
  | { readonly kind: 'drop'; readonly range: number; readonly member: NodeId; readonly from: NodeId };

export interface PlanLimits {
  /** Stagings, and apart from them switches, in which one member may take part at once, on either side. Default 2. */
  readonly parallel: number;
  /** Steps under way: they count towards the limits, and their ranges are left alone. */
  readonly underWay: readonly Step[];
  /** May the member be given a range or a copy now? Default: every one. */
  readonly mayReceive: (id: NodeId) => boolean;
  /** Is the member up? Who is not is neither asked nor told. Default: every one. */
  readonly isUp: (id: NodeId) => boolean;
}

/** The steps to start now, the most urgent first; at most one a range. Empty when there is nothing to do or all must wait. O(ranges). */
export function stepsNow(
  actual: readonly RangeHolders[],
  target: Placement,
  limits: Partial<PlanLimits> = {},
): readonly Step[] {
  const { parallel = 2, underWay = [], mayReceive = everyone, isUp = everyone } = limits;
  const busy = new Set(underWay.map(({ range }) => range));
  const wanted: { readonly step: Step; readonly urgency: number }[] = [];
  for (let range = 0; range < target.length; range += 1) {
    const is = actual[range];
    if (is === undefined || busy.has(range)) continue;
    const step = stepFor(range, is, target[range]!, mayReceive, isUp);
    if (step !== null) wanted.push({ step, urgency: urgencyOf(step, is, target[range]!) });
  }
  wanted.sort((a, b) => a.urgency - b.urgency || a.step.range - b.step.range);
  const budget = new Budget(parallel);
  for (const step of underWay) budget.count(step);
  return wanted.filter(({ step }) => budget.take(step)).map(({ step }) => step);
}

/** The next step of one range; null: there is none, or it must wait. */
function stepFor(
  range: number,
  { owner, inSync }: RangeHolders,
  should: RangeHolders,
  mayReceive: (id: NodeId) => boolean,
  isUp: (id: NodeId) => boolean,
): Step | null {
  if (should.owner === null) return null;
  // Every step is the owner's to take. Without it the range is about to have another.
  if (owner === null || !isUp(owner)) return null;
  const missing = should.inSync.filter((id) => !inSync.includes(id));
  // The owner to be comes first: with it the range can move, and the old owner is a copy until then.
  const next = missing.find(mayReceive);
  if (next !== undefined) return { kind: 'stage', range, member: next, from: owner };
  if (owner !== should.owner && inSync.includes(should.owner)) {
    return mayReceive(should.owner) ? { kind: 'switch', range, member: should.owner, from: owner } : null;
  }
  if (missing.length > 0 || owner !== should.owner) return null;
  const surplus = inSync.find((id) => !should.inSync.includes(id));
  return surplus === undefined ? null : { kind: 'drop', range, member: surplus, from: owner };
}

function urgencyOf(step: Step, { inSync }: RangeHolders, should: RangeHolders): number {
  switch (step.kind) {
    case 'stage':
      return inSync.length < should.inSync.length ? 1 : 4;
    case 'drop':
      return 2;
    case 'switch':
      return 3;
  }
}

/**
 * Who starts which of the ranges that have nobody left, empty: all of them when the cluster is formed. Every member computes the same from the
 * same records and the same view of who is up, and claims its own; the voters settle where views differ.
 *
 * @param up the members that are up; those of weight 0 claim nothing
 */
export function claimsNow(
  actual: readonly RangeHolders[],
  up: readonly Member[],
  ranges: Ranges,
  rules: Partial<PlacementRules> = {},
): readonly Claim[] {
  const ids = new Set(up.map(({ id }) => id));
  const lost = actual.flatMap(({ owner, inSync }, range) => {
    const holders = owner === null ? inSync : [owner, ...inSync];
    return holders.some((id) => ids.has(id)) ? [] : [range];
  });
  if (lost.length === 0) return [];
  const target = place(up, ranges, actual, rules);
  return lost.flatMap((range) => {
    const member = target[range]!.owner;
    return member === null ? [] : [{ range, member }];
  });
}

/** What the range is after the step: what the record that carries it out says. */
export function after({ owner, inSync }: RangeHolders, step: Step): RangeHolders {
  switch (step.kind) {
    case 'stage':
      return { owner, inSync: [...inSync, step.member] };
    case 'switch':
      return { owner: step.member, inSync: [step.member, ...inSync.filter((id) => id !== step.member)] };
    case 'drop':
      return { owner, inSync: inSync.filter((id) => id !== step.member) };
  }
}

/** Is everything where it should be? The order of the copies does not matter. */
export function isReached(actual: readonly RangeHolders[], target: Placement): boolean {
  return target.every(({ owner, inSync }, range) => {
    const is = actual[range];
    return is?.owner === owner && is.inSync.length === inSync.length && inSync.every((id) => is.inSync.includes(id));
  });
}

const everyone = (): boolean => true;

/** Counts who takes part in what. */
class Budget {
  readonly #parallel: number;
  readonly #counts = new Map<string, number>();

  constructor(parallel: number) {
    this.#parallel = parallel;
  }

  count(step: Step): void {
    for (const name of namesOf(step)) this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
  }

  /** False, and nothing is counted, where a member has as many already. */
  take(step: Step): boolean {
    if (namesOf(step).some((name) => (this.#counts.get(name) ?? 0) >= this.#parallel)) return false;
    this.count(step);
    return true;
  }
}

function namesOf({ kind, member, from }: Step): readonly string[] {
  return kind === 'drop' ? [] : [`${kind} ${member}`, `${kind} ${from}`];
}
