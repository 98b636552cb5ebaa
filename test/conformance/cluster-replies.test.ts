/** What a member says of a cluster beside what a real Redis Cluster says of itself: the same bytes where the facts are the same. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { RespClient } from '../../src/client/client.ts';
import {
  type ClusterFace,
  type ClusterView,
  ELSEWHERE,
  type MemberView,
  OWNED,
} from '../../src/commands/cluster-face.ts';
import { nodesText, writeShards, writeSlots } from '../../src/commands/cluster-replies.ts';
import type { Reply } from '../../src/resp/reply.ts';
import { ReplyError, ReplyMap } from '../../src/resp/reply.ts';
import { REPLY, ReplyParser } from '../../src/resp/reply-parser.ts';
import { ReplyWriter } from '../../src/resp/writer.ts';
import { ServedMember } from '../support/nodes-in-a-cluster.ts';
import { RedisCluster } from '../support/redis-cluster.ts';
import { requires } from '../support/requirements.ts';
import { rawReply } from './raw-reply.ts';

const { skip } = requires('redis-server');
let redis: RedisCluster;
let ours: ServedMember;
let view: ClusterView;

/** The real cluster's facts as a view, as the first server sees it. */
async function factsOf(cluster: RedisCluster): Promise<ClusterView> {
  const lines = (await cluster.servers[0]!.text('CLUSTER', 'NODES')).trim().split('\n');
  const rows = lines.map((line) => line.split(' '));
  const members = rows.map(([id, address, , , ping, pong, epoch]): MemberView => {
    const [, host, port, linkPort] = /^(.*):(\d+)@(\d+)$/.exec(address!)!;
    return {
      id: id!,
      host: host!,
      port: Number(port),
      linkPort: Number(linkPort),
      zone: '',
      health: 'online',
      epoch: Number(epoch),
      pingSentMs: Number(ping),
      pongReceivedMs: Number(pong),
    };
  });
  const by = (id: string): MemberView => members.find((member) => member.id === id)!;
  const runs = rows
    .flatMap(([id, , flags, , , , , , ...slots]) =>
      flags!.includes('master')
        ? slots.map((text) => {
            const [first, last = first] = text.split('-').map(Number);
            const copies = rows.filter(([, , , owner]) => owner === id).map(([copy]) => by(copy!));
            return { first: first!, last: last!, owner: by(id!), copies };
          })
        : [],
    )
    .sort((a, b) => a.first - b.first);
  return { self: by(cluster.servers[0]!.id), isOk: true, epoch: 6, members, runs, framesSent: 1, framesReceived: 1 };
}

const written = (protocol: 2 | 3, write: (out: ReplyWriter) => void): string => {
  const out = new ReplyWriter();
  out.protocol = protocol;
  write(out);
  return Buffer.from(out.bytes.subarray(0, out.length)).toString('latin1');
};

before(async () => {
  if (skip !== false) return;
  redis = await RedisCluster.start();
  view = await factsOf(redis);
  ours = await ServedMember.start(0);
  const face: ClusterFace = {
    hold: () => false,
    copyLagMs: () => Number.POSITIVE_INFINITY,
    member: {
      drain: () => assert.fail('nobody is drained'),
      move: () => assert.fail('nothing is moved'),
      rebalance: () => assert.fail('nothing is moved'),
      forget: () => assert.fail('nothing is moved'),
      pardon: () => assert.fail('nothing is moved'),
      voters: () => assert.fail('nothing is moved'),
    },
    view,
    stateOf: (slot) =>
      view.runs.find(({ first, last }) => slot >= first && slot <= last)!.owner === view.self ? OWNED : ELSEWHERE,
    ownerOf: (slot) => view.runs.find(({ first, last }) => slot >= first && slot <= last)!.owner,
    isVouching: true,
    spread: () => assert.fail('nothing is invalidated'),
    forward: () => assert.fail('nothing is forwarded'),
    answerAside: () => false,
    wait: () => assert.fail('nothing is waited for'),
    replication: { offset: 0, copies: [] },
  };
  ours.node.context.cluster = face;
});
after(async () => {
  await ours?.close();
  await redis?.close();
});

test('CLUSTER SLOTS: the same bytes in RESP2 and RESP3', { skip }, async () => {
  const { port } = redis.servers[0]!;
  for (const protocol of [2, 3] as const) {
    const slots = (): Promise<string> => rawReply(port, protocol, ['CLUSTER', 'SLOTS']);
    // A replica is listed from when its first answer came.
    await redis.until('all replicas are listed', async () => (await slots()).split('127.0.0.1').length === 7);
    assert.equal(
      written(protocol, (out) => writeSlots(view, out)),
      await slots(),
    );
  }
});

test('CLUSTER SHARDS: the same shards, but for their order and offsets', { skip }, async () => {
  const shapes = (bytes: string): string[] => {
    const parser = new ReplyParser();
    const all = Buffer.from(bytes, 'latin1');
    parser.begin(all, 0, all.length);
    assert.equal(parser.next(), REPLY);
    return (parser.value as Reply[])
      .map((shard) => JSON.stringify(plain(shard)).replace(/"replication-offset",\d+/g, '"replication-offset",0'))
      .sort();
  };
  for (const protocol of [2, 3] as const) {
    const shards = (): Promise<string> => rawReply(redis.servers[0]!.port, protocol, ['CLUSTER', 'SHARDS']);
    await redis.until('all replicas are online', async () => !(await shards()).includes('loading'));
    assert.deepEqual(shapes(written(protocol, (out) => writeShards(view, out))), shapes(await shards()));
  }
});

test('CLUSTER NODES: the same lines of primaries, but for pings', { skip }, async () => {
  const masters = (text: string): string[] =>
    text
      .split('\n')
      .filter((line) => line.includes('master'))
      .map((line) => line.replace(/ - \d+ \d+ /, ' - 0 0 '))
      .sort();
  const real = masters(await redis.servers[0]!.text('CLUSTER', 'NODES'));
  const said = masters(nodesText(view)).filter((line) => / connected \d/.test(line));
  assert.deepEqual(said, real);
  assert.equal(nodesText(view).trim().split('\n').length, 6);
});

test('CLUSTER INFO: no field that Redis does not know', { skip }, async () => {
  const fields = (text: string): string[] => [...text.matchAll(/^(cluster_\w+|total_\w+):/gm)].map(([, name]) => name!);
  const real = fields(await redis.servers[0]!.text('CLUSTER', 'INFO'));
  const said = fields(await rawReply(ours.port, 2, ['CLUSTER', 'INFO']));
  assert.deepEqual(
    said.filter((name) => !real.includes(name)),
    [],
  );
  assert.ok(said.length >= 12);
});

test('small replies and errors: the same bytes', { skip }, async () => {
  const commands = [
    ['CLUSTER', 'MYID'],
    ['CLUSTER', 'KEYSLOT', '{a}b'],
    ['CLUSTER', 'KEYSLOT', ''],
    ['CLUSTER', 'KEYSLOT'],
    ['CLUSTER', 'COUNTKEYSINSLOT', '0'],
    ['CLUSTER', 'COUNTKEYSINSLOT', '16384'],
    ['CLUSTER', 'COUNTKEYSINSLOT', '-1'],
    ['CLUSTER', 'COUNTKEYSINSLOT', 'x'],
    ['CLUSTER', 'GETKEYSINSLOT', '0', '10'],
    ['CLUSTER', 'GETKEYSINSLOT', '0', '-1'],
    ['CLUSTER', 'GETKEYSINSLOT', '16384', '1'],
    ['CLUSTER', 'GETKEYSINSLOT', 'x', '1'],
    ['CLUSTER', 'NOSUCH'],
    ['CLUSTER'],
    ['READONLY'],
    ['READWRITE'],
    ['READONLY', 'x'],
    ['GET', 'foo'],
    ['SET', 'foo', 'x'],
    ['GET', 'bar'],
    ['MGET', 'a', 'b'],
    ['MSET', 'a', '1', 'b', '2'],
    ['MSET', 'a', '1', 'b'],
    ['DEL', '{x}1', '{x}2'],
    ['EXISTS', 'foo', 'foo'],
    ['COMMAND', 'GETKEYS', 'MSET', 'a', '1', 'b', '2'],
    ['COMMAND', 'GETKEYS', 'PING'],
  ];
  for (const command of commands) {
    const [real, said] = await Promise.all([
      rawReply(redis.servers[0]!.port, 2, command),
      rawReply(ours.port, 2, command),
    ]);
    assert.equal(said, real, command.join(' '));
  }
});

test('keys in a slot', { skip }, async () => {
  const client = new RespClient({ port: ours.port });
  try {
    const keys = ['{bar}1', '{bar}2', '{bar}3'];
    for (const key of keys) assert.equal(await client.command(['SET', key, 'v'], { text: true }), 'OK');
    const slot = await client.command(['CLUSTER', 'KEYSLOT', 'bar']);
    assert.equal(await client.command(['CLUSTER', 'COUNTKEYSINSLOT', Number(slot)]), 3);
    const found = (await client.command(['CLUSTER', 'GETKEYSINSLOT', Number(slot), 10], { text: true })) as string[];
    assert.deepEqual([...found].sort(), keys);
    assert.equal(((await client.command(['CLUSTER', 'GETKEYSINSLOT', Number(slot), 2])) as Reply[]).length, 2);
  } finally {
    await client.close({ drain: false });
  }
});

function plain(reply: Reply): unknown {
  if (reply instanceof ReplyMap) return reply.flat.map(plain);
  if (reply instanceof ReplyError) return reply.message;
  if (Array.isArray(reply)) return reply.map(plain);
  return reply instanceof Uint8Array ? Buffer.from(reply).toString() : reply;
}
