/**
 * Which of the ranges that a member owns should be another's, and whose: where ranges go back to after a takeover, and where an operator sends them.
 *
 *   home     the first member of a range's `order` that is not drained. It gets the range back when it has been up for `stableMs`, has not lost what it owned too often (`standing.ts`),
 *            and every copy of the range is heard
 *   order    what an operator asked of this owner: `move` (to one member) or `rebalance` (all home, now). It has a deadline and precedes everything else
 *            With one primary for all ranges (`topology.ts`) it is whoever owns most of them: where some went another way than the others, they follow; who comes back moves nothing
 *   copies   the members behind the home in its order: where a set is whole and one of them is not in it, it is copied there, and who stands last leaves
 *   pin      a range that was moved by an operator stays with its new owner for that reign
 *
 * Each owner decides about its own ranges by what it has seen itself; nobody agrees on a plan. Owners that see differently do no harm, since all that comes of it is a hand-over, which needs a majority of the voters as
 * every record does. That no two send a range to and fro follows from one thing: `order` is the same everywhere, so the one at home keeps it.
 *
 * A loss is any record that takes a range away from its home: a takeover, a restart, a leave. A crash takes many ranges at once and counts once. "Up" is no silence that a majority of voters reports, and one life of the process all the
 * while: who is back before anybody misses it has died all the same. So a member that comes and goes loses a range once and gets it back once, however often it does: two moves.
 *
 * Pure bookkeeping: freezing and handing over are `core.ts`'s.
 */
import type { NodeId } from './member.ts';
import type { Primary } from './primary.ts';
import type { OwnershipRecord } from './record.ts';
import { mayReceive, met, type StandingRules, type Standings, sighted } from './standing.ts';
import type { Topology } from './topology.ts';
import type { Views } from './views.ts';

interface Order {
  readonly to: NodeId;
  readonly untilMs: number;
  readonly isPinned: boolean;
}

/** An operator's order is forgotten when it could not be carried out for so long. */
export const ORDER_MS = 600_000;

export interface HomingOptions {
  readonly self: NodeId;
  readonly members: readonly NodeId[];
  readonly order: (range: number) => readonly NodeId[];
  readonly views: Views;
  readonly rangeCount: number;
  /** null: nothing goes home by itself. */
  readonly rules: StandingRules | null;
  /** A reign is this old before its range goes home by itself: news that its home is leaving come with heartbeats. */
  readonly leastReignMs: number;
  /** Default `sharded`. */
  readonly topology?: Topology;
}

/** Why an order was not taken. */
export type Refused = 'not-owner' | 'not-member' | 'silent' | 'away' | 'leaving';

export class Homing {
  /** Do ranges go home by themselves? As the rules say, until told otherwise. */
  isOn: boolean;
  readonly #options: HomingOptions;
  #standings: Standings = new Map();
  /** By range: the owner that we knew of last. */
  readonly #owners: (NodeId | null)[];
  /** When a member was last seen to lose what it owned. */
  readonly #lostMs = new Map<NodeId, number>();
  readonly #orders = new Map<number, Order>();
  /** Who was silent when we looked last. */
  readonly #down = new Set<NodeId>();
  /** Where all ranges are to be, if they are to be at one member. */
  #lead: NodeId | null = null;
  /** Whom we have looked at. */
  #members: readonly NodeId[] = [];

  constructor(options: HomingOptions) {
    this.#options = options;
    this.isOn = options.rules !== null;
    this.#owners = Array.from({ length: options.rangeCount }, () => null);
  }

  /** Notes who is up, and where most ranges are if all are to be at one member. At each tick. */
  watch(nowMs: number): void {
    const { members, views, rules, topology } = this.#options;
    if (topology === 'primary') this.#lead = this.#leaderNow(nowMs);
    if (rules === null) return;
    if (this.#members !== members) {
      this.#members = members;
      // Most are new to us and up: noted in one go, or the table of them would be copied once for each.
      const up = members.filter((id) => views.silenceOf(id, nowMs) === 0);
      this.#standings = met(this.#standings, up, nowMs);
      for (const id of members) this.#look(id, nowMs, rules);
    }
    // Of all others there is no news: they were up, and no voter says otherwise.
    for (const id of this.#down) this.#look(id, nowMs, rules);
    for (const id of views.reportedSilent()) this.#look(id, nowMs, rules);
  }

  /** Another record of a range is known to be chosen. */
  onChosen({ range, owner }: OwnershipRecord, nowMs: number): void {
    const before = this.#owners[range]!;
    this.#owners[range] = owner;
    const { rules, order } = this.#options;
    const home = this.#options.topology === 'primary' ? this.#lead : order(range)[0];
    if (rules === null || before === null || before === owner || before !== home) return;
    // Sooner than that it cannot have got anything back: of the same crash.
    if (nowMs - (this.#lostMs.get(before) ?? Number.NEGATIVE_INFINITY) < rules.stableMs) return;
    this.#lostMs.set(before, nowMs);
    this.#standings = sighted(this.#standings, { kind: 'lost', id: before }, nowMs, rules);
  }

  /** It is no member any more. */
  forget(id: NodeId): void {
    const { rules } = this.#options;
    if (rules !== null) this.#standings = sighted(this.#standings, { kind: 'forgotten', id }, 0, rules);
    this.#lostMs.delete(id);
    this.#down.delete(id);
    for (const [range, { to }] of this.#orders) if (to === id) this.#orders.delete(range);
  }

  /** The member that the range is to go to now; null: it stays. */
  homeOf(primary: Primary, nowMs: number): NodeId | null {
    const { range } = primary;
    const { self, rules, leastReignMs } = this.#options;
    const ordered = this.#orders.get(range);
    if (ordered !== undefined) {
      if (nowMs >= ordered.untilMs) this.#orders.delete(range);
      else return this.#isReachable(ordered.to, nowMs) ? ordered.to : null;
    }
    if (!this.isOn || rules === null || primary.isPinned) return null;
    const home = this.#firstOf(range, nowMs);
    if (home === null || home === self || nowMs - primary.beganMs < leastReignMs) return null;
    return this.#mayBeGiven(home, primary, rules, nowMs) ? home : null;
  }

  /**
   * A member that should copy the range and does not, while its set is whole: who has joined, whose weight, zone or machine is another one now, who comes back after its place was given away. It takes the place of
   * the one that stands last in the order. null: there is none, or this is not the moment. O(copies).
   */
  copyOf(primary: Primary, copies: number, nowMs: number): NodeId | null {
    const { self, order, views, rules, leastReignMs } = this.#options;
    const { range, record } = primary;
    if (!this.isOn || rules === null || this.#orders.has(range)) return null;
    if (record.inSync.length < copies || nowMs - primary.beganMs < leastReignMs) return null;
    let places = copies - 1;
    for (const id of order(range)) {
      if (places === 0) return null;
      if (id === self || (views.isAnybodyAway && views.stanceOf(id, nowMs) === 'drained')) continue;
      places -= 1;
      if (!record.inSync.includes(id) && this.#mayBeGiven(id, primary, rules, nowMs)) return id;
    }
    return null;
  }

  /** Has it lost what it owned so often that it is given nothing for a while? As far as this member has seen. */
  isFlapping(id: NodeId, nowMs: number): boolean {
    return nowMs < (this.#standings.get(id)?.dampedUntilMs ?? Number.NEGATIVE_INFINITY);
  }

  /** Was the range sent to where it goes by an operator's choice of a member? */
  isPinnedBy(range: number): boolean {
    return this.#orders.get(range)?.isPinned === true;
  }

  isOrdered(range: number): boolean {
    return this.#orders.has(range);
  }

  /** The range is ours no more, or is where it was sent. */
  done(range: number): void {
    this.#orders.delete(range);
  }

  /** An operator wants the range there. null: it will be tried. */
  move(primary: Primary | null, to: NodeId, nowMs: number): Refused | null {
    const { members, views, self } = this.#options;
    if (!members.includes(to)) return 'not-member';
    if (primary === null) return 'not-owner';
    if (to === self) {
      this.#orders.delete(primary.range);
      primary.isPinned = true;
      return null;
    }
    if (views.silenceOf(to, nowMs) > 0) return 'silent';
    if (views.stanceOf(to, nowMs) !== 'here') return 'away';
    this.#orders.set(primary.range, { to, untilMs: nowMs + ORDER_MS, isPinned: true });
    return null;
  }

  /** An operator wants everything home, also what was moved. Returns how many ranges of ours are to go. */
  rebalance(primaries: Iterable<Primary | null>, nowMs: number): number {
    const { self } = this.#options;
    let count = 0;
    for (const primary of primaries) {
      if (primary === null) continue;
      primary.isPinned = false;
      this.#orders.delete(primary.range);
      const home = this.#firstOf(primary.range, nowMs);
      if (home === null || home === self || !this.#isReachable(home, nowMs)) continue;
      this.#orders.set(primary.range, { to: home, untilMs: nowMs + ORDER_MS, isPinned: false });
      count += 1;
    }
    return count;
  }

  /** Ranges that others own than placement wants; those whose home is away or silent left out. O(ranges). */
  astray(nowMs: number): number {
    const { views } = this.#options;
    return views.chosen.reduce((count, { range, owner }) => {
      const home = this.#firstOf(range, nowMs);
      return count + (home !== null && home !== owner && this.#isReachable(home, nowMs) ? 1 : 0);
    }, 0);
  }

  #look(id: NodeId, nowMs: number, rules: StandingRules): void {
    const isUp = this.#options.views.silenceOf(id, nowMs) === 0;
    if (isUp) this.#down.delete(id);
    else this.#down.add(id);
    this.#standings = sighted(this.#standings, { kind: isUp ? 'up' : 'down', id }, nowMs, rules);
  }

  /** Of a range whose whole set is heard: to who is up for long enough, in one life, and does not flap. */
  #mayBeGiven(id: NodeId, { record }: Primary, rules: StandingRules, nowMs: number): boolean {
    const { views } = this.#options;
    const standing = this.#standings.get(id);
    if (!mayReceive(standing, nowMs, rules) || nowMs < standing!.dampedUntilMs) return false;
    if (views.lifeMsOf(id, nowMs) < rules.stableMs || !this.#isReachable(id, nowMs)) return false;
    return record.inSync.every((each) => views.silenceOf(each, nowMs) === 0);
  }

  /** Who owns most ranges; of two that own as many, and while nobody owns any, the one before in the order. Nobody who is drained. O(ranges). */
  #leaderNow(nowMs: number): NodeId | null {
    const { order, views } = this.#options;
    const counts = new Map<NodeId, number>();
    for (const { owner } of views.chosen) if (owner !== null) counts.set(owner, (counts.get(owner) ?? 0) + 1);
    let lead: NodeId | null = null;
    let most = -1;
    for (const id of order(0)) {
      const count = counts.get(id) ?? 0;
      if (count <= most || views.stanceOf(id, nowMs) === 'drained') continue;
      lead = id;
      most = count;
    }
    return lead;
  }

  #isReachable(id: NodeId, nowMs: number): boolean {
    const { views } = this.#options;
    return views.silenceOf(id, nowMs) === 0 && views.stanceOf(id, nowMs) === 'here';
  }

  #firstOf(range: number, nowMs: number): NodeId | null {
    const { order, views, topology } = this.#options;
    if (topology === 'primary') return this.#lead;
    const all = order(range);
    if (!views.isAnybodyAway) return all[0] ?? null;
    return all.find((id) => views.stanceOf(id, nowMs) !== 'drained') ?? null;
  }
}
