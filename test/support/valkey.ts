/**
 * A store over Redis or Valkey with the real clock, for tests. It reads plainly whenever it may, and not only where that pays: most tests have many misses.
 */
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { ValkeyStore } from '../../src/stores/valkey.ts';

export function openValkey(url: string, plainReads: 'always' | 'adaptive' = 'always'): ValkeyStore {
  const random = new SeededRandom(7);
  return new ValkeyStore({ url, clock: systemClock(), scheduler: systemScheduler(), random, plainReads });
}
