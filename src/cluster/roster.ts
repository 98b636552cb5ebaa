/**
 * The roster: who the members of the cluster are, as a majority of the voters agrees, and where each range should be among them. One record more beside those of the ranges, under ballots of its own
 * (docs/decisions/0019).
 *
 *   { ballot: (3, b…), members: [a…, b…, c…, d…], forgotten: [e…], homes: [[0, 3], [1, 0], ...] }         homes: by range the places in `members` of who should hold it, the owner to be first
 *
 * It says where ranges *should* be, whom to dial and whom to listen to; never who owns anything. So members that know different rosters disagree about nothing that could make an answer wrong.
 *
 * The homes stand in it, although placement is a function: one that moves little is a function of what was before, and all members would have to compute the same of the same history, in every version of this program.
 * Whoever proposes a change computes them once.
 *
 * Before the first change there is the founding roster: the list that everybody was started with, under no ballot. It is never sent to anybody who has it.
 *
 * It also says who votes (`seats`), and that is what something dangerous does rest on: so the set has an epoch of its own, and every question to a voter names it (docs/decisions/0023).
 *
 * Invariants (`checkRoster`): nobody stands in it twice, nobody both as a member and as forgotten; homes name members; voters are members.
 */
import type { Ballot } from '../base/ballot.ts';
import { formatBallot } from '../base/ballot.ts';
import { BreakwaterError } from '../base/errors.ts';
import { checkMember, isNodeId, type Member, machineOf, type NodeId, sameMember } from './member.ts';
import { place } from './placement.ts';
import { Ranges } from './ranges.ts';
import { MAX_COPIES, NO_BALLOT } from './record.ts';
import { primaryOrder, type Topology } from './topology.ts';

/** Most voters: each hears every member five times a second. */
export const MAX_VOTERS = 5;

/** Who votes. The set has an epoch of its own, and changes by one voter at a time (docs/decisions/0023). */
export interface Seats {
  /** The ballot of the roster by which it became so: the epoch of the set. */
  readonly since: Ballot;
  readonly voters: readonly NodeId[];
  /** The set that this one came out of: what that agreed upon is to be known before this one votes. */
  readonly before: readonly NodeId[];
  /** The epoch of that one. */
  readonly behind: Ballot;
}

/** A member as the others must know it to reach it; what it says of itself (its ports for clients, its life) is no part of it. */
export interface RosterMember {
  readonly id: NodeId;
  readonly host: string;
  readonly linkPort: number;
  readonly zone: string;
  /** Default: '', by its `host`. */
  readonly machine?: string;
  /** 0: it owns and copies nothing. */
  readonly weight: number;
}

export interface Roster {
  /** `NO_BALLOT`: as the cluster was formed. */
  readonly ballot: Ballot;
  /** In the order in which they came. */
  readonly members: readonly RosterMember[];
  /** The last ones; they may not come back under their ids. */
  readonly forgotten: readonly NodeId[];
  /** Index = range. */
  readonly homes: readonly (readonly number[])[];
  /** null: those vote that the cluster was formed with. */
  readonly seats: Seats | null;
}

/** What a voter promised and accepted of rosters. */
export interface RosterRow {
  readonly promised: Ballot;
  /** null: the founding one. */
  readonly accepted: Roster | null;
  /** The set of voters in which it voted last; `NO_BALLOT`: the founding one, or none. */
  readonly votedIn: Ballot;
}

export const NO_ROSTER_ROW: RosterRow = { promised: NO_BALLOT, accepted: null, votedIn: NO_BALLOT };

export type RosterChange =
  | { readonly kind: 'add'; readonly member: RosterMember }
  /** It is reached elsewhere, fails together with others, or carries more or less than it did. */
  | { readonly kind: 'update'; readonly member: RosterMember }
  | { readonly kind: 'forget'; readonly id: NodeId }
  /** Who was forgotten may come back. */
  | { readonly kind: 'pardon'; readonly id: NodeId }
  /** One voter comes, one goes, or one takes another's place. */
  | { readonly kind: 'voters'; readonly add: NodeId | null; readonly remove: NodeId | null }
  /** The newest one as it is: some voters have accepted it, and nobody brought it to an end. */
  | { readonly kind: 'finish' };

/** Why a change is not made. */
export type ChangeRefused =
  /** It stands there as wished. */
  | 'done'
  | 'forgotten'
  | 'full'
  | 'not-member'
  | 'voter'
  /** Who is to go does not vote. */
  | 'not-voter'
  | 'voters-full'
  /** One alone can only be replaced by adding another first. */
  | 'voters-few';

/** Bounds; more forgotten ones than this, and the oldest may come back. */
export const MAX_ROSTER = 1024;
export const MAX_FORGOTTEN = 256;

/** The list that everybody was started with; `order`: who should hold a range, best first. */
export function foundingRoster(
  members: readonly RosterMember[],
  order: (range: number) => readonly NodeId[],
  rangeCount: number,
  copies: number,
): Roster {
  const places = new Map(members.map(({ id }, index) => [id, index]));
  const homes = Array.from({ length: rangeCount }, (_, range) =>
    order(range)
      .slice(0, copies)
      .flatMap((id) => places.get(id) ?? []),
  );
  return { ballot: NO_BALLOT, members, forgotten: [], homes, seats: null };
}

/** The epoch of its set of voters. */
export function setOf({ seats }: Roster): Ballot {
  return seats?.since ?? NO_BALLOT;
}

/**
 * The roster with one change, under the proposer's ballot. O(ranges).
 * @param founders who voted when the cluster was formed
 */
export function changedRoster(
  roster: Roster,
  change: RosterChange,
  founders: readonly NodeId[],
  copies: number,
  ballot: Ballot,
  topology: Topology = 'sharded',
): Roster | ChangeRefused {
  const next = applied(roster, change, roster.seats?.voters ?? founders, copies, ballot, topology);
  return typeof next === 'string' ? next : { ...next, ballot };
}

function applied(
  roster: Roster,
  change: RosterChange,
  voters: readonly NodeId[],
  copies: number,
  ballot: Ballot,
  topology: Topology,
): Omit<Roster, 'ballot'> | ChangeRefused {
  const { members, forgotten } = roster;
  switch (change.kind) {
    case 'finish':
      return roster;
    case 'add': {
      const { member } = change;
      if (members.some(({ id }) => id === member.id)) return 'done';
      if (forgotten.includes(member.id)) return 'forgotten';
      if (members.length >= MAX_ROSTER) return 'full';
      return placed(roster, [...members, member], forgotten, copies, topology);
    }
    case 'update': {
      const { member } = change;
      const at = members.findIndex(({ id }) => id === member.id);
      if (at < 0) return 'not-member';
      const before = members[at]!;
      if (sameRosterMember(before, member)) return 'done';
      const next = members.with(at, member);
      // Another address alone moves nothing, unless the machine is known by it.
      const isPlacedAlike =
        before.zone === member.zone &&
        before.weight === member.weight &&
        machineOf(asMember(before)) === machineOf(asMember(member));
      if (isPlacedAlike) return { ...roster, members: next };
      return placed(roster, next, forgotten, copies, topology);
    }
    case 'forget': {
      const { id } = change;
      if (voters.includes(id)) return 'voter';
      if (!members.some((member) => member.id === id)) return forgotten.includes(id) ? 'done' : 'not-member';
      const left = members.filter((member) => member.id !== id);
      return placed(roster, left, [...forgotten, id].slice(-MAX_FORGOTTEN), copies, topology);
    }
    case 'pardon':
      if (!forgotten.includes(change.id)) return 'done';
      return { ...roster, forgotten: forgotten.filter((id) => id !== change.id) };
    case 'voters': {
      const next = votersAfter(roster, voters, change.add, change.remove);
      if (typeof next === 'string') return next;
      return { ...roster, seats: { since: ballot, voters: next, before: voters, behind: setOf(roster) } };
    }
  }
}

/** Who votes behind such a change, or why it is not made. */
export function votersAfter(
  roster: Roster,
  voters: readonly NodeId[],
  add: NodeId | null,
  remove: NodeId | null,
): readonly NodeId[] | ChangeRefused {
  const isIn = add === null || voters.includes(add);
  const isOut = remove === null || !voters.includes(remove);
  if (isIn && isOut) return 'done';
  if (add !== null && !rosterIncludes(roster, add)) return 'not-member';
  if (add === null) return voters.length === 1 ? 'voters-few' : voters.filter((id) => id !== remove);
  if (remove === null) return voters.length >= MAX_VOTERS ? 'voters-full' : [...voters, add];
  if (isIn) return 'voter';
  if (isOut) return 'not-voter';
  // In its place: what the others are to a member by their numbers, they stay.
  return voters.length === 1 ? 'voters-few' : voters.map((id) => (id === remove ? add : id));
}

function placed(
  roster: Roster,
  members: readonly RosterMember[],
  forgotten: readonly NodeId[],
  copies: number,
  topology: Topology,
): Omit<Roster, 'ballot'> {
  const places = new Map(members.map(({ id }, index) => [id, index]));
  if (topology === 'primary') {
    const homes = primaryOrder(members.map(asMember))
      .slice(0, copies)
      .map((id) => places.get(id)!);
    return { members, forgotten, homes: roster.homes.map(() => homes), seats: roster.seats };
  }
  const before = roster.homes.map((_, range) => {
    const inSync = homesOf(roster, range);
    return { owner: inSync[0] ?? null, inSync };
  });
  const homes = place(members.map(asMember), new Ranges(roster.homes.length), before, { copies }).map(({ inSync }) =>
    inSync.map((id) => places.get(id)!),
  );
  return { members, forgotten, homes, seats: roster.seats };
}

/** Who should hold the range, the owner to be first. */
export function homesOf({ members, homes }: Roster, range: number): readonly NodeId[] {
  return homes[range]!.map((at) => members[at]!.id);
}

/** By range: who should hold it, best first, and behind them everybody else that may, beginning elsewhere for each range; with one primary the same for all. */
export function orderIn(roster: Roster, topology: Topology = 'sharded'): readonly (readonly NodeId[])[] {
  if (topology === 'primary') {
    const order = primaryOrder(roster.members.map(asMember));
    return roster.homes.map(() => order);
  }
  const able = roster.members
    .filter(({ weight }) => weight > 0)
    .map(({ id }) => id)
    .sort();
  return roster.homes.map((_, range) => {
    const homes = homesOf(roster, range);
    const rest = able.map((_, index) => able[(range + index) % able.length]!).filter((id) => !homes.includes(id));
    return [...homes, ...rest];
  });
}

function rosterIncludes(roster: Roster, id: NodeId): boolean {
  return roster.members.some((member) => member.id === id);
}

/** As placement and maps want it: what it says of itself is not known. */
export function asMember({ id, host, linkPort, zone, machine = '', weight }: RosterMember): Member {
  return { id, host, port: 0, httpPort: 0, linkPort, zone, machine, weight, incarnation: 0 };
}

export function sameRosterMember(a: RosterMember, b: RosterMember): boolean {
  return sameMember(asMember(a), asMember(b));
}

/** @throws BreakwaterError `ROSTER_INVALID`, `MEMBER_INVALID` */
export function checkRoster(roster: Roster): void {
  const { ballot, members, forgotten, homes, seats } = roster;
  if (!(Number.isSafeInteger(ballot.epoch) && ballot.epoch > 0 && isNodeId(ballot.node))) refuse(roster, 'its ballot');
  if (members.length === 0 || members.length > MAX_ROSTER) refuse(roster, 'the number of its members');
  for (const member of members) checkMember(asMember(member));
  if (forgotten.length > MAX_FORGOTTEN) refuse(roster, 'the number of those that were forgotten');
  const ids = [...members.map(({ id }) => id), ...forgotten];
  if (!ids.every(isNodeId)) refuse(roster, 'an id in it');
  if (new Set(ids).size !== ids.length) refuse(roster, 'an id that stands in it twice');
  if (seats !== null) {
    const { since, voters, before } = seats;
    if (!(Number.isSafeInteger(since.epoch) && since.epoch > 0 && isNodeId(since.node))) refuse(roster, 'its voters');
    for (const set of [voters, before]) {
      if (set.length === 0 || set.length > MAX_VOTERS || new Set(set).size !== set.length) {
        refuse(roster, 'the number of its voters');
      }
      if (!set.every(isNodeId)) refuse(roster, 'the id of a voter');
    }
    if (!voters.every((id) => members.some((member) => member.id === id))) refuse(roster, 'a voter that is no member');
  }
  for (const places of homes) {
    if (places.length > MAX_COPIES || new Set(places).size !== places.length) refuse(roster, 'the homes of a range');
    if (!places.every((at) => Number.isInteger(at) && at >= 0 && at < members.length)) {
      refuse(roster, 'a home that is no member');
    }
  }
}

function refuse({ ballot }: Roster, why: string): never {
  throw new BreakwaterError('ROSTER_INVALID', `cannot take the roster under ballot ${formatBallot(ballot)}: ${why}`);
}
