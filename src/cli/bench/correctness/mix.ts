/**
 * The random mix: writers, readers and faults at once, on few keys, from one seed. The other scenarios show that a hole is
 * there; this one shows how often a service falls into it.
 *
 * Real time and a real server take part, so that a seed reproduces the operations and not the interleaving.
 */
import { SeededRandom } from '../../../base/random.ts';
import type { Size } from './scenarios.ts';
import { sameTag } from './scenarios.ts';
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
  let faults = 0;

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
      if (chance(0.004)) {
        faults += 1;
        await fault(world, 5 + random.nextFloat() * 40, chance(0.5), random.nextUint32());
      }
    }
  };
  await Promise.all(Array.from({ length: WORKERS }, worker));
  world.source.delayMs = () => 0;
  await world.settle(ids);
  world.tally.note = world.isLinked ? `${faults} faults` : 'no faults';
}

/** A's news stop for a while: the link is cut (of several servers one), or only slow. */
async function fault(world: World, forMs: number, isCut: boolean, which: number): Promise<void> {
  const news = world.newsOfA ?? world.linksOfA.l2;
  if (isCut) news.cut(which % news.ports.length);
  else news.hold();
  await new Promise((resolve) => setTimeout(resolve, forMs));
  news.restore();
  news.release();
}
