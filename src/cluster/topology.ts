/**
 * Two ways to lay out ranges over members, decided when a cluster is formed.
 *
 *   sharded   each member owns its share, by weight: the default
 *   primary   one member owns every range, the next ones copy all of it, the others wait: one primary with replicas, as a single Redis with replicas has it
 *
 * The protocol is the same; what differs is where ranges should be. With `primary` the order of takeover is one for all ranges, so that they go to the same member together, and *home* is wherever most of them are (`homing.ts`): who was
 * the primary comes back as a replica, and moves nothing. A heavy weight beside light ones would do as well until the heavy one dies; then the others would share, and give everything back when it returns.
 */
import { type Member, machineOf, type NodeId } from './member.ts';

export const TOPOLOGIES = ['sharded', 'primary'] as const;
export type Topology = (typeof TOPOLOGIES)[number];

/** How much fails together with both: 2 = they are on one machine, 1 = in one zone (no zone is no common one), 0 = nothing. */
export function nearness(a: Member, b: Member): number {
  if (machineOf(a) === machineOf(b)) return 2;
  return a.zone !== '' && a.zone === b.zone ? 1 : 0;
}

/**
 * Who is to be the primary, who takes over from it, and so on, for all ranges: the heaviest first, then whoever shares least (neither zone nor machine, no machine) with those before, the heavier one of two, the earlier in the list.
 * Members of weight 0 are left out. O(members^2).
 */
export function primaryOrder(members: readonly Member[]): readonly NodeId[] {
  const left = members.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight);
  const order: Member[] = [];
  while (left.length > 0) {
    const near = left.map((member) => order.reduce((most, other) => Math.max(most, nearness(member, other)), 0));
    const least = Math.min(...near);
    order.push(...left.splice(near.indexOf(least), 1));
  }
  return order.map(({ id }) => id);
}
