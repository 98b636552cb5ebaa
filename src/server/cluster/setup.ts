/**
 * What must be the same at every member of a cluster: the list of its members, who of them votes, into how many ranges the slots are cut, how many copies each has, and the times.
 *
 * A cluster is formed by a list: each founding member is started with the whole of it, in the same order, and is known by its place in it. So the id of a member is a function of the cluster's
 * name and of its address in the list, and everybody knows everybody's id before the first byte was exchanged. (Ids drawn by chance would have to be agreed upon, and a
 * member without a data directory could not come back as itself.) Two members that were given different lists would count different majorities: the fingerprint in
 * their first frame parts them. Who joins later is told all this (`joining.ts`), and has its id by the same function of its address; who the members are then, the roster says.
 */
import { createHash } from 'node:crypto';
import { BreakwaterError } from '../../base/errors.ts';
import { ETCD } from '../../cluster/etcd.ts';
import type { NodeId } from '../../cluster/member.ts';
import { isRangeCount } from '../../cluster/ranges.ts';
import { MAX_COPIES } from '../../cluster/record.ts';
import type { RosterMember } from '../../cluster/roster.ts';
import { checkTiming, DEFAULT_TIMING, type Timing } from '../../cluster/timing.ts';
import type { Topology } from '../../cluster/topology.ts';
import type { Facts, ListedMember } from '../../wire/hello.ts';

/** One member of the list: where its link port is reached. */
export interface MemberAddress {
  readonly id: NodeId;
  /** Without brackets for IPv6. */
  readonly host: string;
  readonly linkPort: number;
  /** What fails together with it; '' when nobody said. */
  readonly zone: string;
  /** What fails together with it on the small scale. Default: '', by its host. */
  readonly machine?: string;
  /** Its share relative to the others'. Default 1. */
  readonly weight?: number;
}

export interface ClusterSetup {
  readonly name: string;
  /** The founding ones, in the order of the list. */
  readonly members: readonly MemberAddress[];
  readonly self: NodeId;
  /** The first of the list; or `ETCD` alone. */
  readonly voters: readonly NodeId[];
  /** Who decides which records hold: the voters among the members, or etcd. */
  readonly coordination: 'voters' | 'etcd';
  readonly rangeCount: number;
  /** Members that are to hold a range, its owner included. */
  readonly copies: number;
  readonly topology: Topology;
  readonly timing: Timing;
  /** '' = none: whoever reaches the link port is believed. */
  readonly secret: string;
  readonly takeoverMs: number;
  /** A closed link and a refused dial count as silence for T. */
  readonly crashFastPath: boolean;
  /** 32 hexadecimal digits over all that must be the same everywhere; the secret is no part of it. */
  readonly fingerprint: string;
}

export interface SetupWishes {
  readonly name: string;
  readonly members: readonly (Omit<ListedMember, 'zone'> & { readonly zone?: string })[];
  /** Which of them we are; `id`: who we were when we came, whatever our address is now. */
  readonly self: { readonly host: string; readonly linkPort: number; readonly id?: NodeId };
  /** null: {@link defaultVoters}; 0: nobody votes, etcd coordinates. */
  readonly voters: number | null;
  /** Copies beside the owner. */
  readonly replicas: number;
  /** null: {@link defaultRanges}. */
  readonly ranges: number | null;
  readonly takeoverMs: number;
  /** Default `sharded`. */
  readonly topology?: Topology;
  readonly secret: string;
  /** Default false. */
  readonly crashFastPath?: boolean;
  /** It came later: it need not be in the list. Default false. */
  readonly isJoined?: boolean;
}

/** A list is a list: beyond this many members it is no longer kept by hand. */
export const MAX_MEMBERS = 64;
/** Below this a busy machine's pauses are taken for deaths. */
export const MIN_TAKEOVER_MS = 750;
export const MAX_TAKEOVER_MS = 60_000;

/** One copy where there is another member to hold it; with one primary two, as far as there are members. */
export function defaultReplicas(able: number, topology: Topology): number {
  return Math.max(0, Math.min(topology === 'primary' ? 2 : 1, able - 1));
}

/** One alone, three up to four members, else five. Two voters would be lost with either. */
export function defaultVoters(members: number): number {
  return members < 3 ? 1 : members <= 4 ? 3 : 5;
}

/** At least 16 ranges a member, from 64 to 1,024: even shares, and no longer CLUSTER SLOTS than that needs. */
export function defaultRanges(members: number): number {
  let ranges = 64;
  while (ranges < 1024 && ranges < 16 * members) ranges *= 2;
  return ranges;
}

/** The times of the protocol with T as wished: all that others wait for grows with it. @throws BreakwaterError `TIMING_INVALID` */
export function timingOf(takeoverMs: number): Timing {
  const factor = takeoverMs / DEFAULT_TIMING.takeoverMs;
  const scaled = (ms: number): number => Math.round(ms * factor);
  const timing: Timing = {
    ...DEFAULT_TIMING,
    heartbeatMs: scaled(DEFAULT_TIMING.heartbeatMs),
    leaseMs: scaled(DEFAULT_TIMING.leaseMs),
    takeoverMs,
    ackMs: scaled(DEFAULT_TIMING.ackMs),
    readLeaseMs: scaled(DEFAULT_TIMING.readLeaseMs),
    staggerMs: scaled(DEFAULT_TIMING.staggerMs),
    writeMs: scaled(DEFAULT_TIMING.writeMs),
    stallMs: Math.max(DEFAULT_TIMING.stallMs, scaled(DEFAULT_TIMING.stallMs)),
  };
  checkTiming(timing);
  return timing;
}

/** The id of the member at this address of the list. */
export function memberId(name: string, host: string, linkPort: number): NodeId {
  return createHash('sha1').update(`breakwater member\0${name}\0${host.toLowerCase()}\0${linkPort}`).digest('hex');
}

/** @throws BreakwaterError `CONFIG_INVALID`, `TIMING_INVALID` */
export function makeSetup(wishes: SetupWishes): ClusterSetup {
  const { name, replicas, secret, self, crashFastPath = false, topology = 'sharded' } = wishes;
  const members = wishes.members.map(({ host, linkPort, zone = '', machine = '', weight = 1 }): MemberAddress => {
    const address = { id: memberId(name, host, linkPort), host, linkPort, zone };
    return { ...address, ...(machine === '' ? {} : { machine }), ...(weight === 1 ? {} : { weight }) };
  });
  const own = self.id ?? memberId(name, self.host, self.linkPort);
  if (members.length > MAX_MEMBERS) refuse(`at most ${MAX_MEMBERS} members can be listed`, `${members.length} members`);
  const seen = new Set<NodeId>();
  for (const { id, host, linkPort } of members) {
    if (seen.has(id)) refuse('a member stands in the list twice', `${host}:${linkPort}`);
    seen.add(id);
  }
  if (!seen.has(own) && wishes.isJoined !== true) {
    refuse(
      'none of the listed members is this node; its own address must be among them (--announce and --link-port say which it is)',
      `${self.host}:${self.linkPort}`,
    );
  }
  const voterCount = wishes.voters ?? defaultVoters(members.length);
  if (voterCount > members.length) refuse('there are fewer members than voters', `${voterCount} voters`);
  const copies = replicas + 1;
  if (copies > members.length) refuse('there are too few members for so many replicas', `${replicas} replicas`);
  const able = members.filter(({ weight }) => weight !== 0).length;
  if (copies > able)
    refuse('there are too few members of a weight above 0 for so many replicas', `${replicas} replicas`);
  if (copies > MAX_COPIES) refuse(`at most ${MAX_COPIES - 1} replicas are possible`, `${replicas} replicas`);
  const rangeCount = wishes.ranges ?? defaultRanges(members.length);
  if (!isRangeCount(rangeCount))
    refuse('the number of ranges must be a power of two from 1 to 16384', `${rangeCount} ranges`);
  const timing = timingOf(wishes.takeoverMs);
  const voters = voterCount === 0 ? [ETCD] : members.slice(0, voterCount).map(({ id }) => id);
  const facts = JSON.stringify([
    name,
    // What nobody says is left out: members of versions that did not know it mean the same.
    members.map(({ id, zone, machine = '', weight = 1 }) =>
      machine === '' && weight === 1 ? [id, zone] : [id, zone, machine, weight],
    ),
    voterCount,
    rangeCount,
    copies,
    timing,
    // Left out where it is off, so that it is no other list than before there was such a thing.
    ...(crashFastPath ? ['crash fast path'] : []),
    ...(topology === 'sharded' ? [] : [topology]),
  ]);
  return {
    name,
    members,
    self: own,
    voters,
    coordination: voterCount === 0 ? 'etcd' : 'voters',
    rangeCount,
    copies,
    topology,
    timing,
    secret,
    takeoverMs: wishes.takeoverMs,
    crashFastPath,
    fingerprint: createHash('sha256').update(facts).digest('hex').slice(0, 32),
  };
}

/** What a newcomer is told of it. */
export function factsOf({
  name,
  members,
  voters,
  coordination,
  rangeCount,
  copies,
  takeoverMs,
  crashFastPath,
  topology,
}: ClusterSetup): Facts {
  return {
    name,
    members: members.map(({ id: _, ...listed }) => listed),
    voters: coordination === 'etcd' ? 0 : voters.length,
    replicas: copies - 1,
    ranges: rangeCount,
    takeoverMs,
    crashFastPath,
    ...(topology === 'sharded' ? {} : { topology }),
  };
}

/** The other way round, for who was told. @throws BreakwaterError `CONFIG_INVALID`, `TIMING_INVALID` */
export function setupFrom(facts: Facts, self: SetupWishes['self'], secret: string): ClusterSetup {
  return makeSetup({ ...facts, self, secret, isJoined: true });
}

/** A founding member as rosters have it. */
export function founderOf({ weight = 1, ...address }: MemberAddress): RosterMember {
  return { ...address, weight };
}

function refuse(why: string, received: string): never {
  throw new BreakwaterError('CONFIG_INVALID', `cannot make the cluster: ${why}, received ${received}`);
}
