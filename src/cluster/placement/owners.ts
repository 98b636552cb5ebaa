/**
 * Who should own each range. Four steps, each of which moves only what the one before left wrong:
 *
 *   1. keep      what an eligible member owns stays
 *   2. adopt     a range without an owner goes to the first of its in-sync copies that is not near its bound (that costs no transfer), else to the
 *                member with the highest score that has not its share yet
 *   3. feed      a member below `low` of its share (it has just joined) is given ranges up to its share: from those above their bound, then from
 *                those above their share; of these the ones that are drawn to it most
 *   4. relieve   whoever is still above its bound gives away what is drawn to it least
 *
 * On a leave the shares of the others grow, so nobody comes to be above its bound, and what the leaver owned is enough to lift the
 * rest above `low`: only its ranges move. On a join the newcomer takes what steps 3 and 4 would otherwise do twice: at most its share rounded up.
 */
import { assert } from '../../base/assert.ts';
import type { Fleet } from './fleet.ts';

/** What a range has now, as indices into the fleet: the eligible ones. */
export interface Held {
  /** -1 = nobody, or somebody who is not eligible. */
  readonly owner: number;
  /** Eligible in-sync members, the owner included, in the order of the record. */
  readonly holders: readonly number[];
}

export function placeOwners(fleet: Fleet, held: readonly Held[]): Int32Array {
  const owners = Int32Array.from(held, ({ owner }) => owner);
  const loads = new Int32Array(fleet.size);
  for (const owner of owners) if (owner >= 0) loads[owner]! += 1;
  adopt(fleet, held, owners, loads);
  feed(fleet, owners, loads);
  relieve(fleet, held, owners, loads);
  return owners;
}

function adopt(fleet: Fleet, held: readonly Held[], owners: Int32Array, loads: Int32Array): void {
  let needed = 0;
  let left = 0;
  for (let index = 0; index < fleet.size; index += 1) needed += Math.max(0, fleet.ownLow(index) - loads[index]!);
  for (const owner of owners) if (owner < 0) left += 1;
  for (let range = 0; range < owners.length; range += 1) {
    if (owners[range]! >= 0) continue;
    // As soon as there are just enough for those below `low`, nobody else gets one: step 3 has to find nothing to do after a leave.
    const onlyNeedy = left <= needed;
    const heir = heirOf(
      fleet,
      range,
      held[range]!.holders,
      (index) => loads[index]! < (onlyNeedy ? fleet.ownLow(index) : fleet.ownAdoptLimit(index)),
      (index) => loads[index]! < (onlyNeedy ? fleet.ownLow(index) : fleet.ownLimit(index)),
    );
    if (loads[heir]! < fleet.ownLow(heir)) needed -= 1;
    owners[range] = heir;
    loads[heir]! += 1;
    left -= 1;
  }
}

function feed(fleet: Fleet, owners: Int32Array, loads: Int32Array): void {
  for (let needy = 0; needy < fleet.size; needy += 1) {
    if (loads[needy]! >= fleet.ownFeedLow(needy)) continue;
    const wanted = Math.floor(fleet.ownShare[needy]!);
    const drawn: { readonly range: number; readonly pull: number }[] = [];
    for (let range = 0; range < owners.length; range += 1) {
      const owner = owners[range]!;
      if (owner !== needy) drawn.push({ range, pull: fleet.score(range, needy) / fleet.score(range, owner) });
    }
    drawn.sort((a, b) => b.pull - a.pull || a.range - b.range);
    const least: ((owner: number) => number)[] = [
      (owner) => fleet.ownBound(owner),
      (owner) => fleet.ownLimit(owner),
      (owner) => Math.floor(fleet.ownShare[owner]!),
    ];
    for (const leastOf of least) {
      for (const { range } of drawn) {
        if (loads[needy]! >= wanted) break;
        const owner = owners[range]!;
        if (owner === needy || loads[owner]! <= leastOf(owner)) continue;
        owners[range] = needy;
        loads[owner]! -= 1;
        loads[needy]! += 1;
      }
    }
  }
}

function relieve(fleet: Fleet, held: readonly Held[], owners: Int32Array, loads: Int32Array): void {
  for (let index = 0; index < fleet.size; index += 1) {
    const surplus = loads[index]! - fleet.ownCap(index);
    if (surplus <= 0) continue;
    const owned: { readonly range: number; readonly score: number }[] = [];
    for (let range = 0; range < owners.length; range += 1) {
      if (owners[range] === index) owned.push({ range, score: fleet.score(range, index) });
    }
    owned.sort((a, b) => a.score - b.score || a.range - b.range);
    for (const { range } of owned.slice(0, surplus)) {
      const hasRoom = (other: number): boolean => loads[other]! < fleet.ownLimit(other);
      const heir = heirOf(fleet, range, held[range]!.holders, hasRoom, hasRoom);
      if (heir === index) continue;
      owners[range] = heir;
      loads[index]! -= 1;
      loads[heir]! += 1;
    }
  }
}

/** The first copy that may adopt it, else the highest score of those with room; the highest of all where (by rounding) nobody has. O(members). */
function heirOf(
  fleet: Fleet,
  range: number,
  holders: readonly number[],
  mayAdopt: (index: number) => boolean,
  hasRoom: (index: number) => boolean,
): number {
  for (const holder of holders) if (mayAdopt(holder)) return holder;
  return best(fleet, range, hasRoom) ?? best(fleet, range, () => true)!;
}

function best(fleet: Fleet, range: number, isAllowed: (index: number) => boolean): number | null {
  assert(fleet.size > 0, 'ranges are placed among members');
  let found: number | null = null;
  let highest = -1;
  for (let index = 0; index < fleet.size; index += 1) {
    if (!isAllowed(index)) continue;
    const score = fleet.score(range, index);
    if (score > highest) {
      highest = score;
      found = index;
    }
  }
  return found;
}
