/**
 * The crash fast path with real processes: an owner is killed, the others see its port refuse and take over before T; clients of all kinds write, delete and read meanwhile, and nothing that was acknowledged as overwritten or deleted is
 * read again. How fast that is, the bench says (bench/cluster/takeover.ts); that a majority has to see it, and what then is waited for, is the simulator's.
 */
import { after, before, test } from 'node:test';
import { ClusterProcesses } from '../support/cluster-processes.ts';
import { moreFrom, whileJudged } from '../support/judged-clients.ts';

const TIMEOUT = { timeout: 600_000 };

let cluster: ClusterProcesses;
before(async () => {
  cluster = await ClusterProcesses.start(3, -1, -1, [], ['--crash-fast-path', 'on']);
}, TIMEOUT);
after(() => cluster?.close());

test('owners are killed one after the other and come back: nothing old is read', TIMEOUT, async () => {
  await whileJudged(cluster, 'crash', [], async (workers) => {
    for (const victim of cluster.members) {
      await victim.kill();
      await cluster.takenOver(victim);
      await moreFrom(workers.slice(0, 4), 20, `without member ${victim.index}`);
      await victim.start();
      await cluster.settled();
    }
    await moreFrom(workers, 40, 'with all of them again');
  });
});
