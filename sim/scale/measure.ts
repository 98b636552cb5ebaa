/**
 * What is measured of a cluster of N members, in one run of it, in this order. Times are simulated, the same on every machine; `cpu` alone is this computer's.
 *
 *   forms     everybody starts but the last member; until every range is served
 *   rest      nothing happens for some seconds: frames and bytes of each member, voters apart from the others
 *   join      (not in the largest) the last member, away since the start, comes: until it owns what placement wants it to own; what moved for that
 *   crash     of a member that does not vote: until its ranges are served, until everybody alive knows by whom
 *   back      it comes back: until it owns what it owned (not in the largest)
 *   third     a third of all members dies at one moment, among them as many voters as may (two of five, one of three)
 */
import type { NodeId } from '../../src/cluster/member.ts';
import { FRAME, FrameParser } from '../../src/wire/frame-parser.ts';
import { FrameWriter } from '../../src/wire/frame-writer.ts';
import { readMessage, writeMessage } from '../../src/wire/messages.ts';
import { ScaleFleet } from './fleet.ts';
import type { Journal, ScaleHost } from './host.ts';
import { type Shares, sharesOf } from './shares.ts';

/** A second of each member, mean of its kind; `null` where there is none of that kind. */
export interface Traffic {
  readonly sent: number;
  readonly sentBytes: number;
  readonly received: number;
  readonly receivedBytes: number;
}

/** Of a member of this kind: milliseconds of processor time in a second. */
export interface Cpu {
  readonly core: number;
  /** Frames written and read. */
  readonly wire: number;
}

export interface Loss {
  /** Members that died. */
  readonly members: number;
  /** Ranges that they owned. */
  readonly ranges: number;
  /** Until the first, and the last of these ranges was served again; null: not within the time. */
  readonly firstServedMs: number | null;
  readonly servedMs: number | null;
  /** Until everybody alive knew the new owner of each. */
  readonly agreedMs: number | null;
  /** Ranges that began empty: all who held them died. */
  readonly empty: number;
  /** Bytes a second that a voter sent in the three seconds behind it: the mean of those alive. null: not counted, the frames are too many. */
  readonly voterBytes: number | null;
  /** The same some seconds later: nothing happens, and the dead are still listed. */
  readonly voterBytesAfter: number;
}

export interface Arrival {
  /** Until it owned what it is to own. */
  readonly homeMs: number | null;
  /** Ranges that changed their owner, in all; and how many placement wants it to own. */
  readonly moved: number;
  readonly wanted: number;
}

export interface ScaleResult {
  readonly members: number;
  readonly voters: number;
  readonly ranges: number;
  readonly seed: number;
  readonly formedMs: number | null;
  readonly shares: Shares;
  readonly rest: { readonly voter: Traffic; readonly other: Traffic | null };
  readonly kinds: Readonly<Record<string, { readonly perSecond: number; readonly bytesPerSecond: number }>>;
  readonly cpu: { readonly voter: Cpu; readonly other: Cpu | null };
  readonly join: Arrival | null;
  readonly crash: Loss;
  readonly back: Arrival | null;
  readonly third: Loss;
  readonly simulatedMs: number;
  readonly messages: number;
}

const REST_MS = 2000;
const CPU_MS = 1000;
/** Everybody's heartbeat once. */
const BEAT_MS = 200;
/** In a larger cluster the frames behind a loss are not written, only counted. */
const MOST_COUNTED = 300;
/** In a larger one everybody is there from the beginning, and nobody comes back: what that takes is known from smaller ones, and is twenty seconds each. */
const MOST_ARRIVALS = 500;
const SAMPLED = 4;

export function measureScale(
  members: number,
  seed: number,
  tell: (line: string) => void = () => undefined,
  ranges?: number,
): ScaleResult {
  const fleet = new ScaleFleet(ranges === undefined ? { members, seed } : { members, seed, ranges });
  const { hosts, world } = fleet;
  const newcomer = members > MOST_ARRIVALS ? null : hosts.at(-1)!;
  for (const host of hosts) {
    if (host !== newcomer) world.after(world.between(0, 100), () => host.start());
  }
  const formedMs = fleet.until(() => isServed(fleet), 60_000, 50);
  tell(`formed after ${formedMs} ms`);
  // Copies are made; the places of the one that is away are kept for it.
  fleet.run(2000);

  fleet.count(true);
  fleet.run(REST_MS);
  const rest = { voter: trafficOf(fleet, true, REST_MS)!, other: trafficOf(fleet, false, REST_MS) };
  const kinds = Object.fromEntries(
    [...fleet.kinds].map(([kind, { count, bytes }]) => [
      kind,
      { perSecond: (1000 * count) / REST_MS, bytesPerSecond: (1000 * bytes) / REST_MS },
    ]),
  );
  const messages = [...fleet.kinds.values()].reduce((sum, { count }) => sum + count, 0);
  fleet.count(false);
  const cpu = cpuOf(fleet);
  tell(
    `at rest: a voter ${Math.round(rest.voter.received)} frames/s in, ${Math.round(rest.voter.sentBytes)} bytes/s out`,
  );

  const join = newcomer === null ? null : arrival(fleet, newcomer);
  if (join !== null) tell(`joined after ${join.homeMs} ms`);
  const shares = sharesOf(fleet);
  fleet.run(2000);

  const victim = hosts[members - 2]!;
  const crash = loss(fleet, [victim]);
  tell(`crash: served after ${crash.servedMs} ms, agreed after ${crash.agreedMs} ms`);
  const back = newcomer === null ? null : arrival(fleet, victim);
  if (back !== null) {
    tell(`back after ${back.homeMs} ms`);
    fleet.run(2000);
  }

  const third = loss(fleet, aThird(fleet));
  tell(`a third: served after ${third.servedMs} ms, agreed after ${third.agreedMs} ms`);
  for (const { core } of fleet.live.slice(0, 20)) core!.invariants();
  return {
    members,
    voters: fleet.voterIds.length,
    ranges: fleet.rangeCount,
    seed,
    formedMs,
    shares,
    rest,
    kinds,
    cpu,
    join,
    crash,
    back,
    third,
    simulatedMs: world.nowMs,
    messages,
  };
}

/** Every range is served by who owns it. */
function isServed(fleet: ScaleFleet): boolean {
  const { core } = fleet.hosts[0]!;
  if (core === null) return false;
  return core.views.chosen.every(({ range, owner }) => owner !== null && fleet.hostOf(owner).serves(range));
}

/** A member starts, and gets what placement wants it to have. */
function arrival(fleet: ScaleFleet, host: ScaleHost): Arrival {
  let moved = 0;
  const owners = ownersOf(fleet);
  fleet.onReign = ({ id }, range) => {
    if (owners[range] !== id) moved += 1;
    owners[range] = id;
  };
  const wanted = Array.from({ length: fleet.rangeCount }, (_, range) => range).filter(
    (range) => fleet.homeOf(range) === host.id,
  );
  host.start();
  const homeMs = fleet.until(() => wanted.every((range) => host.serves(range)), 60_000, 20);
  fleet.onReign = () => undefined;
  return { homeMs, moved, wanted: wanted.length };
}

function loss(fleet: ScaleFleet, victims: readonly ScaleHost[]): Loss {
  const { world } = fleet;
  const dead = new Set(victims.map(({ id }) => id));
  const open = new Set<number>();
  ownersOf(fleet).forEach((owner, range) => {
    if (owner !== null && dead.has(owner)) open.add(range);
  });
  const ranges = [...open];
  let firstServedMs: number | null = null;
  let servedMs: number | null = null;
  let empty = 0;
  const startMs = world.nowMs;
  fleet.onReign = (_, range, _how, isEmpty) => {
    if (!open.delete(range)) return;
    if (isEmpty) empty += 1;
    servedMs = world.nowMs - startMs;
    firstServedMs ??= servedMs;
  };
  const isCounted = fleet.hosts.length <= MOST_COUNTED;
  fleet.count(isCounted);
  for (const host of victims) host.crash();
  const alive = fleet.live;
  // Who was found to lack something is asked first the next time: most have heard nothing yet.
  let at = 0;
  let known = 0;
  const agreedMs = fleet.until(() => {
    for (let asked = 0; asked < alive.length; asked += 1) {
      const { chosen } = alive[at]!.core!.views;
      for (; known < ranges.length; known += 1) {
        const { owner } = chosen[ranges[known]!]!;
        if (owner === null || dead.has(owner)) return false;
      }
      known = 0;
      at = (at + 1) % alive.length;
    }
    return true;
  }, 20_000);
  fleet.run(Math.max(0, 3000 - (world.nowMs - startMs)));
  const voterBytes = isCounted ? trafficOf(fleet, true, world.nowMs - startMs)!.sentBytes : null;
  fleet.count(false);
  fleet.run(2000);
  fleet.count(true);
  fleet.run(BEAT_MS);
  const voterBytesAfter = trafficOf(fleet, true, BEAT_MS)!.sentBytes;
  fleet.count(false);
  fleet.onReign = () => undefined;
  return {
    members: victims.length,
    ranges: ranges.length,
    firstServedMs,
    servedMs: open.size === 0 ? servedMs : null,
    agreedMs,
    empty,
    voterBytes,
    voterBytesAfter,
  };
}

/** As many voters as may die, and others by chance. */
function aThird(fleet: ScaleFleet): ScaleHost[] {
  const { hosts, voterIds, random } = fleet;
  const count = Math.floor(hosts.length / 3);
  const victims = hosts.slice(0, Math.min(count, Math.floor(voterIds.length / 2)));
  const others = hosts.slice(voterIds.length).filter(({ isUp }) => isUp);
  while (victims.length < count) {
    const [one] = others.splice(random.nextUint32() % others.length, 1);
    victims.push(one!);
  }
  return victims;
}

function ownersOf(fleet: ScaleFleet): (NodeId | null)[] {
  const owners: (NodeId | null)[] = Array.from({ length: fleet.rangeCount }, () => null);
  for (const { core, id } of fleet.live) {
    core!.primaries.forEach((primary, range) => {
      if (primary !== null) owners[range] = id;
    });
  }
  return owners;
}

function trafficOf(fleet: ScaleFleet, isVoter: boolean, forMs: number): Traffic | null {
  const some = fleet.live.filter((host) => host.isVoter === isVoter);
  if (some.length === 0) return null;
  const mean = (read: (host: ScaleHost) => number): number =>
    (1000 * some.reduce((sum, host) => sum + read(host), 0)) / some.length / forMs;
  return {
    sent: mean(({ tally }) => tally.sent),
    sentBytes: mean(({ tally }) => tally.sentBytes),
    received: mean(({ tally }) => tally.received),
    receivedBytes: mean(({ tally }) => tally.receivedBytes),
  };
}

/** Processor time of some voters and some others in a second at rest: the core as it runs, then its frames written and read. */
function cpuOf(fleet: ScaleFleet): { readonly voter: Cpu; readonly other: Cpu | null } {
  const voters = fleet.live.filter(({ isVoter }) => isVoter).slice(0, SAMPLED);
  const others = fleet.live.filter(({ isVoter }) => !isVoter).slice(0, SAMPLED);
  for (const host of [...voters, ...others]) host.journal = { sent: [], received: [], coreUs: 0, calls: 0 };
  fleet.run(CPU_MS);
  const mean = (hosts: readonly ScaleHost[]): Cpu | null => {
    if (hosts.length === 0) return null;
    const costs = hosts.map(({ journal }) => costOf(journal!));
    const of = (read: (cost: Cpu) => number): number =>
      costs.reduce((sum, cost) => sum + read(cost), 0) / costs.length / (CPU_MS / 1000);
    return { core: of(({ core }) => core), wire: of(({ wire }) => wire) };
  };
  const found = { voter: mean(voters)!, other: mean(others) };
  for (const host of [...voters, ...others]) host.journal = null;
  return found;
}

function costOf({ sent, received, coreUs, calls }: Journal): Cpu {
  const incoming = new FrameWriter();
  for (const message of received) writeMessage(incoming, message);
  const bytes = incoming.take();
  const start = process.cpuUsage();
  const outgoing = new FrameWriter();
  for (const message of sent) writeMessage(outgoing, message);
  const parser = new FrameParser();
  parser.push(bytes);
  for (let found = parser.next(); found === FRAME; found = parser.next()) readMessage(parser);
  const wire = process.cpuUsage(start);
  return {
    core: Math.max(0, coreUs - calls * clockUs()) / 1000,
    wire: (wire.user + wire.system) / 1000,
  };
}

/** What asking for the processor time costs, microseconds. */
function clockUs(): number {
  const times = 20_000;
  const start = process.cpuUsage();
  for (let n = 0; n < times; n += 1) process.cpuUsage();
  const { user, system } = process.cpuUsage(start);
  return (user + system) / times;
}
