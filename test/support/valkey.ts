/**
 * A store over Redis or Valkey with the real clock, for tests.
 */
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { ValkeyStore } from '../../src/stores/valkey.ts';

export function openValkey(url: string): ValkeyStore {
  return new ValkeyStore({ url, clock: systemClock(), scheduler: systemScheduler(), random: new SeededRandom(7) });
}
