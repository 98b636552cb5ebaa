/**
 * Run by namespaces.test.ts in a network namespace of its own: three members on machines of their own, whose cables are pulled while clients of all kinds are judged. Packets end nowhere then, and nobody is told: connections stay open
 * until somebody gives them up.
 */
import assert from 'node:assert/strict';
import { machines } from '../../bench/cluster/lab.ts';
import { Children } from '../../src/cli/children/children.ts';
import { ClusterProcesses } from '../support/cluster-processes.ts';
import { moreFrom, whileJudged } from '../support/judged-clients.ts';

const children = new Children();
const lab = await machines(children, 3);
const cluster = await ClusterProcesses.start(3, -1, -1, lab);
try {
  await whileJudged(cluster, 'cables', cluster.members.slice(1, 2), async (workers) => {
    // The client is on the other side of the cable for these; one on the member's own machine is asked below.
    const [victim] = cluster.members;
    await lab[0]!.pull();
    await cluster.takenOver(victim!);
    await moreFrom(workers.slice(4, 5), 40, 'without it');
    const said = await lab[0]!.output('redis-cli', ['-h', victim!.host, '-p', String(victim!.port), 'SET', 'a', '1']);
    assert.match(said, /^(CLUSTERDOWN|MOVED|TRYAGAIN)/, 'a member alone acknowledges nothing');
    await lab[0]!.plug();
    await cluster.settled();
    await moreFrom(workers, 40, 'with it again');
  });
} finally {
  await cluster.close();
  await children.close();
}
