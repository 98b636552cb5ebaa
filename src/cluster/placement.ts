/**
 * Target placement: where ranges *should* be, from the members and from where they are. A pure function that every member computes alike; it never
 * says who owns a range (records do, by a majority) and is in nobody's way while records differ from it.
 *
 * Weighted rendezvous (Thaler and Ravishankar 1998; hash/rendezvous.ts) draws each range to a member by its share of the weights, and bounded
 * load (Mirrokni, Thorup and Zadimoghaddam, SODA 2018) ends that at a bound: nobody owns more than 1.1 of its share. Taken as a function of the
 * members alone the two contradict a third wish, that a leave moves only what the leaver owned: where the bound had turned ranges away
 * from their favourite, the favourite's bound grows with the leave and they would go back; Mirrokni et al. count O(1/(bound - 1)^2) such moves. So what
 * is there counts as well: nothing moves that is not wrong, and rendezvous decides among whatever must move. The price: two clusters with the same
 * members and another history may differ in their targets. They do not differ within a cluster, since the records are agreed upon.
 *
 *   join    the newcomer takes its share, rounded down, from those that have most; the ranges that are drawn to it, so that a member that comes
 *           back finds mostly what it had
 *   leave   its ranges go to their copies, or to whom they are drawn; nothing else moves
 *   weight  0 = a leave; a change = a join or a leave of the difference
 *
 * Costs: from nothing O(ranges * members) scores; a change of one member O(ranges + its ranges * members): see bench/results.
 *
 * Invariants (`placement.test.ts`, over histories of joins, leaves and weights): every range has an owner and min(R, members) holders, all
 * different; owners within their bounds; a join moves at most 1.2/(N+1) of the primaries, a leave only the leaver's; placing again moves nothing.
 */
import type { Member, NodeId } from './member.ts';
import { Copies } from './placement/copies.ts';
import { Fleet } from './placement/fleet.ts';
import { type Held, placeOwners } from './placement/owners.ts';
import { checkRules, DEFAULT_RULES, type PlacementRules } from './placement/rules.ts';
import type { Ranges } from './ranges.ts';

export { DEFAULT_RULES, type PlacementRules } from './placement/rules.ts';

/** Where a range is. Ownership records are of this shape, and so is a placement's own answer. */
export interface RangeHolders {
  readonly owner: NodeId | null;
  /** The members that hold the range, the owner included, in the order in which they should take over. */
  readonly inSync: readonly NodeId[];
}

/** Index = range. Without any member that has a weight: no owner and no holders. */
export type Placement = readonly RangeHolders[];

/**
 * @param members any order; those of weight 0 get nothing
 * @param current where the ranges are now: the records of the map, or the placement before. Default: nowhere
 * @throws BreakwaterError `PLACEMENT_INVALID`
 */
export function place(
  members: Iterable<Member>,
  ranges: Ranges,
  current: readonly RangeHolders[] = [],
  options: Partial<PlacementRules> = {},
): Placement {
  const rules = { ...DEFAULT_RULES, ...options };
  checkRules(rules);
  const fleet = new Fleet(members, ranges.count, rules);
  if (fleet.size === 0) return Array.from({ length: ranges.count }, () => NOWHERE);
  const held = Array.from({ length: ranges.count }, (_, range) => heldOf(fleet, current[range] ?? NOWHERE));
  const owners = placeOwners(fleet, held);
  const copies = new Copies(
    fleet,
    owners,
    held.map(({ holders }) => holders),
  );
  return copies.place().map((holders) => {
    const inSync = holders.map((index) => fleet.ids[index]!);
    return { owner: inSync[0]!, inSync };
  });
}

const NOWHERE: RangeHolders = { owner: null, inSync: [] };

function heldOf(fleet: Fleet, { owner, inSync }: RangeHolders): Held {
  return {
    owner: owner === null ? -1 : fleet.indexOf(owner),
    holders: inSync.map((id) => fleet.indexOf(id)).filter((index) => index >= 0),
  };
}
