/**
 * A schedule before it happens: who takes part, with what settings, and what is done and what breaks at which moment. All of it from one seed; delays on the wire
 * and in the loaders are drawn while it runs, from the same seed.
 *
 * A plan is data, so that a failing one can be made smaller by leaving steps out (`shrink.ts`) and printed.
 */
import { SeededRandom } from '../../src/base/random.ts';

export const CACHES = ['row', 'box'] as const;
export type CacheName = (typeof CACHES)[number];

/** What a caller asks for. */
export type Wish = 'plain' | 'detailed' | 'fresh' | 'maxStale0' | 'maxStale50' | 'after' | 'timeout' | 'abort';

/** How a change of a row is told to the cache. `none`: it is not, as when somebody forgets. */
export type Telling = 'write' | 'failing-write' | 'delete' | 'set' | 'key' | 'tag' | 'namespace' | 'none';

export type Step =
  | {
      readonly kind: 'get';
      readonly atMs: number;
      readonly process: number;
      readonly cache: CacheName;
      readonly id: number;
      readonly wish: Wish;
    }
  | {
      readonly kind: 'getMany';
      readonly atMs: number;
      readonly process: number;
      readonly cache: CacheName;
      readonly wish: Wish;
    }
  | {
      readonly kind: 'peek';
      readonly atMs: number;
      readonly process: number;
      readonly cache: CacheName;
      readonly id: number;
    }
  | {
      readonly kind: 'change';
      readonly atMs: number;
      readonly process: number;
      readonly cache: CacheName;
      readonly id: number;
      readonly how: Telling;
      readonly everywhere: boolean;
      /** The row is deleted (its next version is "no such row"). */
      readonly removes: boolean;
    }
  /** An invalidation although nothing changed. */
  | {
      readonly kind: 'invalidate';
      readonly atMs: number;
      readonly process: number;
      readonly cache: CacheName;
      readonly id: number;
      readonly how: 'key' | 'tag' | 'namespace';
      readonly everywhere: boolean;
    }
  // -- faults; `process` -1 = the node
  | { readonly kind: 'break'; readonly atMs: number; readonly process: number }
  | {
      readonly kind: 'cut';
      readonly atMs: number;
      readonly process: number;
      readonly way: 'both' | 'out' | 'in';
      /** With a RST to both ends first, as a firewall does. */
      readonly breaks: boolean;
      readonly forMs: number;
    }
  | {
      readonly kind: 'slow';
      readonly atMs: number;
      readonly process: number;
      readonly byMs: number;
      readonly forMs: number;
    }
  | { readonly kind: 'pause'; readonly atMs: number; readonly process: number; readonly forMs: number }
  | {
      readonly kind: 'crash';
      readonly atMs: number;
      readonly process: number;
      readonly forMs: number;
      readonly silently: boolean;
    }
  /** An orderly `close()` and a new start. */
  | { readonly kind: 'restart'; readonly atMs: number; readonly process: number }
  | {
      readonly kind: 'database';
      readonly atMs: number;
      readonly state: 'slow' | 'failing' | 'hung';
      readonly forMs: number;
    };

export type Fault = Exclude<Step, { readonly kind: 'get' | 'getMany' | 'peek' | 'change' | 'invalidate' }>;

export interface ProcessSetup {
  readonly l1: boolean;
  readonly offsetMs: number;
  readonly rate: number;
}

export interface Setup {
  readonly processes: readonly ProcessSetup[];
  readonly nodeOffsetMs: number;
  readonly nodeRate: number;
  /** Rows of each cache. */
  readonly ids: number;
  readonly ttlMs: number;
  readonly graceMs: number;
  readonly staleWhileReload: boolean;
  readonly softTimeoutMs: number | null;
  readonly early: number | false;
  readonly negativeTtlMs: number;
  readonly stalenessMs: number;
  readonly l1Entries: number;
  readonly concurrency: number;
  readonly loadMs: readonly [number, number];
  readonly delayMs: readonly [number, number];
  readonly splits: number;
  readonly rememberedVoids: number;
  readonly feedRecords: number;
  readonly generationCapacity: number;
  readonly leaseCapacity: number;
  /** Nothing breaks: then nothing may be refused either, and each lease is worth one load. */
  readonly isFaultless: boolean;
  /** Sets carry the version of the row, so writers of one key need not take turns. The node does not restart: it would forget them. */
  readonly isVersioned: boolean;
  /** Names that each process keeps of what the store did not acknowledge; null = it has no outbox. */
  readonly outboxEntries: number | null;
}

export interface Plan {
  readonly seed: number;
  readonly setup: Setup;
  /** In the order of their times. */
  readonly steps: readonly Step[];
}

/** The same for every schedule, and small: a schedule should not spend its time waiting. */
export const LIMITS = {
  readTimeoutMs: 60,
  writeTimeoutMs: 300,
  loadTimeoutMs: 250,
  queueTimeoutMs: 250,
  leaseWaitMs: 120,
  callTimeoutMs: 15,
  jitter: 0.1,
} as const;

const HOUR_MS = 3_600_000;

/**
 * What a schedule is about. `mixed` is everything at once; the others spend their steps where one kind of bug lives: copies in L1s that must hear of what others invalidate, loads so long
 * that everything crosses them, rows that come and go.
 */
type Theme = 'mixed' | 'near' | 'long-loads' | 'absence';

const THEMES: readonly Theme[] = [
  'mixed',
  'mixed',
  'mixed',
  'mixed',
  'near',
  'near',
  'near',
  'near',
  'long-loads',
  'absence',
];

/** What `further` adds. */
export type About = 'versions' | 'outbox';
export const ABOUT: readonly About[] = ['versions', 'outbox'];

/** The schedule of a seed. @param about what it is about besides, whatever the seed says */
export function planOf(seed: number, about: About | null = null): Plan {
  const random = new SeededRandom(seed);
  const chance = (probability: number): boolean => random.nextFloat() < probability;
  const below = (bound: number): number => Math.floor(random.nextFloat() * bound);
  const pick = <T>(from: readonly T[]): T => from[below(from.length)]!;
  const between = (from: number, to: number): number => from + random.nextFloat() * (to - from);
  const clock = (): { offsetMs: number; rate: number } => ({
    offsetMs: pick([0, 0, HOUR_MS, -HOUR_MS, 250, -250]),
    rate: pick([1, 1, 0.99, 1.01]),
  });

  const theme = pick(THEMES);
  const isNear = theme === 'near';
  const isFaultless = chance(isNear ? 0.1 : 0.25);
  const ttlMs = isNear ? 300_000 : pick([400, 2000, 300_000, 300_000]);
  const graceMs = isNear ? 0 : pick([0, 0, 300]);
  const staleWhileReload = graceMs === 0 || chance(0.5);
  const node = clock();
  const delayMs = pick(isNear ? DELAYS.slice(0, 2) : DELAYS);
  const setup: Setup = {
    processes: Array.from({ length: isNear ? pick([2, 2, 3]) : pick([2, 2, 3, 4]) }, (_, index) => ({
      l1: isNear ? index > 0 || chance(0.3) : chance(0.5),
      ...clock(),
    })),
    nodeOffsetMs: node.offsetMs,
    nodeRate: node.rate,
    ids: isNear ? pick([1, 1, 2]) : pick([1, 2, 3]),
    ttlMs,
    graceMs,
    staleWhileReload,
    softTimeoutMs: staleWhileReload || chance(0.5) ? null : 10,
    early: !isNear && chance(0.25) ? 3 : false,
    negativeTtlMs: theme === 'absence' ? pick([0, 0, 200]) : pick([0, 200, 30_000]),
    stalenessMs: pick(isNear ? [100, 100, 250] : [100, 250, 1000]),
    l1Entries: isNear ? 100 : pick([1, 2, 100]),
    concurrency: isFaultless || isNear ? 20 : pick([1, 2, 20]),
    loadMs:
      theme === 'long-loads' ? [20, 110] : theme === 'absence' ? [5, 80] : pick(isNear ? LOADS.slice(0, 2) : LOADS),
    delayMs,
    splits: pick([0, 0.1]),
    rememberedVoids: isFaultless ? 64 : pick([1, 64]),
    feedRecords: isFaultless ? 1024 : pick(isNear ? [2, 4, 32] : [4, 32, 1024]),
    generationCapacity: isFaultless ? 64 : pick([1, 2, 64]),
    leaseCapacity: isFaultless ? 64 : pick([2, 64]),
    isFaultless,
    isVersioned: false,
    outboxEntries: null,
  };

  const steps: Step[] = [];
  const count = (isNear ? 40 : 20) + below(60);
  const lengthMs = between(150, 900);
  /** Writers and readers of the few rows meet more often when many things happen at once. */
  const burstiness = random.nextFloat() * (isNear ? 0.4 : 0.9);
  const hot = { cache: pick(CACHES), id: below(setup.ids) };
  const wishes = isNear ? NEAR_WISHES : theme === 'long-loads' ? LONG_WISHES : WISHES;
  const tellings = isNear
    ? pick([NEAR_TELLINGS, NEAR_TELLINGS, WIDE_TELLINGS])
    : setup.ttlMs === 300_000
      ? TOLD
      : theme === 'long-loads'
        ? SILENT_TELLINGS
        : TELLINGS;
  const shares = isNear ? NEAR_SHARES : SHARES;
  const everywhere = isNear ? 0.6 : 0.3;
  let atMs = between(0, 30);
  for (let i = 0; i < count; i += 1) {
    atMs = chance(burstiness) ? atMs + between(0, 4) : between(0, lengthMs);
    const { cache, id } = chance(isNear ? 0.8 : 0.5) ? hot : { cache: pick(CACHES), id: below(setup.ids) };
    const process = below(setup.processes.length);
    const dice = random.nextFloat();
    if (dice < shares.get) steps.push({ kind: 'get', atMs, process, cache, id, wish: pick(wishes) });
    else if (dice < shares.getMany) steps.push({ kind: 'getMany', atMs, process, cache, wish: pick(MANY_WISHES) });
    else if (dice < shares.peek) steps.push({ kind: 'peek', atMs, process, cache, id });
    else if (dice < shares.change) {
      const how = pick(tellings);
      const removes = chance(theme === 'absence' ? 0.5 : 0.1);
      steps.push({ kind: 'change', atMs, process, cache, id, how, everywhere: chance(everywhere), removes });
    } else {
      const how = pick(['key', 'tag', 'namespace'] as const);
      steps.push({ kind: 'invalidate', atMs, process, cache, id, how, everywhere: chance(everywhere) });
    }
  }
  if (!isFaultless) {
    const faults = 1 + below(6);
    for (let i = 0; i < faults; i += 1) steps.push(fault(lengthMs));
  }
  if (isNear && !isFaultless && chance(0.6)) steps.push(...salvo(between(40, lengthMs)));
  steps.sort((a, b) => a.atMs - b.atMs);
  return further({ seed, setup, steps }, about);

  /** A copy in an L1, its process cut off in one way or another, an invalidation that it cannot hear, and somebody who looks. */
  function salvo(startMs: number): Step[] {
    const { cache, id } = hot;
    const process = 1 + below(setup.processes.length - 1);
    const base = { cache, id, process };
    const cutMs = startMs + between(10, 40);
    const changeMs = cutMs + between(-2, 30);
    const forMs = between(100, 500);
    const faults: readonly Step[] = [
      { kind: 'cut', atMs: cutMs, process, way: 'both', breaks: true, forMs },
      { kind: 'cut', atMs: cutMs, process, way: pick(WAYS), breaks: chance(0.3), forMs },
      { kind: 'slow', atMs: cutMs, process, byMs: between(100, 500), forMs },
      { kind: 'pause', atMs: cutMs, process, forMs: forMs / 2 },
      { kind: 'crash', atMs: cutMs, process: -1, forMs: between(0, 10), silently: chance(0.3) },
    ];
    const looks: Step[] = Array.from({ length: 4 }, () => {
      const atMs = changeMs + between(0, setup.stalenessMs * 2);
      return chance(0.5) ? { kind: 'peek', atMs, ...base } : { kind: 'get', atMs, ...base, wish: 'detailed' };
    });
    return [
      { kind: 'get', atMs: startMs, ...base, wish: 'plain' },
      pick(faults),
      {
        kind: 'change',
        atMs: changeMs,
        cache,
        id,
        process: 0,
        how: pick(['key', 'tag', 'namespace'] as const),
        everywhere: chance(0.7),
        removes: false,
      },
      ...looks,
    ];
  }

  function fault(withinMs: number): Step {
    const at = between(0, withinMs);
    const process = below(setup.processes.length);
    const anybody = below(setup.processes.length + 1) - 1;
    switch (isNear ? NEAR_FAULTS[below(NEAR_FAULTS.length)] : below(8)) {
      case 0:
        return { kind: 'break', atMs: at, process };
      case 1:
      case 2:
        return { kind: 'cut', atMs: at, process, way: pick(WAYS), breaks: chance(0.3), forMs: between(10, 700) };
      case 3:
        return { kind: 'slow', atMs: at, process, byMs: between(20, 400), forMs: between(20, 500) };
      case 4:
        return { kind: 'pause', atMs: at, process: anybody, forMs: between(5, 600) };
      case 5:
        return { kind: 'crash', atMs: at, process: anybody, forMs: between(1, 300), silently: chance(0.3) };
      case 6:
        return chance(0.5)
          ? { kind: 'restart', atMs: at, process }
          : { kind: 'crash', atMs: at, process: -1, forMs: between(0, 60), silently: chance(0.2) };
      default:
        return {
          kind: 'database',
          atMs: at,
          state: pick(['slow', 'failing', 'hung'] as const),
          forMs: between(20, 500),
        };
    }
  }
}

/**
 * Some schedules are about versions or about outboxes besides. Drawn from a stream of its own, so that the others are what they were before there was such a thing.
 */
function further({ seed, setup, steps }: Plan, about: About | null): Plan {
  const random = new SeededRandom(seed ^ 0x3c6e_f372);
  const drawn = random.nextFloat();
  const dice = about === null ? drawn : about === 'versions' ? 0 : 0.2;
  if (dice < 0.15) {
    const changed = steps
      .filter((step) => step.kind !== 'crash' || step.process >= 0)
      .map((step) =>
        step.kind === 'change' && random.nextFloat() < 0.6 ? { ...step, how: 'set' as const, removes: false } : step,
      );
    return { seed, setup: { ...setup, isVersioned: true }, steps: changed };
  }
  if (dice > 0.35) return { seed, setup, steps };
  const outboxEntries = [1, 2, 64, 64][Math.floor(random.nextFloat() * 4)]!;
  const more = setup.isFaultless ? [] : doubt(setup, random);
  return { seed, setup: { ...setup, outboxEntries }, steps: [...steps, ...more].sort((a, b) => a.atMs - b.atMs) };
}

/** An invalidation that is cut off until its time is over; and, when the store can be reached again and the retry has not come yet, its process looks. */
function doubt(setup: Setup, random: SeededRandom): Step[] {
  const between = (from: number, to: number): number => from + random.nextFloat() * (to - from);
  const below = (bound: number): number => Math.floor(random.nextFloat() * bound);
  const process = below(setup.processes.length);
  const cache = CACHES[below(CACHES.length)]!;
  const id = below(setup.ids);
  const cutMs = between(100, 900);
  const changeMs = cutMs + between(1, 10);
  const how = (['key', 'tag', 'tag', 'namespace', 'delete', 'write'] as const)[below(6)]!;
  const base = { process, cache, id };
  const forMs = LIMITS.writeTimeoutMs + between(0, 120);
  return [
    { kind: 'get', atMs: cutMs - 30, ...base, process: below(setup.processes.length), wish: 'plain' },
    { kind: 'cut', atMs: cutMs, process, way: 'out', breaks: random.nextFloat() < 0.5, forMs },
    { kind: 'change', atMs: changeMs, ...base, how, everywhere: false, removes: false },
    ...Array.from({ length: 8 }, (): Step => {
      const atMs = changeMs + LIMITS.writeTimeoutMs + between(5, 250);
      return { kind: 'get', atMs, ...base, wish: 'detailed' };
    }),
  ];
}

const WAYS = ['both', 'out', 'in'] as const;
const DELAYS = [
  [0.1, 1],
  [0.5, 6],
  [1, 25],
] as const;
const LOADS = [
  [0, 2],
  [1, 15],
  [5, 80],
] as const;
/** Cumulative: how many of the steps are what. */
const SHARES = { get: 0.45, getMany: 0.55, peek: 0.65, change: 0.95 };
const NEAR_SHARES = { get: 0.35, getMany: 0.38, peek: 0.7, change: 0.95 };
/** Of `fault`: what keeps a follower from hearing. */
const NEAR_FAULTS = [0, 1, 1, 2, 3, 3, 3, 4, 5, 6] as const;
const NEAR_WISHES: readonly Wish[] = ['plain', 'detailed', 'detailed', 'detailed', 'after', 'maxStale0'];
const LONG_WISHES: readonly Wish[] = ['plain', 'detailed', 'detailed', 'fresh', 'fresh', 'after', 'abort'];
/** Nothing that names a key: the feed's own stream alone. */
const WIDE_TELLINGS: readonly Telling[] = ['tag', 'tag', 'namespace'];
const SILENT_TELLINGS: readonly Telling[] = ['write', 'write', 'delete', 'tag', 'none', 'none'];
const NEAR_TELLINGS: readonly Telling[] = [
  'write',
  'delete',
  'set',
  'key',
  'key',
  'tag',
  'tag',
  'namespace',
  'namespace',
];
const WISHES: readonly Wish[] = [
  'plain',
  'plain',
  'detailed',
  'detailed',
  'detailed',
  'fresh',
  'maxStale0',
  'maxStale50',
  'after',
  'timeout',
  'abort',
];
const MANY_WISHES: readonly Wish[] = ['plain', 'plain', 'fresh', 'after', 'maxStale0'];
const TOLD: readonly Telling[] = [
  'write',
  'write',
  'failing-write',
  'delete',
  'delete',
  'set',
  'key',
  'tag',
  'namespace',
];
const TELLINGS: readonly Telling[] = [...TOLD, 'none'];

export function describeStep(step: Step): string {
  const { atMs, ...rest } = step;
  return `${atMs.toFixed(2).padStart(9)}  ${JSON.stringify(rest)}`;
}
