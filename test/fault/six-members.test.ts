/**
 * A cluster of six processes, of which five vote, while one of each kind and then a third of all are killed: clients of all kinds write, delete and read meanwhile, and nothing that was acknowledged as overwritten or deleted is ever
 * read again. With two copies of each range, some ranges lose both with a third of the members: these begin empty.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ClusterProcesses, type MemberProcess } from '../support/cluster-processes.ts';
import { moreFrom, whileJudged } from '../support/judged-clients.ts';

const TIMEOUT = { timeout: 600_000 };

let cluster: ClusterProcesses;
before(async () => {
  cluster = await ClusterProcesses.start(6);
}, TIMEOUT);
after(() => cluster?.close());

async function voters(): Promise<ReadonlyMap<MemberProcess, boolean>> {
  const status = (await cluster.members[0]!.status())!;
  return new Map(
    cluster.members.map((member) => [
      member,
      status.members.find(({ linkPort }) => linkPort === member.linkPort)!.isVoter,
    ]),
  );
}

test('a member that votes is killed, then one that does not, then a third of all at once', TIMEOUT, async () => {
  const votes = await voters();
  const [silent] = cluster.members.filter((member) => votes.get(member) === false);
  const voting = cluster.members.filter((member) => votes.get(member) === true);
  assert.equal(voting.length, 5);
  await whileJudged(cluster, 'six', voting.slice(0, 2), async (workers) => {
    for (const victims of [[voting[4]!], [silent!], [voting[3]!, silent!]]) {
      for (const victim of victims) await victim.kill();
      await cluster.takenOver(...victims);
      await moreFrom(workers, 40, `without ${victims.length}`);
      for (const victim of victims) await victim.start();
      await cluster.settled();
      await moreFrom(workers, 40, 'with all of them again');
    }
  });
});
