/**
 * A store behind an outbox is a store: the whole contract, with nothing pending, with a tag and a namespace that stay pending all the time, and with a directory.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { ManualScheduler, systemScheduler } from '../../src/base/scheduler.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import { EmbeddedStore } from '../../src/stores/embedded.ts';
import { OutboxStore } from '../../src/stores/outbox.ts';
import type { CacheStore } from '../../src/stores/store.ts';
import { SlowStore } from '../library/support.ts';
import { startLiveNode } from './live-node.ts';
import { storeContract } from './store-contract.ts';

const OUTBOX = { maxEntries: 100, directory: null, timeoutMs: 30_000 };

storeContract('breakwater:// behind an outbox', async () => {
  const node = await startLiveNode();
  const directory = mkdtempSync(join(tmpdir(), 'bw-outbox-'));
  const ports = { clock: systemClock(), scheduler: systemScheduler(), random: new SeededRandom(7) };
  const connect = (on: string | null): OutboxStore =>
    new OutboxStore(new BreakwaterStore({ url: node.url, ...ports }), { ...OUTBOX, directory: on, ...ports });
  const store = connect(directory);
  const other = connect(null);
  return {
    store,
    other,
    advance: (ms) => node.clock.advance(ms),
    fresh: async () => connect(null),
    close: async () => {
      await Promise.all([store.close(), other.close()]);
      await node.close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
});

storeContract('embedded behind an outbox in which something else is stuck', async () => {
  const scheduler = new ManualScheduler();
  const make = (seed: number): EmbeddedStore =>
    new EmbeddedStore({
      memoryBytes: 32 * 1024 ** 2,
      eviction: 'tinylfu',
      clock: scheduler.clock,
      scheduler,
      random: new SeededRandom(seed),
    });
  const wrap = (inner: CacheStore): OutboxStore =>
    new OutboxStore(inner, { ...OUTBOX, clock: scheduler.clock, scheduler, random: new SeededRandom(3) });
  const truth = make(1);
  const slow = new SlowStore(truth, true);
  slow.direct = true;
  const store = wrap(slow);
  slow.failing = { what: 'invalidate', error: new Error('stuck') };
  await store.invalidate({ keys: ['stuck:1'], namespaces: ['stuck'] }, { timeoutMs: 10 }).catch(() => undefined);
  slow.failing = null;
  return {
    store,
    other: truth,
    // Not through the scheduler's timers: the retry stays to come.
    advance: (ms) => scheduler.clock.advance(ms),
    fresh: async () => wrap(make(2)),
    close: () => truth.close(),
  };
});
