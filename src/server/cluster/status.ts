/** What a member knows of its cluster, as plain data: `GET /cluster.json`, from which `breakwater nodes` makes its table. */
import type { Member, NodeId } from '../../cluster/member.ts';
import type { Stance } from '../../cluster/messages.ts';
import { asMember } from '../../cluster/roster.ts';
import type { Resyncs } from '../../cluster/streams.ts';
import type { Topology } from '../../cluster/topology.ts';
import type { MemberHealth } from '../../commands/cluster-face.ts';
import type { ClusterNode } from '../../node/cluster-node.ts';
import type { HoldCounts } from '../../node/held-requests.ts';
import type { LinkCounters } from './counters.ts';
import type { EtcdStatus } from './etcd-coordination.ts';
import type { FinderStatus } from './finder.ts';
import type { Links } from './links.ts';
import type { ClusterConfig } from './settings.ts';

export interface EventCounts {
  reignsBegan: number;
  reignsEnded: number;
  /** A copy left the in-sync set of a range of ours, or came in. */
  setsChanged: number;
  /** Claims because of an owner's silence, each for any number of ranges. */
  takeovers: number;
  claimsFailed: number;
  /** The process was not called for longer than it should. */
  stalls: number;
}

export function noEvents(): EventCounts {
  return { reignsBegan: 0, reignsEnded: 0, setsChanged: 0, takeovers: 0, claimsFailed: 0, stalls: 0 };
}

/** Ranges that this member handed over, and for how long each had no owner: from its freezing to the news that somebody reigns. */
export interface HandOvers {
  count: number;
  pausedMs: number;
  longestMs: number;
}

export function noHandOvers(): HandOvers {
  return { count: 0, pausedMs: 0, longestMs: 0 };
}

export interface StatusParts {
  readonly config: ClusterConfig;
  readonly cluster: string;
  readonly incarnation: number;
  readonly machine: ClusterNode;
  readonly members: ReadonlyMap<NodeId, Member>;
  readonly links: Links;
  readonly events: EventCounts;
  readonly handOvers: HandOvers;
  readonly discovery: FinderStatus | null;
  readonly coordination: 'voters' | EtcdStatus;
  readonly nowMs: number;
}

export interface MemberStatus {
  readonly id: NodeId;
  readonly host: string;
  readonly port: number;
  readonly httpPort: number;
  readonly linkPort: number;
  readonly zone: string;
  /** '' = by its address. */
  readonly machine: string;
  /** Its share relative to the others'; 0: it is to own and copy nothing. */
  readonly weight: number;
  readonly isVoter: boolean;
  readonly isSelf: boolean;
  readonly health: MemberHealth;
  /** Whether it takes ranges: `leaving` and `drained` ones are given none. */
  readonly stance: Stance;
  /** It has lost what it owned three times in ten minutes, and is given nothing for ten minutes: as the member that is asked has seen it. */
  readonly isFlapping: boolean;
  /** Ranges, by the newest records that a majority is known to have accepted. */
  readonly owned: number;
  readonly copied: number;
  /** Runs of slots that it owns, as `first-last`. */
  readonly slots: readonly string[];
  /** Our link to it; null for ourselves. */
  readonly link: {
    readonly state: string;
    readonly roundTripMs: number | null;
    readonly waitingBytes: number;
    readonly isLinkedToUs: boolean;
  } | null;
}

export interface ClusterStatus {
  readonly name: string;
  readonly cluster: string;
  readonly self: NodeId;
  readonly incarnation: number;
  /** A majority of the voters answers this member, or etcd does. */
  readonly isOk: boolean;
  /** Does this member vote? `recovering`: it is new as a voter, or has forgotten what it promised, and asks; `syncing`: the voters have changed a moment ago; null: it is no voter. */
  readonly vote: 'voting' | 'recovering' | 'syncing' | null;
  /** Of the set of voters: grows with each change; 0 = as it was formed. */
  readonly votersEpoch: number;
  /** Who decides what records hold. */
  readonly coordination: 'voters' | EtcdStatus;
  readonly ranges: number;
  /** Members that are to hold a range. */
  readonly copies: number;
  /** `primary`: one member is to own every range. */
  readonly topology: Topology;
  readonly takeoverMs: number;
  /** Ranges that nobody owns. */
  readonly unowned: number;
  /** Ranges that are owned by others than placement wants, of those whose member can take them. */
  readonly astray: number;
  /** Ranges of this member that have fewer copies than they should. */
  readonly short: number;
  /** Of copies of this member's ranges: the most effects that one has not acknowledged yet, by member. */
  readonly behind: Readonly<Record<NodeId, number>>;
  /** Ranges of this member that a member is to copy and does not copy in sync yet, by member: it is being filled, or catches up. */
  readonly catchingUp: Readonly<Record<NodeId, number>>;
  /** How copies of this member's ranges came to be whole since it started; pieces of ranges that were sent for it; what is kept for copies that are behind. */
  readonly resyncs: Readonly<Resyncs> & { readonly pieces: number; readonly backlogBytes: number };
  /** Of the list of members: grows with each change; 0 = as it was formed. */
  readonly rosterEpoch: number;
  /** Ids of members that were forgotten, the last ones. */
  readonly forgotten: readonly NodeId[];
  readonly members: readonly MemberStatus[];
  readonly links: Readonly<LinkCounters>;
  readonly events: Readonly<EventCounts>;
  readonly handOvers: Readonly<HandOvers>;
  /** Where members are looked for, what is found there; null: they were listed. */
  readonly discovery: FinderStatus | null;
  /** Requests that waited because a range changed hands. */
  readonly held: Readonly<HoldCounts>;
}

/** O(ranges). */
export function statusOf({
  config,
  cluster,
  incarnation,
  machine,
  members,
  links,
  events,
  handOvers,
  discovery,
  coordination,
  nowMs,
}: StatusParts): ClusterStatus {
  const { setup } = config;
  const { core, view } = machine;
  const roster = core.membership.known;
  const owned = new Map<NodeId, number>();
  const copied = new Map<NodeId, number>();
  let unowned = 0;
  for (const { owner, inSync } of core.views.chosen) {
    if (owner === null) unowned += 1;
    else owned.set(owner, (owned.get(owner) ?? 0) + 1);
    for (const id of inSync) if (id !== owner) copied.set(id, (copied.get(id) ?? 0) + 1);
  }
  const behind: Record<NodeId, number> = {};
  const catchingUp: Record<NodeId, number> = {};
  let short = 0;
  // Where there are fewer members of a weight, there can be no more copies.
  const most = Math.min(setup.copies, Math.max(1, roster.members.filter(({ weight }) => weight > 0).length));
  for (const primary of core.primaries) {
    if (primary === null) continue;
    if (primary.record.inSync.length < most) short += 1;
    for (const { id, applied, isStaged } of primary.followers.values()) {
      if (isStaged) {
        catchingUp[id] = (catchingUp[id] ?? 0) + 1;
        continue;
      }
      behind[id] = Math.max(behind[id] ?? 0, primary.offset - Math.max(0, applied));
    }
  }
  return {
    name: setup.name,
    cluster,
    self: setup.self,
    incarnation,
    isOk: machine.isOk,
    vote: core.voter === null || core.voter.phase === 'out' ? null : core.voter.phase,
    votersEpoch: core.membership.seats.since.epoch,
    coordination,
    ranges: setup.rangeCount,
    copies: setup.copies,
    topology: setup.topology,
    takeoverMs: setup.timing.takeoverMs,
    unowned,
    astray: core.homing.astray(nowMs),
    short,
    behind,
    catchingUp,
    resyncs: { ...core.streams.resyncs, pieces: core.streams.parts, backlogBytes: core.streams.backlogBytes },
    rosterEpoch: roster.ballot.epoch,
    forgotten: roster.forgotten,
    members: roster.members.map((each): MemberStatus => {
      const { id, zone, machine = '', weight } = each;
      const { host, port, httpPort, linkPort } = members.get(id) ?? asMember(each);
      const link = links.statusOf(id);
      return {
        id,
        host,
        port,
        httpPort,
        linkPort,
        zone,
        machine,
        weight,
        isVoter: core.membership.seats.voters.includes(id),
        isSelf: id === setup.self,
        health: view.members.find((member) => member.id === id)?.health ?? 'online',
        stance: id === setup.self ? core.stance : core.views.stanceOf(id, nowMs),
        isFlapping: core.homing.isFlapping(id, nowMs),
        owned: owned.get(id) ?? 0,
        copied: copied.get(id) ?? 0,
        slots: view.runs.filter(({ owner }) => owner.id === id).map(({ first, last }) => `${first}-${last}`),
        link: link && {
          ...link,
          roundTripMs: Number.isNaN(link.roundTripMs) ? null : Math.round(link.roundTripMs * 1000) / 1000,
        },
      };
    }),
    links: { ...links.counters },
    events: { ...events },
    handOvers: { ...handOvers },
    discovery,
    held: { ...machine.held.counts },
  };
}
