/**
 * Three processes that a real etcd coordinates, while a member is killed and comes back, and while etcd itself is killed and comes back: clients write, delete and read meanwhile, and nothing that was acknowledged as overwritten
 * or deleted is ever read again. Nothing here is about speed: each step waits for what must come.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { eventually } from '../server/support.ts';
import {
  ClusterProcesses,
  JudgedWorker,
  PATIENCE_MS,
  PlainClient,
  RoutingClient,
} from '../support/cluster-processes.ts';
import { EtcdServer } from '../support/etcd-server.ts';
import { requires } from '../support/requirements.ts';

const NEEDS = requires('etcd');
const TIMEOUT = { timeout: 600_000, ...NEEDS };
const KEYS = 24;

let etcd: EtcdServer | null = null;
let cluster: ClusterProcesses | null = null;
before(async () => {
  if (NEEDS.skip !== false) return;
  etcd = await EtcdServer.start();
  cluster = await ClusterProcesses.start(3, -1, -1, [], ['--coordination', etcd.url, '--takeover', '3s']);
}, TIMEOUT);
after(async () => {
  await cluster?.close();
  await etcd?.close();
});

/** Both kinds of client, asking the first two members, while `during` goes on. */
async function judged(name: string, during: (more: (what: string) => Promise<void>) => Promise<void>): Promise<void> {
  const asked = cluster!.members.slice(0, 2);
  const clients = [new RoutingClient(asked.concat(cluster!.members[2]!)), new PlainClient(asked[0]!)];
  const workers = clients.map(
    (client, index) =>
      new JudgedWorker(
        client,
        Array.from({ length: KEYS }, (_, key) => `${name}-${index}-${key}`),
      ),
  );
  for (const worker of workers) worker.run();
  try {
    await during(async (what) => {
      const before = workers.map(({ acknowledged }) => acknowledged);
      await eventually(
        () => workers.every(({ acknowledged }, index) => acknowledged >= before[index]! + KEYS),
        () => `writes are acknowledged ${what}`,
        PATIENCE_MS,
      );
    });
  } finally {
    for (const worker of workers) await worker.stop();
  }
  for (const worker of workers) await worker.readAll();
  for (const client of clients) await client.close();
  assert.deepEqual(
    workers.flatMap(({ wrong }) => wrong),
    [],
  );
}

test('an owner is killed: others take over; it comes back', TIMEOUT, async () => {
  const victim = cluster!.members[2]!;
  await judged('kill', async (more) => {
    await more('to begin with');
    await victim.kill();
    await cluster!.takenOver(victim);
    await more('without it');
    await victim.start();
    await cluster!.settled();
    await more('with it again');
  });
});

test('etcd is killed: nobody serves; it comes back, and everything goes on by itself', TIMEOUT, async () => {
  await judged('etcd', async (more) => {
    await more('to begin with');
    await etcd!.kill();
    await eventually(
      async () => {
        const all = await Promise.all(cluster!.members.map((member) => member.status()));
        return all.every((status) => status?.isOk === false);
      },
      () => 'nobody has its lease any more',
      PATIENCE_MS,
    );
    await etcd!.start();
    await cluster!.settled();
    await more('with etcd again');
  });
  for (const member of cluster!.members) {
    const { coordination, members } = (await member.status())!;
    assert.ok(typeof coordination === 'object' && !coordination.isLost && coordination.failed > 0);
    assert.ok(members.every(({ isVoter }) => !isVoter));
  }
});
