/**
 * `bench placement --cluster`: the ranges of a cluster, placed by the code that places them in production.
 *
 * For each number of members: how even it is, what a join and a leave move, how much of it a member that comes back regains, and how long
 * computing takes (from nothing, and for the change of one member). Everything but the times is counted, and the same on every machine.
 */

import type { Member } from '../../cluster/member.ts';
import { type Placement, place } from '../../cluster/placement.ts';
import { Ranges } from '../../cluster/ranges.ts';

export interface ClusterPlacementOptions {
  /** Default 3, 6, 10, 30, 100, 300, 1000. */
  readonly members?: readonly number[];
  readonly ranges?: number;
  /** Default 2. */
  readonly copies?: number;
  /** Members are dealt to so many zones in turn. Default 3. */
  readonly zones?: number;
  /** Joins and leaves whose figures are averaged, of the largest the most is told. Default 5. */
  readonly changes?: number;
}

export interface ClusterPlacementRow {
  readonly members: number;
  readonly ranges: number;
  /** Ranges of the member that owns most, over the mean; and of the one that owns fewest. */
  readonly fullest: number;
  readonly emptiest: number;
  /** The same of owned and copied. */
  readonly fullestHeld: number;
  /** Owners that a join changed, times (N + 1) / ranges: 1 is ideal. The worst of the changes. */
  readonly joinMoved: number;
  /** Holders that a join gave a range it had not, times (N + 1) / (ranges * copies). Mean. */
  readonly joinStaged: number;
  /** Owners that a leave changed though the owner stayed. The worst of the changes. */
  readonly leaveNeedless: number;
  /** Of what the leaver owned, what went to a member that had a copy already. Mean share. */
  readonly leaveAdopted: number;
  /** Of what a member owned, what it owns again after it left and came back. Mean share. */
  readonly regained: number;
  /** Share of the ranges whose copies are not in as many zones as there could be. */
  readonly zonesMissed: number;
  readonly fromNothingMs: number;
  readonly joinMs: number;
  readonly leaveMs: number;
}

export function runClusterPlacementBench(options: ClusterPlacementOptions = {}): ClusterPlacementRow[] {
  const { members = [3, 6, 10, 30, 100, 300, 1000], ranges = 1024, copies = 2, zones = 3, changes = 5 } = options;
  return members.map((count) => measure(count, new Ranges(ranges), copies, zones, changes));
}

function measure(count: number, ranges: Ranges, copies: number, zones: number, changes: number): ClusterPlacementRow {
  const zoneOf = new Map<string, string>();
  const fleet = Array.from({ length: count + changes }, (_, n) => memberOf(n, zones));
  for (const { id, zone } of fleet) zoneOf.set(id, zone);
  const members = fleet.slice(0, count);
  const run = (all: readonly Member[], current: Placement = []): { placement: Placement; ms: number } => {
    const startMs = performance.now();
    const placement = place(all, ranges, current, { copies });
    return { placement, ms: performance.now() - startMs };
  };
  const { placement, ms: fromNothingMs } = run(members);
  const joins = fleet.slice(count).map((newcomer) => run([...members, newcomer], placement));
  const leavers = Array.from({ length: changes }, (_, n) => members[Math.floor((n * count) / changes)]!);
  const leaves = leavers.map((leaver) => {
    const rest = members.filter((each) => each !== leaver);
    const left = run(rest, placement);
    return { leaver, left, back: run(members, left.placement).placement };
  });
  const owned = countsOf(placement, members, ({ owner }) => [owner!]);
  const held = countsOf(placement, members, ({ inSync }) => inSync);
  const most = Math.min(copies, zones, count);
  return {
    members: count,
    ranges: ranges.count,
    fullest: (Math.max(...owned) * count) / ranges.count,
    emptiest: (Math.min(...owned) * count) / ranges.count,
    fullestHeld: (Math.max(...held) * count) / held.reduce((sum, each) => sum + each, 0),
    joinMoved: Math.max(...joins.map((join) => ownersMoved(placement, join.placement))) * ((count + 1) / ranges.count),
    joinStaged: mean(joins.map((join) => staged(placement, join.placement))) * ((count + 1) / (ranges.count * copies)),
    leaveNeedless: Math.max(
      ...leaves.map(
        ({ leaver, left }) =>
          placement.filter(({ owner }, range) => owner !== leaver.id && left.placement[range]!.owner !== owner).length,
      ),
    ),
    leaveAdopted: mean(
      leaves.map(({ leaver, left }) =>
        shareOf(placement, leaver, (range) => placement[range]!.inSync.includes(left.placement[range]!.owner!)),
      ),
    ),
    regained: mean(
      leaves.map(({ leaver, back }) => shareOf(placement, leaver, (range) => back[range]!.owner === leaver.id)),
    ),
    zonesMissed:
      placement.filter(({ inSync }) => new Set(inSync.map((id) => zoneOf.get(id))).size < most).length / ranges.count,
    fromNothingMs,
    joinMs: mean(joins.map(({ ms }) => ms)),
    leaveMs: mean(leaves.map(({ left }) => left.ms)),
  };
}

function memberOf(n: number, zones: number): Member {
  // As chance gives them, but the same in every run.
  const id = (Math.imul(n + 1, 0x9e37_79b1) >>> 0).toString(16).padStart(8, '0').repeat(5);
  const host = `10.0.${n >> 8}.${n & 255}`;
  const ports = { port: 7379, httpPort: 8379, linkPort: 17_379 };
  return { id, host, ...ports, zone: `zone-${n % zones}`, machine: '', weight: 1, incarnation: 1 };
}

const mean = (values: readonly number[]): number => values.reduce((sum, each) => sum + each, 0) / values.length;

const ownersMoved = (before: Placement, after: Placement): number =>
  before.filter(({ owner }, range) => after[range]!.owner !== owner).length;

const staged = (before: Placement, after: Placement): number =>
  after.reduce((sum, { inSync }, range) => sum + inSync.filter((id) => !before[range]!.inSync.includes(id)).length, 0);

function countsOf(
  placement: Placement,
  members: readonly Member[],
  idsOf: (held: Placement[number]) => readonly string[],
): number[] {
  const counts = new Map(members.map(({ id }) => [id, 0]));
  for (const each of placement) for (const id of idsOf(each)) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts.values()];
}

/** Of the ranges that the member owned, the share of which `isSo` holds; 1 where it owned none. */
function shareOf(placement: Placement, { id }: Member, isSo: (range: number) => boolean): number {
  const ranges = placement.flatMap(({ owner }, range) => (owner === id ? [range] : []));
  return ranges.length === 0 ? 1 : ranges.filter(isSo).length / ranges.length;
}
