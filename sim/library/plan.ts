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

/** The schedule of a seed. */
export function planOf(seed: number): Plan {
  const random = new SeededRandom(seed);
  const chance = (probability: number): boolean => random.nextFloat() < probability;
  const below = (bound: number): number => Math.floor(random.nextFloat() * bound);
  const pick = <T>(from: readonly T[]): T => from[below(from.length)]!;
  const between = (from: number, to: number): number => from + random.nextFloat() * (to - from);
  const clock = (): { offsetMs: number; rate: number } => ({
    offsetMs: pick([0, 0, HOUR_MS, -HOUR_MS, 250, -250]),
    rate: pick([1, 1, 0.99, 1.01]),
  });

  const isFaultless = chance(0.2);
  const ttlMs = pick([400, 2000, 300_000, 300_000]);
  const graceMs = pick([0, 0, 300]);
  const staleWhileReload = graceMs === 0 || chance(0.5);
  const node = clock();
  const delayMs = pick([
    [0.1, 1],
    [0.5, 6],
    [1, 25],
  ] as const);
  const setup: Setup = {
    processes: Array.from({ length: pick([2, 2, 3, 4]) }, () => ({ l1: chance(0.55), ...clock() })),
    nodeOffsetMs: node.offsetMs,
    nodeRate: node.rate,
    ids: pick([1, 2, 3]),
    ttlMs,
    graceMs,
    staleWhileReload,
    softTimeoutMs: staleWhileReload || chance(0.5) ? null : 10,
    early: chance(0.25) ? 3 : false,
    negativeTtlMs: pick([0, 200, 30_000]),
    stalenessMs: pick([100, 250, 1000]),
    l1Entries: pick([1, 2, 100]),
    concurrency: isFaultless ? 20 : pick([1, 2, 20]),
    loadMs: pick([
      [0, 2],
      [1, 15],
      [5, 80],
    ] as const),
    delayMs,
    splits: pick([0, 0.1]),
    rememberedVoids: isFaultless ? 64 : pick([2, 64]),
    feedRecords: isFaultless ? 1024 : pick([4, 32, 1024]),
    generationCapacity: isFaultless ? 64 : pick([2, 64]),
    leaseCapacity: isFaultless ? 64 : pick([2, 64]),
    isFaultless,
  };

  const steps: Step[] = [];
  const count = 20 + below(60);
  const lengthMs = between(150, 900);
  /** Writers and readers of the few rows meet more often when many things happen at once. */
  const burstiness = random.nextFloat() * 0.9;
  const hot = { cache: pick(CACHES), id: below(setup.ids) };
  let atMs = between(0, 30);
  for (let i = 0; i < count; i += 1) {
    atMs = chance(burstiness) ? atMs + between(0, 4) : between(0, lengthMs);
    const { cache, id } = chance(0.5) ? hot : { cache: pick(CACHES), id: below(setup.ids) };
    const process = below(setup.processes.length);
    const dice = random.nextFloat();
    if (dice < 0.45) steps.push({ kind: 'get', atMs, process, cache, id, wish: pick(WISHES) });
    else if (dice < 0.55) steps.push({ kind: 'getMany', atMs, process, cache, wish: pick(MANY_WISHES) });
    else if (dice < 0.65) steps.push({ kind: 'peek', atMs, process, cache, id });
    else if (dice < 0.95) {
      const how = pick(setup.ttlMs === 300_000 ? TOLD : TELLINGS);
      steps.push({ kind: 'change', atMs, process, cache, id, how, everywhere: chance(0.3), removes: chance(0.1) });
    } else {
      const how = pick(['key', 'tag', 'namespace'] as const);
      steps.push({ kind: 'invalidate', atMs, process, cache, id, how, everywhere: chance(0.3) });
    }
  }
  if (!isFaultless) {
    const faults = 1 + below(6);
    for (let i = 0; i < faults; i += 1) steps.push(fault(lengthMs));
  }
  steps.sort((a, b) => a.atMs - b.atMs);
  return { seed, setup, steps };

  function fault(withinMs: number): Step {
    const at = between(0, withinMs);
    const process = below(setup.processes.length);
    const anybody = below(setup.processes.length + 1) - 1;
    switch (below(8)) {
      case 0:
        return { kind: 'break', atMs: at, process };
      case 1:
      case 2:
        return { kind: 'cut', atMs: at, process, way: pick(['both', 'out', 'in'] as const), forMs: between(10, 700) };
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
