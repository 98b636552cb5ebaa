/**
 * A schedule as data: how the cluster is set up, and what breaks when. What clients do follows from the same seed, but not from the faults: taking one out changes nothing else that was planned.
 */
import { SeededRandom } from '../../src/base/random.ts';
import { STANDING_RULES, type StandingRules } from '../../src/cluster/standing.ts';
import type { Topology } from '../../src/cluster/topology.ts';

export const FAULT_KINDS = [
  'loss',
  'duplication',
  'spread',
  'slow',
  'one-way',
  'isolate',
  'halves',
  'ring',
  'pause',
  'stall',
  'crash',
  'jump',
  'leave',
  'drain',
  'move',
  'rebalance',
  'client-cut',
] as const;

/** Changes of the list of members: only where there are joiners. */
export const GROWTH_KINDS = ['join', 'forget'] as const;

/** Changes of who votes: only where they are wished. */
export const VOTER_KINDS = ['voters'] as const;

/** Between members and etcd: only where etcd coordinates. `etcd-deaf`: nothing gets there; `etcd-mute`: what is asked is done, and nobody is told. Of several members, or of all. */
export const ETCD_KINDS = ['etcd-cut', 'etcd-deaf', 'etcd-mute', 'etcd-slow'] as const;

/** What befalls processes and connections alone: only where the crash fast path is on. `reset`: connections close, and the process lives; `quit`: it closes its port, goes on for a while, and dies. */
export const PROCESS_KINDS = ['reset', 'quit'] as const;

export type FaultKind =
  | (typeof FAULT_KINDS)[number]
  | (typeof GROWTH_KINDS)[number]
  | (typeof ETCD_KINDS)[number]
  | (typeof PROCESS_KINDS)[number]
  | (typeof VOTER_KINDS)[number];

export interface Fault {
  readonly atMs: number;
  readonly kind: FaultKind;
  /** Members by index; what they mean depends on the kind. */
  readonly members: readonly number[];
  readonly forMs: number;
  /** Loss, duplication: a probability. Spread, slow, jump: milliseconds. Forget: 1: the member is drained, 2: it dies. Move: one more than the range, of as many as there are. Voters: 1: one takes another's place, 2: one more, 3: one less. */
  readonly amount: number;
}

/** What members keep entries in: the model of a memory, or the production node with all its commands, asked over RESP. */
export type MemoryKind = 'model' | 'node';

/** Who decides which records hold: voters among the members, or etcd. */
export type CoordinationKind = 'voters' | 'etcd';

export interface Setup {
  readonly coordination: CoordinationKind;
  readonly memory: MemoryKind;
  /** Those that form the cluster. */
  readonly members: number;
  /** Those that may join later. */
  readonly joiners: number;
  /** None where etcd coordinates. */
  readonly voters: number;
  /** Others vote now and then. */
  readonly votersChange: boolean;
  readonly ranges: number;
  readonly copies: number;
  readonly clients: number;
  readonly keysPerRange: number;
  /** Milliseconds between two operations of a client. */
  readonly paceMs: number;
  /** By member: does it write its promises to a disk, and how long does a write take? -1: it has none. */
  readonly diskMs: readonly number[];
  readonly rates: readonly number[];
  readonly loadMs: number;
  readonly onMinority: 'miss' | 'gutter' | 'error';
  readonly gutterMs: number;
  readonly replaceMs: number;
  readonly evictions: number;
  /** How long a copy may take to acknowledge. */
  readonly ackMs: number;
  /** Of the reads: how many take an answer out of a copy. */
  readonly copyReads: number;
  /** Ranges go home to members that have been up for so long, whatever these have lost; null: not. */
  readonly balance: StandingRules | null;
  /** The crash fast path is on: members learn from their links that a process is gone. */
  readonly isFast: boolean;
  /** Default `sharded`. */
  readonly topology?: Topology;
}

export interface Plan {
  readonly seed: number;
  readonly setup: Setup;
  readonly faults: readonly Fault[];
  /** Of the safety phase. */
  readonly runMs: number;
}

export type Aim = 'disk' | 'haste' | 'leases';

export interface PlanOptions {
  readonly members?: number;
  readonly runMs?: number;
  readonly faults?: readonly FaultKind[];
  /** Between two faults, on average. Default: drawn, 0.5 to 7 s. */
  readonly everyMs?: number;
  readonly ranges?: number;
  /**
   * Faults made for rules that chance seldom meets. `disk`: a copy is cut off and leaves the set; in that moment a voter dies, then the owner; the copy comes back. `haste`: of five members, a process dies while one
   * of its copies is out of reach and may serve reads still. `leases`: a range changes hands, and the new owner does not reach a copy that clients read from by leave of the old one.
   */
  readonly aim?: Aim;
  /** Default `model`. */
  readonly memory?: MemoryKind;
  /** Computers that join, and are forgotten, among the faults; then three vote. Default 0. */
  readonly joiners?: number;
  /** Default `voters`. */
  readonly coordination?: CoordinationKind;
  /** Between two changes of who votes, on average; three vote at first. Default: nobody else ever does. */
  readonly votersEveryMs?: number;
  /** Default `sharded`. */
  readonly topology?: Topology;
}

/** Of forming, before anything breaks. */
export const FORMING_MS = 3000;

export function planOf(seed: number, options: PlanOptions = {}): Plan {
  const random = new SeededRandom(seed ^ 0x51a7_11e5);
  const int = (least: number, most: number): number => least + Math.floor(random.nextFloat() * (most - least + 1));
  const one = <T>(all: readonly T[]): T => all[int(0, all.length - 1)]!;
  const members = options.members ?? 5;
  const joiners = options.joiners ?? 0;
  const total = members + joiners;
  const { votersEveryMs } = options;
  const coordination = options.coordination ?? 'voters';
  const isSmall = members <= 4 || joiners > 0 || votersEveryMs !== undefined;
  const voters = coordination === 'etcd' ? 0 : isSmall ? Math.min(members, 3) : 5;
  const runMs = options.runMs ?? 30_000;
  const disk = one(['all', 'none', 'some'] as const);
  const setup: Setup = {
    coordination,
    memory: options.memory ?? 'model',
    members,
    joiners,
    voters,
    votersChange: votersEveryMs !== undefined,
    ranges: options.ranges ?? one([2, 4, 8]),
    copies: Math.min(members, one([1, 2, 2, 2, 3])),
    clients: int(2, 4),
    keysPerRange: int(1, 3),
    paceMs: one([40, 60, 100]),
    diskMs: Array.from({ length: total }, () => {
      const has = disk === 'all' || (disk === 'some' && random.nextFloat() < 0.5);
      return has ? one([0, 0, 2, 20]) : -1;
    }),
    rates: Array.from({ length: total }, () => 1 + (random.nextFloat() - 0.5) * 0.02),
    loadMs: one([5, 40, 300]),
    onMinority: one(['miss', 'miss', 'gutter', 'error'] as const),
    gutterMs: 2000,
    replaceMs: one([4000, 30_000]),
    evictions: one([0, 0, 0.02, 0.2]),
    ackMs: one([200, 300]),
    copyReads: one([0.1, 0.3, 0.6]),
    balance: seed % 2 === 0 ? { ...STANDING_RULES, stableMs: 800, flapLosses: 1000 } : null,
    isFast:
      options.aim === 'haste' ||
      (options.faults === undefined
        ? seed % 3 === 0 && options.aim === undefined && coordination === 'voters'
        : options.faults.some(isOfProcess)),
    ...(options.topology === undefined ? {} : { topology: options.topology }),
  };
  if (options.aim === 'leases')
    return { seed, setup: { ...setup, ...LONG_LEASES }, faults: aimedAtLeases(runMs, random), runMs };
  if (options.aim === 'disk')
    return { seed, setup: { ...setup, ...SLOW_DISKS }, faults: aimedAtDisks(runMs, random), runMs };
  if (options.aim === 'haste')
    return { seed, setup: { ...setup, ...THREE_COPIES }, faults: aimedAtHaste(runMs, random), runMs };
  const kinds = options.faults ?? themeOf(random);
  const isVolley = options.faults === undefined && random.nextFloat() < 0.15;
  const everyMs = options.everyMs ?? one([500, 1500, 3000, 7000]);
  const faults: Fault[] = [];
  if (kinds.length > 0) {
    let atMs = FORMING_MS;
    for (;;) {
      atMs += Math.round(everyMs * (0.2 + 1.6 * random.nextFloat()));
      if (atMs >= runMs) break;
      if (isVolley) faults.push(...volleyOf(atMs, total, random));
      else faults.push(faultOf(one(kinds), atMs, total, random));
    }
  }
  if (joiners > 0) faults.push(...growthOf(seed, setup, runMs));
  if (votersEveryMs !== undefined) faults.push(...revotesOf(seed, total, votersEveryMs, runMs));
  if (coordination === 'etcd' && options.faults === undefined && kinds.length > 0)
    faults.push(...etcdFaultsOf(seed, total, everyMs, runMs));
  if (setup.isFast && options.faults === undefined) faults.push(...processFaultsOf(seed, total, runMs));
  return { seed, setup, faults: faults.sort((a, b) => a.atMs - b.atMs), runMs };
}

/** Besides what befalls members. */
function etcdFaultsOf(seed: number, members: number, everyMs: number, runMs: number): Fault[] {
  const random = new SeededRandom(seed ^ 0x7e3a_11d5);
  const faults: Fault[] = [];
  let atMs = FORMING_MS;
  for (;;) {
    atMs += Math.round(2 * everyMs * (0.2 + 1.6 * random.nextFloat()));
    if (atMs >= runMs) return faults;
    faults.push(faultOf(ETCD_KINDS[Math.floor(random.nextFloat() * ETCD_KINDS.length)]!, atMs, members, random));
  }
}

/** Of everybody, in some order: the first of them that votes is to go, the first that does not is to come. */
function revotesOf(seed: number, total: number, everyMs: number, runMs: number): Fault[] {
  const random = new SeededRandom(seed ^ 0x71f0_93a5);
  const faults: Fault[] = [];
  for (let atMs = FORMING_MS; ; ) {
    atMs += Math.round(everyMs * (0.2 + 1.6 * random.nextFloat()));
    if (atMs >= runMs) return faults;
    const draw = random.nextFloat();
    const amount = draw < 0.5 ? 1 : draw < 0.75 ? 2 : 3;
    faults.push({
      ...faultOf('isolate', atMs, total, random),
      kind: 'voters',
      members: shuffled(total, random),
      amount,
    });
  }
}

function shuffled(count: number, random: SeededRandom): number[] {
  const order = Array.from({ length: count }, (_, index) => index);
  for (let i = order.length - 1; i > 0; i -= 1) {
    const j = Math.floor(random.nextFloat() * (i + 1));
    [order[i], order[j]] = [order[j]!, order[i]!];
  }
  return order;
}

/** Everybody joins, half of the time two at once; some are forgotten in between. */
function growthOf(seed: number, { members, joiners, voters }: Setup, runMs: number): Fault[] {
  const random = new SeededRandom(seed ^ 0x2c1b_3c6d);
  const faults: Fault[] = [];
  const stepMs = (runMs - FORMING_MS) / (joiners + 1);
  for (let index = 0; index < joiners; index += 1) {
    const isWithLast = index % 2 === 1 && random.nextFloat() < 0.5;
    const base = FORMING_MS + stepMs * (isWithLast ? index - 1 : index);
    const atMs = Math.round(base + (isWithLast ? 0 : random.nextFloat() * 500));
    faults.push({ atMs, kind: 'join', members: [members + index], forMs: 0, amount: 0 });
    if (random.nextFloat() < 0.6) {
      const able = members + joiners - voters;
      const first = Math.floor(random.nextFloat() * able);
      const victims = Array.from({ length: able }, (_, at) => voters + ((first + at) % able));
      const when = Math.round(base + stepMs * (0.2 + 0.6 * random.nextFloat()));
      faults.push({
        atMs: when,
        kind: 'forget',
        members: victims,
        forMs: 12_000,
        amount: random.nextFloat() < 0.6 ? 1 : 2,
      });
    }
  }
  return faults;
}

function isOfProcess(kind: FaultKind): boolean {
  return kind === 'reset' || kind === 'quit';
}

/** Beside everything else: some deaths, and what looks like one. */
function processFaultsOf(seed: number, members: number, runMs: number): Fault[] {
  const random = new SeededRandom(seed ^ 0x6b0d_91e5);
  const faults: Fault[] = [];
  const everyMs = 800 + 5000 * random.nextFloat();
  for (let atMs = FORMING_MS; ; ) {
    atMs += Math.round(everyMs * (0.2 + 1.6 * random.nextFloat()));
    if (atMs >= runMs) return faults;
    const draw = random.nextFloat();
    faults.push(faultOf(draw < 0.4 ? 'reset' : draw < 0.7 ? 'quit' : 'crash', atMs, members, random));
  }
}

/** Every member is a voter with a slow disk. */
const SLOW_DISKS = { diskMs: [20, 20, 20], copies: 2, clients: 4, paceMs: 40, balance: null } as const;

/** Of three members. When exactly the set changes nobody can plan: the voter dies some time behind the cut. */
function aimedAtDisks(runMs: number, random: SeededRandom): Fault[] {
  const faults: Fault[] = [];
  for (let atMs = FORMING_MS; atMs + 8000 < runMs; atMs += 8000) {
    const [a, b, c] = random.nextFloat() < 0.5 ? [0, 1, 2] : [1, 2, 0];
    const cutMs = 1700 + Math.round(random.nextFloat() * 600);
    const dieMs = 200 + Math.round(random.nextFloat() * 350);
    const fault = (kind: FaultKind, member: number, afterMs: number, forMs: number): Fault => {
      return { atMs: atMs + afterMs, kind, members: [member], forMs, amount: 0 };
    };
    faults.push(fault('isolate', c!, 0, cutMs), fault('crash', b!, dieMs, 30), fault('crash', a!, cutMs - 400, 5000));
  }
  return faults;
}

/** Ranges are where they should be again before each death. */
const THREE_COPIES = {
  copies: 3,
  clients: 4,
  keysPerRange: 1,
  paceMs: 40,
  ackMs: 130,
  copyReads: 0.6,
  evictions: 0,
  balance: { ...STANDING_RULES, stableMs: 800, flapLosses: 1000 },
} as const;

/** Of five members: A owns a range, B and C copy it. */
function aimedAtHaste(runMs: number, random: SeededRandom): Fault[] {
  const faults: Fault[] = [];
  const between = (least: number, most: number): number => Math.round(least + random.nextFloat() * (most - least));
  for (let atMs = FORMING_MS + 2000; atMs + 6000 < runMs; atMs += 6000) {
    const a = between(0, 4);
    const [c, ...others] = [2, 1, 3, 4].map((n) => (a + n) % 5) as [number, ...number[]];
    const fault = (kind: FaultKind, members: readonly number[], afterMs: number, forMs: number): Fault => {
      return { atMs: atMs + afterMs, kind, members, forMs, amount: 0 };
    };
    const draw = random.nextFloat();
    if (draw < 0.33) {
      // C does not hear of the new reign, and is removed from its set.
      faults.push(fault('isolate', [c], 0, 1000), fault('crash', [a], between(10, 150), 1000));
    } else if (draw < 0.67) {
      // Voters have not heard C for T, and A has: the new set is without it.
      for (const other of others) faults.push(fault('one-way', [c, other], 0, 2600));
      faults.push(fault('crash', [a], between(1600, 2300), 800));
    } else {
      // A has removed C from the set, and has not waited yet for the end of its lease.
      faults.push(fault('one-way', [c, a], 0, 1000), fault('one-way', [a, c], 0, 1000));
      faults.push(fault('crash', [a], between(150, 340), 1000));
    }
  }
  return faults;
}

/** The copy is removed long before its lease ends, and read from a lot. */
const LONG_LEASES = {
  copies: 3,
  ackMs: 200,
  ranges: 2,
  clients: 4,
  paceMs: 40,
  copyReads: 0.6,
  balance: null,
} as const;

/** Of three members: ranges go to and fro between two, and neither reaches the third meanwhile. */
function aimedAtLeases(runMs: number, random: SeededRandom): Fault[] {
  const faults: Fault[] = [];
  for (let atMs = FORMING_MS; atMs + 2000 < runMs; atMs += 2000) {
    const range = 1 + Math.floor(random.nextFloat() * LONG_LEASES.ranges);
    faults.push({ atMs, kind: 'move', members: [0, 1], forMs: 0, amount: range });
    const cutMs = atMs - 20 + Math.round(random.nextFloat() * 60);
    for (const owner of [0, 1]) {
      faults.push({ atMs: cutMs, kind: 'one-way', members: [owner, 2], forMs: 700, amount: 0 });
    }
  }
  return faults.sort((a, b) => a.atMs - b.atMs);
}

function themeOf(random: SeededRandom): readonly FaultKind[] {
  const draw = random.nextFloat();
  if (draw < 0.5) return FAULT_KINDS;
  if (draw < 0.6) return ['isolate', 'one-way', 'halves', 'ring'];
  if (draw < 0.7) return ['crash', 'pause', 'leave', 'drain', 'move'];
  if (draw < 0.8) return ['pause', 'stall', 'jump', 'slow'];
  if (draw < 0.9) return ['loss', 'duplication', 'spread', 'crash'];
  if (draw < 0.98) return ['isolate', 'crash', 'client-cut', 'spread'];
  return [];
}

function faultOf(kind: FaultKind, atMs: number, members: number, random: SeededRandom): Fault {
  const between = (least: number, most: number): number => Math.round(least + random.nextFloat() * (most - least));
  const order = shuffled(members, random);
  const fault = (chosen: readonly number[], forMs: number, amount = 0): Fault => ({
    atMs,
    kind,
    members: chosen,
    forMs,
    amount,
  });
  switch (kind) {
    case 'join':
    case 'forget':
    case 'voters':
      throw new Error('changes of the list of members are planned by themselves');
    case 'loss':
      return fault([], between(500, 8000), random.nextFloat() * 0.3);
    case 'duplication':
      return fault([], between(500, 8000), random.nextFloat() * 0.5);
    case 'spread':
      return fault([], between(500, 6000), between(5, 400));
    case 'slow':
      return fault(order.slice(0, 1), between(500, 6000), between(50, 700));
    case 'one-way':
      return fault(order.slice(0, 2), between(300, 8000));
    case 'isolate':
      return fault(order.slice(0, 1), between(300, 8000));
    case 'halves':
      return fault(order.slice(0, Math.max(1, Math.floor(members / 2))), between(300, 8000));
    case 'ring':
      return fault(order, between(1000, 8000));
    case 'pause':
      return fault(order.slice(0, 1), between(600, 7000));
    case 'stall':
      return fault(order.slice(0, 1), between(60, 900));
    case 'crash':
      return fault(order.slice(0, random.nextFloat() < 0.2 ? 2 : 1), between(50, 6000));
    case 'reset':
      return fault(order.slice(0, random.nextFloat() < 0.3 ? members : 1), 0);
    case 'quit':
      return fault(order.slice(0, 1), between(100, 4000), between(1, 1500));
    case 'jump':
      return fault(order.slice(0, random.nextFloat() < 0.3 ? 3 : 1), 0, between(50, 5000));
    case 'leave':
      return fault(order.slice(0, 1), between(500, 4000));
    case 'drain':
      return fault(order.slice(0, 1), between(500, 7000));
    case 'move':
      return fault(order, 0, 1 + Math.floor(random.nextFloat() * 8));
    case 'rebalance':
      return fault([], 0);
    case 'etcd-cut':
    case 'etcd-deaf':
    case 'etcd-mute':
      return fault(random.nextFloat() < 0.3 ? order : order.slice(0, between(1, 2)), between(100, 5000));
    case 'etcd-slow':
      return fault([], between(500, 6000), between(20, 700));
    case 'client-cut':
      return fault(order.slice(0, between(1, Math.max(1, members - 1))), between(300, 6000));
  }
}

/** Several things to few members within a second: what one of them began, another interrupts. */
function volleyOf(atMs: number, members: number, random: SeededRandom): Fault[] {
  const between = (least: number, most: number): number => Math.round(least + random.nextFloat() * (most - least));
  const member = (): number => Math.floor(random.nextFloat() * members);
  const one = member();
  const faults: Fault[] = [];
  const count = between(2, 4);
  for (let i = 0; i < count; i += 1) {
    const draw = random.nextFloat();
    const victim = random.nextFloat() < 0.4 ? one : member();
    const when = atMs + between(0, 700);
    if (draw < 0.3)
      faults.push({ atMs: when, kind: 'isolate', members: [victim], forMs: between(100, 2500), amount: 0 });
    else if (draw < 0.6)
      faults.push({ atMs: when, kind: 'crash', members: [victim], forMs: between(20, 300), amount: 0 });
    else if (draw < 0.75) {
      const other = (victim + 1 + Math.floor(random.nextFloat() * Math.max(1, members - 1))) % members;
      faults.push({ atMs: when, kind: 'one-way', members: [victim, other], forMs: between(200, 2500), amount: 0 });
    } else if (draw < 0.85)
      faults.push({ atMs: when, kind: 'leave', members: [victim], forMs: between(50, 1500), amount: 0 });
    else if (draw < 0.95)
      faults.push({ atMs: when, kind: 'spread', members: [], forMs: between(500, 2000), amount: 150 });
    else faults.push({ atMs: when, kind: 'pause', members: [victim], forMs: between(300, 2500), amount: 0 });
  }
  return faults;
}

export function describeFault({ atMs, kind, members, forMs, amount }: Fault): string {
  const who = members.length > 0 ? ` of ${members.join(' ')}` : '';
  const much = amount > 0 ? ` by ${amount.toFixed(2)}` : '';
  return `${String(atMs).padStart(7)}  ${kind}${who}${much}${forMs > 0 ? ` for ${forMs} ms` : ''}`;
}
