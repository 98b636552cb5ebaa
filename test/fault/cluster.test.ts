/**
 * A cluster of three processes over TCP while its members are killed, stopped and cut off: a client writes, deletes and reads meanwhile, and nothing that was acknowledged as overwritten or
 * deleted is ever read again. Nothing here is about speed: each step waits for what must come.
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import type { RespClient } from '../../src/client/client.ts';
import { slotOf } from '../../src/hash/slot.ts';
import { ReplyError } from '../../src/resp/reply.ts';
import { eventually } from '../server/support.ts';
import {
  type AskingClient,
  ClusterProcesses,
  connectTo,
  JudgedWorker,
  type MemberProcess,
  PATIENCE_MS,
  PlainClient,
  RoutingClient,
  replyOf,
} from '../support/cluster-processes.ts';

const TIMEOUT = { timeout: 600_000 };
/** Its links go through proxies. */
const CUT = 0;
/** It keeps nothing on disk: when it comes back it asks the others what it may have promised. */
const FORGETS = 2;

let cluster: ClusterProcesses;
before(async () => {
  cluster = await ClusterProcesses.start(3, CUT, FORGETS);
}, TIMEOUT);
after(() => cluster?.close());

const keysOf = (name: string, count: number): string[] => Array.from({ length: count }, (_, n) => `${name}:${n}`);

/** Runs four clients that follow MOVED, and two that know nothing of clusters, over all slots while `fault` happens, until each got on after it. */
async function whileJudged(name: string, fault: (workers: readonly JudgedWorker[]) => Promise<void>): Promise<void> {
  const clients: AskingClient[] = Array.from({ length: 4 }, () => new RoutingClient(cluster.members));
  // They live longer than the faults do, or their member does.
  clients.push(new PlainClient(cluster.members[0]!), new PlainClient(cluster.members[1]!));
  const workers = clients.map((client, n) => new JudgedWorker(client, keysOf(`${name}-${n}`, 40)));
  try {
    for (const worker of workers) worker.run();
    await moreFrom(workers, 80, 'before the fault');
    await fault(workers);
    for (const worker of workers) await worker.stop();
    for (const worker of workers) await worker.readAll();
    assert.deepEqual(
      workers.flatMap(({ wrong }) => wrong),
      [],
    );
    for (const { hits } of workers) assert.ok(hits > 0, 'a cache that always misses proves nothing');
  } finally {
    for (const worker of workers) void worker.stop();
    await Promise.all(clients.map((client) => client.close()));
  }
}

/** Each of them gets so many more acknowledgements. */
async function moreFrom(workers: readonly JudgedWorker[], count: number, when: string): Promise<void> {
  const had = workers.map(({ acknowledged }) => acknowledged);
  await eventually(
    () => workers.every(({ acknowledged }, n) => acknowledged >= had[n]! + count),
    () =>
      `${count} acknowledgements ${when}: ${JSON.stringify(workers.map(({ acknowledged, refused }) => [acknowledged, refused]))}`,
    PATIENCE_MS,
  );
}

test('an owner is killed: others take over, it comes back, and nothing old is read', TIMEOUT, async () => {
  const victim = cluster.members[FORGETS]!;
  await whileJudged('kill', async (workers) => {
    await victim.kill();
    await cluster.takenOver(victim);
    await moreFrom(workers, 80, 'without it');
    await victim.start();
    await cluster.settled();
    await moreFrom(workers, 80, 'with it again');
  });
});

test(
  'an owner stands still for longer than T, and goes on: it answers for nothing that others have',
  TIMEOUT,
  async () => {
    const victim = cluster.members[1]!;
    const key = await keyOf(victim);
    const direct = connectTo(victim);
    try {
      await eventually(
        async () => (await tell(direct, 'SET', key, 'old')) === 'OK',
        () => 'it owns the key',
        PATIENCE_MS,
      );
      await whileJudged('stop', async (workers) => {
        victim.signal('SIGSTOP');
        try {
          await cluster.takenOver(victim);
          await acknowledged('DEL', key);
          // It reads this before it reads anything of its peers.
          const late = replyOf(direct, ['GET', key]);
          const soon = replyOf(direct, ['GET', key]);
          victim.signal('SIGCONT');
          for (const reply of [await late, await soon]) assert.ok(isRefusal(reply), `it said ${String(reply)}`);
        } finally {
          victim.signal('SIGCONT');
        }
        await cluster.settled();
        await moreFrom(workers, 80, 'when it goes on');
      });
    } finally {
      await direct.close();
    }
  },
);

test(
  'an owner is cut off from the others and not from its client: a DEL is not acknowledged, or holds for ever',
  TIMEOUT,
  async () => {
    const victim = cluster.members[CUT]!;
    for (let round = 0; round < 2; round += 1) {
      // Of a slot of which a client that knows nothing asks the victim first, and goes on to another.
      const key = await keyOf(victim, `cut-${round}`, (slot) => slot % cluster.members.length === CUT);
      const direct = connectTo(victim);
      try {
        await eventually(
          async () => (await tell(direct, 'SET', key, 'old')) === 'OK',
          () => 'it owns the key',
          PATIENCE_MS,
        );
        await cluster.settled();
        for (const proxy of cluster.proxies) proxy.blackhole();
        const reply = await replyOf(direct, ['DEL', key]);
        const isAcknowledged = !(reply instanceof ReplyError);
        assert.equal(isAcknowledged, false, `no copy can have heard of it, and it said ${String(reply)}`);
        await cluster.takenOver(victim);
        await acknowledged('DEL', key);
        assert.ok(isRefusal(await replyOf(direct, ['GET', key])), 'it answers for nothing');
        for (const proxy of cluster.proxies) proxy.heal();
        await cluster.settled();
        for (const member of cluster.members) {
          const client = new RoutingClient([member, ...cluster.members.filter((other) => other !== member)]);
          const answer = await client.ask(key, ['GET', key]);
          await client.close();
          assert.ok(answer.kind === 'error' || answer.reply === null, `it was deleted: ${JSON.stringify(answer)}`);
        }
        // For the next round it must own something again: nothing moves back for balance, so another is killed.
        if (round < 1) await giveTo(victim);
      } finally {
        for (const proxy of cluster.proxies) proxy.heal();
        await direct.close();
      }
    }
  },
);

// -- what the tests are made of

/** A key of a range that the member owns. */
async function keyOf(
  member: MemberProcess,
  name = 'key',
  isWanted: (slot: number) => boolean = () => true,
): Promise<string> {
  const status = await member.status();
  const runs = status!.members.find(({ isSelf }) => isSelf)!.slots.map((run) => run.split('-').map(Number));
  for (let n = 0; ; n += 1) {
    const key = `${name}:${n}`;
    const slot = slotOf(Buffer.from(key), 0, key.length);
    if (isWanted(slot) && runs.some(([first, last]) => slot >= first! && slot <= last!)) return key;
    assert.ok(n < 100_000, 'it owns nothing');
  }
}

/** The reply, or what an error says. */
async function tell(client: RespClient, ...args: readonly string[]): Promise<unknown> {
  const reply = await replyOf(client, args);
  return reply instanceof ReplyError ? reply.message : reply;
}

/** Until the cluster acknowledges it. */
async function acknowledged(...args: readonly string[]): Promise<void> {
  const client = new RoutingClient(cluster.members);
  let last = '';
  try {
    await eventually(
      async () => {
        const answer = await client.ask(args[1]!, args);
        last = JSON.stringify(answer);
        return answer.kind === 'value';
      },
      () => `${args.join(' ')} is acknowledged: ${last}`,
      PATIENCE_MS,
    );
  } finally {
    await client.close();
  }
}

function isRefusal(reply: unknown): boolean {
  return reply instanceof ReplyError && /^(MOVED|CLUSTERDOWN|TRYAGAIN)/.test(reply.message);
}

/** Another member dies and comes back, so that this one owns ranges. */
async function giveTo(member: MemberProcess): Promise<void> {
  const other = cluster.members.find((one) => one !== member && one.index !== FORGETS)!;
  await other.kill();
  await cluster.takenOver(other);
  await other.start();
  await cluster.settled();
}
