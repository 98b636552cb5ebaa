/**
 * The contract on a cluster of three nodes in this process, each range with one copy: once told all members, once told one of them, which has to be found out to be one of many.
 */
import { systemClock } from '../../src/base/clock.ts';
import { SeededRandom } from '../../src/base/random.ts';
import { systemScheduler } from '../../src/base/scheduler.ts';
import { BreakwaterStore } from '../../src/stores/breakwater.ts';
import { LiveCluster } from '../support/live-cluster.ts';
import { storeContract } from './store-contract.ts';

/** Nobody dies here: a machine that is slow for seconds should cost nobody a range, nor a copy its place. */
const PATIENT = { leaseMs: 10_000, takeoverMs: 15_000, ackMs: 3_000, writeMs: 20_000 };

const connect = (url: string): BreakwaterStore =>
  new BreakwaterStore({ url, clock: systemClock(), scheduler: systemScheduler(), random: new SeededRandom(7) });

for (const [name, urlOf] of [
  ['all of its members', (cluster: LiveCluster) => cluster.url],
  ['one of its members', (cluster: LiveCluster) => `breakwater://127.0.0.1:${cluster.members[1]!.port}`],
  [
    'one of its members, over RESP2',
    (cluster: LiveCluster) => `breakwater://127.0.0.1:${cluster.members[2]!.port}?protocol=2`,
  ],
] as const) {
  storeContract(`breakwater:// on a cluster of three, told ${name}`, async () => {
    const cluster = await LiveCluster.start(3, PATIENT);
    const url = urlOf(cluster);
    const store = connect(url);
    const other = connect(url);
    return {
      store,
      isTold: !url.includes('protocol=2'),
      other,
      advance: (ms) => cluster.advance(ms),
      fresh: async () => connect(url),
      close: async () => {
        await Promise.all([store.close(), other.close()]);
        await cluster.close();
      },
    };
  });
}
