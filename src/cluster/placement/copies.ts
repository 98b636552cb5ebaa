/**
 * Who should hold a copy of each range beside its owner.
 *
 * A copy is wanted where what takes the owner down does not take it too. In this order of preference:
 *
 *   1. another zone and another machine than every other holder
 *   2. another machine
 *   3. anywhere else (all members on one machine, as on a developer's)
 *
 * and within each: a member that holds less than its share, then one that holds more, then the highest score. For (1) a member may hold up
 * to `zoneBound` times its share, so that with zones of unequal size the small one is not drowned; beyond that, (2).
 *
 * As with owners, what is there stays unless it is wrong: missing copies are added, surplus ones dropped (the least useful first), one
 * that shares a zone or a machine is replaced when a better place has room, a member above its bound is relieved, one below `low` is fed.
 */
import type { Fleet } from './fleet.ts';

/** The better the smaller; `CROWDED` is added where the member holds its share already, `FULL` where it is above every bound. */
const ANYWHERE = 2;
const CROWDED = 0.5;
const FULL = 10;

export class Copies {
  readonly #fleet: Fleet;
  readonly #holders: number[][];
  /** Ranges owned or copied, by member. */
  readonly #held: Int32Array;

  /**
   * @param owners by range
   * @param present the eligible members that hold the range now, by range, in the order of the record
   */
  constructor(fleet: Fleet, owners: Int32Array, present: readonly (readonly number[])[]) {
    this.#fleet = fleet;
    this.#held = new Int32Array(fleet.size);
    this.#holders = present.map((holders, range) => {
      const owner = owners[range]!;
      return [owner, ...holders.filter((index) => index !== owner)];
    });
    for (const holders of this.#holders) for (const index of holders) this.#held[index]! += 1;
  }

  /** By range: the owner, then its copies in the order in which they should take over. */
  place(): readonly (readonly number[])[] {
    const { copies } = this.#fleet;
    for (let range = 0; range < this.#holders.length; range += 1) {
      while (this.#holders[range]!.length > copies) this.#dropOne(range);
    }
    for (let range = 0; range < this.#holders.length; range += 1) {
      while (this.#holders[range]!.length < copies) this.#addOne(range);
    }
    this.#spread();
    this.#relieve();
    this.#feed();
    return this.#holders;
  }

  #dropOne(range: number): void {
    const holders = this.#holders[range]!;
    let worst = -1;
    let worstCost = -1;
    for (let at = 1; at < holders.length; at += 1) {
      const index = holders[at]!;
      // What shares a zone or a machine goes first; else whoever holds most of its share.
      const cost = this.#nearness(index, holders, index) * 1000 + this.#held[index]! / this.#fleet.holdShare[index]!;
      if (cost >= worstCost) {
        worstCost = cost;
        worst = at;
      }
    }
    this.#held[holders[worst]!]! -= 1;
    holders.splice(worst, 1);
  }

  #addOne(range: number): void {
    const found = this.#choose(range, this.#holders[range]!, -1, Number.POSITIVE_INFINITY);
    this.#holders[range]!.push(found);
    this.#held[found]! += 1;
  }

  /** Copies that share a zone or a machine with another holder, where there is a better place. */
  #spread(): void {
    const fleet = this.#fleet;
    const zones = Math.min(fleet.copies, fleet.zoneCount);
    const machines = Math.min(fleet.copies, fleet.machineCount);
    for (let range = 0; range < this.#holders.length; range += 1) {
      const holders = this.#holders[range]!;
      if (distinct(holders, fleet.zones) >= zones && distinct(holders, fleet.machines) >= machines) continue;
      for (let at = 1; at < holders.length; at += 1) {
        const nearness = this.#nearness(holders[at]!, holders, holders[at]!);
        if (nearness === 0) continue;
        // Better by a whole step: to be less crowded is no reason to move.
        const better = this.#choose(range, holders, holders[at]!, nearness - CROWDED);
        if (better >= 0 && this.#nearness(better, holders, holders[at]!) < nearness) this.#replace(range, at, better);
      }
    }
  }

  #relieve(): void {
    const fleet = this.#fleet;
    for (let range = 0; range < this.#holders.length; range += 1) {
      const holders = this.#holders[range]!;
      for (let at = 1; at < holders.length; at += 1) {
        const index = holders[at]!;
        const nearness = this.#nearness(index, holders, index);
        const cap = nearness === 0 && fleet.zoneCount > 1 ? fleet.holdZoneCap(index) : fleet.holdCap(index);
        if (this.#held[index]! <= cap) continue;
        const other = this.#choose(range, holders, index, nearness);
        if (other >= 0 && this.#held[other]! < fleet.holdLimit(other)) this.#replace(range, at, other);
      }
    }
  }

  #feed(): void {
    const fleet = this.#fleet;
    for (let needy = 0; needy < fleet.size; needy += 1) {
      if (this.#held[needy]! >= fleet.holdLow(needy)) continue;
      const wanted = Math.floor(fleet.holdShare[needy]!);
      const offers: { readonly range: number; readonly from: number; readonly pull: number }[] = [];
      for (let range = 0; range < this.#holders.length; range += 1) {
        const holders = this.#holders[range]!;
        if (holders.includes(needy)) continue;
        for (const from of holders.slice(1)) {
          if (this.#nearness(needy, holders, from) > this.#nearness(from, holders, from)) continue;
          offers.push({ range, from, pull: fleet.score(range, needy) / fleet.score(range, from) });
        }
      }
      offers.sort((a, b) => b.pull - a.pull || a.range - b.range);
      for (const leastOf of [
        (index: number) => fleet.holdLimit(index),
        (index: number) => Math.floor(fleet.holdShare[index]!),
      ]) {
        for (const { range, from } of offers) {
          if (this.#held[needy]! >= wanted) break;
          const holders = this.#holders[range]!;
          const at = holders.indexOf(from);
          if (at < 0 || holders.includes(needy) || this.#held[from]! <= leastOf(from)) continue;
          this.#replace(range, at, needy);
        }
      }
    }
  }

  #replace(range: number, at: number, index: number): void {
    const holders = this.#holders[range]!;
    this.#held[holders[at]!]! -= 1;
    holders[at] = index;
    this.#held[index]! += 1;
  }

  /**
   * The best place for a copy beside `holders`, `instead` of one of them (-1: of none), with a grade of at most `worst`; -1 where there is none.
   * O(members).
   */
  #choose(range: number, holders: readonly number[], instead: number, worst: number): number {
    const fleet = this.#fleet;
    let found = -1;
    let grade = worst;
    let highest = -1;
    for (let index = 0; index < fleet.size; index += 1) {
      if (holders.includes(index)) continue;
      const its = this.#grade(index, holders, instead);
      if (its > grade) continue;
      const score = fleet.score(range, index);
      if (its < grade || score > highest) {
        grade = its;
        highest = score;
        found = index;
      }
    }
    return found;
  }

  #grade(index: number, holders: readonly number[], instead: number): number {
    const fleet = this.#fleet;
    const held = this.#held[index]!;
    const nearness = this.#nearness(index, holders, instead);
    if (held < fleet.holdLimit(index)) return nearness;
    if (nearness === 0 && fleet.zoneCount > 1) {
      return held < fleet.holdZoneCap(index) ? CROWDED : FULL + held / fleet.holdShare[index]!;
    }
    return held < fleet.holdCap(index) ? nearness + CROWDED : FULL + held / fleet.holdShare[index]!;
  }

  /** 0: another zone and machine than all holders but `except`; 1: another machine; 2: neither. With one zone nobody is in another. */
  #nearness(index: number, holders: readonly number[], except: number): number {
    const { zones, machines, zoneCount } = this.#fleet;
    let near = 0;
    for (const holder of holders) {
      if (holder === except) continue;
      if (machines[holder] === machines[index]) return ANYWHERE;
      if (zoneCount > 1 && zones[holder] === zones[index]) near = 1;
    }
    return near;
  }
}

function distinct(holders: readonly number[], codes: Int32Array): number {
  let count = 0;
  for (let at = 0; at < holders.length; at += 1) {
    let isNew = true;
    for (let before = 0; before < at && isNew; before += 1) isNew = codes[holders[before]!] !== codes[holders[at]!];
    if (isNew) count += 1;
  }
  return count;
}
