import { SeededRandom } from '../../src/base/random.ts';
import { ManualScheduler } from '../../src/base/scheduler.ts';
import type { StoreFace } from '../../src/engine/face.ts';
import { EmbeddedStore } from '../../src/stores/embedded.ts';
import { MapStore } from '../model/map-store.ts';
import { type StoreUnderTest, storeContract } from './store-contract.ts';

function open(engine?: () => StoreFace): () => Promise<StoreUnderTest> {
  return async () => {
    const scheduler = new ManualScheduler();
    const make = (seed: number): EmbeddedStore =>
      new EmbeddedStore({
        memoryBytes: 32 * 1024 ** 2,
        eviction: 'tinylfu',
        clock: scheduler.clock,
        scheduler,
        random: new SeededRandom(seed),
        ...(engine === undefined ? {} : { engine: engine() }),
      });
    const store = make(1);
    return {
      store,
      other: store,
      advance: (ms) => scheduler.clock.advance(ms),
      fresh: async () => make(2),
      close: () => store.close(),
    };
  };
}

storeContract('embedded', open());
storeContract(
  'embedded, over the model instead of the engine',
  open(() => new MapStore()),
);
