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
  ClusterProcesses,
  connectTo,
  type MemberProcess,
  PATIENCE_MS,
  RoutingClient,
  replyOf,
} from '../support/cluster-processes.ts';
import { moreFrom, whileJudged } from '../support/judged-clients.ts';

const TIMEOUT = { timeout: 600_000 };
/** Its links go through proxies. */
const CUT = 0;
/** It keeps nothing on disk: when it comes back it asks the others what it may have promised. */
const FORGETS = 2;
const SLOW_MS = 400;

let cluster: ClusterProcesses;
before(async () => {
  cluster = await ClusterProcesses.start(3, CUT, FORGETS);
}, TIMEOUT);
after(() => cluster?.close());

test('an owner is killed: others take over, it comes back, and nothing old is read', TIMEOUT, async () => {
  const victim = cluster.members[FORGETS]!;
  await whileJudged(cluster, 'kill', cluster.members.slice(0, 2), async (workers) => {
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
      await whileJudged(cluster, 'stop', cluster.members.slice(0, 2), async (workers) => {
        victim.signal('SIGSTOP');
        try {
          await cluster.takenOver(victim);
          await acknowledged('DEL', key);
          // It reads this before it reads anything of its peers.
          const late = replyOf(direct, ['GET', key]);
          const soon = replyOf(direct, ['GET', key]);
          victim.signal('SIGCONT');
          for (const reply of [await late, await soon]) assert.ok(isNothing(reply), `it said ${String(reply)}`);
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
        assert.ok(isNothing(await replyOf(direct, ['GET', key])), 'it answers for nothing');
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

test(
  'one member is heard by nobody and hears everybody, then the other way round: nothing old is read, and it comes back',
  TIMEOUT,
  async () => {
    const victim = cluster.members[CUT]!;
    await whileJudged(cluster, 'one-way', cluster.members.slice(1), async (workers) => {
      for (const says of [false, true]) {
        cluster.cutOneWay(says ? 'hears' : 'is heard');
        await cluster.takenOver(victim);
        await moreFrom(workers.slice(0, 4), 80, 'without it');
        for (const proxy of cluster.proxies) proxy.heal();
        await cluster.settled();
        if (!says) await giveTo(victim);
      }
      await moreFrom(workers, 80, 'with it again');
    });
  },
);

test(
  'one member is slow to answer: it leaves the sets of those that wait for it, the others get on, and it comes back when it is fast again',
  TIMEOUT,
  async () => {
    const victim = cluster.members[CUT]!;
    await whileJudged(cluster, 'slow', cluster.members.slice(1), async (workers) => {
      // Longer than a copy may take, much shorter than T: it is heard all the time.
      for (const proxy of cluster.proxies) proxy.delay(SLOW_MS);
      await eventually(
        async () => ((await cluster.members[1]!.status())?.short ?? 0) > 0,
        () => 'a set without it',
        PATIENCE_MS,
      );
      await moreFrom(workers.slice(0, 4), 40, 'while it is slow');
      assert.notEqual(await victim.status(), null, 'it runs');
      for (const proxy of cluster.proxies) proxy.release();
      await cluster.settled();
      await moreFrom(workers, 80, 'when it is fast again');
    });
  },
);

test('every member is restarted, one after the other: nothing old is read', TIMEOUT, async () => {
  await whileJudged(cluster, 'rolling', [], async (workers) => {
    for (const member of cluster.members) {
      await member.leave();
      await cluster.takenOver(member);
      await moreFrom(workers, 20, `without member ${member.index}`);
      await member.start();
      await cluster.settled();
    }
    await moreFrom(workers, 80, 'with all of them again');
  });
});

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

/** A miss (rule 5), or an error. */
function isNothing(reply: unknown): boolean {
  if (reply === null) return true;
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
