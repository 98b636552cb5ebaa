/**
 * The random mix: writers, readers and faults at once, on few keys, from one seed. The other scenarios show that a hole is
 * there; this one shows how often a service falls into it.
 *
 * Real time and a real server take part, so that a seed reproduces the operations and not the interleaving.
 */
import { SeededRandom } from '../../../base/random.ts';
import type { Size } from './scenarios.ts';
import { sameTag } from './scenarios.ts';
import type { ServerFault } from './server-faults.ts';
import type { World } from './world.ts';

const KEYS = 60;
const WORKERS = 16;

export async function randomMix(world: World, size: Size): Promise<void> {
  const random = new SeededRandom(size.seed);
  const ids = Array.from({ length: KEYS }, (_, index) => String(index + 100));
  const chance = (p: number): boolean => random.nextFloat() < p;
  const pick = <T>(choices: readonly T[]): T => choices[random.nextUint32() % choices.length]!;
  world.source.delayMs = () => random.nextFloat() * 4;
  let left = size.operations;
  const faults = new Faults(world);

  const worker = async (): Promise<void> => {
    while (left > 0) {
      left -= 1;
      const instance = pick([world.a, world.b]);
      const id = pick(ids);
      const roll = random.nextFloat();
      if (roll < 0.75) await world.read(instance, id);
      else if (roll < 0.97 || !world.can('tag')) await world.write(instance, [id]);
      else if (roll < 0.99 || !world.can('namespace')) await world.write(instance, sameTag(id, ids), 'tag');
      else await world.write(instance, [id, ...ids.filter((other) => other !== id)], 'namespace');
      if (chance(0.004)) await faults.one(5 + random.nextFloat() * 40, random.nextUint32(), random.nextUint32());
    }
  };
  try {
    await Promise.all(Array.from({ length: WORKERS }, worker));
  } finally {
    faults.end();
  }
  world.source.delayMs = () => 0;
  await world.settle(ids);
  world.tally.note = faults.note();
}

/**
 * What goes wrong meanwhile, a few milliseconds each: A's news are cut (of several servers one's) or only slow, where there is a link; a cluster's members are
 * killed, paused, cut off; and for all, the database is slow, or the clock of both is an hour off.
 */
class Faults {
  readonly #world: World;
  readonly #kinds: readonly ServerFault[];
  readonly #counts = new Map<string, number>();
  readonly #now = Date.now;
  readonly #usualDelayMs: () => number;
  #clockOffMs = 0;

  constructor(world: World) {
    this.#world = world;
    this.#usualDelayMs = world.source.delayMs;
    Date.now = () => this.#now() + this.#clockOffMs;
    this.#kinds = [...(world.isLinked ? linkFaults(world) : world.serverFaults), ...this.#everywhere()];
  }

  async one(forMs: number, whichKind: number, which: number): Promise<void> {
    const open = this.#kinds.filter(({ name, most }) => (this.#counts.get(name) ?? 0) < most);
    const { name, run } = open[whichKind % open.length]!;
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    await run(forMs, which);
  }

  end(): void {
    Date.now = this.#now;
  }

  note(): string {
    return [...this.#counts].map(([name, count]) => `${count} ${name}`).join(', ');
  }

  #everywhere(): ServerFault[] {
    const most = Number.POSITIVE_INFINITY;
    return [
      {
        // Slow and not down: loads that are under way for longer are crossed more often, and a breaker that opens would leave little to judge.
        name: 'database slow',
        most,
        run: async (forMs) => {
          const { source } = this.#world;
          source.delayMs = () => forMs * 2;
          await pause(forMs);
          source.delayMs = this.#usualDelayMs;
        },
      },
      {
        name: 'clock off',
        most,
        run: async (forMs, which) => {
          this.#clockOffMs = which % 2 === 0 ? HOUR_MS : -HOUR_MS;
          await pause(forMs);
          this.#clockOffMs = 0;
        },
      },
    ];
  }
}

function linkFaults(world: World): ServerFault[] {
  const news = world.newsOfA ?? world.linksOfA.l2;
  const most = Number.POSITIVE_INFINITY;
  const during = async (forMs: number): Promise<void> => {
    await pause(forMs);
    news.restore();
    news.release();
  };
  return [
    {
      name: 'cut',
      most,
      run: async (forMs, which) => {
        news.cut(which % news.ports.length);
        await during(forMs);
      },
    },
    {
      name: 'slow',
      most,
      run: async (forMs) => {
        news.hold();
        await during(forMs);
      },
    },
  ];
}

const HOUR_MS = 3_600_000;

async function pause(ms: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, ms));
}
